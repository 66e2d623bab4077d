//! The connections to one target, kept for the next request.
//!
//! Our own rather than a client library's, for two things failover lives on: to know exactly whether a request was ever
//! sent, and to drop a target's connections when it is ejected. What is said over one is [`crate::http1`]'s, or hyper's
//! for HTTP/2.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, Uri, Version, header};
use hyper::client::conn::http2;
use tokio::time::Instant;
use tracing::debug;

use crate::address::Place;
use crate::body::Outgoing;
use crate::dial::Dialer;
use crate::http1::{Answered, Arriving, Connection, Upgraded};
use crate::steer::Failure;
use crate::threads;

/// Connections kept idle for one target.
const IDLE_MOST: usize = 128;
/// Connections that turn out closed before a request is written, one after the other, until that counts as a failure.
const STALE_MOST: u32 = 8;

/// A request's head, which every try sends anew.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: HeaderMap,
}

/// A request that got no answer.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) failure: Failure,
    /// It may have reached the target. `false`: provably not.
    pub(crate) sent: bool,
    /// It went over a connection that had been idle before.
    pub(crate) reused: bool,
}

/// An answer that has begun.
pub(crate) struct Reply {
    pub(crate) response: Response<Arriving>,
    /// The connection it came over, when that is not HTTP any more.
    pub(crate) upgraded: Option<Upgraded>,
}

/// How connections are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// For how many threads.
    pub(crate) threads: usize,
    /// How long one may be idle and still be used.
    pub(crate) idle: Duration,
}

/// The connections to one target.
pub(crate) struct Pool {
    pub(crate) place: Place,
    dialer: Arc<Dialer>,
    keep: Keep,
    /// One for each thread: a connection is used on the one that made it.
    shelves: Box<[Shelf]>,
    /// For whoever is on none of them.
    apart: Shelf,
}

/// The connections of one thread, apart in memory from those of others so that no processor waits for another.
#[derive(Default)]
#[repr(align(128))]
struct Shelf {
    idle: Mutex<Idle>,
    /// Taken while an HTTP/2 connection is being made. Holds the last attempt that failed.
    making: tokio::sync::Mutex<Option<(Instant, Failure)>>,
}

#[derive(Default)]
struct Idle {
    /// Grows when all connections so far are forgotten.
    age: u64,
    parked: Vec<(Instant, Box<Connection>)>,
    shared: Option<http2::SendRequest<Outgoing>>,
}

/// Where a connection goes back to.
pub(crate) struct Home {
    pool: Arc<Pool>,
    age: u64,
    thread: usize,
}

impl Home {
    /// Keeps a connection that has carried its request to the end.
    pub(crate) fn take_back(&self, connection: Box<Connection>) {
        let mut idle = self.pool.shelf(self.thread).idle();
        if idle.age == self.age && idle.parked.len() < IDLE_MOST {
            idle.parked.push((Instant::now(), connection));
        }
    }
}

impl Pool {
    pub(crate) fn new(place: Place, dialer: Arc<Dialer>, keep: Keep) -> Arc<Self> {
        let shelves = (0..keep.threads).map(|_| Shelf::default()).collect();
        Arc::new(Self { place, dialer, keep, shelves, apart: Shelf::default() })
    }

    /// A pool of its own to the same target, with no connection yet.
    pub(crate) fn apart(&self) -> Arc<Self> {
        let keep = Keep { threads: 0, idle: Duration::ZERO };
        Self::new(self.place.clone(), Arc::clone(&self.dialer), keep)
    }

    fn shelf(&self, thread: usize) -> &Shelf {
        self.shelves.get(thread).unwrap_or(&self.apart)
    }

    /// The shelf of this thread.
    fn own(&self) -> &Shelf {
        self.shelf(threads::number())
    }

    fn shelves(&self) -> impl Iterator<Item = &Shelf> {
        self.shelves.iter().chain([&self.apart])
    }

