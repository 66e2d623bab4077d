//! From a config to a running stack: every part is made here, and nowhere else.

pub(crate) mod alerts;
pub(crate) mod asking;
pub(crate) mod beats;
pub(crate) mod ci;
pub(crate) mod control;
pub(crate) mod dashboard;
pub(crate) mod docker;
pub(crate) mod domains;
pub(crate) mod earlier;
pub(crate) mod edge;
pub(crate) mod errors;
pub(crate) mod follow;
pub(crate) mod handover;
pub(crate) mod hooks;
mod incidents;
pub(crate) mod live;
pub(crate) mod looking;
mod mail;
pub(crate) mod mirror;
pub(crate) mod names;
mod notify;
mod operator;
pub(crate) mod outside;
pub(crate) mod page;
mod parts;
pub(crate) mod picture;
mod places;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod rates;
pub(crate) mod recurring;
pub(crate) mod registry;
pub(crate) mod releases;
pub(crate) mod render;
pub(crate) mod secrets;
pub(crate) mod site;
mod sms;
mod socket;
pub(crate) mod standing;
pub(crate) mod state;
mod subscribe;
mod warm;
mod watchdog;
pub(crate) mod watched;
pub(crate) mod watchers;
pub(crate) mod worker;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::Stands;
use linkflow_edge::Edge;
use linkflow_engine::{Alerts, CrashPoint, Engine, Parts, Stop, Tasks};
use linkflow_model::clock::SystemClock;
use linkflow_model::config::Config;
use linkflow_model::role::{Compute, Notify};
use linkflow_model::{Clock, Event, ProviderName, Pulse, Routes, ServiceName};
use linkflow_providers::kit::{Kit, KitOptions};
use linkflow_rehearsal::cloud::Endpoints;
use linkflow_store::{Sqlite, Store};
use linkflow_web::door::Seal;
use linkflow_web::subscribe::{Desk, Tellers};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use beats::Beats;
use handover::{Handed, Succession};
use hooks::Processes;
use outside::Outside;
use places::Places;
use process::crash_at;
use registry::Registries;
use releases::Releases;
use render::Renderer;
use secrets::Secrets;
use state::Home;
use watchdog::Watchdog;

/// Where the processes of a state folder count their requests to vendors together.
const LIMITS: &str = "limits";

/// How a stack is opened.
#[derive(Clone, Debug)]
pub(crate) struct OpenOptions {
    /// The folder for what LinkFlow keeps on this machine.
    pub(crate) state: PathBuf,
    /// The folder of the config.
    pub(crate) workdir: PathBuf,
    /// The rehearsal cloud that stands for every vendor.
    pub(crate) cloud: Option<Endpoints>,
    /// Where to append each exchange with a provider.
    pub(crate) record: Option<PathBuf>,
    /// The environment of this process.
    pub(crate) vars: BTreeMap<String, String>,
    /// What this process does, for whoever finds it at work: `linkflow apply`.
    pub(crate) what: String,
    /// Whether it serves visitors and services, or only looks and changes.
    pub(crate) listen: Listen,
    /// Whether the hooks of the config are run. A rehearsal of a whole story runs none: they may reach what is real.
    pub(crate) hooks: bool,
    /// At the first of which journal points this process kills itself, in tests and rehearsals.
    pub(crate) crash: Vec<CrashPoint>,
}

/// Whether a stack serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// No: its edge only checks targets. Another process may serve at the same time.
    Nowhere,
    /// Yes: services at the ports that are theirs.
    At {
        /// Where visitors come in.
        public: SocketAddr,
        /// Where they come in with TLS.
        tls: Option<SocketAddr>,
        /// At the sockets of another process, which serves until this one does.
        takes_over: bool,
    },
}

