//! The pages for browsers: dark or light as the reader's system is, for phones and paper, for keyboards and screen readers,
//! whole without scripts.

mod views;

use askama::Template;
use base64::Engine;
use linkflow_model::config::Language;
use linkflow_model::monitor::Condition;
use linkflow_model::{Incident, Maintenance};
use sha2::{Digest, Sha256};

use super::draw;
use super::page::{Component, Page};
use super::time::{Month, utc};
use super::words::{Words, fill};
use views::{Checked, ComponentView, IncidentView, Mark, MonthView, WorkView};

const STYLE: &str = include_str!("../../templates/page.css");
const SCRIPT: &str = include_str!("../../templates/page.js");

/// How many days the bars show, and how many on a narrow screen.
pub(super) const DAYS: i64 = 90;
const NARROW: i64 = 30;

/// How many months a component's page tells of.
const MONTHS: usize = 12;

/// How long an incident that is over stays on the first page.
const RECENT_MS: u64 = 14 * 86_400_000;

/// The page in one language.
pub(super) struct Writer<'a> {
    pub(super) page: &'a Page,
    pub(super) w: &'static Words,
    language: Language,
    /// `de/` for every language but the first.
    folder: String,
    style: String,
    policy: String,
}

/// What all pages have around what they say.
struct Frame<'a> {
    page: &'a Page,
    w: &'static Words,
    title: String,
    icon: String,
    /// From this page to the root of all files, and to the first page of its language.
    root: String,
    home: String,
    month: String,
    tongues: Vec<Tongue>,
    style: &'a str,
    script: &'static str,
    policy: &'a str,
}

struct Tongue {
    code: &'static str,
    name: &'static str,
    href: String,
    current: bool,
}

struct Group<'a> {
    name: &'a str,
    components: Vec<ComponentView>,
    /// What its components come to together, of those that stand under a heading of their own.
    mean: Option<String>,
}

#[derive(Template)]
#[template(path = "index.html")]
struct Index<'a> {
    f: Frame<'a>,
    sentence: String,
    class: &'static str,
    glyph: &'static str,
    ms: u64,
    checked: Checked,
    open: Vec<IncidentView>,
    work: Vec<WorkView>,
    groups: Vec<Group<'a>>,
    together: Option<String>,
    legend: Vec<Mark>,
    definition: String,
    past: Vec<IncidentView>,
}

#[derive(Template)]
#[template(path = "component.html")]
struct OfComponent<'a> {
    f: Frame<'a>,
    c: ComponentView,
    ms: u64,
    checked: Checked,
    windows: Vec<(String, String)>,
    chart: Option<views::Chart>,
    months: Vec<MonthView>,
    legend: Vec<Mark>,
    definition: String,
    incidents: Vec<IncidentView>,
}

#[derive(Template)]
#[template(path = "incident.html")]
struct OfIncident<'a> {
    f: Frame<'a>,
    i: IncidentView,
}

#[derive(Template)]
#[template(path = "maintenance.html")]
struct OfWork<'a> {
    f: Frame<'a>,
    m: WorkView,
}

#[derive(Template)]
#[template(path = "history.html")]
struct OfMonth<'a> {
    f: Frame<'a>,
    name: String,
    earlier: Option<String>,
    later: Option<String>,
    incidents: Vec<IncidentView>,
    work: Vec<WorkView>,
}

#[derive(Template)]
#[template(path = "missing.html")]
struct Missing<'a> {
    f: Frame<'a>,
}

