//! Certificates that the vendor manages, for the names that apps are bound to.

use std::sync::Arc;

use serde_json::{Value, json};

use super::shape::{list, text};
use super::{Azure, Refused, id_of, not_found, object, refusal};
use crate::cloud::answer::{Answer, Call};

/// Whether DNS has the records that prove whose `host` is. Here it has, but for names that never resolve (RFC 2606).
pub(super) fn is_in_dns(host: &str) -> bool {
    host.contains('.') && !host.ends_with(".invalid")
}

impl Azure {
    /// Answers a call below `managedCertificates`.
    pub(super) fn of_certificates(
        self: &Arc<Self>,
        call: &Call,
        environment: &str,
        parts: &[&str],
    ) -> Result<Answer, Refused> {
        self.environment_domain(environment)?;
        let key = environment.to_lowercase();
        match (call.method.as_str(), parts) {
            ("GET", []) => {
                let rows: Vec<Value> =
                    self.certificates(&key, |all| all.values().cloned().collect());
                Ok(Answer::json(200, &json!({ "value": rows })))
            }
            ("GET", [name]) => {
                let found = self.certificates(&key, |all| all.get(*name).cloned());
                found
                    .map(|row| Answer::json(200, &row))
                    .ok_or_else(|| not_found("managedCertificates", name))
            }
            ("PUT", [name]) => self.put_certificate(call, environment, name),
            ("DELETE", [name]) => self.delete_certificate(&key, name),
            _ => Err(refusal(404, "NotFound", "not found")),
        }
    }

    fn certificates<T: Default>(
        &self,
        environment: &str,
        work: impl FnOnce(&mut std::collections::BTreeMap<String, Value>) -> T,
    ) -> T {
        let mut state = self.state();
        state
            .environments
            .get_mut(environment)
            .map(|e| work(&mut e.certificates))
            .unwrap_or_default()
    }

    fn put_certificate(
        self: &Arc<Self>,
        call: &Call,
        environment: &str,
        name: &str,
    ) -> Result<Answer, Refused> {
        let body = Value::Object(object(call)?);
        let host = text(&body, "/properties/subjectName").to_owned();
        let binds = |app: &Arc<super::app::App>| {
            let inner = app.lock();
            list(&inner.configuration, "/ingress/customDomains")
                .iter()
                .any(|d| text(d, "/name") == host)
        };
        if !self.state().apps.values().any(binds) {
            let why = format!(
                "Creating managed certificate requires hostname '{host}' added as a custom hostname to a container app in environment '{environment}'"
            );
            return Err(refusal(400, "RequireCustomHostnameInEnvironment", &why));
        }
        let id = id_of(&format!("managedEnvironments/{environment}/managedCertificates/{name}"));
        let mut row = json!({
            "id": id, "name": name, "type": "Microsoft.App/managedEnvironments/managedCertificates",
            "location": text(&body, "/location"),
            "tags": body.get("tags").cloned().unwrap_or_else(|| json!({})),
            "properties": {
                "provisioningState": "Pending", "subjectName": host,
                "domainControlValidation": body.pointer("/properties/domainControlValidation").cloned().unwrap_or_else(|| json!("CNAME")),
            },
        });
        let key = environment.to_lowercase();
        self.certificates(&key, |all| all.insert(name.to_owned(), row.clone()));
        let (azure, name, told) = (Arc::clone(self), name.to_owned(), row.clone());
        self.site.tasks.start(async move {
            azure.site.dawdle(150, 300).await;
            row["properties"]["provisioningState"] = json!("Succeeded");
            azure.certificates(&key, |all| all.insert(name, row));
            azure.bind(&host, &id);
        });
        Ok(super::accepted(call, 201, Some(&told), &self.site.dice.uuid()))
    }

    /// Has the apps that wait for a certificate of `host` use it.
    fn bind(&self, host: &str, certificate: &str) {
        for app in self.state().apps.values() {
            let mut inner = app.lock();
            let domains = inner.configuration.pointer_mut("/ingress/customDomains");
            for domain in domains.and_then(Value::as_array_mut).into_iter().flatten() {
                if domain["name"] == host && domain["bindingType"] == "Auto" {
                    domain["certificateId"] = json!(certificate);
                }
            }
        }
    }

    fn delete_certificate(&self, environment: &str, name: &str) -> Result<Answer, Refused> {
        let id = self
            .certificates(environment, |all| all.get(name).map(|row| text(row, "/id").to_owned()));
        let Some(id) = id else { return Ok(Answer::empty(204)) };
        let uses = |app: &Arc<super::app::App>| {
            let inner = app.lock();
            list(&inner.configuration, "/ingress/customDomains")
                .iter()
                .any(|d| d["certificateId"] == id.as_str())
        };
        if self.state().apps.values().any(uses) {
            let why = format!("The certificate '{name}' is used by a container app.");
            return Err(refusal(400, "CertificateInUse", &why));
        }
        self.certificates(environment, |all| all.remove(name));
        Ok(Answer::empty(200))
    }
}
