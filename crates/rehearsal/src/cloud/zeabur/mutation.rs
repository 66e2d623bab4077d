//! Does what mutations say.

use serde_json::{Map, Value, json};

use super::Zeabur;
use super::query::{Looked, Node, Session, variable};
use super::stock::{Domain, Service};
use crate::cloud::graphql::{Found, text};

/// What the vendor says when nothing is left to pay with.
const EXHAUSTED: &str = "please bind a credit card or recharge credits first";

/// What makes nothing new is done also when nothing is left.
const FREE: [&str; 6] = [
    "checkDomainAvailable",
    "deleteProject",
    "deleteService",
    "deleteSingleEnvironmentVariable",
    "removeDomain",
    "suspendService",
];

/// How long a name of one's own waits for its certificate, in milliseconds.
const CERTIFICATE_MS: u64 = 300;

fn done() -> Looked {
    Ok(Found::Plain(json!(true)))
}

fn row(value: Value) -> Looked {
    Ok(Found::One(Node::Row(value)))
}

impl Session {
    pub(super) fn mutation(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        if !FREE.contains(&name) && self.is_exhausted(arguments) {
            return Err(EXHAUSTED.to_owned());
        }
        let (service, environment) =
            (text(arguments, "serviceID"), text(arguments, "environmentID"));
        match name {
            "createProject" => self.create_project(arguments),
            "deleteProject" => self.delete_project(text(arguments, "_id")),
            "createService" => self.create_service(arguments),
            "deleteService" => self.delete_service(text(arguments, "_id")),
            "deployFromSpecification" => self.deploy_from_specification(service, arguments),
            "updateServiceImage" => {
                self.with(arguments, |held| change_tag(held, text(arguments, "tag")))?;
                self.zeabur.deploy(service, environment)?;
                done()
            }
            "redeployService" => {
                self.zeabur.deploy(service, environment)?;
                done()
            }
            "restartService" => {
                self.with(arguments, |held| {
                    held.suspended = false;
                    Ok(())
                })?;
                self.zeabur.deploy(service, environment)?;
                done()
            }
            "suspendService" => self.with(arguments, |held| {
                held.suspended = true;
                held.deployments.iter().for_each(|d| d.suspend(&self.zeabur.site));
                done()
            }),
            "updateServicePorts" => self.set_ports(arguments),
            "addDomain" => self.add_domain(arguments),
            "removeDomain" => self.remove_domain(text(arguments, "domain")),
            "checkDomainAvailable" => {
                let host = self.host(arguments);
                let free = self.zeabur.stock().service_of(&host).is_none();
                row(json!({ "isAvailable": free, "reason": (!free).then_some("already taken") }))
            }
            _ => self.change_variables(name, arguments),
        }
    }

    /// Whether nothing is left for what the mutation is about.
    fn is_exhausted(&self, arguments: &Map<String, Value>) -> bool {
        let stock = self.zeabur.stock();
        let about = stock.service(text(arguments, "serviceID")).ok().and_then(Service::about);
        self.zeabur.site.is_out_of_quota(about.as_ref())
    }

    fn with<T>(
        &self,
        arguments: &Map<String, Value>,
        work: impl FnOnce(&mut Service) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut stock = self.zeabur.stock();
        work(stock.service_in(text(arguments, "serviceID"), text(arguments, "environmentID"))?)
    }

    fn create_project(&self, arguments: &Map<String, Value>) -> Looked {
        let site = &self.zeabur.site;
        let own = format!("project-{}", site.dice.hex(6));
        let name = arguments.get("name").and_then(Value::as_str).unwrap_or(&own);
        let project = Zeabur::new_project(site, name, text(arguments, "region"));
        let id = project.id.clone();
        self.zeabur.stock().projects.push(project);
        Ok(Found::One(Node::Project(id)))
    }

