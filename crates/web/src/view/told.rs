//! Incidents and announced work: what is told of them, and how people change it.

use jiff::tz::TimeZone;
use linkflow_model::config::Window;
use linkflow_model::{
    Acknowledged, Event, EventKind, Impact, Incident, IncidentStage, IncidentUpdate, ItemName,
    Level, Maintenance, Timestamp,
};
use linkflow_store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{documents, missing};
use crate::Site;
use crate::door::doing;
use crate::operator::{Refusal, Why};
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

/// How long ago work may have begun that is announced: somebody had to fill in a form.
const JUST_NOW_MS: u64 = 300_000;

/// How often a document is read again when somebody else wrote it meanwhile.
const TRIES: usize = 10;

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

/// Opens an incident.
pub(crate) async fn open(
    site: &Site,
    by: &str,
    ask: OpenIncident,
) -> Result<IncidentView, Refusal> {
    doing("open an incident", ask.title.as_str()).await;
    let now = site.clock.wall();
    let public = !ask.private.unwrap_or(false);
    let stage = IncidentStage::Investigating;
    let incident = Incident {
        id: String::new(),
        title: ask.title.into(),
        impact: ask.impact.unwrap_or(Impact::Minor),
        stage,
        began: now,
        ended: None,
        subjects: known(site, ask.subjects.unwrap_or_default())?,
        cause: None,
        automatic: false,
        public,
        acknowledged: None,
        updates: vec![update(now, stage, ask.text.into(), by, public)],
    };
    let first = format!("{}-{}", day(now), slug(&incident.title));
    let incident = create(site, &first, |id| {
        let incident = Incident { id, ..incident.clone() };
        (incident.key(), incident)
    })
    .await?;
    let level = if incident.impact >= Impact::Major { Level::Warning } else { Level::Notice };
    note(site, level, format!("{by} opened the incident {}: {}", incident.id, incident.title))
        .await?;
    Ok(view(&incident))
}

fn update(
    at: Timestamp,
    stage: IncidentStage,
    text: String,
    by: &str,
    public: bool,
) -> IncidentUpdate {
    IncidentUpdate { at, stage, text, by: by.to_owned(), public, written: None, next: None }
}

/// Says how an incident goes on.
pub(crate) async fn go_on(
    site: &Site,
    id: &str,
    by: &str,
    ask: UpdateIncident,
) -> Result<IncidentView, Refusal> {
    doing(format!("update the incident {id}"), ask.text.as_str()).await;
    let now = site.clock.wall();
    let public = !ask.private.unwrap_or(false);
    changed(site, id, &format!("{by} updated"), |incident| {
        if !incident.is_open() {
            return Err(over(id));
        }
        incident.impact = ask.impact.unwrap_or(incident.impact);
        // A note for the team does not change what people were told.
        if let (Some(stage), true) = (ask.stage, public) {
            incident.stage = stage.into();
        }
        let stage = incident.stage;
        incident.updates.push(update(now, stage, ask.text.as_str().to_owned(), by, public));
        Ok(())
    })
    .await
}

/// Says that somebody looks after an incident.
pub(crate) async fn acknowledge(site: &Site, id: &str, by: &str) -> Result<IncidentView, Refusal> {
    doing(format!("acknowledge the incident {id}"), "").await;
    let now = site.clock.wall();
    changed(site, id, &format!("{by} acknowledged"), |incident| {
        if !incident.is_open() {
            return Err(over(id));
        }
        let at = incident.acknowledged.as_ref().filter(|taken| taken.by == by).map(|t| t.at);
        incident.acknowledged = Some(Acknowledged { by: by.to_owned(), at: at.unwrap_or(now) });
        Ok(())
    })
    .await
}

/// Says that an incident is over.
pub(crate) async fn resolve(
    site: &Site,
    id: &str,
    by: &str,
    ask: ResolveIncident,
) -> Result<IncidentView, Refusal> {
    let now = site.clock.wall();
    let text = ask.text.map_or_else(|| "It is over.".to_owned(), String::from);
    doing(format!("resolve the incident {id}"), &text).await;
    changed(site, id, &format!("{by} resolved"), |incident| {
        if !incident.is_open() {
            return Err(over(id));
        }
        let stage = IncidentStage::Resolved;
        (incident.stage, incident.ended) = (stage, Some(now));
        let public = incident.public;
        incident.updates.push(update(now, stage, text.clone(), by, public));
        Ok(())
    })
    .await
}

fn over(id: &str) -> Refusal {
    Refusal::new(Why::Forbidden, format!("`{id}` is over already"), "open another one")
}

