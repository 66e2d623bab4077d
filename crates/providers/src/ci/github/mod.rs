//! GitHub: Actions and their secrets, container packages, deployments.
//!
//! Facts: docs.github.com/rest (operations and fields; the published description of api.github.com),
//! docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api (limits, and how they are told),
//! docs.github.com/rest/guides/encrypting-secrets-for-the-rest-api (sealed boxes).

mod rollout;
mod seal;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use linkflow_model::role::{Ci, CiRepository, CiRun, CiSecret, CiState, PackageVersion, Rollout};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::kit::{Account, Answer, Auth, Call, Kit, Limiter, Rule, Scope, Vendor, encode};
use wire::{Dispatched, Jobs, PublicKey, Repository, Run, Runs, Secrets, Version};

/// Where the API is, as published.
const API: &str = "https://api.github.com";

/// The version of the API that this adapter was written for.
const VERSION: &str = "2022-11-28";

/// 5,000 requests an hour for a person's token. A large part of it may go at once.
const REQUESTS: Rule = Rule { scope: Scope::Vendor, every: Duration::from_millis(720), burst: 500 };

/// How long a request may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to leave the API alone after a refusal that does not say: at least a minute, GitHub asks.
const UNSAID: Duration = Duration::from_secs(60);

/// Things on one page; the most that GitHub gives.
const PAGE: usize = 100;

/// Pages that are read at most: nobody has 10,000 secrets.
const PAGES: usize = 100;

/// How often, and with which pause, a run is looked for that was started without being named.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// What GitHub needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The repository: `acme/linkflow`.
    pub repository: String,
    /// A token that may do what is asked of it.
    pub token: Secret,
    /// In place of `https://api.github.com`.
    pub api: Option<String>,
}

/// One repository at GitHub.
pub struct Github {
    vendor: Vendor,
    kit: Kit,
    provider: ProviderName,
    /// `/repos/acme/linkflow`.
    repository: String,
    owner: String,
    /// What secrets are sealed for, once it was asked for.
    key: Mutex<Option<PublicKey>>,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Github {
    let base = settings.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned();
    let vendor = kit.vendor(Account {
        provider: provider.clone(),
        spec: "github",
        production: API.to_owned(),
        base,
        auth: Some(Auth::bearer(settings.token)),
        limits: Box::new(|| Limiter::new(vec![REQUESTS], PATIENCE)),
        judge: own_judgement,
        // A sealed value can be opened by nobody but GitHub, and its form is part of the description.
        hide: |_| {},
    });
    let (owner, name) = settings.repository.split_once('/').unwrap_or((&settings.repository, ""));
    Github {
        vendor,
        kit: kit.clone(),
        provider: provider.clone(),
        repository: format!("/repos/{}/{}", encode(owner), encode(name)),
        owner: encode(owner),
        key: Mutex::default(),
    }
}

/// Both limits come as 403 or 429 and are told apart from a missing permission by their words only.
fn own_judgement(status: StatusCode, said: &str) -> Option<FaultKind> {
    let said = said.to_lowercase();
    let limited = said.contains("rate limit") || said.contains("abuse detection");
    (matches!(status.as_u16(), 403 | 429) && limited).then_some(FaultKind::Limited { wait: UNSAID })
}

impl Github {
    /// A path within the repository.
    fn at(&self, rest: &str) -> String {
        format!("{}/{rest}", self.repository)
    }

    async fn send(&self, call: Call) -> Result<Answer, Fault> {
        self.vendor.send(versioned(call)).await
    }

    async fn send_for<T: DeserializeOwned>(&self, call: Call) -> Result<T, Fault> {
        self.vendor.send_for(versioned(call)).await
    }

    /// Every page of a list; `items` takes them out of a page.
    async fn pages<P: DeserializeOwned, T>(
        &self,
        call: Call,
        items: impl Fn(P) -> Vec<T>,
    ) -> Result<Vec<T>, Fault> {
        let mut all = Vec::new();
        for page in 1..=PAGES {
            let one = call.clone().query("per_page", &PAGE.to_string());
            let answer = self.send(one.query("page", &page.to_string())).await?;
            all.extend(items(self.vendor.read("read a list".to_owned(), &answer)?));
            if !answer.header("link").is_some_and(|link| link.contains("rel=\"next\"")) {
                break;
            }
        }
        Ok(all)
    }

