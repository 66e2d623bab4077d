//! What is there beside services: workspaces, registry logins, logs and metrics.

use std::sync::Arc;

use jiff::Timestamp as Instant;
use serde_json::{Map, Value, json};

use super::{Refused, Render, not_found, object, page, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::log::{Line, Log, Stream};

/// A login to a registry.
pub(super) struct Credential {
    id: String,
    pub(super) name: String,
    registry: String,
    username: String,
    updated: String,
}

impl Credential {
    fn view(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "registry": self.registry,
            "username": self.username, "updatedAt": self.updated,
        })
    }
}

impl Render {
    /// Answers a call below `/owners`.
    pub(super) fn of_owners(&self, call: &Call, parts: &[&str]) -> Result<Answer, Refused> {
        let owner = json!({ "id": self.owner, "name": "Rehearsal", "email": "rehearsal@example.com", "type": "team" });
        match parts {
            [] => Ok(page(call, "owner", std::iter::once((self.owner.clone(), owner)))),
            [id] if *id == self.owner => Ok(Answer::json(200, &owner)),
            [id, ..] => Err(not_found(id)),
        }
    }

    /// Answers a call below `/registrycredentials`.
    pub(super) fn of_credentials(&self, call: &Call, parts: &[&str]) -> Result<Answer, Refused> {
        match (call.method.as_str(), parts) {
            ("GET", []) => {
                let stock = self.stock();
                let name = call.parameter("name");
                let rows = stock.credentials.values().filter(|c| name.is_none_or(|n| n == c.name));
                // This list alone has no cursors.
                Ok(Answer::json(200, &rows.map(Credential::view).collect()))
            }
            ("POST", []) => {
                let made = self.read_credential(&object(call)?, self.new_id("rgc"))?;
                let view = made.view();
                self.stock().credentials.insert(made.id.clone(), made);
                Ok(Answer::json(200, &view))
            }
            ("GET", [id]) => {
                let held = self.stock().credentials.get(*id).map(Credential::view);
                held.map(|view| Answer::json(200, &view)).ok_or_else(|| not_found(id))
            }
            ("PATCH", [id]) => {
                if !self.stock().credentials.contains_key(*id) {
                    return Err(not_found(id));
                }
                let made = self.read_credential(&object(call)?, (*id).to_owned())?;
                let (view, name) = (made.view(), made.name.clone());
                let mut stock = self.stock();
                stock.credentials.insert((*id).to_owned(), made);
                for service in stock.services.values_mut() {
                    if let Some(held) = service.credential.as_mut().filter(|held| held.0 == *id) {
                        held.1.clone_from(&name);
                    }
                }
                Ok(Answer::json(200, &view))
            }
            ("DELETE", [id]) => {
                let mut stock = self.stock();
                let used = |id: &str| {
                    stock
                        .services
                        .values()
                        .any(|s| s.credential.as_ref().is_some_and(|c| c.0 == id))
                };
                if used(id) {
                    return Err(refusal(409, "the credential is in use"));
                }
                stock
                    .credentials
                    .remove(*id)
                    .map(|_| Answer::empty(204))
                    .ok_or_else(|| not_found(id))
            }
            _ => Err(refusal(404, "404 page not found")),
        }
    }

    fn read_credential(
        &self,
        body: &Map<String, Value>,
        id: String,
    ) -> Result<Credential, Refused> {
        let due = |name: &str| {
            let text = body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
            text.map(str::to_owned).ok_or_else(|| refusal(400, &format!("{name} is required")))
        };
        due("authToken")?;
        let registry = due("registry")?;
        if !["GITHUB", "GITLAB", "DOCKER", "GOOGLE_ARTIFACT", "AWS_ECR"]
            .contains(&registry.as_str())
        {
            return Err(refusal(400, &format!("invalid registry {registry}")));
        }
        let (name, username) = (due("name")?, due("username")?);
        Ok(Credential { id, name, registry, username, updated: self.site.now() })
    }

