//! An account at Cloudflare. <https://developers.cloudflare.com/api/>
//!
//! Every answer is an envelope: `success`, `errors` with codes, `result`. It is looked at on a 200 too. All requests of a
//! token count together: 1,200 in 5 minutes, and whoever is over it is blocked for 5 minutes.

use std::time::Duration;

use http::StatusCode;
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kit::graphql::{Operation, query_at};
use crate::kit::{Account, Auth, Call, Kit, Limiter, Rule, Scope, Vendor, encode};

/// The API.
const API: &str = "https://api.cloudflare.com/client/v4";

/// 1,200 requests in 5 minutes (developers.cloudflare.com/fundamentals/api/reference/limits, 2026-04-20). A third of them
/// may go at once, and the same pace after that: what makes 1,200 in the worst 5 minutes.
const REQUESTS: Rule = Rule { scope: Scope::Vendor, every: Duration::from_millis(375), burst: 400 };

/// How long a request may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long whoever asks too often is blocked, where no header says it.
const BLOCKED: Duration = Duration::from_secs(300);

/// The most zones or namespaces that a page may have; records and tunnels may have more.
const PAGE: u32 = 50;

/// What an account needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A token; `docs/providers/cloudflare.md` lists what it must be allowed to do.
    pub token: Secret,
    /// The zone's name: `example.com`.
    pub zone: String,
    /// The zone's id; looked up by its name when not said.
    pub zone_id: Option<String>,
    /// The account's id; the one that owns the zone when not said.
    pub account: Option<String>,
    /// In place of `https://api.cloudflare.com/client/v4`.
    pub api: Option<String>,
}

/// One account, for one zone.
pub(crate) struct Cloudflare {
    api: Vendor,
    pub(crate) provider: ProviderName,
    pub(crate) zone: String,
    zone_id: Option<String>,
    account: Option<String>,
}

/// A zone and the account that owns it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ZoneRow {
    pub(crate) id: String,
    pub(crate) name: String,
    account: Owner,
    #[serde(default)]
    pub(crate) name_servers: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Owner {
    id: String,
}

impl ZoneRow {
    /// The account that owns it.
    pub(crate) fn owner(&self) -> &str {
        &self.account.id
    }
}

/// What every answer is wrapped in.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    errors: Vec<Told>,
    #[serde(default)]
    result: Value,
    result_info: Option<Paging>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Paging {
    #[serde(default)]
    page: u32,
    #[serde(default)]
    per_page: u32,
    #[serde(default)]
    total_count: u32,
}

pub(crate) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Cloudflare {
    let Settings { token, zone, zone_id, account, api } = settings;
    let base = api.unwrap_or_else(|| API.to_owned());
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "cloudflare",
        production: API.to_owned(),
        base: base.trim_end_matches('/').to_owned(),
        auth: Some(Auth::bearer(token)),
        limits: Box::new(limits),
        judge,
        hide,
    });
    Cloudflare { api, provider: provider.clone(), zone, zone_id, account }
}

fn limits() -> Limiter {
    // One write a second for each key of Workers KV (developers.cloudflare.com/kv/platform/limits). It is counted where a
    // write arrives, and one that was long under way is soon followed by the next: twice that apart is never too soon.
    let values =
        Rule { scope: Scope::Action("write the value"), every: Duration::from_secs(2), burst: 1 };
    Limiter::new(vec![REQUESTS, values], PATIENCE)
}

/// What the words mean. Codes are in the text: see [`Cloudflare::refused`].
fn judge(status: StatusCode, said: &str) -> Option<FaultKind> {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if status == StatusCode::TOO_MANY_REQUESTS {
        let spent = has(&["for today", "for the day", "daily"]);
        let limited = FaultKind::Limited { wait: BLOCKED };
        return Some(if spent { FaultKind::Exhausted } else { limited });
    }
    if !status.is_client_error() {
        return None;
    }
    if has(&["exceeded the maximum number", "quota", "not entitled"]) {
        return Some(FaultKind::Exhausted);
    }
    if has(&["Authentication error", "Invalid request headers", "not authorized"]) {
        return Some(FaultKind::Denied);
    }
    has(&["already exists", "identical record"]).then_some(FaultKind::Conflict)
}

/// A tunnel's token and secret are credentials.
fn hide(body: &mut Value) {
    if let Some(held @ Value::String(_)) = body.pointer_mut("/tunnel_secret") {
        *held = Value::from("***");
    }
    // Only the operation that gives a tunnel's token answers with a bare text.
    if let Some(held @ Value::String(_)) = body.pointer_mut("/result") {
        *held = Value::from("***");
    }
}

/// Where the GraphQL Analytics API is.
const ANALYTICS: &str = "/graphql";

/// The permission that a call to `path` takes, in the words of the dashboard.
fn permission(path: &str) -> Option<&'static str> {
    const PERMISSIONS: [(&str, &str); 9] = [
        ("/dns_records", "Zone · DNS"),
        ("/settings/", "Zone · Zone Settings"),
        ("/bot_management", "Zone · Bot Management"),
        ("/http_request_cache_settings", "Zone · Cache Rules"),
        ("/rulesets", "Zone · Zone WAF"),
        ("/workers/routes", "Zone · Workers Routes"),
        ("/workers/scripts/", "Account · Workers Scripts"),
        ("/storage/kv/", "Account · Workers KV Storage"),
        ("/cfd_tunnel", "Account · Cloudflare Tunnel"),
    ];
    if path == ANALYTICS {
        return Some("Account · Account Analytics · Read");
    }
    // The settings of a script are not those of a zone.
    let is_of_account = path.starts_with("/accounts/");
    let fits = |(part, permission): &&(&str, &str)| {
        path.contains(part) && permission.starts_with("Account") == is_of_account
    };
    PERMISSIONS.iter().find(fits).map(|(_, permission)| *permission)
}

