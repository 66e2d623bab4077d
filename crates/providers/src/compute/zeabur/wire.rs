//! The documents that the adapter sends to Zeabur, and what it reads of the answers.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What is read of a deployment, wherever one turns up.
const RUN: &str = "{ edges { node { _id status } } }";

/// A query of every service of the project, and of the newest deployment of the services whose ids are given as `$s0`,
/// `$s1`, … — all in one request.
pub(super) fn look(known: usize) -> String {
    format!(
        "query look($project: ObjectID!, $environment: ObjectID!, $skip: Int{}) {{
  services(projectID: $project, skip: $skip, limit: 100) {{
    pageInfo {{ hasNextPage }}
    edges {{ node {{
      _id name template
      status(environmentID: $environment)
      domains(environmentID: $environment) {{ domain status isGenerated }}
      variables(environmentID: $environment) {{ key value serviceID }}
      ports(environmentID: $environment) {{ id port type forwardedPort }}
    }} }}
  }}
{}}}",
        declared(known),
        newest(known)
    )
}

/// A query of the newest deployments alone.
pub(super) fn deployments(count: usize) -> String {
    let (declared, newest) = (declared(count), newest(count));
    format!("query deployments($environment: ObjectID!{declared}) {{\n{newest}}}")
}

fn declared(count: usize) -> String {
    (0..count).map(|n| format!(", $s{n}: ObjectID!")).collect()
}

fn newest(count: usize) -> String {
    (0..count)
        .map(|n| {
            format!("  d{n}: deployments(serviceID: $s{n}, environmentID: $environment, perPage: 1) {RUN}\n")
        })
        .collect()
}

/// One change of one variable. Each is a mutation of its own: the one that takes all variables at once takes away
/// what it is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There is none of that name.
    Create(String, String),
    /// There is one, with another value.
    Update(String, String),
    /// There is one that is to go.
    Delete(String),
}

impl Change {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Create(key, _) | Self::Update(key, _) | Self::Delete(key) => key,
        }
    }

    pub(super) fn value(&self) -> Option<&str> {
        match self {
            Self::Create(_, value) | Self::Update(_, value) => Some(value),
            Self::Delete(_) => None,
        }
    }

    fn declared(&self, n: usize) -> String {
        let value = self.value().map_or_else(String::new, |_| format!(", $v{n}: String!"));
        format!(", $k{n}: String!{value}")
    }

    fn field(&self, n: usize) -> String {
        let (name, what) = match self {
            Self::Create(..) => ("createEnvironmentVariable", format!("key: $k{n}, value: $v{n}")),
            Self::Update(..) => (
                "updateSingleEnvironmentVariable",
                format!("oldKey: $k{n}, newKey: $k{n}, value: $v{n}"),
            ),
            Self::Delete(..) => ("deleteSingleEnvironmentVariable", format!("key: $k{n}")),
        };
        format!("  c{n}: {name}(serviceID: $service, environmentID: $environment, {what}) {{ key }}\n")
    }
}

/// Several changes in one request. They are carried out one after another, in this order.
pub(super) fn changes(all: &[Change]) -> String {
    let declared: String = all.iter().enumerate().map(|(n, change)| change.declared(n)).collect();
    let fields: String = all.iter().enumerate().map(|(n, change)| change.field(n)).collect();
    format!("mutation setVariables($service: ObjectID!, $environment: ObjectID!{declared}) {{\n{fields}}}")
}

pub(super) const PROGRESS: &str = "query progress($service: ObjectID!, $environment: ObjectID!) {
  service(_id: $service) { _id status(environmentID: $environment) }
  deployments(serviceID: $service, environmentID: $environment, perPage: 1) { edges { node { _id status } } }
}";

pub(super) const PROJECT: &str = "query project($id: ObjectID!) {
  project(_id: $id) { _id name environments { _id name } }
}";

pub(super) const PROJECTS: &str = "query projects($skip: Int) {
  projects(skip: $skip, limit: 100) {
    pageInfo { hasNextPage }
    edges { node { _id name environments { _id name } } }
  }
}";

pub(super) const ENVIRONMENTS: &str = "query environments($project: ObjectID!) {
  environments(projectID: $project) { _id name }
}";

pub(super) const CREATE_PROJECT: &str = "mutation createProject($region: String!, $name: String) {
  createProject(region: $region, name: $name) { _id name environments { _id name } }
}";

pub(super) const CREATE_SERVICE: &str = "mutation createService($project: ObjectID!, $name: String!) {
  createService(projectID: $project, template: PREBUILT_V2, name: $name) { _id }
}";

