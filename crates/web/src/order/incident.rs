//! Telling people that something is wrong, how it goes on, and that it is over.

use linkflow_model::config::Config;
use linkflow_model::{
    Acknowledged, Event, EventKind, Impact, Incident, IncidentStage, IncidentUpdate, Level,
    Timestamp,
};

use super::{Hand, document};
use crate::operator::{Refusal, Why};

/// Something that is said of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What, in Markdown.
    pub text: String,
    /// When that was so. Earlier than now, it is marked as written later.
    pub at: Timestamp,
    /// Until when the next word is promised.
    pub next: Option<Timestamp>,
    /// Whether the status page shows it; otherwise it is a note for the team.
    pub public: bool,
}

/// What an incident begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// One line for the public.
    pub title: String,
    /// How much it takes.
    pub impact: Impact,
    /// What is affected, as the config calls it.
    pub subjects: Vec<String>,
    /// What is said first. When that was so, it began; and where it is no public word, the whole incident is kept off the page.
    pub word: Word,
}

/// How an incident goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Going {
    /// What is said.
    pub word: Word,
    /// How far it has come; as before when not said.
    pub stage: Option<IncidentStage>,
    /// How much it takes; as before when not said.
    pub impact: Option<Impact>,
}

/// Opens an incident.
///
/// # Errors
/// When it has no title, every id of it is taken, or the store says no.
pub async fn open(hand: Hand<'_>, config: &Config, opening: Opening) -> Result<Incident, Refusal> {
    let title = opening.title.clone();
    hand.noting("open an incident", &title, begin(hand, config, opening)).await
}

async fn begin(hand: Hand<'_>, config: &Config, opening: Opening) -> Result<Incident, Refusal> {
    let Opening { title, impact, subjects, word } = opening;
    if title.is_empty() {
        let help = "say what people notice, in one line";
        return Err(Refusal::new(Why::Wrong, "an incident has a title", help));
    }
    let (began, public, stage) = (word.at, word.public, IncidentStage::Investigating);
    let incident = Incident {
        id: String::new(),
        title,
        impact,
        stage,
        began,
        ended: None,
        subjects,
        cause: None,
        automatic: false,
        public,
        acknowledged: None,
        updates: vec![update(hand, stage, &word)],
    };
    let first = document::id(config, began, &incident.title);
    let made = |id| {
        let incident = Incident { id, ..incident.clone() };
        (incident.key(), incident)
    };
    let incident = document::create(hand.store, &first, made).await?;
    let level = if incident.impact >= Impact::Major { Level::Warning } else { Level::Notice };
    told(hand, level, "opened", &incident).await?;
    Ok(incident)
}

/// Says how an incident goes on.
///
/// # Errors
/// When there is none, or it is over and this is neither what was learned nor a note for the team.
pub async fn go_on(hand: Hand<'_>, id: &str, going: Going) -> Result<Incident, Refusal> {
    let act = changed(hand, id, "updated", |incident| {
        let stage = going.stage.unwrap_or(incident.stage);
        if !incident.is_open() && going.word.public && stage < IncidentStage::Postmortem {
            let help = "open another one; `linkflow incident update --stage postmortem` adds what was learned";
            return Err(Refusal::new(Why::Forbidden, over(id), help));
        }
        incident.impact = going.impact.unwrap_or(incident.impact);
        // A note for the team does not change what people were told.
        if going.word.public {
            incident.stage = stage;
        }
        let update = update(hand, incident.stage, &going.word);
        add(incident, update);
        Ok(())
    });
    hand.noting(&format!("update the incident {id}"), &going.word.text, act).await
}

/// Says that `who` looks after an incident.
///
/// # Errors
/// When there is none, or it is over.
pub async fn acknowledge(hand: Hand<'_>, id: &str, who: &str) -> Result<Incident, Refusal> {
    let act = changed(hand, id, "acknowledged", |incident| {
        if !incident.is_open() {
            return Err(Refusal::new(Why::Forbidden, over(id), "open another one"));
        }
        let at = incident.acknowledged.as_ref().filter(|taken| taken.by == who).map(|t| t.at);
        incident.acknowledged =
            Some(Acknowledged { by: who.to_owned(), at: at.unwrap_or(hand.now) });
        Ok(())
    });
    hand.noting(&format!("acknowledge the incident {id}"), "", act).await
}

/// Says that an incident is over, since when `at` was.
///
/// # Errors
/// When there is none, it is over already, or that would be before it began.
pub async fn resolve(
    hand: Hand<'_>,
    id: &str,
    at: Timestamp,
    text: &str,
) -> Result<Incident, Refusal> {
    let act = changed(hand, id, "resolved", |incident| {
        if !incident.is_open() {
            return Err(Refusal::new(Why::Forbidden, over(id), "open another one"));
        }
        if at < incident.began {
            let what = format!("`{id}` would be over before it began");
            return Err(Refusal::new(Why::Wrong, what, "say when it was over"));
        }
        let stage = IncidentStage::Resolved;
        (incident.stage, incident.ended) = (stage, Some(at));
        let word = Word { text: text.to_owned(), at, next: None, public: incident.public };
        add(incident, update(hand, stage, &word));
        Ok(())
    });
    hand.noting(&format!("resolve the incident {id}"), text, act).await
}

fn over(id: &str) -> String {
    format!("`{id}` is over already")
}

fn update(hand: Hand<'_>, stage: IncidentStage, word: &Word) -> IncidentUpdate {
    let Word { text, at, next, public } = word.clone();
    let written = (at < hand.now).then_some(hand.now);
    IncidentUpdate { at, stage, text, by: hand.by.to_owned(), public, written, next }
}

/// Adds an update where it belongs: they are in the order of what they say, not of when they were written.
fn add(incident: &mut Incident, update: IncidentUpdate) {
    let place = incident.updates.partition_point(|held| held.at <= update.at);
    incident.updates.insert(place, update);
}

async fn changed(
    hand: Hand<'_>,
    id: &str,
    what: &str,
    how: impl FnMut(&mut Incident) -> Result<(), Refusal>,
) -> Result<Incident, Refusal> {
    let key = format!("{}{id}", Incident::PREFIX);
    let Some(incident) = document::change::<Incident>(hand.store, &key, how).await? else {
        return Err(hand.missing("incident", id, ["linkflow incident list", "/api/v1/incidents"]));
    };
    told(hand, Level::Notice, what, &incident).await?;
    Ok(incident)
}

/// Notes what was done, for the timeline; whoever renders the status page does so anew for it.
async fn told(
    hand: Hand<'_>,
    level: Level,
    what: &str,
    incident: &Incident,
) -> Result<(), Refusal> {
    let said = format!("{} {what} the incident {}: {}", hand.by, incident.id, incident.title);
    hand.store.append(&Event::new(hand.now, EventKind::Incident, level, said)).await?;
    Ok(())
}
