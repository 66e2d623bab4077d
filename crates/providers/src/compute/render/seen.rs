//! What deploys, instances and events make up: a placement, and how a deploy goes.

use linkflow_model::role::{Progress, Seen};
use linkflow_model::{Fault, Lifecycle};

use super::Render;
use super::find::{Marks, is_behind};
use super::wire::{CRASHLOOP, Deploy, Event, Service, digest_of};
use crate::kit::encode;

/// What one deploy call is to lead to. Written into [`linkflow_model::role::Deployment::id`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// This deploy goes live.
    Run {
        /// The service's id.
        service: String,
        /// The deploy's id.
        deploy: String,
    },
    /// The deploy that follows this one goes live: it was queued and is not listed yet.
    Next {
        /// The service's id.
        service: String,
        /// The id of the deploy before; `-` when there was none.
        before: String,
    },
    /// The service is suspended and nothing of it runs.
    Rest {
        /// The service's id.
        service: String,
    },
}

impl Aim {
    pub(super) fn write(&self) -> String {
        match self {
            Self::Run { service, deploy } => format!("run {service} {deploy}"),
            Self::Next { service, before } => format!("next {service} {before}"),
            Self::Rest { service } => format!("rest {service}"),
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let own = |word: &str| word.to_owned();
        match words.as_slice() {
            ["run", service, deploy] => {
                Some(Self::Run { service: own(service), deploy: own(deploy) })
            }
            ["next", service, before] => {
                Some(Self::Next { service: own(service), before: own(before) })
            }
            ["rest", service] => Some(Self::Rest { service: own(service) }),
            _ => None,
        }
    }
}

impl Render {
    /// How far `aim` is.
    pub(super) async fn follow(&self, aim: &Aim) -> Result<Progress, Fault> {
        match aim {
            Aim::Run { service, deploy } => {
                let path = format!("/services/{}/deploys/{}", encode(service), encode(deploy));
                let call = Self::look_at(format!("deploy {deploy}"), path);
                let deploy: Deploy = self.api.send_for(call).await?;
                self.progress_of(service, &deploy).await
            }
            Aim::Next { service, before } => match self.deploys(service).await?.first() {
                Some(newest) if newest.id != *before => self.progress_of(service, newest).await,
                _ => Ok(Progress::Under { said: "queued".to_owned() }),
            },
            Aim::Rest { service } => {
                let path = format!("/services/{}", encode(service));
                let held: Service = self.api.send_for(Self::look_at(service, path)).await?;
                let running = self.running(service).await?;
                if held.is_suspended() && running == 0 {
                    return Ok(Progress::Done);
                }
                Ok(Progress::Under { said: format!("{}, {running} running", held.suspended) })
            }
        }
    }

    async fn progress_of(&self, service: &str, deploy: &Deploy) -> Result<Progress, Fault> {
        if deploy.is_live() {
            return Ok(Progress::Done);
        }
        if deploy.status == "deactivated" {
            return Ok(Progress::Failed { why: "another deploy took its place".to_owned() });
        }
        if !deploy.has_failed() {
            return Ok(Progress::Under { said: deploy.status.clone() });
        }
        let why = match self.events(service).await {
            Ok(events) => reason(&events, &deploy.id),
            Err(fault) => {
                tracing::debug!(%fault, "why a deploy failed is not known");
                None
            }
        };
        let why = why.map_or_else(
            || deploy.status.clone(),
            |why| format!("{}: {why}", deploy.status),
        );
        Ok(Progress::Failed { why })
    }
}

/// Why `deploy` failed, as its events tell.
fn reason(events: &[Event], deploy: &str) -> Option<String> {
    let ended = events.iter().find(|event| {
        event.kind == "deploy_ended" && event.details.deploy_id.as_deref() == Some(deploy)
    });
    let told = ended.and_then(|event| event.details.reason.as_ref()?.text());
    let pull = || {
        let failed = events.iter().find(|event| event.kind == "image_pull_failed");
        failed.and_then(|event| event.details.message.clone())
    };
    told.or_else(pull)
}

/// Everything that tells how a service stands.
pub(super) struct Trace<'a> {
    pub(super) service: &'a Service,
    /// Newest first.
    pub(super) deploys: &'a [Deploy],
    pub(super) marks: &'a Marks,
    /// Instances that run.
    pub(super) running: u32,
    /// Newest first; read only where nothing runs that should.
    pub(super) events: &'a [Event],
}

