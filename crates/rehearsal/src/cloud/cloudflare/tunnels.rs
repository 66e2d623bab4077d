//! Tunnels: made, named, told where host names lead, and given a token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Cloudflare, Refused, no_route, object, ok, refusal};
use crate::cloud::answer::{Answer, Call};

/// A tunnel.
pub(super) struct Tunnel {
    id: String,
    name: String,
    made: String,
    secret: String,
    config: Value,
    version: u64,
}

impl Tunnel {
    pub(super) fn view(&self, account: &str) -> Value {
        json!({
            "id": self.id,
            "account_tag": account,
            "name": self.name,
            "created_at": self.made,
            "connections": [],
            "status": "inactive",
            "tun_type": "cfd_tunnel",
            "remote_config": true,
            "metadata": {},
        })
    }
}

impl Cloudflare {
    pub(super) fn of_tunnels(&self, call: &Call, rest: &[&str]) -> Result<Answer, Refused> {
        let mut state = self.state();
        let tunnels = &mut state.tunnels;
        let missing = || refusal(404, 1_003, "Tunnel not found");
        let place = |tunnels: &[Tunnel], id: &str| {
            tunnels.iter().position(|tunnel| tunnel.id == id).ok_or_else(missing)
        };
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                let fits = |t: &&Tunnel| call.parameter("name").is_none_or(|name| name == t.name);
                let rows = tunnels.iter().filter(fits).map(|t| t.view(&self.account));
                Ok(ok(&rows.collect()))
            }
            ("POST", []) => {
                let body = object(call)?;
                let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                if tunnels.iter().any(|held| held.name == name) {
                    let message = "You already have a tunnel with this name. Please try again with a different name.";
                    return Err(refusal(409, 1_013, message));
                }
                let secret = STANDARD.encode(self.ground.dice.hex(32));
                let (id, made) = (self.ground.dice.uuid(), self.written_now());
                let tunnel = Tunnel { id, name, made, secret, config: Value::Null, version: 0 };
                let view = tunnel.view(&self.account);
                tunnels.push(tunnel);
                Ok(ok(&view))
            }
            ("GET", [id]) => Ok(ok(&tunnels[place(tunnels, id)?].view(&self.account))),
            ("DELETE", [id]) => {
                let at = place(tunnels, id)?;
                Ok(ok(&tunnels.remove(at).view(&self.account)))
            }
            ("GET", [id, "token"]) => {
                let tunnel = &tunnels[place(tunnels, id)?];
                let parts = json!({ "a": self.account, "t": tunnel.id, "s": tunnel.secret });
                Ok(ok(&STANDARD.encode(parts.to_string()).into()))
            }
            ("GET", [id, "configurations"]) => {
                let tunnel = &tunnels[place(tunnels, id)?];
                Ok(ok(
                    &json!({ "tunnel_id": tunnel.id, "version": tunnel.version, "config": tunnel.config }),
                ))
            }
            ("PUT", [id, "configurations"]) => {
                let mut config = object(call)?.remove("config").unwrap_or(Value::Null);
                let last = config["ingress"].as_array().and_then(|ways| ways.last());
                let is_rest = |way: &Value| way["hostname"].as_str().unwrap_or_default().is_empty();
                if !last.is_some_and(is_rest) {
                    let message = "The last ingress rule must match all URLs";
                    return Err(refusal(400, 1_056, message));
                }
                // What is empty is not told again.
                for way in config["ingress"].as_array_mut().into_iter().flatten() {
                    if let Value::Object(way) = way {
                        way.retain(|_, value| *value != json!(""));
                    }
                }
                let at = place(tunnels, id)?;
                let tunnel = &mut tunnels[at];
                tunnel.config = config;
                tunnel.version += 1;
                Ok(ok(
                    &json!({ "tunnel_id": tunnel.id, "version": tunnel.version, "config": tunnel.config }),
                ))
            }
            _ => Err(no_route()),
        }
    }
}
