//! Services: made, changed, paused, resumed, deployed again, deleted.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::{filtered, named, object, over_quota, page};
use super::definition::{accept, environment};
use super::deployment::{Birth, Deployment};
use super::{Course, Koyeb, Refused, Service, Stock, invalid, missing, refusal};
use crate::cloud::answer::{Answer, Call};

impl Koyeb {
    /// Answers a call below `/services`.
    pub(super) fn of_services(
        self: &Arc<Self>,
        call: &Call,
        parts: &[&str],
    ) -> Result<Answer, Refused> {
        match (call.method.as_str(), parts) {
            ("GET", []) => {
                let stock = self.stock();
                let rows =
                    stock.services.values().map(|service| self.service_view(service)).collect();
                drop(stock);
                Ok(page(call, "services", named(call, filtered(call, rows))))
            }
            ("POST", []) => self.create_service(call),
            ("GET", [id]) => self.answer_with(id),
            ("PATCH" | "PUT", [id]) => self.update_service(call, id),
            ("DELETE", [id]) => {
                self.stock().services.get(*id).ok_or_else(missing)?;
                let (koyeb, id) = (Arc::clone(self), (*id).to_owned());
                self.stock().services.entry(id.clone()).and_modify(|s| s.course = Course::Deleting);
                self.site.tasks.start(async move { koyeb.wipe(&id).await });
                Ok(Answer::json(200, &json!({})))
            }
            ("POST", [id, "pause"]) => self.pause(id),
            ("POST", [id, "resume"]) => self.resume(id),
            ("POST", [id, "redeploy"]) => self.redeploy(id),
            _ => Err(missing()),
        }
    }

    fn answer_with(&self, id: &str) -> Result<Answer, Refused> {
        let stock = self.stock();
        let service = stock.services.get(id).ok_or_else(missing)?;
        Ok(Answer::json(200, &json!({ "service": self.service_view(service) })))
    }

