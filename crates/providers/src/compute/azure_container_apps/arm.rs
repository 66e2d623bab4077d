//! The resource manager: how it is asked, what its refusals mean, and how what it does by and by is waited for.

use std::time::Duration;

use http::{Method, StatusCode};
use linkflow_model::{Fault, FaultKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Azure;
use super::wire::{HeldSecret, Page, Replica, Resource};
use crate::kit::{Answer, Call, Limiter, Rule, Scope, encode};

/// The version of the API that all requests ask for.
const VERSION: &str = "2026-07-01";

/// How long one call waits for what is under way at the vendor, before it says that it is.
const PATIENCE: Duration = Duration::from_secs(40);

/// The shortest and the longest pause between two looks at it.
const PAUSES: [Duration; 2] = [Duration::from_millis(150), Duration::from_secs(3)];

/// 200 writes at once and ten a second, for each subscription and service principal; reads have a little more
/// (docs: azure resource manager, request limits and throttling).
pub(super) fn limits() -> Limiter {
    let rule = Rule { scope: Scope::Vendor, every: Duration::from_millis(100), burst: 200 };
    Limiter::new(vec![rule], Duration::from_secs(5))
}

pub(super) fn own_judgement(status: StatusCode, said: &str) -> Option<FaultKind> {
    let said = said.to_lowercase();
    let has = |words: &str| said.contains(words);
    if !status.is_client_error() {
        return None;
    }
    // The subscription's credit is spent, or it was switched off: 409, but no second try helps.
    if has("marked as read only") || has("cannot have more than") || has("maximum allowed") {
        return Some(FaultKind::Exhausted);
    }
    // Told as a conflict too, and only a person can mend it.
    if has("not registered to use namespace") {
        return Some(FaultKind::Invalid);
    }
    None
}

/// Masks the values of secrets, and the token for logs.
pub(super) fn hide_secrets(body: &mut Value) {
    let mask = |item: &mut Value| {
        // Quotas have a `value` too, but it is a name.
        let is_secret = item.get("name").is_some_and(Value::is_string);
        if let Some(value @ Value::String(_)) = item.get_mut("value").filter(|_| is_secret) {
            *value = Value::from("***");
        }
    };
    for place in ["/value", "/properties/configuration/secrets"] {
        if let Some(Value::Array(items)) = body.pointer_mut(place) {
            items.iter_mut().for_each(mask);
        }
    }
    for place in ["/properties/token", "/access_token"] {
        if let Some(token @ Value::String(_)) = body.pointer_mut(place) {
            *token = Value::from("***");
        }
    }
}

/// Waits longer each time, until patience runs out.
pub(super) struct Pace {
    next: Duration,
    left: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { next: PAUSES[0], left: PATIENCE }
    }

    /// Waits. `false`: there is no patience left.
    pub(super) async fn wait(&mut self) -> bool {
        if self.left.is_zero() {
            return false;
        }
        let pause = self.next.min(self.left);
        self.left -= pause;
        self.next = (self.next * 3 / 2).min(PAUSES[1]);
        tokio::time::sleep(pause).await;
        true
    }
}

