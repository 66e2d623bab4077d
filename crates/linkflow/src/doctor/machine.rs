//! This machine: the config, the state folder, secrets, the lock, the clock, and Docker.

use std::path::Path;

use linkflow_model::ProviderName;
use linkflow_model::config::{Reference, kinds};
use rustix::fs::{Access, access, statvfs};
use serde_json::json;

use crate::wire::asking::{Acting, Asking, acting};
use crate::wire::docker;

use super::{Chapter, Patient, State};

/// Less free room than this is told, in bytes.
const LITTLE: u64 = 500 << 20;

/// How far clocks may be apart, in seconds.
const APART: u64 = 30;

/// Whether a Docker engine answers here, where it is not asked as a provider anyway; not asked in a rehearsal.
pub(super) async fn engine(
    patient: &Patient<'_>,
    asking: &Asking,
) -> Option<Result<String, String>> {
    let is_docker = |settings: &kinds::Settings| matches!(settings, kinds::Settings::Docker(_));
    let in_use = asking.places.values().any(|place| is_docker(&place.provider.settings));
    if in_use || patient.is_rehearsed() || patient.only.is_some() {
        return None;
    }
    Some(docker::version(&patient.options.vars).await)
}

/// What there is to say of this machine. After the providers were asked, as they tell the time.
pub(super) async fn examine(
    patient: &Patient<'_>,
    asking: &Asking,
    engine: Option<Result<String, String>>,
) -> Chapter {
    let mut chapter = Chapter::new("machine", "this machine");
    config(patient, &mut chapter);
    folder(&patient.options.state, &mut chapter);
    let missing = secrets(patient, asking, &mut chapter);
    match acting(patient.options).await {
        Ok(acting) => lock(&acting, &mut chapter),
        Err(error) => chapter.add(
            State::Broken,
            format!("the store cannot be read: {error}"),
            "see whether the disk is full and the state folder may be read",
        ),
    }
    let ahead = asking.kit.clock_ahead();
    clock(ahead.iter().map(|(name, ms)| (name, *ms)), &mut chapter);
    match &engine {
        None => {}
        Some(Ok(version)) => chapter.known(format!(
            "a Docker engine answers here ({version}): the provider `docker` can run services"
        )),
        Some(Err(why)) => chapter.known(format!(
            "no Docker engine answers here ({why}); only the provider `docker` would need one"
        )),
    }
    chapter.facts =
        json!({ "state": patient.options.state, "missing": missing, "clock_ahead_ms": ahead });
    chapter
}

fn config(patient: &Patient<'_>, chapter: &mut Chapter) {
    let some = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let (config, parsed) = (patient.config, patient.parsed);
    let file = parsed.sources.path(0);
    let (services, providers) = (config.services.len(), config.compute().len());
    chapter.well(format!(
        "{file} is sound: {} on {}",
        some(services, "service"),
        some(providers, "provider")
    ));
    if !parsed.problems.is_empty() {
        let what = some(parsed.problems.len(), "warning");
        chapter.add(State::Doubtful, format!("{file} has {what}"), "`linkflow check`");
    }
    if !parsed.not_yet.is_empty() {
        let what = some(parsed.not_yet.len(), "key");
        chapter
            .known(format!("{what} of it are without effect so far: `linkflow check` lists them"));
    }
}

/// Whether the state folder can be written, and how much room there is. Nothing is made.
fn folder(state: &Path, chapter: &mut Chapter) {
    let shown = state.strip_prefix(".").unwrap_or(state).display();
    let whole = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
    let there = whole.ancestors().find(|folder| folder.exists()).unwrap_or(&whole);
    let other = "`--state FOLDER` names another folder";
    if !there.is_dir() {
        let what =
            format!("the state folder {shown} cannot be made: {} is a file", there.display());
        return chapter.add(State::Broken, what, other);
    }
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let what = format!("{} cannot be written: {error}", there.display());
        return chapter.add(State::Broken, what, other);
    }
    let free = statvfs(there).map(|room| room.f_bavail.saturating_mul(room.f_frsize));
    let word = if there == whole { "can be written" } else { "can be made" };
    match free {
        Ok(free) if free < LITTLE => chapter.add(
            State::Doubtful,
            format!("the state folder {shown} {word}, with only {} free", bytes(free)),
            format!("make room there, or {other}"),
        ),
        Ok(free) => chapter.well(format!("the state folder {shown} {word}, {} free", bytes(free))),
        Err(error) => chapter.add(
            State::Doubtful,
            format!("the state folder {shown} {word}; its free room cannot be told: {error}"),
            "",
        ),
    }
}

/// `41 GB`, `320 MB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn bytes(count: u64) -> String {
    super::usage::amount(count as f64, "B")
}

