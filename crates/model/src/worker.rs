//! What the worker in front of the edge is told: one JSON value, and now and then a picture of the targets.
//!
//! `worker/src/config.ts` reads the same shapes. `worker/example.json` and `worker/mistakes.json` hold both together.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{HostRoute, ProviderName, ServiceName, StackName, Timeouts};

/// The form of [`WorkerConfig`] and [`WorkerPicture`].
pub const WORKER_VERSION: u8 = 1;

/// Everything the worker needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerConfig {
    /// [`WORKER_VERSION`].
    pub version: u8,
    /// Grows with each change: when it was made, in milliseconds since 1970. Of two configs the later one counts.
    pub generation: u64,
    /// The stack: it marks requests, so that none goes round in circles.
    pub stack: StackName,
    /// Where people read how the product is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_page: Option<String>,
    /// Sizes and times.
    #[serde(default)]
    pub limits: WorkerLimits,
    /// A row for each service that it leads to; at least one.
    pub services: Vec<WorkerService>,
}

/// Sizes in bytes and times in milliseconds. What is said of the edge's limits holds for those of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerLimits {
    /// How much of a request's body is held so that it can be sent again.
    pub replay_bytes: u64,
    /// How long a repeatable request waits for an answer before another target is asked too.
    pub first_byte_ms: u64,
    /// How long it waits when there is no other target.
    pub first_byte_alone_ms: u64,
    /// How long a request waits that must not be repeated.
    pub first_byte_once_ms: u64,
    /// Requests wait at a target and none is answered for this long: it is suspected to hang, and checked.
    pub suspect_ms: u64,
    /// The same: it is not used for now.
    pub silent_ms: u64,
    /// Whether a slow GET is tried on a second target before the first one failed.
    pub hedge: bool,
    /// The largest page that is kept for when nothing answers; 0 keeps none.
    pub stale_bytes: u64,
    /// How long such a page is kept.
    pub stale_ms: u64,
    /// A picture that is older is not believed. KV may be a minute late.
    pub picture_ms: u64,
    /// Whether answers name the provider they come from.
    pub name_target: bool,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            replay_bytes: 64 << 10,
            first_byte_ms: 2_000,
            first_byte_alone_ms: 10_000,
            first_byte_once_ms: 60_000,
            suspect_ms: 600,
            silent_ms: 1_500,
            hedge: true,
            stale_bytes: 1 << 20,
            stale_ms: 86_400_000,
            picture_ms: 300_000,
            name_target: false,
        }
    }
}

/// How one service is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerService {
    /// The service.
    pub service: ServiceName,
    /// The public names that lead to it; at least one.
    pub hosts: Vec<HostRoute>,
    /// The path that is asked to see whether a silent target lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Whether a POST or PATCH with an `Idempotency-Key` may be sent again.
    #[serde(default)]
    pub idempotency_key: bool,
    /// Sizes and times of its own, in place of those of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<WorkerLimits>,
    /// Where it runs, the one to use first in front; at least one.
    pub targets: Vec<WorkerTarget>,
}

/// One placement that can take requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerTarget {
    /// Its provider.
    pub provider: ProviderName,
    /// Its base address, with a name that anybody can resolve: `https://shop.fly.dev`. No path.
    pub address: String,
}

/// What is known of the targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerPicture {
    /// [`WORKER_VERSION`].
    pub version: u8,
    /// When it was seen, in milliseconds since 1970.
    pub at: u64,
    /// What is known of each placement. What is not named is unknown.
    pub services: BTreeMap<ServiceName, BTreeMap<ProviderName, WorkerHealth>>,
}

/// How a placement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerHealth {
    /// It answers.
    Up,
    /// It does not.
    Down,
    /// Nobody knows.
    Unknown,
}

/// What routes do not say, and the worker has to know.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerSettings {
    /// The stack.
    pub stack: StackName,
    /// See [`WorkerConfig::generation`].
    pub generation: u64,
    /// Where people read how the product is.
    pub status_page: Option<String>,
    /// Services whose POST and PATCH with an `Idempotency-Key` may be sent again.
    pub idempotency_key: BTreeSet<ServiceName>,
    /// Sizes and times.
    pub limits: WorkerLimits,
}

/// Why a text is not a worker's config.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WorkerConfigError(String);

