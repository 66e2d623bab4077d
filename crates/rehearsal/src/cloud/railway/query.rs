//! Looks up what queries ask for.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Railway;
use super::deployment::Deployment;
use super::stock::{Instance, Stock};
use crate::cloud::graphql::{Found, Page, Resolver, text};
use crate::cloud::log::{Line, Stream, moment};

/// One client's request.
pub(super) struct Session {
    pub(super) railway: Arc<Railway>,
    /// Whether the token is an account's, not a project's.
    pub(super) account: bool,
}

/// One object.
#[derive(Clone)]
pub(super) enum Node {
    Query,
    Mutation,
    Me,
    Workspace,
    Project,
    ProjectToken,
    Environment(String),
    Service(String),
    /// Service and environment.
    Instance(String, String),
    /// All domains of an instance.
    Domains(String, String),
    Deployment(Arc<Deployment>),
    /// Anything that is just its fields.
    Row(Value),
}

/// The result of looking something up; the error is for the client.
pub(super) type Looked = Result<Found<Node>, String>;

const NOT_AUTHORIZED: &str = "Not Authorized";

fn plain(value: impl Into<Value>) -> Looked {
    Ok(Found::Plain(value.into()))
}

/// The part of `nodes` that `first`, `last`, `after` and `before` ask for.
fn page(nodes: Vec<Node>, arguments: &Map<String, Value>) -> Looked {
    let total = nodes.len();
    let number = |name: &str| {
        arguments.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
    };
    let place = |name: &str| {
        arguments.get(name).and_then(Value::as_str).and_then(|c| c.parse::<usize>().ok())
    };
    let mut start = place("after").map_or(0, |after| after + 1).min(total);
    let mut end = place("before").unwrap_or(total).clamp(start, total);
    if let Some(first) = number("first") {
        end = end.min(start + first);
    }
    if let Some(last) = number("last") {
        start = start.max(end.saturating_sub(last));
    }
    let nodes = nodes.into_iter().skip(start).take(end - start).collect();
    Ok(Found::Page(Page { nodes, offset: start, total }))
}

impl Resolver for Session {
    type Node = Node;

    fn field(&self, of: &Node, name: &str, arguments: &Map<String, Value>) -> Looked {
        match of {
            Node::Query => self.query(name, arguments),
            Node::Mutation => self.mutation(name, arguments),
            Node::Me => self.me(name, arguments),
            Node::Workspace => self.workspace(name, arguments),
            Node::Project => self.project(name, arguments),
            Node::ProjectToken => self.project_token(name),
            Node::Environment(id) => self.environment(id, name, arguments),
            Node::Service(id) => self.service(id, name, arguments),
            Node::Instance(service, environment) => self.instance(service, environment, name),
            Node::Domains(service, environment) => self.domains(service, environment, name),
            Node::Deployment(deployment) => self.deployment(deployment, name),
            Node::Row(row) => Ok(rows(row.get(name).cloned().unwrap_or_default())),
        }
    }
}

/// A value of a row: objects and lists of them are rows again.
fn rows(value: Value) -> Found<Node> {
    match value {
        Value::Object(_) => Found::One(Node::Row(value)),
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            Found::Many(items.into_iter().map(Node::Row).collect())
        }
        other => Found::Plain(other),
    }
}

impl Session {
    fn query(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        match name {
            "me" | "workspace" | "projects" if !self.account => Err(NOT_AUTHORIZED.to_owned()),
            "projectToken" if self.account => Err("Project Token not found".to_owned()),
            "serviceInstance"
            | "domains"
            | "tcpProxies"
            | "serviceInstanceLimits"
            | "serviceInstanceLimitOverride" => self.query_instance(name, arguments),
            "deployments" => self.deployments(arguments),
            "deploymentLogs" | "buildLogs" | "environmentLogs" => self.logs(name, arguments),
            "variables" | "variablesForServiceDeployment" => self.variables(arguments),
            "usage" | "estimatedUsage" => Ok(self.railway.usage(name, arguments)),
            "regions" => {
                let region = json!({
                    "country": "US", "id": "iad", "location": "Virginia", "name": "us-east4", "region": "us-east4",
                });
                Ok(Found::Many(vec![Node::Row(region)]))
            }
            "platformStatus" => Ok(Found::One(Node::Row(json!({ "isStable": true })))),
            "customDomain" | "customDomainAvailable" | "serviceDomainAvailable" => {
                self.query_domain(name, arguments)
            }
            _ => self.query_object(name, arguments),
        }
    }

