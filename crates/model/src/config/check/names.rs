//! Names: whether visitors are led past the edge, and whether the worker fails closed.

use super::Check;
use crate::config::codes;
use crate::config::edge::{Dns, LeadsTo, RecordType};
use crate::config::kinds::Settings;

/// What host names of placements end in, at the providers that run services.
const PLACEMENTS: [&str; 6] = [
    ".azurecontainerapps.io",
    ".fly.dev",
    ".up.railway.app",
    ".koyeb.app",
    ".zeabur.app",
    ".onrender.com",
];

impl Check<'_> {
    pub(super) fn names(&mut self) {
        let edge = &self.config.edge;
        if !edge.worker {
            return;
        }
        if !edge.fail_open {
            let what = "the worker's routes would fail closed".to_owned();
            let help = "take `fail_open` away: over its allowance requests then go to the edge";
            self.tell(codes::FAILS_CLOSED, &["edge", "fail_open"], what, help);
        }
        let Some(dns) = &self.config.dns else { return };
        if dns.leads_to == LeadsTo::Placement {
            let what = "with a worker, names cannot lead to a placement".to_owned();
            let help = "take `leads_to` away: the records of routes then lead to the edge";
            self.tell(codes::PAST_THE_EDGE, &["dns", "leads_to"], what, help);
        }
        self.records_past_the_edge(dns);
    }

    fn records_past_the_edge(&mut self, dns: &Dns) {
        let zone = dns.zone.as_ref().or(self.config.stack.domain.as_ref()).map(|zone| &zone.0);
        let Some(zone) = zone else { return };
        let edge = self.config.edge.address.as_ref().map(|address| host_of(&address.0));
        let whole = |name: &str| match name {
            "@" => zone.clone(),
            _ if name.ends_with(&format!(".{zone}")) => name.to_owned(),
            _ => format!("{name}.{zone}"),
        };
        let is_edge = |value: &str| edge.as_deref() == Some(value);
        // Records of the edge's own name say where it is.
        let leads_to_edge = |value: &str| {
            let own = dns.records.iter().filter(|record| is_edge(&whole(&record.name)));
            is_edge(value) || own.map(|record| &record.value).any(|held| held == value)
        };
        let routes: Vec<&str> = self
            .config
            .services
            .values()
            .flat_map(|service| service.route.iter())
            .map(|route| route.host.as_str())
            .collect();
        for (at, record) in dns.records.iter().enumerate() {
            let address =
                matches!(record.r#type, RecordType::A | RecordType::Aaaa | RecordType::Cname);
            let value = record.value.trim_end_matches('.').to_ascii_lowercase();
            if !address || !record.proxied.unwrap_or(dns.proxied) || leads_to_edge(&value) {
                continue;
            }
            let name = whole(&record.name);
            // Where nobody says where the edge is, a machine of the stack may well be it.
            let is_placement = self.is_placement(&value, edge.is_some());
            if is_edge(&name) || !(routes.contains(&name.as_str()) || is_placement) {
                continue;
            }
            let index = at.to_string();
            let what =
                format!("the proxied record of `{name}` leads to `{value}` and not to the edge");
            let help = match &edge {
                Some(edge) if routes.contains(&name.as_str()) => {
                    format!("take it away: LinkFlow makes one that leads to `{edge}`")
                }
                Some(edge) => format!("let it lead to `{edge}`, or write `proxied = false`"),
                None => "say where the edge is with `edge.address`, and let the record name it"
                    .to_owned(),
            };
            self.tell(codes::PAST_THE_EDGE, &["dns", "records", &index, "value"], what, help);
        }
    }

    /// Whether `value` is where a provider of this config runs services.
    fn is_placement(&self, value: &str, servers: bool) -> bool {
        let is_server = servers
            && self.config.providers.values().any(|provider| match &provider.settings {
                Settings::Server(server) => server.address.0 == value,
                _ => false,
            });
        is_server || PLACEMENTS.iter().any(|ending| value.ends_with(ending))
    }
}

/// The host in an address on the web.
fn host_of(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        Some((v6, _)) => v6.to_owned(),
        None => authority.split(':').next().unwrap_or_default().to_ascii_lowercase(),
    }
}
