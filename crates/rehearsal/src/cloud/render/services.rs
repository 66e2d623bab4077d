//! Services: making, changing, deploying, stopping, starting, scaling, and taking them away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::service::{Service, event};
use super::{LETTERS, Refused, Render, not_found, object, page, refusal};
use crate::cloud::answer::{Answer, Call};

/// Instance types that may be asked for.
const PLANS: [&str; 7] = ["free", "starter", "standard", "pro", "pro_plus", "pro_max", "pro_ultra"];
const REGIONS: [&str; 5] = ["frankfurt", "oregon", "ohio", "singapore", "virginia"];

fn unpaid() -> Refused {
    refusal(402, "Payment information is required to complete this request")
}

fn text<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    fields.get(name).and_then(Value::as_str)
}

impl Render {
    /// Answers a call below `/services`, but for variables, domains and jobs.
    pub(super) async fn of_services(
        self: &Arc<Self>,
        call: &Call,
        parts: &[&str],
    ) -> Result<Answer, Refused> {
        match (call.method.as_str(), parts) {
            ("GET", []) => Ok(self.list(call)),
            ("POST", []) => self.create(call),
            ("GET", [id]) => self.with(id, |s| Answer::json(200, &s.view(&self.owner))),
            ("PATCH", [id]) => self.patch(call, id),
            ("DELETE", [id]) => self.delete(id),
            ("GET", [id, "deploys"]) => self.list_deploys(call, id),
            ("POST", [id, "deploys"]) => self.create_deploy(call, id),
            ("GET", [id, "deploys", deploy]) => self.one_deploy(id, deploy),
            ("POST", [id, "deploys", deploy, "cancel"]) => self.cancel_deploy(id, deploy),
            ("POST", [id, "rollback"]) => self.roll_back(call, id),
            ("POST", [id, "suspend"]) => self.suspend(id),
            ("POST", [id, "resume"]) => self.resume(id),
            ("POST", [id, "restart"]) => self.restart(id),
            ("POST", [id, "scale"]) => self.scale(call, id),
            ("GET", [id, "instances"]) => self.list_instances(id),
            ("GET", [id, "events"]) => self.list_events(call, id),
            _ => Err(refusal(404, "404 page not found")),
        }
    }

    fn list(&self, call: &Call) -> Answer {
        let asked = |name: &str| -> Vec<String> {
            let values = call.query.iter().filter(|(n, _)| n == name);
            values.flat_map(|(_, v)| v.split(',').map(str::to_owned)).collect()
        };
        let (names, kinds, owners) = (asked("name"), asked("type"), asked("ownerId"));
        let fits =
            |filter: &[String], value: &str| filter.is_empty() || filter.iter().any(|f| f == value);
        let stock = self.stock();
        let rows = stock.services.values().filter(|service| {
            fits(&names, &service.name) && fits(&kinds, &service.kind) && fits(&owners, &self.owner)
        });
        page(call, "service", rows.map(|service| (service.id.clone(), service.view(&self.owner))))
    }

    fn create(self: &Arc<Self>, call: &Call) -> Result<Answer, Refused> {
        let body = object(call)?;
        let service = self.read(&body)?;
        if self.site.is_out_of_quota(service.about().as_ref()) {
            return Err(unpaid());
        }
        let id = service.id.clone();
        {
            let mut stock = self.stock();
            if stock.services.values().any(|held| held.name == service.name) {
                return Err(refusal(409, &format!("name {} is already in use", service.name)));
            }
            stock.services.insert(id.clone(), service);
        }
        let (deploy, _) = self.deploy(&id, None, "other")?;
        let view = self.with(&id, |service| service.view(&self.owner))?;
        Ok(Answer::json(201, &json!({ "service": view, "deployId": deploy.id })))
    }

