//! What a report says, read from its address.

use std::collections::BTreeMap;

use linkflow_model::{Beat, Says, Timestamp};

/// How many characters of a message are kept; that of Cronitor.
const MESSAGE: usize = 2_000;

/// How many characters of other words are kept.
const WORD: usize = 200;

/// How many counts are kept.
const COUNTS: usize = 20;

/// How late a report may come, in seconds: a week.
const LATE: f64 = 604_800.0;

/// A report without its time and place.
#[derive(Debug, PartialEq)]
pub(super) struct Report {
    says: Says,
    series: Option<String>,
    message: Option<String>,
    exit: Option<i32>,
    took_ms: Option<u64>,
    counts: BTreeMap<String, f64>,
    host: Option<String>,
    late_ms: u64,
}

/// Why a report is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// There is no such address.
    Unknown,
    /// It is not well formed; what is told of it.
    Invalid(&'static str),
}

impl Report {
    fn saying(says: Says) -> Self {
        Self {
            says,
            series: None,
            message: None,
            exit: None,
            took_ms: None,
            counts: BTreeMap::new(),
            host: None,
            late_ms: 0,
        }
    }

    /// One of `/p/KEY/NAME`. What is not known is left out, as Cronitor does; `late` is our own, for what could not be sent
    /// when it happened.
    pub(super) fn of_cronitor(pairs: &[(String, String)]) -> Result<Self, Wrong> {
        let mut report = Self::saying(Says::Ok);
        for (name, value) in pairs {
            match name.as_str() {
                "state" => {
                    report.says = match value.as_str() {
                        "run" => Says::Run,
                        "complete" => Says::Complete,
                        "fail" => Says::Fail,
                        "ok" | "" => Says::Ok,
                        _ => return Err(Wrong::Invalid("invalid state")),
                    }
                }
                "message" | "msg" => report.message = word(value, MESSAGE),
                "series" => report.series = word(value, WORD),
                "host" => report.host = word(value, WORD),
                "status_code" => report.exit = value.trim().parse().ok(),
                "metric" => report.metric(value),
                "late" => {
                    let late = value.parse().ok().filter(|s: &f64| s.is_finite() && *s > 0.0);
                    report.late_ms = late.map_or(0, |s| ms(s.min(LATE)));
                }
                _ => {}
            }
        }
        Ok(report)
    }

    /// `count:100`, `error_count:2`, `duration:1.5` in seconds.
    fn metric(&mut self, text: &str) {
        let Some((name, value)) = text.split_once(':') else { return };
        let value = value.trim().parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
        let Some(value) = value else { return };
        if name == "duration" {
            self.took_ms = Some(ms(value));
        } else if self.counts.len() < COUNTS {
            self.counts.extend(word(name, WORD).map(|name| (name, value)));
        }
    }

    /// One of `/UUID/WHAT`; no word is a success, and a number the exit code of what ran.
    pub(super) fn of_healthchecks(what: &str, pairs: &[(String, String)]) -> Result<Self, Wrong> {
        let mut report = match what {
            "" => Self::saying(Says::Complete),
            "start" => Self::saying(Says::Run),
            "fail" => Self::saying(Says::Fail),
            "log" => Self::saying(Says::Log),
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let code = digits.parse().ok().filter(|code| *code <= 255);
                let code: i32 = code.ok_or(Wrong::Invalid("invalid url format"))?;
                let says = if code == 0 { Says::Complete } else { Says::Fail };
                Self { exit: Some(code), ..Self::saying(says) }
            }
            _ => return Err(Wrong::Unknown),
        };
        if let Some((_, rid)) = pairs.iter().find(|(name, _)| name == "rid") {
            if !is_uuid(rid) {
                return Err(Wrong::Invalid("invalid uuid format"));
            }
            report.series = Some(rid.to_ascii_lowercase());
        }
        Ok(report)
    }

    /// The report as it is kept.
    pub(super) fn beat(self, id: String, heartbeat: String, now: Timestamp, output: usize) -> Beat {
        Beat {
            id,
            heartbeat,
            at: Timestamp(now.0.saturating_sub(self.late_ms)),
            says: self.says,
            series: self.series,
            message: self.message,
            exit: self.exit,
            took_ms: self.took_ms,
            counts: self.counts,
            host: self.host,
            output: u32::try_from(output).ok().filter(|bytes| *bytes > 0),
        }
    }
}

fn ms(seconds: f64) -> u64 {
    (seconds * 1_000.0).round() as u64
}

/// The first characters of a text that says something.
fn word(text: &str, most: usize) -> Option<String> {
    let text: String = text.trim().chars().take(most).collect();
    (!text.is_empty()).then_some(text)
}

/// Whether `text` has the form of a UUID.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn cronitors_words_are_read_and_others_left_out() {
        let read = Report::of_cronitor(&pairs(&[
            ("state", "complete"),
            ("metric", "duration:1.5"),
            ("metric", "count:100"),
            ("metric", "error_count:-1"),
            ("metric", "count"),
            ("series", "17"),
            ("status_code", "0"),
            ("host", "box"),
            ("message", "  done \n"),
            ("stamp", "1700000000.5"),
            ("env", "live"),
        ]));
        let expected = Report {
            series: Some("17".to_owned()),
            message: Some("done".to_owned()),
            exit: Some(0),
            took_ms: Some(1_500),
            counts: BTreeMap::from([("count".to_owned(), 100.0)]),
            host: Some("box".to_owned()),
            ..Report::saying(Says::Complete)
        };
        assert_eq!(read, Ok(expected));
        assert_eq!(Report::of_cronitor(&[]), Ok(Report::saying(Says::Ok)));
        let wrong = Report::of_cronitor(&pairs(&[("state", "done")]));
        assert_eq!(wrong, Err(Wrong::Invalid("invalid state")));
    }

    #[test]
    fn the_ways_of_healthchecks_are_read() {
        let says = |what| Report::of_healthchecks(what, &[]).map(|r| (r.says, r.exit));
        assert_eq!(says(""), Ok((Says::Complete, None)));
        assert_eq!(says("start"), Ok((Says::Run, None)));
        assert_eq!(says("0"), Ok((Says::Complete, Some(0))));
        assert_eq!(says("137"), Ok((Says::Fail, Some(137))));
        assert_eq!(says("256"), Err(Wrong::Invalid("invalid url format")));
        assert_eq!(says("begin"), Err(Wrong::Unknown));
        let rid = |rid| Report::of_healthchecks("", &pairs(&[("rid", rid)])).map(|r| r.series);
        let good = "123E4567-e89b-12d3-a456-426614174000";
        assert_eq!(rid(good), Ok(Some(good.to_ascii_lowercase())));
        assert_eq!(rid("123"), Err(Wrong::Invalid("invalid uuid format")));
    }
}
