//! A target in bytes: what it is sent, and what becomes of what it says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt, Full};
use linkflow_model::ServiceKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::*;
use crate::address::Resolve;
use crate::dial::Dialer;
use crate::pool::{Keep, Pool, Reply, Trouble};

/// A target that takes connections one after the other.
struct Target {
    listener: TcpListener,
    address: SocketAddr,
}

impl Target {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    fn pool(&self) -> Arc<Pool> {
        let address = format!("http://{}", self.address);
        let place = Place::parse(&address, ServiceKind::Web, &Resolve::default()).unwrap();
        let dialer = Arc::new(Dialer::new(Duration::from_secs(5), TaskTracker::new()));
        Pool::new(place, dialer, Keep { threads: 0, idle: Duration::from_secs(60) })
    }

    /// Takes a connection, and of it one request after the other: reads a head and says what is given for it. Returns the
    /// heads, and the connection.
    fn serves(self, says: &'static [&'static str]) -> JoinHandle<(Self, Vec<String>, TcpStream)> {
        TaskTracker::new().spawn(async move {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            let mut heads = Vec::new();
            for text in says {
                heads.push(head(&mut stream).await);
                stream.write_all(text.as_bytes()).await.unwrap();
            }
            (self, heads, stream)
        })
    }
}

/// Reads a head, byte by byte.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn asks(method: Method, headers: &[(&'static str, &'static str)]) -> Head {
    let fields = headers.iter().map(|(name, value)| {
        (http::HeaderName::from_static(name), HeaderValue::from_static(value))
    });
    Head { method, path: "/a?b=c".parse().unwrap(), headers: fields.collect::<HeaderMap>() }
}

async fn get(pool: &Arc<Pool>) -> Result<Reply, Trouble> {
    pool.send(&asks(Method::GET, &[("accept", "*/*")]), Outgoing::Empty, false).await
}

