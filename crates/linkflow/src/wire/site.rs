//! Asks the operators' site of the `linkflow up` that runs with a state folder, at the socket that is its owner's alone.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::socket::reached;

/// The socket in the state folder.
pub(super) const SOCKET: &str = "site.sock";

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(5);

/// What the API answers at `path` in the process with the state folder `folder`. `None`: there is no such process.
///
/// # Errors
/// One sentence, when it is there and cannot be understood.
pub(crate) async fn get<T: DeserializeOwned>(
    folder: &Path,
    path: &str,
) -> Result<Option<T>, String> {
    let Ok((socket, _held)) = reached(folder, SOCKET) else { return Ok(None) };
    let stream = match UnixStream::connect(&socket).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(format!("{}: {error}", folder.join(SOCKET).display())),
    };
    match timeout(WITHIN, ask(stream, path)).await {
        Ok(answer) => answer.map(Some),
        Err(_) => Err("the running `linkflow up` does not answer in 5 s".to_owned()),
    }
}

async fn ask<T: DeserializeOwned>(stream: UnixStream, path: &str) -> Result<T, String> {
    let broken = |error: hyper::Error| format!("the running `linkflow up` broke off: {error}");
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(path).header("host", "linkflow").body(Empty::new());
    let request = request.map_err(|error| format!("`{path}` cannot be asked: {error}"))?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(broken)?.to_bytes();
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&bytes);
            return Err(format!("the running `linkflow up` answers {status}: {text}"));
        }
        let other = |error| format!("the running `linkflow up` is of another version: {error}");
        serde_json::from_slice(&bytes).map_err(other)
    };
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        ended = connection => {
            ended.map_err(broken)?;
            asking.await
        }
    }
}
