//! Cloudflare: `api.cloudflare.com/client/v4` for one account, its zone `example.com`, and what stands in front of it.
//!
//! Facts: the published description of the API; developers.cloudflare.com/fundamentals/api/reference/limits (1,200 requests in
//! 5 minutes, then blocked for 5 minutes, headers); developers.cloudflare.com/kv/platform/limits (1,000 writes a day, one a
//! second for a key); developers.cloudflare.com/waf/rate-limiting-rules (one rule and 10 seconds on the free plan);
//! cloudflare/cloudflare-go#828 (`request_limit_fail_open` of routes, told always and taken when a route is changed).
//! Codes of errors are those that clients have met; nobody publishes a list.

mod analytics;
mod records;
mod rules;
mod tunnels;
mod workers;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkflow_model::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::{Answer, Call};
use super::beside::{Beside, Ground};
use super::endpoints::CloudflareEndpoint;
use super::limit::{Limits, Rate};
use super::trouble::Trouble;
pub(super) use analytics::Told;
use analytics::{Counted, Right};
use records::Record;
use rules::Ruleset;
use tunnels::Tunnel;
use workers::{Route, Script, Values};

/// The only zone.
const ZONE: &str = "example.com";
/// What answers for it.
const SERVERS: [&str; 2] = ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"];

/// 1,200 in 5 minutes.
const REQUESTS: Rate = Rate { per_second: 4.0, burst: 1_200.0 };
/// How long whoever is over it is blocked.
const BLOCKED: Duration = Duration::from_secs(300);

/// The vendor.
pub(crate) struct Cloudflare {
    ground: Ground,
    token: String,
    account: String,
    zone: String,
    limits: Limits,
    state: Mutex<State>,
}

/// What the account holds.
#[derive(Default)]
struct State {
    blocked_until: Option<Instant>,
    records: Vec<Record>,
    settings: BTreeMap<String, Value>,
    fight_mode: bool,
    rulesets: BTreeMap<String, Ruleset>,
    scripts: BTreeMap<String, Script>,
    routes: Vec<Route>,
    namespaces: BTreeMap<String, Values>,
    /// Writes of values on a day, which is counted from 1970.
    written: (u64, u32),
    tunnels: Vec<Tunnel>,
    counted: Counted,
    /// What the token may not.
    lacks: Vec<Right>,
}

/// What a handler says instead of an answer.
type Refused = Answer;

fn refusal(status: u16, code: u32, message: &str) -> Refused {
    let error = json!({ "code": code, "message": message });
    let body = json!({ "success": false, "errors": [error], "messages": [], "result": null });
    Answer::json(status, &body)
}

fn ok(result: &Value) -> Answer {
    Answer::json(200, &json!({ "success": true, "errors": [], "messages": [], "result": result }))
}

fn no_route() -> Refused {
    refusal(404, 7_003, "Could not route to the path, perhaps your object identifier is invalid?")
}

/// The body, which must be an object.
fn object(call: &Call) -> Result<Map<String, Value>, Refused> {
    match call.json() {
        Some(Value::Object(body)) => Ok(body),
        _ => Err(refusal(400, 9_207, "Request body is invalid.")),
    }
}

/// One page of `rows`.
fn page(call: &Call, rows: Vec<Value>, usual: usize) -> Answer {
    let number = |name: &str, usual: usize| {
        call.parameter(name)
            .and_then(|n| n.parse::<usize>().ok())
            .filter(|n| *n > 0)
            .unwrap_or(usual)
    };
    let (page, per_page, total) = (number("page", 1), number("per_page", usual), rows.len());
    let rows: Vec<Value> = rows.into_iter().skip((page - 1) * per_page).take(per_page).collect();
    let info = json!({
        "page": page,
        "per_page": per_page,
        "count": rows.len(),
        "total_count": total,
        "total_pages": total.div_ceil(per_page),
    });
    let body = json!({ "success": true, "errors": [], "messages": [], "result": rows, "result_info": info });
    Answer::json(200, &body)
}

