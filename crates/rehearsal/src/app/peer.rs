//! Calls from one service of the app to another.
//!
//! A call has five seconds. It is made again, once, only when that is safe: when it never left this machine, or when the
//! caller says that doing it twice is the same as doing it once.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, TE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::answer::header;
use super::grpc::{self, Code, Status};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

/// The largest answer that is read.
const LARGEST: usize = 1024 * 1024;

/// Where another service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Host and port, as the other side is told.
    authority: String,
    /// Host and port to connect to.
    connect: String,
    /// What stands before every path: empty, or `/base`.
    base: String,
}

impl Address {
    /// Reads `http://host:port/base`, `host:port` or `host`. Names under `.localhost` mean this machine (RFC 6761).
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some(("http" | "grpc" | "h2c" | "tcp", rest)) => rest,
            Some((scheme, _)) => {
                return Err(format!("`{scheme}://` is not spoken here; `http://` is"));
            }
            None => text,
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let uri: http::uri::Authority = authority
            .parse()
            .map_err(|_| format!("`{text}` is not an address like `http://127.0.0.1:8080`"))?;
        let host = uri.host();
        let port = uri.port_u16().unwrap_or(80);
        let local = host == "localhost" || host.ends_with(".localhost");
        let connect = if local { "127.0.0.1" } else { host };
        let base = match path.trim_end_matches('/') {
            "" => String::new(),
            path => format!("/{path}"),
        };
        Ok(Self { authority: authority.to_owned(), connect: format!("{connect}:{port}"), base })
    }
}

/// Why a call got no answer.
struct Broken {
    why: String,
    /// Whether it certainly never reached the other side.
    never_left: bool,
}

/// Whether doing a call twice is the same as doing it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    Safe,
    Unsafe,
}

/// Another service that speaks HTTP/1.1 and JSON.
pub(super) struct HttpPeer {
    address: Address,
    pass: Option<HeaderValue>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl HttpPeer {
    pub(super) fn new(address: Address, pass: Option<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(4))
            .pool_max_idle_per_host(32)
            .build(connector);
        Self { address, pass: secret_header(pass), client }
    }

    /// Sends a request with a JSON body and reads the JSON answer.
    pub(super) async fn call(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<&Value>,
        repeat: Repeat,
    ) -> Result<(StatusCode, Value), String> {
        match self.call_once(method, path, headers, body).await {
            Err(broken) if broken.never_left || repeat == Repeat::Safe => {
                let again = self.call_once(method, path, headers, body).await;
                again.map_err(|broken| broken.why)
            }
            outcome => outcome.map_err(|broken| broken.why),
        }
    }

    async fn call_once(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Broken> {
        let Address { authority, connect, base } = &self.address;
        let bad = |e: http::Error| Broken { why: e.to_string(), never_left: false };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{connect}{base}{path}"))
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(pass) = &self.pass {
            request = request.header(AUTHORIZATION, pass);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::from(body)).map_err(bad)?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| Broken {
                why: format!("{authority}: {}", chain(&error)),
                never_left: error.is_connect(),
            })?;
            let (head, body) = answer.into_parts();
            let cut = |e| Broken { why: format!("{authority}: {e}"), never_left: false };
            let bytes = Limited::new(body, LARGEST).collect().await.map_err(cut)?.to_bytes();
            Ok((head.status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
        };
        timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(too_slow(authority)))
    }
}

/// Another service that speaks gRPC: one connection, made when it is needed.
pub(super) struct GrpcPeer {
    address: Address,
    pass: Option<HeaderValue>,
    held: Mutex<Option<SendRequest<Full<Bytes>>>>,
    connections: TaskTracker,
}

impl GrpcPeer {
    pub(super) fn new(address: Address, pass: Option<String>) -> Self {
        let (held, connections) = (Mutex::new(None), TaskTracker::new());
        Self { address, pass: secret_header(pass), held, connections }
    }

    /// Calls `method`, written `/package.Service/Method`.
    pub(super) async fn call(
        &self,
        method: &str,
        message: &Value,
        repeat: Repeat,
    ) -> Result<Value, Status> {
        let outcome = self.call_once(method, message).await;
        let again = match &outcome {
            Err(broken) => broken.never_left || repeat == Repeat::Safe,
            Ok(Err(status)) => status.code == Code::Unavailable && repeat == Repeat::Safe,
            Ok(Ok(_)) => false,
        };
        let outcome = if again { self.call_once(method, message).await } else { outcome };
        outcome.unwrap_or_else(|broken| Err(Status::new(Code::Unavailable, broken.why)))
    }

