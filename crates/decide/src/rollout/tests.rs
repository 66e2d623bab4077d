//! What a rollout plans, in rows: what is wanted, what stands, and the steps from one to the other.

use linkflow_model::{Allowed, Change, Fingerprint, Moment, ReleaseId, ServiceRelease};

use crate::stage::{flat, image, lines, read};
use crate::{Wanted, differences, on_one, rollout};

/// Release r2 of every service wants `wanted` (an image's letter, then its settings' digit) on every provider.
#[track_caller]
fn check(wanted: &str, world: &str, expected: &str) {
    check_without("", wanted, world, expected);
}

/// The same, where the provider `silent` cannot be told anything.
#[track_caller]
fn check_without(silent: &str, wanted: &str, world: &str, expected: &str) {
    let (specs, world) = read(world, Moment(60_000));
    let (digest, fingerprint) = (image(&wanted[..1]), Fingerprint(wanted.to_owned()));
    let mut rows = Vec::new();
    for spec in &specs {
        let told = spec.runs_on.iter().filter(|provider| provider.as_str() != silent);
        rows.extend(told.map(|provider| Wanted {
            spec,
            provider,
            release: ReleaseId(2),
            digest: &digest,
            fingerprint: &fingerprint,
            changes: Vec::new(),
        }));
    }
    assert_eq!(flat(&lines(&rollout(&rows, &world, Allowed::Count(1)))), flat(expected));
}

/// What it takes to have release r2 at `wanted` on `provider` alone.
#[track_caller]
fn check_on(provider: &str, wanted: &str, world: &str, expected: &str) {
    let (specs, world) = read(world, Moment(60_000));
    let (digest, fingerprint) = (image(&wanted[..1]), Fingerprint(wanted.to_owned()));
    let row = |spec, provider| Wanted {
        spec,
        provider,
        release: ReleaseId(2),
        digest: &digest,
        fingerprint: &fingerprint,
        changes: Vec::new(),
    };
    let rows: Vec<_> =
        specs.iter().flat_map(|spec| spec.runs_on.iter().map(move |p| row(spec, p))).collect();
    let plan = on_one(&rows, &world, &provider.parse().unwrap());
    assert_eq!(flat(&lines(&plan)), flat(expected));
}

#[test]
fn one_provider_alone_is_put_back_with_its_visitors_elsewhere_meanwhile() {
    let world = "web api at fly: fly=up@0#b1 railway=up@0#b1
         worker queue at fly: fly=running@0#b1 azure=stopped@0#b1
         exclusive timer at fly: fly=running@0#b1 azure=stopped@0#b1";
    check_on(
        "fly",
        "a1",
        world,
        "fence: stop timer on fly (it must never run twice, not even while it is updated)
         prove: prove that timer has stopped on fly (it must never run twice)
         shift: serve api from railway (visitors go there while their place is updated)
         serving: deploy r2 of api on fly (its image differs)
         serving: deploy r2 of queue on fly (its image differs)
         serving: deploy r2 of timer on fly (its image differs)
         return: serve api from fly (it is updated)",
    );
    check_on("railway", "a1", world, "rollout: deploy r2 of api on railway (its image differs)");
}

#[test]
fn a_service_begins_on_the_next_provider_where_the_preferred_one_is_silent() {
    check_without(
        "docker",
        "a1",
        "web api: docker=unknown@0 embedded=absent@0
         worker queue: docker=unknown@0 embedded=absent@0
         exclusive timer: docker=unknown@0 embedded=absent@0",
        "rollout: deploy r2 of timer on embedded, stopped (embedded does not have it)
         serving: deploy r2 of api on embedded (embedded does not have it)
         serving: deploy r2 of queue on embedded (embedded does not have it)
         return: serve api from embedded (it is the most preferred)
         return: serve queue from embedded (it is the most preferred)
         return: serve timer from docker (it is the most preferred)",
    );
    // Where it serves already nothing is moved: its spares are updated, and it keeps what it has.
    check_without(
        "fly",
        "a1",
        "web api at fly: fly=up@0#b1 railway=up@0#b1",
        "canary: deploy r2 of api on railway (its image differs)",
    );
}

