//! What is on its way to subscribers: a document and a job of the store for each message, so that none is lost.
//!
//! A sender notes that it sends before it does and that it has sent after. Who finds a message that was being sent says in it
//! that it may have come before.

use linkflow_model::role::{HookCall, Letter};
use linkflow_model::{Clock, Event, EventKind, Fault, FaultKind, Level, Secret, Timestamp};
use linkflow_store::{Job, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Couriers;
use super::budget::Budget;
use super::desk::Desk;
use super::letter::{self, News};
use super::subscriber::{self, Subscriber, Way};
use super::token::CODE_MS;
use crate::door::documents::{self, Held};

/// Before the keys of messages.
const PARCEL: &str = "subscriber-message/";

/// How long one message may take.
const WITHIN: Duration = Duration::from_secs(30);

/// For so long a claimed message is its sender's.
const CLAIM_MS: u64 = 40_000;

/// How long a sender waits that finds nothing.
const IDLE: Duration = Duration::from_secs(1);

/// The first wait after a failure, and the longest.
const BACK_OFF_MS: (u64, u64) = (10_000, 1_800_000);

/// How long a message is tried: news for a day beyond those that wait for the next day's letters, a question for an hour.
const PATIENCE_MS: (u64, u64) = (2 * 86_400_000, 3_600_000);

/// How long a message that is done with is kept.
const KEPT_MS: u64 = 7 * 86_400_000;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// That somebody asked to be told, and has to confirm.
    Question,
    /// The news with this id.
    News(String),
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Waiting,
    Sending,
    Sent,
    /// It was tried for as long as it is worth, or was refused.
    GivenUp,
    /// Whoever it was for is not told any more.
    Gone,
}

/// One message to one subscriber. A document of the store, `subscriber-message/ID`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parcel {
    pub(super) id: String,
    pub(super) to: String,
    pub(super) what: What,
    pub(super) at: Timestamp,
    pub(super) state: State,
    pub(super) failed: u32,
    pub(super) said: Option<String>,
    pub(super) may_have_come: bool,
}

/// The queue of those who are reached in one way.
fn queue(way: &Way) -> &'static str {
    match way {
        Way::Mail(_) => MAIL,
        Way::Webhook(_) => WEBHOOK,
        Way::Sms(_) => SMS,
    }
}

/// The queue of letters.
pub(super) const MAIL: &str = "subscriber/mail";

/// The queue of calls.
pub(super) const WEBHOOK: &str = "subscriber/webhook";

/// The queue of text messages.
pub(super) const SMS: &str = "subscriber/sms";

/// Puts a message to `to` into the outbox. One with the same id that was ever put there is left as it is.
pub(super) async fn put(
    store: &dyn Store,
    to: &Subscriber,
    what: What,
    now: Timestamp,
) -> Result<(), StoreError> {
    let of = match &what {
        What::Question => format!("question-{}", to.at.0),
        What::News(news) => news.clone(),
    };
    let id = format!("{of}.{}", to.id);
    let state = State::Waiting;
    let parcel = Parcel {
        id: id.clone(),
        to: to.id.clone(),
        what,
        at: now,
        state,
        failed: 0,
        said: None,
        may_have_come: false,
    };
    documents::create(store, &format!("{PARCEL}{id}"), &parcel).await?;
    store.put_job(queue(&to.way), &id, &json!({}), now).await.map(drop)
}

