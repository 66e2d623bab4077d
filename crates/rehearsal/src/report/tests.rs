//! Holds for every rendering, whatever is in the report.

use std::collections::{BTreeMap, BTreeSet};

use linkflow_model::{Event, EventKind, Level, Moment, ProviderName, ServiceName};

use super::*;
use crate::ledger::LedgerCount;
use crate::load::{Failure, Kind, Sample};

/// A name that every rendering must take for text.
const NASTY: &str = "<script>a|b</script>\"'&`*_\n";

/// 12 s under load; fly dies at 2 s and is let live again at 6 s.
fn scenario(name: &str, title: &str, expectations: &Expectations) -> ScenarioResult {
    let sample = |due: u64| {
        let (failure, who) = match due {
            2_000..2_500 if due.is_multiple_of(20) => (Some(Failure::Refused), None),
            2_000..8_000 => (None, Some("render")),
            _ => (None, Some("fly")),
        };
        Sample {
            due: Moment(due),
            latency_ms: 5.0 + (due % 7) as f64,
            kind: if due.is_multiple_of(50) { Kind::Write } else { Kind::Read },
            status: None,
            failure,
            key: None,
            id: None,
            provider: who.map(Into::into),
            release: None,
            instance: None,
        }
    };
    let fly = ProviderName::new("fly").unwrap();
    let samples: Vec<Sample> = (0..12_000).step_by(5).map(sample).collect();
    let fault = FaultSpan {
        at: Moment(2_000),
        cleared: Some(Moment(6_000)),
        provider: fly.clone(),
        service: None,
        drives_off: true,
    };
    let down = Event::new(Timestamp(2_300), EventKind::Down, Level::Warning, NASTY);
    let seen = Observed {
        from: Moment(0),
        from_wall: Timestamp(0),
        samples: &samples,
        fault: Some(&fault),
        back: Some(&Return::Answers(fly.clone())),
        events: &[down.about(&ServiceName::new("api").unwrap(), &fly)],
        ledger: LedgerCount::default(),
        lost: &[],
    };
    let told = Told { name: name.into(), title: title.into(), story: format!("{title} is done.") };
    measure(&told, &seen, expectations)
}

fn report() -> RehearsalReport {
    let failing = Expectations { failed_at_most: Some(0), ..Expectations::default() };
    RehearsalReport {
        stack: "linkflow".into(),
        seed: 7,
        started: Timestamp(1_709_251_199_000),
        took_ms: 24_000,
        version: "0.1.0".into(),
        machine: Machine { cpus: 2, memory_mb: 7_954, os: NASTY.into() },
        services: vec![ServiceLine {
            name: "api".into(),
            kind: "web".into(),
            runs_on: vec!["fly".into(), "render".into()],
        }],
        providers: vec![ProviderLine { name: "fly".into(), kind: "fly".into() }],
        load: LoadLine { rate: 200, write_every: 10, timeout_ms: 5_000 },
        idle_memory_mb: Some(21.0),
        idle_allocated_mb: Some(9.0),
        scenarios: vec![
            scenario("provider-dies", "A provider dies", &Expectations::default()),
            scenario("nasty", NASTY, &failing),
        ],
    }
}

#[test]
fn a_result_has_the_keys_that_others_read() {
    let value = serde_json::to_value(&report().scenarios[1]).unwrap();
    let keys = [
        "name",
        "title",
        "story",
        "detected_ms",
        "rerouted_ms",
        "requests",
        "failed_requests",
        "failed_idempotent",
        "lost_writes",
        "doubled_writes",
        "back_ms",
        "p50_ms",
        "p99_ms",
        "max_ms",
        "slow_requests",
        "verdict",
        "broken",
        "timeline",
        "events",
    ];
    for key in keys {
        assert!(value.get(key).is_some(), "{key}");
    }
    assert_eq!((&value["detected_ms"], &value["rerouted_ms"]), (&300.into(), &487.into()));
    assert_eq!((&value["back_ms"], &value["failed_requests"]), (&2_000.into(), &25.into()));
    assert_eq!(value["verdict"], "fail");
    assert_eq!(serde_json::from_value::<ScenarioResult>(value).unwrap(), report().scenarios[1]);
}

