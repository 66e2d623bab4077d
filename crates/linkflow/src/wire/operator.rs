//! What the operators' site asks of the `linkflow up` it is part of.

mod told;
mod traffic;
mod usage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_decide::Stands;
use linkflow_edge::{Certificates, EdgePicture, Origin, View};
use linkflow_engine::{
    Alerts, Asked, Draft, Engine, EngineError, RunEnd, RunKind, RunState, Stop, Tasks,
};
use linkflow_model::config::{Config, Heartbeat};
use linkflow_model::{
    Change, Clock, Condition, Event, EventKind, ImageRef, Level, Plan, ReleaseState, ServiceName,
    ServiceRelease, Timestamp,
};
use linkflow_web::operator::{
    self, Begun, Certificate, Doubt, Drift, Operator, Order, Outline, OutlineStage, OutlineStep,
    Refusal, Services, Traffic, Tried, Usage, Watched, Why,
};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

use super::beats;
use super::earlier::before;
use super::releases::{ReleaseError, Releases};
use super::watched::{self, Planned, Way};
use super::{Stack, standing};

/// How long it is waited for a run to be written down: the hook `before` comes first.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);

/// The process, as its site sees it.
pub(super) struct Running {
    engine: Arc<Engine>,
    alerts: Arc<Alerts>,
    releases: Arc<Releases>,
    view: View,
    certificates: Certificates,
    watched: Vec<Watched>,
    stands: watch::Receiver<Vec<Stands>>,
    domains: watch::Receiver<Vec<Stands>>,
    awaited: watch::Receiver<Vec<Stands>>,
    config: Config,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    /// The file of the store.
    store: PathBuf,
    /// The last two pictures of the edge.
    pictures: Mutex<(Option<EdgePicture>, Option<EdgePicture>)>,
    usage: Mutex<Usage>,
}

/// What is ready to be begun.
enum Ready {
    Release(Box<Draft>, RunKind),
    Steps(Plan, String),
}

impl Running {
    /// The process that runs `stack`. Its tasks look at traffic and usage.
    pub(super) fn start(stack: &Stack, rehearsed: bool) -> Arc<Self> {
        let looked_at = watched::all(stack);
        let looked_at = looked_at.iter().map(|planned| shown(planned, rehearsed));
        let now = stack.clock.wall();
        let heartbeats = stack.config.heartbeats.iter();
        let heartbeats = heartbeats.map(|(name, beat)| reporting(name.as_str(), beat, now));
        let store = stack.succession.as_ref().map(|one| one.state.join("linkflow.db"));
        let store = store.unwrap_or_default();
        let running = Arc::new(Self {
            engine: Arc::clone(&stack.engine),
            alerts: Arc::clone(&stack.alerts),
            releases: Arc::clone(&stack.releases),
            view: stack.edge.view(),
            certificates: stack.edge.certificates(),
            watched: looked_at.chain(heartbeats).collect(),
            stands: stack.stands.subscribe(),
            domains: stack.domains.subscribe(),
            awaited: stack.awaited.subscribe(),
            config: stack.config.clone(),
            tasks: stack.tasks.clone(),
            clock: Arc::clone(&stack.clock),
            store,
            pictures: Mutex::default(),
            usage: Mutex::new(Usage { asked: None, providers: Vec::new() }),
        });
        let looking = Arc::clone(&running);
        stack.tasks.start("traffic", |stop: Stop| async move {
            stop.or(looking.look_at_traffic()).await;
        });
        let (asking, computes) = (Arc::clone(&running), stack.computes.clone());
        stack.tasks.start("usage", |stop: Stop| async move {
            stop.or(asking.ask_for_usage(&computes)).await;
        });
        running
    }

