//! What the worker in front of the edge is told of routes and of health.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use linkflow_model::worker::{
    WORKER_VERSION, WorkerConfig, WorkerHealth, WorkerPicture, WorkerService, WorkerSettings,
    WorkerTarget,
};
use linkflow_model::{
    Health, HostRoute, Routes, ServiceKind, ServiceRoute, ServiceSpec, Timeouts, World,
};

#[cfg(test)]
mod tests;

/// The worker's config for `routes`.
///
/// A service is left out when the worker cannot serve it: gRPC needs trailers, which a worker cannot pass on, and a
/// target needs a name that anybody can resolve. So is a host that is led by more than a path: by methods, by headers, or
/// by a pattern that it fits. Requests for those go on to the edge.
pub fn worker(routes: &Routes, settings: &WorkerSettings) -> WorkerConfig {
    let services = routes.services.iter().filter_map(|route| service(route, routes, settings));
    let services: Vec<(WorkerService, Timeouts)> = services.collect();
    let named = |route: &&ServiceRoute| services.iter().any(|(s, _)| s.service == route.service);
    let targets = routes.services.iter().filter(named).flat_map(|route| &route.targets);
    // The worker knows no cold starts: it waits for the longest where there is nobody else to ask.
    let cold_start = targets.filter_map(|t| t.sleeps).map(|sleeps| sleeps.cold_start_ms).max();
    let mut limits = settings.limits;
    limits.first_byte_alone_ms = limits.first_byte_alone_ms.max(cold_start.unwrap_or_default());
    let services = services.into_iter().map(|(mut service, timeouts)| {
        service.limits = limits.of(timeouts);
        service
    });
    WorkerConfig {
        version: WORKER_VERSION,
        generation: settings.generation,
        stack: settings.stack.clone(),
        status_page: settings.status_page.clone(),
        limits,
        services: services.collect(),
    }
}

fn service(
    route: &ServiceRoute,
    routes: &Routes,
    settings: &WorkerSettings,
) -> Option<(WorkerService, Timeouts)> {
    let hosts: Vec<HostRoute> =
        route.hosts.iter().filter(|one| is_led_by_path(one, routes)).cloned().collect();
    let targets = route.targets.iter().filter(|target| is_public(&target.address));
    let targets: Vec<WorkerTarget> = targets
        .map(|t| WorkerTarget { provider: t.provider.clone(), address: t.address.clone() })
        .collect();
    if route.kind != ServiceKind::Web || hosts.is_empty() || targets.is_empty() {
        return None;
    }
    let service = WorkerService {
        service: route.service.clone(),
        hosts,
        health: route.health.clone(),
        idempotency_key: settings.idempotency_key.contains(&route.service),
        limits: None,
        targets,
    };
    Some((service, route.timeouts))
}

/// Whether nothing but the path decides where a request for the route's host goes.
fn is_led_by_path(route: &HostRoute, routes: &Routes) -> bool {
    let all = routes.services.iter().flat_map(|service| &service.hosts);
    let more = |other: &&HostRoute| {
        !other.methods.is_empty() || !other.headers.is_empty() || other.host.starts_with("*.")
    };
    let fits = |pattern: &str| match pattern.strip_prefix('*') {
        Some("") => true,
        Some(end) => pattern == route.host || route.host.ends_with(end),
        None => pattern == route.host,
    };
    !all.filter(more).any(|other| route.host == "*" || fits(&other.host))
}

/// Whether a worker may ask there: by a name of the public internet. Cloudflare refuses bare IP addresses (error 1003).
fn is_public(address: &str) -> bool {
    let Some(authority) =
        address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"))
    else {
        return false;
    };
    let port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    let host = port.map_or(authority, |(host, _)| host).to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let private = ["localhost", "internal", "local", "lan", "home", "test"];
    let last = host.rsplit('.').next().unwrap_or_default();
    bare.parse::<IpAddr>().is_err() && host.contains('.') && !private.contains(&last)
}

/// What the worker is told of the health of `services` in `world`. `at`: now, in milliseconds since 1970.
pub fn worker_picture(services: &[ServiceSpec], world: &World, at: u64) -> WorkerPicture {
    let probed = services.iter().filter(|spec| spec.is_probed());
    let rows = probed.filter_map(|spec| {
        let view = world.services.get(&spec.name)?;
        let known = view.placements.iter().map(|p| (p.provider.to_owned(), health(p.health)));
        Some((spec.name.clone(), known.collect::<BTreeMap<_, _>>()))
    });
    WorkerPicture { version: WORKER_VERSION, at, services: rows.collect() }
}

/// What rests or wakes is neither: a request may go there, and no better one is known to be up.
fn health(health: Health) -> WorkerHealth {
    match health {
        Health::Up => WorkerHealth::Up,
        Health::Down => WorkerHealth::Down,
        Health::Resting | Health::Waking | Health::Unknown => WorkerHealth::Unknown,
    }
}
