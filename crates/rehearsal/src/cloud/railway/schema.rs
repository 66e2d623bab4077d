//! The part of Railway's public schema that the rehearsal answers: names and types of fields, as published on 2026-08-08.

/// The table, in the form of [`crate::cloud::graphql::Schema::read`].
pub(super) const TABLE: &str = "
interface Node Domain
Query
  buildLogs(deploymentId String!, endDate DateTime, filter String, limit Int, startDate DateTime) [Log!]!
  customDomain(id String!, projectId String!) CustomDomain!
  customDomainAvailable(domain String!) DomainAvailable!
  deployment(id String!) Deployment!
  deploymentEvents(after String, before String, first Int, id String!, last Int) QueryDeploymentEventsConnection!
  deploymentLogs(deploymentId String!, endDate DateTime, filter String, limit Int, startDate DateTime) [Log!]!
  deployments(after String, before String, first Int, input DeploymentListInput!, last Int) QueryDeploymentsConnection!
  domains(environmentId String!, projectId String!, serviceId String!) AllDomains!
  environment(id String!, projectId String) Environment!
  environments(after String, before String, first Int, isEphemeral Boolean, last Int, projectId String!) QueryEnvironmentsConnection!
  environmentLogs(afterDate String, afterLimit Int, anchorDate String, beforeDate String, beforeLimit Int, environmentId String!, filter String) [Log!]!
  me User!
  platformStatus PlatformStatus!
  project(id String!) Project!
  projectToken ProjectToken!
  projects(after String, before String, first Int, includeDeleted Boolean, last Int, orderBy ProjectsOrderBy, userId String, workspaceId String) QueryProjectsConnection!
  regions(projectId String) [Region!]!
  service(id String!) Service!
  serviceDomainAvailable(domain String!) DomainAvailable!
  serviceInstance(environmentId String!, serviceId String!) ServiceInstance!
  serviceInstanceLimitOverride(environmentId String!, serviceId String!) ServiceInstanceLimit
  serviceInstanceLimits(environmentId String!, serviceId String!) ServiceInstanceLimit!
  estimatedUsage(includeDeleted Boolean, measurements [MetricMeasurement!]!, projectId String, workspaceId String) [EstimatedUsage!]!
  tcpProxies(environmentId String!, serviceId String!) [TCPProxy!]!
  usage(endDate DateTime, groupBy [MetricTag!], includeDeleted Boolean, measurements [MetricMeasurement!]!, projectId String, startDate DateTime, workspaceId String) [AggregatedUsage!]!
  variables(environmentId String!, projectId String!, serviceId String, unrendered Boolean) EnvironmentVariables!
  variablesForServiceDeployment(environmentId String!, projectId String!, serviceId String!) EnvironmentVariables!
  workspace(workspaceId String!) Workspace!
Mutation
  customDomainCreate(input CustomDomainCreateInput!) CustomDomain!
  customDomainDelete(id String!) Boolean!
  customDomainUpdate(environmentId String!, id String!, targetPort Int) Boolean!
  deploymentCancel(id String!) Boolean!
  deploymentRedeploy(id String!, usePreviousImageTag Boolean) Deployment!
  deploymentRemove(id String!) Boolean!
  deploymentRestart(id String!) Boolean!
  deploymentRollback(id String!) Boolean!
  deploymentStop(id String!) Boolean!
  serviceConnect(id String!, input ServiceConnectInput!) Service!
  serviceCreate(input ServiceCreateInput!) Service!
  serviceDelete(environmentId String, id String!) Boolean!
  serviceDisconnect(id String!) Service!
  serviceDomainCreate(input ServiceDomainCreateInput!) ServiceDomain!
  serviceDomainDelete(id String!) Boolean!
  serviceDomainUpdate(input ServiceDomainUpdateInput!) Boolean!
  serviceInstanceDeploy(commitSha String, environmentId String!, latestCommit Boolean, serviceId String!) Boolean!
  serviceInstanceDeployV2(commitSha String, environmentId String!, serviceId String!) String!
  serviceInstanceLimitsUpdate(input ServiceInstanceLimitsUpdateInput!) Boolean!
  serviceInstanceRedeploy(environmentId String!, serviceId String!) Boolean!
  serviceInstanceUpdate(environmentId String, input ServiceInstanceUpdateInput!, serviceId String!) Boolean!
  serviceUpdate(id String!, input ServiceUpdateInput!) Service!
  tcpProxyCreate(input TCPProxyCreateInput!) TCPProxy!
  tcpProxyDelete(id String!) Boolean!
  variableCollectionUpsert(input VariableCollectionUpsertInput!) Boolean!
  variableDelete(input VariableDeleteInput!) Boolean!
  variableUpsert(input VariableUpsertInput!) Boolean!
