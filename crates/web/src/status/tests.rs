//! The page as a whole: what it is made of, and what its files hold.

use linkflow_model::monitor::Condition;
use linkflow_model::{
    Impact, Incident, IncidentStage, IncidentUpdate, Maintenance, Recurs, Timestamp,
};

use super::*;

/// Sunday, 29 November 2026, 12:00 UTC.
pub(crate) const NOW: Timestamp = Timestamp(1_795_953_600_000);
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn ago(ms: u64) -> Timestamp {
    Timestamp(NOW.0 - ms)
}

/// A page without components.
pub(crate) fn page() -> Page {
    Page {
        title: "Shop status".to_owned(),
        host: Some("status.shop.example".to_owned()),
        zone: jiff::tz::TimeZone::UTC,
        zone_name: "UTC".to_owned(),
        now: NOW,
        languages: vec![FALLBACK],
        partial_counts: 30,
        logo: None,
        colour: None,
        links: vec![("Shop".to_owned(), "https://shop.example".to_owned())],
        hidden: false,
        subscribe: None,
        components: Vec::new(),
        incidents: Vec::new(),
        maintenance: Vec::new(),
    }
}

/// A page of components and their conditions, `API:up Web:down`, each so for 200 days.
pub(crate) fn page_of(now: &str) -> Page {
    let one = |word: &str| {
        let (name, condition) = word.split_once(':').unwrap();
        let condition = serde_json::from_value(condition.into()).unwrap();
        Component {
            id: gather::slug(name),
            name: name.to_owned(),
            group: None,
            subjects: vec![name.to_owned()],
            stretches: vec![Stretch { condition, from: ago(200 * DAY), to: NOW }],
            latency: Vec::new(),
        }
    };
    Page { components: now.split_whitespace().map(one).collect(), ..page() }
}

/// An incident about `subject` that began two hours ago.
pub(crate) fn incident(subject: &str, impact: Impact, stage: IncidentStage) -> Incident {
    let update = |at, stage, text: &str| IncidentUpdate {
        at,
        stage,
        text: text.to_owned(),
        by: "ana".to_owned(),
        public: true,
        written: None,
        next: None,
    };
    Incident {
        id: format!("20261129-{subject}"),
        title: format!("{subject} is away"),
        impact,
        stage,
        began: ago(2 * HOUR),
        ended: (stage >= IncidentStage::Resolved).then(|| ago(HOUR)),
        subjects: vec![subject.to_owned()],
        cause: None,
        automatic: false,
        public: true,
        acknowledged: None,
        updates: vec![
            update(ago(2 * HOUR), IncidentStage::Investigating, "We **see** it & look."),
            update(ago(HOUR), stage, "More is <known>."),
        ],
    }
}

fn work(id: &str, from: Timestamp, to: Timestamp) -> Maintenance {
    Maintenance {
        id: id.to_owned(),
        title: "Database, moved; twice".to_owned(),
        text: "The shop is **read-only**.".to_owned(),
        from,
        to,
        subjects: vec!["API".to_owned()],
        cancelled: false,
        sequence: 1,
        changed: ago(DAY),
        recurs: None,
    }
}

/// A page on which everything is shown that can be.
pub(crate) fn full() -> Page {
    let mut page = page_of("API:up Web:partial Mail:unknown");
    page.components[0].group = Some("Shop".to_owned());
    page.components[1].group = Some("Shop".to_owned());
    let outage = ago(48 * DAY);
    let cut = Timestamp(outage.0 + 41 * 60_000);
    let stretch = |condition, from, to| Stretch { condition, from, to };
    page.components[0].stretches = vec![
        stretch(Condition::Up, ago(200 * DAY), outage),
        stretch(Condition::Down, outage, cut),
        stretch(Condition::Up, cut, NOW),
    ];
    page.components[0].latency = (0..48)
        .map(|n: u32| Latency {
            at: Timestamp(NOW.0 - DAY + u64::from(n) * 1_800_000),
            mean: 100.0 + f64::from(n % 7) * 10.0,
            longest: 900.0,
        })
        .collect();
    page.incidents.push(incident("Web", Impact::Minor, IncidentStage::Identified));
    let mut old = incident("API", Impact::Major, IncidentStage::Resolved);
    (old.id, old.began, old.ended) = ("20261012-api".to_owned(), outage, Some(cut));
    page.incidents.push(old);
    page.maintenance.push(work(
        "20261201-db",
        Timestamp(NOW.0 + 2 * DAY),
        Timestamp(NOW.0 + 2 * DAY + HOUR),
    ));
    page
}

