//! How long a rollout took beside what had to take time: its slowest provider, and the steps that must follow one another.

use std::collections::BTreeMap;

use linkflow_engine::{Run, StepRecord};
use linkflow_model::{Action, ProviderName, ServiceName};

/// Stages that everything after them waits for, whatever service it is of: no service is touched before its data is
/// migrated, and none beyond its canary before every canary has proven itself.
const GATES: [&str; 2] = ["migrate", "canary"];

/// The least that a rollout could have taken, by how long each of its steps took, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Least {
    /// The longest chain of steps that must follow one another: the migration, the canaries, then of one service its
    /// spares, its stop and the proof of it, the drain, its own place, and the drain after the way back.
    pub(super) chain_ms: u64,
    /// The provider whose own steps took longest.
    pub(super) slowest: ProviderName,
    /// How long these took: the longest in each stage, as those of one stage go side by side.
    pub(super) slowest_ms: u64,
}

/// A step with its stage.
struct Placed<'a> {
    stage: usize,
    name: &'a str,
    record: &'a StepRecord,
}

impl Least {
    /// Of `run`; `None` when it had no step. `drain_ms` is waited after visitors of a service that `is_probed` were led
    /// elsewhere. It is not asked of the engine what waits for what: both should not be wrong in the same way.
    pub(super) fn of(
        run: &Run,
        drain_ms: u64,
        is_probed: impl Fn(&ServiceName) -> bool,
    ) -> Option<Self> {
        let placed = run.stages.iter().enumerate().flat_map(|(stage, held)| {
            held.steps.iter().map(move |record| Placed { stage, name: &held.name, record })
        });
        let steps: Vec<Placed<'_>> = placed.collect();
        let drain = |step: &Placed<'_>| match &step.record.step.action {
            Action::Activate { service, .. } if is_probed(service) => drain_ms,
            _ => 0,
        };
        let mut ends = vec![0; steps.len()];
        // Within a stage a step may wait for a later one: a chain has no more links than there are steps.
        for _ in 0..steps.len() {
            for (at, step) in steps.iter().enumerate() {
                let waited = steps.iter().zip(&ends).filter_map(|(other, end)| {
                    let drained = if other.stage < step.stage { drain(other) } else { 0 };
                    step.follows(other).then_some(end + drained)
                });
                let begins = waited.max().unwrap_or(0);
                ends[at] = begins + step.record.took_ms.unwrap_or(0);
            }
        }
        let chain_ms = steps.iter().zip(ends).map(|(step, end)| end + drain(step)).max()?;
        let (slowest, slowest_ms) = slowest(&steps)?;
        Some(Self { chain_ms, slowest, slowest_ms })
    }
}

impl Placed<'_> {
    fn follows(&self, other: &Self) -> bool {
        let (own, others) = (&self.record.step, &other.record.step);
        if other.stage == self.stage {
            return own.after.contains(&others.action.placement());
        }
        other.stage < self.stage
            && (GATES.contains(&other.name) || others.action.service() == own.action.service())
    }
}

/// The provider whose own steps took longest.
fn slowest(steps: &[Placed<'_>]) -> Option<(ProviderName, u64)> {
    let mut longest: BTreeMap<(&ProviderName, usize), u64> = BTreeMap::new();
    for step in steps {
        let held = longest.entry((step.record.step.action.provider(), step.stage)).or_default();
        *held = step.record.took_ms.unwrap_or(0).max(*held);
    }
    let mut took: BTreeMap<&ProviderName, u64> = BTreeMap::new();
    for ((provider, _), ms) in longest {
        *took.entry(provider).or_default() += ms;
    }
    let (provider, ms) = took.into_iter().max_by_key(|(_, ms)| *ms)?;
    Some((provider.clone(), ms))
}

#[cfg(test)]
mod tests {
    use linkflow_engine::{Owner, RunKind, RunState, StageRecord, StepState};
    use linkflow_model::{Placement, ReleaseId, Step, Timestamp};

    use super::*;

    /// `api@fly:300` took 300 ms; `api@fly:300>web` waited for `web` there; `api@fly:waiting` and `api@fly:intent` are
    /// not over.
    fn step(stage: &str, text: &str) -> StepRecord {
        let (text, after) = text.split_once('>').map_or((text, None), |(t, a)| (t, Some(a)));
        let (place, word) = text.split_once(':').unwrap();
        let (service, provider) = place.split_once('@').unwrap();
        let place = |service: &str| Placement {
            service: service.parse().unwrap(),
            provider: provider.parse().unwrap(),
        };
        let Placement { service, provider } = place(service);
        let release = ReleaseId(2);
        let action = match stage {
            "migrate" => Action::Migrate { service, provider, release },
            "shift" | "return" => Action::Activate { service, provider },
            _ => Action::Scale { service, provider, replicas: 1 },
        };
        let step = Step { after: after.map(place).into_iter().collect(), ..Step::new(action, "") };
        let state = match word {
            "waiting" => StepState::Waiting,
            "intent" => StepState::Intent,
            _ => StepState::Done,
        };
        StepRecord { step, state, said: None, migration: None, took_ms: word.parse().ok() }
    }

    /// A run whose stages are written as their name and their steps.
    fn run(stages: &[&str]) -> Run {
        let stage = |text: &&str| {
            let mut words = text.split_whitespace();
            let name = words.next().unwrap().to_owned();
            let steps = words.map(|text| step(&name, text)).collect();
            let apart = matches!(name.as_str(), "rollout" | "fence" | "serving");
            StageRecord { name, steps, apart }
        };
        let owner = Owner {
            id: "1".to_owned(),
            host: "here".to_owned(),
            pid: 1,
            what: "test".to_owned(),
            who: None,
            url: None,
        };
        Run {
            id: "run-000001".to_owned(),
            kind: RunKind::Deploy,
            why: String::new(),
            at: Timestamp(0),
            owner,
            state: RunState::Running,
            release: None,
            stages: stages.iter().map(stage).collect(),
        }
    }

    /// `slowest` is the provider and its own time, `chain` what must follow one another; a drain takes 500 ms.
    #[track_caller]
    fn check(stages: &[&str], slowest: &str, chain: u64) {
        let least = Least::of(&run(stages), 500, |service| service.as_str() != "job").unwrap();
        let own = format!("{} {}", least.slowest, least.slowest_ms);
        assert_eq!((own.as_str(), least.chain_ms), (slowest, chain), "{stages:?}");
    }

    #[test]
    fn a_run_without_steps_has_no_least() {
        assert_eq!(Least::of(&run(&[]), 500, |_| true), None);
    }

    #[test]
    fn every_canary_is_waited_for_and_then_each_service_for_itself() {
        let canary = "canary api@fly:300 web@render:100";
        check(&[canary, "rollout web@azure:900", "serving api@zeabur:200"], "azure 900", 1_200);
        check(&[canary, "rollout web@azure:900", "serving web@render:50"], "azure 900", 1_250);
        check(&["migrate api@azure:700", "serving web@fly:300"], "azure 700", 1_000);
    }

    #[test]
    fn visitors_are_drained_before_their_place_is_updated_and_when_they_are_back() {
        let stages = ["shift api@fly:5", "serving api@azure:300", "return api@azure:5"];
        check(&stages, "azure 305", 5 + 500 + 300 + 5 + 500);
        check(&["serving job@fly:300", "return job@fly:5"], "fly 305", 305);
    }

    #[test]
    fn a_step_that_waits_for_another_one_comes_after_it() {
        let stages = ["canary api@fly:300>web web@fly:200>job job@fly:50"];
        check(&stages, "fly 300", 550);
    }
}