impl Trace<'_> {
    /// Whether only events can tell why nothing runs.
    pub(super) fn needs_events(&self) -> bool {
        self.running == 0 && !self.service.is_suspended() && self.deploys.iter().any(Deploy::is_live)
    }

    /// What newest event says whether instances live.
    fn has_fallen(&self) -> bool {
        let telling = |event: &&Event| matches!(event.kind.as_str(), "server_failed" | "server_available");
        self.events.iter().find(telling).is_some_and(|event| event.kind == "server_failed")
    }

    fn lifecycle(&self) -> (Lifecycle, String) {
        let service = self.service;
        let latest = self.deploys.first();
        let word = latest.map_or("no deploy", |deploy| deploy.status.as_str()).to_owned();
        if service.is_suspended() {
            if self.running > 0 {
                return (Lifecycle::Running, "suspended, still running".to_owned());
            }
            return match service.suspended_by_render() {
                Some(CRASHLOOP) => (Lifecycle::Failed, format!("suspended: {CRASHLOOP}")),
                Some(who) => (Lifecycle::Stopped, format!("suspended: {who}")),
                None => (Lifecycle::Stopped, service.suspended.clone()),
            };
        }
        if self.running > 0 {
            return (Lifecycle::Running, word);
        }
        if self.deploys.iter().any(Deploy::is_live) {
            return if self.has_fallen() {
                (Lifecycle::Failed, "server_failed".to_owned())
            } else if service.is_free() {
                (Lifecycle::Asleep, "spun down".to_owned())
            } else {
                (Lifecycle::Starting, word)
            };
        }
        let lifecycle = match latest {
            None => Lifecycle::Starting,
            Some(deploy) if deploy.is_under_way() => Lifecycle::Starting,
            Some(deploy) if deploy.has_failed() || deploy.status == "deactivated" => {
                Lifecycle::Failed
            }
            Some(_) => Lifecycle::Unknown,
        };
        (lifecycle, word)
    }
}

/// The placement that a trace makes up.
pub(super) fn seen(trace: &Trace<'_>) -> Seen {
    let (service, marks) = (trace.service, trace.marks);
    let (lifecycle, said) = trace.lifecycle();
    let live = trace.deploys.iter().find(|deploy| deploy.is_live());
    let latest = trace.deploys.first();
    let is_suspended = service.is_suspended();
    // The variables tell of the newest deploy. While an older one serves, what runs was configured otherwise.
    let is_told = is_suspended
        || match (live, latest) {
            (Some(live), Some(latest)) => {
                live.id == latest.id
                    && !is_behind(service, trace.deploys, marks.before.as_deref())
            }
            _ => true,
        };
    let set = || service.image_path.as_deref().and_then(digest_of);
    let digest = if is_suspended {
        set()
    } else {
        live.or(latest).and_then(Deploy::digest).or_else(set)
    };
    let address = service.service_details.url.clone().filter(|url| !url.is_empty());
    Seen {
        service: marks.service.clone(),
        lifecycle,
        said,
        id: service.id.clone(),
        digest,
        release: marks.release.filter(|_| is_told),
        fingerprint: marks.fingerprint.clone().filter(|_| is_told),
        replicas: if is_suspended { 0 } else { service.instances() },
        running: trace.running,
        address: address.filter(|_| service.is_web()),
    }
}

#[cfg(test)]
mod tests {
    use linkflow_model::{Fingerprint, ReleaseId, ServiceName};
    use serde_json::{Value, json};

    use super::*;

