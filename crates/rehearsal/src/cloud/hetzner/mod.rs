//! Hetzner Cloud: the API of `api.hetzner.cloud/v1` for machines, keys and firewalls.
//!
//! Facts: docs.hetzner.cloud (operations, actions, locks, error codes, paging, rate limits). A machine that boots is
//! handed to whoever asked for it with [`Boot`], which makes it a real one.

mod around;
mod facts;
mod server;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Call};
use super::limit::{Limits, Rate};
use super::site::{Blank, InstanceView, Route, Site, Vendor};
use around::{Firewall, Key};
use server::{Action, Change, Server};

/// 3,600 requests an hour for each project.
const RATE: Rate = Rate { per_second: 1.0, burst: 3_600.0 };

/// What a machine is made of at its boot.
#[derive(Clone, Debug)]
pub struct Booted {
    /// Its name.
    pub name: String,
    /// What cloud-init is given.
    pub user_data: String,
    /// The public keys that may log in.
    pub keys: Vec<String>,
    /// Whether everything on it is new: its first boot, or one after a rebuild.
    pub fresh: bool,
}

/// Makes machines real.
#[async_trait]
pub trait Boot: Send + Sync {
    /// The machine is switched on. An error is told by the action that did it.
    async fn boot(&self, machine: Booted) -> Result<(), String>;

    /// The machine is switched off, or given up when `gone`.
    async fn halt(&self, name: &str, gone: bool);
}

/// The vendor's API and what it has.
pub(crate) struct Hetzner {
    site: Arc<Site>,
    state: Mutex<State>,
    limits: Limits,
    boot: OnceLock<Arc<dyn Boot>>,
}

#[derive(Default)]
struct State {
    last: u64,
    servers: BTreeMap<u64, Server>,
    actions: BTreeMap<u64, Action>,
    keys: BTreeMap<u64, Key>,
    firewalls: BTreeMap<u64, Firewall>,
}

type Refused = Answer;

fn refusal(status: u16, code: &str, message: &str) -> Refused {
    let error = json!({ "code": code, "message": message, "details": {} });
    Answer::json(status, &json!({ "error": error }))
}

fn invalid(message: &str) -> Refused {
    refusal(422, "invalid_input", message)
}

fn missing(what: &str) -> Refused {
    refusal(404, "not_found", &format!("{what} not found"))
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn server(&mut self, id: u64) -> Result<&mut Server, Refused> {
        self.servers.get_mut(&id).ok_or_else(|| missing("server"))
    }

    fn users_of(&self, firewall: u64) -> Vec<u64> {
        let using = self.servers.values().filter(|s| s.firewalls.contains(&firewall));
        using.map(|server| server.id).collect()
    }

    fn show_firewall(&self, firewall: &Firewall) -> Value {
        firewall.view(&self.users_of(firewall.id))
    }
}

