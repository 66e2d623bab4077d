//! UptimeRobot, API v3. <https://uptimerobot.com/api/v3>
//!
//! What is ours has the tag `linkflow-STACK`; a webhook has no tags, so its name ends with a mark. A free account may ask
//! ten times a minute, so nothing is read twice: one list of each sort, and then a request for each difference.

use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use linkflow_model::role::{
    HeldWatch, Schedule, Told, Watch, WatchSort, Watcher, WatcherLook, Watching,
};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret, StackName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::hidden;
use crate::kit::{Account, Auth, Call, Kit, Limiter, Rule, Scope, Vendor};

/// The API.
const API: &str = "https://api.uptimerobot.com/v3";

/// How long a request may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most monitors of a page.
const PAGE: &str = "200";

/// The longest that an answer may take, in seconds.
const MOST_TIMEOUT_S: u64 = 60;
/// The latest that a heartbeat may be, in seconds.
const MOST_GRACE_S: u64 = 86_400;
/// The longest between two looks, in seconds.
const MOST_EVERY_S: u64 = 2_678_400;

/// Where integrations have addresses and keys, people's among them.
const SECRETS: [&str; 7] = [
    "urlToNotify",
    "value",
    "customValue",
    "customValue2",
    "customValue3",
    "customValue4",
    "customHeaders",
];

/// What UptimeRobot needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The main API key of the account.
    pub token: Secret,
    /// The shortest time between two looks that the plan has.
    pub least_every: Duration,
    /// How many requests a minute the plan has.
    pub per_minute: u32,
    /// In place of `https://api.uptimerobot.com/v3`.
    pub api: Option<String>,
}

/// An account at UptimeRobot.
pub struct Uptimerobot {
    api: Vendor,
    tag: String,
    /// ` [linkflow:shop]`.
    mark: String,
    least_every_s: u64,
    provider: ProviderName,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> Uptimerobot {
    let burst = settings.per_minute.max(1);
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "uptimerobot",
        production: API.to_owned(),
        base: settings.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned(),
        auth: Some(Auth::bearer(settings.token)),
        limits: Box::new(move || {
            let every = Duration::from_secs(60) / burst;
            Limiter::new(vec![Rule { scope: Scope::Vendor, every, burst }], PATIENCE)
        }),
        judge,
        hide: |body| hidden(body, &SECRETS),
    });
    let least_every_s = settings.least_every.as_secs();
    let (tag, mark) = (super::tag(stack), format!(" [{}]", super::mark(stack)));
    Uptimerobot { api, tag, mark, least_every_s, provider: provider.clone() }
}

fn judge(status: StatusCode, said: &str) -> Option<FaultKind> {
    let is_full = status == StatusCode::FORBIDDEN && said.to_lowercase().contains("limit");
    is_full.then_some(FaultKind::Exhausted)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    next_link: Option<String>,
    data: Vec<T>,
}

/// A way in which people, or programs, are told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Integration {
    id: u64,
    friendly_name: Option<String>,
    /// Of a webhook, its address.
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Monitor {
    id: u64,
    friendly_name: String,
    /// `UP`, `DOWN`, `PAUSED`, `STARTED` and such.
    #[serde(default)]
    status: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    url: String,
    interval: u64,
    timeout: Option<u64>,
    port: Option<u16>,
    grace_period: Option<u64>,
    keyword_value: Option<String>,
    #[serde(default)]
    success_http_response_codes: Vec<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    /// Who is told of it, as `{alertContactId, threshold, recurrence}`.
    #[serde(default)]
    assigned_alert_contacts: Vec<Value>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
}

impl Monitor {
    /// Whether it looks, rather than waits for reports.
    fn looks(&self) -> bool {
        self.what().is_some_and(|what| what.sort() == WatchSort::Monitor)
    }

    /// Whether the integration `id` is told of it.
    fn tells(&self, id: u64) -> bool {
        self.assigned_alert_contacts.iter().any(|one| one["alertContactId"].as_u64() == Some(id))
    }

    /// What it does; `None` for what LinkFlow never makes.
    fn what(&self) -> Option<Watching> {
        let (every_s, timeout_s) = (self.interval, self.timeout.unwrap_or_default());
        Some(match self.kind.as_str() {
            "HTTP" | "KEYWORD" => Watching::Http {
                url: self.url.clone(),
                every_s,
                timeout_s,
                status: match self.success_http_response_codes.as_slice() {
                    [one] => one.parse().ok(),
                    _ => None,
                },
                contains: self.keyword_value.clone().filter(|_| self.kind == "KEYWORD"),
            },
            "PORT" => {
                let port = self.port.unwrap_or_default();
                Watching::Tcp { host: self.url.clone(), port, every_s, timeout_s }
            }
            "PING" => Watching::Ping { host: self.url.clone(), every_s, timeout_s },
            "HEARTBEAT" => Watching::Heartbeat {
                schedule: Schedule::EveryS(every_s),
                grace_s: self.grace_period.unwrap_or_default(),
            },
            _ => return None,
        })
    }
}

