//! What happened, in the words an operator would use.

use serde::{Deserialize, Serialize};

use crate::{ProviderName, ReleaseId, ServiceName, Timestamp};

/// Something worth telling: the timeline, the alerts, the status page and the audit log all read these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// What sort of thing.
    pub kind: EventKind,
    /// How much it matters.
    pub level: Level,
    /// The service it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The provider it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// The release it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// The run of a plan that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// One sentence for people, without secrets.
    pub message: String,
}

/// The sorts of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A placement, or something else that is watched, began to answer.
    Up,
    /// A placement, or something else that is watched, stopped answering.
    Down,
    /// Something that is watched answers too slowly, or not to everybody.
    Degraded,
    /// Something that is watched cannot be seen: our own network was gone.
    Unseen,
    /// Something that is watched changes so often that its changes are not told, or does so no more.
    Flapping,
    /// The edge stopped using a target.
    Ejected,
    /// The edge uses a target again.
    Readmitted,
    /// A service was moved because its placement failed.
    Failover,
    /// A service was moved back to a more preferred provider.
    Failback,
    /// Something ought to be done and waits, because it would not be safe.
    Held,
    /// A plan began to be carried out.
    RunStarted,
    /// A step was carried out.
    StepDone,
    /// A step did not work.
    StepFailed,
    /// A plan was carried out.
    RunEnded,
    /// A run that was cut off was taken up again.
    Resumed,
    /// A release became the live one.
    ReleaseLive,
    /// A release did not pass its gate.
    ReleaseFailed,
    /// An earlier release was put back.
    RolledBack,
    /// A hook ran.
    Hook,
    /// People were told, or could not be.
    Notice,
    /// A provider's API stopped or began to answer.
    Api,
    /// An incident was opened, went on or ended, or work was announced or called off.
    Incident,
    /// The status page was put somewhere, or could not be.
    Page,
    /// A certificate of the edge was got, read again, refused, or ends soon.
    Certificate,
    /// A domain's registration ends soon.
    Domain,
    /// A fault was injected or lifted in a rehearsal.
    Fault,
    /// LinkFlow itself started, stopped, took or lost its lease.
    Control,
    /// A sort that this version does not know: a newer LinkFlow shares the store.
    #[serde(other)]
    Unknown,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For the record.
    Info,
    /// Worth reading.
    Notice,
    /// Something is wrong and handled.
    Warning,
    /// Somebody is needed.
    Alarm,
}

impl Event {
    /// An event with nothing but its time, kind, level and message.
    pub fn new(at: Timestamp, kind: EventKind, level: Level, message: impl Into<String>) -> Self {
        Self {
            at,
            kind,
            level,
            service: None,
            provider: None,
            release: None,
            run: None,
            message: message.into(),
        }
    }

    /// The same event, about `service` on `provider`.
    #[must_use]
    pub fn about(mut self, service: &ServiceName, provider: &ProviderName) -> Self {
        self.service = Some(service.clone());
        self.provider = Some(provider.clone());
        self
    }
}
