//! Cloudflare DNS. <https://developers.cloudflare.com/dns/manage-dns-records/>
//!
//! A record of ours carries the comment `linkflow:STACK`. The whole difference goes out as one batch, which Cloudflare
//! carries out as one transaction: deletions first, additions last. So a type can give way to another for the same name,
//! and a batch whose answer is lost was made whole or not at all.

use async_trait::async_trait;
use http::Method;
use linkflow_model::role::{Dns, DnsLook, HeldRecord, Zone, ZoneChanges, ZoneRecord};
use linkflow_model::{Fault, ProviderName, StackName};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::marker;
use super::zone_file::{quoted, unquoted};
use crate::account::cloudflare::{self as account, Cloudflare, ZoneRow};
use crate::kit::{Call, Kit};

pub use crate::account::cloudflare::Settings;

/// Records on a page.
const PAGE: u32 = 1_000;

/// Records in a batch on the free plan (developers.cloudflare.com/dns/manage-dns-records/how-to/batch-record-changes).
const BATCH: usize = 200;

/// How long answers of records are kept that have no time of their own, and of all proxied ones, in seconds.
const AUTOMATIC_S: u32 = 300;

/// The least time on all plans but Enterprise, in seconds.
const LEAST_S: u32 = 60;

/// A zone at Cloudflare.
pub struct CloudflareDns {
    account: Cloudflare,
    marker: String,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> CloudflareDns {
    CloudflareDns { account: account::open(settings, kit, provider), marker: marker(stack) }
}

/// A record as Cloudflare tells of it.
#[derive(Deserialize)]
struct Row {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    content: String,
    priority: Option<u16>,
    data: Option<Value>,
    #[serde(default)]
    ttl: u32,
    #[serde(default)]
    proxied: bool,
    comment: Option<String>,
}

impl Row {
    fn held(self, marker: &str) -> HeldRecord {
        let value = self.value();
        let ttl_s = if self.ttl <= 1 { AUTOMATIC_S } else { self.ttl };
        let record = ZoneRecord::new(&self.name, &self.kind, &value, ttl_s, self.proxied);
        HeldRecord { id: self.id, ours: self.comment.as_deref() == Some(marker), record }
    }

    fn value(&self) -> String {
        let part = |name: &str| match self.data.as_ref().and_then(|data| data.get(name)) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let parts = |names: &[&str]| names.iter().map(|name| part(name)).collect::<Option<Vec<_>>>();
        match self.kind.as_str() {
            "MX" => format!("{} {}", self.priority.unwrap_or(0), self.content),
            "TXT" | "SPF" => unquoted(&self.content),
            "SRV" => match parts(&["priority", "weight", "port", "target"]) {
                Some(parts) => parts.join(" "),
                None => format!("{} {}", self.priority.unwrap_or(0), self.content),
            },
            "CAA" => match parts(&["flags", "tag", "value"]) {
                Some(parts) => parts.join(" "),
                None => self.content.clone(),
            },
            _ => self.content.clone(),
        }
    }
}

impl CloudflareDns {
    async fn records(&self, row: &ZoneRow) -> Result<Vec<HeldRecord>, Fault> {
        let path = format!("/zones/{}/dns_records", row.id);
        let call = Call::read("list the records of", &row.name, path);
        let rows: Vec<Row> = self.account.list(call, PAGE).await?;
        Ok(rows.into_iter().map(|row| row.held(&self.marker)).collect())
    }

    async fn look(&self) -> Result<(ZoneRow, Zone), Fault> {
        let row = self.account.row().await?;
        let zone = Zone {
            name: row.name.clone(),
            records: self.records(&row).await?,
            least_ttl_s: LEAST_S,
            proxies: true,
            flattens: true,
            servers: row.name_servers.clone(),
        };
        Ok((row, zone))
    }

    /// `record` as Cloudflare takes it.
    fn body(&self, record: &ZoneRecord) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        put("name", record.name.as_str().into());
        put("type", record.kind.as_str().into());
        put("comment", self.marker.as_str().into());
        put("ttl", if record.proxied { 1 } else { record.ttl_s }.into());
        let words: Vec<&str> = record.value.split(' ').collect();
        let number = |word: &str| word.parse::<u16>().map_or_else(|_| word.into(), Value::from);
        match (record.kind.as_str(), words.as_slice()) {
            ("MX", [priority, host]) => {
                put("priority", number(priority));
                put("content", (*host).into());
            }
            ("SRV", [priority, weight, port, target]) => put(
                "data",
                json!({ "priority": number(priority), "weight": number(weight), "port": number(port), "target": target }),
            ),
            ("CAA", [flags, tag, rest @ ..]) => put(
                "data",
                json!({ "flags": number(flags), "tag": tag, "value": rest.join(" ").trim_matches('"') }),
            ),
            ("TXT", _) => put("content", quoted(&record.value).into()),
            _ => put("content", record.value.as_str().into()),
        }
        if matches!(record.kind.as_str(), "A" | "AAAA" | "CNAME") {
            put("proxied", record.proxied.into());
        }
        body
    }

    /// Writes `changes` in as few batches as there must be.
    async fn write(&self, row: &ZoneRow, changes: &ZoneChanges) -> Result<(), Fault> {
        let deletes = changes.remove.iter().map(|held| ("deletes", json!({ "id": held.id })));
        let puts = changes.change.iter().map(|(held, wanted)| {
            let mut body = self.body(wanted);
            body.insert("id".to_owned(), held.id.as_str().into());
            ("puts", Value::Object(body))
        });
        let posts = changes.create.iter().map(|wanted| ("posts", self.body(wanted).into()));
        let all: Vec<(&str, Value)> = deletes.chain(puts).chain(posts).collect();
        for batch in all.chunks(BATCH) {
            let mut body = Map::new();
            for (list, change) in batch {
                let rows = body.entry(*list).or_insert_with(|| json!([]));
                rows.as_array_mut().map(|rows| rows.push(change.clone())).unwrap_or_default();
            }
            let path = format!("/zones/{}/dns_records/batch", row.id);
            let call = Call::write(Method::POST, "write records of", &row.name, path);
            self.account.send(call.json(body.into())).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl DnsLook for CloudflareDns {
    fn name(&self) -> &ProviderName {
        &self.account.provider
    }

    async fn zone(&self) -> Result<Zone, Fault> {
        Ok(self.look().await?.1)
    }
}

#[async_trait]
impl Dns for CloudflareDns {
    async fn publish(&self, wanted: &[ZoneRecord]) -> Result<ZoneChanges, Fault> {
        let (row, zone) = self.look().await?;
        let changes = zone.changes(wanted);
        self.write(&row, &changes).await?;
        Ok(changes)
    }
}
