//! What has to change at a vendor so that it watches what it should.

use alloc::string::String;
use alloc::vec::Vec;

use linkflow_model::role::{HeldWatch, Watch, WatchSort, Watching, WorkStage};

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchChanges {
    /// What is made.
    pub create: Vec<Watch>,
    /// What is changed, as it is and as it should be.
    pub change: Vec<(HeldWatch, Watch)>,
    /// What is removed.
    pub remove: Vec<HeldWatch>,
    /// What the vendor cannot do, each with the reason.
    pub left_out: Vec<(Watch, String)>,
}

impl WatchChanges {
    /// Whether nothing has to be written.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.change.is_empty() && self.remove.is_empty()
    }
}

/// What has to change so that of ours there is `wanted`, as far as `fit` lets it be, and nothing else.
///
/// Incidents are history, and so is announced work that is over: what of them is not wanted any more stays.
pub fn watchers(
    wanted: &[Watch],
    held: &[HeldWatch],
    fit: impl Fn(&Watch) -> Result<Watch, String>,
) -> WatchChanges {
    let mut changes = WatchChanges::default();
    let mut free: Vec<&HeldWatch> = held.iter().collect();
    for watch in wanted {
        let fitted = match fit(watch) {
            Ok(fitted) => fitted,
            Err(why) => {
                changes.left_out.push((watch.clone(), why));
                continue;
            }
        };
        let same = |held: &&HeldWatch| {
            held.watch.name == fitted.name && held.watch.what.is_like(&fitted.what)
        };
        match free.iter().position(same) {
            Some(at) => {
                let held = free.swap_remove(at);
                if !fitted.what.is_met_by(&held.watch.what) {
                    changes.change.push((held.clone(), fitted));
                }
            }
            None => changes.create.push(fitted),
        }
    }
    let is_left = |held: &&HeldWatch| !is_history(&held.watch.what);
    changes.remove = free.into_iter().filter(is_left).cloned().collect();
    changes.remove.sort_by(|a, b| a.watch.cmp(&b.watch));
    changes
}

fn is_history(what: &Watching) -> bool {
    let is_over = matches!(what, Watching::Maintenance { stage: WorkStage::Over, .. });
    is_over || what.sort() == WatchSort::Incident
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::format;

    use linkflow_model::IncidentStage;
    use linkflow_model::Timestamp;
    use linkflow_model::role::Schedule;

    use super::*;

    /// `api:60`: asked every minute; `api:tcp`: connected to; `job:beat`: waited for; `x:incident`; `x:work`, `x:over`.
    fn watch(text: &str) -> Watch {
        let (name, how) = text.split_once(':').unwrap();
        let host = "a.example.com".to_owned();
        let what = match how {
            "tcp" => Watching::Tcp { host, port: 1, every_s: 60, timeout_s: 5 },
            "beat" => Watching::Heartbeat { schedule: Schedule::EveryS(60), grace_s: 60 },
            "incident" => Watching::Incident {
                title: name.to_owned(),
                stage: IncidentStage::Resolved,
                began: Timestamp(0),
                components: Vec::new(),
                said: Vec::new(),
            },
            "work" | "over" => Watching::Maintenance {
                title: name.to_owned(),
                text: String::new(),
                from: Timestamp(0),
                minutes: 1,
                stage: if how == "over" { WorkStage::Over } else { WorkStage::ToCome },
                components: Vec::new(),
                tell: true,
            },
            every => Watching::Http {
                url: "https://a.example.com".to_owned(),
                every_s: every.parse().unwrap(),
                timeout_s: 5,
                status: None,
                contains: None,
            },
        };
        Watch { name: name.to_owned(), what }
    }

    /// `wanted` and `held` by words; `expected` as `+name ~name -name !name`.
    #[track_caller]
    fn check(wanted: &str, held: &str, expected: &str) {
        let wanted: Vec<Watch> = wanted.split_whitespace().map(watch).collect();
        let held = held.split_whitespace().enumerate();
        let held: Vec<HeldWatch> =
            held.map(|(n, text)| HeldWatch { id: format!("{n}"), watch: watch(text) }).collect();
        let fit = |watch: &Watch| {
            if watch.name == "never" { Err("it cannot".to_owned()) } else { Ok(watch.clone()) }
        };
        let changes = watchers(&wanted, &held, fit);
        let mut told: Vec<String> = Vec::new();
        told.extend(changes.create.iter().map(|w| format!("+{}", w.name)));
        told.extend(changes.change.iter().map(|(_, w)| format!("~{}", w.name)));
        told.extend(changes.remove.iter().map(|h| format!("-{}", h.watch.name)));
        told.extend(changes.left_out.iter().map(|(w, _)| format!("!{}", w.name)));
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn what_is_not_there_is_made_and_what_is_not_wanted_goes() {
        check("api:60 job:beat", "", "+api +job");
        check("api:60", "api:60 old:60", "-old");
        check("api:60 job:beat", "job:beat api:60", "");
        check("", "api:60", "-api");
    }

    #[test]
    fn what_differs_is_changed_and_another_sort_of_look_is_made_anew() {
        check("api:60", "api:300", "~api");
        check("api:tcp", "api:60", "+api -api");
        check("api:60 api:beat", "api:beat", "+api");
    }

    #[test]
    fn what_is_there_twice_goes_once() {
        check("api:60", "api:60 api:60", "-api");
    }

    #[test]
    fn what_cannot_be_had_is_told_and_its_remains_go() {
        check("never:60 api:60", "", "+api !never");
        check("never:60", "never:60", "-never !never");
    }

    #[test]
    fn an_incident_that_is_over_stays_where_it_is_told() {
        check("", "x:incident", "");
        check("x:incident", "x:incident", "");
    }

    #[test]
    fn work_that_was_called_off_goes_and_what_is_over_stays() {
        check("", "x:work", "-x");
        check("", "x:over", "");
        check("x:over", "x:work", "~x");
        check("x:work", "x:over", "");
        check("x:work", "x:incident", "+x");
    }
}
