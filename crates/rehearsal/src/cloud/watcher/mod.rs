//! Vendors that watch from outside, wait for heartbeats, or show a status page. They keep what they are told, as strictly as
//! their descriptions say, and look at nothing: how a monitor is, a rehearsal or a test says.

mod betterstack;
mod cronitor;
mod healthchecks;
mod instatus;
mod uptimerobot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linkflow_model::Timestamp;
use serde_json::{Map, Value};

use super::beside::{Beside, Ground};
use super::endpoints::WatcherEndpoint;

pub(crate) use betterstack::Betterstack;
pub(crate) use cronitor::Cronitor;
pub(crate) use healthchecks::Healthchecks;
pub(crate) use instatus::Instatus;
pub(crate) use uptimerobot::Uptimerobot;

/// A vendor that watches, with what is needed to reach it.
pub(crate) trait Watches: Beside {
    /// How it is reached at `api`.
    fn endpoint(&self, api: String) -> WatcherEndpoint;

    /// From now on its monitor `name` is down, or up. Says whether it has one.
    fn see(&self, _name: &str, _is_down: bool) -> bool {
        false
    }
}

/// Every such vendor, by its name.
pub(crate) fn all(ground: impl Fn(&str) -> Ground) -> Vec<(&'static str, Arc<dyn Watches>)> {
    vec![
        ("uptimerobot", Arc::new(Uptimerobot::new(ground("uptimerobot")))),
        ("betterstack", Arc::new(Betterstack::new(ground("betterstack")))),
        ("cronitor", Arc::new(Cronitor::new(ground("cronitor")))),
        ("healthchecks", Arc::new(Healthchecks::new(ground("healthchecks")))),
        ("instatus", Arc::new(Instatus::new(ground("instatus")))),
    ]
}

/// What a vendor keeps: objects by their ids, in the order in which they were made.
#[derive(Default)]
pub(super) struct Shelf(Mutex<(u64, BTreeMap<u64, Value>)>);

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Value>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what `make` makes of the next number.
    pub(in crate::cloud) fn add(&self, make: impl FnOnce(u64) -> Value) -> Value {
        let mut held = self.lock();
        held.0 += 1;
        let number = held.0;
        let value = make(number);
        held.1.insert(number, value.clone());
        value
    }

    pub(in crate::cloud) fn all(&self) -> Vec<Value> {
        self.lock().1.values().cloned().collect()
    }

    pub(in crate::cloud) fn find(&self, name: &str, id: &str) -> Option<Value> {
        self.lock().1.values().find(|value| is(value, name, id)).cloned()
    }

    /// Changes the one whose field `name` is `id`.
    pub(in crate::cloud) fn change(
        &self,
        name: &str,
        id: &str,
        how: impl FnOnce(&mut Value),
    ) -> Option<Value> {
        let mut held = self.lock();
        let value = held.1.values_mut().find(|value| is(value, name, id))?;
        how(value);
        Some(value.clone())
    }

    /// Removes it; says whether it was there.
    fn remove(&self, name: &str, id: &str) -> bool {
        let mut held = self.lock();
        let before = held.1.len();
        held.1.retain(|_, value| !is(value, name, id));
        held.1.len() < before
    }
}

fn is(value: &Value, name: &str, id: &str) -> bool {
    match &value[name] {
        Value::String(text) => text == id,
        other => other.as_u64().is_some_and(|number| id.parse() == Ok(number)),
    }
}

/// Puts the fields of `from` over those of `into`.
pub(super) fn merge(into: &mut Value, from: &Map<String, Value>) {
    if let Some(object) = into.as_object_mut() {
        object.extend(from.clone());
    }
}

/// The first field of `body` that is none of `known`.
fn unknown<'a>(body: &'a Map<String, Value>, known: &[&str]) -> Option<&'a str> {
    body.keys().map(String::as_str).find(|key| !known.contains(key))
}

/// Page `page` of `rows`, counted from 1.
fn page(rows: Vec<Value>, page: usize, size: usize) -> Vec<Value> {
    rows.into_iter().skip(page.saturating_sub(1).saturating_mul(size)).take(size).collect()
}

pub(super) fn time(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map(|at| at.to_string()).unwrap_or_default()
}
