//! What the API answers, as far as the adapter reads it. Unknown fields and values are let through.

use linkflow_model::Digest;
use serde::Deserialize;

/// Marks a service with the deploy that was the newest when something was last written.
pub(super) const BEFORE: &str = "LINKFLOW_BEFORE";

/// Who suspends a service whose process ends again and again.
pub(super) const CRASHLOOP: &str = "stuck_crashlooping";

#[derive(Debug, Deserialize)]
pub(super) struct ServiceRow {
    pub(super) service: Service,
    #[serde(default)]
    pub(super) cursor: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Service {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) slug: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) auto_deploy: String,
    /// The image that a deploy takes which names no other.
    pub(super) image_path: Option<String>,
    pub(super) registry_credential: Option<Named>,
    pub(super) suspended: String,
    /// Who suspended it: `user`, `billing`, `stuck_crashlooping`, …
    pub(super) suspenders: Vec<String>,
    pub(super) updated_at: String,
    pub(super) service_details: Details,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Named {
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Details {
    pub(super) url: Option<String>,
    pub(super) plan: Option<String>,
    pub(super) num_instances: Option<u32>,
    pub(super) health_check_path: Option<String>,
    pub(super) env_specific_details: Option<Own>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Own {
    pub(super) docker_command: Option<String>,
}

impl Service {
    pub(super) fn is_suspended(&self) -> bool {
        self.suspended == "suspended"
    }

    /// Who else than a person suspended it.
    pub(super) fn suspended_by_render(&self) -> Option<&str> {
        self.suspenders.iter().map(String::as_str).find(|who| *who != "user")
    }

    pub(super) fn instances(&self) -> u32 {
        self.service_details.num_instances.unwrap_or(1)
    }

    pub(super) fn is_web(&self) -> bool {
        self.kind == "web_service"
    }

    pub(super) fn is_free(&self) -> bool {
        self.service_details.plan.as_deref() == Some("free")
    }

    /// Its command, empty when it is the image's own.
    pub(super) fn command(&self) -> &str {
        let own = self.service_details.env_specific_details.as_ref();
        own.and_then(|own| own.docker_command.as_deref()).unwrap_or_default()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created {
    pub(super) service: Service,
    #[serde(default)]
    pub(super) deploy_id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DeployRow {
    pub(super) deploy: Deploy,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Deploy {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) image: Option<DeployImage>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeployImage {
    /// What was asked for.
    #[serde(rename = "ref")]
    pub(super) reference: String,
    /// What that was resolved to.
    pub(super) sha: Option<String>,
}

impl Deploy {
    pub(super) fn is_live(&self) -> bool {
        self.status == "live"
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(
            self.status.as_str(),
            "created"
                | "queued"
                | "build_in_progress"
                | "pre_deploy_in_progress"
                | "update_in_progress"
        )
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(
            self.status.as_str(),
            "build_failed" | "pre_deploy_failed" | "update_failed" | "canceled"
        )
    }

    /// What it runs: as the vendor resolved it, or else as it was asked for.
    pub(super) fn digest(&self) -> Option<Digest> {
        let image = self.image.as_ref()?;
        let resolved = image.sha.as_deref().filter(|sha| !sha.is_empty()).and_then(|sha| {
            let whole = if sha.contains(':') { sha.to_owned() } else { format!("sha256:{sha}") };
            whole.parse().ok()
        });
        resolved.or_else(|| digest_of(&image.reference))
    }
}

/// The digest at the end of `repository@sha256:…`.
pub(super) fn digest_of(reference: &str) -> Option<Digest> {
    reference.rsplit_once('@')?.1.parse().ok()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnvRow {
    pub(super) env_var: EnvVar,
    #[serde(default)]
    pub(super) cursor: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct EnvVar {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Instance {
    #[serde(rename = "id")]
    pub(super) _id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventRow {
    pub(super) event: Event,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) details: EventDetails,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EventDetails {
    pub(super) deploy_id: Option<String>,
    pub(super) message: Option<String>,
    pub(super) reason: Option<Reason>,
}

/// Why a deploy or an instance failed. A deploy has it one level deeper.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Reason {
    pub(super) failure: Option<Box<Self>>,
    pub(super) non_zero_exit: Option<i64>,
    pub(super) early_exit: Option<bool>,
    pub(super) oom_killed: Option<serde::de::IgnoredAny>,
    pub(super) timed_out_seconds: Option<i64>,
    pub(super) unhealthy: Option<String>,
}

impl Reason {
    /// In words, when it says something.
    pub(super) fn text(&self) -> Option<String> {
        if let Some(inner) = &self.failure {
            return inner.text();
        }
        if self.oom_killed.is_some() {
            return Some("it ran out of memory".to_owned());
        }
        if let Some(code) = self.non_zero_exit {
            return Some(format!("its process ended with exit code {code}"));
        }
        if let Some(why) = self.unhealthy.as_deref().filter(|why| !why.is_empty()) {
            return Some(format!("its health check failed: {why}"));
        }
        if let Some(seconds) = self.timed_out_seconds {
            return Some(format!("it was not up within {seconds} s"));
        }
        (self.early_exit == Some(true)).then(|| "its process ended by itself".to_owned())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogPage {
    #[serde(default)]
    pub(super) has_more: bool,
    #[serde(default)]
    pub(super) next_start_time: String,
    #[serde(default)]
    pub(super) next_end_time: String,
    #[serde(default)]
    pub(super) logs: Vec<LogRow>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LogRow {
    #[serde(default)]
    pub(super) timestamp: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct OwnerRow {
    pub(super) owner: Owner,
}

#[derive(Debug, Deserialize)]
pub(super) struct Owner {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Credential {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct JobRow {
    pub(super) job: OneOff,
}

#[derive(Debug, Deserialize)]
pub(super) struct OneOff {
    pub(super) id: String,
    /// Missing until it is pending.
    #[serde(default)]
    pub(super) status: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CustomDomain {
    pub(super) name: String,
    #[serde(default)]
    pub(super) domain_type: String,
    #[serde(default)]
    pub(super) verification_status: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Series {
    #[serde(default)]
    pub(super) values: Vec<Point>,
    #[serde(default)]
    pub(super) unit: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Point {
    #[serde(default)]
    pub(super) value: f64,
}