/// Why a stack could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The state folder cannot be used.
    #[error("the state folder {folder} cannot be used: {source}")]
    State {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store says no.
    #[error("{0}")]
    Store(#[from] linkflow_store::StoreError),
    /// The HTTP client cannot be made.
    #[error("{0}")]
    Kit(#[from] linkflow_providers::kit::KitError),
    /// An address cannot be listened on.
    #[error("the edge cannot listen at {0}; perhaps another `linkflow up` serves this stack")]
    Listen(std::io::Error),
    /// A certificate cannot be used.
    #[error("the edge has no certificate: {0}")]
    Certificate(String),
    /// Something that the config names is not there.
    #[error("{what}")]
    Missing {
        /// What.
        what: String,
        /// What helps.
        help: String,
    },
}

/// A stack with everything it needs. [`Stack::close`] ends it.
pub(crate) struct Stack {
    /// Observes, decides, acts.
    pub(crate) engine: Arc<Engine>,
    /// Serves and checks. It runs since the stack was opened.
    pub(crate) edge: Edge,
    /// Every background task of the loop.
    pub(crate) tasks: Tasks,
    /// Makes releases.
    pub(crate) releases: Arc<Releases>,
    /// How everything that is watched stands.
    pub(crate) stands: watch::Sender<Vec<Stands>>,
    /// How every domain that is watched stands.
    pub(crate) domains: watch::Sender<Vec<Stands>>,
    /// How everything that is waited for stands: heartbeats, and our own jobs.
    pub(crate) awaited: watch::Sender<Vec<Stands>>,
    /// Tells people of incidents, once it is started.
    pub(crate) alerts: Arc<Alerts>,
    /// Beats while the status page is kept fresh.
    pub(crate) page_pulse: Pulse,
    /// Seals what the store must not tell, with a key that follows from that of the state folder.
    pub(crate) seal: Seal,
    /// Beats while certificates are seen to, where a CA gives them.
    pub(crate) certificates_pulse: Option<Pulse>,
    /// Where people subscribe to the status page, when they may.
    desk: Option<Arc<Desk>>,
    /// Who tells them, until it is started.
    tellers: Option<Tellers>,
    /// Tells others that LinkFlow is well, once it is started.
    watchdog: Watchdog,
    /// Takes the reports of jobs.
    pub(crate) beats: Arc<Beats>,
    /// The providers that run services.
    pub(crate) computes: BTreeMap<ProviderName, Arc<dyn Compute>>,
    /// Makes definitions of releases.
    pub(crate) renderer: Arc<Renderer>,
    /// What the user asked for.
    pub(crate) config: Config,
    /// Tells the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Remembers.
    pub(crate) store: Arc<dyn Store>,
    /// Who served before this process, and what the next one is to have; once.
    pub(crate) succession: Option<Succession>,
    /// What vendors see, and what takes their hooks.
    pub(crate) outside: Arc<Outside>,
    /// From where it is looked.
    pub(crate) places: Places,
    /// Where operators come in, when this process serves; or why they cannot.
    dashboard: dashboard::Opened,
    tracker: TaskTracker,
}

impl Stack {
    /// Opens everything. Nothing is asked of a provider yet.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub(crate) async fn open(config: Config, options: OpenOptions) -> Result<Self, OpenError> {
        let in_folder = |source| OpenError::State { folder: options.state.clone(), source };
        let home = Home::open(&options.state).map_err(in_folder)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(home.path("linkflow.db"))?);
        let kit = kit(&home, &options, &clock)?;
        let mut chosen = ports::choose(&home, &config).map_err(in_folder)?;

        let secrets =
            Arc::new(Secrets::new(options.vars.clone(), home.key(), options.cloud.is_some()));
        let computes = parts::computes(&config, &options, &secrets, &kit)?;
        let channels = notify::channels(&config, &options, &secrets, &kit)?;
        let alerts = alerts::open(&config, &options, &secrets, &kit, (&store, &clock));
        let registry = Arc::new(Registries::open(&config, options.cloud.as_ref(), &secrets, &kit)?);
        let beats = Arc::new(Beats::open(&config, home.key(), &secrets));
        let watchdog = Watchdog::open(&config, &options, &secrets, &kit);
        let page = page::open(&config, &options, &secrets, &kit)?;
        let told = (&*secrets, &home.key());
        let (desk, tellers) =
            subscribe::open(&config, &options, told, &kit, (&store, &clock)).unzip();
        let places = Places::open(&config, &options, &secrets, &kit)?;
        let outside = Arc::new(Outside::open(&config, &options, home.key(), &secrets, &kit));
        let (handed, mut sockets) = handed(&options)?;
        let (dashboard, also) = dashboard::open(&config, options.listen, &mut sockets);
        let front = edge::front(&config, &options, &secrets, &home, (&page.shelf, also))?;
        let renderer =
            Arc::new(Renderer::new(&config, secrets, chosen.ports.clone(), &options, home.key()));
        renderer.learn(&store.list("release/").await?);

        let acme = front.tls.as_ref().and_then(|tls| tls.acme.as_ref());
        let certificates_pulse = acme.map(|acme| acme.pulse.clone());
        let wanted = edge::options(&config, &options, chosen.ports, front);
        chosen.sockets.extend(sockets);
        let (edge, routes, told) = take_over(wanted, chosen.sockets, &clock).await?;
        let (tracker, tasks) = (TaskTracker::new(), Tasks::default());
        show_live(&options, &home, &edge, &tasks);
        let page_pulse = page.start(&tasks, &store, &clock);
        let sockets = dashboard::beside(edge.sockets(), &dashboard).map_err(OpenError::Listen)?;
        let parts = parts(&config, &options, (&computes, &renderer), channels, (&store, &clock));
        let engine = Engine::new(Parts { probes: edge.probes(), routes, ..parts });
        know_routes(&engine, handed.is_some()).await?;
        edge.run(&tracker);
        tend(&tasks, &edge, told, &engine, (&store, &clock));
        let made = Releases::new(&engine, registry, (&computes, &renderer), &config, &options);
        Ok(Self {
            engine,
            edge,
            releases: Arc::new(made),
            stands: watch::channel(Vec::new()).0,
            domains: watch::channel(Vec::new()).0,
            awaited: watch::channel(Vec::new()).0,
            alerts,
            tasks,
            beats,
            watchdog,
            page_pulse,
            certificates_pulse,
            seal: Seal::new(&home.key().derive("dashboard/seal")),
            desk,
            tellers,
            computes,
            renderer,
            config,
            clock,
            store,
            outside,
            places,
            dashboard,
            tracker,
            succession: Some(Succession { state: options.state, handed, sockets }),
        })
    }

    /// Starts the loop: it looks, decides and acts until the stack is closed.
    pub(crate) fn run_loop(&self) {
        let engine = Arc::clone(&self.engine);
        self.tasks.start("engine", |stop| engine.run(stop));
    }

    /// Where services call `service`, `host:port`.
    pub(crate) fn address_of(&self, service: &ServiceName) -> Option<String> {
        self.renderer.address_of(service)
    }

    /// Ends every task, the edge last; what is under way may finish for up to `grace`.
    pub(crate) async fn close(self, grace: Duration) {
        self.tasks.shut_down(grace).await;
        self.edge.stop(grace).await;
        self.tracker.close();
    }
}

