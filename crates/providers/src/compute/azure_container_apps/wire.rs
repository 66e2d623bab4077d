//! What the resource manager answers, as far as the adapter reads it. Unknown fields and words are let through.

use std::collections::BTreeMap;

use linkflow_model::{Digest, Fingerprint, PinnedImage, ReleaseId};
use serde::Deserialize;
use serde_json::Value;

/// Tag with the stack that a resource belongs to.
pub(super) const STACK: &str = "linkflow-stack";
/// Tag with the service of a container app or a certificate.
pub(super) const SERVICE: &str = "linkflow-service";
/// Tag with the id of a job.
pub(super) const JOB: &str = "linkflow-job";

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    #[serde(default = "Vec::new")]
    pub(super) value: Vec<T>,
    #[serde(default, rename = "nextLink")]
    pub(super) next: Option<String>,
}

/// Any resource. Its properties are kept whole, because arrays in them are written back whole.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Resource {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) location: String,
    #[serde(default)]
    pub(super) tags: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) properties: Value,
}

impl Resource {
    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        self.tags.as_ref()?.get(name).map(String::as_str)
    }

    /// A text among its properties, by JSON pointer. Empty when there is none.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.properties.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn list(&self, pointer: &str) -> &[Value] {
        self.properties.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Whether an operation on it is under way, so that another one would be refused.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.text("/provisioningState"), "Succeeded" | "Failed" | "Canceled" | "")
    }

    pub(super) fn is_going(&self) -> bool {
        matches!(self.text("/provisioningState"), "Deleting" | "ScheduledForDelete")
    }

    /// Whether its last operation went wrong.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.text("/provisioningState"), "Failed" | "Canceled")
    }

    /// Whether the app as a whole was stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.text("/runningStatus") == "Stopped"
    }

    /// The name of the revision that its template asks for.
    pub(super) fn wanted_revision(&self) -> String {
        match self.text("/template/revisionSuffix") {
            "" => self.text("/latestRevisionName").to_owned(),
            suffix => format!("{}--{suffix}", self.name),
        }
    }

    pub(super) fn template(&self) -> Template<'_> {
        Template(self.properties.get("template").unwrap_or(&Value::Null))
    }
}

/// What an app or a revision of it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template<'a>(&'a Value);

impl<'a> Template<'a> {
    /// The container that is ours: the one with our marker, or else the first.
    pub(super) fn container(self) -> Option<&'a Value> {
        let all = self.0.get("containers")?.as_array()?;
        let marked = |container: &&Value| env(container, "LINKFLOW_SERVICE").is_some();
        all.iter().find(marked).or_else(|| all.first())
    }

    pub(super) fn digest(self) -> Option<Digest> {
        let image = self.container()?.get("image")?.as_str()?;
        image.parse::<PinnedImage>().ok().map(|image| image.digest)
    }

    pub(super) fn fingerprint(self) -> Option<Fingerprint> {
        env(self.container()?, "LINKFLOW_FINGERPRINT").map(|text| Fingerprint(text.to_owned()))
    }

    pub(super) fn release(self) -> Option<ReleaseId> {
        env(self.container()?, "LINKFLOW_RELEASE")?.parse().ok()
    }

    pub(super) fn least_replicas(self) -> u32 {
        let least = self.0.pointer("/scale/minReplicas").and_then(Value::as_u64);
        least.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    }

    /// The names of the secrets that it refers to.
    pub(super) fn secret_names(self) -> Vec<&'a str> {
        let env = self.container().and_then(|c| c.get("env")).and_then(Value::as_array);
        env.into_iter().flatten().filter_map(|entry| entry.get("secretRef")?.as_str()).collect()
    }
}

fn env<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    let all = container.get("env")?.as_array()?;
    all.iter().find(|entry| entry["name"] == name)?.get("value")?.as_str()
}

/// What a revision says of itself. The vendor has more words than its description: `RunningAtMaxScale`,
/// `ActivationFailed`, `ScaledToZero`.
impl Resource {
    pub(super) fn replicas(&self) -> u32 {
        let count = self.properties.get("replicas").and_then(Value::as_u64);
        count.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    }

    pub(super) fn runs(&self) -> bool {
        self.text("/runningState").starts_with("Running")
    }

    pub(super) fn gave_up(&self) -> bool {
        self.text("/runningState").ends_with("Failed")
            || self.text("/provisioningState").ends_with("Failed")
    }

    /// Both of its words.
    pub(super) fn said(&self) -> String {
        let words = [self.text("/runningState"), self.text("/healthState")];
        words
            .into_iter()
            .filter(|word| !matches!(*word, "" | "None"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// One container of a replica.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ReplicaContainer {
    pub(super) ready: Option<bool>,
    pub(super) restart_count: Option<u32>,
    pub(super) running_state: Option<String>,
    pub(super) running_state_details: Option<String>,
    pub(super) log_stream_endpoint: Option<String>,
}

impl ReplicaContainer {
    /// How its process ended, where it did and no other has become ready since.
    pub(super) fn death(&self) -> Option<String> {
        let state = self.running_state.as_deref().unwrap_or_default();
        let again = self.restart_count.is_some_and(|count| count > 0);
        let died = state == "Terminated" || again;
        if !died || self.ready == Some(true) {
            return None;
        }
        let details = self.running_state_details.as_deref().filter(|text| !text.is_empty());
        Some(details.unwrap_or(state).to_owned())
    }
}

/// A replica.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Replica {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) properties: ReplicaProperties,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ReplicaProperties {
    #[serde(default)]
    pub(super) containers: Option<Vec<ReplicaContainer>>,
}

impl Replica {
    pub(super) fn containers(&self) -> &[ReplicaContainer] {
        self.properties.containers.as_deref().unwrap_or_default()
    }

    /// A text that changes whenever one of its processes was started anew.
    pub(super) fn incarnation(&self) -> String {
        let counts: Vec<String> =
            self.containers().iter().map(|c| c.restart_count.unwrap_or(0).to_string()).collect();
        format!("{} {}", self.name, counts.join(" "))
    }
}

/// A secret with its value, as `listSecrets` tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HeldSecret {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) key_vault_url: Option<String>,
    pub(super) identity: Option<String>,
}

/// How much of a quota is used.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Quota {
    pub(super) name: QuotaName,
    pub(super) current_value: f64,
    #[serde(default)]
    pub(super) limit: Option<f64>,
    #[serde(default)]
    pub(super) unit: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct QuotaName {
    #[serde(default)]
    pub(super) value: String,
}
