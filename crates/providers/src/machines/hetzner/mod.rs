//! Hetzner Cloud. <https://docs.hetzner.cloud/>
//!
//! A machine, its firewall and its key carry the label `linkflow-stack`; what has none is never touched. The label
//! selector of the API finds them, so that a look is one request. Every change is an action that is polled until it
//! has ended, and most of them lock the server until then.

mod wire;

use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use linkflow_model::role::{
    Machine, MachineSize, MachineWanted, Machines, MachinesLook, Operation, Power, Progress,
};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret, StackName};
use serde_json::{Value, json};

use crate::kit::{Account, Auth, Call, Kit, Limiter, Rule as Limit, Scope, Vendor, encode};
use wire::{
    Acted, Created, Firewall, FirewallMade, Firewalls, Key, KeyMade, Keys, Rule, Server,
    ServerTypes, Servers,
};

/// The API.
const API: &str = "https://api.hetzner.cloud/v1";

/// What marks a thing as ours.
const LABEL: &str = "linkflow-stack";

/// Prices are in euros, whatever the account (docs: pricing).
const CURRENCY: &str = "EUR";

/// The most that a page may have.
const PAGE: &str = "50";

/// User data may have 32 KiB (docs: create a server).
const LARGEST_FIRST_BOOT: usize = 32 * 1024;

/// What one project needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The project's API token, which may read and write.
    pub token: Secret,
    /// In place of `https://api.hetzner.cloud/v1`.
    pub api: Option<String>,
}

/// Machines of one project at Hetzner.
pub struct Hetzner {
    api: Vendor,
    stack: StackName,
    provider: ProviderName,
}

/// Opens the project that the config calls `provider`, for the machines of `stack`. Nothing is asked yet.
pub fn open(settings: Settings, kit: &Kit, stack: &StackName, provider: &ProviderName) -> Hetzner {
    let base = settings.api.unwrap_or_else(|| API.to_owned());
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "hetzner",
        production: API.to_owned(),
        base: base.trim_end_matches('/').to_owned(),
        auth: Some(Auth::bearer(settings.token)),
        limits: Box::new(limits),
        judge,
        hide,
    });
    Hetzner { api, stack: stack.clone(), provider: provider.clone() }
}

/// 3,600 requests an hour, one more each second (docs: rate limiting).
fn limits() -> Limiter {
    let rule = Limit { scope: Scope::Vendor, every: Duration::from_millis(1_000), burst: 60 };
    Limiter::new(vec![rule], Duration::from_secs(10))
}

fn judge(status: StatusCode, said: &str) -> Option<FaultKind> {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["resource_limit_exceeded", "resource_unavailable", "placement_error"]) {
        return Some(FaultKind::Exhausted);
    }
    let held =
        has(&["conflict", "locked", "uniqueness_error", "server_not_stopped", "must be off"]);
    (status.is_client_error() && held).then_some(FaultKind::Conflict)
}

fn hide(body: &mut Value) {
    for name in ["user_data", "root_password"] {
        if let Some(held @ Value::String(_)) = body.get_mut(name) {
            *held = Value::from("***");
        }
    }
}

impl Hetzner {
    fn ours(&self) -> String {
        format!("{LABEL}={}", self.stack)
    }

    fn labels(&self) -> Value {
        json!({ LABEL: self.stack.as_str() })
    }

    /// The name of the firewall and of the key of this stack.
    fn around(&self) -> String {
        format!("linkflow-{}", self.stack)
    }

    async fn servers(&self) -> Result<Vec<Server>, Fault> {
        let mut servers = Vec::new();
        let mut page = Some(1);
        while let Some(number) = page {
            let call = Call::read("list servers of", self.stack.as_str(), "/servers")
                .query("label_selector", &self.ours())
                .query("per_page", PAGE)
                .query("page", &number.to_string());
            let answer: Servers = self.api.send_for(call).await?;
            let stack = Some(self.stack.as_str());
            let ours = |s: &Server| s.labels.get(LABEL).map(String::as_str) == stack;
            servers.extend(answer.servers.into_iter().filter(ours));
            page = answer.meta.pagination.next_page;
        }
        Ok(servers)
    }

    /// Our machine of that name.
    async fn find(&self, name: &str) -> Result<Option<Server>, Fault> {
        Ok(self.servers().await?.into_iter().find(|server| server.name == name))
    }

    async fn must_find(&self, name: &str) -> Result<Server, Fault> {
        let missing = || {
            let said = "no machine of this stack has that name";
            self.api.fault(FaultKind::Missing, format!("find server {name}"), said)
        };
        self.find(name).await?.ok_or_else(missing)
    }