pub(super) const SET_PORTS: &str = "mutation setPorts($service: ObjectID!, $environment: ObjectID!, $ports: [ServiceSpecPortInput!]!) {
  updateServicePorts(serviceID: $service, environmentID: $environment, ports: $ports)
}";

pub(super) const ADD_DOMAIN: &str = "mutation addDomain($service: ObjectID!, $environment: ObjectID, $domain: String!, $generated: Boolean!, $port: String) {
  addDomain(serviceID: $service, environmentID: $environment, domain: $domain, isGenerated: $generated, portName: $port) {
    domain status isGenerated
  }
}";

pub(super) const REMOVE_DOMAIN: &str = "mutation removeDomain($domain: String!) { removeDomain(domain: $domain) }";

pub(super) const DEPLOY: &str = "mutation deploy($service: ObjectID!, $specification: DeploymentSpecification!) {
  deployFromSpecification(serviceID: $service, specification: $specification) { deploymentID }
}";

pub(super) const RESTART: &str = "mutation restart($service: ObjectID!, $environment: ObjectID!) {
  restartService(serviceID: $service, environmentID: $environment)
}";

pub(super) const SUSPEND: &str = "mutation suspend($service: ObjectID!, $environment: ObjectID!) {
  suspendService(serviceID: $service, environmentID: $environment)
}";

pub(super) const DELETE: &str = "mutation deleteService($service: ObjectID!) { deleteService(_id: $service) }";

pub(super) const LOGS: &str = "query logs($project: ObjectID, $service: ObjectID!, $environment: ObjectID!) {
  runtimeLogs(projectID: $project, serviceID: $service, environmentID: $environment) { message timestamp }
}";

pub(super) const CREDIT: &str = "query credit { me { credit } }";

#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) edges: Vec<Edge<T>>,
    #[serde(default, rename = "pageInfo")]
    pub(super) info: Option<PageInfo>,
}

impl<T> Page<T> {
    pub(super) fn has_more(&self) -> bool {
        !self.edges.is_empty() && self.info.as_ref().is_some_and(|info| info.has_next_page)
    }

    pub(super) fn nodes(self) -> impl Iterator<Item = T> {
        self.edges.into_iter().map(|edge| edge.node)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Edge<T> {
    pub(super) node: T,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageInfo {
    pub(super) has_next_page: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProjectAnswer {
    pub(super) project: Option<Project>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProjectsAnswer {
    pub(super) projects: Page<Project>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EnvironmentsAnswer {
    pub(super) environments: Vec<Environment>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProjectCreated {
    pub(super) create_project: Project,
}

#[derive(Debug, Deserialize)]
pub(super) struct Project {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) environments: Option<Vec<Environment>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Environment {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct LookAnswer {
    pub(super) services: Page<Service>,
    /// `d0`, `d1`, …
    #[serde(flatten)]
    pub(super) newest: BTreeMap<String, Page<Run>>,
}

/// A service of the project, as it stands in the environment.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Service {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) template: Option<String>,
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default)]
    pub(super) domains: Option<Vec<Domain>>,
    #[serde(default)]
    pub(super) variables: Option<Vec<Variable>>,
    #[serde(default)]
    pub(super) ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Domain {
    pub(super) domain: String,
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default)]
    pub(super) is_generated: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Variable {
    pub(super) key: String,
    pub(super) value: String,
    /// Another service's, when that one shares it with all.
    #[serde(default, rename = "serviceID")]
    pub(super) service: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Port {
    pub(super) id: String,
    pub(super) port: u16,
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Where it is reached from outside, when it is not HTTP.
    #[serde(default, rename = "forwardedPort")]
    pub(super) forwarded: Option<u16>,
}

/// A deployment.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Run {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) status: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProgressAnswer {
    pub(super) service: Option<Stands>,
    pub(super) deployments: Page<Run>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Stands {
    #[serde(default)]
    pub(super) status: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceCreated {
    pub(super) create_service: Created,
}

#[derive(Debug, Deserialize)]
pub(super) struct Created {
    #[serde(rename = "_id")]
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DomainAdded {
    pub(super) add_domain: Domain,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deployed {
    pub(super) deploy_from_specification: DeploymentId,
}

#[derive(Debug, Deserialize)]
pub(super) struct DeploymentId {
    #[serde(rename = "deploymentID")]
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogsAnswer {
    pub(super) runtime_logs: Vec<LogRow>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LogRow {
    pub(super) message: String,
    pub(super) timestamp: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct CreditAnswer {
    pub(super) me: Me,
}

#[derive(Debug, Deserialize)]
pub(super) struct Me {
    pub(super) credit: Option<i64>,
}
