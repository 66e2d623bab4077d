//! Which project and environment a token works in.

use linkflow_model::{Fault, FaultKind};
use serde_json::{Map, Value, json};

use crate::kit::graphql::Operation;
use super::wire::{
    CREATE_PROJECT, PROJECT, PROJECTS, Project, ProjectAnswer, ProjectCreated, ProjectsAnswer,
    TOKEN, TokenAnswer,
};
use super::{Railway, TokenKind};

/// The environment that a new project has.
const PRODUCTION: &str = "production";

/// A project and one of its environments, by id.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) project: String,
    pub(super) environment: String,
}

impl Scope {
    pub(super) fn variables(&self) -> Map<String, Value> {
        let text = |name: &str, value: &str| (name.to_owned(), json!(value));
        Map::from_iter([text("project", &self.project), text("environment", &self.environment)])
    }
}

impl Railway {
    /// Where this account works; `None` when the stack's project has not been made yet.
    pub(super) async fn scope(&self) -> Result<Option<Scope>, Fault> {
        if let Some(scope) = self.scope.get() {
            return Ok(Some(scope.clone()));
        }
        let found = match (self.settings.token_kind, &self.settings.project) {
            (TokenKind::Project, _) => Some(self.scope_of_token().await?),
            (TokenKind::Account, Some(id)) => Some(self.scope_of_project(id).await?),
            (TokenKind::Account, None) => match self.project_of_stack().await? {
                Some(project) => Some(self.choose(&project)?),
                None => None,
            },
        };
        if let Some(scope) = &found
            && self.scope.set(scope.clone()).is_err()
        {
            tracing::debug!("another request found the project first");
        }
        Ok(found)
    }

    /// Where this account works; makes the stack's project when there is none.
    pub(super) async fn scope_to_deploy_in(&self) -> Result<Scope, Fault> {
        if let Some(scope) = self.scope().await? {
            return Ok(scope);
        }
        let mut input = json!({
            "name": self.stack.as_str(),
            "defaultEnvironmentName": self.settings.environment.as_deref().unwrap_or(PRODUCTION),
        });
        if let Some(workspace) = &self.settings.workspace {
            input["workspaceId"] = json!(workspace);
        }
        let created: ProjectCreated = self
            .mutate(Operation {
                action: "create project",
                about: self.stack.as_str(),
                text: CREATE_PROJECT,
                variables: json!({ "input": input }),
            })
            .await?;
        self.choose(&created.project_create)
    }

    async fn scope_of_token(&self) -> Result<Scope, Fault> {
        let answer: TokenAnswer = self
            .query(Operation {
                action: "read",
                about: "the project token",
                text: TOKEN,
                variables: json!({}),
            })
            .await?;
        let token = answer.project_token;
        if self.settings.project.as_ref().is_some_and(|wanted| *wanted != token.project_id) {
            let said = format!(
                "the token is for project {}: correct [providers.{}]",
                token.project_id, self.provider
            );
            return Err(self.api.fault(FaultKind::Invalid, "use the project token", &said));
        }
        Ok(Scope { project: token.project_id, environment: token.environment_id })
    }

    async fn scope_of_project(&self, id: &str) -> Result<Scope, Fault> {
        let answer: ProjectAnswer = self
            .query(Operation {
                action: "read project",
                about: id,
                text: PROJECT,
                variables: json!({ "id": id }),
            })
            .await?;
        self.choose(&answer.project)
    }

    async fn project_of_stack(&self) -> Result<Option<Project>, Fault> {
        let mut after = None::<String>;
        loop {
            let variables = json!({ "workspace": self.settings.workspace, "after": after });
            let answer: ProjectsAnswer = self
                .query(Operation {
                    action: "list",
                    about: "projects",
                    text: PROJECTS,
                    variables,
                })
                .await?;
            let page = answer.projects;
            let named = |project: &Project| project.name == self.stack.as_str();
            if let Some(found) = page.edges.into_iter().map(|e| e.node).find(named) {
                return Ok(Some(found));
            }
            after = page.info.end_cursor;
            if !page.info.has_next_page || after.is_none() {
                return Ok(None);
            }
        }
    }

    /// The environment that the config names, by id or name; without one, `production` or the only one.
    fn choose(&self, project: &Project) -> Result<Scope, Fault> {
        let all: Vec<_> = project.environments.edges.iter().map(|edge| &edge.node).collect();
        let wanted = self.settings.environment.as_deref();
        let found = match wanted {
            Some(wanted) => all.iter().find(|e| e.id == wanted || e.name == wanted),
            None => all.iter().find(|e| e.name == PRODUCTION).or(all.first().filter(|_| all.len() == 1)),
        };
        match found {
            Some(environment) => {
                Ok(Scope { project: project.id.clone(), environment: environment.id.clone() })
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
}
