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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A machine from words: its state, then `checked`, `passing`, `critical`, `parked`, and what happened to it from
    /// the oldest to the newest: `launch`, `update`, `start`, `stop`, `asked` (an exit by request), `died`.
    fn machine(words: &str) -> Machine {
        let mut words = words.split(' ');
        let state = words.next().unwrap();
        let (mut checks, mut events, mut config) = (Vec::new(), Vec::new(), json!({ "metadata": { FINGERPRINT: "f" } }));
        for (at, word) in words.enumerate() {
            let exit = |asked: bool| json!({ "exit_event": { "exit_code": 1, "requested_stop": asked } });
            let event = |kind: &str, request: Value| json!({ "type": kind, "source": "user", "timestamp": at, "request": request });
            match word {
                "checked" => config["services"] = json!([{ "checks": [{ "type": "tcp" }] }]),
                "parked" => config["metadata"]["linkflow_parked"] = json!("yes"),
                "passing" | "critical" => checks.push(json!({ "name": "c", "status": word })),
                "asked" => events.insert(0, event("exit", exit(true))),
                "died" => events.insert(0, event("exit", exit(false))),
                other => events.insert(0, event(other, Value::Null)),
            }
        }
        let machine = json!({ "id": "m", "state": state, "config": config, "checks": checks, "events": events });
        serde_json::from_value(machine).unwrap()
    }

    #[track_caller]
    fn check(machines: &[&str], expected: Lifecycle, replicas: u32, running: u32) {
        let machines: Vec<Machine> = machines.iter().map(|words| machine(words)).collect();
        let seen = seen(&ServiceName::new("api").unwrap(), "linkflow-api", &machines).unwrap();
        assert_eq!((seen.lifecycle, seen.replicas, seen.running), (expected, replicas, running), "{}", seen.said);
    }

    #[test]
    fn machines_make_up_a_placement() {
        check(&["started launch"], Lifecycle::Running, 1, 1);
        check(&["started launch", "stopped launch asked"], Lifecycle::Running, 1, 1);
        check(&["created launch"], Lifecycle::Starting, 1, 0);
        check(&["replacing update", "started launch"], Lifecycle::Running, 2, 1);
        check(&["stopped launch stop asked"], Lifecycle::Stopped, 0, 0);
        check(&["created launch parked"], Lifecycle::Stopped, 0, 0);
        check(&["a-new-word launch"], Lifecycle::Unknown, 1, 0);
    }

    #[test]
    fn what_died_has_failed_until_it_is_told_to_rest() {
        check(&["stopped launch start died"], Lifecycle::Failed, 1, 0);
        check(&["stopped launch start died parked"], Lifecycle::Stopped, 0, 0);
        check(&["stopped launch start died stop"], Lifecycle::Stopped, 0, 0);
        check(&["starting launch start died"], Lifecycle::Failed, 1, 0);
        check(&["starting launch start died start"], Lifecycle::Starting, 1, 0);
        check(&["failed launch"], Lifecycle::Failed, 1, 0);
    }

    #[test]
    fn what_is_being_stopped_still_runs() {
        check(&["stopping launch stop"], Lifecycle::Running, 1, 1);
    }

    #[test]
    fn an_app_without_machines_is_no_placement() {
        assert_eq!(seen(&ServiceName::new("api").unwrap(), "linkflow-api", &[]), None);
    }

    /// Follows a machine that is wanted to run, or (`replicas` 0) to rest.
    #[track_caller]
    fn follow(words: &str, replicas: u32, expected: &str) {
        let clock = std::sync::Arc::new(linkflow_model::clock::SystemClock::start());
        let settling = Settling::new(clock);
        let aim = Aim { fingerprint: "f".to_owned(), replicas, machines: vec!["m".to_owned()] };
        let said = match progress(&machine(words), &aim, &settling) {
            Progress::Done => "done".to_owned(),
            Progress::Under { said } => format!("under: {said}"),
            Progress::Failed { why } => format!("failed: {why}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn a_deploy_is_done_when_checks_pass_and_failed_when_the_process_died() {
        follow("started checked passing launch", 1, "done");
        follow("started checked launch", 1, "under: started");
        follow("started checked critical update", 1, "under: started, c critical");
        follow("started checked critical update start died", 1, "failed: its process ended with exit code 1");
        follow("starting update asked", 1, "under: starting");
        follow("replacing launch start update died", 1, "under: replacing");
        follow("stopped update start died", 1, "failed: its process ended with exit code 1");
        follow("destroyed", 1, "failed: machine m was destroyed");
    }

    #[test]
    fn without_checks_running_for_an_instant_is_not_enough() {
        follow("started launch", 1, "under: started");
    }

    #[test]
    fn a_rest_is_reached_when_the_machine_has_stopped() {
        follow("stopping update stop", 0, "under: stopping");
        follow("stopped update stop asked", 0, "done");
    }

    #[test]
    fn an_aim_is_read_as_it_was_written() {
        let aim = Aim { fingerprint: "f".to_owned(), replicas: 2, machines: vec!["a".to_owned(), "b".to_owned()] };
        assert_eq!(Aim::read(&aim.write()), Some(aim));
        assert_eq!(Aim::read("f 2"), None);
    }
}
