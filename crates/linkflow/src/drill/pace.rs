//! How long a rollout took beside the provider that it had to wait for longest.

use std::collections::BTreeMap;

use linkflow_engine::{Run, StageRecord, StepRecord};
use linkflow_model::{Action, ProviderName, ServiceName};

/// What a rollout to its slowest provider alone would have taken, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slowest {
    /// The provider whose own steps took longest.
    pub(super) provider: ProviderName,
    /// How long these took, one after another.
    pub(super) own_ms: u64,
    /// How long the migrations took: nothing else begins before they have ended, whoever runs them.
    pub(super) migrations_ms: u64,
    /// How long was waited so that requests could end where visitors were led away, as the config asks.
    pub(super) drains_ms: u64,
}

impl Slowest {
    /// Of `run`; `None` when it had no step at any provider. `drain_ms` is waited in each stage that leads visitors, of
    /// services that `is_probed`, elsewhere.
    ///
    /// Stages come one after another. Within a stage a provider's steps go side by side, but for those that wait for
    /// another one there (`after`). What a step waited for at other providers is not counted.
    pub(super) fn of(
        run: &Run,
        drain_ms: u64,
        is_probed: impl Fn(&ServiceName) -> bool,
    ) -> Option<Self> {
        let mut took: BTreeMap<&ProviderName, u64> = BTreeMap::new();
        let is_migration = |step: &&StepRecord| matches!(step.step.action, Action::Migrate { .. });
        let migrations_ms = run.steps().filter(is_migration).filter_map(|step| step.took_ms).sum();
        for stage in run.stages.iter().filter(|stage| !stage.steps.iter().any(|s| is_migration(&s)))
        {
            for (provider, ms) in longest_chains(stage) {
                *took.entry(provider).or_default() += ms;
            }
        }
        let leads = |step: &StepRecord| match &step.step.action {
            Action::Activate { service, .. } => is_probed(service),
            _ => false,
        };
        let led = run.stages.iter().filter(|stage| stage.steps.iter().any(leads)).count();
        let (provider, own_ms) = took.into_iter().max_by_key(|(_, ms)| *ms)?;
        let drains_ms = drain_ms * u64::try_from(led).unwrap_or(0);
        Some(Self { provider: provider.clone(), own_ms, migrations_ms, drains_ms })
    }

    /// All of it.
    pub(super) fn whole_ms(&self) -> u64 {
        self.own_ms + self.migrations_ms + self.drains_ms
    }
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
    use linkflow_engine::{Owner, RunKind, RunState, StepState};
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
    pub(in super::super) fn run(stages: &[&str]) -> Run {
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

    #[track_caller]
    fn check(stages: &[&str], expected: Option<(&str, u64)>) {
        let found = Slowest::of(&run(stages), 500, |service| service.as_str() != "job");
        let found = found.map(|slowest| (slowest.provider.to_string(), slowest.whole_ms()));
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
    fn the_migration_and_drains_are_waited_for_whoever_is_slowest() {
        let stages = ["migrate api@azure:700", "serving api@fly:300", "return api@fly:5"];
        check(&stages, Some(("fly", 700 + 305 + 500)));
        check(&["serving job@fly:300", "return job@fly:5"], Some(("fly", 305)));
    }

    #[test]
    fn a_step_that_waits_for_another_one_there_comes_after_it() {
        check(&["canary api@fly:300>web web@fly:200>job job@fly:50"], Some(("fly", 550)));
    }
}
