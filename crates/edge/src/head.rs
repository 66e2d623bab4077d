//! What the edge changes in the heads of requests and answers.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode, Version};

use crate::address::Place;
use crate::proxy::{Client, Numbers};
use crate::trace;
use crate::visitor::{Trust, Visitor, is_host};

/// How many headers a request gets on its way, at most.
const ADDED: usize = 10;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whether a header speaks of one connection, not of the message (RFC 9110, 7.6.1).
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Removes every header that is `unwanted`. Looking at the few that there are is cheaper than looking for each that there
/// might be.
pub(crate) fn remove_all(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    while let Some(name) = headers.keys().find(|name| unwanted(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// The one host that a request names, lower case and without port. The error says what is wrong with the request.
pub(crate) fn host_of<B>(request: &Request<B>) -> Result<Cow<'_, str>, &'static str> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let header = named.next();
    if named.next().is_some() {
        return Err("more than one Host header");
    }
    if request.uri().authority().is_some() && request.uri().scheme().is_none() {
        return Err("no path");
    }
    // A host in the request line wins over the header (RFC 9112, 3.2.2).
    let text = match (request.uri().authority(), header) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(value)) => value.to_str().map_err(|_| "a Host header that is no text")?,
        (None, None) if request.version() <= Version::HTTP_10 => "",
        (None, None) => return Err("no Host header"),
    };
    if !is_host(text.as_bytes()) {
        return Err("a host that there cannot be");
    }
    let port = text.rfind(':').filter(|at| text.get(at + 1..).is_some_and(is_port));
    let host = port.and_then(|at| text.get(..at)).unwrap_or(text).trim_end_matches('.');
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(host.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(host))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// The protocol the client asks to change to, when it asks in due form. `h2c` is not passed on.
pub(crate) fn wants_upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    if request.version() != Version::HTTP_11 || !names(request.headers(), "upgrade") {
        return None;
    }
    let wanted = request.headers().get(header::UPGRADE)?;
    (!wanted.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| wanted.clone())
}

/// Which headers there are of those that most requests do without: looking through the few that there are, once, is
/// cheaper than looking for each.
#[derive(Clone, Copy, Debug, Default)]
struct Rare {
    connection: bool,
    te: bool,
    expect: bool,
    length: bool,
}

impl Rare {
    fn of(headers: &HeaderMap) -> Self {
        let mut rare = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => rare.connection = true,
                "te" => rare.te = true,
                "expect" => rare.expect = true,
                "content-length" => rare.length = true,
                _ => {}
            }
        }
        rare
    }
}

/// Whether `Connection` lists `option`.
fn names(headers: &HeaderMap, option: &str) -> bool {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|part| part.trim().eq_ignore_ascii_case(option))
}

/// Removes what speaks of one connection only. `listed`: whether there is a header that lists what does.
fn remove_hop_by_hop(headers: &mut HeaderMap, listed: bool) {
    if listed {
        let names: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .filter_map(|part| HeaderName::from_bytes(part.trim().as_bytes()).ok())
            .collect();
        for name in names {
            headers.remove(name);
        }
    }
    remove_all(headers, is_hop_by_hop);
}

/// Who sent a request, and by which name.
pub(crate) struct Sender<'a> {
    pub(crate) trust: &'a Trust,
    pub(crate) client: &'a Client,
    pub(crate) visitor: Visitor,
    pub(crate) host: &'a HeaderValue,
}

