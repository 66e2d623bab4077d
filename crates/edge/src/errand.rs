//! Carries one request to a target, and to the next one when the first fails, hangs or is slow.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use linkflow_model::Moment;
use tokio::time::{Instant, sleep};

use crate::alarm::Alarms;
use crate::body::{Outgoing, Source};
use crate::pool::{Head, Reply, Trouble};
use crate::slots::{Slot, Slots};
use crate::steer::{Do, End, Failure, Going, Happened, Id, Next, Repeat, Trip};
use crate::table::{Group, Lane, Line};
use crate::tell::Teller;
use crate::visit::Tries;

/// Between tries at a target that is being woken and refuses meanwhile.
const WAKING: Duration = Duration::from_millis(500);

/// How an errand came out.
pub(crate) enum Outcome {
    /// A target answered: an answer to pass on.
    Answered { busy: Busy, reply: Reply },
    /// None did.
    Failed { status: StatusCode, why: String },
    /// None has room.
    Full,
}

impl Outcome {
    /// Whether nobody was there to answer.
    pub(crate) fn is_away(&self) -> bool {
        let status = match self {
            Self::Failed { status, .. } => *status,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Answered { reply, .. } => reply.response.status(),
        };
        matches!(status.as_u16(), 502..=504)
    }
}

/// What an errand is about.
pub(crate) struct Order {
    pub(crate) line: Arc<Line>,
    pub(crate) head: Arc<Head>,
    pub(crate) source: Option<Source>,
    pub(crate) repeat: Repeat,
    /// How long to wait for an answer when no other target can be asked, in milliseconds.
    pub(crate) limit: Option<u64>,
    /// After this long without another target's answer, a slow one is a failed one.
    pub(crate) first_byte: u64,
    /// How long the request's body may stand still, in milliseconds.
    pub(crate) still: Option<u64>,
}

/// One request on its way.
pub(crate) struct Errand {
    order: Order,
    teller: Arc<Teller>,
    trip: Trip,
    running: Vec<Running>,
    /// An answer of 502, 503 or 504, for want of a better one.
    held: Option<(Busy, Reply)>,
    /// How far the body was, and since when.
    progress: (usize, Moment),
    tries: Tries,
}

type Sending = Pin<Box<dyn Future<Output = Result<Reply, Trouble>> + Send>>;

/// A try under way.
struct Running {
    busy: Busy,
    began: Moment,
    started: Instant,
    /// Since the request was wholly sent.
    waiting: Option<Waiting>,
    sending: Sending,
}

/// Counts a request as in flight at its target.
pub(crate) struct Busy {
    lane: Arc<Lane>,
    /// Where the target takes only so many.
    _slot: Option<Slot>,
}

impl Busy {
    fn at(lane: Arc<Lane>, slot: Option<Slot>) -> Self {
        lane.counts.in_flight.fetch_add(1, Relaxed);
        Self { lane, _slot: slot }
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.lane.counts.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A request that waits for its answer. Dropped, it says that nobody waits any more.
struct Waiting {
    lane: Arc<Lane>,
    number: Option<u64>,
    since: Moment,
}

impl Waiting {
    fn at(group: &Group, lane: &Arc<Lane>, since: Moment) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Relaxed);
        group.on_at(Happened::Waits { target: lane.id, wait: number }, since);
        Self { lane: Arc::clone(lane), number: Some(number), since }
    }

    fn over(mut self) -> Option<u64> {
        self.number.take()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(wait) = self.number.take() {
            self.lane.on(Happened::Left { target: self.lane.id, wait });
        }
    }
}

impl Running {
    fn lane(&self) -> &Arc<Lane> {
        self.busy.lane()
    }

    fn failed(self, failure: Failure) {
        let lane = Arc::clone(self.lane());
        lane.failed(self.waiting.and_then(Waiting::over), failure);
    }
}

