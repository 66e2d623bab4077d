//! One rented machine and the actions that change it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::facts;

/// A machine.
pub(super) struct Server {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) locked: bool,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) size: String,
    pub(super) location: String,
    pub(super) image: String,
    pub(super) created: String,
    pub(super) firewalls: Vec<u64>,
    pub(super) keys: Vec<String>,
    pub(super) first_boot: String,
}

impl Server {
    pub(super) fn view(&self) -> Value {
        let firewalls = self.firewalls.iter().map(|id| json!({ "id": id, "status": "applied" }));
        json!({
            "id": self.id, "name": self.name, "status": self.status, "created": self.created,
            "public_net": {
                "ipv4": { "id": self.id, "ip": "127.0.0.1", "blocked": false, "dns_ptr": "localhost" },
                "ipv6": { "id": self.id, "ip": "2001:db8::/64", "blocked": false, "dns_ptr": [] },
                "floating_ips": [], "firewalls": firewalls.collect::<Vec<_>>(),
            },
            "private_net": [], "server_type": facts::server_type(&self.size),
            "datacenter": facts::datacenter(&self.location), "location": facts::location(&self.location),
            "image": facts::image(&self.image), "iso": null, "rescue_enabled": false, "locked": self.locked,
            "backup_window": null, "outgoing_traffic": 0, "ingoing_traffic": 0,
            "included_traffic": 21_990_232_555_520_u64, "protection": { "delete": false, "rebuild": false },
            "labels": self.labels, "volumes": [], "load_balancers": [], "primary_disk_size": 40,
        })
    }
}

/// What an action does to its machine when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is there, switched off.
    Made,
    /// It boots.
    Started,
    /// It is switched off.
    Stopped,
    /// It begins anew and boots.
    Rebuilt,
    /// It has another type.
    Resized,
    /// It is gone.
    Deleted,
}

/// Something that is done to a machine.
pub(super) struct Action {
    pub(super) id: u64,
    pub(super) command: &'static str,
    pub(super) server: u64,
    pub(super) started: String,
    pub(super) finished: Option<String>,
    pub(super) error: Option<(String, String)>,
}

impl Action {
    pub(super) fn view(&self) -> Value {
        let status = match (&self.finished, &self.error) {
            (_, Some(_)) => "error",
            (Some(_), None) => "success",
            (None, None) => "running",
        };
        let error = self.error.as_ref();
        let error = error.map(|(code, message)| json!({ "code": code, "message": message }));
        json!({
            "id": self.id, "command": self.command, "status": status,
            "progress": if self.finished.is_some() { 100 } else { 0 },
            "started": self.started, "finished": self.finished, "error": error,
            "resources": [{ "id": self.server, "type": "server" }],
        })
    }
}
