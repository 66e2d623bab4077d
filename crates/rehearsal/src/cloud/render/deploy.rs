//! One deploy: a snapshot of how its service was set, the processes it runs, and how it goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkflow_model::ServiceName;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::service::{Service, reason};
use super::{Refused, Render, refusal};
use crate::cloud::log::{Log, Stream};
use crate::cloud::process::{Phase, Process, Recipe, Restart};
use crate::cloud::registry::Image;
use crate::cloud::site::{Site, arguments, check_http, service_of};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A worker that lives this long counts as up.
const SETTLED: Duration = Duration::from_millis(500);
/// How long an instance may take until it answers (docs: deploys, health checks).
const UP_WITHIN: Duration = Duration::from_secs(900);
/// The vendor's own when none is set (docs: deploys, graceful shutdown).
const GRACE: Duration = Duration::from_secs(30);

/// One deploy.
pub(super) struct Deploy {
    pub(super) id: String,
    service: String,
    created: String,
    /// The image that was asked for.
    pub(super) image: String,
    env: BTreeMap<String, String>,
    command: String,
    health: String,
    listens: bool,
    is_cron: bool,
    trigger: &'static str,
    /// A queued deploy is listed only some time after it was asked for.
    listed: Instant,
    log: Arc<Log>,
    inner: Mutex<Inner>,
}

struct Inner {
    status: &'static str,
    updated: String,
    started: Option<String>,
    finished: Option<String>,
    credential: Option<String>,
    pulled: Option<Image>,
    processes: Vec<(String, Arc<Process>)>,
}

