//! Values as they lie in a backend: numbers that fit a signed column, JSON that can be read back, events that stop
//! no reader.

use linkflow_model::{Event, EventKind, Level, Timestamp};
use serde_json::Value;

use crate::StoreError;

/// How deep JSON may be nested; readers of JSON stop at 128.
const DEPTH: usize = 100;

/// A time as a signed column holds it. What lies beyond is as good as the end of time.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column's number; none of them is ever negative.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Refuses what could be written and not read back.
pub(crate) fn check_body(body: &Value) -> Result<(), StoreError> {
    let mut left = vec![(body, 0)];
    while let Some((value, depth)) = left.pop() {
        if depth > DEPTH {
            return Err(StoreError::Failed(format!("JSON deeper than {DEPTH} is not kept")));
        }
        match value {
            Value::Array(items) => left.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(fields) => left.extend(fields.values().map(|item| (item, depth + 1))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
}

/// Refuses a sample that adds up to nothing sensible.
pub(crate) fn check_sample(value: f64) -> Result<(), StoreError> {
    if value.is_finite() {
        Ok(())
    } else {
        Err(StoreError::Failed(format!("{value} is not a sample: finite numbers are")))
    }
}

/// Refuses spans of nothing.
pub(crate) fn check_step(step_ms: u64) -> Result<(), StoreError> {
    if step_ms == 0 {
        Err(StoreError::Failed("a series has spans of at least 1 ms".to_owned()))
    } else {
        Ok(())
    }
}

/// The event in `body`, or one that says that it cannot be read.
pub(crate) fn event(seq: u64, at: Timestamp, body: &str) -> Event {
    serde_json::from_str(body).unwrap_or_else(|error| {
        let message = format!("event {seq} cannot be read by this version: {error}");
        Event::new(at, EventKind::Unknown, Level::Notice, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_as_deep_as_it_can_be_read_back() {
        let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(check_body(&nested(DEPTH)).is_ok());
        let text = serde_json::to_string(&nested(DEPTH)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), nested(DEPTH));
        assert!(check_body(&nested(DEPTH + 1)).is_err());
    }

    #[test]
    fn an_event_of_an_unknown_sort_keeps_its_words() {
        let body = r#"{"at":5,"kind":"eclipse","level":"alarm","message":"dark","colour":"black"}"#;
        let expected = Event::new(Timestamp(5), EventKind::Unknown, Level::Alarm, "dark");
        assert_eq!(event(1, Timestamp(5), body), expected);
    }

    #[test]
    fn an_event_that_is_no_event_says_so() {
        let read = event(7, Timestamp(5), "[1, 2");
        assert_eq!((read.kind, read.at), (EventKind::Unknown, Timestamp(5)));
        assert!(read.message.starts_with("event 7 cannot be read"), "{}", read.message);
    }
}
