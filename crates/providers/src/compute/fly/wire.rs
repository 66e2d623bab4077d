//! What the Machines API answers, as far as the adapter reads it. Unknown fields and values are let through.

use linkflow_model::{Digest, PinnedImage};
use serde::Deserialize;
use serde_json::Value;

/// Marks a machine with its stack.
pub(super) const STACK: &str = "linkflow_stack";
/// Marks a machine with its service.
pub(super) const SERVICE: &str = "linkflow_service";
/// The release that a machine was configured for.
pub(super) const RELEASE: &str = "linkflow_release";
/// The fingerprint that a machine was configured with.
pub(super) const FINGERPRINT: &str = "linkflow_fingerprint";
/// Which of the wanted machines this one was made as, to find it after a lost answer.
pub(super) const LAUNCH: &str = "linkflow_launch";
/// The job that a machine was made for, and nothing else.
pub(super) const JOB: &str = "linkflow_job";
/// Set while a machine is meant to be stopped.
pub(super) const PARKED: &str = "linkflow_parked";

#[derive(Debug, Deserialize)]
pub(super) struct Apps {
    #[serde(default)]
    pub(super) apps: Vec<App>,
}

#[derive(Debug, Deserialize)]
pub(super) struct App {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) organization: Option<Organization>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Organization {
    #[serde(default)]
    pub(super) slug: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Machine {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) state: String,
    /// Changes with each update.
    #[serde(default)]
    pub(super) instance_id: String,
    /// Kept whole, because an update replaces it whole.
    #[serde(default)]
    pub(super) config: Value,
    /// In place of `config` while the host cannot be reached.
    #[serde(default)]
    pub(super) incomplete_config: Value,
    #[serde(default)]
    pub(super) image_ref: Option<ImageRef>,
    #[serde(default)]
    pub(super) checks: Option<Vec<Check>>,
    #[serde(default)]
    pub(super) events: Option<Vec<Event>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ImageRef {
    #[serde(default)]
    pub(super) digest: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Check {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) status: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Event {
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) source: String,
    /// Milliseconds of the vendor's clock.
    #[serde(default)]
    pub(super) timestamp: u64,
    #[serde(default)]
    pub(super) request: Option<EventRequest>,
}

impl Event {
    pub(super) fn exit(&self) -> Option<&Exit> {
        self.request.as_ref()?.exit_event.as_ref()
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct EventRequest {
    #[serde(default)]
    pub(super) exit_event: Option<Exit>,
}

/// How a process ended. Fields that are false or 0 are left out by the vendor.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Exit {
    #[serde(default)]
    pub(super) exit_code: i64,
    #[serde(default)]
    pub(super) signal: i64,
    #[serde(default)]
    pub(super) oom_killed: bool,
    #[serde(default)]
    pub(super) requested_stop: bool,
}

/// A lease; the real API wraps it in `data`, the published description does not.
#[derive(Debug, Deserialize)]
pub(super) struct LeaseAnswer {
    #[serde(default)]
    data: Option<Lease>,
    #[serde(default)]
    nonce: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Lease {
    #[serde(default)]
    nonce: Option<String>,
}

impl LeaseAnswer {
    pub(super) fn nonce(self) -> Option<String> {
        self.nonce.or_else(|| self.data.and_then(|lease| lease.nonce))
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct SecretList {
    #[serde(default)]
    pub(super) secrets: Option<Vec<SecretName>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SecretName {
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct SecretsWritten {
    #[serde(default)]
    pub(super) version: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Addresses {
    #[serde(default)]
    pub(super) ips: Option<Vec<Value>>,
}

/// The newest lines, oldest first. The token for the next page leads on to newer ones only.
#[derive(Debug, Deserialize)]
pub(super) struct LogPage {
    #[serde(default)]
    pub(super) data: Vec<LogRecord>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LogRecord {
    pub(super) attributes: LogAttributes,
}

#[derive(Debug, Deserialize)]
pub(super) struct LogAttributes {
    #[serde(default)]
    pub(super) timestamp: String,
    #[serde(default)]
    pub(super) message: String,
}

/// What a machine's state word means (docs: machines/machine-states).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// Its process runs.
    Runs,
    /// It is on its way to running.
    Coming,
    /// It is on its way to being stopped; its process may still run.
    Ending,
    /// Its process does not run, and nothing starts it by itself.
    Halted,
    /// It is gone, or going for good.
    Gone,
    /// A word nobody knows.
    Odd,
}

impl Machine {
    pub(super) fn run(&self) -> Run {
        match self.state.as_str() {
            "started" => Run::Runs,
            "created" | "starting" | "replacing" | "restarting" | "updating" | "launching" => {
                // A machine that was made without being launched may stay "created".
                if self.state == "created" && self.is_parked() { Run::Halted } else { Run::Coming }
            }
            "stopping" | "suspending" => Run::Ending,
            "stopped" | "suspended" | "failed" => Run::Halted,
            "destroying" | "destroyed" | "replaced" | "migrated" => Run::Gone,
            _ => Run::Odd,
        }
    }

    /// One of its metadata.
    pub(super) fn meta(&self, name: &str) -> Option<&str> {
        [&self.config, &self.incomplete_config]
            .into_iter()
            .find_map(|config| config.get("metadata")?.get(name)?.as_str())
    }

    /// The release in its metadata, as a number.
    pub(super) fn release(&self) -> Option<linkflow_model::ReleaseId> {
        self.meta(RELEASE)?.parse().ok()
    }

    /// What runs: as the vendor resolved it, or else as it was asked for.
    pub(super) fn digest(&self) -> Option<Digest> {
        let resolved = self.image_ref.as_ref().and_then(|image| image.digest.as_deref());
        let asked = || self.config.get("image")?.as_str()?.parse::<PinnedImage>().ok();
        match resolved.and_then(|text| text.parse().ok()) {
            Some(digest) => Some(digest),
            None => asked().map(|image| image.digest),
        }
    }

    /// Whether its image is in Fly's own registry.
    pub(super) fn has_own_copy(&self) -> bool {
        let image = self.config.get("image").and_then(Value::as_str);
        image.is_some_and(|image| image.starts_with(super::image::HOST))
    }

    fn is_parked(&self) -> bool {
        self.meta(PARKED) == Some("yes")
    }

    /// Whether somebody meant it to be stopped: it is marked so, or its last end was asked for.
    pub(super) fn is_meant_to_rest(&self) -> bool {
        self.run() == Run::Halted && self.state != "failed" && (self.is_parked() || self.death().is_none())
    }

    /// How its process died since it was last configured, started or stopped by request.
    pub(super) fn death(&self) -> Option<&Exit> {
        let mut events: Vec<&Event> = self.events.iter().flatten().collect();
        events.sort_by_key(|event| std::cmp::Reverse(event.timestamp));
        let mut events = events.into_iter();
        let died = loop {
            let event = events.next()?;
            match (event.kind.as_str(), event.exit()) {
                (_, Some(exit)) if exit.requested_stop => return None,
                (_, Some(exit)) => break exit,
                ("launch" | "update", None) => return None,
                ("start" | "stop" | "suspend" | "restart", None) if event.source == "user" => return None,
                _ => {}
            }
        };
        // An end that no start came before is the end of what ran before the update.
        let before = events.find(|event| matches!(event.kind.as_str(), "launch" | "update" | "start"));
        before.is_none_or(|event| event.kind == "start").then_some(died)
    }

    /// How its process ended last.
    pub(super) fn last_exit(&self) -> Option<&Exit> {
        let ended = self.events.iter().flatten().filter(|event| event.exit().is_some());
        ended.max_by_key(|event| event.timestamp)?.exit()
    }

    /// Whether somebody stopped it.
    pub(super) fn was_told_to_stop(&self) -> bool {
        self.events.iter().flatten().any(|event| event.kind == "stop" && event.source == "user")
    }

    /// A text that changes whenever its process was started anew.
    pub(super) fn incarnation(&self) -> String {
        let newest = self.events.iter().flatten().filter(|event| event.kind == "exit");
        let ended = newest.map(|event| event.timestamp).max().unwrap_or(0);
        format!("{} {} {ended}", self.id, self.instance_id)
    }

    /// Its first check that does not pass.
    pub(super) fn failing_check(&self) -> Option<&Check> {
        self.checks.iter().flatten().find(|check| check.status != "passing")
    }

    /// Whether it has health checks at all.
    pub(super) fn is_checked(&self) -> bool {
        let has = |field: &str| {
            let own = self.config.get(field);
            own.and_then(Value::as_object).is_some_and(|checks| !checks.is_empty())
        };
        let services = self.config.get("services").and_then(Value::as_array);
        let in_service = |service: &Value| {
            service.get("checks").and_then(Value::as_array).is_some_and(|checks| !checks.is_empty())
        };
        has("checks") || services.is_some_and(|services| services.iter().any(in_service))
    }

}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.oom_killed {
            return f.write_str("its process ran out of memory");
        }
        if self.signal > 0 {
            return write!(f, "its process was killed by signal {}", self.signal);
        }
        write!(f, "its process ended with exit code {}", self.exit_code)
    }
}
