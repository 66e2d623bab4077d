//! The operators' site beside the edge: the dashboard and the API, at an address of their own and at a socket of the state
//! folder, which is for its owner alone.

use std::net::SocketAddr;
use std::sync::Arc;

use linkflow_engine::Stop;
use linkflow_model::access::{Caller, Means, Scope};
use linkflow_web::{Live, Site};
use tokio::net::TcpListener;
use tracing::warn;

use super::Stack;
use super::operator::Running;
use super::site::SOCKET;
use super::socket;
use super::state::Home;

/// Begins to answer operators, where the config wants it. Gives where, or why it cannot, in one sentence.
///
/// A process that serves visitors at any free port (a test, a rehearsal of one) does so for operators as well.
pub(crate) async fn start(stack: &Stack, rehearsed: bool) -> Result<Option<SocketAddr>, String> {
    let site = Site {
        store: Arc::clone(&stack.store),
        clock: Arc::clone(&stack.clock),
        config: Arc::new(stack.config.clone()),
        operator: Running::start(stack, rehearsed),
        live: Live::default(),
    };
    let watching = site.clone();
    stack.tasks.start("changes", |stop: Stop| async move {
        stop.or(watching.watch()).await;
    });
    for_owner(stack, site.clone());
    let wanted = &stack.config.dashboard;
    if !wanted.on {
        return Ok(None);
    }
    let mut at = wanted.listen;
    if stack.any_port {
        at.set_port(0);
    }
    let unable = |error| {
        format!(
            "the dashboard cannot listen at {at}: {error}; `dashboard.listen` in the config says where"
        )
    };
    let listener = TcpListener::bind(at).await.map_err(unable)?;
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
