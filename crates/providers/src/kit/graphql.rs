//! Asks a vendor's GraphQL API, and reads its refusals, which come with status 200.

use http::{Method, StatusCode};
use linkflow_model::{Fault, FaultKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Call, Vendor, is_spent};

/// How long to leave the API alone after a refusal that names no time.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

/// One request.
pub(crate) struct Operation<'a> {
    /// What is being tried, as a verb phrase.
    pub(crate) action: &'static str,
    /// What it is about.
    pub(crate) about: &'a str,
    /// The document.
    pub(crate) text: &'a str,
    /// Its variables.
    pub(crate) variables: Value,
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
pub(crate) async fn query<T: DeserializeOwned>(
    api: &Vendor,
    operation: Operation<'_>,
) -> Result<T, Fault> {
    ask(api, "", operation, true).await
}

/// The same, of an API that has other paths too.
pub(crate) async fn query_at<T: DeserializeOwned>(
    api: &Vendor,
    path: &str,
    operation: Operation<'_>,
) -> Result<T, Fault> {
    ask(api, path, operation, true).await
}

/// Asks a mutation.
pub(crate) async fn mutate<T: DeserializeOwned>(
    api: &Vendor,
    operation: Operation<'_>,
) -> Result<T, Fault> {
    ask(api, "", operation, false).await
}

async fn ask<T: DeserializeOwned>(
    api: &Vendor,
    path: &str,
    operation: Operation<'_>,
    reads: bool,
) -> Result<T, Fault> {
    let Operation { action, about, text, variables } = operation;
    let body = json!({ "query": text, "variables": variables });
    let call = Call::write(Method::POST, action, about, path).json(body);
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
    envelope.data.ok_or_else(|| {
        api.fault(FaultKind::Unclear, attempt(), "the answer has neither data nor errors")
    })
}

/// What a refusal means, by its message, as the vendors' own command lines tell them apart, and then by its code.
fn kind(message: &str, code: Option<&str>, reads: bool) -> FaultKind {
    let said = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| said.contains(w));
    if says(&["rate limit", "ratelimit", "too many requests"]) {
        return FaultKind::Limited { wait: PAUSE };
    }
    if says(&[
        "not authorized",
        "unauthorized",
        "unauthenticated",
        "token not found",
        "invalid token",
        "invalid api key",
        "two factor",
    ]) {
        return FaultKind::Denied;
    }
    if is_spent(message)
        || says(&[
            "resource limit",
            "plan limit",
            "free plan",
            "provision limit",
            "maximum number",
            "credit card",
            "recharge",
        ])
    {
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
        _ if says(&[
            "problem processing request",
            "internal server error",
            "timed out",
            "timeout",
        ]) =>
        {
            if reads {
                FaultKind::Unreachable
            } else {
                FaultKind::Unclear
            }
        }
        Some("INTERNAL_SERVER_ERROR") if !reads => FaultKind::Unclear,
        _ => FaultKind::Invalid,
    }
}

/// A refusal may also come with its own status; then its first message says more than that.
pub(crate) fn own_judgement(status: StatusCode, said: &str) -> Option<FaultKind> {
    let plain = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
    plain.then(|| kind(said, None, false))
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
        same(
            "Free plan resource provision limit exceeded. Please upgrade to provision more resources!",
            FaultKind::Exhausted,
        );
        same("please bind a credit card or recharge credits first", FaultKind::Exhausted);
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
}
