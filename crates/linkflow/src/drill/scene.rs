//! One scenario as it happens: visitors ask all the while, faults come and go, and what follows is noted.

use std::collections::BTreeMap;
use std::time::Duration;

use linkflow_engine::Stop;
use linkflow_model::{Event, EventKind, Level, Moment, ProviderName, Timestamp, World};
use linkflow_rehearsal::cloud::{Asked, Trouble};
use linkflow_rehearsal::ledger::Span;
use linkflow_rehearsal::load::{Load, Running, Sample};
use linkflow_rehearsal::report::measure::acknowledged;
use linkflow_rehearsal::report::{
    AskedLine, Check, Expectations, FaultSpan, Observed, Return, RolloutLine, ScenarioResult, Told,
    measure,
};
use tokio::time::sleep;

use super::stage::Stage;

/// Every so many requests is a write.
pub(crate) const WRITE_EVERY: u32 = 10;

/// How long a visitor waits.
pub(crate) const VISITOR_WAITS: Duration = Duration::from_secs(10);

/// How long visitors ask before anything happens.
const BASELINE: Duration = Duration::from_millis(1_000);

/// How long visitors ask after everything is over: long enough that a whole good second is seen.
const TAIL: Duration = Duration::from_millis(1_300);

/// How often a fault is set anew when it has frozen somebody who writes.
const FREEZE_TRIES: u32 = 40;

/// A scenario that runs.
pub(crate) struct Scene<'a> {
    pub(crate) stage: &'a Stage<'a>,
    load: Running,
    from: Moment,
    from_wall: Timestamp,
    heard_before: usize,
    fault: Option<FaultSpan>,
    back: Option<Return>,
    pub(crate) wanted: Expectations,
    /// How releases got out.
    pub(crate) rollouts: Vec<RolloutLine>,
    asked_before: BTreeMap<ProviderName, Asked>,
    judges: Vec<Judge>,
}

/// An expectation that is held against what visitors met.
type Judge = Box<dyn Fn(&[Sample]) -> Check + Send>;

impl<'a> Scene<'a> {
    /// Lets visitors come, and waits for the first state in which everything is well.
    pub(crate) async fn open(stage: &'a Stage<'a>) -> Result<Self, String> {
        let load = Load {
            target: stage.stack.edge.public(),
            host: stage.cast.host.clone(),
            rate: stage.rate,
            write_every: WRITE_EVERY,
            timeout: VISITOR_WAITS,
            seed: stage.seed,
        };
        let heard_before = stage.heard().len();
        let (from, from_wall) = (stage.clock().now(), stage.clock().wall());
        let load = load.start(stage.clock().clone());
        let (mut live, show) = (load.live(), stage.show.clone());
        stage.stack.tasks.start("rehearsal-live", async move |stop: Stop| {
            while let Some(Ok(())) = stop.or(live.changed()).await {
                show.load(&live.borrow_and_update());
            }
        });
        let wanted = Expectations { failed_idempotent_at_most: Some(0), ..Expectations::default() };
        let scene = Self {
            stage,
            load,
            from,
            from_wall,
            heard_before,
            fault: None,
            back: None,
            wanted,
            rollouts: Vec::new(),
            asked_before: stage.cloud.asked(),
            judges: Vec::new(),
        };
        stage.until(Duration::from_secs(30), |world| stage.unsettled(world)).await?;
        sleep(BASELINE).await;
        Ok(scene)
    }

    /// How long the scenario has lasted, in milliseconds.
    pub(crate) fn elapsed(&self) -> u64 {
        self.stage.clock().now().since(self.from)
    }

