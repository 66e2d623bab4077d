//! Hosts and addresses.

use std::net::SocketAddr;
use std::str::FromStr;

use super::codes::{self, Code};
use super::node::Node;
use super::print::Printed;
use super::read::{Field, Reader};
use super::shape::{Book, Shape};
use super::values::{Written, written};

/// A host name, lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(pub String);

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        <Self as Written>::parse(text).map_err(|(what, help)| format!("{what}; {help}"))
    }
}

impl Written for Host {
    const WHAT: &'static str = "a host name, like `api.example.com`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_HOST;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if text.len() <= 253 && text.split('.').all(label) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let help = match text.split_once("://") {
            Some((_, rest)) => format!("write it without the scheme: `{rest}`"),
            None if text.contains(':') => "write it without the port".to_owned(),
            None if text.contains("${") => {
                "only `${stack.name}` and `${stack.domain}` can stand here".to_owned()
            }
            None => format!("it takes {}", Self::WHAT),
        };
        Err((format!("`{text}` is not a host name"), help))
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn blank() -> Self {
        Self("blank.invalid".to_owned())
    }
}

/// A machine: a host name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Machine(pub String);

impl Written for Machine {
    const WHAT: &'static str = "a host name or an IP address, like `203.0.113.7`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_HOST;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        match text.parse::<std::net::Ipv6Addr>() {
            Ok(ip) => Ok(Self(ip.to_string())),
            Err(_) => Host::parse(text).map(|Host(host)| Self(host)),
        }
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn blank() -> Self {
        Self("blank.invalid".to_owned())
    }
}

/// An address on the web, `http://` or `https://`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url(pub String);

impl Url {
    /// What somebody typed, when it is one.
    pub fn typed(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }
}

impl Written for Url {
    const WHAT: &'static str = "a web address, like `https://example.com/path`";
    const PATTERN: Option<&'static str> = Some("^https?://");
    const CODE: Code = codes::BAD_ADDRESS;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong = |help: String| (format!("`{text}` is not a web address"), help);
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let Some(rest) = rest else { return Err(wrong(format!("write `https://{text}`"))) };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if text.contains(char::is_whitespace) {
            return Err(wrong("take the spaces away".to_owned()));
        }
        if authority.contains('@') {
            // The text is not repeated: it has the password in it.
            let what = "this web address has a user in it".to_owned();
            return Err((what, "a user and a password must not stand in the file".to_owned()));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if port.is_some_and(|p| p.parse::<u16>().is_err()) {
            return Err(wrong("the port is a number from 1 to 65535".to_owned()));
        }
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let is_host = match literal {
            Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
            None => Host::parse(host).is_ok(),
        };
        if !is_host {
            return Err(wrong(format!("`{host}` is not a host name")));
        }
        Ok(Self(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn blank() -> Self {
        Self("https://blank.invalid".to_owned())
    }
}

impl Written for SocketAddr {
    const WHAT: &'static str = "an IP address and a port, like `127.0.0.1:8080` or `[::]:443`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_ADDRESS;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let port = text.strip_prefix(':').unwrap_or(text).strip_prefix("localhost:");
        let port = port.unwrap_or(text.trim_start_matches(':'));
        let help = match port.parse::<u16>() {
            Ok(port) => {
                format!("write `127.0.0.1:{port}` for this machine only, `0.0.0.0:{port}` for all")
            }
            Err(_) => format!("it takes {}", Self::WHAT),
        };
        text.parse().map_err(|_| (format!("`{text}` is not an IP address and a port"), help))
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn blank() -> Self {
        Self::from(([127, 0, 0, 1], 1))
    }
}

/// Somebody's mail address, `ops@example.com` or `Operations <ops@example.com>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    /// The name in front, if any.
    pub name: Option<String>,
    /// The address.
    pub address: String,
}

impl Mailbox {
    /// What somebody typed, when it is one.
    pub fn typed(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }
}

impl Written for Mailbox {
    const WHAT: &'static str = "a mail address, `ops@example.com` or `Name <ops@example.com>`";
    const PATTERN: Option<&'static str> = Some("@");
    const CODE: Code = codes::BAD_EMAIL;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong = || (format!("`{text}` is not a mail address"), format!("write {}", Self::WHAT));
        let (name, address) = match text.strip_suffix('>').and_then(|t| t.rsplit_once('<')) {
            Some((name, address)) => (Some(name.trim().to_owned()), address),
            None => (None, text),
        };
        let name_fits = |n: &String| !n.is_empty() && !n.contains(['<', '>', '\r', '\n']);
        let (user, host) = address.rsplit_once('@').ok_or_else(wrong)?;
        let user_fits = (1..=64).contains(&user.len())
            && !user.starts_with('.')
            && !user.ends_with('.')
            && user.bytes().all(|b| b.is_ascii_graphic() && !b"\"(),:;<>@[\\]".contains(&b));
        if !user_fits || !name.as_ref().is_none_or(name_fits) || !host.contains('.') {
            return Err(wrong());
        }
        let Host(host) = Host::parse(host).map_err(|_| wrong())?;
        Ok(Self { name, address: format!("{user}@{host}") })
    }

    fn write(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} <{}>", self.address),
            None => self.address.clone(),
        }
    }

    fn blank() -> Self {
        Self { name: None, address: "blank@blank.invalid".to_owned() }
    }
}

written!(Host, Machine, Url, SocketAddr, Mailbox);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: Written>(text: &str, expected: &str) {
        let said = match T::parse(text) {
            Ok(value) => value.write(),
            Err((what, help)) => format!("{what}; {help}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn hosts_have_no_scheme_and_no_port() {
        check::<Host>("API.example.com", "api.example.com");
        check::<Host>(
            "https://example.com",
            "`https://example.com` is not a host name; write it without the scheme: `example.com`",
        );
        check::<Host>(
            "example.com:80",
            "`example.com:80` is not a host name; write it without the port",
        );
    }

    #[test]
    fn a_bare_port_is_told_how_to_become_an_address() {
        let help = "write `127.0.0.1:8080` for this machine only, `0.0.0.0:8080` for all";
        check::<SocketAddr>(":8080", &format!("`:8080` is not an IP address and a port; {help}"));
        check::<SocketAddr>(
            "localhost:8080",
            &format!("`localhost:8080` is not an IP address and a port; {help}"),
        );
        check::<SocketAddr>("[::1]:8080", "[::1]:8080");
    }

    #[test]
    fn web_addresses_carry_no_password() {
        check::<Url>("https://example.com:8443/x?y", "https://example.com:8443/x?y");
        check::<Url>("http://[::1]:80/x", "http://[::1]:80/x");
        check::<Url>(
            "https://me:pw@example.com",
            "this web address has a user in it; a user and a password must not stand in the file",
        );
    }

    #[test]
    fn mail_addresses_may_have_a_name() {
        check::<Mailbox>("LinkFlow <noreply@Example.com>", "LinkFlow <noreply@example.com>");
        check::<Mailbox>("ops@example.com", "ops@example.com");
        check::<Mailbox>(
            "ops",
            "`ops` is not a mail address; write a mail address, `ops@example.com` or `Name <ops@example.com>`",
        );
    }
}
