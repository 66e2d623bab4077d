//! What stands around machines: SSH keys and firewalls.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A key that may log in to new machines.
pub(super) struct Key {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) public: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) created: String,
}

impl Key {
    pub(super) fn view(&self) -> Value {
        // The real one is the MD5 of the key; nobody here compares it.
        let fingerprint = format!("{:02x}:{:02x}", self.id % 256, self.public.len() % 256);
        json!({
            "id": self.id, "name": self.name, "fingerprint": fingerprint, "public_key": self.public,
            "labels": self.labels, "created": self.created,
        })
    }

    /// Whether it is the same key, whatever the comment.
    pub(super) fn is(&self, public: &str) -> bool {
        let bare = |key: &str| key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        bare(&self.public) == bare(public)
    }
}

/// A firewall.
pub(super) struct Firewall {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) created: String,
    pub(super) rules: Vec<Value>,
}

impl Firewall {
    pub(super) fn view(&self, on: &[u64]) -> Value {
        let on = on.iter().map(|id| json!({ "type": "server", "server": { "id": id } }));
        json!({
            "id": self.id, "name": self.name, "labels": self.labels, "created": self.created, "rules": self.rules,
            "applied_to": on.collect::<Vec<_>>(),
        })
    }
}

/// The rules of a request as they are shown; or what is wrong with them.
pub(super) fn rules(asked: Option<&Value>) -> Result<Vec<Value>, String> {
    let none = Vec::new();
    let asked = asked.and_then(Value::as_array).unwrap_or(&none);
    if asked.len() > 50 {
        return Err("a firewall has 50 rules at most".to_owned());
    }
    asked.iter().map(rule).collect()
}

fn rule(asked: &Value) -> Result<Value, String> {
    let text = |name: &str| asked.get(name).and_then(Value::as_str);
    let (direction, protocol) = (text("direction"), text("protocol"));
    let port = text("port");
    let has_port = matches!(protocol, Some("tcp" | "udp"));
    if has_port != port.is_some() {
        return Err("rules for tcp and udp have a port, others have none".to_owned());
    }
    let sources = asked.get("source_ips").and_then(Value::as_array).cloned().unwrap_or_default();
    match (direction, protocol) {
        (Some("in"), Some(protocol)) if !sources.is_empty() => Ok(json!({
            "direction": "in", "protocol": protocol, "port": port, "source_ips": sources,
            "destination_ips": [], "description": text("description"),
        })),
        _ => Err("a rule has a direction, a protocol and source_ips".to_owned()),
    }
}
