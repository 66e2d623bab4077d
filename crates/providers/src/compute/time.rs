//! Reads vendors' times.

use linkflow_model::Timestamp;

/// An RFC 3339 time such as `2026-11-24T01:02:03.456Z` or `…+01:00`, `None` when it is not one.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_and_any_precision() {
        let at = |text| timestamp(text).map(|t| t.0);
        assert_eq!(at("1970-01-01T00:00:01.5Z"), Some(1_500));
        assert_eq!(at("1970-01-01T01:00:01+01:00"), Some(1_000));
        assert_eq!(at("2026-11-24T01:02:03.123456789Z"), Some(1_795_482_123_123));
        assert_eq!(at("yesterday"), None);
    }
}
