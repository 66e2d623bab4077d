//! How the instances of a service are started again, so that visitors do not notice.

use alloc::vec::Vec;

use linkflow_model::{
    Action, Lifecycle, PlacementView, Plan, ProviderName, ServiceSpec, ServiceView,
};

/// Plans to start `spec` again wherever it runs, or on `only` alone.
///
/// Spares first, one after the other, the serving place last. Visitors are led to a spare that has just proven itself meanwhile. What must never run twice is stopped and
/// proven so before it is started: a provider may start the new instance before the old one has ended.
///
/// What is stopped or asleep starts anew by itself, so it is left alone; so is what its provider does not tell of.
pub fn restart(spec: &ServiceSpec, view: &ServiceView, only: Option<&ProviderName>) -> Plan {
    let mut plan = Plan::default();
    let chosen = view.placements.iter().filter(|p| only.is_none_or(|only| *only == p.provider));
    let (mut spares, mut serving) = (Vec::new(), None);
    for placement in chosen {
        let is_active = view.active.as_ref() == Some(&placement.provider);
        match placement.lifecycle {
            Lifecycle::Absent | Lifecycle::Stopped | Lifecycle::Asleep | Lifecycle::Unknown => {}
            Lifecycle::Running | Lifecycle::Starting | Lifecycle::Failed if is_active => {
                serving = Some(placement);
            }
            Lifecycle::Running | Lifecycle::Starting | Lifecycle::Failed => spares.push(placement),
        }
    }
    if spec.exclusive {
        // A second one that runs is for the loop to stop, and not to be started again.
        if let Some(serving) = serving {
            stop_and_start(spec, serving, &mut plan);
        }
        return plan;
    }
    let again = |placement: &PlacementView| Action::Restart {
        service: spec.name.clone(),
        provider: placement.provider.clone(),
    };
    for spare in &spares {
        plan.then("spare", again(spare), "nobody is led there");
    }
    let Some(serving) = serving else { return plan };
    let lead = |to: &PlacementView| Action::Activate {
        service: spec.name.clone(),
        provider: to.provider.clone(),
    };
    match spares.first().filter(|_| spec.keeps_standby_warm()) {
        Some(spare) => {
            plan.then("shift", lead(spare), "visitors go there while their place is started again");
            plan.then("serving", again(serving), "it comes last");
            plan.then("return", lead(serving), "it was started again");
        }
        None => plan.then("serving", again(serving), "it serves"),
    }
    plan
}

fn stop_and_start(spec: &ServiceSpec, at: &PlacementView, plan: &mut Plan) {
    let scale = |replicas| Action::Scale {
        service: spec.name.clone(),
        provider: at.provider.clone(),
        replicas,
    };
    let prove = Action::ProveStopped { service: spec.name.clone(), provider: at.provider.clone() };
    plan.then("fence", scale(0), "it must never run twice, not even while it is started again");
    plan.then("prove", prove, "it must never run twice");
    plan.then("serving", scale(spec.replicas.max(1)), "it is stopped");
}

#[cfg(test)]
mod tests {
    use linkflow_model::Moment;

    use super::*;
    use crate::stage::{flat, lines, read};

    #[track_caller]
    fn check(world: &str, only: Option<&str>, expected: &str) {
        let (specs, world) = read(world, Moment(10_000));
        let only = only.map(|name| name.parse().unwrap());
        let plan = restart(&specs[0], &world.services[&specs[0].name], only.as_ref());
        assert_eq!(lines(&plan).trim_end(), flat(expected));
    }

    #[test]
    fn spares_go_first_and_visitors_are_led_to_one_while_their_place_is_started_again() {
        check(
            "web api at fly: fly=up@0 railway=up@0 koyeb=down@0 render=absent@0",
            None,
            "spare: restart api on railway (nobody is led there)
             spare: restart api on koyeb (nobody is led there)
             shift: serve api from railway (visitors go there while their place is started again)
             serving: restart api on fly (it comes last)
             return: serve api from fly (it was started again)",
        );
    }

    #[test]
    fn one_place_is_started_again_alone() {
        let world = "web api at fly: fly=up@0 railway=up@0";
        check(world, Some("railway"), "spare: restart api on railway (nobody is led there)");
        check(world, Some("fly"), "serving: restart api on fly (it serves)");
        check("web api at fly: fly=up@0 railway=stopped@0", Some("railway"), "");
    }

    #[test]
    fn what_must_never_run_twice_is_proven_stopped_before_it_is_started() {
        check(
            "exclusive timer at fly: fly=running@0 railway=stopped@0",
            None,
            "fence: stop timer on fly (it must never run twice, not even while it is started again)
             prove: prove that timer has stopped on fly (it must never run twice)
             serving: run 1 of timer on fly (it is stopped)",
        );
    }

    #[test]
    fn what_a_provider_does_not_tell_of_is_left_alone() {
        check(
            "worker jobs at fly: fly=running@0 railway=unknown@0",
            None,
            "serving: restart jobs on fly (it serves)",
        );
    }
}
