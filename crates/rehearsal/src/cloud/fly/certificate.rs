//! Names of the customer's own domain, and their certificates.
//!
//! There is no DNS in a rehearsal: a name counts as pointed here when somebody has it checked some time after it was
//! asked for, as somebody does who has just written the records.

use std::sync::Arc;
use std::time::Duration;

use linkflow_model::Timestamp;
use serde_json::{Value, json};

use super::{Fly, Refused, object, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::log::moment;

/// How long records take to be seen, and a certificate to be given out.
const TAKES: Duration = Duration::from_millis(300);

/// One name.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    host: String,
    asked: Timestamp,
    issued: Option<Timestamp>,
}

impl Certificate {
    fn state(&self) -> &'static str {
        if self.issued.is_some() { "active" } else { "pending_validation" }
    }

    /// As the list shows it.
    fn summary(&self) -> Value {
        let is_issued = self.issued.is_some();
        json!({
            "hostname": self.host, "status": self.state(), "configured": is_issued, "acme_requested": true,
            "acme_alpn_configured": is_issued, "acme_dns_configured": false, "acme_http_configured": is_issued,
            "has_custom_certificate": false, "has_fly_certificate": is_issued, "ownership_txt_configured": false,
            "created_at": moment(self.asked), "updated_at": moment(self.issued.unwrap_or(self.asked)),
        })
    }

    /// As it is shown alone.
    fn detail(&self, app: &str, addresses: &[Value]) -> Value {
        let ips = |is_v6: bool| -> Vec<&str> {
            let all = addresses.iter().filter_map(|row| row["ip"].as_str());
            all.filter(|ip| ip.contains(':') == is_v6).collect()
        };
        let entry = |at: &Timestamp| {
            let until = Timestamp(at.0 + 90 * 86_400_000);
            json!({
                "source": "fly", "status": "active", "issuer": "Let's Encrypt",
                "created_at": moment(*at), "expires_at": moment(until),
            })
        };
        let is_issued = self.issued.is_some();
        json!({
            "hostname": self.host, "status": self.state(), "configured": is_issued, "acme_requested": true,
            "certificates": self.issued.iter().map(entry).collect::<Vec<_>>(),
            "dns_requirements": {
                "a": ips(false), "aaaa": ips(true), "cname": format!("{app}.fly.dev"),
                "acme_challenge": {
                    "name": format!("_acme-challenge.{}", self.host),
                    "target": format!("{}.{app}.flydns.net", self.host),
                },
                "ownership": { "name": format!("_fly-ownership.{}", self.host), "app_value": format!("app-{app}"), "org_value": "org-rehearsal" },
            },
            "validation": {
                "alpn_configured": is_issued, "dns_configured": false, "http_configured": is_issued,
                "ownership_txt_configured": false,
            },
            "validation_errors": [],
        })
    }
}

impl Fly {
    pub(super) fn of_certificates(
        self: &Arc<Self>,
        call: &Call,
        app: &str,
        rest: &[&str],
    ) -> Result<Answer, Refused> {
        match (call.method.as_str(), rest) {
            ("GET", []) => self.with_app(app, |app| {
                let rows: Vec<Value> =
                    app.certificates.values().map(Certificate::summary).collect();
                Answer::json(200, &json!({ "certificates": rows, "total_count": rows.len() }))
            }),
            ("POST", ["acme"]) => self.ask_for_certificate(call, app),
            ("GET", [host]) => self.with_certificate(app, host, |_| {}),
            ("POST", [host, "check"]) => {
                let now = self.site.clock.wall();
                let takes = u64::try_from(TAKES.as_millis()).unwrap_or(u64::MAX);
                self.with_certificate(app, host, |held| {
                    if now.0.saturating_sub(held.asked.0) >= takes {
                        held.issued.get_or_insert(now);
                    }
                })
            }
            ("DELETE", [host]) => {
                let gone = self.with_app(app, |app| app.certificates.remove(*host))?;
                match gone {
                    Some(_) => Ok(Answer::empty(204)),
                    None => Err(unknown()),
                }
            }
            _ => Err(refusal(404, "not found")),
        }
    }

    fn ask_for_certificate(&self, call: &Call, app: &str) -> Result<Answer, Refused> {
        let body = object(call)?;
        let host = body.get("hostname").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !host.contains('.') {
            return Err(refusal(422, "hostname is not valid"));
        }
        // A name leads to one app.
        let taken = self.apps().values().any(|app| app.certificates.contains_key(&host));
        if taken {
            return Err(refusal(422, "Hostname already exists on app"));
        }
        let held = Certificate { host: host.clone(), asked: self.site.clock.wall(), issued: None };
        self.with_app(app, |app| {
            let row = held.detail(&app.name, &app.addresses);
            app.certificates.insert(host, held);
            Answer::json(201, &row)
        })
    }

    fn with_certificate(
        &self,
        app: &str,
        host: &str,
        work: impl FnOnce(&mut Certificate),
    ) -> Result<Answer, Refused> {
        let shown = self.with_app(app, |app| {
            let held = app.certificates.get_mut(host)?;
            work(held);
            Some(held.detail(&app.name, &app.addresses))
        })?;
        shown.map(|row| Answer::json(200, &row)).ok_or_else(unknown)
    }
}

fn unknown() -> Refused {
    refusal(404, "certificate not found")
}
