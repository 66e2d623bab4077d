//! The operators' site beside the edge: the dashboard and the API, at an address of their own and at a socket of the state
//! folder, which is for its owner alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use linkflow_edge::HiddenPaths;
use linkflow_engine::Stop;
use linkflow_model::access::{Caller, Means, Scope};
use linkflow_model::config::Config;
use linkflow_model::{
    HostRoute, ProviderName, Queue, ServiceKind, ServiceName, ServiceRoute, Target, Timeouts,
};
use linkflow_web::{KEYED_PATHS, Live, PLAIN_PATHS, Site, door};
use tokio::net::TcpListener;
use tracing::warn;

use super::operator::Running;
use super::site::SOCKET;
use super::state::Home;
use super::{Listen, Stack, socket};

/// The addresses under which a browser reaches the dashboard that listens at `at`: that of its host first, where it has
/// one, and that on this machine. It is named `localhost` there, for passkeys need a name.
pub(crate) fn addresses(config: &Config, at: SocketAddr) -> Vec<String> {
    let host = config.dashboard.host.as_ref().map(|host| format!("https://{}", host.0));
    let here = at.ip().is_loopback() || at.ip().is_unspecified();
    let here = if here { format!("localhost:{}", at.port()) } else { at.to_string() };
    host.into_iter().chain([format!("http://{here}")]).collect()
}

/// Links that let the first person in, while there is nobody: the same one, by each address of the dashboard at `at`.
pub(crate) async fn first_links(stack: &Stack, at: SocketAddr) -> Result<Vec<String>, String> {
    let secret = door::first(&*stack.store, stack.clock.wall()).await;
    let secret = secret.map_err(|error| format!("no link for the first person: {error}"))?;
    let Some(secret) = secret else { return Ok(Vec::new()) };
    let bases = addresses(&stack.config, at).into_iter();
    Ok(bases.map(|base| format!("{base}/setup/{secret}")).collect())
}

/// How the dashboard is called among the services that the edge leads to.
const SERVICE: &str = "linkflow-dashboard";

/// The socket of the dashboard, where this process has one; or one sentence that says why it cannot.
pub(super) type Opened = Result<Option<StdListener>, String>;

/// Opens the socket of the dashboard, for a process that serves and whose config wants one; or takes it from the process
/// before, out of what that one `handed` on. Besides, how the edge leads to it.
///
/// A process that serves visitors at any free port (a test, a rehearsal of one) does so for operators as well.
pub(super) fn open(
    config: &Config,
    listen: Listen,
    handed: &mut Vec<StdListener>,
) -> (Opened, Option<ServiceRoute>) {
    let Listen::At { public, .. } = listen else { return (Ok(None), None) };
    if !config.dashboard.on {
        return (Ok(None), None);
    }
    let mut at = config.dashboard.listen;
    if public.port() == 0 {
        at.set_port(0);
    }
    let held = handed.iter().position(|one| one.local_addr().is_ok_and(|held| held == at));
    let opened = match held {
        Some(held) => Ok(handed.swap_remove(held)),
        None => StdListener::bind(at),
    };
    match opened.and_then(|one| one.set_nonblocking(true).map(|()| one)) {
        Ok(opened) => {
            let route = route(config, &opened);
            (Ok(Some(opened)), route)
        }
        Err(error) => {
            let why = format!(
                "the dashboard cannot listen at {at}: {error}; `dashboard.listen` in the config says where"
            );
            (Err(why), None)
        }
    }
}

/// What the next process is given: the edge's sockets, and that of the dashboard.
pub(super) fn beside(edges: io::Result<Vec<OwnedFd>>, opened: &Opened) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = edges?;
    if let Ok(Some(opened)) = opened {
        sockets.push(opened.try_clone()?.into());
    }
    Ok(sockets)
}

/// What of the dashboard's paths the edge's log does not tell: addresses of jobs, of vendors and of invitations are secrets.
pub(super) fn hidden() -> Option<HiddenPaths> {
    let service = ServiceName::new(SERVICE)?;
    Some(HiddenPaths { service, plain: PLAIN_PATHS, keyed: KEYED_PATHS })
}

