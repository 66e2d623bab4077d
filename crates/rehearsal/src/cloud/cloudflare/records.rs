//! DNS records of the zone, one by one and in batches.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use super::{Cloudflare, Refused, SERVERS, ZONE, no_route, object, ok, page, refusal};
use crate::cloud::answer::{Answer, Call};

/// Records of a zone on the free plan, and of a batch.
const MOST: usize = 200;

/// A record.
#[derive(Clone)]
pub(super) struct Record {
    id: String,
    /// Every field that was given, in the form that it is told in.
    fields: Map<String, Value>,
    created: String,
    modified: String,
}

impl Record {
    fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn view(&self) -> Value {
        let kind = self.text("type");
        let proxiable = matches!(kind, "A" | "AAAA" | "CNAME");
        let mut all = self.fields.clone();
        all.insert("id".into(), self.id.as_str().into());
        all.insert("proxiable".into(), proxiable.into());
        all.entry("proxied").or_insert(false.into());
        all.entry("ttl").or_insert(1.into());
        all.entry("tags").or_insert(json!([]));
        all.insert("meta".into(), json!({ "auto_added": false }));
        all.insert("created_on".into(), self.created.as_str().into());
        all.insert("modified_on".into(), self.modified.as_str().into());
        Value::Object(all)
    }
}

/// What a batch or a single call changes.
enum Change {
    Delete(String),
    Patch(String, Map<String, Value>),
    Put(String, Map<String, Value>),
    Post(Map<String, Value>),
}

fn gone() -> Refused {
    refusal(404, 81_044, "Record does not exist.")
}

impl Cloudflare {
    pub(super) fn of_records(&self, call: &Call, rest: &[&str]) -> Result<Answer, Refused> {
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                let state = self.state();
                let fits = |record: &&Record| {
                    ["name", "type", "content"]
                        .iter()
                        .all(|name| call.parameter(name).is_none_or(|p| p == record.text(name)))
                };
                let mut rows: Vec<&Record> = state.records.iter().filter(fits).collect();
                rows.sort_by_key(|r| (r.text("type").to_owned(), r.text("name").to_owned()));
                Ok(page(call, rows.into_iter().map(Record::view).collect(), 100))
            }
            ("GET", ["export"]) => Ok(self.export()),
            ("POST", []) => self.one(Change::Post(object(call)?)),
            ("POST", ["batch"]) => self.batch(call),
            ("GET", [id]) => {
                let state = self.state();
                let record =
                    state.records.iter().find(|record| record.id == *id).ok_or_else(gone)?;
                Ok(ok(&record.view()))
            }
            ("PUT", [id]) => self.one(Change::Put((*id).to_owned(), object(call)?)),
            ("PATCH", [id]) => self.one(Change::Patch((*id).to_owned(), object(call)?)),
            ("DELETE", [id]) => {
                self.one(Change::Delete((*id).to_owned()))?;
                Ok(Answer::json(
                    200,
                    &json!({ "result": { "id": id }, "success": true, "errors": [], "messages": [] }),
                ))
            }
            _ => Err(no_route()),
        }
    }

    fn one(&self, change: Change) -> Result<Answer, Refused> {
        let mut state = self.state();
        let mut records = state.records.clone();
        let view = self.carry_out(&mut records, change)?;
        state.records = records;
        Ok(ok(&view))
    }

    /// Everything or nothing, deletions first.
    fn batch(&self, call: &Call) -> Result<Answer, Refused> {
        let mut body = object(call)?;
        let mut rows = |name: &str| match body.remove(name) {
            Some(Value::Array(rows)) => rows.into_iter().filter_map(as_object).collect(),
            _ => Vec::new(),
        };
        let lists: Vec<(&str, Vec<Map<String, Value>>)> =
            ["deletes", "patches", "puts", "posts"].map(|name| (name, rows(name))).into();
        if lists.iter().map(|(_, rows)| rows.len()).sum::<usize>() > MOST {
            return Err(refusal(400, 81_072, "Batch exceeds the maximum number of operations."));
        }
        let mut state = self.state();
        let mut records = state.records.clone();
        let mut told = Map::new();
        for (name, rows) in lists {
            let mut views = Vec::new();
            for mut row in rows {
                let id = match row.remove("id") {
                    Some(Value::String(id)) => id,
                    _ => String::new(),
                };
                let change = match name {
                    "deletes" => Change::Delete(id),
                    "patches" => Change::Patch(id, row),
                    "puts" => Change::Put(id, row),
                    _ => Change::Post(row),
                };
                views.push(self.carry_out(&mut records, change)?);
            }
            told.insert(name.to_owned(), views.into());
        }
        state.records = records;
        Ok(ok(&told.into()))
    }

    fn carry_out(&self, records: &mut Vec<Record>, change: Change) -> Result<Value, Refused> {
        let now = self.written_now();
        let place =
            |id: &str, records: &[Record]| records.iter().position(|r| r.id == id).ok_or_else(gone);
        let (at, mut record) = match change {
            Change::Delete(id) => {
                let at = place(&id, records)?;
                return Ok(records.remove(at).view());
            }
            Change::Patch(id, fields) => {
                let at = place(&id, records)?;
                let mut record = records[at].clone();
                record.fields.extend(fields);
                (Some(at), record)
            }
            Change::Put(id, fields) => {
                let at = place(&id, records)?;
                (Some(at), Record { fields, ..records[at].clone() })
            }
            Change::Post(fields) => {
                if self.is_out_of_quota() || records.len() >= MOST {
                    return Err(refusal(400, 81_045, "Record quota exceeded."));
                }
                (
                    None,
                    Record { id: self.id(), fields, created: now.clone(), modified: now.clone() },
                )
            }
        };
        record.modified = now;
        complete(&mut record.fields)?;
        let mut others = records.iter().enumerate().filter(|(n, _)| Some(*n) != at);
        if let Some(refusal) = others.find_map(|(_, other)| clash(other, &record)) {
            return Err(refusal);
        }
        let view = record.view();
        match at {
            Some(at) => records[at] = record,
            None => records.push(record),
        }
        Ok(view)
    }

    /// The zone in BIND's format.
    fn export(&self) -> Answer {
        let mut text = format!(
            ";; Domain: {ZONE}.\n{ZONE}.\t3600\tIN\tSOA\t{} dns.cloudflare.com. 1 10000 2400 604800 3600\n",
            SERVERS[0]
        );
        for record in &self.state().records {
            let view = record.view();
            let ttl = view["ttl"].as_u64().unwrap_or(1);
            let (name, kind) = (record.text("name"), record.text("type"));
            text += &format!("{name}.\t{ttl}\tIN\t{kind}\t{}\n", record.text("content"));
        }
        Answer::bytes(200, "text/plain", text.into())
    }
}