#[test]
fn a_second_plan_right_after_is_empty() {
    check(
        "a1",
        "web api at fly: fly=up@0#a1 railway=up@0#a1 hetzner=up@0#a1
         worker queue at render: render=running@0#a1 azure=stopped@0#a1
         exclusive timer at azure: azure=running@0#a1 fly=stopped@0#a1",
        "",
    );
}

#[test]
fn a_first_deploy_tries_a_spare_before_the_place_that_will_serve() {
    check(
        "a1",
        "web api: fly=absent@0 railway=absent@0 hetzner=absent@0",
        "canary: deploy r2 of api on railway (railway does not have it)
         rollout: deploy r2 of api on hetzner (hetzner does not have it)
         serving: deploy r2 of api on fly (fly does not have it)
         return: serve api from fly (it is the most preferred)",
    );
}

#[test]
fn a_new_release_meets_no_visitor_before_its_canary_is_well() {
    check(
        "b1",
        "web api at fly: fly=up@0#a1 railway=up@0#a1 hetzner=up@0#a1",
        "canary: deploy r2 of api on railway (its image differs)
         rollout: deploy r2 of api on hetzner (its image differs)
         shift: serve api from railway (visitors go to the canary while their place is updated)
         serving: deploy r2 of api on fly (its image differs)
         return: serve api from fly (it is updated)",
    );
}

#[test]
fn visitors_return_to_where_they_were_also_when_that_is_a_fallback() {
    check(
        "a2",
        "web api at railway: fly=up@0#a1 railway=up@0#a1",
        "canary: deploy r2 of api on fly (its settings differ)
         shift: serve api from fly (visitors go to the canary while their place is updated)
         serving: deploy r2 of api on railway (its settings differ)
         return: serve api from railway (it is updated)",
    );
}

#[test]
fn only_what_differs_is_deployed() {
    check(
        "a2",
        "web api at fly: fly=up@0#a2 railway=up@0#a1 hetzner=up@0#a2
         web docs at fly: fly=up@0#a2",
        "canary: deploy r2 of api on railway (its settings differ)",
    );
}

#[test]
fn a_spare_that_is_already_as_wanted_takes_the_visitors_meanwhile() {
    check(
        "b1",
        "web api at fly: fly=up@0#a1 railway=down@0#b1 hetzner=up@0#b1",
        "shift: serve api from hetzner (visitors go to the canary while their place is updated)
         serving: deploy r2 of api on fly (its image differs)
         return: serve api from fly (it is updated)",
    );
}

#[test]
fn visitors_stay_where_they_are_when_no_spare_is_as_wanted() {
    check(
        "b1",
        "web api at fly: fly=up@0#a1 railway=down@0#b1",
        "serving: deploy r2 of api on fly (its image differs)",
    );
    check(
        "b1",
        "web api at fly: fly=up@0#a1",
        "serving: deploy r2 of api on fly (its image differs)",
    );
}

#[test]
fn a_workers_spares_are_updated_stopped() {
    check(
        "b1",
        "worker queue at render: render=running@0#a1 azure=stopped@0#a1",
        "rollout: deploy r2 of queue on azure, stopped (its image differs)
         serving: deploy r2 of queue on render (its image differs)",
    );
}

#[test]
fn spares_that_stay_stopped_are_updated_beside_the_canaries() {
    check(
        "b1",
        "worker queue at render: render=running@0#a1 azure=stopped@0#a1 fly=running@0#a1
         web api at fly: fly=up@0#a1 railway=up@0#a1 azure=up@0#a1",
        "canary: deploy r2 of api on railway (its image differs)
         canary: deploy r2 of queue on azure, stopped (its image differs)
         rollout: deploy r2 of api on azure (its image differs)
         rollout: deploy r2 of queue on fly, stopped (its image differs)
         shift: serve api from railway (visitors go to the canary while their place is updated)
         serving: deploy r2 of api on fly (its image differs)
         serving: deploy r2 of queue on render (its image differs)
         return: serve api from fly (it is updated)",
    );
}

#[test]
fn an_exclusive_service_is_stopped_and_proven_so_before_its_update() {
    check(
        "b1",
        "exclusive timer at azure: azure=running@0#a1 fly=stopped@0#a1",
        "rollout: deploy r2 of timer on fly, stopped (its image differs)
         fence: stop timer on azure (it must never run twice, not even while it is updated)
         prove: prove that timer has stopped on azure (it must never run twice)
         serving: deploy r2 of timer on azure (its image differs)",
    );
}

