//! Apps, and what belongs to an app as a whole: secrets and addresses.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::certificate::Certificate;
use super::machine::Machine;
use super::{Fly, ORGANISATION, Refused, object, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::log::Log;

/// One app.
pub(super) struct App {
    pub(super) name: String,
    id: String,
    network: String,
    pub(super) secrets: BTreeMap<String, Secret>,
    /// Grows with each change of the secrets.
    pub(super) secrets_version: u64,
    pub(super) addresses: Vec<Value>,
    /// By host name.
    pub(super) certificates: BTreeMap<String, Certificate>,
    pub(super) machines: BTreeMap<String, Arc<Machine>>,
    pub(super) log: Arc<Log>,
}

/// One secret.
pub(super) struct Secret {
    pub(super) value: String,
    created: String,
    updated: String,
}

impl App {
    fn view(&self) -> Value {
        let living = self.machines.values().filter(|m| !m.is_destroyed()).count();
        json!({
            "id": self.id,
            "name": self.name,
            "status": if living == 0 { "pending" } else { "deployed" },
            "machine_count": living,
            "volume_count": 0,
            "network": self.network,
            "organization": { "name": "Rehearsal", "slug": ORGANISATION },
        })
    }

    fn secret_view(&self, name: &str, shown: bool) -> Option<Value> {
        let secret = self.secrets.get(name)?;
        let sum = Sha256::digest(secret.value.as_bytes());
        let digest: String = sum.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let mut view = json!({ "name": name, "digest": digest, "created_at": secret.created, "updated_at": secret.updated });
        if shown {
            view["value"] = json!(secret.value);
        }
        Some(view)
    }

    fn secret_views(&self, shown: bool) -> Vec<Value> {
        self.secrets.keys().filter_map(|name| self.secret_view(name, shown)).collect()
    }

    /// Sets or removes secrets.
    fn change_secrets(&mut self, values: &Map<String, Value>, now: &str) {
        for (name, value) in values {
            match value.as_str() {
                Some(text) => {
                    let created = self
                        .secrets
                        .get(name)
                        .map_or_else(|| now.to_owned(), |s| s.created.clone());
                    let secret =
                        Secret { value: text.to_owned(), created, updated: now.to_owned() };
                    self.secrets.insert(name.clone(), secret);
                }
                None => drop(self.secrets.remove(name)),
            }
        }
        self.secrets_version += 1;
    }
}

impl Fly {
    /// Answers a call below `/apps`, but for machines.
    pub(super) fn of_apps(
        self: &Arc<Self>,
        call: &Call,
        parts: &[&str],
    ) -> Result<Answer, Refused> {
        let writes = call.method != http::Method::GET;
        if writes && call.method != http::Method::DELETE && self.site.is_out_of_quota(None) {
            return Err(unpaid());
        }
        match (call.method.as_str(), parts) {
            ("GET", []) => self.list_apps(call),
            ("POST", []) => self.create_app(call),
            ("GET", [app]) => self.with_app(app, |app| Answer::json(200, &app.view())),
            ("DELETE", [app]) => self.delete_app(app),
            ("POST", [app, "deploy_token"]) => {
                let token = json!({ "token": self.site.token });
                self.with_app(app, |_| Answer::json(200, &token))
            }
            (_, [app, "secrets", rest @ ..]) => self.of_secrets(call, app, rest),
            (_, [app, "ip_assignments", rest @ ..]) => self.of_addresses(call, app, rest),
            (_, [app, "certificates", rest @ ..]) => self.of_certificates(call, app, rest),
            ("GET", [app, "volumes"]) => self.with_app(app, |_| Answer::json(200, &json!([]))),
            _ => Err(refusal(404, "not found")),
        }
    }

    fn list_apps(&self, call: &Call) -> Result<Answer, Refused> {
        match call.parameter("org_slug") {
            None => Err(refusal(400, "invalid_argument: org_slug is required")),
            Some(ORGANISATION) => {
                let apps: Vec<Value> = self.apps().values().map(App::view).collect();
                Ok(Answer::json(200, &json!({ "total_apps": apps.len(), "apps": apps })))
            }
            Some(_) => Err(refusal(404, "organization not found")),
        }
    }

    fn create_app(&self, call: &Call) -> Result<Answer, Refused> {
        let body = object(call)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let name = text("name").or_else(|| text("app_name")).unwrap_or_default();
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(fits) {
            return Err(refusal(
                422,
                "Validation failed: Name may only contain letters, numbers and hyphens",
            ));
        }
        if text("org_slug") != Some(ORGANISATION) {
            return Err(refusal(404, "organization not found"));
        }
        let mut apps = self.apps();
        if apps.contains_key(name) {
            return Err(refusal(422, "Validation failed: Name has already been taken"));
        }
        let id = self.site.dice.letters("0123456789abcdefghijklmnopqrstuvwxyz", 15);
        let answer = json!({ "id": id, "created_at": self.site.clock.wall().0 });
        let app = App {
            name: name.to_owned(),
            id,
            network: text("network").unwrap_or("default").to_owned(),
            secrets: BTreeMap::new(),
            secrets_version: 0,
            addresses: Vec::new(),
            certificates: BTreeMap::new(),
            machines: BTreeMap::new(),
            log: self.site.log(name),
        };
        apps.insert(name.to_owned(), app);
        Ok(Answer::json(201, &answer))
    }

    fn delete_app(&self, name: &str) -> Result<Answer, Refused> {
        let gone = self.apps().remove(name);
        let gone = gone.ok_or_else(|| refusal(404, "app not found"))?;
        gone.machines.values().for_each(|machine| machine.destroy(&self.site));
        self.registry.drop_repository(name);
        Ok(Answer::empty(202))
    }

    fn of_secrets(&self, call: &Call, app: &str, rest: &[&str]) -> Result<Answer, Refused> {
        let shown = call.parameter("show_secrets") == Some("true");
        let now = self.site.now();
        match (call.method.as_str(), rest) {
            ("GET", []) => self.with_app(app, |app| {
                Answer::json(200, &json!({ "secrets": app.secret_views(shown) }))
            }),
            ("POST", []) => {
                let body = object(call)?;
                let values = body.get("values").and_then(Value::as_object).cloned();
                let values =
                    values.ok_or_else(|| refusal(400, "invalid_argument: values is required"))?;
                self.with_app(app, |app| {
                    app.change_secrets(&values, &now);
                    let version = app.secrets_version;
                    let answer = json!({ "secrets": app.secret_views(false), "version": version, "Version": version });
                    Answer::json(200, &answer)
                })
            }
            ("GET", [name]) => {
                let found = self.with_app(app, |app| app.secret_view(name, shown))?;
                found
                    .map(|view| Answer::json(200, &view))
                    .ok_or_else(|| refusal(404, "secret not found"))
            }
            ("POST", [name]) => {
                let body = object(call)?;
                let value = body.get("value").and_then(Value::as_str);
                let value =
                    value.ok_or_else(|| refusal(400, "invalid_argument: value is required"))?;
                let values = Map::from_iter([((*name).to_owned(), json!(value))]);
                self.with_app(app, |app| {
                    app.change_secrets(&values, &now);
                    let mut view = app.secret_view(name, false).unwrap_or_default();
                    view["version"] = json!(app.secrets_version);
                    Answer::json(201, &view)
                })
            }
            ("DELETE", [name]) => {
                let values = Map::from_iter([((*name).to_owned(), Value::Null)]);
                self.with_app(app, |app| {
                    app.change_secrets(&values, &now);
                    Answer::json(200, &json!({ "version": app.secrets_version }))
                })
            }
            _ => Err(refusal(404, "not found")),
        }
    }

    fn of_addresses(&self, call: &Call, app: &str, rest: &[&str]) -> Result<Answer, Refused> {
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                self.with_app(app, |app| Answer::json(200, &json!({ "ips": app.addresses })))
            }
            ("POST", []) => {
                let body = object(call)?;
                let kind = body.get("type").and_then(Value::as_str).unwrap_or("v6");
                let (ip, shared) = match kind {
                    "shared_v4" => ("66.241.124.10".to_owned(), true),
                    "v4" => (
                        format!(
                            "137.66.{}.{}",
                            self.site.dice.between(1, 254),
                            self.site.dice.between(1, 254)
                        ),
                        false,
                    ),
                    "v6" | "private_v6" => (
                        format!("2a09:8280:1::{}:{}", self.site.dice.hex(4), self.site.dice.hex(4)),
                        false,
                    ),
                    other => {
                        return Err(refusal(
                            400,
                            &format!("invalid_argument: unknown address type {other}"),
                        ));
                    }
                };
                let row = json!({ "ip": ip, "region": "global", "shared": shared, "created_at": self.site.now() });
                self.with_app(app, |app| {
                    if !app.addresses.iter().any(|held| held["ip"] == row["ip"]) {
                        app.addresses.push(row.clone());
                    }
                    Answer::json(200, &row)
                })
            }
            ("DELETE", [ip]) => self.with_app(app, |app| {
                app.addresses.retain(|held| held["ip"] != *ip);
                Answer::empty(204)
            }),
            _ => Err(refusal(404, "not found")),
        }
    }
}

/// What the vendor says when the trial is over and there is no way to be paid. The words are the vendor's; the status
/// of this refusal is published nowhere.
pub(super) fn unpaid() -> Refused {
    refusal(403, "trial has ended, please add a credit card by visiting https://fly.io/trial")
}
