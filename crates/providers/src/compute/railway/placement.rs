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
                "SUCCESS" | "SLEEPING" | "REMOVING" => Lifecycle::Running,
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
