//! What a Zeabur account holds: projects, each with one environment, and their services.

use std::collections::BTreeMap;
use std::sync::Arc;

use linkflow_model::ServiceName;
use serde_json::{Value, json};

use super::deployment::Deployment;
use crate::cloud::log::Log;
use crate::cloud::process::Phase;
use crate::cloud::registry::Image;
use crate::cloud::site::{Site, service_of};
use crate::cloud::trouble::Trouble;

/// Everything. The oldest comes first.
#[derive(Default)]
pub(super) struct Stock {
    pub(super) projects: Vec<Project>,
    pub(super) services: Vec<Service>,
}

/// One project with its environment.
#[derive(Clone)]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) region: String,
    pub(super) environment: String,
    pub(super) created: String,
}

/// One service.
pub(super) struct Service {
    pub(super) id: String,
    pub(super) project: String,
    pub(super) environment: String,
    pub(super) name: String,
    pub(super) template: String,
    pub(super) created: String,
    /// What is deployed next.
    pub(super) image: Option<String>,
    /// What the next start gives to the process.
    pub(super) variables: BTreeMap<String, String>,
    /// Rows as the API shows them.
    pub(super) ports: Vec<Value>,
    pub(super) domains: Vec<Domain>,
    pub(super) suspended: bool,
    /// Oldest first.
    pub(super) deployments: Vec<Arc<Deployment>>,
    /// What runs, for the fault that deploys the wrong image.
    pub(super) pulled: Option<Image>,
    pub(super) log: Arc<Log>,
}

/// One name that leads to a service.
pub(super) struct Domain {
    pub(super) row: Value,
    /// When it has its certificate, in milliseconds of the wall clock.
    pub(super) ready_at: u64,
}

impl Domain {
    pub(super) fn shown(&self, now: u64) -> Value {
        let mut row = self.row.clone();
        let status = if now < self.ready_at { "PROVISIONING" } else { "PROVISIONED" };
        row["status"] = json!(status);
        row
    }
}

impl Service {
    pub(super) fn about(&self) -> Option<ServiceName> {
        service_of(&self.variables)
    }

    pub(super) fn newest(&self) -> Option<&Arc<Deployment>> {
        self.deployments.last()
    }

    /// The newest that came up and was not taken away.
    pub(super) fn serving(&self) -> Option<&Arc<Deployment>> {
        self.deployments.iter().rev().find(|deployment| deployment.serves())
    }

    /// The service's status. It knows nothing of deployments: while a new one is being scheduled it goes on telling
    /// of the old one.
    pub(super) fn status(&self, site: &Site) -> &'static str {
        let Some(newest) = self.newest() else { return "UNKNOWN" };
        let lies = site.faults.any(self.about().as_ref(), Trouble::lies);
        if self.suspended {
            let lives = self.deployments.iter().any(|deployment| deployment.lives());
            return if lives { "STOPPING" } else { "SUSPENDED" };
        }
        match newest.word() {
            "PENDING" => match self.serving() {
                Some(old) => running(old, lies),
                None => "PENDING",
            },
            "DEPLOYING" => "STARTING",
            "FAILED" => "PULL_FAILED",
            "CRASHED" => "CRASHED",
            "RUNNING" => running(newest, lies),
            _ => "UNKNOWN",
        }
    }
}

fn running(deployment: &Deployment, lies: bool) -> &'static str {
    let phases: Vec<Phase> =
        deployment.processes().iter().map(|(_, process)| process.status().phase).collect();
    let dead = |phase: &Phase| matches!(phase, Phase::Dead | Phase::BackingOff);
    if !lies && phases.iter().all(dead) { "CRASHED" } else { "RUNNING" }
}

impl Stock {
    pub(super) fn project(&self, id: &str) -> Result<&Project, String> {
        self.projects.iter().find(|p| p.id == id).ok_or_else(|| "project not found".to_owned())
    }

    pub(super) fn service(&self, id: &str) -> Result<&Service, String> {
        self.services.iter().find(|s| s.id == id).ok_or_else(|| "service not found".to_owned())
    }

    /// A service in one of its environments.
    pub(super) fn service_in(
        &mut self,
        id: &str,
        environment: &str,
    ) -> Result<&mut Service, String> {
        let found = self.services.iter_mut().find(|s| s.id == id).ok_or("service not found")?;
        if found.environment == environment {
            Ok(found)
        } else {
            Err("environment not found".to_owned())
        }
    }

    pub(super) fn deployment(&self, id: &str) -> Result<Arc<Deployment>, String> {
        let mut all = self.services.iter().flat_map(|service| &service.deployments);
        all.find(|d| d.id == id).cloned().ok_or_else(|| "deployment not found".to_owned())
    }

    /// The service that `host` leads to.
    pub(super) fn service_of(&self, host: &str) -> Option<&Service> {
        self.services.iter().find(|s| s.domains.iter().any(|domain| domain.row["domain"] == host))
    }
}
