//! One service on Zeabur as it stands, and what that means.

use std::collections::BTreeMap;

use linkflow_model::role::{Progress, Seen};
use linkflow_model::{Fingerprint, Lifecycle, PinnedImage, ServiceName, StackName};

use super::super::settle::Settling;
use super::wire::{Domain, Run, Service};

/// The deployment that was the newest when the configuration was last written. While it still is, that configuration
/// has not been deployed: the answer to "did it go through?" after an answer was lost.
pub(super) const BEFORE: &str = "LINKFLOW_BEFORE";

/// What [`BEFORE`] says when there was none.
pub(super) const NONE: &str = "none";

/// The image that was asked for. Nothing that is known of the API tells which one runs.
pub(super) const IMAGE: &str = "LINKFLOW_IMAGE";

/// The id of the port that visitors come to.
pub(super) const WEB: &str = "web";

/// The id of the port that gRPC clients come to.
pub(super) const GRPC: &str = "grpc";

/// One service of the project.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    pub(super) held: Service,
    pub(super) variables: BTreeMap<String, String>,
    /// The newest deployment.
    pub(super) newest: Option<Run>,
}

impl Placement {
    pub(super) fn new(held: Service, newest: Option<Run>) -> Self {
        let own = |service: &Option<String>| service.as_ref().is_none_or(|id| *id == held.id);
        let variables = held.variables.iter().flatten().filter(|variable| own(&variable.service));
        let variables = variables.map(|v| (v.key.clone(), v.value.clone())).collect();
        Self { held, variables, newest }
    }

    /// The service, when it carries the markers of `stack`.
    pub(super) fn service(&self, stack: &StackName) -> Option<ServiceName> {
        let ours = self.told("LINKFLOW_STACK") == Some(stack.as_str());
        self.told("LINKFLOW_SERVICE").filter(|_| ours).and_then(ServiceName::new)
    }

    pub(super) fn id(&self) -> &str {
        &self.held.id
    }

    pub(super) fn told(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(super) fn status(&self) -> &str {
        self.held.status.as_deref().unwrap_or("UNKNOWN")
    }

    /// Whether nothing was ever put into it: what is left of a creation whose answer was lost.
    pub(super) fn is_blank(&self) -> bool {
        self.newest.is_none()
            && self.variables.is_empty()
            && self.held.template.as_deref() == Some("PREBUILT_V2")
            && self.held.domains.iter().flatten().next().is_none()
            && self.held.ports.iter().flatten().next().is_none()
    }

    /// What [`BEFORE`] is to say of now.
    pub(super) fn newest_id(&self) -> &str {
        self.newest.as_ref().map_or(NONE, |run| run.id.as_str())
    }

    /// Whether the configuration as it is written now was deployed.
    pub(super) fn is_config_deployed(&self) -> bool {
        self.newest.as_ref().is_some_and(|run| self.told(BEFORE) != Some(run.id.as_str()))
    }

    /// Whether it was told to rest.
    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.status(), "SUSPENDED" | "STOPPING")
    }

    fn is_under_way(&self) -> bool {
        self.newest.as_ref().is_some_and(|run| is_under_way(&run.status))
    }

    /// Whether the configuration as it is written now serves, or will.
    pub(super) fn goes_on(&self) -> bool {
        // The service's status may still tell of a deployment that failed before this one.
        let well = !matches!(self.status(), "CRASHED" | "PULL_FAILED");
        self.is_config_deployed() && !self.is_suspended() && (well || self.is_under_way())
    }

    pub(super) fn lifecycle(&self) -> Lifecycle {
        if self.newest.is_none() {
            return Lifecycle::Stopped;
        }
        match self.status() {
            "RUNNING" => Lifecycle::Running,
            // It may be on its way out, and is not proven to be gone.
            "STOPPING" => Lifecycle::Running,
            "SUSPENDED" => Lifecycle::Stopped,
            _ if self.is_under_way() => Lifecycle::Starting,
            "PENDING" | "BUILDING" | "STARTING" => Lifecycle::Starting,
            "CRASHED" | "PULL_FAILED" => Lifecycle::Failed,
            _ => Lifecycle::Unknown,
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.lifecycle() == Lifecycle::Stopped
    }

    /// `tcp_host`: where its TCP ports are reached.
    pub(super) fn seen(&self, service: ServiceName, tcp_host: Option<&str>) -> Seen {
        let lifecycle = self.lifecycle();
        // While another deployment is made, what runs is the one before.
        let serves_before = self.is_under_way() && self.status() == "RUNNING";
        let tells = self.is_at_rest() || (self.is_config_deployed() && !serves_before);
        let told = |name: &str| self.told(name).filter(|_| tells);
        let image = told(IMAGE).and_then(|text| text.parse::<PinnedImage>().ok());
        Seen {
            service,
            lifecycle,
            said: self.newest.as_ref().map_or("never deployed", |_| self.status()).to_owned(),
            id: self.id().to_owned(),
            digest: image.map(|image| image.digest),
            release: told("LINKFLOW_RELEASE").and_then(|text| text.parse().ok()),
            fingerprint: told("LINKFLOW_FINGERPRINT").map(|text| Fingerprint(text.to_owned())),
            replicas: u32::from(!self.is_at_rest()),
            running: u32::from(lifecycle == Lifecycle::Running),
            address: self.address(tcp_host),
        }
    }

    /// Nothing but gRPC has a TCP port of that id, so where there is one, it is the address.
    fn address(&self, tcp_host: Option<&str>) -> Option<String> {
        if let Some(grpc) = self.held.ports.iter().flatten().find(|port| port.id == GRPC) {
            return Some(format!("http://{}:{}", tcp_host?, grpc.forwarded?));
        }
        self.generated().map(|domain| format!("https://{}", domain.domain))
    }

    /// The name that the vendor gave it.
    pub(super) fn generated(&self) -> Option<&Domain> {
        let mut all = self.held.domains.iter().flatten();
        all.find(|domain| domain.is_generated == Some(true))
    }

    /// A name of the stack's own domain.
    pub(super) fn own_domain(&self, host: &str) -> Option<&Domain> {
        let mut all = self.held.domains.iter().flatten();
        all.find(|domain| domain.domain == host && domain.is_generated != Some(true))
    }
}

