//! Tells people of incidents: what is due becomes messages in an outbox of the store, and each channel sends its own.
//!
//! A message is a document and a job. What was told is written only after its messages, whose ids follow from it; so a
//! process that dies in between decides the same again and nothing is told twice. A sender notes that it sends before it does
//! and that it has sent after: who finds a message that was being sent says in it that it may have come before.

mod send;
mod trial;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use linkflow_decide::{AlertRule, Alerting, Tell, Told, alert, on_duty, urgency};
use linkflow_model::role::{Notice, Notify};
use linkflow_model::{Clock, Incident, Pulse, StackName, Timestamp};
use linkflow_store::{Document, Store, StoreError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Notify as Bell;
use tracing::warn;

pub use trial::Tried;

use crate::{Incidents, Tasks, locked};

/// How often incidents are looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Of up to so many incidents what was told is read one by one.
const FEW: usize = 20;
/// How long a message that is done with is kept, in milliseconds.
const KEPT_MS: u64 = 30 * 86_400_000;
/// Before the keys of what was told.
const TOLD: &str = "alert/told/";
/// Before the keys of messages.
const MESSAGE: &str = "alert/message/";
/// Before the keys of what channels gave back.
const THREAD: &str = "alert/thread/";

/// One way to one who is told.
#[derive(Clone)]
pub struct AlertChannel {
    /// Its name within the alert: `slack`, `sms-2`.
    pub name: String,
    /// The channel.
    pub notify: Arc<dyn Notify>,
    /// Whether it is told only when its turn is.
    pub in_turn: bool,
}

/// Who is told by which rule: an alert of the config.
#[derive(Clone)]
pub struct AlertPost {
    /// Its name in the config.
    pub name: String,
    /// When they are told.
    pub rule: AlertRule,
    /// How they are told.
    pub channels: Vec<AlertChannel>,
    /// For how long each of those that take turns has its turn.
    pub turn: Option<Duration>,
    /// Who is told in their place when they could not be.
    pub otherwise: Option<String>,
    /// Whether they are told in the place of others only.
    pub is_spare: bool,
}

impl AlertPost {
    /// The channels that are told at `now`.
    fn on_duty(&self, now: Timestamp) -> impl Iterator<Item = &AlertChannel> {
        let in_turn: Vec<&str> =
            self.channels.iter().filter(|c| c.in_turn).map(|c| c.name.as_str()).collect();
        let who = self.turn.map(|turn| on_duty(in_turn.len(), turn, now));
        let who = who.and_then(|at| in_turn.get(at).map(|name| (*name).to_owned()));
        self.channels.iter().filter(move |channel| {
            !channel.in_turn || who.as_ref().is_none_or(|who| *who == channel.name)
        })
    }
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// A message to one channel. A document of the store, `alert/message/ID`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The alert of the config.
    pub post: String,
    /// The channel.
    pub channel: String,
    /// When it was due.
    pub at: Timestamp,
    /// What is told.
    pub notice: Notice,
    /// How far it has come.
    pub state: MessageState,
    /// How often it was tried and failed.
    pub failed: u32,
    /// When it failed for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_first: Option<Timestamp>,
    /// What the channel said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Whether a try may have arrived although it failed.
    #[serde(default)]
    pub may_have_come: bool,
    /// Whether others were told in their place.
    #[serde(default)]
    pub passed_on: bool,
}

impl Message {
    fn key(id: &str) -> String {
        format!("{MESSAGE}{id}")
    }
}

/// What a channel gave back, by which it finds what it told before with the same key: a thread, for one. A document of the
/// store, `alert/thread/POST/CHANNEL/KEY`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Thread {
    held: String,
    /// When it was given.
    at: Timestamp,
}

impl Thread {
    fn key(message: &Message) -> Option<String> {
        let key = message.notice.key.as_ref()?;
        Some(format!("{THREAD}{}/{}/{key}", message.post, message.channel))
    }
}

/// Every message that is not forgotten yet, the oldest first.
///
/// # Errors
/// What the store says.
pub async fn messages(store: &dyn Store) -> Result<Vec<Message>, StoreError> {
    let mut all: Vec<Message> =
        read_all(store, MESSAGE).await?.into_iter().map(|(m, _)| m).collect();
    all.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.id.cmp(&b.id)));
    Ok(all)
}

