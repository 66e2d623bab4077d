//! Names of the stack's own domain: bound to an app, with a certificate that Azure manages.

use http::Method;
use linkflow_model::role::{DnsRecord, DomainState};
use linkflow_model::{Fault, ServiceName};
use serde_json::{Value, json};

use super::Azure;
use super::arm::absent;
use super::template::{hash, slug};
use super::wire::{Resource, SERVICE, STACK};
use crate::kit::{Call, encode};

impl Azure {
    fn certificates_path(&self, tail: &str) -> String {
        let environment = encode(&self.settings.environment);
        self.path(&format!("managedEnvironments/{environment}/managedCertificates{tail}"))
    }

    fn certificate_path(&self, host: &str) -> String {
        self.certificates_path(&format!("/{}", certificate_name(host)))
    }

    async fn certificate(&self, host: &str) -> Result<Option<Resource>, Fault> {
        self.find(Call::read("read the certificate of", host, self.certificate_path(host))).await
    }

    /// How `host` stands as a name of `service`.
    pub(super) async fn domain_state(
        &self,
        service: &ServiceName,
        host: &str,
    ) -> Result<DomainState, Fault> {
        let app = self.deployed(service).await?;
        if binding(&app, host).is_none() {
            return Ok(DomainState::Absent);
        }
        self.bound_state(&app, host).await
    }

    /// Binds `host` to `service`, once DNS proves that it may, and has a certificate made for it.
    pub(super) async fn bind(
        &self,
        service: &ServiceName,
        host: &str,
    ) -> Result<DomainState, Fault> {
        let app = self.deployed(service).await?;
        if binding(&app, host).is_none() {
            if let Some(said) = self.unproven(&app, host).await? {
                let records = self.records(&app, host).await?;
                return Ok(DomainState::Waiting { said, records });
            }
            // The certificate is bound as soon as it is there.
            let mut domains = app.list("/configuration/ingress/customDomains").to_vec();
            domains.push(json!({ "name": host, "bindingType": "Auto" }));
            self.set_domains(&app, &domains).await?;
            self.settled_app(&app.name).await?;
        }
        if self.certificate(host).await?.is_none() {
            let validation = if is_apex(host) { "HTTP" } else { "CNAME" };
            let body = json!({
                "location": app.location,
                "tags": { STACK: self.stack.as_str(), SERVICE: service.as_str() },
                "properties": { "subjectName": host, "domainControlValidation": validation },
            });
            let path = self.certificate_path(host);
            self.send(Call::write(Method::PUT, "ask for a certificate of", host, path).json(body))
                .await?;
        }
        let app = self.deployed(service).await?;
        self.bound_state(&app, host).await
    }

    /// Takes `host` away from `service`, and the certificate when it is ours.
    pub(super) async fn unbind(&self, service: &ServiceName, host: &str) -> Result<(), Fault> {
        let app = self.deployed(service).await?;
        if binding(&app, host).is_some() {
            let all = app.list("/configuration/ingress/customDomains");
            let kept: Vec<Value> =
                all.iter().filter(|entry| entry["name"] != host).cloned().collect();
            self.set_domains(&app, &kept).await?;
            self.settled_app(&app.name).await?;
        }
        match self.certificate(host).await? {
            Some(certificate) if self.is_our_certificate(&certificate, service) => {
                self.delete_certificate(&certificate.name).await
            }
            _ => Ok(()),
        }
    }

    /// Deletes the certificates of the domains that `app` had.
    pub(super) async fn forget_certificates(&self, app: &Resource) -> Result<(), Fault> {
        for entry in app.list("/configuration/ingress/customDomains") {
            let Some(host) = entry["name"].as_str() else { continue };
            let Some(certificate) = self.certificate(host).await? else { continue };
            let is_ours = certificate.tag(STACK) == Some(self.stack.as_str());
            if is_ours && certificate.tag(SERVICE) == app.tag(SERVICE) {
                self.delete_certificate(&certificate.name).await?;
            }
        }
        Ok(())
    }