#[test]
fn a_rehearsal_passes_when_every_scenario_does_and_there_is_one() {
    let mut some = report();
    assert_eq!((some.verdict(), some.passed()), (Verdict::Fail, 1));
    some.scenarios.pop();
    assert_eq!((some.verdict(), some.passed()), (Verdict::Pass, 1));
    some.scenarios.clear();
    assert_eq!((some.verdict(), some.passed()), (Verdict::Fail, 0));
}

/// The tags of a page in order, `/name` for those that close; attributes follow the name.
fn tags(page: &str) -> Vec<&str> {
    let starts = page.match_indices('<').map(|(at, _)| &page[at + 1..]);
    starts.map(|rest| rest.split('>').next().unwrap()).filter(|tag| !tag.starts_with('!')).collect()
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    let page = html(&report());
    let mut open = Vec::new();
    for tag in tags(&page) {
        let name = tag.split([' ', '\n', '/']).next().unwrap();
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{name}>"),
            None if tag.ends_with('/') || ["meta", "br"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for what in ["<script", " src=", "<link", "@import", "NaN", "inf\"", "url(http"] {
        assert!(!page.contains(what), "{what}");
    }
    assert!(page.contains("&lt;script&gt;a|b&lt;/script&gt;"));
}

#[test]
fn the_page_can_be_read_without_eyes() {
    let page = html(&report());
    let attribute = |tag: &str, name: &str| {
        let rest = tag.split(&format!(" {name}=\"")).nth(1)?;
        rest.split('"').next().map(str::to_owned)
    };
    let tags = tags(&page);
    let ids: Vec<String> = tags.iter().filter_map(|tag| attribute(tag, "id")).collect();
    let known: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(known.len(), ids.len(), "every id is there once");
    for tag in &tags {
        for id in attribute(tag, "aria-labelledby")
            .unwrap_or_default()
            .split(' ')
            .filter(|id| !id.is_empty())
        {
            assert!(known.contains(&id.to_owned()), "{id}");
        }
        if let Some(place) = attribute(tag, "href") {
            assert!(known.contains(&place[1..].to_owned()), "{place}");
        }
        assert!(!tag.starts_with("th ") || tag.contains("scope="), "{tag}");
        assert!(tag != &"th", "a head without a scope");
        let is_image = tag.starts_with("svg ");
        assert!(
            !is_image
                || tag.contains("aria-hidden")
                || tag.contains("role=\"img\" aria-labelledby"),
            "{tag}"
        );
    }
    let count = |what: &str| page.matches(what).count();
    assert_eq!(count("<table"), count("<caption"));
    assert_eq!((count("<svg class=\"chart"), count("<desc")), (4, 4));
    assert!(page.contains("render answered from 2.0\u{a0}s to 8.0\u{a0}s."));
    assert!(page.contains("25\u{a0}requests failed from 2.0\u{a0}s to 2.5\u{a0}s."));
}

#[test]
fn the_text_keeps_to_its_width_and_to_its_colours() {
    for width in [60, 80, 100, 140] {
        let plain = text(&report(), TextStyle { colour: false, width });
        assert!(!plain.contains(|letter: char| letter.is_control() && letter != '\n'));
        // The table of figures needs its columns.
        let longest = plain.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= width.max(92), "{longest} of {width}");
        let coloured = text(&report(), TextStyle { colour: true, width });
        let bare = coloured.split('\u{1b}').enumerate().map(|(n, part)| match n {
            0 => part,
            _ => part.split_once('m').unwrap().1,
        });
        assert_eq!(bare.collect::<String>(), plain);
    }
}

#[test]
fn the_text_shows_who_answered_and_what_was_not_kept() {
    let text = text(&report(), TextStyle { colour: false, width: 90 }).replace('\u{a0}', " ");
    let lines: Vec<&str> = text.lines().collect();
    let line = |start: &str| {
        *lines
            .iter()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start}\n{text}"))
    };
    // 72 columns of 12 s: two seconds of fly, six of render, four of fly.
    let bars = |name: &str| line(name).chars().skip(9).collect::<String>();
    assert!(bars("  fly ").starts_with("████████████ "));
    assert_eq!(bars("  fly ").trim_end().chars().count(), 72);
    assert_eq!(bars("  render ").trim_end().chars().count(), 48);
    assert_eq!(bars("  failed ").trim(), "▂▂▂");
    assert!(line("  ✗ failed requests").ends_with("25"), "{text}");
    assert!(line("✓ A provider dies").contains("487 ms"));
    assert!(text.contains("F fault at 2.0 s · N noticed after 300 ms · R rerouted after 487 ms"));
}

