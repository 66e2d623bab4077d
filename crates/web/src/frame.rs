//! What stands around every page of the operators' site.

use std::convert::Infallible;
use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Response};
use linkflow_model::Timestamp;
use linkflow_model::access::{Caller, Scope};

use crate::Site;
use crate::door::Csrf;

/// The pages in the header, with what it takes to see them.
const PAGES: &[(&str, &str, Scope)] = &[
    ("/", "Overview", Scope::Read),
    ("/routes", "Routes", Scope::Read),
    ("/monitors", "Monitors", Scope::Read),
    ("/incidents", "Incidents", Scope::Read),
    ("/releases", "Releases", Scope::Read),
    ("/alerts", "Alerts", Scope::Read),
    ("/drift", "Drift", Scope::Read),
    ("/events", "Events", Scope::Read),
    ("/maintenance", "Maintenance", Scope::Read),
    ("/usage", "Usage", Scope::Read),
    ("/certificates", "Certificates", Scope::Read),
    ("/addresses", "Addresses", Scope::Read),
    ("/search", "Search", Scope::Read),
    ("/people", "People", Scope::Admin),
    ("/audit", "Audit", Scope::Admin),
];

/// What stands around a page; handlers take it like any part of a request.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The name of the stack.
    pub(crate) stack: String,
    /// Who looks at it, once signed in.
    pub(crate) caller: Option<Caller>,
    /// What forms that change something carry as their field `csrf`.
    pub(crate) csrf: String,
    /// The path of the page.
    pub(crate) path: String,
}

impl Frame {
    /// The pages that the caller may see: address and name.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let may = |scope| self.caller.as_ref().is_some_and(|caller| caller.may(scope));
        PAGES.iter().filter(move |(.., scope)| may(*scope)).map(|(href, name, _)| (*href, *name))
    }

    /// Whether this is the page at `href`, or one below it.
    pub(crate) fn is_here(&self, href: &str) -> bool {
        let below = self.path.strip_prefix(href);
        below.is_some_and(|rest| rest.is_empty() || (href != "/" && rest.starts_with('/')))
    }
}

impl FromRequestParts<Arc<Site>> for Frame {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Infallible> {
        Ok(Self {
            stack: site.config.stack.name.to_string(),
            caller: parts.extensions.get::<Caller>().cloned(),
            csrf: parts.extensions.get::<Csrf>().map(|csrf| csrf.0.clone()).unwrap_or_default(),
            path: parts.uri.path().to_owned(),
        })
    }
}

/// A page as an answer.
pub(crate) fn show(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("this page could not be made: {error}\n"))
                .into_response()
        }
    }
}

/// `text` as a value of a query, and as a part of a URI's path with its slashes.
pub(crate) fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// A moment on a page.
#[derive(Clone, Debug)]
pub(crate) struct At {
    /// For machines: `2026-11-30T02:41:00Z`.
    pub(crate) utc: String,
    /// For people: `30 Nov 2026, 02:41 UTC`.
    pub(crate) text: String,
}

impl At {
    /// `at` as pages show it.
    pub(crate) fn new(at: Timestamp) -> Self {
        let ms = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let moment = ms.unwrap_or(jiff::Timestamp::MAX);
        Self {
            utc: moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            text: moment.strftime("%-d %b %Y, %H:%M UTC").to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use linkflow_model::access::Means;

    use super::*;

    #[test]
    fn the_header_has_what_the_caller_may_see_and_marks_where_they_are() {
        let frame = |scope, path: &str| Frame {
            stack: "shop".to_owned(),
            caller: Some(Caller { name: "ann".to_owned(), scope, means: Means::Session }),
            csrf: String::new(),
            path: path.to_owned(),
        };
        let nobody = Frame { caller: None, ..frame(Scope::Read, "/") };
        assert_eq!(nobody.pages().count(), 0);
        assert!(frame(Scope::Read, "/").pages().any(|(href, _)| href == "/monitors"));
        assert!(!frame(Scope::Operate, "/").pages().any(|(href, _)| href == "/people"));
        assert!(frame(Scope::Admin, "/").pages().any(|(href, _)| href == "/people"));
        let rows = [
            ("/events", "/events", true),
            ("/events/7", "/events", true),
            ("/eventual", "/events", false),
            ("/events", "/", false),
            ("/", "/", true),
        ];
        for (path, href, wanted) in rows {
            assert_eq!(frame(Scope::Read, path).is_here(href), wanted, "{path} {href}");
        }
    }

    #[test]
    fn what_is_looked_at_on_a_page_is_no_secret() {
        for (href, ..) in PAGES.iter().skip(1) {
            let first = href.trim_start_matches('/');
            assert!(crate::PLAIN_PATHS.contains(&first), "{href}");
        }
        assert!(crate::KEYED_PATHS.iter().all(|first| !crate::PLAIN_PATHS.contains(first)));
    }

    #[test]
    fn moments_are_told_with_their_zone() {
        let at = At::new(Timestamp(1_796_006_460_000));
        assert_eq!(
            (at.utc.as_str(), at.text.as_str()),
            ("2026-11-30T02:41:00Z", "30 Nov 2026, 02:41 UTC")
        );
    }
}
