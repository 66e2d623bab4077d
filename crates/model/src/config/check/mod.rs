//! What no single value can tell: whether the parts of a config fit together.

mod cycle;
mod names;
mod parts;
mod reference;
mod service;

use std::collections::BTreeSet;

use super::Config;
use super::codes::{self, Code};
use super::node::Table;
use super::problem::{Place, Problem, nearest};
use super::provider::{Provider, Role};
use super::read::Use;
use crate::ProviderName;

/// Tells everything in `config` that does not fit together. `root` is the tree it was read from.
pub(super) fn check(config: &Config, root: &Table, uses: &[Use], problems: &mut Vec<Problem>) {
    let mut check = Check { config, root, problems, used: BTreeSet::new() };
    check.services();
    check.deploy();
    check.routes();
    check.dashboard();
    check.data();
    check.edge_and_mail();
    check.names();
    check.watchers();
    check.timings();
    check.references(uses);
    check.cycles(uses);
    check.accounts();
}

/// A check under way.
struct Check<'a> {
    config: &'a Config,
    root: &'a Table,
    problems: &'a mut Vec<Problem>,
    used: BTreeSet<ProviderName>,
}

impl Check<'_> {
    /// The place of `path`, or of what is nearest above it.
    fn at(&self, path: &[&str]) -> Place {
        self.root.find(path).0.unwrap_or_default()
    }

    /// Whether `path` is in the file, readable or not.
    fn has(&self, path: &[&str]) -> bool {
        self.root.find(path).1
    }

    fn tell(&mut self, code: Code, path: &[&str], what: String, help: impl Into<String>) {
        let at = self.at(path);
        self.problems.push(Problem::new(code, at, what).help(help));
    }

    /// Checks that the provider named at `path` is there and plays one of `roles`; any will do when there are none.
    fn provider(&mut self, name: &ProviderName, roles: &[Role], path: &[&str]) {
        self.used.insert(name.clone());
        let Some(provider) = self.config.provider(name) else {
            if self.has(&["providers", name.as_str()]) {
                return;
            }
            let known = self.config.providers.keys().map(ProviderName::as_str);
            let known = known.chain(Provider::OF_MACHINE);
            let help = match nearest(name.as_str(), known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add `[providers.{name}]` with its `kind`"),
            };
            return self.tell(
                codes::UNKNOWN_PROVIDER,
                path,
                format!("there is no provider `{name}`"),
                help,
            );
        };
        if roles.is_empty() || roles.iter().any(|r| provider.plays(*r)) {
            return;
        }
        let wanted = roles.iter().map(Role::to_string).collect::<Vec<_>>().join(" or ");
        let plays =
            provider.kind().roles.iter().map(Role::to_string).collect::<Vec<_>>().join(", ");
        let able = self.config.providers.iter().filter(|(_, p)| roles.iter().any(|r| p.plays(*r)));
        let mut able: BTreeSet<&str> = able.map(|(name, _)| name.as_str()).collect();
        able.extend(Provider::OF_MACHINE.iter().copied().filter(|name| {
            let provider = Provider::of_machine(name);
            provider.is_some_and(|provider| roles.iter().any(|role| provider.plays(*role)))
        }));
        let able: Vec<&str> = able.into_iter().collect();
        let what =
            format!("`{name}` is {}, which cannot be used for {wanted}", provider.kind().title);
        let help = format!("it is for {plays}; for {wanted} there are here: {}", able.join(", "));
        self.tell(codes::LACKS_ROLE, path, what, help);
    }

    /// Checks a list of providers: each is there, plays `role`, and stands once. At least one when `due`.
    fn providers(&mut self, names: &[ProviderName], role: Role, path: &[&str], due: bool) {
        if names.is_empty() && due && self.has(path) {
            let key = path.last().copied().unwrap_or_default();
            self.tell(
                codes::EMPTY,
                path,
                format!("`{key}` is empty"),
                "name a provider, or `embedded`",
            );
        }
        for (i, name) in names.iter().enumerate() {
            let index = i.to_string();
            let mut item = path.to_vec();
            item.push(&index);
            self.provider(name, &[role], &item);
            if names[..i].contains(name) {
                let what = format!("`{name}` is listed twice");
                self.tell(codes::LISTED_TWICE, &item, what, "take one away");
            }
        }
    }

    /// Tells a key that must be there and is not. Says nothing when it is there and could not be read.
    fn missing(&mut self, code: Code, path: &[&str], key: &str, help: &str) {
        let mut whole = path.to_vec();
        whole.push(key);
        if !self.has(&whole) {
            let what = format!("`{key}` is missing in `{}`", path.join("."));
            self.tell(code, path, what, help);
        }
    }
}
