//! Whoever collects errors: whether it takes the token and knows the organization, and whether its webhooks are taken.

use futures_util::future::join_all;
use linkflow_engine::{Patience, guarded};
use serde_json::json;

use crate::wire::asking::Asking;
use crate::wire::errors::{Opened, senders};

use super::{Chapter, Patient, State, explained, state_of};

/// A chapter for each.
pub(super) async fn examine(patient: &Patient<'_>, asking: &Asking) -> Vec<Chapter> {
    let all = asking.errors.iter().filter(|(name, _)| patient.is_asked(name));
    join_all(all.map(|opened| chapter(patient, opened))).await
}

async fn chapter(patient: &Patient<'_>, (name, opened): &Opened) -> Chapter {
    let provider = patient.config.provider(name);
    let title = provider.as_ref().map_or("", |provider| provider.kind().title);
    let mut chapter = Chapter::new(name.as_str(), title);
    let errors = match opened {
        Ok(errors) => errors,
        Err(error) => {
            chapter.add(State::Broken, error.to_string(), error.help());
            return chapter;
        }
    };
    match guarded(name, "read issues", Patience::LOOK, || errors.reach()).await {
        Ok(()) => {
            let what = "the token is accepted and reads issues of the organization";
            chapter.well(what.to_owned());
        }
        Err(fault) => {
            if let Some(provider) = &provider {
                let (what, help) = explained(provider, name, &fault);
                chapter.add(state_of(&fault), what, help);
            }
            chapter.facts = json!({ "fault": fault });
        }
    }
    if !senders(patient.config).contains_key(name) {
        let what = "its webhooks are not taken: it has no `client_secret`";
        chapter.known(what.to_owned());
    }
    chapter
}