    /// Reads what a create asks for.
    fn read(&self, body: &Map<String, Value>) -> Result<Service, Refused> {
        let due = |name: &str| {
            text(body, name).ok_or_else(|| refusal(400, &format!("{name} is required")))
        };
        let (kind, name) = (due("type")?.to_owned(), due("name")?.to_owned());
        if due("ownerId")? != self.owner {
            return Err(refusal(404, "owner not found"));
        }
        if !["web_service", "private_service", "background_worker", "cron_job"]
            .contains(&kind.as_str())
        {
            return Err(refusal(400, &format!("type {kind} is not rehearsed")));
        }
        let empty = Map::new();
        let details = body.get("serviceDetails").and_then(Value::as_object).unwrap_or(&empty);
        if text(details, "runtime") != Some("image") {
            return Err(refusal(400, "only image-backed services are rehearsed"));
        }
        let prefix = if kind == "cron_job" { "crn" } else { "srv" };
        let taken = self.stock().services.values().any(|held| held.slug == name);
        let slug = if taken {
            format!("{name}-{}", self.site.dice.letters(LETTERS, 4))
        } else {
            name.clone()
        };
        let now = self.site.now();
        let log = self.site.log(&name);
        let mut service = Service {
            id: self.new_id(prefix),
            slug,
            created: now.clone(),
            updated: now,
            auto_deploy: text(body, "autoDeploy").unwrap_or("yes").to_owned(),
            image: String::new(),
            credential: None,
            command: String::new(),
            health: String::new(),
            plan: "starter".to_owned(),
            region: text(details, "region").unwrap_or("oregon").to_owned(),
            schedule: text(details, "schedule").unwrap_or_default().to_owned(),
            instances: details.get("numInstances").and_then(Value::as_u64).unwrap_or(1),
            suspenders: Vec::new(),
            variables: variables(body.get("envVars"))?,
            deploys: Vec::new(),
            domains: Vec::new(),
            events: Vec::new(),
            log,
            pulled: None,
            name,
            kind,
        };
        if !REGIONS.contains(&service.region.as_str()) {
            return Err(refusal(400, &format!("invalid region {}", service.region)));
        }
        if service.is_cron() && service.schedule.is_empty() {
            return Err(refusal(400, "schedule is required"));
        }
        let login = self.login(body)?;
        self.apply(&mut service, body, login)?;
        if service.image.is_empty() {
            return Err(refusal(400, "image is required"));
        }
        if !(1..=100).contains(&service.instances)
            || (service.plan == "free" && service.instances > 1)
        {
            return Err(refusal(400, "invalid numInstances"));
        }
        Ok(service)
    }

    /// The id and the name of the registry login that a create or a change names.
    fn login(&self, body: &Map<String, Value>) -> Result<Option<(String, String)>, Refused> {
        let image = body.get("image").and_then(Value::as_object);
        let Some(id) = image.and_then(|image| text(image, "registryCredentialId")) else {
            return Ok(None);
        };
        let name = self.stock().credentials.get(id).map(|held| held.name.clone());
        Ok(Some((id.to_owned(), name.ok_or_else(|| not_found(id))?)))
    }

    /// Sets what a create or a change names.
    fn apply(
        &self,
        service: &mut Service,
        body: &Map<String, Value>,
        login: Option<(String, String)>,
    ) -> Result<(), Refused> {
        if let Some(image) = body.get("image").and_then(Value::as_object) {
            let path =
                text(image, "imagePath").ok_or_else(|| refusal(400, "imagePath is required"))?;
            if text(image, "ownerId") != Some(self.owner.as_str()) {
                return Err(refusal(400, "the image's owner must be the service's"));
            }
            path.clone_into(&mut service.image);
            service.credential = login.or(service.credential.take());
        }
        if let Some(auto) = text(body, "autoDeploy") {
            auto.clone_into(&mut service.auto_deploy);
        }
        if let Some(name) = text(body, "name") {
            name.clone_into(&mut service.name);
        }
        let Some(details) = body.get("serviceDetails").and_then(Value::as_object) else {
            return Ok(());
        };
        if let Some(plan) = text(details, "plan") {
            if !PLANS.contains(&plan) || (plan == "free" && !service.is_web()) {
                return Err(refusal(400, &format!("invalid plan {plan} for {}", service.kind)));
            }
            plan.clone_into(&mut service.plan);
        }
        if let Some(path) = text(details, "healthCheckPath") {
            path.clone_into(&mut service.health);
        }
        let own = details.get("envSpecificDetails").and_then(Value::as_object);
        if let Some(command) = own.and_then(|own| text(own, "dockerCommand")) {
            command.clone_into(&mut service.command);
        }
        Ok(())
    }

