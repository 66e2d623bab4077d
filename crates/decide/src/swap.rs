//! One provider in another's place: the way there, the way back, and what is left to do afterwards.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use linkflow_model::{
    Action, Change, Digest, Fingerprint, Health, Lifecycle, Plan, ProviderName, ReleaseId,
    ServiceSpec, ServiceView, Stage, Step, World,
};

#[cfg(test)]
mod tests;

/// One service whose provider is swapped.
#[derive(Clone, Debug, PartialEq)]
pub struct Swapped<'a> {
    /// The service, with the new provider in the old one's place.
    pub spec: &'a ServiceSpec,
    /// The provider that is left.
    pub old: &'a ProviderName,
    /// The provider that takes its place.
    pub new: &'a ProviderName,
    /// The release that says so.
    pub release: ReleaseId,
    /// The image by digest.
    pub digest: &'a Digest,
    /// What the new placement should be, in one hash.
    pub fingerprint: &'a Fingerprint,
}

/// How a swap is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// How long the new placement serves before the old one is let go, in milliseconds. Until then the way back is one
    /// step.
    pub soak_ms: u64,
    /// Whether the old placement is deleted; otherwise it is only forgotten.
    pub delete: bool,
    /// Whether the old provider answers. Where it does not, nothing is asked of it.
    pub old_answers: bool,
    /// Whether a person vouches that nothing runs at an old provider that cannot be asked.
    pub vouched: bool,
}

/// A swap as plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swap {
    /// The way there.
    pub forth: Plan,
    /// The way back, from wherever the way there has got to.
    pub back: Plan,
    /// What is done with the old placements when the new ones have proven themselves. What of it does not work harms
    /// nobody.
    pub after: Plan,
}