async fn text(reply: Reply) -> Result<String, BoxError> {
    let bytes = reply.response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

const CHUNKS: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn requests_follow_each_other_over_one_connection() {
    let target = Target::start().await;
    let (pool, address) = (target.pool(), target.address);
    let serving = target.serves(&[HELLO, CHUNKS, "HTTP/1.1 204 No Content\r\n\r\n", HELLO]);
    for expected in ["hello", "hello", "", "hello"] {
        assert_eq!(text(get(&pool).await.unwrap()).await.unwrap(), expected);
    }
    let (_, heads, _) = serving.await.unwrap();
    for head in heads {
        assert_eq!(head, format!("GET /a?b=c HTTP/1.1\r\nhost: {address}\r\naccept: */*\r\n\r\n"));
    }
}

#[tokio::test]
async fn a_connection_on_which_something_is_left_carries_no_other_request() {
    let rows: [&'static [&'static str]; 4] = [
        &[
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad",
        ],
        &["HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"],
        &["HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"],
        &[
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ],
    ];
    for says in rows {
        let target = Target::start().await;
        let pool = target.pool();
        let serving = target.serves(says);
        assert_eq!(text(get(&pool).await.unwrap()).await.unwrap(), "hello", "{says:?}");
        let (target, _, kept_open) = serving.await.unwrap();
        let serving = target.serves(&[HELLO]);
        assert_eq!(text(get(&pool).await.unwrap()).await.unwrap(), "hello", "{says:?}");
        serving.await.unwrap();
        drop(kept_open);
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_or_spoke_unasked_while_idle_is_not_used() {
    for unasked in ["", "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"] {
        let target = Target::start().await;
        let pool = target.pool();
        let serving = target.serves(&[HELLO]);
        assert_eq!(text(get(&pool).await.unwrap()).await.unwrap(), "hello");
        let (target, _, mut stream) = serving.await.unwrap();
        stream.write_all(unasked.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let serving = target.serves(&[HELLO]);
        assert_eq!(text(get(&pool).await.unwrap()).await.unwrap(), "hello", "{unasked}");
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn it_is_known_whether_a_request_went_out() {
    let target = Target::start().await;
    let pool = target.pool();
    let serving = target.serves(&[""]);
    let asking = TaskTracker::new().spawn(async move { get(&pool).await.map(|_| ()) });
    let (target, _, stream) = serving.await.unwrap();
    drop(stream);
    let trouble = asking.await.unwrap().unwrap_err();
    assert!(trouble.sent && !trouble.reused, "{trouble:?}");
    let pool = target.pool();
    drop(target);
    let trouble = get(&pool).await.map(|_| ()).unwrap_err();
    assert!(!trouble.sent, "{trouble:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_no_answer_and_breaks_the_body_it_is_in() {
    let rows: [&'static [&'static str]; 3] = [
        &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"],
        &["SSH-2.0-OpenSSH_9.2\r\n\r\n"],
        &["HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"],
    ];
    for says in rows {
        let target = Target::start().await;
        let pool = target.pool();
        let serving = target.serves(says);
        let trouble = get(&pool).await.map(|_| ()).unwrap_err();
        assert!(trouble.sent, "{says:?}: {trouble:?}");
        serving.await.unwrap();
    }
    let target = Target::start().await;
    let pool = target.pool();
    let serving =
        target.serves(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhellox"]);
    let reply = get(&pool).await.unwrap();
    assert!(text(reply).await.unwrap_err().is::<Malformed>());
    serving.await.unwrap();
}

#[tokio::test]
async fn a_head_without_end_is_given_up() {
    let target = Target::start().await;
    let pool = target.pool();
    let serving = TaskTracker::new().spawn(async move {
        let (mut stream, _) = target.listener.accept().await.unwrap();
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while stream.write_all(b"x-more: and more\r\n").await.is_ok() {}
    });
    assert!(get(&pool).await.map(|_| ()).unwrap_err().sent);
    serving.await.unwrap();
}

#[tokio::test]
async fn interim_answers_are_passed_over_and_a_body_may_end_with_the_connection() {
    let target = Target::start().await;
    let pool = target.pool();
    let says = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nto the";
    let serving = TaskTracker::new().spawn(async move {
        let (_, _, mut stream) = target.serves(&[""]).await.unwrap();
        for piece in says.as_bytes().chunks(7) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.write_all(b" end").await.unwrap();
    });
    let reply = get(&pool).await.unwrap();
    assert_eq!(reply.response.status(), 200);
    assert!(!reply.response.headers().contains_key("link"));
    assert_eq!(text(reply).await.unwrap(), "to the end");
    serving.await.unwrap();
}

#[tokio::test]
async fn an_upgrade_that_was_asked_for_is_given_with_what_came_with_it() {
    let target = Target::start().await;
    let pool = target.pool();
    let serving = TaskTracker::new().spawn(async move {
        let says = "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\n\r\nwelcome";
        let (mut stream, _) = target.listener.accept().await.unwrap();
        head(&mut stream).await;
        stream.write_all(says.as_bytes()).await.unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        stream.write_all(&word).await.unwrap();
    });
    let upgrade = asks(Method::GET, &[("connection", "upgrade"), ("upgrade", "echo")]);
    let reply = pool.send(&upgrade, Outgoing::Empty, false).await.unwrap();
    assert_eq!(reply.response.status(), 101);
    let mut io = reply.upgraded.unwrap().into_io();
    io.write_all(b"echo").await.unwrap();
    let mut all = String::new();
    io.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "welcomeecho");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_body_is_sent_with_its_length_and_an_empty_one_says_so_where_one_is_usual() {
    let target = Target::start().await;
    let pool = target.pool();
    let serving = TaskTracker::new().spawn(async move {
        let (mut stream, _) = target.listener.accept().await.unwrap();
        let mut seen = Vec::new();
        for length in [5, 100_000, 0] {
            let head = head(&mut stream).await;
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            assert!(body.iter().all(|byte| *byte == b'x'));
            stream.write_all(HELLO.as_bytes()).await.unwrap();
            seen.push(head);
        }
        seen
    });
    // What a length says elsewhere does not count.
    let post = asks(Method::POST, &[("content-length", "7")]);
    for length in [5, 100_000, 0] {
        let body = Outgoing::Whole(Full::new(vec![b'x'; length].into()));
        let reply = pool.send(&post, body, false).await.unwrap();
        assert_eq!(text(reply).await.unwrap(), "hello");
    }
    let seen = serving.await.unwrap();
    for (head, length) in seen.iter().zip([5, 100_000, 0]) {
        let said: Vec<&str> = head.lines().filter(|line| line.contains("length")).collect();
        assert_eq!(said, [format!("content-length: {length}")]);
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_sent_is_passed_on() {
    let target = Target::start().await;
    let pool = target.pool();
    let serving =
        target.serves(&["HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nhello"]);
    let body = Outgoing::Whole(Full::new(vec![b'x'; 64 << 20].into()));
    let reply = pool.send(&asks(Method::POST, &[]), body, false).await.unwrap();
    assert_eq!(reply.response.status(), 413);
    assert_eq!(text(reply).await.unwrap(), "hello");
    let (target, _, stream) = serving.await.unwrap();
    // The connection, on which most of the request is missing, carries no other one.
    let serving = target.serves(&[HELLO]);
    assert_eq!(text(get(&pool).await.unwrap()).await.unwrap(), "hello");
    serving.await.unwrap();
    drop(stream);
}

#[tokio::test]
async fn a_large_body_comes_whole_and_the_connection_is_kept() {
    let target = Target::start().await;
    let pool = target.pool();
    let serving = TaskTracker::new().spawn(async move {
        let (mut stream, _) = target.listener.accept().await.unwrap();
        for _ in 0..2 {
            head(&mut stream).await;
            let length = 3 << 20;
            let says = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(says.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'y'; length]).await.unwrap();
        }
    });
    for _ in 0..2 {
        let reply = get(&pool).await.unwrap();
        assert_eq!(reply.response.body().size_hint().exact(), Some(3 << 20));
        assert_eq!(text(reply).await.unwrap().len(), 3 << 20);
    }
    serving.await.unwrap();
}
