//! PagerDuty: Events API v2. <https://developer.pagerduty.com/docs/send-alert-event>
//!
//! What is about one thing has one `dedup_key`: a later notice changes the alert that is there, and a good one ends it.

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use linkflow_model::role::{Notice, Notify, Tone};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde_json::{Map, Value, json};

use super::post::{Place, post};
use super::text::{cut, masked, one_line, plain, web};
use crate::kit::{Kit, Vendor};

/// The API.
const API: &str = "https://events.pagerduty.com";

/// Most characters of a summary.
const SUMMARY: usize = 1_024;
/// Most characters of a key.
const KEY: usize = 255;
/// Most characters of a detail; an event is 512 KB at most.
const DETAIL: usize = 4_000;

/// What PagerDuty needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The integration key of a service.
    pub routing_key: Secret,
    /// In place of `https://events.pagerduty.com`, also of whoever speaks the same.
    pub api: Option<String>,
}

/// One service.
pub struct Pagerduty {
    vendor: Vendor,
    kit: Kit,
    routing_key: Secret,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Pagerduty {
    kit.learn(&settings.routing_key);
    let vendor = Place {
        spec: "pagerduty",
        production: API,
        base: settings.api.unwrap_or_else(|| API.to_owned()),
        auth: None,
        every: Duration::from_millis(500),
        burst: 30,
        judge,
    };
    let vendor = vendor.open(kit, provider);
    Pagerduty { vendor, kit: kit.clone(), routing_key: settings.routing_key }
}

/// A key of a wrong form or of no service is a 400 that says so.
fn judge(status: StatusCode, said: &str) -> Option<FaultKind> {
    let is_key = status == StatusCode::BAD_REQUEST && said.to_lowercase().contains("routing_key");
    is_key.then_some(FaultKind::Denied)
}

fn event(notice: &Notice, routing_key: &str) -> Value {
    let is_over = notice.tone == Tone::Good && notice.key.is_some();
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": if is_over { "resolve" } else { "trigger" },
    });
    if let Some(key) = &notice.key {
        event["dedup_key"] = cut(key, KEY, plain).into();
    }
    if is_over {
        return event;
    }
    let severity = match notice.tone {
        Tone::Good | Tone::Plain => "info",
        Tone::Warning => "warning",
        Tone::Bad => "critical",
    };
    let facts = notice.facts.iter();
    let mut details: Map<String, Value> =
        facts.map(|(name, value)| (name.clone(), cut(value, DETAIL, plain).into())).collect();
    if !notice.text.trim().is_empty() {
        details.insert("text".to_owned(), cut(notice.text.trim(), DETAIL, plain).into());
    }
    if !notice.lines.is_empty() {
        details.insert("lines".to_owned(), cut(&notice.lines.join("\n"), DETAIL, plain).into());
    }
    event["payload"] = json!({
        "summary": cut(&one_line(&notice.title), SUMMARY, plain), "source": "linkflow",
        "severity": severity, "custom_details": details,
    });
    event["client"] = "LinkFlow".into();
    if let Some((name, address)) = web(notice) {
        event["links"] = json!([{ "href": address, "text": one_line(name) }]);
    }
    event
}

#[async_trait]
impl Notify for Pagerduty {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        let notice = masked(notice, |text| self.kit.mask(text));
        let event = event(&notice, self.routing_key.expose());
        post(&self.vendor, "/v2/enqueue", event).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::example;
    use super::*;

    #[test]
    fn what_is_about_one_thing_is_one_alert_and_a_good_notice_ends_it() {
        let bad = event(&example(), "key");
        assert_eq!(
            (&bad["event_action"], &bad["dedup_key"]),
            (&json!("trigger"), &json!("20261129-api-1"))
        );
        assert_eq!(bad["payload"]["severity"], "critical");
        assert_eq!(bad["payload"]["custom_details"]["since"], "12:00 UTC");
        let good = event(&Notice { tone: Tone::Good, ..example() }, "key");
        assert_eq!(
            (&good["event_action"], &good["dedup_key"]),
            (&json!("resolve"), &json!("20261129-api-1"))
        );
        let alone = event(&Notice { tone: Tone::Good, key: None, ..example() }, "key");
        assert_eq!(alone["event_action"], "trigger");
    }
}