/// Splits a command line into words as a shell does, single quotes only.
pub(super) fn words(line: &str) -> Vec<String> {
    let (mut all, mut word) = (Vec::new(), None::<String>);
    let (mut quoted, mut escaped) = (false, false);
    for c in line.chars() {
        match c {
            _ if escaped => {
                word.get_or_insert_default().push(c);
                escaped = false;
            }
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if !quoted => escaped = true,
            c if c.is_whitespace() && !quoted => all.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

impl Deploy {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> &'static str {
        self.lock().status
    }

    pub(super) fn processes(&self) -> Vec<(String, Arc<Process>)> {
        self.lock().processes.clone()
    }

    pub(super) fn pulled(&self) -> Option<Image> {
        self.lock().pulled.clone()
    }

    pub(super) fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    pub(super) fn is_listed(&self) -> bool {
        self.listed <= Instant::now()
    }

    pub(super) fn about(&self) -> Option<ServiceName> {
        service_of(&self.env)
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.status(), "created" | "queued" | "build_in_progress" | "update_in_progress")
    }

    /// As the API shows it.
    pub(super) fn view(&self) -> Value {
        let inner = self.lock();
        let mut image = json!({ "ref": self.image });
        if let Some(digest) = inner.pulled.as_ref().and_then(|image| image.digest.as_ref()) {
            image["sha"] = json!(digest);
        }
        if let Some(credential) = &inner.credential {
            image["registryCredential"] = json!(credential);
        }
        let mut view = json!({
            "id": self.id,
            "image": image,
            "status": inner.status,
            "trigger": self.trigger,
            "createdAt": self.created,
            "updatedAt": inner.updated,
        });
        if let Some(started) = &inner.started {
            view["startedAt"] = json!(started);
        }
        if let Some(finished) = &inner.finished {
            view["finishedAt"] = json!(finished);
        }
        view
    }

    /// Goes on to `status`, unless it has come to an end meanwhile.
    fn advance(&self, site: &Site, status: &'static str) -> bool {
        if !self.is_under_way() {
            return false;
        }
        let mut inner = self.lock();
        let now = site.now();
        (inner.status, inner.updated) = (status, now.clone());
        if matches!(status, "live" | "update_failed" | "build_failed" | "canceled") {
            inner.finished = Some(now);
        } else {
            inner.started.get_or_insert(now);
        }
        true
    }

    /// Ends it before it is live. Says whether there was anything to end.
    pub(super) fn cancel(&self, site: &Site) -> bool {
        let canceled = self.advance(site, "canceled");
        if canceled {
            self.stop(Duration::ZERO);
        }
        canceled
    }

    /// Another one serves now.
    fn deactivate(&self) {
        self.lock().status = "deactivated";
    }

    /// Ends its processes.
    pub(super) fn stop(&self, grace: Duration) {
        self.lock().processes.iter().for_each(|(_, process)| process.stop(grace));
    }

    /// Ends its processes as a shutdown does, and waits until they are gone.
    pub(super) async fn retire(&self) {
        self.stop(GRACE);
        for (_, process) in self.processes() {
            process.until(|s| s.pid.is_none()).await;
        }
        let mut inner = self.lock();
        if inner.status == "deactivated" {
            // Nobody looks after them any more.
            inner.processes.clear();
        }
    }

    /// Starts its processes again.
    pub(super) async fn restart(&self) {
        for (_, process) in self.processes() {
            process.stop(GRACE);
            process.until(|s| s.pid.is_none()).await;
            process.run();
        }
    }

    fn say(&self, text: &str) {
        self.log.write(Stream::Provider, &self.service, &self.id, &format!("==> {text}"));
    }

    /// Has `count` instances.
    pub(super) fn have(&self, site: &Site, count: u64) -> std::io::Result<()> {
        let Some(image) = self.pulled() else { return Ok(()) };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        while self.lock().processes.len() < count {
            let instance =
                format!("{}-{}", self.service, site.dice.letters("bcdfghjkmnpqrstvwxz", 5));
            let mut env = self.env.clone();
            env.insert("RENDER".to_owned(), "true".to_owned());
            env.insert("RENDER_SERVICE_ID".to_owned(), self.service.clone());
            env.insert("RENDER_INSTANCE_ID".to_owned(), instance.clone());
            if self.listens {
                env.entry("PORT".to_owned()).or_insert_with(|| "10000".to_owned());
            }
            let command = Some(words(&self.command)).filter(|words| !words.is_empty());
            let recipe = Recipe {
                instance: instance.clone(),
                tag: self.id.clone(),
                service: self.about(),
                arguments: arguments(command, &image),
                env,
                listens: self.listens,
                behaviour: image.behaviour.clone(),
                restart: Restart::Always,
            };
            let process = site.prepare(recipe, Arc::clone(&self.log))?;
            process.run();
            self.lock().processes.push((instance, process));
        }
        let surplus = {
            let mut inner = self.lock();
            let keep = count.min(inner.processes.len());
            inner.processes.split_off(keep)
        };
        surplus.iter().for_each(|(_, process)| process.stop(GRACE));
        if surplus.is_empty() {
            return Ok(());
        }
        // They are looked after until they have ended.
        site.tasks.start(async move {
            for (_, process) in surplus {
                process.until(|s| s.pid.is_none()).await;
            }
        });
        Ok(())
    }

    /// Waits until every instance is up. `Err`: why one is not.
    async fn settle(&self) -> Result<(), Value> {
        let began = Instant::now();
        loop {
            sleep(LOOK_EVERY).await;
            if !self.is_under_way() {
                return Ok(());
            }
            let processes = self.processes();
            let exits = processes.iter().find_map(|(_, process)| process.status().exits.pop());
            if let Some(exit) = exits {
                return Err(reason(&exit));
            }
            let up = processes.iter().all(|(_, p)| p.status().phase == Phase::Running);
            if up
                && self.is_healthy(&processes).await
                && (self.listens || began.elapsed() > SETTLED)
            {
                return Ok(());
            }
            if began.elapsed() > UP_WITHIN {
                return Err(json!({ "evicted": false, "timedOutSeconds": UP_WITHIN.as_secs() }));
            }
        }
    }

    async fn is_healthy(&self, processes: &[(String, Arc<Process>)]) -> bool {
        if self.health.is_empty() || !self.listens {
            return true;
        }
        for (_, process) in processes {
            let said = check_http(process.address, &self.health, Duration::from_secs(5)).await;
            if !matches!(said, Ok(200..=399)) {
                return false;
            }
        }
        true
    }
}

impl Render {
    /// Deploys what the service is set to now, or `image` in place of its own. While another deploy is under way it is
    /// queued, and `true` is told.
    pub(super) fn deploy(
        self: &Arc<Self>,
        id: &str,
        image: Option<String>,
        trigger: &'static str,
    ) -> Result<(Arc<Deploy>, bool), Refused> {
        let new_id = self.new_id("dep");
        let (deploy, queued) = self.with(id, |service| {
            if !service.suspenders.is_empty() {
                return Err(refusal(400, "cannot deploy suspended service"));
            }
            let queued = service.deploys.iter().any(|deploy| deploy.is_under_way());
            let deploy = snapshot(&self.site, new_id, service, image, trigger, queued);
            service.deploys.push(Arc::clone(&deploy));
            service.note(&self.site, "deploy_started", json!({
                "deployId": deploy.id,
                "trigger": {
                    "firstBuild": service.deploys.len() == 1, "envUpdated": false, "manual": false,
                    "deployedByRender": false, "clearCache": false, "rollback": trigger == "rollback",
                },
            }));
            Ok((deploy, queued))
        })??;
        let (render, driven) = (Arc::clone(self), Arc::clone(&deploy));
        self.site.tasks.start(async move {
            let end = render.drive(&driven, queued).await;
            render.conclude(&driven, end).await;
        });
        Ok((deploy, queued))
    }

    /// Drives it until it is live or has failed. `Err`: why it failed.
    async fn drive(&self, deploy: &Arc<Deploy>, queued: bool) -> Result<(), Value> {
        let site = &self.site;
        if queued {
            site.dawdle(200, 400).await;
            // The newer one is wanted in place of what is under way.
            let earlier = self.with(&deploy.service, |service| {
                let older = service.deploys.iter().take_while(|d| !Arc::ptr_eq(d, deploy));
                older.cloned().collect::<Vec<_>>()
            });
            for older in earlier.unwrap_or_default() {
                older.cancel(site);
            }
        }
        site.dawdle(10, 60).await;
        if !deploy.advance(site, "build_in_progress") {
            return Ok(());
        }
        site.dawdle(50, 200).await;
        let (before, count) = self
            .with(&deploy.service, |service| (service.pulled.clone(), service.instances))
            .unwrap_or_default();
        let Some(image) = site.pull(deploy.about().as_ref(), &deploy.image, before.as_ref()) else {
            let why = format!("failed to pull {}: manifest unknown", deploy.image);
            deploy.say(&why);
            let details = json!({ "message": why, "imageURL": deploy.image });
            self.with(&deploy.service, |s| s.note(site, "image_pull_failed", details)).ok();
            return Err(json!({ "evicted": false }));
        };
        deploy.lock().pulled = Some(image);
        deploy.say("Deploying...");
        if !deploy.advance(site, "update_in_progress") {
            return Ok(());
        }
        site.get_unstuck(deploy.about().as_ref()).await;
        site.dawdle(30, 150).await;
        if deploy.is_cron || !deploy.is_under_way() {
            return Ok(());
        }
        if let Err(error) = deploy.have(site, count) {
            deploy.say(&format!("could not start: {error}"));
            return Err(json!({ "evicted": true, "evictionReason": error.to_string() }));
        }
        deploy.settle().await
    }

    /// What follows the end of a deploy: a good one takes the place of all before it.
    async fn conclude(&self, deploy: &Arc<Deploy>, end: Result<(), Value>) {
        let site = &self.site;
        let status = if end.is_ok() { "live" } else { "update_failed" };
        if !deploy.advance(site, status) {
            deploy.retire().await;
            return;
        }
        let good = end.is_ok();
        let why = end.err().map_or_else(|| json!({}), |why| json!({ "failure": why }));
        let details = json!({
            "deployId": deploy.id, "reason": why,
            "deployStatus": if good { "succeeded" } else { "failed" }, "status": if good { 2 } else { 3 },
        });
        if !good {
            deploy.say("Exited early or did not come up");
            deploy.stop(Duration::ZERO);
        }
        let older = self.with(&deploy.service, |service| {
            service.note(site, "deploy_ended", details);
            if !good {
                return Vec::new();
            }
            service.pulled = deploy.pulled();
            let older =
                service.deploys.iter().filter(|d| !Arc::ptr_eq(d, deploy) && d.status() == "live");
            older.cloned().collect()
        });
        if good {
            deploy.say("Your service is live");
        }
        for old in older.unwrap_or_default() {
            old.deactivate();
            old.retire().await;
        }
    }
}

fn snapshot(
    site: &Site,
    id: String,
    service: &Service,
    image: Option<String>,
    trigger: &'static str,
    queued: bool,
) -> Arc<Deploy> {
    let now = site.now();
    let inner = Inner {
        status: if queued { "queued" } else { "created" },
        updated: now.clone(),
        started: None,
        finished: None,
        credential: service.credential.as_ref().map(|(_, name)| name.clone()),
        pulled: None,
        processes: Vec::new(),
    };
    let hidden = if queued { site.dice.while_ms(50, 300) } else { Duration::ZERO };
    Arc::new(Deploy {
        id,
        service: service.id.clone(),
        created: now,
        image: image.unwrap_or_else(|| service.image.clone()),
        env: service.variables.clone(),
        command: service.command.clone(),
        health: service.health.clone(),
        listens: service.listens(),
        is_cron: service.is_cron(),
        trigger,
        listed: Instant::now() + hidden,
        log: Arc::clone(&service.log),
        inner: Mutex::new(inner),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_a_shell_does() {
        assert_eq!(words("app --port=80"), ["app", "--port=80"]);
        assert_eq!(words(r"sh -c 'echo it'\''s'"), ["sh", "-c", "echo it's"]);
        assert_eq!(words("a ''"), ["a", ""]);
        assert!(words("").is_empty());
    }
}
