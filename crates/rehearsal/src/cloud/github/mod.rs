//! GitHub: `api.github.com` for one repository of one organisation, as far as a deploy needs it.
//!
//! Facts: the published description of api.github.com; docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
//! (5,000 requests an hour, 80 requests a minute that make content, and the headers of both);
//! docs.github.com/rest/actions/secrets and /guides/encrypting-secrets-for-the-rest-api (sealed boxes);
//! docs.github.com/rest/deployments/deployments (when a create merges or is refused).

mod actions;
mod secrets;
mod shape;
mod shows;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crypto_box::SecretKey;
use linkflow_model::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::answer::{Answer, Call};
use super::beside::{Beside, Ground};
use super::endpoints::GithubEndpoint;
use super::limit::{Limits, Rate};
use super::registry::Images;
use super::trouble::Trouble;
use actions::Run;
use secrets::Kept;
use shows::Deployment;

/// The organisation, which also owns the images of the registry.
const OWNER: &str = "acme";
/// Its repository.
const REPOSITORY: &str = "linkflow";
/// Its only branch.
const BRANCH: &str = "main";
/// The commit that the branch is at.
const COMMIT: &str = "4f1c2b3a5d6e7f8091a2b3c4d5e6f708192a3b4c";

/// For a person's token, in an hour.
const REQUESTS: Rate = Rate { per_second: 5_000.0 / 3_600.0, burst: 5_000.0 };
/// What makes content, in a minute.
const MAKING: Rate = Rate { per_second: 80.0 / 60.0, burst: 80.0 };
/// How long a client that asked too often is sent away, in seconds. GitHub says up to an hour.
const AWAY: u64 = 30;

/// Versions of the API.
const VERSIONS: [&str; 2] = ["2022-11-28", NAMES_RUNS];
/// From this one on, a dispatch always names its run.
const NAMES_RUNS: &str = "2026-03-10";

/// The vendor.
pub(crate) struct Github {
    ground: Ground,
    token: String,
    images: Arc<Images>,
    /// What opens the secrets.
    key: SecretKey,
    key_id: String,
    began: Timestamp,
    limits: Limits,
    state: Mutex<State>,
}

/// What the repository holds.
#[derive(Default)]
struct State {
    /// The last id that was given.
    last_id: u64,
    secrets: BTreeMap<String, Kept>,
    runs: Vec<Run>,
    deployments: Vec<Deployment>,
}

impl State {
    /// A new id, greater than all before.
    fn id(&mut self) -> u64 {
        self.last_id += 1;
        12_000_000_000 + self.last_id
    }
}

/// What a handler says instead of an answer.
type Refused = Answer;

fn refusal(status: u16, message: &str) -> Refused {
    let body = json!({
        "message": message,
        "documentation_url": "https://docs.github.com/rest",
        "status": status.to_string(),
    });
    Answer::json(status, &body)
}

fn not_found() -> Refused {
    refusal(404, "Not Found")
}

/// The body, which must be an object.
fn object(call: &Call) -> Result<Value, Refused> {
    let body = call.json().filter(Value::is_object);
    body.ok_or_else(|| refusal(400, "Problems parsing JSON"))
}

impl Github {
    pub(crate) fn new(ground: Ground, images: Arc<Images>) -> Self {
        let seed: [u8; 32] = Sha256::digest(ground.dice.hex(64)).into();
        Self {
            token: format!("ghp_{}", ground.dice.hex(36)),
            key: SecretKey::from(seed),
            key_id: ground.dice.letters("0123456789", 18),
            began: ground.clock.wall(),
            images,
            ground,
            limits: Limits::default(),
            state: Mutex::default(),
        }
    }

