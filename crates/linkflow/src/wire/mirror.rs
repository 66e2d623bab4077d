//! What vendors hold, made as the config and the store ask: by a command, and for the status page by `up` itself as soon as
//! something changes.

use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::{WatchChanges, watchers};
use linkflow_engine::Stop;
use linkflow_model::config::Config;
use linkflow_model::role::{Watch, WatchSort, Watcher, WatcherLook};
use linkflow_model::{Clock, Event, EventKind, Fault, FaultKind, Level, ProviderName, Timestamp};
use linkflow_store::{Store, StoreError};
use tracing::warn;

use super::watchers::{Asked, Writing};
use super::{OpenError, OpenOptions, Stack};

/// How often it is looked whether something happened.
const LOOK: Duration = Duration::from_secs(1);

/// After so many looks it is compared again though nothing happened: somebody may have changed it there.
const SELDOM: u32 = 600;

/// After so many looks it is tried again where a vendor did not answer.
const RETRY: u32 = 60;

/// What differs at one vendor.
///
/// # Errors
/// When it cannot be asked.
pub(crate) async fn differences(
    watcher: &dyn WatcherLook,
    asked: &Asked,
) -> Result<(ProviderName, WatchChanges), Fault> {
    let held = asked.known(watcher.name(), watcher.held().await?);
    let wanted = asked.wanted(watcher.name(), &held);
    Ok((watcher.name().clone(), watchers(&wanted, &held, |watch| watcher.fit(watch))))
}

/// Changes what differs at one vendor, until it refuses. Removals come first: a plan has only so many places. A webhook comes
/// last, for the monitors that tell it have to be there; one that is refused is told as left out, as there are plans without.
pub(crate) async fn change(
    watcher: &dyn Watcher,
    asked: &Asked,
) -> ((ProviderName, WatchChanges), Option<Fault>) {
    let mut done = WatchChanges::default();
    let name = watcher.name().clone();
    let due = match differences(watcher, asked).await {
        Ok((_, due)) => due,
        Err(fault) => return ((name, done), Some(fault)),
    };
    done.left_out = due.left_out;
    let fault = async {
        for held in due.remove {
            watcher.remove(&held).await?;
            done.remove.push(held);
        }
        let changed = due.change.into_iter().map(|(held, watch)| (Some(held), watch));
        let made = due.create.into_iter().map(|watch| (None, watch));
        let mut all: Vec<_> = changed.chain(made).collect();
        all.sort_by_key(|(_, watch)| watch.what.sort() == WatchSort::Hook);
        for (held, watch) in all {
            match watcher.ensure(&watch, held.as_ref()).await {
                Ok(()) => match held {
                    Some(held) => done.change.push((held, watch)),
                    None => done.create.push(watch),
                },
                Err(fault) if is_refused(&watch, &fault) => {
                    let why = format!("{fault}; `webhook = false` of the provider asks for none");
                    done.left_out.push((watch, why));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    };
    let fault = fault.await.err();
    ((name, done), fault)
}

/// Whether `watch` is a webhook that the vendor will not have, and nothing else of it is in doubt.
fn is_refused(watch: &Watch, fault: &Fault) -> bool {
    let will_not =
        matches!(fault.kind, FaultKind::Denied | FaultKind::Exhausted | FaultKind::Unsupported);
    will_not && watch.what.sort() == WatchSort::Hook
}

/// The vendors that show the status page as well.
pub(crate) struct Mirror {
    watchers: Vec<Arc<dyn Watcher>>,
    config: Config,
}

impl Mirror {
    /// Opens those that `status_page.also_on` names; `None` where it names nobody. Nothing is asked of a vendor yet.
    ///
    /// # Errors
    /// What is missing, and what helps.
    pub(crate) async fn open(
        config: &Config,
        options: &OpenOptions,
    ) -> Result<Option<Self>, OpenError> {
        let page = config.status_page.as_ref().filter(|page| !page.also_on.is_empty());
        let Some(page) = page else { return Ok(None) };
        let mut watchers = Writing::open(config, options).await?.watchers;
        watchers.retain(|watcher| page.also_on.contains(watcher.name()));
        Ok(Some(Self { watchers, config: config.clone() }))
    }

    /// Keeps them in step in a task of `stack`.
    pub(crate) fn start(self, stack: &Stack) {
        for watcher in self.watchers {
            let (store, clock) = (Arc::clone(&stack.store), Arc::clone(&stack.clock));
            let config = self.config.clone();
            stack.tasks.start("status page at a vendor", |stop| async move {
                keep(stop, &*watcher, &config, &*store, &*clock).await;
            });
        }
    }
}

/// Keeps one vendor in step. What is there already is not written again, so a restart repeats nothing. An event tells when it
/// begins to fail, and when it works again.
async fn keep(
    stop: Stop,
    watcher: &dyn Watcher,
    config: &Config,
    store: &dyn Store,
    clock: &dyn Clock,
) {
    let told = |level, said: String| Event::new(clock.wall(), EventKind::Page, level, said);
    let (mut newest, mut wait, mut works) = (None, 0_u32, true);
    // When announced work begins or ends next: nothing has to happen for that.
    let mut turn: Option<Timestamp> = None;
    loop {
        let now = store.newest_event().await.ok();
        let is_turn = turn.is_some_and(|turn| turn <= clock.wall());
        if works && (now != newest || is_turn) || wait == 0 {
            newest = now;
            let fault = match seen(config, store, clock.wall()).await {
                Ok(asked) => {
                    turn = asked.next_change();
                    change(watcher, &asked).await.1.map(|fault| fault.to_string())
                }
                Err(error) => Some(error.to_string()),
            };
            wait = if fault.is_none() { SELDOM } else { RETRY };
            let worked = std::mem::replace(&mut works, fault.is_none());
            let event = match fault {
                Some(said) if worked => Some(told(
                    Level::Warning,
                    format!("the page at {} is old: {said}", watcher.name()),
                )),
                None if !worked => {
                    Some(told(Level::Info, format!("the page at {} is kept again", watcher.name())))
                }
                _ => None,
            };
            if let Some(event) = event
                && let Err(error) = store.append(&event).await
            {
                warn!(%error, "an event could not be kept");
            }
        }
        wait = wait.saturating_sub(1);
        if stop.or(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

/// What is asked of vendors now.
async fn seen(config: &Config, store: &dyn Store, now: Timestamp) -> Result<Asked, StoreError> {
    let mut asked = Asked::of(config);
    asked.learn_from(store, now).await?;
    Ok(asked)
}
