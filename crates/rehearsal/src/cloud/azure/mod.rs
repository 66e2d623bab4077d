//! Azure Container Apps: `Microsoft.App` of the resource manager at `management.azure.com`, the token endpoint of
//! `login.microsoftonline.com`, the log stream, and `APP.DOMAIN.REGION.azurecontainerapps.io`.
//!
//! Facts: the resource provider's published description, version 2026-07-01 (operations, fields, states); the vendor's
//! pages on request limits, naming, revisions, health probes and allocations. What the description leaves open is taken
//! from public reports: an image that cannot be pulled is refused at once (Azure/container-apps-deploy-action#85), and a
//! change to an app that is stopped does not start it (microsoft/azure-container-apps#1269).

mod app;
mod certificate;
mod change;
mod environment;
mod job;
mod revision;
mod shape;
mod token;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::Method;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Call};
use super::limit::{Limits, Rate};
use super::site::{Blank, InstanceView, Route, Site, Target, Vendor};
use app::App;
use environment::Environment;
use job::Job;
use token::Desk;

/// The one subscription.
pub(crate) const SUBSCRIPTION: &str = "00000000-0000-4000-a000-00000000517e";
/// The one resource group.
pub(crate) const GROUP: &str = "rehearsal";
/// The environment that is there from the start.
pub(crate) const ENVIRONMENT: &str = "rehearsal";
/// What every public host ends in.
pub(crate) const HOST_SUFFIX: &str = "azurecontainerapps.io";
/// Where all is.
const LOCATION: &str = "westeurope";

/// Per subscription and principal: 250 reads at once and 25 a second, 200 writes or deletes and 10 a second.
const READS: Rate = Rate { per_second: 25.0, burst: 250.0 };
const WRITES: Rate = Rate { per_second: 10.0, burst: 200.0 };

/// The vendor.
pub(crate) struct Azure {
    site: Arc<Site>,
    desk: Desk,
    state: Mutex<State>,
    limits: Limits,
}

/// All that there is.
#[derive(Default)]
struct State {
    environments: BTreeMap<String, Environment>,
    apps: BTreeMap<String, Arc<App>>,
    jobs: BTreeMap<String, Arc<Job>>,
}

/// What a handler says instead of an answer.
type Refused = Answer;

fn refusal(status: u16, code: &str, why: &str) -> Refused {
    Answer::json(status, &json!({ "error": { "code": code, "message": why } }))
}

fn not_found(kind: &str, name: &str) -> Refused {
    let why = format!(
        "The Resource 'Microsoft.App/{kind}/{name}' under resource group '{GROUP}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    );
    refusal(404, "ResourceNotFound", &why)
}

/// That something else is under way.
fn busy(kind: &str, name: &str) -> Refused {
    let why = format!(
        "Cannot modify a {kind} '{name}' because there is an active provisioning operation in progress. Please wait for it to complete and try again."
    );
    refusal(409, "OperationInProgress", &why)
}

/// The id of a resource.
fn id_of(tail: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.App/{tail}")
}

impl Azure {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        let desk = Desk::new(&site);
        let azure = Self { site, desk, state: Mutex::default(), limits: Limits::default() };
        let there = Environment::ready(&azure.site, LOCATION);
        azure.state().environments.insert(ENVIRONMENT.to_owned(), there);
        azure
    }

    /// The credentials that are good here, as the vendor's command line prints them.
    pub(crate) fn credentials(&self) -> String {
        self.desk.credentials()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn app(&self, name: &str) -> Result<Arc<App>, Refused> {
        let found = self.state().apps.get(&name.to_lowercase()).cloned();
        found.ok_or_else(|| not_found("containerApps", name))
    }

    fn is_unpaid(&self, call: &Call, parts: &[&str]) -> bool {
        let reads = parts.last().is_some_and(|verb| {
            ["listSecrets", "getAuthtoken", "listCustomHostNameAnalysis", "stop"].contains(verb)
        });
        let writes = matches!(call.method, Method::PUT | Method::PATCH | Method::POST);
        writes && !reads && self.site.is_out_of_quota(None)
    }

    fn limit(&self, call: &Call) -> Result<(), Refused> {
        let (name, rate) = match call.method {
            Method::GET => ("reads", READS),
            Method::DELETE => ("deletes", WRITES),
            _ => ("writes", WRITES),
        };
        match self.limits.take(name.to_owned(), rate) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.limited()),
        }
    }

    /// Answers a call to the resource manager whose token is good.
    fn dispatch(self: &Arc<Self>, call: &Call, parts: &[&str]) -> Result<Answer, Refused> {
        self.limit(call)?;
        if call.parameter("api-version").is_none_or(str::is_empty) {
            let why =
                "The api-version query parameter (?api-version=) is required for all requests.";
            return Err(refusal(400, "MissingApiVersionParameter", why));
        }
        if self.is_unpaid(call, parts) {
            return Err(unpaid());
        }
        let ["subscriptions", subscription, rest @ ..] = parts else {
            return Err(refusal(404, "NotFound", "not found"));
        };
        if *subscription != SUBSCRIPTION {
            let why = format!("The subscription '{subscription}' could not be found.");
            return Err(refusal(404, "SubscriptionNotFound", &why));
        }
        match rest {
            ["resourceGroups", group, "providers", "Microsoft.App", tail @ ..] => {
                if !group.eq_ignore_ascii_case(GROUP) {
                    let why = format!("Resource group '{group}' could not be found.");
                    return Err(refusal(404, "ResourceGroupNotFound", &why));
                }
                self.of_group(call, tail)
            }
            ["providers", "Microsoft.App", "containerApps"] => Ok(self.list_apps(call)),
            ["providers", "Microsoft.App", "locations", _, "usages"] => Ok(self.quotas()),
            _ => Err(refusal(404, "NotFound", "not found")),
        }
    }

    fn of_group(self: &Arc<Self>, call: &Call, tail: &[&str]) -> Result<Answer, Refused> {
        match tail {
            ["containerApps", rest @ ..] => self.of_apps(call, rest),
            ["managedEnvironments", environment, "managedCertificates", rest @ ..] => {
                self.of_certificates(call, environment, rest)
            }
            ["managedEnvironments", rest @ ..] => self.of_environments(call, rest),
            ["jobs", rest @ ..] => self.of_jobs(call, rest),
            _ => Err(refusal(404, "NotFound", "not found")),
        }
    }
}

