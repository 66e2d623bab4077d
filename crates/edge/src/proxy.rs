//! Takes a request from a client, sees it to a target, and passes the answer on.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use linkflow_model::{ServiceKind, ServiceName, Timeouts};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::Limits;
use crate::alarm::Alarms;
use crate::body::{Answer, Passing, Source};
use crate::errand::{Busy, Errand, Order, Outcome};
use crate::framing::Framing;
use crate::gate::Gate;
use crate::head::{self, Sender};
use crate::http1::Upgraded;
use crate::meter::RouteMeter;
use crate::pool::{Head, Reply};
use crate::rest::Talk;
use crate::route::Ask;
use crate::stale::Pages;
use crate::steer::{Failure, Repeat};
use crate::table::{Book, Line};
use crate::tell::Teller;
use crate::visit::{Metered, Reason, Visit, Watch};
use crate::visitor::{self, Visitor, node};
use crate::voice::Voice;

/// What says that a write may be sent again: the service carries each value out once.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Everything requests share.
pub(crate) struct Proxy {
    pub(crate) book: Book,
    pub(crate) teller: Arc<Teller>,
    pub(crate) limits: Limits,
    /// What clients wait for: their connections, and what became of them.
    pub(crate) clients: TaskTracker,
    /// What ends by itself: checkers and connections to targets.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when whatever is still under way is to be cut.
    pub(crate) cut: CancellationToken,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) ids: Numbers,
    pub(crate) gate: Gate,
    /// Where requests are counted and logged.
    pub(crate) watch: Arc<Watch>,
}

/// The listener that a request came to.
#[derive(Clone, Debug)]
pub(crate) enum Entrance {
    Public,
    Internal(ServiceName),
}

