//! One request to a vendor, and its answer.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use linkflow_model::Secret;
use serde_json::Value;

/// How long a request that only looks may take.
const LOOK: Duration = Duration::from_secs(10);

/// How long a request that changes something may take.
const WRITE: Duration = Duration::from_secs(30);

/// One request to a vendor.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) action: &'static str,
    pub(super) about: String,
    pub(super) counted_for: Option<String>,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, HeaderText)>,
    pub(super) body: Option<Content>,
    /// Whether its query is left out of the recording.
    pub(super) hides_query: bool,
    pub(super) reads: bool,
    pub(super) within: Duration,
}

/// What goes along with a request.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Json(Value),
    /// The media type, and the bytes.
    Bytes(String, Vec<u8>),
    /// A form, as it is sent. No recording shows it.
    Form(Secret),
}

#[derive(Clone, Debug)]
pub(super) enum HeaderText {
    Plain(String),
    Secret(Secret),
}

impl HeaderText {
    pub(super) fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }

    /// The text for a recording.
    pub(super) fn shown(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(_) => super::veil::MASK,
        }
    }
}

impl Call {
    /// A request that changes something, or may. `action` is a verb phrase such as "stop machine" and names the limit
    /// that it counts against; `about` is the thing it acts on.
    pub fn write(
        method: Method,
        action: &'static str,
        about: impl Into<String>,
        path: impl Into<String>,
    ) -> Self {
        Self {
            action,
            about: about.into(),
            counted_for: None,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: None,
            hides_query: false,
            reads: false,
            within: WRITE,
        }
    }

    /// A request that changes nothing and may be repeated.
    pub fn read(action: &'static str, about: impl Into<String>, path: impl Into<String>) -> Self {
        Self::write(Method::GET, action, about, path).as_read()
    }

    /// The same request, known to change nothing although its method does not say so: a GraphQL query, a `HEAD`.
    #[must_use]
    pub fn as_read(mut self) -> Self {
        self.reads = true;
        self.within = LOOK;
        self
    }

    /// The same request, counted against the limit of `thing` and not of what it is about.
    #[must_use]
    pub fn counted_for(mut self, thing: impl Into<String>) -> Self {
        self.counted_for = Some(thing.into());
        self
    }

    /// With a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(&format!("{}={}", encode(name), encode(value)));
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, HeaderText::Plain(value.into())));
        self
    }

    /// With a header that nobody may see.
    #[must_use]
    pub fn secret_header(mut self, name: &'static str, value: Secret) -> Self {
        self.headers.push((name, HeaderText::Secret(value)));
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(Content::Json(body));
        self
    }

    /// With a body of the media type `kind`, as it is.
    #[must_use]
    pub fn bytes(mut self, kind: impl Into<String>, body: Vec<u8>) -> Self {
        self.body = Some(Content::Bytes(kind.into(), body));
        self
    }

    /// Recorded without its query, which may hold a signature that lets anybody in.
    #[must_use]
    pub fn with_hidden_query(mut self) -> Self {
        self.hides_query = true;
        self
    }

    /// With a form as its body. No recording shows it: forms are how logins are sent.
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let pair = |(name, value): &(&str, &str)| format!("{}={}", encode(name), encode(value));
        let form = fields.iter().map(pair).collect::<Vec<_>>().join("&");
        self.body = Some(Content::Form(Secret::new(form)));
        self
    }

    /// With its own time limit.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// The thing whose limit it counts against.
    pub(super) fn counted(&self) -> &str {
        self.counted_for.as_deref().unwrap_or(&self.about)
    }

    /// Where it goes, below the address of the API.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// What is being tried, for people: "stop machine 148ed".
    pub(crate) fn attempt(&self) -> String {
        if self.about.is_empty() {
            self.action.to_owned()
        } else {
            format!("{} {}", self.action, self.about)
        }
    }
}

/// What a vendor answered, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `text` as one segment of a path or one part of a query (RFC 3986: all but unreserved characters are encoded).
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
