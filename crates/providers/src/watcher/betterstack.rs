//! Better Stack, Uptime API v2. <https://betterstack.com/docs/uptime/api/getting-started-with-uptime-api/>
//!
//! There are no tags, so what is ours ends its name with a mark: `api [linkflow:shop]`.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use linkflow_model::role::{
    HeldWatch, Schedule, Told, Watch, WatchSort, Watcher, WatcherLook, Watching,
};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret, StackName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::kit::{Account, Auth, Call, Kit, Limiter, Vendor};

/// The API.
const API: &str = "https://uptime.betterstack.com";

/// How long an answer may take, in seconds, as the API takes it.
const TIMEOUTS_S: [u64; 8] = [2, 3, 5, 10, 15, 30, 45, 60];
/// The same for connections and pings, which the API takes in milliseconds: 1 s, 2 s, 3 s, 5 s.
const SHORT_TIMEOUTS_S: [u64; 4] = [1, 2, 3, 5];
/// The shortest time between two reports, in seconds.
const LEAST_PERIOD_S: u64 = 30;

/// What Better Stack needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A token of the Uptime API.
    pub token: Secret,
    /// The shortest time between two looks that the plan has.
    pub least_every: Duration,
    /// In place of `https://uptime.betterstack.com`.
    pub api: Option<String>,
}

/// A team at Better Stack.
pub struct Betterstack {
    api: Vendor,
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
) -> Betterstack {
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "betterstack",
        production: API.to_owned(),
        base: settings.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned(),
        auth: Some(Auth::bearer(settings.token)),
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide,
    });
    let mark = format!(" [{}]", super::mark(stack));
    let least_every_s = settings.least_every.as_secs();
    Betterstack { api, mark, least_every_s, provider: provider.clone() }
}

/// Masks addresses of webhooks and heartbeats, and what people's own webhooks are signed in with.
fn hide(body: &mut Value) {
    super::hidden(body, &["auth_username", "auth_password", "headers_template"]);
    let hide_row = |row: &mut Value| {
        let is_secret = matches!(row["type"].as_str(), Some("outgoing_webhook" | "heartbeat"));
        if is_secret && let Some(attributes) = row.get_mut("attributes") {
            super::hidden(attributes, &["url"]);
        }
    };
    if body.get("on_incident_started").is_some() {
        super::hidden(body, &["url"]);
    }
    match body.get_mut("data") {
        Some(Value::Array(rows)) => rows.iter_mut().for_each(hide_row),
        Some(row) => hide_row(row),
        None => {}
    }
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<Row<T>>,
    pagination: Pagination,
}

#[derive(Deserialize)]
struct Pagination {
    next: Option<String>,
}

#[derive(Deserialize)]
struct Row<T> {
    id: String,
    attributes: T,
}

#[derive(Deserialize)]
struct Monitor {
    #[serde(default)]
    pronounceable_name: Option<String>,
    monitor_type: String,
    /// `up`, `down`, `validating`, `paused`, `pending`, `maintenance`.
    #[serde(default)]
    status: Option<String>,
    url: Option<String>,
    #[serde(default)]
    check_frequency: u64,
    #[serde(default)]
    request_timeout: u64,
    port: Option<String>,
    required_keyword: Option<String>,
    #[serde(default)]
    expected_status_codes: Vec<u16>,
}

#[derive(Deserialize)]
struct Beat {
    name: Option<String>,
    #[serde(default)]
    period: u64,
    #[serde(default)]
    grace: u64,
}

#[derive(Deserialize)]
struct Webhook {
    name: Option<String>,
    url: Option<String>,
    trigger_type: Option<String>,
    #[serde(default)]
    on_incident_started: Option<bool>,
    #[serde(default)]
    on_incident_resolved: Option<bool>,
}

impl Webhook {
    /// What it does; `None` for what LinkFlow never makes.
    fn what(&self) -> Option<Watching> {
        let of = Vec::new();
        let is_whole = self.on_incident_started == Some(true) && self.on_incident_resolved == Some(true);
        // One that is not told of everything is changed as if it led elsewhere.
        let to = self.url.as_deref().filter(|_| is_whole).unwrap_or_default();
        let is_of_incidents = self.trigger_type.as_deref() == Some("incident_change");
        is_of_incidents.then(|| Watching::Hook { to: Secret::new(to), of })
    }
}