impl WorkerConfig {
    /// Reads a config and checks it as the worker does. What it does not know is left out.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(text: &str) -> Result<Self, WorkerConfigError> {
        let config: Self =
            serde_json::from_str(text).map_err(|error| WorkerConfigError(error.to_string()))?;
        match config.mistake() {
            None => Ok(config),
            Some(mistake) => Err(WorkerConfigError(mistake)),
        }
    }

    /// What the worker would refuse that the types allow.
    fn mistake(&self) -> Option<String> {
        if self.version != WORKER_VERSION {
            return Some(format!("version is not {WORKER_VERSION}"));
        }
        if self.status_page.as_ref().is_some_and(|page| rest(page).is_none()) {
            return Some("status_page is not a web address".to_owned());
        }
        if self.services.is_empty() {
            return Some("services is not a list of something".to_owned());
        }
        self.services.iter().enumerate().find_map(|(n, service)| {
            service.mistake().map(|mistake| format!("services[{n}].{mistake}"))
        })
    }
}

impl WorkerLimits {
    /// These limits for a service with time limits of its own, as the edge keeps them: where its answers may take longer,
    /// silence does too. `None` when it has none.
    pub fn of(self, timeouts: Timeouts) -> Option<Self> {
        let Timeouts { first_byte_ms, answer_ms, .. } = timeouts;
        first_byte_ms.or(answer_ms)?;
        let first_byte = first_byte_ms.unwrap_or(self.first_byte_ms);
        let usual = self.first_byte_ms.max(1);
        let scaled = |ms: u64| (ms.saturating_mul(first_byte) / usual).max(1);
        Some(Self {
            first_byte_ms: first_byte,
            suspect_ms: scaled(self.suspect_ms),
            silent_ms: scaled(self.silent_ms),
            first_byte_alone_ms: answer_ms.unwrap_or(self.first_byte_alone_ms),
            first_byte_once_ms: answer_ms.unwrap_or(self.first_byte_once_ms),
            ..self
        })
    }
}

impl WorkerService {
    fn mistake(&self) -> Option<String> {
        if self.hosts.is_empty() {
            return Some("hosts is not a list of something".to_owned());
        }
        if let Some(n) = self.hosts.iter().position(|host| !host.path.starts_with('/')) {
            return Some(format!("hosts[{n}].path is not a path"));
        }
        if self.health.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Some("health is not a path".to_owned());
        }
        if self.targets.is_empty() {
            return Some("targets is not a list of something".to_owned());
        }
        let is_base = |address: &str| {
            rest(address).is_some_and(|rest| {
                !rest.contains(['/', '?', '#', '@']) && !rest.contains(char::is_whitespace)
            })
        };
        let wrong = self.targets.iter().position(|target| !is_base(&target.address));
        wrong.map(|n| format!("targets[{n}].address is not a base address"))
    }
}

/// What stands behind the scheme of a web address.
fn rest(address: &str) -> Option<&str> {
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    rest.filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const EXAMPLE: &str = include_str!("../../../worker/example.json");
    const MISTAKES: &str = include_str!("../../../worker/mistakes.json");

    fn example() -> Value {
        serde_json::from_str(EXAMPLE).unwrap()
    }

    #[test]
    fn the_example_is_read_whole() {
        let config = WorkerConfig::parse(&example()["config"].to_string()).unwrap();
        assert_eq!(serde_json::to_value(config).unwrap(), example()["config"]);
        let picture: WorkerPicture = serde_json::from_value(example()["picture"].clone()).unwrap();
        assert_eq!(serde_json::to_value(picture).unwrap(), example()["picture"]);
    }

    #[test]
    fn each_mistake_that_the_worker_refuses_is_refused_here() {
        let rows = MISTAKES.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        for row in rows {
            let at = row["at"].as_str().unwrap();
            let mut config = example()["config"].take();
            *config.pointer_mut(&format!("/{}", at.replace('.', "/"))).unwrap() =
                row["value"].clone();
            let error = WorkerConfig::parse(&config.to_string()).unwrap_err().to_string();
            // What the types refuse is told by the reader of JSON, with line and column.
            let says = row["says"].as_str().unwrap();
            assert!(error.starts_with(says) || error.contains(" at line "), "{at}: {error}");
        }
    }
}
