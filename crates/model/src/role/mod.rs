//! What LinkFlow asks of a provider, one trait per role.

mod compute;
mod registry;

pub use compute::{Capabilities, Compute, ComputeLook, Deployment, LogLine, Progress, Seen};
pub use registry::Registry;
