//! Workflows and their runs: queued, in progress, completed, by the clock and without any work.

use linkflow_model::Timestamp;
use serde_json::{Map, Value, json};

use super::shape::{api, commit, repository, time, user, web};
use super::{BRANCH, COMMIT, Github, NAMES_RUNS, Refused, listed, not_found, object, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::trouble::Trouble;

/// The workflows: id, file, name, inputs, jobs.
const WORKFLOWS: [Workflow; 2] = [
    Workflow {
        id: 1_001,
        file: "deploy.yml",
        name: "deploy",
        inputs: &["dry_run"],
        jobs: &["build (api)", "deploy"],
    },
    Workflow { id: 1_002, file: "test.yml", name: "test", inputs: &[], jobs: &["test"] },
];

/// A run is listed so long after it was asked for.
const LISTED_MS: u64 = 150;
/// A run waits so long for a machine.
const QUEUED_MS: u64 = 200;
/// A run works so long, at least and at most.
const WORKS_MS: (u64, u64) = (300, 600);

#[derive(Clone, Copy)]
struct Workflow {
    id: u64,
    file: &'static str,
    name: &'static str,
    inputs: &'static [&'static str],
    jobs: &'static [&'static str],
}

/// One run.
pub(super) struct Run {
    id: u64,
    number: usize,
    workflow: Workflow,
    inputs: Map<String, Value>,
    began: Timestamp,
    works_ms: u64,
    /// How it ended, and when; nothing changes that any more.
    ended: Option<(&'static str, Timestamp)>,
}

impl Run {
    fn elapsed(&self, now: Timestamp) -> u64 {
        now.0.saturating_sub(self.began.0)
    }

    /// Ends it when its time is over.
    fn settle(&mut self, github: &Github, now: Timestamp) {
        let over = self.elapsed(now) >= QUEUED_MS + self.works_ms;
        if self.ended.is_none() && over && !github.suffers(|t| matches!(t, Trouble::DeployStuck)) {
            let dies = github.suffers(|t| matches!(t, Trouble::AppDown));
            self.ended = Some((if dies { "failure" } else { "success" }, now));
        }
    }

    /// Status and conclusion.
    fn said(&self, now: Timestamp) -> (&'static str, Option<&'static str>) {
        match self.ended {
            Some((conclusion, _)) => ("completed", Some(conclusion)),
            None if self.elapsed(now) < QUEUED_MS => ("queued", None),
            None => ("in_progress", None),
        }
    }

    /// The same of one job: they work one after another, and the last one is as the run is.
    fn said_of(&self, job: usize, now: Timestamp) -> (&'static str, Option<&'static str>) {
        let last = job + 1 == self.workflow.jobs.len();
        let jobs = u64::try_from(self.workflow.jobs.len()).unwrap_or(1);
        let at = u64::try_from(job).unwrap_or(0);
        let elapsed = self.elapsed(now);
        let starts = QUEUED_MS + self.works_ms * at / jobs;
        let ends = QUEUED_MS + self.works_ms * (at + 1) / jobs;
        match self.ended {
            Some(("failure", _)) if !last => ("completed", Some("success")),
            Some((conclusion, _)) => ("completed", Some(conclusion)),
            None if elapsed < starts => ("queued", None),
            None if elapsed >= ends && !last => ("completed", Some("success")),
            None => ("in_progress", None),
        }
    }