impl Hetzner {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Self { site, state: Mutex::default(), limits: Limits::default(), boot: OnceLock::new() }
    }

    /// Has `boot` make machines real. Set once.
    pub(crate) fn on_boot(&self, boot: Arc<dyn Boot>) -> bool {
        self.boot.set(boot).is_ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one call.
    pub(crate) fn reply(self: &Arc<Self>, call: &Call) -> Answer {
        if call.bearer() != Some(self.site.token.as_str()) {
            return refusal(401, "unauthorized", "unable to authenticate");
        }
        let Ok(left) = self.limits.take("project".to_owned(), RATE) else { return self.too_many() };
        let (Ok(answer) | Err(answer)) = self.dispatch(call);
        answer
            .with("ratelimit-limit", "3600")
            .with("ratelimit-remaining", &format!("{left:.0}"))
            .with("ratelimit-reset", &self.reset())
    }

    pub(crate) fn too_many(&self) -> Answer {
        refusal(429, "rate_limit_exceeded", "limit of 3600 requests per hour reached")
            .with("ratelimit-limit", "3600")
            .with("ratelimit-remaining", "0")
            .with("ratelimit-reset", &self.reset())
    }

    fn reset(&self) -> String {
        (self.site.clock.wall().0 / 1_000 + 1).to_string()
    }

    fn dispatch(self: &Arc<Self>, call: &Call) -> Result<Answer, Refused> {
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let id = parts.get(1).and_then(|id| id.parse::<u64>().ok());
        match (call.method.as_str(), parts.as_slice(), id) {
            ("GET", ["servers"], _) => self.list(call, "servers", |state| {
                state
                    .servers
                    .values()
                    .map(|s| (s.name.clone(), s.labels.clone(), s.view()))
                    .collect()
            }),
            ("POST", ["servers"], _) => self.create(call),
            ("GET", ["servers", _], Some(id)) => {
                let mut state = self.state();
                let server = state.server(id)?.view();
                Ok(Answer::json(200, &json!({ "server": server })))
            }
            ("DELETE", ["servers", _], Some(id)) => {
                self.begin(id, "delete_server", Change::Deleted, 200)
            }
            ("POST", ["servers", _, "actions", verb], Some(id)) => self.act(call, id, verb),
            ("GET", ["actions", _], Some(id)) => {
                let state = self.state();
                let action = state.actions.get(&id).ok_or_else(|| missing("action"))?;
                Ok(Answer::json(200, &json!({ "action": action.view() })))
            }
            ("GET", ["ssh_keys"], _) => self.list(call, "ssh_keys", |state| {
                state.keys.values().map(|k| (k.name.clone(), k.labels.clone(), k.view())).collect()
            }),
            ("POST", ["ssh_keys"], _) => self.add_key(call),
            ("DELETE", ["ssh_keys", _], Some(id)) => {
                self.state().keys.remove(&id).ok_or_else(|| missing("ssh_key"))?;
                Ok(Answer::empty(204))
            }
            (_, ["firewalls", ..], _) => self.of_firewalls(call, &parts, id),
            ("GET", ["locations"], _) => page(call, "locations", facts::locations()),
            ("GET", ["server_types"], _) => page(call, "server_types", facts::server_types()),
            _ => Err(missing("path")),
        }
    }

    fn list(
        &self,
        call: &Call,
        name: &str,
        rows: impl FnOnce(&State) -> Vec<(String, BTreeMap<String, String>, Value)>,
    ) -> Result<Answer, Refused> {
        let rows = rows(&self.state()).into_iter();
        let named = rows.filter(|(own, ..)| call.parameter("name").is_none_or(|name| name == own));
        let fits = |labels: &BTreeMap<String, String>| {
            call.parameter("label_selector").is_none_or(|selector| selects(selector, labels))
        };
        let rows = named.filter(|(_, labels, _)| fits(labels)).map(|(.., row)| row);
        page(call, name, rows.collect())
    }

    fn of_firewalls(
        &self,
        call: &Call,
        parts: &[&str],
        id: Option<u64>,
    ) -> Result<Answer, Refused> {
        match (call.method.as_str(), parts, id) {
            ("GET", [_], _) => self.list(call, "firewalls", |state| {
                let rows = state.firewalls.values();
                rows.map(|f| (f.name.clone(), f.labels.clone(), state.show_firewall(f))).collect()
            }),
            ("POST", [_], _) => {
                let asked = object(call)?;
                let rules = around::rules(asked.get("rules")).map_err(|why| invalid(&why))?;
                let (name, labels) = named(&asked)?;
                let mut state = self.state();
                if state.firewalls.values().any(|f| f.name == name) {
                    return Err(refusal(409, "uniqueness_error", "name is already used"));
                }
                let id = state.next();
                let made = Firewall { id, name, labels, created: self.site.now(), rules };
                let view = made.view(&[]);
                state.firewalls.insert(id, made);
                Ok(Answer::json(201, &json!({ "firewall": view, "actions": [] })))
            }
            ("POST", [_, _, "actions", "set_rules"], Some(id)) => {
                let rules =
                    around::rules(object(call)?.get("rules")).map_err(|why| invalid(&why))?;
                let mut state = self.state();
                let firewall = state.firewalls.get_mut(&id).ok_or_else(|| missing("firewall"))?;
                firewall.rules = rules;
                Ok(Answer::json(201, &json!({ "actions": [] })))
            }
            ("DELETE", [_, _], Some(id)) => {
                let mut state = self.state();
                if !state.users_of(id).is_empty() {
                    return Err(refusal(422, "resource_in_use", "the firewall is still in use"));
                }
                state.firewalls.remove(&id).ok_or_else(|| missing("firewall"))?;
                Ok(Answer::empty(204))
            }
            _ => Err(missing("path")),
        }
    }

    fn add_key(&self, call: &Call) -> Result<Answer, Refused> {
        let asked = object(call)?;
        let (name, labels) = named(&asked)?;
        let public = asked.get("public_key").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !public.starts_with("ssh-") {
            return Err(invalid("invalid SSH key"));
        }
        let mut state = self.state();
        if state.keys.values().any(|key| key.is(&public) || key.name == name) {
            return Err(refusal(409, "uniqueness_error", "SSH key not unique"));
        }
        let id = state.next();
        let made = Key { id, name, public, labels, created: self.site.now() };
        let view = made.view();
        state.keys.insert(id, made);
        Ok(Answer::json(201, &json!({ "ssh_key": view })))
    }

    fn create(self: &Arc<Self>, call: &Call) -> Result<Answer, Refused> {
        if self.site.is_out_of_quota(None) {
            return Err(refusal(403, "resource_limit_exceeded", "server limit reached"));
        }
        let asked = object(call)?;
        let text = |name: &str| asked.get(name).and_then(Value::as_str).map(str::to_owned);
        let (name, labels) = named(&asked)?;
        let size = text("server_type").filter(|s| facts::server_type(s).is_some());
        let image = text("image").filter(|i| facts::image(i).is_some());
        let location = text("location").unwrap_or_else(|| "fsn1".to_owned());
        let (Some(size), Some(image)) = (size, image) else {
            return Err(invalid("no such server_type or image"));
        };
        if facts::location(&location).is_none() {
            return Err(refusal(412, "resource_unavailable", "no such location"));
        }
        let listed =
            |name: &str| asked.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut state = self.state();
        if state.servers.values().any(|server| server.name == name) {
            return Err(refusal(409, "uniqueness_error", "server name is already used"));
        }
        let mut keys = Vec::new();
        for key in listed("ssh_keys") {
            let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            let found = state.keys.values().find(|k| k.id.to_string() == key || k.name == key);
            keys.push(found.ok_or_else(|| missing("ssh_key"))?.public.clone());
        }
        let firewalls: Vec<u64> =
            listed("firewalls").iter().filter_map(|f| f["firewall"].as_u64()).collect();
        if firewalls.iter().any(|id| !state.firewalls.contains_key(id)) {
            return Err(missing("firewall"));
        }
        let root_password = keys.is_empty().then(|| self.site.dice.hex(16));
        let (id, created) = (state.next(), self.site.now());
        let first_boot = text("user_data").unwrap_or_default();
        let server = Server {
            id,
            name,
            status: "initializing",
            locked: true,
            labels,
            size,
            location,
            image,
            created,
            firewalls,
            keys,
            first_boot,
        };
        let view = server.view();
        state.servers.insert(id, server);
        let make = self.action(&mut state, id, "create_server");
        let start = self.action(&mut state, id, "start_server");
        let (first, next) = (state.actions[&make].view(), state.actions[&start].view());
        drop(state);
        let this = Arc::clone(self);
        self.site.tasks.start(async move {
            this.end(make, id, Change::Made).await;
            this.end(start, id, Change::Started).await;
        });
        let body = json!({ "server": view, "action": first, "next_actions": [next], "root_password": root_password });
        Ok(Answer::json(201, &body))
    }

    fn act(self: &Arc<Self>, call: &Call, id: u64, verb: &str) -> Result<Answer, Refused> {
        let status = self.state().server(id)?.status;
        match verb {
            "poweron" => self.begin(id, "start_server", Change::Started, 201),
            "poweroff" => self.begin(id, "stop_server", Change::Stopped, 201),
            "shutdown" => self.begin(id, "shutdown_server", Change::Stopped, 201),
            "reset" | "reboot" => self.begin(id, "reset_server", Change::Started, 201),
            "rebuild" => {
                let asked = object(call)?;
                let image = asked.get("image").and_then(Value::as_str).unwrap_or_default();
                if facts::image(image).is_none() {
                    return Err(invalid("no such image"));
                }
                let answer = self.begin(id, "rebuild_server", Change::Rebuilt, 201)?;
                let mut state = self.state();
                let server = state.server(id)?;
                image.clone_into(&mut server.image);
                if let Some(data) = asked.get("user_data").and_then(Value::as_str) {
                    data.clone_into(&mut server.first_boot);
                }
                Ok(answer)
            }
            "change_type" => {
                let asked = object(call)?;
                let size = asked.get("server_type").and_then(Value::as_str).unwrap_or_default();
                if facts::server_type(size).is_none() || asked.get("upgrade_disk").is_none() {
                    return Err(invalid("no such server_type, or upgrade_disk is missing"));
                }
                if status != "off" {
                    return Err(refusal(422, "server_not_stopped", "server must be off"));
                }
                let answer = self.begin(id, "change_server_type", Change::Resized, 201)?;
                size.clone_into(&mut self.state().server(id)?.size);
                Ok(answer)
            }
            _ => Err(missing("action")),
        }
    }

    fn action(&self, state: &mut State, server: u64, command: &'static str) -> u64 {
        let id = state.next();
        let (started, finished) = (self.site.now(), None);
        state.actions.insert(id, Action { id, command, server, started, finished, error: None });
        id
    }

    /// Begins an action, which locks its machine.
    fn begin(
        self: &Arc<Self>,
        id: u64,
        command: &'static str,
        change: Change,
        status: u16,
    ) -> Result<Answer, Refused> {
        let mut state = self.state();
        let server = state.server(id)?;
        if server.locked {
            return Err(refusal(423, "locked", "the server is locked by another action"));
        }
        server.locked = true;
        server.status = match change {
            Change::Made | Change::Started => "starting",
            Change::Stopped => "stopping",
            Change::Rebuilt => "rebuilding",
            Change::Resized => "migrating",
            Change::Deleted => "deleting",
        };
        let action = self.action(&mut state, id, command);
        let view = state.actions[&action].view();
        drop(state);
        let this = Arc::clone(self);
        self.site.tasks.start(async move { this.end(action, id, change).await });
        Ok(Answer::json(status, &json!({ "action": view })))
    }

    /// Carries an action out.
    async fn end(&self, action: u64, id: u64, change: Change) {
        self.site.dawdle(100, 300).await;
        self.site.get_unstuck(None).await;
        let Some((name, machine)) = self.machine(id, change) else { return };
        let mut error = None;
        if let Some(boot) = self.boot.get() {
            if matches!(change, Change::Stopped | Change::Deleted | Change::Rebuilt) {
                boot.halt(&name, change == Change::Deleted).await;
            }
            if matches!(change, Change::Started | Change::Rebuilt) {
                error = boot.boot(machine).await.err();
            }
        }
        let now = self.site.now();
        let mut state = self.state();
        if change == Change::Deleted {
            state.servers.remove(&id);
        } else if let Ok(server) = state.server(id) {
            server.locked = change == Change::Made;
            server.status = match change {
                Change::Made => "initializing",
                Change::Started | Change::Rebuilt if error.is_none() => "running",
                _ => "off",
            };
        }
        if let Some(action) = state.actions.get_mut(&action) {
            action.finished = Some(now);
            action.error = error.map(|why| ("action_failed".to_owned(), why));
        }
    }

    fn machine(&self, id: u64, change: Change) -> Option<(String, Booted)> {
        let mut state = self.state();
        let server = state.server(id).ok()?;
        let fresh = change == Change::Rebuilt || server.status == "initializing";
        let booted = Booted {
            name: server.name.clone(),
            user_data: server.first_boot.clone(),
            keys: server.keys.clone(),
            fresh,
        };
        Some((server.name.clone(), booted))
    }
}

