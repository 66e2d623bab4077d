//! The report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::chart::{LOOKS, Screen, chart, escape, slug};
use super::words::{count, duration, latency, maybe, moment, number, providers, told, wall};
use super::{Bucket, RehearsalReport, ScenarioResult, Verdict};

const STYLE: &str = include_str!("html.css");

/// The whole report as a page for a browser: dark or light as the reader's system is, for phones and paper, for keyboards
/// and screen readers.
pub fn html(report: &RehearsalReport) -> String {
    let looks = Looks::of(report);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{} of {} drills passed – LinkFlow rehearsal of {}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#drills\">To the drills</a>\n{}",
        report.passed(),
        report.scenarios.len(),
        escape(&report.stack),
        look_styles(),
        hatches(),
    );
    out.push_str(&header(report));
    out.push_str("<main>\n");
    out.push_str(&tiles(report));
    out.push_str(&summary(report));
    for scenario in &report.scenarios {
        out.push_str(&article(scenario, &looks));
    }
    out.push_str(&ran(report, &looks));
    out.push_str("</main>\n");
    out.push_str(&footer(report));
    out.push_str("</body>\n</html>\n");
    out
}

/// Which colour and hatch each provider has, throughout the page.
struct Looks(BTreeMap<String, usize>);

impl Looks {
    /// In the order of the report; then whoever else answered.
    fn of(report: &RehearsalReport) -> Self {
        let mut places = BTreeMap::new();
        let named = report.providers.iter().map(|provider| provider.name.clone());
        let others: BTreeSet<String> = report.scenarios.iter().flat_map(providers).collect();
        for name in named.chain(others) {
            let next = places.len();
            places.entry(name).or_insert(next);
        }
        Self(places)
    }

    fn place(&self, provider: &str) -> usize {
        self.0.get(provider).copied().unwrap_or(0)
    }
}

fn look_styles() -> String {
    let one =
        |look| format!(".p{look}{{fill:var(--p{look})}}.p{look}.hatch{{fill:url(#h{look})}}\n");
    let all: String = (0..LOOKS).map(one).collect();
    format!(
        "{all}.p0.hatch{{fill:none}}.failed{{fill:var(--failed)}}.failed.hatch{{fill:url(#hf)}}\n"
    )
}

/// The hatches that tell providers apart without their colours: none, then lines and dots.
fn hatches() -> String {
    let lines = [
        ("h1", "M-2 2L2 -2M0 8L8 0M6 10L10 6"),
        ("h3", "M0 4H8"),
        ("h4", "M-2 6L2 10M0 0L8 8M6 -2L10 2"),
        ("h5", "M4 0V8"),
        ("h6", "M0 4H8M4 0V8"),
        ("hf", "M0 0L8 8M8 0L0 8"),
    ];
    let mut out =
        "<svg class=\"hidden\" aria-hidden=\"true\" focusable=\"false\"><defs>\n".to_owned();
    for (id, path) in lines {
        out.push_str(&format!(
            "<pattern id=\"{id}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\" patternTransform=\"scale(.75)\">\
             <path d=\"{path}\" style=\"fill:none;stroke:var(--page);stroke-width:1.4;stroke-opacity:.6\"/></pattern>\n"
        ));
    }
    out.push_str(
        "<pattern id=\"h2\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">\
         <circle cx=\"3\" cy=\"3\" r=\"1.1\" style=\"fill:var(--page);fill-opacity:.7\"/></pattern>\n</defs></svg>\n",
    );
    out
}

fn badge(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "<span class=\"verdict pass\">✓ passed</span>",
        Verdict::Fail => "<span class=\"verdict fail\">✗ failed</span>",
    }
}