fn file<'a>(bundle: &'a Bundle, path: &str) -> &'a str {
    let bytes = bundle.0.get(path).unwrap_or_else(|| panic!("no {path}: {:?}", bundle.0.keys()));
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_first_page_answers_what_is_down_since_when_and_what_next() {
    let mut page = full();
    page.incidents[0].updates[1].next = Some(Timestamp(NOW.0 + HOUR));
    let bundle = Bundle::render(&page).unwrap();
    let index = file(&bundle, "index.html");
    for part in [
        "<html lang=\"en\">",
        "Web is partly down</h1>",
        "Checked <time datetime=\"2026-11-29T12:00:00Z\">29 November 2026, 12:00 UTC</time>",
        "<a href=\"incident/20261129-Web.html\">Web is away</a>",
        "Next update by 29 November 2026, 13:00 UTC",
        "We <strong>see</strong> it &amp; look.",
        "More is &lt;known&gt;.",
        "API: 99.968\u{a0}% uptime in the last 90 days. Days with trouble: 1; the worst was 12 October 2026 with 41\u{a0}min of downtime.",
        "<a href=\"incident/20261012-api.html\">API is away</a>",
        "announced maintenance − time nobody could look",
        "Database, moved; twice",
    ] {
        assert!(index.contains(part), "{part}\n{index}");
    }
}

#[test]
fn it_needs_nothing_from_elsewhere_and_runs_only_its_own_script() {
    let bundle = Bundle::render(&full()).unwrap();
    for (path, bytes) in bundle.0.iter().filter(|(path, _)| path.ends_with(".html")) {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(
            text.contains("default-src &#39;none&#39;") || text.contains("default-src 'none'"),
            "{path}: {text}"
        );
        assert_eq!(text.matches("<script>").count(), 1, "{path}");
        for other in ["<link rel=\"stylesheet\"", "@import", "src=\"http", "style=\"", "onclick"] {
            assert!(!text.contains(other), "{path}: {other}");
        }
    }
}