/// A refusal of what comes after the zone was looked up: the token is a good one then, and lacks a permission.
fn lacking(mut fault: Fault, permission: Option<&str>) -> Fault {
    if let (FaultKind::Denied, Some(permission)) = (fault.kind, permission) {
        fault.said.push_str(&format!("; the token lacks the permission `{permission}`"));
    }
    fault
}

impl Cloudflare {
    /// Sends `call`, and gives what is in the envelope.
    pub(crate) async fn send(&self, call: Call) -> Result<Value, Fault> {
        Ok(self.open(call).await?.result)
    }

    /// The same, read as what is due.
    pub(crate) async fn send_for<T: DeserializeOwned>(&self, call: Call) -> Result<T, Fault> {
        let attempt = call.attempt();
        let value = self.send(call).await?;
        self.read(attempt, value)
    }

    fn read<T: DeserializeOwned>(&self, attempt: String, value: Value) -> Result<T, Fault> {
        serde_json::from_value(value).map_err(|error| {
            let said = format!("the answer cannot be read: {error}");
            self.api.fault(FaultKind::Unclear, attempt, &said)
        })
    }

    /// What is at `call`; `None` when there is nothing.
    pub(crate) async fn find<T: DeserializeOwned>(&self, call: Call) -> Result<Option<T>, Fault> {
        match self.send_for(call).await {
            Ok(found) => Ok(Some(found)),
            Err(fault) if fault.kind == FaultKind::Missing => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Every row of a list, page after page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        call: Call,
        per_page: u32,
    ) -> Result<Vec<T>, Fault> {
        let mut rows = Vec::new();
        for page in 1.. {
            let call = call.clone();
            let attempt = call.attempt();
            let call = call.query("per_page", &per_page.to_string());
            let envelope = self.open(call.query("page", &page.to_string())).await?;
            rows.extend(self.read::<Vec<T>>(attempt, envelope.result)?);
            let more = envelope.result_info.is_some_and(|info| {
                info.page.saturating_mul(info.per_page) < info.total_count && info.per_page > 0
            });
            if !more {
                break;
            }
        }
        Ok(rows)
    }

    async fn open(&self, call: Call) -> Result<Envelope, Fault> {
        let (attempt, permission) = (call.attempt(), permission(call.path()));
        let answer = self.api.send(call).await.map_err(|fault| lacking(fault, permission))?;
        let envelope: Envelope = self.api.read(attempt.clone(), &answer)?;
        if envelope.success {
            return Ok(envelope);
        }
        let told: Vec<String> = envelope
            .errors
            .iter()
            .map(|told| format!("{} ({})", told.message, told.code))
            .collect();
        let said = told.join("; ");
        let kind = judge(StatusCode::BAD_REQUEST, &said).unwrap_or(FaultKind::Invalid);
        Err(lacking(self.api.fault(kind, attempt, &said), permission))
    }

    /// Asks the GraphQL Analytics API.
    pub(crate) async fn query<T: DeserializeOwned>(
        &self,
        operation: Operation<'_>,
    ) -> Result<T, Fault> {
        let told = query_at(&self.api, ANALYTICS, operation).await;
        told.map_err(|fault| lacking(fault, permission(ANALYTICS)))
    }

    /// The zone. One request; its id and account are asked for once a look, so that a moved zone is noticed.
    pub(crate) async fn row(&self) -> Result<ZoneRow, Fault> {
        if let Some(id) = &self.zone_id {
            let call = Call::read("look up zone", &self.zone, format!("/zones/{}", encode(id)));
            let row: ZoneRow = self.send_for(call).await?;
            if row.name == self.zone {
                return Ok(row);
            }
            let said = format!("the zone {id} is {}", row.name);
            return Err(self.fault(FaultKind::Invalid, "look up zone", &said));
        }
        let call = Call::read("look up zone", &self.zone, "/zones").query("name", &self.zone);
        let call = match &self.account {
            Some(account) => call.query("account.id", account),
            None => call,
        };
        let mut rows: Vec<ZoneRow> = self.list(call, PAGE).await?;
        rows.retain(|row| row.name == self.zone);
        match rows.len() {
            1 => Ok(rows.swap_remove(0)),
            0 => {
                let said = "the token sees no such zone: add it in the dashboard, and give the token `Zone Read`";
                Err(self.fault(FaultKind::Missing, "look up zone", said))
            }
            _ => {
                let said = "several accounts have such a zone: say `account`";
                Err(self.fault(FaultKind::Invalid, "look up zone", said))
            }
        }
    }

    /// The account that scripts, values and tunnels are in.
    pub(crate) fn account<'a>(&'a self, zone: &'a ZoneRow) -> &'a str {
        self.account.as_deref().unwrap_or_else(|| zone.owner())
    }

    pub(crate) fn fault(&self, kind: FaultKind, attempt: &str, said: &str) -> Fault {
        self.api.fault(kind, format!("{attempt} {}", self.zone), said)
    }
}