    fn query_object(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        let stock = self.railway.stock();
        let id = text(arguments, "id");
        match name {
            "me" => Ok(Found::One(Node::Me)),
            "workspace" => {
                let ours = text(arguments, "workspaceId") == stock.workspace;
                known(ours, Node::Workspace, NOT_AUTHORIZED)
            }
            "projects" => page(vec![Node::Project], arguments),
            "projectToken" => Ok(Found::One(Node::ProjectToken)),
            "project" => known(id == stock.project, Node::Project, "Project not found"),
            "environment" => {
                let node = Node::Environment(id.to_owned());
                known(stock.environments.contains_key(id), node, "Environment not found")
            }
            "environments" => page(environments(&stock), arguments),
            "service" => {
                let node = Node::Service(id.to_owned());
                known(stock.services.contains_key(id), node, "Service not found")
            }
            "deployment" => Ok(Found::One(Node::Deployment(stock.deployment(id)?))),
            "deploymentEvents" => {
                stock.deployment(id)?;
                page(Vec::new(), arguments)
            }
            other => Err(format!("{other} is not rehearsed")),
        }
    }

    fn query_domain(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        let stock = self.railway.stock();
        if name == "customDomain" {
            let id = text(arguments, "id");
            let mut rows = stock.instances.values().flat_map(|i| &i.custom_domains);
            let row = rows.find(|row| row["id"] == id).ok_or("Custom domain not found")?;
            return Ok(Found::One(Node::Row(self.railway.custom_domain(row.clone()))));
        }
        let domain = text(arguments, "domain");
        let taken =
            stock.instances.values().flat_map(Instance::domains).any(|row| row["domain"] == domain);
        let message = if taken { "Domain is taken" } else { "Domain is available" };
        Ok(Found::One(Node::Row(json!({ "available": !taken, "message": message }))))
    }

    fn query_instance(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        let (service, environment) =
            (text(arguments, "serviceId").to_owned(), text(arguments, "environmentId").to_owned());
        let mut stock = self.railway.stock();
        let held = stock.instance(&service, &environment)?;
        match name {
            "serviceInstance" => Ok(Found::One(Node::Instance(service, environment))),
            "domains" => Ok(Found::One(Node::Domains(service, environment))),
            "tcpProxies" => Ok(Found::Many(held.proxies.iter().cloned().map(Node::Row).collect())),
            "serviceInstanceLimits" => plain(held.limits()),
            _ => plain(if held.memory_gb.is_some() || held.vcpus.is_some() {
                held.limits()
            } else {
                Value::Null
            }),
        }
    }

    fn deployments(&self, arguments: &Map<String, Value>) -> Looked {
        let input = arguments.get("input").and_then(Value::as_object).cloned().unwrap_or_default();
        let fits = |name: &str, held: &str| {
            input.get(name).and_then(Value::as_str).is_none_or(|wanted| wanted == held)
        };
        let listed = |which: &str, status: &str| {
            let list = input.get("status").and_then(|s| s.get(which)).and_then(Value::as_array);
            list.map(|list| list.iter().any(|s| s == status))
        };
        let stock = self.railway.stock();
        let found = stock.deployments.iter().rev().filter(|deployment| {
            let status = deployment.status(&self.railway.site);
            fits("projectId", &stock.project)
                && fits("serviceId", &deployment.service)
                && fits("environmentId", &deployment.environment)
                && listed("in", status) != Some(false)
                && listed("notIn", status) != Some(true)
        });
        page(found.cloned().map(Node::Deployment).collect(), arguments)
    }

