//! What the site asks of the process that runs the stack: how things stand now, and what is to be done.
//!
//! The site knows the store and no engine. Whatever the store does not hold comes through [`Operator`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use linkflow_model::service::ServiceKind;
use linkflow_model::{Condition, Health, Lifecycle, ProviderName, ReleaseId, ServiceName};

use crate::shape::{Book, Shape, shapes};
use serde_json::{Value, json};

/// The process that runs the stack.
#[async_trait]
pub trait Operator: Send + Sync {
    /// How every service stands on every provider. Nobody is asked for it: it is in memory.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn services(&self) -> Result<Services, Refusal>;

    /// What visitors asked for in the last seconds, and where they were led.
    fn traffic(&self) -> Traffic;

    /// All that is watched, and how it is.
    fn watched(&self) -> Vec<Watched>;

    /// What was used of each provider's plan, as it was last asked.
    fn usage(&self) -> Usage;

    /// What differs from the live release, by the last words of the providers. Nobody is asked for it.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn drift(&self) -> Result<Drift, Refusal>;

    /// Who is told of incidents, and what they were told.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn alerts(&self) -> Result<Alerts, Refusal>;

    /// The ways by which nobody could be told what was to be told last.
    fn untold(&self) -> Vec<Tried>;

    /// Tells a test by every way of an alert, and waits for what becomes of it.
    ///
    /// # Errors
    /// [`Why::Missing`] when there is no such alert, or it cannot be used.
    async fn try_alert(&self, alert: &str) -> Result<Vec<Tried>, Refusal>;

    /// The certificates that the edge shows.
    fn certificates(&self) -> Vec<Certificate>;

    /// What the edge counts and how big the store is, as Prometheus reads it.
    fn metrics(&self) -> String;

    /// What would be done. Providers and registries are asked, and nothing is changed.
    ///
    /// # Errors
    /// Why it cannot be done.
    async fn plan(&self, order: &Order) -> Result<Outline, Refusal>;

    /// Begins what is ordered, and does not wait for its end.
    ///
    /// # Errors
    /// Why it cannot be done; [`Why::Busy`] while something else is under way.
    async fn begin(&self, order: &Order, by: &str, why: &str) -> Result<Begun, Refusal>;
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// What the config asks for.
    Apply,
    /// These images, and everything else as it runs; no image: what the tags mean now.
    Deploy(BTreeMap<ServiceName, String>),
    /// An earlier release; what ran before the live one when none is named.
    RollBack(Option<ReleaseId>),
    /// The instances of a service again, wherever it runs or on one provider.
    Restart(ServiceName, Option<ProviderName>),
}

impl Order {
    /// What is done, in a few words: `roll back to r3`.
    pub fn words(&self) -> String {
        match self {
            Self::Apply => "apply the config".to_owned(),
            Self::Deploy(images) if images.is_empty() => "deploy what the tags mean now".to_owned(),
            Self::Deploy(images) => {
                let all = images.iter().map(|(name, image)| {
                    let tag = image.starts_with([':', '@']);
                    format!("{name}{}{image}", if tag { "" } else { "=" })
                });
                format!("deploy {}", all.collect::<Vec<_>>().join(" "))
            }
            Self::RollBack(Some(to)) => format!("roll back to {to}"),
            Self::RollBack(None) => "roll back".to_owned(),
            Self::Restart(service, Some(on)) => format!("restart {service} on {on}"),
            Self::Restart(service, None) => format!("restart {service}"),
        }
    }
}

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// What sort of reason it is.
    pub why: Why,
    /// The reason, in one sentence.
    pub what: String,
    /// What would help; may be empty.
    pub help: String,
}

/// The sorts of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// What it is about is not there.
    Missing,
    /// What was said makes no sense here.
    Wrong,
    /// Something else is under way.
    Busy,
    /// A rule forbids it.
    Forbidden,
    /// It was tried and did not work.
    Failed,
}

impl Refusal {
    /// A reason with what helps.
    pub fn new(why: Why, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { why, what: what.into(), help: help.into() }
    }
}

/// How a placement is, in one word.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PlacementState {
    /// It answers.
    Up,
    /// Its provider says that it runs; nobody can ask it.
    Running,
    /// It does not answer as it should.
    Down,
    /// Its provider gave up starting it.
    Failed,
    /// It is being woken.
    Waking,
    /// It is being made or started.
    Starting,
    /// Nobody asks for it, so that it may sleep.
    Resting,
    /// Its provider has put it to sleep.
    Asleep,
    /// It is deployed, and nothing of it runs.
    Stopped,
    /// It is not there.
    Absent,
    /// Its provider could not be asked.
    Unknown,
}

