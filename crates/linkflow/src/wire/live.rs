//! The socket at which a running `linkflow up` says what its edge does: in the state folder, which is its owner's alone.
//!
//! Whoever connects reads one JSON value. Nothing is asked, so nothing can be asked for that would change something.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use linkflow_edge::{EdgePicture, View};
use linkflow_engine::{Stop, Tasks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::socket::{self, reached};
use super::state::Home;

const SOCKET: &str = "edge.sock";

/// How long saying it, or hearing it, may take.
const WITHIN: Duration = Duration::from_secs(2);

/// Says what the edge does to whoever connects, in a task of `tasks`. Of several processes with one state folder, the first
/// one does, until another one `takes_over`.
pub(super) fn serve(home: &Home, view: View, tasks: &Tasks, takes_over: bool) {
    let (listener, file) = match socket::listen(home, SOCKET, takes_over) {
        Ok(Some(opened)) => opened,
        Ok(None) => return,
        Err(error) => {
            warn!(%error, "`linkflow route top` will not see this process");
            return;
        }
    };
    tasks.start("live view", |stop: Stop| async move {
        while let Some(accepted) = stop.or(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => say(stream, &view).await,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
        drop(file);
    });
}

async fn say(mut stream: UnixStream, view: &View) {
    // Plain data with text keys always has a JSON form.
    let text = serde_json::to_vec(&view.picture()).unwrap_or_default();
    let said = timeout(WITHIN, stream.write_all(&text)).await;
    if !matches!(said, Ok(Ok(()))) {
        tracing::debug!("whoever asked what the edge does did not listen");
    }
}

/// What the edge of the process with the state folder `folder` does. `None`: there is no such process.
///
/// # Errors
/// One sentence, when it is there and cannot be understood.
pub(crate) async fn ask(folder: &Path) -> Result<Option<EdgePicture>, String> {
    let Ok((path, _held)) = reached(folder, SOCKET) else { return Ok(None) };
    let mut stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(format!("{}: {error}", folder.join(SOCKET).display())),
    };
    let mut text = Vec::new();
    match timeout(WITHIN, stream.read_to_end(&mut text)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(format!("the running `linkflow up` broke off: {error}")),
        Err(_) => return Err("the running `linkflow up` does not answer in 2 s".to_owned()),
    }
    let other = |error| format!("the running `linkflow up` is of another version: {error}");
    serde_json::from_slice(&text).map(Some).map_err(other)
}
