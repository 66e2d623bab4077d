//! One turn of the loop, and the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use linkflow_decide::{Decision, Move, MoveKind, failover};
use linkflow_model::{EventKind, Level, Moment, ProbePicture, ServiceName};
use linkflow_store::Fence;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::run::Errand;
use crate::{Engine, EngineError, RunKind, RunState, Stop, locked};

/// How often the loop turns when nothing wakes it.
const TURN: Duration = Duration::from_millis(200);
/// How long a move that failed waits before it is tried again, at first and at most.
const RETRY_MS: (u64, u64) = (1_000, 30_000);
/// How long a turn waits for another process that acts; the edge serves meanwhile.
const LEASE_PATIENCE: Duration = Duration::from_secs(40);

/// What waits: moves to be tried again, and what has been said of what is held.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    retry: BTreeMap<ServiceName, (Moment, u64)>,
    told: BTreeSet<(Option<ServiceName>, String)>,
}

impl Engine {
    /// Observes, decides, acts and tells, once. Gives what was decided.
    pub async fn turn(&self) -> Result<Decision, EngineError> {
        self.follow_live().await?;
        self.end_orders().await?;
        let world = self.world().await?;
        let now = self.parts.clock.now();
        let decision = failover(&self.services(), &self.parts.policy, &world, now);
        self.tell_held(&decision).await;
        let due: Vec<&Move> = {
            let holding = locked(&self.holding);
            let waits = |m: &&Move| holding.retry.get(&m.service).is_none_or(|(at, _)| now >= *at);
            decision.moves.iter().filter(waits).collect()
        };
        if due.is_empty() {
            return Ok(decision);
        }
        let _acting = self.acting.lock().await;
        let fence = self.take_lease(LEASE_PATIENCE).await?;
        let moved = self.beating(&fence, self.make_moves(&due, &fence)).await;
        self.parts.store.free_lease(&fence).await?;
        moved?;
        Ok(decision)
    }

    /// As long as the answer lives, the loop of this process makes no move of its own and takes nothing up: it leaves the
    /// stack to others. Visitors are led around what is down all the same.
    pub async fn hold_still(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.acting.lock().await
    }

    /// Makes the moves that are still right now that the lease is held: the world may have changed while it was waited for.
    async fn make_moves(&self, due: &[&Move], fence: &Fence) -> Result<(), EngineError> {
        self.resume_held(fence).await?;
        let world = self.world().await?;
        let now = self.parts.clock.now();
        let again = failover(&self.services(), &self.parts.policy, &world, now);
        let still: Vec<&&Move> = due.iter().filter(|m| again.moves.contains_same(m)).collect();
        // Switching visitors takes no time; starting and stopping may, and must not keep the others waiting.
        let ends = join_all(still.into_iter().map(|m| self.make_move(m, fence))).await;
        ends.into_iter().collect()
    }

    async fn make_move(&self, due: &Move, fence: &Fence) -> Result<(), EngineError> {
        let kind = match due.kind {
            MoveKind::Tidy => RunKind::Tidy,
            MoveKind::Settle
            | MoveKind::Failover
            | MoveKind::Failback
            | MoveKind::Drain
            | MoveKind::Asked => RunKind::Move,
        };
        let why = due.plan.stages.last().and_then(|stage| stage.steps.first());
        let why = why.map(|step| step.why.clone()).unwrap_or_default();
        let said = match due.kind {
            MoveKind::Failover => format!("{} moves to {}: {why}", due.service, due.to),
            MoveKind::Drain => format!("{} leaves for {}: {why}", due.service, due.to),
            MoveKind::Asked => format!("{} goes to {}: {why}", due.service, due.to),
            MoveKind::Failback => format!("{} moves back to {}: {why}", due.service, due.to),
            MoveKind::Settle => format!("{} starts on {}: {why}", due.service, due.to),
            MoveKind::Tidy => format!("{} is stopped where it is not due: {why}", due.service),
        };
        let errand =
            Errand { kind, why: said.clone(), plan: &due.plan, release: None, begun: None };
        let end = self.start(errand, fence).await?;
        if end.state != RunState::Done {
            self.wait_with(&due.service);
            return Ok(());
        }
        locked(&self.holding).retry.remove(&due.service);
        let (kind, level) = match due.kind {
            MoveKind::Failover => (EventKind::Failover, Level::Warning),
            MoveKind::Failback => (EventKind::Failback, Level::Notice),
            MoveKind::Drain | MoveKind::Asked => (EventKind::Control, Level::Notice),
            MoveKind::Settle | MoveKind::Tidy => (EventKind::Control, Level::Info),
        };
        self.tell(self.event(kind, level, said).about(&due.service, &due.to)).await;
        Ok(())
    }

