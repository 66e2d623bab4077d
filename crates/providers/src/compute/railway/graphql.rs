//! Asks Railway's GraphQL API, and reads its refusals, which come with status 200.

use http::{Method, StatusCode};
use linkflow_model::{Fault, FaultKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::kit::{Call, Vendor, is_spent, mask_values_but};

/// How long to leave the API alone after a refusal that names no time.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

/// One request.
pub(super) struct Operation<'a> {
    /// What is being tried, as a verb phrase.
    pub(super) action: &'static str,
    /// What it is about.
    pub(super) about: &'a str,
    /// The document.
    pub(super) text: &'a str,
    /// Its variables.
    pub(super) variables: Value,
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: Option<T>,
    #[serde(default)]
    errors: Option<Vec<Refusal>>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
    #[serde(default)]
    extensions: Option<Extensions>,
}

#[derive(Deserialize)]
struct Extensions {
    #[serde(default)]
    code: Option<String>,
}

/// Asks a query.
pub(super) async fn query<T: DeserializeOwned>(
    api: &Vendor,
    operation: Operation<'_>,
) -> Result<T, Fault> {
    ask(api, operation, true).await
}

/// Asks a mutation.
pub(super) async fn mutate<T: DeserializeOwned>(
    api: &Vendor,
    operation: Operation<'_>,
) -> Result<T, Fault> {
    ask(api, operation, false).await
}

async fn ask<T: DeserializeOwned>(
    api: &Vendor,
    operation: Operation<'_>,
    reads: bool,
) -> Result<T, Fault> {
    let Operation { action, about, text, variables } = operation;
    let body = json!({ "query": text, "variables": variables });
    let call = Call::write(Method::POST, action, about, "").json(body);
    let answer = api.send(if reads { call.as_read() } else { call }).await?;
    let attempt = || format!("{action} {about}").trim_end().to_owned();
    // Errors first: with an error, `data` may be anything.
    let refused: Envelope<serde::de::IgnoredAny> = api.read(attempt(), &answer)?;
    if let Some(refusal) = refused.errors.as_ref().and_then(|errors| errors.first()) {
        let code = refusal.extensions.as_ref().and_then(|e| e.code.as_deref());
        let kind = kind(&refusal.message, code, reads);
        return Err(api.fault(kind, attempt(), &refusal.message));
    }
    let envelope: Envelope<T> = api.read(attempt(), &answer)?;
    envelope
        .data
        .ok_or_else(|| api.fault(FaultKind::Unclear, attempt(), "the answer has neither data nor errors"))
}

/// What a refusal means, by its message, as the vendor's own command line tells them apart, and then by its code.
fn kind(message: &str, code: Option<&str>, reads: bool) -> FaultKind {
    let said = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| said.contains(w));
    if says(&["rate limit", "ratelimit", "too many requests"]) {
        return FaultKind::Limited { wait: PAUSE };
    }
    if says(&["not authorized", "unauthorized", "unauthenticated", "token not found", "invalid token", "two factor"]) {
        return FaultKind::Denied;
    }
    if is_spent(message) || says(&["resource limit", "plan limit", "free plan", "provision limit", "maximum number"]) {
        return FaultKind::Exhausted;
    }
    if says(&["not found", "does not exist"]) {
        return FaultKind::Missing;
    }
    if says(&["already exists", "already taken", "conflict"]) {
        return FaultKind::Conflict;
    }
    match code {
        Some("UNAUTHENTICATED" | "FORBIDDEN") => FaultKind::Denied,
        Some("BAD_USER_INPUT" | "GRAPHQL_VALIDATION_FAILED" | "GRAPHQL_PARSE_FAILED") => {
            FaultKind::Invalid
        }
        _ if says(&["problem processing request", "internal server error", "timed out", "timeout"]) => {
            if reads { FaultKind::Unreachable } else { FaultKind::Unclear }
        }
        Some("INTERNAL_SERVER_ERROR") if !reads => FaultKind::Unclear,
        _ => FaultKind::Invalid,
    }
}

/// A refusal may also come with its own status; then its first message says more than that.
pub(super) fn own_judgement(status: StatusCode, said: &str) -> Option<FaultKind> {
    let plain = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
    plain.then(|| kind(said, None, false))
}

/// Variables hold whatever the stack keeps secret; only our markers are known not to.
pub(super) fn hide_variables(body: &mut Value) {
    let is_marker = |name: &str| name.starts_with("LINKFLOW_");
    mask_values_but(body, "/variables/input/variables", is_marker);
    mask_values_but(body, "/variables/input/registryCredentials", |name| name == "username");
    let answers = body.get("data").and_then(Value::as_object);
    let aliases: Vec<String> = answers
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("vars"))
        .map(|(name, _)| format!("/data/{name}"))
        .collect();
    aliases.iter().for_each(|pointer| mask_values_but(body, pointer, is_marker));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, code: Option<&str>, read: FaultKind, write: FaultKind) {
        assert_eq!(kind(message, code, true), read, "reading");
        assert_eq!(kind(message, code, false), write, "writing");
    }

    #[test]
    fn refusals_are_told_apart_by_their_message() {
        let same = |message, kind| check(message, Some("INTERNAL_SERVER_ERROR"), kind, kind);
        same("Not Authorized", FaultKind::Denied);
        same("Project Token not found", FaultKind::Denied);
        same("Two Factor Authentication Required", FaultKind::Denied);
        same("Deployment not found", FaultKind::Missing);
        same("A service named \"api\" already exists in this project", FaultKind::Conflict);
        same("Free plan resource provision limit exceeded. Please upgrade to provision more resources!", FaultKind::Exhausted);
        same("Rate limit exceeded", FaultKind::Limited { wait: PAUSE });
    }

    #[test]
    fn an_internal_error_of_a_write_is_unclear() {
        check("Problem processing request", None, FaultKind::Unreachable, FaultKind::Unclear);
        check("boom", Some("INTERNAL_SERVER_ERROR"), FaultKind::Invalid, FaultKind::Unclear);
    }

    #[test]
    fn a_wrong_request_is_invalid() {
        let code = Some("GRAPHQL_VALIDATION_FAILED");
        check("Cannot query field \"x\"", code, FaultKind::Invalid, FaultKind::Invalid);
    }

    #[test]
    fn only_markers_are_shown_of_variables() {
        let mut body = json!({
            "variables": { "input": { "variables": { "A": "s", "LINKFLOW_STACK": "x" } } },
            "data": { "vars0": { "B": "s", "LINKFLOW_STACK": "x" }, "environment": { "id": "e" } },
        });
        hide_variables(&mut body);
        assert_eq!(
            body,
            json!({
                "variables": { "input": { "variables": { "A": "***", "LINKFLOW_STACK": "x" } } },
                "data": { "vars0": { "B": "***", "LINKFLOW_STACK": "x" }, "environment": { "id": "e" } },
            })
        );
    }
}