    /// What would be done, from what the providers and registries say now.
    async fn prepare(&self, order: &Order, why: &str) -> Result<Ready, Refusal> {
        let draft = match order {
            Order::Restart(service, on) => {
                let plan = self.engine.plan_restart(service, on.as_ref()).await.map_err(refused)?;
                let place = on.as_ref().map(|on| format!(" on {on}")).unwrap_or_default();
                return Ok(Ready::Steps(plan, format!("{service}{place} is started again")));
            }
            Order::Apply => {
                let wanted = self.releases.service_releases(&BTreeMap::new()).await;
                let draft = self.releases.draft(wanted.map_err(unmade)?, why).await;
                (draft.map_err(refused)?, RunKind::Apply)
            }
            Order::Deploy(images) => {
                let wanted = self.with_images(images).await?;
                let draft = self.releases.draft(wanted, why).await;
                (draft.map_err(refused)?, RunKind::Deploy)
            }
            Order::RollBack(to) => {
                let to = match to {
                    Some(to) => *to,
                    None => {
                        let all = self.engine.releases().await.map_err(refused)?;
                        let live = self.engine.live().await.map_err(refused)?;
                        let help = "the releases say what was";
                        let earlier = before(&all, live.as_ref());
                        earlier.map_err(|what| Refusal::new(Why::Forbidden, what, help))?.0
                    }
                };
                let draft = self.engine.draft_back(to, None).await.map_err(refused)?;
                (draft, RunKind::Rollback)
            }
        };
        Ok(Ready::Release(Box::new(draft.0), draft.1))
    }

    /// Every service as it runs, with `images` in place of its own; with none, what its tag means now.
    async fn with_images(
        &self,
        images: &BTreeMap<ServiceName, String>,
    ) -> Result<BTreeMap<ServiceName, ServiceRelease>, Refusal> {
        let mut chosen: BTreeMap<ServiceName, ImageRef> = BTreeMap::new();
        for (name, text) in images {
            let image = self.releases.image_for(name, text).map_err(|what| {
                Refusal::new(Why::Wrong, what, "write a whole image, `:TAG` or `@DIGEST`")
            })?;
            chosen.insert(name.clone(), image);
        }
        let wanted = match self.engine.live().await.map_err(refused)? {
            Some(live) => {
                if chosen.is_empty() {
                    let own = live.services.values();
                    chosen = own.map(|s| (s.spec.name.clone(), s.spec.image.clone())).collect();
                }
                self.releases.releases_like(&live, &chosen).await
            }
            None => self.releases.service_releases(&chosen).await,
        };
        wanted.map_err(unmade)
    }

    /// The run that is under way, if there is one.
    async fn idle(&self) -> Result<(), Refusal> {
        let runs = self.engine.runs().await.map_err(refused)?;
        match runs.iter().find(|run| run.state == RunState::Running) {
            None => Ok(()),
            Some(run) => Err(Refusal::new(
                Why::Busy,
                format!("{} is under way: {}", run.id, run.why),
                format!("wait until it has ended; /runs/{} shows it", run.id),
            )),
        }
    }

    /// Has `ready` carried out by a task, and gives its run as soon as it is written down.
    async fn carry_out(&self, ready: Ready, said: String) -> Result<Begun, Refusal> {
        let (begun, hears) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let engine = Arc::clone(&self.engine);
        let asked = Asked { said, begun };
        self.tasks.start("order", |stop: Stop| async move {
            let work = Box::pin(async {
                match ready {
                    Ready::Release(draft, kind) => {
                        engine.carry_out_asked(&draft, kind, asked).await
                    }
                    Ready::Steps(plan, why) => {
                        engine.carry_out_plan_asked(&plan, RunKind::Restart, &why, asked).await
                    }
                }
            });
            // What is cut off here is taken up again by the next process.
            let Some(outcome) = stop.or(work).await else { return };
            if let Err(error) = &outcome {
                warn!("an order did not work: {error}");
            }
            // Nobody waits for it any more once the run has begun.
            drop(ended.send(outcome));
        });
        match timeout(BEGINS_WITHIN, hears).await {
            Ok(Ok(run)) => Ok(Begun { said: format!("{run} has begun"), run: Some(run) }),
            Ok(Err(_)) => without_run(end.await.ok()),
            Err(_) => {
                let said = "it has begun, and waits for the hook `before`".to_owned();
                Ok(Begun { run: None, said })
            }
        }
    }
}

/// What became of an order that made no run.
fn without_run(end: Option<Result<RunEnd, EngineError>>) -> Result<Begun, Refusal> {
    match end {
        Some(Ok(_)) => Ok(Begun { run: None, said: "there was nothing to do".to_owned() }),
        Some(Err(error)) => Err(refused(error)),
        None => Err(Refusal::new(Why::Failed, "LinkFlow is being stopped", "start it again")),
    }
}

