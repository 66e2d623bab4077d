//! How the dashboard is drawn in a terminal.

use linkflow_model::{ServiceName, Timestamp};
use linkflow_web::operator::{Service, TargetTraffic};

use super::Seen;
use crate::command::status;
use crate::say::table::{Table, Tone};
use crate::say::time::local;

/// What is drawn on, and which part of it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sheet {
    pub(super) colours: bool,
    pub(super) columns: usize,
    /// Its height, where it has one.
    pub(super) rows: Option<usize>,
    /// The first line that is seen.
    pub(super) from: usize,
    /// Only what has this in it.
    pub(super) filter: String,
    /// What of a filter is being typed.
    pub(super) typed: Option<String>,
}

impl Default for Sheet {
    fn default() -> Self {
        Self {
            colours: false,
            columns: 200,
            rows: None,
            from: 0,
            filter: String::new(),
            typed: None,
        }
    }
}

impl Sheet {
    /// The picture of what was seen. It moves back to its end when somebody has moved beyond it.
    pub(super) fn draw(&self, seen: &Seen) -> String {
        let head = self.head(seen);
        let body = self.body(seen);
        let lines: Vec<&str> = body.lines().collect();
        let room = self.rows.map_or(lines.len(), |rows| rows.saturating_sub(3).max(1));
        let from = self.from.min(lines.len().saturating_sub(room));
        let mut out = format!("{head}\n\n");
        for line in lines.iter().skip(from).take(room) {
            out.push_str(&cut(line, self.columns));
            out.push('\n');
        }
        if self.rows.is_some() {
            let foot = match &self.typed {
                Some(typed) => format!("/{typed}▏"),
                None if self.filter.is_empty() => "q end  ↑↓ move  / filter".to_owned(),
                None => format!("filter: {}  Escape takes it away", self.filter),
            };
            out.push_str(&Tone::Faint.paint(&foot, self.colours));
        }
        out
    }

    fn head(&self, seen: &Seen) -> String {
        let status = &seen.status;
        let live = status.live.as_ref().map_or_else(
            || "nothing is live".to_owned(),
            |release| format!("{} is live", release.release),
        );
        let rest = format!(
            "{live}, {:.1} req/s, {} in flight, {}",
            seen.traffic.requests_per_s,
            seen.traffic.in_flight,
            local(Timestamp(status.at)).split('.').next().unwrap_or_default()
        );
        let name = Tone::Strong.paint(&status.stack, self.colours);
        format!("{name}  {}", Tone::Faint.paint(&rest, self.colours))
    }

    fn fits(&self, words: &[&str]) -> bool {
        let wanted = self.filter.to_lowercase();
        words.iter().any(|word| word.to_lowercase().contains(&wanted))
    }

    fn body(&self, seen: &Seen) -> String {
        let status = &seen.status;
        let mut out = String::new();
        let mut warn = |text: String| {
            out.push_str(&Tone::Notable.paint(&text, self.colours));
            out.push('\n');
        };
        if let Some(run) = &status.running {
            warn(format!("{} is under way, {} of {}: {}", run.run, run.done, run.steps, run.why));
        }
        for drain in &status.drained {
            let of = drain.service.as_ref().map(|one| format!(" for {one}")).unwrap_or_default();
            warn(format!("{} is drained{of} by {}: {}", drain.provider, drain.by, drain.why));
        }
        for order in &status.failovers {
            let of = order.service.as_ref().map_or("every service", ServiceName::as_str);
            warn(format!("{of} was failed over to {} by {}: {}", order.to, order.by, order.why));
        }
        for silent in &status.silent {
            warn(format!("{} does not answer: {}", silent.provider, silent.why));
        }
        for one in &status.untold {
            let why = one.failed.as_deref().unwrap_or("it does not arrive");
            warn(format!("nobody is told by {}, {}: {why}", one.alert, one.way));
        }
        if status.differs > 0 && status.running.is_none() {
            let things = if status.differs == 1 { "thing differs" } else { "things differ" };
            warn(format!("{} {things} from what is live", status.differs));
        }
        for quota in &status.quotas {
            warn(format!("{}: {}", quota.provider, quota.used.sentence));
        }
        out.push_str(&self.incidents(seen));
        let fits = |one: &&Service| {
            let places = one.placements.iter().map(|placement| placement.provider.as_str());
            self.fits(&places.chain([one.service.as_str()]).collect::<Vec<_>>())
        };
        let services: Vec<Service> = status.services.iter().filter(fits).cloned().collect();
        let live = status.live.as_ref().map(|release| release.release);
        out.push_str(&status::table(&services, live, self.colours));
        out.push('\n');
        out.push_str(&self.targets(&seen.traffic.targets));
        out
    }

