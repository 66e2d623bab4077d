//! Names of the stack's own domain.

use http::Method;
use linkflow_model::role::{DnsRecord, DomainState};
use linkflow_model::{Fault, FaultKind};
use serde_json::json;

use super::request::CHANGE;
use super::wire::{CustomDomain, Service};
use super::{ACCOUNT, Render};
use crate::kit::{Call, encode};

/// Where a domain without a subdomain has to point (docs: configure-other-dns).
const APEX: &str = "216.24.57.1";

impl Render {
    /// How `host` stands.
    pub(super) async fn domain_state(
        &self,
        service: &Service,
        host: &str,
    ) -> Result<DomainState, Fault> {
        let held = self.custom_domain(service, host).await?;
        Ok(held.map_or(DomainState::Absent, |held| state(service, &held)))
    }

    /// Has `host` lead to `service`; one that waits for DNS is checked again now.
    pub(super) async fn have_domain(
        &self,
        service: &Service,
        host: &str,
    ) -> Result<DomainState, Fault> {
        if !service.is_web() {
            let said = "it is a background worker, which no name can lead to";
            return Err(self.unsupported(format!("have {host} lead to {}", service.name), said));
        }
        match self.custom_domain(service, host).await? {
            None => {
                let path = format!("/services/{}/custom-domains", encode(&service.id));
                let call = Call::write(Method::POST, CHANGE, format!("domain {host}"), path)
                    .counted_for(ACCOUNT)
                    .json(json!({ "name": host }));
                // The answer lists the other form of the name too, `www.…`, which leads on to this one.
                let made: Vec<CustomDomain> = self.api.send_for(call).await?;
                let own = made.iter().find(|row| row.name == host);
                Ok(own.map_or(DomainState::Absent, |held| state(service, held)))
            }
            Some(held) => {
                let stands = state(service, &held);
                if stands != DomainState::Ready {
                    let call = to_domain(Method::POST, service, host, "/verify");
                    self.api.send(call).await?;
                }
                Ok(stands)
            }
        }
    }

    /// Takes `host` away.
    pub(super) async fn drop_domain(&self, service: &Service, host: &str) -> Result<(), Fault> {
        if self.custom_domain(service, host).await?.is_none() {
            return Ok(());
        }
        match self.api.send(to_domain(Method::DELETE, service, host, "")).await {
            Err(fault) if fault.kind != FaultKind::Missing => Err(fault),
            _ => Ok(()),
        }
    }

    async fn custom_domain(
        &self,
        service: &Service,
        host: &str,
    ) -> Result<Option<CustomDomain>, Fault> {
        let path = format!("/services/{}/custom-domains/{}", encode(&service.id), encode(host));
        match self.api.send_for(Self::look_at(format!("domain {host}"), path)).await {
            Ok(held) => Ok(Some(held)),
            Err(fault) if fault.kind == FaultKind::Missing => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

fn to_domain(method: Method, service: &Service, host: &str, tail: &str) -> Call {
    let path = format!("/services/{}/custom-domains/{}{tail}", encode(&service.id), encode(host));
    Call::write(method, CHANGE, format!("domain {host}"), path).counted_for(ACCOUNT)
}

fn state(service: &Service, held: &CustomDomain) -> DomainState {
    if held.verification_status == "verified" {
        return DomainState::Ready;
    }
    let (kind, value) = if held.domain_type == "apex" {
        ("A", APEX.to_owned())
    } else {
        ("CNAME", format!("{}.onrender.com", service.slug))
    };
    let record = DnsRecord { name: held.name.clone(), kind: kind.to_owned(), value };
    DomainState::Waiting { said: held.verification_status.clone(), records: vec![record] }
}
