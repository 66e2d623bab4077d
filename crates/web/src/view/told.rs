//! Incidents and announced work: what is told of them, and how people change it.

use linkflow_model::config::Window;
use linkflow_model::{Impact, Incident, IncidentStage, ItemName, Maintenance, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::{documents, missing};
use crate::Site;
use crate::operator::{Refusal, Why};
use crate::order::incident::{Going, Opening, Word};
use crate::order::work::Announcement;
use crate::order::{self, Hand};
use crate::shape::{Date, Minutes, Title, Words, shapes};

shapes! {
    /// An incident.
    pub struct IncidentRow {
        /// Its id.
        pub id: String,
        /// One line for the public.
        pub title: String,
        /// How much it takes.
        pub impact: Impact,
        /// How far it has come.
        pub stage: IncidentStage,
        /// Whether it is not over.
        pub open: bool,
        /// When it began, in milliseconds since 1970.
        pub began: u64,
        /// When it was over, in milliseconds since 1970.
        pub ended: Option<u64>,
        /// What is affected, as the config calls it.
        pub subjects: Vec<String>,
        /// Which of them is the cause of the others.
        pub cause: Option<String>,
        /// Whether LinkFlow opened it.
        pub automatic: bool,
        /// Whether the status page shows it.
        pub public: bool,
        /// Who looks after it.
        pub acknowledged_by: Option<String>,
        /// Since when, in milliseconds since 1970.
        pub acknowledged_at: Option<u64>,
        /// What was said last.
        pub last: Option<String>,
    }

    /// An incident with all that was said of it.
    pub struct IncidentView {
        /// The incident.
        pub incident: IncidentRow,
        /// What was said, the oldest first, notes for the team included.
        pub updates: Vec<Said>,
    }

    /// Something that was said of an incident.
    pub struct Said {
        /// When, in milliseconds since 1970.
        pub at: u64,
        /// How far the incident had come.
        pub stage: IncidentStage,
        /// What, in Markdown.
        pub text: String,
        /// Who said it.
        pub by: String,
        /// Whether the status page shows it.
        pub public: bool,
        /// When it was written down, where that was later.
        pub written: Option<u64>,
        /// Until when the next word is promised.
        pub next: Option<u64>,
    }

    /// Announced work.
    pub struct Work {
        /// Its id.
        pub id: String,
        /// One line for the public.
        pub title: String,
        /// What will be done, in Markdown.
        pub text: String,
        /// When it begins, in milliseconds since 1970.
        pub from: u64,
        /// When it ends, in milliseconds since 1970.
        pub to: u64,
        /// What is affected, as the config calls it.
        pub subjects: Vec<String>,
        /// Whether it was called off.
        pub cancelled: bool,
        /// Whether it is under way.
        pub on: bool,
        /// The window of the config that it is one time of.
        pub window: Option<String>,
    }

    /// A window of the config: work that is done again and again.
    pub struct WindowRow {
        /// Its name in the config.
        pub name: String,
        /// One line for the public.
        pub title: String,
        /// When it begins, as five cron fields.
        pub cron: String,
        /// The time zone of `cron`.
        pub time_zone: String,
        /// When it begins next, in milliseconds since 1970.
        pub next: Option<u64>,
        /// How long it takes, in milliseconds.
        pub lasts_ms: u64,
        /// Whether that time is announced already.
        pub announced: bool,
        /// What is affected, as the config calls it.
        pub subjects: Vec<String>,
    }

    /// What an incident begins with.
    pub struct OpenIncident {
        /// One line for the public.
        pub title: Title,
        /// What is said first, in Markdown.
        pub text: Words,
        /// How much it takes; `minor` when not said.
        pub impact: Option<Impact>,
        /// What is affected, as the config calls it; `monitor.api`, `service.api`.
        pub subjects: Option<Vec<String>>,
        /// Whether it is kept off the status page.
        pub private: Option<bool>,
    }

    /// How an incident goes on.
    pub struct UpdateIncident {
        /// What is said, in Markdown.
        pub text: Words,
        /// How far it has come; as before when not said.
        pub stage: Option<OpenStage>,
        /// How much it takes; as before when not said.
        pub impact: Option<Impact>,
        /// Whether it is a note for the team, which the status page does not show.
        pub private: Option<bool>,
    }

    /// How an incident ends.
    pub struct ResolveIncident {
        /// What is said, in Markdown; `It is over.` when nothing is.
        pub text: Option<Words>,
    }

    /// Work that is announced.
    pub struct Announce {
        /// One line for the public.
        pub title: Title,
        /// What will be done and what it means, in Markdown.
        pub text: Words,
        /// When it begins, in milliseconds since 1970.
        pub from: Date,
        /// How long it lasts, in minutes: up to 30 days.
        pub minutes: Minutes,
        /// What is affected, as the config calls it.
        pub subjects: Option<Vec<String>>,
    }
}

/// How far an incident that is not over may have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenStage {
    /// Something is wrong; why is not known yet.
    Investigating,
    /// The cause is known.
    Identified,
    /// It is mended, and watched.
    Monitoring,
}