    /// After a failed move: not again at once.
    fn wait_with(&self, service: &ServiceName) {
        let now = self.parts.clock.now();
        let mut holding = locked(&self.holding);
        let (first, longest) = RETRY_MS;
        let wait = holding.retry.get(service).map_or(first, |(_, wait)| (wait * 2).min(longest));
        holding.retry.insert(service.clone(), (now.plus(wait), wait));
    }

    /// Says what is held, once for each reason until it is lifted. Durations in the reason do not make it a new one.
    async fn tell_held(&self, decision: &Decision) {
        let key = |held: &linkflow_model::plan::Held| {
            let plain: String = held.why.chars().filter(|c| !c.is_ascii_digit()).collect();
            (held.service.clone(), plain)
        };
        let fresh: Vec<_> = {
            let mut holding = locked(&self.holding);
            let now: BTreeSet<_> = decision.held.iter().map(key).collect();
            let fresh = decision.held.iter().filter(|held| !holding.told.contains(&key(held)));
            let fresh = fresh.cloned().collect();
            holding.told = now;
            fresh
        };
        for held in fresh {
            let mut event = self.event(
                EventKind::Held,
                Level::Alarm,
                match &held.service {
                    Some(service) => format!("{service} waits: {}", held.why),
                    None => held.why,
                },
            );
            event.service = held.service;
            self.tell(event).await;
        }
    }

    /// The loop, until `stop`: looks at providers, turns when something changes, takes up what was cut off.
    pub async fn run(self: Arc<Self>, stop: Stop) {
        let looking = async {
            loop {
                self.look().await;
                sleep(Duration::from_millis(self.parts.policy.look_every_ms)).await;
            }
        };
        let turning = async {
            self.try_to("take up what was cut off", self.resume().await.map(drop));
            let mut probes = self.parts.probes.clone();
            loop {
                self.try_to("turn", self.turn().await.map(drop));
                news(&mut probes).await;
            }
        };
        // Visitors are led around what is down, and where another process leads them, also while a move holds up the
        // turns: a slow one of this process, or one that waits for the lease.
        let routing = async {
            let mut probes = self.parts.probes.clone();
            loop {
                news(&mut probes).await;
                let world = self.world().await.map(drop);
                if world.is_ok() {
                    self.pulse.beat();
                }
                self.try_to("publish routes", world);
            }
        };
        // A first look before the first turn, so that nothing is decided on nothing.
        if stop.or(self.look()).await.is_some() {
            Box::pin(stop.or(async { tokio::join!(looking, turning, routing) })).await;
        }
    }

    /// Says in the log why something did not work; the loop goes on.
    fn try_to(&self, what: &str, outcome: Result<(), EngineError>) {
        match outcome {
            Ok(()) | Err(EngineError::Busy(_)) => {}
            Err(error) => warn!("could not {what}: {error}"),
        }
    }
}

/// Waits until the probes say something new, but not for long: the store may say something new, too.
async fn news(probes: &mut watch::Receiver<Arc<ProbePicture>>) {
    // When nobody probes any more, there is the time alone.
    let changed = async {
        if probes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    drop(timeout(TURN, changed).await);
}

/// Whether a decision still holds a move, whatever words it uses for it now.
trait ContainsSame {
    fn contains_same(&self, other: &Move) -> bool;
}

impl ContainsSame for Vec<Move> {
    fn contains_same(&self, other: &Move) -> bool {
        self.iter().any(|m| m.service == other.service && m.kind == other.kind && m.to == other.to)
    }
}