/// The documents below `prefix` that can be read, with their versions.
async fn read_all<T: DeserializeOwned>(
    store: &dyn Store,
    prefix: &str,
) -> Result<Vec<(T, u64)>, StoreError> {
    let read = |document: Document| {
        let body = serde_json::from_value(document.body);
        body.map(|body| (body, document.version)).ok()
    };
    Ok(store.list(prefix).await?.into_iter().filter_map(read).collect())
}

/// Tells people of incidents.
pub struct Alerts {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    stack: StackName,
    /// Where the status page is, `https://status.example.com`.
    page: Option<String>,
    posts: Vec<AlertPost>,
    /// Rung when there is something to send.
    bell: Bell,
    /// The ways that did not tell what they were last given, a test too, by alert and way, and why.
    failing: Mutex<BTreeMap<(String, String), String>>,
    pulse: Pulse,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    incidents: Incidents,
    /// Which incidents are to be looked at again, and when.
    due: BTreeMap<String, Timestamp>,
}

/// What was told of an incident, by alert.
#[derive(Default)]
struct Known {
    version: Option<u64>,
    told: BTreeMap<String, Told>,
}

impl Alerts {
    /// Alerts of `stack` to `posts`. What the public knows of is linked to where `page` shows it.
    pub fn new(
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        stack: &StackName,
        page: Option<String>,
        posts: Vec<AlertPost>,
    ) -> Arc<Self> {
        let (store, clock, stack) = (Arc::clone(store), Arc::clone(clock), stack.clone());
        let pulse = Pulse::default();
        let (bell, failing) = (Bell::new(), Mutex::default());
        Arc::new(Self { store, clock, stack, page, posts, bell, failing, pulse })
    }

    /// The ways by which nobody could be told what was to be told last, and why.
    pub fn failing(&self) -> Vec<Tried> {
        let held = locked(&self.failing);
        let each = held.iter().map(|((alert, way), why)| Tried {
            alert: alert.clone(),
            way: way.clone(),
            failed: Some(why.clone()),
        });
        each.collect()
    }

