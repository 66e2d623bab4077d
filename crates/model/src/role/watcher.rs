//! Watching from outside: what vendors keep for the stack, so that somebody looks who does not fall with it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Condition, Fault, IncidentStage, ProviderName, Secret, Timestamp};

/// When something reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Once in so many seconds.
    EveryS(u64),
    /// By five cron fields, in UTC.
    Cron(String),
}

/// Something that was said of an incident, for the public.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Said {
    /// How far the incident had come.
    pub stage: IncidentStage,
    /// What.
    pub text: String,
}

/// How far announced work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkStage {
    /// It has not begun.
    ToCome,
    /// It is done now.
    UnderWay,
    /// It is over.
    Over,
}

/// What a vendor does for the stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Watching {
    /// Asks a web address.
    Http {
        /// The address.
        url: String,
        /// How often, in seconds.
        every_s: u64,
        /// How long an answer may take, in seconds.
        timeout_s: u64,
        /// The status that the answer must have; what the vendor takes for good when `None`.
        status: Option<u16>,
        /// What the answer must contain.
        contains: Option<String>,
    },
    /// Opens a connection.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// How often, in seconds.
        every_s: u64,
        /// How long it may take, in seconds.
        timeout_s: u64,
    },
    /// Sends a ping.
    Ping {
        /// The host.
        host: String,
        /// How often, in seconds.
        every_s: u64,
        /// How long it may take, in seconds.
        timeout_s: u64,
    },
    /// Waits for a report.
    Heartbeat {
        /// When reports are due.
        schedule: Schedule,
        /// How late one may be, in seconds.
        grace_s: u64,
    },
    /// Shows a line of the status page.
    Component {
        /// The heading it stands under.
        group: Option<String>,
        /// How it is; left as it is shown when nobody knows.
        shows: Option<Condition>,
    },
    /// Shows an incident on the status page.
    Incident {
        /// One line.
        title: String,
        /// How far it has come.
        stage: IncidentStage,
        /// When it began.
        began: Timestamp,
        /// The components that it takes, by name.
        components: Vec<String>,
        /// What was said of it, oldest first.
        said: Vec<Said>,
    },
    /// Shows announced work on the status page.
    Maintenance {
        /// One line.
        title: String,
        /// What is done and what it means.
        text: String,
        /// When it begins.
        from: Timestamp,
        /// How long it takes, in minutes.
        minutes: u64,
        /// How far it is.
        stage: WorkStage,
        /// The components that it is on, by name, in order.
        components: Vec<String>,
        /// Whether the vendor's subscribers are told of it. What was announced otherwise is left.
        tell: bool,
    },
    /// Tells at once what it sees, by a webhook.
    Hook {
        /// Where to. Its key is a secret, so it is left out of everything that is written.
        #[serde(skip)]
        to: Secret,
        /// The monitors of this stack that tell it, by name, in order. Empty where a vendor tells of all that there is.
        of: Vec<String>,
    },
}

/// The sorts of things that vendors keep. A name is unique within its sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchSort {
    /// Looks from outside.
    Monitor,
    /// Waits for reports.
    Heartbeat,
    /// A line of the status page.
    Component,
    /// An incident on the status page.
    Incident,
    /// Announced work on the status page.
    Maintenance,
    /// A webhook that tells what is seen.
    Hook,
}

impl WatchSort {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Heartbeat => "heartbeat",
            Self::Component => "component",
            Self::Incident => "incident",
            Self::Maintenance => "maintenance",
            Self::Hook => "hook",
        }
    }
}

impl Watching {
    /// What sort of thing it is.
    pub fn sort(&self) -> WatchSort {
        match self {
            Self::Http { .. } | Self::Tcp { .. } | Self::Ping { .. } => WatchSort::Monitor,
            Self::Heartbeat { .. } => WatchSort::Heartbeat,
            Self::Component { .. } => WatchSort::Component,
            Self::Incident { .. } => WatchSort::Incident,
            Self::Maintenance { .. } => WatchSort::Maintenance,
            Self::Hook { .. } => WatchSort::Hook,
        }
    }

    /// Whether one can be made of the other in place.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Whether `held` is all that is wanted. What others said of an incident stays, so does what nobody knows, and so does a
    /// monitor that tells a hook besides. Work that has begun or is over there by the vendor's own clock is not set back.
    pub fn is_met_by(&self, held: &Self) -> bool {
        match (self, held) {
            (
                Self::Component { group, shows },
                Self::Component { group: held_group, shows: held_shows },
            ) => group == held_group && (shows.is_none() || shows == held_shows),
            (
                Self::Incident { title, stage, said, .. },
                Self::Incident { title: held_title, stage: held_stage, said: held_said, .. },
            ) => {
                let is_said = |wanted: &Said| held_said.iter().any(|held| held.text == wanted.text);
                title == held_title && stage == held_stage && said.iter().all(is_said)
            }
            (Self::Maintenance { stage, .. }, Self::Maintenance { stage: held_stage, .. }) => {
                held_stage >= stage && self.is_same_work(held)
            }
            (Self::Hook { to, of }, Self::Hook { to: held_to, of: held_of }) => {
                to == held_to && of.iter().all(|name| held_of.contains(name))
            }
            _ => self == held,
        }
    }

    /// Whether both are the same announced work, however far it is.
    fn is_same_work(&self, other: &Self) -> bool {
        let parts = |what: &Self| match what {
            Self::Maintenance { title, text, from, minutes, components, .. } => {
                Some((title.clone(), text.clone(), *from, *minutes, components.clone()))
            }
            _ => None,
        };
        parts(self) == parts(other)
    }
}

