//! How a release gets out: what differs, and in which order, so that a bad one meets no visitor.

use alloc::borrow::ToOwned as _;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use linkflow_model::{
    Action, Allowed, Change, Digest, Fingerprint, Health, Lifecycle, Plan, ProviderName, ReleaseId,
    ServiceName, ServiceRelease, ServiceSpec, ServiceView, Stage, Step, World,
};

use crate::order::arrange;

#[cfg(test)]
mod tests;

/// What one placement ought to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted<'a> {
    /// The service.
    pub spec: &'a ServiceSpec,
    /// Where.
    pub provider: &'a ProviderName,
    /// The release it belongs to.
    pub release: ReleaseId,
    /// The image by digest.
    pub digest: &'a Digest,
    /// What it should be, in one hash.
    pub fingerprint: &'a Fingerprint,
    /// Fields that differ from what the last release asked for there, secrets as `(changed)`.
    pub changes: Vec<Change>,
}

/// Plans the way from `world` to `wanted`. Placements that already are as wanted need nothing, so that a second plan
/// right after is empty.
///
/// For a service whose spares run: a spare first (the canary), then the other spares, then visitors are led to the
/// canary, the serving one is updated, and they are led back. A bad release stops at the canary, where nobody sees it.
/// A worker's spares are updated stopped, beside the canaries; where it must never run twice, it is stopped and proven so
/// before its update.
///
/// A provider that cannot be told anything has no rows in `wanted`: it is left as it is, and a service that serves nowhere
/// yet begins on the next one of its cascade.
///
/// Services go out side by side. Each waits for every canary; after that, see [`Stage::apart`], it waits for its own steps
/// alone and for what [`Step::after`] names.
pub fn rollout(wanted: &[Wanted<'_>], world: &World, allowed: Allowed) -> Plan {
    let mut stages = Stages::default();
    let names: BTreeSet<&ServiceName> = wanted.iter().map(|w| &w.spec.name).collect();
    let none = ServiceView::default();
    for name in names {
        let rows: Vec<&Wanted<'_>> = wanted.iter().filter(|w| w.spec.name == *name).collect();
        let view = world.services.get(name).unwrap_or(&none);
        one_service(&rows, view, &mut stages);
    }
    let mut plan = stages.into_plan();
    let specs = wanted.iter().map(|w| (&w.spec.name, w.spec)).collect();
    arrange(&mut plan, &specs, world, allowed);
    plan
}

/// Plans the way to `wanted` on `provider` alone, whatever the others run. Visitors who are there are led to another
/// placement meanwhile, when one is well.
pub fn on_one(wanted: &[Wanted<'_>], world: &World, provider: &ProviderName) -> Plan {
    let mut stages = Stages::default();
    let none = ServiceView::default();
    for row in wanted.iter().filter(|row| row.provider == provider) {
        let view = world.services.get(&row.spec.name).unwrap_or(&none);
        let home = view.active.as_ref().or(row.spec.runs_on.first());
        let Some(step) = difference(row, home, view) else { continue };
        let service = || row.spec.name.clone();
        if home != Some(provider) {
            stages.rollout.push(step);
            continue;
        }
        if row.spec.exclusive {
            let rows: Vec<&Wanted<'_>> =
                wanted.iter().filter(|other| other.spec.name == row.spec.name).collect();
            fence(&rows, provider, view, &mut stages);
        }
        let other = view.placements.iter().find(|p| {
            let well = p.health == Health::Up && !view.drained.contains_key(&p.provider);
            p.provider != *provider && well && row.spec.keeps_standby_warm()
        });
        if let (Some(other), true) = (other, view.active.is_some()) {
            let lead = Action::Activate { service: service(), provider: other.provider.clone() };
            stages.shift.push(plain(lead, "visitors go there while their place is updated"));
            let back = Action::Activate { service: service(), provider: provider.clone() };
            stages.back.push(plain(back, "it is updated"));
        }
        stages.home.push(step);
    }
    stages.into_plan()
}

fn one_service(rows: &[&Wanted<'_>], view: &ServiceView, stages: &mut Stages) {
    let Some(spec) = rows.first().map(|row| row.spec) else { return };
    // Where it serves now, or will: the most preferred one that can be told anything. What must never run twice may run
    // where nobody can ask.
    let preferred = if spec.exclusive {
        spec.runs_on.first()
    } else {
        spec.runs_on.iter().find(|provider| rows.iter().any(|row| row.provider == *provider))
    };
    let home = view.active.as_ref().or(preferred);
    let due: Vec<(&Wanted<'_>, Step)> =
        rows.iter().filter_map(|row| Some((*row, difference(row, home, view)?))).collect();
    let (mut at_home, spares): (Vec<_>, Vec<_>) =
        due.into_iter().partition(|(row, _)| Some(row.provider) == home);
    let home_step = at_home.pop();
    let serves = view.active.is_some();
    if !spec.keeps_standby_warm() {
        let (idle, others): (Vec<_>, Vec<_>) =
            spares.into_iter().map(|(_, step)| step).partition(|step| stays_stopped(step, view));
        stages.idle.extend(idle);
        stages.rollout.extend(others);
        if let Some((row, step)) = home_step {
            if spec.exclusive {
                fence(rows, row.provider, view, stages);
            }
            stages.home.push(step);
        }
        return settle(spec, home, view, stages);
    }
    // Visitors are not led to where somebody wants none.
    let is_drained = |row: &Wanted<'_>| view.drained.contains_key(row.provider);
    let mut spares = spares;
    spares.sort_by_key(|(row, _)| is_drained(row));
    let mut spares = spares.into_iter();
    let ready = rows.iter().find(|row| Some(row.provider) != home && is_ready(row, view));
    let canary = match spares.next() {
        Some((row, step)) => {
            stages.canary.push(step);
            Some(row)
        }
        None => ready.copied(),
    };
    let canary = canary.filter(|row| !is_drained(row)).map(|row| row.provider.clone());
    stages.rollout.extend(spares.map(|(_, step)| step));
    if let Some((row, step)) = home_step {
        if let (Some(canary), true) = (canary, serves) {
            let service = spec.name.clone();
            let lead = Action::Activate { service: service.clone(), provider: canary };
            stages
                .shift
                .push(plain(lead, "visitors go to the canary while their place is updated"));
            let back = Action::Activate { service, provider: row.provider.clone() };
            stages.back.push(plain(back, "it is updated"));
        }
        stages.home.push(step);
    }
    settle(spec, home, view, stages);
}

/// Whether a step changes what does not run, and will not run after it.
fn stays_stopped(step: &Step, view: &ServiceView) -> bool {
    let held = view.on(step.action.provider()).map_or(Lifecycle::Absent, |held| held.lifecycle);
    matches!(step.action, Action::Deploy { replicas: 0, .. })
        && matches!(held, Lifecycle::Stopped | Lifecycle::Absent)
}

/// Stops a service that must never run twice where it is about to be updated, and has its stop proven there and
/// wherever else it runs.
fn fence(rows: &[&Wanted<'_>], home: &ProviderName, view: &ServiceView, stages: &mut Stages) {
    for row in rows {
        let Some(held) = view.on(row.provider) else { continue };
        let (service, provider) = (row.spec.name.clone(), row.provider.clone());
        let may_run = match held.lifecycle {
            Lifecycle::Running | Lifecycle::Starting | Lifecycle::Asleep | Lifecycle::Failed => {
                true
            }
            Lifecycle::Stopped | Lifecycle::Unknown => provider == *home,
            Lifecycle::Absent => false,
        };
        if !may_run {
            continue;
        }
        if provider == *home {
            let stop =
                Action::Scale { service: service.clone(), provider: provider.clone(), replicas: 0 };
            let why = "it must never run twice, not even while it is updated";
            stages.fence.push(plain(stop, why));
        }
        let prove = Action::ProveStopped { service, provider };
        stages.prove.push(plain(prove, "it must never run twice"));
    }
}

/// Gives a service that serves nowhere yet its place, once that is deployed.
fn settle(
    spec: &ServiceSpec,
    home: Option<&ProviderName>,
    view: &ServiceView,
    stages: &mut Stages,
) {
    if let (None, Some(home)) = (&view.active, home) {
        let action = Action::Activate { service: spec.name.clone(), provider: home.clone() };
        stages.back.push(plain(action, "it is the most preferred"));
    }
}

/// Whether a spare already runs what is wanted, and answers.
fn is_ready(row: &Wanted<'_>, view: &ServiceView) -> bool {
    view.on(row.provider)
        .is_some_and(|p| p.health == Health::Up && p.fingerprint.as_ref() == Some(row.fingerprint))
}

/// The step that makes one placement as wanted; `None` when it is.
fn difference(row: &Wanted<'_>, home: Option<&ProviderName>, view: &ServiceView) -> Option<Step> {
    let spec = row.spec;
    let runs_here = spec.keeps_standby_warm() || home == Some(row.provider);
    let replicas = if runs_here { spec.replicas.max(1) } else { 0 };
    let (service, provider) = (spec.name.clone(), row.provider.clone());
    let release = row.release;
    let deploy = |why: String| {
        let action = Action::Deploy {
            service: service.clone(),
            provider: provider.clone(),
            release,
            replicas,
        };
        Some(Step { changes: row.changes.clone(), ..Step::new(action, why) })
    };
    // What the provider really runs may differ where the releases do not.
    let with_image = |mut step: Step, from: Option<&Digest>| {
        if !step.changes.iter().any(|change| change.field == "image") {
            let (from, to) = (from.map(Digest::to_string), Some(row.digest.to_string()));
            step.changes.insert(0, Change { field: "image".into(), from, to });
        }
        step
    };
    let seen = view.on(row.provider).filter(|p| p.lifecycle != Lifecycle::Absent);
    let Some(seen) = seen else {
        return Some(with_image(deploy(format!("{provider} does not have it"))?, None));
    };
    if seen.digest.as_ref().is_some_and(|held| held != row.digest) {
        return Some(with_image(deploy("its image differs".into())?, seen.digest.as_ref()));
    }
    if seen.fingerprint.as_ref() != Some(row.fingerprint) {
        return deploy("its settings differ".into());
    }
    if seen.lifecycle == Lifecycle::Failed {
        return deploy("its provider gave up starting it".into());
    }
    let runs =
        matches!(seen.lifecycle, Lifecycle::Running | Lifecycle::Starting | Lifecycle::Asleep);
    if seen.lifecycle == Lifecycle::Unknown || runs == (replicas > 0) {
        return None;
    }
    let why = if replicas > 0 { "it is stopped and should run" } else { "it runs and should not" };
    Some(plain(Action::Scale { service, provider, replicas }, why))
}

/// What differs between two releases of a service, field by field. Environment values are shown as written, with their
/// references not followed, so that no secret appears.
pub fn differences(before: Option<&ServiceRelease>, now: &ServiceRelease) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut field = |name: &str, from: Option<String>, to: Option<String>| {
        if from != to {
            changes.push(Change { field: name.to_owned(), from, to });
        }
    };
    let say = |release: &ServiceRelease| {
        let spec = &release.spec;
        [
            ("image", Some(release.image.to_string())),
            ("command", spec.command.as_ref().map(|words| words.join(" "))),
            ("migrate", spec.migrate.as_ref().map(|words| words.join(" "))),
            ("port", spec.port.map(|port| port.to_string())),
            ("health", spec.health.clone()),
            ("cpu", Some(format!("{} milli", spec.size.cpu_milli))),
            ("memory", Some(format!("{} MiB", spec.size.memory_mb))),
        ]
    };
    let empty =
        ["image", "command", "migrate", "port", "health", "cpu", "memory"].map(|name| (name, None));
    let old = before.map_or(empty, say);
    for ((name, from), (_, to)) in old.into_iter().zip(say(now)) {
        field(name, from, to);
    }
    let none = BTreeMap::new();
    let held = before.map_or(&none, |release| &release.env);
    let names: BTreeSet<&String> = held.keys().chain(now.env.keys()).collect();
    for name in names {
        field(&format!("env.{name}"), held.get(name).cloned(), now.env.get(name).cloned());
    }
    changes
}

fn plain(action: Action, why: &str) -> Step {
    Step::new(action, why)
}

/// The stages of a rollout, in their order.
#[derive(Default)]
struct Stages {
    canary: Vec<Step>,
    /// Spares that are kept stopped: they have nothing to prove and disturb nobody.
    idle: Vec<Step>,
    rollout: Vec<Step>,
    fence: Vec<Step>,
    prove: Vec<Step>,
    shift: Vec<Step>,
    home: Vec<Step>,
    back: Vec<Step>,
}

impl Stages {
    fn into_plan(mut self) -> Plan {
        // Beside the canaries, so that nothing waits for them.
        let first = if self.canary.is_empty() { &mut self.rollout } else { &mut self.canary };
        first.append(&mut self.idle);
        let canaries = Stage::of("canary", self.canary);
        let named = [
            ("rollout", self.rollout),
            ("fence", self.fence),
            ("prove", self.prove),
            ("shift", self.shift),
            ("serving", self.home),
            ("return", self.back),
        ];
        // Every canary has to prove itself first. From there on no service waits for another one's slow provider.
        let later = named.map(|(name, steps)| Stage { apart: true, ..Stage::of(name, steps) });
        let stages = [canaries].into_iter().chain(later).filter(|stage| !stage.steps.is_empty());
        Plan { stages: stages.collect(), held: Vec::new() }
    }
}