scalar DateTime DeploymentDiagnosis DeploymentMeta EnvironmentVariables JSON RailpackInfo ServiceInstanceLimit SubscriptionPlanLimit
enum Builder HEROKU NIXPACKS PAKETO RAILPACK
enum CDNProvider DETECTED_CDN_PROVIDER_CLOUDFLARE DETECTED_CDN_PROVIDER_UNSPECIFIED UNRECOGNIZED
enum CertificateStatus CERTIFICATE_STATUS_TYPE_ISSUE_FAILED CERTIFICATE_STATUS_TYPE_ISSUING CERTIFICATE_STATUS_TYPE_UNSPECIFIED CERTIFICATE_STATUS_TYPE_VALID CERTIFICATE_STATUS_TYPE_VALIDATING_OWNERSHIP UNRECOGNIZED
enum CustomDomainSyncStatus ACTIVE CREATING DELETED DELETING UNSPECIFIED UPDATING
enum DNSRecordPurpose DNS_RECORD_PURPOSE_ACME_DNS01_CHALLENGE DNS_RECORD_PURPOSE_TRAFFIC_ROUTE DNS_RECORD_PURPOSE_UNSPECIFIED UNRECOGNIZED
enum DNSRecordStatus DNS_RECORD_STATUS_PROPAGATED DNS_RECORD_STATUS_REQUIRES_UPDATE DNS_RECORD_STATUS_UNSPECIFIED UNRECOGNIZED
enum DNSRecordType DNS_RECORD_TYPE_A DNS_RECORD_TYPE_CNAME DNS_RECORD_TYPE_NS DNS_RECORD_TYPE_TXT DNS_RECORD_TYPE_UNSPECIFIED UNRECOGNIZED
enum DeploymentEventStep BUILD_IMAGE CONFIGURE_NETWORK CREATE_CONTAINER DRAIN_INSTANCES HEALTHCHECK MIGRATE_VOLUMES PRE_DEPLOY_COMMAND PUBLISH_IMAGE SNAPSHOT_CODE WAIT_FOR_DEPENDENCIES
enum DeploymentInstanceStatus CRASHED CREATED EXITED INITIALIZING REMOVED REMOVING RESTARTING RUNNING SKIPPED STOPPED
enum DeploymentStatus BUILDING CRASHED DEPLOYING FAILED INITIALIZING NEEDS_APPROVAL QUEUED REMOVED REMOVING SKIPPED SLEEPING SUCCESS WAITING
enum MetricMeasurement BACKUP_USAGE_GB CPU_LIMIT CPU_USAGE CPU_USAGE_2 DISK_USAGE_GB EPHEMERAL_DISK_USAGE_GB MEASUREMENT_UNSPECIFIED MEMORY_LIMIT_GB MEMORY_USAGE_GB NETWORK_RX_GB NETWORK_TX_GB UNRECOGNIZED
enum MetricTag DEPLOYMENT_ID DEPLOYMENT_INSTANCE_ID ENVIRONMENT_ID HOST_TYPE KEY_UNSPECIFIED PLUGIN_ID PROJECT_ID REGION SERVICE_ID UNRECOGNIZED VOLUME_ID VOLUME_INSTANCE_ID
enum Plan FREE HOBBY PRO
enum ProjectsOrderBy CREATED_AT_DESC NAME_ASC UPDATED_AT_DESC
enum RestartPolicyType ALWAYS NEVER ON_FAILURE
enum ServiceDomainSyncStatus ACTIVE CREATING DELETED DELETING UNSPECIFIED UPDATING
enum SortOrder asc desc
enum SubscriptionModel FREE TEAM USER
enum SubscriptionPlanType free hobby pro trial
enum TCPProxySyncStatus ACTIVE CREATING DELETED DELETING UNSPECIFIED UPDATING
input CustomDomainCreateInput
  domain String!
  environmentId String!
  projectId String!
  serviceId String!
  targetPort Int
input DeploymentListInput
  environmentId String
  includeDeleted Boolean
  projectId String
  serviceId String
  status DeploymentStatusInput
input DeploymentStatusInput
  in [DeploymentStatus!]
  notIn [DeploymentStatus!]
input RegistryCredentialsInput
  password String!
  username String!
input ServiceConnectInput
  branch String
  image String
  repo String
input ServiceCreateInput
  branch String
  environmentId String
  icon String
  name String
  projectId String!
  registryCredentials RegistryCredentialsInput
  source ServiceSourceInput
  templateId String
  templateServiceId String
  variables EnvironmentVariables
