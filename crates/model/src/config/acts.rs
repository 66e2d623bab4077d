//! The one table of what the binary acts on already. What is not acted on is parsed and checked all the same.
//!
//! When a feature begins to act, its line here is the only one to change.

use super::node::{Raw, Table};
use super::problem::Place;
use super::provider::Role;

/// The roles in which each kind of provider is acted on. In a rehearsal every compute kind acts, simulated.
const KINDS: &[(&str, &[Role])] = &[
    ("embedded", &[Role::Compute, Role::Dns, Role::Cdn, Role::Mail, Role::Notify]),
    ("azure-container-apps", &[Role::Compute]),
    ("cloudflare", &[Role::Dns, Role::Cdn]),
    ("desec", &[Role::Dns]),
    ("docker", &[Role::Compute]),
    ("fly", &[Role::Compute]),
    ("koyeb", &[Role::Compute]),
    ("railway", &[Role::Compute]),
    ("render", &[Role::Compute]),
    ("server", &[Role::Compute]),
    ("zeabur", &[Role::Compute]),
    ("github", &[Role::Ci]),
    ("ghcr", &[Role::Registry]),
    ("resend", &[Role::Mail]),
    ("brevo", &[Role::Mail]),
    ("smtp", &[Role::Mail]),
    ("slack", &[Role::Notify]),
    ("twilio", &[Role::Notify]),
    ("uptimerobot", &[Role::Monitor, Role::Heartbeat]),
    ("betterstack", &[Role::Monitor, Role::Heartbeat]),
    ("cronitor", &[Role::Heartbeat, Role::Monitor]),
    ("healthchecks", &[Role::Heartbeat]),
    ("instatus", &[Role::StatusPage]),
    ("sentry", &[Role::Errors]),
];

/// Keys that nothing acts on yet. `*` is any name.
pub(super) const NOT_YET: &[&str] = &[
    "secrets.from",
    "secrets.file",
    "secrets.sync_to",
    "secrets.rotate_after",
    "databases",
    "caches",
    "buckets",
    "backups",
    "mail.listen",
    "mail.password",
    "mail.give_up_after",
    "telemetry",
    "budget",
    "quotas",
];

/// Keys that the provider in front of the edge acts on: without `edge.on` nobody does.
const IN_FRONT: &[&str] = &[
    "edge.tls",
    "edge.waf",
    "edge.bots",
    "edge.https_rewrites",
    "edge.cache_level",
    "edge.browser_cache",
    "edge.cache",
];

/// Something of the config that is understood and without effect so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotYet {
    /// Its key: `databases.main`, `providers.neon`.
    pub path: String,
    /// Where it stands.
    pub at: Place,
}

/// Whether a provider of `kind` is acted on as `role`.
pub fn acts(kind: &str, role: Role) -> bool {
    KINDS.iter().any(|(k, roles)| *k == kind && roles.contains(&role))
}

/// What in `root` is not acted on yet.
pub(super) fn not_yet(root: &Table) -> Vec<NotYet> {
    let mut found = Vec::new();
    let in_front = root.find(&["edge", "on"]).1;
    for pattern in NOT_YET.iter().chain(IN_FRONT.iter().filter(|_| !in_front)) {
        let steps: Vec<&str> = pattern.split('.').collect();
        walk(root, &steps, "", &mut found);
    }
    if let Some(providers) = root.get("providers").and_then(|p| p.table()) {
        for (name, entry) in &providers.entries {
            let kind = entry.node.table().and_then(|t| t.get("kind")?.text());
            if kind.is_some_and(|kind| !KINDS.iter().any(|(k, _)| *k == kind)) {
                found.push(NotYet { path: format!("providers.{name}"), at: entry.key });
            }
        }
    }
    found.sort_by(|a, b| a.at.cmp(&b.at).then(a.path.cmp(&b.path)));
    found
}

fn walk(table: &Table, steps: &[&str], path: &str, found: &mut Vec<NotYet>) {
    let Some((step, rest)) = steps.split_first() else { return };
    for (key, entry) in table.entries.iter().filter(|(k, _)| *step == "*" || k == step) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match &entry.node.value {
            Raw::Table(below) if !rest.is_empty() => walk(below, rest, &path, found),
            _ if rest.is_empty() => found.push(NotYet { path, at: entry.key }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::kinds::Settings;
    use crate::config::read::Field;
    use crate::config::shape::{Book, Shape};

    #[test]
    fn each_line_names_a_key_or_a_kind_that_there_is() {
        let mut book = Book::default();
        let root = Config::shape(&mut book);
        for pattern in NOT_YET.iter().chain(IN_FRONT) {
            let mut at = root.clone();
            for step in pattern.split('.') {
                at = match &at {
                    Shape::Map { each, .. } if step == "*" => (**each).clone(),
                    Shape::Section(name) => {
                        let key = book.sections[name].keys.iter().find(|k| k.name == step);
                        key.unwrap_or_else(|| panic!("{pattern}: no {step}")).shape.clone()
                    }
                    _ => panic!("{pattern}: nothing below {step}"),
                };
            }
        }
        for (word, roles) in KINDS {
            let kind = Settings::KINDS.iter().find(|k| k.word == *word);
            let kind = kind.unwrap_or_else(|| panic!("no kind {word}"));
            assert!(roles.iter().all(|r| kind.roles.contains(r)), "{word} plays what it acts as");
        }
    }
}
