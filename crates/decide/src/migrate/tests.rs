//! Which migrations are due, in rows.

use alloc::collections::BTreeMap;

use linkflow_model::{
    Migration, PinnedImage, ProviderName, Release, ReleaseId, ReleaseState, ServiceName,
    ServiceRelease, Timestamp,
};

use super::{migrations, runner};
use crate::stage::{image, read};

/// Services `a`, `b` and `c`, of which `a` needs `b`; `a` and `b` have the migration `up`, of image `letter`.
fn release(letter: &str) -> Release {
    let world = "web a: fly=up@0 railway=up@0\nweb b: railway=up@0\nweb c: fly=up@0";
    let (specs, _) = read(world, linkflow_model::Moment(0));
    let services = specs.into_iter().map(|mut spec| {
        let name = spec.name.clone();
        spec.migrate = (name.as_str() != "c").then(|| vec!["up".to_owned()]);
        spec.needs = if name.as_str() == "a" { vec!["b".parse().unwrap()] } else { Vec::new() };
        let image: PinnedImage = spec.image.at(image(letter));
        let (env, fingerprints) = (BTreeMap::new(), BTreeMap::new());
        (name, ServiceRelease { spec, image, env, fingerprints })
    });
    Release {
        id: ReleaseId(2),
        at: Timestamp(0),
        state: ReleaseState::Rolling,
        why: String::new(),
        before: None,
        services: services.collect(),
        by: None,
        migrations: BTreeMap::new(),
        took_ms: None,
        failed: None,
    }
}

fn last(letter: &str, command: &str) -> Migration {
    Migration {
        release: ReleaseId(1),
        digest: image(letter),
        command: vec![command.to_owned()],
        provider: ProviderName::new("fly").unwrap(),
        code: Some(0),
        worked: true,
        log: Vec::new(),
        at: Timestamp(0),
        took_ms: 0,
    }
}

#[track_caller]
fn check(letter: &str, held: &[(&str, Migration)], expected: &[&str]) {
    let name = |text: &str| ServiceName::new(text).unwrap();
    let held = held.iter().map(|(service, last)| (name(service), last.clone())).collect();
    let fly = ProviderName::new("fly").unwrap();
    let runners = ["a", "b", "c"].map(|service| (name(service), fly.clone())).into();
    let stage = migrations(&release(letter), &held, &runners);
    let told: Vec<String> = stage
        .into_iter()
        .flat_map(|stage| stage.steps)
        .map(|step| {
            let after: Vec<&str> = step.after.iter().map(|p| p.service.as_str()).collect();
            format!("{} {:?}: {}", step.action.service(), after, step.why)
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn each_image_is_migrated_with_once_one_service_after_the_other() {
    check("a", &[], &["b []: it was never run", "a [\"b\"]: it was never run"]);
    let both = [("a", last("a", "up")), ("b", last("a", "up"))];
    check("a", &both, &[]);
    let other = "its image is not the one that it was last run with";
    check("b", &both, &[&format!("b []: {other}"), &format!("a [\"b\"]: {other}")]);
    let half = [("a", last("a", "up")), ("b", last("a", "down"))];
    check("a", &half, &["b []: its command differs"]);
}

#[test]
fn the_first_provider_of_the_cascade_that_has_jobs_runs_it() {
    let release = release("a");
    let spec = &release.services[&ServiceName::new("a").unwrap()].spec;
    let name = |text: &str| ProviderName::new(text).unwrap();
    let here = name("embedded");
    let of = |named: Option<&str>, able: &[&str], here: Option<&ProviderName>| {
        let named = named.map(name);
        let runs = |provider: &ProviderName| able.contains(&provider.as_str());
        runner(spec, named.as_ref(), runs, here).map(|found| found.to_string())
    };
    assert_eq!(of(None, &["railway", "koyeb"], Some(&here)).unwrap(), "railway");
    assert_eq!(of(None, &[], Some(&here)).unwrap(), "embedded");
    assert_eq!(of(Some("koyeb"), &["railway", "koyeb"], None).unwrap(), "koyeb");
    let (what, help) = of(None, &["koyeb"], None).unwrap_err();
    assert_eq!(what, "nobody can run the migration of a: no provider of it has jobs");
    assert!(help.contains("programs.\"ghcr.io/acme/a\""), "{help}");
    let (what, _) = of(Some("fly"), &["railway"], Some(&here)).unwrap_err();
    assert_eq!(what, "fly cannot run the migration of a: it has no jobs");
}
