//! Looks up what queries ask for.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Zeabur;
use super::deployment::Deployment;
use super::stock::{Project, Service};
use crate::cloud::graphql::{Found, Page, Resolver, text};
use crate::cloud::log::{Stream, moment};

/// Most objects of one page.
const PAGE: usize = 100;

/// One client's request.
pub(super) struct Session {
    pub(super) zeabur: Arc<Zeabur>,
}

/// One object.
#[derive(Clone)]
pub(super) enum Node {
    Query,
    Mutation,
    Project(String),
    Service(String),
    Deployment(Arc<Deployment>),
    /// Anything that is just its fields.
    Row(Value),
}

/// The result of looking something up; the error is for the client.
pub(super) type Looked = Result<Found<Node>, String>;

fn plain(value: impl Into<Value>) -> Looked {
    Ok(Found::Plain(value.into()))
}

/// A list of objects that are just their fields.
fn rows(list: impl IntoIterator<Item = Value>) -> Looked {
    Ok(Found::Many(list.into_iter().map(Node::Row).collect()))
}

/// The part of `nodes` that `skip` and `limit` ask for.
fn page(nodes: Vec<Node>, arguments: &Map<String, Value>, limit: &str) -> Looked {
    let number = |name: &str| {
        arguments.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
    };
    let (total, offset) = (nodes.len(), number("skip").unwrap_or(0));
    let most = number(limit).unwrap_or(PAGE).min(PAGE);
    let nodes = nodes.into_iter().skip(offset).take(most).collect();
    Ok(Found::Page(Page { nodes, offset, total }))
}

impl Resolver for Session {
    type Node = Node;

    fn field(&self, of: &Node, name: &str, arguments: &Map<String, Value>) -> Looked {
        match of {
            Node::Query => self.query(name, arguments),
            Node::Mutation => self.mutation(name, arguments),
            Node::Project(id) => self.project(id, name),
            Node::Service(id) => self.service(id, name, arguments),
            Node::Deployment(deployment) => of_deployment(deployment, name),
            Node::Row(row) => Ok(Found::Plain(row.get(name).cloned().unwrap_or_default())),
        }
    }
}

impl Session {
    fn query(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        let zeabur = &self.zeabur;
        let given = |name: &str| arguments.get(name).and_then(Value::as_str);
        match name {
            "me" => Ok(Found::One(Node::Row(json!({
                "_id": zeabur.user, "name": "Rehearsal", "username": "rehearsal",
                "email": "rehearsal@example.org", "credit": 480,
            })))),
            "projects" => {
                let stock = zeabur.stock();
                let nodes = stock.projects.iter().map(|p| Node::Project(p.id.clone())).collect();
                page(nodes, arguments, "limit")
            }
            "project" => {
                let stock = zeabur.stock();
                let fits = |project: &&Project| match given("_id") {
                    Some(id) => project.id == id,
                    None => Some(project.name.as_str()) == given("name"),
                };
                let found = stock.projects.iter().find(fits).ok_or("project not found")?;
                Ok(Found::One(Node::Project(found.id.clone())))
            }
            "environments" => {
                let stock = zeabur.stock();
                let project = stock.project(text(arguments, "projectID"))?;
                rows([environment(project)])
            }
            "environment" => {
                let stock = zeabur.stock();
                let id = text(arguments, "_id");
                let found = stock.projects.iter().find(|p| p.environment == id);
                Ok(Found::One(Node::Row(environment(found.ok_or("environment not found")?))))
            }
            "services" => {
                let stock = zeabur.stock();
                let project = stock.project(text(arguments, "projectID"))?;
                let own = stock.services.iter().filter(|s| s.project == project.id);
                page(own.map(|s| Node::Service(s.id.clone())).collect(), arguments, "limit")
            }
            "service" => self.query_service(arguments),
            "deployments" => self.deployments(arguments),
            "deployment" => {
                Ok(Found::One(Node::Deployment(zeabur.stock().deployment(text(arguments, "id"))?)))
            }
            "runtimeLogs" => self.logs(arguments),
            "regions" => rows([
                json!({ "id": "hnd1", "name": "Tokyo", "provider": "AWS", "available": true }),
            ]),
            other => Err(format!("{other} is not rehearsed")),
        }
    }