impl From<OpenStage> for IncidentStage {
    fn from(stage: OpenStage) -> Self {
        match stage {
            OpenStage::Investigating => Self::Investigating,
            OpenStage::Identified => Self::Identified,
            OpenStage::Monitoring => Self::Monitoring,
        }
    }
}

impl crate::shape::Shape for OpenStage {
    fn schema(book: &mut crate::shape::Book) -> serde_json::Value {
        let all = [Self::Investigating, Self::Identified, Self::Monitoring];
        book.named("OpenStage", |_| json!({ "type": "string", "enum": all }))
    }
}

/// Every incident, the newest first.
pub(crate) async fn incidents(site: &Site) -> Result<Vec<IncidentRow>, Refusal> {
    let mut all: Vec<Incident> = documents(&*site.store, Incident::PREFIX).await?;
    all.sort_by(|a, b| b.began.cmp(&a.began).then(b.id.cmp(&a.id)));
    Ok(all.iter().map(row).collect())
}

fn row(incident: &Incident) -> IncidentRow {
    let taken = incident.acknowledged.as_ref();
    IncidentRow {
        id: incident.id.clone(),
        title: incident.title.clone(),
        impact: incident.impact,
        stage: incident.stage,
        open: incident.is_open(),
        began: incident.began.0,
        ended: incident.ended.map(|at| at.0),
        subjects: incident.subjects.clone(),
        cause: incident.cause.clone(),
        automatic: incident.automatic,
        public: incident.public,
        acknowledged_by: taken.map(|taken| taken.by.clone()),
        acknowledged_at: taken.map(|taken| taken.at.0),
        last: incident.updates.last().map(|update| update.text.clone()),
    }
}

fn view(incident: &Incident) -> IncidentView {
    let said = incident.updates.iter().map(|update| Said {
        at: update.at.0,
        stage: update.stage,
        text: update.text.clone(),
        by: update.by.clone(),
        public: update.public,
        written: update.written.map(|at| at.0),
        next: update.next.map(|at| at.0),
    });
    IncidentView { incident: row(incident), updates: said.collect() }
}

/// The incident `id`.
pub(crate) async fn incident(site: &Site, id: &str) -> Result<IncidentView, Refusal> {
    let document = site.store.read(&format!("{}{id}", Incident::PREFIX)).await?;
    let held = document.and_then(|held| serde_json::from_value::<Incident>(held.body).ok());
    held.as_ref().map(view).ok_or_else(|| missing("incident", id, "/api/v1/incidents"))
}

/// What somebody says now.
fn word(site: &Site, text: &str, is_private: Option<bool>) -> Word {
    let public = !is_private.unwrap_or(false);
    Word { text: text.to_owned(), at: site.clock.wall(), next: None, public }
}

/// Opens an incident.
pub(crate) async fn open(
    site: &Site,
    by: &str,
    ask: OpenIncident,
) -> Result<IncidentView, Refusal> {
    let opening = Opening {
        title: ask.title.into(),
        impact: ask.impact.unwrap_or(Impact::Minor),
        subjects: known(site, ask.subjects.unwrap_or_default())?,
        word: word(site, ask.text.as_str(), ask.private),
    };
    let opened = order::incident::open(Hand::of(site, by), &site.config, opening).await?;
    Ok(view(&opened))
}

