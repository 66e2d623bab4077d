//! Answering for a zone: its records, whose they are, and what would have to change.

use std::net::IpAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Fault, ProviderName};

/// One record of a zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ZoneRecord {
    /// The whole name, in lower case and without a dot at its end: `www.example.com`.
    pub name: String,
    /// Its type, in upper case: `A`, `MX`.
    pub kind: String,
    /// Its value as a zone file has it, `10 mx.example.com`, but names without a dot at their end and a text without
    /// quotes and escapes.
    pub value: String,
    /// How long others may keep the answer, in seconds.
    pub ttl_s: u32,
    /// Whether visitors go through the provider's proxy.
    #[serde(default)]
    pub proxied: bool,
}

/// A record, as its provider tells of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldRecord {
    /// The provider's id of it; empty where it has none.
    pub id: String,
    /// Whether it carries this stack's marker.
    pub ours: bool,
    /// The record.
    pub record: ZoneRecord,
}

/// A zone, as its provider tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Its name: `example.com`.
    pub name: String,
    /// Every record, ours and others', in any order. What a provider keeps to itself, such as SOA, may be missing.
    pub records: Vec<HeldRecord>,
    /// The least time, in seconds, that others may be told to keep an answer.
    pub least_ttl_s: u32,
    /// Whether the provider has a proxy that visitors can go through.
    pub proxies: bool,
    /// Whether the zone's own name may be a `CNAME`, which the provider then follows itself.
    pub flattens: bool,
    /// The name servers that the registrar has to name, as far as the provider says.
    pub servers: Vec<String>,
}

/// A record that is wanted and cannot be written, because somebody else's stands in its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedRecord {
    /// What is wanted.
    pub wanted: ZoneRecord,
    /// What stands in its way; `None` when it is the provider itself.
    pub by: Option<ZoneRecord>,
    /// Why, in one sentence.
    pub why: String,
}

/// What has to change in a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneChanges {
    /// To be added.
    pub create: Vec<ZoneRecord>,
    /// Ours, and what each becomes.
    pub change: Vec<(HeldRecord, ZoneRecord)>,
    /// Ours, and no longer wanted.
    pub remove: Vec<HeldRecord>,
    /// Wanted, and left out.
    pub blocked: Vec<BlockedRecord>,
}

impl ZoneRecord {
    /// A record in the one form in which two of them can be compared: names in lower case and without a dot at their end,
    /// addresses in their shortest form, one blank between the parts of a value. A text stays as it is.
    pub fn new(name: &str, kind: &str, value: &str, ttl_s: u32, proxied: bool) -> Self {
        let kind = kind.to_ascii_uppercase();
        let value = canonical(&kind, value);
        Self { name: host(name), kind, value, ttl_s, proxied }
    }

    /// Whether both say the same, however long it may be kept and by whichever way visitors go.
    pub fn says_as(&self, other: &Self) -> bool {
        (&self.name, &self.kind, &self.value) == (&other.name, &other.kind, &other.value)
    }
}

impl ZoneChanges {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.change.is_empty() && self.remove.is_empty()
    }

    /// How many records would be written.
    pub fn count(&self) -> usize {
        self.create.len() + self.change.len() + self.remove.len()
    }
}

fn host(name: &str) -> String {
    match name.strip_suffix('.') {
        Some("") => ".".to_owned(),
        Some(bare) => bare.to_ascii_lowercase(),
        None => name.to_ascii_lowercase(),
    }
}

fn canonical(kind: &str, value: &str) -> String {
    let words: Vec<&str> = value.split_whitespace().collect();
    match kind {
        "TXT" | "SPF" => value.to_owned(),
        "A" | "AAAA" => {
            let address = value.trim().parse::<IpAddr>();
            address.map_or_else(|_| value.trim().to_owned(), |address| address.to_string())
        }
        "CNAME" | "NS" | "PTR" | "MX" | "SRV" => match words.split_last() {
            Some((last, [])) => host(last),
            Some((last, first)) => format!("{} {}", first.join(" "), host(last)),
            None => String::new(),
        },
        "CAA" => match words.as_slice() {
            [flags, tag, rest @ ..] => {
                let rest = rest.join(" ");
                format!("{flags} {} \"{}\"", tag.to_ascii_lowercase(), rest.trim_matches('"'))
            }
            _ => words.join(" "),
        },
        _ => words.join(" "),
    }
}

/// Types of which two different answers for one name would send visitors to two places.
const ALONE: [&str; 3] = ["A", "AAAA", "CNAME"];

