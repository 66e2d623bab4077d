//! Healthchecks, Management API v3. <https://healthchecks.io/docs/api/>
//!
//! It waits for heartbeats. What is ours has the tag `linkflow-STACK`. A server of one's own has the same API.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use linkflow_model::role::{HeldWatch, Schedule, Watch, Watcher, WatcherLook, Watching};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret, StackName};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kit::{Account, Auth, Call, Kit, Limiter, Rule, Scope, Vendor};

/// The API.
const API: &str = "https://healthchecks.io";

/// 100 requests a minute.
const REQUESTS: Rule = Rule { scope: Scope::Vendor, every: Duration::from_millis(600), burst: 50 };

/// How long a request may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// The least of a period and of a grace, in seconds.
const LEAST_S: u64 = 60;
/// The most of either, in seconds: a year.
const MOST_S: u64 = 31_536_000;

/// What Healthchecks needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The project's API key that may write.
    pub token: Secret,
    /// In place of `https://healthchecks.io`.
    pub api: Option<String>,
}

/// A project at Healthchecks.
pub struct Healthchecks {
    api: Vendor,
    tag: String,
    provider: ProviderName,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> Healthchecks {
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "healthchecks",
        production: API.to_owned(),
        base: settings.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned(),
        auth: Some(Auth { header: "x-api-key", scheme: "", value: settings.token }),
        limits: Box::new(|| Limiter::new(vec![REQUESTS], PATIENCE)),
        judge: |_, _| None,
        hide: |_| {},
    });
    Healthchecks { api, tag: super::tag(stack), provider: provider.clone() }
}

#[derive(Deserialize)]
struct List {
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    /// A key that may only read is told no id.
    uuid: Option<String>,
    name: String,
    #[serde(default)]
    tags: String,
    timeout: Option<u64>,
    #[serde(default)]
    grace: u64,
    schedule: Option<String>,
}

impl Check {
    fn what(&self) -> Watching {
        let schedule = match (&self.schedule, self.timeout) {
            (Some(cron), _) => Schedule::Cron(cron.clone()),
            (None, seconds) => Schedule::EveryS(seconds.unwrap_or_default()),
        };
        Watching::Heartbeat { schedule, grace_s: self.grace }
    }
}

impl Healthchecks {
    fn body(&self, wanted: &Watch) -> Option<Value> {
        let Watching::Heartbeat { schedule, grace_s } = &wanted.what else { return None };
        let mut body = json!({ "name": wanted.name, "tags": self.tag, "grace": grace_s });
        match schedule {
            Schedule::EveryS(seconds) => body["timeout"] = (*seconds).into(),
            Schedule::Cron(cron) => {
                body["schedule"] = cron.as_str().into();
                body["tz"] = "UTC".into();
            }
        }
        Some(body)
    }
}

#[async_trait]
impl WatcherLook for Healthchecks {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn fit(&self, wanted: &Watch) -> Result<Watch, String> {
        let mut fitted = wanted.clone();
        let Watching::Heartbeat { schedule, grace_s } = &mut fitted.what else {
            return Err("Healthchecks waits for heartbeats only".to_owned());
        };
        if let Schedule::EveryS(seconds) = schedule {
            *seconds = (*seconds).clamp(LEAST_S, MOST_S);
        }
        *grace_s = (*grace_s).clamp(LEAST_S, MOST_S);
        Ok(fitted)
    }

    async fn held(&self) -> Result<Vec<HeldWatch>, Fault> {
        let call = Call::read("list checks", "", "/api/v3/checks/").query("tag", &self.tag);
        let List { checks } = self.api.send_for(call).await?;
        let ours = checks.into_iter().filter(|c| c.tags.split(' ').any(|tag| tag == self.tag));
        let held = ours.map(|check| {
            let watch = Watch { name: check.name.clone(), what: check.what() };
            check.uuid.map(|id| HeldWatch { id, watch }).ok_or_else(|| {
                let said = "the API key may only read; one that may write is needed";
                self.api.fault(FaultKind::Denied, "list checks", said)
            })
        });
        held.collect()
    }

    async fn reports_to(&self, held: &HeldWatch) -> Result<Option<Secret>, Fault> {
        #[derive(Deserialize)]
        struct Address {
            ping_url: Option<String>,
        }
        let path = format!("/api/v3/checks/{}", held.id);
        let call = Call::read("read check", &held.watch.name, path);
        let Address { ping_url } = self.api.send_for(call).await?;
        Ok(ping_url.map(Secret::new))
    }
}

#[async_trait]
impl Watcher for Healthchecks {
    async fn ensure(&self, wanted: &Watch, held: Option<&HeldWatch>) -> Result<(), Fault> {
        let name = &wanted.name;
        let Some(body) = self.body(wanted) else {
            return Err(self.api.fault(FaultKind::Unsupported, "make check", name));
        };
        let call = match held {
            Some(held) => {
                Call::write(Method::POST, "change check", name, format!("/api/v3/checks/{}", held.id))
            }
            None => Call::write(Method::POST, "make check", name, "/api/v3/checks/"),
        };
        self.api.send(call.json(body)).await.map(drop)
    }

    async fn remove(&self, held: &HeldWatch) -> Result<(), Fault> {
        let path = format!("/api/v3/checks/{}", held.id);
        let call = Call::write(Method::DELETE, "remove check", &held.watch.name, path);
        super::gone(self.api.send(call).await)
    }
}
