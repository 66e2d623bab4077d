//! What Hetzner's API says, as far as it is read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use linkflow_model::role::{Machine, MachineSize, MachineState, Price};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Meta {
    pub(super) pagination: Pagination,
}

#[derive(Deserialize)]
pub(super) struct Pagination {
    pub(super) next_page: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct Servers {
    pub(super) servers: Vec<Server>,
    pub(super) meta: Meta,
}

#[derive(Clone, Deserialize)]
pub(super) struct Server {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) locked: bool,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) server_type: ServerType,
    location: Named,
    image: Option<Image>,
    public_net: PublicNet,
}

#[derive(Clone, Deserialize)]
struct Named {
    name: String,
}

#[derive(Clone, Deserialize)]
struct Image {
    name: Option<String>,
}

#[derive(Clone, Deserialize)]
struct PublicNet {
    ipv4: Option<Address>,
    ipv6: Option<Address>,
}

#[derive(Clone, Deserialize)]
struct Address {
    ip: String,
}

impl Server {
    /// The machine in our words.
    pub(super) fn machine(&self, currency: &str) -> Machine {
        let public = &self.public_net;
        // IPv6 is given as a network, `2001:db8::/64`; its first address is the machine's.
        let v6 = public.ipv6.as_ref().and_then(|a| a.ip.split('/').next()).and_then(|network| {
            let first = network.strip_suffix("::").map(|start| format!("{start}::1"));
            first.unwrap_or_else(|| network.to_owned()).parse::<IpAddr>().ok()
        });
        let v4 = public.ipv4.as_ref().and_then(|a| a.ip.parse().ok());
        Machine {
            id: self.id.to_string(),
            name: self.name.clone(),
            state: self.state(),
            said: if self.locked {
                format!("{}, locked", self.status)
            } else {
                self.status.clone()
            },
            address: v4.or(v6),
            size: self.server_type.name.clone(),
            location: self.location.name.clone(),
            image: self.image.as_ref().and_then(|image| image.name.clone()),
            month: self.server_type.month(&self.location.name, currency),
        }
    }

    fn state(&self) -> MachineState {
        match self.status.as_str() {
            _ if self.locked => MachineState::Changing,
            "running" => MachineState::Running,
            "off" => MachineState::Off,
            "initializing" | "starting" | "stopping" | "deleting" | "rebuilding" | "migrating" => {
                MachineState::Changing
            }
            _ => MachineState::Unknown,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ServerTypes {
    pub(super) server_types: Vec<ServerType>,
    pub(super) meta: Meta,
}

#[derive(Clone, Deserialize)]
pub(super) struct ServerType {
    pub(super) name: String,
    architecture: String,
    cores: u32,
    memory: f64,
    disk: f64,
    prices: Vec<LocationPrice>,
}

#[derive(Clone, Deserialize)]
struct LocationPrice {
    location: String,
    price_monthly: Amount,
}

#[derive(Clone, Deserialize)]
struct Amount {
    net: String,
}

impl ServerType {
    fn month(&self, location: &str, currency: &str) -> Option<Price> {
        let price = self.prices.iter().find(|price| price.location == location)?;
        Some(Price { amount: price.price_monthly.net.clone(), currency: currency.to_owned() })
    }

    /// The size in our words; `None` when it cannot be had at `location`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "gigabytes of one machine, and a cast of a float never goes out of range"
    )]
    pub(super) fn size(&self, location: &str, currency: &str) -> Option<MachineSize> {
        let month = self.month(location, currency)?;
        let platform = if self.architecture == "arm" { "linux/arm64" } else { "linux/amd64" };
        Some(MachineSize {
            name: self.name.clone(),
            platform: platform.to_owned(),
            cores: self.cores,
            memory_mb: (self.memory * 1024.0) as u32,
            disk_gb: self.disk as u32,
            month: Some(month),
        })
    }
}

#[derive(Deserialize)]
pub(super) struct Created {
    pub(super) action: Action,
    #[serde(default)]
    pub(super) next_actions: Vec<Action>,
}

#[derive(Deserialize)]
pub(super) struct Acted {
    pub(super) action: Action,
}

#[derive(Clone, Deserialize)]
pub(super) struct Action {
    pub(super) id: u64,
    pub(super) command: String,
    pub(super) status: String,
    pub(super) progress: u32,
    pub(super) error: Option<ActionError>,
}

#[derive(Clone, Deserialize)]
pub(super) struct ActionError {
    pub(super) code: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct Keys {
    pub(super) ssh_keys: Vec<Key>,
    pub(super) meta: Meta,
}

#[derive(Deserialize)]
pub(super) struct KeyMade {
    pub(super) ssh_key: Key,
}

#[derive(Clone, Deserialize)]
pub(super) struct Key {
    pub(super) id: u64,
    pub(super) public_key: String,
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(super) struct Firewalls {
    pub(super) firewalls: Vec<Firewall>,
}

#[derive(Deserialize)]
pub(super) struct FirewallMade {
    pub(super) firewall: Firewall,
}

#[derive(Clone, Deserialize)]
pub(super) struct Firewall {
    pub(super) id: u64,
    pub(super) rules: Vec<Rule>,
}

/// One rule of a firewall, both ways.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Rule {
    pub(super) direction: String,
    pub(super) protocol: String,
    pub(super) port: Option<String>,
}