impl<'a> Writer<'a> {
    /// Writes `page` in `language`.
    pub(super) fn new(page: &'a Page, language: Language) -> Self {
        let first = page.languages.first().is_none_or(|first| *first == language);
        let folder = if first { String::new() } else { format!("{}/", language.word()) };
        let colour = page.colour.iter();
        let own: String = colour.map(|colour| format!(":root{{--accent:{colour}}}\n")).collect();
        let style = format!("{STYLE}{own}");
        let hash = |text: &str| {
            base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text.as_bytes()))
        };
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src 'self' data:; \
             base-uri 'none'; form-action {}",
            hash(&style),
            hash(SCRIPT.trim_end()),
            page.subscribe.as_ref().map_or("'none'", |subscribe| subscribe.origin())
        );
        Self { page, w: Words::of(language), language, folder, style, policy }
    }

    /// The path of a page in this language, from the root of all files.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.folder)
    }

    fn frame(&'a self, path: &str, title: &str, icon: Condition) -> Frame<'a> {
        let root = "../".repeat(self.path(path).matches('/').count());
        let tongue = |language: &Language| {
            let other = Self::folder_of(self.page, *language);
            let w = Words::of(*language);
            Tongue {
                code: w.code,
                name: w.own_name,
                href: format!("{root}{other}{path}"),
                current: *language == self.language,
            }
        };
        Frame {
            page: self.page,
            w: self.w,
            title: format!("{title} – {}", self.page.title),
            icon: draw::favicon(icon),
            home: format!("{root}{}", self.folder),
            month: self.page.month(self.page.now).id(),
            tongues: self.page.languages.iter().map(tongue).collect(),
            style: &self.style,
            script: SCRIPT.trim_end(),
            policy: &self.policy,
            root,
        }
    }

    fn folder_of(page: &Page, language: Language) -> String {
        let first = page.languages.first().is_none_or(|first| *first == language);
        if first { String::new() } else { format!("{}/", language.word()) }
    }

    /// The first page.
    pub(super) fn index(&'a self) -> Result<String, askama::Error> {
        let (page, w) = (self.page, self.w);
        let banner = page.banner();
        let sentence = w.sentence(&banner, page);
        let shown = page.shown();
        let mut groups: Vec<Group<'_>> = Vec::new();
        for component in &page.components {
            let name = component.group.as_deref().unwrap_or(w.components);
            let view = self.component_view(component, "component/", false);
            match groups.iter_mut().find(|group| group.name == name) {
                Some(group) => group.components.push(view),
                None => groups.push(Group { name, components: vec![view], mean: None }),
            }
        }
        for group in &mut groups {
            let is_in = |one: &&Component| one.group.as_deref() == Some(group.name);
            let all = page.uptime_of(page.components.iter().filter(is_in), DAYS);
            let mean = all.map(|all| self.w.percent(all.mean));
            group.mean = mean.map(|mean| fill(w.mean_uptime, &[&mean, &DAYS.to_string()]));
        }
        let recent = |incident: &&Incident| {
            let ended = incident.ended.unwrap_or(incident.began);
            !incident.is_open() && page.now.0.saturating_sub(ended.0) < RECENT_MS
        };
        let incident = |incident| self.incident_view(incident, "incident/");
        let work = |work| self.work_view(work, "maintenance/");
        Index {
            f: self.frame("index.html", &format!("{} {sentence}", draw::glyph(shown)), shown),
            sentence,
            class: draw::class(shown),
            glyph: draw::glyph(shown),
            ms: page.now.0,
            checked: self.checked(),
            open: page.open().map(incident).collect(),
            work: page.under_way().chain(page.to_come()).map(work).collect(),
            groups,
            together: self.together(),
            legend: self.legend(),
            definition: self.definition(),
            past: page.incidents.iter().filter(recent).map(incident).collect(),
        }
        .render()
    }

    /// The page of a component.
    pub(super) fn component(&'a self, component: &Component) -> Result<String, askama::Error> {
        let (page, w) = (self.page, self.w);
        let path = format!("component/{}.html", component.id);
        let now = page.condition(component);
        let title = format!("{} {}: {}", draw::glyph(now), component.name, w.condition(now));
        let windows = [1, 7, 30, DAYS].map(|days| self.window(component, days));
        let about = |incident: &&Incident| component.is_in(&incident.subjects);
        let incidents = page.incidents.iter().filter(about);
        OfComponent {
            f: self.frame(&path, &title, now),
            c: self.component_view(component, "", true),
            ms: page.now.0,
            checked: self.checked(),
            windows: windows.into(),
            chart: self.chart(component),
            months: page.months(MONTHS).iter().map(|m| self.month_view(component, *m)).collect(),
            legend: self.legend(),
            definition: self.definition(),
            incidents: incidents.map(|one| self.incident_view(one, "../incident/")).collect(),
        }
        .render()
    }

    /// The page of an incident. It changes with the incident alone, never with time.
    pub(super) fn incident(&'a self, incident: &Incident) -> Result<String, askama::Error> {
        let path = format!("incident/{}.html", incident.id);
        let icon = if incident.is_open() { Condition::Partial } else { Condition::Up };
        let f = self.frame(&path, &incident.title, icon).of(self.page.month(incident.began));
        OfIncident { f, i: self.incident_view(incident, "") }.render()
    }

    /// The page of announced work.
    pub(super) fn work(&'a self, work: &Maintenance) -> Result<String, askama::Error> {
        let path = format!("maintenance/{}.html", work.id);
        let f = self.frame(&path, &work.title, Condition::Maintenance);
        let f = f.of(self.page.month(work.from));
        OfWork { f, m: self.work_view(work, "") }.render()
    }

    /// A month of history; `earlier` and `later` are those that there are as well.
    pub(super) fn month(
        &'a self,
        month: Month,
        earlier: Option<Month>,
        later: Option<Month>,
    ) -> Result<String, askama::Error> {
        let page = self.page;
        let name = self.w.month_name(month);
        let path = format!("history/{}.html", month.id());
        let within = |incident: &&Incident| page.month(incident.began) == month;
        let work = |work: &&Maintenance| page.month(work.from) == month;
        OfMonth {
            f: self.frame(&path, &name, Condition::Unknown).of(month),
            earlier: earlier.map(Month::id),
            later: later.map(Month::id),
            incidents: page
                .incidents
                .iter()
                .filter(within)
                .map(|incident| self.incident_view(incident, "../incident/"))
                .collect(),
            work: page
                .maintenance
                .iter()
                .filter(work)
                .map(|work| self.work_view(work, "../maintenance/"))
                .collect(),
            name,
        }
        .render()
    }

    /// What is shown where there is no such page. Its links lead from the root, as nobody knows where it is shown.
    pub(super) fn missing(&'a self) -> Result<String, askama::Error> {
        let mut f = self.frame("404.html", self.w.not_found, Condition::Unknown);
        f.root = "/".to_owned();
        f.home = format!("/{}", self.folder);
        f.tongues.clear();
        Missing { f }.render()
    }

    fn checked(&self) -> Checked {
        let (before, after) = self.w.checked.split_once("{}").unwrap_or((self.w.checked, ""));
        Checked(before, self.at(self.page.now), after)
    }

    /// How uptime is counted, in words.
    fn definition(&self) -> String {
        let partial = self.page.partial_counts.to_string();
        fill(self.w.definition, &[&partial, &self.page.zone_name])
    }

    /// What all components come to, in words, of more than one.
    fn together(&self) -> Option<String> {
        let several = self.page.components.len() > 1;
        let all = self.page.uptime_of(&self.page.components, DAYS).filter(|_| several)?;
        let (least, mean) = (self.w.percent(all.least), self.w.percent(all.mean));
        Some(fill(self.w.together, &[&DAYS.to_string(), &least, &mean]))
    }

    fn legend(&self) -> Vec<Mark> {
        draw::ALL.map(|condition| self.mark(condition)).into()
    }

    fn at(&self, at: linkflow_model::Timestamp) -> views::At {
        views::At { utc: utc(at), text: self.w.moment(at, self.page) }
    }
}

impl Frame<'_> {
    /// The same, with the history of `month` in its foot: a page that stays as it is names no later one.
    fn of(self, month: Month) -> Self {
        Self { month: month.id(), ..self }
    }
}

impl Page {
    /// What the banner is drawn as: with what an open incident says that no component shows.
    fn shown(&self) -> Condition {
        use super::banner::Indicator;
        let banner = self.banner();
        match (banner.worst, banner.indicator) {
            (Condition::Up, Indicator::Minor) => Condition::Degraded,
            (Condition::Up, Indicator::Major) => Condition::Partial,
            (Condition::Up, Indicator::Critical) => Condition::Down,
            (worst, _) => worst,
        }
    }
}

impl Writer<'_> {
    /// The days of `component`'s bars, as the screen reader hears them, on a wide and a narrow screen.
    fn ago(&self) -> (String, String) {
        let ago = |days: i64| fill(self.w.days_ago, &[&days.to_string()]);
        (ago(DAYS), ago(NARROW))
    }
}
