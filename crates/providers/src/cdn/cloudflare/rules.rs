//! Rules of the zone: rates, what is kept, the managed firewall.
//!
//! Each phase has one list of rules, its entry point, which people and other programs share. A rule of ours has a `ref`
//! that begins with `linkflow_STACK_`. Rules are added, changed and removed one by one: putting the whole list would
//! replace others' rules. Only where a phase has no list yet is one put, which then holds ours alone.

use http::Method;
use linkflow_model::Fault;
use linkflow_model::role::{Front, FrontChange, KeepRule, RateRule};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{CloudflareFront, Due};
use crate::account::cloudflare::ZoneRow;
use crate::kit::Call;

const RATE: &str = "http_ratelimit";
const CACHE: &str = "http_request_cache_settings";
const FIREWALL: &str = "http_request_firewall_managed";

/// The managed rules, the best ones first: those of paid plans, then those of the free one
/// (developers.cloudflare.com/waf/managed-rules).
const MANAGED: [&str; 2] = ["Cloudflare Managed Ruleset", "Cloudflare Managed Free Ruleset"];

/// How long a visitor that asked too often is blocked, in seconds: what the free plan has
/// (developers.cloudflare.com/waf/rate-limiting-rules/#availability).
const BLOCKED_S: u32 = 10;

/// What a rule may be compared by.
const FIELDS: [&str; 6] =
    ["action", "action_parameters", "description", "enabled", "expression", "ratelimit"];

#[derive(Deserialize)]
struct Ruleset {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    phase: String,
    #[serde(default)]
    rules: Vec<Map<String, Value>>,
}

impl CloudflareFront {
    fn ref_of(&self, what: &str) -> String {
        format!("linkflow_{}_{what}", self.stack)
    }

    pub(super) async fn due_rates(&self, row: &ZoneRow, wanted: &Front) -> Result<Vec<Due>, Fault> {
        let rate = wanted.rate.iter().enumerate().map(|(at, rule)| self.rate_rule(at, rule));
        self.due_phase(row, RATE, rate.collect()).await
    }

    pub(super) async fn due_cache(&self, row: &ZoneRow, wanted: &Front) -> Result<Vec<Due>, Fault> {
        let cache = wanted.cache.iter().enumerate().map(|(at, rule)| self.keep_rule(at, rule));
        self.due_phase(row, CACHE, cache.collect()).await
    }

    async fn entry_point(&self, row: &ZoneRow, phase: &str) -> Result<Option<Ruleset>, Fault> {
        let path = format!("/zones/{}/rulesets/phases/{phase}/entrypoint", row.id);
        self.api.find(Call::read("read the rules of", phase, path)).await
    }

    /// What differs in one phase, where our rules are to be exactly `wanted`.
    async fn due_phase(
        &self,
        row: &ZoneRow,
        phase: &'static str,
        wanted: Vec<Value>,
    ) -> Result<Vec<Due>, Fault> {
        let held = self.entry_point(row, phase).await?;
        Ok(self.compare(row, phase, held.as_ref(), &wanted))
    }

