//! Tells people how a rollout ended: what, where, how long, who, and why not.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use linkflow_model::role::{Notice, Tone};
use linkflow_model::{EventKind, Level, Release};
use tokio::time::timeout;

use crate::guard::{Patience, guarded};
use crate::{Engine, Run, RunState, StepRecord, StepState};

/// How long people are being told, at most; the lock is held so long.
const WITHIN: Duration = Duration::from_secs(10);
/// How patient to be with one channel.
const PATIENCE: Patience = Patience { each: Duration::from_secs(4), tries: 2 };
/// How many lines of a log are shown.
const LINES: usize = 20;
/// How many changed services are named.
const NAMED: usize = 8;

impl Engine {
    /// Tells every channel how `run`, a rollout of `release`, ended. What cannot be told is an event and nothing more.
    pub(crate) async fn announce(&self, run: &Run, release: &Release, before: Option<&Release>) {
        if self.parts.notify.is_empty() {
            return;
        }
        let took = self.parts.clock.wall().0.saturating_sub(run.at.0);
        let notice = notice(self.parts.stack.as_str(), run, release, before, took);
        let each = self.parts.notify.iter().map(|(name, channel)| {
            let notice = &notice;
            async move {
                let call = || channel.tell(notice);
                let told = timeout(WITHIN, guarded(name, "tell people", PATIENCE, call)).await;
                let why = match told {
                    Ok(Ok(())) => return,
                    Ok(Err(fault)) => fault.to_string(),
                    Err(_) => format!("{name} could not tell people within {WITHIN:?}"),
                };
                let mut event = self.event(EventKind::Notice, Level::Warning, why);
                event.provider = Some(name.clone());
                event.run = Some(run.id.clone());
                self.tell(event).await;
            }
        });
        join_all(each).await;
    }
}

/// What is told of `run`.
fn notice(
    stack: &str,
    run: &Run,
    release: &Release,
    before: Option<&Release>,
    took_ms: u64,
) -> Notice {
    let id = release.id;
    let failed: Vec<&StepRecord> =
        run.steps().filter(|step| step.state == StepState::Failed).collect();
    let (tone, title) = match run.state {
        RunState::Done => (Tone::Good, format!("{stack}: {id} is live")),
        RunState::RolledBack => {
            let back = before.map_or("the release before".to_owned(), |b| b.id.to_string());
            (Tone::Bad, format!("{stack}: {id} failed, {back} serves again"))
        }
        RunState::Failed | RunState::Running => (Tone::Bad, format!("{stack}: {id} failed")),
    };
    let mut lines = Vec::new();
    let text = match failed.first() {
        None => String::new(),
        Some(step) => {
            let said = step.said.as_deref().unwrap_or_default();
            let (why, log) = said.split_once('\n').unwrap_or((said, ""));
            lines.extend(log.lines().map(|l| l.trim_start().trim_start_matches("| ").to_owned()));
            lines.drain(..lines.len().saturating_sub(LINES));
            format!("{}: {}: {why}", step.step.action.provider(), step.step.action)
        }
    };
    let mut facts = vec![("what".to_owned(), what(release, before))];
    let places: BTreeSet<&str> = run.steps().map(|s| s.step.action.provider().as_str()).collect();
    facts.push(("where".to_owned(), places.into_iter().collect::<Vec<_>>().join(", ")));
    facts.push(("took".to_owned(), format!("{}.{} s", took_ms / 1000, took_ms % 1000 / 100)));
    let who = run.owner.who.clone().unwrap_or_else(|| "somebody".to_owned());
    facts.push(("who".to_owned(), format!("{who}, {} on {}", run.owner.what, run.owner.host)));
    let link = run.owner.url.clone().map(|url| ("the CI run".to_owned(), url));
    Notice { tone, key: None, title, text, facts, lines, link }
}

/// The images that differ from the release before; otherwise why there is a release.
fn what(release: &Release, before: Option<&Release>) -> String {
    let is_new = |name| {
        let held = before.and_then(|before| before.services.get(name));
        held.map(|held| &held.image.digest)
    };
    let changed = release.services.iter().filter(|(name, service)| {
        is_new(*name).is_none_or(|digest| *digest != service.image.digest)
    });
    let named: Vec<String> = changed.map(|(_, service)| service.spec.image.to_string()).collect();
    let more = named.len().saturating_sub(NAMED);
    match (named.is_empty(), more) {
        (true, _) => release.why.clone(),
        (false, 0) => named.join(", "),
        (false, more) => format!("{} and {more} more", named[..NAMED].join(", ")),
    }
}
