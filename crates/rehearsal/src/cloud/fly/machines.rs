//! What the API does with machines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::app::unpaid;
use super::config::{Config, span};
use super::lease::Lease;
use super::machine::{Birth, Machine, Wanted};
use super::{Fly, REGIONS, Refused, object, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::registry::Image;
use crate::cloud::site::service_of;

const LONGEST_WAIT: u64 = 60;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a create or an update asks for, checked.
struct Asked {
    body: Map<String, Value>,
    config: Config,
    image: Image,
    secrets: BTreeMap<String, String>,
}

impl Asked {
    fn flag(&self, name: &str) -> bool {
        self.body.get(name).and_then(Value::as_bool) == Some(true)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

impl Fly {
    /// Answers a call below `/apps/APP/machines`.
    pub(super) async fn of_machines(
        self: &Arc<Self>,
        call: &Call,
        app: &str,
        tail: &[&str],
    ) -> Result<Answer, Refused> {
        let Some((id, tail)) = tail.split_first() else {
            return match call.method {
                Method::GET => self.list(call, app),
                Method::POST => self.create(call, app).await,
                _ => Err(refusal(405, "method not allowed")),
            };
        };
        let machine = self.machine(app, id)?;
        if let ["lease"] = tail {
            return machine.of_lease(&self.site, call);
        }
        if call.method != Method::GET {
            machine.check_lease(call)?;
            if machine.is_destroyed() {
                return Err(refusal(412, "failed_precondition: machine is destroyed"));
            }
        }
        match (call.method.as_str(), tail) {
            ("GET", []) => Ok(self.shown(&machine, None)),
            ("POST", []) => self.update(call, &machine).await,
            ("DELETE", []) => self.delete(call, &machine),
            ("GET", ["wait"]) => self.wait(call, &machine).await,
            ("GET", ["events"]) => Ok(events(call, &machine)),
            ("GET", ["versions"]) => Ok(versions(&machine)),
            (_, ["metadata", rest @ ..]) => self.of_metadata(call, &machine, rest),
            ("POST", [verb]) => self.act(call, &machine, verb),
            _ => Err(refusal(404, "not found")),
        }
    }

    fn shown(&self, machine: &Machine, nonce: Option<&str>) -> Answer {
        let mut view = machine.view(&self.site);
        if let Some(nonce) = nonce {
            view.insert("nonce".to_owned(), json!(nonce));
        }
        Answer::json(200, &Value::Object(view))
    }

    fn list(&self, call: &Call, app: &str) -> Result<Answer, Refused> {
        self.with_app(app, |_| ())?;
        let is = |name: &str| call.parameter(name) == Some("true");
        let states: Vec<&str> =
            call.parameter("state").map(|s| s.split(',').collect()).unwrap_or_default();
        let region = call.parameter("region");
        let rows = self.machines_of(app).into_iter().filter_map(|machine| {
            let mut view = machine.view(&self.site);
            let text = |name: &str| view.get(name).and_then(Value::as_str).unwrap_or_default();
            let fits = (is("include_deleted") || !machine.is_destroyed())
                && (states.is_empty() || states.contains(&text("state")))
                && region.is_none_or(|region| region == text("region"));
            if is("summary") {
                view.retain(|name, _| {
                    !["config", "checks", "events", "host_status"].contains(&name.as_str())
                });
            }
            fits.then_some(Value::Object(view))
        });
        Ok(Answer::json(200, &rows.collect()))
    }

    /// Reads what a create or an update asks for.
    fn asked(&self, call: &Call, app: &str, before: Option<&Image>) -> Result<Asked, Refused> {
        let body = object(call)?;
        let config = Config::read(body.get("config")).map_err(|why| refusal(400, &why))?;
        let service = service_of(&config.env());
        if self.site.is_out_of_quota(service.as_ref()) {
            return Err(unpaid());
        }
        let reference = config.image().unwrap_or_default();
        let image = self.site.what_runs(service.as_ref(), self.image(&reference)?, before);
        if let Some(region) = body.get("region").and_then(Value::as_str)
            && !region.is_empty()
            && !REGIONS.iter().any(|(code, _)| *code == region)
        {
            return Err(refusal(400, &format!("invalid_argument: region {region} not found")));
        }
        let due = body.get("min_secrets_version").and_then(Value::as_u64).unwrap_or(0);
        let skipped = body.get("skip_secrets").and_then(Value::as_bool) == Some(true);
        let secrets = self.with_app(app, |app| {
            let held =
                app.secrets.iter().map(|(name, secret)| (name.clone(), secret.value.clone()));
            (app.secrets_version >= due).then(|| held.collect::<BTreeMap<_, _>>())
        })?;
        let secrets = secrets
            .ok_or_else(|| refusal(400, &format!("secrets version {due} is not known yet")))?;
        Ok(Asked { body, config, image, secrets: if skipped { BTreeMap::new() } else { secrets } })
    }

    async fn create(self: &Arc<Self>, call: &Call, app: &str) -> Result<Answer, Refused> {
        let asked = self.asked(call, app, None)?;
        self.site.dawdle(20, 60).await;
        let log = self.with_app(app, |app| Arc::clone(&app.log))?;
        let own = || {
            format!(
                "{}-{}",
                self.site.dice.letters("bdfgklmnprstvz", 6),
                self.site.dice.between(1_000, 9_999)
            )
        };
        let name = asked.text("name").map_or_else(own, str::to_owned);
        let region = asked.text("region").unwrap_or(REGIONS[0].0).to_owned();
        let (idle, ttl) =
            (asked.flag("skip_launch"), asked.body.get("lease_ttl").and_then(Value::as_u64));
        let Asked { config, image, secrets, .. } = asked;
        let birth =
            Birth { app: app.to_owned(), name: name.clone(), region, config, image, secrets, log };
        let machine = Machine::new(&self.site, birth);
        let taken = self.with_app(app, |app| {
            let taken = app
                .machines
                .values()
                .find(|m| !m.is_destroyed() && m.lock().name == name)
                .map(|m| m.id.clone());
            if taken.is_none() {
                app.machines.insert(machine.id.clone(), Arc::clone(&machine));
            }
            taken
        })?;
        if let Some(id) = taken {
            return Err(refusal(
                409,
                &format!(
                    "already_exists: unique machine name violation, machine ID {id} already exists with name \"{name}\""
                ),
            ));
        }
        let lease = ttl.filter(|ttl| *ttl > 0).map(|ttl| Lease::new(&self.site, ttl, "created"));
        let nonce = lease.as_ref().map(|lease| lease.nonce.clone());
        machine.lock().lease = lease;
        if !idle {
            machine.launch(&self.site, "created");
        }
        Ok(self.shown(&machine, nonce.as_deref()))
    }

    async fn update(
        self: &Arc<Self>,
        call: &Call,
        machine: &Arc<Machine>,
    ) -> Result<Answer, Refused> {
        let (before, version) = {
            let inner = machine.lock();
            (inner.image.clone(), inner.version.clone())
        };
        let asked = self.asked(call, &machine.app, Some(&before))?;
        if asked.text("current_version").is_some_and(|current| current != version) {
            return Err(refusal(
                409,
                &format!("aborted: machine version is {version}, not the one the update expects"),
            ));
        }
        self.site.dawdle(20, 60).await;
        let idle = asked.flag("skip_launch");
        machine.change(&self.site, asked.config, asked.image, asked.secrets);
        machine.note(&self.site, "update", "replacing", "user", None);
        if idle {
            machine.stop(&self.site, Wanted::Stopped, None);
        } else {
            machine.launch(&self.site, "replacing");
        }
        Ok(self.shown(machine, None))
    }

    fn delete(&self, call: &Call, machine: &Arc<Machine>) -> Result<Answer, Refused> {
        let state = machine.state(&self.site);
        let forced = call.parameter("force") == Some("true");
        if !forced && !matches!(state, "stopped" | "suspended" | "created") {
            return Err(refusal(
                412,
                &format!(
                    "failed_precondition: unable to destroy machine, not currently stopped, is: {state}"
                ),
            ));
        }
        machine.destroy(&self.site);
        Ok(Answer::json(200, &json!({ "ok": true })))
    }

    fn act(&self, call: &Call, machine: &Arc<Machine>, verb: &str) -> Result<Answer, Refused> {
        let (site, state) = (&self.site, machine.state(&self.site));
        let ok = Answer::json(200, &json!({ "ok": true }));
        let body = object(call)?;
        match verb {
            "start" => {
                if site.is_out_of_quota(machine.service().as_ref()) {
                    return Err(unpaid());
                }
                if matches!(state, "replacing" | "destroying" | "stopping") {
                    return Err(refusal(
                        412,
                        &format!("failed_precondition: machine still {state}, refusing to start"),
                    ));
                }
                if state != "started" {
                    machine.note(site, "start", "starting", "user", None);
                    machine.start(site);
                }
                Ok(Answer::json(
                    200,
                    &json!({ "previous_state": state, "migrated": false, "new_host": "" }),
                ))
            }
            "stop" => {
                let grace = body.get("timeout").and_then(Value::as_str).and_then(span);
                machine.stop(site, Wanted::Stopped, grace);
                Ok(ok)
            }
            "suspend" => {
                machine.stop(site, Wanted::Suspended, None);
                Ok(ok)
            }
            "restart" if state == "started" => {
                machine.restart(site);
                Ok(ok)
            }
            "restart" => {
                Err(refusal(400, &format!("failed_precondition: machine is {state}, not started")))
            }
            "cordon" | "uncordon" => {
                machine.lock().cordoned = verb == "cordon";
                Ok(ok)
            }
            "signal" => signal(machine, &body).map(|()| ok),
            _ => Err(refusal(404, "not found")),
        }
    }

    async fn wait(&self, call: &Call, machine: &Machine) -> Result<Answer, Refused> {
        // The vendor's own words when a client asks for more patience than it has.
        let timeout = call
            .parameter("timeout")
            .map_or(Some(LONGEST_WAIT), |t| t.trim_end_matches('s').parse().ok());
        let Some(timeout) = timeout.filter(|t| (1..=LONGEST_WAIT).contains(t)) else {
            let why = "invalid_argument: invalid WaitMachineRequest.Timeout: value must be inside range [1s, 1m0s]";
            return Err(refusal(400, why));
        };
        let asked: Vec<String> =
            call.query.iter().filter(|(name, _)| name == "state").map(|(_, v)| v.clone()).collect();
        let asked = if asked.is_empty() { "started".to_owned() } else { asked.join(",") };
        let states: Vec<&str> = asked.split(',').collect();
        let known = ["started", "stopped", "suspended", "destroyed", "failed", "settled"];
        if let Some(state) = states.iter().find(|state| !known.contains(state)) {
            return Err(refusal(
                400,
                &format!("invalid_argument: state {state} cannot be waited for"),
            ));
        }
        let version = call.parameter("version").or_else(|| call.parameter("instance_id"));
        if std::mem::take(&mut machine.lock().unawaited) && self.site.dice.throw().is_multiple_of(2)
        {
            return Err(refusal(404, "machine not found"));
        }
        let end = Instant::now() + Duration::from_secs(timeout);
        loop {
            let (state, current) = (machine.state(&self.site), machine.lock().version.clone());
            let settled = ["started", "stopped", "suspended", "destroyed"].contains(&state);
            let reached = states.contains(&state) || (settled && states.contains(&"settled"));
            if reached && version.is_none_or(|version| version == current) {
                let event =
                    machine.events().first().and_then(|e| e["id"].as_str().map(str::to_owned));
                let answer = json!({ "ok": true, "state": state, "version": current, "event_id": event.unwrap_or_default() });
                return Ok(Answer::json(200, &answer));
            }
            if Instant::now() >= end {
                return Err(refusal(
                    408,
                    &format!("deadline_exceeded: machine is {state}, not {asked}"),
                ));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn of_metadata(
        &self,
        call: &Call,
        machine: &Machine,
        rest: &[&str],
    ) -> Result<Answer, Refused> {
        let body = object(call)?;
        let mut inner = machine.lock();
        if body
            .get("machine_version")
            .and_then(Value::as_str)
            .is_some_and(|version| version != inner.version)
        {
            return Err(refusal(412, "failed_precondition: machine_version mismatch"));
        }
        let Some(held) = inner.config.metadata() else {
            return Err(refusal(400, "metadata is not an object"));
        };
        match (call.method.as_str(), rest) {
            ("GET", []) => Ok(Answer::json(200, &Value::Object(held.clone()))),
            ("PUT" | "PATCH", []) => {
                let wanted =
                    body.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
                if call.method == Method::PUT {
                    held.clear();
                }
                held.extend(wanted);
                Ok(Answer::empty(204))
            }
            ("GET", [key]) => match held.get(*key) {
                Some(value) => Ok(Answer::json(200, &json!({ "value": value }))),
                None => Err(refusal(404, "metadata key not found")),
            },
            ("POST", [key]) => {
                let value = body.get("value").and_then(Value::as_str);
                let value =
                    value.ok_or_else(|| refusal(400, "invalid_argument: value is required"))?;
                held.insert((*key).to_owned(), json!(value));
                Ok(Answer::empty(204))
            }
            ("DELETE", [key]) => {
                held.remove(*key);
                Ok(Answer::empty(204))
            }
            _ => Err(refusal(404, "not found")),
        }
    }
}

fn events(call: &Call, machine: &Machine) -> Answer {
    let most = call.parameter("limit").and_then(|l| l.parse().ok()).unwrap_or(20);
    Answer::json(200, &machine.events().into_iter().take(most).collect())
}

fn versions(machine: &Machine) -> Answer {
    let inner = machine.lock();
    let rows = inner
        .versions
        .iter()
        .rev()
        .map(|(version, config)| json!({ "version": version, "user_config": config }));
    Answer::json(200, &rows.collect())
}

fn signal(machine: &Machine, body: &Map<String, Value>) -> Result<(), Refused> {
    let signal = match body.get("signal").and_then(Value::as_str).unwrap_or_default() {
        "SIGABRT" => Signal::ABORT,
        "SIGHUP" => Signal::HUP,
        "SIGINT" => Signal::INT,
        "SIGKILL" => Signal::KILL,
        "SIGQUIT" => Signal::QUIT,
        "SIGTERM" => Signal::TERM,
        "SIGUSR1" => Signal::USR1,
        "SIGUSR2" => Signal::USR2,
        other => {
            return Err(refusal(400, &format!("invalid_argument: signal {other} cannot be sent")));
        }
    };
    match machine.process().is_some_and(|process| process.signal(signal)) {
        true => Ok(()),
        false => Err(refusal(412, "failed_precondition: the machine does not run")),
    }
}
