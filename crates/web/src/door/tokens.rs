//! Tokens of programs: shown once, kept as a hash, with a scope and, where wanted, an end.

use linkflow_model::Timestamp;
use linkflow_model::access::{Caller, Means, Scope};
use linkflow_store::Store;
use serde::{Deserialize, Serialize};

use super::documents;
use super::error::AccessError;
use super::random;

/// The prefix of their documents.
const PREFIX: &str = "access/token/";

/// What every token begins with, so that people and scanners know one.
pub(super) const MARK: &str = "lf_";

/// How exactly it is kept when a token was used last.
const USED_MS: u64 = 60_000;

/// A token, without what it is shown as. The key of its document holds a hash of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What it is called in lists: the first 12 digits of its hash.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// Since when it is good.
    pub made: Timestamp,
    /// Who made it.
    pub by: String,
    /// Until when it is good.
    pub until: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub used: Option<Timestamp>,
}

impl Token {
    /// Whether it is good no more at `now`.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Makes a token; gives what it is shown as, this once.
///
/// # Errors
/// When its name cannot be one, or the store cannot be written.
pub async fn create(
    store: &dyn Store,
    (name, scope): (&str, Scope),
    until: Option<Timestamp>,
    by: &str,
    now: Timestamp,
) -> Result<(String, Token), AccessError> {
    let name = super::people::checked_name(name)?;
    let shown = format!("{MARK}{}", random::secret()?);
    let hash = random::hashed(&shown);
    let id = hash.chars().take(12).collect();
    let token = Token { id, name, scope, made: now, by: by.to_owned(), until, used: None };
    if !documents::create(store, &format!("{PREFIX}{hash}"), &token).await? {
        return Err(AccessError::NoRandom);
    }
    Ok((shown, token))
}

/// All of them, the newest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn every(store: &dyn Store) -> Result<Vec<Token>, AccessError> {
    let held = documents::list::<Token>(store, PREFIX).await?;
    let mut tokens: Vec<Token> = held.into_iter().map(|held| held.value).collect();
    tokens.sort_by(|a, b| b.made.cmp(&a.made).then(a.id.cmp(&b.id)));
    Ok(tokens)
}

/// Ends the token with this id.
///
/// # Errors
/// When there is none.
pub async fn revoke(store: &dyn Store, id: &str) -> Result<Token, AccessError> {
    for held in documents::list::<Token>(store, PREFIX).await? {
        if held.value.id == id {
            documents::remove(store, &held.key).await?;
            return Ok(held.value);
        }
    }
    Err(AccessError::no(format!("there is no token `{id}`")))
}

/// Who comes with the token that is shown as `shown`, when it is good; notes that it was used.
pub(super) async fn caller(
    store: &dyn Store,
    shown: &str,
    now: Timestamp,
) -> Result<Option<Caller>, AccessError> {
    if !shown.starts_with(MARK) {
        return Ok(None);
    }
    let key = format!("{PREFIX}{}", random::hashed(shown));
    let held = documents::read::<Token>(store, &key).await?.map(|held| held.value);
    let Some(token) = held.filter(|token| !token.is_over(now)) else { return Ok(None) };
    if token.used.is_none_or(|used| now.0.saturating_sub(used.0) >= USED_MS) {
        documents::change(store, &key, |token: &mut Token| {
            token.used = token.used.max(Some(now));
            Ok(())
        })
        .await?;
    }
    Ok(Some(Caller { name: token.name, scope: token.scope, means: Means::Token }))
}

/// Removes those that are over.
pub(super) async fn tidy(store: &dyn Store, now: Timestamp) -> Result<(), AccessError> {
    for held in documents::list::<Token>(store, PREFIX).await? {
        if held.value.is_over(now) {
            documents::take(store, &held).await?;
        }
    }
    Ok(())
}