    async fn act(&self, server: &Server, action: &str, body: Value) -> Result<Operation, Fault> {
        let path = format!("/servers/{}/actions/{action}", server.id);
        let call = Call::write(Method::POST, "change server", &server.name, path);
        let call = if body.is_null() { call } else { call.json(body) };
        let acted: Acted = self.api.send_for(call).await?;
        Ok(Operation { id: acted.action.id.to_string() })
    }

    /// The id of the key `public`, which is uploaded when nobody has yet. A key that a person uploaded is used as it is.
    async fn key(&self, public: &str) -> Result<u64, Fault> {
        if let Some(key) = self.keys().await?.into_iter().find(|k| same_key(&k.public_key, public))
        {
            return Ok(key.id);
        }
        let body = json!({ "name": self.around(), "public_key": public, "labels": self.labels() });
        let call = Call::write(Method::POST, "add SSH key", self.around(), "/ssh_keys").json(body);
        let made: KeyMade = self.api.send_for(call).await?;
        Ok(made.ssh_key.id)
    }

    async fn keys(&self) -> Result<Vec<Key>, Fault> {
        let mut keys = Vec::new();
        let mut page = Some(1);
        while let Some(number) = page {
            let call = Call::read("list SSH keys", "", "/ssh_keys")
                .query("per_page", PAGE)
                .query("page", &number.to_string());
            let answer: Keys = self.api.send_for(call).await?;
            keys.extend(answer.ssh_keys);
            page = answer.meta.pagination.next_page;
        }
        Ok(keys)
    }

    async fn own_firewall(&self) -> Result<Option<Firewall>, Fault> {
        let call = Call::read("find firewall", self.around(), "/firewalls")
            .query("name", &self.around())
            .query("label_selector", &self.ours());
        let answer: Firewalls = self.api.send_for(call).await?;
        Ok(answer.firewalls.into_iter().next())
    }

    /// The id of this stack's firewall, with exactly these ports open.
    async fn firewall(&self, ports: &[(u16, u16)]) -> Result<u64, Fault> {
        let rules = rules(ports);
        let mut due: Vec<Rule> = ports.iter().map(|port| rule(*port)).collect();
        due.push(ping());
        due.sort();
        let Some(held) = self.own_firewall().await? else {
            let body = json!({ "name": self.around(), "labels": self.labels(), "rules": rules });
            let call = Call::write(Method::POST, "make firewall", self.around(), "/firewalls");
            let made: FirewallMade = self.api.send_for(call.json(body)).await?;
            return Ok(made.firewall.id);
        };
        let mut now = held.rules.clone();
        now.sort();
        if now != due {
            let path = format!("/firewalls/{}/actions/set_rules", held.id);
            let call = Call::write(Method::POST, "set the rules of firewall", self.around(), path);
            self.api.send(call.json(json!({ "rules": rules }))).await?;
        }
        Ok(held.id)
    }