    fn view(&self, now: Timestamp) -> Value {
        let (status, conclusion) = self.said(now);
        let at = |rest: &str| api(&format!("/actions/runs/{}{rest}", self.id));
        json!({
            "id": self.id,
            "name": self.workflow.name,
            "node_id": format!("WFR_{}", self.id),
            "head_branch": BRANCH,
            "head_sha": COMMIT,
            "path": format!(".github/workflows/{}", self.workflow.file),
            "run_number": self.number,
            "run_attempt": 1,
            "event": "workflow_dispatch",
            "status": status,
            "conclusion": conclusion,
            "workflow_id": self.workflow.id,
            "url": at(""),
            "html_url": web(&format!("/actions/runs/{}", self.id)),
            "pull_requests": [],
            "created_at": time(self.began),
            "updated_at": time(self.ended.map_or(now, |(_, at)| at)),
            "run_started_at": time(self.began),
            "actor": user(),
            "triggering_actor": user(),
            "jobs_url": at("/jobs"),
            "logs_url": at("/logs"),
            "check_suite_url": api(&format!("/check-suites/{}", self.id)),
            "artifacts_url": at("/artifacts"),
            "cancel_url": at("/cancel"),
            "rerun_url": at("/rerun"),
            "workflow_url": api(&format!("/actions/workflows/{}", self.workflow.id)),
            "head_commit": commit(self.began),
            "repository": repository(),
            "head_repository": repository(),
            "display_title": self.workflow.name,
        })
    }

    fn job(&self, job: usize, name: &str, now: Timestamp) -> Value {
        let (status, conclusion) = self.said_of(job, now);
        let id = self.id * 10 + u64::try_from(job).unwrap_or(0);
        let ended = conclusion.map(|_| time(self.ended.map_or(now, |(_, at)| at)));
        json!({
            "id": id,
            "run_id": self.id,
            "run_url": api(&format!("/actions/runs/{}", self.id)),
            "run_attempt": 1,
            "node_id": format!("CR_{id}"),
            "head_sha": COMMIT,
            "url": api(&format!("/actions/jobs/{id}")),
            "html_url": web(&format!("/actions/runs/{}/job/{id}", self.id)),
            "status": status,
            "conclusion": conclusion,
            "created_at": time(self.began),
            "started_at": time(self.began),
            "completed_at": ended,
            "name": name,
            "steps": [],
            "check_run_url": api(&format!("/check-runs/{id}")),
            "labels": ["ubuntu-24.04"],
            "runner_id": null,
            "runner_name": null,
            "runner_group_id": null,
            "runner_group_name": null,
            "workflow_name": self.workflow.name,
            "head_branch": BRANCH,
        })
    }

    /// For the control API.
    pub(super) fn brief(&mut self, github: &Github, now: Timestamp) -> Value {
        self.settle(github, now);
        let (status, conclusion) = self.said(now);
        json!({
            "id": self.id,
            "workflow": self.workflow.file,
            "inputs": self.inputs,
            "status": status,
            "conclusion": conclusion,
        })
    }
}

impl Github {
    pub(super) fn of_actions(&self, call: &Call, rest: &[&str]) -> Result<Answer, Refused> {
        match (call.method.as_str(), rest) {
            ("POST", ["workflows", name, "dispatches"]) => self.start(call, named(name)?),
            ("GET", ["workflows", name]) => Ok(Answer::json(200, &self.workflow(named(name)?))),
            ("GET", ["workflows", name, "runs"]) => Ok(self.runs(call, Some(named(name)?))),
            ("GET", ["runs"]) => Ok(self.runs(call, None)),
            ("GET", ["runs", id]) => {
                self.with_run(id, |run, now| Answer::json(200, &run.view(now)))
            }
            ("GET", ["runs", id, "jobs"]) => self.with_run(id, |run, now| {
                let names = run.workflow.jobs.iter().enumerate();
                listed(call, "jobs", names.map(|(n, name)| run.job(n, name, now)).collect())
            }),
            ("POST", ["runs", id, "cancel"]) => self.with_run(id, |run, now| {
                if run.ended.is_some() {
                    return refusal(409, "Cannot cancel a workflow run that is completed.");
                }
                run.ended = Some(("cancelled", now));
                Answer::json(202, &json!({}))
            }),
            _ => Err(not_found()),
        }
    }

    fn with_run(
        &self,
        id: &str,
        work: impl FnOnce(&mut Run, Timestamp) -> Answer,
    ) -> Result<Answer, Refused> {
        let now = self.now();
        let mut state = self.state();
        let run = state.runs.iter_mut().find(|run| run.id.to_string() == id);
        let run = run.ok_or_else(not_found)?;
        run.settle(self, now);
        Ok(work(run, now))
    }

