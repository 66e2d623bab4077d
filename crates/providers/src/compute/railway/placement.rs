//! One service on Railway as it stands, and what that means.

use std::collections::BTreeMap;

use linkflow_model::role::{Progress, Seen};
use linkflow_model::{Digest, Fingerprint, Lifecycle, PinnedImage, ServiceName, StackName};

use super::super::settle::Settling;
use super::wire::{Instance, Proxy, Run};

/// The deployment that was the latest when the configuration was last written. While it still is, that
/// configuration has not been deployed: the answer to "did it go through?" after an answer was lost.
pub(super) const BEFORE: &str = "LINKFLOW_BEFORE";

/// The failed deployment after which the service was told to rest.
pub(super) const RESTING: &str = "LINKFLOW_RESTING";

/// Which login the image was last pulled with, as a short hash: Railway gives back neither user nor password.
pub(super) const LOGIN: &str = "LINKFLOW_LOGIN";

/// What [`BEFORE`] says when there was none.
pub(super) const NONE: &str = "none";

/// One service of the environment.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    pub(super) instance: Instance,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) proxies: Vec<Proxy>,
}

impl Placement {
    /// The service, when it carries the markers of `stack`.
    pub(super) fn service(&self, stack: &StackName) -> Option<ServiceName> {
        let ours = self.variables.get("LINKFLOW_STACK").map(String::as_str) == Some(stack.as_str());
        self.variables.get("LINKFLOW_SERVICE").filter(|_| ours).and_then(|name| ServiceName::new(name))
    }

    pub(super) fn id(&self) -> &str {
        &self.instance.service_id
    }

    pub(super) fn latest(&self) -> Option<&Run> {
        self.instance.latest_deployment.as_ref()
    }

    /// Every deployment that may have an instance, the latest first.
    pub(super) fn runs(&self) -> Vec<&Run> {
        let latest = self.latest();
        let others = self.instance.active_deployments.iter();
        latest.into_iter().chain(others.filter(|run| latest.is_none_or(|l| l.id != run.id))).collect()
    }

    /// Those of them that do.
    pub(super) fn live(&self) -> impl Iterator<Item = &Run> {
        self.runs().into_iter().filter(|run| run.is_live())
    }

    /// Whether the configuration as it is written now was deployed.
    pub(super) fn is_config_deployed(&self) -> bool {
        let before = self.variables.get(BEFORE).map(String::as_str);
        self.latest().is_some_and(|run| Some(run.id.as_str()) != before)
    }

    pub(super) fn lifecycle(&self) -> Lifecycle {
        if let Some(run) = self.live().next() {
            return match run.status.as_str() {
                "SUCCESS" | "REMOVING" => Lifecycle::Running,
                "SLEEPING" => Lifecycle::Asleep,
                "CRASHED" | "FAILED" => Lifecycle::Failed,
                // An older deployment may go on serving while the latest is being made.
                _ if self.live().any(|run| run.status == "SUCCESS") => Lifecycle::Running,
                _ if run.is_under_way() => Lifecycle::Starting,
                _ => Lifecycle::Unknown,
            };
        }
        let Some(latest) = self.latest() else { return Lifecycle::Stopped };
        let rests = self.variables.get(RESTING) == Some(&latest.id);
        match latest.status.as_str() {
            "SUCCESS" if latest.any_instance(&["CRASHED", "EXITED"]) && !latest.deployment_stopped => {
                Lifecycle::Failed
            }
            "SUCCESS" | "REMOVED" | "REMOVING" | "SLEEPING" => Lifecycle::Stopped,
            "CRASHED" | "FAILED" | "SKIPPED" | "NEEDS_APPROVAL" if rests => Lifecycle::Stopped,
            "CRASHED" | "FAILED" | "SKIPPED" | "NEEDS_APPROVAL" => Lifecycle::Failed,
            _ if latest.is_under_way() => Lifecycle::Starting,
            _ => Lifecycle::Unknown,
        }
    }

    /// Whether nothing of it runs or is about to.
    pub(super) fn is_at_rest(&self) -> bool {
        self.lifecycle() == Lifecycle::Stopped
    }

    /// What runs, or would when started.
    fn digest(&self) -> Option<Digest> {
        let configured = || pinned(self.instance.source.as_ref()?.image.as_deref()?);
        match self.live().next() {
            Some(run) => match run.digest() {
                Some(digest) => Some(digest),
                None if self.tells_of(run) => configured(),
                None => None,
            },
            None => configured(),
        }
    }