/// The edge at its sockets, those of a process before among them; where it is told of routes, and what it tells.
async fn take_over(
    options: linkflow_edge::Options,
    sockets: Vec<TcpListener>,
    clock: &Arc<dyn Clock>,
) -> Result<(Edge, watch::Sender<Arc<Routes>>, mpsc::Receiver<Event>), OpenError> {
    let (routes, seen) = watch::channel(Arc::new(Routes::default()));
    let (events, told) = mpsc::channel(1_024);
    let edge = Edge::take_over(options, sockets, seen, Arc::clone(clock), events).await;
    Ok((edge.map_err(edge::unbound)?, routes, told))
}

/// What the engine is made of, but for the edge's side of it.
fn parts(
    config: &Config,
    options: &OpenOptions,
    (computes, renderer): (&BTreeMap<ProviderName, Arc<dyn Compute>>, &Arc<Renderer>),
    notify: Vec<(ProviderName, Arc<dyn Notify>)>,
    (store, clock): (&Arc<dyn Store>, &Arc<dyn Clock>),
) -> Parts {
    Parts {
        stack: config.stack.name.clone(),
        services: config.services(),
        policy: config.policy(),
        rollout: config.rollout(),
        computes: computes.clone(),
        programs: parts::programs(config),
        notify,
        hooks: Processes::of(&config.deploy.hooks, options).filter(|_| options.hooks),
        render: Arc::clone(renderer) as _,
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        probes: watch::channel(Arc::default()).1,
        routes: watch::channel(Arc::default()).0,
        owner: process::owner(&options.what, &options.vars),
        alive: Arc::new(process::is_alive),
        crash: (!options.crash.is_empty()).then(|| crash_at(options.crash.clone())),
    }
}

