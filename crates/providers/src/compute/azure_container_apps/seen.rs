//! What Azure says of an app and its revisions, in our words.

use linkflow_model::role::{Progress, Seen};
use linkflow_model::{Lifecycle, ServiceName};

use super::wire::{Replica, ReplicaContainer, Resource};
use crate::compute::settle::Settling;

/// How `app` stands.
pub(super) fn seen(service: ServiceName, app: &Resource, revisions: &[Resource]) -> Seen {
    let current = current(app, revisions);
    let template = current.map_or_else(|| app.template(), Resource::template);
    let running = revisions.iter().map(Resource::replicas).sum();
    let replicas = if app.is_stopped() { 0 } else { template.least_replicas() };
    let host = app.text("/configuration/ingress/fqdn");
    Seen {
        service,
        lifecycle: lifecycle(app, current, running),
        said: said(app, current),
        id: app.name.clone(),
        digest: template.digest(),
        release: template.release(),
        fingerprint: template.fingerprint(),
        replicas,
        running,
        address: (!host.is_empty()).then(|| format!("https://{host}")),
    }
}

/// The revision that counts: the latest, unless that one does not run and the one before it still does.
fn current<'a>(app: &Resource, revisions: &'a [Resource]) -> Option<&'a Resource> {
    let named = |name: &str| revisions.iter().find(|revision| revision.name == name);
    let latest = named(app.text("/latestRevisionName"));
    let ready = named(app.text("/latestReadyRevisionName"));
    match (latest, ready) {
        (Some(latest), _) if latest.replicas() > 0 || app.is_stopped() => Some(latest),
        (_, Some(ready)) if ready.replicas() > 0 => Some(ready),
        (latest, ready) => latest.or(ready),
    }
}

fn said(app: &Resource, current: Option<&Resource>) -> String {
    let state = app.text("/provisioningState");
    let mut words = Vec::new();
    if state != "Succeeded" {
        words.push(state.to_owned());
    }
    match current.map(Resource::said).filter(|said| !said.is_empty()) {
        Some(said) if !app.is_stopped() => words.push(said),
        _ => words.push(app.text("/runningStatus").to_owned()),
    }
    words.retain(|word| !word.is_empty());
    words.join(", ")
}

fn lifecycle(app: &Resource, current: Option<&Resource>, running: u32) -> Lifecycle {
    if app.is_stopped() {
        // It has been seen to run on for a while after it was told to stop.
        return if running == 0 { Lifecycle::Stopped } else { Lifecycle::Running };
    }
    if app.is_going() {
        return if running == 0 { Lifecycle::Unknown } else { Lifecycle::Running };
    }
    let Some(revision) = current else {
        return if app.is_busy() { Lifecycle::Starting } else { Lifecycle::Failed };
    };
    match revision.text("/runningState") {
        _ if revision.runs() => Lifecycle::Running,
        _ if revision.gave_up() => Lifecycle::Failed,
        "Degraded" if revision.replicas() > 0 => Lifecycle::Running,
        "Degraded" => Lifecycle::Failed,
        "Processing" | "Activating" | "Provisioning" => Lifecycle::Starting,
        "ScaledToZero" => Lifecycle::Asleep,
        "Stopped" if running == 0 && !app.is_busy() => Lifecycle::Stopped,
        _ if app.is_busy() => Lifecycle::Starting,
        _ => Lifecycle::Unknown,
    }
}

/// What is waited for, as it is written into [`linkflow_model::role::Deployment::id`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Aim {
    pub(super) fingerprint: String,
    pub(super) replicas: u32,
}

impl Aim {
    pub(super) fn write(&self) -> String {
        format!("{} {}", self.fingerprint, self.replicas)
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let (fingerprint, replicas) = text.split_once(' ')?;
        Some(Self { fingerprint: fingerprint.to_owned(), replicas: replicas.parse().ok()? })
    }
}

/// How far an app is that is to rest.
pub(super) fn resting(app: &Resource, revisions: &[Resource]) -> Progress {
    let running: u32 = revisions.iter().map(Resource::replicas).sum();
    match () {
        () if app.is_busy() => Progress::Under { said: app.text("/provisioningState").to_owned() },
        () if !app.is_stopped() => Progress::Failed { why: "somebody started it".to_owned() },
        () if running > 0 => Progress::Under { said: format!("{running} still run") },
        () => Progress::Done,
    }
}

