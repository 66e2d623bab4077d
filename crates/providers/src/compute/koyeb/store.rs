//! The vendor's secret store: values of the app, and the login to a private registry, under names of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use http::Method;
use linkflow_model::{Definition, EnvValue, Fault, RegistryLogin, ServiceName};
use serde_json::{Value, json};

use super::Koyeb;
use super::definition::Names;
use super::wire::SecretItem;
use crate::kit::{Call, encode};

impl Koyeb {
    /// Puts the login and, when what runs is to change, the values into the store. Values cannot be read back, so they
    /// are written whenever the fingerprint says that something differs.
    pub(super) async fn publish(&self, wanted: &Definition, differs: bool) -> Result<(), Fault> {
        let names = self.names(&wanted.service);
        let login = wanted.login.as_ref().filter(|login| differs || self.is_new(&names, login));
        let values: Vec<(String, Value)> = wanted
            .env
            .iter()
            .filter(|_| differs)
            .filter_map(|(name, value)| match value {
                EnvValue::Secret(secret) => Some((
                    names.of(name),
                    json!({ "name": names.of(name), "type": "SIMPLE", "value": secret.expose() }),
                )),
                EnvValue::Plain(_) => None,
            })
            .collect();
        if login.is_none() && values.is_empty() {
            return Ok(());
        }
        let held = self.own_secrets(&names).await?;
        if let Some(login) = login {
            self.put(&held, &names.registry, registry(&names.registry, login)).await?;
            let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
            logins.insert(names.registry.clone(), login.clone());
        }
        for (name, body) in values {
            self.put(&held, &name, body).await?;
        }
        Ok(())
    }

    /// Whether this process has not written `login` yet.
    fn is_new(&self, names: &Names, login: &RegistryLogin) -> bool {
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.get(&names.registry) != Some(login)
    }

    async fn put(
        &self,
        held: &BTreeMap<String, String>,
        name: &str,
        body: Value,
    ) -> Result<(), Fault> {
        let call = match held.get(name) {
            Some(id) => {
                let path = format!("/v1/secrets/{}", encode(id));
                Call::write(Method::PATCH, "update secret", name, path)
            }
            None => Call::write(Method::POST, "create secret", name, "/v1/secrets"),
        };
        self.send(call.json(body)).await.map(drop)
    }

    /// Removes the secrets of this service that neither `wanted` nor what it replaces refers to: what still runs may be
    /// started again with what it refers to.
    pub(super) async fn tidy_secrets(
        &self,
        wanted: &Definition,
        before: &BTreeSet<&str>,
    ) -> Result<(), Fault> {
        let names = self.names(&wanted.service);
        let is_wanted = |name: &str| {
            wanted.env.iter().any(|(variable, value)| {
                matches!(value, EnvValue::Secret(_)) && names.of(variable) == name
            }) || (wanted.login.is_some() && names.registry == name)
        };
        // Without secrets before and after there is nothing to look for.
        if before.is_empty() && !wanted.env.values().any(|v| matches!(v, EnvValue::Secret(_))) {
            return Ok(());
        }
        for (name, id) in self.own_secrets(&names).await? {
            if !is_wanted(&name) && !before.contains(name.as_str()) {
                self.remove_secret(&name, &id).await?;
            }
        }
        Ok(())
    }

    /// Removes every secret of `service`.
    pub(super) async fn remove_secrets(&self, service: &ServiceName) -> Result<(), Fault> {
        let names = self.names(service);
        for (name, id) in self.own_secrets(&names).await? {
            self.remove_secret(&name, &id).await?;
        }
        self.logins.lock().unwrap_or_else(PoisonError::into_inner).remove(&names.registry);
        Ok(())
    }

    async fn remove_secret(&self, name: &str, id: &str) -> Result<(), Fault> {
        let path = format!("/v1/secrets/{}", encode(id));
        self.gone(Call::write(Method::DELETE, "delete secret", name, path)).await
    }

    /// The secrets of one service: name and id.
    async fn own_secrets(&self, names: &Names) -> Result<BTreeMap<String, String>, Fault> {
        let types = [("types", "SIMPLE"), ("types", "REGISTRY")];
        let all: Vec<SecretItem> = self.list("secrets", "/v1/secrets", &types).await?;
        let own = all.into_iter().filter(|secret| names.is_own(&secret.name));
        Ok(own.map(|secret| (secret.name, secret.id)).collect())
    }

    /// The id of the secret `name`, if it is there.
    pub(super) async fn secret_id(&self, name: &str) -> Result<Option<String>, Fault> {
        let all: Vec<SecretItem> = self.list("secrets", "/v1/secrets", &[("name", name)]).await?;
        Ok(all.into_iter().find(|secret| secret.name == name).map(|secret| secret.id))
    }
}

/// A registry's login as a secret: the vendor knows some registries by themselves, and the others by their address.
fn registry(name: &str, login: &RegistryLogin) -> Value {
    let mut own = json!({ "username": login.user, "password": login.password.expose() });
    let field = match login.registry.as_str() {
        "docker.io" | "registry-1.docker.io" => "docker_hub_registry",
        "ghcr.io" => "github_registry",
        "registry.gitlab.com" => "gitlab_registry",
        other => {
            own["url"] = json!(other);
            "private_registry"
        }
    };
    json!({ "name": name, "type": "REGISTRY", field: own })
}

#[cfg(test)]
mod tests {
    use linkflow_model::Secret;

    use super::*;

    #[track_caller]
    fn check(host: &str, field: &str, url: Option<&str>) {
        let login = RegistryLogin {
            registry: host.to_owned(),
            user: "me".to_owned(),
            password: Secret::new("hidden"),
        };
        let body = registry("n", &login);
        assert_eq!((&body["type"], &body[field]["username"]), (&json!("REGISTRY"), &json!("me")));
        assert_eq!(body[field]["url"].as_str(), url);
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(3), "exactly one registry");
    }

    #[test]
    fn a_login_is_told_in_the_form_that_the_vendor_has_for_its_registry() {
        check("docker.io", "docker_hub_registry", None);
        check("ghcr.io", "github_registry", None);
        check("registry.gitlab.com", "gitlab_registry", None);
        check("registry.example.com", "private_registry", Some("registry.example.com"));
    }
}