fn header(report: &RehearsalReport) -> String {
    let machine = &report.machine;
    let headline = match (report.passed(), report.scenarios.len()) {
        (0, 0) => "nothing was rehearsed".to_owned(),
        (passed, all) if passed == all => format!("all {all} drills passed"),
        (passed, all) => format!("{} of {all} drills failed", all - passed),
    };
    let writes = match report.load.write_every {
        0 => "none of them a write".to_owned(),
        every => format!("one in {every} a write"),
    };
    format!(
        "<header>\n<p class=\"brand\">LinkFlow rehearsal</p>\n<h1>{}: {headline}</h1>\n\
         <p class=\"meta\">{} UTC, seed {}, took {}. {} on {}, {} requests per second, {writes}; a visitor waits {}.<br>\n\
         {}, {} MB, {}. LinkFlow {}.</p>\n</header>\n",
        escape(&report.stack),
        wall(report.started),
        report.seed,
        duration(report.took_ms),
        count(report.services.len(), "service"),
        count(report.providers.len(), "simulated provider"),
        report.load.rate,
        duration(report.load.timeout_ms),
        count(usize::try_from(machine.cpus).unwrap_or(0), "CPU"),
        number(machine.memory_mb),
        escape(&machine.os),
        escape(&report.version),
    )
}

fn tiles(report: &RehearsalReport) -> String {
    let sum = |of: fn(&ScenarioResult) -> u64| report.scenarios.iter().map(of).sum::<u64>();
    let (requests, failed) = (sum(|s| s.requests), sum(|s| s.failed_requests));
    let slowest = report.scenarios.iter().filter(|s| s.rerouted_ms.is_some());
    let slowest = slowest.max_by_key(|s| s.rerouted_ms);
    let share = if requests == 0 { 0.0 } else { failed as f64 * 100.0 / requests as f64 };
    let tile = |name: &str, value: &str, small: &str| {
        format!(
            "<div><dt>{name}</dt><dd>{}<small>{}</small></dd></div>\n",
            escape(value),
            escape(small)
        )
    };
    let passed = format!("{} of {}", report.passed(), report.scenarios.len());
    let mut out = "<dl class=\"tiles\">\n".to_owned();
    out.push_str(&tile("Drills passed", &passed, ""));
    if let Some(slowest) = slowest {
        out.push_str(&tile("Slowest rerouting", &maybe(slowest.rerouted_ms), &slowest.title));
    }
    let failed_words = format!("{share:.3} % of {}", number(requests));
    out.push_str(&tile("Failed requests", &number(failed), &failed_words));
    out.push_str(&tile(
        "Lost writes",
        &number(sum(|s| s.lost_writes)),
        "acknowledged, but not kept",
    ));
    let twice = "arrived, kept or done twice";
    out.push_str(&tile("Doubled writes", &number(sum(|s| s.doubled_writes)), twice));
    if let Some(idle) = report.idle_memory_mb {
        out.push_str(&tile("Idle memory", &format!("{idle:.0} MB"), "of LinkFlow itself"));
    }
    out.push_str("</dl>\n");
    out
}

/// The table of all scenarios. On a phone its rows become cards; the roles keep it a table for screen readers then.
fn summary(report: &RehearsalReport) -> String {
    let heads =
        ["Noticed", "Rerouted", "Back", "Requests", "Failed", "Lost", "Doubled", "p50", "p99"];
    let mut out = "<section id=\"drills\" aria-labelledby=\"drills-h\" tabindex=\"-1\">\n\
                   <table class=\"stackable\" role=\"table\">\n\
                   <caption id=\"drills-h\">The drills</caption>\n<thead role=\"rowgroup\"><tr role=\"row\">\
                   <th role=\"columnheader\" scope=\"col\">Drill</th><th role=\"columnheader\" scope=\"col\">Verdict</th>"
        .to_owned();
    for head in heads {
        out.push_str(&format!("<th role=\"columnheader\" scope=\"col\" class=\"n\">{head}</th>"));
    }
    out.push_str("</tr></thead>\n<tbody role=\"rowgroup\">\n");
    for scenario in &report.scenarios {
        let cells = [
            maybe(scenario.detected_ms),
            maybe(scenario.rerouted_ms),
            maybe(scenario.back_ms),
            number(scenario.requests),
            number(scenario.failed_requests),
            number(scenario.lost_writes),
            number(scenario.doubled_writes),
            latency(scenario.p50_ms),
            latency(scenario.p99_ms),
        ];
        out.push_str(&format!(
            "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\"><a href=\"#{}\">{}</a></th><td role=\"cell\">{}</td>",
            slug(&scenario.name),
            escape(&scenario.title),
            badge(scenario.verdict)
        ));
        for (head, cell) in heads.iter().zip(cells) {
            out.push_str(&format!(
                "<td role=\"cell\" class=\"n\" data-name=\"{head}\">{cell}</td>"
            ));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
    out
}

fn article(scenario: &ScenarioResult, looks: &Looks) -> String {
    let id = slug(&scenario.name);
    let figure =
        |name: &str, value: &str| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value));
    let mut out = format!(
        "<article id=\"{id}\" aria-labelledby=\"{id}-h\">\n<div class=\"title\"><h2 id=\"{id}-h\">{}</h2>{}</div>\n<p>{}</p>\n",
        escape(&scenario.title),
        badge(scenario.verdict),
        escape(&scenario.story),
    );
    if !scenario.broken.is_empty() {
        out.push_str("<div class=\"broken\"><strong>Not as expected</strong><ul>");
        for broken in &scenario.broken {
            out.push_str(&format!("<li>{}</li>", escape(broken)));
        }
        out.push_str("</ul></div>\n");
    }
    let failed = format!("{} of {}", number(scenario.failed_requests), number(scenario.requests));
    out.push_str("<dl class=\"figures\">\n");
    for (name, value) in [
        ("noticed after", maybe(scenario.detected_ms)),
        ("rerouted after", maybe(scenario.rerouted_ms)),
        ("back after", maybe(scenario.back_ms)),
        ("failed requests", failed),
        (
            "median, p99, longest",
            format!(
                "{}, {}, {}",
                latency(scenario.p50_ms),
                latency(scenario.p99_ms),
                latency(scenario.max_ms)
            ),
        ),
    ] {
        out.push_str(&figure(name, &value));
    }
    out.push_str("\n</dl>\n");
    out.push_str(&timeline(scenario, looks));
    out.push_str(&checks(scenario));
    out.push_str(&events(scenario));
    out.push_str("</article>\n");
    out
}

