//! Cronitor, Monitor API. <https://cronitor.io/docs/monitor-api>
//!
//! Monitors have keys that their owner chooses: `linkflow-shop-monitor-api`. What is ours has a tag besides, because a key
//! alone may be a person's.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use async_trait::async_trait;
use http::Method;
use linkflow_model::role::{
    HeldWatch, Schedule, Told, Watch, WatchSort, Watcher, WatcherLook, Watching,
};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret, StackName};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kit::{Account, Auth, Call, Kit, Limiter, Vendor, encode};

/// The API.
const API: &str = "https://cronitor.io";

/// Where reports go. <https://cronitor.io/docs/telemetry-api>
const REPORTS: &str = "https://cronitor.link";

/// How many monitors a page should have.
const PAGE_SIZE: usize = 50;

/// The shortest time between two looks, in seconds.
const LEAST_EVERY_S: u64 = 30;

/// What Cronitor needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An API key that may configure monitors.
    pub token: Secret,
    /// In place of `https://cronitor.io`.
    pub api: Option<String>,
}

/// An account at Cronitor.
pub struct Cronitor {
    api: Vendor,
    tag: String,
    provider: ProviderName,
    token: Secret,
    /// Where reports go.
    reports: String,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> Cronitor {
    kit.learn(&settings.token);
    // The key is the user, and there is no password.
    let basic = BASE64_STANDARD.encode(format!("{}:", settings.token.expose()));
    let auth = Auth { header: "authorization", scheme: "Basic ", value: Secret::new(basic) };
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "cronitor",
        production: API.to_owned(),
        base: settings.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned(),
        auth: Some(auth),
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide: |_| {},
    });
    let reports = settings.api.unwrap_or_else(|| REPORTS.to_owned());
    let (tag, token) = (super::tag(stack), settings.token);
    Cronitor { api, tag, provider: provider.clone(), token, reports }
}

#[derive(Deserialize)]
struct Page {
    monitors: Vec<Monitor>,
    #[serde(default)]
    count: usize,
}

#[derive(Deserialize)]
struct Monitor {
    key: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "type")]
    kind: String,
    schedule: Option<String>,
    #[serde(default)]
    assertions: Option<Vec<String>>,
    grace_seconds: Option<u64>,
    #[serde(default)]
    tags: Vec<String>,
    passing: Option<bool>,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    initialized: bool,
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    url: Option<String>,
    timeout_seconds: Option<u64>,
}

/// Before the status in an assertion.
const STATUS: &str = "response.code = ";
/// Before the text in an assertion, which stands in quotes.
const CONTAINS: &str = "response.body contains ";

impl Monitor {
    /// What it does; `None` for what LinkFlow never makes.
    fn what(&self) -> Option<Watching> {
        let schedule = schedule(self.schedule.as_deref().unwrap_or_default());
        match self.kind.as_str() {
            "heartbeat" => {
                let grace_s = self.grace_seconds.unwrap_or_default();
                Some(Watching::Heartbeat { schedule, grace_s })
            }
            "check" => {
                let request = self.request.as_ref()?;
                let Schedule::EveryS(every_s) = schedule else { return None };
                let after = |start: &str| {
                    self.assertions.iter().flatten().find_map(|text| text.strip_prefix(start))
                };
                Some(Watching::Http {
                    url: request.url.clone()?,
                    every_s,
                    timeout_s: request.timeout_seconds.unwrap_or_default(),
                    status: after(STATUS).and_then(|text| text.parse().ok()),
                    contains: after(CONTAINS).map(unquoted),
                })
            }
            _ => None,
        }
    }
}

/// `every 5 minutes`, or a cron expression.
fn schedule(text: &str) -> Schedule {
    let words: Vec<&str> = text.split_whitespace().collect();
    let even = |number: &str, unit: &str| {
        let seconds = match unit.trim_end_matches('s') {
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            _ => return None,
        };
        Some(number.parse::<u64>().ok()? * seconds)
    };
    let seconds = match words.as_slice() {
        ["every", number, unit] => even(number, unit),
        ["every", unit] => even("1", unit),
        _ => None,
    };
    seconds.map_or_else(|| Schedule::Cron(words.join(" ")), Schedule::EveryS)
}

