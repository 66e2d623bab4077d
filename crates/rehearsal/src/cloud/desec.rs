//! deSEC: `desec.io/api/v1` for one account and its domain `example.com`.
//!
//! Facts: desec.readthedocs.io/en/latest, pages dns/domains, dns/rrsets (shapes, bulk requests that are carried out whole or
//! not at all, errors by place, paging by cursor), rate-limits (15 writes a minute, 100 an hour and 300 a day for a domain, with
//! Retry-After) and auth/tokens (`Authorization: Token …`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use linkflow_model::Timestamp;
use serde_json::{Value, json};

use super::answer::{Answer, Call};
use super::beside::{Beside, Ground};
use super::endpoints::DesecEndpoint;
use super::limit::{Limits, Rate};
use super::trouble::Trouble;

/// The only domain.
const DOMAIN: &str = "example.com";
/// The least time to keep an answer, as for every new domain.
const MINIMUM_TTL: u64 = 3_600;
/// Sets on a page. The vendor's is 500; a small one is met sooner.
const PAGE: usize = 20;

/// Writes to a domain.
const WRITES: [(&str, Rate); 3] = [
    ("minute", Rate { per_second: 15.0 / 60.0, burst: 15.0 }),
    ("hour", Rate { per_second: 100.0 / 3_600.0, burst: 100.0 }),
    ("day", Rate { per_second: 300.0 / 86_400.0, burst: 300.0 }),
];
/// Reads of the account.
const READS: Rate = Rate { per_second: 50.0 / 60.0, burst: 50.0 };

/// The vendor.
pub(crate) struct Desec {
    ground: Ground,
    token: String,
    limits: Limits,
    sets: Mutex<BTreeMap<Key, Set>>,
}

/// Name without the domain, and type.
type Key = (String, String);

#[derive(Clone)]
struct Set {
    ttl: u64,
    records: Vec<String>,
    created: String,
    touched: String,
}

fn detail(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "detail": text }))
}

fn wrong(text: &str) -> Value {
    json!({ "non_field_errors": [text] })
}

impl Desec {
    pub(crate) fn new(ground: Ground) -> Self {
        let now = time(ground.clock.wall());
        let records = ["ns1.desec.io.", "ns2.desec.org."].map(str::to_owned).to_vec();
        let servers = Set { ttl: MINIMUM_TTL, records, created: now.clone(), touched: now };
        let sets = BTreeMap::from([((String::new(), "NS".to_owned()), servers)]);
        Self {
            token: ground.dice.letters("abcdefghijkmnpqrstuvwxyz23456789", 28),
            ground,
            limits: Limits::default(),
            sets: Mutex::new(sets),
        }
    }

    pub(crate) fn endpoint(&self, api: String) -> DesecEndpoint {
        DesecEndpoint { api, token: self.token.clone(), zone: DOMAIN.to_owned() }
    }

    fn sets(&self) -> MutexGuard<'_, BTreeMap<Key, Set>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(key: &Key, set: &Set) -> Value {
        let (subname, kind) = key;
        let name =
            if subname.is_empty() { format!("{DOMAIN}.") } else { format!("{subname}.{DOMAIN}.") };
        json!({
            "created": set.created, "domain": DOMAIN, "subname": subname, "name": name,
            "records": set.records, "ttl": set.ttl, "type": kind, "touched": set.touched,
        })
    }

    /// Every set, for the control API.
    pub(crate) fn held(&self) -> Value {
        self.sets().iter().map(|(key, set)| Self::show(key, set)).collect()
    }

    fn dispatch(&self, call: &Call) -> Answer {
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["domains", DOMAIN]) => {
                let at = time(self.ground.clock.wall());
                Answer::json(
                    200,
                    &json!({
                        "created": at, "published": at, "touched": at,
                        "keys": [], "minimum_ttl": MINIMUM_TTL, "name": DOMAIN,
                    }),
                )
            }
            ("GET", ["domains", DOMAIN, "rrsets"]) => self.list(call),
            ("PATCH" | "PUT" | "POST", ["domains", DOMAIN, "rrsets"]) => self.write(call),
            _ => detail(404, "Not found."),
        }
    }

    fn list(&self, call: &Call) -> Answer {
        let sets = self.sets();
        let rows: Vec<Value> = sets.iter().map(|(key, set)| Self::show(key, set)).collect();
        let Some(cursor) = call.parameter("cursor") else {
            if rows.len() > PAGE {
                return detail(
                    400,
                    "Pagination required. You can query up to 500 items at a time.",
                );
            }
            return Answer::json(200, &rows.into());
        };
        let from = cursor.strip_prefix("p=").and_then(|at| at.parse().ok()).unwrap_or(0);
        let is_last = from + PAGE >= rows.len();
        let rows: Vec<Value> = rows.into_iter().skip(from).take(PAGE).collect();
        let base = format!("https://desec.io/api/v1/domains/{DOMAIN}/rrsets/?cursor=");
        let mut link = format!("<{base}>; rel=\"first\"");
        if !is_last {
            link += &format!(", <{base}p%3D{}>; rel=\"next\"", from + PAGE);
        }
        Answer::json(200, &rows.into()).with("link", &link)
    }

    /// One set or many: all of them or none.
    fn write(&self, call: &Call) -> Answer {
        for (name, rate) in WRITES {
            if let Err(wait) = self.limits.take(format!("writes of a {name}"), rate) {
                return throttled(wait.as_secs() + 1);
            }
        }
        let (rows, is_bulk) = match call.json() {
            Some(Value::Array(rows)) => (rows, true),
            Some(row) if row.is_object() => (vec![row], false),
            _ => return detail(400, "JSON parse error"),
        };
        let mut held = self.sets();
        let mut after = held.clone();
        let now = time(self.ground.clock.wall());
        let mut errors = Vec::new();
        let mut told = Vec::new();
        for row in &rows {
            match change(&mut after, row, call.method.as_str(), &now) {
                Ok(Some(key)) => {
                    told.push(after.get(&key).map(|set| Self::show(&key, set)).unwrap_or_default());
                    errors.push(json!({}));
                }
                Ok(None) => errors.push(json!({})),
                Err(error) => errors.push(error),
            }
        }
        if errors.iter().any(|error| *error != json!({})) {
            let body = if is_bulk { errors.into() } else { errors.remove(0) };
            return Answer::json(400, &body);
        }
        if let Some(name) = clash(&after) {
            return Answer::json(
                400,
                &wrong(&format!("RRset with conflicting type present: {name} (CNAME)")),
            );
        }
        *held = after;
        let status = if call.method == "POST" { 201 } else { 200 };
        Answer::json(status, &if is_bulk { told.into() } else { told.pop().unwrap_or_default() })
    }
}