#[test]
fn an_exclusive_service_that_runs_where_it_is_not_due_is_proven_stopped_before_its_place_starts() {
    check(
        "a1",
        "exclusive timer: azure=absent@0 fly=running@0#a1",
        "rollout: stop timer on fly (it runs and should not)
         prove: prove that timer has stopped on fly (it must never run twice)
         serving: deploy r2 of timer on azure (azure does not have it)
         return: serve timer from azure (it is the most preferred)",
    );
}

#[test]
fn what_is_only_stopped_or_running_by_mistake_is_scaled() {
    check(
        "a1",
        "worker queue at render: render=stopped@0#a1 azure=running@0#a1
         web api at fly: fly=up@0#a1 railway=stopped@0#a1",
        "canary: run 1 of api on railway (it is stopped and should run)
         rollout: stop queue on azure (it runs and should not)
         serving: run 1 of queue on render (it is stopped and should run)",
    );
}

#[test]
fn what_its_provider_gave_up_is_deployed_again() {
    check(
        "a1",
        "web api at fly: fly=up@0#a1 railway=failed@0#a1",
        "canary: deploy r2 of api on railway (its provider gave up starting it)",
    );
}

#[test]
fn what_nobody_knows_is_left_alone_while_its_settings_are_as_wanted() {
    check("a1", "web api at fly: fly=up@0#a1 railway=unknown@0~never#a1", "");
}

#[test]
fn several_services_go_out_side_by_side() {
    check(
        "b1",
        "web api at fly: fly=up@0#a1 railway=up@0#a1
         grpc history at koyeb: koyeb=up@0#a1 zeabur=up@0#a1",
        "canary: deploy r2 of api on railway (its image differs)
         canary: deploy r2 of history on zeabur (its image differs)
         shift: serve api from railway (visitors go to the canary while their place is updated)
         shift: serve history from zeabur (visitors go to the canary while their place is updated)
         serving: deploy r2 of api on fly (its image differs)
         serving: deploy r2 of history on koyeb (its image differs)
         return: serve api from fly (it is updated)
         return: serve history from koyeb (it is updated)",
    );
}

/// The lines of `differences` between two environments of one service; an empty `before` is no release at all.
#[track_caller]
fn check_changes(before: &[(&str, &str)], now: &[(&str, &str)], expected: &str) {
    let (specs, _) = read("web api: fly=up@0", Moment(0));
    let release = |env: &[(&str, &str)]| ServiceRelease {
        spec: specs[0].clone(),
        image: specs[0].image.at(image("a")),
        env: env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        fingerprints: Default::default(),
    };
    let held = release(before);
    let changes = differences((!before.is_empty()).then_some(&held), &release(now));
    let say = |Change { field, from, to }: Change| {
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".into());
        format!("{field}: {} -> {}\n", or_none(from), or_none(to))
    };
    assert_eq!(flat(&changes.into_iter().map(say).collect::<String>()), flat(expected));
}

#[test]
fn differences_name_each_field_that_changed_came_or_went() {
    check_changes(&[("A", "1"), ("B", "2")], &[("A", "1"), ("B", "2")], "");
    check_changes(
        &[("A", "1"), ("B", "2")],
        &[("B", "3"), ("C", "4")],
        "env.A: 1 -> none
         env.B: 2 -> 3
         env.C: none -> 4",
    );
}

#[test]
fn differences_show_references_as_written_and_never_what_they_stand_for() {
    check_changes(
        &[("DATABASE_URL", "${secret.OLD_URL}")],
        &[("DATABASE_URL", "${database.main.url}")],
        "env.DATABASE_URL: ${secret.OLD_URL} -> ${database.main.url}",
    );
}

#[test]
fn differences_to_nothing_name_everything() {
    check_changes(
        &[],
        &[("A", "1")],
        &format!(
            "image: none -> ghcr.io/acme/api@{}
             port: none -> 8000
             health: none -> /health
             cpu: none -> 250 milli
             memory: none -> 256 MiB
             env.A: none -> 1",
            image("a")
        ),
    );
}
