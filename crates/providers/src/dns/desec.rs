//! deSEC. <https://desec.readthedocs.io/en/latest/dns/rrsets.html>
//!
//! Its records are sets, all values of a name and type together, and have no room for a comment. So what is ours is said
//! by one more set, `_linkflow-STACK` TXT, with a text for each record of ours. It is written in the same request as the
//! records themselves, which deSEC carries out whole or not at all: the two always agree.
//!
//! A set may hold values of ours and of others: theirs stay in it. Writes are few, 15 a minute and 300 a day for a domain
//! (desec.readthedocs.io/en/latest/rate-limits.html), so a difference is always one request.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use linkflow_model::role::{Dns, DnsLook, HeldRecord, Zone, ZoneChanges, ZoneRecord};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret, StackName};
use serde::Deserialize;
use serde_json::{Value, json};

use super::zone_file::{Names, data, entries, quoted, unquoted};
use crate::kit::{Account, Auth, Call, Kit, Limiter, Rule, Scope, Vendor, encode};

/// The API.
const API: &str = "https://desec.io/api/v1";

/// The name servers that the registrar has to name (desec.readthedocs.io/en/latest/quickstart.html).
const SERVERS: [&str; 2] = ["ns1.desec.io", "ns2.desec.org"];

/// Reads: 50 a minute. All together: 2,000 a day, which is kept to by whoever polls.
const READS: Rule = Rule { scope: Scope::Vendor, every: Duration::from_millis(1_200), burst: 10 };

/// Writes to a domain: 15 a minute, 2 a second.
const WRITES: Rule = Rule {
    scope: Scope::Action("write the records of"),
    every: Duration::from_millis(4_000),
    burst: 5,
};

/// How long a request may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest that an answer may be kept, in seconds.
const MOST_TTL_S: u32 = 604_800;

/// What a zone at deSEC needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A token that may write the zone's records.
    pub token: Secret,
    /// The zone's name.
    pub zone: String,
    /// In place of `https://desec.io/api/v1`.
    pub api: Option<String>,
}

/// A zone at deSEC.
pub struct Desec {
    api: Vendor,
    zone: String,
    stack: StackName,
    provider: ProviderName,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> Desec {
    let base = settings.api.unwrap_or_else(|| API.to_owned());
    let auth = Auth { header: "authorization", scheme: "Token ", value: settings.token };
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "desec",
        production: API.to_owned(),
        base: base.trim_end_matches('/').to_owned(),
        auth: Some(auth),
        limits: Box::new(|| Limiter::new(vec![READS, WRITES], PATIENCE)),
        judge,
        hide: |_| {},
    });
    Desec { api, zone: settings.zone, stack: stack.clone(), provider: provider.clone() }
}

