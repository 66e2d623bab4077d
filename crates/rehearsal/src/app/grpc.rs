//! gRPC by hand: five bytes before each message, the status in the trailers; messages are JSON (`application/grpc+json`),
//! but for the health protocol's, which every gRPC prober speaks as protobuf.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::Request;
use hyper::body::{Frame, Incoming};
use serde_json::Value;

use super::answer::{Answer, read_bytes};

/// The path of the health check.
pub(super) const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// The codes of gRPC that the app uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// The code of a `grpc-status`; one that the app does not use counts as internal.
    pub(super) fn read(text: &str) -> Self {
        match text {
            "3" => Self::InvalidArgument,
            "4" => Self::DeadlineExceeded,
            "5" => Self::NotFound,
            "12" => Self::Unimplemented,
            "14" => Self::Unavailable,
            "16" => Self::Unauthenticated,
            _ => Self::Internal,
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Status {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<crate::ledger::LedgerError> for Status {
    fn from(error: crate::ledger::LedgerError) -> Self {
        Self::new(Code::Unavailable, error.to_string())
    }
}

/// `message` with its five bytes in front: not compressed, and its length.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// The one message in `framed`.
pub(super) fn unframe(framed: &Bytes) -> Result<Bytes, Status> {
    let bad = |why: &str| Err(Status::new(Code::Internal, why));
    let Some((head, message)) = framed.split_first_chunk::<5>() else {
        return bad("the message has no frame");
    };
    let [flags, length @ ..] = *head;
    if flags != 0 {
        return bad("the message is compressed");
    }
    if u32::from_be_bytes(length) as usize != message.len() {
        return bad("the frame does not have the length that it says");
    }
    Ok(framed.slice(5..))
}

/// The method and message of a call to `service`.
pub(super) async fn read(
    request: Request<Incoming>,
    service: &str,
) -> Result<(String, Value), Status> {
    let path = request.uri().path();
    let method = path.strip_prefix('/').and_then(|p| p.strip_prefix(service)?.strip_prefix('/'));
    let Some(method) = method.map(str::to_owned) else {
        return Err(Status::new(Code::Unimplemented, format!("there is no {path} here")));
    };
    let bytes = read_bytes(request).await.map_err(|e| Status::new(Code::Internal, e))?;
    let message = serde_json::from_slice(&unframe(&bytes)?);
    let bad = |e| Status::new(Code::InvalidArgument, format!("the message is not JSON: {e}"));
    Ok((method, message.map_err(bad)?))
}

/// The answer to a call.
pub(super) fn reply(outcome: Result<Value, Status>) -> Answer {
    match outcome {
        Ok(message) => with_message(message.to_string().as_bytes(), "application/grpc+json"),
        Err(status) => refuse(&status),
    }
}

/// The answer to a health check: SERVING (1) or `NOT_SERVING` (2), as the protobuf `HealthCheckResponse`.
pub(super) fn health(well: bool) -> Answer {
    with_message(&[0x08, if well { 1 } else { 2 }], "application/grpc")
}

fn with_message(message: &[u8], kind: &'static str) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok(Frame::data(frame(message))), Ok(Frame::trailers(trailers))];
    let mut answer = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// An answer without a message: then the status stands in the headers.
pub(super) fn refuse(status: &Status) -> Answer {
    let mut answer = Response::new(Empty::new().boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+json"));
    headers.insert("grpc-status", HeaderValue::from(status.code as u16));
    if let Ok(message) = HeaderValue::from_str(&escape(&status.message)) {
        headers.insert("grpc-message", message);
    }
    answer
}

/// Percent-encodes what may not stand in `grpc-message`.
fn escape(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'%' | 0..0x20 | 0x7f.. => format!("%{byte:02X}"),
        _ => char::from(byte).to_string(),
    };
    text.bytes().map(one).collect()
}

/// The text of a `grpc-message`.
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| byte == b'%');
        let code = code.and_then(|two| str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_of_its_frame_as_it_went_in() {
        for message in [&b""[..], b"x", b"{\"a\":1}"] {
            assert_eq!(unframe(&frame(message)).unwrap(), message);
        }
    }

    #[test]
    fn a_broken_frame_is_refused() {
        let rows: [&[u8]; 5] =
            [b"", b"\0\0\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x02a", b"\0\0\0\0\x01ab"];
        for row in rows {
            assert_eq!(
                unframe(&Bytes::from_static(row)).unwrap_err().code,
                Code::Internal,
                "{row:?}"
            );
        }
    }

    #[test]
    fn a_reason_survives_the_header() {
        for text in ["gone", "100 % of é\n", "%41", "ends with %"] {
            let escaped = escape(text);
            assert!(HeaderValue::from_str(&escaped).is_ok());
            assert_eq!(unescape(&escaped), text);
        }
    }
}
