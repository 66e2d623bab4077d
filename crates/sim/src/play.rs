//! Plays a seed: deploy, trouble, recovery, with the checks all along.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use linkflow_engine::{Engine, Facts, Owner, Parts, RunKind, Tasks};
use linkflow_model::role::Compute;
use linkflow_model::{
    Clock, EventKind, Moment, ProbePicture, ProviderName, RolloutPolicy, Routes, ServiceName,
    StackName,
};
use linkflow_store::{Memory, Store};
use tokio::sync::{broadcast, watch};
use tokio::time::sleep;

use crate::checks;
use crate::clock::JumpingClock;
use crate::cloud::{Cloud, Trouble};
use crate::dice::Dice;
use crate::prober::probe;
use crate::stack::{CLOUDS, POLICY, Plain, provider, release, services};

/// How long things go wrong.
const TROUBLE_MS: u64 = 30_000;
/// How long everything may take to find back.
const PATIENCE_MS: u64 = 180_000;
/// How often the checks look.
const CHECK: Duration = Duration::from_millis(100);

/// What happened.
#[derive(Clone, Debug)]
pub struct Story {
    /// The seed.
    pub seed: u64,
    /// One line per thing that happened, with its second.
    pub told: String,
    /// What was broken; `None` when all checks held.
    pub broken: Option<String>,
}

/// Plays `seed` to its end. Needs a current-thread runtime with paused time.
pub async fn play(seed: u64) -> Story {
    let mut stage = Stage::new(seed);
    let broken = match stage.perform().await {
        Ok(()) => None,
        Err(broken) => {
            stage.note(&format!("BROKEN: {broken}"));
            Some(broken)
        }
    };
    stage.close().await;
    Story { seed, told: stage.told, broken }
}

/// The whole pretend world of one story.
struct Stage {
    dice: Dice,
    clock: Arc<JumpingClock>,
    store: Arc<Memory>,
    clouds: BTreeMap<ProviderName, Arc<Cloud>>,
    cut: watch::Sender<bool>,
    actor: Option<Actor>,
    born: u64,
    version: u64,
    returns: BTreeMap<ServiceName, Vec<Moment>>,
    told: String,
}