    fn start(&self, call: &Call, workflow: Workflow) -> Result<Answer, Refused> {
        let body = object(call)?;
        if body.get("ref").and_then(Value::as_str).map(|r| r.trim_start_matches("refs/heads/"))
            != Some(BRANCH)
        {
            let named = body.get("ref").and_then(Value::as_str).unwrap_or_default();
            return Err(refusal(422, &format!("No ref found for: {named}")));
        }
        let inputs = body.get("inputs").and_then(Value::as_object).cloned().unwrap_or_default();
        let odd: Vec<&String> =
            inputs.keys().filter(|name| !workflow.inputs.contains(&name.as_str())).collect();
        if !odd.is_empty() {
            return Err(refusal(422, &format!("Unexpected inputs provided: {odd:?}")));
        }
        if self.suffers(|t| matches!(t, Trouble::OutOfQuota)) {
            return Err(refusal(
                403,
                "Recent account payments have failed or your spending limit needs to be increased. Please check the 'Billing & plans' section in your settings.",
            ));
        }
        let works_ms = self.ground.dice.between(WORKS_MS.0, WORKS_MS.1);
        let mut state = self.state();
        let (id, number) = (state.id(), state.runs.len() + 1);
        let began = self.now();
        state.runs.push(Run { id, number, workflow, inputs, began, works_ms, ended: None });
        let details = body.get("return_run_details").and_then(Value::as_bool) == Some(true);
        if !details && call.header("x-github-api-version") != Some(NAMES_RUNS) {
            return Ok(Answer::empty(204));
        }
        let body = json!({
            "workflow_run_id": id,
            "run_url": api(&format!("/actions/runs/{id}")),
            "html_url": web(&format!("/actions/runs/{id}")),
        });
        Ok(Answer::json(200, &body))
    }

    fn runs(&self, call: &Call, of: Option<Workflow>) -> Answer {
        let now = self.now();
        let asked = |name: &str, is: &str| call.parameter(name).is_none_or(|wanted| wanted == is);
        if !asked("branch", BRANCH)
            || !asked("event", "workflow_dispatch")
            || !asked("head_sha", COMMIT)
        {
            return listed(call, "workflow_runs", Vec::new());
        }
        let mut state = self.state();
        let mut rows = Vec::new();
        for run in state.runs.iter_mut().rev() {
            run.settle(self, now);
            let (status, conclusion) = run.said(now);
            let fits = of.is_none_or(|workflow| workflow.id == run.workflow.id)
                && run.elapsed(now) >= LISTED_MS
                && call.parameter("status").is_none_or(|s| s == status || Some(s) == conclusion);
            if fits {
                rows.push(run.view(now));
            }
        }
        listed(call, "workflow_runs", rows)
    }

    fn workflow(&self, workflow: Workflow) -> Value {
        let page = format!("/actions/workflows/{}", workflow.file);
        json!({
            "id": workflow.id,
            "node_id": format!("W_{}", workflow.id),
            "name": workflow.name,
            "path": format!(".github/workflows/{}", workflow.file),
            "state": "active",
            "created_at": time(self.began),
            "updated_at": time(self.began),
            "url": api(&format!("/actions/workflows/{}", workflow.id)),
            "html_url": web(&format!("/blob/{BRANCH}/.github/workflows/{}", workflow.file)),
            "badge_url": web(&format!("{page}/badge.svg")),
        })
    }
}

/// The workflow of that id or file.
fn named(name: &str) -> Result<Workflow, Refused> {
    let fits = |workflow: &&Workflow| {
        workflow.file == name
            || workflow.id.to_string() == name
            || name.strip_prefix(".github/workflows/") == Some(workflow.file)
    };
    WORKFLOWS.iter().find(fits).copied().ok_or_else(not_found)
}
