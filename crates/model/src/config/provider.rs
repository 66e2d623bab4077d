//! Providers: every kind, its own settings, and the roles that it can play.

use std::fmt;

use super::address::Url;
use super::kinds::{Kind, RailwayPlan, Settings};
use super::macros::section;
use super::node::Node;
use super::print::Printed;
use super::read::{Field, Fields, Reader};
use super::shape::{self, Book, Shape, Word};
use super::template::SecretRef;
use super::values::one_of;

/// What a provider can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Runs containers.
    Compute,
    /// Answers for a zone.
    Dns,
    /// Stands in front of the edge: content delivery, firewall, worker, tunnel.
    Cdn,
    /// Holds a database.
    Database,
    /// Holds a cache.
    Cache,
    /// Holds objects.
    Objects,
    /// Sends mail.
    Mail,
    /// Looks from outside.
    Monitor,
    /// Waits for heartbeats.
    Heartbeat,
    /// Shows a status page.
    StatusPage,
    /// Takes errors in.
    Errors,
    /// Takes logs in.
    Logs,
    /// Takes metrics in.
    Metrics,
    /// Keeps secrets.
    Secrets,
    /// Tells people.
    Notify,
    /// Holds images.
    Registry,
    /// Builds and runs checks.
    Ci,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Compute => "compute",
            Self::Dns => "dns",
            Self::Cdn => "cdn",
            Self::Database => "database",
            Self::Cache => "cache",
            Self::Objects => "objects",
            Self::Mail => "mail",
            Self::Monitor => "monitor",
            Self::Heartbeat => "heartbeat",
            Self::StatusPage => "status page",
            Self::Errors => "errors",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Secrets => "secrets",
            Self::Notify => "notify",
            Self::Registry => "registry",
            Self::Ci => "ci",
        })
    }
}

section! {
    /// What every provider takes.
    pub struct Account as "account" {
        /// In place of the base address of the vendor's API.
        api: Option<Url>,
        /// The key or token of the account.
        token: Option<SecretRef>,
        /// The credentials of the account, where the vendor has more than a token. Not together with `token`.
        credentials: Option<SecretRef>,
        /// Used only when all others have failed.
        last_resort: bool = false,
    }
}

/// An account at a vendor, by its `kind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// What every provider takes.
    pub account: Account,
    /// What this kind takes.
    pub settings: Settings,
}

impl Provider {
    /// The names of the providers that are there without being declared: what this machine can do by itself.
    pub const OF_MACHINE: [&str; 2] = ["embedded", "docker"];

    /// The embedded provider.
    pub fn embedded() -> Self {
        Self { account: Account::blank(), settings: Settings::embedded() }
    }

    /// The provider that is there under `name` without being declared.
    pub fn of_machine(name: &str) -> Option<Self> {
        match name {
            "embedded" => Some(Self::embedded()),
            "docker" => Some(Self { account: Account::blank(), settings: Settings::docker() }),
            _ => None,
        }
    }

    /// What is known of its kind.
    pub fn kind(&self) -> &'static Kind {
        self.settings.kind()
    }

    /// The account's token or credentials.
    pub fn secret(&self) -> Option<&SecretRef> {
        self.account.token.as_ref().or(self.account.credentials.as_ref())
    }

    /// In place of the base address of the vendor's API.
    pub fn api(&self) -> Option<&str> {
        self.account.api.as_ref().map(|u| u.0.as_str())
    }

    /// The vendor's plan that the config names, by its id in the [`crate::catalogue`].
    pub fn plan(&self) -> Option<&str> {
        match &self.settings {
            Settings::Render(settings) => Some(&settings.plan),
            Settings::Koyeb(settings) => settings.instance.as_deref(),
            Settings::Railway(settings) => Some(match settings.plan {
                RailwayPlan::Free => "free",
                RailwayPlan::Hobby => "hobby",
                RailwayPlan::Pro => "pro",
            }),
            _ => None,
        }
    }

    /// Whether it can be used as `role`.
    pub fn plays(&self, role: Role) -> bool {
        self.kind().roles.contains(&role)
    }
}

impl Field for Provider {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, reader)?;
        let words: Vec<&'static str> = Settings::KINDS.iter().map(|k| k.word).collect();
        let Some(kind) = fields.peek("kind") else {
            let what = format!("`kind` is missing in `{}`", reader.path.join("."));
            let help = format!("add `kind = …`, one of {}", words.join(", "));
            return reader.wrong(super::codes::MISSING, node.at, what, help);
        };
        let kind = reader.within("kind", |r| one_of(kind, &words, r))?;
        let account = Account::read_fields(&mut fields, reader);
        let settings = Settings::read(kind, &mut fields, reader)?;
        fields.finish(reader);
        Some(Self { account, settings })
    }

    fn blank() -> Self {
        Self::embedded()
    }

    fn print(&self) -> Printed {
        let kind = ("kind".to_owned(), Printed::Text(self.kind().word.to_owned()));
        let mut fields = vec![kind];
        fields.extend(self.settings.print_fields());
        fields.extend(self.account.print_fields());
        Printed::Table(fields)
    }

    fn shape(book: &mut Book) -> Shape {
        book.put("provider", |book| {
            let words: &'static [Word] = Settings::WORDS;
            let kind = shape::Key {
                name: "kind",
                doc: "Which vendor it is.",
                shape: Shape::Choice(words),
                required: true,
                default: None,
            };
            let mut kinds = Vec::new();
            for (word, known) in words.iter().zip(Settings::KINDS) {
                let only: &'static [Word] = std::slice::from_ref(word);
                let mut keys = vec![shape::Key { shape: Shape::Choice(only), ..kind.clone() }];
                keys.extend((known.keys)(book));
                keys.extend(Account::keys(book));
                let section = shape::Section { doc: word.doc, keys, kinds: Vec::new() };
                book.put(known.section, |_| section);
                kinds.push((*word, known.section));
            }
            let mut keys = vec![kind];
            keys.extend(Account::keys(book));
            shape::Section {
                doc: "An account at a vendor. Further keys depend on `kind`.",
                keys,
                kinds,
            }
        })
    }
}
