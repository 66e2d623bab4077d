//! What the worker in front of the edge is told while `up` runs: where services are, and how each place is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::worker_picture;
use linkflow_engine::{Engine, Stop};
use linkflow_model::config::Config;
use linkflow_model::role::Cdn;
use linkflow_model::worker::{WorkerConfig, WorkerPicture};
use linkflow_model::{Clock, Event, EventKind, Level, Moment};
use serde::Serialize;
use tokio::time::sleep;

use super::worker::config_of;

/// How often the world is looked at. It is in memory.
const LOOK: Duration = Duration::from_secs(1);
/// No value is written more often than this, in milliseconds: KV is a minute late anyway.
const APART: u64 = 10_000;
/// One more change may be written after each of these, in milliseconds. The free plan takes 1,000 writes a day from an
/// account: the pictures that are written anew take 360 of them, this 540.
/// <https://developers.cloudflare.com/kv/platform/limits/>
const CHANGE_EVERY: u64 = 160_000;
/// How many changes may be written at once after a quiet time.
const CHANGES_MOST: u64 = 60;
/// A picture is written anew after this long: the worker does not believe one that is five minutes old.
const ANEW: u64 = 240_000;

/// One value, as it was written last.
#[derive(Debug)]
struct Written<T> {
    value: Option<T>,
    /// When it was tried last.
    at: Moment,
}

impl<T: PartialEq> Written<T> {
    /// Nothing yet.
    fn none() -> Self {
        Self { value: None, at: Moment(0) }
    }

    /// Whether `value` is to be written at `now`. `anew`: after how long also when nothing has changed.
    fn is_due(&self, value: &T, now: Moment, anew: Option<u64>) -> bool {
        let Some(held) = &self.value else { return self.at == Moment(0) || self.is_over(now) };
        let changed = held != value || anew.is_some_and(|anew| now.since(self.at) >= anew);
        changed && self.is_over(now)
    }

    fn is_over(&self, now: Moment) -> bool {
        now.since(self.at) >= APART
    }
}

/// The changes that may be written, of both values together.
#[derive(Debug)]
struct Allowance {
    /// How many are left, counted in milliseconds.
    left: u64,
    at: Moment,
}

impl Allowance {
    fn whole(now: Moment) -> Self {
        Self { left: CHANGES_MOST * CHANGE_EVERY, at: now }
    }

    /// Takes one, if there is one at `now`.
    fn take(&mut self, now: Moment) -> bool {
        let grown = self.left.saturating_add(now.since(self.at));
        (self.left, self.at) = (grown.min(CHANGES_MOST * CHANGE_EVERY), now);
        let one = self.left.checked_sub(CHANGE_EVERY);
        self.left = one.unwrap_or(self.left);
        one.is_some()
    }
}

/// Publishes both values whenever they have changed, until it is told to stop.
pub(crate) async fn publish(
    stop: Stop,
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    config: Config,
    cdn: Arc<dyn Cdn>,
) {
    let (mut told, mut seen) = (Written::<WorkerConfig>::none(), Written::<WorkerPicture>::none());
    let (mut said, mut changes) = (BTreeSet::new(), Allowance::whole(clock.now()));
    let services = config.services();
    while stop.or(sleep(LOOK)).await.is_some() {
        let Ok(world) = engine.world().await else { continue };
        let (now, wall) = (clock.now(), clock.wall().0);
        // The moment is part of a value and no change of it.
        let wanted = WorkerConfig { generation: 0, ..config_of(&config, &world, wall) };
        let picture = WorkerPicture { at: 0, ..worker_picture(&services, &world, wall) };
        let mut faults = Vec::new();
        let is_due = !wanted.services.is_empty() && told.is_due(&wanted, now, None);
        if is_due && changes.take(now) {
            let value = WorkerConfig { generation: wall, ..wanted.clone() };
            told.at = now;
            told.value = put(&*cdn, "config", &value, &mut faults).await.then_some(wanted);
        }
        let anew = now.since(seen.at) >= ANEW;
        if seen.is_due(&picture, now, Some(ANEW)) && (anew || changes.take(now)) {
            let value = WorkerPicture { at: wall, ..picture.clone() };
            seen.at = now;
            seen.value = put(&*cdn, "picture", &value, &mut faults).await.then_some(picture);
        }
        // Said once, however often it is tried again.
        for why in faults.into_iter().filter(|why| said.insert(why.clone())) {
            engine.tell(Event::new(clock.wall(), EventKind::Api, Level::Warning, why)).await;
        }
    }
}

/// Whether it was written. Otherwise `faults` has the reason.
async fn put<T: Serialize + Sync>(
    cdn: &dyn Cdn,
    key: &str,
    value: &T,
    faults: &mut Vec<String>,
) -> bool {
    let text = match serde_json::to_string(value) {
        Ok(text) => text,
        Err(why) => {
            faults.push(format!("the worker's {key} cannot be written down: {why}"));
            return false;
        }
    };
    let put = cdn.put_value(key, &text).await;
    faults.extend(put.as_ref().err().map(ToString::to_string));
    put.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_when_it_changes_but_not_too_often_and_a_picture_also_when_it_grows_old() {
        let mut written = Written::none();
        assert!(written.is_due(&"a", Moment(5), None), "the first at once");
        written.at = Moment(5);
        assert!(!written.is_due(&"a", Moment(6), None), "what failed is not tried again at once");
        assert!(written.is_due(&"a", Moment(10_005), None));
        written.value = Some("a");
        assert!(!written.is_due(&"a", Moment(900_000), None));
        assert!(!written.is_due(&"b", Moment(10_004), None));
        assert!(written.is_due(&"b", Moment(10_005), None));
        assert!(!written.is_due(&"a", Moment(240_004), Some(ANEW)));
        assert!(written.is_due(&"a", Moment(240_005), Some(ANEW)));
    }

    #[test]
    fn a_day_of_changes_stays_below_what_an_account_may_write() {
        let mut changes = Allowance::whole(Moment(0));
        let taken = (0..86_400).filter(|second| changes.take(Moment(second * 1_000))).count();
        let day = u64::try_from(taken).unwrap() + 86_400_000 / ANEW;
        assert!((900..1_000).contains(&day), "{day}");
        assert!(!changes.take(Moment(86_399_999)));
        assert!(changes.take(Moment(86_400_000 + CHANGE_EVERY)));
    }
}
