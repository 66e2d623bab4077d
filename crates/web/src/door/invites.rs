//! One-time links: how the first owner, and everybody after, comes in for the first time, or again.

use linkflow_model::Timestamp;
use linkflow_model::access::Scope;
use linkflow_store::Store;
use serde::{Deserialize, Serialize};

use super::documents::{self, Held};
use super::error::AccessError;
use super::{people, random};

/// The prefix of their documents.
const PREFIX: &str = "access/invite/";

/// How long a link is good: 1 hour.
pub const GOOD_MS: u64 = 3_600_000;

/// What a link is for. Its document's key holds a hash of the link's secret, and nothing else is kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Who is meant; they choose their name when nobody is. Somebody who is there already begins anew.
    pub name: Option<String>,
    /// What they may do; when not said, what they may already, or see how things are.
    pub scope: Option<Scope>,
    /// Until when.
    pub until: Timestamp,
    /// Who made it.
    pub by: String,
    /// Whether it is for the first person, and ends as soon as there is one.
    #[serde(default)]
    pub first: bool,
}

/// Makes a link's secret: the link is `/setup/SECRET`.
///
/// # Errors
/// When the name cannot be one, or the store cannot be written.
pub async fn invite(
    store: &dyn Store,
    (name, scope): (Option<&str>, Option<Scope>),
    by: &str,
    now: Timestamp,
) -> Result<(String, Invite), AccessError> {
    let name = name.map(people::checked_name).transpose()?;
    put(store, Invite { name, scope, until: until(now), by: by.to_owned(), first: false }).await
}

/// Makes the link of the first person, an admin, while there is nobody.
///
/// # Errors
/// When the store cannot.
pub async fn first(store: &dyn Store, now: Timestamp) -> Result<Option<String>, AccessError> {
    if !people::everybody(store).await?.is_empty() {
        return Ok(None);
    }
    let (scope, by) = (Some(Scope::Admin), "linkflow up".to_owned());
    let invite = Invite { name: None, scope, until: until(now), by, first: true };
    Ok(Some(put(store, invite).await?.0))
}

fn until(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_add(GOOD_MS))
}

async fn put(store: &dyn Store, invite: Invite) -> Result<(String, Invite), AccessError> {
    let secret = random::secret()?;
    let key = format!("{PREFIX}{}", random::hashed(&secret));
    if !documents::create(store, &key, &invite).await? {
        return Err(AccessError::NoRandom);
    }
    Ok((secret, invite))
}

/// What the link with `secret` is for, when it is still good.
pub(super) async fn find(
    store: &dyn Store,
    secret: &str,
    now: Timestamp,
) -> Result<Option<Held<Invite>>, AccessError> {
    let key = format!("{PREFIX}{}", random::hashed(secret));
    let held = documents::read::<Invite>(store, &key).await?;
    let Some(held) = held.filter(|held| now <= held.value.until) else { return Ok(None) };
    if held.value.first && !people::everybody(store).await?.is_empty() {
        return Ok(None);
    }
    Ok(Some(held))
}

/// Those that are open, with their id, the one that ends first first.
pub(super) async fn open(
    store: &dyn Store,
    now: Timestamp,
) -> Result<Vec<(String, Invite)>, AccessError> {
    let held = documents::list::<Invite>(store, PREFIX).await?.into_iter();
    let held = held.filter(|held| now <= held.value.until);
    let id = |key: &str| key[PREFIX.len()..].chars().take(12).collect();
    let mut open: Vec<_> = held.map(|held| (id(&held.key), held.value)).collect();
    open.sort_by_key(|(_, invite)| invite.until);
    Ok(open)
}

/// Ends the link with this id.
pub(super) async fn withdraw(store: &dyn Store, id: &str) -> Result<bool, AccessError> {
    let held = documents::list::<Invite>(store, &format!("{PREFIX}{id}")).await?;
    match held.as_slice() {
        [one] if id.len() == 12 => Ok(documents::take(store, one).await?),
        _ => Ok(false),
    }
}

/// Removes those that ended.
pub(super) async fn tidy(store: &dyn Store, now: Timestamp) -> Result<(), AccessError> {
    for held in documents::list::<Invite>(store, PREFIX).await? {
        if held.value.until < now {
            documents::take(store, &held).await?;
        }
    }
    Ok(())
}