    /// Whether the configuration as it is written now is what `run` was made with.
    fn tells_of(&self, run: &Run) -> bool {
        self.is_config_deployed() && self.latest().is_some_and(|latest| latest.id == run.id)
    }

    pub(super) fn seen(&self, service: ServiceName) -> Seen {
        let tells = self.live().next().is_none_or(|run| self.tells_of(run));
        let told = |name: &str| self.variables.get(name).filter(|_| tells);
        let running: usize = self.live().map(Run::count_running).sum();
        let rests = self.is_at_rest();
        Seen {
            service,
            lifecycle: self.lifecycle(),
            said: self.latest().map_or_else(|| "never deployed".to_owned(), Run::said),
            id: self.id().to_owned(),
            digest: self.digest(),
            release: told("LINKFLOW_RELEASE").and_then(|text| text.parse().ok()),
            fingerprint: told("LINKFLOW_FINGERPRINT").cloned().map(Fingerprint),
            replicas: if rests { 0 } else { self.instance.num_replicas.unwrap_or(1) },
            running: u32::try_from(running).unwrap_or(u32::MAX),
            address: self.address(),
        }
    }

    /// A TCP proxy is made for gRPC alone, so where there is one, it is the address.
    fn address(&self) -> Option<String> {
        let proxy = self.proxies.first();
        let domain = self.instance.domains.service_domains.first();
        proxy
            .map(|proxy| format!("http://{}:{}", proxy.domain, proxy.proxy_port))
            .or_else(|| domain.map(|domain| format!("https://{}", domain.domain)))
    }
}

impl Run {
    fn any_instance(&self, states: &[&str]) -> bool {
        self.instances.iter().any(|instance| states.contains(&instance.status.as_str()))
    }

    /// Whether an instance of it runs, or may.
    pub(super) fn is_live(&self) -> bool {
        const LIVING: &[&str] = &["RUNNING", "CREATED", "INITIALIZING", "RESTARTING", "REMOVING"];
        if self.deployment_stopped || matches!(self.status.as_str(), "REMOVED" | "FAILED" | "SKIPPED") {
            return false;
        }
        // Without a word about instances, the deployment's own word counts.
        let may = self.instances.is_empty() && matches!(self.status.as_str(), "SUCCESS" | "REMOVING");
        may || self.status == "SLEEPING" || self.any_instance(LIVING)
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(
            self.status.as_str(),
            "BUILDING" | "DEPLOYING" | "INITIALIZING" | "QUEUED" | "WAITING"
        )
    }

    fn count_running(&self) -> usize {
        self.instances.iter().filter(|i| matches!(i.status.as_str(), "RUNNING" | "REMOVING")).count()
    }

    fn said(&self) -> String {
        let stopped = if self.deployment_stopped { ", stopped" } else { "" };
        format!("{}{stopped}", self.status)
    }

    /// What it runs, as far as its metadata say. The published schema leaves these open.
    fn digest(&self) -> Option<Digest> {
        let meta = self.meta.as_ref()?;
        let text = |name: &str| meta.get(name)?.as_str();
        let resolved = text("imageDigest").and_then(|text| text.parse().ok());
        resolved.or_else(|| pinned(text("image")?))
    }
}

fn pinned(image: &str) -> Option<Digest> {
    image.parse::<PinnedImage>().ok().map(|image| image.digest)
}

/// What is waited for, as it is written into [`linkflow_model::role::Deployment::id`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// A deployment is to serve. `checked`: the vendor asks its health path first.
    Run { deployment: String, checked: bool },
    /// These deployments are to have stopped.
    Stop { deployments: Vec<String> },
}

