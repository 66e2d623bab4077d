//! Cookies: one for a session, one for what is half of one.
//!
//! Facts: RFC 6265bis, 4.1.3.2: a browser takes a name with `__Host-` only over HTTPS, for this very host and all its paths.

use axum::http::{HeaderMap, HeaderValue, header};

use super::origin::Origin;
use super::sessions;

/// Which cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    /// The id of a session.
    Session,
    /// The id of what is half a session: the password was right, the code is to come.
    Half,
}

impl Cookie {
    /// Its name: over HTTPS one that no other host and no page over HTTP can have set.
    fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Session, true) => "__Host-linkflow",
            (Self::Session, false) => "linkflow",
            (Self::Half, true) => "__Host-linkflow-half",
            (Self::Half, false) => "linkflow-half",
        }
    }

    /// Its value in a request. One that came twice is none.
    pub(super) fn read(self, headers: &HeaderMap, origin: &Origin) -> Option<String> {
        let name = self.name(origin.secure);
        let lines = headers.get_all(header::COOKIE).into_iter();
        let pairs = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
        let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(held, _)| *held == name).map(|(_, value)| value.to_owned());
        let first = values.next();
        first.filter(|_| values.next().is_none())
    }

    /// Sets it in an answer; an empty value takes it away.
    pub(super) fn set(self, headers: &mut HeaderMap, origin: &Origin, value: &str) {
        let age = match (self, value.is_empty()) {
            (_, true) => 0,
            (Self::Session, false) => sessions::WHOLE_MS / 1_000,
            (Self::Half, false) => sessions::HALF_MS / 1_000,
        };
        let secure = if origin.secure { "; Secure" } else { "" };
        let name = self.name(origin.secure);
        let line = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
        if let Ok(line) = HeaderValue::from_str(&line) {
            headers.append(header::SET_COOKIE, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(secure: bool) -> Origin {
        Origin { address: None, origin: String::new(), host: String::new(), secure }
    }

    #[test]
    fn over_https_only_the_host_itself_can_have_set_it() {
        let mut headers = HeaderMap::new();
        Cookie::Session.set(&mut headers, &origin(true), "abc");
        let wanted = "__Host-linkflow=abc; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax; Secure";
        assert_eq!(headers[header::SET_COOKIE], wanted);
        let mut headers = HeaderMap::new();
        Cookie::Session.set(&mut headers, &origin(false), "");
        assert_eq!(
            headers[header::SET_COOKIE],
            "linkflow=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn a_cookie_is_read_by_its_whole_name_and_once() {
        let of = |line: &'static str, secure| {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(line))]);
            Cookie::Session.read(&headers, &origin(secure))
        };
        assert_eq!(of("a=1; linkflow=x; linkflow-half=y", false).as_deref(), Some("x"));
        assert_eq!(of("linkflow=x", true), None, "one over HTTP counts for nothing over HTTPS");
        assert_eq!(of("linkflow=x; linkflow=y", false), None);
    }
}
