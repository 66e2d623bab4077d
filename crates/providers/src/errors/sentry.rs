//! Sentry, web API v0. <https://docs.sentry.io/api/>
//!
//! Only reads: what Sentry tells by a webhook is confirmed here.

use async_trait::async_trait;
use linkflow_model::role::{ErrorIssue, Errors};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret, StackName, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::kit::{Account, Auth, Call, Kit, Limiter, Vendor, encode};

/// The API, of organizations whose data is in the US. `https://de.sentry.io` is that of the EU.
const API: &str = "https://us.sentry.io";

/// The longest title that is passed on, in characters.
const TITLE: usize = 200;

/// What Sentry needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The token of an internal integration, or of an organization, with `event:read`.
    pub token: Secret,
    /// The organization's slug.
    pub organization: String,
    /// In place of `https://us.sentry.io`.
    pub api: Option<String>,
}

/// An organization at Sentry.
pub struct Sentry {
    api: Vendor,
    issues: String,
    provider: ProviderName,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    _: &StackName,
    provider: &ProviderName,
) -> Sentry {
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "sentry",
        production: API.to_owned(),
        base: settings.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned(),
        auth: Some(Auth::bearer(settings.token)),
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide: |_| {},
    });
    let issues = format!("/api/0/organizations/{}/issues/", encode(&settings.organization));
    Sentry { api, issues, provider: provider.clone() }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issue {
    id: String,
    short_id: String,
    title: String,
    level: String,
    status: String,
    permalink: String,
    last_seen: Option<String>,
}

impl Issue {
    fn told(self) -> ErrorIssue {
        ErrorIssue {
            is_open: self.status == "unresolved",
            last_seen: self.last_seen.as_deref().and_then(moment),
            id: self.id,
            short: line(&self.short_id),
            title: line(&self.title),
            level: line(&self.level),
            link: line(&self.permalink),
        }
    }
}

/// `2026-11-30T10:00:00Z`.
fn moment(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

/// `text` as one line of bearable length.
fn line(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = visible.take(TITLE + 1).collect();
    if line.chars().count() > TITLE {
        line = line.chars().take(TITLE - 1).chain(['…']).collect();
    }
    line
}

#[async_trait]
impl Errors for Sentry {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    async fn issue(&self, id: &str) -> Result<Option<ErrorIssue>, Fault> {
        let call = Call::read("read issue", id, format!("{}{}/", self.issues, encode(id)));
        match self.api.send_for::<Issue>(call).await {
            Ok(issue) => Ok(Some(issue.told())),
            Err(fault) if fault.kind == FaultKind::Missing => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn reach(&self) -> Result<(), Fault> {
        let call = Call::read("list issues", "", &self.issues).query("limit", "1");
        self.api.send_for::<Vec<Value>>(call).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_line_that_can_be_read() {
        assert_eq!(line("TypeError:\n\tx is\u{7} no function"), "TypeError:  x is  no function");
        let long = line(&"é".repeat(500));
        assert_eq!((long.chars().count(), long.ends_with('…')), (TITLE, true));
        assert_eq!(line(&"e".repeat(TITLE)), "e".repeat(TITLE));
    }

    #[test]
    fn a_time_is_read_with_its_zone() {
        assert_eq!(moment("1970-01-01T00:00:01.500Z"), Some(Timestamp(1_500)));
        assert_eq!(moment("1970-01-01T01:00:01+01:00"), Some(Timestamp(1_000)));
        assert_eq!(moment("yesterday"), None);
    }
}
