//! People who may come in, and by which ways.

use linkflow_model::Timestamp;
use linkflow_model::access::Scope;
use linkflow_store::Store;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::documents::{self, Held};
use super::error::AccessError;
use super::passkey::Passkey;
use super::password::Kept;
use super::random;
use super::seal::Seal;
use super::sessions;
use super::totp::{Totp, recovery_hash};

/// The prefix of their documents.
const PREFIX: &str = "access/person/";

/// The longest name.
const LONGEST: usize = 40;

/// Somebody who may come in.
#[derive(Clone, Serialize, Deserialize)]
pub struct Person {
    /// As they are called.
    pub name: String,
    /// What they may do.
    pub scope: Scope,
    /// Since when they are known.
    pub made: Timestamp,
    /// What authenticators call them: 256 random bits. Whoever comes after them with the same name has another one.
    pub(super) handle: String,
    pub(super) password: Option<Kept>,
    #[serde(default)]
    pub(super) passkeys: Vec<Passkey>,
    pub(super) totp: Option<Totp>,
    /// An app that has not shown a code yet.
    #[serde(default)]
    pub(super) totp_new: Option<Totp>,
    /// What is kept of recovery codes that are not used.
    #[serde(default)]
    pub(super) recovery: Vec<String>,
}

impl Person {
    /// By which ways they can come in: `password, app code, 2 passkeys`.
    pub fn ways(&self) -> String {
        let mut ways = Vec::new();
        ways.extend(self.password.as_ref().map(|_| "password".to_owned()));
        ways.extend(self.totp.as_ref().map(|_| "app code".to_owned()));
        match self.passkeys.len() {
            0 => {}
            1 => ways.push("1 passkey".to_owned()),
            count => ways.push(format!("{count} passkeys")),
        }
        ways.join(", ")
    }

    /// Takes a code of their app, or a recovery code; each is good once. Says which it was.
    pub(super) fn take_code(
        &mut self,
        code: &str,
        seal: &Seal,
        now: Timestamp,
    ) -> Option<&'static str> {
        let of = (seal, self.handle.as_str());
        if self.totp.as_mut().is_some_and(|totp| totp.take(code, of, now)) {
            return Some("app code");
        }
        let hash = recovery_hash(code);
        let at = self.recovery.iter().position(|kept| *kept == hash)?;
        self.recovery.remove(at);
        Some("recovery code")
    }
}

/// The ways in of somebody new, or of somebody who begins anew.
#[derive(Default)]
pub(super) struct Ways {
    pub(super) password: Option<Kept>,
    pub(super) passkey: Option<Passkey>,
}

/// `name` as it is kept, when it can be one.
///
/// # Errors
/// What a name is.
pub(super) fn checked_name(name: &str) -> Result<String, AccessError> {
    let name: String = name.nfkc().collect();
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let fits = |char: char| char.is_alphanumeric() || " .-_@".contains(char);
    if name.is_empty() || name.chars().count() > LONGEST || !name.chars().all(fits) {
        return Err(AccessError::no(format!(
            "a name has 1 to {LONGEST} letters and digits; a blank, `.`, `-`, `_` and `@` may be among them"
        )));
    }
    Ok(name)
}

/// How a name is told apart from others: capitals make no difference.
pub(super) fn folded(name: &str) -> String {
    name.nfkc().collect::<String>().trim().to_lowercase()
}

fn key(name: &str) -> String {
    format!("{PREFIX}{}", folded(name))
}

/// Everybody, by name.
///
/// # Errors
/// When the store cannot be read.
pub async fn everybody(store: &dyn Store) -> Result<Vec<Person>, AccessError> {
    let held = documents::list::<Person>(store, PREFIX).await?;
    Ok(held.into_iter().map(|held| held.value).collect())
}

/// Whoever has this name.
pub(super) async fn find(store: &dyn Store, name: &str) -> Result<Option<Person>, AccessError> {
    let held: Option<Held<Person>> = documents::read(store, &key(name)).await?;
    Ok(held.map(|held| held.value))
}

/// A new person with one way in at least.
pub(super) async fn create(
    store: &dyn Store,
    (name, scope): (&str, Scope),
    ways: Ways,
    handle: Option<String>,
    now: Timestamp,
) -> Result<Person, AccessError> {
    let person = Person {
        name: checked_name(name)?,
        scope,
        made: now,
        handle: handle.map_or_else(random::secret, Ok)?,
        password: ways.password,
        passkeys: ways.passkey.into_iter().collect(),
        totp: None,
        totp_new: None,
        recovery: Vec::new(),
    };
    if !documents::create(store, &key(name), &person).await? {
        return Err(AccessError::no(format!("somebody is called `{}` already", person.name)));
    }
    Ok(person)
}

/// Changes a person, with what they are at that very moment.
pub(super) async fn change<R>(
    store: &dyn Store,
    name: &str,
    how: impl FnMut(&mut Person) -> Result<R, AccessError>,
) -> Result<R, AccessError> {
    let done = documents::change(store, &key(name), how).await?;
    done.ok_or_else(|| AccessError::no(format!("nobody is called `{name}`")))
}

/// Lets somebody begin anew who lost their ways in: the old ones and all sessions end.
pub(super) async fn renew(
    store: &dyn Store,
    (name, scope): (&str, Option<Scope>),
    ways: Ways,
) -> Result<Person, AccessError> {
    if let Some(scope) = scope {
        rescope(store, name, scope).await?;
    }
    let person = change(store, name, |person| {
        person.password = ways.password.clone();
        person.passkeys = ways.passkey.iter().cloned().collect();
        (person.totp, person.totp_new) = (None, None);
        person.recovery.clear();
        Ok(person.clone())
    })
    .await?;
    sessions::end_all(store, name, None).await?;
    Ok(person)
}

/// Refuses to leave nobody who may say who may do what.
async fn another_admin(store: &dyn Store, name: &str) -> Result<(), AccessError> {
    let others = everybody(store).await?.into_iter();
    let mut others = others.filter(|person| folded(&person.name) != folded(name));
    if others.any(|person| person.scope == Scope::Admin) {
        return Ok(());
    }
    Err(AccessError::no(format!("`{name}` is the only admin: make somebody else one first")))
}

/// Lets somebody do more or less from now on.
pub(super) async fn rescope(
    store: &dyn Store,
    name: &str,
    scope: Scope,
) -> Result<(), AccessError> {
    if scope < Scope::Admin {
        another_admin(store, name).await?;
    }
    change(store, name, |person| {
        person.scope = scope;
        Ok(())
    })
    .await
}

/// Lets somebody in no more, and ends their sessions.
///
/// # Errors
/// When there is nobody of that name, or they are the only admin.
pub async fn remove(store: &dyn Store, name: &str) -> Result<Person, AccessError> {
    let Some(person) = find(store, name).await? else {
        return Err(AccessError::no(format!("nobody is called `{name}`")));
    };
    another_admin(store, name).await?;
    documents::remove(store, &key(name)).await?;
    sessions::end_all(store, name, None).await?;
    Ok(person)
}
