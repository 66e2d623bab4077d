//! What the API answers, as far as the adapter reads it. Unknown fields and values are let through.

use linkflow_model::{Digest, PinnedImage};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Set in the definition that a service is made with when it is not to run.
pub(super) const PARKED: &str = "LINKFLOW_PARKED";

/// `null` as what is empty.
fn empty<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct App {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) status: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) domains: Vec<Domain>,
}

impl App {
    /// Whether it is gone, or going for good.
    pub(super) fn is_going(&self) -> bool {
        matches!(self.status.as_str(), "DELETING" | "DELETED")
    }

    /// The name that the vendor gave it.
    pub(super) fn own_host(&self) -> Option<&str> {
        let own = self.domains.iter().find(|domain| domain.kind == "AUTOASSIGNED");
        own.map(|domain| domain.name.as_str())
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct AppAnswer {
    pub(super) app: App,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Domain {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) status: String,
    #[serde(default, rename = "type", deserialize_with = "empty")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) app_id: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) intended_cname: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) messages: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DomainAnswer {
    pub(super) domain: Domain,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Service {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) app_id: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) status: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) active_deployment_id: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) latest_deployment_id: String,
}

impl Service {
    /// Whether it is gone, or going for good.
    pub(super) fn is_going(&self) -> bool {
        matches!(self.status.as_str(), "DELETING" | "DELETED")
    }

    pub(super) fn is_paused(&self) -> bool {
        self.status == "PAUSED"
    }

    pub(super) fn is_pausing(&self) -> bool {
        self.status == "PAUSING"
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ServiceAnswer {
    pub(super) service: Service,
}

/// One deployment. Its definition never changes.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Run {
    pub(super) id: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) status: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) messages: Vec<String>,
    /// Kept whole, because an update replaces it whole.
    #[serde(default)]
    pub(super) definition: Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct RunAnswer {
    pub(super) deployment: Run,
}

impl Run {
    /// The plain value of an environment variable.
    pub(super) fn env(&self, name: &str) -> Option<&str> {
        let entries = self.definition.get("env")?.as_array()?;
        entries.iter().find(|entry| entry["key"] == name)?.get("value")?.as_str()
    }

    /// The image that it was told to run.
    pub(super) fn digest(&self) -> Option<Digest> {
        let image = self.definition.pointer("/docker/image")?.as_str()?;
        image.parse::<PinnedImage>().ok().map(|image| image.digest)
    }

    /// How many instances it asks for.
    pub(super) fn instances(&self) -> u32 {
        let most = self.definition.pointer("/scalings/0/max").and_then(Value::as_u64);
        most.and_then(|most| u32::try_from(most).ok()).unwrap_or(1)
    }

    /// Whether the vendor asks it before it says that it is healthy.
    pub(super) fn is_checked(&self) -> bool {
        let checks = self.definition.get("health_checks").and_then(Value::as_array);
        checks.is_some_and(|checks| !checks.is_empty())
    }

    pub(super) fn is_under_way(&self) -> bool {
        UNDER_WAY.contains(&self.status.as_str())
    }

    /// Whether it serves or will, with nothing more done.
    pub(super) fn goes_on(&self) -> bool {
        self.is_under_way() || matches!(self.status.as_str(), "HEALTHY" | "DEGRADED" | "SLEEPING")
    }

    /// Whether its status is its last.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "CANCELED" | "STOPPED" | "ERROR")
    }

    /// Whether it was written without being rolled out.
    pub(super) fn is_stored(&self) -> bool {
        self.status == "STASHED"
    }

    /// Its status and what is said of it.
    pub(super) fn said(&self) -> String {
        match self.messages.last() {
            Some(message) => format!("{}: {message}", self.status),
            None => self.status.clone(),
        }
    }
}

/// The statuses of a deployment that is on its way to serving.
const UNDER_WAY: &[&str] = &["PENDING", "PROVISIONING", "SCHEDULED", "ALLOCATING", "STARTING"];

/// The statuses of deployments that may have an instance, or will.
pub(super) const LIVE: &[&str] = &[
    "PENDING",
    "PROVISIONING",
    "SCHEDULED",
    "ALLOCATING",
    "STARTING",
    "HEALTHY",
    "DEGRADED",
    "UNHEALTHY",
    "SLEEPING",
];

/// The statuses of instances whose process may run.
pub(super) const LIVING: &[&str] = &["ALLOCATING", "STARTING", "HEALTHY", "UNHEALTHY", "STOPPING"];

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Instance {
    #[serde(default, deserialize_with = "empty")]
    pub(super) service_id: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) status: String,
    #[serde(default, rename = "type", deserialize_with = "empty")]
    pub(super) kind: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct SecretItem {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Verified {
    #[serde(default)]
    pub(super) success: bool,
    #[serde(default, deserialize_with = "empty")]
    pub(super) reason: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) code: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct LogPage {
    #[serde(default, deserialize_with = "empty")]
    pub(super) data: Vec<LogRow>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LogRow {
    #[serde(default, deserialize_with = "empty")]
    pub(super) msg: String,
    #[serde(default, deserialize_with = "empty")]
    pub(super) created_at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct OrganizationAnswer {
    pub(super) organization: Organization,
}

#[derive(Debug, Deserialize)]
pub(super) struct Organization {
    pub(super) id: String,
}