impl Aim {
    pub(super) fn write(&self) -> String {
        match self {
            Self::Run { deployment, checked: true } => format!("checked {deployment}"),
            Self::Run { deployment, checked: false } => format!("unchecked {deployment}"),
            Self::Stop { deployments } => format!("stop {}", deployments.join(" ")).trim_end().to_owned(),
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let verb = words.next()?;
        let ids: Vec<String> = words.map(str::to_owned).collect();
        match (verb, ids.as_slice()) {
            ("checked" | "unchecked", [id]) => {
                Some(Self::Run { deployment: id.clone(), checked: verb == "checked" })
            }
            ("stop", _) => Some(Self::Stop { deployments: ids }),
            _ => None,
        }
    }

    pub(super) fn deployments(&self) -> Vec<&str> {
        match self {
            Self::Run { deployment, .. } => vec![deployment],
            Self::Stop { deployments } => deployments.iter().map(String::as_str).collect(),
        }
    }
}

/// How far it is, by what its deployments say now.
pub(super) fn progress(aim: &Aim, runs: &[Run], settling: &Settling) -> Progress {
    match aim {
        Aim::Stop { .. } => match runs.iter().find(|run| run.is_live() || run.is_under_way()) {
            Some(run) => Progress::Under { said: run.said() },
            None => Progress::Done,
        },
        Aim::Run { checked, .. } => match runs.first() {
            Some(run) => going(run, *checked, settling),
            None => Progress::Failed { why: "the deployment is gone".to_owned() },
        },
    }
}

fn going(run: &Run, checked: bool, settling: &Settling) -> Progress {
    let failed = |why: &str| Progress::Failed { why: format!("{}: {why}", run.said()) };
    match run.status.as_str() {
        "FAILED" => return failed("it did not start, or its health check did not pass"),
        "CRASHED" => return failed("its process ended"),
        "REMOVED" | "REMOVING" => return failed("it was removed"),
        "SKIPPED" | "NEEDS_APPROVAL" => return failed("it was not begun"),
        "SLEEPING" => return Progress::Done,
        _ => {}
    }
    if run.any_instance(&["CRASHED", "EXITED", "RESTARTING"]) {
        settling.fell(&run.id);
        return failed("its process ended");
    }
    let done = run.status == "SUCCESS" && !run.deployment_stopped;
    if done && (checked || settling.is_settled(&run.id)) {
        return Progress::Done;
    }
    if run.status == "SUCCESS" && run.deployment_stopped {
        return failed("it was stopped");
    }
    Progress::Under { said: run.said() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A deployment from words: `ID:STATUS`, then the statuses of its instances, and `stopped`.
    fn run(words: &str) -> Value {
        let mut words = words.split(' ');
        let (id, status) = words.next().unwrap().split_once(':').unwrap();
        let rest: Vec<&str> = words.collect();
        let instances = rest.iter().filter(|w| **w != "stopped").map(|w| json!({ "status": w }));
        json!({
            "id": id, "status": status, "deploymentStopped": rest.contains(&"stopped"), "meta": null,
            "instances": instances.collect::<Vec<_>>(),
        })
    }

    /// A placement whose configuration was written after deployment `before`; the latest deployment first.
    fn placement(before: &str, runs: &[&str]) -> Placement {
        let image = format!("ghcr.io/a/b@sha256:{}", "0".repeat(64));
        let instance = json!({
            "serviceId": "s", "serviceName": "api", "numReplicas": 1, "source": { "image": image },
            "domains": { "serviceDomains": [] },
            "latestDeployment": runs.first().map(|words| run(words)),
            "activeDeployments": runs.iter().map(|words| run(words)).collect::<Vec<_>>(),
        });
        let mut variables = BTreeMap::new();
        for (name, text) in [
            ("LINKFLOW_STACK", "linkflow"),
            ("LINKFLOW_SERVICE", "api"),
            ("LINKFLOW_FINGERPRINT", "new"),
            (BEFORE, before),
        ] {
            variables.insert(name.to_owned(), text.to_owned());
        }
        let instance = serde_json::from_value(instance).unwrap();
        Placement { instance, variables, proxies: Vec::new() }
    }

    #[track_caller]
    fn check(before: &str, runs: &[&str], expected: Lifecycle, running: u32, fingerprint: &str) {
        let seen = placement(before, runs).seen(ServiceName::new("api").unwrap());
        let known = seen.fingerprint.map_or("?".to_owned(), |f| f.0);
        assert_eq!((seen.lifecycle, seen.running, known.as_str()), (expected, running, fingerprint), "{}", seen.said);
    }

    #[test]
    fn the_latest_deployment_tells_how_it_stands() {
        check("none", &[], Lifecycle::Stopped, 0, "new");
        check("none", &["1:QUEUED"], Lifecycle::Starting, 0, "new");
        check("none", &["1:DEPLOYING RUNNING"], Lifecycle::Starting, 1, "new");
        check("none", &["1:SUCCESS RUNNING"], Lifecycle::Running, 1, "new");
        check("none", &["1:SUCCESS STOPPED stopped"], Lifecycle::Stopped, 0, "new");
        check("none", &["1:SUCCESS CRASHED"], Lifecycle::Failed, 0, "new");
        check("none", &["1:CRASHED RESTARTING"], Lifecycle::Failed, 0, "new");
        check("none", &["1:FAILED"], Lifecycle::Failed, 0, "new");
        check("none", &["1:REMOVED"], Lifecycle::Stopped, 0, "new");
        check("none", &["1:REMOVING REMOVING"], Lifecycle::Running, 1, "new");
        check("none", &["1:SLEEPING STOPPED"], Lifecycle::Asleep, 0, "new");
        check("none", &["1:SLEEPING STOPPED stopped"], Lifecycle::Stopped, 0, "new");
        check("none", &["1:A_NEW_WORD"], Lifecycle::Unknown, 0, "new");
    }

    #[test]
    fn while_a_new_one_comes_the_old_one_is_what_runs() {
        check("1", &["2:DEPLOYING", "1:SUCCESS RUNNING"], Lifecycle::Running, 1, "?");
        check("1", &["2:FAILED", "1:SUCCESS RUNNING"], Lifecycle::Running, 1, "?");
        check("1", &["2:SUCCESS RUNNING", "1:REMOVING REMOVING"], Lifecycle::Running, 2, "new");
    }

    #[test]
    fn a_configuration_that_was_not_deployed_is_not_what_runs() {
        check("1", &["1:SUCCESS RUNNING"], Lifecycle::Running, 1, "?");
        assert!(!placement("1", &["1:SUCCESS RUNNING"]).is_config_deployed());
        assert!(placement("1", &["2:QUEUED"]).is_config_deployed());
        assert!(!placement("none", &[]).is_config_deployed());
    }

    #[test]
    fn a_failed_one_that_was_told_to_rest_is_stopped() {
        let mut failed = placement("none", &["1:FAILED"]);
        failed.variables.insert(RESTING.to_owned(), "1".to_owned());
        assert!(failed.is_at_rest());
        failed.variables.insert(RESTING.to_owned(), "0".to_owned());
        assert!(!failed.is_at_rest(), "that was another deployment");
    }

    #[test]
    fn another_stack_is_not_ours() {
        let stack = |name: &str| StackName::new(name).unwrap();
        assert_eq!(placement("none", &[]).service(&stack("other")), None);
        assert_eq!(placement("none", &[]).service(&stack("linkflow")).unwrap().as_str(), "api");
    }

    #[track_caller]
    fn follow(aim: &str, runs: &[&str], expected: &str) {
        let clock = std::sync::Arc::new(linkflow_model::clock::SystemClock::start());
        let runs: Vec<Run> = runs.iter().map(|w| serde_json::from_value(run(w)).unwrap()).collect();
        let said = match progress(&Aim::read(aim).unwrap(), &runs, &Settling::new(clock)) {
            Progress::Done => "done".to_owned(),
            Progress::Under { said } => format!("under: {said}"),
            Progress::Failed { why } => format!("failed: {why}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn a_deploy_is_followed_by_its_own_status() {
        follow("checked 1", &["1:DEPLOYING CREATED"], "under: DEPLOYING");
        follow("checked 1", &["1:SUCCESS RUNNING"], "done");
        follow("unchecked 1", &["1:SUCCESS RUNNING"], "under: SUCCESS");
        follow("unchecked 1", &["1:SUCCESS RESTARTING"], "failed: SUCCESS: its process ended");
        follow("checked 1", &["1:FAILED"], "failed: FAILED: it did not start, or its health check did not pass");
        follow("checked 1", &["1:SUCCESS stopped"], "failed: SUCCESS, stopped: it was stopped");
        follow("checked 1", &[], "failed: the deployment is gone");
        follow("checked 1", &["1:SLEEPING"], "done");
    }

    #[test]
    fn a_stop_is_reached_when_nothing_lives() {
        follow("stop 1", &["1:SUCCESS REMOVING"], "under: SUCCESS");
        follow("stop 1", &["1:SUCCESS STOPPED stopped"], "done");
        follow("stop", &[], "done");
    }
}