    async fn call_once(
        &self,
        method: &str,
        message: &Value,
    ) -> Result<Result<Value, Status>, Broken> {
        let authority = &self.address.authority;
        let exchange = async {
            let mut sender = self.sender().await?;
            let request = self.request(method, message)?;
            let answer = sender.send_request(request).await.map_err(|error| Broken {
                why: format!("{authority}: {}", chain(&error)),
                never_left: error.is_canceled(),
            })?;
            let (head, body) = answer.into_parts();
            let cut = |e| Broken { why: format!("{authority}: {e}"), never_left: false };
            let body = Limited::new(body, LARGEST).collect().await.map_err(cut)?;
            Ok(understand(head.status, &head.headers, body.trailers().cloned(), &body.to_bytes()))
        };
        let outcome = timeout(PATIENCE, exchange).await;
        let outcome = outcome.unwrap_or_else(|_| Err(too_slow(authority)));
        if outcome.is_err() {
            *self.held.lock().await = None;
        }
        outcome
    }

    fn request(&self, method: &str, message: &Value) -> Result<Request<Full<Bytes>>, Broken> {
        let Address { authority, base, .. } = &self.address;
        let mut request = Request::post(format!("http://{authority}{base}{method}"))
            .header(CONTENT_TYPE, "application/grpc+json")
            .header(TE, "trailers");
        if let Some(pass) = &self.pass {
            request = request.header(AUTHORIZATION, pass);
        }
        let body = Full::new(grpc::frame(message.to_string().as_bytes()));
        request.body(body).map_err(|e| Broken { why: e.to_string(), never_left: false })
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Broken> {
        let mut held = self.held.lock().await;
        if let Some(sender) = held.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let Address { connect, authority, .. } = &self.address;
        let refused = |why: String| Broken { why: format!("{authority}: {why}"), never_left: true };
        let stream = timeout(CONNECT, TcpStream::connect(connect)).await;
        let stream = stream.map_err(|_| refused("no connection within 2 s".to_owned()))?;
        let stream = stream.map_err(|error| refused(error.to_string()))?;
        stream.set_nodelay(true).ok();
        let made = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|error| refused(chain(&error)))?;
        self.connections.spawn(async move {
            // Whoever waits for an answer on it is told.
            connection.await.ok();
        });
        *held = Some(sender.clone());
        Ok(sender)
    }
}

/// What an answer to a gRPC call says.
fn understand(
    status: StatusCode,
    headers: &HeaderMap,
    trailers: Option<HeaderMap>,
    body: &Bytes,
) -> Result<Value, Status> {
    let trailers = trailers.unwrap_or_default();
    let read = |name| match header(headers, name) {
        "" => header(&trailers, name),
        text => text,
    };
    match read("grpc-status") {
        "0" => {
            let message = serde_json::from_slice(&grpc::unframe(body)?);
            message.map_err(|e| Status::new(Code::Internal, format!("the answer is not JSON: {e}")))
        }
        // What is no gRPC answer comes from something in between, which has no use for the service.
        "" => {
            Err(Status::new(Code::Unavailable, format!("HTTP {} instead of gRPC", status.as_u16())))
        }
        code => Err(Status::new(Code::read(code), grpc::unescape(read("grpc-message")))),
    }
}

fn too_slow(authority: &str) -> Broken {
    Broken { why: format!("{authority}: no answer within 5 s"), never_left: false }
}

fn secret_header(pass: Option<String>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&pass?).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An error with its causes, which hyper's own text leaves out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_every_form_that_a_config_gives() {
        let rows = [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080", ""),
            ("127.0.0.1:7234", "127.0.0.1:7234", "127.0.0.1:7234", ""),
            ("http://api.localhost:4000/", "api.localhost:4000", "127.0.0.1:4000", ""),
            ("http://example.com/base/", "example.com", "example.com:80", "/base"),
            ("grpc://h:1", "h:1", "h:1", ""),
        ];
        for (text, authority, connect, base) in rows {
            let wanted = Address {
                authority: authority.to_owned(),
                connect: connect.to_owned(),
                base: base.to_owned(),
            };
            assert_eq!(Address::read(text), Ok(wanted), "{text}");
        }
        assert!(Address::read("https://example.com").is_err());
        assert!(Address::read("http:// /").is_err());
    }
}