    /// The newest run of `workflow` that was started by hand on `branch`.
    async fn newest(
        &self,
        workflow: &str,
        branch: Option<&str>,
        event: Option<&str>,
    ) -> Result<Option<Run>, Fault> {
        let path = self.at(&format!("actions/workflows/{}/runs", encode(workflow)));
        let mut call = Call::read("list runs of", workflow, path).query("per_page", "1");
        for (name, value) in [("branch", branch), ("event", event)] {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        let runs: Runs = self.send_for(call).await?;
        Ok(runs.workflow_runs.into_iter().next())
    }

    /// Asks for a run. Servers that do not know `return_run_details` refuse it by name.
    async fn order(
        &self,
        workflow: &str,
        branch: &str,
        inputs: &BTreeMap<String, String>,
    ) -> Result<Answer, Fault> {
        let path = self.at(&format!("actions/workflows/{}/dispatches", encode(workflow)));
        let mut body = json!({ "ref": branch, "inputs": inputs, "return_run_details": true });
        let call = |body: &Value| {
            versioned(Call::write(Method::POST, "start", workflow, path.clone()).json(body.clone()))
        };
        let first = call(&body);
        let answer = self.vendor.exchange(&first).await?;
        let unknown = answer.status == StatusCode::UNPROCESSABLE_ENTITY
            && answer.text().contains("return_run_details");
        if !unknown {
            return self.vendor.judge(&first, answer);
        }
        if let Value::Object(fields) = &mut body {
            fields.remove("return_run_details");
        }
        self.vendor.send(call(&body)).await
    }

    /// The run that was just started and not named: the first one that is newer than `before`.
    async fn started(
        &self,
        workflow: &str,
        branch: &str,
        before: Option<u64>,
    ) -> Result<CiRun, Fault> {
        for _ in 0..LOOKS {
            let newest = self.newest(workflow, Some(branch), Some("workflow_dispatch")).await?;
            if let Some(run) = newest.filter(|run| Some(run.id) > before) {
                return Ok(run.told(Vec::new()));
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let said = "it was started, and its run is not listed yet";
        Err(self.vendor.fault(FaultKind::Unclear, format!("find the run of {workflow}"), said))
    }

    /// What secrets are sealed for. `anew`: the one that was kept was refused.
    async fn public_key(&self, anew: bool) -> Result<PublicKey, Fault> {
        let held = self.key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(key) = held.filter(|_| !anew) {
            return Ok(key);
        }
        let path = self.at("actions/secrets/public-key");
        let key: PublicKey = self.send_for(Call::read("read the public key", "", path)).await?;
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        Ok(key)
    }

    async fn put_secret(&self, name: &str, value: &Secret, key: &PublicKey) -> Result<(), Fault> {
        let sealed = seal::sealed(value, &key.key).map_err(|why| {
            self.vendor.fault(FaultKind::Unclear, format!("seal secret {name}"), why)
        })?;
        let body = json!({ "encrypted_value": sealed, "key_id": key.key_id });
        let path = self.at(&format!("actions/secrets/{}", encode(name)));
        self.send(Call::write(Method::PUT, "set secret", name, path).json(body)).await.map(drop)
    }
}

/// With what every request to this API carries.
fn versioned(call: Call) -> Call {
    call.header("accept", "application/vnd.github+json").header("x-github-api-version", VERSION)
}

#[async_trait]
impl Ci for Github {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    async fn repository(&self) -> Result<CiRepository, Fault> {
        let call = Call::read("read the repository", "", self.repository.clone());
        Ok(self.send_for::<Repository>(call).await?.told())
    }

    async fn dispatch(
        &self,
        workflow: &str,
        branch: &str,
        inputs: &BTreeMap<String, String>,
    ) -> Result<CiRun, Fault> {
        let before = self.newest(workflow, Some(branch), Some("workflow_dispatch")).await?;
        let answer = self.order(workflow, branch, inputs).await?;
        if answer.status == StatusCode::NO_CONTENT {
            return self.started(workflow, branch, before.map(|run| run.id)).await;
        }
        let named: Dispatched = self.vendor.read(format!("start {workflow}"), &answer)?;
        Ok(CiRun {
            id: named.workflow_run_id.to_string(),
            state: CiState::Waiting { said: "requested".to_owned() },
            commit: None,
            page: Some(named.html_url),
            jobs: Vec::new(),
        })
    }

    async fn latest(&self, workflow: &str) -> Result<Option<CiRun>, Fault> {
        Ok(self.newest(workflow, None, None).await?.map(|run| run.told(Vec::new())))
    }

    async fn run(&self, id: &str) -> Result<CiRun, Fault> {
        let path = self.at(&format!("actions/runs/{}", encode(id)));
        let run: Run = self.send_for(Call::read("read run", id, path.clone())).await?;
        let call = Call::read("list jobs of run", id, format!("{path}/jobs"));
        let jobs = self.pages(call, |page: Jobs| page.jobs).await?;
        Ok(run.told(jobs))
    }

    async fn cancel(&self, id: &str) -> Result<(), Fault> {
        let path = self.at(&format!("actions/runs/{}/cancel", encode(id)));
        match self.send(Call::write(Method::POST, "cancel run", id, path)).await {
            // It has ended already.
            Err(fault) if fault.kind == FaultKind::Conflict => Ok(()),
            other => other.map(drop),
        }
    }

    async fn secrets(&self) -> Result<Vec<CiSecret>, Fault> {
        let call = Call::read("list secrets", "", self.at("actions/secrets"));
        self.pages(call, |page: Secrets| page.secrets.into_iter().map(wire::secret).collect()).await
    }

    async fn set_secret(&self, name: &str, value: &Secret) -> Result<(), Fault> {
        self.kit.learn(value);
        let key = self.public_key(false).await?;
        match self.put_secret(name, value, &key).await {
            // GitHub may have changed the key since it was read.
            Err(fault) if fault.kind == FaultKind::Invalid => {
                let newer = self.public_key(true).await?;
                if newer.key_id == key.key_id {
                    return Err(fault);
                }
                self.put_secret(name, value, &newer).await
            }
            other => other,
        }
    }

    async fn delete_secret(&self, name: &str) -> Result<(), Fault> {
        let path = self.at(&format!("actions/secrets/{}", encode(name)));
        match self.send(Call::write(Method::DELETE, "delete secret", name, path)).await {
            Err(fault) if fault.kind == FaultKind::Missing => Ok(()),
            other => other.map(drop),
        }
    }

    async fn versions(&self, package: &str) -> Result<Vec<PackageVersion>, Fault> {
        let rest = format!("packages/container/{}/versions", encode(package));
        let of = |whose: &str| format!("/{whose}/{}/{rest}", self.owner);
        let call = Call::read("list versions of", package, of("orgs"));
        let found = match self.pages(call, |page: Vec<Version>| page).await {
            // The owner is no organization but a person, whose list comes without pages.
            Err(fault) if fault.kind == FaultKind::Missing => {
                self.send_for(Call::read("list versions of", package, of("users"))).await?
            }
            other => other?,
        };
        Ok(found.into_iter().filter_map(Version::told).collect())
    }

    async fn tell(&self, rollout: &Rollout) -> Result<(), Fault> {
        let deployment = match self.deployment_of(rollout).await? {
            Some(id) => id,
            None => self.make_deployment(rollout).await?,
        };
        self.set_status(deployment, rollout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_from_a_missing_permission_by_its_words() {
        let judged = |status, said| own_judgement(StatusCode::from_u16(status).unwrap(), said);
        let limited = Some(FaultKind::Limited { wait: UNSAID });
        assert_eq!(judged(403, "API rate limit exceeded for user ID 1."), limited);
        assert_eq!(judged(403, "You have exceeded a secondary rate limit."), limited);
        assert_eq!(judged(429, "You have triggered an abuse detection mechanism."), limited);
        assert_eq!(judged(403, "Resource not accessible by personal access token"), None);
        assert_eq!(judged(422, "rate limit is no input of this workflow"), None);
    }
}
