//! Workers: scripts, routes, and the values that scripts read.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Cloudflare, Refused, no_route, object, ok, page, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::limit::Rate;

/// One write a second for each key.
const WRITES: Rate = Rate { per_second: 1.0, burst: 1.0 };
/// Writes a day for the account.
const WRITES_A_DAY: u32 = 1_000;

/// A script.
pub(super) struct Script {
    metadata: Value,
    module: String,
    created: String,
    modified: String,
}

impl Script {
    fn short(&self, name: &str) -> Value {
        json!({ "id": name, "created_on": self.created, "modified_on": self.modified, "etag": name, "logpush": false })
    }

    pub(super) fn view(&self, name: &str) -> Value {
        let mut view = self.short(name);
        view["metadata"] = self.metadata.clone();
        view["module"] = self.module.as_str().into();
        view
    }
}

/// A route.
pub(super) struct Route {
    id: String,
    pattern: String,
    script: String,
    open: bool,
}

impl Route {
    pub(super) fn view(&self) -> Value {
        let Self { id, pattern, script, open } = self;
        json!({ "id": id, "pattern": pattern, "script": script, "request_limit_fail_open": open })
    }
}

/// A namespace of values.
pub(super) struct Values {
    id: String,
    title: String,
    values: BTreeMap<String, (String, Value)>,
}

impl Values {
    fn short(&self) -> Value {
        json!({ "id": self.id, "title": self.title, "supports_url_encoding": true })
    }

    pub(super) fn view(&self) -> Value {
        let mut view = self.short();
        view["values"] = self
            .values
            .iter()
            .map(|(key, (value, _))| (key.clone(), value.as_str().into()))
            .collect::<Map<_, _>>()
            .into();
        view
    }
}

/// The parts of a multipart form, by name.
fn form(call: &Call) -> Result<BTreeMap<String, String>, Refused> {
    let bad = || refusal(400, 10_006, "Could not parse the form of the request.");
    let kind = call.header("content-type").unwrap_or_default();
    let boundary = kind.split("boundary=").nth(1).ok_or_else(bad)?.trim_matches('"');
    let text = std::str::from_utf8(&call.body).map_err(|_| bad())?;
    let mut parts = BTreeMap::new();
    for part in text.split(&format!("--{boundary}")).skip(1) {
        let Some((head, body)) = part.split_once("\r\n\r\n") else { continue };
        let name = head.split("name=\"").nth(1).and_then(|rest| rest.split('"').next());
        let body = body.strip_suffix("\r\n").unwrap_or(body);
        parts.insert(name.ok_or_else(bad)?.to_owned(), body.to_owned());
    }
    Ok(parts)
}