#[test]
fn every_link_within_it_leads_to_a_file_of_it() {
    let mut page = full();
    page.languages = vec![linkflow_model::config::Language::German, FALLBACK];
    let bundle = Bundle::render(&page).unwrap();
    assert!(bundle.0.contains_key("en/component/api.html"));
    let mut seen = 0;
    for (path, bytes) in bundle.0.iter().filter(|(path, _)| path.ends_with(".html")) {
        let text = std::str::from_utf8(bytes).unwrap();
        for href in text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            if href.contains(':') || href.starts_with('#') {
                continue;
            }
            let mut at: Vec<&str> = path.split('/').collect();
            at.pop();
            for part in href.split('/') {
                match part {
                    "" => at.clear(),
                    ".." => drop(at.pop()),
                    part => at.push(part),
                }
            }
            assert!(bundle.0.contains_key(&at.join("/")), "{path} leads to {href}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn pages_of_what_is_over_stay_as_they_are() {
    let page = full();
    let mut later = Page { now: Timestamp(NOW.0 + 60_000), ..page.clone() };
    for component in &mut later.components {
        component.stretches.last_mut().unwrap().to = later.now;
    }
    let (now, then) = (Bundle::render(&page).unwrap(), Bundle::render(&later).unwrap());
    let changed: Vec<&String> = then
        .0
        .iter()
        .filter(|(path, bytes)| now.0.get(*path) != Some(bytes))
        .map(|(p, _)| p)
        .collect();
    let may = |path: &str| {
        path == "index.html" || path.starts_with("component/") || path.starts_with("api/")
    };
    assert!(changed.iter().all(|path| may(path)), "{changed:?}");
    assert_eq!(now, Bundle::render(&page).unwrap());
}

#[test]
fn thirty_components_with_ninety_days_fit_into_thirty_kilobytes() {
    let mut page = full();
    let mut states =
        [Condition::Up, Condition::Down, Condition::Up, Condition::Degraded].into_iter().cycle();
    page.components = (0..30_u64)
        .map(|n| {
            let mut stretches = Vec::new();
            let (mut from, mut step) = (NOW.0 - 100 * DAY, 0);
            while from < NOW.0 {
                step += 1;
                let to = (from + DAY * 3 + n * 700_000 + step * 1_300_000).min(NOW.0);
                let condition = states.next().unwrap();
                stretches.push(Stretch { condition, from: Timestamp(from), to: Timestamp(to) });
                from = to;
            }
            Component {
                id: format!("component-{n}"),
                name: format!("Component {n}"),
                group: Some(format!("Group {}", n / 10)),
                subjects: vec![format!("monitor.c{n}")],
                stretches,
                latency: Vec::new(),
            }
        })
        .collect();
    let shelf = crate::Shelf::default();
    shelf.put(&Bundle::render(&page).unwrap());
    let gzip = [(http::header::ACCEPT_ENCODING, http::HeaderValue::from_static("gzip"))];
    let answer = shelf.answer(&http::Method::GET, "/", &gzip.into_iter().collect());
    let size = answer.body().len();
    assert!(size < 30_000, "{size} bytes");
    println!("{size} bytes");
}

#[test]
fn what_people_write_is_text_everywhere() {
    let mut page = full();
    let evil = "<script>alert(1)</script>\"'";
    page.title = evil.to_owned();
    page.components[0].name = evil.to_owned();
    page.incidents[0].title = evil.to_owned();
    page.incidents[0].updates[0].text = evil.to_owned();
    page.maintenance[0].title = evil.to_owned();
    page.links[0].0 = evil.to_owned();
    for (path, bytes) in Bundle::render(&page).unwrap().0 {
        let text = String::from_utf8(bytes).unwrap();
        if path.ends_with(".json") {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        } else if !path.ends_with(".ics") {
            assert!(!text.contains("<script>alert"), "{path}: {text}");
        }
    }
}

#[test]
fn the_feed_holds_each_update_once_under_a_name_that_stays() {
    let bundle = Bundle::render(&full()).unwrap();
    let feed = file(&bundle, "feed.atom");
    let ids: Vec<&str> =
        feed.split("<id>").skip(1).filter_map(|rest| rest.split('<').next()).collect();
    assert_eq!(
        ids,
        [
            "tag:status.shop.example,2026:page",
            "tag:status.shop.example,2026:incident/20261129-Web/2",
            "tag:status.shop.example,2026:incident/20261012-api/2",
            "tag:status.shop.example,2026:incident/20261129-Web/1",
            "tag:status.shop.example,2026:incident/20261012-api/1",
            "tag:status.shop.example,2026:maintenance/20261201-db/1",
        ]
    );
    assert!(
        feed.contains("<link href=\"https://status.shop.example/incident/20261129-Web.html\"/>")
    );
    let of_api = file(&bundle, "component/api.atom");
    assert!(of_api.contains("20261012-api") && !of_api.contains("20261129-Web"));
}

#[test]
fn the_calendar_tells_of_work_and_of_its_end() {
    let mut page = full();
    let before = Bundle::render(&page).unwrap();
    let ics = file(&before, "maintenance.ics");
    for line in [
        "UID:20261201-db@status.shop.example",
        "SEQUENCE:1",
        "DTSTART:20261201T120000Z",
        "DTEND:20261201T130000Z",
        "SUMMARY:Database\\, moved\\; twice",
        "STATUS:CONFIRMED",
    ] {
        assert!(ics.contains(&format!("{line}\r\n")), "{line}\n{ics}");
    }
    page.maintenance[0].cancelled = true;
    let after = Bundle::render(&page).unwrap();
    assert!(file(&after, "maintenance.ics").contains("STATUS:CANCELLED\r\n"));
}

#[test]
fn work_that_comes_again_is_shown_like_any_other_and_is_in_no_feed_where_it_is_quiet() {
    let recurs = |quiet| Recurs { name: "nightly".to_owned(), quiet, withdrawn: false };
    let mut page = full();
    let from = Timestamp(NOW.0 + DAY / 4);
    let mut nightly = work("nightly-20261129-1800", from, Timestamp(from.0 + HOUR));
    for (quiet, in_feed) in [(false, true), (true, false)] {
        nightly.recurs = Some(recurs(quiet));
        page.maintenance.retain(|work| work.id != nightly.id);
        page.maintenance.push(nightly.clone());
        page.maintenance.sort_by_key(|work| std::cmp::Reverse(work.from));
        let bundle = Bundle::render(&page).unwrap();
        assert!(file(&bundle, "index.html").contains("maintenance/nightly-20261129-1800.html"));
        assert!(file(&bundle, "maintenance.ics").contains("DTSTART:20261129T180000Z\r\n"));
        assert_eq!(file(&bundle, "feed.atom").contains("nightly"), in_feed, "quiet: {quiet}");
    }
}

#[test]
fn the_api_has_the_shape_that_clients_know() {
    let bundle = Bundle::render(&full()).unwrap();
    let read = |path: &str| serde_json::from_str::<serde_json::Value>(file(&bundle, path)).unwrap();
    let summary = read("api/v2/summary.json");
    assert_eq!(summary["status"]["indicator"], "minor");
    assert_eq!(summary["status"]["description"], "Web is partly down");
    let statuses: Vec<_> = summary["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| format!("{}={}", c["id"].as_str().unwrap(), c["status"].as_str().unwrap()))
        .collect();
    assert_eq!(
        statuses,
        [
            "group-shop=partial_outage",
            "api=operational",
            "web=partial_outage",
            "mail=degraded_performance"
        ]
    );
    assert_eq!(summary["incidents"].as_array().unwrap().len(), 1);
    assert_eq!(summary["scheduled_maintenances"][0]["status"], "scheduled");
    assert_eq!(read("api/v2/incidents.json")["incidents"].as_array().unwrap().len(), 2);
    assert_eq!(read("badge/web.json")["message"], "partly down");
    assert!(file(&bundle, "badge.svg").contains("<title>Shop status: partly down</title>"));
}

#[test]
fn uptime_is_told_to_machines_and_is_null_where_nobody_looked() {
    let mut page = full();
    let stretch = |condition, from, to| Stretch { condition, from: ago(from), to: ago(to) };
    page.components.truncate(2);
    page.components[0].stretches = vec![
        stretch(Condition::Up, 3 * DAY, 12 * HOUR),
        stretch(Condition::Down, 12 * HOUR, 6 * HOUR),
        stretch(Condition::Up, 6 * HOUR, 0),
    ];
    page.components[1].stretches.clear();
    let bundle = Bundle::render(&page).unwrap();
    let read = |path: &str| serde_json::from_str::<serde_json::Value>(file(&bundle, path)).unwrap();
    let summary = read("api/v2/summary.json");
    let day = |value: &serde_json::Value| value["uptime"]["24h"].clone();
    let components = summary["components"].as_array().unwrap();
    let days: Vec<_> = components.iter().map(day).collect();
    assert_eq!(days, [75.0.into(), 75.0.into(), serde_json::Value::Null], "the group, and its two");
    assert_eq!(day(&summary["status"]), serde_json::json!({ "least": 75.0, "mean": 75.0 }));
    let badge = read("badge/24h/api.json");
    assert_eq!(
        (badge["message"].as_str(), badge["isError"].as_bool()),
        (Some("75\u{a0}%"), Some(true))
    );
    assert!(file(&bundle, "badge-24h.svg").contains("75\u{a0}%"));
    assert_eq!(read("badge/24h/web.json")["isError"], false, "unknown is not down");
}

/// The page that `crates/web/browser` looks at, written into the folder that `LINKFLOW_TEST_PAGE` names.
#[test]
fn a_page_for_browsers_is_written_in_two_languages() {
    let mut page = full();
    page.languages = vec![FALLBACK, linkflow_model::config::Language::German];
    page.title = "Shop".to_owned();
    let at = "https://ops.shop.example".to_owned();
    page.subscribe = Some(Subscribing { at, mail: true, phone: true });
    page.colour = Some("#7a1fa2".to_owned());
    page.incidents[0].title = "Pages load for some only".to_owned();
    page.incidents[0].updates[0].text =
        "Some visitors get **no answer**. We are looking.".to_owned();
    page.incidents[0].updates[1].text =
        "One of two providers answers nobody. Visitors are led away from it.".to_owned();
    page.incidents[0].updates[1].next = Some(Timestamp(NOW.0 + HOUR / 2));
    page.incidents[1].title = "The API answers nobody".to_owned();
    page.maintenance[0].title = "The database moves".to_owned();
    let stretch = |condition, from, to| Stretch { condition, from: ago(from), to: ago(to) };
    page.components[1].stretches = vec![
        stretch(Condition::Up, 200 * DAY, 61 * DAY),
        stretch(Condition::Degraded, 61 * DAY, 60 * DAY),
        stretch(Condition::Up, 60 * DAY, 20 * DAY),
        stretch(Condition::Maintenance, 20 * DAY, 20 * DAY - 2 * HOUR),
        stretch(Condition::Up, 20 * DAY - 2 * HOUR, 2 * HOUR),
        stretch(Condition::Partial, 2 * HOUR, 0),
    ];
    page.components[2].stretches = vec![stretch(Condition::Up, 40 * DAY, 0)];
    let bundle = Bundle::render(&page).unwrap();
    let german = file(&bundle, "de/index.html");
    assert!(german.contains("Web ist nur teilweise erreichbar"));
    assert!(
        german.contains("form-action https://ops.shop.example\"")
            && german.contains("name=\"language\" value=\"de\"")
    );
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, german.as_bytes()).unwrap();
    let size = packed.finish().unwrap().len();
    assert!(size < 30_000, "the first load has {size} bytes");
    let folder = std::env::vars().find(|(name, _)| name == "LINKFLOW_TEST_PAGE");
    if let Some((_, folder)) = folder {
        for (path, bytes) in &bundle.0 {
            let at = std::path::Path::new(&folder).join(path);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(at, bytes).unwrap();
        }
    }
}