impl PlacementState {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Up,
        Self::Running,
        Self::Down,
        Self::Failed,
        Self::Waking,
        Self::Starting,
        Self::Resting,
        Self::Asleep,
        Self::Stopped,
        Self::Absent,
        Self::Unknown,
    ];

    /// What a placement with this word of its provider and of its probes is.
    pub fn of(lifecycle: Lifecycle, health: Health) -> Self {
        match (lifecycle, health) {
            (Lifecycle::Absent, _) => Self::Absent,
            (Lifecycle::Running | Lifecycle::Unknown, Health::Up) => Self::Up,
            (Lifecycle::Running | Lifecycle::Starting, Health::Down) => Self::Down,
            (Lifecycle::Running | Lifecycle::Asleep | Lifecycle::Unknown, Health::Waking) => {
                Self::Waking
            }
            (Lifecycle::Running, Health::Unknown) => Self::Running,
            (Lifecycle::Running, Health::Resting) => Self::Resting,
            (Lifecycle::Starting, _) => Self::Starting,
            (Lifecycle::Stopped, _) => Self::Stopped,
            (Lifecycle::Asleep, _) => Self::Asleep,
            (Lifecycle::Failed, _) => Self::Failed,
            (Lifecycle::Unknown, _) => Self::Unknown,
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Running => "running",
            Self::Down => "down",
            Self::Failed => "failed",
            Self::Waking => "waking",
            Self::Starting => "starting",
            Self::Resting => "resting",
            Self::Asleep => "asleep",
            Self::Stopped => "stopped",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
        }
    }
}

impl Shape for PlacementState {
    fn schema(book: &mut Book) -> Value {
        book.named("PlacementState", |_| json!({ "type": "string", "enum": Self::ALL }))
    }
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// It waits for its turn, or for another try.
    Waiting,
    /// It is being sent.
    Sending,
    /// It was sent.
    Sent,
    /// It could not be sent for a day.
    GivenUp,
}

impl Shape for MessageState {
    fn schema(book: &mut Book) -> Value {
        let all = [Self::Waiting, Self::Sending, Self::Sent, Self::GivenUp];
        book.named("MessageState", |_| json!({ "type": "string", "enum": all }))
    }
}

impl Drift {
    /// How many things differ.
    pub(crate) fn count(&self) -> u64 {
        (self.rows.len() + self.strays.len()) as u64
    }
}

