//! Names of the stack's own domain: at Koyeb they belong to the app.

use http::Method;
use linkflow_model::role::{DnsRecord, DomainState};
use linkflow_model::{Fault, FaultKind, ServiceName};
use serde_json::json;

use super::Koyeb;
use super::place::Found;
use super::wire::{Domain, DomainAnswer};
use crate::kit::{Call, encode};

impl Koyeb {
    /// How `host` stands as a name of `service`.
    pub(super) async fn domain_state(
        &self,
        service: &ServiceName,
        host: &str,
    ) -> Result<DomainState, Fault> {
        let Some(domain) = self.custom_domain(host).await? else { return Ok(DomainState::Absent) };
        match self.find(service).await? {
            Found::Ours(place) if place.app.id == domain.app_id => Ok(state(&domain)),
            _ => Ok(DomainState::Absent),
        }
    }

    /// Has `host` lead to `service`.
    pub(super) async fn have_domain(
        &self,
        service: &ServiceName,
        host: &str,
    ) -> Result<DomainState, Fault> {
        let place = self.deployed(service).await?;
        let Some(domain) = self.custom_domain(host).await? else {
            let body = json!({ "name": host, "type": "CUSTOM", "app_id": place.app.id });
            let call = Call::write(Method::POST, "create domain", host, "/v1/domains").json(body);
            let made: DomainAnswer = self.send_for(call).await?;
            return Ok(state(&made.domain));
        };
        if domain.app_id != place.app.id {
            let said = "the organization has that domain already, for another app or for none: delete it there";
            return Err(self.api.fault(FaultKind::Invalid, format!("create domain {host}"), said));
        }
        if domain.status != "ACTIVE" {
            // The vendor looks at DNS again.
            let path = format!("/v1/domains/{}/refresh", encode(&domain.id));
            self.send(Call::write(Method::POST, "refresh domain", host, path)).await?;
        }
        Ok(state(&domain))
    }

    /// Takes `host` away from `service`.
    pub(super) async fn drop_domain(&self, service: &ServiceName, host: &str) -> Result<(), Fault> {
        let Some(domain) = self.custom_domain(host).await? else { return Ok(()) };
        match self.find(service).await? {
            Found::Ours(place) if place.app.id == domain.app_id => {
                let path = format!("/v1/domains/{}", encode(&domain.id));
                self.gone(Call::write(Method::DELETE, "delete domain", host, path)).await
            }
            _ => Ok(()),
        }
    }

    async fn custom_domain(&self, host: &str) -> Result<Option<Domain>, Fault> {
        let filters = [("types", "CUSTOM"), ("name", host)];
        let all: Vec<Domain> = self.list("domains", "/v1/domains", &filters).await?;
        let is_there =
            |d: &Domain| d.name == host && !matches!(d.status.as_str(), "DELETING" | "DELETED");
        Ok(all.into_iter().find(is_there))
    }
}

fn state(domain: &Domain) -> DomainState {
    if domain.status == "ACTIVE" {
        return DomainState::Ready;
    }
    let told = domain.messages.iter().map(String::as_str);
    let said = std::iter::once(domain.status.as_str()).chain(told).collect::<Vec<_>>().join(": ");
    let target = Some(domain.intended_cname.trim_end_matches('.')).filter(|t| !t.is_empty());
    let record = target.map(|target| DnsRecord {
        name: domain.name.clone(),
        kind: "CNAME".to_owned(),
        value: target.to_owned(),
    });
    DomainState::Waiting { said, records: record.into_iter().collect() }
}