impl Errand {
    /// Carries `order` out.
    pub(crate) async fn run(
        order: Order,
        teller: Arc<Teller>,
        alarms: &Alarms,
    ) -> (Outcome, Tries) {
        let Order { repeat, limit, .. } = order;
        let now = teller.now();
        let started =
            Trip::start(&mut order.line.group.steer(), &order.line.ids, repeat, limit, now);
        let (trip, Some(first)) = started else {
            return (nothing_left("it has no target".to_owned()), Tries::default());
        };
        for lane in trip.wake.iter().filter_map(|id| order.line.lane(*id)) {
            lane.check_now.notify_one();
        }
        let (running, tries) = (Vec::new(), Tries::default());
        let mut errand =
            Self { order, teller, trip, running, held: None, progress: (0, now), tries };
        if !errand.enter(first, now).await {
            return (Outcome::Full, errand.tries);
        }
        let (mut alarm, mut look) = (alarms.take(), errand.look_after(now));
        loop {
            let outcome = match alarm.within(look, first_ended(&mut errand.running)).await {
                Some((at, Ok(reply))) => errand.answered(at, reply),
                Some((at, Err(trouble))) => errand.troubled(at, trouble),
                None => errand.look(),
            };
            if let Some(outcome) = outcome {
                return (outcome, errand.tries);
            }
            look = errand.look_after(errand.teller.now());
        }
    }

    fn look_after(&self, now: Moment) -> Duration {
        Duration::from_millis(self.trip.look_after(now))
    }

    fn is_whole(&self) -> bool {
        self.order.source.as_ref().is_none_or(Source::is_whole)
    }

    /// Sends the request to `first`, else to the best other target that has room, else to the first one that gets some
    /// while it waits in line. Says whether it went.
    async fn enter(&mut self, first: Id, now: Moment) -> bool {
        if self.begin_at(first, false, None, now) {
            return true;
        }
        let line = Arc::clone(&self.order.line);
        let others = self.trip.others(&line.group.steer(), now);
        for other in others.iter().copied() {
            if self.begin_at(other, false, None, now) {
                self.trip.goes_to(other);
                return true;
            }
        }
        let targets: Vec<(Id, Arc<Slots>)> = [first]
            .into_iter()
            .chain(others)
            .filter_map(|id| Some((id, Arc::clone(line.slots.get(&id)?))))
            .collect();
        let Some((target, slot)) = line.group.waiters.wait(line.route.queue, &targets).await else {
            return false;
        };
        self.trip.goes_to(target);
        self.send(target, Some(slot), (false, None), self.teller.now());
        true
    }

    /// Sends the request to `target`, after a `pause` where there is one. Says whether it has room.
    fn begin(&mut self, target: Id, fresh: bool, pause: Option<Duration>) -> bool {
        self.begin_at(target, fresh, pause, self.teller.now())
    }

    /// The same, when the time is known.
    fn begin_at(&mut self, target: Id, fresh: bool, pause: Option<Duration>, now: Moment) -> bool {
        let slot = match self.order.line.slots.get(&target) {
            None => None,
            Some(slots) => match slots.take() {
                None => return false,
                slot => slot,
            },
        };
        self.send(target, slot, (fresh, pause), now);
        true
    }

    fn send(
        &mut self,
        target: Id,
        slot: Option<Slot>,
        (fresh, pause): (bool, Option<Duration>),
        began: Moment,
    ) {
        let Some(lane) = self.order.line.lane(target).cloned() else { return };
        lane.counts.requests.fetch_add(1, Relaxed);
        self.tries.count += 1;
        let body = match &self.order.source {
            None => Outgoing::Empty,
            Some(source) => Outgoing::Passed(source.read()),
        };
        let group = &self.order.line.group;
        let waiting = self.order.source.is_none().then(|| Waiting::at(group, &lane, began));
        let (pool, head) = (Arc::clone(&lane.pool), Arc::clone(&self.order.head));
        self.running.push(Running {
            busy: Busy::at(lane, slot),
            began,
            started: Instant::now(),
            waiting,
            sending: Box::pin(async move {
                if let Some(pause) = pause {
                    sleep(pause).await;
                }
                pool.send(&head, body, fresh).await
            }),
        });
    }

