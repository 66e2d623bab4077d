//! Where a target is: its base address, taken apart once.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use linkflow_model::ServiceKind;

/// Host suffixes that lead somewhere else, for rehearsals: like curl's `--resolve`.
///
/// With `fly.dev` in it, `https://x.fly.dev` is reached in plain HTTP at the given address, with `x.fly.dev` as host.
/// The longest suffix wins; a suffix matches whole labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolve(pub BTreeMap<String, SocketAddr>);

impl Resolve {
    fn find(&self, host: &str) -> Option<SocketAddr> {
        let matches = |suffix: &str| {
            host.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let found = self.0.iter().filter(|(suffix, _)| matches(suffix));
        found.max_by_key(|(suffix, _)| suffix.len()).map(|(_, to)| *to)
    }
}

/// A target's address, ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// What to connect to: the address itself, or where [`Resolve`] sends it.
    pub(crate) dial: Uri,
    /// The scheme that the target believes it is reached by.
    pub(crate) scheme: Scheme,
    /// Host and port, as the target knows them.
    pub(crate) authority: Authority,
    /// The same, as `Host` header.
    pub(crate) host: HeaderValue,
    /// Spoken to over HTTP/2.
    pub(crate) http2: bool,
}

impl Place {
    /// Takes `address` apart. The error is one sentence.
    pub(crate) fn parse(
        address: &str,
        kind: ServiceKind,
        resolve: &Resolve,
    ) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{address}` is not the address of a target: {why}");
        let uri: Uri = address.parse().map_err(|e| wrong(&format!("{e}")))?;
        let scheme = uri.scheme().cloned().ok_or_else(|| wrong("no scheme"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(wrong("neither http nor https"));
        }
        let authority = uri.authority().cloned().ok_or_else(|| wrong("no host"))?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|e| wrong(&format!("{e}")))?;
        let (dial, scheme) = match resolve.find(authority.host()) {
            Some(to) => {
                let dial = format!("http://{to}/").parse().map_err(|e| wrong(&format!("{e}")))?;
                (dial, Scheme::HTTP)
            }
            None => (uri, scheme),
        };
        Ok(Self { dial, scheme, authority, host, http2: kind == ServiceKind::Grpc })
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.dial.scheme() == Some(&Scheme::HTTPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: &str) {
        let to = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let resolve = Resolve(BTreeMap::from([
            ("fly.dev".to_owned(), to(1)),
            ("api.fly.dev".to_owned(), to(2)),
            ("app.example".to_owned(), to(3)),
        ]));
        let place = Place::parse(address, ServiceKind::Web, &resolve);
        let said = match place {
            Ok(p) => format!("{} as {} over {}", p.dial, p.authority, p.scheme),
            Err(why) => why,
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn an_overridden_host_is_reached_in_plain_http_under_its_own_name() {
        check("https://x.fly.dev", "http://127.0.0.1:1/ as x.fly.dev over http");
        check("https://x.api.fly.dev", "http://127.0.0.1:2/ as x.api.fly.dev over http");
        check("http://app.example:8000", "http://127.0.0.1:3/ as app.example:8000 over http");
    }

    #[test]
    fn any_other_host_is_reached_as_written() {
        check("https://notfly.dev", "https://notfly.dev/ as notfly.dev over https");
        check("http://127.0.0.1:4001", "http://127.0.0.1:4001/ as 127.0.0.1:4001 over http");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        check("ftp://x", "`ftp://x` is not the address of a target: neither http nor https");
        check("x.fly.dev", "`x.fly.dev` is not the address of a target: no scheme");
    }
}
