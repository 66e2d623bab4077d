//! Hooks that are signed, as Sentry signs them: their body is read, since it says what to ask for.
//!
//! <https://docs.sentry.io/integrations/integration-platform/webhooks/>

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use linkflow_model::Secret;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use crate::beat::is_same;

/// The longest title of a metric alert that is passed on, in characters.
const TITLE: usize = 200;

/// What a signed hook tells of. Of an issue nothing but its id is taken: the rest is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// An issue was made, came back, or met the rule of an alert.
    Issue {
        /// Its id, digits.
        id: String,
    },
    /// An issue is over: somebody resolved or archived it.
    Over {
        /// Its id, digits.
        id: String,
    },
    /// A metric alert changed.
    Metric {
        /// The id of what went wrong, digits. It is another one each time.
        id: String,
        /// `critical`, `warning` or `resolved`.
        action: String,
        /// One line.
        title: String,
    },
}

impl Report {
    /// What makes it the same as another one: `issue-7`, `over-7`, `metric-4-critical`.
    pub fn id(&self) -> String {
        match self {
            Self::Issue { id } => format!("issue-{id}"),
            Self::Over { id } => format!("over-{id}"),
            Self::Metric { id, action, .. } => format!("metric-{id}-{action}"),
        }
    }
}

/// Who signs, and what is rung when something was kept.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The client secret of the integration.
    pub secret: Secret,
    /// Is rung for each that was kept.
    pub bell: Arc<Notify>,
}

impl Signed {
    /// What a hook with `headers` tells of; `None` when there is nothing to do. Otherwise how it is refused.
    pub(super) fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Option<Report>, (StatusCode, &'static str)> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let signature = header("sentry-hook-signature").unwrap_or_default();
        if !self.has_signed(body, signature) {
            return Err((StatusCode::UNAUTHORIZED, "the signature is missing or wrong\n"));
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return Err((StatusCode::BAD_REQUEST, "the body is not JSON\n"));
        };
        let resource = header("sentry-hook-resource").unwrap_or_default();
        read(resource, &body).map_err(|why| (StatusCode::BAD_REQUEST, why))
    }

    /// Whether `signature` is the HMAC-SHA256 of `body`, in hex digits.
    fn has_signed(&self, body: &[u8], signature: &str) -> bool {
        let key = self.secret.expose();
        !key.is_empty() && is_same(&signature.to_ascii_lowercase(), &signature_of(key, body))
    }
}

/// The HMAC-SHA256 of `body` with `key`, in hex digits.
pub(super) fn signature_of(key: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    hmac::sign(&key, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `body` tells of; `None` where there is nothing to do. An installation, a comment, an issue that is assigned.
fn read(resource: &str, body: &Value) -> Result<Option<Report>, &'static str> {
    let action = body["action"].as_str().unwrap_or_default();
    let data = &body["data"];
    let issue = |id: &Value| number(id).ok_or("there is no id of an issue\n");
    match (resource, action) {
        ("event_alert", "triggered") => {
            issue(&data["event"]["issue_id"]).map(|id| Some(Report::Issue { id }))
        }
        ("issue", "created" | "unresolved") => {
            issue(&data["issue"]["id"]).map(|id| Some(Report::Issue { id }))
        }
        // Sentry calls archived what it called ignored before.
        ("issue", "resolved" | "archived" | "ignored") => {
            issue(&data["issue"]["id"]).map(|id| Some(Report::Over { id }))
        }
        ("metric_alert", "critical" | "warning" | "resolved") => {
            let id = number(&data["metric_alert"]["id"]).ok_or("there is no id of an alert\n")?;
            let title = data["description_title"].as_str().unwrap_or("a metric alert");
            let title = title.chars().map(|c| if c.is_control() { ' ' } else { c });
            let title = title.take(TITLE).collect();
            Ok(Some(Report::Metric { id, action: action.to_owned(), title }))
        }
        _ => Ok(None),
    }
}

/// An id: digits, as a text or as a number.
fn number(id: &Value) -> Option<String> {
    let text =
        id.as_u64().map_or_else(|| id.as_str().map(str::to_owned), |id| Some(id.to_string()))?;
    let is_id = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then_some(text)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn signed() -> Signed {
        Signed { secret: Secret::new("client-secret"), bell: Arc::default() }
    }

    fn headers(resource: &'static str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("sentry-hook-resource", HeaderValue::from_static(resource));
        headers.insert("sentry-hook-signature", signature.parse().unwrap());
        headers
    }

    #[track_caller]
    fn check(resource: &'static str, body: &Value, status: u16, expected: Option<Report>) {
        let body = body.to_string();
        let headers = headers(resource, &signature_of("client-secret", body.as_bytes()));
        match signed().read(&headers, body.as_bytes()) {
            Ok(report) => assert_eq!((200, report), (status, expected), "{body}"),
            Err((refused, why)) => assert_eq!(refused.as_u16(), status, "{body}: {why}"),
        }
    }

    #[test]
    fn the_signature_is_that_of_another_implementation() {
        // printf %s '{"a":1}' | openssl dgst -sha256 -hmac client-secret
        let due = "9d1c93a14f04d6e51f8af1b53fe4687fe4431e75d3a77b9666a4cb322bd0f9d2";
        assert_eq!(signature_of("client-secret", br#"{"a":1}"#), due);
    }

    #[test]
    fn each_resource_tells_of_an_id_or_of_nothing() {
        let issue = |id: &str| Some(Report::Issue { id: id.to_owned() });
        let alert =
            json!({ "action": "triggered", "data": { "event": { "issue_id": "1117540176" } } });
        check("event_alert", &alert, 200, issue("1117540176"));
        let made = json!({ "action": "created", "data": { "issue": { "id": "7" } } });
        check("issue", &made, 200, issue("7"));
        let resolved = json!({ "action": "resolved", "data": { "issue": { "id": "7" } } });
        check("issue", &resolved, 200, Some(Report::Over { id: "7".to_owned() }));
        let assigned = json!({ "action": "assigned", "data": { "issue": { "id": "7" } } });
        check("issue", &assigned, 200, None);
        check("installation", &json!({ "action": "created" }), 200, None);
        let metric = json!({
            "action": "critical",
            "data": { "metric_alert": { "id": 4 }, "description_title": "Critical:\nToo many errors" },
        });
        let told = Report::Metric {
            id: "4".to_owned(),
            action: "critical".to_owned(),
            title: "Critical: Too many errors".to_owned(),
        };
        check("metric_alert", &metric, 200, Some(told));
        for id in [json!("../7"), json!(""), json!(null), json!("123456789012345678901"), json!(-1)]
        {
            let body = json!({ "action": "triggered", "data": { "event": { "issue_id": id } } });
            check("event_alert", &body, 400, None);
        }
    }

    #[test]
    fn nothing_is_read_of_what_nobody_signed() {
        let signed = signed();
        let body = br#"{"action":"triggered","data":{"event":{"issue_id":"7"}}}"#;
        let other = signature_of("another", body);
        let of_another = signature_of("client-secret", b"{}");
        for wrong in ["", "00", other.as_str(), of_another.as_str()] {
            let refused = signed.read(&headers("event_alert", wrong), body).unwrap_err();
            assert_eq!(refused.0, StatusCode::UNAUTHORIZED, "{wrong}");
        }
        let nobody = Signed { secret: Secret::default(), ..signed };
        let empty = signature_of("", body);
        let refused = nobody.read(&headers("event_alert", &empty), body).unwrap_err();
        assert_eq!(refused.0, StatusCode::UNAUTHORIZED, "an empty secret signs nothing");
    }
}
