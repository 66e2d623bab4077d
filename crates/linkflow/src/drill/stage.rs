//! What a rehearsal stands on: the cloud, the stack on it, and everything that is said meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linkflow_engine::{Engine, EngineError, RunEnd, RunKind, RunState, Stop};
use linkflow_model::{Clock, Event, ImageRef, ProviderName, ServiceName, World};
use linkflow_rehearsal::cloud::Cloud;
use linkflow_rehearsal::ledger::{Ledger, LedgerCount, LedgerError, Span};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use super::cast::Cast;
use super::killed::Other;
use super::show::Show;
use crate::wire::Stack;
use crate::wire::releases::ReleaseError;

/// How often the world is looked at while something is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a run waits for whoever acts at the moment.
const LEASE: Duration = Duration::from_secs(30);

/// The timer's period in the sample app, in milliseconds.
const PERIOD_MS: u64 = 1_000;

/// A stack on its simulated providers.
pub(crate) struct Stage<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) stack: &'a Stack,
    pub(crate) cast: Cast,
    pub(crate) show: Show,
    pub(crate) rate: u32,
    pub(crate) seed: u64,
    pub(crate) other: Other,
    heard: Arc<Mutex<Vec<Event>>>,
    ledger: PathBuf,
}

impl<'a> Stage<'a> {
    /// Listens to what the stack says from now on.
    pub(crate) fn new(
        cloud: &'a Cloud,
        stack: &'a Stack,
        cast: Cast,
        show: Show,
        (rate, seed): (u32, u64),
        other: Other,
    ) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ledger = cloud.endpoints().ledger;
        let (mut listener, book) = (stack.engine.listen(), Arc::clone(&heard));
        let teller = show.clone();
        stack.tasks.start("rehearsal-heard", async move |stop: Stop| {
            while let Some(next) = stop.or(listener.recv()).await {
                match next {
                    Ok(event) => {
                        teller.event(&event);
                        book.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                    }
                    Err(RecvError::Lagged(missed)) => {
                        teller.line(&format!("  {missed} events were said too fast to be shown"));
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Self { cloud, stack, cast, show, rate, seed, other, heard, ledger }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.stack.engine
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.stack.clock
    }

    /// What was said so far.
    pub(crate) fn heard(&self) -> Vec<Event> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The world, as it is known now.
    pub(crate) async fn world(&self) -> Result<World, String> {
        self.engine().world().await.map_err(|error| error.to_string())
    }

    /// Waits until `amiss` finds nothing any more, but no longer than `limit`. Gives how long it took in milliseconds,
    /// or else what is still amiss.
    pub(crate) async fn until(
        &self,
        limit: Duration,
        amiss: impl Fn(&World) -> Option<String>,
    ) -> Result<u64, String> {
        let began = self.clock().now();
        loop {
            let left = amiss(&self.world().await?);
            let waited = self.clock().now().since(began);
            match left {
                None => return Ok(waited),
                Some(why) if u128::from(waited) >= limit.as_millis() => return Err(why),
                Some(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Rolls out every service with the image `tag` in place of its own, or only `one` of them.
    pub(crate) async fn deploy(
        &self,
        tag: Option<&str>,
        one: Option<&ServiceName>,
        kind: RunKind,
    ) -> Result<RunEnd, String> {
        let mut images: BTreeMap<ServiceName, ImageRef> = BTreeMap::new();
        for spec in &self.cast.services {
            let Some(tag) = tag.filter(|_| one.is_none_or(|name| *name == spec.name)) else {
                continue;
            };
            let image = ImageRef { tag: Some(tag.to_owned()), digest: None, ..spec.image.clone() };
            images.insert(spec.name.clone(), image);
        }
        let stack = self.stack;
        let said = |error: EngineError| error.to_string();
        let told = |errors: Vec<ReleaseError>| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let live = self.engine().live().await.map_err(said)?;
        let services = match &live {
            Some(live) => stack.releases.releases_like(live, &images).await,
            None => stack.releases.service_releases(&images).await,
        };
        let services = services.map_err(told)?;
        let why = match (tag, one) {
            (Some(tag), Some(one)) => format!("rehearse {one} {tag}"),
            (Some(tag), None) => format!("rehearse {tag}"),
            (None, _) => "rehearse".to_owned(),
        };
        let draft = stack.releases.draft(services, &why).await.map_err(said)?;
        self.engine().carry_out(&draft, kind, LEASE).await.map_err(said)
    }

    /// What keeps the stack from being settled: every service is where it prefers to be, and requests go there.
    pub(crate) fn unsettled(&self, world: &World) -> Option<String> {
        self.cast.unsettled(world).or_else(|| {
            let stats = self.stack.edge.stats();
            let at_home = |name: &ServiceName, provider: &ProviderName| {
                let spec = self.cast.services.iter().find(|spec| spec.name == *name);
                spec.and_then(|spec| spec.runs_on.first()) == Some(provider)
            };
            let mut shut = stats.iter().filter(|t| !t.usable && at_home(&t.service, &t.provider));
            shut.next().map(|t| format!("the edge leaves {} on {} alone", t.service, t.provider))
        })
    }

    /// Rolls out the first release and starts the loop.
    pub(crate) async fn set_up(&self, limit: Duration) -> Result<(), String> {
        let end = self.deploy(None, None, RunKind::Apply).await?;
        if end.state != RunState::Done {
            let failed = end.failed.first().map(|step| {
                format!(
                    "{}: {}",
                    step.step.action,
                    step.said.as_deref().unwrap_or("no reason given")
                )
            });
            return Err(format!("the first release failed; {}", failed.unwrap_or_default()));
        }
        self.stack.run_loop();
        let settled = self.until(limit, |world| self.unsettled(world)).await;
        settled.map(|_| ()).map_err(|why| format!("the stack did not settle: {why}"))
    }

    /// Counts the ledger over `span`, and finds those of `keys` that it does not hold.
    pub(crate) async fn count(
        &self,
        span: Span,
        keys: Vec<String>,
    ) -> Result<(LedgerCount, Vec<String>), String> {
        let path = self.ledger.clone();
        let count = move || -> Result<_, LedgerError> {
            let ledger = Ledger::open(&path)?;
            let counted = ledger.count(span, PERIOD_MS)?;
            Ok((counted, ledger.missing(keys.iter().map(String::as_str))?))
        };
        blocking(count).await
    }

    /// The release of each migration that was really run, oldest first.
    pub(crate) async fn migrations(&self) -> Result<Vec<String>, String> {
        let path = self.ledger.clone();
        let read = move || Ledger::open(&path)?.migrations();
        let rows = blocking(read).await?;
        Ok(rows.into_iter().map(|(release, _)| release).collect())
    }

    /// Whether nobody stands still with the ledger's write lock in hand.
    pub(crate) async fn is_ledger_free(&self) -> Result<bool, String> {
        let path = self.ledger.clone();
        blocking(move || Ledger::open(&path)?.is_writable(Duration::from_millis(250))).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