fn as_object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// Checks what was given, and brings it into the form that it is told in.
fn complete(fields: &mut Map<String, Value>) -> Result<(), Refused> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, content) = (text("type"), text("content"));
    let name = text("name").trim_end_matches('.').to_lowercase();
    let name = match name.as_str() {
        "" => return Err(refusal(400, 9_000, "DNS name is invalid.")),
        "@" => ZONE.to_owned(),
        _ if name == ZONE || name.ends_with(&format!(".{ZONE}")) => name,
        _ => format!("{name}.{ZONE}"),
    };
    let proxied = fields.get("proxied").and_then(Value::as_bool).unwrap_or(false);
    let ttl = fields.get("ttl").and_then(Value::as_u64).unwrap_or(1);
    if proxied && !matches!(kind.as_str(), "A" | "AAAA" | "CNAME") {
        return Err(refusal(400, 9_004, "This record type cannot be proxied."));
    }
    if ttl != 1 && !(60..=86_400).contains(&ttl) {
        let message = "Invalid TTL. Must be between 60 and 86,400 seconds, or 1 for Automatic.";
        return Err(refusal(400, 9_021, message));
    }
    if fields.get("comment").and_then(Value::as_str).is_some_and(|c| c.chars().count() > 100) {
        return Err(refusal(400, 9_313, "Comment is too long."));
    }
    let content = match kind.as_str() {
        "A" => content.parse::<Ipv4Addr>().map(|a| a.to_string()).map_err(|_| {
            refusal(400, 9_005, "Content for A record must be a valid IPv4 address.")
        })?,
        "AAAA" => content.parse::<Ipv6Addr>().map(|a| a.to_string()).map_err(|_| {
            refusal(400, 9_006, "Content for AAAA record must be a valid IPv6 address.")
        })?,
        "CNAME" | "NS" | "MX" if content.is_empty() || content.contains(' ') => {
            return Err(refusal(400, 9_007, "Content for this record is invalid."));
        }
        "CNAME" | "NS" | "MX" => content.trim_end_matches('.').to_lowercase(),
        // A text that came without quotes gets them.
        "TXT" if !content.starts_with('"') => format!("\"{}\"", content.replace('"', "\\\"")),
        "TXT" => content,
        "SRV" | "CAA" => of_data(&kind, fields.get("data"))?,
        _ => return Err(refusal(400, 9_009, "DNS record type is invalid.")),
    };
    if kind == "MX" && fields.get("priority").and_then(Value::as_u64).is_none() {
        return Err(refusal(400, 9_100, "priority is a required data field."));
    }
    fields.insert("name".into(), name.into());
    fields.insert("content".into(), content.into());
    fields.insert("proxied".into(), proxied.into());
    fields.insert("ttl".into(), if proxied { 1 } else { ttl }.into());
    Ok(())
}

fn of_data(kind: &str, data: Option<&Value>) -> Result<String, Refused> {
    let missing = || refusal(400, 9_101, &format!("data is required for {kind} records."));
    let data = data.filter(|data| data.is_object()).ok_or_else(missing)?;
    let part = |name: &str| match &data[name] {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(missing()),
    };
    if kind == "CAA" {
        return Ok(format!("{} {} \"{}\"", part("flags")?, part("tag")?, part("value")?));
    }
    part("priority")?;
    Ok(format!("{} {} {}", part("weight")?, part("port")?, part("target")?))
}

/// Why two records cannot both be there.
fn clash(held: &Record, wanted: &Record) -> Option<Refused> {
    if held.text("name") != wanted.text("name") {
        return None;
    }
    let (one, other) = (held.text("type"), wanted.text("type"));
    let same = |name: &str| held.fields.get(name) == wanted.fields.get(name);
    if one == other && same("content") && same("priority") && same("data") {
        return Some(refusal(400, 81_058, "An identical record already exists."));
    }
    let addresses = |kind: &str| matches!(kind, "A" | "AAAA" | "CNAME");
    if (one == "CNAME" || other == "CNAME") && addresses(one) && addresses(other) {
        let message = "An A, AAAA, or CNAME record with that host already exists.";
        return Some(refusal(400, 81_053, message));
    }
    None
}