/// Forgets messages that were done with long ago.
pub(super) async fn tidy(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    for held in documents::list::<Parcel>(store, PARCEL).await? {
        let is_done = !matches!(held.value.state, State::Waiting | State::Sending);
        if is_done && now.0.saturating_sub(held.value.at.0) > KEPT_MS {
            match store.remove(&held.key, held.version).await {
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Sends what is in the outbox.
pub(super) struct Sender {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) desk: Arc<Desk>,
    pub(super) couriers: Couriers,
}

/// What is sent of a message.
enum Due {
    Letter(Box<Letter>),
    Call(HookCall, String),
    /// A text message: the number, and what it says.
    Text(String, String),
    /// Nobody is there to be told.
    Nobody,
}

/// Why a message was not sent.
struct Unsent {
    said: String,
    /// Whether it may have arrived all the same.
    unclear: bool,
    /// Whether another try helps.
    passing: bool,
    /// How long nobody should try.
    wait_ms: u64,
    /// Whether its web address says that it is there no more and will not be again (410), or its phone that it wants nothing more.
    gone: bool,
}

impl From<Fault> for Unsent {
    fn from(fault: Fault) -> Self {
        let wait_ms = match fault.kind {
            FaultKind::Limited { wait } => u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            FaultKind::Exhausted => 3_600_000,
            _ => 0,
        };
        let passing = !matches!(fault.kind, FaultKind::Invalid | FaultKind::Missing);
        let unclear = fault.kind == FaultKind::Unclear;
        Self { said: fault.to_string(), unclear, passing, wait_ms, gone: false }
    }
}

impl Unsent {
    /// For a reason that another try may find gone; nothing has arrived.
    fn because(said: &str) -> Self {
        Self { said: said.to_owned(), unclear: false, passing: true, wait_ms: 0, gone: false }
    }

    /// Where a web address that is there no more, or a phone that answered STOP, says so.
    fn perhaps_for_ever(fault: Fault) -> Self {
        let gone = fault.kind == FaultKind::Missing;
        Self { gone, ..fault.into() }
    }
}

/// What comes of `sending`, when that takes no longer than it may.
async fn in_time<T>(sending: impl Future<Output = T>) -> Result<T, Unsent> {
    let late = |_| Unsent { unclear: true, ..Unsent::because("no answer came in time") };
    timeout(WITHIN, sending).await.map_err(late)
}

impl Sender {
    /// Sends what there is in `queue`, for ever.
    pub(super) async fn run(&self, queue: &str) {
        loop {
            match self.next(queue).await {
                Ok(true) => {}
                Ok(false) => sleep(IDLE).await,
                Err(error) => {
                    warn!(queue, "the outbox cannot be used: {error}");
                    sleep(IDLE).await;
                }
            }
        }
    }

    /// Sends the message of `queue` that has been due longest; says whether there was one.
    pub(super) async fn next(&self, queue: &str) -> Result<bool, StoreError> {
        let now = self.clock.wall();
        let until = Timestamp(now.0 + CLAIM_MS);
        let Some(job) = self.store.claim_job(queue, now, until).await? else { return Ok(false) };
        let key = format!("{PARCEL}{}", job.id);
        let held = documents::read::<Parcel>(&*self.store, &key).await?;
        let open =
            |held: &Held<Parcel>| matches!(held.value.state, State::Waiting | State::Sending);
        let Some(mut held) = held.filter(open) else {
            self.store.finish_job(&job).await?;
            return Ok(true);
        };
        // Whoever had it before died while it was being sent.
        held.value.may_have_come |= held.value.state == State::Sending;
        let due = self.due(&held.value).await?;
        let (store, desk) = (&*self.store, &*self.desk);
        let budget = match due {
            Due::Letter(_) => Some(Budget::of_letters(store, desk.mails_per_day)),
            Due::Text(..) => Some(Budget::of_texts(store, desk.sms_per_day)),
            Due::Call(..) | Due::Nobody => None,
        };
        if let Some(budget) = budget {
            let is_news = held.value.what != What::Question;
            if let Some(wait) = budget.take(is_news, now).await? {
                self.store.return_job(&job, wait).await?;
                return Ok(true);
            }
        }
        held.value.state = State::Sending;
        held.version = self.write(&held).await?;
        match self.send(&held.value, due).await {
            Ok(state) => {
                held.value.state = state;
                held.value.said = None;
                self.write(&held).await?;
                self.store.finish_job(&job).await?;
            }
            Err(unsent) => self.failed(held, &job, unsent).await?,
        }
        Ok(true)
    }

    async fn write(&self, held: &Held<Parcel>) -> Result<u64, StoreError> {
        self.store.write(&held.key, Some(held.version), &json!(held.value), None).await
    }

    /// What `parcel` is, for whoever is still to have it.
    async fn due(&self, parcel: &Parcel) -> Result<Due, StoreError> {
        let store = &*self.store;
        let (to, news) = match &parcel.what {
            What::Question => (subscriber::asked(store, &parcel.to).await?, None),
            What::News(id) => {
                (subscriber::find(store, &parcel.to).await?, News::read(store, id).await?)
            }
        };
        let is_whole = parcel.what == What::Question || news.is_some();
        let Some(to) = to.filter(|_| is_whole) else { return Ok(Due::Nobody) };
        let (desk, again) = (&*self.desk, parcel.may_have_come);
        Ok(match (&to.way, &news) {
            (Way::Mail(_), None) => {
                desk.question(&to, &parcel.id).map_or(Due::Nobody, |one| Due::Letter(one.into()))
            }
            (Way::Mail(_), Some(news)) => desk
                .news(&to, news, (&parcel.id, again))
                .map_or(Due::Nobody, |one| Due::Letter(one.into())),
            // A code that is no longer good is not worth a message.
            (Way::Sms(_), None) if self.clock.wall().0.saturating_sub(to.at.0) > CODE_MS => {
                Due::Nobody
            }
            (Way::Sms(number), None) => Due::Text(number.clone(), desk.code_text(&to)),
            (Way::Sms(number), Some(news)) => Due::Text(number.clone(), desk.news_text(&to, news)),
            (Way::Webhook(url), _) => {
                let challenge = desk.signer.challenge(&to.id, to.at);
                let secret = desk.signer.secret(&to.id);
                let body = match &news {
                    None => letter::challenge(desk, &to, &challenge, &secret),
                    Some(news) => letter::call(desk, &to, news, (&parcel.id, again)),
                };
                let body = body.to_string();
                Due::Call(
                    HookCall { url: url.clone(), body, secret: Secret::new(secret) },
                    challenge,
                )
            }
        })
    }

    /// Sends it; gives how far it has come by that.
    async fn send(&self, parcel: &Parcel, due: Due) -> Result<State, Unsent> {
        let nobody = || Unsent::because("nobody here can send this");
        let is_question = parcel.what == What::Question;
        match due {
            Due::Nobody => return Ok(State::Gone),
            Due::Letter(letter) => {
                let mail = self.couriers.mail.as_ref().ok_or_else(nobody)?;
                in_time(mail.send(&letter)).await??;
            }
            Due::Text(number, text) => {
                let sms = self.couriers.sms.as_ref().ok_or_else(nobody)?;
                in_time(sms.send(&number, &text)).await?.map_err(Unsent::perhaps_for_ever)?;
            }
            Due::Call(call, challenge) => {
                let hook = self.couriers.hook.as_ref().ok_or_else(nobody)?;
                let said = in_time(hook.call(&call)).await?.map_err(Unsent::perhaps_for_ever)?;
                if is_question && !letter::answers(&said, &challenge) {
                    return Err(Unsent::because("it did not answer with the challenge"));
                }
                if is_question {
                    let now = self.clock.wall();
                    let confirmed = subscriber::confirm(&*self.store, &parcel.to, now).await;
                    confirmed.map_err(|error| Unsent::because(&error.to_string()))?;
                }
            }
        }
        Ok(State::Sent)
    }

    /// Notes that a message was not sent, and when it is tried again.
    async fn failed(
        &self,
        mut held: Held<Parcel>,
        job: &Job,
        unsent: Unsent,
    ) -> Result<(), StoreError> {
        let now = self.clock.wall();
        let parcel = &mut held.value;
        parcel.failed += 1;
        parcel.may_have_come |= unsent.unclear;
        let (least, most) = BACK_OFF_MS;
        let doubled = least.saturating_mul(1 << parcel.failed.saturating_sub(1).min(16)).min(most);
        let due = Timestamp(now.0.saturating_add(doubled.max(unsent.wait_ms)));
        let (news, question) = PATIENCE_MS;
        let patience = if parcel.what == What::Question { question } else { news };
        let is_last = !unsent.passing || due.0.saturating_sub(parcel.at.0) > patience;
        parcel.state = if is_last { State::GivenUp } else { State::Waiting };
        parcel.said = Some(unsent.said);
        self.write(&held).await?;
        if unsent.gone {
            // As if they had ended it themselves: nothing more is sent there, and nothing is kept of them.
            subscriber::remove(&*self.store, &held.value.to).await?;
            let told = format!("the subscriber {} is gone: it wants nothing more", held.value.to);
            let event = Event::new(now, EventKind::Notice, Level::Notice, told);
            self.store.append(&event).await?;
            return self.store.finish_job(job).await;
        }
        if !is_last {
            return self.store.return_job(job, due).await;
        }
        if held.value.what != What::Question {
            let said = held.value.said.as_deref().unwrap_or_default();
            let told = format!("the subscriber {} could not be told: {said}", held.value.to);
            let event = Event::new(now, EventKind::Notice, Level::Warning, told);
            self.store.append(&event).await?;
        }
        self.store.finish_job(job).await
    }
}