/// Makes what `row` asks for true; says which set it is, when it is still there.
fn change(
    sets: &mut BTreeMap<Key, Set>,
    row: &Value,
    method: &str,
    now: &str,
) -> Result<Option<Key>, Value> {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let (subname, kind) = (text("subname"), text("type"));
    if kind.is_empty()
        || kind != kind.to_uppercase()
        || matches!(kind.as_str(), "SOA" | "DNSKEY" | "RRSIG")
    {
        return Err(json!({ "type": ["RR type is invalid or unsupported."] }));
    }
    if subname == "@" || subname.contains(|c: char| c.is_uppercase()) {
        return Err(
            json!({ "subname": ["Subname can only use (lowercase) a-z, 0-9, ., -, and _."] }),
        );
    }
    let key = (subname, kind);
    let held = sets.get(&key);
    if method == "POST" && held.is_some() {
        return Err(wrong("Another RRset with the same subname and type exists for this domain."));
    }
    let records = match row["records"].as_array() {
        Some(list) => list.iter().map(|r| r.as_str().unwrap_or_default().to_owned()).collect(),
        None => held
            .map(|set| set.records.clone())
            .ok_or_else(|| json!({ "records": ["This field is required."] }))?,
    };
    let records: Vec<String> = records;
    if records.is_empty() {
        sets.remove(&key);
        return Ok(None);
    }
    let ttl = row["ttl"].as_u64().or(held.map(|set| set.ttl));
    let ttl = ttl.ok_or_else(|| json!({ "ttl": ["This field is required."] }))?;
    if ttl < MINIMUM_TTL {
        let text = format!("Ensure this value is greater than or equal to {MINIMUM_TTL}.");
        return Err(json!({ "ttl": [text] }));
    }
    let canonical: Option<Vec<String>> = records.iter().map(|r| canonical(&key.1, r)).collect();
    let Some(mut canonical) = canonical else {
        return Err(wrong("Cannot parse record contents: malformed"));
    };
    canonical.sort();
    let before = canonical.len();
    canonical.dedup();
    if canonical.len() != before {
        return Err(wrong("RRset cannot contain duplicate records."));
    }
    if key.1 == "CNAME" && (canonical.len() > 1 || key.0.is_empty()) {
        return Err(wrong("CNAME RRset cannot have empty subname, nor more than one record."));
    }
    let created = held.map_or_else(|| now.to_owned(), |set| set.created.clone());
    sets.insert(key.clone(), Set { ttl, records: canonical, created, touched: now.to_owned() });
    Ok(Some(key))
}

/// A record in the form that it is told in; `None` when it is none.
fn canonical(kind: &str, record: &str) -> Option<String> {
    let dotted = |words: usize| {
        let fits = record.ends_with('.') && record.split(' ').count() == words;
        fits.then(|| record.to_owned())
    };
    match kind {
        "A" => record.parse::<Ipv4Addr>().ok().map(|a| a.to_string()),
        "AAAA" => record.parse::<Ipv6Addr>().ok().map(|a| a.to_string()),
        "CNAME" | "NS" => dotted(1),
        "MX" => dotted(2),
        "SRV" => dotted(4),
        "TXT" => (record.starts_with('"') && record.ends_with('"')).then(|| record.to_owned()),
        _ => Some(record.to_owned()),
    }
}

/// A name that has a CNAME beside something else.
fn clash(sets: &BTreeMap<Key, Set>) -> Option<&str> {
    let alone = |name: &str| sets.keys().filter(|(other, _)| other == name).count() == 1;
    sets.keys().find(|(name, kind)| kind == "CNAME" && !alone(name)).map(|(name, _)| name.as_str())
}

fn throttled(seconds: u64) -> Answer {
    let text = format!("Request was throttled. Expected available in {seconds} seconds.");
    detail(429, &text).with("retry-after", &seconds.to_string())
}

fn time(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map(|at| at.to_string()).unwrap_or_default()
}

impl Beside for Desec {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        let token = call.header("authorization").and_then(|value| value.strip_prefix("Token "));
        if token != Some(self.token.as_str()) {
            return detail(401, "Invalid token.");
        }
        if self.ground.faults.any(None, |t| matches!(t, Trouble::OutOfQuota))
            && call.method != "GET"
        {
            return detail(
                403,
                "Domain limit exceeded. Please contact support to create additional domains.",
            );
        }
        if call.method == "GET"
            && let Err(wait) = self.limits.take("reads".to_owned(), READS)
        {
            return throttled(wait.as_secs() + 1);
        }
        self.dispatch(call)
    }

    fn limited(&self) -> Answer {
        throttled(45)
    }
}
