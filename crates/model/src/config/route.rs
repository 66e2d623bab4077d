//! Routes: what of a request leads it to a service.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::address::Host;
use super::codes::{self, Code};
use super::macros::section;
use super::node::{Node, Raw};
use super::print::Printed;
use super::read::{Field, Reader};
use super::shape::{Book, Shape};
use super::values::{Many, Name, Written, written};
use crate::HostRoute;

/// A route as one text: a public name that leads to a service, `host` or `host/path`.
impl Written for HostRoute {
    const WHAT: &'static str = "a route, `host` or `host/path`, like `api.example.com`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_HOST;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let (host, path) = match text.split_once('/') {
            Some((host, path)) => (host, format!("/{path}")),
            None => (text, "/".to_owned()),
        };
        let (Hosts(host), PathPrefix(path)) = (Hosts::parse(host)?, PathPrefix::parse(&path)?);
        Ok(Self::new(host, path))
    }

    fn write(&self) -> String {
        if self.path == "/" { self.host.clone() } else { format!("{}{}", self.host, self.path) }
    }

    fn blank() -> Self {
        Self::new("blank.invalid", "/")
    }
}

section! {
    /// A route in parts. `route = "host/path"` says the same of host and path alone. Of several that fit a request, the one
    /// with the closest host, then the longest path, then the most conditions wins.
    pub struct RouteTable as "route" {
        /// The host: `api.example.com`, `*.example.com` for every name below `example.com`, or `*` for any host.
        host: Hosts,
        /// The beginning of the path, in whole segments.
        path: PathPrefix = PathPrefix("/".to_owned()),
        /// The methods that it takes; all when not said. A route that takes GET takes HEAD.
        methods: Many<Method>,
        /// Headers that a request must have, each with its whole value; `*` is any value.
        headers: BTreeMap<HeaderKey, String>,
    }
}

/// A host, every name below one (`*.example.com`), or any (`*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(pub String);

/// The beginning of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(pub String);

/// A method of HTTP, upper case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method(pub String);

/// The name of a header, lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderKey(pub String);

impl Written for Hosts {
    const WHAT: &'static str = "a host, like `api.example.com`, `*.example.com` or `*`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_HOST;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        match text.strip_prefix("*.") {
            Some(below) => Host::parse(below).map(|Host(host)| Self(format!("*.{host}"))),
            None => Host::parse(text).map(|Host(host)| Self(host)),
        }
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn blank() -> Self {
        Self("blank.invalid".to_owned())
    }
}

impl Written for PathPrefix {
    const WHAT: &'static str = "the beginning of a path, like `/api`";
    const PATTERN: Option<&'static str> = Some("^/");
    const CODE: Code = codes::BAD_HOST;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let odd = |c: char| c.is_whitespace() || matches!(c, '?' | '#');
        if !text.starts_with('/') || text.contains(odd) {
            let help = "a path begins with `/` and has no spaces, `?` or `#`";
            return Err((format!("`{text}` is not a path"), help.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn blank() -> Self {
        Self("/".to_owned())
    }
}

impl Written for Method {
    const WHAT: &'static str = "a method of HTTP, like `GET`";
    const PATTERN: Option<&'static str> = Some("^[A-Za-z-]+$");
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
            return Err((format!("`{text}` is not a method"), format!("write {}", Self::WHAT)));
        }
        Ok(Self(text.to_ascii_uppercase()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn blank() -> Self {
        Self("GET".to_owned())
    }
}

written!(Hosts, PathPrefix, Method);

impl FromStr for HeaderKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if text.is_empty() || !text.bytes().all(fits) {
            return Err(format!("`{text}` is not the name of a header"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl AsRef<str> for HeaderKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Name for HeaderKey {
    const PATTERN: &'static str = "^[A-Za-z0-9-]+$";

    fn blank() -> Self {
        Self("x-blank".to_owned())
    }
}

impl Field for HostRoute {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Raw::Table(_) = node.value else { return reader.written(node) };
        let table = RouteTable::read(node, reader)?;
        Some(Self {
            host: table.host.0,
            path: table.path.0,
            methods: table.methods.0.into_iter().map(|method| method.0).collect(),
            headers: table.headers.into_iter().map(|(name, value)| (name.0, value)).collect(),
        })
    }

    fn blank() -> Self {
        <Self as Written>::blank()
    }

    fn print(&self) -> Printed {
        if self.methods.is_empty() && self.headers.is_empty() {
            return Printed::Text(self.write());
        }
        let headers = self.headers.iter();
        RouteTable {
            host: Hosts(self.host.clone()),
            path: PathPrefix(self.path.clone()),
            methods: Many(self.methods.iter().cloned().map(Method).collect()),
            headers: headers.map(|(n, v)| (HeaderKey(n.clone()), v.clone())).collect(),
        }
        .print()
    }

    fn shape(book: &mut Book) -> Shape {
        let text = Shape::Text { what: <Self as Written>::WHAT, pattern: None };
        Shape::Any(vec![text, RouteTable::shape(book)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let said = match <HostRoute as Written>::parse(text) {
            Ok(value) => value.write(),
            Err((what, help)) => format!("{what}; {help}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn routes_keep_their_path() {
        check("example.com/api/v1", "example.com/api/v1");
        check("example.com/", "example.com");
        check("*", "*");
        check("*.Example.com/x", "*.example.com/x");
        check(
            "example.com/a b",
            "`/a b` is not a path; a path begins with `/` and has no spaces, `?` or `#`",
        );
        check(
            "a.*.com",
            "`a.*.com` is not a host name; it takes a host name, like `api.example.com`",
        );
    }
}