/// The connection that a request came over.
pub(crate) struct Client {
    /// The other end of it, or whom that end speaks for by the PROXY protocol.
    pub(crate) ip: IpAddr,
    /// The same, as a header's value.
    pub(crate) name: HeaderValue,
    /// The same, as `Forwarded` writes it.
    node: String,
    /// What `Forwarded` said of the last request: most requests of a connection are for one host.
    said: Mutex<Option<(HeaderValue, &'static str, HeaderValue)>>,
    pub(crate) entrance: Entrance,
    pub(crate) framing: Framing,
    pub(crate) talk: Arc<Talk>,
    pub(crate) alarms: Alarms,
    /// Whether it is believed when it says whom it speaks for.
    pub(crate) trusted: bool,
    /// Whether it is encrypted.
    pub(crate) secure: bool,
}

impl Client {
    pub(crate) fn new(
        ip: IpAddr,
        entrance: Entrance,
        framing: Framing,
        trusted: bool,
        secure: bool,
    ) -> Self {
        let ip = ip.to_canonical();
        // An address has no character that a header may not have.
        let name = HeaderValue::from_str(&ip.to_string());
        let name = name.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self {
            ip,
            name,
            node: node(ip),
            said: Mutex::default(),
            entrance,
            framing,
            talk: Arc::default(),
            alarms: Alarms::default(),
            trusted,
            secure,
        }
    }
}

impl Client {
    /// What `Forwarded` says of a request that came to `host`, behind what was said `before`.
    pub(crate) fn forwarded(
        &self,
        before: &str,
        host: &HeaderValue,
        proto: &'static str,
    ) -> Option<HeaderValue> {
        let make = || visitor::element(before, &self.node, host, proto);
        if !before.is_empty() {
            return make();
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match said.as_ref() {
            Some((of, over, value)) if of == host && *over == proto => Some(value.clone()),
            _ => {
                let value = make()?;
                // A copy: what hyper read shares one large buffer with all that came with it.
                let own = HeaderValue::from_bytes(host.as_bytes()).ok()?;
                *said = Some((own, proto, value.clone()));
                Some(value)
            }
        }
    }
}

/// A place among the requests under way.
struct Seat(Arc<Proxy>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// What the answer needs to know of the request.
struct Asked {
    host: HeaderValue,
    secure: bool,
    upgrade: Option<OnUpgrade>,
    framing: Framing,
    /// How long nothing may come within the answer.
    idle: Duration,
    /// Under what a copy of the answer is kept, when it may be.
    page: Option<String>,
}

impl Proxy {
    /// Answers one request.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
        client: Arc<Client>,
    ) -> Response<Answer> {
        let visitor = self.gate.trust.visitor(&client, request.headers());
        let (from, dice) = ((visitor.ip, visitor.secure), || self.ids.one());
        let mut visit = Visit::begin(&self.watch, &request, from, &self.teller, dice);
        visit.takes(client.talk.turn());
        let is_head = *request.method() == Method::HEAD;
        let answer = self.answer(request, &client, visitor, &mut visit);
        let mut response = Box::pin(answer).await;
        let (status, reason) = (response.status(), response.extensions_mut().remove());
        visit.answered(status.as_u16(), reason);
        if visitor.secure {
            self.gate.secured(response.headers_mut());
        }
        self.gate.safe(response.headers_mut());
        let bodiless =
            is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        response.map(|answer| answer.watched(visit, bodiless))
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        client: &Client,
        visitor: Visitor,
        visit: &mut Visit,
    ) -> Response<Answer> {
        let voice = Voice::of(request.headers(), self.gate.status_page.as_ref());
        if let Some(answer) = refused(&request, client, &voice) {
            return answer;
        }
        let Some(seat) = self.seat() else {
            let why = "too many requests at once";
            let answer = voice.say(StatusCode::SERVICE_UNAVAILABLE, None, why);
            return own(Reason::Overloaded, answer);
        };
        let line = {
            let host = match head::host_of(&request) {
                Ok(host) => host,
                Err(why) => return malformed(&voice, why),
            };
            let public = matches!(client.entrance, Entrance::Public);
            if public && let Some(answer) = self.at_the_gate(&request, &host, visitor, &voice) {
                return answer;
            }
            let (line, meter) = match self.line(&client.entrance, &Ask::of(&request, &host)) {
                Ok(found) => found,
                Err((status, reason, service, why)) => {
                    return own(reason, voice.say(status, service, why));
                }
            };
            visit.routed(&meter);
            if public
                && !visitor.secure
                && let Some(answer) = self.gate.redirect(request.uri(), &host, &line.route)
            {
                return own(Reason::HttpsRedirect, answer);
            }
            line
        };
        if self.is_too_large(&line, request.body()) {
            let why = "the request is larger than what is taken here";
            let service = Some(&line.route.service);
            let answer = closing(voice.say(StatusCode::PAYLOAD_TOO_LARGE, service, why));
            return own(Reason::TooLarge, answer);
        }
        let (order, asked) = self.order(line, request, client, visitor, visit);
        let line = Arc::clone(&order.line);
        let (outcome, tries) = Errand::run(order, Arc::clone(&self.teller), &client.alarms).await;
        visit.tried(tries);
        if outcome.is_away()
            && let Some(old) = self.old_page(asked.page.as_deref())
        {
            return own(Reason::Stale, old);
        }
        match outcome {
            Outcome::Failed { status, why } => {
                let answer = voice.say(status, Some(&line.route.service), &why);
                own(Reason::of_status(status.as_u16()), answer)
            }
            Outcome::Full => {
                let (status, why) = (StatusCode::SERVICE_UNAVAILABLE, "every place of it is busy");
                own(Reason::Overloaded, voice.say(status, Some(&line.route.service), why))
            }
            Outcome::Answered { busy, reply } => {
                visit.answered_by(busy.lane());
                self.pass_on(busy, reply, asked, seat, visit)
            }
        }
    }

    /// The answer to what needs no target, and to whoever may not come in.
    fn at_the_gate(
        &self,
        request: &Request<Incoming>,
        host: &str,
        visitor: Visitor,
        voice: &Voice,
    ) -> Option<Response<Answer>> {
        let (path, headers) = (request.uri().path(), request.headers());
        if let Some(answer) = self.gate.challenge(path) {
            return Some(own(Reason::AcmeChallenge, answer));
        }
        if let Err((status, why, wait)) =
            self.gate.admit(visitor, path, headers, || self.teller.now())
        {
            let answer = voice.say_when(status, None, why, wait);
            return Some(own(Reason::of_status(status.as_u16()), answer));
        }
        let (answer, leads) = self.gate.own(request, host, visitor.secure)?;
        Some(own(if leads { Reason::HttpsRedirect } else { Reason::OwnHost }, answer))
    }

    /// Whether a request says that it is larger than what is taken. One that does not say so is found out on its way.
    fn is_too_large(&self, line: &Line, body: &Incoming) -> bool {
        line.route.kind != ServiceKind::Grpc && body.size_hint().lower() > self.limits.body_bytes
    }

    /// The last good copy of what was asked for.
    fn old_page(&self, key: Option<&str>) -> Option<Response<Answer>> {
        self.gate.pages.as_ref()?.answer(key?, self.teller.now())
    }

    fn seat(self: &Arc<Self>) -> Option<Seat> {
        let before = self.in_flight.fetch_add(1, Relaxed);
        let seat = Seat(Arc::clone(self));
        (before < self.limits.requests).then_some(seat)
    }

    fn line<'a>(
        &self,
        entrance: &'a Entrance,
        ask: &Ask<'_>,
    ) -> Result<(Arc<Line>, Arc<RouteMeter>), Lost<'a>> {
        let table = self.book.table();
        match entrance {
            Entrance::Public => {
                let found = table.find(ask).map(|(line, meter)| (line.clone(), meter.clone()));
                let why = "no such host or path here";
                found.ok_or((StatusCode::NOT_FOUND, Reason::NoRoute, None, why))
            }
            Entrance::Internal(service) => {
                let found = table.service(service).map(|line| (line.clone(), line.inside.clone()));
                let (status, why) = (StatusCode::SERVICE_UNAVAILABLE, "it is not deployed");
                found.ok_or((status, Reason::NotDeployed, Some(service), why))
            }
        }
    }

