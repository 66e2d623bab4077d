//! Render through its REST API. <https://api-docs.render.com/reference/introduction>
//!
//! One image-backed service per service, named `STACK-SERVICE`: a web service, or a background worker. A service has no
//! labels here, so our markers are environment variables, and only services whose name begins with the stack's are
//! looked into at all. Variables are read again only after something was deployed or changed, because nothing else
//! brings them about.
//!
//! Stopping is suspending: the service stays as it is. What is changed meanwhile is deployed when it resumes. Render
//! cannot make a service that rests, so one that is to rest is made with a command that ends at once, suspended, and
//! then given its own command: the app itself never runs in between.
//!
//! A deploy that is asked for while another is under way is queued, and its answer has no body: the list of deploys
//! tells which it is. Changing the settings may start a deploy by itself, so the list is looked at before one is asked
//! for. What was written and not deployed yet is known by the image of the newest deploy, or, where the image stays, by
//! a variable that names the deploy before.
//!
//! gRPC: Render speaks of it for its private network only, so nothing from outside could call it.

mod change;
mod credential;
mod domain;
mod find;
mod job;
mod request;
mod seen;
mod usage;
mod wire;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, DomainState, Job, JobState, LogLine,
    PrivateImages, Progress, Seen, Usage,
};
use linkflow_model::{
    Definition, Fault, FaultKind, ProviderName, Secret, ServiceName, StackName, Timestamp,
};
use tokio::sync::OnceCell;

use super::time::timestamp;
use crate::kit::{Account, Auth, Call, Kit, Limiter, Rule, Scope, Vendor};

use find::Marks;
use wire::LogPage;

/// The vendor's address.
const API: &str = "https://api.render.com";

/// An idle web service on the free plan is stopped after so many seconds (docs: free).
const SLEEPS_AFTER: u32 = 900;

/// Most lines of a log that one answer has (docs: reference/pagination).
const MOST_LINES: usize = 100;

/// How many pages of a log are read at most.
const MOST_PAGES: usize = 20;

/// How far back a log is read, in milliseconds.
const LOG_WINDOW_MS: u64 = 24 * 3_600_000;

/// What limits count for, where the vendor counts them for the whole account.
const ACCOUNT: &str = "the account";

/// What one account needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An API key.
    pub token: Secret,
    /// The workspace's id, `tea-…`. Without it: the only one that the key may see.
    pub owner: Option<String>,
    /// The region: `frankfurt`, `oregon`, `ohio`, `singapore`, `virginia`.
    pub region: String,
    /// The instance type of services: `free`, `starter`, …, or `auto` for the smallest paid one that is big enough.
    pub plan: String,
    /// In place of `https://api.render.com`.
    pub api: Option<String>,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> impl Compute + 'static {
    let base = settings.api.as_deref().unwrap_or(API).trim_end_matches('/');
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "render",
        production: format!("{API}/v1"),
        base: format!("{base}/v1"),
        auth: Some(Auth::bearer(settings.token.clone())),
        limits: Box::new(limits),
        judge: own_judgement,
        hide: request::hide_values,
    });
    Render {
        api,
        kit: kit.clone(),
        stack: stack.clone(),
        provider: provider.clone(),
        settings,
        owner: OnceCell::new(),
        marks: Mutex::default(),
    }
}

/// The vendor's limits (docs: reference/rate-limiting): 400 reads a minute, 20 new services an hour, for each service
/// 10 deploys, changes, stops and starts a minute together, 2,000 jobs an hour, and 30 other writes a minute.
fn limits() -> Limiter {
    let rule = |action, ms, burst| Rule {
        scope: Scope::Action(action),
        every: Duration::from_millis(ms),
        burst,
    };
    let rules = vec![
        rule(request::READ, 150, 200),
        rule(request::CREATE, 180_000, 20),
        rule(request::CHANGE_SERVICE, 6_000, 10),
        rule(request::START_JOB, 1_800, 100),
        rule(request::CHANGE, 2_000, 30),
    ];
    Limiter::new(rules, Duration::from_secs(10))
}

fn own_judgement(status: StatusCode, said: &str) -> Option<FaultKind> {
    let said = said.to_lowercase();
    // Somebody suspended it between our look and our write, or made one of that name.
    let moved = said.contains("suspended service") || said.contains("already in use");
    (status == StatusCode::BAD_REQUEST && moved).then_some(FaultKind::Conflict)
}

struct Render {
    api: Vendor,
    kit: Kit,
    stack: StackName,
    provider: ProviderName,
    settings: Settings,
    owner: OnceCell<String>,
    /// Whose each service is, by id, as of a state of it.
    marks: Mutex<BTreeMap<String, (String, Option<Marks>)>>,
}

impl Render {
    fn is_free(&self) -> bool {
        self.settings.plan == "free"
    }

