//! What a service, its deployments and its instances say together.

use linkflow_model::role::{Progress, Seen};
use linkflow_model::{Fingerprint, Lifecycle, ServiceName};

use super::super::settle::Settling;
use super::wire::{App, Instance, Run, Service};

/// One service with all that is known of it.
pub(super) struct View<'a> {
    pub(super) app: &'a App,
    pub(super) service: &'a Service,
    /// What it was last told to run.
    pub(super) latest: &'a Run,
    /// What serves.
    pub(super) active: Option<&'a Run>,
    /// Its instances whose process may run.
    pub(super) instances: &'a [&'a Instance],
}

impl View<'_> {
    fn count(&self, statuses: &[&str]) -> u32 {
        let counted = self.instances.iter().filter(|i| statuses.contains(&i.status.as_str()));
        u32::try_from(counted.count()).unwrap_or(u32::MAX)
    }

    /// Instances whose process runs.
    fn running(&self) -> u32 {
        self.count(&["HEALTHY", "UNHEALTHY", "STOPPING"])
    }

    /// The deployment that tells what runs, or would when it is started.
    fn telling(&self) -> &Run {
        let serves = self.active.filter(|run| run.goes_on() && !run.is_under_way());
        if self.service.is_paused() { self.latest } else { serves.unwrap_or(self.latest) }
    }

    fn lifecycle(&self) -> Lifecycle {
        if self.service.is_paused() || self.service.is_pausing() {
            // Only what is proven to have stopped counts as stopped.
            let stopped = self.service.is_paused() && self.instances.is_empty();
            return if stopped { Lifecycle::Stopped } else { Lifecycle::Running };
        }
        let run = self.telling();
        if run.status == "SLEEPING" && self.running() == 0 {
            return Lifecycle::Asleep;
        }
        match run.status.as_str() {
            _ if self.count(&["HEALTHY"]) > 0 => Lifecycle::Running,
            "HEALTHY" | "DEGRADED" | "SLEEPING" => Lifecycle::Running,
            "UNHEALTHY" | "ERROR" | "ERRORING" => Lifecycle::Failed,
            _ if run.is_under_way() || self.service.status == "RESUMING" => Lifecycle::Starting,
            "CANCELED" | "CANCELING" | "STOPPED" | "STOPPING" if self.instances.is_empty() => {
                Lifecycle::Failed
            }
            _ => Lifecycle::Unknown,
        }
    }
}

/// The placement that `view` shows.
pub(super) fn seen(service: ServiceName, view: &View<'_>) -> Seen {
    let run = view.telling();
    let rests = view.service.is_paused() || view.service.is_pausing();
    let routes = run.definition["routes"].as_array();
    let host = view.app.own_host().filter(|_| routes.is_some_and(|routes| !routes.is_empty()));
    Seen {
        service,
        lifecycle: view.lifecycle(),
        said: if rests { view.service.status.clone() } else { run.said() },
        id: view.service.id.clone(),
        digest: run.digest(),
        release: run.env("LINKFLOW_RELEASE").and_then(|text| text.parse().ok()),
        fingerprint: run.env("LINKFLOW_FINGERPRINT").map(|text| Fingerprint(text.to_owned())),
        replicas: if rests { 0 } else { run.instances() },
        running: view.running(),
        address: host.map(|host| format!("https://{host}")),
    }
}

/// What a deploy is to reach, as it is written into [`linkflow_model::role::Deployment::id`]: the service's id, the
/// replicas and the fingerprint. Not the deployment's id, for a resume begins one without telling which.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Aim {
    pub(super) service: String,
    pub(super) replicas: u32,
    pub(super) fingerprint: String,
}

impl Aim {
    pub(super) fn write(&self) -> String {
        format!("{} {} {}", self.service, self.replicas, self.fingerprint)
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let service = words.next().filter(|id| !id.is_empty())?.to_owned();
        let replicas = words.next()?.parse().ok()?;
        let fingerprint = words.next()?.to_owned();
        words.next().is_none().then_some(Self { service, replicas, fingerprint })
    }
}