/// Something that a vendor should do for the stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Watch {
    /// What the config calls it; of an incident and of announced work its id.
    pub name: String,
    /// What is to be done.
    #[serde(flatten)]
    pub what: Watching,
}

/// Something that a vendor does for the stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldWatch {
    /// The vendor's id.
    pub id: String,
    /// What it is.
    #[serde(flatten)]
    pub watch: Watch,
}

/// How a monitor of this stack is, as its vendor says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Told {
    /// What the config calls it.
    pub name: String,
    /// Whether the vendor has confirmed that it is down. One that is paused, was never looked at, or only looks down is not.
    pub is_down: bool,
}

/// The reading half of [`Watcher`]: `plan` and `drift` hold only this, so they cannot write.
#[async_trait]
pub trait WatcherLook: Send + Sync {
    /// Its name in the config, which its faults carry.
    fn name(&self) -> &ProviderName;

    /// `wanted` as far as this vendor can have it: no oftener than the plan allows, in the steps that there are.
    ///
    /// # Errors
    /// Why the vendor cannot do it at all.
    fn fit(&self, wanted: &Watch) -> Result<Watch, String>;

    /// All that is this stack's, by its mark. What people made is not told.
    async fn held(&self) -> Result<Vec<HeldWatch>, Fault>;

    /// How each monitor is that is this stack's, by its mark. Of whoever looks at nothing by themselves, none.
    async fn told(&self) -> Result<Vec<Told>, Fault> {
        Ok(Vec::new())
    }

    /// The address at which `held`, a heartbeat, is reported to. `None` for what waits for no reports.
    async fn reports_to(&self, held: &HeldWatch) -> Result<Option<Secret>, Fault>;
}

/// Watches from outside.
///
/// Promises, held by the contract suite for every adapter:
/// - What is made carries this stack's mark, and what does not carry it is never changed or removed.
/// - What was just written reads back as it was [fitted](WatcherLook::fit), so that a second time there is nothing to do.
/// - When the answer of a write is lost, [`WatcherLook::held`] tells whether it was carried out.
/// - No retries and no policy in here; a [`Fault`] says what the caller may do.
#[async_trait]
pub trait Watcher: WatcherLook {
    /// Makes `wanted`, which was fitted, or makes it of `held`.
    async fn ensure(&self, wanted: &Watch, held: Option<&HeldWatch>) -> Result<(), Fault>;

    /// Removes what is ours. One that is not there any more is no fault.
    async fn remove(&self, held: &HeldWatch) -> Result<(), Fault>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(stage: IncidentStage, said: &[&str]) -> Watching {
        let said = said.iter().map(|text| Said { stage, text: (*text).to_owned() }).collect();
        Watching::Incident {
            title: "API is away".to_owned(),
            stage,
            began: Timestamp(1),
            components: Vec::new(),
            said,
        }
    }

    #[test]
    fn what_others_said_of_an_incident_is_no_difference_and_what_is_not_said_yet_is() {
        let ours = incident(IncidentStage::Investigating, &["looking"]);
        assert!(ours.is_met_by(&incident(IncidentStage::Investigating, &["theirs", "looking"])));
        assert!(!ours.is_met_by(&incident(IncidentStage::Investigating, &["theirs"])));
        assert!(!ours.is_met_by(&incident(IncidentStage::Resolved, &["looking"])));
    }

    #[test]
    fn a_hook_is_met_by_one_to_the_same_address_that_no_monitor_leaves_out_and_its_address_is_never_written()
     {
        let hook = |to: &str, of: &[&str]| Watching::Hook {
            to: Secret::new(to),
            of: of.iter().map(|name| (*name).to_owned()).collect(),
        };
        let wanted = hook("https://ops.example.com/hooks/a/key", &["web"]);
        assert!(wanted.is_met_by(&hook("https://ops.example.com/hooks/a/key", &["api", "web"])));
        assert!(!wanted.is_met_by(&hook("https://ops.example.com/hooks/a/key", &["api"])));
        assert!(!wanted.is_met_by(&hook("https://ops.example.com/hooks/a/old", &["web"])));
        let written = serde_json::to_string(&wanted).unwrap();
        assert_eq!(written, r#"{"kind":"hook","of":["web"]}"#);
        assert!(!format!("{wanted:?}").contains("key"));
    }

    #[test]
    fn announced_work_is_not_set_back_and_everything_else_of_it_counts() {
        let work = |text: &str, stage| Watching::Maintenance {
            title: "The database moves".to_owned(),
            text: text.to_owned(),
            from: Timestamp(60_000),
            minutes: 60,
            stage,
            components: vec!["API".to_owned()],
            tell: stage == WorkStage::UnderWay,
        };
        let wanted = work("A minute of errors.", WorkStage::UnderWay);
        assert!(wanted.is_met_by(&work("A minute of errors.", WorkStage::UnderWay)));
        assert!(wanted.is_met_by(&work("A minute of errors.", WorkStage::Over)));
        assert!(!wanted.is_met_by(&work("A minute of errors.", WorkStage::ToCome)));
        assert!(!wanted.is_met_by(&work("Two minutes.", WorkStage::UnderWay)));
    }

    #[test]
    fn a_component_of_which_nothing_is_known_is_left_as_it_is_shown() {
        let shows = |shows| Watching::Component { group: None, shows };
        assert!(shows(None).is_met_by(&shows(Some(Condition::Down))));
        assert!(!shows(Some(Condition::Up)).is_met_by(&shows(Some(Condition::Down))));
    }
}
