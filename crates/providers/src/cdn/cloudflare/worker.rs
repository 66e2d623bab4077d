//! The Worker: its module, and the routes that lead requests to it.
//!
//! A script of ours has the tags `linkflow:STACK` and one that says what it was made of, so that it is uploaded only when
//! that changed. Its routes fail open: over the free plan's 100,000 requests a day they go on to what DNS names, which is
//! the edge. The field for it, `request_limit_fail_open`, is not in Cloudflare's published description; its API takes and
//! tells it all the same (cloudflare/cloudflare-go#828), as its own dashboard uses it. Were it ignored one day, the next look would find the
//! route closed and say so.

use http::Method;
use linkflow_model::Fault;
use linkflow_model::role::{Front, FrontChange, Worker};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{CloudflareFront, Due};
use crate::account::cloudflare::ZoneRow;
use crate::kit::{Call, encode};

/// How the module is called in the upload.
const MODULE: &str = "worker.js";

#[derive(Deserialize)]
struct Script {
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Route {
    id: String,
    pattern: String,
    #[serde(default)]
    script: Option<String>,
    #[serde(default)]
    request_limit_fail_open: bool,
}

impl CloudflareFront {
    pub(super) async fn due_worker(&self, row: &ZoneRow, wanted: &Front) -> Result<Vec<Due>, Fault> {
        let mut due = Vec::new();
        if wanted.leaves_worker {
            return Ok(due);
        }
        let script = self.script(row).await?;
        let marker = crate::dns::marker(&self.stack);
        let is_ours = script.as_ref().is_some_and(|script| script.tags.contains(&marker));
        if let Some(worker) = &wanted.worker {
            let what = format!("worker {}", self.worker);
            if script.is_some() && !is_ours {
                let change = FrontChange::new(what, Some("somebody's".into()), Some("ours".into()));
                due.push(Due::told(change.blocked(
                    "somebody else's script has this name: name another one with `worker`",
                )));
                return Ok(due);
            }
            let namespace = self.namespace(row).await?;
            let made_of = made_of(worker, namespace.as_deref());
            let held = script.iter().flat_map(|script| &script.tags).find(|t| t.starts_with("made-of-"));
            if held != Some(&made_of) {
                let change = FrontChange::new(what, held.cloned(), Some(made_of.clone()));
                due.push(match namespace {
                    Some(namespace) => {
                        let call = self.upload(row, worker, &namespace, &[marker, made_of]);
                        Due::new(change, call)
                    }
                    None => Due::told(change),
                });
            }
        }
        let patterns = wanted.worker.as_ref().map(|w| w.routes.as_slice()).unwrap_or_default();
        if is_ours || wanted.worker.is_some() {
            due.extend(self.due_routes(row, patterns).await?);
        }
        Ok(due)
    }

    fn script_path(&self, row: &ZoneRow) -> String {
        format!(
            "/accounts/{}/workers/scripts/{}",
            encode(self.api.account(row)),
            encode(&self.worker)
        )
    }

    async fn script(&self, row: &ZoneRow) -> Result<Option<Script>, Fault> {
        let path = format!("{}/settings", self.script_path(row));
        self.api.find(Call::read("read the worker", &self.worker, path)).await
    }

    fn upload(&self, row: &ZoneRow, worker: &Worker, namespace: &str, tags: &[String]) -> Call {
        let mut bindings = vec![
            json!({ "type": "kv_namespace", "name": worker.values, "namespace_id": namespace }),
        ];
        bindings.extend(worker.variables.iter().map(|(name, text)| {
            json!({ "type": "plain_text", "name": name, "text": text })
        }));
        let metadata = json!({
            "main_module": MODULE,
            "compatibility_date": worker.compatibility,
            "bindings": bindings,
            "tags": tags,
        });
        let parts = [
            ("metadata", None, "application/json", metadata.to_string()),
            (MODULE, Some(MODULE), "application/javascript+module", worker.module.clone()),
        ];
        let (kind, body) = multipart(&parts);
        Call::write(Method::PUT, "upload the worker", &self.worker, self.script_path(row))
            .bytes(kind, body)
    }

    async fn due_routes(&self, row: &ZoneRow, patterns: &[String]) -> Result<Vec<Due>, Fault> {
        let path = format!("/zones/{}/workers/routes", row.id);
        let held: Vec<Route> =
            self.api.send_for(Call::read("list the routes of", &row.name, path.clone())).await?;
        let mut due = Vec::new();
        for pattern in patterns {
            let what = format!("route {pattern}");
            let body = json!({ "pattern": pattern, "script": self.worker, "request_limit_fail_open": true });
            let to = Some(format!("{}, fails open", self.worker));
            match held.iter().find(|route| route.pattern == *pattern) {
                None => {
                    let call = Call::write(Method::POST, "add the route", pattern, &path);
                    due.push(Due::new(FrontChange::new(what, None, to), call.json(body)));
                }
                Some(route) if route.script.as_ref() != Some(&self.worker) => {
                    let from = Some(route.script.clone().unwrap_or_else(|| "no worker".into()));
                    let change = FrontChange::new(what, from, to);
                    due.push(Due::told(change.blocked("somebody else's route has this pattern")));
                }
                Some(route) if !route.request_limit_fail_open => {
                    let path = format!("{path}/{}", route.id);
                    let call = Call::write(Method::PUT, "change the route", pattern, path);
                    let from = Some(format!("{}, fails closed", self.worker));
                    due.push(Due::new(FrontChange::new(what, from, to), call.json(body)));
                }
                Some(_) => {}
            }
        }
        let is_ours = |route: &&Route| route.script.as_ref() == Some(&self.worker);
        for route in held.iter().filter(is_ours).filter(|r| !patterns.contains(&r.pattern)) {
            let path = format!("{path}/{}", route.id);
            let call = Call::write(Method::DELETE, "remove the route", &route.pattern, path);
            let what = format!("route {}", route.pattern);
            let change = FrontChange::new(what, Some(self.worker.clone()), None);
            // The description asks for a body.
            due.push(Due::new(change, call.json(json!({}))));
        }
        Ok(due)
    }
}

/// A tag that differs when the script would.
fn made_of(worker: &Worker, namespace: Option<&str>) -> String {
    let Worker { module, compatibility, variables, values, routes: _ } = worker;
    let all = json!([module, compatibility, variables, values, namespace]).to_string();
    let hash = Sha256::digest(all.as_bytes());
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("made-of-{hex}")
}

/// A form of parts (name, file name, media type, text) and its media type. Its boundary stands in none of them.
pub(super) fn multipart(parts: &[(&str, Option<&str>, &str, String)]) -> (String, Vec<u8>) {
    let mut boundary = "linkflow".to_owned();
    while parts.iter().any(|(.., text)| text.contains(&boundary)) {
        boundary.push('x');
    }
    let mut body = String::new();
    for (name, file, kind, text) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        body += &format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n");
        if !kind.is_empty() {
            body += &format!("Content-Type: {kind}\r\n");
        }
        body += &format!("\r\n{text}\r\n");
    }
    body += &format!("--{boundary}--\r\n");
    (format!("multipart/form-data; boundary={boundary}"), body.into_bytes())
}

/// What a look needs of a namespace or a list: nothing but ids and titles.
#[derive(Deserialize)]
pub(super) struct Namespace {
    pub(super) id: String,
    pub(super) title: String,
}