/// How far it is, by what the service and its latest deployment say now.
pub(super) fn progress(aim: &Aim, service: &Service, run: &Run, settling: &Settling) -> Progress {
    if run.env("LINKFLOW_FINGERPRINT") != Some(&aim.fingerprint) {
        return Progress::Failed { why: "another deploy took its place".to_owned() };
    }
    if aim.replicas == 0 {
        let said = service.status.clone();
        return if service.is_paused() { Progress::Done } else { Progress::Under { said } };
    }
    if run.status != "HEALTHY" {
        settling.fell(&run.id);
    }
    match run.status.as_str() {
        "HEALTHY" if run.is_checked() || settling.is_settled(&run.id) => Progress::Done,
        "SLEEPING" => Progress::Done,
        "ERROR" | "ERRORING" | "CANCELED" | "CANCELING" | "STOPPED" | "STOPPING" => {
            Progress::Failed { why: run.said() }
        }
        // Nothing is asked of a worker before it counts as healthy, so this one's process ended.
        "UNHEALTHY" if !run.is_checked() => Progress::Failed { why: run.said() },
        _ => Progress::Under { said: run.said() },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(words: &str, number: u64) -> Run {
        let (id, status) = words.split_once(':').unwrap();
        let image = format!("ghcr.io/a/b@sha256:{}", number.to_string().repeat(64));
        let env = json!([
            { "key": "LINKFLOW_STACK", "value": "linkflow" }, { "key": "LINKFLOW_SERVICE", "value": "api" },
            { "key": "LINKFLOW_RELEASE", "value": format!("r{number}") },
            { "key": "LINKFLOW_FINGERPRINT", "value": format!("f{number}") },
        ]);
        let definition = json!({
            "env": env, "docker": { "image": image }, "scalings": [{ "min": 1, "max": 2 }], "routes": [{ "path": "/" }],
        });
        let row = json!({ "id": id, "status": status, "messages": null, "definition": definition });
        serde_json::from_value(row).unwrap()
    }

    fn service(status: &str) -> Service {
        let row = json!({ "id": "s", "name": "api", "status": status, "messages": [], "active_deployment_id": null });
        serde_json::from_value(row).unwrap()
    }

    /// A service in `status`; its latest deployment and, when that is another, the active one; its instances.
    #[track_caller]
    fn check(status: &str, runs: &[&str], instances: &str, expected: (Lifecycle, u32, u32, &str)) {
        let app: Value = json!({ "id": "a", "name": "linkflow-api", "domains": [
            { "name": "own.example.com", "type": "CUSTOM" }, { "name": "x.koyeb.app", "type": "AUTOASSIGNED" },
        ] });
        let app: App = serde_json::from_value(app).unwrap();
        let runs: Vec<Run> =
            runs.iter().zip([2, 1]).map(|(words, number)| run(words, number)).collect();
        let rows = instances
            .split_whitespace()
            .map(|status| json!({ "service_id": "s", "status": status }));
        let instances: Vec<Instance> =
            rows.map(|row| serde_json::from_value(row).unwrap()).collect();
        let instances: Vec<&Instance> = instances.iter().collect();
        let service = service(status);
        let active = runs.last().filter(|run| run.goes_on());
        let view =
            View { app: &app, service: &service, latest: &runs[0], active, instances: &instances };
        let seen = seen(ServiceName::new("api").unwrap(), &view);
        let fingerprint = seen.fingerprint.unwrap().0;
        let told = (seen.lifecycle, seen.replicas, seen.running, fingerprint.as_str());
        assert_eq!(told, expected, "{}", seen.said);
        assert_eq!(seen.address.as_deref(), Some("https://x.koyeb.app"));
    }

    #[test]
    fn service_deployment_and_instances_make_up_a_placement() {
        check("STARTING", &["2:PENDING"], "", (Lifecycle::Starting, 2, 0, "f2"));
        check("STARTING", &["2:STARTING"], "STARTING", (Lifecycle::Starting, 2, 0, "f2"));
        check("HEALTHY", &["2:HEALTHY"], "HEALTHY HEALTHY", (Lifecycle::Running, 2, 2, "f2"));
        check("DEGRADED", &["2:DEGRADED"], "HEALTHY UNHEALTHY", (Lifecycle::Running, 2, 2, "f2"));
        check("HEALTHY", &["2:SLEEPING"], "", (Lifecycle::Asleep, 2, 0, "f2"));
        check("UNHEALTHY", &["2:ERROR"], "", (Lifecycle::Failed, 2, 0, "f2"));
        check("UNHEALTHY", &["2:UNHEALTHY"], "UNHEALTHY", (Lifecycle::Failed, 2, 1, "f2"));
        check("HEALTHY", &["2:A_NEW_WORD"], "", (Lifecycle::Unknown, 2, 0, "f2"));
    }

    #[test]
    fn while_a_new_one_comes_or_fails_the_old_one_is_what_runs() {
        check("HEALTHY", &["2:STARTING", "1:HEALTHY"], "HEALTHY", (Lifecycle::Running, 2, 1, "f1"));
        check("HEALTHY", &["2:ERROR", "1:HEALTHY"], "HEALTHY", (Lifecycle::Running, 2, 1, "f1"));
        check("HEALTHY", &["2:STASHED", "1:HEALTHY"], "HEALTHY", (Lifecycle::Running, 2, 1, "f1"));
    }

    #[test]
    fn paused_is_stopped_once_no_instance_is_left() {
        check("PAUSING", &["1:STOPPING"], "STOPPING", (Lifecycle::Running, 0, 1, "f2"));
        check("PAUSED", &["1:STOPPED"], "STOPPING", (Lifecycle::Running, 0, 1, "f2"));
        check("PAUSED", &["1:STASHED"], "", (Lifecycle::Stopped, 0, 0, "f2"));
    }

    #[track_caller]
    fn follow(status: &str, latest: &str, checked: bool, replicas: u32, expected: &str) {
        let clock = std::sync::Arc::new(linkflow_model::clock::SystemClock::start());
        let aim = Aim { service: "s".to_owned(), replicas, fingerprint: "f2".to_owned() };
        let mut run = run(latest, 2);
        if checked {
            run.definition["health_checks"] = json!([{ "tcp": { "port": 1 } }]);
        }
        let said = match progress(&aim, &service(status), &run, &Settling::new(clock)) {
            Progress::Done => "done".to_owned(),
            Progress::Under { said } => format!("under: {said}"),
            Progress::Failed { why } => format!("failed: {why}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn a_deploy_is_followed_by_the_latest_deployment() {
        follow("STARTING", "2:PROVISIONING", true, 1, "under: PROVISIONING");
        follow("HEALTHY", "2:HEALTHY", true, 1, "done");
        follow("HEALTHY", "2:HEALTHY", false, 1, "under: HEALTHY");
        follow("HEALTHY", "2:SLEEPING", true, 1, "done");
        follow("UNHEALTHY", "2:UNHEALTHY", true, 1, "under: UNHEALTHY");
        follow("UNHEALTHY", "2:UNHEALTHY", false, 1, "failed: UNHEALTHY");
        follow("UNHEALTHY", "2:ERROR", true, 1, "failed: ERROR");
        follow("HEALTHY", "2:CANCELED", true, 1, "failed: CANCELED");
        follow("PAUSED", "2:STASHED", true, 1, "under: STASHED");
    }

    #[test]
    fn a_rest_is_reached_when_the_service_is_paused() {
        follow("PAUSING", "2:STASHED", true, 0, "under: PAUSING");
        follow("PAUSED", "2:STASHED", true, 0, "done");
    }

    #[test]
    fn an_aim_is_read_as_it_was_written() {
        let aim = Aim { service: "s".to_owned(), replicas: 2, fingerprint: "f".to_owned() };
        assert_eq!(Aim::read(&aim.write()), Some(aim));
        assert_eq!(Aim::read("s 2"), None);
        assert_eq!(Aim::read("s 2 f more"), None);
    }
}
