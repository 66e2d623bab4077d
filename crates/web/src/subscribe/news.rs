//! What there is to tell: each public update of an incident, and that work was announced, has begun, is over, is called off.

use linkflow_model::config::Config;
use linkflow_model::{Incident, Maintenance, Timestamp};
use linkflow_store::{Store, StoreError};
use serde_json::json;
use std::collections::BTreeSet;

use super::desk::lines;
use super::letter::{NEWS, News, Step};
use super::outbox::{self, What};
use super::subscriber::subscribers;
use crate::door::documents::{create, list, read};
use crate::status::gather::Named;

/// How old something may be that is told for the first time: what was longer ago is no news.
const FRESH_MS: u64 = 86_400_000;

/// How long what was told is remembered.
const KEPT_MS: u64 = 30 * 86_400_000;

/// Puts what is new at `now` into the outbox. `spread` are the ids of what everybody has a message of already.
pub(super) async fn look(
    store: &dyn Store,
    config: &Config,
    spread: &mut BTreeSet<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let names = lines(config);
    let incidents = list::<Incident>(store, Incident::PREFIX).await?.into_iter();
    let works = list::<Maintenance>(store, Maintenance::PREFIX).await?.into_iter();
    let all = incidents.flat_map(|held| of_incident(&held.value, &names));
    let works = works.filter(|held| held.value.is_news());
    let all = all.chain(works.flat_map(|held| of_work(&held.value, &names, now)));
    let is_new =
        |news: &News| news.at <= now && now.0 - news.at.0 < FRESH_MS && !spread.contains(&news.id);
    let mut new: Vec<News> = all.filter(is_new).collect();
    new.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.id.cmp(&b.id)));
    for news in new {
        tell(store, &news, now).await?;
        spread.insert(news.id);
    }
    Ok(())
}

/// Gives everybody who is to be told of `news` a message. A process that dies in between does the rest when it comes again:
/// each message has an id of its own, and is there once.
async fn tell(store: &dyn Store, news: &News, now: Timestamp) -> Result<(), StoreError> {
    let key = format!("{NEWS}{}", news.id);
    create(store, &key, news).await?;
    let Some(held) = read::<News>(store, &key).await?.filter(|held| !held.value.spread) else {
        return Ok(());
    };
    for to in subscribers(store).await?.iter().filter(|to| held.value.is_for(to)) {
        outbox::put(store, to, What::News(news.id.clone()), now).await?;
    }
    let done = News { spread: true, ..held.value };
    match store.write(&key, Some(held.version), &json!(done), None).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Forgets what was told long ago.
pub(super) async fn tidy(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    for held in list::<News>(store, NEWS).await? {
        if now.0.saturating_sub(held.value.at.0) > KEPT_MS {
            match store.remove(&held.key, held.version).await {
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// The components that `subjects` decide about: their names and ids.
fn about(names: &[Named], subjects: &[String]) -> (Vec<String>, Vec<String>) {
    let is_in = |one: &&Named| one.subjects.iter().any(|subject| subjects.contains(subject));
    let hit = || names.iter().filter(is_in);
    (hit().map(|one| one.name.clone()).collect(), hit().map(|one| one.id.clone()).collect())
}

fn of_incident(incident: &Incident, names: &[Named]) -> Vec<News> {
    let (names, components) = about(names, &incident.subjects);
    let updates = incident.updates.iter().enumerate();
    let public = updates.filter(|(_, update)| incident.public && update.public);
    let news = public.map(|(n, update)| News {
        id: format!("incident.{}.{}", incident.id, n + 1),
        at: update.written.unwrap_or(update.at),
        thread: format!("incident/{}", incident.id),
        step: Step::Incident(update.stage),
        title: incident.title.clone(),
        text: update.text.clone(),
        names: names.clone(),
        components: components.clone(),
        span: None,
        path: format!("incident/{}.html", incident.id),
        spread: false,
    });
    news.collect()
}

fn of_work(work: &Maintenance, names: &[Named], now: Timestamp) -> Vec<News> {
    let mut steps = Vec::new();
    let (announced, n) = (Step::Announced, work.sequence);
    match work.cancelled {
        false if now < work.from => {
            steps.push((announced, work.changed, format!("announced-{n}")));
        }
        false => {
            steps.push((Step::Begun, work.from, "begun".to_owned()));
            steps.extend((now >= work.to).then(|| (Step::Over, work.to, "over".to_owned())));
        }
        // Called off while it was under way: it ended early.
        true if work.changed >= work.from => {
            steps.push((Step::Over, work.changed, "over".to_owned()));
        }
        true => steps.push((Step::Cancelled, work.changed, "cancelled".to_owned())),
    }
    // Nobody is told that something begins which is over when they could be told.
    if steps.len() == 2 && now.0.saturating_sub(work.to.0) > 3_600_000 {
        steps.remove(0);
    }
    let (names, components) = about(names, &work.subjects);
    let news = steps.into_iter().map(|(step, at, word)| News {
        id: format!("maintenance.{}.{word}", work.id),
        at,
        thread: format!("maintenance/{}", work.id),
        step,
        title: work.title.clone(),
        text: if matches!(step, Step::Announced) { work.text.clone() } else { String::new() },
        names: names.clone(),
        components: components.clone(),
        span: Some((work.from, work.to)),
        path: format!("maintenance/{}.html", work.id),
        spread: false,
    });
    news.collect()
}
