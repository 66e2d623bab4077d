//! How a domain's registration is, from its registry's words, and when the registry is asked again.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use linkflow_model::domain::day_text;
use linkflow_model::{Condition, DomainState, DomainWord, Registration, Timestamp};

#[cfg(test)]
mod tests;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// With less than this left somebody is needed now.
const GRAVE_MS: u64 = 7 * DAY_MS;

/// A word of a registry that is older says nothing of now.
const STALE_MS: u64 = 7 * DAY_MS;

/// How often in a row a registry must say that there is no such domain: once may be a mistake of its.
const NOBODY: u32 = 2;

/// How long until a registry that did not answer is asked again; twice as long with each time more.
const AGAIN_MS: u64 = 10 * MINUTE_MS;

/// What asks us to wait and does not say for how long is left alone for so long.
const WAIT_MS: u64 = HOUR_MS;

/// Status words of what is lost already, unless it is bought back.
const LOST: [&str; 2] = ["redemption period", "pending delete"];

/// Status words of what no name server knows, although it is registered.
const HELD: [&str; 2] = ["client hold", "server hold"];

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is registered.
    Registered(Registration),
    /// The registry knows no such domain.
    Nobody,
    /// No registry of this ending answers by RDAP.
    Unserved(String),
    /// We are asked to come later: in so many milliseconds, where it says so.
    Later(Option<u64>),
    /// Nothing, or nothing that can be understood; why.
    Silent(String),
}

/// How a domain is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How often its registry is asked.
    pub every_ms: u64,
    /// With less than this left it is told of.
    pub left_ms: u64,
}

/// How it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The condition.
    pub condition: Condition,
    /// Why, in a few words that stay the same while it does.
    pub why: Option<String>,
    /// Whether so little is left that somebody is needed now.
    pub grave: bool,
}

/// How a domain is at `now`, by what is known of it.
///
/// Only a registry's own word makes it down. What is not known is unknown: an ending without RDAP, a registry that tells no
/// end, one that has not answered for a week, and an end that came while it did not answer, for it may have been renewed.
pub fn judge(terms: Terms, state: &DomainState, now: Timestamp) -> Verdict {
    let unknown = |why: String| verdict(Condition::Unknown, Some(why), false);
    let trouble =
        || state.trouble.clone().unwrap_or_else(|| "its registry was not asked yet".into());
    let stale = STALE_MS.max(terms.every_ms * 3);
    match &state.word {
        None => unknown(trouble()),
        Some(DomainWord::Unserved { ending }) => {
            unknown(format!("no registry of `.{ending}` answers by RDAP"))
        }
        Some(_) if now.0.saturating_sub(state.said.0) > stale => unknown(trouble()),
        Some(DomainWord::Nobody { times }) if *times >= NOBODY => {
            verdict(Condition::Down, Some("its registry knows no such domain".into()), true)
        }
        Some(DomainWord::Nobody { .. }) => {
            unknown("its registry knows no such domain, and is asked once more".into())
        }
        Some(DomainWord::Registered(known)) => registered(terms, known, state.said, now),
    }
}

fn registered(terms: Terms, known: &Registration, said: Timestamp, now: Timestamp) -> Verdict {
    let has = |words: [&'static str; 2]| {
        words.into_iter().find(|word| known.status.iter().any(|status| status == word))
    };
    if let Some(word) = has(LOST) {
        return verdict(Condition::Down, Some(format!("its registry says `{word}`")), true);
    }
    if let Some(ends) = known.ends.filter(|ends| *ends <= now) {
        let day = day_text(ends);
        return if said >= ends {
            verdict(Condition::Down, Some(format!("it ended on {day}")), true)
        } else {
            let why = format!("it was to end on {day}, and its registry has not said more since");
            verdict(Condition::Unknown, Some(why), false)
        };
    }
    if let Some(word) = has(HELD) {
        let why = format!("its registry says `{word}`: no name server knows it");
        return verdict(Condition::Degraded, Some(why), true);
    }
    let Some(ends) = known.ends else {
        let why = "its registry does not tell when it ends";
        return verdict(Condition::Unknown, Some(why.into()), false);
    };
    let left = ends.0 - now.0;
    if left < terms.left_ms {
        let why = format!("it ends on {}", day_text(ends));
        return verdict(Condition::Degraded, Some(why), left < GRAVE_MS);
    }
    verdict(Condition::Up, None, false)
}

fn verdict(condition: Condition, why: Option<String>, grave: bool) -> Verdict {
    Verdict { condition, why, grave }
}

/// Takes in what came of asking at `now`, and sets when it is asked again. `share`, of a thousand, spreads those times, so
/// that many domains are not asked for together.
pub fn take(terms: Terms, state: &mut DomainState, asked: Asked, now: Timestamp, share: u64) {
    let spread = |ms: u64| ms - ms / 10 + ms / 5 * (share % 1_000) / 1_000;
    let every = spread(terms.every_ms);
    let wait = match asked {
        Asked::Silent(why) => {
            state.trouble = Some(why);
            let doubled = AGAIN_MS << state.failures.min(10);
            state.failures += 1;
            spread(doubled.min(terms.every_ms))
        }
        Asked::Later(wait) => {
            state.trouble = Some("its registry asks to come later".into());
            state.failures += 1;
            wait.unwrap_or(WAIT_MS << (state.failures - 1).min(4)).clamp(MINUTE_MS, STALE_MS)
        }
        Asked::Unserved(ending) => {
            say(state, DomainWord::Unserved { ending }, now);
            every.max(spread(DAY_MS))
        }
        Asked::Nobody => {
            let before = match state.word {
                Some(DomainWord::Nobody { times }) => times,
                Some(DomainWord::Registered(_) | DomainWord::Unserved { .. }) | None => 0,
            };
            say(state, DomainWord::Nobody { times: before.saturating_add(1) }, now);
            if before + 1 < NOBODY { spread(AGAIN_MS) } else { every }
        }
        Asked::Registered(registration) => {
            if state.registration().and_then(|before| before.ends) != registration.ends {
                state.told_days = None;
            }
            // Whether it was renewed is worth a question as soon as it should have been.
            let after_end = registration.ends.filter(|ends| *ends > now);
            let after_end = after_end.map_or(u64::MAX, |ends| ends.0 - now.0 + MINUTE_MS);
            say(state, DomainWord::Registered(registration), now);
            every.min(after_end.max(HOUR_MS))
        }
    };
    state.next = Timestamp(now.0.saturating_add(wait));
}

fn say(state: &mut DomainState, word: DomainWord, now: Timestamp) {
    (state.word, state.said) = (Some(word), now);
    (state.failures, state.trouble) = (0, None);
}

impl Terms {
    /// Asks its registry `every` so often, and tells of less than `left`.
    pub fn new(every: Duration, left: Duration) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { every_ms: ms(every), left_ms: ms(left) }
    }
}
