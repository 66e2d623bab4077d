//! LinkFlow's edge, alone: `edge PORT CERTIFICATE KEY FIRST_URL SECOND_URL ..` leads every host to the first target that
//! works, in plain HTTP at PORT and with TLS at the one behind it. `MOST` is how many requests each target takes at once;
//! SIGHUP publishes other routes.
//!
//! What `linkflow up` serves visitors with, without providers behind it: the table of routes is written here.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use linkflow_edge::{Edge, Front, Limits, Options, PairOfFiles, Resolve, TlsOptions, Watched};
use linkflow_model::clock::SystemClock;
use linkflow_model::{
    HostRoute, Policy, ProviderName, Queue, Routes, ServiceKind, ServiceName, ServiceRoute, Target,
    Timeouts,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

/// As in `linkflow` itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, port, certificate, key, addresses @ ..] = args.as_slice() else {
        return Err("edge PORT CERTIFICATE KEY FIRST_URL SECOND_URL ..".into());
    };
    let port: u16 = port.parse()?;
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut tls = TlsOptions::at(at(port + 1));
    tls.https_only = false;
    let (name, chain, key) = ("bench".to_owned(), certificate.into(), key.into());
    tls.files = vec![PairOfFiles { name, chain, key }];
    let options = Options {
        public: at(port),
        front: Front { tls: Some(tls), ..Front::default() },
        internal: BTreeMap::new(),
        resolve: Resolve::default(),
        limits: limits(),
        policy: policy(),
        watched: Watched::default(),
    };
    let most = std::env::var("MOST").ok().map(|most| most.parse()).transpose()?;
    let (published, watched) = watch::channel(Arc::new(routes(addresses, most)?));
    let (events, mut noticed) = mpsc::channel(256);
    let edge = Edge::bind(options, watched, Arc::new(SystemClock::start()), events).await?;
    let tracker = TaskTracker::new();
    edge.run(&tracker);
    let (mut stop, mut reload) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            _ = reload.recv() => published.send_modify(|held| {
                let mut routes = Routes::clone(held);
                routes.generation += 1;
                let host = format!("g{}.example", routes.generation);
                routes.services[0].hosts[1] = HostRoute::new(host, "/");
                *held = Arc::new(routes);
            }),
            Some(event) = noticed.recv() => eprintln!("{}", event.message),
        }
    }
    edge.stop(Duration::from_secs(1)).await;
    Ok(())
}

/// The limits that all proxies of the yardstick have.
fn limits() -> Limits {
    let (connections, connect_ms, first_byte_ms, ramp_ms) = (16_384, 250, 1_000, 3_000);
    Limits { connections, connect_ms, first_byte_ms, ramp_ms, ..Limits::default() }
}

/// The checks that all proxies of the yardstick make.
fn policy() -> Policy {
    Policy {
        probe_every_ms: 200,
        probe_timeout_ms: 200,
        probe_in_doubt_ms: 100,
        fall: 2,
        rise: 3,
        ..Policy::default()
    }
}

fn routes(addresses: &[String], most: Option<u32>) -> Result<Routes, Failure> {
    let mut targets = Vec::new();
    for (rank, address) in addresses.iter().enumerate() {
        let provider = ProviderName::new(&format!("p{rank}")).ok_or("no such name")?;
        targets.push(Target { provider, address: address.clone(), rank, sleeps: None, most });
    }
    let route = ServiceRoute {
        service: ServiceName::new("app").ok_or("no such name")?,
        kind: ServiceKind::Web,
        hosts: vec![HostRoute::new("*", "/"), HostRoute::new("g1.example", "/")],
        health: Some("/healthz".to_owned()),
        idempotency_key: false,
        timeouts: Timeouts::default(),
        queue: Queue { longest: 64, wait_ms: 1_000 },
        targets,
    };
    Ok(Routes { generation: 1, services: vec![route] })
}