impl Cloudflare {
    pub(super) fn of_scripts(&self, call: &Call, rest: &[&str]) -> Result<Answer, Refused> {
        let missing = || refusal(404, 10_007, "This Worker does not exist on your account.");
        let mut state = self.state();
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                Ok(ok(&state.scripts.iter().map(|(name, script)| script.short(name)).collect()))
            }
            ("GET", [name, "settings"]) => {
                let script = state.scripts.get(*name).ok_or_else(missing)?;
                let metadata = &script.metadata;
                // The description knows no plain texts among the bindings of an answer.
                let bindings = metadata["bindings"].as_array().cloned().unwrap_or_default();
                let known = bindings.into_iter().filter(|b| b["type"] != "plain_text");
                Ok(ok(&json!({
                    "bindings": known.collect::<Vec<_>>(),
                    "compatibility_date": metadata["compatibility_date"],
                    "compatibility_flags": [],
                    "logpush": false,
                    "tags": metadata.get("tags").cloned().unwrap_or(json!([])),
                })))
            }
            ("GET", [name]) => {
                let script = state.scripts.get(*name).ok_or_else(missing)?;
                Ok(Answer::bytes(
                    200,
                    "application/javascript+module",
                    script.module.clone().into(),
                ))
            }
            ("PUT", [name]) => {
                let mut parts = form(call)?;
                let metadata: Option<Value> =
                    parts.get("metadata").and_then(|text| serde_json::from_str(text).ok());
                let metadata =
                    metadata.ok_or_else(|| refusal(400, 10_021, "metadata is missing"))?;
                let module = metadata["main_module"].as_str().and_then(|main| parts.remove(main));
                let Some(module) = module.filter(|text| text.contains("export")) else {
                    let message = "No such module, or it exports nothing.";
                    return Err(refusal(400, 10_021, message));
                };
                for binding in metadata["bindings"].as_array().into_iter().flatten() {
                    let id = binding["namespace_id"].as_str();
                    if id.is_some_and(|id| !state.namespaces.contains_key(id)) {
                        return Err(refusal(400, 10_041, "KV namespace not found."));
                    }
                }
                let modified = self.written_now();
                let before = state.scripts.get(*name);
                let created = before.map_or_else(|| modified.clone(), |held| held.created.clone());
                let script = Script { metadata, module, created, modified };
                let mut view = script.short(name);
                view["startup_time_ms"] = 5.into();
                state.scripts.insert((*name).to_owned(), script);
                Ok(ok(&view))
            }
            ("DELETE", [name]) => {
                state.scripts.remove(*name).ok_or_else(missing)?;
                Ok(ok(&Value::Null))
            }
            _ => Err(no_route()),
        }
    }

    pub(super) fn of_routes(&self, call: &Call, rest: &[&str]) -> Result<Answer, Refused> {
        let missing = || refusal(404, 10_009, "workers.api.error.route_not_found");
        let mut state = self.state();
        let asked = || -> Result<(String, String, Option<bool>), Refused> {
            let body = object(call)?;
            let text =
                |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            if text("pattern").is_empty() {
                return Err(refusal(400, 10_022, "workers.api.error.invalid_route_pattern"));
            }
            let open = body.get("request_limit_fail_open").and_then(Value::as_bool);
            Ok((text("pattern"), text("script"), open))
        };
        match (call.method.as_str(), rest) {
            ("GET", []) => Ok(ok(&state.routes.iter().map(Route::view).collect())),
            ("POST", []) => {
                // Only a change is known to take the field.
                let (pattern, script, _) = asked()?;
                if !script.is_empty() && !state.scripts.contains_key(&script) {
                    return Err(refusal(400, 10_019, "workers.api.error.route_script_not_found"));
                }
                if state.routes.iter().any(|route| route.pattern == pattern) {
                    return Err(refusal(
                        409,
                        10_020,
                        "A route with the same pattern already exists.",
                    ));
                }
                let route = Route { id: self.id(), pattern, script, open: false };
                let view = route.view();
                state.routes.push(route);
                Ok(ok(&view))
            }
            ("PUT", [id]) => {
                let (pattern, script, open) = asked()?;
                let route = state.routes.iter_mut().find(|route| route.id == *id);
                let route = route.ok_or_else(missing)?;
                (route.pattern, route.script) = (pattern, script);
                route.open = open.unwrap_or(route.open);
                Ok(ok(&route.view()))
            }
            ("DELETE", [id]) => {
                let at =
                    state.routes.iter().position(|route| route.id == *id).ok_or_else(missing)?;
                state.routes.remove(at);
                Ok(ok(&json!({ "id": id })))
            }
            _ => Err(no_route()),
        }
    }

    pub(super) fn of_values(&self, call: &Call, rest: &[&str]) -> Result<Answer, Refused> {
        let missing = || refusal(404, 10_013, "namespace not found");
        let no_key = || refusal(404, 10_009, "key not found");
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                let rows = self.state().namespaces.values().map(Values::short).collect();
                Ok(page(call, rows, 20))
            }
            ("POST", []) => {
                let title = object(call)?
                    .get("title")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned();
                let mut state = self.state();
                if state.namespaces.values().any(|held| held.title == title) {
                    let message = "a namespace with this account ID and title already exists";
                    return Err(refusal(400, 10_014, message));
                }
                let made = Values { id: self.id(), title, values: BTreeMap::new() };
                let view = made.short();
                state.namespaces.insert(made.id.clone(), made);
                Ok(ok(&view))
            }
            ("GET", [id, "metadata", key]) => {
                let state = self.state();
                let held = state.namespaces.get(*id).ok_or_else(missing)?;
                Ok(ok(&held.values.get(*key).ok_or_else(no_key)?.1))
            }
            ("GET", [id, "values", key]) => {
                let state = self.state();
                let held = state.namespaces.get(*id).ok_or_else(missing)?;
                let (value, _) = held.values.get(*key).ok_or_else(no_key)?;
                Ok(Answer::bytes(200, "application/octet-stream", value.clone().into()))
            }
            ("PUT", [id, "values", key]) => self.write_value(call, id, key),
            _ => Err(no_route()),
        }
    }

    fn write_value(&self, call: &Call, id: &str, key: &str) -> Result<Answer, Refused> {
        let day = self.now().0 / 86_400_000;
        let mut state = self.state();
        if state.written.0 != day {
            state.written = (day, 0);
        }
        if state.written.1 >= WRITES_A_DAY || self.is_out_of_quota() {
            let message =
                "your account has exceeded the free usage limit for this operation for today";
            return Err(refusal(429, 10_048, message));
        }
        if self.limits.take(format!("value {id} {key}"), WRITES).is_err() {
            return Err(
                refusal(429, 10_429, "too many writes to this key").with("retry-after", "1")
            );
        }
        let mut parts = form(call)?;
        let value =
            parts.remove("value").ok_or_else(|| refusal(400, 10_012, "value is missing"))?;
        let beside = parts.get("metadata").and_then(|text| serde_json::from_str(text).ok());
        let held = state.namespaces.get_mut(id);
        let held = held.ok_or_else(|| refusal(404, 10_013, "namespace not found"))?;
        held.values.insert(key.to_owned(), (value, beside.unwrap_or(Value::Null)));
        state.written.1 += 1;
        Ok(ok(&Value::Null))
    }
}
