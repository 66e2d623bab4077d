//! Providers that build, check, and show what becomes of a commit.

pub mod github;

use std::sync::Arc;

use linkflow_model::ProviderName;
use linkflow_model::role::Ci;

use crate::kit::Kit;

/// The kinds that a config may name.
pub const KINDS: &[&str] = &["github"];

/// What one provider of this role needs, by its kind. Every reference is already followed.
#[derive(Clone, Debug)]
pub enum Settings {
    /// For the kind `github`.
    Github(github::Settings),
}

impl Settings {
    /// The kind, as a config names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Github(_) => "github",
        }
    }
}

/// Opens the provider that the config calls `provider`.
pub fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Arc<dyn Ci> {
    match settings {
        Settings::Github(own) => Arc::new(github::open(own, kit, provider)),
    }
}