    fn delete_project(&self, id: &str) -> Looked {
        let mut stock = self.zeabur.stock();
        stock.project(id)?;
        let gone = stock.services.extract_if(.., |service| service.project == id);
        gone.for_each(|service| self.end(&service));
        stock.projects.retain(|project| project.id != id);
        done()
    }

    /// Makes an empty service. Nothing keeps two from having the same name.
    fn create_service(&self, arguments: &Map<String, Value>) -> Looked {
        let site = &self.zeabur.site;
        let name = text(arguments, "name").to_owned();
        let mut stock = self.zeabur.stock();
        let project = stock.project(text(arguments, "projectID"))?.clone();
        let id = site.dice.hex(24);
        stock.services.push(Service {
            id: id.clone(),
            project: project.id,
            environment: project.environment,
            log: site.log(&name),
            name,
            template: text(arguments, "template").to_owned(),
            created: site.now(),
            image: None,
            variables: std::collections::BTreeMap::new(),
            ports: Vec::new(),
            domains: Vec::new(),
            suspended: false,
            deployments: Vec::new(),
            pulled: None,
        });
        Ok(Found::One(Node::Service(id)))
    }

    fn delete_service(&self, id: &str) -> Looked {
        let mut stock = self.zeabur.stock();
        stock.service(id)?;
        stock.services.extract_if(.., |s| s.id == id).for_each(|service| self.end(&service));
        done()
    }

    fn end(&self, service: &Service) {
        let site = &self.zeabur.site;
        service.deployments.iter().for_each(|deployment| deployment.remove(site));
        for row in &service.ports {
            site.shut_entrance(&entrance(&service.id, row));
        }
    }

    /// Has these ports in place of all before. A TCP port is forwarded from one of the region's, which it keeps; here
    /// that is one of this machine.
    fn set_ports(&self, arguments: &Map<String, Value>) -> Looked {
        let (site, id) = (&self.zeabur.site, text(arguments, "serviceID"));
        let before = self.with(arguments, |held| Ok(held.ports.clone()))?;
        let mut ports: Vec<Value> = Vec::new();
        let wanted = arguments.get("ports").and_then(Value::as_array).into_iter().flatten();
        for row in wanted {
            let mut row = row.clone();
            let same = |held: &&Value| held["id"] == row["id"] && held["type"] == row["type"];
            let held = before.iter().find(same).map(|held| held["forwardedPort"].clone());
            if row["type"] == "TCP" {
                row["forwardedPort"] = match held {
                    Some(port) => port,
                    None => {
                        let opened = site.open_entrance(&entrance(id, &row));
                        json!(opened.map_err(|error| error.to_string())?.port())
                    }
                };
            }
            ports.push(row);
        }
        for old in before.iter().filter(|old| old["type"] == "TCP") {
            if !ports.iter().any(|port| port["id"] == old["id"] && port["type"] == "TCP") {
                site.shut_entrance(&entrance(id, old));
            }
        }
        self.with(arguments, |held| {
            held.ports = ports;
            done()
        })
    }

    /// Deploys an image to the environment that the project has. Variables that come with it are set first.
    fn deploy_from_specification(&self, id: &str, arguments: &Map<String, Value>) -> Looked {
        let none = Value::Null;
        let wanted = arguments.get("specification").unwrap_or(&none);
        let image = wanted["source"]["image"].as_str().ok_or("only images are rehearsed")?;
        let environment = {
            let mut stock = self.zeabur.stock();
            let environment = stock.service(id)?.environment.clone();
            let held = stock.service_in(id, &environment)?;
            held.image = Some(image.to_owned());
            for entry in wanted["env"].as_array().into_iter().flatten() {
                let value = entry["default"].as_str().unwrap_or_default().to_owned();
                held.variables.insert(entry["key"].as_str().unwrap_or_default().to_owned(), value);
            }
            environment
        };
        row(json!({ "deploymentID": self.zeabur.deploy(id, &environment)? }))
    }

