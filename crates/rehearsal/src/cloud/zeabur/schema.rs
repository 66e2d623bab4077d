//! The part of Zeabur's schema that the rehearsal answers, as far as its command line and its SDK show it: the vendor
//! publishes no schema. An argument is required where a client of the vendor's own declares it so.

/// The table, in the form of [`crate::cloud::graphql::Schema::read`].
pub(super) const TABLE: &str = "
scalar ObjectID Time Map
enum ServiceTemplate GIT PREBUILT PREBUILT_V2 MARKETPLACE
enum GitProvider GITHUB
enum ServiceStatus RUNNING CRASHED PULL_FAILED BUILDING PENDING STARTING SUSPENDED STOPPING UNKNOWN
Query
  me User!
  projects(ownerID ObjectID, skip Int, limit Int) ProjectConnection!
  project(_id ObjectID, owner String, name String) Project
  environments(projectID ObjectID!) [Environment!]!
  environment(_id ObjectID!) Environment
  services(projectID ObjectID!, skip Int, limit Int) ServiceConnection!
  service(_id ObjectID, owner String, projectName String, name String) Service
  deployments(serviceID ObjectID!, environmentID ObjectID!, perPage Int) DeploymentConnection!
  deployment(id ObjectID!) Deployment
  runtimeLogs(projectID ObjectID, serviceID ObjectID!, environmentID ObjectID!, deploymentID ObjectID, timestampCursor Time) [Log!]!
  regions [Region!]!
Mutation
  createProject(ownerID ObjectID, region String!, name String) Project!
  deleteProject(_id ObjectID!) Boolean!
  createService(projectID ObjectID!, template ServiceTemplate!, name String!, gitProvider GitProvider, repoID Int, branchName String) Service!
  deployFromSpecification(serviceID ObjectID!, specification DeploymentSpecification!) DeploymentResult!
  updateServiceImage(serviceID ObjectID!, environmentID ObjectID!, tag String!) Boolean!
  redeployService(serviceID ObjectID!, environmentID ObjectID!) Boolean!
  restartService(serviceID ObjectID!, environmentID ObjectID!) Boolean!
  suspendService(serviceID ObjectID!, environmentID ObjectID!) Boolean!
  deleteService(_id ObjectID!) Boolean!
  updateEnvironmentVariable(serviceID ObjectID!, environmentID ObjectID!, data Map!) Boolean!
  createEnvironmentVariable(serviceID ObjectID!, environmentID ObjectID!, key String!, value String!) Variable!
  updateSingleEnvironmentVariable(serviceID ObjectID!, environmentID ObjectID!, oldKey String!, newKey String!, value String!) Variable!
  deleteSingleEnvironmentVariable(serviceID ObjectID!, environmentID ObjectID!, key String!) Variable!
  updateServicePorts(serviceID ObjectID!, environmentID ObjectID!, ports [ServiceSpecPortInput!]!) Boolean!
  addDomain(serviceID ObjectID!, environmentID ObjectID, domain String!, isGenerated Boolean!, redirectTo String, portName String) Domain!
  removeDomain(domain String!) Boolean!
  checkDomainAvailable(domain String!, isGenerated Boolean!, region String) CheckDomainAvailableResult!
PageInfo
  hasNextPage Boolean!
ProjectConnection
  pageInfo PageInfo
  edges [ProjectEdge!]!
ProjectEdge
  node Project!
  cursor String
ServiceConnection
  pageInfo PageInfo
  edges [ServiceEdge!]!
ServiceEdge
  node Service!
  cursor String
DeploymentConnection
  edges [DeploymentEdge!]!
DeploymentEdge
  node Deployment!
  cursor String
User
  _id ObjectID!
  name String
  email String
  username String
  credit Int
Region
  id String!
  name String
  description String
  provider String
  available Boolean
Project
  _id ObjectID!
  name String!
  description String
  createdAt Time
  region Region
  environments [Environment!]
Environment
  _id ObjectID!
  name String!
  projectID ObjectID
  createdAt Time
Service
  _id ObjectID!
  name String!
  template String
  createdAt Time
  project Project
  status(environmentID ObjectID) ServiceStatus
  domains(environmentID ObjectID) [Domain!]
  variables(environmentID ObjectID!, exposed Boolean) [Variable!]
  ports(environmentID ObjectID!) [ServicePort!]
Deployment
  _id ObjectID!
  projectID ObjectID
  serviceID ObjectID
  environmentID ObjectID
  status String!
  planType String
  createdAt Time
  scheduledAt Time
  startedAt Time
  finishedAt Time
DeploymentResult
  deploymentID ObjectID!
Variable
  key String!
  value String!
  serviceID ObjectID
  exposed Boolean
  readonly Boolean
Log
  message String!
  timestamp Time!
ServicePort
  id String!
  port Int!
  type String!
  forwardedPort Int
CheckDomainAvailableResult
  isAvailable Boolean!
  reason String
Domain
  _id ObjectID!
  domain String!
  serviceID ObjectID
  environmentID ObjectID
  portName String
  redirectTo String
  status String
  isGenerated Boolean
  createdAt Time
input DeploymentSpecification
  source DeploymentSourceInput!
  env [ServiceSpecEnvInput!]
input DeploymentSourceInput
  image String
  source String
  repoID Int
  branch String
  uploadID String
  dockerfile String
input ServiceSpecEnvInput
  key String!
  default String
  required Boolean
  expose Boolean
  readonly Boolean
input ServiceSpecPortInput
  id String!
  port Int!
  type String!
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::graphql::Schema;

    #[test]
    fn every_type_that_is_named_is_there() {
        let schema = Schema::read(TABLE);
        assert_eq!(schema.faults(), Vec::<String>::new());
    }
}