/// Whether a deployment's own word says that more is to come. These words are not published; others say nothing.
fn is_under_way(word: &str) -> bool {
    matches!(word, "PENDING" | "BUILDING" | "DEPLOYING")
}

/// What is waited for, as it is written into [`linkflow_model::role::Deployment::id`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// This deployment of the service is to run.
    Run { service: String, deployment: String },
    /// The service is to rest.
    Stop { service: String },
}

impl Aim {
    pub(super) fn write(&self) -> String {
        match self {
            Self::Run { service, deployment } => format!("run {service} {deployment}"),
            Self::Stop { service } => format!("stop {service}"),
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["run", service, deployment] => Some(Self::Run {
                service: (*service).to_owned(),
                deployment: (*deployment).to_owned(),
            }),
            ["stop", service] => Some(Self::Stop { service: (*service).to_owned() }),
            _ => None,
        }
    }

    pub(super) fn service(&self) -> &str {
        match self {
            Self::Run { service, .. } | Self::Stop { service } => service,
        }
    }
}

/// How far it is, by the service's status and its newest deployment.
pub(super) fn progress(
    aim: &Aim,
    status: &str,
    newest: Option<&Run>,
    settling: &Settling,
) -> Progress {
    let under = || Progress::Under { said: status.to_owned() };
    let Aim::Run { deployment, .. } = aim else {
        let rests = status == "SUSPENDED" || newest.is_none();
        return if rests { Progress::Done } else { under() };
    };
    let Some(run) = newest else { return under() };
    let failed = |why: &str| Progress::Failed { why: format!("{status}: {why}") };
    if run.id != *deployment {
        return failed("another deployment took its place");
    }
    if status != "RUNNING" {
        settling.fell(deployment);
    }
    match (run.status.as_str(), status) {
        // The service's status may still be that of the deployment before.
        (word, _) if is_under_way(word) => Progress::Under { said: word.to_owned() },
        (_, "CRASHED") => failed("its process ended"),
        (_, "PULL_FAILED") => failed("its image could not be pulled"),
        (_, "SUSPENDED" | "STOPPING") => failed("it was suspended"),
        ("FAILED" | "CRASHED", _) => failed("the deployment failed"),
        ("REMOVED" | "CANCELED", _) => failed("the deployment was taken away"),
        (_, "RUNNING") if settling.is_settled(deployment) => Progress::Done,
        _ => under(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A deployment from `ID:WORD`.
    fn run(words: &str) -> Run {
        let (id, status) = words.split_once(':').unwrap();
        Run { id: id.to_owned(), status: status.to_owned() }
    }

    /// A service whose configuration was written after deployment `before`.
    fn placement(before: &str, status: &str, newest: Option<&str>) -> Placement {
        let image = format!("ghcr.io/a/b@sha256:{}", "0".repeat(64));
        let variables = [
            ("LINKFLOW_STACK", "linkflow"),
            ("LINKFLOW_SERVICE", "api"),
            ("LINKFLOW_FINGERPRINT", "new"),
            (BEFORE, before),
            (IMAGE, &image),
        ];
        let rows = variables.map(|(key, value)| json!({ "key": key, "value": value, "serviceID": "s" }));
        let held = json!({ "_id": "s", "name": "linkflow-api", "status": status, "variables": rows });
        Placement::new(serde_json::from_value(held).unwrap(), newest.map(run))
    }

    #[track_caller]
    fn check(before: &str, status: &str, newest: Option<&str>, expected: (Lifecycle, u32, &str)) {
        let seen = placement(before, status, newest).seen(ServiceName::new("api").unwrap(), None);
        let known = seen.fingerprint.map_or("?".to_owned(), |f| f.0);
        assert_eq!((seen.lifecycle, seen.running, known.as_str()), expected, "{}", seen.said);
    }

    #[test]
    fn the_status_of_the_service_tells_how_it_stands() {
        check("none", "UNKNOWN", None, (Lifecycle::Stopped, 0, "new"));
        check("none", "PENDING", Some("1:PENDING"), (Lifecycle::Starting, 0, "new"));
        check("none", "RUNNING", Some("1:RUNNING"), (Lifecycle::Running, 1, "new"));
        check("none", "CRASHED", Some("1:CRASHED"), (Lifecycle::Failed, 0, "new"));
        check("none", "PULL_FAILED", Some("1:FAILED"), (Lifecycle::Failed, 0, "new"));
        check("none", "STOPPING", Some("1:RUNNING"), (Lifecycle::Running, 1, "new"));
        check("none", "SUSPENDED", Some("1:RUNNING"), (Lifecycle::Stopped, 0, "new"));
        check("none", "A_NEW_WORD", Some("1:RUNNING"), (Lifecycle::Unknown, 0, "new"));
    }

    #[test]
    fn while_a_new_one_comes_the_old_one_is_what_runs() {
        check("1", "RUNNING", Some("2:PENDING"), (Lifecycle::Running, 1, "?"));
        check("1", "STARTING", Some("2:DEPLOYING"), (Lifecycle::Starting, 0, "new"));
        check("1", "CRASHED", Some("2:PENDING"), (Lifecycle::Starting, 0, "new"));
    }

    #[test]
    fn a_configuration_that_was_not_deployed_is_not_what_runs() {
        check("1", "RUNNING", Some("1:RUNNING"), (Lifecycle::Running, 1, "?"));
        check("1", "SUSPENDED", Some("1:RUNNING"), (Lifecycle::Stopped, 0, "new"));
        assert!(!placement("1", "RUNNING", Some("1:RUNNING")).goes_on());
        assert!(placement("1", "CRASHED", Some("2:PENDING")).goes_on());
        assert!(!placement("1", "SUSPENDED", Some("2:PENDING")).goes_on());
    }

    #[test]
    fn what_another_service_shares_is_not_a_marker_of_this_one() {
        let mut held = placement("none", "RUNNING", None).held;
        held.id = "another".to_owned();
        let stack = StackName::new("linkflow").unwrap();
        assert_eq!(Placement::new(held, None).service(&stack), None);
    }

    #[test]
    fn a_grpc_service_is_reached_at_its_forwarded_port() {
        let mut held = placement("none", "RUNNING", Some("1:RUNNING"));
        let address = |held: &Placement, host| held.seen(ServiceName::new("api").unwrap(), host).address;
        let port = json!({ "id": "grpc", "port": 7235, "type": "TCP", "forwardedPort": 30123 });
        held.held.ports = Some(vec![serde_json::from_value(port).unwrap()]);
        let domain = json!({ "domain": "a.zeabur.app", "isGenerated": true });
        held.held.domains = Some(vec![serde_json::from_value(domain).unwrap()]);
        assert_eq!(address(&held, Some("tcp.example")).as_deref(), Some("http://tcp.example:30123"));
        assert_eq!(address(&held, None), None);
        held.held.ports = None;
        assert_eq!(address(&held, None).as_deref(), Some("https://a.zeabur.app"));
    }

    #[track_caller]
    fn follow(aim: &str, status: &str, newest: Option<&str>, expected: &str) {
        let clock = std::sync::Arc::new(linkflow_model::clock::SystemClock::start());
        let (aim, newest) = (Aim::read(aim).unwrap(), newest.map(run));
        let said = match progress(&aim, status, newest.as_ref(), &Settling::new(clock)) {
            Progress::Done => "done".to_owned(),
            Progress::Under { said } => format!("under: {said}"),
            Progress::Failed { why } => format!("failed: {why}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn the_status_of_the_deployment_before_is_not_taken_for_this_ones() {
        follow("run s 2", "RUNNING", Some("2:PENDING"), "under: PENDING");
        follow("run s 2", "CRASHED", Some("2:PENDING"), "under: PENDING");
        follow("run s 2", "RUNNING", Some("2:RUNNING"), "under: RUNNING");
        follow("run s 2", "CRASHED", Some("2:CRASHED"), "failed: CRASHED: its process ended");
        follow("run s 2", "PULL_FAILED", Some("2:FAILED"), "failed: PULL_FAILED: its image could not be pulled");
        follow("run s 2", "RUNNING", Some("3:PENDING"), "failed: RUNNING: another deployment took its place");
        follow("run s 2", "UNKNOWN", None, "under: UNKNOWN");
    }

    #[test]
    fn a_stop_is_reached_when_it_is_suspended() {
        follow("stop s", "STOPPING", Some("1:RUNNING"), "under: STOPPING");
        follow("stop s", "SUSPENDED", Some("1:RUNNING"), "done");
        follow("stop s", "UNKNOWN", None, "done");
    }
}