    fn incidents(&self, seen: &Seen) -> String {
        let open = &seen.status.incidents;
        if open.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["INCIDENT", "SINCE", "BY", "TITLE"]);
        for one in open.iter().filter(|one| self.fits(&[&one.id, &one.title])) {
            let since = local(Timestamp(one.began));
            let by = one.acknowledged_by.as_deref().unwrap_or("nobody");
            table.row(vec![
                (one.id.clone(), Tone::Bad),
                (since.split('.').next().unwrap_or_default().to_owned(), Tone::Plain),
                (by.to_owned(), Tone::Plain),
                (one.title.clone(), Tone::Strong),
            ]);
        }
        table.render(self.colours) + "\n"
    }

    fn targets(&self, targets: &[TargetTraffic]) -> String {
        let mut table =
            Table::new(&["SERVICE", "TARGET", "STATE", "SHARE", "REQ/S", "FAIL/S", "P50", "P95"]);
        let time = |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1} ms"));
        let own = |one: &&TargetTraffic| self.fits(&[one.service.as_str(), one.provider.as_str()]);
        for one in targets.iter().filter(own) {
            let tone = match one.state.as_str() {
                "serving" => Tone::Good,
                "ejected" | "down" => Tone::Bad,
                _ => Tone::Faint,
            };
            let share = one.share.map_or_else(|| "–".to_owned(), |s| format!("{:.0}%", s * 100.0));
            table.row(vec![
                (one.service.to_string(), Tone::Strong),
                (one.provider.to_string(), Tone::Plain),
                (one.state.clone(), tone),
                (share, Tone::Plain),
                (format!("{:.1}", one.requests_per_s), Tone::Plain),
                (format!("{:.1}", one.failures_per_s), Tone::Plain),
                (time(one.p50_ms), Tone::Plain),
                (time(one.p95_ms), Tone::Plain),
            ]);
        }
        table.render(self.colours)
    }
}

/// `line` in so many columns; what paints it takes none.
fn cut(line: &str, columns: usize) -> String {
    let (mut out, mut wide, mut painting) = (String::new(), 0, false);
    for c in line.chars() {
        match (painting, c) {
            (false, '\u{1b}') => painting = true,
            (true, 'm') => painting = false,
            (true, _) => {}
            (false, _) if wide >= columns => continue,
            (false, _) => wide += 1,
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use linkflow_web::operator::Traffic;
    use linkflow_web::view::overview::Status;
    use serde_json::json;

    use super::*;

    fn seen() -> Seen {
        let placement = |provider: &str, active: bool| {
            json!({
                "provider": provider, "active": active, "state": if active { "up" } else { "down" }, "lifecycle": "running",
                "health": "up", "drained": null, "release": "r3", "digest": null, "latency_ms": 12, "address": null,
                "running": 1, "why": if active { "serves" } else { "down: refused" },
            })
        };
        let service = |name: &str| {
            json!({
                "service": name, "kind": "web", "exclusive": false, "active": "a", "image": "api:1", "routes": [],
                "placements": [placement("a", true), placement("b", false)],
            })
        };
        let status: Status = serde_json::from_value(json!({
            "stack": "shop", "at": 1_796_006_460_000_u64, "live": null, "running": null,
            "services": [service("api"), service("docs")], "providers": ["a", "b"], "silent": [],
            "drained": [{ "provider": "b", "service": null, "by": "ann", "why": "it is rebuilt", "at": 0 }],
            "failovers": [{ "to": "a", "service": null, "by": "bob", "why": "b is slow", "at": 0, "until": null }],
            "incidents": [], "maintenance": [], "quotas": [], "differs": 2,
            "untold": [{ "alert": "team", "way": "slack", "failed": "token_revoked" }],
        }))
        .unwrap();
        let traffic: Traffic = serde_json::from_value(json!({
            "over_ms": 2_000, "requests_per_s": 4.0, "in_flight": 1, "connections": 2, "routes": [],
            "targets": [{
                "service": "api", "provider": "a", "address": "http://a", "state": "serving", "why": null, "share": 1.0,
                "requests_per_s": 4.0, "failures_per_s": 0.0, "in_flight": 1, "p50_ms": 3.0, "p95_ms": null,
            }],
        }))
        .unwrap();
        Seen { status, traffic }
    }

    #[test]
    fn the_picture_has_what_matters_and_a_filter_leaves_the_rest_out() {
        let text = Sheet::default().draw(&seen());
        for part in [
            "shop  nothing is live, 4.0 req/s",
            "b is drained by ann: it is rebuilt",
            "every service was failed over to a by bob: b is slow",
            "nobody is told by team, slack: token_revoked",
            "2 things differ from what is live",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("docs") && text.contains("serving"), "{text}");
        let filtered = Sheet { filter: "DOC".to_owned(), ..Sheet::default() }.draw(&seen());
        assert!(filtered.contains("docs") && !filtered.contains("api "), "{filtered}");
    }

    #[test]
    fn a_small_terminal_is_never_overrun_and_can_be_moved_over() {
        for (rows, from) in [(4, 0), (6, 3), (10, 1_000)] {
            let sheet =
                Sheet { colours: true, columns: 40, rows: Some(rows), from, ..Sheet::default() };
            let text = sheet.draw(&seen());
            assert!(text.lines().count() <= rows, "{rows}: {text}");
        }
        assert_eq!(cut("\u{1b}[1mabc\u{1b}[0m", 2), "\u{1b}[1mab\u{1b}[0m");
    }
}