    /// Makes a client's request into one for a target.
    fn order(
        &self,
        line: Arc<Line>,
        mut request: Request<Incoming>,
        client: &Client,
        visitor: Visitor,
        visit: &mut Visit,
    ) -> (Order, Asked) {
        let web = line.route.kind != ServiceKind::Grpc;
        let protocol = head::wants_upgrade(&request).filter(|_| web);
        let upgrade = protocol.as_ref().map(|_| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let host = named_host(&parts);
        let has_key = line.route.idempotency_key && parts.headers.contains_key(IDEMPOTENCY_KEY);
        let repeat = match repeat_of(&parts.method, !body.is_end_stream() || upgrade.is_some()) {
            Repeat::Once if has_key && web => Repeat::Idempotent,
            repeat => repeat,
        };
        let pages = self.gate.pages.as_ref().filter(|_| web && upgrade.is_none());
        let page = pages.and_then(|_| {
            let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
            Pages::key(&parts.method, host.to_str().ok()?, path, &parts.headers)
        });
        let timeouts = line.route.timeouts;
        let limit = self.limit(timeouts, repeat, web, &parts.headers);
        let sender = Sender { trust: &self.gate.trust, client, visitor, host: &host };
        let empty = body.is_end_stream();
        head::prepare_request(&mut parts.headers, &sender, protocol, empty, &self.ids);
        visit.goes_on(&parts.headers);
        let most = if repeat == Repeat::Once { 0 } else { self.limits.replay_bytes };
        let limit_of_body = if web { self.limits.body_bytes } else { u64::MAX };
        let framing = || client.framing.clone();
        let source =
            (!empty).then(|| Source::new(body, most, limit_of_body, framing(), visit.receives()));
        let root = || PathAndQuery::from_static("/");
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(root);
        let head = Arc::new(Head { method: parts.method, path, headers: parts.headers });
        let first_byte = timeouts.first_byte_ms.unwrap_or(self.limits.first_byte_ms);
        let still = web.then_some(self.limits.client_idle_ms);
        let order = Order { line, head, source, repeat, limit, first_byte, still };
        let framing = framing();
        let idle = Duration::from_millis(timeouts.idle_ms.unwrap_or(self.limits.body_idle_ms));
        let asked = Asked { host, secure: visitor.secure, upgrade, framing, idle, page };
        (order, asked)
    }

    /// How long to wait for an answer when no other target can be asked. A call waits as long as its caller says.
    fn limit(
        &self,
        timeouts: Timeouts,
        repeat: Repeat,
        web: bool,
        headers: &HeaderMap,
    ) -> Option<u64> {
        if web {
            let usual = match repeat {
                Repeat::Once => self.limits.first_byte_once_ms,
                Repeat::Safe | Repeat::Idempotent => self.limits.first_byte_alone_ms,
            };
            return Some(timeouts.answer_ms.unwrap_or(usual));
        }
        let said = headers.get("grpc-timeout").and_then(|v| grpc_timeout(v.to_str().ok()?));
        said.map(|ms| ms.saturating_add(1_000)).or(timeouts.answer_ms)
    }

    fn pass_on(
        &self,
        busy: Busy,
        reply: Reply,
        asked: Asked,
        seat: Seat,
        visit: &mut Visit,
    ) -> Response<Answer> {
        let lane = Arc::clone(busy.lane());
        let Reply { response, upgraded } = reply;
        let status = response.status();
        let (mut parts, body) = response.into_parts();
        head::prepare_answer(
            status,
            &mut parts.headers,
            &lane.pool.place,
            &asked.host,
            if asked.secure { "https" } else { "http" },
        );
        if self.limits.name_target
            && let Ok(name) = HeaderValue::from_str(lane.provider.as_str())
        {
            parts.headers.insert("x-linkflow-target", name);
        }
        let mut answer = match (upgraded, asked.upgrade) {
            (Some(target), Some(client)) => {
                asked.framing.ends();
                visit.answered(status.as_u16(), None);
                let tunnel = tunnel(client, target, self.cut.clone(), visit.take(), (busy, seat));
                self.clients.spawn(tunnel);
                Response::new(Answer::own(""))
            }
            _ => {
                let on_break = Box::new(move || lane.failed(None, Failure::Broken));
                let copy = asked.page.as_deref().and_then(|key| {
                    let pages = self.gate.pages.as_ref()?;
                    pages.copy(key, status, &parts.headers, self.teller.now())
                });
                let passing = Passing::new(body, asked.idle, on_break).copied(copy);
                Response::new(Answer::passing(passing, Box::new((busy, seat))))
            }
        };
        *answer.status_mut() = status;
        *answer.headers_mut() = parts.headers;
        answer
    }
}

/// The host as the client wrote it.
fn named_host(parts: &Parts) -> HeaderValue {
    let in_line = parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    let in_header = || parts.headers.get(header::HOST).cloned();
    in_line.or_else(in_header).unwrap_or_else(|| HeaderValue::from_static(""))
}

fn repeat_of(method: &Method, has_body: bool) -> Repeat {
    match (method.is_safe(), method.is_idempotent()) {
        (true, _) if !has_body => Repeat::Safe,
        (_, true) => Repeat::Idempotent,
        _ => Repeat::Once,
    }
}

/// `grpc-timeout` in milliseconds: a number of up to eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    match unit {
        "H" => Some(number * 3_600_000),
        "M" => Some(number * 60_000),
        "S" => Some(number * 1_000),
        "m" => Some(number),
        "u" => Some(number / 1_000),
        "n" => Some(number / 1_000_000),
        _ => None,
    }
}