    fn patch(self: &Arc<Self>, call: &Call, id: &str) -> Result<Answer, Refused> {
        let body = object(call)?;
        if body.get("serviceDetails").is_some_and(|d| d.get("numInstances").is_some()) {
            return Err(refusal(400, "unknown field numInstances"));
        }
        let (about, before) = self.with(id, |s| (s.about(), s.view(&self.owner)))?;
        if self.site.is_out_of_quota(about.as_ref()) {
            return Err(unpaid());
        }
        let login = self.login(&body)?;
        let (view, rests) = self.with(id, |service| {
            self.apply(service, &body, login)?;
            service.updated = self.site.now();
            Ok::<_, Refused>((service.view(&self.owner), !service.suspenders.is_empty()))
        })??;
        let matters = ["imagePath", "registryCredential", "serviceDetails"];
        // A service that is changed is deployed by that.
        if !rests && matters.iter().any(|name| before.get(name) != view.get(name)) {
            self.deploy(id, None, "service_updated")?;
        }
        Ok(Answer::json(200, &view))
    }

    fn delete(&self, id: &str) -> Result<Answer, Refused> {
        let mut stock = self.stock();
        let service = stock.services.remove(id).ok_or_else(|| not_found(id))?;
        stock.jobs.retain(|_, job| job.service != id);
        drop(stock);
        service.deploys.iter().for_each(|deploy| {
            deploy.cancel(&self.site);
            deploy.stop(Duration::ZERO);
        });
        Ok(Answer::empty(204))
    }

    fn list_deploys(&self, call: &Call, id: &str) -> Result<Answer, Refused> {
        let asked: Vec<&str> = call
            .query
            .iter()
            .filter(|(name, _)| name == "status")
            .flat_map(|(_, value)| value.split(','))
            .collect();
        self.with(id, |service| {
            let rows = service.deploys.iter().rev().filter(|deploy| {
                deploy.is_listed() && (asked.is_empty() || asked.contains(&deploy.status()))
            });
            page(call, "deploy", rows.map(|deploy| (deploy.id.clone(), deploy.view())))
        })
    }

    fn create_deploy(self: &Arc<Self>, call: &Call, id: &str) -> Result<Answer, Refused> {
        let body = object(call)?;
        let (about, set) = self.with(id, |s| (s.about(), s.image.clone()))?;
        if self.site.is_out_of_quota(about.as_ref()) {
            return Err(refusal(400, "free usage limit exceeded"));
        }
        let image = text(&body, "imageUrl").map(str::to_owned);
        if image.as_deref().is_some_and(|image| repository(image) != repository(&set)) {
            return Err(refusal(
                400,
                "only the image tag or digest can be updated when creating a deploy",
            ));
        }
        match self.deploy(id, image, "api")? {
            (_, true) => Ok(Answer::empty(202)),
            (deploy, false) => Ok(Answer::json(201, &deploy.view())),
        }
    }

    fn one_deploy(&self, id: &str, deploy: &str) -> Result<Answer, Refused> {
        let found = self.with(id, |service| {
            let held = service.deploys.iter().find(|held| held.id == deploy && held.is_listed());
            held.map(|held| held.view())
        })?;
        found.map(|view| Answer::json(200, &view)).ok_or_else(|| not_found(deploy))
    }

    fn cancel_deploy(&self, id: &str, deploy: &str) -> Result<Answer, Refused> {
        let found = self
            .with(id, |service| service.deploys.iter().find(|held| held.id == deploy).cloned())?;
        let held = found.ok_or_else(|| not_found(deploy))?;
        if !held.cancel(&self.site) {
            return Err(refusal(400, "deploy is not in progress"));
        }
        Ok(Answer::json(200, &held.view()))
    }

    fn roll_back(self: &Arc<Self>, call: &Call, id: &str) -> Result<Answer, Refused> {
        let body = object(call)?;
        let wanted = text(&body, "deployId").unwrap_or_default().to_owned();
        let image = self.with(id, |service| {
            let held = service.deploys.iter().find(|held| held.id == wanted);
            held.map(|held| held.image.clone())
        })?;
        let image = image.ok_or_else(|| not_found(&wanted))?;
        let (deploy, _) = self.deploy(id, Some(image), "rollback")?;
        Ok(Answer::json(201, &deploy.view()))
    }