    /// What was said since the scenario began.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.stage.heard().split_off(self.heard_before)
    }

    /// Sets a fault at each of `providers`, and counts from here: `counted` is the one that visitors ought to leave.
    pub(crate) async fn strike(
        &mut self,
        providers: impl IntoIterator<Item = &ProviderName> + Clone,
        trouble: Trouble,
        counted: Option<(&ProviderName, bool)>,
    ) -> Result<(), String> {
        let at = self.stage.clock().now();
        if let Some((provider, drives_off)) = counted {
            let provider = provider.clone();
            self.fault = Some(FaultSpan { at, cleared: None, provider, service: None, drives_off });
        }
        self.set(providers.clone(), Some(trouble));
        let names: Vec<String> = providers.clone().into_iter().map(ToString::to_string).collect();
        self.tell(
            counted.map(|(p, _)| p),
            format!("rehearsal: {} {}", names.join(", "), word(trouble)),
        )
        .await;
        if trouble != Trouble::Hung {
            return Ok(());
        }
        // A process that was stopped within a transaction would keep every other one from writing: no provider's fault
        // does that to a database elsewhere, so it may go on for a moment and is stopped again.
        for _ in 0..FREEZE_TRIES {
            if self.stage.is_ledger_free().await? {
                return Ok(());
            }
            self.set(providers.clone(), None);
            sleep(Duration::from_millis(7)).await;
            self.set(providers.clone(), Some(trouble));
        }
        Err("a stopped process holds the ledger".to_owned())
    }

    /// Tells what was done to providers: it belongs into the timeline.
    async fn tell(&self, provider: Option<&ProviderName>, message: String) {
        let at = self.stage.clock().wall();
        let mut event = Event::new(at, EventKind::Fault, Level::Notice, message);
        event.provider = provider.cloned();
        self.stage.engine().tell(event).await;
    }

    fn set<'p>(
        &self,
        providers: impl IntoIterator<Item = &'p ProviderName>,
        trouble: Option<Trouble>,
    ) {
        for provider in providers {
            let known = self.stage.cloud.set_fault(provider, None, trouble);
            debug_assert!(known, "{provider} is part of the cloud");
        }
    }

    /// Lifts every fault, and counts the way back from here: to answers, or to news, from `back`.
    pub(crate) async fn clear(&mut self, back: Option<Return>) {
        if let Some(fault) = &mut self.fault {
            fault.cleared = Some(self.stage.clock().now());
        }
        self.back = back;
        self.stage.cloud.clear_faults();
        self.tell(None, "rehearsal: every fault is lifted".to_owned()).await;
    }

    /// Lifts the faults of some providers, and counts nothing.
    pub(crate) async fn lift<'p>(
        &self,
        providers: impl IntoIterator<Item = &'p ProviderName> + Clone,
    ) {
        self.set(providers.clone(), None);
        let names: Vec<String> = providers.into_iter().map(ToString::to_string).collect();
        self.tell(None, format!("rehearsal: {} can run again", names.join(", "))).await;
    }

    /// Waits until `amiss` finds nothing; the outcome is an expectation.
    pub(crate) async fn expect(
        &mut self,
        what: &str,
        within: Duration,
        amiss: impl Fn(&World) -> Option<String>,
    ) {
        let seconds = |ms: u64| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100);
        let outcome = self.stage.until(within, amiss).await;
        let expected =
            format!("within {}", seconds(u64::try_from(within.as_millis()).unwrap_or(0)));
        let kept = outcome.is_ok();
        let measured = outcome.map_or_else(|why| why, seconds);
        self.note(what, &expected, &measured, kept);
    }

    /// Notes an expectation and what was measured.
    pub(crate) fn note(&mut self, what: &str, expected: &str, measured: &str, kept: bool) {
        let (what, expected, measured) =
            (what.to_owned(), expected.to_owned(), measured.to_owned());
        self.wanted.also.push(Check { what, expected, measured, kept });
    }

    /// Notes an expectation of what visitors meet, judged at the end.
    pub(crate) fn judge(&mut self, judge: impl Fn(&[Sample]) -> Check + Send + 'static) {
        self.judges.push(Box::new(judge));
    }

    /// Waits until everything is where it prefers to be again.
    pub(crate) async fn settle(&mut self, within: Duration) {
        let stage = self.stage;
        self.expect("every service is back in its place", within, |world| stage.unsettled(world))
            .await;
    }

    /// Ends the visits and measures.
    pub(crate) async fn close(mut self, told: &Told) -> Result<ScenarioResult, String> {
        // Visitors come back a few at a time: a good second is seen when all of them may be back.
        let ramp = self.back.as_ref().map(|_| self.stage.stack.config.edge.ramp);
        sleep(TAIL + ramp.unwrap_or_default()).await;
        let asked = self.asked();
        let samples = self.load.stop().await;
        let span = Span { from: self.from_wall, to: self.stage.clock().wall() };
        let keys = acknowledged(&samples).map(str::to_owned).collect();
        let (ledger, lost) = self.stage.count(span, keys).await?;
        let events = self.stage.heard().split_off(self.heard_before);
        self.wanted.also.extend(self.judges.iter().map(|judge| judge(&samples)));
        self.wanted.also.push(within_rates(&asked));
        let seen = Observed {
            from: self.from,
            from_wall: self.from_wall,
            samples: &samples,
            fault: self.fault.as_ref(),
            back: self.back.as_ref(),
            events: &events,
            ledger,
            lost: &lost,
        };
        Ok(ScenarioResult { asked, rollouts: self.rollouts, ..measure(told, &seen, &self.wanted) })
    }

    /// What the API of each provider was asked since the scenario began.
    fn asked(&self) -> Vec<AskedLine> {
        let line = |(name, now): (ProviderName, Asked)| {
            let before = self.asked_before.get(&name).copied().unwrap_or_default();
            AskedLine {
                provider: name.to_string(),
                requests: now.requests - before.requests,
                refused_for_rate: now.refused - before.refused,
            }
        };
        self.stage.cloud.asked().into_iter().map(line).collect()
    }
}

/// The simulated vendors allow as many requests as the vendors do, and count what they refuse.
fn within_rates(asked: &[AskedLine]) -> Check {
    let refused: u64 = asked.iter().map(|line| line.refused_for_rate).sum();
    let said = |line: &AskedLine| match line.refused_for_rate {
        0 => format!("{} {}", line.provider, line.requests),
        refused => format!("{} {} ({refused} refused)", line.provider, line.requests),
    };
    let each = asked.iter().map(said).collect::<Vec<_>>().join(", ");
    let refusals = if refused == 0 { "none".to_owned() } else { refused.to_string() };
    Check {
        what: "requests to providers' APIs refused for their rate".to_owned(),
        expected: "none".to_owned(),
        measured: format!("{refusals} of {each}"),
        kept: refused == 0,
    }
}

/// What has become of a provider, for people.
fn word(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Killed => "is killed",
        Trouble::Hung => "hangs",
        Trouble::Refusing => "refuses connections",
        Trouble::Slow { .. } => "is slow",
        Trouble::Errors { .. } => "answers with errors",
        Trouble::ApiDown => "has no API any more",
        Trouble::AppDown => "has lost its apps and does not know",
        Trouble::Gone => "is gone",
        Trouble::RateLimited => "limits the rate of its API",
        Trouble::OutOfQuota => "has no allowance left",
        Trouble::DeployStuck => "does not finish a deploy",
        Trouble::WrongImage => "runs another image than asked",
        Trouble::Denied => "refuses its token",
        Trouble::ClockAhead { .. } => "tells a time that is off",
    }
}
