//! The documents that the adapter sends to Railway, and what it reads of the answers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What is read of a deployment, wherever one turns up.
const RUN: &str = "fragment run on Deployment { id status deploymentStopped meta instances { status } }";

/// A query of every service instance of the environment, and of the variables and TCP proxies of the services whose
/// ids are given as `$s0`, `$s1`, … — all in one request, because requests are what is counted.
pub(super) fn look(known: usize) -> String {
    format!(
        "query look($project: String!, $environment: String!, $after: String{}) {{
  environment(id: $environment, projectId: $project) {{
    serviceInstances(first: 100, after: $after) {{
      edges {{ node {{
        serviceId serviceName numReplicas healthcheckPath startCommand drainingSeconds sleepApplication
        restartPolicyType restartPolicyMaxRetries
        source {{ image }}
        domains {{ serviceDomains {{ id domain targetPort }} }}
        latestDeployment {{ ...run }}
        activeDeployments {{ ...run }}
      }} }}
      pageInfo {{ hasNextPage endCursor }}
    }}
  }}
{}}}
{RUN}",
        declared(known),
        per_service(known)
    )
}

/// A query of the variables and TCP proxies alone.
pub(super) fn details(count: usize) -> String {
    format!(
        "query details($project: String!, $environment: String!{}) {{\n{}}}",
        declared(count),
        per_service(count)
    )
}

fn declared(count: usize) -> String {
    (0..count).map(|n| format!(", $s{n}: String!")).collect()
}

fn per_service(count: usize) -> String {
    (0..count)
        .map(|n| {
            format!(
                "  vars{n}: variables(projectId: $project, environmentId: $environment, serviceId: $s{n}, unrendered: true)
  proxies{n}: tcpProxies(environmentId: $environment, serviceId: $s{n}) {{ domain proxyPort applicationPort }}
"
            )
        })
        .collect()
}

/// A query of several deployments, as `d0`, `d1`, …
pub(super) fn deployments(count: usize) -> String {
    let declared: Vec<String> = (0..count).map(|n| format!("$d{n}: String!")).collect();
    let fields: String =
        (0..count).map(|n| format!("  d{n}: deployment(id: $d{n}) {{ ...run }}\n")).collect();
    format!("query progress({}) {{\n{fields}}}\n{RUN}", declared.join(", "))
}

pub(super) const TOKEN: &str = "query token { projectToken { projectId environmentId } }";

pub(super) const PROJECT: &str = "query project($id: String!) {
  project(id: $id) { id name environments(first: 100) { edges { node { id name } } } }
}";

pub(super) const PROJECTS: &str = "query projects($workspace: String, $after: String) {
  projects(workspaceId: $workspace, first: 100, after: $after) {
    edges { node { id name environments(first: 100) { edges { node { id name } } } } }
    pageInfo { hasNextPage endCursor }
  }
}";

pub(super) const CREATE_PROJECT: &str = "mutation createProject($input: ProjectCreateInput!) {
  projectCreate(input: $input) { id name environments(first: 100) { edges { node { id name } } } }
}";

pub(super) const CREATE_SERVICE: &str = "mutation createService($input: ServiceCreateInput!) {
  serviceCreate(input: $input) { id }
}";

pub(super) const UPSERT: &str = "mutation setVariables($input: VariableCollectionUpsertInput!) {
  variableCollectionUpsert(input: $input)
}";

pub(super) const REMOVE_VARIABLE: &str = "mutation removeVariable($input: VariableDeleteInput!) {
  variableDelete(input: $input)
}";

pub(super) const UPDATE: &str = "mutation updateInstance($service: String!, $environment: String!, $input: ServiceInstanceUpdateInput!) {
  serviceInstanceUpdate(serviceId: $service, environmentId: $environment, input: $input)
}";

pub(super) const LIMIT: &str = "mutation limitInstance($input: ServiceInstanceLimitsUpdateInput!) {
  serviceInstanceLimitsUpdate(input: $input)
}";

pub(super) const CREATE_DOMAIN: &str = "mutation createDomain($input: ServiceDomainCreateInput!) {
  serviceDomainCreate(input: $input) { domain }
}";

pub(super) const UPDATE_DOMAIN: &str = "mutation updateDomain($input: ServiceDomainUpdateInput!) {
  serviceDomainUpdate(input: $input)
}";

pub(super) const CREATE_PROXY: &str = "mutation createProxy($input: TCPProxyCreateInput!) {
  tcpProxyCreate(input: $input) { domain proxyPort }
}";