    fn query_service(&self, arguments: &Map<String, Value>) -> Looked {
        let stock = self.zeabur.stock();
        let given = |name: &str| arguments.get(name).and_then(Value::as_str);
        let of_project = |service: &Service| {
            let name = stock.project(&service.project).map(|p| p.name.as_str()).ok();
            name == given("projectName")
        };
        let fits = |service: &&Service| match given("_id") {
            Some(id) => service.id == id,
            None => Some(service.name.as_str()) == given("name") && of_project(service),
        };
        let found = stock.services.iter().find(fits).ok_or("service not found")?;
        Ok(Found::One(Node::Service(found.id.clone())))
    }

    /// Newest first.
    fn deployments(&self, arguments: &Map<String, Value>) -> Looked {
        let mut stock = self.zeabur.stock();
        let environment = text(arguments, "environmentID");
        let held = stock.service_in(text(arguments, "serviceID"), environment)?;
        let newest = held.deployments.iter().rev().cloned();
        page(newest.map(Node::Deployment).collect(), arguments, "perPage")
    }

    /// The last lines, newest first; with a cursor, those before it.
    fn logs(&self, arguments: &Map<String, Value>) -> Looked {
        let mut stock = self.zeabur.stock();
        let environment = text(arguments, "environmentID");
        let held = stock.service_in(text(arguments, "serviceID"), environment)?;
        let deployment = arguments.get("deploymentID").and_then(Value::as_str);
        let cursor = arguments.get("timestampCursor").and_then(Value::as_str);
        let lines = held.log.since(0);
        let wanted = lines
            .iter()
            .rev()
            .filter(|line| line.stream != Stream::Provider)
            .filter(|line| deployment.is_none_or(|id| line.tag == id))
            .map(|line| json!({ "message": line.text, "timestamp": moment(line.at) }))
            .filter(|row| {
                cursor.is_none_or(|c| row["timestamp"].as_str().is_some_and(|at| at < c))
            });
        rows(wanted.take(PAGE))
    }

    fn project(&self, id: &str, name: &str) -> Looked {
        let stock = self.zeabur.stock();
        let project = stock.project(id)?;
        match name {
            "_id" => plain(project.id.clone()),
            "name" => plain(project.name.clone()),
            "createdAt" => plain(project.created.clone()),
            "region" => {
                Ok(Found::One(Node::Row(json!({ "id": project.region, "available": true }))))
            }
            "environments" => rows([environment(project)]),
            _ => plain(Value::Null),
        }
    }

    fn service(&self, id: &str, name: &str, arguments: &Map<String, Value>) -> Looked {
        let site = &self.zeabur.site;
        let stock = self.zeabur.stock();
        let held = stock.service(id)?;
        let elsewhere = arguments
            .get("environmentID")
            .and_then(Value::as_str)
            .is_some_and(|asked| asked != held.environment);
        if elsewhere {
            return Err("environment not found".to_owned());
        }
        match name {
            "_id" => plain(held.id.clone()),
            "name" => plain(held.name.clone()),
            "template" => plain(held.template.clone()),
            "createdAt" => plain(held.created.clone()),
            "project" => Ok(Found::One(Node::Project(held.project.clone()))),
            "status" => plain(held.status(site)),
            "domains" => {
                let now = site.clock.wall().0;
                rows(held.domains.iter().map(|domain| domain.shown(now)))
            }
            "variables" => rows(held.variables.iter().map(|(key, value)| variable(id, key, value))),
            "ports" => rows(held.ports.clone()),
            _ => plain(Value::Null),
        }
    }
}

/// A variable as the API shows it.
pub(super) fn variable(service: &str, key: &str, value: &str) -> Value {
    json!({ "key": key, "value": value, "serviceID": service, "exposed": false, "readonly": false })
}

fn environment(project: &Project) -> Value {
    json!({
        "_id": project.environment, "name": "production", "projectID": project.id,
        "createdAt": project.created,
    })
}

fn of_deployment(deployment: &Deployment, name: &str) -> Looked {
    let (started, finished) = deployment.times();
    match name {
        "_id" => plain(deployment.id.clone()),
        "projectID" => plain(deployment.project.clone()),
        "serviceID" => plain(deployment.service.clone()),
        "environmentID" => plain(deployment.environment.clone()),
        "status" => plain(deployment.word()),
        "createdAt" | "scheduledAt" => plain(deployment.created.clone()),
        "startedAt" => plain(started.map_or(Value::Null, Value::String)),
        "finishedAt" => plain(finished.map_or(Value::Null, Value::String)),
        _ => plain(Value::Null),
    }
}