impl Azure {
    /// The path of something in our resource group.
    pub(super) fn path(&self, tail: &str) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.App/{tail}?api-version={VERSION}",
            encode(&self.settings.subscription),
            encode(&self.settings.resource_group),
        )
    }

    pub(super) fn app_path(&self, app: &str, tail: &str) -> String {
        self.path(&format!("containerApps/{}{tail}", encode(app)))
    }

    /// The path of something that belongs to the subscription.
    pub(super) fn subscription_path(&self, tail: &str) -> String {
        let subscription = encode(&self.settings.subscription);
        format!(
            "/subscriptions/{subscription}/providers/Microsoft.App/{tail}?api-version={VERSION}"
        )
    }

    /// The id of the environment, as other resources name it.
    pub(super) fn environment_id(&self) -> String {
        let path = self.path(&format!("managedEnvironments/{}", self.settings.environment));
        path.split('?').next().unwrap_or_default().to_owned()
    }

    /// Sends `call` with the token of now, and once more with a fresh one when that was refused.
    async fn exchange(&self, call: &Call) -> Result<Answer, Fault> {
        let header = self.tokens.header(None).await?;
        let with = |header| call.clone().secret_header("authorization", header);
        let answer = self.arm.exchange(&with(header.clone())).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let fresh = self.tokens.header(Some(&header)).await?;
        self.arm.exchange(&with(fresh)).await
    }

    pub(super) async fn send(&self, call: Call) -> Result<Answer, Fault> {
        let answer = self.exchange(&call).await?;
        self.arm.judge(&call, answer)
    }

    pub(super) async fn send_for<T: DeserializeOwned>(&self, call: Call) -> Result<T, Fault> {
        let attempt = call.attempt();
        let answer = self.send(call).await?;
        self.arm.read(attempt, &answer)
    }

    /// What `call` reads; `None` when it is not there.
    pub(super) async fn find<T: DeserializeOwned>(&self, call: Call) -> Result<Option<T>, Fault> {
        absent(self.send_for(call).await)
    }

    /// All pages of a list.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        action: &'static str,
        about: &str,
        path: String,
    ) -> Result<Vec<T>, Fault> {
        let (mut all, mut next) = (Vec::new(), Some(path));
        while let Some(path) = next {
            let page: Page<T> = self.send_for(Call::read(action, about, path)).await?;
            all.extend(page.value);
            next = page.next.as_deref().and_then(path_of).filter(|path| !path.is_empty());
        }
        Ok(all)
    }

    pub(super) async fn app(&self, name: &str) -> Result<Option<Resource>, Fault> {
        self.find(Call::read("read container app", name, self.app_path(name, ""))).await
    }

    /// The app, once nothing is under way with it.
    pub(super) async fn settled_app(&self, name: &str) -> Result<Option<Resource>, Fault> {
        self.settled("container app", name, &self.app_path(name, "")).await
    }

    /// What is at `path`, once nothing is under way with it; `None` when it is not there, or no more.
    ///
    /// [`FaultKind::Conflict`] when that takes longer than one call may.
    pub(super) async fn settled(
        &self,
        what: &str,
        name: &str,
        path: &str,
    ) -> Result<Option<Resource>, Fault> {
        let mut pace = Pace::new();
        loop {
            let call = Call::read("read", format!("{what} {name}"), path);
            let Some(found) = self.find::<Resource>(call).await? else { return Ok(None) };
            if !found.is_busy() {
                return Ok(Some(found));
            }
            if !pace.wait().await {
                let said =
                    format!("Azure is still at work on it: {}", found.text("/provisioningState"));
                let attempt = format!("change {what} {name}");
                return Err(self.arm.fault(FaultKind::Conflict, attempt, &said));
            }
        }
    }

    /// Sends a verb to an app.
    pub(super) async fn act(
        &self,
        action: &'static str,
        app: &str,
        tail: &str,
    ) -> Result<(), Fault> {
        let call = Call::write(Method::POST, action, app, self.app_path(app, tail));
        self.send(call).await.map(drop)
    }

    /// Every secret of an app, with its value.
    pub(super) async fn secrets(&self, app: &str) -> Result<Vec<HeldSecret>, Fault> {
        let path = self.app_path(app, "/listSecrets");
        let call = Call::write(Method::POST, "read the secrets of", app, path).as_read();
        let page: Page<HeldSecret> = self.send_for(call).await?;
        Ok(page.value)
    }

    pub(super) async fn revisions(&self, app: &str) -> Result<Vec<Resource>, Fault> {
        self.list("list revisions of", app, self.app_path(app, "/revisions")).await
    }

    pub(super) async fn revision(&self, app: &str, name: &str) -> Result<Option<Resource>, Fault> {
        let path = self.app_path(app, &format!("/revisions/{}", encode(name)));
        self.find(Call::read("read revision", name, path)).await
    }

    pub(super) async fn replicas(&self, app: &str, revision: &str) -> Result<Vec<Replica>, Fault> {
        let path = self.app_path(app, &format!("/revisions/{}/replicas", encode(revision)));
        let call = Call::read("list replicas of", revision, path);
        Ok(self.find::<Page<Replica>>(call).await?.map(|page| page.value).unwrap_or_default())
    }
}

/// `None` for what is not there.
pub(super) fn absent<T>(answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(fault) if fault.kind == FaultKind::Missing => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Path and query of an absolute address.
pub(super) fn path_of(address: &str) -> Option<String> {
    let rest = address.split_once("://")?.1;
    rest.find('/').map(|at| rest[at..].to_owned())
}
