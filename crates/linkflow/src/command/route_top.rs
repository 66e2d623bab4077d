//! How what happened between two pictures of an edge is drawn.

use linkflow_edge::TargetState;

use crate::say::table::{Table, Tone};
use crate::wire::rates::{Rates, RouteRates, Times};

/// What rates are drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Whether it has colours.
    pub(crate) colours: bool,
    /// Its width.
    pub(crate) columns: usize,
    /// Its height, where it has one.
    pub(crate) rows: Option<usize>,
}

impl Default for Screen {
    fn default() -> Self {
        Self { colours: false, columns: 80, rows: None }
    }
}

/// What all columns but those of names take, in the table of routes and in that of targets.
const NUMBERS: (usize, usize) = (57, 49);

impl Screen {
    /// The picture of one stretch of time, with the name of the stack.
    pub(crate) fn draw(self, name: &str, rates: &Rates) -> String {
        let head = format!(
            "{}  {}",
            Tone::Strong.paint(name, self.colours),
            Tone::Faint.paint(
                &format!(
                    "{} req/s, {} in flight, {} connections, routes #{}",
                    rate(rates.requests_per_s),
                    rates.in_flight,
                    rates.connections,
                    rates.generation
                ),
                self.colours
            )
        );
        let text = format!("{head}\n\n{}\n{}", self.routes(rates), self.targets(rates));
        match self.rows {
            Some(rows) if text.lines().count() > rows.max(2) => {
                let mut lines: Vec<&str> = text.lines().take(rows.max(2) - 1).collect();
                lines.push("… more than fits; --once shows all");
                lines.join("\n") + "\n"
            }
            _ => text,
        }
    }

    fn routes(self, rates: &Rates) -> String {
        let headings =
            ["ROUTE", "REQ/S", " 2XX", " 4XX", " 5XX", " P50", " P95", " P99", "RETRY", "HEDGE"];
        let mut table = Table::new(&headings);
        // What nobody has ever asked for says nothing.
        let asked = |route: &&RouteRates| route.requests > 0 || !route.route.starts_with('(');
        for route in rates.routes.iter().filter(asked) {
            let bad = |value: f64, tone: Tone| if value > 0.0 { tone } else { Tone::Plain };
            let Times { p50_ms, p95_ms, p99_ms } = route.times;
            // What services ask each other goes by the name of the one that is asked.
            let label = match &route.service {
                Some(service) if route.route.starts_with('(') => format!("({service})"),
                _ => route.route.clone(),
            };
            table.row(vec![
                (cut(&label, self.columns.saturating_sub(NUMBERS.0)), Tone::Strong),
                (wide(&rate(route.requests_per_s)), Tone::Plain),
                (right(&rate(route.good)), bad(route.good, Tone::Good)),
                (right(&rate(route.refused)), bad(route.refused, Tone::Notable)),
                (right(&rate(route.failed)), bad(route.failed, Tone::Bad)),
                (right(&time(p50_ms)), Tone::Plain),
                (right(&time(p95_ms)), Tone::Plain),
                (right(&time(p99_ms)), Tone::Plain),
                (wide(&rate(route.retries_per_s)), bad(route.retries_per_s, Tone::Notable)),
                (wide(&rate(route.hedges_per_s)), bad(route.hedges_per_s, Tone::Notable)),
            ]);
        }
        table.render(self.colours)
    }