/// How the edge leads the host of the dashboard to it, where the config has one, and that at which people subscribe: of that
/// one only what they need.
fn route(config: &Config, at: &StdListener) -> Option<ServiceRoute> {
    let own = config.dashboard.host.as_ref().map(|host| host.0.clone());
    let open = config.subscribe_host().filter(|host| own.as_ref() != Some(host));
    let open = open.iter().flat_map(|host| {
        ["/subscribe", "/unsubscribe"].map(|path| HostRoute::new(host.clone(), path))
    });
    let hosts: Vec<HostRoute> =
        own.iter().map(|host| HostRoute::new(host.clone(), "/")).chain(open).collect();
    if hosts.is_empty() {
        return None;
    }
    let mut at = at.local_addr().ok()?;
    if at.ip().is_unspecified() {
        at.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let target = Target {
        provider: ProviderName::new("embedded")?,
        address: format!("http://{at}"),
        rank: 0,
        sleeps: None,
        most: None,
    };
    Some(ServiceRoute {
        service: ServiceName::new(SERVICE)?,
        kind: ServiceKind::Web,
        hosts,
        health: Some("/healthz".to_owned()),
        idempotency_key: false,
        timeouts: Timeouts::default(),
        queue: Queue::default(),
        targets: vec![target],
    })
}

/// Begins to answer operators: at a socket of the state folder, and where the config wants it. Gives where, or why it cannot,
/// in one sentence.
pub(crate) async fn start(stack: &Stack, rehearsed: bool) -> Result<Option<SocketAddr>, String> {
    let site = Site {
        store: Arc::clone(&stack.store),
        clock: Arc::clone(&stack.clock),
        config: Arc::new(stack.config.clone()),
        eyes: Arc::clone(&stack.places.here),
        operator: Running::start(stack, rehearsed),
        live: Live::default(),
        beats: Arc::clone(&stack.beats.intake),
        seal: stack.seal.clone(),
        hooks: Arc::clone(&stack.outside.hooks),
        addresses: stack.beats.source.clone(),
        desk: stack.desk.clone(),
    };
    let watching = site.clone();
    stack.tasks.start("changes", |stop: Stop| async move {
        stop.or(watching.watch()).await;
    });
    for_owner(stack, site.clone());
    let Some(opened) = stack.dashboard.as_ref().map_err(Clone::clone)? else { return Ok(None) };
    let unable = |error| format!("the dashboard cannot listen: {error}");
    let listener = opened.try_clone().and_then(TcpListener::from_std).map_err(unable)?;
    let at = listener.local_addr().map_err(unable)?;
    stack.tasks.start("dashboard", |stop: Stop| async move {
        if let Err(error) = site.serve(listener, async move { stop.requested().await }).await {
            warn!(%error, "the dashboard ended");
        }
    });
    Ok(Some(at))
}

/// Answers whoever may open the socket in the state folder, and needs no other proof: `linkflow top`.
fn for_owner(stack: &Stack, site: Site) {
    let Some(succession) = &stack.succession else { return };
    let takes_over = succession.handed.is_some();
    let opened =
        Home::open(&succession.state).and_then(|home| socket::listen(&home, SOCKET, takes_over));
    let (listener, file) = match opened {
        Ok(Some(opened)) => opened,
        // Another process with this state folder answers there.
        Ok(None) => return,
        Err(error) => {
            warn!(%error, "`linkflow top` will not see this process");
            return;
        }
    };
    let name = "the owner of the state folder".to_owned();
    let owner = Caller { name, scope: Scope::Admin, means: Means::Token };
    stack.tasks.start("dashboard at a socket", |stop: Stop| async move {
        let served = site.serve_owner(listener, owner, async move { stop.requested().await });
        if let Err(error) = served.await {
            warn!(%error, "the dashboard at the socket ended");
        }
        drop(file);
    });
}
