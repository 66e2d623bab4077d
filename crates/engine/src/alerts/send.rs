//! Sends the messages of one channel, one after another, until each has arrived or a day is over.

use std::time::Duration;

use linkflow_model::role::Delivery;
use linkflow_model::{Fault, FaultKind, Timestamp};
use linkflow_store::{Job, StoreError};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use super::{AlertChannel, AlertPost, Alerts, Message, MessageState, Thread, queue};
use crate::locked;

/// For how much longer than a channel may take for it a message is its sender's.
const CLAIM: Duration = Duration::from_secs(5);
/// How long a sender waits that finds nothing, unless it is told of something.
const IDLE: Duration = Duration::from_secs(1);
/// The first wait after a failure, and the longest.
const BACK_OFF_MS: (u64, u64) = (5_000, 600_000);
/// How long a message is tried.
const PATIENCE_MS: u64 = 86_400_000;
/// How long a channel may fail before others are told in its place.
const OTHERWISE_MS: u64 = 60_000;

impl Alerts {
    /// Sends what there is for `channel`, for ever.
    pub(super) async fn send_all(&self, post: &AlertPost, channel: &AlertChannel) {
        let queue = queue(&post.name, &channel.name);
        loop {
            let rung = self.bell.notified();
            match self.send_next(&queue, post, channel).await {
                Ok(true) => {}
                Ok(false) => drop(timeout(IDLE, rung).await),
                Err(error) => {
                    warn!(queue, "the outbox cannot be used: {error}");
                    sleep(IDLE).await;
                }
            }
        }
    }

    /// Sends the message that has been due longest; says whether there was one.
    async fn send_next(
        &self,
        queue: &str,
        post: &AlertPost,
        channel: &AlertChannel,
    ) -> Result<bool, StoreError> {
        let now = self.clock.wall();
        let within = channel.notify.patience();
        let until = Timestamp(now.0.saturating_add(millis(within + CLAIM)));
        let claimed = self.store.claim_job(queue, now, until).await?;
        let Some(job) = claimed else { return Ok(false) };
        let key = Message::key(&job.id);
        let held = self.store.read(&key).await?;
        let version = held.as_ref().map(|document| document.version);
        let message = held.and_then(|d| serde_json::from_value::<Message>(d.body).ok());
        let Some(mut message) = message.filter(|message| message.state != MessageState::Sent)
        else {
            self.store.finish_job(&job).await?;
            return Ok(true);
        };
        // Whoever had it before died while it was being sent.
        message.may_have_come |= message.state == MessageState::Sending;
        message.state = MessageState::Sending;
        let version = self.store.write(&key, version, &json!(message), None).await?;
        let held = self.held(&message).await?;
        let delivery = Delivery {
            notice: &message.notice,
            id: &message.id,
            again: message.may_have_come,
            held: held.as_ref().map(|(thread, _)| thread.held.as_str()),
        };
        let told = match timeout(within, channel.notify.deliver(&delivery)).await {
            Ok(told) => told.map_err(Some),
            Err(_) => Err(None),
        };
        match told {
            Ok(given) => {
                self.hold(&message, held, given).await?;
                message.state = MessageState::Sent;
                message.said = None;
                self.store.write(&key, Some(version), &json!(message), None).await?;
                self.store.finish_job(&job).await?;
                locked(&self.failing).remove(&(post.name.clone(), channel.name.clone()));
            }
            Err(fault) => self.failed(post, &job, message, version, fault).await?,
        }
        Ok(true)
    }

    /// What the channel gave back when it last told something with the key of `message`, with the version of its document.
    async fn held(&self, message: &Message) -> Result<Option<(Thread, u64)>, StoreError> {
        let Some(key) = Thread::key(message) else { return Ok(None) };
        let document = self.store.read(&key).await?;
        Ok(document.and_then(|d| Some((serde_json::from_value(d.body).ok()?, d.version))))
    }

