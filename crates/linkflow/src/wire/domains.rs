//! The domains that the stack's hosts are under, and who asks their registries.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::Stands;
use linkflow_decide::domain::Terms;
use linkflow_model::Pulse;
use linkflow_model::config::{Config, Domains as Asked, Monitor};
use linkflow_monitor::{Domain, Domains, Prober, Registries};
use psl::{List, Psl, Type};
use tokio::sync::{mpsc, watch};

use super::Stack;
use super::watched::{Planned, Way, telling};

/// Names that are nobody's to register (RFC 2606, RFC 6761, RFC 6762, RFC 7686, RFC 8375, RFC 9476, and `.internal` of ICANN).
const NOBODYS: [&str; 13] = [
    "alt",
    "arpa",
    "example",
    "example.com",
    "example.net",
    "example.org",
    "internal",
    "invalid",
    "local",
    "localhost",
    "onion",
    "test",
    "home.arpa",
];

/// The domain that `host` is under, as it was registered: one label more than an ending that registries give names below.
///
/// By the public suffix list, which knows that of `shop.co.uk` two labels are the ending. A registry's own answers do not tell
/// that: it says of `www.shop.co.uk` what it says of a domain that was lost.
pub(super) fn of(host: &str) -> String {
    let host = host.strip_prefix("*.").unwrap_or(host);
    let domain = registered(host);
    domain.unwrap_or(host).to_owned()
}

fn registered(host: &str) -> Option<&str> {
    let suffix = List.suffix(host.as_bytes())?;
    if suffix.typ() == Some(Type::Private) {
        // Whoever lets others have names below theirs registered it.
        return None;
    }
    let domain = List.domain(host.as_bytes())?;
    str::from_utf8(domain.as_bytes()).ok()
}

/// The domain of `host`, if it is a public name that somebody registered for us.
fn ours(host: &str) -> Option<String> {
    let host = host.strip_prefix("*.").unwrap_or(host);
    let is_of =
        |name: &str| host == name || host.strip_suffix(name).is_some_and(|h| h.ends_with('.'));
    if host.parse::<IpAddr>().is_ok() || NOBODYS.iter().any(|name| is_of(name)) {
        return None;
    }
    let known = List.suffix(host.as_bytes()).is_some_and(|suffix| suffix.is_known());
    registered(host).filter(|_| known).map(str::to_owned)
}

/// What the domain `name` is called where nobody declared it.
pub(super) fn subject(name: &str) -> String {
    format!("domain.{name}")
}

/// The hosts of the config that people reach something at, or that mail comes from.
fn hosts(config: &Config) -> impl Iterator<Item = String> {
    let routes = config.services.values().flat_map(|service| service.route.iter());
    let routes = routes.map(|route| route.host.clone());
    let page = config.status_page.iter().filter_map(|page| page.host.as_ref());
    let dashboard = config.dashboard.host.as_ref().filter(|_| config.dashboard.on);
    let own = page.chain(dashboard).map(|host| host.0.clone());
    let mail = config.mail.iter().filter_map(|mail| mail.from.address.rsplit_once('@'));
    let mail = mail.map(|(_, domain)| domain.to_ascii_lowercase());
    routes.chain(own).chain(config.subscribe_host()).chain(mail)
}

/// What follows from the stack.
pub(super) fn derived(config: &Config) -> Vec<Planned> {
    if !config.domains.watch {
        return Vec::new();
    }
    let names: BTreeSet<String> = hosts(config).filter_map(|host| ours(&host)).collect();
    let Asked { every, left, .. } = config.domains;
    let planned =
        |name: String| Planned { derived: true, ..planned(subject(&name), name, (every, left)) };
    names.into_iter().map(planned).collect()
}

/// What `monitor`, of the domain of `host`, asks for.
pub(super) fn declared(subject: String, host: &str, monitor: &Monitor, asked: &Asked) -> Planned {
    let times = (monitor.pace(asked), monitor.domain_left);
    Planned { tags: monitor.tags.to_vec(), ..planned(subject, of(host), times) }
}

fn planned(subject: String, name: String, (every, left): (Duration, Duration)) -> Planned {
    let what = format!("domain {name}");
    let domain = Domain { subject: subject.clone(), name, terms: Terms::new(every, left) };
    let (watched, tags) = (Ok(Way::Registry(domain)), Vec::new());
    Planned { watched, subject, what, every, tags, derived: false }
}

/// Watches `all` in a task of the stack; gives how they stand, where there are any.
pub(super) fn watch(
    stack: &Stack,
    all: Vec<Domain>,
    pulse: Pulse,
    unable: &mut Vec<String>,
) -> Option<watch::Receiver<Vec<Stands>>> {
    if all.is_empty() {
        return None;
    }
    let prober = match Prober::new() {
        Ok(prober) => prober,
        Err(why) => {
            unable.push(format!("no domain is watched: {why}"));
            return None;
        }
    };
    let (store, clock) = (Arc::clone(&stack.store), Arc::clone(&stack.clock));
    let list = stack.config.domains.list.0.clone();
    let registries = Registries::new(prober, Arc::clone(&clock), Arc::clone(&store), list);
    let (tell, told) = mpsc::channel(64);
    let show = stack.domains.clone();
    let shown = show.subscribe();
    let domains = Domains { all, registries, store, clock, tell, show, pulse };
    telling(stack, "domains", told, |stop| domains.run(stop));
    Some(shown)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_domain_is_one_label_below_what_registries_give_names_below() {
        let rows = [
            ("www.acme.com", "acme.com"),
            ("*.acme.com", "acme.com"),
            ("acme.com", "acme.com"),
            ("a.b.acme.co.uk", "acme.co.uk"),
            ("x.acme.city.kawasaki.jp", "city.kawasaki.jp"),
            ("acme.fly.dev", "acme.fly.dev"),
            ("acme.corp", "acme.corp"),
        ];
        for (host, expected) in rows {
            assert_eq!(of(host), expected, "{host}");
        }
    }

    #[test]
    fn what_was_not_registered_for_us_is_not_watched_by_itself() {
        let rows = [
            ("www.acme.com", Some("acme.com")),
            ("*.acme.co.uk", Some("acme.co.uk")),
            ("shop.io", Some("shop.io")),
            ("acme.fly.dev", None),
            ("acme.github.io", None),
            ("localhost", None),
            ("shop.localhost", None),
            ("shop.test", None),
            ("shop.example", None),
            ("www.example.com", None),
            ("notexample.com", Some("notexample.com")),
            ("db.internal", None),
            ("printer.local", None),
            ("box.home.arpa", None),
            ("acme.corp", None),
            ("com", None),
            ("co.uk", None),
            ("203.0.113.7", None),
            ("*", None),
        ];
        for (host, expected) in rows {
            assert_eq!(ours(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn every_host_of_the_stack_leads_to_its_domain_once() {
        let text = r#"
[stack]
name = "shop"
[services.web]
image = "ghcr.io/acme/shop:1.0"
port = 8080
route = ["www.acme.com", "acme.com/shop", "*.acme.co.uk"]
[status_page]
host = "status.acme-status.net"
[dashboard]
host = "ops.acme.com"
[mail]
from = "Acme <post@mail.acme.org>"
"#;
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let names: Vec<String> =
            derived(&config).into_iter().map(|planned| planned.subject).collect();
        let expected = ["acme.co.uk", "acme.com", "acme.org", "acme-status.net"];
        let mut expected = expected.map(subject).to_vec();
        expected.sort();
        assert_eq!(names, expected);
    }
}