    fn compare(
        &self,
        row: &ZoneRow,
        phase: &'static str,
        held: Option<&Ruleset>,
        wanted: &[Value],
    ) -> Vec<Due> {
        let Some(held) = held else {
            let path = format!("/zones/{}/rulesets/phases/{phase}/entrypoint", row.id);
            let put = Call::write(Method::PUT, "put the first rules of", phase, path);
            let mut put = Some(put.json(json!({ "rules": wanted })));
            let told = |rule: &Value| FrontChange::new(title(rule), None, Some(shown(rule)));
            return wanted.iter().map(|rule| Due { change: told(rule), call: put.take() }).collect();
        };
        let path = format!("/zones/{}/rulesets/{}/rules", row.id, held.id);
        let prefix = self.ref_of("");
        let name = |rule: &Map<String, Value>| {
            rule.get("ref").and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let id = |rule: &Map<String, Value>| {
            rule.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let mut due = Vec::new();
        for rule in wanted {
            let own = rule["ref"].as_str().unwrap_or_default();
            match held.rules.iter().find(|held| name(held) == own) {
                None => {
                    let call = Call::write(Method::POST, "add a rule to", phase, &path);
                    let change = FrontChange::new(title(rule), None, Some(shown(rule)));
                    due.push(Due::new(change, call.json(rule.clone())));
                }
                Some(held) if is_same(held, rule) => {}
                Some(held) => {
                    let path = format!("{path}/{}", id(held));
                    let call = Call::write(Method::PATCH, "change a rule of", phase, path);
                    let from = shown(&Value::Object(held.clone()));
                    let change = FrontChange::new(title(rule), Some(from), Some(shown(rule)));
                    due.push(Due::new(change, call.json(rule.clone())));
                }
            }
        }
        let is_wanted = |name: &str| wanted.iter().any(|rule| rule["ref"] == name);
        for rule in held.rules.iter().filter(|rule| name(rule).starts_with(&prefix)) {
            if !is_wanted(&name(rule)) {
                let path = format!("{path}/{}", id(rule));
                let call = Call::write(Method::DELETE, "remove a rule of", phase, path);
                let rule = Value::Object(rule.clone());
                let change = FrontChange::new(title(&rule), Some(shown(&rule)), None);
                due.push(Due::new(change, call));
            }
        }
        due
    }

    /// The managed firewall. A rule that somebody made and that executes the same rules is enough.
    pub(super) async fn due_firewall(
        &self,
        row: &ZoneRow,
        wanted: &Front,
    ) -> Result<Vec<Due>, Fault> {
        let held = self.entry_point(row, FIREWALL).await?;
        let own = self.ref_of("firewall");
        if !wanted.firewall {
            return Ok(match &held {
                Some(held) => self.compare(row, FIREWALL, Some(held), &[]),
                None => Vec::new(),
            });
        }
        let path = format!("/zones/{}/rulesets", row.id);
        let all: Vec<Ruleset> =
            self.api.send_for(Call::read("list the rulesets of", &row.name, path)).await?;
        let managed = |name: &&str| {
            let fits = |set: &&Ruleset| {
                set.kind == "managed" && set.phase == FIREWALL && set.name == **name
            };
            all.iter().find(fits)
        };
        let Some(managed) = MANAGED.iter().find_map(managed) else {
            let change = FrontChange::new("firewall", None, Some("managed rules".into()));
            return Ok(vec![Due::told(change.blocked("the zone's plan has no managed rules"))]);
        };
        let executes = |rule: &Map<String, Value>| {
            rule.get("action_parameters").and_then(|p| p.get("id")?.as_str()) == Some(&managed.id)
                && rule.get("enabled").and_then(Value::as_bool) != Some(false)
                && rule.get("ref").and_then(Value::as_str) != Some(&own)
        };
        if held.iter().flat_map(|held| &held.rules).any(executes) {
            return Ok(Vec::new());
        }
        let rule = json!({
            "ref": own,
            "description": format!("{}: {}", crate::dns::marker(&self.stack), managed.name),
            "expression": "true",
            "action": "execute",
            "action_parameters": { "id": managed.id },
            "enabled": true,
        });
        Ok(self.compare(row, FIREWALL, held.as_ref(), &[rule]))
    }

    fn rate_rule(&self, at: usize, rule: &RateRule) -> Value {
        let paths: Vec<String> = if rule.paths.is_empty() {
            vec![begins_with("/")]
        } else {
            rule.paths.iter().map(|path| begins_with(path)).collect()
        };
        let RateRule { requests, per_s, .. } = rule;
        json!({
            "ref": self.ref_of(&format!("rate_{}", at + 1)),
            "description": format!("{}: {requests} requests in {per_s} s", crate::dns::marker(&self.stack)),
            "expression": paths.join(" or "),
            "action": "block",
            "ratelimit": {
                // Cloudflare counts in each of its data centres, and wants that said.
                "characteristics": ["cf.colo.id", "ip.src"],
                "period": per_s,
                "requests_per_period": requests,
                "mitigation_timeout": BLOCKED_S.max(*per_s),
            },
            "enabled": true,
        })
    }

    fn keep_rule(&self, at: usize, rule: &KeepRule) -> Value {
        let parameters = if rule.ttl_s == 0 {
            json!({ "cache": false })
        } else {
            json!({ "cache": true, "edge_ttl": { "mode": "override_origin", "default": rule.ttl_s } })
        };
        json!({
            "ref": self.ref_of(&format!("cache_{}", at + 1)),
            "description": format!("{}: {} for {} s", crate::dns::marker(&self.stack), rule.path, rule.ttl_s),
            "expression": begins_with(&rule.path),
            "action": "set_cache_settings",
            "action_parameters": parameters,
            "enabled": true,
        })
    }
}

/// An expression of the rules language. The path is a text in quotes there.
fn begins_with(path: &str) -> String {
    let quoted = path.replace('\\', "\\\\").replace('"', "\\\"");
    format!("starts_with(http.request.uri.path, \"{quoted}\")")
}

/// Whether a rule is as wanted. Cloudflare may say more of it than was asked for.
fn is_same(held: &Map<String, Value>, wanted: &Value) -> bool {
    FIELDS.iter().all(|field| match (held.get(*field), wanted.get(*field)) {
        (Some(held), Some(wanted)) => covers(held, wanted),
        (None, Some(_)) => false,
        (_, None) => true,
    })
}

fn covers(held: &Value, wanted: &Value) -> bool {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| held.get(name).is_some_and(|held| covers(held, value))),
        (held, wanted) => held == wanted,
    }
}

fn title(rule: &Value) -> String {
    format!("rule {}", rule["ref"].as_str().unwrap_or_default())
}

fn shown(rule: &Value) -> String {
    let text = |name: &str| rule[name].as_str().unwrap_or_default();
    let off = if rule["enabled"] == false { ", switched off" } else { "" };
    format!("{} if {}, {}{off}", text("action"), text("expression"), text("description"))
}