fn timeline(scenario: &ScenarioResult, looks: &Looks) -> String {
    if scenario.timeline.is_empty() {
        return "<p class=\"soft\">Nobody asked.</p>\n".to_owned();
    }
    let mut out = "<figure>\n<ul class=\"legend\">\n".to_owned();
    let mut names = providers(scenario);
    names.sort_by_key(|name| looks.place(name));
    for name in &names {
        let class = format!("p{}", looks.place(name) % LOOKS);
        out.push_str(&format!("<li>{}{}</li>\n", swatch(&class), escape(name)));
    }
    if scenario.failed_requests > 0 {
        out.push_str(&format!("<li>{}failed</li>\n", swatch("failed")));
    }
    out.push_str("</ul>\n");
    let look = |name: &str| looks.place(name);
    out.push_str(&chart(scenario, Screen::Wide, &look));
    out.push_str(&chart(scenario, Screen::Narrow, &look));
    out.push_str(&format!("<figcaption>{}</figcaption>\n</figure>\n", escape(&told(scenario))));
    out.push_str(&seconds(scenario, &names));
    out
}

fn swatch(class: &str) -> String {
    let shape = "x=\"0\" y=\"0\" width=\"26\" height=\"16\"";
    format!(
        "<svg viewBox=\"0 0 26 16\" aria-hidden=\"true\"><rect class=\"{class}\" {shape}/><rect class=\"{class} hatch\" {shape}/></svg>"
    )
}

