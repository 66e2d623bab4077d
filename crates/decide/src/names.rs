//! Which records the zone should have: those of the config, and one for each route, which leads visitors to the service.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use linkflow_model::role::ZoneRecord;
use linkflow_model::{ServiceName, World};

#[cfg(test)]
mod tests;

/// What is asked of the zone.
#[derive(Clone, Debug)]
pub struct Names {
    /// The zone: `example.com`.
    pub zone: String,
    /// How long answers for routes may be kept, in seconds.
    pub ttl_s: u32,
    /// Whether visitors of routes go through the provider's proxy.
    pub proxied: bool,
    /// The records of the config.
    pub own: Vec<ZoneRecord>,
    /// The hosts of routes, and the service behind each.
    pub hosts: Vec<(String, ServiceName)>,
    /// Where they lead.
    pub lead: Lead,
}

/// Where the records of routes lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lead {
    /// To the edge, by its host name or address.
    Edge(String),
    /// To the provider's end of a tunnel, which only its proxy reaches.
    Tunnel(String),
    /// To the placement that serves now.
    Placement,
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// The records, and the hosts that none could be made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The records.
    pub records: Vec<ZoneRecord>,
    /// Hosts without a record, each with the reason.
    pub without: Vec<(String, String)>,
}

/// The records that the zone should have in `world`. `held` are those of ours that it has: where nobody knows where a
/// service is, its record stays as it is.
pub fn names(asked: &Names, world: &World, held: &[ZoneRecord]) -> Named {
    let mut named = Named { records: asked.own.clone(), without: Vec::new() };
    for (host, service) in &asked.hosts {
        let is_said = asked.own.iter().any(|record| record.name == *host && leads(record));
        if !within(host, &asked.zone) || is_said {
            continue;
        }
        match &asked.lead {
            Lead::Edge(edge) if edge == host => {
                named.without.push((
                    host.clone(),
                    "it is the edge's own name, and no record says where that is".to_owned(),
                ));
            }
            Lead::Edge(edge) => named.records.extend(to(asked, host, edge, asked.proxied)),
            Lead::Tunnel(end) => named.records.push(alias(asked, host, end, true)),
            Lead::Nowhere(why) => named.stay(host, held, why.clone()),
            Lead::Placement => match address_of(world, service) {
                Some(address) => named.records.extend(to(asked, host, &address, false)),
                None => {
                    named.stay(host, held, format!("nobody knows where {service} serves now"));
                }
            },
        }
    }
    named
}

impl Named {
    /// Leaves the record of `host` as it is.
    fn stay(&mut self, host: &str, held: &[ZoneRecord], why: String) {
        let before = held.iter().filter(|record| record.name == host && leads(record));
        self.records.extend(before.cloned());
        self.without.push((host.to_owned(), why));
    }
}

/// Where the service serves now, by host name or address.
fn address_of(world: &World, service: &ServiceName) -> Option<String> {
    let address = world.services.get(service)?.active_placement()?.address.as_deref()?;
    let authority =
        address.split_once("://").map_or(address, |(_, rest)| rest).split('/').next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_owned())
}

/// Records that lead `host` to `target`. Where the zone itself says what the target's addresses are, the zone's own name
/// has them too, because many providers take no alias there.
fn to(asked: &Names, host: &str, target: &str, proxied: bool) -> Vec<ZoneRecord> {
    if let Ok(address) = target.parse::<IpAddr>() {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        return [ZoneRecord::new(host, kind, target, asked.ttl_s, proxied)].into();
    }
    let known =
        asked.own.iter().filter(|record| record.name == target && record.kind.starts_with('A'));
    let copy = |record: &ZoneRecord| {
        ZoneRecord::new(host, &record.kind, &record.value, asked.ttl_s, proxied)
    };
    let copies: Vec<ZoneRecord> = known.map(copy).collect();
    if host == asked.zone && !copies.is_empty() {
        return copies;
    }
    [alias(asked, host, target, proxied)].into()
}

fn alias(asked: &Names, host: &str, target: &str, proxied: bool) -> ZoneRecord {
    ZoneRecord::new(host, "CNAME", target, asked.ttl_s, proxied)
}

/// Whether a record says where its name is.
fn leads(record: &ZoneRecord) -> bool {
    matches!(record.kind.as_str(), "A" | "AAAA" | "CNAME")
}

fn within(host: &str, zone: &str) -> bool {
    host == zone || host.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}
