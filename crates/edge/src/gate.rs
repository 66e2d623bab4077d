//! What is decided about a request before it is led anywhere: whom to believe, what is answered here, what must be HTTPS.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use ipnet::IpNet;
use linkflow_model::{Moment, ServiceRoute};

use crate::body::Answer;
use crate::own::OwnHost;
use crate::rate::Rates;
use crate::stale::Pages;
use crate::tls::Keyring;
use crate::visitor::{Trust, Visitor};

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
    /// How often visitors may ask.
    pub(crate) rates: Option<Rates>,
    /// From where alone they may come; empty: from everywhere.
    pub(crate) allow: Vec<IpNet>,
    /// From where nobody may come.
    pub(crate) deny: Vec<IpNet>,
    /// Old pages, for when nothing answers.
    pub(crate) pages: Option<Arc<Pages>>,
    /// Where people are told how things stand.
    pub(crate) status_page: Option<Arc<str>>,
    /// A host that is answered for here.
    pub(crate) own: Option<OwnHost>,
    /// Whether answers get the headers that browsers are kept safe with.
    pub(crate) security_headers: bool,
}

/// What browsers are told where a service says nothing. None of it changes what a page may load.
const SAFETY: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    (header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
];

impl Gate {
    /// Whether a request may come in at all. Otherwise the status that says why not, the reason, and after how many
    /// seconds it may come again.
    pub(crate) fn admit(
        &self,
        visitor: Visitor,
        path: &str,
        headers: &HeaderMap,
        now: impl FnOnce() -> Moment,
    ) -> Result<(), (StatusCode, &'static str, Option<u64>)> {
        let is_in =
            |networks: &[IpNet]| networks.iter().any(|network| network.contains(&visitor.ip));
        if is_in(&self.deny) || !self.allow.is_empty() && !is_in(&self.allow) {
            return Err((StatusCode::FORBIDDEN, "not from this address", None));
        }
        let Some(rates) = &self.rates else { return Ok(()) };
        rates.take(visitor.ip, path, headers, now()).map_err(|wait| {
            let seconds = wait.div_ceil(1_000).max(1);
            (StatusCode::TOO_MANY_REQUESTS, "too many requests from one visitor", Some(seconds))
        })
    }

    /// Adds the headers that browsers are kept safe with, where the service has no word of its own.
    pub(crate) fn safe(&self, headers: &mut HeaderMap) {
        if self.security_headers {
            for (name, value) in SAFETY {
                headers.entry(name).or_insert(HeaderValue::from_static(value));
            }
        }
    }

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
        let is_health = route.health.as_deref() == Some(uri.path());
        if is_health { None } else { self.to_https(uri, host) }
    }

    fn to_https(&self, uri: &Uri, host: &str) -> Option<Response<Answer>> {
        let port = self.https_port?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if path.starts_with(CHALLENGES) || !path.starts_with('/') || host.is_empty() {
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

    /// The answer to a request for the host that is answered for here, and whether it only leads to HTTPS.
    pub(crate) fn own(
        &self,
        request: &Request<Incoming>,
        host: &str,
        is_secure: bool,
    ) -> Option<(Response<Answer>, bool)> {
        let own = self.own.as_ref().filter(|own| own.host == host)?;
        let elsewhere = || self.to_https(request.uri(), host);
        if !is_secure && let Some(to_https) = elsewhere() {
            return Some((to_https, true));
        }
        let (path, headers) = (request.uri().path(), request.headers());
        Some((own.by.answer(request.method(), path, headers).map(Answer::own), false))
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
