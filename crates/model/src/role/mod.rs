//! What LinkFlow asks of a provider, one trait per role.

mod cdn;
mod ci;
mod compute;
mod dns;
mod errors;
mod hook;
mod machines;
mod mail;
mod notify;
mod pages;
mod registry;
mod sms;
mod vantage;
mod watcher;

pub use cdn::{
    CacheLevel, Cdn, CdnLook, Encryption, Front, FrontChange, KeepRule, RateRule, Tunnel,
    TunnelKey, TunnelWanted, Worker,
};
pub use ci::{
    Ci, CiJob, CiRepository, CiRun, CiSecret, CiState, PackageVersion, Rollout, RolloutState,
};
pub use compute::{
    Capabilities, Compute, ComputeLook, Deployment, DnsRecord, DomainState, Job, JobState, LogLine,
    PrivateImages, Progress, Seen, Usage,
};
pub use dns::{BlockedRecord, Dns, DnsLook, HeldRecord, Zone, ZoneChanges, ZoneRecord};
pub use errors::{ErrorIssue, Errors};
pub use hook::{Hook, HookCall};
pub use machines::{
    Machine, MachineSize, MachineState, MachineWanted, Machines, MachinesLook, Operation, Power,
    Price,
};
pub use mail::{Letter, Mail};
pub use notify::{Delivery, Notice, Notify, Tone};
pub use pages::{Files, Pages, Put, media_type};
pub use registry::{ImageFacts, Registry};
pub use sms::Sms;
pub use vantage::Vantage;
pub use watcher::{
    HeldWatch, Said, Schedule, Told, Watch, WatchSort, Watcher, WatcherLook, Watching, WorkStage,
};
