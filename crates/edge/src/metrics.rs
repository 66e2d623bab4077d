//! Metrics, as Prometheus reads them: text exposition format 0.0.4, at a listener of its own.
//!
//! Every label comes from the config, so there are no more series than the config has routes and targets. Nothing is
//! collected but when somebody asks.

mod text;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::doors::Doors;
use crate::meter::{Counts, Histogram, KINDS, RouteMeter};
use crate::picture::View;
use text::{Kind, Text};

/// How many may read at once.
const READERS: usize = 8;
/// How long one connection may last: readers ask every some seconds, and come again.
const LASTS: Duration = Duration::from_secs(300);

/// Where metrics are read.
pub(crate) struct Metrics {
    address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
}

impl Metrics {
    pub(crate) async fn bind(address: SocketAddr, doors: &mut Doors) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("metrics at {address}: {error}"))
        };
        let listener = doors.open(address).await.map_err(named)?;
        let address = listener.local_addr()?;
        Ok(Self { address, listener: Mutex::new(Some(listener)) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its listening socket once more; `None` once it is served.
    pub(crate) fn socket(&self) -> Option<io::Result<OwnedFd>> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        listener.as_ref().map(|listener| listener.as_fd().try_clone_to_owned())
    }

    /// Answers whoever asks, until `stop`. Once; a second call has nothing to do.
    pub(crate) fn serve(
        &self,
        view: View,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            let Some(listener) = listener else { return };
            let readers = Arc::new(Semaphore::new(READERS));
            let accepting = async {
                loop {
                    let Ok(seat) = Arc::clone(&readers).acquire_owned().await else { return };
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            let (answering, stop) = (answer(stream, view.clone()), stop.clone());
                            view.proxy.tasks.spawn(async move {
                                stop.run_until_cancelled(timeout(LASTS, answering)).await;
                                drop(seat);
                            });
                        }
                        Err(error) => {
                            warn!(%error, "a reader of metrics could not be accepted");
                            sleep(Duration::from_millis(50)).await;
                        }
                    }
                }
            };
            stop.run_until_cancelled(accepting).await;
        }
    }
}

async fn answer(stream: TcpStream, view: View) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = page(request.uri().path(), &view);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(60));
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        debug!(%error, "a reader of metrics left");
    }
}

