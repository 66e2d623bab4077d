//! Who is told of incidents, as the site shows it.

use linkflow_engine as engine;
use linkflow_model::config::Config;
use linkflow_web::operator::{Alerts, Message, MessageState, Post, Tried};

/// The alerts of `config`, of which `posts` could be opened, and what was told, the newest first.
pub(super) fn alerts(
    config: &Config,
    posts: &[engine::AlertPost],
    messages: Vec<engine::Message>,
) -> Alerts {
    let each = config.alerts.iter().map(|(name, alert)| {
        let opened = posts.iter().find(|post| post.name == name.as_str());
        let ways = opened.into_iter().flat_map(|post| &post.channels);
        Post {
            name: name.to_string(),
            ways: ways.map(|channel| channel.name.clone()).collect(),
            otherwise: alert.otherwise.as_ref().map(ToString::to_string),
            unable: opened.is_none().then(|| {
                format!("it could not be opened; `linkflow alerts test {name}` tells why")
            }),
        }
    });
    Alerts { posts: each.collect(), messages: messages.into_iter().rev().map(message).collect() }
}

fn message(held: engine::Message) -> Message {
    Message {
        id: held.id,
        alert: held.post,
        way: held.channel,
        at: held.at.0,
        title: held.notice.title,
        state: match held.state {
            engine::MessageState::Waiting => MessageState::Waiting,
            engine::MessageState::Sending => MessageState::Sending,
            engine::MessageState::Sent => MessageState::Sent,
            engine::MessageState::GivenUp => MessageState::GivenUp,
        },
        failed: held.failed,
        said: held.said,
        may_have_come: held.may_have_come,
        passed_on: held.passed_on,
    }
}

pub(super) fn tried(all: Vec<engine::Tried>) -> Vec<Tried> {
    let one = |held: engine::Tried| Tried { alert: held.alert, way: held.way, failed: held.failed };
    all.into_iter().map(one).collect()
}
