//! Renting machines.

use std::net::IpAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Progress;
use crate::{Fault, ProviderName, Secret};

/// A machine as it ought to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineWanted {
    /// Its name, which is a DNS label and unique in the account.
    pub name: String,
    /// Its type in the vendor's word: `cx23`.
    pub size: String,
    /// Where it stands: `nbg1`.
    pub location: String,
    /// The operating system in the vendor's word: `debian-13`.
    pub image: String,
    /// What it does at its first boot, as cloud-init reads it. It holds the machine's own host key.
    pub first_boot: Secret,
    /// The public key that may log in, in OpenSSH's form.
    pub login_key: String,
    /// TCP ports that anybody may reach, first and last of each range. All others are shut at the vendor's firewall.
    pub open_ports: Vec<(u16, u16)>,
}

/// How a machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// It is being made, started, stopped, rebuilt or changed.
    Changing,
    /// It is switched on. What runs in it is another question.
    Running,
    /// It is switched off. It costs money all the same.
    Off,
    /// The vendor says something nobody knows.
    Unknown,
}

/// A machine, as its vendor tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The vendor's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: MachineState,
    /// The vendor's own word for that.
    pub said: String,
    /// Its public address, IPv4 when it has one.
    pub address: Option<IpAddr>,
    /// Its type.
    pub size: String,
    /// Where it stands.
    pub location: String,
    /// Its operating system, when the vendor still has that image.
    pub image: Option<String>,
    /// What it costs in a month, before tax.
    pub month: Option<Price>,
}

/// A type of machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineSize {
    /// Its name: `cx23`.
    pub name: String,
    /// `linux/amd64` or `linux/arm64`.
    pub platform: String,
    /// Cores.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Disk in GB.
    pub disk_gb: u32,
    /// What it costs in a month there, before tax.
    pub month: Option<Price>,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// As the vendor writes it: `3.4900000000`.
    pub amount: String,
    /// `EUR`.
    pub currency: String,
}

/// What a machine's power switch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Switches it on.
    On,
    /// Asks it to shut down; what it runs may end in peace.
    Shutdown,
    /// Cuts its power.
    Cut,
    /// Cuts its power and switches it on again.
    Reset,
}

/// An operation under way, in a form that only its adapter reads. Empty when there was nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The vendor's ids.
    pub id: String,
}

/// The reading half of [`Machines`].
#[async_trait]
pub trait MachinesLook: Send + Sync {
    /// Its name in the config, which its faults carry.
    fn name(&self) -> &ProviderName;

    /// Every machine of this stack, found by its marker. What is not ours is not listed.
    async fn machines(&self) -> Result<Vec<Machine>, Fault>;

    /// Every type of machine that can be had at `location`, cheapest first.
    async fn sizes(&self, location: &str) -> Result<Vec<MachineSize>, Fault>;

    /// How an operation goes.
    async fn operation(&self, operation: &Operation) -> Result<Progress, Fault>;
}

/// Rents machines.
///
/// Each writing call reads, compares, and writes only the difference, so that a repeat makes nothing twice; nothing
/// without this stack's marker is ever changed or deleted.
#[async_trait]
pub trait Machines: MachinesLook {
    /// Has `wanted`, made when there is none of that name. What is there keeps its size, place and content.
    async fn create(&self, wanted: &MachineWanted) -> Result<Operation, Fault>;

    /// Has the machine of that name begin anew from `wanted.image`. **All that is on it is lost.** Its address stays.
    async fn rebuild(&self, wanted: &MachineWanted) -> Result<Operation, Fault>;

    /// Gives the machine another type; its disk stays as it is, so that it can be made smaller again. It must be off:
    /// [`crate::FaultKind::Conflict`] otherwise.
    async fn resize(&self, name: &str, size: &str) -> Result<Operation, Fault>;

    /// Works the power switch.
    async fn power(&self, name: &str, power: Power) -> Result<Operation, Fault>;

    /// Gives the machine up. Asked again once that has ended, it also takes away what was made around the last one. What
    /// is already gone is fine.
    async fn delete(&self, name: &str) -> Result<Operation, Fault>;
}
