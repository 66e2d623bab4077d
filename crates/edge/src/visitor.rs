//! Who asks: the one address of the visitor, and what those in front may say of it.
//!
//! Facts: RFC 7239 (`Forwarded`); `X-Forwarded-*` have no standard, and are written as everybody writes them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use linkflow_model::config::VisitorHeader;

use crate::head::remove_all;
use crate::proxy::Client;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");

/// Whether a header speaks of the visitor. Of whoever is not trusted, none of these is passed on.
fn is_said(name: &str) -> bool {
    matches!(
        name,
        "cf-connecting-ip"
            | "forwarded"
            | "true-client-ip"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-prefix"
            | "x-forwarded-proto"
            | "x-real-ip"
    )
}

/// Who is believed, and by which header.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    pub(crate) networks: Vec<IpNet>,
    pub(crate) header: VisitorHeader,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// The visitor's own address: of the connection, or as those in front say.
    pub(crate) ip: IpAddr,
    /// Whether the visitor speaks HTTPS, to us or to those in front.
    pub(crate) secure: bool,
}

impl Trust {
    /// Whether `ip` may speak for others.
    pub(crate) fn has(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// Who asks, over `client`'s connection.
    pub(crate) fn visitor(&self, client: &Client, headers: &HeaderMap) -> Visitor {
        if !client.trusted {
            return Visitor { ip: client.ip, secure: client.secure };
        }
        let named = match self.header {
            VisitorHeader::XForwardedFor => {
                self.last_stranger(backwards(headers, &FORWARDED_FOR).map(address))
            }
            VisitorHeader::Forwarded => {
                let elements = backwards(headers, &header::FORWARDED);
                self.last_stranger(elements.map(|element| address(parameter(element, "for")?)))
            }
            VisitorHeader::CfConnectingIp => {
                headers.get(&CONNECTING_IP).and_then(|ip| address(ip.to_str().ok()?))
            }
        };
        let proto = match self.header {
            VisitorHeader::Forwarded => {
                backwards(headers, &header::FORWARDED).next().and_then(|e| parameter(e, "proto"))
            }
            _ => headers.get(&FORWARDED_PROTO).and_then(|v| v.to_str().ok()),
        };
        let secure = match proto {
            Some(proto) if proto.eq_ignore_ascii_case("https") => true,
            Some(proto) if proto.eq_ignore_ascii_case("http") => false,
            _ => client.secure,
        };
        Visitor { ip: named.unwrap_or(client.ip), secure }
    }

    /// The last address of a list that is none of those in front; the first one when all are. What cannot be read ends
    /// the list, for whoever wrote it did not know the one before.
    fn last_stranger(&self, mut list: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut last = None;
        while let Some(Some(ip)) = list.next() {
            last = Some(ip);
            if !self.has(ip) {
                break;
            }
        }
        last
    }

    /// Tells a target who asks, in every form that is read anywhere. `host`: the name that was asked for.
    pub(crate) fn tell(
        &self,
        headers: &mut HeaderMap,
        client: &Client,
        visitor: &Visitor,
        host: &HeaderValue,
    ) {
        let mut list = client.name.clone();
        let mut before = String::new();
        let mut kept_host = None;
        if client.trusted {
            let header = self.header;
            let through = (visitor.ip != client.ip).then_some(visitor.ip);
            let said =
                (header == VisitorHeader::XForwardedFor).then(|| joined(headers, &FORWARDED_FOR));
            let said = said.flatten().or_else(|| through.map(|ip| ip.to_string()));
            list = said.and_then(|s| value(&format!("{s}, {}", client.ip))).unwrap_or(list);
            let said =
                (header == VisitorHeader::Forwarded).then(|| joined(headers, &header::FORWARDED));
            before = said.flatten().or_else(|| through.map(node)).map_or(before, |s| s + ", ");
            kept_host = headers.remove(&FORWARDED_HOST).filter(|host| is_host(host.as_bytes()));
        } else {
            remove_all(headers, is_said);
        }
        let proto = if visitor.secure { "https" } else { "http" };
        if let Some(forwarded) = client.forwarded(&before, host, proto) {
            headers.insert(header::FORWARDED, forwarded);
        }
        headers.insert(FORWARDED_FOR, list);
        headers.insert(FORWARDED_HOST, kept_host.unwrap_or_else(|| host.clone()));
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
}

/// Whether `text` can be a host with or without a port: RFC 3986's characters for it.
pub(crate) fn is_host(text: &[u8]) -> bool {
    text.iter().all(|b| {
        b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.') || b"_~%!$&'()*+,;=:[]".contains(b)
    })
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

/// The elements of a list header, the last one first. Lines that are no text count as elements that say nothing.
fn backwards<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter().rev();
    lines.flat_map(|line| Elements { rest: Some(line.to_str().unwrap_or_default()) })
}

/// The elements of one line, the last one first. A comma within quotes separates nothing.
struct Elements<'h> {
    rest: Option<&'h str>,
}

impl<'h> Iterator for Elements<'h> {
    type Item = &'h str;

    fn next(&mut self) -> Option<&'h str> {
        let rest = self.rest?;
        let mut quoted = false;
        let split = rest.bytes().enumerate().rev().find(|(at, b)| {
            // A quote behind a backslash is a part of the text.
            quoted ^= *b == b'"' && rest.as_bytes().get(at.wrapping_sub(1)) != Some(&b'\\');
            *b == b',' && !quoted
        });
        let at = split.map(|(at, _)| at);
        self.rest = at.and_then(|at| rest.get(..at));
        Some(at.map_or(rest, |at| rest.get(at + 1..).unwrap_or_default()).trim())
    }
}

/// The value of `name` in one element of `Forwarded`, without its quotes.
pub(crate) fn parameter<'h>(element: &'h str, name: &str) -> Option<&'h str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let ip = match bare {
        Some(six) => six.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok().or_else(|| text.parse().ok().map(|a: SocketAddr| a.ip())),
    };
    ip.map(|ip| ip.to_canonical())
}

/// The whole list of a header, when it can be passed on.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut text = String::new();
    for line in headers.get_all(name) {
        let line = line.to_str().ok()?;
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(line);
    }
    Some(text).filter(|text| !text.is_empty())
}

/// What `Forwarded` says of a request that came to `host`: what was said `before`, and who asked us.
pub(crate) fn element(
    before: &str,
    node: &str,
    host: &HeaderValue,
    proto: &str,
) -> Option<HeaderValue> {
    // A host has no character that would have to be quoted within quotes.
    let host = host.to_str().unwrap_or_default();
    let text = [before, node, ";host=\"", host, "\";proto=", proto].concat();
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

/// An address as `Forwarded` writes it.
pub(crate) fn node(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("for={ip}"),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
    }
}

#[cfg(test)]
mod tests;