    /// Lets no later request use the connections there are.
    pub(crate) fn forget(&self) {
        for shelf in self.shelves() {
            let mut idle = shelf.idle();
            idle.age += 1;
            idle.parked = Vec::new();
            idle.shared = None;
        }
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn expire(&self) {
        let fresh = |since: &Instant| since.elapsed() < self.keep.idle;
        for shelf in self.shelves() {
            shelf
                .idle()
                .parked
                .retain_mut(|(since, connection)| fresh(since) && connection.is_open());
        }
    }

    /// Sends a request and waits until its answer begins. `fresh`: over a connection of its own.
    pub(crate) async fn send(
        self: &Arc<Self>,
        head: &Head,
        body: Outgoing,
        fresh: bool,
    ) -> Result<Reply, Trouble> {
        if self.place.http2 {
            Box::pin(self.send_http2(request_http2(&self.place, head, body))).await
        } else {
            self.send_http1(head, body, fresh).await
        }
    }

    async fn send_http1(
        self: &Arc<Self>,
        head: &Head,
        mut body: Outgoing,
        fresh: bool,
    ) -> Result<Reply, Trouble> {
        let mut stale = 0;
        loop {
            let (connection, home, reused) = self.borrow(fresh || stale >= STALE_MOST).await?;
            let lost = match connection.exchange(&self.place, head, body, home).await {
                Ok(Answered { response, upgraded }) => return Ok(Reply { response, upgraded }),
                Err(lost) => lost,
            };
            debug!(why = %lost.why, sent = lost.sent, "a request got no answer");
            match lost.body {
                _ if lost.sent => {
                    return Err(Trouble { failure: Failure::Cut, sent: true, reused });
                }
                Some(untouched) if reused && stale < STALE_MOST => body = untouched,
                _ => return Err(unsent(Failure::Cut)),
            }
            stale += 1;
        }
    }

    /// An idle connection, or else a new one. Says whether it had been idle.
    async fn borrow(
        self: &Arc<Self>,
        fresh: bool,
    ) -> Result<(Box<Connection>, Home, bool), Trouble> {
        let thread = threads::number();
        let (age, parked) = {
            let mut idle = self.shelf(thread).idle();
            (idle.age, if fresh { None } else { idle.take(self.keep.idle) })
        };
        let reused = parked.is_some();
        let connection = match parked {
            Some(connection) => connection,
            None => Box::pin(self.dialer.http1(&self.place)).await.map_err(unsent)?,
        };
        Ok((connection, Home { pool: Arc::clone(self), age, thread }, reused))
    }

    async fn send_http2(&self, mut request: Request<Outgoing>) -> Result<Reply, Trouble> {
        let mut stale = 0;
        loop {
            let (mut sender, reused) = self.share().await.map_err(unsent)?;
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => {
                    let response = response.map(Arriving::Http2);
                    return Ok(Reply { response, upgraded: None });
                }
                Err(error) => error,
            };
            match error.take_message() {
                Some(message) if stale < STALE_MOST => request = message,
                Some(_) => return Err(unsent(Failure::Cut)),
                None if was_refused(error.error()) => return Err(unsent(Failure::Cut)),
                None => return Err(Trouble { failure: Failure::Cut, sent: true, reused }),
            }
            stale += 1;
            self.own().drop_closed();
        }
    }

    /// The one HTTP/2 connection of this thread, made by whoever comes first. Says whether it was there before.
    async fn share(&self) -> Result<(http2::SendRequest<Outgoing>, bool), Failure> {
        let shelf = self.own();
        if let Some(sender) = shelf.shared() {
            return Ok((sender, true));
        }
        let asked = Instant::now();
        let mut making = shelf.making.lock().await;
        if let Some(sender) = shelf.shared() {
            return Ok((sender, true));
        }
        // Whoever waited for an attempt that failed shares its outcome, instead of trying in turn.
        if let Some((_, failure)) = making.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(failure.clone());
        }
        let age = shelf.idle().age;
        match self.dialer.http2(&self.place).await {
            Ok(sender) => {
                *making = None;
                let mut idle = shelf.idle();
                if idle.age == age {
                    idle.shared = Some(sender.clone());
                }
                Ok((sender, false))
            }
            Err(failure) => {
                *making = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }
}

impl Shelf {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_closed(&self) {
        let mut idle = self.idle();
        if idle.shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
            idle.shared = None;
        }
    }

    fn shared(&self) -> Option<http2::SendRequest<Outgoing>> {
        self.idle().shared.clone().filter(|s| !s.is_closed())
    }
}

impl Idle {
    /// The connection used last of those that are open. Closed and old ones go.
    fn take(&mut self, keep: Duration) -> Option<Box<Connection>> {
        while let Some((since, mut connection)) = self.parked.pop() {
            if since.elapsed() < keep && connection.is_open() {
                return Some(connection);
            }
        }
        None
    }
}

fn unsent(failure: Failure) -> Trouble {
    Trouble { failure, sent: false, reused: false }
}

/// Whether the target said that it did not even look at the request (RFC 9113, 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    h2.is_some_and(|e| e.is_remote() && e.reason() == Some(h2::Reason::REFUSED_STREAM))
}

fn request_http2(place: &Place, head: &Head, body: Outgoing) -> Request<Outgoing> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(place.scheme.clone());
    parts.authority = Some(place.authority.clone());
    parts.path_and_query = Some(head.path.clone());
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    // Scheme, authority and path are all there, so this is a URI.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = head.headers.clone();
    request.headers_mut().remove(header::HOST);
    request
}
