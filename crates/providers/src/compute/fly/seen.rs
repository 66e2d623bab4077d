//! What the machines of one app say together.

use linkflow_model::role::{Progress, Seen};
use linkflow_model::{Fingerprint, Lifecycle, ServiceName};

use super::super::settle::Settling;
use super::wire::{FINGERPRINT, Machine, Run};

/// The placement that `machines`, all of `service` and ours, make up. `None` when there are none.
pub(super) fn seen(service: &ServiceName, app: &str, machines: &[Machine]) -> Option<Seen> {
    machines.first()?;
    let awake: Vec<&Machine> = machines.iter().filter(|m| !m.is_meant_to_rest()).collect();
    let asked = u32::try_from(awake.len()).unwrap_or(u32::MAX);
    let telling: Vec<&Machine> = if awake.is_empty() { machines.iter().collect() } else { awake };
    let same = |fact: &dyn Fn(&Machine) -> Option<String>| {
        let first = fact(telling.first()?)?;
        telling.iter().all(|m| fact(m).as_ref() == Some(&first)).then_some(first)
    };
    let running = machines.iter().filter(|m| matches!(m.run(), Run::Runs | Run::Ending)).count();
    let has_address = machines.iter().any(|m| m.config.get("services").is_some());
    Some(Seen {
        service: service.clone(),
        lifecycle: lifecycle(machines),
        said: said(&telling),
        id: app.to_owned(),
        digest: same(&|m| m.digest().map(|d| d.to_string())).and_then(|text| text.parse().ok()),
        release: same(&|m| m.release().map(|r| r.to_string())).and_then(|text| text.parse().ok()),
        fingerprint: same(&|m| m.meta(FINGERPRINT).map(str::to_owned)).map(Fingerprint),
        replicas: asked,
        running: u32::try_from(running).unwrap_or(u32::MAX),
        address: has_address.then(|| format!("https://{app}.fly.dev")),
    })
}

fn lifecycle(machines: &[Machine]) -> Lifecycle {
    let any = |run: Run| machines.iter().any(|m| m.run() == run);
    if any(Run::Runs) {
        Lifecycle::Running
    } else if machines.iter().any(|m| m.run() == Run::Coming && m.death().is_some()) {
        // Between two of its deaths.
        Lifecycle::Failed
    } else if any(Run::Coming) {
        Lifecycle::Starting
    } else if any(Run::Ending) {
        // Only what is proven to have stopped counts as stopped.
        Lifecycle::Running
    } else if any(Run::Odd) {
        Lifecycle::Unknown
    } else if machines.iter().all(Machine::is_meant_to_rest) {
        Lifecycle::Stopped
    } else {
        Lifecycle::Failed
    }
}

/// The machines' own words: `started`, `started + stopped`, with the first check that fails.
fn said(machines: &[&Machine]) -> String {
    let mut states: Vec<&str> = machines.iter().map(|m| m.state.as_str()).collect();
    states.sort_unstable();
    states.dedup();
    let states = states.join(" + ");
    let failing = machines.iter().filter(|m| m.run() == Run::Runs).find_map(|m| m.failing_check());
    match failing {
        Some(check) => format!("{states}, {} {}", check.name, check.status),
        None => states,
    }
}

/// What a deploy is to reach, as it is written into [`linkflow_model::role::Deployment::id`]:
/// the fingerprint, the replicas, and each machine's id, with spaces between.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Aim {
    pub(super) fingerprint: String,
    pub(super) replicas: u32,
    pub(super) machines: Vec<String>,
}

impl Aim {
    pub(super) fn write(&self) -> String {
        format!("{} {} {}", self.fingerprint, self.replicas, self.machines.join(" "))
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let fingerprint = words.next()?.to_owned();
        let replicas = words.next()?.parse().ok()?;
        let machines: Vec<String> = words.map(str::to_owned).collect();
        (!machines.is_empty()).then_some(Self { fingerprint, replicas, machines })
    }
}

/// How far one machine is.
pub(super) fn progress(machine: &Machine, aim: &Aim, settling: &Settling) -> Progress {
    if machine.run() == Run::Gone {
        return Progress::Failed { why: format!("machine {} was destroyed", machine.id) };
    }
    if machine.meta(FINGERPRINT) != Some(&aim.fingerprint) {
        return Progress::Failed { why: "another deploy took its place".to_owned() };
    }
    let under = || Progress::Under { said: said(&[machine]) };
    if aim.replicas == 0 {
        return if machine.run() == Run::Halted { Progress::Done } else { under() };
    }
    let died = || machine.death().map(|exit| Progress::Failed { why: exit.to_string() });
    if machine.run() != Run::Runs {
        settling.fell(&machine.incarnation());
        return died().unwrap_or_else(under);
    }
    match machine.failing_check() {
        // The check does not pass because the process just died: no use in waiting.
        Some(_) => died().unwrap_or_else(under),
        None if machine.is_checked() && machine.checks.iter().flatten().next().is_some() => {
            Progress::Done
        }
        None if machine.is_checked() => died().unwrap_or_else(under),
        None if settling.is_settled(&machine.incarnation()) => Progress::Done,
        None => under(),
    }
}