/// Says how an incident goes on.
pub(crate) async fn go_on(
    site: &Site,
    id: &str,
    by: &str,
    ask: UpdateIncident,
) -> Result<IncidentView, Refusal> {
    let word = word(site, ask.text.as_str(), ask.private);
    let stage = ask.stage.map(IncidentStage::from);
    let going = Going { word, stage, impact: ask.impact };
    Ok(view(&order::incident::go_on(Hand::of(site, by), id, going).await?))
}

/// Says that somebody looks after an incident.
pub(crate) async fn acknowledge(site: &Site, id: &str, by: &str) -> Result<IncidentView, Refusal> {
    Ok(view(&order::incident::acknowledge(Hand::of(site, by), id, by).await?))
}

/// Says that an incident is over.
pub(crate) async fn resolve(
    site: &Site,
    id: &str,
    by: &str,
    ask: ResolveIncident,
) -> Result<IncidentView, Refusal> {
    let text = ask.text.map_or_else(|| "It is over.".to_owned(), String::from);
    let hand = Hand::of(site, by);
    Ok(view(&order::incident::resolve(hand, id, hand.now, &text).await?))
}

/// All announced work, the latest first.
pub(crate) async fn works(site: &Site) -> Result<Vec<Work>, Refusal> {
    let mut all: Vec<Maintenance> = documents(&*site.store, Maintenance::PREFIX).await?;
    all.sort_by(|a, b| b.from.cmp(&a.from).then(b.id.cmp(&a.id)));
    let now = site.clock.wall();
    Ok(all.iter().map(|work| of_work(work, now)).collect())
}

/// The windows of the config by name, where `works` is what is announced.
pub(crate) fn windows(site: &Site, works: &[Work]) -> Vec<WindowRow> {
    let now = site.clock.wall();
    let row = |(name, window): (&ItemName, &Window)| {
        let next = window.begins(now).map(|next| next.0);
        let is_it = |work: &Work| work.window.as_deref() == Some(name.as_str());
        WindowRow {
            name: name.to_string(),
            title: window.title.clone(),
            cron: window.cron.0.clone(),
            time_zone: window.time_zone.0.clone(),
            next,
            lasts_ms: window.lasts_ms(),
            announced: works.iter().any(|work| is_it(work) && Some(work.from) == next),
            subjects: window.on.to_vec(),
        }
    };
    site.config.maintenance.iter().map(row).collect()
}

fn of_work(work: &Maintenance, now: Timestamp) -> Work {
    Work {
        id: work.id.clone(),
        title: work.title.clone(),
        text: work.text.clone(),
        from: work.from.0,
        to: work.to.0,
        subjects: work.subjects.clone(),
        cancelled: work.cancelled,
        on: work.is_on(now),
        window: work.recurs.as_ref().map(|recurs| recurs.name.clone()),
    }
}

/// Announces work.
pub(crate) async fn announce(site: &Site, by: &str, ask: Announce) -> Result<Work, Refusal> {
    let work = Announcement {
        title: ask.title.into(),
        text: ask.text.into(),
        from: Timestamp(ask.from.0),
        lasts_ms: ask.minutes.0 * 60_000,
        subjects: known(site, ask.subjects.unwrap_or_default())?,
    };
    let hand = Hand::of(site, by);
    let work = order::work::announce(hand, &site.config, work).await?;
    Ok(of_work(&work, hand.now))
}

/// Calls announced work off, or ends it when it has begun.
pub(crate) async fn cancel(site: &Site, id: &str, by: &str) -> Result<Work, Refusal> {
    let hand = Hand::of(site, by);
    Ok(of_work(&order::work::cancel(hand, id).await?, hand.now))
}

/// Subjects that something is known of: what is watched, and what the status page shows.
fn known(site: &Site, mut subjects: Vec<String>) -> Result<Vec<String>, Refusal> {
    let watched = site.operator.watched();
    let components = site.config.status_page.iter().flat_map(|page| &page.components);
    let shown: Vec<&String> = components.flat_map(|one| one.watch.iter()).collect();
    let is_known =
        |name: &String| shown.contains(&name) || watched.iter().any(|one| one.subject == *name);
    if let Some(stranger) = subjects.iter().find(|name| !is_known(name)) {
        let what = format!("nothing called `{stranger}` is watched");
        return Err(Refusal::new(Why::Missing, what, "/api/v1/monitors lists what is"));
    }
    subjects.sort();
    subjects.dedup();
    Ok(subjects)
}