input ServiceDomainCreateInput
  environmentId String!
  serviceId String!
  targetPort Int
input ServiceDomainUpdateInput
  domain String!
  environmentId String!
  serviceDomainId String!
  serviceId String!
  targetPort Int
input ServiceInstanceLimitsUpdateInput
  environmentId String!
  memoryGB Float
  serviceId String!
  vCPUs Float
input ServiceInstanceUpdateInput
  buildCommand String
  builder Builder
  cronSchedule String
  dockerfilePath String
  drainingSeconds Int
  healthcheckPath String
  healthcheckTimeout Int
  ipv6EgressEnabled Boolean
  multiRegionConfig JSON
  nixpacksPlan JSON
  numReplicas Int
  overlapSeconds Int
  preDeployCommand [String!]
  railwayConfigFile String
  region String
  registryCredentials RegistryCredentialsInput
  restartPolicyMaxRetries Int
  restartPolicyType RestartPolicyType
  rootDirectory String
  sleepApplication Boolean
  source ServiceSourceInput
  startCommand String
  watchPatterns [String!]
input ServiceSourceInput
  image String
  repo String
input ServiceUpdateInput
  icon String
  name String
input TCPProxyCreateInput
  applicationPort Int!
  environmentId String!
  serviceId String!
input VariableCollectionUpsertInput
  environmentId String!
  projectId String!
  replace Boolean=false
  serviceId String
  skipDeploys Boolean=false
  variables EnvironmentVariables!
input VariableDeleteInput
  environmentId String!
  name String!
  projectId String!
  serviceId String
input VariableUpsertInput
  environmentId String!
  name String!
  projectId String!
  serviceId String
  skipDeploys Boolean=false
  value String!
connection EnvironmentDeploymentsConnection of Deployment
connection EnvironmentServiceInstancesConnection of ServiceInstance
connection ProjectDeploymentsConnection of Deployment
connection ProjectEnvironmentsConnection of Environment
connection ProjectServicesConnection of Service
connection QueryDeploymentEventsConnection of DeploymentEvent
connection QueryDeploymentsConnection of Deployment
connection QueryEnvironmentsConnection of Environment
connection QueryProjectsConnection of Project
connection ServiceDeploymentsConnection of Deployment
connection ServiceServiceInstancesConnection of ServiceInstance
connection UserProjectsConnection of Project
connection WorkspaceProjectsConnection of Project
PageInfo
  endCursor String
  hasNextPage Boolean!
  hasPreviousPage Boolean!
  startCursor String
AllDomains
  customDomains [CustomDomain!]!
  serviceDomains [ServiceDomain!]!
AggregatedUsage
  measurement MetricMeasurement!
  value Float!
EstimatedUsage
  estimatedValue Float!
  measurement MetricMeasurement!
  projectId String!
CustomDomain
  createdAt DateTime
  deletedAt DateTime
  domain String!
  edgeId String
  environmentId String!
  id ID!
  isRailwayDomain Boolean!
  projectId String
  serviceId String!
  status CustomDomainStatus!
  syncStatus CustomDomainSyncStatus!
  targetPort Int
  updatedAt DateTime
CustomDomainStatus
  cdnProvider CDNProvider
  certificateErrorMessage String
  certificateRetryable Boolean
  certificateStatus CertificateStatus!
  dnsRecords [DNSRecords!]!
  verificationDnsHost String
  verificationToken String
  verified Boolean!
DNSRecords
  currentValue String!
  fqdn String!
  hostlabel String!
  purpose DNSRecordPurpose!
  recordType DNSRecordType!
  requiredValue String!
  status DNSRecordStatus!
  zone String!
DomainAvailable
  available Boolean!
  message String!
Deployment
  canRedeploy Boolean!
  canRollback Boolean!
  createdAt DateTime!
  deploymentStopped Boolean!
  diagnosis DeploymentDiagnosis
  environment Environment!
  environmentId String!
  id ID!
  instances [DeploymentDeploymentInstance!]!
  meta DeploymentMeta
  projectId String!
  service Service!
  serviceId String
  snapshotId String
  staticUrl String
  status DeploymentStatus!
  statusUpdatedAt DateTime
  suggestAddServiceDomain Boolean!
  updatedAt DateTime!
  url String
DeploymentDeploymentInstance
  id String!
  status DeploymentInstanceStatus!
DeploymentEvent
  completedAt DateTime
  createdAt DateTime!
  id ID!
  payload DeploymentEventPayload
  step DeploymentEventStep!
DeploymentEventPayload
  attempt Int
  detail String
  durationMs Int
  error String
  maxAttempts Int
  reason String
  skipped Boolean
