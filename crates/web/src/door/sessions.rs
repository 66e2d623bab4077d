//! Sessions of browsers: an id that only its cookie has, limits, and an end.

use linkflow_model::Timestamp;
use linkflow_store::Store;
use serde::{Deserialize, Serialize};

use super::documents::{self, Held};
use super::error::AccessError;
use super::people::{self, Person};
use super::random;

/// The prefixes of their documents.
const PREFIX: &str = "access/session/";
const HALVES: &str = "access/half/";

/// A session that was not used for so long ends: 12 hours.
pub(super) const IDLE_MS: u64 = 12 * 3_600_000;

/// A session ends after so long: 7 days.
pub(super) const WHOLE_MS: u64 = 7 * 86_400_000;

/// So long after a sign-in it may be changed how one signs in, and who may: 1 hour.
pub(super) const FRESH_MS: u64 = 3_600_000;

/// How long after the password the code may come: 5 minutes.
pub(super) const HALF_MS: u64 = 300_000;

/// How many codes may be wrong before the password is asked again.
const HALF_TRIES: u8 = 5;

/// How exactly it is kept when a session was used last: a write for each request would be too many.
const SEEN_MS: u64 = 60_000;

/// A browser that somebody signed in with. The key of its document holds a hash of its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) person: String,
    handle: String,
    pub(super) made: Timestamp,
    pub(super) seen: Timestamp,
    /// From where.
    pub(super) from: String,
    /// With what: the browser's own word, shortened.
    pub(super) agent: String,
    /// How: `password`, `passkey`.
    pub(super) way: String,
}

/// Somebody whose password was right and whose code is to come.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Half {
    pub(super) person: String,
    handle: String,
    until: Timestamp,
    wrong: u8,
    /// Where they wanted to go.
    pub(super) next: String,
}

/// From where and with what somebody signs in.
pub(super) struct Circumstances {
    pub(super) from: String,
    pub(super) agent: String,
    pub(super) way: &'static str,
}

/// The key of the session with this id.
fn key(id: &str) -> String {
    format!("{PREFIX}{}", random::hashed(id))
}

/// What a session is called on pages: a part of its hash.
pub(super) fn short(key: &str) -> String {
    key.rsplit('/').next().unwrap_or_default().chars().take(12).collect()
}

/// Begins a session of `person`; gives its id.
pub(super) async fn begin(
    store: &dyn Store,
    person: &Person,
    how: Circumstances,
    now: Timestamp,
) -> Result<String, AccessError> {
    let id = random::secret()?;
    let session = Session {
        person: person.name.clone(),
        handle: person.handle.clone(),
        made: now,
        seen: now,
        from: how.from,
        agent: how.agent.chars().take(160).collect(),
        way: how.way.to_owned(),
    };
    if !documents::create(store, &key(&id), &session).await? {
        return Err(AccessError::NoRandom);
    }
    Ok(id)
}

fn is_over(session: &Session, now: Timestamp) -> bool {
    let since = |at: Timestamp| now.0.saturating_sub(at.0);
    since(session.seen) > IDLE_MS || since(session.made) > WHOLE_MS
}

/// The session with this id and whose it is, when it is not over; notes that it was used.
pub(super) async fn find(
    store: &dyn Store,
    id: &str,
    now: Timestamp,
) -> Result<Option<(Held<Session>, Person)>, AccessError> {
    let Some(held) = documents::read::<Session>(store, &key(id)).await? else { return Ok(None) };
    let person = people::find(store, &held.value.person).await?;
    // Somebody who came later with the same name is another one.
    let person = person.filter(|person| person.handle == held.value.handle);
    let Some(person) = person.filter(|_| !is_over(&held.value, now)) else {
        documents::take(store, &held).await?;
        return Ok(None);
    };
    if now.0.saturating_sub(held.value.seen.0) >= SEEN_MS {
        documents::change(store, &held.key, |session: &mut Session| {
            session.seen = session.seen.max(now);
            Ok(())
        })
        .await?;
    }
    Ok(Some((held, person)))
}