/// Machines alone, with nothing that runs in them.
#[async_trait]
impl Vendor for Hetzner {
    async fn answer(self: Arc<Self>, call: Call) -> Answer {
        self.reply(&call)
    }

    fn limited(&self) -> Answer {
        self.too_many()
    }

    fn route(&self, _host: &str) -> Route {
        Route::Unknown
    }

    fn page(&self, _why: Blank) -> (u16, &'static str, String) {
        (404, "text/plain", "nothing is served here\n".to_owned())
    }

    fn instances(&self) -> Vec<InstanceView> {
        Vec::new()
    }
}

/// Whether `labels` have what a label selector asks for: `key=value` or `key`, joined by commas.
fn selects(selector: &str, labels: &BTreeMap<String, String>) -> bool {
    selector.split(',').all(|term| match term.split_once('=') {
        Some((key, value)) => {
            labels.get(key).is_some_and(|own| own == value.trim_start_matches('='))
        }
        None => labels.contains_key(term),
    })
}

/// One page of `rows`.
fn page(call: &Call, name: &str, rows: Vec<Value>) -> Result<Answer, Refused> {
    let number = |name: &str, least: usize| {
        call.parameter(name).map_or(Some(least), |text| text.parse().ok().filter(|n| *n > 0))
    };
    let (Some(at), Some(per_page)) = (number("page", 1), number("per_page", 25)) else {
        return Err(invalid("page and per_page are numbers from 1"));
    };
    let per_page = per_page.min(50);
    let total = rows.len();
    let last = total.div_ceil(per_page).max(1);
    let shown: Vec<Value> = rows.into_iter().skip((at - 1) * per_page).take(per_page).collect();
    let pagination = json!({
        "page": at, "per_page": per_page, "previous_page": (at > 1).then(|| at - 1),
        "next_page": (at < last).then_some(at + 1), "last_page": last, "total_entries": total,
    });
    Ok(Answer::json(200, &json!({ name: shown, "meta": { "pagination": pagination } })))
}

fn object(call: &Call) -> Result<Map<String, Value>, Refused> {
    match call.json() {
        Some(Value::Object(fields)) => Ok(fields),
        _ => Err(refusal(400, "json_error", "the body is not a JSON object")),
    }
}

fn named(asked: &Map<String, Value>) -> Result<(String, BTreeMap<String, String>), Refused> {
    let name = asked.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let labels = asked.get("labels").cloned().unwrap_or_else(|| json!({}));
    let labels = serde_json::from_value(labels).map_err(|_| invalid("labels are texts"))?;
    Ok((name.ok_or_else(|| invalid("name is missing"))?.to_owned(), labels))
}
