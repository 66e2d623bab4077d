//! `/metrics` of the operators' site: how the stack stands, as Prometheus reads it, and what the edge counts.
//!
//! Every label is a name of the config, so there are no more series than the config has services, placements and monitors.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use linkflow_model::access::{Caller, Means, Scope};
use linkflow_model::{Condition, Timestamp};

use crate::Site;
use crate::api::problem::Refused;
use crate::gate::gated;
use crate::operator::{PlacementState, Refusal};
use crate::view::told::incidents;

/// The prefix of the documents of alerts' messages.
const MESSAGES: &str = "alert/message/";

/// What Prometheus reads.
pub(crate) fn routes() -> Router<Arc<Site>> {
    let routes = Router::new().route("/metrics", get(metrics));
    gated(routes, Scope::Read).layer(from_fn(local))
}

/// Whoever asks from this machine by itself, and not through a proxy, may read numbers without a sign-in: that is how
/// Prometheus beside it asks.
async fn local(mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let is_here = peer.is_some_and(|ip| ip.is_loopback()) && !is_forwarded(request.headers());
    if is_here && request.extensions().get::<Caller>().is_none() {
        let (name, scope, means) = ("this machine".to_owned(), Scope::Read, Means::Token);
        request.extensions_mut().insert(Caller { name, scope, means });
    }
    next.run(request).await
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    let names = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    names.iter().any(|name| headers.contains_key(*name))
}

async fn metrics(State(site): State<Arc<Site>>) -> Result<Response, Refused> {
    let text = text(&site).await?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, text).into_response())
}

/// Text in the exposition format.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.put(format_args!("# HELP linkflow_{name} {help}\n# TYPE linkflow_{name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.put(format_args!("linkflow_{name}"));
        for (i, (label, text)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.put(format_args!("{open}{label}=\"{text}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{close} {value}\n"));
    }

    /// One sample that stands alone.
    fn one(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        self.0.write_fmt(text).unwrap_or_default();
    }
}

async fn text(site: &Site) -> Result<String, Refusal> {
    let mut out = Text::default();
    services(site, &mut out).await?;
    monitors(site, &mut out).await?;
    let open = incidents(site).await?;
    let all = |taken: bool| {
        let fits = |one: &&crate::view::told::IncidentRow| {
            one.open && one.acknowledged_by.is_some() == taken
        };
        open.iter().filter(fits).count() as f64
    };
    out.family("incidents_open", "gauge", "Incidents that are not over.");
    out.sample("incidents_open", &[("acknowledged", "no")], all(false));
    out.sample("incidents_open", &[("acknowledged", "yes")], all(true));
    store(site, &mut out).await?;
    if let Some(bytes) = resident() {
        out.one("memory_bytes", "Memory of this process that is resident.", bytes);
    }
    out.0.push_str(&site.operator.metrics());
    Ok(out.0)
}

async fn services(site: &Site, out: &mut Text) -> Result<(), Refusal> {
    let services = site.operator.services().await?.services;
    out.family("service_up", "gauge", "Whether the place that serves is well.");
    for one in &services {
        let serves = one.placements.iter().find(|placement| placement.active);
        let well = |state: PlacementState| {
            use PlacementState::{Asleep, Resting, Running, Up};
            matches!(state, Up | Running | Resting | Asleep)
        };
        let up = serves.is_some_and(|placement| well(placement.state));
        out.sample("service_up", &[("service", one.service.as_str())], f64::from(u8::from(up)));
    }
    out.family("placement_state", "gauge", "1 for how a placement is, 0 for how it is not.");
    let placed = || services.iter().flat_map(|s| s.placements.iter().map(move |p| (s, p)));
    for (service, placement) in placed() {
        for state in PlacementState::ALL {
            let labels = [
                ("service", service.service.as_str()),
                ("provider", placement.provider.as_str()),
                ("state", state.word()),
            ];
            let is = f64::from(u8::from(placement.state == state));
            out.sample("placement_state", &labels, is);
        }
    }
    out.family("placement_serves", "gauge", "Whether a placement is the one that serves.");
    for (service, placement) in placed() {
        let labels =
            [("service", service.service.as_str()), ("provider", placement.provider.as_str())];
        out.sample("placement_serves", &labels, f64::from(u8::from(placement.active)));
    }
    out.family("placement_drained", "gauge", "Whether a service is kept away from a provider.");
    for (service, placement) in placed() {
        let labels =
            [("service", service.service.as_str()), ("provider", placement.provider.as_str())];
        let drained = f64::from(u8::from(placement.drained.is_some()));
        out.sample("placement_drained", &labels, drained);
    }
    Ok(())
}

async fn monitors(site: &Site, out: &mut Text) -> Result<(), Refusal> {
    let watched = site.operator.watched();
    out.family("monitor_up", "gauge", "1: well, 0: not; nothing where nobody could look.");
    for one in &watched {
        let up = match one.condition {
            Condition::Up | Condition::Degraded => 1.0,
            Condition::Partial | Condition::Down => 0.0,
            Condition::Maintenance | Condition::Unknown => continue,
        };
        out.sample("monitor_up", &[("monitor", &one.subject)], up);
    }
    out.family("monitor_seconds", "gauge", "How long the last look took.");
    let to = Timestamp(site.clock.wall().0 + 1);
    for one in &watched {
        // Older than two rhythms says nothing of now.
        let from = Timestamp(to.0.saturating_sub(one.every_ms * 2 + 60_000));
        let last = site.store.readings(&one.subject, from, to, 1).await?.pop();
        if let Some(last) = last.filter(|last| last.well) {
            let seconds = f64::from(last.took_us) / 1_000_000.0;
            out.sample("monitor_seconds", &[("monitor", &one.subject)], seconds);
        }
    }
    Ok(())
}

async fn store(site: &Site, out: &mut Text) -> Result<(), Refusal> {
    let newest = site.store.newest_event().await?;
    out.family("events_total", "counter", "Events that were ever kept.");
    out.sample("events_total", &[], newest as f64);
    // A message is waiting or being sent until it is sent or given up.
    let messages = site.store.list(MESSAGES).await?;
    let due = |state: &str| matches!(state, "waiting" | "sending");
    let waiting = messages.iter().filter(|one| one.body["state"].as_str().is_some_and(due));
    let help = "Messages of alerts that are not delivered yet.";
    out.one("alerts_waiting", help, waiting.count() as f64);
    Ok(())
}

/// How much memory of this process is resident; `None` where the system does not say.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024.0)
}