    /// A read, counted as the vendor does.
    fn look_at(about: impl Into<String>, path: impl Into<String>) -> Call {
        Call::read(request::READ, about, path).counted_for(ACCOUNT)
    }

    fn missing(&self, service: &ServiceName) -> Fault {
        self.api.fault(FaultKind::Missing, format!("find {service}"), "it is not deployed here")
    }

    fn unsupported(&self, attempt: String, said: &str) -> Fault {
        self.api.fault(FaultKind::Unsupported, attempt, said)
    }

    /// The last lines of `resource`, oldest first.
    async fn read_log(&self, resource: &str, last: usize) -> Result<Vec<LogLine>, Fault> {
        let since = self.kit.clock().wall().0.saturating_sub(LOG_WINDOW_MS);
        let mut lines = Vec::new();
        let (mut start, mut end) = (moment(Timestamp(since)), None::<String>);
        for _ in 0..MOST_PAGES {
            let count = last.saturating_sub(lines.len()).clamp(1, MOST_LINES);
            let mut call = Self::look_at(format!("the log of {resource}"), "/logs")
                .query("ownerId", self.owner().await?)
                .query("resource", resource)
                .query("type", "app")
                .query("direction", "backward")
                .query("startTime", &start)
                .query("limit", &count.to_string());
            if let Some(end) = &end {
                call = call.query("endTime", end);
            }
            let page: LogPage = self.api.send_for(call).await?;
            let line = |row: wire::LogRow| LogLine {
                at: timestamp(&row.timestamp),
                text: self.kit.mask(row.message.trim_end()),
            };
            lines.extend(page.logs.into_iter().map(line));
            if !page.has_more || lines.len() >= last {
                break;
            }
            (start, end) = (page.next_start_time, Some(page.next_end_time));
        }
        lines.truncate(last);
        lines.reverse();
        Ok(lines)
    }
}

/// `at` as RFC 3339 in UTC; empty when it is out of the calendar.
fn moment(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |t| format!("{t:.3}"))
}

#[async_trait]
impl ComputeLook for Render {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            grpc: false,
            workers: !self.is_free(),
            scale_to_zero: true,
            logs: true,
            private_images: PrivateImages::Pulls,
            jobs: !self.is_free(),
            domains: true,
            usage: true,
            sleeps_after: self.is_free().then_some(SLEEPS_AFTER),
            // "About one minute": https://render.com/docs/free
            cold_start: 90,
            region: Some(self.settings.region.clone()),
            requests_per_deploy: 15,
            requests_per_hour: Some(24_000),
            ..Capabilities::LEAST
        }
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        self.look_at_all().await
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        let Some(aim) = seen::Aim::read(&deployment.id) else {
            let said = format!("`{}` is not a deployment of this provider", deployment.id);
            return Err(self.api.fault(FaultKind::Invalid, "follow a deploy", &said));
        };
        match self.follow(&aim).await {
            Err(fault) if fault.kind == FaultKind::Missing => {
                Ok(Progress::Failed { why: "the deploy is gone".to_owned() })
            }
            progress => progress,
        }
    }

    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault> {
        let held = self.find(service).await?.ok_or_else(|| self.missing(service))?;
        self.read_log(&held.service.id, last).await
    }

    async fn usage(&self) -> Result<Vec<Usage>, Fault> {
        self.used().await
    }

    async fn job(&self, id: &str) -> Result<JobState, Fault> {
        self.job_state(id).await
    }

    async fn domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        let held = self.find(service).await?.ok_or_else(|| self.missing(service))?;
        self.domain_state(&held.service, host).await
    }
}

#[async_trait]
impl Compute for Render {
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        self.make_true(wanted).await
    }

    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        self.have_running(service, replicas).await
    }

    async fn restart(&self, service: &ServiceName) -> Result<(), Fault> {
        let held = self.find(service).await?.ok_or_else(|| self.missing(service))?;
        if held.service.is_suspended() {
            return Ok(());
        }
        self.write(http::Method::POST, &held.service, "/restart", "restart").await
    }

    async fn delete(&self, service: &ServiceName) -> Result<(), Fault> {
        let Some(held) = self.find(service).await? else { return Ok(()) };
        self.remove(&held.service).await
    }

    async fn run_once(&self, job: &Job) -> Result<(), Fault> {
        self.have_run(job).await
    }

    async fn forget_job(&self, id: &str) -> Result<(), Fault> {
        self.forget(id).await
    }

    async fn add_domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        let held = self.find(service).await?.ok_or_else(|| self.missing(service))?;
        self.have_domain(&held.service, host).await
    }

    async fn remove_domain(&self, service: &ServiceName, host: &str) -> Result<(), Fault> {
        let Some(held) = self.find(service).await? else { return Ok(()) };
        self.drop_domain(&held.service, host).await
    }
}