impl Monitor {
    /// What it does; `None` for what LinkFlow never makes.
    fn what(&self) -> Option<Watching> {
        let url = self.url.clone().unwrap_or_default();
        let every_s = self.check_frequency;
        let asks = |status, contains| Watching::Http {
            url: url.clone(),
            every_s,
            timeout_s: self.request_timeout,
            status,
            contains,
        };
        Some(match self.monitor_type.as_str() {
            "status" => asks(None, None),
            "expected_status_code" => asks(self.expected_status_codes.first().copied(), None),
            "keyword" => asks(None, self.required_keyword.clone()),
            "tcp" => Watching::Tcp {
                host: url,
                port: self.port.as_deref()?.parse().ok()?,
                every_s,
                timeout_s: self.request_timeout / 1_000,
            },
            "ping" => {
                Watching::Ping { host: url, every_s, timeout_s: self.request_timeout / 1_000 }
            }
            _ => return None,
        })
    }
}

/// Where things of this sort are.
fn place(sort: WatchSort) -> &'static str {
    match sort {
        WatchSort::Heartbeat => "/api/v2/heartbeats",
        WatchSort::Hook => "/api/v2/outgoing-webhooks",
        _ => "/api/v2/monitors",
    }
}

/// The shortest of `times` that is no shorter than `wanted`, or the longest.
fn step(times: &[u64], wanted: u64) -> u64 {
    let fits = times.iter().find(|time| **time >= wanted);
    fits.or(times.last()).copied().unwrap_or(wanted)
}

impl Betterstack {
    fn body(&self, wanted: &Watch, is_new: bool) -> Option<Value> {
        let name = format!("{}{}", wanted.name, self.mark);
        Some(match &wanted.what {
            Watching::Http { url, every_s, timeout_s, status, contains } => {
                let mut body = json!({
                    "monitor_type": "status", "pronounceable_name": name, "url": url,
                    "check_frequency": every_s, "request_timeout": timeout_s,
                });
                if let Some(status) = status {
                    body["monitor_type"] = "expected_status_code".into();
                    body["expected_status_codes"] = json!([status]);
                }
                if let Some(text) = contains {
                    body["monitor_type"] = "keyword".into();
                    body["required_keyword"] = text.as_str().into();
                }
                body
            }
            Watching::Tcp { host, port, every_s, timeout_s } => json!({
                "monitor_type": "tcp", "pronounceable_name": name, "url": host, "port": port.to_string(),
                "check_frequency": every_s, "request_timeout": timeout_s * 1_000,
            }),
            Watching::Ping { host, every_s, timeout_s } => json!({
                "monitor_type": "ping", "pronounceable_name": name, "url": host,
                "check_frequency": every_s, "request_timeout": timeout_s * 1_000,
            }),
            Watching::Heartbeat { schedule: Schedule::EveryS(every_s), grace_s } => {
                json!({ "name": name, "period": every_s, "grace": grace_s })
            }
            Watching::Hook { to, .. } => {
                let mut body = json!({
                    "name": name, "url": to.expose(), "on_incident_started": true, "on_incident_resolved": true,
                    "on_incident_reopened": true,
                });
                // It can be said when one is made, and never again.
                if is_new {
                    body["trigger_type"] = "incident_change".into();
                }
                body
            }
            _ => return None,
        })
    }

    /// Every row of a list, page after page.
    async fn rows<T: DeserializeOwned>(
        &self,
        action: &'static str,
        path: &str,
    ) -> Result<Vec<Row<T>>, Fault> {
        let mut rows = Vec::new();
        for page in 1_u32.. {
            let call = Call::read(action, "", path).query("page", &page.to_string());
            let Page { data, pagination } = self.api.send_for::<Page<T>>(call).await?;
            let is_empty = data.is_empty();
            rows.extend(data);
            if pagination.next.is_none() || is_empty {
                break;
            }
        }
        Ok(rows)
    }

    fn ours(&self, id: &str, name: Option<&str>, what: Option<Watching>) -> Option<HeldWatch> {
        let name = name?.strip_suffix(&self.mark)?.to_owned();
        Some(HeldWatch { id: id.to_owned(), watch: Watch { name, what: what? } })
    }
}