/// The chart as a table, a row for each second.
fn seconds(scenario: &ScenarioResult, names: &[String]) -> String {
    let mut out = format!(
        "<details><summary>The timeline as a table</summary>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Requests of each second: {title}\">\n\
         <table><caption>Requests of each second: {title}</caption>\n<thead><tr><th scope=\"col\">From</th>",
        title = escape(&scenario.title)
    );
    for name in names.iter().map(|name| escape(name)).chain(["failed".to_owned()]) {
        out.push_str(&format!("<th scope=\"col\" class=\"n\">{name}</th>"));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for second in scenario.timeline.chunk_by(|a, b| a.t_ms / 1_000 == b.t_ms / 1_000) {
        let from = second.first().map_or(0, |bucket| bucket.t_ms / 1_000);
        out.push_str(&format!("<tr><th scope=\"row\">{from} s</th>"));
        let by = |name: &str| {
            let of = |bucket: &Bucket| bucket.providers.get(name).copied().unwrap_or(0);
            second.iter().map(of).sum::<u32>()
        };
        for name in names {
            out.push_str(&format!("<td class=\"n\">{}</td>", number(by(name).into())));
        }
        let failed: u32 = second.iter().map(|bucket| bucket.failed).sum();
        let class = if failed > 0 { "n miss" } else { "n" };
        out.push_str(&format!("<td class=\"{class}\">{}</td></tr>\n", number(failed.into())));
    }
    out.push_str("</tbody></table></div></details>\n");
    out
}

fn checks(scenario: &ScenarioResult) -> String {
    let mut out = "<table class=\"checks\">\n<caption>What was expected</caption>\n<thead><tr><th scope=\"col\">Expectation</th>\
                   <th scope=\"col\">Limit</th><th scope=\"col\">Measured</th></tr></thead>\n<tbody>\n"
        .to_owned();
    for check in &scenario.checks {
        let (class, sign, kept) =
            if check.kept { ("", "✓", "kept") } else { (" miss", "✗", "not kept") };
        out.push_str(&format!(
            "<tr><th scope=\"row\"><span class=\"kept{class}\" aria-hidden=\"true\">{sign}</span>{}<span class=\"vh\">, {kept}</span></th>\
             <td>{}</td><td class=\"{}\">{}</td></tr>\n",
            escape(&check.what),
            escape(&check.expected),
            class.trim(),
            escape(&check.measured),
        ));
    }
    out.push_str("</tbody>\n</table>\n");
    out
}

fn events(scenario: &ScenarioResult) -> String {
    if scenario.events.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<details><summary>What LinkFlow said ({})</summary>\n<ol class=\"events\">\n",
        count(scenario.events.len(), "event")
    );
    for event in &scenario.events {
        out.push_str(&format!(
            "<li><time>{}</time><span class=\"soft\">{}</span><span>{}</span></li>\n",
            moment(event.t_ms),
            escape(&event.kind.replace('_', " ")),
            escape(&event.message)
        ));
    }
    out.push_str("</ol></details>\n");
    out
}

/// What ran where.
fn ran(report: &RehearsalReport, looks: &Looks) -> String {
    let mut out = "<article id=\"ran\" aria-labelledby=\"ran-h\">\n<h2 id=\"ran-h\">What ran</h2>\n<h3>Simulated providers</h3>\n\
                   <ul class=\"legend\">\n"
        .to_owned();
    for provider in &report.providers {
        let class = format!("p{}", looks.place(&provider.name) % LOOKS);
        // Most providers are called what they are.
        let kind = Some(&provider.kind).filter(|kind| **kind != provider.name);
        let (name, kind) = (escape(&provider.name), escape(kind.map_or("", String::as_str)));
        out.push_str(&format!(
            "<li>{}{name} <span class=\"soft\">{kind}</span></li>\n",
            swatch(&class)
        ));
    }
    out.push_str(
        "</ul>\n<table>\n<caption>Services <span class=\"soft\">and where they may run, most preferred first</span></caption>\n\
         <thead><tr><th scope=\"col\">Service</th><th scope=\"col\">Kind</th><th scope=\"col\">Cascade</th></tr></thead>\n<tbody>\n",
    );
    for service in &report.services {
        out.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>\n",
            escape(&service.name),
            escape(&service.kind),
            escape(&service.runs_on.join(" → "))
        ));
    }
    out.push_str("</tbody>\n</table>\n</article>\n");
    out
}

fn footer(report: &RehearsalReport) -> String {
    format!(
        "<footer>\n<h2>How it is counted</h2>\n\
         <p>Requests are due at a fixed rate whether or not earlier ones have been answered, and nothing is sent again. Each \
         latency counts from when its request was due, so a stall shows in every request that was due meanwhile.</p>\n\
         <p><strong>Noticed</strong>: from the fault until LinkFlow said so. <strong>Rerouted</strong>: from the fault until the \
         last request that failed, took longer than a second or was still answered by the struck provider was over. \
         <strong>Back</strong>: from the end of the fault until the preferred provider gave most answers again for a second. \
         <strong>Lost</strong>: writes that were acknowledged and are not in the ledger. <strong>Doubled</strong>: writes that \
         arrived or were kept twice, and tasks that were completed twice.</p>\n\
         <p>Again, with the same chance: <code>linkflow rehearse --seed {}</code></p>\n</footer>\n",
        report.seed
    )
}
