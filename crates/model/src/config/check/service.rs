//! Services: cascades, ports, routes.

use std::collections::BTreeMap;

use super::Check;
use crate::config::codes;
use crate::config::provider::Role;
use crate::config::service::Service;
use crate::{HostRoute, ServiceKind, ServiceName};

fn kind_is(kind: ServiceKind, word: &str) -> bool {
    matches!(
        (kind, word),
        (ServiceKind::Web, "web") | (ServiceKind::Grpc, "grpc") | (ServiceKind::Worker, "worker")
    )
}

impl Check<'_> {
    pub(super) fn services(&mut self) {
        let config = self.config;
        for (name, service) in &config.services {
            let path = ["services", name.as_str()];
            self.providers(&service.runs_on, Role::Compute, &[path[0], path[1], "runs_on"], true);
            self.last_resort(name, service);
            self.shape(name, service);
            for (i, needed) in service.needs.iter().enumerate() {
                self.service_named(needed, &[path[0], path[1], "needs", &i.to_string()]);
            }
            for (key, time) in service.timeouts.said() {
                self.rhythm(time.is_zero(), &[path[0], path[1], "timeouts", key]);
            }
            for provider in service.concurrency.on.keys().filter(|p| !service.runs_on.contains(p)) {
                let path = [path[0], path[1], "concurrency", "on", provider.as_str()];
                let what = format!("`{name}` does not run on `{provider}`");
                self.tell(codes::DOES_NOT_FIT, &path, what, "name a provider of its `runs_on`");
            }
            if service.command.as_ref().is_some_and(Vec::is_empty) {
                let path = [path[0], path[1], "command"];
                self.tell(
                    codes::EMPTY,
                    &path,
                    "`command` is empty".to_owned(),
                    "take it away to run the image's own",
                );
            }
        }
    }

    /// Whether what `[deploy]` names is there.
    pub(super) fn deploy(&mut self) {
        let config = self.config;
        let deploy = &config.deploy;
        if let Some(name) = &deploy.migrate_on {
            self.provider(name, &[Role::Compute], &["deploy", "migrate_on"]);
        }
        self.providers(&deploy.notify, Role::Notify, &["deploy", "notify"], false);
        self.rhythm(deploy.hooks.within.is_zero(), &["deploy", "hooks", "within"]);
        self.rhythm(deploy.migrate_within.is_zero(), &["deploy", "migrate_within"]);
        // A program that stands for the image may run its migrations, whatever runs the service.
        if config.services.values().any(|service| service.migrate.is_some()) {
            self.used.extend(config.compute().into_keys());
        }
    }

    fn last_resort(&mut self, name: &ServiceName, service: &Service) {
        let last = |p| self.config.provider(p).is_some_and(|p| p.account.last_resort);
        let Some(first) = service.runs_on.iter().position(last) else { return };
        if service.runs_on[first..].iter().all(last) {
            return;
        }
        let what =
            format!("`{}` is a last resort and stands before others", service.runs_on[first]);
        let path = ["services", name.as_str(), "runs_on", &first.to_string()];
        self.tell(codes::LAST_RESORT_EARLY, &path, what, "put it last");
    }

    /// Whether the keys fit the kind.
    fn shape(&mut self, name: &ServiceName, service: &Service) {
        let path = ["services", name.as_str()];
        let key = |key| [path[0], path[1], key];
        let written = self
            .root
            .get("services")
            .and_then(|s| s.table()?.get(name.as_str())?.table()?.get("kind"));
        if written.is_some_and(|kind| kind.text().is_none_or(|w| !kind_is(service.kind, w))) {
            // A kind that could not be read says nothing about the other keys.
            return;
        }
        let worker = service.kind == ServiceKind::Worker;
        if service.port.is_none() && !worker && !self.has(&key("kind")) {
            let help = "add `port = …`, or `kind = \"worker\"` when it answers nobody";
            self.missing(codes::NO_PORT, &path, "port", help);
        } else if service.port.is_none() && !worker {
            self.missing(
                codes::NO_PORT,
                &path,
                "port",
                "add `port = …`, where the container listens",
            );
        }
        if worker && !service.route.is_empty() {
            let what = format!("`{name}` is a worker, and a worker has no `route`");
            self.tell(
                codes::DOES_NOT_FIT,
                &key("route"),
                what,
                "take it away, or make the service `web`",
            );
        }
        if service.kind != ServiceKind::Web && service.health.is_some() {
            let what = format!("`{name}` is not a web service and has no `health` path");
            let help = if worker {
                "take it away; a worker lives by its provider's word"
            } else {
                "take it away; the gRPC health protocol is used"
            };
            self.tell(codes::DOES_NOT_FIT, &key("health"), what, help);
        }
        let slash = service
            .health
            .as_ref()
            .filter(|h| !h.starts_with('/') || h.contains(char::is_whitespace));
        if let Some(health) = slash {
            let what = format!("`{health}` is not a path");
            self.tell(
                codes::BAD_VALUE,
                &key("health"),
                what,
                format!("write `health = \"/{}\"`", health.trim()),
            );
        }
        if service.exclusive && service.replicas.get() > 1 {
            let what = format!("`{name}` is exclusive and has {} replicas", service.replicas);
            self.tell(
                codes::DOES_NOT_FIT,
                &key("replicas"),
                what,
                "an exclusive service has one instance",
            );
        }
    }

    pub(super) fn routes(&mut self) {
        let config = self.config;
        let mut seen: BTreeMap<HostRoute, &ServiceName> = BTreeMap::new();
        for (name, service) in &config.services {
            for (i, route) in service.route.iter().enumerate() {
                let path = ["services", name.as_str(), "route", &i.to_string()];
                let path = if self.has(&path) { &path[..] } else { &path[..3] };
                let bare = HostRoute {
                    path: route.path.trim_end_matches('/').to_owned(),
                    ..route.clone()
                };
                if let Some(other) = seen.insert(bare, name) {
                    let what = format!("`{}{}` leads to `{other}` already", route.host, route.path);
                    let help = "give one of them another host, a longer path, or conditions";
                    self.tell(codes::SAME_ROUTE, path, what, help);
                }
                let Some(domain) = &config.stack.domain else { continue };
                let inside =
                    route.host == domain.0 || route.host.ends_with(&format!(".{}", domain.0));
                if !inside && route.host != "*" {
                    let what = format!("`{}` is not under `{}`", route.host, domain.0);
                    let help = "`[dns]` cannot point it here; its own DNS must";
                    self.tell(codes::FOREIGN_HOST, path, what, help);
                }
            }
        }
    }

    /// Refuses a host of the dashboard that leads elsewhere already: one of both would be out of reach.
    pub(super) fn dashboard(&mut self) {
        let config = self.config;
        let Some(host) = config.dashboard.host.as_ref().filter(|_| config.dashboard.on) else {
            return;
        };
        let leads_to = |service: &Service| service.route.iter().any(|route| route.host == host.0);
        let service = config.services.iter().find(|(_, service)| leads_to(service));
        let page = config.status_page.as_ref().and_then(|page| page.host.as_ref());
        let other = match service {
            Some((name, _)) => format!("leads to `{name}`"),
            None if page == Some(host) => "is that of the status page".to_owned(),
            None => return,
        };
        let what =
            format!("`{}` {other} already, and the dashboard needs a host of its own", host.0);
        let help = "give it another one: `ops.` before your domain, for one";
        self.tell(codes::SAME_ROUTE, &["dashboard", "host"], what, help);
    }

    /// Checks that the service named at `path` is there.
    pub(super) fn service_named(&mut self, name: &ServiceName, path: &[&str]) {
        self.thing_named("service", name.as_str(), path);
    }
}
