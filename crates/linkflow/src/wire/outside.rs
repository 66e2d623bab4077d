//! What vendors that watch from outside see: asked of them seldom, and at once when a hook of theirs comes.
//!
//! A vendor's word is a witness's: that all was well minutes ago says nothing of now, so only what is down is told.

pub(crate) mod address;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_engine::Stop;
use linkflow_model::config::Config;
use linkflow_model::role::{Vantage, WatcherLook};
use linkflow_model::{Clock, Event, EventKind, Level, Looked, Moment, ProviderName};
use linkflow_monitor::Witness;
use linkflow_providers::kit::Kit;
use linkflow_store::Store;
use linkflow_web::hook::{Came, Hooks, Signed};
use linkflow_web::order::address::Renewed;
use tokio::sync::{Notify, mpsc, watch};

use super::secrets::Secrets;
use super::state::Key;
use super::{Listen, OpenOptions, Stack, errors, watchers};

/// The kinds that look at monitors, and send hooks of what they see.
const KINDS: [&str; 3] = ["uptimerobot", "betterstack", "cronitor"];

/// How often it is looked whether an address was made anew.
const EVERY: Duration = Duration::from_secs(2);

/// For how long a vendor's word is good, in ms: some times as long as between two that are asked for while something is down.
const GOOD_MS: u64 = 180_000;

/// When a vendor is asked again.
#[derive(Clone, Copy)]
struct Pace {
    /// While all is well there: a hook may have been lost.
    seldom: Duration,
    /// While something is down there, or the vendor did not answer.
    often: Duration,
    /// After a hook: what it is of may not be in the vendor's own answers yet.
    hooked: Duration,
    /// At the soonest, however many hooks come.
    least: Duration,
}

const PACE: Pace = Pace {
    seldom: Duration::from_secs(300),
    often: Duration::from_secs(60),
    hooked: Duration::from_secs(30),
    least: Duration::from_secs(10),
};

/// The providers that look at monitors of `config`, and what of it each looks at.
pub(crate) fn lookers(config: &Config) -> BTreeMap<ProviderName, BTreeSet<String>> {
    let mut all: BTreeMap<ProviderName, BTreeSet<String>> = BTreeMap::new();
    for (name, monitor) in &config.monitors {
        for provider in &monitor.also_on {
            let kind = config.provider(provider).map(|held| held.kind().word);
            if kind.is_some_and(|kind| KINDS.contains(&kind)) {
                all.entry(provider.clone()).or_default().insert(format!("monitor.{name}"));
            }
        }
    }
    all
}

/// A vendor that is asked.
#[derive(Clone)]
struct Vendor {
    name: ProviderName,
    look: Arc<dyn WatcherLook>,
    bell: Arc<Notify>,
}

/// What vendors see, and what takes their hooks.
pub(crate) struct Outside {
    /// Takes hooks.
    pub(crate) hooks: Arc<Hooks>,
    vendors: Vec<Vendor>,
    /// Who sends signed hooks, until somebody listens.
    tellers: Mutex<Vec<errors::Teller>>,
    /// The names of all that have an address.
    names: Vec<String>,
    subjects: BTreeSet<String>,
    key: Key,
    keys: watch::Sender<BTreeMap<String, String>>,
}

impl Outside {
    /// Nothing is asked, and no hook is taken, before [`Outside::start`].
    pub(super) fn open(
        config: &Config,
        options: &OpenOptions,
        key: Key,
        secrets: &Secrets,
        kit: &Kit,
    ) -> Self {
        let named = lookers(config);
        let serves = options.listen != Listen::Nowhere && !named.is_empty();
        let opened =
            if serves { watchers::apart(config, options, secrets, kit) } else { Vec::new() };
        let mut vendors = Vec::new();
        for (name, opened) in opened.into_iter().filter(|(name, _)| named.contains_key(name)) {
            match opened {
                Ok(look) => vendors.push(Vendor { name, look, bell: Arc::default() }),
                Err(error) => tracing::warn!("{name} is not asked what it sees: {error}"),
            }
        }
        let subjects = named.into_values().flatten().collect();
        let tellers = match options.listen {
            Listen::Nowhere => Vec::new(),
            Listen::At { .. } => errors::open(config, options, secrets, kit),
        };
        Self::of(vendors, tellers, subjects, key)
    }