#[async_trait]
impl WatcherLook for Betterstack {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn fit(&self, wanted: &Watch) -> Result<Watch, String> {
        let mut fitted = wanted.clone();
        match &mut fitted.what {
            Watching::Http { status: Some(_), contains: Some(_), .. } => {
                return Err("Better Stack looks for a status or for a text, not for both".to_owned());
            }
            Watching::Http { every_s, timeout_s, .. } => {
                *every_s = (*every_s).max(self.least_every_s);
                *timeout_s = step(&TIMEOUTS_S, *timeout_s);
            }
            Watching::Tcp { every_s, timeout_s, .. } | Watching::Ping { every_s, timeout_s, .. } => {
                *every_s = (*every_s).max(self.least_every_s);
                *timeout_s = step(&SHORT_TIMEOUTS_S, *timeout_s);
            }
            Watching::Heartbeat { schedule: Schedule::EveryS(every_s), .. } => {
                *every_s = (*every_s).max(LEAST_PERIOD_S);
            }
            Watching::Heartbeat { schedule: Schedule::Cron(_), .. } => {
                return Err("Better Stack waits for reports in even steps, not by cron".to_owned());
            }
            // It tells of every incident of the team.
            Watching::Hook { of, .. } => of.clear(),
            Watching::Component { .. }
            | Watching::Incident { .. }
            | Watching::Maintenance { .. } => {
                return Err("LinkFlow keeps no status page at Better Stack".to_owned());
            }
        }
        Ok(fitted)
    }

    async fn held(&self) -> Result<Vec<HeldWatch>, Fault> {
        let monitors = self.rows::<Monitor>("list monitors", place(WatchSort::Monitor)).await?;
        let beats = self.rows::<Beat>("list heartbeats", place(WatchSort::Heartbeat)).await?;
        let hooks = self.rows::<Webhook>("list webhooks", place(WatchSort::Hook)).await?;
        let monitors = monitors.iter().filter_map(|row| {
            self.ours(&row.id, row.attributes.pronounceable_name.as_deref(), row.attributes.what())
        });
        let beats = beats.iter().filter_map(|row| {
            let schedule = Schedule::EveryS(row.attributes.period);
            let what = Watching::Heartbeat { schedule, grace_s: row.attributes.grace };
            self.ours(&row.id, row.attributes.name.as_deref(), Some(what))
        });
        let hooks = hooks.iter().filter_map(|row| {
            self.ours(&row.id, row.attributes.name.as_deref(), row.attributes.what())
        });
        Ok(monitors.chain(beats).chain(hooks).collect())
    }

    async fn told(&self) -> Result<Vec<Told>, Fault> {
        let rows = self.rows::<Monitor>("list monitors", place(WatchSort::Monitor)).await?;
        let told = rows.iter().filter_map(|Row { attributes: monitor, .. }| {
            let name = monitor.pronounceable_name.as_deref()?.strip_suffix(&self.mark)?.to_owned();
            monitor.what()?;
            Some(Told { name, is_down: monitor.status.as_deref() == Some("down") })
        });
        Ok(told.collect())
    }

    async fn reports_to(&self, held: &HeldWatch) -> Result<Option<Secret>, Fault> {
        #[derive(Deserialize)]
        struct One {
            data: Row<Address>,
        }
        #[derive(Deserialize)]
        struct Address {
            url: Option<String>,
        }
        if held.watch.what.sort() != WatchSort::Heartbeat {
            return Ok(None);
        }
        let path = format!("{}/{}", place(WatchSort::Heartbeat), held.id);
        let call = Call::read("read heartbeat", &held.watch.name, path);
        let One { data } = self.api.send_for(call).await?;
        Ok(data.attributes.url.map(Secret::new))
    }
}

#[async_trait]
impl Watcher for Betterstack {
    async fn ensure(&self, wanted: &Watch, held: Option<&HeldWatch>) -> Result<(), Fault> {
        let name = &wanted.name;
        let Some(body) = self.body(wanted, held.is_none()) else {
            return Err(self.api.fault(FaultKind::Unsupported, "make monitor", name));
        };
        let place = place(wanted.what.sort());
        let call = match held {
            Some(held) => {
                Call::write(Method::PATCH, "change monitor", name, format!("{place}/{}", held.id))
            }
            None => Call::write(Method::POST, "make monitor", name, place),
        };
        self.api.send(call.json(body)).await.map(drop)
    }

    async fn remove(&self, held: &HeldWatch) -> Result<(), Fault> {
        let path = format!("{}/{}", place(held.watch.what.sort()), held.id);
        let call = Call::write(Method::DELETE, "remove monitor", &held.watch.name, path);
        super::gone(self.api.send(call).await)
    }
}
