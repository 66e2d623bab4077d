//! Settings of the whole zone, one by one: those that are wanted are set, no others are touched.

use http::Method;
use linkflow_model::Fault;
use linkflow_model::role::{CacheLevel, Encryption, Front, FrontChange};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CloudflareFront, Due};
use crate::account::cloudflare::ZoneRow;
use crate::kit::Call;

/// How long browsers may be told to keep pages, in seconds, on all plans.
const BROWSER_TIMES: [u32; 15] = [
    7_200, 10_800, 14_400, 18_000, 28_800, 43_200, 57_600, 72_000, 86_400, 172_800, 259_200,
    345_600, 691_200, 1_382_400, 2_678_400,
];

#[derive(Deserialize)]
struct Setting {
    value: Value,
}

impl CloudflareFront {
    pub(super) async fn due_settings(
        &self,
        row: &ZoneRow,
        wanted: &Front,
    ) -> Result<Vec<Due>, Fault> {
        let mut due = Vec::new();
        for (id, value) in wanted_settings(wanted) {
            let path = format!("/zones/{}/settings/{id}", row.id);
            let held: Setting =
                self.api.send_for(Call::read("read the setting", id, path.clone())).await?;
            let value = completed(&held.value, value);
            if held.value != value {
                let change = FrontChange::new(
                    format!("setting {id}"),
                    Some(shown(&held.value)),
                    Some(shown(&value)),
                );
                let call = Call::write(Method::PATCH, "change the setting", id, path);
                due.push(Due::new(change, call.json(json!({ "value": value }))));
            }
        }
        Ok(due)
    }

    /// The bot fight mode of the free plan. Paid plans have another form of it, which is left to people.
    pub(super) async fn due_bots(&self, row: &ZoneRow, wanted: &Front) -> Result<Vec<Due>, Fault> {
        if !wanted.bots {
            return Ok(Vec::new());
        }
        let path = format!("/zones/{}/bot_management", row.id);
        let held: Value =
            self.api.send_for(Call::read("read the bot settings of", &row.name, path.clone())).await?;
        let change = FrontChange::new("bot fight mode", Some("off".into()), Some("on".into()));
        Ok(match held.get("fight_mode").and_then(Value::as_bool) {
            Some(true) => Vec::new(),
            Some(false) => {
                let call = Call::write(Method::PUT, "change the bot settings of", &row.name, path);
                vec![Due::new(change, call.json(json!({ "fight_mode": true })))]
            }
            None => vec![Due::told(change.blocked(
                "the zone's plan has Super Bot Fight Mode in its place, which a person sets",
            ))],
        })
    }
}

/// Each setting that is wanted, by Cloudflare's id of it.
fn wanted_settings(wanted: &Front) -> Vec<(&'static str, Value)> {
    let on = |is_on: bool| is_on.then(|| Value::from("on"));
    let encryption = wanted.encryption.map(|encryption| match encryption {
        Encryption::Strict => "strict",
        Encryption::Full => "full",
        Encryption::Flexible => "flexible",
    });
    let level = wanted.cache_level.map(|level| match level {
        CacheLevel::Standard => "aggressive",
        CacheLevel::IgnoreQuery => "simplified",
        CacheLevel::NoQuery => "basic",
    });
    let hsts = wanted.hsts_s.map(|max_age| {
        json!({ "strict_transport_security": { "enabled": max_age > 0, "max_age": max_age } })
    });
    let all = [
        ("ssl", encryption.map(Value::from)),
        ("always_use_https", on(wanted.https_only)),
        ("min_tls_version", wanted.min_tls.clone().map(Value::from)),
        ("security_header", hsts),
        ("automatic_https_rewrites", on(wanted.https_rewrites)),
        ("cache_level", level.map(Value::from)),
        ("browser_cache_ttl", wanted.browser_cache_s.map(|s| browser_time(s).into())),
        ("always_online", on(wanted.always_online)),
    ];
    all.into_iter().filter_map(|(id, value)| Some((id, value?))).collect()
}

/// The longest time that can be had and is not longer than `seconds`.
fn browser_time(seconds: u32) -> u32 {
    let fitting = BROWSER_TIMES.iter().rfind(|time| **time <= seconds);
    fitting.copied().unwrap_or(if seconds == 0 { 0 } else { BROWSER_TIMES[0] })
}

/// `wanted`, and what it does not speak of as it is.
fn completed(held: &Value, wanted: Value) -> Value {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => {
            let mut all = held.clone();
            for (name, value) in wanted {
                let below = all.get(&name).cloned().unwrap_or(Value::Null);
                all.insert(name, completed(&below, value));
            }
            Value::Object(all)
        }
        (_, wanted) => wanted,
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_a_time_that_there_is() {
        assert_eq!([0, 1, 14_400, 20_000, 99_999_999].map(browser_time), [0, 7_200, 14_400, 18_000, 2_678_400]);
    }

    #[test]
    fn what_is_not_spoken_of_stays() {
        let held = json!({ "a": { "enabled": false, "nosniff": true } });
        let wanted = json!({ "a": { "enabled": true } });
        assert_eq!(completed(&held, wanted), json!({ "a": { "enabled": true, "nosniff": true } }));
    }
}