fn judge(status: StatusCode, said: &str) -> Option<FaultKind> {
    match status {
        StatusCode::BAD_REQUEST if said.contains("same subname and type") => Some(FaultKind::Conflict),
        StatusCode::BAD_REQUEST => Some(FaultKind::Invalid),
        // Requests of a day are used up like any others: the header says how long to wait.
        StatusCode::TOO_MANY_REQUESTS => Some(FaultKind::Limited { wait: Duration::from_secs(60) }),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Domain {
    minimum_ttl: u32,
}

/// All values of a name and type.
#[derive(Clone, Deserialize)]
struct Set {
    subname: String,
    #[serde(rename = "type")]
    kind: String,
    ttl: u32,
    records: Vec<String>,
}

/// A name and type, as deSEC keys its sets: the name without the zone.
type SetKey = (String, String);

impl Desec {
    /// The name of the set that says what is ours, without the zone.
    fn ledger(&self) -> String {
        format!("_linkflow-{}", self.stack)
    }

    fn path(&self, rest: &str) -> String {
        format!("/domains/{}/{rest}", encode(&self.zone))
    }

    /// Every set of the zone, page after page.
    async fn sets(&self) -> Result<Vec<Set>, Fault> {
        let mut sets = Vec::new();
        let mut cursor = Some(String::new());
        while let Some(at) = cursor {
            let call = Call::read("list the records of", &self.zone, self.path("rrsets/"));
            let call = call.query("cursor", &at);
            let attempt = call.attempt();
            let answer = self.api.send(call).await?;
            sets.extend(self.api.read::<Vec<Set>>(attempt, &answer)?);
            cursor = answer.header("link").and_then(next_cursor);
        }
        Ok(sets)
    }

    async fn look(&self) -> Result<(Vec<Set>, Zone), Fault> {
        let call = Call::read("look up zone", &self.zone, self.path(""));
        let domain: Domain = self.api.send_for(call).await?;
        let sets = self.sets().await?;
        let ledger = self.ledger();
        let is_ledger = |set: &Set| set.kind == "TXT" && set.subname == ledger;
        let ours: Vec<String> =
            sets.iter().filter(|set| is_ledger(set)).flat_map(|set| &set.records).map(|r| unquoted(r)).collect();
        let mut records = Vec::new();
        for set in sets.iter().filter(|set| !is_ledger(set)) {
            for record in &set.records {
                let record = self.record(set, record);
                let ours = ours.contains(&self.note(&record));
                records.push(HeldRecord { id: String::new(), ours, record });
            }
        }
        let zone = Zone {
            name: self.zone.clone(),
            records,
            least_ttl_s: domain.minimum_ttl,
            proxies: false,
            flattens: false,
            servers: SERVERS.map(str::to_owned).to_vec(),
        };
        Ok((sets, zone))
    }

    fn record(&self, set: &Set, value: &str) -> ZoneRecord {
        let name = self.whole(&set.subname);
        let value = match set.kind.as_str() {
            "TXT" | "SPF" => unquoted(value),
            // The line has the form of a file's, so it is read as one.
            _ => {
                let text = format!("{name}. {} IN {} {value}\n", set.ttl, set.kind);
                let read = entries(&text).first().and_then(|e| Names::of(&self.zone).record(e));
                read.map_or_else(|| value.to_owned(), |record| record.value)
            }
        };
        ZoneRecord::new(&name, &set.kind, &value, set.ttl, false)
    }

    fn whole(&self, subname: &str) -> String {
        if subname.is_empty() { self.zone.clone() } else { format!("{subname}.{}", self.zone) }
    }

    fn key(&self, record: &ZoneRecord) -> SetKey {
        let bare = record.name.strip_suffix(&self.zone).unwrap_or(&record.name);
        (bare.trim_end_matches('.').to_owned(), record.kind.clone())
    }

    /// What the ledger says of a record: `linkflow:shop A www 192.0.2.1`. How long it is kept may change.
    fn note(&self, record: &ZoneRecord) -> String {
        let (subname, kind) = self.key(record);
        let subname = if subname.is_empty() { "@" } else { &subname };
        format!("{} {kind} {subname} {}", super::marker(&self.stack), record.value)
    }

    /// The sets as they are after `changes`, of which some values are ours: those that differ, and the ledger.
    fn due(&self, sets: &[Set], zone: &Zone, changes: &ZoneChanges) -> Vec<Value> {
        let gone = |record: &ZoneRecord| {
            let changed = changes.change.iter().map(|(held, _)| &held.record);
            changes.remove.iter().map(|held| &held.record).chain(changed).any(|r| r == record)
        };
        let fresh = || changes.create.iter().chain(changes.change.iter().map(|(_, wanted)| wanted));
        let mut touched: BTreeMap<SetKey, (u32, Vec<String>)> = BTreeMap::new();
        for held in zone.records.iter().filter(|held| held.ours && gone(&held.record)) {
            touched.entry(self.key(&held.record)).or_insert_with(|| (held.record.ttl_s, Vec::new()));
        }
        for record in fresh() {
            touched.entry(self.key(record)).or_default();
        }
        for (key, (ttl, values)) in &mut touched {
            let set = sets.iter().find(|set| (&set.subname, &set.kind) == (&key.0, &key.1));
            for value in set.into_iter().flat_map(|set| set.records.iter().map(move |v| (set, v))) {
                let record = self.record(value.0, value.1);
                let ours = zone.records.iter().any(|held| held.ours && held.record == record);
                if !ours || !gone(&record) {
                    *ttl = value.0.ttl;
                    values.push(value.1.clone());
                }
            }
            for record in fresh().filter(|record| self.key(record) == *key) {
                *ttl = record.ttl_s.min(MOST_TTL_S);
                values.push(data(&record.kind, &record.value));
            }
        }
        let kept = zone.records.iter().filter(|held| held.ours && !gone(&held.record));
        let mut notes: Vec<String> =
            kept.map(|held| &held.record).chain(fresh()).map(|r| quoted(&self.note(r))).collect();
        notes.sort();
        notes.dedup();
        let ledger = ((self.ledger(), "TXT".to_owned()), (zone.least_ttl_s, notes));
        let show = |((subname, kind), (ttl, records)): (SetKey, (u32, Vec<String>))| {
            json!({ "subname": subname, "type": kind, "ttl": ttl.max(zone.least_ttl_s), "records": records })
        };
        touched.into_iter().chain([ledger]).map(show).collect()
    }
}

/// The cursor of the next page, from `<https://…?cursor=abc>; rel="next"`.
fn next_cursor(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let address = next.split(['<', '>']).nth(1)?;
    let cursor = address.split(['?', '&']).find_map(|part| part.strip_prefix("cursor="))?;
    // It is taken as it came, and encoded again where it is sent.
    Some(cursor.replace("%3D", "=").replace("%2B", "+").replace("%2F", "/"))
}

#[async_trait]
impl DnsLook for Desec {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    async fn zone(&self) -> Result<Zone, Fault> {
        Ok(self.look().await?.1)
    }
}

#[async_trait]
impl Dns for Desec {
    async fn publish(&self, wanted: &[ZoneRecord]) -> Result<ZoneChanges, Fault> {
        let (sets, zone) = self.look().await?;
        let changes = zone.changes(wanted);
        if !changes.is_empty() {
            let due = self.due(&sets, &zone, &changes);
            let call =
                Call::write(Method::PATCH, "write the records of", &self.zone, self.path("rrsets/"));
            self.api.send(call.json(due.into())).await?;
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::next_cursor;

    #[test]
    fn the_next_page_is_found_among_others() {
        let link = "<https://desec.io/api/v1/domains/a.b/rrsets/?cursor=>; rel=\"first\", <https://desec.io/api/v1/domains/a.b/rrsets/?cursor=cD0y%3D>; rel=\"next\"";
        assert_eq!(next_cursor(link).as_deref(), Some("cD0y="));
        assert_eq!(next_cursor("<https://x/?cursor=>; rel=\"first\""), None);
    }
}