impl Cloudflare {
    pub(crate) fn new(ground: Ground) -> Self {
        let state = State {
            settings: settings(),
            rulesets: rules::managed(&ground.dice),
            ..State::default()
        };
        Self {
            token: format!("cfut_{}", ground.dice.hex(40)),
            account: ground.dice.hex(32),
            zone: ground.dice.hex(32),
            ground,
            limits: Limits::default(),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn endpoint(&self, api: String) -> CloudflareEndpoint {
        CloudflareEndpoint {
            api,
            token: self.token.clone(),
            account: self.account.clone(),
            zone: ZONE.to_owned(),
            zone_id: self.zone.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self) -> String {
        self.ground.dice.hex(32)
    }

    fn now(&self) -> Timestamp {
        self.ground.clock.wall()
    }

    /// The moment, as Cloudflare writes it.
    fn written_now(&self) -> String {
        time(self.now())
    }

    fn is_out_of_quota(&self) -> bool {
        self.ground.faults.any(None, |t| matches!(t, Trouble::OutOfQuota))
    }

    /// What the account holds, for the control API. Values and modules are shown, secrets are not.
    pub(crate) fn held(&self) -> Value {
        let state = self.state();
        json!({
            "records": state.records.iter().map(Record::view).collect::<Vec<_>>(),
            "settings": state.settings,
            "fight_mode": state.fight_mode,
            "rulesets": state.rulesets.values().map(Ruleset::view).collect::<Vec<_>>(),
            "scripts": state.scripts.iter().map(|(name, script)| script.view(name)).collect::<Vec<_>>(),
            "routes": state.routes.iter().map(Route::view).collect::<Vec<_>>(),
            "namespaces": state.namespaces.values().map(Values::view).collect::<Vec<_>>(),
            "tunnels": state.tunnels.iter().map(|t| t.view(&self.account)).collect::<Vec<_>>(),
        })
    }

    fn dispatch(&self, call: &Call) -> Result<Answer, Refused> {
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if Right::of(&parts).is_some_and(|right| self.state().lacks.contains(&right)) {
            return Err(match parts.as_slice() {
                ["graphql"] => analytics::not_yours(self.now()),
                _ => refusal(403, 10_000, "Authentication error"),
            });
        }
        match (call.method.as_str(), parts.as_slice()) {
            ("POST", ["graphql"]) => self.of_analytics(call),
            ("GET", ["zones"]) => {
                let fits =
                    |name: &str, value: &str| call.parameter(name).is_none_or(|p| p == value);
                let is_it = fits("name", ZONE) && fits("account.id", &self.account);
                Ok(page(call, is_it.then(|| self.show_zone()).into_iter().collect(), 20))
            }
            ("GET", ["user", "tokens", "verify"]) => {
                Ok(ok(&json!({ "id": &self.account, "status": "active" })))
            }
            (_, ["zones", zone, rest @ ..]) if *zone == self.zone => self.of_zone(call, rest),
            (_, ["zones", ..]) => {
                Err(refusal(403, 9_109, "Unauthorized to access requested resource"))
            }
            (_, ["accounts", account, rest @ ..]) if *account == self.account => match rest {
                ["workers", "scripts", rest @ ..] => self.of_scripts(call, rest),
                ["storage", "kv", "namespaces", rest @ ..] => self.of_values(call, rest),
                ["cfd_tunnel", rest @ ..] => self.of_tunnels(call, rest),
                _ => Err(no_route()),
            },
            _ => Err(no_route()),
        }
    }

    fn of_zone(&self, call: &Call, rest: &[&str]) -> Result<Answer, Refused> {
        match (call.method.as_str(), rest) {
            ("GET", []) => Ok(ok(&self.show_zone())),
            (_, ["dns_records", rest @ ..]) => self.of_records(call, rest),
            (method, ["settings", id]) => self.of_setting(call, method, id),
            ("GET", ["bot_management"]) => {
                let fight_mode = self.state().fight_mode;
                Ok(ok(&json!({ "enable_js": true, "fight_mode": fight_mode })))
            }
            ("PUT", ["bot_management"]) => {
                let body = object(call)?;
                let mut state = self.state();
                if let Some(on) = body.get("fight_mode").and_then(Value::as_bool) {
                    state.fight_mode = on;
                }
                Ok(ok(&json!({ "enable_js": true, "fight_mode": state.fight_mode })))
            }
            (_, ["rulesets", rest @ ..]) => self.of_rulesets(call, rest),
            (_, ["workers", "routes", rest @ ..]) => self.of_routes(call, rest),
            _ => Err(no_route()),
        }
    }

    fn of_setting(&self, call: &Call, method: &str, id: &str) -> Result<Answer, Refused> {
        let mut state = self.state();
        let Some(held) = state.settings.get_mut(id) else {
            return Err(refusal(400, 1_006, &format!("Undefined zone setting: {id}")));
        };
        if method == "PATCH" {
            let value = object(call)?.remove("value").unwrap_or(Value::Null);
            if !may_be(id, &value) {
                let message = format!("Invalid value for zone setting {id}");
                return Err(refusal(400, 1_007, &message));
            }
            *held = value;
        }
        let result =
            json!({ "id": id, "value": held, "editable": true, "modified_on": self.written_now() });
        Ok(ok(&result))
    }

    fn show_zone(&self) -> Value {
        let long_ago = "2024-01-31T08:00:00Z";
        json!({
            "id": self.zone,
            "name": ZONE,
            "status": "active",
            "paused": false,
            "type": "full",
            "development_mode": 0,
            "name_servers": SERVERS,
            "original_name_servers": null,
            "original_registrar": null,
            "original_dnshost": null,
            "created_on": long_ago,
            "modified_on": long_ago,
            "activated_on": long_ago,
            "meta": { "step": 4, "custom_certificate_quota": 0, "page_rule_quota": 3, "phishing_detected": false },
            "owner": { "type": "user" },
            "account": { "id": self.account, "name": "Acme" },
            "plan": { "name": "Free Website" },
        })
    }
}

/// The settings of a new zone.
fn settings() -> BTreeMap<String, Value> {
    let hsts = json!({ "strict_transport_security": {
        "enabled": false, "max_age": 0, "include_subdomains": false, "nosniff": false,
    } });
    let all = [
        ("ssl", json!("full")),
        ("always_use_https", json!("off")),
        ("min_tls_version", json!("1.0")),
        ("security_header", hsts),
        ("automatic_https_rewrites", json!("off")),
        ("cache_level", json!("aggressive")),
        ("browser_cache_ttl", json!(7_200)),
        ("always_online", json!("off")),
        ("brotli", json!("on")),
    ];
    all.into_iter().map(|(id, value)| (id.to_owned(), value)).collect()
}

/// Whether a setting may have a value.
fn may_be(id: &str, value: &Value) -> bool {
    let words: &[&str] = match id {
        "ssl" => &["off", "flexible", "full", "strict"],
        "min_tls_version" => &["1.0", "1.1", "1.2", "1.3"],
        "cache_level" => &["aggressive", "basic", "simplified"],
        "browser_cache_ttl" => {
            let times = [0, 7_200, 10_800, 14_400, 18_000, 28_800, 43_200, 57_600, 86_400];
            return value.as_u64().is_some_and(|n| times.contains(&n));
        }
        "security_header" => {
            return value.pointer("/strict_transport_security/max_age").is_some_and(Value::is_u64);
        }
        _ => &["on", "off"],
    };
    value.as_str().is_some_and(|word| words.contains(&word))
}

fn time(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map(|at| at.to_string()).unwrap_or_default()
}

impl Beside for Cloudflare {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        match call.bearer() {
            token if call.path == "/graphql" && token != Some(&self.token) => {
                return analytics::refusal(401, "Unauthorized", self.now());
            }
            None => return refusal(400, 6_003, "Invalid request headers"),
            Some(token) if token != self.token => {
                return refusal(401, 10_000, "Authentication error");
            }
            Some(_) => {}
        }
        let now = Instant::now();
        if self.state().blocked_until.is_some_and(|until| until > now) {
            return self.limited();
        }
        let Ok(left) = self.limits.take("token".to_owned(), REQUESTS) else {
            self.state().blocked_until = Some(now + BLOCKED);
            return self.limited();
        };
        let (Ok(answer) | Err(answer)) = self.dispatch(call);
        answer
            .with("ratelimit", &format!("\"default\";r={left:.0};t=300"))
            .with("ratelimit-policy", "\"burst\";q=1200;w=300")
    }

    fn limited(&self) -> Answer {
        let message = "More than 1200 requests per 300 seconds reached. Please wait and consider throttling your request speed";
        refusal(429, 10_429, message)
            .with("retry-after", &BLOCKED.as_secs().to_string())
            .with("ratelimit", "\"default\";r=0;t=300")
            .with("ratelimit-policy", "\"burst\";q=1200;w=300")
    }
}
