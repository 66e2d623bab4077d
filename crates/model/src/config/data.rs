//! Databases, caches, buckets and their backups.

use std::time::Duration;

use super::macros::{choice, section};
use super::read::Field;
use super::template::{SecretRef, Template};
use super::values::Within;
use crate::{ItemName, ProviderName};

section! {
    /// A database: one primary, and copies whose lag is measured.
    pub struct Database as "database" {
        /// Where it is written.
        primary: Primary,
        /// Where its copies are.
        copies: Vec<Copy>,
        /// Who decides that a copy becomes the primary.
        promote: Promote = Promote::Ask,
        /// How much, in time, may be lost when a copy is promoted without asking.
        max_loss: Duration = Duration::from_secs(120),
    }
}

section! {
    /// Where a database or a cache is first of all.
    pub struct Primary as "primary" {
        /// The provider.
        on: ProviderName = <ProviderName as Field>::blank(),
        /// Its address with user and password, so best a secret. An embedded one needs none.
        url: Option<Template>,
    }
}

section! {
    /// A copy of a database on another provider.
    pub struct Copy as "copy" {
        /// The provider.
        on: ProviderName,
        /// Its address with user and password, so best a secret.
        url: Option<Template>,
        /// How often it is brought up to date.
        every: Duration = Duration::from_secs(60),
    }
}

choice! {
    /// Who decides that a copy becomes the primary.
    pub enum Promote {
        /// A person.
        Ask = "ask",
        /// LinkFlow, when fencing is proven and the lag is within `max_loss`.
        Auto = "auto",
    }
}

section! {
    /// A cache, and the caches to use when it fails. Nothing in it is precious.
    pub struct Cache as "cache" {
        /// The one to use.
        primary: Primary,
        /// The ones to use instead, most preferred first.
        fallbacks: Vec<Primary>,
        /// How long values live when they say nothing themselves.
        ttl: Duration = Duration::from_secs(3600),
    }
}

section! {
    /// A bucket of objects, and its mirrors.
    pub struct Bucket as "bucket" {
        /// The provider that it is written to.
        on: ProviderName = <ProviderName as Field>::blank(),
        /// Providers that hold the same objects.
        mirrors: Vec<ProviderName>,
        /// Its name at the providers. The stack's name and its own when not said.
        name: Option<String>,
        /// Whether anybody may read its objects.
        public: bool = false,
        /// How often the mirrors are compared with it.
        every: Duration = Duration::from_secs(900),
    }
}

section! {
    /// Backups of databases and buckets.
    pub struct Backup as "backup" {
        /// What is backed up: `database.main`, `bucket.uploads`.
        of: Vec<String>,
        /// Providers that keep them.
        to: Vec<ProviderName> = vec![<ProviderName as Field>::blank()],
        /// How often.
        every: Duration = Duration::from_secs(86_400),
        /// How many are kept.
        keep: Keep = Keep::USUAL,
        /// How often one is restored somewhere else and compared, which is the only proof.
        prove_restore: Option<Duration>,
        /// The password that they are encrypted with. LinkFlow makes and keeps one when not said.
        password: Option<SecretRef>,
    }
}

section! {
    /// How many backups are kept: the newest of each of so many hours, days and so on.
    pub struct Keep as "keep" {
        /// Of each of the last hours.
        hourly: Within<0, 1000> = Within(1),
        /// Of each of the last days.
        daily: Within<0, 1000> = Within(7),
        /// Of each of the last weeks.
        weekly: Within<0, 1000> = Within(5),
        /// Of each of the last months.
        monthly: Within<0, 1000> = Within(12),
    }
}

impl Keep {
    const USUAL: Self =
        Self { hourly: Within(1), daily: Within(7), weekly: Within(5), monthly: Within(12) };
}

/// What a text such as `database.main` names: the kind of thing and its name.
pub(super) fn thing(text: &str) -> Option<(&str, ItemName)> {
    let (kind, name) = text.split_once('.')?;
    Some((kind, name.parse().ok()?))
}