fn written(schedule: &Schedule) -> String {
    match schedule {
        Schedule::EveryS(seconds) => format!("every {seconds} seconds"),
        Schedule::Cron(cron) => cron.clone(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    inner.replace("\\\"", "\"").replace("\\\\", "\\")
}

impl Cronitor {
    fn key(&self, wanted: &Watch) -> String {
        format!("{}-{}-{}", self.tag, wanted.what.sort().word(), wanted.name)
    }

    /// All that has our tag.
    async fn ours(&self) -> Result<Vec<Monitor>, Fault> {
        let (mut held, mut seen) = (Vec::new(), 0);
        for page in 1_usize.. {
            let call = Call::read("list monitors", "", "/api/monitors")
                .query("page", &page.to_string())
                .query("pageSize", &PAGE_SIZE.to_string());
            let Page { monitors, count } = self.api.send_for(call).await?;
            seen += monitors.len();
            let is_last = monitors.is_empty() || seen >= count;
            held.extend(monitors.into_iter().filter(|monitor| monitor.tags.contains(&self.tag)));
            if is_last {
                break;
            }
        }
        Ok(held)
    }

    fn body(&self, wanted: &Watch) -> Option<Value> {
        let mut body = match &wanted.what {
            Watching::Http { url, every_s, timeout_s, status, contains } => {
                let status = status.map(|status| format!("{STATUS}{status}"));
                let contains = contains.as_ref().map(|text| format!("{CONTAINS}{}", quoted(text)));
                json!({
                    "type": "check", "schedule": written(&Schedule::EveryS(*every_s)),
                    "request": { "url": url, "method": "GET", "timeout_seconds": timeout_s },
                    "assertions": status.into_iter().chain(contains).collect::<Vec<_>>(),
                })
            }
            Watching::Heartbeat { schedule, grace_s } => json!({
                "type": "heartbeat", "schedule": written(schedule), "timezone": "UTC",
                "grace_seconds": grace_s,
            }),
            _ => return None,
        };
        body["name"] = wanted.name.as_str().into();
        body["tags"] = json!([self.tag]);
        Some(body)
    }
}

#[async_trait]
impl WatcherLook for Cronitor {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn fit(&self, wanted: &Watch) -> Result<Watch, String> {
        let mut fitted = wanted.clone();
        match &mut fitted.what {
            Watching::Http { every_s, .. } => *every_s = (*every_s).max(LEAST_EVERY_S),
            Watching::Heartbeat { .. } => {}
            Watching::Tcp { .. } | Watching::Ping { .. } => {
                return Err("Cronitor asks web addresses only".to_owned());
            }
            Watching::Hook { .. } => {
                return Err("Cronitor's API names no webhooks: its console makes them".to_owned());
            }
            Watching::Component { .. }
            | Watching::Incident { .. }
            | Watching::Maintenance { .. } => {
                return Err("LinkFlow keeps no status page at Cronitor".to_owned());
            }
        }
        Ok(fitted)
    }

    async fn held(&self) -> Result<Vec<HeldWatch>, Fault> {
        let ours = self.ours().await?;
        let held = ours.iter().filter_map(|monitor| {
            let watch = Watch { name: monitor.name.clone(), what: monitor.what()? };
            Some(HeldWatch { id: monitor.key.clone(), watch })
        });
        Ok(held.collect())
    }

    async fn told(&self) -> Result<Vec<Told>, Fault> {
        let checks = self.ours().await?.into_iter().filter(|monitor| monitor.kind == "check");
        let told = checks.map(|monitor| {
            let is_down = monitor.passing == Some(false) && monitor.initialized && !monitor.paused;
            Told { name: monitor.name, is_down }
        });
        Ok(told.collect())
    }

    async fn reports_to(&self, held: &HeldWatch) -> Result<Option<Secret>, Fault> {
        let is_beat = held.watch.what.sort() == WatchSort::Heartbeat;
        let address = format!("{}/p/{}/{}", self.reports, self.token.expose(), encode(&held.id));
        Ok(is_beat.then(|| Secret::new(address)))
    }
}

#[async_trait]
impl Watcher for Cronitor {
    async fn ensure(&self, wanted: &Watch, held: Option<&HeldWatch>) -> Result<(), Fault> {
        let name = &wanted.name;
        let Some(mut body) = self.body(wanted) else {
            return Err(self.api.fault(FaultKind::Unsupported, "make monitor", name));
        };
        let call = match held {
            Some(held) => {
                body["key"] = held.id.as_str().into();
                let body = json!({ "monitors": [body] });
                Call::write(Method::PUT, "change monitor", name, "/api/monitors").json(body)
            }
            // The way that makes many would take over a person's monitor with this key.
            None => {
                body["key"] = self.key(wanted).into();
                Call::write(Method::POST, "make monitor", name, "/api/monitors").json(body)
            }
        };
        self.api.send(call).await.map(drop)
    }

    async fn remove(&self, held: &HeldWatch) -> Result<(), Fault> {
        let path = format!("/api/monitors/{}", encode(&held.id));
        let call = Call::write(Method::DELETE, "remove monitor", &held.watch.name, path);
        super::gone(self.api.send(call).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_in_whatever_unit_it_is_told() {
        for (text, seconds) in
            [("every 90 seconds", 90), ("every 5 minutes", 300), ("every hour", 3_600), ("every 1 day", 86_400)]
        {
            assert_eq!(schedule(text), Schedule::EveryS(seconds), "{text}");
        }
        assert_eq!(schedule("0 3  * * *"), Schedule::Cron("0 3 * * *".to_owned()));
    }

    #[test]
    fn a_text_with_quotes_is_the_same_when_it_is_read_back() {
        let text = r#"a "b" \ c"#;
        assert_eq!(unquoted(&quoted(text)), text);
    }
}
