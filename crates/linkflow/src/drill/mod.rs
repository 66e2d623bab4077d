//! A rehearsal: the stack on simulated providers, visitors who never stop asking, and one disaster after another.

mod cast;
mod deploy;
mod killed;
mod memory;
mod pace;
mod scenario;
mod scene;
mod show;
mod sleep;
mod stage;
mod swap;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use linkflow_model::ServiceKind;
use linkflow_model::config::Config;
use linkflow_rehearsal::cloud::{Cloud, CloudOptions};
use linkflow_rehearsal::report::{LoadLine, Machine, ProviderLine, RehearsalReport, ServiceLine};
use tokio::signal::unix::{SignalKind, signal};

use cast::Cast;
use killed::Other;
pub(crate) use scenario::Scenario;
pub(crate) use show::Show;
use stage::Stage;

use crate::wire::{Listen, OpenError, OpenOptions, Stack};

/// How long the first release may take until everything is in its place.
const SET_UP: Duration = Duration::from_secs(30);

/// How long what is under way may take at the end.
const GRACE: Duration = Duration::from_secs(2);

/// What is to be rehearsed.
pub(crate) struct Wanted {
    /// The stack.
    pub(crate) config: Config,
    /// Where its config is, for another process.
    pub(crate) file: PathBuf,
    /// The environment of it, when one was asked for.
    pub(crate) env: Option<String>,
    /// What to rehearse; nothing: the usual ones that this stack can have.
    pub(crate) scenarios: Vec<Scenario>,
    /// Requests per second.
    pub(crate) rate: u32,
    /// What chance is thrown with.
    pub(crate) seed: u64,
    /// An empty folder for everything that is kept meanwhile.
    pub(crate) folder: PathBuf,
    /// This program: simulated providers run it as the app.
    pub(crate) program: PathBuf,
    /// Where to append each exchange with a provider.
    pub(crate) record: Option<PathBuf>,
    /// The environment of this process.
    pub(crate) vars: BTreeMap<String, String>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DrillError {
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The config does not fit a rehearsal.
    #[error("{0}")]
    Unfit(String),
    /// The stack cannot be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The rehearsal did not come to its end.
    #[error("{0}")]
    Failed(String),
}

/// Rehearses, shows how it goes, and leaves no process behind whatever happens.
///
/// # Errors
/// When nothing could be measured; a scenario that went badly is in the report.
pub(crate) async fn rehearse(wanted: Wanted, show: &Show) -> Result<RehearsalReport, DrillError> {
    let cast = Cast::of(&wanted.config).map_err(DrillError::Unfit)?;
    let providers = wanted.config.compute();
    let kinds =
        providers.iter().map(|(name, provider)| (name.clone(), provider.kind().word.to_owned()));
    show.step(&format!("starting {} simulated providers", providers.len()));
    let options = CloudOptions {
        program: wanted.program.clone(),
        folder: wanted.folder.join("cloud"),
        stack: wanted.config.stack.name.clone(),
        providers: kinds.collect(),
        seed: wanted.seed,
    };
    let cloud = Cloud::start(options).await;
    let cloud = cloud.map_err(|e| DrillError::Failed(format!("the cloud did not start: {e}")))?;
    let outcome = Box::pin(on_cloud(&cloud, cast, &wanted, show)).await;
    cloud.stop().await;
    show.end();
    outcome
}

async fn on_cloud(
    cloud: &Cloud,
    cast: Cast,
    wanted: &Wanted,
    show: &Show,
) -> Result<RehearsalReport, DrillError> {
    let options = OpenOptions {
        state: wanted.folder.join("state"),
        workdir: wanted.folder.clone(),
        cloud: Some(cloud.endpoints()),
        record: wanted.record.clone(),
        vars: wanted.vars.clone(),
        what: "linkflow rehearse".to_owned(),
        listen: Listen::At {
            public: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            takes_over: false,
        },
        hooks: false,
        crash: Vec::new(),
    };
    let stack = Stack::open(wanted.config.clone(), options).await?;
    let other = Other {
        program: wanted.program.clone(),
        config: wanted.file.clone(),
        env: wanted.env.clone(),
        state: wanted.folder.join("state"),
        vars: wanted.vars.clone(),
    };
    let stage = Stage::new(cloud, &stack, cast, show.clone(), (wanted.rate, wanted.seed), other);
    let outcome = tokio::select! {
        biased;
        () = interrupted() => Err(DrillError::Interrupted),
        played = Box::pin(play(&stage, wanted)) => played.map_err(DrillError::Failed),
    };
    drop(stage);
    stack.close(GRACE).await;
    outcome
}

/// Waits until somebody asks to stop: Ctrl-C, or SIGTERM.
async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        Some(()) = terminate.recv() => {}
        else => std::future::pending().await,
    }
}

/// Those that were named, or the usual ones that this stack can have.
fn chosen(stage: &Stage<'_>, named: &[Scenario]) -> Vec<Scenario> {
    if !named.is_empty() {
        return named.to_vec();
    }
    let (usual, left_out): (Vec<_>, Vec<_>) =
        Scenario::USUAL.into_iter().partition(|scenario| scenario.fits(stage));
    for scenario in left_out {
        stage.show.step(&format!("{scenario} is left out: {}", scenario.told(stage).story));
    }
    usual
}

async fn play(stage: &Stage<'_>, wanted: &Wanted) -> Result<RehearsalReport, String> {
    let (began, started) = (stage.clock().now(), stage.clock().wall());
    let placements: usize = stage.cast.services.iter().map(|spec| spec.runs_on.len()).sum();
    stage.show.step(&format!(
        "deploying {} services to {placements} placements",
        stage.cast.services.len()
    ));
    stage.set_up(SET_UP).await?;
    let idle = memory::now();
    let mut scenarios = Vec::new();
    for scenario in chosen(stage, &wanted.scenarios) {
        let result = scenario.play(stage).await.map_err(|why| format!("{scenario}: {why}"))?;
        stage.show.result(&result);
        scenarios.push(result);
    }
    let kind = |kind: ServiceKind| match kind {
        ServiceKind::Web => "web",
        ServiceKind::Grpc => "grpc",
        ServiceKind::Worker => "worker",
    };
    let services = stage.cast.services.iter().map(|spec| ServiceLine {
        name: spec.name.to_string(),
        kind: kind(spec.kind).to_owned(),
        runs_on: spec.runs_on.iter().map(ToString::to_string).collect(),
    });
    let providers = wanted.config.compute();
    let providers = providers.iter().map(|(name, provider)| ProviderLine {
        name: name.to_string(),
        kind: provider.kind().word.to_owned(),
    });
    Ok(RehearsalReport {
        stack: wanted.config.stack.name.to_string(),
        seed: wanted.seed,
        started,
        took_ms: stage.clock().now().since(began),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: Machine::here(),
        services: services.collect(),
        providers: providers.collect(),
        load: LoadLine {
            rate: wanted.rate,
            write_every: scene::WRITE_EVERY,
            timeout_ms: u64::try_from(scene::VISITOR_WAITS.as_millis()).unwrap_or(u64::MAX),
        },
        idle_memory_mb: idle.map(|idle| idle.resident_mb),
        idle_allocated_mb: idle.map(|idle| idle.allocated_mb),
        scenarios,
    })
}