/// Whether every secret and variable is there. Gives the names of those that are not.
fn secrets(patient: &Patient<'_>, asking: &Asking, chapter: &mut Chapter) -> Vec<String> {
    let parsed = patient.parsed;
    let count = parsed.secrets.len() + parsed.variables.len();
    if patient.is_rehearsed() {
        chapter.known("a rehearsal: every secret is made up, and a cloud stands for all vendors");
        return Vec::new();
    }
    let lost = |names: &[String], is_there: &dyn Fn(&str) -> bool| -> Vec<String> {
        names.iter().filter(|name| !is_there(name)).cloned().collect()
    };
    let mut missing = lost(&parsed.secrets, &|name| asking.secrets.secret(name).is_some());
    missing.extend(lost(&parsed.variables, &|name| asking.secrets.variable(name).is_some()));
    let needed = needed(patient, asking);
    let (due, spare): (Vec<&String>, Vec<&String>) =
        missing.iter().partition(|name| needed.contains(name));
    let list =
        |names: &[&String]| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let help = "put them into the environment, under these names (`${secret.NAME}`, `${env.NAME}`)";
    if !due.is_empty() {
        let what = format!("{} of {count} secrets are not there: {}", due.len(), list(&due));
        chapter.add(State::Broken, what, help);
    }
    if !spare.is_empty() {
        let what = format!(
            "{} of {count} secrets are not there, and nothing that acts needs them: {}",
            spare.len(),
            list(&spare)
        );
        chapter.known(what);
    }
    if missing.is_empty() {
        chapter.well(match count {
            0 => "the config names no secrets".to_owned(),
            1 => "the secret is there".to_owned(),
            count => format!("all {count} secrets are there"),
        });
    }
    missing
}

/// The names that services refer to, the providers they run on, and whoever leads visitors to them.
fn needed(patient: &Patient<'_>, asking: &Asking) -> Vec<String> {
    let services = patient.config.services.values();
    let templates = services.flat_map(|service| service.env.values());
    let mut references: Vec<Reference> =
        templates.flat_map(|template| template.references().cloned()).collect();
    let answering = asking.names.dns.iter().map(|(name, _)| name);
    let leading = answering.chain(asking.names.cdn.iter().map(|(name, _)| name));
    let leading = leading.filter_map(|name| patient.config.provider(name));
    references.extend(leading.filter_map(|p| p.secret().map(|secret| secret.reference.clone())));
    let used = asking.places.values().filter(|place| place.needed);
    for place in used {
        references.extend(place.provider.secret().map(|secret| secret.reference.clone()));
        if let kinds::Settings::Server(settings) = &place.provider.settings {
            references.extend(settings.key.as_ref().map(|key| key.reference.clone()));
        }
    }
    let name = |reference| match reference {
        Reference::Secret(name) | Reference::Env(name) => Some(name),
        _ => None,
    };
    references.into_iter().filter_map(name).collect()
}

fn lock(acting: &Acting, chapter: &mut Chapter) {
    match (&acting.holder, &acting.run) {
        (Some(holder), _) if holder.gone => chapter.known(format!(
            "{} held the lock and is gone: whoever changes something takes it over",
            holder.owner
        )),
        (Some(holder), _) => chapter.add(
            State::Known,
            format!("{} holds the lock and changes something now", holder.owner),
            "`linkflow unlock` tells more",
        ),
        (None, Some(run)) => chapter.add(
            State::Doubtful,
            format!("{run} was cut off"),
            "`linkflow apply` finishes it first, as whatever changes something does",
        ),
        (None, None) => chapter.well("nobody holds the lock"),
    }
}

/// Compares this machine's clock with what providers said.
fn clock<'a>(ahead: impl Iterator<Item = (&'a ProviderName, i64)>, chapter: &mut Chapter) {
    let Some((name, ms)) = ahead.max_by_key(|(_, ms)| ms.unsigned_abs()) else {
        return chapter.known("the clock could not be compared: no provider told the time");
    };
    let seconds = ms.unsigned_abs() / 1_000;
    if seconds <= APART {
        return chapter
            .well(format!("the clock agrees with the providers', to {} s", seconds.max(1)));
    }
    let way = if ms > 0 { "ahead of" } else { "behind" };
    let what = format!("the clock is {seconds} s {way} that of {name}");
    chapter.add(State::Doubtful, what, "`timedatectl set-ntp true` sets it by the network");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ahead: &[(&str, i64)], state: State, what: &str) {
        let mut chapter = Chapter::new("machine", "");
        let names: Vec<(ProviderName, i64)> =
            ahead.iter().map(|(name, ms)| (name.parse().unwrap(), *ms)).collect();
        clock(names.iter().map(|(name, ms)| (name, *ms)), &mut chapter);
        assert_eq!((chapter.findings[0].state, chapter.findings[0].what.as_str()), (state, what));
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_with_the_way_it_is_wrong() {
        let well = "the clock agrees with the providers', to 2 s";
        check(&[("fly", 900), ("railway", -2_400)], State::Well, well);
        let behind = "the clock is 31 s behind that of railway";
        check(&[("fly", 900), ("railway", -31_000)], State::Doubtful, behind);
        let ahead = "the clock is 3600 s ahead of that of fly";
        check(&[("fly", 3_600_000)], State::Doubtful, ahead);
        check(&[], State::Known, "the clock could not be compared: no provider told the time");
    }

    #[test]
    fn a_folder_that_cannot_be_written_or_made_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut chapter = Chapter::new("machine", "");
        folder(&dir.path().join("not/there/yet"), &mut chapter);
        assert!(chapter.findings[0].what.contains("can be made, "), "{chapter:?}");
        std::fs::write(dir.path().join("file"), "").unwrap();
        folder(&dir.path().join("file/state"), &mut chapter);
        let last = &chapter.findings[1];
        assert_eq!(last.state, State::Broken, "{last:?}");
        assert!(last.what.ends_with("file is a file"), "{last:?}");
    }
}