    fn targets(self, rates: &Rates) -> String {
        let headings =
            ["SERVICE", "TARGET", "STATE", "SHARE", "BUSY", "REQ/S", "FAIL", " P50", " P95"];
        let mut table = Table::new(&headings);
        let mut last = None;
        let room = self.columns.saturating_sub(NUMBERS.1) / 2;
        for target in &rates.targets {
            let service = if last == Some(&target.service) { "" } else { target.service.as_str() };
            last = Some(&target.service);
            let tone = match target.state {
                TargetState::Serving => Tone::Good,
                TargetState::Ejected | TargetState::Down => Tone::Bad,
                TargetState::Waking => Tone::Notable,
                TargetState::Spare | TargetState::Resting => Tone::Faint,
            };
            let share = target.share.map(|share| format!("{:.0}%", share * 100.0));
            let failing = if target.failures_per_s > 0.0 { Tone::Bad } else { Tone::Plain };
            table.row(vec![
                (cut(service, room), Tone::Strong),
                (cut(target.provider.as_str(), room), Tone::Plain),
                (target.state.word().to_owned(), tone),
                (wide(&share.unwrap_or_else(none)), Tone::Plain),
                (right(&target.in_flight.to_string()), Tone::Plain),
                (wide(&rate(target.requests_per_s)), Tone::Plain),
                (right(&rate(target.failures_per_s)), failing),
                (right(&time(target.times.p50_ms)), Tone::Plain),
                (right(&time(target.times.p95_ms)), Tone::Plain),
            ]);
        }
        let mut text = table.render(self.colours);
        for target in &rates.targets {
            if let Some(why) = &target.why {
                let left = target.left_ms.map(|ms| format!(", {} s left", ms.div_ceil(1_000)));
                let line = format!(
                    "{} on {}: {why}{}",
                    target.service,
                    target.provider,
                    left.unwrap_or_default()
                );
                text.push_str(&Tone::Notable.paint(&cut(&line, self.columns), self.colours));
                text.push('\n');
            }
        }
        text
    }
}

/// A number at the right of a column of four.
fn right(text: &str) -> String {
    format!("{text:>4}")
}

/// A number at the right of a column of five.
fn wide(text: &str) -> String {
    format!("{text:>5}")
}

fn none() -> String {
    "–".to_owned()
}

/// `0`, `0.4`, `12`, `1.2k`.
fn rate(per_s: f64) -> String {
    match per_s {
        0.0 => "0".to_owned(),
        ..9.95 => format!("{per_s:.1}"),
        ..999.5 => format!("{per_s:.0}"),
        ..9_950.0 => format!("{:.1}k", per_s / 1_000.0),
        _ => format!("{:.0}k", per_s / 1_000.0),
    }
}

/// Milliseconds: `0.4`, `12`, `1.2s`.
fn time(ms: Option<f64>) -> String {
    match ms {
        None => none(),
        Some(ms) if ms < 9.95 => format!("{ms:.1}"),
        Some(ms) if ms < 999.5 => format!("{ms:.0}"),
        Some(ms) if ms < 9_950.0 => format!("{:.1}s", ms / 1_000.0),
        Some(ms) => format!("{:.0}s", ms / 1_000.0),
    }
}