    pub(super) fn service_status(&self, service: &Service) -> &'static str {
        match service.course {
            Course::Deleting => return "DELETING",
            Course::Pausing => return "PAUSING",
            Course::Paused => return "PAUSED",
            Course::Resuming if service.latest.is_under_way() => return "RESUMING",
            Course::Resuming | Course::Running => {}
        }
        match service.active.as_ref().map(|active| active.status(&self.site)) {
            Some("HEALTHY" | "SLEEPING") => "HEALTHY",
            Some("DEGRADED") => "DEGRADED",
            None if service.latest.is_under_way() => "STARTING",
            _ => "UNHEALTHY",
        }
    }

    fn service_view(&self, service: &Service) -> Value {
        let kind = service.definition["type"].as_str().unwrap_or("WEB");
        let active = service.active.as_ref().map_or("", |active| active.id.as_str());
        json!({
            "id": service.id, "name": service.name, "type": kind, "organization_id": self.organization,
            "app_id": service.app, "created_at": service.created, "updated_at": service.created,
            "status": self.service_status(service), "messages": [], "version": service.version.to_string(),
            "active_deployment_id": active, "latest_deployment_id": service.latest.id,
        })
    }

    fn create_service(self: &Arc<Self>, call: &Call) -> Result<Answer, Refused> {
        let body = object(call)?;
        let given = body.get("definition").cloned().unwrap_or_default();
        let app = body.get("app_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let name =
            body.get("name").or(given.get("name")).and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() {
            return Err(invalid("name", "is required"));
        }
        let mut stock = self.stock();
        let held = stock.apps.get(&app).filter(|held| !held.deleting);
        let log = match held {
            Some(held) => self.site.log(&held.name),
            None => return Err(invalid("app_id", "no such app")),
        };
        if stock.services.values().any(|s| s.app == app && s.name == name) {
            return Err(invalid("name", "already exists"));
        }
        let definition = accept(&stock, &given)?;
        check_free(&stock, &definition, None)?;
        let id = self.site.dice.uuid();
        let latest = self.birth(&stock, (&app, &id), &definition, 1, None, &log, false);
        if self.site.is_out_of_quota(latest.about().as_ref()) {
            return Err(over_quota());
        }
        let service = Service {
            id: id.clone(),
            app,
            name: name.to_owned(),
            created: self.site.now(),
            course: Course::Running,
            definition,
            latest: Arc::clone(&latest),
            active: None,
            version: 1,
            log,
        };
        stock.services.insert(id.clone(), service);
        self.begin(&mut stock, &latest);
        drop(stock);
        self.answer_with(&id)
    }

    #[expect(clippy::too_many_arguments, reason = "each says another thing of the one deployment")]
    fn birth(
        &self,
        stock: &Stock,
        (app, service): (&str, &str),
        definition: &Value,
        number: u64,
        trigger: Option<&'static str>,
        log: &Arc<crate::cloud::log::Log>,
        stashed: bool,
    ) -> Arc<Deployment> {
        let birth = Birth {
            app,
            service,
            number,
            definition: definition.clone(),
            env: environment(stock, definition),
            trigger,
            log: Arc::clone(log),
            stashed,
        };
        Deployment::new(&self.site, birth)
    }

    fn update_service(self: &Arc<Self>, call: &Call, id: &str) -> Result<Answer, Refused> {
        let body = object(call)?;
        let stores = body.get("save_only") == Some(&json!(true));
        let given = body.get("definition").cloned().unwrap_or_default();
        let mut stock = self.stock();
        let held = stock.services.get(id).ok_or_else(missing)?;
        match held.course {
            Course::Deleting => return Err(missing()),
            Course::Running => {}
            _ if stores => {}
            _ => return Err(refusal(400, "invalid_argument", "the service is paused")),
        }
        let definition = accept(&stock, &given)?;
        check_free(&stock, &definition, Some(id))?;
        if !stores && self.site.is_out_of_quota(held.latest.about().as_ref()) {
            return Err(over_quota());
        }
        self.deploy(&mut stock, id, definition, None, stores)?;
        drop(stock);
        self.answer_with(id)
    }

    /// Makes a deployment of `definition` the service's latest; unless it is only stored, it begins.
    fn deploy(
        self: &Arc<Self>,
        stock: &mut Stock,
        id: &str,
        definition: Value,
        trigger: Option<&'static str>,
        stores: bool,
    ) -> Result<Arc<Deployment>, Refused> {
        let held = stock.services.get(id).ok_or_else(missing)?;
        let (ids, log) = ((held.app.as_str(), id), Arc::clone(&held.log));
        let made = self.birth(stock, ids, &definition, held.version + 1, trigger, &log, stores);
        let service = stock.services.get_mut(id).ok_or_else(missing)?;
        service.version += 1;
        service.definition = definition;
        let overtaken = std::mem::replace(&mut service.latest, Arc::clone(&made));
        if stores {
            stock.deployments.push(Arc::clone(&made));
            return Ok(made);
        }
        if overtaken.is_under_way() {
            let koyeb = Arc::clone(self);
            self.site.tasks.start(async move { overtaken.end(&koyeb.site).await });
        }
        self.begin(stock, &made);
        Ok(made)
    }

    fn begin(self: &Arc<Self>, stock: &mut Stock, deployment: &Arc<Deployment>) {
        stock.deployments.push(Arc::clone(deployment));
        let active = stock.services.get(&deployment.service).and_then(|s| s.active.clone());
        let before = active.and_then(|active| active.pulled());
        let (koyeb, driven) = (Arc::clone(self), Arc::clone(deployment));
        self.site.tasks.start(async move {
            driven.deploy(&koyeb.site, before).await;
            koyeb.follow_up(&driven).await;
            driven.doze(&koyeb.site).await;
        });
    }

    /// What follows when a deployment has come to its end: a good one takes the place of the one before.
    async fn follow_up(&self, deployment: &Arc<Deployment>) {
        let before = {
            let mut stock = self.stock();
            let Some(service) = stock.services.get_mut(&deployment.service) else { return };
            if service.course == Course::Resuming {
                service.course = Course::Running;
            }
            if !deployment.serves() {
                return;
            }
            service.active.replace(Arc::clone(deployment))
        };
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, deployment)) {
            before.end(&self.site).await;
        }
    }

    fn pause(self: &Arc<Self>, id: &str) -> Result<Answer, Refused> {
        let mut stock = self.stock();
        let service = stock.services.get_mut(id).ok_or_else(missing)?;
        if !matches!(service.course, Course::Running | Course::Resuming) {
            return Err(refusal(
                400,
                "invalid_argument",
                "the service cannot be paused in its status",
            ));
        }
        service.course = Course::Pausing;
        let (koyeb, id) = (Arc::clone(self), id.to_owned());
        self.site.tasks.start(async move {
            koyeb.site.dawdle(50, 200).await;
            koyeb.end_all(&id).await;
            if let Some(service) = koyeb.stock().services.get_mut(&id)
                && service.course == Course::Pausing
            {
                service.course = Course::Paused;
            }
        });
        Ok(Answer::json(200, &json!({})))
    }

    /// Ends every deployment of a service.
    async fn end_all(&self, id: &str) {
        let all: Vec<Arc<Deployment>> = {
            let mut stock = self.stock();
            if let Some(service) = stock.services.get_mut(id) {
                service.active = None;
            }
            stock.deployments.iter().filter(|d| d.service == id).cloned().collect()
        };
        for deployment in all {
            deployment.end(&self.site).await;
        }
    }

    fn resume(self: &Arc<Self>, id: &str) -> Result<Answer, Refused> {
        let mut stock = self.stock();
        let service = stock.services.get_mut(id).ok_or_else(missing)?;
        if service.course != Course::Paused {
            return Err(refusal(400, "invalid_argument", "only a paused service can be resumed"));
        }
        if self.site.is_out_of_quota(service.latest.about().as_ref()) {
            return Err(over_quota());
        }
        service.course = Course::Resuming;
        let definition = service.definition.clone();
        self.deploy(&mut stock, id, definition, Some("RESUME"), false)?;
        Ok(Answer::json(200, &json!({})))
    }

    fn redeploy(self: &Arc<Self>, id: &str) -> Result<Answer, Refused> {
        let mut stock = self.stock();
        let service = stock.services.get(id).ok_or_else(missing)?;
        if service.course != Course::Running {
            return Err(refusal(400, "invalid_argument", "the service is paused"));
        }
        if self.site.is_out_of_quota(service.latest.about().as_ref()) {
            return Err(over_quota());
        }
        let definition = service.definition.clone();
        let made = self.deploy(&mut stock, id, definition, None, false)?;
        drop(stock);
        Ok(Answer::json(200, &json!({ "deployment": made.view(&self.site, &self.organization) })))
    }

    /// Takes a service away for good.
    pub(super) async fn wipe(&self, id: &str) {
        if let Some(service) = self.stock().services.get_mut(id) {
            service.course = Course::Deleting;
        }
        self.end_all(id).await;
        self.site.dawdle(20, 80).await;
        let mut stock = self.stock();
        stock.services.remove(id);
        stock.deployments.retain(|deployment| deployment.service != id);
    }
}

/// The plan has one free instance.
fn check_free(stock: &Stock, definition: &Value, own: Option<&str>) -> Result<(), Refused> {
    let is_free = |definition: &Value| {
        definition.pointer("/instance_types/0/type").and_then(Value::as_str) == Some("free")
    };
    let others = stock.services.values().filter(|service| Some(service.id.as_str()) != own);
    let taken = others.filter(|service| is_free(&service.definition)).count() > 0;
    if is_free(definition) && taken {
        let why = "You have reached the maximum number of free instances: 1. Choose another instance type";
        return Err(refusal(403, "quota_exceeded", why));
    }
    Ok(())
}