    /// Beats while incidents are looked at and the store answers.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Starts to look at incidents, and a sender for each channel.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        let this = Arc::clone(self);
        tasks.start("alerts", async move |stop| {
            let mut seen = Seen::default();
            if let Err(error) = this.forget().await {
                warn!("old alerts are kept: {error}");
            }
            loop {
                match this.look(&mut seen).await {
                    Ok(()) => this.pulse.beat(),
                    Err(error) => {
                        warn!("incidents cannot be read: {error}");
                        seen = Seen::default();
                    }
                }
                if stop.or(tokio::time::sleep(EVERY)).await.is_none() {
                    return;
                }
            }
        });
        for post in &self.posts {
            for channel in &post.channels {
                let (this, post, channel) = (Arc::clone(self), post.clone(), channel.clone());
                tasks.start("alert sender", async move |stop| {
                    stop.or(this.send_all(&post, &channel)).await;
                });
            }
        }
    }

    /// Makes messages of what is due now.
    ///
    /// # Errors
    /// What the store says.
    async fn look(&self, seen: &mut Seen) -> Result<(), StoreError> {
        let now = self.clock.wall();
        let news = seen.incidents.follow(&*self.store, now).await?;
        let held = seen.incidents.held();
        let again = seen.due.iter().filter(|(_, due)| **due <= now);
        let again = again.filter(|(id, _)| news.iter().all(|(one, _)| one.id != **id));
        let again = again.filter_map(|(id, _)| held.get(id).map(|(_, incident)| incident.clone()));
        let due: Vec<Incident> = again.chain(news.iter().map(|(one, _)| one.clone())).collect();
        if due.is_empty() {
            return Ok(());
        }
        let mut told = self.told(&due).await?;
        let recent: Vec<Incident> = held.values().map(|(_, incident)| incident.clone()).collect();
        for incident in due {
            let told = told.remove(&incident.id).unwrap_or_default();
            match self.decide(&incident, told, &recent, now).await? {
                Some(next) => seen.due.insert(incident.id, next),
                None => seen.due.remove(&incident.id),
            };
        }
        Ok(())
    }

    /// What was told of each of `incidents`, with the version of its document. Of many it is read at once.
    async fn told(&self, incidents: &[Incident]) -> Result<BTreeMap<String, Known>, StoreError> {
        let documents = if incidents.len() > FEW {
            self.store.list(TOLD).await?
        } else {
            let mut found = Vec::new();
            for incident in incidents {
                found.extend(self.store.read(&format!("{TOLD}{}", incident.id)).await?);
            }
            found
        };
        let known = |document: Document| {
            let id = document.key.strip_prefix(TOLD)?.to_owned();
            let told = serde_json::from_value(document.body).unwrap_or_default();
            Some((id, Known { version: Some(document.version), told }))
        };
        Ok(documents.into_iter().filter_map(known).collect())
    }

    /// Tells what is due of one incident; says when to look at it again.
    async fn decide(
        &self,
        incident: &Incident,
        known: Known,
        all: &[Incident],
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let key = format!("{TOLD}{}", incident.id);
        let Known { version, mut told } = known;
        let (mut next, mut is_new) = (None::<Timestamp>, false);
        for post in self.posts.iter().filter(|post| !post.is_spare) {
            let so_far = told.get(&post.name).cloned().unwrap_or_default();
            let later = match alert(&post.rule, incident, &so_far, all, now) {
                Alerting::Nothing => None,
                Alerting::Later(at) => Some(at),
                Alerting::Tell(what) => {
                    self.tell(post, incident, &so_far, what, now).await?;
                    let after = so_far.after(what, urgency(incident), now);
                    told.insert(post.name.clone(), after);
                    is_new = true;
                    // What follows, a reminder for one, is decided with the next look.
                    Some(now)
                }
            };
            next = next.into_iter().chain(later).min();
        }
        if is_new {
            let written = self.store.write(&key, version, &json!(told), None).await;
            match written {
                // Another process told the same: its messages have the same ids.
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(next)
    }

    async fn tell(
        &self,
        post: &AlertPost,
        incident: &Incident,
        so_far: &Told,
        what: Tell,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let page = self.page.as_deref();
        let notice = words::notice((self.stack.as_str(), page), incident, what, now);
        let id = format!("{}.{}.{}", incident.id, post.name, so_far.times + 1);
        self.post(post, &id, &notice, now).await
    }

    /// Puts `notice` into the outbox, for each channel of `post` that is told now.
    async fn post(
        &self,
        post: &AlertPost,
        id: &str,
        notice: &Notice,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for channel in post.on_duty(now) {
            let message = Message {
                id: format!("{id}.{}", channel.name),
                post: post.name.clone(),
                channel: channel.name.clone(),
                at: now,
                notice: notice.clone(),
                state: MessageState::Waiting,
                failed: 0,
                failed_first: None,
                said: None,
                may_have_come: false,
                passed_on: false,
            };
            let key = Message::key(&message.id);
            match self.store.write(&key, None, &json!(message), None).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
            let queue = queue(&message.post, &message.channel);
            self.store.put_job(&queue, &message.id, &json!({}), now).await?;
        }
        self.bell.notify_waiters();
        Ok(())
    }

    /// Forgets messages that were done with long ago.
    async fn forget(&self) -> Result<(), StoreError> {
        let before = self.clock.wall().0.saturating_sub(KEPT_MS);
        for (message, version) in read_all::<Message>(&*self.store, MESSAGE).await? {
            let is_done = matches!(message.state, MessageState::Sent | MessageState::GivenUp);
            if is_done && message.at.0 < before {
                self.store.remove(&Message::key(&message.id), version).await?;
            }
        }
        for document in self.store.list(THREAD).await? {
            let thread = serde_json::from_value::<Thread>(document.body);
            if thread.map_or(true, |thread| thread.at.0 < before) {
                self.store.remove(&document.key, document.version).await?;
            }
        }
        Ok(())
    }
}

/// The queue of a channel: each has its own, so that one that is away keeps no other waiting.
fn queue(post: &str, channel: &str) -> String {
    format!("alert/{post}/{channel}")
}