    fn of(
        vendors: Vec<Vendor>,
        tellers: Vec<(errors::Teller, Signed)>,
        subjects: BTreeSet<String>,
        key: Key,
    ) -> Self {
        let (keys, told) = watch::channel(BTreeMap::new());
        let bells = vendors.iter().map(|one| (one.name.to_string(), Arc::clone(&one.bell)));
        let bells: BTreeMap<_, _> = bells.collect();
        let (tellers, signed): (Vec<_>, Vec<_>) = tellers.into_iter().unzip();
        let signed = tellers.iter().map(|one| one.name.to_string()).zip(signed);
        let signed: BTreeMap<_, _> = signed.collect();
        let names = bells.keys().chain(signed.keys()).cloned().collect();
        let hooks = Arc::new(Hooks::new(told, bells).with_signed(signed));
        Self { hooks, vendors, tellers: Mutex::new(tellers), names, subjects, key, keys }
    }

    /// Who sends signed hooks, for whoever listens to them. Nobody, the second time.
    pub(super) fn tellers(&self) -> Vec<errors::Teller> {
        std::mem::take(&mut *self.tellers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads which addresses hold now.
    async fn learn(&self, store: &dyn Store) {
        match Renewed::read(store).await {
            Ok(renewed) => {
                let fresh = self.names.iter();
                let fresh = fresh.map(|name| {
                    (name.clone(), renewed.key_of(name, |label| self.key.derive(label)))
                });
                let fresh: BTreeMap<_, _> = fresh.collect();
                self.keys.send_if_modified(|held| {
                    let is_new = *held != fresh;
                    *held = fresh;
                    is_new
                });
            }
            Err(error) => tracing::warn!("addresses of hooks cannot be read: {error}"),
        }
    }
}

/// Learns at which addresses hooks are taken, in a task of the stack.
pub(super) fn take(stack: &Stack) {
    let (outside, store) = (Arc::clone(&stack.outside), Arc::clone(&stack.store));
    if outside.names.is_empty() {
        return;
    }
    stack.tasks.start("hook addresses", async move |stop: Stop| {
        outside.learn(&*store).await;
        while stop.or(tokio::time::sleep(EVERY)).await.is_some() {
            outside.learn(&*store).await;
        }
    });
}

/// Asks vendors in tasks of the stack; gives their word, where there are any.
pub(super) fn start(stack: &Stack) -> Option<Witness> {
    let outside = Arc::clone(&stack.outside);
    if outside.vendors.is_empty() {
        return None;
    }
    let (words, witness) = Words::new(&outside, &stack.clock);
    for vendor in outside.vendors.clone() {
        let (engine, words) = (Arc::clone(&stack.engine), words.clone());
        let (store, clock) = (Arc::clone(&stack.store), Arc::clone(&stack.clock));
        stack.tasks.start("what a vendor sees", async move |stop: Stop| {
            let (tell, mut told) = mpsc::channel(16);
            let telling = async {
                while let Some(event) = told.recv().await {
                    engine.tell(event).await;
                }
            };
            let following = async {
                let hooked = was_hooked(&*store, &*clock, &vendor.name).await;
                words.follow(&vendor, PACE, hooked, tell).await;
            };
            stop.or(async { tokio::join!(following, telling) }).await;
        });
    }
    Some(witness)
}

/// Whether a hook of `provider` came so lately that what it is of may not be in the vendor's own answers yet: the process that
/// took it may have been killed over it.
async fn was_hooked(store: &dyn Store, clock: &dyn Clock, provider: &ProviderName) -> bool {
    match Came::read(store, provider.as_str()).await {
        Ok(came) => {
            let ago = came.map(|at| Duration::from_millis(clock.wall().0.saturating_sub(at.0)));
            ago.is_some_and(|ago| ago < 2 * PACE.hooked)
        }
        Err(error) => {
            tracing::warn!("when a hook of {provider} came is not known: {error}");
            false
        }
    }
}

/// What each vendor said last: when it was asked, and what is down there.
type Said = BTreeMap<ProviderName, (Moment, BTreeSet<String>)>;

/// The word of all vendors. A clone is the same.
#[derive(Clone)]
struct Words {
    said: Arc<Mutex<Said>>,
    subjects: Arc<BTreeSet<String>>,
    clock: Arc<dyn Clock>,
    hurry: mpsc::Sender<String>,
}

#[async_trait]
impl Vantage for Words {
    async fn look(&self, subject: &str, _: Duration) -> Looked {
        let now = self.clock.now();
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let sees = |(asked, down): &(Moment, BTreeSet<String>)| {
            now.since(*asked) <= GOOD_MS && down.contains(subject)
        };
        let who: Vec<&str> =
            said.iter().filter(|(_, said)| sees(said)).map(|(name, _)| name.as_str()).collect();
        match who.as_slice() {
            [] => Looked::Blind,
            who => Looked::Silent { why: format!("down, as seen by {}", who.join(" and ")) },
        }
    }
}

impl Words {
    fn new(outside: &Outside, clock: &Arc<dyn Clock>) -> (Self, Witness) {
        let (hurry, hurried) = mpsc::channel(64);
        let words = Self {
            said: Arc::default(),
            subjects: Arc::new(outside.subjects.clone()),
            clock: Arc::clone(clock),
            hurry,
        };
        let (who, subjects) = (Arc::new(words.clone()) as _, outside.subjects.clone());
        (words, Witness { who, subjects, hurry: hurried })
    }

    /// Asks `vendor` again and again, sooner when its bell rings or it was `hooked` just before, and tells what is new.
    async fn follow(
        &self,
        vendor: &Vendor,
        pace: Pace,
        mut hooked: bool,
        tell: mpsc::Sender<Event>,
    ) {
        let mut answers = true;
        loop {
            let told = self.ask(vendor).await;
            let wait = match (&told, hooked) {
                (_, true) => pace.hooked,
                (Ok((false, _)), false) => pace.seldom,
                (Ok((true, _)) | Err(_), false) => pace.often,
            };
            let mut say = Vec::new();
            match told {
                Ok((_, changes)) => {
                    if !answers {
                        let again = format!("{} says again what it sees", vendor.name);
                        say.push((Level::Notice, again));
                    }
                    say.extend(changes.into_iter().map(|change| (Level::Notice, change)));
                    answers = true;
                }
                Err(why) if answers => {
                    say.push((Level::Warning, why));
                    answers = false;
                }
                Err(_) => {}
            }
            for (level, message) in say {
                let event = Event::new(self.clock.wall(), EventKind::Api, level, message);
                // Whoever listens ends with us.
                drop(tell.send(event).await);
            }
            tokio::time::sleep(pace.least).await;
            let rest = wait.saturating_sub(pace.least);
            hooked = tokio::time::timeout(rest, vendor.bell.notified()).await.is_ok();
        }
    }

    /// Asks `vendor` what it sees. Gives whether something of ours is down there, and what is new of that, in words.
    async fn ask(&self, vendor: &Vendor) -> Result<(bool, Vec<String>), String> {
        let name = &vendor.name;
        let told = vendor.look.told().await;
        let told = told.map_err(|fault| format!("{name} does not say what it sees: {fault}"))?;
        let down = told.into_iter().filter(|told| told.is_down);
        let down = down.map(|told| format!("monitor.{}", told.name));
        let down: BTreeSet<String> =
            down.filter(|subject| self.subjects.contains(subject)).collect();
        let is_down = !down.is_empty();
        let fresh = (self.clock.now(), down.clone());
        let before = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            said.insert(name.clone(), fresh).map(|(_, before)| before).unwrap_or_default()
        };
        let mut changes = Vec::new();
        for subject in before.symmetric_difference(&down) {
            let how = if down.contains(subject) { "down" } else { "up again" };
            changes.push(format!("{name} sees {subject} {how}"));
            // What does not fit is looked at in its turn.
            drop(self.hurry.try_send(subject.clone()));
        }
        Ok((is_down, changes))
    }
}

#[cfg(test)]
mod tests;
