//! Times as people read them.

use jiff::tz::TimeZone;
use linkflow_model::Timestamp;

/// `2026-07-01 12:00:00.250` on this machine's clock.
pub(crate) fn local(at: Timestamp) -> String {
    let moment = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match moment {
        Some(moment) => moment
            .to_zoned_datetime(TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S.%3f")
            .to_string(),
        None => format!("{} ms", at.0),
    }
}

/// `2026-07-01` on this machine's clock.
pub(crate) fn day(at: Timestamp) -> String {
    local(at).split(' ').next().unwrap_or_default().to_owned()
}

/// `850 ms`, `12.3 s`, `4 min 5 s`.
pub(crate) fn took(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let said = [850, 12_345, 245_000].map(took);
        assert_eq!(said, ["850 ms", "12.3 s", "4 min 5 s"]);
    }
}