async fn changed(
    site: &Site,
    id: &str,
    what: &str,
    how: impl FnMut(&mut Incident) -> Result<(), Refusal>,
) -> Result<IncidentView, Refusal> {
    let key = format!("{}{id}", Incident::PREFIX);
    let found = change::<Incident>(site, &key, how).await?;
    let incident = found.ok_or_else(|| missing("incident", id, "/api/v1/incidents"))?;
    note(site, Level::Notice, format!("{what} the incident {id}: {}", incident.title)).await?;
    Ok(view(&incident))
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
    doing("announce work", ask.title.as_str()).await;
    let now = site.clock.wall();
    let from = Timestamp(ask.from.0);
    if from.0.saturating_add(JUST_NOW_MS) < now.0 {
        let what = "what is announced has not begun yet";
        return Err(Refusal::new(Why::Forbidden, what, "open an incident for what was"));
    }
    let work = Maintenance {
        id: String::new(),
        title: ask.title.into(),
        text: ask.text.into(),
        from,
        to: Timestamp(from.0.saturating_add(ask.minutes.0 * 60_000)),
        subjects: known(site, ask.subjects.unwrap_or_default())?,
        cancelled: false,
        sequence: 0,
        changed: now,
        recurs: None,
    };
    let first = format!("{}-{}", day(from), slug(&work.title));
    let work = create(site, &first, |id| {
        let work = Maintenance { id, ..work.clone() };
        (work.key(), work)
    })
    .await?;
    note(site, Level::Notice, format!("{by} announced work, {}: {}", work.id, work.title)).await?;
    Ok(of_work(&work, now))
}

/// Calls announced work off, or ends it when it has begun.
pub(crate) async fn cancel(site: &Site, id: &str, by: &str) -> Result<Work, Refusal> {
    doing(format!("call off the work {id}"), "").await;
    let now = site.clock.wall();
    let key = format!("{}{id}", Maintenance::PREFIX);
    let found = change::<Maintenance>(site, &key, |work| {
        if work.cancelled || work.to <= now {
            return Err(Refusal::new(Why::Forbidden, format!("`{id}` is over already"), ""));
        }
        // What has begun was worked on until now; only the rest is called off.
        if work.from < now {
            work.to = now;
        } else {
            work.cancelled = true;
        }
        work.sequence += 1;
        work.changed = now;
        Ok(())
    });
    let found = found.await?;
    let work = found.ok_or_else(|| missing("announced work", id, "/api/v1/maintenance"))?;
    let what = if work.cancelled { "called off" } else { "ended early" };
    note(site, Level::Notice, format!("{by} {what} {id}: {}", work.title)).await?;
    Ok(of_work(&work, now))
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

/// Writes a new document under `first`, or with a number behind it.
async fn create<T: Serialize>(
    site: &Site,
    first: &str,
    made: impl Fn(String) -> (String, T),
) -> Result<T, Refusal> {
    let ids = std::iter::once(first.to_owned()).chain((2..1_000).map(|n| format!("{first}-{n}")));
    for id in ids {
        let (key, value) = made(id);
        match site.store.write(&key, None, &json!(value), None).await {
            Ok(_) => return Ok(value),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::new(Why::Forbidden, "every id of that title is taken", "choose another title"))
}

/// Changes the document under `key`, as often as somebody else writes it meanwhile. `None`: there is none.
async fn change<T: Serialize + DeserializeOwned>(
    site: &Site,
    key: &str,
    mut how: impl FnMut(&mut T) -> Result<(), Refusal>,
) -> Result<Option<T>, Refusal> {
    for _ in 0..TRIES {
        let Some(document) = site.store.read(key).await? else { return Ok(None) };
        let newer = |error: serde_json::Error| {
            let what = format!("{key} cannot be read: {error}");
            Refusal::new(Why::Failed, what, "a newer LinkFlow may have written it")
        };
        let mut value: T = serde_json::from_value(document.body).map_err(newer)?;
        how(&mut value)?;
        match site.store.write(key, Some(document.version), &json!(value), None).await {
            Ok(_) => return Ok(Some(value)),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let what = format!("`{key}` is being written by others all the time");
    Err(Refusal::new(Why::Busy, what, "try again"))
}

/// Notes what was done, for the timeline; whoever renders the status page does so anew for it.
async fn note(site: &Site, level: Level, message: String) -> Result<(), Refusal> {
    let event = Event::new(site.clock.wall(), EventKind::Incident, level, message);
    site.store.append(&event).await?;
    Ok(())
}

/// The day of `at` in UTC, as ids begin: `20261129`.
fn day(at: Timestamp) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    TimeZone::UTC.to_datetime(at.unwrap_or(jiff::Timestamp::MAX)).strftime("%Y%m%d").to_string()
}

/// `title` as a part of an id: small letters, digits and hyphens, 40 at most.
fn slug(title: &str) -> String {
    let mut slug = String::new();
    for c in title.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' if slug.len() < 40 => slug.push(c),
            _ if !slug.is_empty() && slug.len() < 40 && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "incident".to_owned() } else { slug.to_owned() }
}