    /// `GET /logs`, paged by time.
    pub(super) fn logs(&self, call: &Call) -> Result<Answer, Refused> {
        if call.parameter("ownerId") != Some(self.owner.as_str()) {
            return Err(not_found("owner"));
        }
        let now = Instant::from_millisecond(i64::try_from(self.site.clock.wall().0).unwrap_or(0));
        let now = now.unwrap_or(Instant::UNIX_EPOCH);
        let hour_ago = now.checked_sub(jiff::SignedDuration::from_hours(1)).unwrap_or(now);
        let (start, end) = (
            time(call.parameter("startTime")).unwrap_or(hour_ago),
            time(call.parameter("endTime")).unwrap_or(Instant::MAX),
        );
        let mut rows = Vec::new();
        for (_, id) in call.query.iter().filter(|(name, _)| name == "resource") {
            let log = self.log_of(id).ok_or_else(|| not_found(id))?;
            rows.extend(log.since(0).iter().filter_map(|line| row(id, line)));
        }
        rows.retain(|(at, _)| *at >= start && *at < end);
        rows.sort_by_key(|(at, _)| *at);
        let forward = call.parameter("direction") == Some("forward");
        if !forward {
            rows.reverse();
        }
        let limit = call.parameter("limit").and_then(|text| text.parse().ok()).unwrap_or(20);
        let limit: usize = Ord::clamp(limit, 1, 100);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().map(|(at, _)| *at);
        let next = |own: Instant, moves: bool| {
            let at = last.filter(|_| moves).unwrap_or(own);
            // Forward goes on after the last one told; the end itself is not told.
            let at = if moves && forward {
                at.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(at)
            } else {
                at
            };
            at.min(now.checked_add(jiff::SignedDuration::from_secs(60)).unwrap_or(now)).to_string()
        };
        let body = json!({
            "hasMore": has_more,
            "nextStartTime": next(start, forward),
            "nextEndTime": next(end, !forward),
            "logs": rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>(),
        });
        Ok(Answer::json(200, &body))
    }

    fn log_of(&self, id: &str) -> Option<Arc<Log>> {
        let stock = self.stock();
        let service = stock.services.get(id).map(|service| Arc::clone(&service.log));
        service.or_else(|| stock.jobs.get(id).map(|job| Arc::clone(&job.log)))
    }

    /// `GET /metrics/…`: one sample, of now.
    pub(super) fn metrics(&self, call: &Call, what: &str) -> Result<Answer, Refused> {
        let mut rows = Vec::new();
        for (_, id) in call.query.iter().filter(|(name, _)| name == "resource") {
            let (about, running) = self.with(id, |s| (s.about(), s.running(&self.site).len()))?;
            let counts = self.site.counts.services.lock();
            let counts = counts.unwrap_or_else(std::sync::PoisonError::into_inner);
            let asked = about.and_then(|s| counts.get(s.as_str()).copied()).unwrap_or(0);
            let (value, unit) = match what {
                // A kilobyte for each answer.
                "bandwidth" => (json!(asked), "KB"),
                "instance-count" => (json!(running), ""),
                _ => return Err(refusal(404, "404 page not found")),
            };
            rows.push(json!({
                "labels": [{ "field": "resource", "value": id }],
                "values": [{ "timestamp": self.site.now(), "value": value }],
                "unit": unit,
            }));
        }
        Ok(Answer::json(200, &Value::Array(rows)))
    }
}

/// A time as clients write it: RFC 3339, or seconds since 1970.
fn time(text: Option<&str>) -> Option<Instant> {
    let text = text?;
    let seconds = || text.parse().ok().and_then(|seconds| Instant::from_second(seconds).ok());
    text.parse().ok().or_else(seconds)
}

/// A line with its time, which is made unique by the line's number.
fn row(resource: &str, line: &Line) -> Option<(Instant, Value)> {
    let nanos = i32::try_from(line.number % 1_000_000).ok()?;
    let at = Instant::from_millisecond(i64::try_from(line.at.0).ok()?).ok()?;
    let at = at.checked_add(jiff::SignedDuration::from_nanos(nanos.into())).ok()?;
    let level = if line.stream == Stream::Err { "error" } else { "info" };
    let label = |name: &str, value: &str| json!({ "name": name, "value": value });
    let labels = [
        label("resource", resource),
        label("instance", &line.instance),
        label("level", level),
        label("type", "app"),
    ];
    Some((
        at,
        json!({ "id": format!("{resource}-{}", line.number), "message": line.text, "timestamp": at.to_string(), "labels": labels }),
    ))
}
