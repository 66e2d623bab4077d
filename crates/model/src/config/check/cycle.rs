//! Things that wait for each other.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::config::codes;
use crate::config::problem::{Place, Problem};
use crate::config::read::Use;
use crate::config::template::{Reference, ServiceProperty};

/// Who needs whom, and where that is said.
type Needs = BTreeMap<String, BTreeMap<String, Place>>;

impl Check<'_> {
    pub(super) fn cycles(&mut self, uses: &[Use]) {
        let mut needs = Needs::new();
        for used in uses {
            let [section, name, ..] = used.path.as_slice() else { continue };
            let Some(kind) = section.strip_suffix('s') else { continue };
            let from = format!("{kind}.{name}");
            let to = match &used.reference {
                Reference::Service(name, ServiceProperty::Address) => format!("service.{name}"),
                Reference::Database(name) => format!("database.{name}"),
                Reference::Cache(name) => format!("cache.{name}"),
                Reference::Bucket(name, _) => format!("bucket.{name}"),
                Reference::Secret(_) => "secrets".to_owned(),
                Reference::Service(..) | Reference::Env(_) | Reference::Stack(_) => continue,
            };
            // A service may be told its own address.
            if from != to || kind != "service" {
                needs.entry(from).or_default().entry(to).or_insert(used.at);
            }
        }
        for (name, service) in &self.config.services {
            for (i, needed) in service.needs.iter().enumerate() {
                let at = self.at(&["services", name.as_str(), "needs", &i.to_string()]);
                let from = needs.entry(format!("service.{name}")).or_default();
                from.entry(format!("service.{needed}")).or_insert(at);
            }
        }
        let keeper = &self.config.secrets.from;
        if keeper.as_str() != "embedded" {
            let at = self.at(&["secrets", "from"]);
            let from = needs.entry("secrets".to_owned()).or_default();
            from.insert(format!("provider.{keeper}"), at);
        }
        for (cycle, at) in circles(needs) {
            let mut shown = cycle.clone();
            shown.extend(cycle.first().cloned());
            let what = format!("these wait for each other: {}", shown.join(" → "));
            let help = if cycle.iter().any(|c| c == "secrets") {
                "give the provider that keeps the secrets its token by `${env.NAME}`"
            } else {
                "let one of them do without the next"
            };
            self.problems.push(Problem::new(codes::CYCLE, at, what).help(help));
        }
    }
}

/// Circles in the graph, each with the place of its first step. No thing is told twice.
fn circles(mut needs: Needs) -> Vec<(Vec<String>, Place)> {
    let mut found = Vec::new();
    loop {
        prune(&mut needs);
        let Some(start) = needs.keys().next().cloned() else { return found };
        // Every thing that is left needs another that is left, so walking must come back to where it was.
        let mut path: Vec<String> = Vec::new();
        let mut seen = BTreeMap::new();
        let mut here = start;
        while !seen.contains_key(&here) {
            seen.insert(here.clone(), path.len());
            path.push(here.clone());
            let Some(next) = needs.get(&here).and_then(|n| n.keys().next()) else { break };
            here = next.clone();
        }
        let circle = path.split_off(seen.get(&here).copied().unwrap_or_default());
        let step = circle.first().zip(circle.get(1).or(circle.first()));
        let at = step.and_then(|(a, b)| needs.get(a)?.get(b)).copied().unwrap_or_default();
        for name in &circle {
            needs.remove(name);
        }
        found.push((circle, at));
    }
}

/// Drops whatever needs nothing that is left, again and again.
fn prune(needs: &mut Needs) {
    let mut needed_by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (from, tos) in needs.iter() {
        for to in tos.keys() {
            needed_by.entry(to.clone()).or_default().push(from.clone());
        }
    }
    let mut gone: Vec<String> =
        needed_by.keys().filter(|name| !needs.contains_key(*name)).cloned().collect();
    let mut done: BTreeSet<String> = BTreeSet::new();
    while let Some(name) = gone.pop() {
        if !done.insert(name.clone()) {
            continue;
        }
        for from in needed_by.get(&name).into_iter().flatten() {
            let Some(left) = needs.get_mut(from) else { continue };
            left.remove(&name);
            if left.is_empty() {
                needs.remove(from);
                gone.push(from.clone());
            }
        }
    }
}