/// Why a request leads nowhere, with the service that it is about where that is known.
type Lost<'a> = (StatusCode, Reason, Option<&'a ServiceName>, &'static str);

/// Marks an answer as the edge's own.
fn own(reason: Reason, mut response: Response<Answer>) -> Response<Answer> {
    response.extensions_mut().insert(reason);
    response
}

/// The answer to what is no request for a proxy like this one.
fn refused(
    request: &Request<Incoming>,
    client: &Client,
    voice: &Voice,
) -> Option<Response<Answer>> {
    if request.version() <= Version::HTTP_11 {
        let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        if let Some(why) = client.framing.begins(chunked, !request.body().is_end_stream()) {
            return Some(malformed(voice, why));
        }
    }
    if request.method() == Method::CONNECT {
        let why = "the edge is no forward proxy";
        let answer = closing(voice.say(StatusCode::METHOD_NOT_ALLOWED, None, why));
        return Some(own(Reason::MethodNotAllowed, answer));
    }
    None
}

fn malformed(voice: &Voice, why: &str) -> Response<Answer> {
    own(Reason::BadRequest, closing(voice.say(StatusCode::BAD_REQUEST, None, why)))
}

fn closing(mut response: Response<Answer>) -> Response<Answer> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Carries bytes both ways between a client and a target that have changed to another protocol.
async fn tunnel(
    client: OnUpgrade,
    target: Upgraded,
    cut: CancellationToken,
    mut visit: Visit,
    _held: (Busy, Seat),
) {
    let received = visit.receives();
    // However it ends, it was not the answer that ended too early.
    visit.whole();
    let carried = cut.run_until_cancelled(async {
        let (client, mut target) = (TokioIo::new(client.await?), target.into_io());
        let mut client = Metered { inner: client, visit: &mut visit, received };
        let copied = tokio::io::copy_bidirectional(&mut client, &mut target).await;
        Ok::<_, hyper::Error>(copied)
    });
    match carried.await {
        Some(Ok(Err(error))) => debug!(%error, "an upgraded connection ended"),
        Some(Err(error)) => debug!(%error, "a connection could not be upgraded"),
        Some(Ok(Ok(_))) | None => {}
    }
}