Environment
  canAccess Boolean!
  createdAt DateTime!
  deletedAt DateTime
  deployments(after String, before String, first Int, last Int) EnvironmentDeploymentsConnection!
  id ID!
  isEphemeral Boolean!
  name String!
  projectId String!
  serviceInstances(after String, before String, first Int, last Int) EnvironmentServiceInstancesConnection!
  updatedAt DateTime!
Log
  attributes [LogAttribute!]!
  message String!
  severity String
  tags LogTags
  timestamp String!
LogAttribute
  key String!
  value String!
LogTags
  deploymentId String
  deploymentInstanceId String
  environmentId String
  projectId String
  serviceId String
  snapshotId String
PlatformStatus
  isStable Boolean!
Project
  baseEnvironmentId String
  createdAt DateTime!
  deletedAt DateTime
  deployments(after String, before String, first Int, last Int) ProjectDeploymentsConnection!
  description String
  environments(after String, before String, first Int, isEphemeral Boolean, last Int, sort SortOrder) ProjectEnvironmentsConnection!
  expiredAt DateTime
  id ID!
  isPublic Boolean!
  isTempProject Boolean!
  name String!
  prDeploys Boolean!
  primaryEnvironmentId String
  services(after String, before String, first Int, last Int) ProjectServicesConnection!
  subscriptionType SubscriptionPlanType!
  teamId String
  updatedAt DateTime!
  workspace Workspace
  workspaceId String
ProjectToken
  createdAt DateTime!
  displayToken String!
  environment Environment!
  environmentId String!
  id ID!
  name String!
  project Project!
  projectId String!
Region
  country String!
  id String
  location String!
  name String!
  region String
  workspaceId String
Service
  createdAt DateTime!
  deletedAt DateTime
  deployments(after String, before String, first Int, last Int) ServiceDeploymentsConnection!
  icon String
  id ID!
  isRestricted Boolean!
  name String!
  project Project!
  projectId String!
  serviceInstances(after String, before String, first Int, last Int) ServiceServiceInstancesConnection!
  templateId String
  updatedAt DateTime!
ServiceDomain
  createdAt DateTime
  deletedAt DateTime
  domain String!
  edgeId String
  environmentId String!
  id ID!
  newDomainName String
  newHostLabel String
  projectId String
  serviceId String!
  suffix String
  syncStatus ServiceDomainSyncStatus!
  targetPort Int
  updatedAt DateTime
ServiceInstance
  activeDeployments [Deployment!]!
  buildCommand String
  builder Builder!
  createdAt DateTime!
  cronSchedule String
  deletedAt DateTime
  dockerfilePath String
  domains AllDomains!
  drainingSeconds Int
  environmentId String!
  healthcheckPath String
  healthcheckTimeout Int
  id ID!
  ipv6EgressEnabled Boolean
  isUpdatable Boolean!
  latestDeployment Deployment
  nextCronRunAt DateTime
  nixpacksPlan JSON
  numReplicas Int
  overlapSeconds Int
  preDeployCommand JSON
  railpackInfo RailpackInfo
  railwayConfigFile String
  region String
  restartPolicyMaxRetries Int!
  restartPolicyType RestartPolicyType!
  rootDirectory String
  service Service!
  serviceId String!
  serviceName String!
  sleepApplication Boolean
  source ServiceSource
  startCommand String
  updatedAt DateTime!
  upstreamUrl String
  watchPatterns [String!]!
ServiceSource
  image String
  repo String
TCPProxy
  applicationPort Int!
  createdAt DateTime
  deletedAt DateTime
  domain String!
  environmentId String!
  id ID!
  proxyPort Int!
  serviceId String!
  syncStatus TCPProxySyncStatus!
  updatedAt DateTime
User
  avatar String
  createdAt DateTime!
  email String!
  has2FA Boolean!
  id ID!
  isAdmin Boolean!
  isVerified Boolean!
  name String
  projects(after String, before String, first Int, last Int) UserProjectsConnection!
  username String
  workspace Workspace
  workspaces [Workspace!]!
Workspace
  avatar String
  createdAt DateTime!
  id ID!
  name String!
  plan Plan!
  preferredRegion String
  projectCount(includeDeleted Boolean) Int!
  projects(after String, before String, first Int, last Int) WorkspaceProjectsConnection!
  subscriptionModel SubscriptionModel!
  updatedAt DateTime!
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::graphql::Schema;

    #[test]
    fn every_type_that_is_named_is_there() {
        let schema = Schema::read(TABLE);
        assert_eq!(schema.faults(), Vec::<String>::new());
        assert_eq!(schema.default_of("VariableCollectionUpsertInput", "replace"), Some(false));
    }
}