impl Zone {
    /// `wanted` as far as this provider can have it: no shorter kept than it allows, through its proxy only where it has
    /// one, one time for all records of a name and type (RFC 2181, 5.2), others' included, and each record once.
    #[must_use]
    pub fn fit(&self, wanted: &[ZoneRecord]) -> Vec<ZoneRecord> {
        let mut fitting: Vec<ZoneRecord> = wanted.to_vec();
        for record in &mut fitting {
            let same_set =
                |other: &&ZoneRecord| other.name == record.name && other.kind == record.kind;
            let least = wanted.iter().filter(same_set).map(|other| other.ttl_s).min();
            let theirs = self.others().find(same_set).map(|other| other.ttl_s);
            record.ttl_s = theirs.or(least).unwrap_or(record.ttl_s).max(self.least_ttl_s);
            record.proxied &= self.proxies;
        }
        fitting.sort();
        fitting.dedup_by(|later, first| later.says_as(first));
        fitting
    }

    /// What has to change so that the stack's records are `wanted`. What others made is never changed, and nothing is
    /// put beside it that would contradict it.
    pub fn changes(&self, wanted: &[ZoneRecord]) -> ZoneChanges {
        let mut changes = ZoneChanges::default();
        let mut free: Vec<&HeldRecord> = self.records.iter().filter(|held| held.ours).collect();
        let mut open = Vec::new();
        for record in self.fit(wanted) {
            if let Some(blocked) = self.blocked(&record) {
                changes.blocked.push(blocked);
                continue;
            }
            if self.others().any(|other| other.says_as(&record)) {
                continue;
            }
            match free.iter().position(|held| held.record.says_as(&record)) {
                Some(at) => {
                    let held = free.swap_remove(at);
                    if !is_same(&held.record, &record) {
                        changes.change.push((held.clone(), record));
                    }
                }
                None => open.push(record),
            }
        }
        // What has another value now is the same record for whoever looks at the zone.
        for record in open {
            let same_set = |held: &&HeldRecord| {
                held.record.name == record.name && held.record.kind == record.kind
            };
            match free.iter().position(same_set) {
                Some(at) => changes.change.push((free.swap_remove(at).clone(), record)),
                None => changes.create.push(record),
            }
        }
        changes.remove = free.into_iter().cloned().collect();
        changes.remove.sort();
        changes
    }

    fn others(&self) -> impl Iterator<Item = &ZoneRecord> {
        self.records.iter().filter(|held| !held.ours).map(|held| &held.record)
    }

    fn blocked(&self, wanted: &ZoneRecord) -> Option<BlockedRecord> {
        let told = |by: Option<&ZoneRecord>, why: String| {
            Some(BlockedRecord { wanted: wanted.clone(), by: by.cloned(), why })
        };
        let is_apex_alias = wanted.kind == "CNAME" && wanted.name == self.name;
        if is_apex_alias && !self.flattens {
            return told(None, "this provider takes no CNAME for the zone's own name".to_owned());
        }
        let name = &wanted.name;
        for other in self.others().filter(|other| other.name == *name) {
            if other.says_as(wanted) {
                if other.proxied != wanted.proxied {
                    let way = if wanted.proxied { "not " } else { "" };
                    return told(Some(other), format!("somebody made it already, {way}proxied"));
                }
                continue;
            }
            let is_apex_own =
                is_apex_alias && matches!(other.kind.as_str(), "NS" | "SOA" | "MX" | "TXT" | "CAA");
            let excludes = (other.kind == "CNAME" || wanted.kind == "CNAME") && !is_apex_own;
            let contradicts = other.kind == wanted.kind && ALONE.contains(&other.kind.as_str());
            if excludes || contradicts {
                let why = format!("somebody else's {} record leads {name} elsewhere", other.kind);
                return told(Some(other), why);
            }
        }
        None
    }
}

/// Whether nothing has to be written. A proxied record is kept as long as its provider likes.
fn is_same(held: &ZoneRecord, wanted: &ZoneRecord) -> bool {
    held.proxied == wanted.proxied && (wanted.proxied || held.ttl_s == wanted.ttl_s)
}

/// The reading half of [`Dns`]: `plan` and `drift` hold only this, so they cannot write.
#[async_trait]
pub trait DnsLook: Send + Sync {
    /// Its name in the config, which its faults carry.
    fn name(&self) -> &ProviderName;

    /// The zone with all its records. [`crate::FaultKind::Missing`] when the account has no such zone.
    async fn zone(&self) -> Result<Zone, Fault>;
}

/// Answers for a zone.
///
/// Promises, held by the contract suite for every adapter:
/// - [`Dns::publish`] reads, compares, and writes only the difference; calling it twice changes nothing and makes nothing
///   twice, also when the first call's answer was lost.
/// - Nothing without this stack's marker is ever changed or removed.
/// - A wanted record that somebody else's contradicts is left out and told, and the others are written.
/// - No retries and no policy in here; a [`Fault`] says what the caller may do.
#[async_trait]
pub trait Dns: DnsLook {
    /// Makes the stack's records of the zone those of `wanted`, as far as [`Zone::fit`] lets them be, in as few requests
    /// as the provider allows, and tells what it changed.
    async fn publish(&self, wanted: &[ZoneRecord]) -> Result<ZoneChanges, Fault>;
}

#[cfg(test)]
mod tests;