/// The client that providers are asked with.
fn kit(home: &Home, options: &OpenOptions, clock: &Arc<dyn Clock>) -> Result<Kit, OpenError> {
    Ok(Kit::new(KitOptions {
        record: options.record.clone(),
        clock: Arc::clone(clock),
        user_agent: concat!("linkflow/", env!("CARGO_PKG_VERSION")).to_owned(),
        limits: Some(home.path(LIMITS)),
    })?)
}

/// Visitors of the one before come in from the first moment on, and are to be led where they were led.
async fn know_routes(engine: &Engine, takes_over: bool) -> Result<(), OpenError> {
    if !takes_over {
        return Ok(());
    }
    let known = async {
        engine.follow_live().await?;
        engine.look().await;
        engine.world().await
    };
    let known = known.await.map(drop);
    known.map_err(|error| OpenError::Missing {
        what: format!("nothing can be taken over: {error}"),
        help: "the `linkflow up` of before goes on serving".to_owned(),
    })
}

/// Shows how the edge does to `route top`, where this process serves.
fn show_live(options: &OpenOptions, home: &Home, edge: &Edge, tasks: &Tasks) {
    if let Listen::At { takes_over, .. } = options.listen {
        live::serve(home, edge.view(), tasks, takes_over);
    }
}

/// The sockets of the process that this one takes over from, if it is to.
fn handed(options: &OpenOptions) -> Result<(Option<Handed>, Vec<TcpListener>), OpenError> {
    let Listen::At { takes_over: true, .. } = options.listen else {
        return Ok((None, Vec::new()));
    };
    let missing = |what: String| OpenError::Missing {
        what,
        help: "without `--take-over` this process listens by itself".to_owned(),
    };
    match handover::ask(&options.state) {
        Ok(Some((handed, sockets))) => Ok((Some(handed), sockets)),
        Ok(None) => Err(missing("no `linkflow up` serves with this state folder".to_owned())),
        Err(error) => {
            Err(missing(format!("the `linkflow up` that serves gives no sockets: {error}")))
        }
    }
}

/// Keeps what the edge notices and what certificates it has.
fn tend(
    tasks: &Tasks,
    edge: &Edge,
    told: mpsc::Receiver<Event>,
    engine: &Arc<Engine>,
    (store, clock): (&Arc<dyn Store>, &Arc<dyn Clock>),
) {
    forward(tasks, told, Arc::clone(engine));
    edge::record_certificates(tasks, edge.certificates(), store, clock);
}

/// Gives what the edge noticed to the engine, which keeps it.
fn forward(tasks: &Tasks, mut told: mpsc::Receiver<Event>, engine: Arc<Engine>) {
    tasks.start("edge events", |stop: Stop| async move {
        while let Some(Some(event)) = stop.or(told.recv()).await {
            engine.tell(event).await;
        }
    });
}

impl OpenError {
    /// What would help.
    pub(crate) fn help(&self) -> &str {
        match self {
            Self::Missing { help, .. } => help,
            Self::State { .. } => "`--state FOLDER` names another folder",
            Self::Store(_) => "see whether the disk is full and the folder may be written",
            Self::Kit(_) => "HTTPS needs the certificates of the system (ca-certificates)",
            Self::Listen(_) => {
                "`edge.listen` and `edge.listen_tls` in the config say where it listens"
            }
            Self::Certificate(_) => "`linkflow check` tells what is wrong with each certificate",
        }
    }

    /// Whether the config is what is wrong.
    pub(crate) fn is_of_config(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Certificate(_))
    }
}