    /// A placement from words: deploys from the newest to the oldest as `STATUS` or `STATUS:IMAGE` (the settings name
    /// image 1), then after `;` `suspended`, `billing`, `crashing`, `free`, and events from the newest to the oldest.
    fn placement(words: &str, running: u32) -> Seen {
        let (deploys, rest) = words.split_once(';').unwrap_or((words, ""));
        let image = |n: &str| format!("ghcr.io/a/b@sha256:{}", n.repeat(64));
        let deploys: Vec<Deploy> = deploys
            .split_whitespace()
            .enumerate()
            .map(|(at, word)| {
                let (status, n) = word.split_once(':').unwrap_or((word, "1"));
                let row = json!({ "id": format!("dep-{at}"), "status": status, "image": { "ref": image(n) } });
                serde_json::from_value(row).unwrap()
            })
            .collect();
        let has = |word: &str| rest.split_whitespace().any(|w| w == word);
        let suspended = if has("suspended") { "suspended" } else { "not_suspended" };
        let suspender = match (has("billing"), has("crashing")) {
            (true, _) => "billing",
            (_, true) => CRASHLOOP,
            _ => "user",
        };
        let service: Service = serde_json::from_value(json!({
            "id": "srv-1", "name": "s-api", "type": "web_service", "suspended": suspended,
            "suspenders": [suspender], "imagePath": image("1"),
            "serviceDetails": { "plan": if has("free") { "free" } else { "starter" }, "numInstances": 1 },
        }))
        .unwrap();
        let event = |kind: &str| -> Value { json!({ "type": kind, "details": {} }) };
        let events: Vec<Event> = rest
            .split_whitespace()
            .filter(|word| word.starts_with("server_"))
            .map(|kind| serde_json::from_value(event(kind)).unwrap())
            .collect();
        let marks = Marks {
            service: ServiceName::new("api").unwrap(),
            release: Some(ReleaseId(1)),
            fingerprint: Some(Fingerprint("f".to_owned())),
            before: has("behind").then(|| "dep-0".to_owned()),
        };
        seen(&Trace { service: &service, deploys: &deploys, marks: &marks, running, events: &events })
    }

    #[track_caller]
    fn check(words: &str, running: u32, lifecycle: Lifecycle, replicas: u32) {
        let seen = placement(words, running);
        assert_eq!((seen.lifecycle, seen.replicas), (lifecycle, replicas), "{}", seen.said);
    }

    #[test]
    fn deploys_and_instances_make_up_a_placement() {
        check("live", 1, Lifecycle::Running, 1);
        check("update_in_progress", 0, Lifecycle::Starting, 1);
        check("update_in_progress live", 1, Lifecycle::Running, 1);
        check("update_failed", 0, Lifecycle::Failed, 1);
        check("update_failed live", 1, Lifecycle::Running, 1);
        check("", 0, Lifecycle::Starting, 1);
        check("a_new_word", 0, Lifecycle::Unknown, 1);
    }

    #[test]
    fn what_is_suspended_rests_once_nothing_runs_any_more() {
        check("live; suspended", 1, Lifecycle::Running, 0);
        check("live; suspended", 0, Lifecycle::Stopped, 0);
        check("canceled; suspended", 0, Lifecycle::Stopped, 0);
        check("live; suspended billing", 0, Lifecycle::Stopped, 0);
        check("live; suspended crashing", 0, Lifecycle::Failed, 0);
    }

    #[test]
    fn what_runs_no_more_has_fallen_or_sleeps_or_comes_back() {
        check("live; server_failed server_available", 0, Lifecycle::Failed, 1);
        check("live; server_available server_failed", 0, Lifecycle::Starting, 1);
        check("live; free server_available", 0, Lifecycle::Asleep, 1);
        check("live; free server_failed", 0, Lifecycle::Failed, 1);
    }

    #[test]
    fn the_fingerprint_is_told_only_of_what_runs() {
        let told = |words: &str| placement(words, 1).fingerprint.is_some();
        assert!(told("live"));
        assert!(!told("update_failed live"), "an older deploy serves");
        assert!(!told("live:2"), "another image is set and not deployed");
        assert!(!told("live; behind"), "variables are written and not deployed");
        assert!(told("live:2; suspended"), "what is set is deployed when it resumes");
    }

    #[test]
    fn an_aim_is_read_as_it_was_written() {
        let own = |text: &str| text.to_owned();
        let aims = [
            Aim::Run { service: own("srv-1"), deploy: own("dep-2") },
            Aim::Next { service: own("srv-1"), before: own("-") },
            Aim::Rest { service: own("srv-1") },
        ];
        aims.into_iter().for_each(|aim| assert_eq!(Aim::read(&aim.write()), Some(aim)));
        assert_eq!(Aim::read("srv-1"), None);
    }
}