fn refused(error: EngineError) -> Refusal {
    let (why, help) = match &error {
        EngineError::Busy(_) => (Why::Busy, "wait until it is done"),
        EngineError::Refused(_) => (Why::Forbidden, "nothing was changed"),
        EngineError::Missing(_) => (Why::Missing, "the overview shows what there is"),
        EngineError::Fault(_) => (Why::Failed, "`linkflow doctor` tells which providers answer"),
        EngineError::Render(_) => (Why::Failed, "`linkflow check` tells which secrets are due"),
        EngineError::Store(_) | EngineError::Unreadable { .. } => {
            (Why::Failed, "see whether the disk is full and the state folder may be written")
        }
    };
    Refusal::new(why, error.to_string(), help)
}

fn unmade(errors: Vec<ReleaseError>) -> Refusal {
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let help = "see whether the tag is right and the image was pushed";
    Refusal::new(Why::Wrong, all.join("; "), help)
}

/// Something that is watched, before anything was seen of it.
fn shown(planned: &Planned, rehearsed: bool) -> Watched {
    let unable = match &planned.watched {
        Err(why) => Some(why.clone()),
        Ok(way) if rehearsed && !watched::is_rehearsed(way) => {
            Some("in a rehearsal nothing real is looked at".to_owned())
        }
        Ok(_) => None,
    };
    Watched {
        subject: planned.subject.clone(),
        what: planned.what.clone(),
        every_ms: u64::try_from(planned.every.as_millis()).unwrap_or(u64::MAX),
        tags: planned.tags.clone(),
        derived: planned.derived,
        condition: Condition::Unknown,
        since: None,
        why: None,
        needs: planned.watched.as_ref().map(Way::needs).unwrap_or_default(),
        unable,
    }
}

/// A job that reports by itself, before it is known how it is.
fn reporting(name: &str, beat: &Heartbeat, now: Timestamp) -> Watched {
    let rhythm = beat.rhythm();
    let after = |at| rhythm.as_ref().and_then(|rhythm| rhythm.after(at));
    let next = after(now);
    let every = next.and_then(after).zip(next).map(|(later, next)| later.0 - next.0);
    Watched {
        subject: format!("heartbeat.{name}"),
        what: format!("reports by itself, {}", beats::asked(beat)),
        every_ms: every.unwrap_or_default(),
        tags: Vec::new(),
        derived: false,
        condition: Condition::Unknown,
        since: None,
        why: None,
        needs: beat.needs.to_vec(),
        unable: None,
    }
}

/// One of our own jobs, which nobody declared.
fn of_our_own(stands: &Stands) -> Watched {
    Watched {
        subject: stands.subject.clone(),
        what: "a job of LinkFlow itself".to_owned(),
        every_ms: beats::ms(beats::OWN.0),
        tags: Vec::new(),
        derived: true,
        condition: stands.condition,
        since: Some(stands.since.0),
        why: stands.why.clone(),
        needs: Vec::new(),
        unable: None,
    }
}

fn outline(order: &Order, ready: &Ready) -> Outline {
    let (plan, release, findings) = match ready {
        Ready::Release(draft, _) => (&draft.plan, Some(draft.release.id), &draft.findings[..]),
        Ready::Steps(plan, _) => (plan, None, &[][..]),
    };
    let stage = |stage: &linkflow_model::Stage| OutlineStage {
        name: stage.name.clone(),
        steps: stage.steps.iter().map(step).collect(),
    };
    let doubt = |finding: &linkflow_model::Finding| Doubt {
        forbids: finding.forbids,
        what: finding.what.clone(),
        help: finding.help.clone(),
    };
    Outline {
        what: order.words(),
        release,
        stages: plan.stages.iter().map(stage).collect(),
        held: plan.held.iter().map(|held| held.why.clone()).collect(),
        findings: findings.iter().map(doubt).collect(),
    }
}

fn step(step: &linkflow_model::Step) -> OutlineStep {
    let gone = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
    let change = |c: &Change| format!("{}: {} -> {}", c.field, gone(&c.from), gone(&c.to));
    OutlineStep {
        what: step.action.to_string(),
        why: step.why.clone(),
        changes: step.changes.iter().map(change).collect(),
    }
}

#[async_trait]
impl Operator for Running {
    async fn services(&self) -> Result<Services, Refusal> {
        standing::now(&self.engine).await.map_err(refused)
    }

    fn traffic(&self) -> Traffic {
        let pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        traffic::between(pictures.0.as_ref(), pictures.1.as_ref())
    }