/// One life of LinkFlow, from start to kill.
struct Actor {
    engine: Arc<Engine>,
    routes: watch::Receiver<Arc<Routes>>,
    picture: watch::Receiver<Arc<ProbePicture>>,
    events: broadcast::Receiver<linkflow_model::Event>,
    life: tokio::task::JoinSet<()>,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let names = CLOUDS.iter().filter_map(|name| provider(name));
        let clouds = names.enumerate().map(|(at, name)| {
            let cloud = Cloud::new(&name, seed.wrapping_mul(31).wrapping_add(at as u64));
            (name, cloud)
        });
        Self {
            dice: Dice::new(seed),
            clock: Arc::new(JumpingClock::start()),
            store: Arc::new(Memory::default()),
            clouds: clouds.collect(),
            cut: watch::channel(false).0,
            actor: None,
            born: 0,
            version: 1,
            returns: BTreeMap::new(),
            told: String::new(),
        }
    }

    fn note(&mut self, said: &str) {
        let ms = self.clock.now().0 - 1_000_000;
        let _fits = writeln!(self.told, "{:>6}.{:03}  {said}", ms / 1000, ms % 1000);
    }

    /// LinkFlow starts, as a new process over the same store.
    fn start(&mut self) {
        self.born += 1;
        let (routes, seen_routes) = watch::channel(Arc::new(Routes::default()));
        let (picture, seen_picture) = watch::channel(Arc::new(ProbePicture::default()));
        let id = self.born.to_string();
        let me = id.clone();
        let compute = |(name, cloud): (&ProviderName, &Arc<Cloud>)| {
            (name.clone(), Arc::clone(cloud) as Arc<dyn Compute>)
        };
        let Some(stack) = StackName::new("sim") else { return };
        let engine = Engine::new(Parts {
            stack,
            services: services(),
            policy: POLICY,
            rollout: RolloutPolicy::default(),
            computes: self.clouds.iter().map(compute).collect(),
            programs: BTreeMap::new(),
            notify: Vec::new(),
            hooks: None,
            render: Arc::new(Plain),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            probes: seen_picture.clone(),
            routes,
            owner: Owner {
                id,
                host: "sim".to_owned(),
                pid: 1,
                what: "linkflow up".to_owned(),
                who: None,
                url: None,
            },
            alive: Arc::new(move |owner| owner.id == me),
            crash: None,
        });
        let mut life = tokio::task::JoinSet::new();
        life.spawn(probe(
            self.clouds.clone(),
            seen_routes.clone(),
            picture,
            self.cut.subscribe(),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
        ));
        let running = Arc::clone(&engine);
        life.spawn(async move {
            let tasks = Tasks::default();
            running.run(tasks.stop()).await;
        });
        let events = engine.listen();
        self.actor =
            Some(Actor { engine, routes: seen_routes, picture: seen_picture, events, life });
    }

    /// LinkFlow is killed in the middle of whatever it does.
    async fn kill(&mut self) {
        if let Some(mut actor) = self.actor.take() {
            actor.life.shutdown().await;
        }
    }

    async fn perform(&mut self) -> Result<(), String> {
        self.start();
        self.deploy();
        self.settle("the first release never got out", Some(1)).await?;
        self.note("everything serves");
        let end = self.clock.now().plus(TROUBLE_MS);
        while self.clock.now() < end {
            self.mishap().await;
            let pause = 200 + self.dice.below(4_000);
            self.watch(pause).await?;
        }
        self.note("everything recovers");
        self.cut.send_replace(false);
        for cloud in self.clouds.values() {
            cloud.set(None);
        }
        if self.actor.is_none() {
            self.start();
        }
        self.settle("it never found back", None).await?;
        // A release that was in the way of trouble may have been taken back; one more must get out.
        self.version += 1;
        self.deploy();
        self.settle("the last release never got out", Some(self.version)).await?;
        self.note("everything serves from where it should");
        checks::never_flaps(&self.returns)
    }

    /// One thing goes wrong, or right.
    async fn mishap(&mut self) {
        let names: Vec<ProviderName> = self.clouds.keys().cloned().collect();
        let name = names[self.dice.below(names.len() as u64) as usize].clone();
        let cloud = Arc::clone(&self.clouds[&name]);
        match self.dice.below(12) {
            0..=5 => {
                let trouble = Trouble::ALL[self.dice.below(Trouble::ALL.len() as u64) as usize];
                self.note(&format!("{name}: {trouble:?}"));
                cloud.set(Some(trouble));
            }
            6 | 7 => {
                self.note(&format!("{name} recovers"));
                cloud.set(None);
            }
            8 => {
                let ms = 1000 * self.dice.below(7_200) as i64 - 3_600_000;
                self.note(&format!("the wall clock jumps by {ms} ms"));
                self.clock.jump(ms);
            }
            9 => {
                let cut = !*self.cut.borrow();
                self.note(if cut { "our own network is cut" } else { "our own network is back" });
                self.cut.send_replace(cut);
            }
            10 => {
                self.note("LinkFlow is killed and starts again");
                self.kill().await;
                // Its stay is counted anew from what the wall clock says, which may have jumped.
                self.returns.clear();
                self.start();
            }
            _ => {
                self.version += 1;
                self.note(&format!("a deploy of version {} begins", self.version));
                self.deploy();
            }
        }
    }

    /// Rolls the current version out beside everything else.
    fn deploy(&mut self) {
        let Some(actor) = &mut self.actor else { return };
        let engine = Arc::clone(&actor.engine);
        let version = self.version;
        actor.life.spawn(async move {
            let Ok(draft) = engine
                .draft(release(version), &format!("version {version}"), &Facts::default())
                .await
            else {
                return;
            };
            drop(engine.carry_out(&draft, RunKind::Deploy, Duration::from_secs(60)).await);
        });
    }

    /// Lets `ms` go by, checking.
    async fn watch(&mut self, ms: u64) -> Result<(), String> {
        let end = self.clock.now().plus(ms);
        while self.clock.now() < end {
            sleep(CHECK).await;
            self.check()?;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        checks::never_twice(&services(), &self.clouds)?;
        checks::migrates_once(&self.clouds)?;
        let now = self.clock.now();
        let Some(actor) = &mut self.actor else { return Ok(()) };
        let mut heard = Vec::new();
        while let Ok(event) = actor.events.try_recv() {
            heard.push(event);
        }
        let verdict =
            checks::never_to_the_dead(&actor.routes.borrow(), &actor.picture.borrow(), now);
        for event in heard {
            self.note(&format!("  {:?}: {}", event.kind, event.message));
            if let (EventKind::Failback, Some(service)) = (event.kind, event.service) {
                self.returns.entry(service).or_default().push(now);
            }
        }
        verdict
    }

    /// Waits until everything is as it should be, checking.
    async fn settle(&mut self, otherwise: &str, version: Option<u64>) -> Result<(), String> {
        let end = self.clock.now().plus(PATIENCE_MS);
        let mut good = 0;
        loop {
            self.watch(500).await?;
            let state = self.is_settled(version).await;
            good = if state.is_ok() { good + 1 } else { 0 };
            if good >= 4 {
                return Ok(());
            }
            if self.clock.now() >= end {
                return Err(format!("{otherwise}: {}", state.err().unwrap_or_default()));
            }
        }
    }

    /// Whether everything is as it should be; with a `version`, whether that is the one that is live.
    async fn is_settled(&self, version: Option<u64>) -> Result<(), String> {
        let Some(actor) = &self.actor else { return Err("LinkFlow is dead".to_owned()) };
        let world = actor.engine.world().await.map_err(|error| error.to_string())?;
        checks::converged(&services(), &world, &self.clouds)?;
        let live = actor.engine.live().await.map_err(|error| error.to_string())?;
        let live = live.ok_or("no release is live")?;
        match version {
            Some(_) if live.migrations.values().all(|ended| !ended.worked) => {
                Err(format!("{} is live and was never migrated", live.id))
            }
            Some(version) if live.services != release(version) => {
                Err(format!("{} ({}) is live, not version {version}", live.id, live.why))
            }
            _ => Ok(()),
        }
    }

    async fn close(&mut self) {
        self.kill().await;
    }
}
