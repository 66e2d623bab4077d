//! Which project and environment this stack works in.

use linkflow_model::{Fault, FaultKind};
use serde_json::{Map, Value, json};

use crate::kit::graphql::Operation;
use super::Zeabur;
use super::wire::{
    CREATE_PROJECT, ENVIRONMENTS, Environment, EnvironmentsAnswer, PROJECT, PROJECTS, Project,
    ProjectAnswer, ProjectCreated, ProjectsAnswer,
};

/// The environment that a new project has.
const PRODUCTION: &str = "production";

/// A project and one of its environments, by id.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) project: String,
    pub(super) environment: String,
}

impl Scope {
    /// Variables that name the environment and `service`.
    pub(super) fn of(&self, service: &str) -> Map<String, Value> {
        let text = |name: &str, value: &str| (name.to_owned(), json!(value));
        Map::from_iter([text("service", service), text("environment", &self.environment)])
    }
}

/// An id without the word that the dashboard and the command line put before it: `project-<24 hex digits>`.
pub(super) fn bare(id: &str) -> &str {
    let is_id = |tail: &str| tail.len() == 24 && tail.bytes().all(|b| b.is_ascii_hexdigit());
    id.rsplit_once('-').map(|(_, tail)| tail).filter(|tail| is_id(tail)).unwrap_or(id)
}

impl Zeabur {
    /// Where this stack works; `None` when its project has not been made yet.
    pub(super) async fn scope(&self) -> Result<Option<Scope>, Fault> {
        if let Some(scope) = self.scope.get() {
            return Ok(Some(scope.clone()));
        }
        let project = match &self.settings.project {
            Some(id) => Some(self.project_by_id(bare(id)).await?),
            None => self.project_of_stack().await?,
        };
        let Some(project) = project else { return Ok(None) };
        let scope = self.choose(project).await?;
        if self.scope.set(scope.clone()).is_err() {
            tracing::debug!("another request found the project first");
        }
        Ok(Some(scope))
    }

    /// Where this stack works; makes its project when there is none.
    pub(super) async fn scope_to_deploy_in(&self) -> Result<Scope, Fault> {
        if let Some(scope) = self.scope().await? {
            return Ok(scope);
        }
        let Some(region) = &self.settings.region else {
            let said = format!(
                "there is no project `{}` yet: say in which `region` to make it, or give the `project`, in [providers.{}]",
                self.stack, self.provider
            );
            return Err(self.api.fault(FaultKind::Invalid, "create project", &said));
        };
        let created: ProjectCreated = self
            .mutate(Operation {
                action: "create project",
                about: self.stack.as_str(),
                text: CREATE_PROJECT,
                variables: json!({ "region": region, "name": self.stack.as_str() }),
            })
            .await?;
        self.choose(created.create_project).await
    }

    async fn project_by_id(&self, id: &str) -> Result<Project, Fault> {
        let answer: ProjectAnswer = self
            .query(Operation {
                action: "read project",
                about: id,
                text: PROJECT,
                variables: json!({ "id": id }),
            })
            .await?;
        answer.project.ok_or_else(|| {
            let said = format!("it is not there: correct `project` in [providers.{}]", self.provider);
            self.api.fault(FaultKind::Missing, format!("read project {id}"), &said)
        })
    }

    async fn project_of_stack(&self) -> Result<Option<Project>, Fault> {
        let mut skip = 0;
        loop {
            let answer: ProjectsAnswer = self
                .query(Operation {
                    action: "list",
                    about: "projects",
                    text: PROJECTS,
                    variables: json!({ "skip": skip }),
                })
                .await?;
            let page = answer.projects;
            let has_more = page.has_more();
            skip += page.edges.len();
            let named = |project: &Project| project.name == self.stack.as_str();
            let found = page.nodes().find(named);
            if found.is_some() || !has_more {
                return Ok(found);
            }
        }
    }

    /// The environment that the config names, by id or name; without one, `production` or the only one.
    async fn choose(&self, project: Project) -> Result<Scope, Fault> {
        let all = match project.environments {
            Some(all) if !all.is_empty() => all,
            _ => self.environments(&project.id).await?,
        };
        let wanted = self.settings.environment.as_deref().map(bare);
        let found = match wanted {
            Some(wanted) => all.iter().find(|e| e.id == wanted || e.name == wanted),
            None => {
                all.iter().find(|e| e.name == PRODUCTION).or(all.first().filter(|_| all.len() == 1))
            }
        };
        match found {
            Some(environment) => {
                Ok(Scope { project: project.id, environment: environment.id.clone() })
            }
            None => {
                let names: Vec<&str> = all.iter().map(|e| e.name.as_str()).collect();
                let said = format!(
                    "project {} has the environments {}: name one as `environment` in [providers.{}]",
                    project.name,
                    names.join(", "),
                    self.provider
                );
                Err(self.api.fault(FaultKind::Invalid, "choose an environment", &said))
            }
        }
    }

    async fn environments(&self, project: &str) -> Result<Vec<Environment>, Fault> {
        let answer: EnvironmentsAnswer = self
            .query(Operation {
                action: "list",
                about: "environments",
                text: ENVIRONMENTS,
                variables: json!({ "project": project }),
            })
            .await?;
        Ok(answer.environments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_before_an_id_is_taken_off_and_nothing_else() {
        let id = "0123456789abcdef01234567";
        assert_eq!(bare(&format!("project-{id}")), id);
        assert_eq!(bare(id), id);
        assert_eq!(bare("my-project"), "my-project");
    }
}
