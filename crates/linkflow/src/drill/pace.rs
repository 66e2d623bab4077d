//! How long a rollout took beside the provider that it had to wait for longest.

use std::collections::BTreeMap;

use linkflow_engine::{Run, StageRecord};
use linkflow_model::ProviderName;

/// The provider whose own steps in `run` took longest, and how long they took, in milliseconds: what a rollout to that
/// provider alone would have taken.
///
/// Stages come one after another. Within a stage a provider's steps go side by side, but for those that wait for another
/// one there (`after`). What a step waited for at other providers is not counted.
pub(super) fn slowest(run: &Run) -> Option<(ProviderName, u64)> {
    let mut took: BTreeMap<&ProviderName, u64> = BTreeMap::new();
    for stage in &run.stages {
        for (provider, ms) in longest_chains(stage) {
            *took.entry(provider).or_default() += ms;
        }
    }
    let (provider, ms) = took.into_iter().max_by_key(|(_, ms)| *ms)?;
    Some((provider.clone(), ms))
}

/// For each provider of a stage, how long its longest chain of steps took.
fn longest_chains(stage: &StageRecord) -> BTreeMap<&ProviderName, u64> {
    let steps = &stage.steps;
    let own = |at: usize| steps[at].took_ms.unwrap_or(0);
    let is_before = |first: usize, then: usize| {
        let (first, then) = (&steps[first].step, &steps[then].step);
        first.action.provider() == then.action.provider()
            && then.after.contains(&first.action.placement())
    };
    let mut ends: Vec<u64> = (0..steps.len()).map(own).collect();
    // A chain has no more links than there are steps, so after as many rounds every end is the latest.
    for _ in 0..steps.len() {
        for at in 0..steps.len() {
            let before = (0..steps.len()).filter(|first| *first != at && is_before(*first, at));
            let waited = before.map(|first| ends[first]).max().unwrap_or(0);
            ends[at] = waited + own(at);
        }
    }
    let mut longest = BTreeMap::new();
    for (record, end) in steps.iter().zip(ends) {
        let held: &mut u64 = longest.entry(record.step.action.provider()).or_default();
        *held = end.max(*held);
    }
    longest
}

#[cfg(test)]
pub(super) mod tests {
    use linkflow_engine::{Owner, RunKind, RunState, StepRecord, StepState};
    use linkflow_model::{Action, Placement, Step, Timestamp};

    use super::*;

    /// `api@fly:300` took 300 ms; `api@fly:300>web` waited for `web` there; `api@fly:waiting` and `api@fly:intent` are
    /// not over.
    fn step(text: &str) -> StepRecord {
        let (text, after) = text.split_once('>').map_or((text, None), |(t, a)| (t, Some(a)));
        let (place, word) = text.split_once(':').unwrap();
        let (service, provider) = place.split_once('@').unwrap();
        let place = |service: &str| Placement {
            service: service.parse().unwrap(),
            provider: provider.parse().unwrap(),
        };
        let Placement { service, provider } = place(service);
        let action = Action::Scale { service, provider, replicas: 1 };
        let step = Step { after: after.map(place).into_iter().collect(), ..Step::new(action, "") };
        let state = match word {
            "waiting" => StepState::Waiting,
            "intent" => StepState::Intent,
            _ => StepState::Done,
        };
        StepRecord { step, state, said: None, migration: None, took_ms: word.parse().ok() }
    }

    /// A run whose stages are written as their name and their steps.
    pub(in super::super) fn run(stages: &[&str]) -> Run {
        let stage = |text: &&str| {
            let mut words = text.split_whitespace();
            let name = words.next().unwrap().to_owned();
            StageRecord { name, steps: words.map(step).collect() }
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

    #[track_caller]
    fn check(stages: &[&str], expected: Option<(&str, u64)>) {
        let found = slowest(&run(stages)).map(|(provider, ms)| (provider.to_string(), ms));
        assert_eq!(found, expected.map(|(provider, ms)| (provider.to_owned(), ms)));
    }

    #[test]
    fn a_run_without_steps_has_no_slowest_provider() {
        check(&[], None);
    }

    #[test]
    fn stages_follow_one_another_and_the_steps_of_one_go_side_by_side() {
        let canary = "canary api@fly:300 web@fly:200 api@render:100";
        check(&[canary, "rollout web@render:350"], Some(("render", 450)));
        check(&[canary, "rollout web@render:150"], Some(("fly", 300)));
    }

    #[test]
    fn a_step_that_waits_for_another_one_there_comes_after_it() {
        check(&["canary api@fly:300>web web@fly:200>job job@fly:50"], Some(("fly", 550)));
    }
}