/// `text` in so many columns.
fn cut(text: &str, columns: usize) -> String {
    let columns = columns.max(4);
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use linkflow_edge::{BUCKETS_US, EdgePicture, RoutePicture, TargetPicture};
    use linkflow_model::Moment;

    use super::*;
    use crate::wire::rates::quantile;

    fn buckets(counts: &[(usize, u64)]) -> Vec<u64> {
        let mut all = vec![0; BUCKETS_US.len() + 1];
        counts.iter().for_each(|(at, count)| all[*at] = *count);
        all
    }

    fn route(label: &str, answers: [u64; 5], counts: &[(usize, u64)]) -> RoutePicture {
        let service = (label != "(none)").then(|| "api".parse().unwrap());
        RoutePicture {
            service,
            route: label.to_owned(),
            answers,
            first_byte: buckets(counts),
            retries: answers[4],
            ..RoutePicture::default()
        }
    }

    fn target(name: &str, state: TargetState, requests: u64) -> TargetPicture {
        let ejected = state == TargetState::Ejected;
        TargetPicture {
            service: "api".parse().unwrap(),
            provider: name.parse().unwrap(),
            address: format!("https://{name}.example"),
            state,
            why: ejected.then(|| "answered 503, 3 failures in a row".to_owned()),
            left_ms: ejected.then_some(11_400),
            requests,
            failures: if ejected { 3 } else { 0 },
            in_flight: 2,
            first_byte: buckets(&[(4, requests)]),
        }
    }

    /// Two pictures, two seconds apart.
    fn rates() -> Rates {
        let label = "a-shop-with-a-long-name.example.com/api/v1";
        let before = EdgePicture {
            at: Moment(1_000),
            routes: vec![route(label, [0, 100, 0, 0, 0], &[(3, 100)])],
            targets: vec![target("fly", TargetState::Serving, 100)],
            ..EdgePicture::default()
        };
        let now = EdgePicture {
            at: Moment(3_000),
            generation: 4,
            in_flight: 3,
            connections: 12,
            routes: vec![
                route(label, [0, 290, 0, 4, 6], &[(3, 200), (6, 90), (10, 10)]),
                route("(internal)", [0; 5], &[]),
                route("(none)", [0, 0, 0, 1, 0], &[(0, 1)]),
            ],
            targets: vec![
                target("fly", TargetState::Ejected, 150),
                target("koyeb", TargetState::Serving, 150),
            ],
        };
        Rates::between(&before, &now)
    }

    #[test]
    fn rates_are_what_happened_in_between() {
        let rates = rates();
        let route = &rates.routes[0];
        let numbers = [route.requests_per_s, route.good, route.refused, route.failed];
        assert_eq!(numbers, [100.0, 95.0, 2.0, 3.0]);
        assert_eq!((route.retries_per_s, route.requests), (3.0, 300));
        let shares: Vec<Option<f64>> = rates.targets.iter().map(|t| t.share).collect();
        assert_eq!(shares, [Some(0.25), Some(0.75)]);
        assert_eq!(rates.targets[1].requests_per_s, 75.0, "what is new began with nothing");
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let counts = buckets(&[(3, 100), (6, 90), (10, 10)]);
        let near = |share: f64, ms: f64| {
            let found = quantile(&counts, share).unwrap();
            assert!((found - ms).abs() < 1e-6, "{share}: {found}");
        };
        near(0.25, 3.75);
        near(0.50, 5.0);
        near(0.95, 50.0);
        near(0.99, 900.0);
        assert_eq!(quantile(&buckets(&[]), 0.5), None);
        assert_eq!(quantile(&buckets(&[(16, 5)]), 0.5), Some(60_000.0), "at least that");
    }

    #[test]
    fn a_picture_fits_into_eighty_columns() {
        let text = Screen::default().draw("shop", &rates());
        let expected = "\
shop  100 req/s, 3 in flight, 12 connections, routes #4

ROUTE                    REQ/S   2XX   4XX   5XX   P50   P95   P99  RETRY  HEDGE
a-shop-with-a-long-nam…    100    95   2.0   3.0   5.0    50   900    3.0      0
(none)                     0.5     0   0.5     0   0.2   0.5   0.5      0      0

SERVICE  TARGET  STATE    SHARE  BUSY  REQ/S  FAIL   P50   P95
api      fly     ejected    25%     2     25   1.5   7.5   9.8
         koyeb   serving    75%     2     75     0   7.5   9.8
api on fly: answered 503, 3 failures in a row, 12 s left
";
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text, expected);
    }

    #[test]
    fn a_small_terminal_is_never_overrun() {
        for rows in [1, 2, 5, 8, 100] {
            let screen = Screen { colours: true, rows: Some(rows), ..Screen::default() };
            let text = screen.draw("shop", &rates());
            assert!(text.lines().count() <= rows.max(2), "{rows}: {text}");
        }
        let text = Screen { rows: Some(5), ..Screen::default() }.draw("shop", &rates());
        assert!(text.ends_with("… more than fits; --once shows all\n"), "{text}");
    }

    #[test]
    fn numbers_take_four_columns_at_most() {
        for (per_s, said) in [(0.0, "0"), (0.04, "0.0"), (9.9, "9.9"), (9.96, "10"), (999.4, "999")]
        {
            assert_eq!(rate(per_s), said);
        }
        assert_eq!((rate(999.6), rate(123_456.0)), ("1.0k".to_owned(), "123k".to_owned()));
        let said = [0.25, 9.96, 999.6, 60_000.0].map(|ms| time(Some(ms)));
        assert_eq!(said, ["0.2", "10", "1.0s", "60s"]);
    }
}