    /// Sends the request to `target`, or to the next one that has room.
    fn retry(&mut self, mut target: Id, fresh: bool, pause: Option<Duration>) -> Option<Outcome> {
        while !self.begin(target, fresh, pause) {
            match self.next(target, End::NeverSent) {
                Next::Try(next) => target = next,
                Next::Wait => return None,
                Next::Again(_) | Next::Later(_) | Next::Stop => {
                    return Some(self.held_or(Outcome::Full));
                }
            }
        }
        if let Some(lane) = self.order.line.lane(target) {
            lane.counts.retries.fetch_add(1, Relaxed);
        }
        None
    }

    fn answered(&mut self, at: usize, reply: Reply) -> Option<Outcome> {
        let run = self.running.remove(at);
        let (lane, waiting) = (run.busy.lane(), run.waiting);
        let status = reply.response.status();
        let refusal = matches!(status.as_u16(), 502..=504);
        let took = u64::try_from(run.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        lane.counts.answered(status.as_u16(), took);
        if status.is_server_error() {
            lane.counts.failures.fetch_add(1, Relaxed);
        }
        self.order.line.group.on(Happened::Answered {
            target: lane.id,
            wait: waiting.and_then(Waiting::over),
            began: run.began,
            status: status.as_u16(),
            sample: self.order.repeat == Repeat::Safe,
        });
        if !refusal {
            self.outrun(at);
            return Some(Outcome::Answered { busy: run.busy, reply });
        }
        let next = self.next(lane.id, End::Refusal);
        self.held = Some((run.busy, reply));
        match next {
            Next::Try(next) | Next::Again(next) => self.retry(next, false, None),
            Next::Later(same) => self.retry(same, false, Some(WAKING)),
            Next::Wait => None,
            Next::Stop => Some(self.held_or(Outcome::Full)),
        }
    }

    /// The try that was at `at` has won: those begun before it were slower.
    fn outrun(&mut self, at: usize) {
        let now = self.teller.now();
        let losers = self.running.drain(..).take(at).collect::<Vec<_>>();
        for loser in losers {
            if now.since(loser.began) >= self.order.first_byte {
                loser.failed(Failure::Silent);
            } else {
                let lane = Arc::clone(loser.lane());
                drop(loser);
                lane.on(Happened::Late { target: lane.id });
            }
        }
    }

    fn next(&mut self, target: Id, end: End) -> Next {
        let (running, whole) = (self.running.len(), self.is_whole());
        let now = self.teller.now();
        let mut steer = self.order.line.group.steer();
        self.trip.ended(&mut steer, target, end, running, whole, now)
    }

    fn troubled(&mut self, at: usize, trouble: Trouble) -> Option<Outcome> {
        let run = self.running.remove(at);
        if self.order.source.as_ref().is_some_and(Source::is_too_large) {
            let why = "the request is larger than what is taken here".to_owned();
            return Some(Outcome::Failed { status: StatusCode::PAYLOAD_TOO_LARGE, why });
        }
        if self.order.source.as_ref().is_some_and(Source::has_failed) {
            let why = "the request broke off".to_owned();
            return Some(Outcome::Failed { status: StatusCode::BAD_REQUEST, why });
        }
        let Trouble { failure, sent, reused } = trouble;
        let lane = Arc::clone(run.lane());
        let end = if sent { End::Cut { reused } } else { End::NeverSent };
        let next = self.next(lane.id, end);
        if let Next::Again(same) = next {
            // An idle connection that its target had just closed: no fault of the target.
            drop(run);
            return self.retry(same, true, None);
        }
        let why = describe(&failure, sent).to_owned();
        run.failed(failure);
        match next {
            Next::Try(next) => self.retry(next, false, None),
            Next::Later(same) => self.retry(same, true, Some(WAKING)),
            Next::Again(_) | Next::Wait => None,
            Next::Stop if sent => Some(self.or_held(StatusCode::BAD_GATEWAY, why)),
            Next::Stop => Some(self.or_held(StatusCode::SERVICE_UNAVAILABLE, why)),
        }
    }

    fn or_held(&mut self, status: StatusCode, why: String) -> Outcome {
        self.held_or(Outcome::Failed { status, why })
    }

    /// The answer that is held for want of a better one, or `outcome`.
    fn held_or(&mut self, outcome: Outcome) -> Outcome {
        match self.held.take() {
            Some((busy, reply)) => Outcome::Answered { busy, reply },
            None => outcome,
        }
    }

    /// Looks at a request that waits.
    fn look(&mut self) -> Option<Outcome> {
        self.order.line.group.on(Happened::Ticked);
        let now = self.teller.now();
        let read = self.order.source.as_ref().is_none_or(Source::is_read);
        if !read && self.stands_still(now) {
            let why = "the request's body stood still".to_owned();
            return Some(Outcome::Failed { status: StatusCode::REQUEST_TIMEOUT, why });
        }
        for run in &mut self.running {
            if read && run.waiting.is_none() {
                run.waiting = Some(Waiting::at(&self.order.line.group, run.busy.lane(), now));
            }
        }
        let going: Vec<Going> = self.running.iter().map(Running::going).collect();
        let whole = self.is_whole();
        let decided = {
            let mut steer = self.order.line.group.steer();
            self.trip.look(&mut steer, &going, whole, now)
        };
        match decided {
            Do::Nothing => {}
            Do::Beside(next) if self.begin(next, false, None) => {
                if let Some(lane) = self.order.line.lane(next) {
                    lane.counts.hedges.fetch_add(1, Relaxed);
                }
                self.tries.hedges += 1;
            }
            Do::Beside(_) => {}
            Do::Instead(next) if self.begin(next, false, None) => {
                if let Some(lane) = self.order.line.lane(next) {
                    lane.counts.retries.fetch_add(1, Relaxed);
                }
                // Nothing of it is sent before the others are gone.
                let begun = self.running.pop();
                self.abandon(now);
                self.running.extend(begun);
            }
            // It has no room: what is under way may still be answered.
            Do::Instead(_) => {}
            Do::GiveUp => {
                let waited = self.order.limit.unwrap_or_default();
                self.abandon(now);
                let why = format!("no answer in {waited} ms");
                return Some(self.or_held(StatusCode::GATEWAY_TIMEOUT, why));
            }
        }
        None
    }

    fn stands_still(&mut self, now: Moment) -> bool {
        let progress = self.order.source.as_ref().map_or(0, Source::progress);
        if progress != self.progress.0 {
            self.progress = (progress, now);
        }
        self.order.still.is_some_and(|still| now.since(self.progress.1) >= still)
    }

    /// Leaves all tries under way. Those that waited too long have failed.
    fn abandon(&mut self, now: Moment) {
        for run in std::mem::take(&mut self.running) {
            let waited = run.waiting.as_ref().map_or(0, |w| now.since(w.since));
            if waited >= self.order.first_byte {
                run.failed(Failure::Silent);
            }
        }
    }
}

impl Running {
    fn going(&self) -> Going {
        let since = self.waiting.as_ref().map(|w| w.since);
        Going { target: self.lane().id, since }
    }
}

/// What a visitor is told. Which target it was and what is wrong there is in the log and the metrics.
fn describe(failure: &Failure, sent: bool) -> &'static str {
    match (failure, sent) {
        (_, true) => "it broke off; it may have been carried out",
        (Failure::Refused, _) => "it takes no connections",
        (Failure::Unreachable(_), _) => "it cannot be reached",
        (_, false) => "it closed the connection",
    }
}

fn nothing_left(why: String) -> Outcome {
    Outcome::Failed { status: StatusCode::SERVICE_UNAVAILABLE, why }
}

/// Waits until one of them ends.
async fn first_ended(running: &mut [Running]) -> (usize, Result<Reply, Trouble>) {
    poll_fn(|cx| {
        for (at, run) in running.iter_mut().enumerate() {
            if let Poll::Ready(result) = run.sending.as_mut().poll(cx) {
                return Poll::Ready((at, result));
            }
        }
        Poll::Pending
    })
    .await
}