/// How far an app is that is to run `revision`.
pub(super) fn going(
    app: &Resource,
    revision: Option<&Resource>,
    replicas: &[Replica],
    checked: bool,
    settling: &Settling,
) -> Progress {
    let busy = app.is_busy();
    let failed = |why: &str| Progress::Failed { why: why.to_owned() };
    let Some(revision) = revision else {
        return match () {
            () if busy => Progress::Under { said: app.text("/provisioningState").to_owned() },
            () if app.has_failed() => failed("Azure did not take the change"),
            () => Progress::Under { said: "no revision yet".to_owned() },
        };
    };
    if !busy && app.is_stopped() {
        return failed("it is stopped");
    }
    if let Some(death) =
        replicas.iter().flat_map(Replica::containers).find_map(ReplicaContainer::death)
    {
        replicas.iter().for_each(|replica| settling.fell(&replica.incarnation()));
        return Progress::Failed { why: format!("its process ended: {death}") };
    }
    if revision.gave_up() || (!busy && app.has_failed()) {
        return match revision.text("/provisioningError") {
            "" => Progress::Failed { why: revision.said() },
            why => failed(why),
        };
    }
    let is_ready = revision.runs()
        && revision.text("/healthState") != "Unhealthy"
        && !matches!(revision.text("/provisioningState"), "Provisioning")
        && app.text("/latestReadyRevisionName") == revision.name;
    let settled = || {
        // All are noted, not only those up to the first that is not settled.
        let unsettled = replicas.iter().filter(|r| !settling.is_settled(&r.incarnation())).count();
        !replicas.is_empty() && unsettled == 0
    };
    if is_ready && !busy && (checked || settled()) {
        return Progress::Done;
    }
    let state = app.text("/provisioningState");
    let said = revision.said();
    Progress::Under { said: if busy && said.is_empty() { state.to_owned() } else { said } }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn template(fingerprint: &str) -> Value {
        let image = format!("ghcr.io/a/b@sha256:{}", "0".repeat(64));
        json!({
            "revisionSuffix": fingerprint,
            "containers": [{ "name": "api", "image": image, "env": [
                { "name": "LINKFLOW_SERVICE", "value": "api" },
                { "name": "LINKFLOW_FINGERPRINT", "value": fingerprint },
            ] }],
            "scale": { "minReplicas": 1, "maxReplicas": 1 },
        })
    }

    /// An app from words: provisioning state, running status, its latest and its latest ready revision.
    fn app(words: &str) -> Resource {
        let [state, status, latest, ready] =
            <[&str; 4]>::try_from(words.split(' ').collect::<Vec<_>>()).unwrap();
        let name = |suffix: &str| format!("a--{suffix}");
        serde_json::from_value(json!({ "name": "a", "location": "l", "properties": {
            "provisioningState": state, "runningStatus": status,
            "latestRevisionName": name(latest), "latestReadyRevisionName": name(ready),
            "template": template(latest),
        } }))
        .unwrap()
    }

    /// A revision from words: suffix, running state, health, provisioning state, replicas.
    fn revision(words: &str) -> Resource {
        let [suffix, running, health, provisioning, replicas] =
            <[&str; 5]>::try_from(words.split(' ').collect::<Vec<_>>()).unwrap();
        serde_json::from_value(json!({ "name": format!("a--{suffix}"), "properties": {
            "runningState": running, "healthState": health, "provisioningState": provisioning,
            "replicas": replicas.parse::<u32>().unwrap(), "template": template(suffix),
        } }))
        .unwrap()
    }

    #[track_caller]
    fn check(of_app: &str, revisions: &[&str], lifecycle: Lifecycle, running: u32, runs: &str) {
        let revisions: Vec<Resource> = revisions.iter().map(|words| revision(words)).collect();
        let seen = seen(ServiceName::new("api").unwrap(), &app(of_app), &revisions);
        let fingerprint = seen.fingerprint.map(|f| f.0).unwrap_or_default();
        assert_eq!(
            (seen.lifecycle, seen.running, fingerprint.as_str()),
            (lifecycle, running, runs),
            "{}",
            seen.said
        );
    }

    #[test]
    fn the_latest_revision_tells_how_it_stands() {
        let of = |words: &str, lifecycle, running| {
            check("Succeeded Running n n", &[words], lifecycle, running, "n");
        };
        of("n Running Healthy Provisioned 1", Lifecycle::Running, 1);
        of("n RunningAtMaxScale Healthy Provisioned 1", Lifecycle::Running, 1);
        of("n Processing None Provisioning 0", Lifecycle::Starting, 0);
        of("n Degraded Unhealthy Provisioned 1", Lifecycle::Running, 1);
        of("n Degraded Unhealthy Provisioned 0", Lifecycle::Failed, 0);
        of("n Failed Unhealthy Provisioned 0", Lifecycle::Failed, 0);
        of("n ActivationFailed Unhealthy Provisioned 0", Lifecycle::Failed, 0);
        of("n ScaledToZero Healthy Provisioned 0", Lifecycle::Asleep, 0);
        of("n ANewWord Healthy Provisioned 0", Lifecycle::Unknown, 0);
        check("InProgress Progressing n n", &[], Lifecycle::Starting, 0, "n");
    }

    #[test]
    fn what_is_stopped_counts_as_such_only_when_nothing_runs() {
        check(
            "Succeeded Stopped n n",
            &["n Stopped None Provisioned 0"],
            Lifecycle::Stopped,
            0,
            "n",
        );
        check(
            "Succeeded Stopped n n",
            &["n Running Healthy Provisioned 1"],
            Lifecycle::Running,
            1,
            "n",
        );
        let old_one_runs = ["n Stopped None Provisioned 0", "o Running Healthy Provisioned 1"];
        check("Succeeded Stopped n o", &old_one_runs, Lifecycle::Running, 1, "n");
    }

    #[test]
    fn while_a_new_one_comes_the_old_one_is_what_runs() {
        let old = "o Running Healthy Provisioned 1";
        check(
            "InProgress Running n o",
            &["n Processing None Provisioning 0", old],
            Lifecycle::Running,
            1,
            "o",
        );
        check(
            "Succeeded Running n o",
            &["n Failed Unhealthy Failed 0", old],
            Lifecycle::Running,
            1,
            "o",
        );
        check(
            "Succeeded Running n n",
            &["n Running Healthy Provisioned 1", old],
            Lifecycle::Running,
            2,
            "n",
        );
    }

    #[track_caller]
    fn follow(of_app: &str, words: &str, replica: &Value, checked: bool, expected: &str) {
        let clock = std::sync::Arc::new(linkflow_model::clock::SystemClock::start());
        let replica: Replica = serde_json::from_value(
            json!({ "name": "p", "properties": { "containers": [replica] } }),
        )
        .unwrap();
        let revision = revision(words);
        let progress =
            going(&app(of_app), Some(&revision), &[replica], checked, &Settling::new(clock));
        let said = match progress {
            Progress::Done => "done".to_owned(),
            Progress::Under { said } => format!("under: {said}"),
            Progress::Failed { why } => format!("failed: {why}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn a_deploy_is_done_when_its_revision_is_ready_and_failed_when_its_process_died() {
        let up = json!({ "ready": true, "restartCount": 0, "runningState": "Running" });
        let dead = json!({ "ready": false, "restartCount": 2, "runningState": "Waiting", "runningStateDetails": "CrashLoopBackOff" });
        let sick = json!({ "ready": false, "restartCount": 0, "runningState": "Running" });
        let well = "n Running Healthy Provisioned 1";
        follow("Succeeded Running n n", well, &up, true, "done");
        follow("Succeeded Running n n", well, &up, false, "under: Running, Healthy");
        follow("InProgress Progressing n n", well, &up, true, "under: Running, Healthy");
        follow("Succeeded Running n o", well, &up, true, "under: Running, Healthy");
        follow("Succeeded Stopped n n", well, &up, true, "failed: it is stopped");
        let coming = "n Processing Unhealthy Provisioning 1";
        follow("Succeeded Running n o", coming, &sick, true, "under: Processing, Unhealthy");
        follow(
            "InProgress Running n o",
            coming,
            &dead,
            true,
            "failed: its process ended: CrashLoopBackOff",
        );
        let gave_up = "n Failed Unhealthy Failed 0";
        follow("Failed Running n o", gave_up, &sick, true, "failed: Failed, Unhealthy");
    }

    #[test]
    fn an_aim_is_read_as_it_was_written() {
        let aim = Aim { fingerprint: "f".to_owned(), replicas: 2 };
        assert_eq!(Aim::read(&aim.write()), Some(aim));
        assert_eq!(Aim::read("f"), None);
    }
}
