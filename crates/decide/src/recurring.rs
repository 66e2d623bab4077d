//! Work that is done again and again: each time that comes is announced like any other work.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use linkflow_model::config::Window;
use linkflow_model::incident::minute_text;
use linkflow_model::{ItemName, Maintenance, Recurs, Timestamp};

#[cfg(test)]
mod tests;

/// How many times of one window are announced at most.
const TIMES: usize = 8;

/// How long what is over is remembered.
const KEPT_MS: u64 = 90 * 86_400_000;

/// What is to be written, and what is to be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// New, or otherwise than it stands.
    pub write: Vec<Maintenance>,
    /// Over for long.
    pub forget: Vec<Maintenance>,
}

/// What of the announced work `held` has to change at `now`, so that the next times of `windows` stand there.
///
/// What has begun is left alone: its end may have been said by a person. So is what a person called off. Before it begins,
/// what the config asks for otherwise is changed, and what it has no more is withdrawn.
pub fn recurring(
    windows: &BTreeMap<ItemName, Window>,
    held: &[Maintenance],
    now: Timestamp,
) -> Announced {
    let by_id: BTreeMap<&str, &Maintenance> =
        held.iter().map(|work| (work.id.as_str(), work)).collect();
    let due = windows.iter().flat_map(|(name, window)| times(name, window, now));
    let new = due.filter(|work| !by_id.contains_key(work.id.as_str()));
    let mut announced = Announced { write: new.collect(), forget: Vec::new() };
    for work in held {
        let Some(recurs) = &work.recurs else { continue };
        if work.to.0.saturating_add(KEPT_MS) < now.0 {
            announced.forget.push(work.clone());
        } else if work.from > now {
            let window = windows.iter().find(|(name, _)| name.as_str() == recurs.name);
            let window = window.filter(|(_, window)| begins_at(window, work.from));
            let wanted = window.map(|(name, window)| at(name, window, work.from, now));
            announced.write.extend(changed(work, recurs, wanted, now));
        }
    }
    announced
}

/// The next time of `window`, called `name`, whether it is announced already or not. `None` when there is none.
pub fn next_time(name: &ItemName, window: &Window, now: Timestamp) -> Option<Maintenance> {
    window.begins(now).map(|from| at(name, window, from, now))
}

/// The times that have to be announced by `now`: that which is under way, and those that come soon.
fn times(name: &ItemName, window: &Window, now: Timestamp) -> Vec<Maintenance> {
    let ahead = u64::try_from(window.ahead.as_millis()).unwrap_or(u64::MAX);
    let until = now.0.saturating_add(ahead);
    let first = window.begins(Timestamp(now.0.saturating_sub(window.lasts_ms())));
    let all = core::iter::successors(first, |from| window.begins(*from));
    let soon = all.take_while(|from| from.0 <= until).take(TIMES);
    soon.map(|from| at(name, window, from, now)).collect()
}

fn begins_at(window: &Window, from: Timestamp) -> bool {
    window.begins(Timestamp(from.0.saturating_sub(1))) == Some(from)
}

/// The time of `window` that begins at `from`. Its id follows from that, so it is announced once.
fn at(name: &ItemName, window: &Window, from: Timestamp, now: Timestamp) -> Maintenance {
    Maintenance {
        id: format!("{name}-{}", minute_text(from)),
        title: window.title.clone(),
        text: window.text.clone(),
        from,
        to: Timestamp(from.0.saturating_add(window.lasts_ms())),
        subjects: window.on.to_vec(),
        cancelled: false,
        sequence: 0,
        changed: now,
        recurs: Some(Recurs { name: name.as_str().into(), quiet: !window.tell, withdrawn: false }),
    }
}

/// `held`, which has not begun, as the config wants it, if it is otherwise; `None` wanted: it has to go.
fn changed(
    held: &Maintenance,
    recurs: &Recurs,
    wanted: Option<Maintenance>,
    now: Timestamp,
) -> Option<Maintenance> {
    if held.cancelled && !recurs.withdrawn {
        return None;
    }
    let gone = || {
        let recurs = Some(Recurs { withdrawn: true, ..recurs.clone() });
        Maintenance { cancelled: true, recurs, ..held.clone() }
    };
    let wanted = wanted.unwrap_or_else(gone);
    let as_held = Maintenance { sequence: held.sequence, changed: held.changed, ..wanted };
    let again =
        |work| Maintenance { sequence: held.sequence.saturating_add(1), changed: now, ..work };
    (as_held != *held).then(|| again(as_held))
}