impl Uptimerobot {
    /// What is sent to make it, or to change it.
    fn body(&self, wanted: &Watch, is_new: bool) -> Option<Value> {
        let mut body = match &wanted.what {
            Watching::Http { url, every_s, timeout_s, status, contains } => {
                let codes = match status {
                    Some(status) => vec![status.to_string()],
                    None => ["2xx", "3xx"].map(str::to_owned).to_vec(),
                };
                let mut body = json!({
                    "type": "HTTP", "url": url, "interval": every_s, "timeout": timeout_s,
                    "successHttpResponseCodes": codes,
                });
                if let Some(text) = contains {
                    body["type"] = "KEYWORD".into();
                    body["keywordType"] = "ALERT_NOT_EXISTS".into();
                    body["keywordValue"] = text.as_str().into();
                    // It is a word where a monitor is made and a number where one is changed.
                    body["keywordCaseType"] = if is_new { "CaseSensitive".into() } else { 0.into() };
                }
                body
            }
            Watching::Tcp { host, port, every_s, timeout_s } => json!({
                "type": "PORT", "url": host, "port": port, "interval": every_s, "timeout": timeout_s,
            }),
            Watching::Ping { host, every_s, timeout_s } => json!({
                "type": "PING", "url": host, "interval": every_s, "timeout": timeout_s,
            }),
            Watching::Heartbeat { schedule: Schedule::EveryS(every_s), grace_s } => json!({
                "type": "HEARTBEAT", "interval": every_s, "gracePeriod": grace_s,
            }),
            _ => return None,
        };
        body["friendlyName"] = wanted.name.as_str().into();
        body["tagNames"] = json!([self.tag]);
        Some(body)
    }

    /// Every row of a list, page after page.
    async fn rows<T: DeserializeOwned>(&self, first: impl Fn() -> Call) -> Result<Vec<T>, Fault> {
        let mut rows = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut call = first();
            if let Some(cursor) = &after {
                call = call.query("cursor", cursor);
            }
            let page: Page<T> = self.api.send_for(call).await?;
            rows.extend(page.data);
            after = page.next_link.as_deref().and_then(cursor).map(str::to_owned);
            if after.is_none() {
                return Ok(rows);
            }
        }
    }

    /// All monitors that have our tag.
    async fn ours(&self) -> Result<Vec<Monitor>, Fault> {
        let list = || Call::read("list monitors", "", "/monitors").query("limit", PAGE);
        let mut all: Vec<Monitor> = self.rows(list).await?;
        all.retain(|monitor| monitor.tags.iter().any(|tag| tag.name == self.tag));
        Ok(all)
    }

    /// Webhooks whose name ends with our mark, with those of our `monitors` that tell them.
    async fn hooks(&self, monitors: &[Monitor]) -> Result<Vec<HeldWatch>, Fault> {
        let list = || Call::read("list integrations", "", "/integrations");
        let all: Vec<Integration> = self.rows(list).await?;
        let held = all.into_iter().filter_map(|one| {
            let name = one.friendly_name?.strip_suffix(&self.mark)?.to_owned();
            let telling = monitors.iter().filter(|monitor| monitor.tells(one.id));
            let mut of: Vec<String> = telling.map(|m| m.friendly_name.clone()).collect();
            of.sort();
            let to = Secret::new(one.value.unwrap_or_default());
            let watch = Watch { name, what: Watching::Hook { to, of } };
            Some(HeldWatch { id: one.id.to_string(), watch })
        });
        Ok(held.collect())
    }

    /// Enters the webhook `name` to `to`, and has the monitors `of` tell it beside whoever they tell already.
    async fn ensure_hook(
        &self,
        name: &str,
        (to, of): (&Secret, &[String]),
        held: Option<&HeldWatch>,
    ) -> Result<(), Fault> {
        let data = json!({
            "friendlyName": format!("{name}{}", self.mark), "enableNotificationsFor": "UpAndDown",
            "sslExpirationReminder": false, "urlToNotify": to.expose(), "postValue": "{}", "sendAsJSON": true,
        });
        let body = json!({ "type": "Webhook", "data": data });
        let id = match held {
            Some(HeldWatch { id, watch }) => {
                let is_there = matches!(&watch.what, Watching::Hook { to: held, .. } if held == to);
                if !is_there {
                    let path = format!("/integrations/{id}");
                    let call = Call::write(Method::PATCH, "change webhook", name, path);
                    self.api.send(call.json(body)).await?;
                }
                id.parse().map_err(|_| self.api.fault(FaultKind::Unclear, "change webhook", id))?
            }
            None => {
                let call = Call::write(Method::POST, "make webhook", name, "/integrations");
                let made: Integration = self.api.send_for(call.json(body)).await?;
                made.id
            }
        };
        for monitor in self.ours().await? {
            let is_due = monitor.looks() && of.contains(&monitor.friendly_name);
            if !is_due || monitor.tells(id) {
                continue;
            }
            let mut told = monitor.assigned_alert_contacts;
            told.push(json!({ "alertContactId": id, "threshold": 0, "recurrence": 0 }));
            let path = format!("/monitors/{}", monitor.id);
            let call = Call::write(Method::PATCH, "change monitor", &monitor.friendly_name, path);
            self.api.send(call.json(json!({ "assignedAlertContacts": told }))).await?;
        }
        Ok(())
    }

    fn every(&self, every_s: u64) -> u64 {
        every_s.max(self.least_every_s).min(MOST_EVERY_S)
    }
}