    fn variables(&self, arguments: &Map<String, Value>) -> Looked {
        let (service, environment) =
            (text(arguments, "serviceId"), text(arguments, "environmentId"));
        let mut stock = self.railway.stock();
        if text(arguments, "projectId") != stock.project {
            return Err("Project not found".to_owned());
        }
        if service.is_empty() {
            return plain(json!({}));
        }
        let own = stock
            .services
            .get(service)
            .map(|s| stock.own_variables(s, environment))
            .ok_or("Service not found")?;
        let held = stock.instance(service, environment)?.variables.clone();
        let all: Map<String, Value> =
            own.into_iter().chain(held).map(|(name, value)| (name, json!(value))).collect();
        plain(Value::Object(all))
    }

    /// Log lines, oldest first; `limit` keeps the newest.
    fn logs(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        let limit = arguments
            .get("limit")
            .or_else(|| arguments.get("beforeLimit"))
            .and_then(Value::as_u64)
            .unwrap_or(100)
            .min(5_000);
        let filter = text(arguments, "filter").to_lowercase();
        let stock = self.railway.stock();
        let mut lines: Vec<(String, Line)> = Vec::new();
        let id = text(arguments, "deploymentId");
        if name == "environmentLogs" {
            for service in stock.services.values() {
                lines.extend(
                    service.log.since(0).into_iter().map(|line| (service.id.clone(), line)),
                );
            }
            lines.sort_by_key(|(_, line)| line.at);
        } else {
            let deployment = stock.deployment(id)?;
            let kept = deployment.log.since(0).into_iter().filter(|line| line.tag == id);
            lines.extend(kept.map(|line| (deployment.service.clone(), line)));
        }
        lines.retain(|(_, line)| match name {
            // Images are not built: the vendor's own lines stand for the build.
            "buildLogs" => line.stream == Stream::Provider,
            _ => filter.is_empty() || line.text.to_lowercase().contains(&filter),
        });
        let (since, until) = (text(arguments, "startDate"), text(arguments, "endDate"));
        lines.retain(|(_, line)| {
            let at = moment(line.at);
            at.as_str() >= since && (until.is_empty() || at.as_str() <= until)
        });
        lines.drain(..lines.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX)));
        let row = |(service, line): &(String, Line)| {
            let severity = if line.stream == Stream::Err { "error" } else { "info" };
            Node::Row(json!({
                "timestamp": moment(line.at),
                "message": line.text,
                "severity": severity,
                "attributes": [{ "key": "level", "value": format!("\"{severity}\"") }],
                "tags": {
                    "projectId": stock.project, "serviceId": service, "environmentId": self.railway.environment,
                    "deploymentId": line.tag, "deploymentInstanceId": line.instance,
                },
            }))
        };
        Ok(Found::Many(lines.iter().map(row).collect()))
    }

    fn me(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        let stock = self.railway.stock();
        match name {
            "id" => plain(format!("user-{}", &stock.workspace[..8])),
            "email" => plain("operator@rehearsal.invalid"),
            "name" | "username" => plain("operator"),
            "createdAt" => plain(stock.created.clone()),
            "isVerified" => plain(true),
            "has2FA" | "isAdmin" => plain(false),
            "workspace" => Ok(Found::One(Node::Workspace)),
            "workspaces" => Ok(Found::Many(vec![Node::Workspace])),
            // The vendor: go through the workspace's projects.
            "projects" => page(Vec::new(), arguments),
            _ => plain(Value::Null),
        }
    }

    fn workspace(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        let stock = self.railway.stock();
        match name {
            "id" => plain(stock.workspace.clone()),
            "name" => plain("Rehearsal"),
            "plan" => plain("PRO"),
            "subscriptionModel" => plain("TEAM"),
            "createdAt" | "updatedAt" => plain(stock.created.clone()),
            "projectCount" => plain(1),
            "projects" => page(vec![Node::Project], arguments),
            _ => plain(Value::Null),
        }
    }

    fn project(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        let stock = self.railway.stock();
        match name {
            "id" => plain(stock.project.clone()),
            "name" => plain(stock.project_name.clone()),
            "createdAt" | "updatedAt" => plain(stock.created.clone()),
            "workspace" => Ok(Found::One(Node::Workspace)),
            "workspaceId" | "teamId" => plain(stock.workspace.clone()),
            "baseEnvironmentId" | "primaryEnvironmentId" => plain(self.railway.environment.clone()),
            "subscriptionType" => plain("pro"),
            "isPublic" | "isTempProject" | "prDeploys" => plain(false),
            "environments" => page(environments(&stock), arguments),
            "services" => {
                page(stock.services.keys().cloned().map(Node::Service).collect(), arguments)
            }
            "deployments" => page(
                stock.deployments.iter().rev().cloned().map(Node::Deployment).collect(),
                arguments,
            ),
            _ => plain(Value::Null),
        }
    }

    fn project_token(&self, name: &str) -> Looked {
        let stock = self.railway.stock();
        match name {
            "id" => plain(format!("token-{}", &stock.project[..8])),
            "name" => plain("rehearsal"),
            "displayToken" => plain("rehe-****"),
            "createdAt" => plain(stock.created.clone()),
            "environment" => Ok(Found::One(Node::Environment(self.railway.environment.clone()))),
            "environmentId" => plain(self.railway.environment.clone()),
            "project" => Ok(Found::One(Node::Project)),
            "projectId" => plain(stock.project.clone()),
            _ => plain(Value::Null),
        }
    }

    fn environment(&self, id: &str, name: &str, arguments: &Map<String, Value>) -> Looked {
        let stock = self.railway.stock();
        match name {
            "id" => plain(id),
            "name" => plain(stock.environments.get(id).cloned().unwrap_or_default()),
            "projectId" => plain(stock.project.clone()),
            "createdAt" | "updatedAt" => plain(stock.created.clone()),
            "canAccess" => plain(true),
            "isEphemeral" => plain(false),
            "deployments" => {
                let of = stock.deployments.iter().rev().filter(|d| d.environment == id);
                page(of.cloned().map(Node::Deployment).collect(), arguments)
            }
            "serviceInstances" => {
                page(instances(&stock, |_, environment| environment == id), arguments)
            }
            _ => plain(Value::Null),
        }
    }

    fn service(&self, id: &str, name: &str, arguments: &Map<String, Value>) -> Looked {
        let stock = self.railway.stock();
        let held = stock.services.get(id).ok_or("Service not found")?;
        match name {
            "id" => plain(id),
            "name" => plain(held.name.clone()),
            "icon" => plain(held.icon.clone()),
            "createdAt" => plain(held.created.clone()),
            "updatedAt" => plain(held.updated.clone()),
            "isRestricted" => plain(false),
            "project" => Ok(Found::One(Node::Project)),
            "projectId" => plain(stock.project.clone()),
            "deployments" => {
                let of = stock.deployments.iter().rev().filter(|d| d.service == id);
                page(of.cloned().map(Node::Deployment).collect(), arguments)
            }
            "serviceInstances" => page(instances(&stock, |service, _| service == id), arguments),
            _ => plain(Value::Null),
        }
    }

    fn instance(&self, service: &str, environment: &str, name: &str) -> Looked {
        let mut stock = self.railway.stock();
        let newest = stock.deployments_of(service, environment).next().cloned();
        let active: Vec<Node> = stock
            .deployments_of(service, environment)
            .filter(|d| d.succeeded() && !d.is_over())
            .cloned()
            .map(Node::Deployment)
            .collect();
        let service_name = stock.services.get(service).map(|s| s.name.clone()).unwrap_or_default();
        let held = stock.instance(service, environment)?;
        let setting = |name: &str, own: Value| {
            held.settings.get(name).filter(|v| !v.is_null()).cloned().unwrap_or(own)
        };
        match name {
            "id" => plain(held.id.clone()),
            "serviceId" => plain(service),
            "environmentId" => plain(environment),
            "serviceName" => plain(service_name),
            "createdAt" => plain(held.created.clone()),
            "updatedAt" => plain(held.updated.clone()),
            "service" => Ok(Found::One(Node::Service(service.to_owned()))),
            "domains" => Ok(Found::One(Node::Domains(service.to_owned(), environment.to_owned()))),
            "source" => Ok(held.image.as_ref().map_or(Found::Plain(Value::Null), |image| {
                Found::One(Node::Row(json!({ "image": image, "repo": null })))
            })),
            "latestDeployment" => {
                Ok(newest.map_or(Found::Plain(Value::Null), |d| Found::One(Node::Deployment(d))))
            }
            "activeDeployments" => Ok(Found::Many(active)),
            "builder" => plain(setting("builder", json!("RAILPACK"))),
            "isUpdatable" => plain(false),
            "numReplicas" => plain(held.replicas()),
            "restartPolicyMaxRetries" => plain(setting(name, json!(10))),
            "restartPolicyType" => plain(setting(name, json!("ON_FAILURE"))),
            "watchPatterns" => plain(setting(name, json!([]))),
            // A type of its own, of which nothing is rehearsed.
            "railpackInfo" | "upstreamUrl" | "nextCronRunAt" | "deletedAt" => plain(Value::Null),
            other => plain(setting(other, Value::Null)),
        }
    }

    fn domains(&self, service: &str, environment: &str, name: &str) -> Looked {
        let mut stock = self.railway.stock();
        let held = stock.instance(service, environment)?;
        if name == "customDomains" {
            let rows = held.custom_domains.iter().cloned();
            return Ok(Found::Many(
                rows.map(|row| Node::Row(self.railway.custom_domain(row))).collect(),
            ));
        }
        Ok(Found::Many(held.service_domains.iter().cloned().map(Node::Row).collect()))
    }

    fn deployment(&self, deployment: &Arc<Deployment>, name: &str) -> Looked {
        let site = &self.railway.site;
        let status = deployment.status(site);
        let domain = || {
            deployment
                .snapshot
                .domains()
                .next()
                .map(|row| row["domain"].clone())
                .unwrap_or_default()
        };
        match name {
            "id" => plain(deployment.id.clone()),
            "snapshotId" => plain(deployment.snapshot_id.clone()),
            "status" => plain(status),
            "createdAt" => plain(deployment.created.clone()),
            "updatedAt" | "statusUpdatedAt" => plain(deployment.updated()),
            "canRedeploy" => plain(true),
            "canRollback" => plain(deployment.succeeded()),
            "deploymentStopped" => plain(deployment.is_stopped()),
            "environment" => Ok(Found::One(Node::Environment(deployment.environment.clone()))),
            "environmentId" => plain(deployment.environment.clone()),
            "service" => Ok(Found::One(Node::Service(deployment.service.clone()))),
            "serviceId" => plain(deployment.service.clone()),
            "projectId" => plain(self.railway.stock().project.clone()),
            "instances" => {
                Ok(Found::Many(deployment.replicas(site).into_iter().map(Node::Row).collect()))
            }
            "meta" => plain(deployment.meta()),
            "staticUrl" | "url" => plain(domain()),
            "suggestAddServiceDomain" => plain(deployment.snapshot.domains().next().is_none()),
            _ => plain(Value::Null),
        }
    }
}

fn known(is: bool, node: Node, otherwise: &str) -> Looked {
    if is { Ok(Found::One(node)) } else { Err(otherwise.to_owned()) }
}

fn environments(stock: &Stock) -> Vec<Node> {
    stock.environments.keys().cloned().map(Node::Environment).collect()
}

fn instances(stock: &Stock, fits: impl Fn(&str, &str) -> bool) -> Vec<Node> {
    let keys = stock.instances.keys().filter(|(service, environment)| fits(service, environment));
    keys.map(|(service, environment)| Node::Instance(service.clone(), environment.clone()))
        .collect()
}