/// The words of a subscription whose credit is spent (docs: reactivate a disabled Azure subscription).
fn unpaid() -> Refused {
    let why = format!(
        "The subscription '{SUBSCRIPTION}' is disabled and therefore marked as read only. You cannot perform any write actions on this subscription until it is re-enabled."
    );
    refusal(409, "ReadOnlyDisabledSubscription", &why)
}

/// The header by which the vendor says where to ask how an operation goes.
fn accepted(call: &Call, status: u16, body: Option<&Value>, operation: &str) -> Answer {
    let host = call.header("host").unwrap_or("management.azure.com");
    let at = format!(
        "http://{host}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.App/locations/{LOCATION}/operationStatuses/{operation}"
    );
    let answer = match body {
        Some(body) => Answer::json(status, body),
        None => Answer::empty(status),
    };
    answer.with("azure-asyncoperation", &at).with("location", &at).with("retry-after", "1")
}

/// The object in `body`, or a refusal.
fn object(call: &Call) -> Result<Map<String, Value>, Refused> {
    match call.json() {
        Some(Value::Object(fields)) => Ok(fields),
        _ => Err(refusal(
            400,
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized.",
        )),
    }
}

#[async_trait]
impl Vendor for Azure {
    async fn answer(self: Arc<Self>, call: Call) -> Answer {
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if let [tenant, "oauth2", "v2.0", "token"] = parts.as_slice() {
            return self.desk.grant(&self.site, &call, tenant);
        }
        if let Some(("logstream", front)) = parts.split_last().map(|(last, front)| (*last, front)) {
            return self.log_stream(&call, front).unwrap_or_else(|refused| refused);
        }
        if let Err(refused) = self.desk.check(&call) {
            return refused;
        }
        match self.dispatch(&call, &parts) {
            Ok(answer) | Err(answer) => answer,
        }
    }

    fn limited(&self) -> Answer {
        let why = "The request is being throttled as the limit has been reached for operation type - read or write. For more information, see - https://aka.ms/arm-throttling";
        refusal(429, "SubscriptionRequestsThrottled", why).with("retry-after", "5")
    }

    fn route(&self, host: &str) -> Route {
        let found = self.state().apps.values().find(|app| app.has_host(host)).cloned();
        let Some(app) = found else { return Route::Unknown };
        let served = app.served();
        let service = app.service();
        let processes: Vec<_> = served.processes.iter().collect();
        let Some(chosen) = self.site.take_turn(&processes) else { return Route::Idle(service) };
        Route::To(Target {
            service,
            address: served.reaches.then_some(chosen.address),
            health: served.health,
            http2: served.http2,
        })
    }

    fn page(&self, why: Blank) -> (u16, &'static str, String) {
        let (status, text) = match why {
            Blank::UnknownHost => (404, "<h1>Error 404 - This Container App does not exist.</h1>"),
            Blank::NoInstance => (503, "no healthy upstream"),
            Blank::NoAnswer => (
                502,
                "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
            ),
        };
        (status, "text/html", text.to_owned())
    }

    fn instances(&self) -> Vec<InstanceView> {
        let state = self.state();
        let of_apps = state.apps.values().flat_map(|app| app.instances(&self.site));
        of_apps.chain(state.jobs.values().flat_map(|job| job.instances())).collect()
    }
}