/// The cursor in the link to the next page.
fn cursor(link: &str) -> Option<&str> {
    link.split(['?', '&']).find_map(|part| part.strip_prefix("cursor="))
}

#[async_trait]
impl WatcherLook for Uptimerobot {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn fit(&self, wanted: &Watch) -> Result<Watch, String> {
        let mut fitted = wanted.clone();
        match &mut fitted.what {
            Watching::Http { every_s, timeout_s, .. }
            | Watching::Tcp { every_s, timeout_s, .. }
            | Watching::Ping { every_s, timeout_s, .. } => {
                *every_s = self.every(*every_s);
                *timeout_s = (*timeout_s).clamp(1, MOST_TIMEOUT_S);
            }
            Watching::Heartbeat { schedule: Schedule::EveryS(every_s), grace_s } => {
                *every_s = self.every(*every_s);
                *grace_s = (*grace_s).min(MOST_GRACE_S);
            }
            Watching::Heartbeat { schedule: Schedule::Cron(_), .. } => {
                return Err("UptimeRobot waits for reports in even steps, not by cron".to_owned());
            }
            Watching::Hook { .. } => {}
            Watching::Component { .. }
            | Watching::Incident { .. }
            | Watching::Maintenance { .. } => {
                return Err("LinkFlow keeps no status page at UptimeRobot".to_owned());
            }
        }
        Ok(fitted)
    }

    async fn held(&self) -> Result<Vec<HeldWatch>, Fault> {
        let ours = self.ours().await?;
        let held = ours.iter().filter_map(|monitor| {
            let watch = Watch { name: monitor.friendly_name.clone(), what: monitor.what()? };
            Some(HeldWatch { id: monitor.id.to_string(), watch })
        });
        let mut held: Vec<HeldWatch> = held.collect();
        held.extend(self.hooks(&ours).await?);
        Ok(held)
    }

    async fn told(&self) -> Result<Vec<Told>, Fault> {
        let ours = self.ours().await?.into_iter().filter(Monitor::looks);
        let told =
            |monitor: Monitor| Told { is_down: monitor.status == "DOWN", name: monitor.friendly_name };
        Ok(ours.map(told).collect())
    }

    /// The description of the API names no address for a heartbeat; only the website shows it.
    async fn reports_to(&self, _: &HeldWatch) -> Result<Option<Secret>, Fault> {
        Ok(None)
    }
}

#[async_trait]
impl Watcher for Uptimerobot {
    async fn ensure(&self, wanted: &Watch, held: Option<&HeldWatch>) -> Result<(), Fault> {
        let name = &wanted.name;
        if let Watching::Hook { to, of } = &wanted.what {
            return self.ensure_hook(name, (to, of), held).await;
        }
        let Some(body) = self.body(wanted, held.is_none()) else {
            return Err(self.api.fault(FaultKind::Unsupported, "make monitor", name));
        };
        let call = match held {
            Some(held) => {
                let path = format!("/monitors/{}", held.id);
                Call::write(Method::PATCH, "change monitor", name, path)
            }
            None => Call::write(Method::POST, "make monitor", name, "/monitors"),
        };
        self.api.send(call.json(body)).await.map(drop)
    }

    async fn remove(&self, held: &HeldWatch) -> Result<(), Fault> {
        let (action, place) = match held.watch.what.sort() {
            WatchSort::Hook => ("remove webhook", "integrations"),
            _ => ("remove monitor", "monitors"),
        };
        let path = format!("/{place}/{}", held.id);
        let call = Call::write(Method::DELETE, action, &held.watch.name, path);
        super::gone(self.api.send(call).await)
    }
}

#[cfg(test)]
mod tests {
    use super::cursor;

    #[test]
    fn the_next_page_is_found_in_its_link() {
        assert_eq!(cursor("https://api.uptimerobot.com/v3/monitors?limit=2&cursor=77"), Some("77"));
        assert_eq!(cursor("https://api.uptimerobot.com/v3/monitors"), None);
    }
}
