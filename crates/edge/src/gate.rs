//! What is decided about a request before it is led anywhere: whom to believe, what is answered here, what must be HTTPS.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, Uri};
use linkflow_model::ServiceRoute;

use crate::body::Answer;
use crate::tls::Keyring;
use crate::visitor::Trust;

/// Where a CA looks for what proves that a host leads here (RFC 8555, 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The gate that visitors' requests come through.
pub(crate) struct Gate {
    pub(crate) trust: Trust,
    /// Where visitors speak HTTPS, when plain HTTP is sent there.
    pub(crate) https_port: Option<u16>,
    /// What browsers are told over HTTPS.
    pub(crate) hsts: Option<HeaderValue>,
    /// The certificates, and the challenges of those on their way.
    pub(crate) keyring: Option<Arc<Keyring>>,
}

impl Gate {
    /// The answer to a CA's question, when `path` is one of ours.
    pub(crate) fn challenge(&self, path: &str) -> Option<Response<Answer>> {
        let proof = self.keyring.as_ref()?.page(path.strip_prefix(CHALLENGES)?)?;
        let mut answer = Response::new(Answer::own(proof));
        let kind = HeaderValue::from_static("application/octet-stream");
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        Some(answer)
    }

    /// The way to HTTPS, for a request that came without. A CA and whoever looks at a service's health come without.
    pub(crate) fn redirect(
        &self,
        uri: &Uri,
        host: &str,
        route: &ServiceRoute,
    ) -> Option<Response<Answer>> {
        let port = self.https_port?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let is_health = route.health.as_deref() == Some(uri.path());
        if is_health || path.starts_with(CHALLENGES) || !path.starts_with('/') || host.is_empty() {
            return None;
        }
        let to = match port {
            443 => format!("https://{host}{path}"),
            _ => format!("https://{host}:{port}{path}"),
        };
        let mut answer = Response::new(Answer::own(""));
        *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
        answer.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&to).ok()?);
        Some(answer)
    }

    /// Tells browsers to come by HTTPS only, unless the service has its own word on that.
    pub(crate) fn secured(&self, headers: &mut HeaderMap) {
        if let Some(hsts) = &self.hsts
            && !headers.contains_key(header::STRICT_TRANSPORT_SECURITY)
        {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }
}