    /// Takes firewall and key of this stack away, which nothing uses any more.
    async fn clear(&self) -> Result<(), Fault> {
        if let Some(firewall) = self.own_firewall().await? {
            self.remove("firewall", &format!("/firewalls/{}", firewall.id)).await?;
        }
        for key in self.keys().await? {
            if key.labels.get(LABEL).is_some_and(|stack| stack == self.stack.as_str()) {
                self.remove("SSH key", &format!("/ssh_keys/{}", key.id)).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, what: &str, path: &str) -> Result<(), Fault> {
        let call = Call::write(Method::DELETE, "remove", what, path);
        match self.api.send(call).await {
            Err(fault) if fault.kind != FaultKind::Missing => Err(fault),
            _ => Ok(()),
        }
    }
}

/// Whether two public keys are the same but for their comments.
fn same_key(one: &str, other: &str) -> bool {
    let bare = |key: &str| key.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    bare(one) == bare(other)
}

fn rule(ports: (u16, u16)) -> Rule {
    Rule { direction: "in".into(), protocol: "tcp".into(), port: Some(range(ports)) }
}

/// One port, or a range: `21000-21999`.
fn range((first, last): (u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn ping() -> Rule {
    Rule { direction: "in".into(), protocol: "icmp".into(), port: None }
}

fn rules(ports: &[(u16, u16)]) -> Vec<Value> {
    let anybody = ["0.0.0.0/0", "::/0"];
    let tcp = |ports: &(u16, u16)| json!({ "direction": "in", "protocol": "tcp", "port": range(*ports), "source_ips": anybody });

    let mut rules: Vec<Value> = ports.iter().map(tcp).collect();
    rules.push(json!({ "direction": "in", "protocol": "icmp", "source_ips": anybody }));
    rules
}

#[async_trait]
impl MachinesLook for Hetzner {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    async fn machines(&self) -> Result<Vec<Machine>, Fault> {
        Ok(self.servers().await?.iter().map(|server| server.machine(CURRENCY)).collect())
    }

    async fn sizes(&self, location: &str) -> Result<Vec<MachineSize>, Fault> {
        let mut sizes = Vec::new();
        let mut page = Some(1);
        while let Some(number) = page {
            let call = Call::read("list server types", "", "/server_types")
                .query("per_page", PAGE)
                .query("page", &number.to_string());
            let answer: ServerTypes = self.api.send_for(call).await?;
            sizes.extend(answer.server_types.iter().filter_map(|t| t.size(location, CURRENCY)));
            page = answer.meta.pagination.next_page;
        }
        let price = |size: &MachineSize| {
            size.month.as_ref().and_then(|p| p.amount.parse::<f64>().ok()).unwrap_or(f64::MAX)
        };
        sizes.sort_by(|a, b| price(a).total_cmp(&price(b)));
        Ok(sizes)
    }

    async fn operation(&self, operation: &Operation) -> Result<Progress, Fault> {
        for id in operation.id.split(',').filter(|id| !id.is_empty()) {
            let call = Call::read("follow action", id, format!("/actions/{}", encode(id)));
            let action = self.api.send_for::<Acted>(call).await?.action;
            match action.status.as_str() {
                "success" => {}
                "error" => {
                    let said = action.error.map_or_else(
                        || "it failed and says no more".to_owned(),
                        |error| format!("{} ({})", error.message, error.code),
                    );
                    return Ok(Progress::Failed { why: format!("{}: {said}", action.command) });
                }
                _ => {
                    let said = format!("{}, {} %", action.command, action.progress);
                    return Ok(Progress::Under { said });
                }
            }
        }
        Ok(Progress::Done)
    }
}

#[async_trait]
impl Machines for Hetzner {
    async fn create(&self, wanted: &MachineWanted) -> Result<Operation, Fault> {
        if wanted.first_boot.expose().len() > LARGEST_FIRST_BOOT {
            let attempt = format!("create server {}", wanted.name);
            return Err(self.api.fault(
                FaultKind::Invalid,
                attempt,
                "its first boot is over 32 KiB",
            ));
        }
        let firewall = self.firewall(&wanted.open_ports).await?;
        if self.find(&wanted.name).await?.is_some() {
            return Ok(Operation { id: String::new() });
        }
        let key = self.key(&wanted.login_key).await?;
        let body = json!({
            "name": wanted.name,
            "server_type": wanted.size,
            "location": wanted.location,
            "image": wanted.image,
            "labels": self.labels(),
            "user_data": wanted.first_boot.expose(),
            "ssh_keys": [key.to_string()],
            "firewalls": [{ "firewall": firewall }],
            "public_net": { "enable_ipv4": true, "enable_ipv6": true },
            "start_after_create": true,
        });
        let call = Call::write(Method::POST, "create server", &wanted.name, "/servers").json(body);
        let made: Created = self.api.send_for(call).await?;
        let actions = std::iter::once(&made.action).chain(&made.next_actions);
        let ids: Vec<String> = actions.map(|action| action.id.to_string()).collect();
        Ok(Operation { id: ids.join(",") })
    }

    async fn rebuild(&self, wanted: &MachineWanted) -> Result<Operation, Fault> {
        let server = self.must_find(&wanted.name).await?;
        self.firewall(&wanted.open_ports).await?;
        let body = json!({ "image": wanted.image, "user_data": wanted.first_boot.expose() });
        self.act(&server, "rebuild", body).await
    }

    async fn resize(&self, name: &str, size: &str) -> Result<Operation, Fault> {
        let server = self.must_find(name).await?;
        if server.server_type.name == size {
            return Ok(Operation { id: String::new() });
        }
        let body = json!({ "server_type": size, "upgrade_disk": false });
        self.act(&server, "change_type", body).await
    }

    async fn power(&self, name: &str, power: Power) -> Result<Operation, Fault> {
        let server = self.must_find(name).await?;
        let action = match (power, server.status.as_str()) {
            (Power::On, "running") | (Power::Shutdown | Power::Cut, "off") => {
                return Ok(Operation { id: String::new() });
            }
            (Power::On, _) => "poweron",
            (Power::Shutdown, _) => "shutdown",
            (Power::Cut, _) => "poweroff",
            (Power::Reset, _) => "reset",
        };
        self.act(&server, action, Value::Null).await
    }

    async fn delete(&self, name: &str) -> Result<Operation, Fault> {
        let servers = self.servers().await?;
        let Some(server) = servers.iter().find(|server| server.name == name) else {
            if servers.is_empty() {
                self.clear().await?;
            }
            return Ok(Operation { id: String::new() });
        };
        let call =
            Call::write(Method::DELETE, "delete server", name, format!("/servers/{}", server.id));
        let acted: Acted = self.api.send_for(call).await?;
        Ok(Operation { id: acted.action.id.to_string() })
    }
}
