//! Fly's own registry, `registry.fly.io`: one repository for each app, for whoever has the organisation's token.

use serde_json::Value;

use super::{Fly, Refused, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::registry::{self, Image, basic};

/// Its host.
const HOST: &str = "registry.fly.io/";

impl Fly {
    /// Answers one request to the registry (docs: blueprints/using-the-fly-docker-registry: user `x`, the token as the
    /// password, `registry.fly.io/APP`).
    pub(crate) fn of_registry(&self, call: &Call) -> Answer {
        if call.header("authorization") != Some(basic("x", &self.site.token).as_str()) {
            return registry::refusal(401, "UNAUTHORIZED", "authentication required", &Value::Null)
                .with("www-authenticate", "Basic realm=\"Authorization required\"");
        }
        let app = call.path.strip_prefix("/v2/").and_then(|rest| rest.split('/').next());
        match app.filter(|name| !name.is_empty()) {
            Some(name) if !self.apps().contains_key(name) => {
                registry::refusal(404, "NAME_UNKNOWN", "app repository not found", &Value::Null)
            }
            _ => self.registry.serve(call),
        }
    }

    /// The image that `reference` names: of Fly's own registry any of the organisation's, of others only public ones.
    pub(super) fn image(&self, reference: &str) -> Result<Image, Refused> {
        let failed = |why: &str| {
            refusal(400, &format!("failed to get manifest {reference}: request failed: {why}"))
        };
        let found = if reference.starts_with(HOST) {
            self.registry.find(reference)
        } else if self.site.images.lets_in(reference, None) {
            self.site.images.find(reference)
        } else {
            return Err(failed("unauthorized [http 401]"));
        };
        found.ok_or_else(|| failed("not found [http 404]"))
    }
}
