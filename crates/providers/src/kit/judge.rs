//! What a vendor's status means for whoever asked.

use std::time::Duration;

use http::StatusCode;
use linkflow_model::{FaultKind, Timestamp};
use serde_json::Value;

use super::call::Answer;

/// A vendor's own reading of an answer; `None` leaves it to the general one. The wait of a [`FaultKind::Limited`] counts
/// only where no header says how long.
pub type Judge = fn(StatusCode, &str) -> Option<FaultKind>;

/// How long to wait after a 429 that does not say.
const UNSAID: Duration = Duration::from_secs(1);

/// Longest message kept of a vendor, in characters.
const LONGEST: usize = 300;

/// Words that mean an allowance is used up, in lower case.
const SPENT: &[&str] = &[
    "quota",
    "limit reached",
    "limit exceeded",
    "reached its limit",
    "reached the limit",
    "reached your limit",
    "usage limit",
    "billing",
    "payment",
    "trial has ended",
    "trial ended",
    "trial expired",
    "out of credit",
    "upgrade your plan",
    "upgrade to",
];

/// Whether `said` speaks of a used-up allowance.
pub(crate) fn is_spent(said: &str) -> bool {
    let said = said.to_lowercase();
    SPENT.iter().any(|words| said.contains(words))
}

/// What `status` means, `None` for success.
pub(super) fn kind(
    status: StatusCode,
    said: &str,
    reads: bool,
    wait: Duration,
) -> Option<FaultKind> {
    // A read that went wrong changed nothing, so it needs no second look.
    let unclear = if reads { FaultKind::Unreachable } else { FaultKind::Unclear };
    Some(match status.as_u16() {
        200..=299 => return None,
        429 => FaultKind::Limited { wait },
        402 => FaultKind::Exhausted,
        408 => unclear,
        400..=499 if is_spent(said) => FaultKind::Exhausted,
        401 | 403 => FaultKind::Denied,
        404 | 410 => FaultKind::Missing,
        409 | 412 | 423 => FaultKind::Conflict,
        500..=599 => unclear,
        _ => FaultKind::Invalid,
    })
}

/// How long an answer asks to be left alone: `Retry-After` in seconds, or `X-RateLimit-Reset` or `RateLimit-Reset` as
/// seconds from now or as a Unix time in seconds or milliseconds.
pub(super) fn wait(answer: &Answer, wall: Timestamp) -> Duration {
    wait_or(answer, wall, UNSAID)
}

/// The same, and `unsaid` when the answer does not say. A reset counts only where nothing remains until then: some
/// vendors send it with every answer.
pub(super) fn wait_or(answer: &Answer, wall: Timestamp, unsaid: Duration) -> Duration {
    let number = |name: &str| answer.header(name).and_then(|text| text.trim().parse::<f64>().ok());
    if let Some(seconds) = number("retry-after") {
        return seconds_of(seconds);
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit in 53 bits")]
    let now_ms = wall.0 as f64;
    let either = |name: &str| number(&format!("x-{name}")).or_else(|| number(name));
    let is_spent = either("ratelimit-remaining").is_none_or(|remaining| remaining < 1.0);
    match either("ratelimit-reset").filter(|_| is_spent) {
        Some(ms) if ms > 1e12 => seconds_of((ms - now_ms) / 1e3),
        Some(unix) if unix > 1e9 => seconds_of(unix - now_ms / 1e3),
        Some(seconds) => seconds_of(seconds),
        None => unsaid,
    }
}

/// How far `wall` is ahead of the time at which `answer` says that it was made, in milliseconds.
pub(super) fn ahead(answer: &Answer, wall: Timestamp) -> Option<i64> {
    let date = jiff::fmt::rfc2822::parse(answer.header("date")?).ok()?;
    Some(i64::try_from(wall.0).ok()?.saturating_sub(date.timestamp().as_millisecond()))
}

fn seconds_of(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, 86_400.0)).unwrap_or(UNSAID)
}

/// The message in an error body: one of the usual fields, or the text itself. One line.
pub(super) fn said(answer: &Answer) -> String {
    let text = answer.text();
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let message = ["/error", "/message", "/errors/0/message", "/error/message", "/detail"]
        .iter()
        .find_map(|place| body.pointer(place)?.as_str())
        .map_or(text.as_str(), str::trim);
    if message.is_empty() { answer.status.to_string() } else { message.to_owned() }
}

/// `text` on one line, cut to a length that a person will read.
pub(super) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(status: u16, said: &str, read: FaultKind, write: FaultKind) {
        let status = StatusCode::from_u16(status).unwrap();
        let wait = Duration::from_secs(3);
        assert_eq!(kind(status, said, true, wait), Some(read), "reading");
        assert_eq!(kind(status, said, false, wait), Some(write), "writing");
    }

    #[test]
    fn a_write_that_may_have_happened_is_unclear_and_a_read_never_is() {
        for status in [408, 500, 502, 503, 504] {
            check(status, "", FaultKind::Unreachable, FaultKind::Unclear);
        }
    }

    #[test]
    fn a_refusal_says_what_can_be_done() {
        let same = |status, said, kind| check(status, said, kind, kind);
        same(401, "unauthorized", FaultKind::Denied);
        same(403, "forbidden", FaultKind::Denied);
        same(403, "organization has reached its limit of machines", FaultKind::Exhausted);
        same(402, "", FaultKind::Exhausted);
        same(404, "", FaultKind::Missing);
        same(409, "", FaultKind::Conflict);
        same(412, "", FaultKind::Conflict);
        same(422, "bad port", FaultKind::Invalid);
        same(429, "", FaultKind::Limited { wait: Duration::from_secs(3) });
    }

    #[track_caller]
    fn check_wait(name: &'static str, text: &str, expected_ms: u128) {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(text).unwrap());
        let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Vec::new() };
        let now = Timestamp(1_700_000_000_000);
        assert_eq!(wait(&answer, now).as_millis(), expected_ms);
    }

    #[test]
    fn the_wait_is_read_in_every_form_it_comes_in() {
        check_wait("retry-after", "7", 7_000);
        check_wait("x-ratelimit-reset", "12", 12_000);
        check_wait("ratelimit-reset", "45", 45_000);
        check_wait("x-ratelimit-reset", "1700000005", 5_000);
        check_wait("x-ratelimit-reset", "1700000002500", 2_500);
        check_wait("x-ratelimit-reset", "1600000000", 0);
        check_wait("x-other", "1", 1_000);
    }

    #[test]
    fn a_message_is_one_short_line() {
        assert_eq!(one_line("a\n  b\tc"), "a b c");
        assert_eq!(one_line(&"é".repeat(400)).chars().count(), LONGEST + 1);
    }
}
