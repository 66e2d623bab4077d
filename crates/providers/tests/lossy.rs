//! A way to an API on which one chosen answer gets lost after its request was carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::canned::{Asked, read};

/// Whether a request changes something.
pub(crate) fn writes(asked: &Asked) -> bool {
    let body = asked.json();
    match body["query"].as_str() {
        Some(document) => document.starts_with("mutation"),
        None => asked.method != "GET" && asked.method != "HEAD",
    }
}

/// The way. It ends when dropped.
pub(crate) struct Lossy {
    pub(crate) url: String,
    /// How many writes may still be answered before one answer is lost; `usize::MAX`: all are.
    until_loss: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Lossy {
    /// A way to `upstream`, `http://HOST:PORT`.
    pub(crate) async fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let until_loss = Arc::new(AtomicUsize::new(usize::MAX));
        let count = Arc::new(AtomicUsize::new(0));
        let (left, counted) = (Arc::clone(&until_loss), Arc::clone(&count));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (left, counted) = (Arc::clone(&left), Arc::clone(&counted));
                open.spawn(carry(stream, upstream.clone(), left, counted));
            }
        });
        Self { url, until_loss, writes: count, _task: task }
    }

    /// Loses the answer of the write after the next `answered` ones, once.
    pub(crate) fn lose_after(&self, answered: usize) {
        self.until_loss.store(answered, Ordering::SeqCst);
    }

    /// Whether the answer that was to be lost has been.
    pub(crate) fn has_lost(&self) -> bool {
        self.until_loss.load(Ordering::SeqCst) == usize::MAX
    }

    /// How many writes went by.
    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }
}

async fn carry(
    mut stream: TcpStream,
    upstream: String,
    left: Arc<AtomicUsize>,
    counted: Arc<AtomicUsize>,
) {
    let Some(asked) = read(&mut stream).await else { return };
    let is_write = writes(&asked);
    let answer = forward(&upstream, &asked).await;
    if is_write {
        counted.fetch_add(1, Ordering::SeqCst);
        let count_down = |n: usize| match n {
            usize::MAX => None,
            0 => Some(usize::MAX),
            n => Some(n - 1),
        };
        let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count_down);
        if before == Ok(0) {
            return;
        }
    }
    // A client that is gone needs no answer.
    if stream.write_all(&answer).await.is_ok() {
        stream.shutdown().await.ok();
    }
}

/// Sends `asked` on over a connection of its own, and gives the answer as it came.
async fn forward(upstream: &str, asked: &Asked) -> Vec<u8> {
    let mut text = format!("{}\r\n", format_args!("{} HTTP/1.1", asked.line()));
    for (name, value) in asked.headers.iter().filter(|(name, _)| name != "connection") {
        text += &format!("{name}: {value}\r\n");
    }
    let mut bytes = (text + "connection: close\r\n\r\n").into_bytes();
    bytes.extend(&asked.body);
    let mut stream = TcpStream::connect(upstream).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}