/// Ends the session with this id.
pub(super) async fn end(store: &dyn Store, id: &str) -> Result<(), AccessError> {
    Ok(documents::remove(store, &key(id)).await?)
}

/// The sessions of `name` that are not over, the one used last first.
pub(super) async fn of(
    store: &dyn Store,
    name: &str,
    now: Timestamp,
) -> Result<Vec<Held<Session>>, AccessError> {
    let mut held = documents::list::<Session>(store, PREFIX).await?;
    held.retain(|held| held.value.person == name && !is_over(&held.value, now));
    held.sort_by_key(|held| std::cmp::Reverse(held.value.seen));
    Ok(held)
}

/// Ends one session of `name`, by what it is called on pages; says whether there was one.
pub(super) async fn end_one(
    store: &dyn Store,
    name: &str,
    called: &str,
) -> Result<bool, AccessError> {
    for held in documents::list::<Session>(store, PREFIX).await? {
        if held.value.person == name && short(&held.key) == called {
            documents::remove(store, &held.key).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ends all sessions of `name` but the one with the key `but`, and what they began to sign in.
pub(super) async fn end_all(
    store: &dyn Store,
    name: &str,
    but: Option<&str>,
) -> Result<(), AccessError> {
    let name = people::folded(name);
    for held in documents::list::<Session>(store, PREFIX).await? {
        if people::folded(&held.value.person) == name && Some(held.key.as_str()) != but {
            documents::remove(store, &held.key).await?;
        }
    }
    for held in documents::list::<Half>(store, HALVES).await? {
        if people::folded(&held.value.person) == name {
            documents::remove(store, &held.key).await?;
        }
    }
    Ok(())
}

/// Notes that the password of `person` was right; gives the id of what is half a session.
pub(super) async fn halve(
    store: &dyn Store,
    person: &Person,
    next: &str,
    now: Timestamp,
) -> Result<String, AccessError> {
    let id = random::secret()?;
    let half = Half {
        person: person.name.clone(),
        handle: person.handle.clone(),
        until: Timestamp(now.0.saturating_add(HALF_MS)),
        wrong: 0,
        next: next.to_owned(),
    };
    let key = format!("{HALVES}{}", random::hashed(&id));
    if !documents::create(store, &key, &half).await? {
        return Err(AccessError::NoRandom);
    }
    Ok(id)
}

/// Whose code is to come, when there is still time and a try left.
pub(super) async fn half(
    store: &dyn Store,
    id: &str,
    now: Timestamp,
) -> Result<Option<(Half, Person)>, AccessError> {
    let key = format!("{HALVES}{}", random::hashed(id));
    let Some(held) = documents::read::<Half>(store, &key).await? else { return Ok(None) };
    let half = held.value;
    let person = people::find(store, &half.person).await?;
    let person = person.filter(|person| person.handle == half.handle);
    let good = now <= half.until && half.wrong < HALF_TRIES;
    Ok(person.filter(|_| good).map(|person| (half, person)))
}

/// Counts a wrong code.
pub(super) async fn wrong(store: &dyn Store, id: &str) -> Result<(), AccessError> {
    let key = format!("{HALVES}{}", random::hashed(id));
    documents::change(store, &key, |half: &mut Half| {
        half.wrong = half.wrong.saturating_add(1);
        Ok(())
    })
    .await?;
    Ok(())
}

/// Ends what is half a session.
pub(super) async fn end_half(store: &dyn Store, id: &str) -> Result<(), AccessError> {
    Ok(documents::remove(store, &format!("{HALVES}{}", random::hashed(id))).await?)
}

/// Removes those that are over.
pub(super) async fn tidy(store: &dyn Store, now: Timestamp) -> Result<(), AccessError> {
    for held in documents::list::<Session>(store, PREFIX).await? {
        if is_over(&held.value, now) {
            documents::take(store, &held).await?;
        }
    }
    for held in documents::list::<Half>(store, HALVES).await? {
        if held.value.until < now {
            documents::take(store, &held).await?;
        }
    }
    Ok(())
}