    fn suspend(&self, id: &str) -> Result<Answer, Refused> {
        let deploys = self.with(id, |service| {
            if service.suspenders.is_empty() {
                service.suspenders.push("user");
                service.updated = self.site.now();
                service.note(&self.site, "service_suspended", json!({}));
            }
            service.deploys.clone()
        })?;
        for deploy in deploys {
            if !deploy.cancel(&self.site) {
                self.site.tasks.start(async move { deploy.retire().await });
            }
        }
        Ok(Answer::empty(202))
    }

    fn resume(self: &Arc<Self>, id: &str) -> Result<Answer, Refused> {
        let about = self.with(id, |service| service.about())?;
        if self.site.is_out_of_quota(about.as_ref()) {
            return Err(refusal(400, "free usage limit exceeded"));
        }
        let was = self.with(id, |service| {
            service.updated = self.site.now();
            service.note(&self.site, "service_resumed", json!({}));
            !std::mem::take(&mut service.suspenders).is_empty()
        })?;
        if was {
            self.deploy(id, None, "service_resumed")?;
        }
        Ok(Answer::empty(202))
    }

    fn restart(&self, id: &str) -> Result<Answer, Refused> {
        let live = self.with(id, |service| {
            let live = service.live().filter(|_| service.suspenders.is_empty());
            live.cloned()
        })?;
        let live = live.ok_or_else(|| refusal(400, "service is not running"))?;
        self.site.tasks.start(async move { live.restart().await });
        Ok(Answer::empty(200))
    }

    fn scale(&self, call: &Call, id: &str) -> Result<Answer, Refused> {
        let wanted = object(call)?.get("numInstances").and_then(Value::as_u64);
        let wanted = wanted.filter(|count| (1..=100).contains(count));
        let wanted =
            wanted.ok_or_else(|| refusal(400, "numInstances must be between 1 and 100"))?;
        let live = self.with(id, |service| {
            if service.plan == "free" && wanted > 1 {
                return Err(refusal(400, "free services cannot scale beyond one instance"));
            }
            if service.is_cron() {
                return Err(refusal(400, "cron jobs cannot be scaled"));
            }
            let details = json!({ "fromInstances": service.instances, "toInstances": wanted });
            service.instances = wanted;
            service.updated = self.site.now();
            service.note(&self.site, "instance_count_changed", details);
            Ok(service.live().filter(|_| service.suspenders.is_empty()).cloned())
        })??;
        if let Some(live) = live {
            live.have(&self.site, wanted).map_err(|error| refusal(500, &error.to_string()))?;
        }
        Ok(Answer::empty(202))
    }

    fn list_instances(&self, id: &str) -> Result<Answer, Refused> {
        let now = self.site.now();
        let rows = self.with(id, |service| service.running(&self.site))?;
        let view = |(id, _): &(String, _)| json!({ "id": id, "createdAt": now });
        Ok(Answer::json(200, &rows.iter().map(view).collect()))
    }

    fn list_events(&self, call: &Call, id: &str) -> Result<Answer, Refused> {
        let kind = call.parameter("type");
        self.with(id, |service| {
            let rows = service.history();
            let rows =
                rows.iter().enumerate().filter(|(_, row)| kind.is_none_or(|kind| kind == row.1));
            page(call, "event", rows.map(|(number, row)| event(id, number, row)))
        })
    }
}

/// `image` without its tag and digest.
fn repository(image: &str) -> &str {
    let path = image.split('@').next().unwrap_or_default();
    match path.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => path,
        _ => path,
    }
}

/// Variables as a create or a replacement names them.
pub(super) fn variables(given: Option<&Value>) -> Result<BTreeMap<String, String>, Refused> {
    let rows = given.and_then(Value::as_array).into_iter().flatten();
    rows.map(|row| {
        let key = row.get("key").and_then(Value::as_str);
        let key = key.ok_or_else(|| refusal(400, "every variable needs a key"))?;
        let value = row.get("value").and_then(Value::as_str).unwrap_or_default();
        Ok((key.to_owned(), value.to_owned()))
    })
    .collect()
}