    fn is_our_certificate(&self, certificate: &Resource, service: &ServiceName) -> bool {
        certificate.tag(STACK) == Some(self.stack.as_str())
            && certificate.tag(SERVICE) == Some(service.as_str())
    }

    async fn delete_certificate(&self, name: &str) -> Result<(), Fault> {
        let path = self.certificates_path(&format!("/{}", encode(name)));
        let call = Call::write(Method::DELETE, "delete certificate", name, path);
        absent(self.send(call).await).map(drop)
    }

    async fn set_domains(&self, app: &Resource, domains: &[Value]) -> Result<(), Fault> {
        let ingress = json!({ "ingress": { "customDomains": domains } });
        let body = json!({ "location": app.location, "properties": { "configuration": ingress } });
        let path = self.app_path(&app.name, "");
        let call = Call::write(Method::PATCH, "set the domains of", &app.name, path);
        self.send(call.json(body)).await.map(drop)
    }

    async fn bound_state(&self, app: &Resource, host: &str) -> Result<DomainState, Fault> {
        let binding = binding(app, host).cloned().unwrap_or_default();
        let has_certificate = binding["certificateId"].as_str().is_some_and(|id| !id.is_empty());
        if has_certificate && binding["bindingType"] != "Disabled" {
            return Ok(DomainState::Ready);
        }
        let certificate = self.certificate(host).await?;
        let state = certificate.as_ref().map_or("", |c| c.text("/provisioningState"));
        let error = certificate.as_ref().map_or("", |c| c.text("/error"));
        let said = match (state, error) {
            ("", _) => "no certificate was asked for yet".to_owned(),
            (state, "") => format!("certificate: {state}"),
            (state, error) => format!("certificate: {state}: {error}"),
        };
        Ok(DomainState::Waiting { said, records: self.records(app, host).await? })
    }

    /// Why DNS does not prove yet that `host` is ours; `None`: it does.
    async fn unproven(&self, app: &Resource, host: &str) -> Result<Option<String>, Fault> {
        let path = self.app_path(&app.name, "/listCustomHostNameAnalysis");
        let call = Call::write(Method::POST, "ask about a domain of", &app.name, path).as_read();
        let told: Value = self.send_for(call.query("customHostname", host)).await?;
        if told["customDomainVerificationTest"] != "Failed" {
            return Ok(None);
        }
        let why =
            told.pointer("/customDomainVerificationFailureInfo/message").and_then(Value::as_str);
        Ok(Some(why.unwrap_or("the domain is not verified").to_owned()))
    }

    /// What DNS has to say: where the name leads, and whose it is.
    async fn records(&self, app: &Resource, host: &str) -> Result<Vec<DnsRecord>, Fault> {
        let mut records = Vec::new();
        let mut add = |name: String, kind: &str, value: &str| {
            if !value.is_empty() {
                records.push(DnsRecord { name, kind: kind.to_owned(), value: value.to_owned() });
            }
        };
        if is_apex(host) {
            // At the top of a domain there can be no CNAME.
            let name = &self.settings.environment;
            let path = self.path(&format!("managedEnvironments/{}", encode(name)));
            let found = self.find::<Resource>(Call::read("read environment", name, path)).await?;
            add(host.to_owned(), "A", found.as_ref().map_or("", |e| e.text("/staticIp")));
        } else {
            add(host.to_owned(), "CNAME", app.text("/configuration/ingress/fqdn"));
        }
        add(format!("asuid.{host}"), "TXT", app.text("/customDomainVerificationId"));
        Ok(records)
    }
}

/// How `host` is bound to `app`.
fn binding<'a>(app: &'a Resource, host: &str) -> Option<&'a Value> {
    app.list("/configuration/ingress/customDomains").iter().find(|entry| entry["name"] == host)
}

/// Whether `host` is most likely the top of a domain. Where a name like `a.co.uk` is taken for none, its CNAME is told.
fn is_apex(host: &str) -> bool {
    host.split('.').count() <= 2
}

fn certificate_name(host: &str) -> String {
    let short: String = slug(host).chars().take(40).collect();
    format!("linkflow-{short}-{}", hash(&[host], 8))
}