fn page(path: &str, view: &View) -> Response<Full<Bytes>> {
    if path != "/metrics" {
        let mut answer = Response::new(Full::from("metrics are at /metrics\n"));
        *answer.status_mut() = StatusCode::NOT_FOUND;
        return answer;
    }
    let mut answer = Response::new(Full::from(view.metrics()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// What is counted of one target, and what names it.
struct TargetRow {
    labels: [(&'static str, String); 2],
    counts: Arc<Counts>,
    usable: bool,
}

impl View {
    /// Everything that is counted, as Prometheus reads it.
    pub fn metrics(&self) -> String {
        let mut out = Text::default();
        self.routes(&mut out);
        let targets = self.rows();
        of_targets(&targets, &mut out);
        self.whole(&mut out);
        self.written(&mut out);
        out.0
    }

    fn rows(&self) -> Vec<TargetRow> {
        let table = self.proxy.book.table();
        let mut rows: Vec<TargetRow> = Vec::new();
        for line in table.lines() {
            for lane in &line.lanes {
                // Two addresses of one provider are counted together.
                if rows.iter().any(|row| Arc::ptr_eq(&row.counts, &lane.counts)) {
                    continue;
                }
                let (service, target) = (&line.group.service, &lane.provider);
                rows.push(TargetRow {
                    labels: [("service", service.to_string()), ("target", target.to_string())],
                    counts: Arc::clone(&lane.counts),
                    usable: line.group.steer().usable(lane.id),
                });
            }
        }
        rows
    }

    fn routes(&self, out: &mut Text) {
        let meters = self.route_meters();
        let unrouted = &self.proxy.watch.meter.unrouted;
        let meters: Vec<&RouteMeter> =
            meters.iter().map(|meter| &**meter).chain([unrouted]).collect();
        let labels = |meter: &RouteMeter| {
            let service = meter.service.as_ref().map(ToString::to_string).unwrap_or_default();
            [("service", service), ("route", meter.route.clone())]
        };
        out.family(
            "requests_total",
            Kind::Counter,
            "Requests that were answered, by class of status.",
        );
        for meter in &meters {
            out.by_class(&labels(meter), meter.answers.counts());
        }
        let help = "Seconds until an answer to a visitor began.";
        out.family("request_first_byte_seconds", Kind::Histogram, help);
        for meter in &meters {
            out.histogram(&labels(meter), &meter.first_byte);
        }
        type Count = fn(&RouteMeter) -> &AtomicU64;
        let families: [(&str, &str, Count); 5] = [
            ("request_retries_total", "Tries made because another one failed.", |m| &m.retries),
            ("request_hedges_total", "Tries made because another one was slow.", |m| &m.hedges),
            ("responses_broken_total", "Answers that broke off.", |m| &m.broken),
            ("received_bytes_total", "Bytes of requests' bodies.", |m| &m.received),
            ("sent_bytes_total", "Bytes of answers' bodies.", |m| &m.sent),
        ];
        for (name, help, count) in families {
            out.family(name, Kind::Counter, help);
            for meter in &meters {
                out.sample(&labels(meter), count(meter).load(Relaxed));
            }
        }
    }

    /// What belongs to no route.
    fn whole(&self, out: &mut Text) {
        let meter = &self.proxy.watch.meter;
        out.family("requests_in_flight", Kind::Gauge, "Requests under way.");
        out.sample(&[], self.proxy.in_flight.load(Relaxed) as u64);
        out.family("connections_total", Kind::Counter, "Connections of clients that were served.");
        out.sample(&[], meter.accepted.load(Relaxed));
        out.family("connections_open", Kind::Gauge, "Connections of clients that are open.");
        out.sample(&[], meter.open.load(Relaxed));
        let help = "Those of them that rest: nothing was asked over them for a while.";
        out.family("connections_resting", Kind::Gauge, help);
        out.sample(&[], meter.resting.load(Relaxed));
        let help = "Answers that are the edge's own or not whole, by the reason.";
        out.family("local_replies_total", Kind::Counter, help);
        for (reason, count) in meter.reasons() {
            out.sample(&[("reason", reason.word().to_owned())], count);
        }
        if let Some(tls) = &self.tls {
            let stats = tls.stats();
            out.family("tls_handshakes_total", Kind::Counter, "TLS handshakes, by how they went.");
            let full = stats.opened - stats.resumed;
            let rows = [("full", full), ("resumed", stats.resumed), ("failed", stats.failed)];
            for (outcome, count) in rows {
                out.sample(&[("outcome", outcome.to_owned())], count);
            }
        }
    }

    /// What is kept and written.
    fn written(&self, out: &mut Text) {
        if let Some(pages) = &self.proxy.gate.pages {
            let (count, bytes) = pages.size();
            out.family("stale_pages", Kind::Gauge, "Old pages that are kept.");
            out.sample(&[], count as u64);
            out.family("stale_pages_bytes", Kind::Gauge, "Bytes of the old pages that are kept.");
            out.sample(&[], bytes as u64);
        }
        if let Some(log) = &self.proxy.watch.log {
            let stats = log.stats();
            out.family("access_log_lines_total", Kind::Counter, "Lines of the access log.");
            out.sample(&[], stats.written);
            let help = "Lines of the access log that were dropped: too many waited, or none could be written.";
            out.family("access_log_dropped_total", Kind::Counter, help);
            for (reason, count) in [("full", stats.dropped_full), ("write", stats.dropped_write)] {
                out.sample(&[("reason", reason.to_owned())], count);
            }
        }
    }
}

fn of_targets(targets: &[TargetRow], out: &mut Text) {
    type Count = fn(&Counts) -> &AtomicU64;
    let families: [(&str, Kind, &str, Count); 7] = [
        ("target_requests_total", Kind::Counter, "Requests sent to a target.", |c| &c.requests),
        (
            "target_retries_total",
            Kind::Counter,
            "Requests a target got because another try failed.",
            |c| &c.retries,
        ),
        (
            "target_hedges_total",
            Kind::Counter,
            "Requests a target got because another one was slow.",
            |c| &c.hedges,
        ),
        (
            "target_ejections_total",
            Kind::Counter,
            "How often a target was left alone for a while.",
            |c| &c.ejections,
        ),
        ("target_in_flight", Kind::Gauge, "Requests under way at a target.", |c| &c.in_flight),
        ("target_sent_bytes_total", Kind::Counter, "Bytes of bodies a target got.", |c| {
            &c.received
        }),
        ("target_received_bytes_total", Kind::Counter, "Bytes of bodies a target gave.", |c| {
            &c.sent
        }),
    ];
    for (name, kind, help, count) in families {
        out.family(name, kind, help);
        for row in targets {
            out.sample(&row.labels, count(&row.counts).load(Relaxed));
        }
    }
    out.family("target_responses_total", Kind::Counter, "Answers of a target, by class of status.");
    for row in targets {
        out.by_class(&row.labels, row.counts.answers.counts());
    }
    out.family("target_failures_total", Kind::Counter, "Tries that failed at a target, by how.");
    for row in targets {
        for (kind, count) in KINDS.iter().zip(row.counts.kinds()) {
            let [service, target] = row.labels.clone();
            out.sample(&[service, target, ("kind", (*kind).to_owned())], count);
        }
    }
    out.family(
        "target_usable",
        Kind::Gauge,
        "1: requests go to a target; 0: it is ejected or down.",
    );
    for row in targets {
        out.sample(&row.labels, u64::from(row.usable));
    }
    let help = "Seconds until a target's answer began.";
    out.family("target_first_byte_seconds", Kind::Histogram, help);
    for row in targets {
        out.histogram(&row.labels, &row.counts.first_byte);
    }
}

impl Text {
    fn by_class(&mut self, labels: &[(&'static str, String); 2], classes: [u64; 5]) {
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(classes) {
            let [one, two] = labels.clone();
            self.sample(&[one, two, ("code", (*class).to_owned())], count);
        }
    }

    fn histogram(&mut self, labels: &[(&'static str, String)], held: &Histogram) {
        self.buckets(labels, &held.buckets(), held.sum_us());
    }
}