    /// What the mutations of variables do. None of them deploys.
    fn change_variables(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        let service = text(arguments, "serviceID");
        let (key, value) = (text(arguments, "key"), text(arguments, "value"));
        self.with(arguments, |held| match name {
            "createEnvironmentVariable" => {
                if held.variables.contains_key(key) {
                    return Err(format!("variable {key} already exists"));
                }
                held.variables.insert(key.to_owned(), value.to_owned());
                row(variable(service, key, value))
            }
            "updateSingleEnvironmentVariable" => {
                let (old, new) = (text(arguments, "oldKey"), text(arguments, "newKey"));
                held.variables.remove(old).ok_or_else(|| format!("variable {old} not found"))?;
                held.variables.insert(new.to_owned(), value.to_owned());
                row(variable(service, new, value))
            }
            "deleteSingleEnvironmentVariable" => {
                let old = held.variables.remove(key);
                let old = old.ok_or_else(|| format!("variable {key} not found"))?;
                row(variable(service, key, &old))
            }
            "updateEnvironmentVariable" => {
                let all = arguments.get("data").and_then(Value::as_object).into_iter().flatten();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                held.variables = all.map(|(key, value)| (key.clone(), text(value))).collect();
                done()
            }
            other => Err(format!("{other} is not rehearsed")),
        })
    }

    /// The whole name that is asked for.
    fn host(&self, arguments: &Map<String, Value>) -> String {
        let domain = text(arguments, "domain");
        if arguments.get("isGenerated") == Some(&json!(true)) {
            format!("{domain}.{}", self.zeabur.site.host_suffix)
        } else {
            domain.to_owned()
        }
    }

    fn add_domain(&self, arguments: &Map<String, Value>) -> Looked {
        let site = &self.zeabur.site;
        let (domain, host) = (text(arguments, "domain"), self.host(arguments));
        let is_generated = arguments.get("isGenerated") == Some(&json!(true));
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if is_generated && !(domain.chars().all(fits) && (1..=63).contains(&domain.len())) {
            return Err("invalid domain".to_owned());
        }
        let mut stock = self.zeabur.stock();
        if stock.service_of(&host).is_some() {
            return Err(format!("domain {host} is already taken"));
        }
        let now = site.clock.wall().0;
        let environment = match arguments.get("environmentID").and_then(Value::as_str) {
            Some(named) => named.to_owned(),
            None => stock.service(text(arguments, "serviceID"))?.environment.clone(),
        };
        let held = stock.service_in(text(arguments, "serviceID"), &environment)?;
        let domain = Domain {
            row: json!({
                "_id": site.dice.hex(24), "domain": host, "serviceID": held.id, "environmentID": environment,
                "portName": arguments.get("portName"), "redirectTo": arguments.get("redirectTo"),
                "isGenerated": is_generated, "createdAt": site.now(),
            }),
            ready_at: if is_generated { now } else { now + CERTIFICATE_MS },
        };
        let shown = domain.shown(now);
        held.domains.push(domain);
        row(shown)
    }

    fn remove_domain(&self, host: &str) -> Looked {
        let mut stock = self.zeabur.stock();
        if stock.service_of(host).is_none() {
            return Err("domain not found".to_owned());
        }
        for service in &mut stock.services {
            service.domains.retain(|domain| domain.row["domain"] != host);
        }
        done()
    }
}

/// The name of the way in to a TCP port.
fn entrance(service: &str, port: &Value) -> String {
    format!("{service}/{}", port["id"].as_str().unwrap_or_default())
}

/// The same image with another tag.
fn change_tag(held: &mut Service, tag: &str) -> Result<(), String> {
    let image = held.image.take().ok_or("service has no image")?;
    let (path, last) = image.rsplit_once('/').unwrap_or(("", image.as_str()));
    let name = last.split(['@', ':']).next().unwrap_or_default();
    held.image = Some(format!("{path}/{name}:{tag}").trim_start_matches('/').to_owned());
    Ok(())
}
