//! Channels to people.

pub mod embedded;
pub mod slack;

use std::sync::Arc;

use linkflow_model::ProviderName;
use linkflow_model::role::Notify;

use crate::kit::Kit;

/// The kinds that a config may name.
pub const KINDS: &[&str] = &["embedded", "slack"];

/// What one channel needs, by its kind. Every reference is already followed.
#[derive(Clone, Debug)]
pub enum Settings {
    /// For the kind `embedded`.
    Embedded(embedded::Settings),
    /// For the kind `slack`.
    Slack(slack::Settings),
}

impl Settings {
    /// The kind, as a config names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Slack(_) => "slack",
        }
    }
}

/// Opens the channel that the config calls `provider`.
pub fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Arc<dyn Notify> {
    match settings {
        Settings::Embedded(own) => Arc::new(embedded::open(own, kit, provider)),
        Settings::Slack(own) => Arc::new(slack::open(own, kit, provider)),
    }
}
