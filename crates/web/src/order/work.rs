//! Announcing work, and calling it off.

use linkflow_model::config::Config;
use linkflow_model::{Event, EventKind, Level, Maintenance, Timestamp};

use super::{Hand, document};
use crate::operator::{Refusal, Why};

/// How long ago work may have begun that is announced, in ms: somebody had to fill in a form.
const JUST_NOW_MS: u64 = 300_000;

/// Work that is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// One line for the public.
    pub title: String,
    /// What will be done and what it means, in Markdown.
    pub text: String,
    /// When it begins.
    pub from: Timestamp,
    /// How long it lasts, in ms.
    pub lasts_ms: u64,
    /// What is affected, as the config calls it.
    pub subjects: Vec<String>,
}

/// Announces work.
///
/// # Errors
/// When it has begun already, every id of it is taken, or the store says no.
pub async fn announce(
    hand: Hand<'_>,
    config: &Config,
    work: Announcement,
) -> Result<Maintenance, Refusal> {
    let title = work.title.clone();
    hand.noting("announce work", &title, schedule(hand, config, work)).await
}

async fn schedule(
    hand: Hand<'_>,
    config: &Config,
    work: Announcement,
) -> Result<Maintenance, Refusal> {
    let Announcement { title, text, from, lasts_ms, subjects } = work;
    if from.0.saturating_add(JUST_NOW_MS) < hand.now.0 {
        let what = "what is announced has not begun yet";
        let help = match hand.terminal {
            true => "`linkflow incident open --at` tells of what was",
            false => "open an incident for what was",
        };
        return Err(Refusal::new(Why::Forbidden, what, help));
    }
    let work = Maintenance {
        id: String::new(),
        title,
        text,
        from,
        to: Timestamp(from.0.saturating_add(lasts_ms)),
        subjects,
        cancelled: false,
        sequence: 0,
        changed: hand.now,
        recurs: None,
    };
    let first = document::id(config, from, &work.title);
    let made = |id| {
        let work = Maintenance { id, ..work.clone() };
        (work.key(), work)
    };
    let work = document::create(hand.store, &first, made).await?;
    told(hand, format!("announced work, {}: {}", work.id, work.title)).await?;
    Ok(work)
}

/// Calls announced work off, or ends it when it has begun.
///
/// # Errors
/// When there is none, or it is over.
pub async fn cancel(hand: Hand<'_>, id: &str) -> Result<Maintenance, Refusal> {
    hand.noting(&format!("call off the work {id}"), "", call_off(hand, id)).await
}

async fn call_off(hand: Hand<'_>, id: &str) -> Result<Maintenance, Refusal> {
    let (key, now) = (format!("{}{id}", Maintenance::PREFIX), hand.now);
    let found = document::change::<Maintenance>(hand.store, &key, |work| {
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
    let Some(work) = found.await? else {
        let lists = ["linkflow maintenance list", "/api/v1/maintenance"];
        return Err(hand.missing("announced work", id, lists));
    };
    let what = if work.cancelled { "called off" } else { "ended early" };
    told(hand, format!("{what} {id}: {}", work.title)).await?;
    Ok(work)
}

/// Notes what was done, for the timeline; whoever renders the status page does so anew for it.
async fn told(hand: Hand<'_>, what: String) -> Result<(), Refusal> {
    let said = format!("{} {what}", hand.by);
    hand.store.append(&Event::new(hand.now, EventKind::Incident, Level::Notice, said)).await?;
    Ok(())
}
