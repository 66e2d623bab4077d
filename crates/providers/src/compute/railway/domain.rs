//! Names of the stack's own domain: Railway gets the certificates itself.

use linkflow_model::role::{DnsRecord, DomainState};
use linkflow_model::{Fault, FaultKind, ServiceName};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Railway;
use crate::kit::graphql::Operation;
use super::placement::Placement;
use super::scope::Scope;
use super::wire::{CREATE_OWN_DOMAIN, DELETE_OWN_DOMAIN, DOMAINS};

/// What a record's type begins with in the API.
const TYPE: &str = "DNS_RECORD_TYPE_";

#[derive(Deserialize)]
struct DomainsAnswer {
    domains: OwnDomains,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnDomains {
    custom_domains: Vec<OwnDomain>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DomainCreated {
    custom_domain_create: OwnDomain,
}

#[derive(Deserialize)]
struct OwnDomain {
    id: String,
    domain: String,
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    certificate_status: String,
    certificate_error_message: Option<String>,
    verified: bool,
    verification_dns_host: Option<String>,
    verification_token: Option<String>,
    dns_records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    fqdn: String,
    record_type: String,
    required_value: String,
    #[serde(default)]
    zone: String,
}

impl Railway {
    /// How `host` stands as a name of `service`.
    pub(super) async fn domain_state(
        &self,
        service: &ServiceName,
        host: &str,
    ) -> Result<DomainState, Fault> {
        let Some((scope, placement)) = self.find(service).await? else {
            return Ok(DomainState::Absent);
        };
        let held = self.own_domain(&scope, &placement, host).await?;
        Ok(held.map_or(DomainState::Absent, OwnDomain::state))
    }

    /// Has `host` lead to `service`.
    pub(super) async fn have_domain(
        &self,
        service: &ServiceName,
        host: &str,
    ) -> Result<DomainState, Fault> {
        let (scope, placement) = self.deployed(service).await?;
        if let Some(held) = self.own_domain(&scope, &placement, host).await? {
            return Ok(held.state());
        }
        let port = placement.variables.get("PORT").and_then(|port| port.parse::<u16>().ok());
        let input = json!({
            "projectId": scope.project,
            "environmentId": scope.environment,
            "serviceId": placement.id(),
            "domain": host,
            "targetPort": port,
        });
        let made: DomainCreated = self
            .mutate(Operation {
                action: "create the domain",
                about: host,
                text: CREATE_OWN_DOMAIN,
                variables: json!({ "input": input }),
            })
            .await?;
        Ok(made.custom_domain_create.state())
    }

    /// Has `host` not lead to `service`.
    pub(super) async fn have_no_domain(
        &self,
        service: &ServiceName,
        host: &str,
    ) -> Result<(), Fault> {
        let Some((scope, placement)) = self.find(service).await? else { return Ok(()) };
        let Some(held) = self.own_domain(&scope, &placement, host).await? else { return Ok(()) };
        let variables = json!({ "id": held.id });
        match self.write("delete the domain", host, DELETE_OWN_DOMAIN, variables).await {
            Err(fault) if fault.kind != FaultKind::Missing => Err(fault),
            _ => Ok(()),
        }
    }

    async fn own_domain(
        &self,
        scope: &Scope,
        placement: &Placement,
        host: &str,
    ) -> Result<Option<OwnDomain>, Fault> {
        let mut variables = scope.variables();
        variables.insert("service".to_owned(), json!(placement.id()));
        let answer: DomainsAnswer = self
            .query(Operation {
                action: "read the domains of",
                about: &placement.instance.service_name,
                text: DOMAINS,
                variables: Value::Object(variables),
            })
            .await?;
        Ok(answer.domains.custom_domains.into_iter().find(|own| own.domain == host))
    }
}

impl OwnDomain {
    fn state(self) -> DomainState {
        let status = self.status;
        if status.certificate_status == "CERTIFICATE_STATUS_TYPE_VALID" {
            return DomainState::Ready;
        }
        let word = status.certificate_status.trim_start_matches("CERTIFICATE_STATUS_TYPE_");
        let said = status.certificate_error_message.filter(|why| !why.is_empty());
        let said = said.unwrap_or_else(|| word.to_owned());
        let record = |name: String, kind: &str, value: String| DnsRecord {
            name: name.trim_end_matches('.').to_owned(),
            kind: kind.to_owned(),
            value: value.trim_end_matches('.').to_owned(),
        };
        let zone = status.dns_records.first().map(|row| row.zone.clone()).unwrap_or_default();
        let due = status.dns_records.into_iter().map(|row| {
            record(row.fqdn, row.record_type.trim_start_matches(TYPE), row.required_value)
        });
        let mut records: Vec<DnsRecord> = due.collect();
        if let (false, Some(host), Some(token)) =
            (status.verified, status.verification_dns_host, status.verification_token)
        {
            // It may be told without the zone that it stands in.
            let is_whole = zone.is_empty() || host.ends_with(&zone);
            let name = if is_whole { host } else { format!("{host}.{zone}") };
            records.push(record(name, "TXT", token));
        }
        DomainState::Waiting { said, records }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dns_has_to_say_is_told_in_its_own_words() {
        let row = json!({
            "id": "d", "domain": "app.example.com",
            "status": {
                "certificateStatus": "CERTIFICATE_STATUS_TYPE_VALIDATING_OWNERSHIP",
                "certificateErrorMessage": null, "verified": false,
                "verificationDnsHost": "_railway-verify.app", "verificationToken": "railway-verify=1",
                "dnsRecords": [{ "fqdn": "app.example.com", "recordType": "DNS_RECORD_TYPE_CNAME", "requiredValue": "x.up.railway.app.", "zone": "example.com" }],
            },
        });
        let state = serde_json::from_value::<OwnDomain>(row).unwrap().state();
        let DomainState::Waiting { said, records } = state else { panic!("{state:?}") };
        assert_eq!(said, "VALIDATING_OWNERSHIP");
        let lines: Vec<String> =
            records.iter().map(|r| format!("{} {} {}", r.name, r.kind, r.value)).collect();
        let expected = [
            "app.example.com CNAME x.up.railway.app",
            "_railway-verify.app.example.com TXT railway-verify=1",
        ];
        assert_eq!(lines, expected);
    }
}