/// Makes a client's headers into those for a target. `upgrade`: the protocol to change to.
pub(crate) fn prepare_request(
    headers: &mut HeaderMap,
    sender: &Sender<'_>,
    upgrade: Option<HeaderValue>,
    empty: bool,
    numbers: &Numbers,
) {
    headers.reserve(ADDED);
    let rare = Rare::of(headers);
    let trailers = rare.te
        && headers.get_all(header::TE).iter().any(|te| {
            let listed = |t: &str| t.split(',').any(|p| p.trim().eq_ignore_ascii_case("trailers"));
            te.to_str().is_ok_and(listed)
        });
    remove_hop_by_hop(headers, rare.connection);
    if rare.expect {
        // Answered by the edge itself, when the target asks for the body.
        headers.remove(header::EXPECT);
    }
    let is_nothing = |length: &HeaderValue| length.as_bytes() == b"0";
    // The length is told anew from the body; only "nothing" has to be said where a body is usual.
    if rare.length && !(empty && headers.get(header::CONTENT_LENGTH).is_some_and(is_nothing)) {
        headers.remove(header::CONTENT_LENGTH);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    sender.trust.tell(headers, sender.client, &sender.visitor, sender.host);
    trace::keep_or_begin(headers, || numbers.three());
    let id = headers.get(&REQUEST_ID).map(HeaderValue::as_bytes);
    let fits =
        id.is_some_and(|id| (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic));
    if !(fits && sender.client.trusted)
        && let Ok(id) = HeaderValue::from_bytes(&numbers.text())
    {
        headers.insert(REQUEST_ID, id);
    }
}

/// Makes a target's headers into those for the client. `host`: the name the client used.
pub(crate) fn prepare_answer(
    status: StatusCode,
    headers: &mut HeaderMap,
    place: &Place,
    host: &HeaderValue,
    proto: &str,
) {
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = switches.then(|| headers.get(header::UPGRADE).cloned()).flatten();
    remove_hop_by_hop(headers, headers.contains_key(header::CONNECTION));
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    // It names other ways to reach the provider, round the edge.
    headers.remove(header::ALT_SVC);
    if let Some(home) = headers.get(header::LOCATION).and_then(|to| rehome(to, place, host, proto))
    {
        headers.insert(header::LOCATION, home);
    }
}

/// A redirect to the target's own name leads past the edge: it is made to lead to the name that was asked for.
fn rehome(to: &HeaderValue, place: &Place, host: &HeaderValue, proto: &str) -> Option<HeaderValue> {
    let to = to.to_str().ok()?;
    let rest = to.strip_prefix("https://").or_else(|| to.strip_prefix("http://"))?;
    let rest = rest.strip_prefix(place.authority.as_str())?;
    if !(rest.is_empty() || rest.starts_with(['/', '?', '#'])) {
        return None;
    }
    HeaderValue::from_str(&format!("{proto}://{}{rest}", host.to_str().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use linkflow_model::ServiceKind;
    use linkflow_model::config::VisitorHeader;

    use super::*;
    use crate::address::Resolve;
    use crate::framing::Framing;
    use crate::proxy::Entrance;

    const FORWARDED: &str = "forwarded";
    const FORWARDED_FOR: &str = "x-forwarded-for";
    const FORWARDED_HOST: &str = "x-forwarded-host";
    const FORWARDED_PROTO: &str = "x-forwarded-proto";

    fn headers(lines: &str) -> HeaderMap {
        let lines = lines.lines().filter_map(|line| line.trim().split_once(": "));
        lines
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn text(headers: &HeaderMap) -> String {
        let mut lines: Vec<String> =
            headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        lines.sort();
        lines.join("\n")
    }

    /// What a target gets, without what `visitor` and `trace` have tests for, and with `made` for a new id.
    #[track_caller]
    fn check_request(before: &str, trusted: bool, upgrade: Option<&'static str>, after: &str) {
        let mut map = headers(before);
        let host = HeaderValue::from_static("shop.example");
        let ip = IpAddr::from([10, 0, 0, 7]);
        let client = Client::new(ip, Entrance::Public, Framing::default(), trusted, false);
        let trust = Trust { networks: Vec::new(), header: VisitorHeader::XForwardedFor };
        let visitor = trust.visitor(&client, &map);
        let sender = Sender { trust: &trust, client: &client, visitor, host: &host };
        let upgrade = upgrade.map(HeaderValue::from_static);
        prepare_request(&mut map, &sender, upgrade, true, &Numbers::new());
        assert!(trace::is_valid(map.remove(trace::PARENT).unwrap().as_bytes()));
        for name in [FORWARDED, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO] {
            assert!(map.remove(name).is_some(), "{name}");
        }
        if map[REQUEST_ID].len() == 32 {
            map.insert(REQUEST_ID, HeaderValue::from_static("made"));
        }
        let after: Vec<&str> = after.lines().map(str::trim).collect();
        assert_eq!(text(&map), after.join("\n"));
    }

    #[test]
    fn what_the_connection_header_lists_stays_behind() {
        check_request(
            "connection: close, x-mine\nx-mine: 1\nkeep-alive: 5\nte: gzip\naccept: */*\nexpect: 100-continue",
            false,
            None,
            "accept: */*
            x-request-id: made",
        );
    }

    #[test]
    fn the_id_of_a_request_is_kept_from_those_who_are_trusted() {
        let said = "x-request-id: abc\nte: trailers";
        check_request(said, true, None, "te: trailers\nx-request-id: abc");
        check_request(said, false, None, "te: trailers\nx-request-id: made");
        check_request("x-request-id: a b", true, None, "x-request-id: made");
    }

    #[test]
    fn an_upgrade_is_asked_for_anew() {
        check_request(
            "connection: Upgrade, keep-alive\nupgrade: websocket",
            false,
            Some("websocket"),
            "connection: upgrade
            upgrade: websocket
            x-request-id: made",
        );
    }

    #[track_caller]
    fn check_host(uri: &str, lines: &str, expected: Result<&str, &str>) {
        let mut request = Request::new(());
        *request.uri_mut() = uri.parse().unwrap();
        *request.headers_mut() = headers(lines);
        assert_eq!(host_of(&request).as_deref(), expected.as_ref().map(|host| *host));
    }

    #[test]
    fn the_host_is_read_from_the_request_line_or_the_one_header() {
        check_host("/", "host: Shop.Example:8080", Ok("shop.example"));
        check_host("/", "host: [::1]:80", Ok("[::1]"));
        check_host("/", "host: shop.example.", Ok("shop.example"));
        check_host("http://a.example/x", "host: b.example", Ok("a.example"));
        check_host("/", "", Err("no Host header"));
        check_host("/", "host: a\nhost: b", Err("more than one Host header"));
        check_host("/", "host: a b", Err("a host that there cannot be"));
        check_host("/", "host: shop.example/x", Err("a host that there cannot be"));
        check_host("http://me@a.example/x", "", Err("a host that there cannot be"));
    }

    #[track_caller]
    fn check_redirect(to: &str, expected: &str) {
        let place =
            Place::parse("https://x.fly.dev", ServiceKind::Web, &Resolve::default()).unwrap();
        let mut map = headers(&format!("location: {to}\nalt-svc: h3"));
        let host = HeaderValue::from_static("shop.example");
        prepare_answer(StatusCode::FOUND, &mut map, &place, &host, "https");
        assert_eq!(text(&map), format!("location: {expected}"));
    }

    #[test]
    fn a_redirect_does_not_lead_past_the_edge() {
        check_redirect("http://x.fly.dev/login?a=1", "https://shop.example/login?a=1");
        check_redirect("https://x.fly.dev", "https://shop.example");
        check_redirect("https://x.fly.dev.evil/", "https://x.fly.dev.evil/");
        check_redirect("/login", "/login");
    }
}
