//! Who waits for whom, in rows: needs, what stands, and each step with what it comes after.

use linkflow_model::{Allowed, Fingerprint, Moment, ReleaseId};

use crate::stage::{flat, image, read};
use crate::{Wanted, rollout};

/// `needs` is a line for each service that needs others: `api: engine`. Every placement wants the image `b`.
#[track_caller]
fn check(needs: &str, allowed: Allowed, world: &str, expected: &str) {
    let (mut specs, world) = read(world, Moment(60_000));
    for line in needs.lines() {
        let (name, needed) = line.trim().split_once(": ").unwrap();
        let spec = specs.iter_mut().find(|spec| spec.name.as_str() == name).unwrap();
        spec.needs = needed.split(' ').map(|name| name.parse().unwrap()).collect();
    }
    let (digest, fingerprint) = (image("b"), Fingerprint("b1".to_owned()));
    let rows: Vec<Wanted<'_>> = specs
        .iter()
        .flat_map(|spec| {
            let row = |provider| Wanted {
                spec,
                provider,
                release: ReleaseId(2),
                digest: &digest,
                fingerprint: &fingerprint,
                changes: Vec::new(),
            };
            spec.runs_on.iter().map(row)
        })
        .collect();
    let plan = rollout(&rows, &world, allowed);
    let mut told = String::new();
    for stage in &plan.stages {
        for step in stage.steps.iter().filter(|step| !step.after.is_empty()) {
            let after = step.after.iter().map(|p| format!("{} on {}", p.service, p.provider));
            let after: Vec<String> = after.collect();
            told += &format!("{}: {} after {}\n", stage.name, step.action, after.join(", "));
        }
    }
    assert_eq!(flat(&told), flat(expected));
}

#[test]
fn a_first_deploy_starts_a_callee_before_its_caller_and_then_waits_no_more() {
    check(
        "api: engine",
        Allowed::Count(1),
        "web api: fly=absent@0 railway=absent@0 azure=absent@0
         web engine: fly=absent@0 railway=absent@0 azure=absent@0",
        "canary: deploy r2 of api on railway after engine on railway",
    );
}

#[test]
fn what_runs_already_is_not_waited_for_but_visitors_come_to_the_callee_first() {
    check(
        "api: engine",
        Allowed::Count(1),
        "web api at fly: fly=up@0#a1 railway=up@0#a1
         web engine at fly: fly=up@0#a1 railway=up@0#a1",
        "shift: serve api from railway after engine on railway",
    );
}

#[test]
fn a_new_callee_of_a_running_service_is_waited_for() {
    check(
        "api: engine",
        Allowed::Count(1),
        "web api at fly: fly=up@0#a1 railway=up@0#a1
         web engine: fly=absent@0 railway=absent@0",
        "canary: deploy r2 of api on railway after engine on railway",
    );
}

#[test]
fn services_that_need_each_other_do_not_wait_for_ever() {
    check(
        "api: engine
         engine: api",
        Allowed::Count(1),
        "web api: fly=absent@0 railway=absent@0
         web engine: fly=absent@0 railway=absent@0",
        "canary: deploy r2 of engine on railway after api on railway",
    );
}

const FIVE: &str =
    "web api at fly: fly=up@0#a1 railway=up@0#a1 azure=up@0#a1 koyeb=up@0#a1 render=up@0#a1";

#[test]
fn spares_that_work_are_updated_no_more_than_so_many_at_once() {
    check(
        "",
        Allowed::Count(1),
        FIVE,
        "rollout: deploy r2 of api on koyeb after api on azure
         rollout: deploy r2 of api on render after api on koyeb",
    );
    check("", Allowed::Share(40), FIVE, "rollout: deploy r2 of api on render after api on azure");
    check("", Allowed::Count(3), FIVE, "");
}

#[test]
fn what_does_not_work_anyway_is_not_counted() {
    check(
        "",
        Allowed::Count(1),
        "web api at fly: fly=up@0#a1 railway=up@0#a1 azure=down@0#a1 koyeb=absent@0 render=up@0#a1",
        "",
    );
}