/// Plans the swap of each service. What cannot be done safely is said in `forth.held`, and then the service is left
/// as it is.
pub fn swap(swapped: &[Swapped<'_>], world: &World, manner: Manner) -> Swap {
    let mut stages = Stages::default();
    let mut done = Swap::default();
    let none = ServiceView::default();
    for one in swapped {
        let view = world.services.get(&one.spec.name).unwrap_or(&none);
        if let Some(why) = one.refused(view, manner) {
            done.forth.hold(Some(&one.spec.name), why);
            continue;
        }
        one.forth(view, manner, &mut stages);
        one.back(view, &mut stages);
        one.after(view, manner, &mut stages);
    }
    done.forth.stages = joined(stages.forth);
    done.back.stages = joined(stages.back);
    done.after.stages = joined(stages.after);
    done
}

impl Swapped<'_> {
    /// Why this service cannot be swapped now.
    fn refused(&self, view: &ServiceView, manner: Manner) -> Option<String> {
        let (service, old) = (&self.spec.name, self.old);
        let may_run_there = view.active.as_ref() == Some(old) || view.may_run.contains(old);
        (self.spec.exclusive && may_run_there && !manner.old_answers && !manner.vouched).then(|| {
            format!(
                "{service} must never run twice, and {old} does not answer, so its stop cannot be proven; when you know \
                 that it is stopped there, say `--vouch-stopped`"
            )
        })
    }

    fn forth(&self, view: &ServiceView, manner: Manner, stages: &mut Stages) {
        let warm = self.spec.keeps_standby_warm();
        let replicas = if warm { self.replicas() } else { 0 };
        if !self.is_there(view) {
            let action = Action::Deploy {
                service: self.spec.name.clone(),
                provider: self.new.clone(),
                release: self.release,
                replicas,
            };
            let changes = Vec::from([Change {
                field: "image".to_owned(),
                from: None,
                to: Some(self.digest.to_string()),
            }]);
            let why = format!("it takes the place of {}", self.old);
            stages.forth.push(("provision", Step { changes, ..Step::new(action, why) }));
        }
        if !self.is_at_stake(view) {
            return;
        }
        if self.is_active(view) {
            self.lead_over(manner, stages);
        }
        if manner.soak_ms > 0 {
            let (service, provider) = (self.spec.name.clone(), self.new.clone());
            let soak = Action::Soak { service, provider, ms: manner.soak_ms };
            stages.forth("soak", soak, "the way back is one step until then");
        }
    }

    fn lead_over(&self, manner: Manner, stages: &mut Stages) {
        if self.spec.exclusive && manner.old_answers {
            stages.forth("fence", self.scale(self.old, 0), "it must never run twice");
            stages.forth("prove", self.prove(self.old), "it must never run twice");
        }
        if !self.spec.keeps_standby_warm() {
            stages.forth("start", self.scale(self.new, self.replicas()), "it runs where it serves");
        }
        stages.forth(
            "shift",
            self.activate(self.new),
            &format!("it takes the place of {}", self.old),
        );
    }

    fn back(&self, view: &ServiceView, stages: &mut Stages) {
        if self.is_at_stake(view) {
            if self.spec.exclusive {
                stages.back("fence", self.scale(self.new, 0), "it must never run twice");
                stages.back("prove", self.prove(self.new), "it must never run twice");
            }
            if !self.spec.keeps_standby_warm() {
                stages.back("start", self.scale(self.old, self.replicas()), "it goes back");
            }
            stages.back("shift", self.activate(self.old), "the swap did not hold");
        }
        if self.is_absent(view) {
            let (service, provider) = (self.spec.name.clone(), self.new.clone());
            stages.back("clear", Action::Delete { service, provider }, "it was not there before");
        }
    }

    fn after(&self, view: &ServiceView, manner: Manner, stages: &mut Stages) {
        if !manner.old_answers {
            return;
        }
        let held = view.on(self.old).map_or(Lifecycle::Absent, |p| p.lifecycle);
        if manner.delete && held != Lifecycle::Absent {
            let (service, provider) = (self.spec.name.clone(), self.old.clone());
            stages.after("delete", Action::Delete { service, provider }, "it is no longer needed");
        } else if !self.spec.keeps_standby_warm() && !self.spec.exclusive && self.is_at_stake(view)
        {
            stages.after("stop", self.scale(self.old, 0), "it runs elsewhere now");
        }
    }

    /// Whether it serves from the old place, or from the new one already because it was led there meanwhile.
    fn is_at_stake(&self, view: &ServiceView) -> bool {
        self.is_active(view) || view.active.as_ref() == Some(self.new)
    }

    fn is_active(&self, view: &ServiceView) -> bool {
        view.active.as_ref() == Some(self.old)
    }

    /// Whether the new placement is as wanted already, and proven to answer.
    fn is_there(&self, view: &ServiceView) -> bool {
        view.on(self.new).is_some_and(|p| {
            let fits = p.lifecycle != Lifecycle::Absent
                && p.fingerprint.as_ref() == Some(self.fingerprint);
            fits && (p.health == Health::Up || !self.spec.keeps_standby_warm())
        })
    }

    /// Whether the new provider has nothing of this service yet.
    fn is_absent(&self, view: &ServiceView) -> bool {
        view.on(self.new).is_none_or(|p| p.lifecycle == Lifecycle::Absent)
    }

    fn replicas(&self) -> u32 {
        self.spec.replicas.max(1)
    }

    fn scale(&self, provider: &ProviderName, replicas: u32) -> Action {
        Action::Scale { service: self.spec.name.clone(), provider: provider.clone(), replicas }
    }

    fn prove(&self, provider: &ProviderName) -> Action {
        Action::ProveStopped { service: self.spec.name.clone(), provider: provider.clone() }
    }

    fn activate(&self, provider: &ProviderName) -> Action {
        Action::Activate { service: self.spec.name.clone(), provider: provider.clone() }
    }
}

/// Steps by the names of their stages, in the order they came.
#[derive(Default)]
struct Stages {
    forth: Vec<(&'static str, Step)>,
    back: Vec<(&'static str, Step)>,
    after: Vec<(&'static str, Step)>,
}

impl Stages {
    fn forth(&mut self, stage: &'static str, action: Action, why: &str) {
        self.forth.push((stage, plain(action, why)));
    }

    fn back(&mut self, stage: &'static str, action: Action, why: &str) {
        self.back.push((stage, plain(action, why)));
    }

    fn after(&mut self, stage: &'static str, action: Action, why: &str) {
        self.after.push((stage, plain(action, why)));
    }
}

fn plain(action: Action, why: &str) -> Step {
    Step::new(action, why)
}

/// All stages in their order; steps of the same stage side by side.
fn joined(steps: Vec<(&'static str, Step)>) -> Vec<Stage> {
    const ORDER: [&str; 9] =
        ["provision", "fence", "prove", "start", "shift", "soak", "clear", "stop", "delete"];
    let mut stages: Vec<Stage> = ORDER.iter().map(|name| Stage::of(name, Vec::new())).collect();
    for (name, step) in steps {
        if let Some(stage) = stages.iter_mut().find(|stage| stage.name == name) {
            stage.steps.push(step);
        }
    }
    stages.retain(|stage| !stage.steps.is_empty());
    stages
}
