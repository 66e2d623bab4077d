//! The text exposition format of Prometheus, 0.0.4.
//!
//! Our own rather than a client library's: what is counted is in atomics beside what it is about, and the official
//! client's histograms take a lock for each request.

use std::fmt::Write as _;

use crate::meter::BUCKETS_US;

/// What every name begins with.
const PREFIX: &str = "linkflow_edge_";

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Metrics as text; the samples of the last family are at its end.
#[derive(Default)]
pub(super) struct Text(pub(super) String, String);

impl Text {
    /// Begins a family.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.1 = format!("{PREFIX}{name}");
        let head = format!("# HELP {0} {help}\n# TYPE {0} {kind}\n", self.1);
        self.0.push_str(&head);
    }

    /// Adds a sample to the family.
    pub(super) fn sample(&mut self, labels: &[(&'static str, String)], value: u64) {
        self.line("", labels, None, &value.to_string());
    }

    /// Adds a histogram to the family: how many fell into each bucket by itself, and the sum in microseconds.
    pub(super) fn buckets(&mut self, labels: &[(&'static str, String)], counts: &[u64], sum: u64) {
        let mut total = 0;
        let bounds = BUCKETS_US.iter().map(|us| seconds(*us)).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(counts) {
            total += count;
            self.line("_bucket", labels, Some(&bound), &total.to_string());
        }
        self.line("_sum", labels, None, &seconds(sum));
        self.line("_count", labels, None, &total.to_string());
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &[(&'static str, String)],
        bound: Option<&str>,
        value: &str,
    ) {
        let Self(out, name) = self;
        out.push_str(name);
        out.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        let labels = labels.iter().map(|(label, value)| (*label, value.as_str())).chain(bound);
        let mut open = '{';
        for (label, text) in labels {
            // Writing into a text does not fail.
            write!(out, "{open}{label}=\"{}\"", escaped(text)).unwrap_or_default();
            open = ',';
        }
        if open == ',' {
            out.push('}');
        }
        out.push(' ');
        out.push_str(value);
        out.push('\n');
    }
}

/// Microseconds in seconds, without rounding.
fn seconds(us: u64) -> String {
    let (whole, rest) = (us / 1_000_000, us % 1_000_000);
    let text = format!("{whole}.{rest:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_the_format_says() {
        let mut text = Text::default();
        text.family("waits_total", Kind::Counter, "How often.");
        text.sample(&[], 3);
        text.sample(&[("route", "a\"b\\c\nd".to_owned()), ("code", "2xx".to_owned())], 4);
        let expected = "# HELP linkflow_edge_waits_total How often.\n\
            # TYPE linkflow_edge_waits_total counter\n\
            linkflow_edge_waits_total 3\n\
            linkflow_edge_waits_total{route=\"a\\\"b\\\\c\\nd\",code=\"2xx\"} 4\n";
        assert_eq!(text.0, expected);
    }

    #[test]
    fn buckets_hold_what_the_ones_before_them_hold() {
        let mut text = Text::default();
        text.family("wait_seconds", Kind::Histogram, "How long.");
        let mut counts = [0; BUCKETS_US.len() + 1];
        (counts[0], counts[2], counts[16]) = (1, 2, 1);
        text.buckets(&[], &counts, 61_500_250);
        for line in [
            "linkflow_edge_wait_seconds_bucket{le=\"0.0005\"} 1",
            "linkflow_edge_wait_seconds_bucket{le=\"0.001\"} 1",
            "linkflow_edge_wait_seconds_bucket{le=\"0.0025\"} 3",
            "linkflow_edge_wait_seconds_bucket{le=\"60\"} 3",
            "linkflow_edge_wait_seconds_bucket{le=\"+Inf\"} 4",
            "linkflow_edge_wait_seconds_sum 61.50025",
            "linkflow_edge_wait_seconds_count 4",
        ] {
            assert!(text.0.lines().any(|l| l == line), "{line}: {}", text.0);
        }
    }
}
