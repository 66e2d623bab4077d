//! Custom domains of a web service. There is no DNS in a rehearsal: a domain is verified when that is asked for.

use serde_json::{Value, json};

use super::{Refused, Render, not_found, object, page, refusal};
use crate::cloud::answer::{Answer, Call};

impl Render {
    /// Answers a call below `/services/{id}/custom-domains`.
    pub(super) fn of_domains(
        &self,
        call: &Call,
        id: &str,
        parts: &[&str],
    ) -> Result<Answer, Refused> {
        let is = |row: &Value, name: &str| row["name"] == name || row["id"] == name;
        match (call.method.as_str(), parts) {
            ("GET", []) => self.with(id, |service| {
                let rows = service.domains.iter();
                page(call, "customDomain", rows.map(|row| (row["id"].to_string(), row.clone())))
            }),
            ("POST", []) => self.add_domain(call, id),
            ("GET", [name]) => {
                let held =
                    self.with(id, |s| s.domains.iter().find(|row| is(row, name)).cloned())?;
                held.map(|row| Answer::json(200, &row)).ok_or_else(|| not_found(name))
            }
            ("DELETE", [name]) => {
                let gone = self.with(id, |service| {
                    let before = service.domains.len();
                    service.domains.retain(|row| !is(row, name) && row["redirectForName"] != *name);
                    before != service.domains.len()
                })?;
                if gone { Ok(Answer::empty(204)) } else { Err(not_found(name)) }
            }
            ("POST", [name, "verify"]) => {
                let found = self.with(id, |service| {
                    let mut found = false;
                    for row in service.domains.iter_mut().filter(|row| is(row, name)) {
                        row["verificationStatus"] = json!("verified");
                        found = true;
                    }
                    found
                })?;
                if found { Ok(Answer::empty(202)) } else { Err(not_found(name)) }
            }
            _ => Err(refusal(404, "404 page not found")),
        }
    }

    fn add_domain(&self, call: &Call, id: &str) -> Result<Answer, Refused> {
        let body = object(call)?;
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
        if !name.contains('.') {
            return Err(refusal(400, "invalid domain name"));
        }
        let taken = {
            let stock = self.stock();
            stock.services.values().any(|s| s.domains.iter().any(|row| row["name"] == name))
        };
        if taken {
            return Err(refusal(409, &format!("{name} already exists")));
        }
        let is_apex = name.split('.').count() == 2;
        let server = self.with(id, |service| {
            service.is_web().then(|| json!({ "id": service.id, "name": service.name }))
        })?;
        let server = server.ok_or_else(|| refusal(400, "only web services have custom domains"))?;
        let row = |name: &str, kind: &str, redirect: &str| {
            json!({
                "id": self.new_id("cdm"),
                "name": name,
                "domainType": kind,
                "publicSuffix": name.rsplit('.').next().unwrap_or_default(),
                "redirectForName": redirect,
                "verificationStatus": "unverified",
                "createdAt": self.site.now(),
                "server": server,
            })
        };
        let mut rows = vec![row(name, if is_apex { "apex" } else { "subdomain" }, "")];
        if is_apex {
            rows.push(row(&format!("www.{name}"), "subdomain", name));
        }
        self.with(id, |service| service.domains.extend(rows.clone()))?;
        Ok(Answer::json(201, &Value::Array(rows)))
    }
}