shapes! {
    /// Every service on every provider, as it stands now.
    pub struct Services {
        /// The release that is live.
        pub live: Option<ReleaseId>,
        /// The services, by name.
        pub services: Vec<Service>,
        /// Providers whose API does not answer now.
        pub silent: Vec<Silent>,
    }

    /// A service, and where it stands.
    pub struct Service {
        /// Its name.
        pub service: ServiceName,
        /// How it is spoken to.
        pub kind: ServiceKind,
        /// Whether it must never run twice.
        pub exclusive: bool,
        /// The provider that serves.
        pub active: Option<ProviderName>,
        /// Its image as written.
        pub image: String,
        /// Where visitors find it: host and path.
        pub routes: Vec<String>,
        /// Its placements, the most preferred first.
        pub placements: Vec<Placement>,
    }

    /// A service on a provider.
    pub struct Placement {
        /// The provider.
        pub provider: ProviderName,
        /// Whether it serves.
        pub active: bool,
        /// How it is, in one word.
        pub state: PlacementState,
        /// What its provider says.
        pub lifecycle: Lifecycle,
        /// What probes from outside say.
        pub health: Health,
        /// Who wants the service kept away from there, and why.
        pub drained: Option<String>,
        /// The release that runs there.
        pub release: Option<ReleaseId>,
        /// The digest of the image that runs there.
        pub digest: Option<String>,
        /// How long the last good probe took, in milliseconds.
        pub latency_ms: Option<u64>,
        /// Its address.
        pub address: Option<String>,
        /// Instances that run, as the provider says.
        pub running: u32,
        /// Why it serves, or does not.
        pub why: String,
    }

    /// A provider whose API does not answer.
    pub struct Silent {
        /// The provider.
        pub provider: ProviderName,
        /// What it said instead.
        pub why: String,
    }

    /// What visitors asked for in the last seconds, and where they were led.
    pub struct Traffic {
        /// How long a time the rates are of, in milliseconds.
        pub over_ms: u64,
        /// Requests each second.
        pub requests_per_s: f64,
        /// Requests under way.
        pub in_flight: u64,
        /// Connections of visitors that are open.
        pub connections: u64,
        /// What came over each route.
        pub routes: Vec<RouteTraffic>,
        /// How each target did.
        pub targets: Vec<TargetTraffic>,
    }

    /// What came over one route.
    pub struct RouteTraffic {
        /// The route as the config has it, `(internal)` between services, `(none)` where none fits.
        pub route: String,
        /// The service that it leads to.
        pub service: Option<ServiceName>,
        /// Requests each second.
        pub requests_per_s: f64,
        /// Answers of 200 to 299 each second.
        pub good_per_s: f64,
        /// Answers of 400 to 499 each second.
        pub refused_per_s: f64,
        /// Answers of 500 and above each second.
        pub failed_per_s: f64,
        /// Tries each second that were made because another one failed.
        pub retries_per_s: f64,
        /// Within how many milliseconds half of the answers began.
        pub p50_ms: Option<f64>,
        /// Within how many milliseconds 95 of 100 answers began.
        pub p95_ms: Option<f64>,
        /// Requests since the edge began.
        pub requests: u64,
    }

    /// How one target did.
    pub struct TargetTraffic {
        /// Its service.
        pub service: ServiceName,
        /// Its provider.
        pub provider: ProviderName,
        /// Its address.
        pub address: String,
        /// Whether requests go to it: serving, spare, ejected, down, waking, resting.
        pub state: String,
        /// Why they do not.
        pub why: Option<String>,
        /// Of the requests of its service, from 0 to 1.
        pub share: Option<f64>,
        /// Requests each second.
        pub requests_per_s: f64,
        /// Failures each second.
        pub failures_per_s: f64,
        /// Requests under way.
        pub in_flight: u64,
        /// Within how many milliseconds half of the answers began.
        pub p50_ms: Option<f64>,
        /// Within how many milliseconds 95 of 100 answers began.
        pub p95_ms: Option<f64>,
    }

    /// Something that is watched.
    pub struct Watched {
        /// As the config calls it: `monitor.api`, `service.api`.
        pub subject: String,
        /// What is looked at, without secrets.
        pub what: String,
        /// How often, in milliseconds.
        pub every_ms: u64,
        /// Words to find it by.
        pub tags: Vec<String>,
        /// Whether it follows from the stack, and was not declared.
        pub derived: bool,
        /// How it is.
        pub condition: Condition,
        /// Since when, in milliseconds since 1970.
        pub since: Option<u64>,
        /// Why, in a few words.
        pub why: Option<String>,
        /// What it needs, as the config calls it.
        pub needs: Vec<String>,
        /// Why it cannot be watched.
        pub unable: Option<String>,
    }

    /// What was used of the providers' plans.
    pub struct Usage {
        /// When they were asked, in milliseconds since 1970; not yet when there is none.
        pub asked: Option<u64>,
        /// What each told.
        pub providers: Vec<ProviderUsage>,
    }

    /// What one provider told of its plan.
    pub struct ProviderUsage {
        /// The provider.
        pub provider: ProviderName,
        /// Its kind.
        pub kind: String,
        /// Whether it has a way to tell.
        pub tells: bool,
        /// What it told.
        pub used: Vec<Used>,
        /// Why it did not tell.
        pub unable: Option<String>,
    }

    /// What was used of one allowance.
    pub struct Used {
        /// What is counted: `vcpu_seconds`, `requests`.
        pub what: String,
        /// How much, since the period began.
        pub used: f64,
        /// How much there is in a period.
        pub limit: Option<f64>,
        /// The unit of both.
        pub unit: String,
        /// When it begins anew, in milliseconds since 1970.
        pub resets: Option<u64>,
        /// How much was used, in hundredths of the limit.
        pub percent: Option<f64>,
        /// Whether little is left.
        pub much: bool,
        /// All of it in one sentence.
        pub sentence: String,
    }

    /// What the providers run that the live release does not ask for.
    pub struct Drift {
        /// The release that is live; nothing can differ while there is none.
        pub release: Option<ReleaseId>,
        /// What differs, by service and provider.
        pub rows: Vec<Differs>,
        /// Services that were deployed with other values of secrets or addresses than there are now.
        pub strays: Vec<Stray>,
        /// Providers whose API does not answer now, so that nothing is known of them.
        pub silent: Vec<Silent>,
    }

    /// One thing that differs from the live release.
    pub struct Differs {
        /// The service.
        pub service: ServiceName,
        /// Where.
        pub provider: ProviderName,
        /// What differs: `image`, `settings`, `replicas`, `lifecycle`, `placement`. Settings are known by fingerprint, so that no
        /// value is shown.
        pub what: String,
        /// What is asked for.
        pub wanted: String,
        /// What is there.
        pub found: String,
    }

    /// A service that was deployed with another value of something that its environment names.
    pub struct Stray {
        /// The service.
        pub service: ServiceName,
        /// Where.
        pub providers: Vec<ProviderName>,
        /// What its environment names, `secret.TOKEN`: one of these has another value now. Values are not shown.
        pub names: Vec<String>,
        /// Which of them leads nowhere now.
        pub unable: Option<String>,
    }

    /// Who is told of incidents, and what they were told.
    pub struct Alerts {
        /// The alerts of the config, each with its ways.
        pub posts: Vec<Post>,
        /// What was told within the last 30 days, and what waits: the newest first.
        pub messages: Vec<Message>,
    }

    /// An alert of the config.
    pub struct Post {
        /// Its name.
        pub name: String,
        /// How people are told: `slack`, `sms-2`.
        pub ways: Vec<String>,
        /// Who is told in their place when they could not be.
        pub otherwise: Option<String>,
        /// Why it cannot be used; its ways are not known then.
        pub unable: Option<String>,
    }

    /// What was told by one way.
    pub struct Message {
        /// Its id.
        pub id: String,
        /// The alert of the config.
        pub alert: String,
        /// The way.
        pub way: String,
        /// When it was due, in milliseconds since 1970.
        pub at: u64,
        /// What is told, in one line.
        pub title: String,
        /// How far it has come.
        pub state: MessageState,
        /// How often it was tried and failed.
        pub failed: u32,
        /// What the way said last.
        pub said: Option<String>,
        /// Whether a try may have arrived although it failed: then the next one says that it may be the second.
        pub may_have_come: bool,
        /// Whether others were told in their place.
        pub passed_on: bool,
    }

    /// What became of a test by one way.
    pub struct Tried {
        /// The alert of the config.
        pub alert: String,
        /// The way.
        pub way: String,
        /// Why it did not arrive.
        pub failed: Option<String>,
    }

    /// A certificate of the edge.
    pub struct Certificate {
        /// Where it comes from: `files main`, `acme shop.example.com`, `made up`.
        pub origin: String,
        /// The names that it is for.
        pub names: Vec<String>,
        /// From when it counts, in milliseconds since 1970.
        pub begins: u64,
        /// When it ends, in milliseconds since 1970.
        pub ends: u64,
        /// How many whole days are left.
        pub days_left: u64,
    }

    /// What would be done.
    pub struct Outline {
        /// What was asked for, in a few words.
        pub what: String,
        /// The release that it leads to.
        pub release: Option<ReleaseId>,
        /// The stages, one after the other.
        pub stages: Vec<OutlineStage>,
        /// What waits, and why.
        pub held: Vec<String>,
        /// What speaks against it.
        pub findings: Vec<Doubt>,
    }

    /// Steps that may be done side by side.
    pub struct OutlineStage {
        /// What they are for.
        pub name: String,
        /// The steps.
        pub steps: Vec<OutlineStep>,
    }

    /// Something to do.
    pub struct OutlineStep {
        /// What.
        pub what: String,
        /// Why.
        pub why: String,
        /// What differs: `image: a -> b`.
        pub changes: Vec<String>,
    }

    /// Something that speaks against a plan.
    pub struct Doubt {
        /// Whether it forbids the plan.
        pub forbids: bool,
        /// What.
        pub what: String,
        /// What would help; may be empty.
        pub help: String,
    }

    /// Something that has begun.
    pub struct Begun {
        /// The run to follow; none when nothing had to be done.
        pub run: Option<String>,
        /// What became of the order, in one sentence.
        pub said: String,
    }
}
