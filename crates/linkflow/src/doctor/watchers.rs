//! Whoever watches from outside: whether it takes the token, and what is not watched as the config asks.

use futures_util::future::join_all;
use linkflow_decide::watchers;
use linkflow_engine::{Patience, guarded};
use serde_json::json;

use crate::wire::asking::Asking;
use crate::wire::watchers::{Asked, Opened};

use super::{Chapter, Patient, State, explained, state_of};

/// A chapter for each.
pub(super) async fn examine(patient: &Patient<'_>, asking: &Asking) -> Vec<Chapter> {
    let asked = Asked::of(patient.config);
    let all = asking.watchers.iter().filter(|(name, _)| patient.is_asked(name));
    join_all(all.map(|opened| chapter(patient, opened, &asked))).await
}

async fn chapter(patient: &Patient<'_>, (name, opened): &Opened, asked: &Asked) -> Chapter {
    let provider = patient.config.provider(name);
    let title = provider.as_ref().map_or("", |provider| provider.kind().title);
    let mut chapter = Chapter::new(name.as_str(), title);
    let watcher = match opened {
        Ok(watcher) => watcher,
        Err(error) => {
            chapter.add(State::Broken, error.to_string(), error.help());
            return chapter;
        }
    };
    match guarded(name, "tell what it watches", Patience::LOOK, || watcher.held()).await {
        Ok(held) => {
            let held = asked.known(name, held);
            let wanted = asked.wanted(name, &held);
            let changes = watchers(&wanted, &held, |watch| watcher.fit(watch));
            chapter.well(format!(
                "the token is accepted; {} of this stack is there",
                count(held.len())
            ));
            let due = changes.create.len() + changes.change.len() + changes.remove.len();
            if due > 0 {
                chapter.add(
                    State::Doubtful,
                    format!("{} is not as the config asks", count(due)),
                    "`linkflow watchers plan` lists it, `linkflow watchers apply` puts it right",
                );
            }
            for (watch, why) in &changes.left_out {
                chapter.known(format!("{} cannot be there: {why}", watch.name));
            }
            chapter.facts = json!({ "held": held, "due": due });
        }
        Err(fault) => {
            if let Some(provider) = &provider {
                let (what, help) = explained(provider, name, &fault);
                chapter.add(state_of(&fault), what, help);
            }
            chapter.facts = json!({ "fault": fault });
        }
    }
    chapter
}

fn count(number: usize) -> String {
    match number {
        0 => "nothing".to_owned(),
        1 => "one thing".to_owned(),
        _ => format!("{number} things"),
    }
}