    fn watched(&self) -> Vec<Watched> {
        let (stands, awaited) = (self.stands.borrow(), self.awaited.borrow());
        let domains = self.domains.borrow();
        let all = stands.iter().chain(awaited.iter()).chain(domains.iter());
        let by_name: BTreeMap<&str, &Stands> = all.map(|one| (one.subject.as_str(), one)).collect();
        let now = |one: &Watched| match by_name.get(one.subject.as_str()) {
            None => one.clone(),
            Some(stands) => Watched {
                condition: stands.condition,
                since: Some(stands.since.0),
                why: stands.why.clone(),
                ..one.clone()
            },
        };
        let own = awaited.iter().filter(|one| one.subject.starts_with(beats::OURS));
        self.watched.iter().map(now).chain(own.map(of_our_own)).collect()
    }

    fn usage(&self) -> Usage {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn drift(&self) -> Result<Drift, Refusal> {
        standing::drift(&self.engine, &self.releases).await.map_err(refused)
    }

    async fn alerts(&self) -> Result<operator::Alerts, Refusal> {
        let messages = self.alerts.messages().await?;
        Ok(told::alerts(&self.config, self.alerts.posts(), messages))
    }

    fn untold(&self) -> Vec<Tried> {
        told::tried(self.alerts.failing())
    }

    async fn try_alert(&self, alert: &str) -> Result<Vec<Tried>, Refusal> {
        let tried = self.alerts.try_out(alert).await;
        tried.map(told::tried).ok_or_else(|| {
            let what = format!("there is no alert `{alert}` that can be used");
            Refusal::new(Why::Missing, what, "`/alerts` shows all")
        })
    }

    fn certificates(&self) -> Vec<Certificate> {
        let now = self.clock.wall();
        let shown = self.certificates.all().into_iter().map(|held| Certificate {
            origin: match held.origin {
                Origin::Files(_, name) => format!("files {name}"),
                Origin::Acme(host) => format!("acme {host}"),
                Origin::MadeUp => "made up".to_owned(),
            },
            names: held.about.names,
            begins: held.about.begins.0,
            ends: held.about.ends.0,
            days_left: held.about.ends.0.saturating_sub(now.0) / 86_400_000,
        });
        shown.collect()
    }

    fn metrics(&self) -> String {
        let mut text = self.view.metrics();
        if let Ok(file) = std::fs::metadata(&self.store) {
            let (name, size) = ("linkflow_store_bytes", file.len());
            let help = format!("# HELP {name} How big the file of the store is.\n");
            text.push_str(&format!("{help}# TYPE {name} gauge\n{name} {size}\n"));
        }
        text
    }

    async fn plan(&self, order: &Order) -> Result<Outline, Refusal> {
        let ready = Box::pin(self.prepare(order, &order.words())).await?;
        Ok(outline(order, &ready))
    }

    async fn begin(&self, order: &Order, by: &str, why: &str) -> Result<Begun, Refusal> {
        self.idle().await?;
        let mut ready = Box::pin(self.prepare(order, &order.words())).await?;
        if let Ready::Release(draft, _) = &mut ready
            && draft.release.state == ReleaseState::Rolling
            && let Some(author) = &mut draft.release.by
        {
            author.who = Some(by.to_owned());
        }
        match &ready {
            Ready::Release(draft, _) => {
                if let Some(refusal) = draft.refusals().next() {
                    let (what, help) = (refusal.what.clone(), refusal.help.clone());
                    return Err(Refusal::new(Why::Forbidden, what, help));
                }
                if draft.plan.is_empty() {
                    let said = format!("nothing to do: {} runs as it should", draft.release.id);
                    return Ok(Begun { run: None, said });
                }
            }
            Ready::Steps(plan, _) if plan.is_empty() => {
                let held: Vec<&str> = plan.held.iter().map(|held| held.why.as_str()).collect();
                let help = "`linkflow doctor` tells which providers answer";
                return Err(Refusal::new(Why::Forbidden, held.join("; "), help));
            }
            Ready::Steps(..) => {}
        }
        let begun = Box::pin(self.carry_out(ready, format!("{by}: {why}"))).await?;
        let said = format!("{by} has it {}: {why}", order.words());
        let mut event = Event::new(self.clock.wall(), EventKind::Control, Level::Notice, said);
        event.run.clone_from(&begun.run);
        self.engine.tell(event).await;
        Ok(begun)
    }
}
