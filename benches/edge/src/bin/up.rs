//! A target: `up NAME PORT [POST_LOG]`.
//!
//! `GET /` is 256 bytes, or as many as `?bytes=N` says; `GET /healthz` is 200. `POST` answers with how many bytes came and
//! appends the request's `x-id` to the log first, so that a request carried out twice shows as two lines. Every answer names
//! its target in `x-up`. `GET /_count` is how many pages and writes it was asked for. `GET /_ctl?MODE` sets how it does: `ok`, `503`, `slow:MS`, `small:N`,
//! which answers in 50 ms and falls over when more than N are there at once; none of them touches `/healthz`.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

type Failure = Box<dyn Error>;

/// A page's usual size.
const PAGE: u64 = 256;
const BLOCK: [u8; 64 << 10] = [b'x'; 64 << 10];

struct State {
    name: String,
    mode: RefCell<String>,
    log: RefCell<Option<File>>,
    asked: Cell<u64>,
    here: Cell<u64>,
}

/// A request that is here.
struct Here<'a>(&'a Cell<u64>);

impl<'a> Here<'a> {
    fn count(here: &'a Cell<u64>) -> Self {
        here.set(here.get() + 1);
        Self(here)
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// So many bytes.
struct Page(u64);

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        let size = usize::try_from(self.0).map_or(BLOCK.len(), |left| left.min(BLOCK.len()));
        self.0 -= size as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&BLOCK[..size])))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, name, port, log @ ..] = args.as_slice() else {
        return Err("up NAME PORT [POST_LOG]".into());
    };
    let log = log.first().map(|path| OpenOptions::new().create(true).append(true).open(path));
    let state = Rc::new(State {
        name: name.clone(),
        mode: RefCell::new("ok".to_owned()),
        log: RefCell::new(log.transpose()?),
        asked: Cell::new(0),
        here: Cell::new(0),
    });
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?)))?;
    let listener = socket.listen(16_384)?;
    let serve = async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                spawn_local(serve(Rc::clone(&state), stream));
            }
        }
    };
    LocalSet::new().run_until(serve).await
}

async fn serve(state: Rc<State>, stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| answer(Rc::clone(&state), request));
    let mut http = http1::Builder::new();
    // How a client ends its connection is its own affair.
    let _ended =
        http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    state: Rc<State>,
    request: Request<Incoming>,
) -> Result<Response<Page>, hyper::http::Error> {
    let reply = |status: u16, size: u64| {
        let head = Response::builder().status(status).header("x-up", state.name.as_str());
        head.header("content-type", "text/plain").body(Page(size))
    };
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    if path == "/_ctl" {
        query.clone_into(&mut state.mode.borrow_mut());
        return reply(200, 0);
    }
    if path == "/healthz" {
        return reply(200, 3);
    }
    if path == "/_count" {
        return Response::builder().header("x-asked", state.asked.get()).body(Page(0));
    }
    state.asked.set(state.asked.get() + 1);
    let size = query.strip_prefix("bytes=").and_then(|n| n.parse().ok()).unwrap_or(PAGE);
    let mode = state.mode.borrow().clone();
    if let Some(ms) = mode.strip_prefix("slow:").and_then(|ms| ms.parse().ok()) {
        sleep(Duration::from_millis(ms)).await;
    }
    let _here = Here::count(&state.here);
    if let Some(most) = mode.strip_prefix("small:").and_then(|most| most.parse::<u64>().ok()) {
        if state.here.get() > most {
            eprintln!("up: out of memory");
            std::process::exit(137);
        }
        sleep(Duration::from_millis(50)).await;
    }
    if request.method() == Method::POST {
        carry_out(&state, request).await;
    }
    if mode == "503" { reply(503, 5) } else { reply(200, size) }
}

/// Reads a write to its end and notes that it was carried out.
async fn carry_out(state: &State, request: Request<Incoming>) {
    let id = request.headers().get("x-id").and_then(|id| id.to_str().ok());
    let line = format!("{}\n", id.unwrap_or("?"));
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    if let Some(log) = state.log.borrow_mut().as_mut()
        && let Err(error) = log.write_all(line.as_bytes())
    {
        eprintln!("up: {error}");
    }
}