/// Between one number and the next, before they are mixed: `SplitMix64`'s.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Numbers that are not guessed and do not come twice: for request ids, and dice.
pub(crate) struct Numbers {
    seed: u64,
    next: AtomicU64,
}

impl Numbers {
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        // The standard library's own source of chance; it needs no further crate.
        let (seed, next) = (RandomState::new().hash_one(0_u8), RandomState::new().hash_one(1_u8));
        Self { seed, next: AtomicU64::new(next) }
    }

    /// One number, evenly spread.
    pub(crate) fn one(&self) -> u64 {
        mixed(self.next.fetch_add(STEP, Relaxed))
    }

    pub(crate) fn three(&self) -> [u64; 3] {
        let first = self.next.fetch_add(STEP.wrapping_mul(3), Relaxed);
        [0, 1, 2].map(|n| mixed(first.wrapping_add(STEP.wrapping_mul(n))))
    }

    /// 32 hexadecimal digits.
    pub(crate) fn text(&self) -> [u8; 32] {
        let one = self.one();
        let mut text = [0; 32];
        let (high, low) = text.split_at_mut(16);
        high.copy_from_slice(&hex(mixed(one ^ self.seed)));
        low.copy_from_slice(&hex(one));
        text
    }
}

/// A number in hexadecimal digits, as `{:016x}` writes it, at a tenth of the price.
pub(crate) fn hex(number: u64) -> [u8; 16] {
    let mut shift = u64::BITS;
    [0; 16].map(|_: u8| {
        shift -= 4;
        b"0123456789abcdef"[(number >> shift & 15) as usize]
    })
}

/// The finishing step of `SplitMix64`.
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{grpc_timeout, hex};

    #[test]
    fn hexadecimal_digits_are_those_of_the_standard_library() {
        for number in [0, 1, 0x0123_4567_89AB_CDEF, u64::MAX] {
            assert_eq!(str::from_utf8(&hex(number)), Ok(format!("{number:016x}").as_str()));
        }
    }

    #[test]
    fn a_call_says_how_long_it_waits() {
        let rows = [
            ("5S", Some(5_000)),
            ("250m", Some(250)),
            ("1H", Some(3_600_000)),
            ("", None),
            ("5", None),
            ("123456789S", None),
        ];
        for (text, expected) in rows {
            assert_eq!(grpc_timeout(text), expected, "{text}");
        }
    }
}
