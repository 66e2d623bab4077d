//! The zone in a file of this machine, which a name server can serve, and beside it what its names mean here.
//!
//! The file is plain RFC 1035 text and may be edited: only lines with this stack's comment are changed or removed, and
//! everything else stays letter by letter. It is replaced whole, so that whoever reads it sees the old one or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use linkflow_model::role::{Dns, DnsLook, HeldRecord, Zone, ZoneChanges, ZoneRecord};
use linkflow_model::{Clock, Fault, FaultKind, ProviderName, StackName};

use super::marker;
use super::zone_file::{Names, entries, line, next_serial, soa};
use crate::kit::Kit;

/// What the zone needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The zone's name.
    pub zone: String,
    /// Where its files are. Made when it is not there.
    pub folder: PathBuf,
}

/// A zone in a file.
pub struct ZoneFile {
    zone: String,
    folder: PathBuf,
    marker: String,
    provider: ProviderName,
    clock: Arc<dyn Clock>,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> ZoneFile {
    let Settings { zone, folder } = settings;
    let (marker, provider, clock) = (marker(stack), provider.clone(), kit.clock());
    ZoneFile { zone, folder, marker, provider, clock }
}

impl ZoneFile {
    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.zone))
    }

    fn fault(&self, attempt: &str, error: &io::Error) -> Fault {
        let said = format!("{}: {error}", self.path("zone").display());
        Fault {
            kind: FaultKind::Unreachable,
            provider: self.provider.clone(),
            attempt: attempt.to_owned(),
            said,
        }
    }

    /// The text of the file; nothing when there is none yet.
    fn text(&self) -> io::Result<String> {
        match fs::read_to_string(self.path("zone")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        }
    }

    fn read(&self, text: &str) -> Zone {
        let mut names = Names::of(&self.zone);
        let mut records = Vec::new();
        for entry in entries(text) {
            let ours = entry.comment.as_deref() == Some(self.marker.as_str());
            let record = names.record(&entry);
            records.extend(record.map(|record| HeldRecord { id: String::new(), ours, record }));
        }
        let servers = records.iter().map(|held| &held.record);
        let servers = servers.filter(|r| r.kind == "NS" && r.name == self.zone);
        let servers = servers.map(|record| record.value.clone()).collect();
        let name = self.zone.clone();
        Zone { name, records, least_ttl_s: 1, proxies: false, flattens: false, servers }
    }

    /// Holds the folder until the file is dropped: one process writes at a time.
    fn lock(&self) -> io::Result<File> {
        fs::create_dir_all(&self.folder)?;
        let path = self.path("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        lock.lock()?;
        Ok(lock)
    }

    fn make(&self, wanted: &[ZoneRecord]) -> io::Result<ZoneChanges> {
        let _lock = self.lock()?;
        let text = self.text()?;
        let zone = self.read(&text);
        let changes = zone.changes(wanted);
        if !changes.is_empty() || text.is_empty() {
            let serial = next_serial(serial(&zone), self.clock.wall().0 / 1_000);
            let text = self.changed(&text, &changes, serial);
            replace(&self.path("zone"), &text)?;
        }
        let now = self.read(&self.text()?);
        let hosts = hosts(&now);
        if fs::read_to_string(self.path("hosts")).ok().as_ref() != Some(&hosts) {
            replace(&self.path("hosts"), &hosts)?;
        }
        Ok(changes)
    }

    /// `text` with `changes`. A new file begins with what every zone has.
    fn changed(&self, text: &str, changes: &ZoneChanges, serial: u32) -> String {
        let mut out = String::new();
        if text.is_empty() {
            out = format!("$ORIGIN {}.\n$TTL 3600\n", self.zone);
            out += &format!("{}\n", line(&soa(&self.zone, &self.zone, serial)));
            out += &format!("{}. 86400 IN NS {0}.\n", self.zone);
        }
        let mut gone: Vec<&ZoneRecord> = changes.remove.iter().map(|held| &held.record).collect();
        let mut other: Vec<(&ZoneRecord, &ZoneRecord)> =
            changes.change.iter().map(|(held, wanted)| (&held.record, wanted)).collect();
        let mut names = Names::of(&self.zone);
        let mut above = String::new();
        for entry in entries(text) {
            let record = names.record(&entry);
            let ours = entry.comment.as_deref() == Some(self.marker.as_str());
            let name = record.as_ref().map(|record| record.name.clone());
            match record {
                Some(record) if record.kind == "SOA" => {
                    let value = with_serial(&record.value, serial);
                    out += &format!("{}\n", line(&ZoneRecord { value, ..record }));
                }
                Some(record) if ours => {
                    if let Some(at) = gone.iter().position(|g| **g == record) {
                        gone.swap_remove(at);
                    } else if let Some(at) = other.iter().position(|(held, _)| **held == record) {
                        out += &self.own(other.swap_remove(at).1);
                    } else {
                        out += &self.own(&record);
                    }
                }
                // It takes its name from the line above, which may be gone or changed.
                Some(record) if entry.continues && above != record.name => {
                    out += &format!("{}\n", line(&record));
                    above.clone_from(&record.name);
                }
                _ => {
                    out += &entry.raw;
                    above = name.unwrap_or(above);
                }
            }
        }
        if !out.ends_with('\n') {
            out.push('\n');
        }
        out + &changes.create.iter().map(|record| self.own(record)).collect::<String>()
    }

    /// A line of ours. Its name is whole, so it may stand anywhere.
    fn own(&self, record: &ZoneRecord) -> String {
        format!("{} ; {}\n", line(record), self.marker)
    }
}

fn serial(zone: &Zone) -> Option<u32> {
    let soa = zone.records.iter().find(|held| held.record.kind == "SOA")?;
    soa.record.value.split(' ').nth(2)?.parse().ok()
}

fn with_serial(value: &str, serial: u32) -> String {
    let serial = serial.to_string();
    let number = |(at, word)| if at == 2 { serial.as_str() } else { word };
    value.split(' ').enumerate().map(number).collect::<Vec<_>>().join(" ")
}

/// The names that have an address, in the form of `/etc/hosts`. An alias within the zone is followed.
fn hosts(zone: &Zone) -> String {
    let mut aliases: BTreeMap<&str, &str> = BTreeMap::new();
    let mut addresses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ZoneRecord { name, kind, value, .. } in zone.records.iter().map(|held| &held.record) {
        match kind.as_str() {
            "CNAME" => drop(aliases.insert(name, value)),
            "A" | "AAAA" => addresses.entry(name).or_default().push(value),
            _ => {}
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for name in addresses.keys().chain(aliases.keys()) {
        let mut at = *name;
        // A chain is never longer than there are aliases, but for one that leads in a circle.
        for _ in 0..aliases.len() {
            at = aliases.get(at).copied().unwrap_or(at);
        }
        let found = addresses.get(at).into_iter().flatten();
        lines.extend(found.map(|address| format!("{address} {name}\n")));
    }
    lines.sort();
    lines.dedup();
    lines.concat()
}

/// Replaces the file at `path`, all or nothing.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(fresh, path)
}

#[async_trait]
impl DnsLook for ZoneFile {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    async fn zone(&self) -> Result<Zone, Fault> {
        let text = self.text().map_err(|error| self.fault("read the zone", &error))?;
        Ok(self.read(&text))
    }
}

#[async_trait]
impl Dns for ZoneFile {
    async fn publish(&self, wanted: &[ZoneRecord]) -> Result<ZoneChanges, Fault> {
        self.make(wanted).map_err(|error| self.fault("write the zone", &error))
    }
}