#[test]
fn markdown_keeps_its_tables_whatever_a_title_is() {
    let markdown = markdown(&report());
    assert!(!markdown.contains("<script>"));
    for line in markdown.lines().filter(|line| line.starts_with("| ")) {
        let cells = line.replace("\\|", "").matches('|').count() - 1;
        assert!([4, 11].contains(&cells), "{line}");
    }
    assert_eq!(markdown.matches("```").count(), 4);
}

#[test]
fn an_empty_report_is_shown_too() {
    let mut empty = report();
    empty.scenarios.clear();
    let nobody = Told { name: "x".into(), title: "X".into(), story: String::new() };
    let seen = Observed {
        from: Moment(0),
        from_wall: Timestamp(0),
        samples: &[],
        fault: None,
        back: None,
        events: &[],
        ledger: LedgerCount::default(),
        lost: &[],
    };
    let mut silent = empty.clone();
    silent.scenarios.push(measure(&nobody, &seen, &Expectations::default()));
    for report in [empty, silent] {
        assert!(html(&report).contains("</html>"));
        assert!(text(&report, TextStyle::default()).contains("drill"));
        assert!(markdown(&report).contains("# LinkFlow"));
    }
}

/// The colours of one scheme, `#rrggbb` by name, as linear light.
fn colours(block: &str) -> BTreeMap<String, [f64; 3]> {
    let linear = |part: &str| {
        let value = f64::from(u8::from_str_radix(part, 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let pairs = block
        .split([';', '{', '}', '\n'])
        .filter_map(|rule| rule.trim().strip_prefix("--")?.split_once(':'));
    let solid = pairs.filter(|(_, value)| value.len() == 7);
    solid
        .map(|(name, value)| (name.to_owned(), [1, 3, 5].map(|at| linear(&value[at..at + 2]))))
        .collect()
}

/// How one sees who sees all colours, and who lacks one of three cones (Machado, Oliveira and Fernandes 2009).
const EYES: [[[f64; 3]; 3]; 4] = [
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
];

fn lightness(colour: [f64; 3]) -> f64 {
    0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let (a, b) = (lightness(a) + 0.05, lightness(b) + 0.05);
    a.max(b) / a.min(b)
}

/// The CIELAB coordinates of what an eye sees of a colour.
fn lab(colour: [f64; 3], eye: &[[f64; 3]; 3]) -> [f64; 3] {
    let mix =
        |row: &[f64; 3], light: [f64; 3]| row.iter().zip(light).map(|(m, c)| m * c).sum::<f64>();
    let seen = [0, 1, 2].map(|n| mix(&eye[n], colour).max(0.0));
    let rows = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]];
    let curve = |t: f64| if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
    let white = [0.95047, 1.0, 1.08883];
    let [x, y, z] = [0, 1, 2].map(|n| curve(mix(&rows[n], seen) / white[n]));
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

#[test]
fn every_colour_stands_out_from_the_page_and_from_the_others_for_every_eye() {
    let style = include_str!("html.css");
    let dark = style.find("prefers-color-scheme:dark").unwrap();
    for block in [&style[..dark], &style[dark..]] {
        let block = &block[..block.find("*{").unwrap_or(block.len())];
        let colours = colours(block);
        let page = colours["page"];
        let shown: Vec<&String> = colours
            .keys()
            .filter(|name| *name == "failed" || (name.len() == 2 && name.starts_with('p')))
            .collect();
        assert_eq!(shown.len(), chart::LOOKS + 1);
        for name in &shown {
            assert!(contrast(colours[*name], page) >= 3.0, "{name} on the page");
        }
        for text in ["ink", "soft", "link", "good", "bad"] {
            assert!(contrast(colours[text], page) >= 4.5, "{text} on the page");
            assert!(contrast(colours[text], colours["card"]) >= 4.5, "{text} on a card");
        }
        for name in ["good", "bad"] {
            assert!(contrast(colours[name], colours[&format!("{name}-bg")]) >= 4.5, "{name}");
        }
        for (n, a) in shown.iter().enumerate() {
            for b in &shown[n + 1..] {
                for (eye, sight) in EYES.iter().enumerate() {
                    let (x, y) = (lab(colours[*a], sight), lab(colours[*b], sight));
                    let apart = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
                    assert!(apart >= 18.0, "{a} and {b} for eye {eye}: {apart:.1}");
                }
            }
        }
    }
}
