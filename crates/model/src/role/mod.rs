//! What LinkFlow asks of a provider, one trait per role.

mod ci;
mod compute;
mod machines;
mod notify;
mod registry;

pub use ci::{
    Ci, CiJob, CiRepository, CiRun, CiSecret, CiState, PackageVersion, Rollout, RolloutState,
};
pub use compute::{
    Capabilities, Compute, ComputeLook, Deployment, DnsRecord, DomainState, Job, JobState, LogLine,
    PrivateImages, Progress, Seen, Usage,
};
pub use machines::{
    Machine, MachineSize, MachineState, MachineWanted, Machines, MachinesLook, Operation, Power,
    Price,
};
pub use notify::{Notice, Notify, Tone};
pub use registry::{ImageFacts, Registry};