    /// Keeps what the channel gave back.
    async fn hold(
        &self,
        message: &Message,
        before: Option<(Thread, u64)>,
        given: Option<String>,
    ) -> Result<(), StoreError> {
        let (Some(key), Some(held)) = (Thread::key(message), given) else { return Ok(()) };
        if before.as_ref().is_some_and(|(thread, _)| thread.held == held) {
            return Ok(());
        }
        let thread = Thread { held, at: self.clock.wall() };
        let version = before.map(|(_, version)| version);
        self.store.write(&key, version, &json!(thread), None).await.map(drop)
    }

    /// Notes that `message` was not told, and when it is tried again.
    async fn failed(
        &self,
        post: &AlertPost,
        job: &Job,
        mut message: Message,
        version: u64,
        fault: Option<Fault>,
    ) -> Result<(), StoreError> {
        let now = self.clock.wall();
        let kind = fault.as_ref().map_or(FaultKind::Unclear, |fault| fault.kind);
        let first = *message.failed_first.get_or_insert(now);
        message.failed += 1;
        let said = fault.map(|fault| fault.to_string());
        message.said = said.or_else(|| Some("no answer came in time".to_owned()));
        message.may_have_come |= kind == FaultKind::Unclear;
        message.state = MessageState::Waiting;
        let is_long = now.0.saturating_sub(first.0) >= OTHERWISE_MS;
        if !message.passed_on && (is_long || !kind.is_passing()) {
            message.passed_on = self.pass_on(post, &message, now).await?;
        }
        let wait = wait_ms(message.failed, kind);
        let is_last = now.0.saturating_sub(message.at.0) + wait > PATIENCE_MS;
        if is_last {
            message.state = MessageState::GivenUp;
            error!(
                message = message.id,
                "nobody could be told of this for a day: {:?}", message.said
            );
        }
        let way = (post.name.clone(), message.channel.clone());
        locked(&self.failing).insert(way, message.said.clone().unwrap_or_default());
        let key = Message::key(&message.id);
        self.store.write(&key, Some(version), &json!(message), None).await?;
        if is_last {
            return self.store.finish_job(job).await;
        }
        // Others are told as soon as it is their turn, not after the next long wait.
        let turn = (post.otherwise.is_some() && !message.passed_on).then(|| first.0 + OTHERWISE_MS);
        let due = turn.map_or(now.0 + wait, |turn| (now.0 + wait).min(turn.max(now.0 + 1)));
        self.store.return_job(job, Timestamp(due)).await
    }

    /// Tells others in the place of `post`; says whether there are any.
    async fn pass_on(
        &self,
        post: &AlertPost,
        message: &Message,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let other = post.otherwise.as_ref();
        let other = other.and_then(|name| self.posts.iter().find(|other| other.name == *name));
        let Some(other) = other else { return Ok(false) };
        let mut notice = message.notice.clone();
        let said = message.said.clone().unwrap_or_default();
        notice.facts.push(("in the place of".to_owned(), format!("{}: {said}", post.name)));
        self.post(other, &format!("{}.{}", message.id, other.name), &notice, now).await?;
        Ok(true)
    }
}

/// How long to wait after `failed` failures, the last of which was of `kind`.
fn wait_ms(failed: u32, kind: FaultKind) -> u64 {
    let (least, most) = BACK_OFF_MS;
    let doubled = least.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(most);
    match kind {
        FaultKind::Limited { wait } => doubled.max(millis(wait)).min(PATIENCE_MS),
        _ => doubled,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_5_seconds_to_10_minutes_and_are_as_long_as_is_asked() {
        let waits: Vec<u64> =
            (1..=9).map(|failed| wait_ms(failed, FaultKind::Unreachable) / 1_000).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        let wait = Duration::from_secs(30);
        assert_eq!(wait_ms(1, FaultKind::Limited { wait }), 30_000);
    }
}
