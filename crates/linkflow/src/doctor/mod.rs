//! Asks everything that can be asked without changing anything, and says what is well, what is not, and what helps.
//!
//! Asking and judging are apart: all is asked at once, and each chapter is then made of the answers.

mod accounts;
mod compute;
mod errors;
mod images;
mod machine;
mod names;
pub(crate) mod show;
pub(crate) mod usage;
mod watchers;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use linkflow_model::ProviderName;
use linkflow_model::catalogue::Catalogue;
use linkflow_model::config::{Config, Parsed, Provider, kinds};
use linkflow_model::{Fault, FaultKind};
use serde::Serialize;
use serde_json::Value;

use crate::say::progress::Waiting;
use crate::wire::OpenOptions;
use crate::wire::asking::Asking;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// All is well.
    Well,
    /// Good to know.
    Known,
    /// Worth a look.
    Doubtful,
    /// It does not work.
    Broken,
    /// A credential is refused.
    Refused,
}

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How it stands.
    pub(crate) state: State,
    /// What, in one sentence.
    pub(crate) what: String,
    /// The command or the page that helps; may be empty.
    pub(crate) help: String,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Chapter {
    /// What it is about: the provider's name, or `machine` and `images`.
    pub(crate) about: String,
    /// What stands beside that, for people.
    pub(crate) title: String,
    /// What was found.
    pub(crate) findings: Vec<Finding>,
    /// What was answered, for machines.
    pub(crate) facts: Value,
}

impl Chapter {
    fn new(about: &str, title: impl Into<String>) -> Self {
        Self {
            about: about.to_owned(),
            title: title.into(),
            findings: Vec::new(),
            facts: Value::Null,
        }
    }

    fn add(&mut self, state: State, what: impl Into<String>, help: impl Into<String>) {
        self.findings.push(Finding { state, what: what.into(), help: help.into() });
    }

    fn well(&mut self, what: impl Into<String>) {
        self.add(State::Well, what, "");
    }

    fn known(&mut self, what: impl Into<String>) {
        self.add(State::Known, what, "");
    }
}

/// What the doctor goes by.
pub(crate) struct Patient<'a> {
    /// The config, and what was found while it was read.
    pub(crate) parsed: &'a Parsed,
    /// The same, once it is known to be sound.
    pub(crate) config: &'a Config,
    /// Where everything is.
    pub(crate) options: &'a OpenOptions,
    /// What is known of vendors' plans.
    pub(crate) catalogue: &'a Catalogue,
    /// Only this provider.
    pub(crate) only: Option<&'a ProviderName>,
}

impl Patient<'_> {
    fn is_asked(&self, name: &ProviderName) -> bool {
        self.only.is_none_or(|only| only == name)
    }

    /// Whether a cloud stands for all vendors.
    fn is_rehearsed(&self) -> bool {
        self.options.cloud.is_some()
    }
}

/// Asks everything at once and makes the chapters of the answers.
pub(crate) async fn examine(
    patient: &Patient<'_>,
    asking: &Asking,
    waiting: &Waiting,
) -> Vec<Chapter> {
    let places = asking.places.iter().filter(|(name, _)| patient.is_asked(name));
    let computes = join_all(places.map(|(name, place)| async move {
        let asked = waiting.for_one(name.as_str(), compute::ask(asking, name, place)).await;
        (name, place, asked)
    }));
    let registries = patient.config.providers.iter();
    let mut registries = registries.filter(|(_, p)| matches!(p.settings, kinds::Settings::Ghcr(_)));
    let wants_images = patient.only.is_none_or(|only| {
        // A provider is judged by the images that it would run, too.
        registries.any(|(name, _)| name == only) || asking.places.contains_key(only)
    });
    let images = async {
        if !wants_images {
            return BTreeMap::new();
        }
        waiting.for_one("images", images::ask(patient, asking)).await
    };
    let accounts = waiting.for_one("accounts", accounts::examine(patient, asking));
    let names = waiting.for_one("names", names::examine(patient, asking));
    let watchers = waiting.for_one("watchers", watchers::examine(patient, asking));
    let errors = waiting.for_one("errors", errors::examine(patient, asking));
    let engine = machine::engine(patient, asking);
    let (computes, images, accounts, names, watchers, errors, engine) =
        tokio::join!(computes, images, accounts, names, watchers, errors, engine);

    let mut chapters = Vec::new();
    if patient.only.is_none() {
        chapters.push(machine::examine(patient, asking, engine).await);
    }
    for (name, place, asked) in &computes {
        chapters.push(compute::chapter(patient, name, place, asked, &images));
    }
    let about_images =
        wants_images && patient.only.is_none_or(|only| !asking.places.contains_key(only));
    chapters.extend(names);
    chapters.extend(watchers);
    chapters.extend(errors);
    chapters.extend(images::chapter(patient, &images).filter(|_| about_images));
    chapters.extend(accounts);
    chapters
}

/// How what failed stands: a refused credential is told apart from a provider that is away.
fn state_of(fault: &Fault) -> State {
    match fault.kind {
        FaultKind::Denied => State::Refused,
        FaultKind::Limited { .. } => State::Doubtful,
        _ => State::Broken,
    }
}

/// What a fault means and what helps, in words: a refused token and an absent provider are two things.
fn explained(provider: &Provider, name: &ProviderName, fault: &Fault) -> (String, String) {
    let page = format!("docs/providers/{}.md", provider.kind().word);
    let (what, help) = match fault.kind {
        FaultKind::Denied => {
            let which = provider.secret().map(|token| format!(", `${{{}}}`,", token.reference));
            let what = format!("the token{} is refused", which.unwrap_or_default());
            (what, format!("put a new one into the environment; {page} says how it is made"))
        }
        FaultKind::Unreachable | FaultKind::Unclear => (
            "is away".to_owned(),
            format!("what is there goes on; `linkflow doctor {name}` asks again"),
        ),
        FaultKind::Limited { .. } => {
            ("answers, and was asked too often".to_owned(), "wait as long as it asks".to_owned())
        }
        FaultKind::Exhausted => {
            ("an allowance is used up".to_owned(), format!("`linkflow usage {name}`"))
        }
        _ => ("answers, and does not do as it should".to_owned(), page),
    };
    (format!("{what}: {}", fault.said), help)
}