pub(super) const DEPLOY: &str = "mutation deploy($service: String!, $environment: String!) {
  serviceInstanceDeployV2(serviceId: $service, environmentId: $environment)
}";

pub(super) const STOP: &str = "mutation stop($id: String!) { deploymentStop(id: $id) }";

pub(super) const REMOVE: &str = "mutation remove($id: String!) { deploymentRemove(id: $id) }";

pub(super) const RESTART: &str = "mutation restart($id: String!) { deploymentRestart(id: $id) }";

pub(super) const DELETE: &str = "mutation deleteService($id: String!) { serviceDelete(id: $id) }";

pub(super) const DOMAINS: &str = "query domains($project: String!, $environment: String!, $service: String!) {
  domains(projectId: $project, environmentId: $environment, serviceId: $service) {
    customDomains { ...own }
  }
}
fragment own on CustomDomain {
  id domain
  status {
    certificateStatus certificateErrorMessage verified verificationDnsHost verificationToken
    dnsRecords { fqdn recordType requiredValue zone }
  }
}";

pub(super) const CREATE_OWN_DOMAIN: &str = "mutation createOwnDomain($input: CustomDomainCreateInput!) {
  customDomainCreate(input: $input) { ...own }
}
fragment own on CustomDomain {
  id domain
  status {
    certificateStatus certificateErrorMessage verified verificationDnsHost verificationToken
    dnsRecords { fqdn recordType requiredValue zone }
  }
}";

pub(super) const DELETE_OWN_DOMAIN: &str = "mutation deleteOwnDomain($id: String!) {
  customDomainDelete(id: $id)
}";

pub(super) const USAGE: &str = "query usage($project: String!, $measurements: [MetricMeasurement!]!) {
  usage(projectId: $project, measurements: $measurements) { measurement value }
}";

pub(super) const LOGS: &str = "query logs($id: String!, $limit: Int) {
  deploymentLogs(deploymentId: $id, limit: $limit) { timestamp message }
}";

#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) edges: Vec<Edge<T>>,
    #[serde(default, rename = "pageInfo")]
    pub(super) info: PageInfo,
}

#[derive(Debug, Deserialize)]
pub(super) struct Edge<T> {
    pub(super) node: T,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageInfo {
    #[serde(default)]
    pub(super) has_next_page: bool,
    #[serde(default)]
    pub(super) end_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenAnswer {
    pub(super) project_token: ProjectToken,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProjectToken {
    pub(super) project_id: String,
    pub(super) environment_id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProjectAnswer {
    pub(super) project: Project,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProjectsAnswer {
    pub(super) projects: Page<Project>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProjectCreated {
    pub(super) project_create: Project,
}

#[derive(Debug, Deserialize)]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) environments: Page<Environment>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Environment {
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct LookAnswer {
    pub(super) environment: Instances,
    /// `vars0`, `proxies0`, …
    #[serde(flatten)]
    pub(super) details: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instances {
    pub(super) service_instances: Page<Instance>,
}

/// A service in the environment: how it is to be deployed next, and what was deployed last.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    pub(super) service_id: String,
    pub(super) service_name: String,
    pub(super) num_replicas: Option<u32>,
    pub(super) healthcheck_path: Option<String>,
    pub(super) start_command: Option<String>,
    pub(super) draining_seconds: Option<u32>,
    pub(super) sleep_application: Option<bool>,
    pub(super) restart_policy_type: Option<String>,
    pub(super) restart_policy_max_retries: Option<u32>,
    pub(super) source: Option<Source>,
    pub(super) domains: Domains,
    pub(super) latest_deployment: Option<Run>,
    pub(super) active_deployments: Vec<Run>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Source {
    pub(super) image: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Domains {
    pub(super) service_domains: Vec<Domain>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Domain {
    pub(super) id: String,
    pub(super) domain: String,
    pub(super) target_port: Option<u16>,
}

/// A deployment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) deployment_stopped: bool,
    pub(super) meta: Option<Value>,
    pub(super) instances: Vec<RunInstance>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct RunInstance {
    pub(super) status: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Proxy {
    pub(super) domain: String,
    pub(super) proxy_port: u16,
    pub(super) application_port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceCreated {
    pub(super) service_create: Created,
}

#[derive(Debug, Deserialize)]
pub(super) struct Created {
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deployed {
    pub(super) service_instance_deploy_v2: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogsAnswer {
    pub(super) deployment_logs: Vec<LogRow>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LogRow {
    #[serde(default)]
    pub(super) timestamp: String,
    #[serde(default)]
    pub(super) message: String,
}
