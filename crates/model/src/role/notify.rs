//! Telling people.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Fault;

/// How a notice is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Something went well.
    Good,
    /// Good to know.
    Plain,
    /// Somebody should look.
    Warning,
    /// Something failed.
    Bad,
}

/// Something that people are told, in a form that each channel lays out in its own way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// How it is meant.
    pub tone: Tone,
    /// What it is about. A channel that can shows all with the same key as one thing, and takes a good one for its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// One line: `linkflow: r12 is live`.
    pub title: String,
    /// A sentence or two; may be empty.
    pub text: String,
    /// Short facts by name: what, where, how long, who.
    pub facts: Vec<(String, String)>,
    /// Lines of a log, oldest first, shown as they are.
    pub lines: Vec<String>,
    /// Where there is more, with its name.
    pub link: Option<(String, String)>,
}

/// A notice on its way, with what is known of it beside what it says.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// What is told.
    pub notice: &'a Notice,
    /// The same for each try of the same message to the same channel.
    pub id: &'a str,
    /// Whether an earlier try may have arrived.
    pub again: bool,
    /// What the channel gave back when it last told something with the same [`Notice::key`].
    pub held: Option<&'a str>,
}

impl Delivery<'_> {
    /// The notice, with a word on it when it may have come before.
    pub fn marked(&self) -> Notice {
        let mut notice = self.notice.clone();
        if self.again {
            let text = "this may have been told before: it was being sent when something broke";
            notice.facts.push(("again".to_owned(), text.to_owned()));
        }
        notice
    }
}

/// A channel to people.
#[async_trait]
pub trait Notify: Send + Sync {
    /// Tells `notice`. No retries in here; a [`Fault`] says what the caller may do.
    async fn tell(&self, notice: &Notice) -> Result<(), Fault>;

    /// Tells what is on its way. Gives what to hand in as [`Delivery::held`] with the next of the same key: a channel that
    /// shows what belongs together as one finds it by that.
    async fn deliver(&self, delivery: &Delivery<'_>) -> Result<Option<String>, Fault> {
        self.tell(&delivery.marked()).await.map(|()| None)
    }

    /// How long it may take for one message.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}
