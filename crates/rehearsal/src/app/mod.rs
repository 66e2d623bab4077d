//! The sample app that the rehearsal cloud runs: seven small services that do what a product's engine does.
//!
//! `POST /api/v1/workflows` goes api → engine-frontend → engine-history, which appends one entry to the
//! [ledger](crate::ledger) and queues a task with engine-matching; engine-worker executes it. engine-timer fires once per
//! period, queue sends notifications. Each service is a process of a few megabytes. What it did can be counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::Request;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

mod answer;
mod api;
mod end;
mod frontend;
mod grpc;
mod history;
mod matching;
mod migrate;
mod peer;
mod queue;
mod serve;
mod settings;
mod timer;
mod worker;

use answer::Answer;
use settings::{Behaviour, Service, Settings};

/// How long requests in flight get when the process is asked to stop.
const GRACE: Duration = Duration::from_secs(3);

/// What one service does beside telling its health.
#[async_trait]
trait Role: Send + Sync {
    /// Answers a request.
    async fn answer(&self, request: Request<Incoming>) -> Answer;

    /// Does what the service does by itself, until `stop`.
    async fn work(&self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}

/// Runs `service` with the environment `env`, or the migration where that is what a command line says.
///
/// A service runs until SIGTERM or SIGINT and listens on `PORT` of the loopback interface (or of `LINKFLOW_BIND`). With `LINKFLOW_ORPHAN=die` it also ends when its parent does.
///
/// Dropping the future ends everything at once, as a kill would.
///
/// # Errors
/// Why it cannot start or go on: the caller writes it to stderr and exits with 1.
pub async fn run(service: &str, mut env: BTreeMap<String, String>) -> Result<(), String> {
    let service = if !Service::is_named(service) && migrate::is_meant_by(service) {
        env.insert(settings::COMMAND.to_owned(), service.to_owned());
        Service::Migrate.name()
    } else {
        service
    };
    let settings = Settings::read(service, &env)?;
    if settings.service == Service::Migrate {
        return migrate::run(Arc::new(settings)).await;
    }
    let listener = match settings.port {
        Some(port) => {
            let at = format!("{}:{port}", settings.bind);
            let bound = TcpListener::bind(&at).await;
            Some(bound.map_err(|error| format!("{service} cannot listen on {at}: {error}"))?)
        }
        None => None,
    };
    run_with(settings, listener).await
}

/// Like [`run`], on a `listener` that is there already.
///
/// # Errors
/// Why it cannot start or go on.
pub async fn run_on(
    listener: TcpListener,
    service: &str,
    env: BTreeMap<String, String>,
) -> Result<(), String> {
    run_with(Settings::read(service, &env)?, Some(listener)).await
}

async fn run_with(settings: Settings, listener: Option<TcpListener>) -> Result<(), String> {
    let settings = Arc::new(settings);
    if settings.behaviour == Behaviour::Crash {
        return Err(format!(
            "{} {}: cannot start: this image is broken on purpose (behaviour `crash`)",
            settings.service.name(),
            settings.me.release
        ));
    }
    let role = role(&settings)?;
    let stop = CancellationToken::new();
    let mut parts = JoinSet::new();
    let place = match &listener {
        Some(listener) => listener.local_addr().map_err(|e| e.to_string())?.to_string(),
        None => "no port".to_owned(),
    };
    if let Some(listener) = listener {
        parts.spawn(serve::serve(listener, settings.clone(), role.clone(), stop.clone()));
    }
    let working = stop.clone();
    parts.spawn(async move { role.work(working).await });
    settings.log(&format!("started, release {}, listening on {place}", settings.me.release));

    let why = tokio::select! {
        why = end::asked(settings.orphan_dies) => why?,
        _ = parts.join_next() => return Err("a part of it ended by itself".to_owned()),
    };
    settings.log(&format!("{why}: stopping"));
    stop.cancel();
    let finished = timeout(GRACE, async { while parts.join_next().await.is_some() {} }).await;
    settings.log(if finished.is_ok() {
        "stopped"
    } else {
        "stopped with requests still in flight"
    });
    Ok(())
}

fn role(settings: &Arc<Settings>) -> Result<Arc<dyn Role>, String> {
    Ok(match settings.service {
        Service::Api => Arc::new(api::Api::new(settings.clone())?),
        Service::Frontend => Arc::new(frontend::Frontend::new(settings.clone())?),
        Service::History => Arc::new(history::History::new(settings.clone())?),
        Service::Matching => Arc::new(matching::Matching::new(settings.clone())?),
        Service::Worker => Arc::new(worker::Worker::new(settings.clone())?),
        Service::Queue => Arc::new(queue::Queue::new(settings.clone())?),
        Service::Timer => Arc::new(timer::Timer::new(settings.clone())?),
        Service::Migrate => return Err("a migration listens to nobody".to_owned()),
    })
}
