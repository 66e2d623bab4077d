//! Names of the stack's own domain: Fly gets and renews the certificates itself.

use http::Method;
use linkflow_model::role::{DnsRecord, DomainState};
use linkflow_model::{Fault, FaultKind, ServiceName};
use serde::Deserialize;
use serde_json::json;

use super::Fly;
use crate::kit::{Call, encode};

/// A certificate, as the API tells of it and as its check does.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Certificate {
    configured: bool,
    status: String,
    certificates: Vec<Entry>,
    dns_requirements: Option<Requirements>,
    validation_errors: Vec<ValidationError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requirements {
    a: Vec<String>,
    aaaa: Vec<String>,
    cname: String,
    acme_challenge: Option<Challenge>,
    ownership: Option<Ownership>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Challenge {
    name: String,
    target: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ownership {
    name: String,
    app_value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ValidationError {
    message: String,
}

impl Fly {
    /// How `host` stands; one that does not serve yet is checked anew by Fly.
    pub(super) async fn domain_state(
        &self,
        service: &ServiceName,
        host: &str,
    ) -> Result<DomainState, Fault> {
        let app = self.app(service)?;
        let path = path(&app, host);
        let call = Call::read("read the certificate of", host, path.clone());
        let held: Certificate = match self.api.send_for(call).await {
            Ok(held) => held,
            Err(fault) if fault.kind == FaultKind::Missing => return Ok(DomainState::Absent),
            Err(fault) => return Err(fault),
        };
        if held.is_ready() {
            return Ok(DomainState::Ready);
        }
        let call = Call::write(Method::POST, "check the domain", host, format!("{path}/check"));
        let checked: Certificate = self.api.send_for(call.as_read()).await?;
        Ok(checked.state(host))
    }

    /// Has `host` lead to `service`.
    pub(super) async fn have_domain(
        &self,
        service: &ServiceName,
        host: &str,
    ) -> Result<DomainState, Fault> {
        self.deployed(service).await?;
        match self.domain_state(service, host).await? {
            DomainState::Absent => {}
            state => return Ok(state),
        }
        let app = self.app(service)?;
        let acme = format!("/apps/{}/certificates/acme", encode(&app));
        let call = Call::write(Method::POST, "ask for a certificate for", host, acme);
        let made: Certificate = self.api.send_for(call.json(json!({ "hostname": host }))).await?;
        Ok(made.state(host))
    }

    /// Has `host` not lead to `service`.
    pub(super) async fn have_no_domain(
        &self,
        service: &ServiceName,
        host: &str,
    ) -> Result<(), Fault> {
        let app = self.app(service)?;
        // Where there is nothing of ours there is no domain of ours.
        if self.our_machines(service).await?.is_none_or(|machines| machines.is_empty()) {
            return Ok(());
        }
        let call = Call::write(Method::DELETE, "remove the certificate of", host, path(&app, host));
        match self.api.send(call).await {
            Err(fault) if fault.kind != FaultKind::Missing => Err(fault),
            _ => Ok(()),
        }
    }
}

fn path(app: &str, host: &str) -> String {
    format!("/apps/{}/certificates/{}", encode(app), encode(host))
}

impl Certificate {
    fn is_ready(&self) -> bool {
        let active = |status: &str| status.eq_ignore_ascii_case("active");
        let issued = active(&self.status) || self.certificates.iter().any(|c| active(&c.status));
        self.configured && issued
    }

    fn state(self, host: &str) -> DomainState {
        if self.is_ready() {
            return DomainState::Ready;
        }
        let why = self.validation_errors.into_iter().next().map(|error| error.message);
        let said = why.filter(|why| !why.is_empty()).unwrap_or(self.status);
        let records = self.dns_requirements.map(|due| due.records(host)).unwrap_or_default();
        DomainState::Waiting { said, records }
    }
}

impl Requirements {
    /// What DNS has to say. A name below the domain gets a `CNAME`; the domain itself cannot have one.
    fn records(self, host: &str) -> Vec<DnsRecord> {
        let record = |name: &str, kind: &str, value: &str| DnsRecord {
            name: name.trim_end_matches('.').to_owned(),
            kind: kind.to_owned(),
            value: value.trim_end_matches('.').to_owned(),
        };
        let mut records = Vec::new();
        if !self.cname.is_empty() && host.split('.').count() > 2 {
            records.push(record(host, "CNAME", &self.cname));
        } else {
            records.extend(self.a.iter().map(|address| record(host, "A", address)));
            records.extend(self.aaaa.iter().map(|address| record(host, "AAAA", address)));
        }
        if let Some(own) = self.ownership.filter(|own| !own.app_value.is_empty()) {
            records.push(record(&own.name, "TXT", &own.app_value));
        }
        if let Some(challenge) = self.acme_challenge.filter(|c| !c.target.is_empty()) {
            records.push(record(&challenge.name, "CNAME", &challenge.target));
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(host: &str) -> String {
        let due = json!({
            "a": ["66.241.124.10"], "aaaa": ["2a09::1"], "cname": "x1.linkflow-api.fly.dev.",
            "acme_challenge": { "name": "_acme-challenge.x", "target": "x.flydns.net." },
            "ownership": { "name": "_fly-ownership.x", "app_value": "app-1" },
        });
        let due: Requirements = serde_json::from_value(due).unwrap();
        let lines = due.records(host).into_iter().map(|r| format!("{} {}", r.kind, r.value));
        lines.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn only_a_name_below_the_domain_can_have_a_cname() {
        let below = "CNAME x1.linkflow-api.fly.dev, TXT app-1, CNAME x.flydns.net";
        assert_eq!(records("app.example.com"), below);
        let itself = "A 66.241.124.10, AAAA 2a09::1, TXT app-1, CNAME x.flydns.net";
        assert_eq!(records("example.com"), itself);
    }
}
