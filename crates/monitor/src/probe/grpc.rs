//! Health by `grpc.health.v1`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Bad;
use super::clock::{Phase, Stopwatch};
use super::dial::Dialer;
use super::http::beside;
use crate::target::{GrpcTarget, Trust};

/// The most that an answer may hold, in bytes.
const ANSWER_MOST: usize = 64 << 10;

pub(super) async fn look(
    dialer: &Dialer,
    target: &GrpcTarget,
    watch: &Stopwatch,
) -> Result<(), Bad> {
    if target.tls {
        let stream = dialer.tls(&target.at, None, &[b"h2"], Trust::Machine, watch).await?;
        exchange(stream, target, watch).await
    } else {
        exchange(dialer.tcp(&target.at, watch).await?, target, watch).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &GrpcTarget,
    watch: &Stopwatch,
) -> Result<(), Bad> {
    let (sender, connection) = h2::client::handshake(stream).await.map_err(|e| broken(&e))?;
    let work = async {
        let mut sender = sender.ready().await.map_err(|e| broken(&e))?;
        let scheme = if target.tls { "https" } else { "http" };
        let uri =
            format!("{scheme}://{}:{}/grpc.health.v1.Health/Check", target.at.host, target.at.port);
        let request = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "linkflow-monitor")
            .body(())
            .map_err(Bad::wrong)?;
        let (answer, mut body) = sender.send_request(request, false).map_err(|e| broken(&e))?;
        body.send_data(question(&target.service), true).map_err(|e| broken(&e))?;
        let answer = watch.during(Phase::First, answer).await.map_err(|e| broken(&e))?;
        judge(answer).await
    };
    beside(connection, work).await
}

fn broken(error: &h2::Error) -> Bad {
    if error.is_io() {
        Bad::silent("it does not speak HTTP/2, or closed the connection")
    } else {
        Bad::wrong(format!("no HTTP/2: {error}"))
    }
}

/// A `HealthCheckRequest` in a gRPC frame.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        // Field 1, a text. Its length is below 128: one byte.
        let text = &service.as_bytes()[..service.len().min(127)];
        message.put_slice(&[0x0a, u8::try_from(text.len()).unwrap_or(127)]);
        message.put_slice(text);
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
    frame.put(message);
    frame.freeze()
}

async fn judge(answer: http::Response<h2::RecvStream>) -> Result<(), Bad> {
    if answer.status() != 200 {
        return Err(Bad::wrong(format!("answered {}", answer.status().as_u16())));
    }
    let (parts, mut body) = answer.into_parts();
    let mut read = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|e| broken(&e))?;
        body.flow_control().release_capacity(data.len()).map_err(|e| broken(&e))?;
        read.put(data);
        if read.len() > ANSWER_MOST {
            return Err(Bad::wrong("its answer is longer than any health is"));
        }
    }
    let trailers = body.trailers().await.map_err(|e| broken(&e))?.unwrap_or_default();
    match status(&trailers, &parts.headers) {
        Some("0") => {}
        Some("5") => return Err(Bad::wrong("it knows no such service (gRPC status 5)")),
        Some(code) => return Err(Bad::wrong(format!("answered gRPC status {code}"))),
        None => return Err(Bad::wrong("answered without a gRPC status")),
    }
    match serving(read.freeze()) {
        Some(1) => Ok(()),
        Some(2) => Err(Bad::wrong("says NOT_SERVING")),
        Some(status) => Err(Bad::wrong(format!("says health status {status}, not SERVING"))),
        None => Err(Bad::wrong("says nothing of its health")),
    }
}

fn status<'h>(trailers: &'h HeaderMap, headers: &'h HeaderMap) -> Option<&'h str> {
    let code = trailers.get("grpc-status").or_else(|| headers.get("grpc-status"));
    code.and_then(|value| value.to_str().ok())
}

/// The `status` of a `HealthCheckResponse` in a gRPC frame: field 1, a number. Left out, it is 0.
fn serving(mut frame: Bytes) -> Option<u8> {
    if frame.remaining() < 5 || frame.get_u8() != 0 {
        return None;
    }
    match frame.get_u32() {
        0 => Some(0),
        _ if frame.remaining() >= 2 && frame.get_u8() == 0x08 => Some(frame.get_u8()),
        _ => None,
    }
}
