//! The Tunnel: a way to the edge with no open port, and where each host name leads behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use linkflow_model::role::{Front, FrontChange, Tunnel, TunnelKey, TunnelWanted};
use linkflow_model::{Fault, FaultKind, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CloudflareFront, Due};
use crate::account::cloudflare::ZoneRow;
use crate::kit::{Call, encode};

/// What answers for host names that lead nowhere.
const NOWHERE: &str = "http_status:404";

#[derive(Deserialize)]
pub(super) struct Row {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
}

impl Row {
    pub(super) fn told(self) -> Tunnel {
        let address = format!("{}.cfargotunnel.com", self.id);
        Tunnel { id: self.id, name: self.name, said: self.status, address }
    }
}

/// What a token is made of.
#[derive(Deserialize)]
struct Parts {
    a: String,
    t: String,
    s: String,
}

impl CloudflareFront {
    fn tunnels_path(&self, row: &ZoneRow) -> String {
        format!("/accounts/{}/cfd_tunnel", encode(self.api.account(row)))
    }

    /// The tunnel that a person named, or else the stack's own, which is known by its name.
    pub(super) async fn find_tunnel(&self, row: &ZoneRow) -> Result<Option<Row>, Fault> {
        if let Some(id) = &self.tunnel {
            let path = format!("{}/{}", self.tunnels_path(row), encode(id));
            return self.api.find(Call::read("look up the tunnel", id, path)).await;
        }
        let own = self.own_name();
        let call = Call::read("look up the tunnel", &own, self.tunnels_path(row))
            .query("name", &own)
            .query("is_deleted", "false");
        let rows: Vec<Row> = self.api.send_for(call).await?;
        Ok(rows.into_iter().find(|held| held.name == own))
    }

    pub(super) async fn make_tunnel(
        &self,
        row: &ZoneRow,
        wanted: &Front,
    ) -> Result<Vec<FrontChange>, Fault> {
        let is_there = wanted.tunnel.is_none() || self.find_tunnel(row).await?.is_some();
        if is_there {
            return Ok(Vec::new());
        }
        if let Some(id) = &self.tunnel {
            let said = format!("there is no tunnel {id}: take `tunnel` away for one of the stack's own");
            return Err(self.api.fault(FaultKind::Missing, "look up the tunnel of", &said));
        }
        let own = self.own_name();
        let call = Call::write(Method::POST, "make the tunnel", &own, self.tunnels_path(row));
        let body = json!({ "name": own, "config_src": "cloudflare" });
        let made: Row = self.api.send_for(call.json(body)).await?;
        Ok(vec![FrontChange::new(format!("tunnel {own}"), None, Some(made.id))])
    }

    pub(super) async fn due_tunnel(&self, row: &ZoneRow, wanted: &Front) -> Result<Vec<Due>, Fault> {
        let Some(tunnel) = &wanted.tunnel else { return Ok(Vec::new()) };
        let Some(held) = self.find_tunnel(row).await? else {
            let what = format!("tunnel {}", self.own_name());
            return Ok(vec![Due::told(FrontChange::new(what, None, Some("made".to_owned())))]);
        };
        let path = format!("{}/{}/configurations", self.tunnels_path(row), held.id);
        let call = Call::read("read the ways of the tunnel", &held.name, path.clone());
        let mut config = self.api.send(call).await?["config"].take();
        let before = config["ingress"].as_array().cloned().unwrap_or_default();
        let after = self.ingress(&before, tunnel);
        if before.iter().map(bare).eq(after.iter().map(bare)) {
            return Ok(Vec::new());
        }
        let change =
            FrontChange::new(format!("ways of the tunnel {}", held.name), shown(&before), shown(&after));
        if !config.is_object() {
            config = json!({});
        }
        config["ingress"] = after.into();
        let call = Call::write(Method::PUT, "change the ways of the tunnel", &held.name, path);
        Ok(vec![Due::new(change, call.json(json!({ "config": config })))])
    }

    /// The ways as they ought to be. In a tunnel that a person made, ways of other host names stay.
    fn ingress(&self, before: &[Value], wanted: &TunnelWanted) -> Vec<Value> {
        let is_ours = |host: &str| wanted.ingress.iter().any(|(own, _)| own == host);
        let host = |way: &Value| way["hostname"].as_str().unwrap_or_default().to_owned();
        let others = before.iter().filter(|way| !host(way).is_empty() && !is_ours(&host(way)));
        let mut ways: Vec<Value> = match self.tunnel {
            Some(_) => others.cloned().collect(),
            None => Vec::new(),
        };
        let way = |(host, to): &(String, String)| json!({ "hostname": host, "service": to });
        ways.extend(wanted.ingress.iter().map(way));
        let last = before.iter().rfind(|way| host(way).is_empty() && self.tunnel.is_some());
        let mut last = last.cloned().unwrap_or_else(|| json!({ "service": NOWHERE }));
        // The last way is for every other host name, which is an empty one in Cloudflare's description.
        last["hostname"] = "".into();
        ways.push(last);
        ways
    }

    pub(super) async fn read_key(&self, row: &ZoneRow) -> Result<TunnelKey, Fault> {
        let Some(held) = self.find_tunnel(row).await? else {
            let said = "there is no tunnel yet: `linkflow dns apply` makes it";
            return Err(self.api.fault(FaultKind::Missing, "look up the tunnel of", said));
        };
        let path = format!("{}/{}/token", self.tunnels_path(row), held.id);
        let call = Call::read("read the key of the tunnel", &held.name, path);
        let attempt = format!("read the key of the tunnel {} of", held.name);
        let token = Secret::new(self.api.send_for::<String>(call).await?);
        self.kit.learn(&token);
        let parts = STANDARD.decode(token.expose()).ok();
        let parts = parts.and_then(|bytes| serde_json::from_slice::<Parts>(&bytes).ok());
        let Some(Parts { a, t, s }) = parts else {
            let said = "the token is not of the form that cloudflared reads";
            return Err(self.api.fault(FaultKind::Unclear, &attempt, said));
        };
        self.kit.learn(&Secret::new(&s));
        let credentials = json!({ "AccountTag": a, "TunnelID": t, "TunnelSecret": s }).to_string();
        Ok(TunnelKey { token, credentials: Secret::new(credentials) })
    }
}

/// A way as it is compared: what is empty may be left out.
fn bare(way: &Value) -> Value {
    let mut way = way.clone();
    if let Value::Object(fields) = &mut way {
        fields.retain(|_, value| *value != json!("") && *value != json!({}) && !value.is_null());
    }
    way
}

fn shown(ways: &[Value]) -> Option<String> {
    let way = |way: &Value| {
        let text = |name: &str| way[name].as_str().unwrap_or_default().to_owned();
        let host = text("hostname");
        format!("{} to {}", if host.is_empty() { "the rest" } else { &host }, text("service"))
    };
    (!ways.is_empty()).then(|| ways.iter().map(way).collect::<Vec<_>>().join(", "))
}
