//! Requests that others might read in two ways, each as bytes on a connection, against a target that counts what it sees.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use linkflow_model::{Routes, ServiceKind};
use std::sync::Arc;

use crate::stage::{Stage, route, target};
use crate::upstream::background;

/// A target that keeps every byte it gets, and answers each head with an empty page.
async fn listener() -> (String, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::unbounded_channel();
    drop(background(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            drop(background(async move {
                let (mut all, mut piece) = (Vec::new(), [0; 4096]);
                let quiet = Duration::from_millis(150);
                // A connection is for one request here, so that whatever is behind it is a second one.
                while let Ok(Ok(read @ 1..)) = timeout(quiet, stream.read(&mut piece)).await {
                    all.extend_from_slice(&piece[..read]);
                }
                if !all.starts_with(b"GET /healthz ") && !all.is_empty() {
                    drop(sender.send(all));
                }
                let page = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                drop(stream.write_all(page).await);
            }));
        }
    }));
    (address, receiver)
}

/// The statuses of the edge's answers to `bytes`, until it closes the connection. `ends`: so does the client.
async fn send(stage: &Stage, bytes: &[u8], ends: bool) -> Vec<u16> {
    let mut stream = TcpStream::connect(stage.edge.public()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    if ends {
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    drop(read.expect("the connection is closed"));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

/// What the target has got by now.
async fn got(seen: &mut mpsc::UnboundedReceiver<Vec<u8>>) -> Vec<String> {
    let mut requests = Vec::new();
    while let Ok(Some(request)) = timeout(Duration::from_millis(400), seen.recv()).await {
        requests.push(String::from_utf8_lossy(&request).into_owned());
    }
    requests
}

/// Never to be passed on: each is answered with one 400, or cut off, and the target sees nothing.
const REFUSED: &[(&str, &str)] = &[
    // Line ends.
    ("a bare LF behind the request line", "GET / HTTP/1.1\nHost: api.example\r\n\r\n"),
    ("a bare LF behind a header", "GET / HTTP/1.1\r\nHost: api.example\nX: 1\r\n\r\n"),
    ("a bare LF for the empty line", "GET / HTTP/1.1\r\nHost: api.example\r\n\n"),
    (
        "a bare LF before a header",
        "GET / HTTP/1.1\r\nHost: api.example\r\nX: 1\nContent-Length: 5\r\n\r\n",
    ),
    ("a bare CR in a value", "GET / HTTP/1.1\r\nHost: api.example\r\nX: a\rb\r\n\r\n"),
    ("a bare CR for a line end", "GET / HTTP/1.1\r\nHost: api.example\rX: 1\r\n\r\n"),
    ("CR CR LF", "GET / HTTP/1.1\r\nHost: api.example\r\r\n\r\n"),
    ("an LF in front", "\nGET / HTTP/1.1\r\nHost: api.example\r\n\r\n"),
    // Lengths.
    (
        "both lengths",
        "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
    (
        "both lengths, turned round",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
    (
        "the same length twice",
        "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    ),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 1, 1\r\n\r\na"),
    ("a length with a sign", "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: +1\r\n\r\na"),
    ("a negative length", "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: -1\r\n\r\na"),
    ("a length in hex", "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 0x1\r\n\r\na"),
    (
        "a length with a blank in it",
        "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 1 0\r\n\r\na",
    ),
    ("an empty length", "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: \r\n\r\n"),
    (
        "a length that overflows",
        "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 18446744073709551617\r\n\r\na",
    ),
    // Codings.
    (
        "a coding with a letter too many",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a coding with a vertical tab",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a coding behind another",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a coding before another",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "identity",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\na",
    ),
    (
        "two codings",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a quoted coding",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    ),
    (
        "a coding with a parameter",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    ),
    (
        "an empty coding",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: \r\nContent-Length: 1\r\n\r\na",
    ),
    (
        "a coding in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    // Names and lines.
    (
        "a blank before the colon",
        "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length : 1\r\n\r\na",
    ),
    (
        "a tab before the colon",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a blank in a name", "GET / HTTP/1.1\r\nHost: api.example\r\nX Y: 1\r\n\r\n"),
    ("a blank before a name", "GET / HTTP/1.1\r\nHost: api.example\r\n X: 1\r\n\r\n"),
    ("a folded header", "GET / HTTP/1.1\r\nHost: api.example\r\nX: 1\r\n  2\r\n\r\n"),
    (
        "a folded coding",
        "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a folded first line", "GET / HTTP/1.1\r\n Host: api.example\r\n\r\n"),
    ("no name", "GET / HTTP/1.1\r\nHost: api.example\r\n: 1\r\n\r\n"),
    ("no colon", "GET / HTTP/1.1\r\nHost: api.example\r\nX\r\n\r\n"),
    ("a NUL in a name", "GET / HTTP/1.1\r\nHost: api.example\r\nX\0: 1\r\n\r\n"),
    ("a NUL in a value", "GET / HTTP/1.1\r\nHost: api.example\r\nX: a\0b\r\n\r\n"),
    ("a NUL in the host", "GET / HTTP/1.1\r\nHost: api.example\0.evil\r\n\r\n"),
    ("a NUL in the path", "GET /a\0b HTTP/1.1\r\nHost: api.example\r\n\r\n"),
    ("a control in a value", "GET / HTTP/1.1\r\nHost: api.example\r\nX: a\x08b\r\n\r\n"),
    (
        "a letter beyond ASCII in a name",
        "GET / HTTP/1.1\r\nHost: api.example\r\nX\u{e9}: 1\r\n\r\n",
    ),
    // Request lines.
    ("two blanks", "GET  / HTTP/1.1\r\nHost: api.example\r\n\r\n"),
    ("a tab for a blank", "GET\t/ HTTP/1.1\r\nHost: api.example\r\n\r\n"),
    ("a blank in the path", "GET /a b HTTP/1.1\r\nHost: api.example\r\n\r\n"),
    ("a blank behind the version", "GET / HTTP/1.1 \r\nHost: api.example\r\n\r\n"),
    ("no version", "GET /\r\nHost: api.example\r\n\r\n"),
    ("a version that there is not", "GET / HTTP/1.2\r\nHost: api.example\r\n\r\n"),
    ("another protocol", "GET / HTTPS/1.1\r\nHost: api.example\r\n\r\n"),
    ("a version with zeros", "GET / HTTP/01.1\r\nHost: api.example\r\n\r\n"),
    ("no path", "GET HTTP/1.1\r\nHost: api.example\r\n\r\n"),
    ("a path without its slash", "GET a HTTP/1.1\r\nHost: api.example\r\n\r\n"),
    // Hosts.
    ("no host", "GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: api.example\r\nHost: evil.example\r\n\r\n"),
    ("the same host twice", "GET / HTTP/1.1\r\nHost: api.example\r\nHost: api.example\r\n\r\n"),
    ("a list of hosts", "GET / HTTP/1.1\r\nHost: api.example, evil.example /\r\n\r\n"),
    ("a host with a path", "GET / HTTP/1.1\r\nHost: api.example/x\r\n\r\n"),
    ("a host with a user", "GET / HTTP/1.1\r\nHost: evil@api.example\r\n\r\n"),
    (
        "a user in the request line",
        "GET http://evil@api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
    ),
    ("a host with a blank", "GET / HTTP/1.1\r\nHost: api.example evil\r\n\r\n"),
];

/// Bodies that break off: the target gets no whole request, and what follows is not taken for another one.
const BROKEN: &[(&str, &str)] = &[
    ("a chunk's size that overflows", "fffffffffffffffff\r\na\r\n0\r\n\r\n"),
    ("a chunk's size with 0x", "0x1\r\na\r\n0\r\n\r\n"),
    ("a chunk's size with a sign", "+1\r\na\r\n0\r\n\r\n"),
    ("a negative chunk", "-1\r\na\r\n0\r\n\r\n"),
    ("a chunk's size with a bare LF", "1\na\r\n0\r\n\r\n"),
    ("a chunk that is too long", "1\r\nab\r\n0\r\n\r\n"),
    ("a chunk without its line end", "1\r\na0\r\n\r\n"),
    ("a bare LF behind a chunk", "1\r\na\n0\r\n\r\n"),
    ("an extension with a bare LF", "1;x\na\r\n0\r\n\r\n"),
    ("an extension with a bare CR", "1;x\rGET\r\na\r\n0\r\n\r\n"),
    ("no size", "\r\na\r\n0\r\n\r\n"),
    ("a size that is no number", "g\r\na\r\n0\r\n\r\n"),
    ("an end that does not come", "1\r\na\r\n"),
];

async fn stage() -> (Stage, mpsc::UnboundedReceiver<Vec<u8>>) {
    let stage = Stage::set().await;
    let (address, seen) = listener().await;
    let services = vec![route(ServiceKind::Web, vec![target("a", address, 0)])];
    stage.routes.send_replace(Arc::new(Routes { generation: 2, services }));
    (stage, seen)
}

const BEHIND: &str = "GET /smuggled HTTP/1.1\r\nHost: api.example\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_read_in_two_ways_is_never_passed_on() {
    let (stage, mut seen) = stage().await;
    let mut wrong = Vec::new();
    for (what, bytes) in REFUSED {
        let statuses = send(&stage, format!("{bytes}{BEHIND}").as_bytes(), false).await;
        // What does not begin like HTTP may be cut off without a word.
        if statuses.len() > 1 || statuses.iter().any(|s| !matches!(s, 400 | 501 | 505)) {
            wrong.push(format!("{what}: {statuses:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(got(&mut seen).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_off_is_no_whole_request_at_the_target() {
    let (stage, mut seen) = stage().await;
    let head = "POST /x HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (what, body) in BROKEN {
        let ends = *what == "an end that does not come";
        let behind = if ends { "" } else { BEHIND };
        let statuses = send(&stage, format!("{head}{body}{behind}").as_bytes(), ends).await;
        assert!(statuses.iter().all(|s| *s == 400) && statuses.len() <= 1, "{what}: {statuses:?}");
    }
    for request in got(&mut seen).await {
        assert!(!request.ends_with("0\r\n\r\n") && !request.contains("smuggled"), "{request}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_order_is_framed_anew() {
    let (stage, mut seen) = stage().await;
    let post = "POST /x HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n";
    let rows = [
        (
            "an absolute address wins over the header",
            "GET http://api.example/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1",
        ),
        (
            "an empty line in front",
            "\r\nGET /x HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1",
        ),
        (
            "an extension is dropped",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nz\r\n0\r\n\r\n"),
            "1\r\nz\r\n0\r\n\r\n",
        ),
        (
            "zeros before a size",
            format!("{post}Transfer-Encoding: Chunked\r\n\r\n0001\r\nz\r\n000\r\n\r\n"),
            "1\r\nz\r\n0\r\n\r\n",
        ),
        ("a length with zeros", format!("{post}Content-Length: 01\r\n\r\nz"), "content-length: 1\r\n"),
        (
            "what the connection names stays behind",
            "GET /x HTTP/1.1\r\nHost: api.example\r\nConnection: x-a, close\r\nX-A: 1\r\nX-B: 2\r\n\r\n".to_owned(),
            "x-b: 2\r\n",
        ),
    ];
    for (what, bytes, expected) in rows {
        assert_eq!(send(&stage, bytes.as_bytes(), false).await, [200], "{what}");
        let requests = got(&mut seen).await;
        let [request] = requests.as_slice() else { panic!("{what}: {requests:?}") };
        assert!(request.contains(expected), "{what}: {request}");
        let lower = request.to_ascii_lowercase();
        let count = |name: &str| lower.matches(name).count();
        assert_eq!(count("\r\nhost:"), 1, "{what}: {request}");
        assert!(count("content-length:") + count("transfer-encoding:") <= 1, "{what}: {request}");
        assert_eq!((count("evil"), count("x-a:"), count(";a=b")), (0, 0, 0), "{what}: {request}");
    }
}
