//! Logins for private registries, which Render keeps for the whole workspace.
//!
//! The API never gives a token back, so whether the one that is kept is still right is told by its name: it ends in
//! eight digits of a hash over the login.

use http::Method;
use linkflow_model::{Fault, FaultKind, RegistryLogin};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::request::CHANGE;
use super::wire::{Credential, Service};
use super::{ACCOUNT, Render};
use crate::kit::{Call, encode};

impl Render {
    /// What the names of this stack's logins begin with.
    fn credential_prefix(&self) -> String {
        format!("linkflow-{}-", self.stack)
    }

    /// The id of the login that Render pulls with, made or renewed where it differs.
    pub(super) async fn have_credential(
        &self,
        login: Option<&RegistryLogin>,
    ) -> Result<Option<String>, Fault> {
        let Some(login) = login else { return Ok(None) };
        let Some(registry) = registry_word(&login.registry) else {
            let said = format!("Render has no logins for `{}`", login.registry);
            return Err(self.unsupported(format!("log in to {}", login.registry), &said));
        };
        let stem = format!("{}{}-", self.credential_prefix(), login.registry);
        let name = format!("{stem}{}", mark(login));
        let owner = self.owner().await?;
        let call = Self::look_at("the registry logins", "/registrycredentials")
            .query("ownerId", owner)
            .query("limit", "100");
        let rows: Vec<Credential> = self.api.send_for(call).await?;
        if let Some(held) = rows.iter().find(|row| row.name == name) {
            return Ok(Some(held.id.clone()));
        }
        let mut body = json!({
            "registry": registry,
            "name": name,
            "username": login.user,
            "authToken": login.password.expose(),
        });
        let old = rows.iter().find(|row| {
            row.name.strip_prefix(&stem).is_some_and(|mark| mark.len() == 8 && !mark.contains('-'))
        });
        let call = match old {
            Some(old) => {
                let path = format!("/registrycredentials/{}", encode(&old.id));
                Call::write(Method::PATCH, CHANGE, format!("login {}", old.name), path)
            }
            None => {
                body["ownerId"] = json!(owner);
                Call::write(Method::POST, CHANGE, format!("login {name}"), "/registrycredentials")
            }
        };
        let made: Credential = self.api.send_for(call.counted_for(ACCOUNT).json(body)).await?;
        Ok(Some(made.id))
    }

    /// Takes our login of `service` away when no other service uses it.
    pub(super) async fn drop_credential_of(&self, service: &Service) -> Result<(), Fault> {
        let prefix = self.credential_prefix();
        let ours = service.registry_credential.as_ref().filter(|held| held.name.starts_with(&prefix));
        let Some(held) = ours else { return Ok(()) };
        let uses = |other: &Service| {
            other.id != service.id
                && other.registry_credential.as_ref().is_some_and(|own| own.id == held.id)
        };
        if self.services(None).await?.iter().any(uses) {
            return Ok(());
        }
        let path = format!("/registrycredentials/{}", encode(&held.id));
        let call = Call::write(Method::DELETE, CHANGE, format!("login {}", held.name), path);
        match self.api.send(call.counted_for(ACCOUNT)).await {
            Err(fault) if fault.kind != FaultKind::Missing => Err(fault),
            _ => Ok(()),
        }
    }
}

/// Render's word for a registry, by its host.
fn registry_word(host: &str) -> Option<&'static str> {
    match host {
        "ghcr.io" => Some("GITHUB"),
        "registry.gitlab.com" => Some("GITLAB"),
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => Some("DOCKER"),
        host if host.ends_with(".pkg.dev") => Some("GOOGLE_ARTIFACT"),
        host if host.ends_with(".amazonaws.com") => Some("AWS_ECR"),
        _ => None,
    }
}

/// Tells two logins apart, and gives nothing of a token away.
fn mark(login: &RegistryLogin) -> String {
    let text = format!("{}\n{}\n{}", login.registry, login.user, login.password.expose());
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
