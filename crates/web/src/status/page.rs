//! What a status page shows, as one plain value: nothing in it is looked up again.

use jiff::tz::TimeZone;
use linkflow_model::Timestamp;
use linkflow_model::config::Language;
use linkflow_model::incident::{Impact, Incident, IncidentStage, Maintenance};
use linkflow_model::monitor::Condition;

/// A status page at one moment.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// Its host, when it has one of its own.
    pub host: Option<String>,
    /// Where its days begin.
    pub zone: TimeZone,
    /// What that zone is called.
    pub zone_name: String,
    /// When the store was asked.
    pub now: Timestamp,
    /// The languages, the first of them at the root.
    pub languages: Vec<Language>,
    /// How much of a partial outage counts as downtime, in hundredths.
    pub partial_counts: u32,
    /// A picture beside the title, as a `data:` address.
    pub logo: Option<String>,
    /// The colour of the line at the top, as CSS writes it.
    pub colour: Option<String>,
    /// Where else people may want to go: name and address.
    pub links: Vec<(String, String)>,
    /// Whether search engines are asked to leave it out.
    pub hidden: bool,
    /// Where people subscribe, when there is such a place.
    pub subscribe: Option<Subscribing>,
    /// Its lines, in order.
    pub components: Vec<Component>,
    /// What went wrong and is public, newest first. They hold no note that is not public.
    pub incidents: Vec<Incident>,
    /// The announced work, newest first.
    pub maintenance: Vec<Maintenance>,
}

/// Where people subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribing {
    /// The address that forms are posted below, without a slash at its end.
    pub at: String,
    /// Whether a mailbox may be told.
    pub mail: bool,
    /// Whether a phone may be told.
    pub phone: bool,
}

impl Subscribing {
    /// Its scheme, host and port.
    pub fn origin(&self) -> &str {
        let host = self.at.find("://").map_or(0, |at| at + 3);
        let end = self.at[host..].find('/').map_or(self.at.len(), |at| host + at);
        &self.at[..end]
    }
}

/// A line of the page: something that people know by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Its name in addresses.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The heading it stands under.
    pub group: Option<String>,
    /// What decides how it is.
    pub subjects: Vec<String>,
    /// How it has been, oldest first, without overlap. What no stretch covers is unknown.
    pub stretches: Vec<Stretch>,
    /// How fast it answered during the last day, oldest first.
    pub latency: Vec<Latency>,
}

/// A time in which a component was in one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// How it was.
    pub condition: Condition,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

/// How fast a component answered in a span of time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// When the span began.
    pub at: Timestamp,
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub longest: f64,
}

impl Page {
    /// How a component is now: the worse of what was seen and what an open incident says.
    pub fn condition(&self, component: &Component) -> Condition {
        let about = self.open().filter(|incident| component.is_in(&incident.subjects));
        about.map(said).fold(component.seen(self.now), Ord::max)
    }

    /// Its address from outside, `https://status.example.com`, when it has a host.
    pub fn address(&self) -> Option<String> {
        self.host.as_ref().map(|host| format!("https://{host}"))
    }

    /// The components that are called by one of `subjects`.
    pub fn affected(&self, subjects: &[String]) -> Vec<&Component> {
        self.components.iter().filter(|component| component.is_in(subjects)).collect()
    }

    /// The work that is under way.
    pub fn under_way(&self) -> impl Iterator<Item = &Maintenance> {
        self.maintenance.iter().filter(|work| work.is_on(self.now))
    }

    /// The work that is to come, the next first.
    pub fn to_come(&self) -> impl Iterator<Item = &Maintenance> {
        self.maintenance.iter().rev().filter(|work| !work.cancelled && work.from > self.now)
    }

    /// The incidents that are not over.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(|incident| incident.is_open())
    }
}

/// What an incident says of what it takes. From the moment it is mended on, only what is seen counts.
fn said(incident: &Incident) -> Condition {
    match (incident.stage, incident.impact) {
        (IncidentStage::Investigating | IncidentStage::Identified, impact) => match impact {
            Impact::None => Condition::Up,
            Impact::Minor => Condition::Degraded,
            Impact::Major => Condition::Partial,
            Impact::Critical => Condition::Down,
        },
        _ => Condition::Up,
    }
}

impl Component {
    /// How it was seen to be at `now`.
    pub fn seen(&self, now: Timestamp) -> Condition {
        let last = self.stretches.last().filter(|stretch| stretch.to >= now);
        last.map_or(Condition::Unknown, |stretch| stretch.condition)
    }

    /// Whether one of `subjects` decides how it is.
    pub fn is_in(&self, subjects: &[String]) -> bool {
        subjects.iter().any(|subject| self.subjects.contains(subject))
    }
}