    pub(crate) fn endpoint(&self, api: String) -> GithubEndpoint {
        GithubEndpoint {
            api,
            token: self.token.clone(),
            repository: format!("{OWNER}/{REPOSITORY}"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.ground.clock.wall()
    }

    fn suffers(&self, fits: fn(Trouble) -> bool) -> bool {
        self.ground.faults.any(None, fits)
    }

    /// What the repository holds, for the control API.
    pub(crate) fn held(&self) -> Value {
        let now = self.now();
        let mut state = self.state();
        let runs: Vec<Value> = state.runs.iter_mut().map(|run| run.brief(self, now)).collect();
        let deployments: Vec<Value> = state.deployments.iter().map(Deployment::brief).collect();
        let secrets = state.secrets.iter().map(|(name, kept)| (name.clone(), json!(kept.hash())));
        json!({
            "repository": format!("{OWNER}/{REPOSITORY}"),
            "secrets": secrets.collect::<serde_json::Map<_, _>>(),
            "runs": runs,
            "deployments": deployments,
        })
    }

    fn refuse_early(&self, call: &Call) -> Result<(), Refused> {
        if call.header("user-agent").is_none_or(str::is_empty) {
            let why = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header";
            return Err(Answer::bytes(403, "text/plain", why.into()));
        }
        if call.bearer() != Some(self.token.as_str()) {
            return Err(refusal(401, "Bad credentials"));
        }
        let version = call.header("x-github-api-version").unwrap_or(VERSIONS[0]);
        if !VERSIONS.contains(&version) {
            return Err(refusal(400, "The requested API version is not supported."));
        }
        if call.method != http::Method::GET
            && let Err(wait) = self.limits.take("making".to_owned(), MAKING)
        {
            let why = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
            let seconds = wait.as_secs() + 1;
            return Err(refusal(403, why).with("retry-after", &seconds.to_string()));
        }
        Ok(())
    }

    fn dispatch(&self, call: &Call) -> Result<Answer, Refused> {
        self.refuse_early(call)?;
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (call.method.as_str(), parts.as_slice()) {
            (_, ["repos", OWNER, REPOSITORY, "actions", "secrets", rest @ ..]) => {
                self.of_secrets(call, rest)
            }
            (_, ["repos", OWNER, REPOSITORY, "actions", rest @ ..]) => self.of_actions(call, rest),
            (_, ["repos", OWNER, REPOSITORY, "deployments", rest @ ..]) => {
                self.of_deployments(call, rest)
            }
            ("GET", ["repos", OWNER, REPOSITORY]) => {
                Ok(Answer::json(200, &shape::whole_repository(self.began)))
            }
            ("GET", [whose, owner, "packages", "container", package, "versions"]) => {
                self.versions(call, whose, owner, package)
            }
            _ => Err(not_found()),
        }
    }
}

impl Beside for Github {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        let Ok(left) = self.limits.take("all".to_owned(), REQUESTS) else { return self.limited() };
        let answer = self.dispatch(call).unwrap_or_else(|refused| refused);
        let reset = self.now().0 / 1_000 + 3_600;
        answer
            .with("x-ratelimit-limit", "5000")
            .with("x-ratelimit-remaining", &format!("{}", left.floor()))
            .with("x-ratelimit-reset", &reset.to_string())
            .with("x-ratelimit-resource", "core")
    }

    fn limited(&self) -> Answer {
        let reset = self.now().0 / 1_000 + AWAY;
        refusal(403, "API rate limit exceeded for user ID 1.")
            .with("x-ratelimit-limit", "5000")
            .with("x-ratelimit-remaining", "0")
            .with("x-ratelimit-reset", &reset.to_string())
            .with("x-ratelimit-resource", "core")
    }
}

/// One page of `rows`, and the `Link` header that leads to the next.
fn page(call: &Call, rows: Vec<Value>) -> (Vec<Value>, Option<String>) {
    let number = |name: &str, usual: usize| {
        call.parameter(name).and_then(|n| n.parse().ok()).filter(|n| *n > 0).unwrap_or(usual)
    };
    let (size, at) = (number("per_page", 30).min(100), number("page", 1));
    let more = rows.len() > size * at;
    let rows = rows.into_iter().skip(size * (at - 1)).take(size).collect();
    let next = format!("<https://api.github.com{}?page={}>; rel=\"next\"", call.path, at + 1);
    (rows, more.then_some(next))
}

/// A page under a name, with the count of all.
fn listed(call: &Call, name: &str, rows: Vec<Value>) -> Answer {
    let count = rows.len();
    let (rows, next) = page(call, rows);
    linked(Answer::json(200, &json!({ "total_count": count, name: rows })), next)
}

/// A page that is only a list.
fn bare(call: &Call, rows: Vec<Value>) -> Answer {
    let (rows, next) = page(call, rows);
    linked(Answer::json(200, &Value::Array(rows)), next)
}

fn linked(answer: Answer, next: Option<String>) -> Answer {
    match next {
        Some(link) => answer.with("link", &link),
        None => answer,
    }
}
