//! The operators' site beside the edge: the dashboard and the API, at an address of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use linkflow_engine::Stop;
use linkflow_web::Site;
use tokio::net::TcpListener;
use tracing::warn;

use super::Stack;

/// Begins to answer operators, where the config wants it. Gives where, or why it cannot, in one sentence.
///
/// A process that serves visitors at any free port (a test, a rehearsal of one) does so for operators as well.
pub(crate) async fn start(stack: &Stack) -> Result<Option<SocketAddr>, String> {
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
    let site = Site {
        store: Arc::clone(&stack.store),
        clock: Arc::clone(&stack.clock),
        config: Arc::new(stack.config.clone()),
        beats: Arc::clone(&stack.beats.intake),
    };
    stack.tasks.start("dashboard", |stop: Stop| async move {
        if let Err(error) = site.serve(listener, async move { stop.requested().await }).await {
            warn!(%error, "the dashboard ended");
        }
    });
    Ok(Some(at))
}
