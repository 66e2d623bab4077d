//! Who may do what at the registry: the token flow of GHCR, and the login of other registries.

use serde_json::{Value, json};

use super::{Images, image};
use crate::cloud::answer::{Answer, Call};

impl Images {
    /// Answers one request, as GHCR does: public images are for everybody, private ones and pushes want a token.
    pub(crate) fn answer(&self, call: &Call) -> Answer {
        if call.path == "/token" {
            return self.give_token(call);
        }
        let Some(name) = repository(&call.path) else { return self.serve(call) };
        let reads = matches!(call.method.as_str(), "GET" | "HEAD");
        if reads && !self.read().private.contains(name) {
            return self.serve(call);
        }
        let due = if reads { "pull" } else { "pull,push" };
        let pushes = self.token(name, "pull,push");
        let pulls = self.token(name, "pull");
        match call.bearer() {
            Some(shown) if shown == pushes || (reads && shown == pulls) => self.serve(call),
            _ => {
                let host = call.header("host").unwrap_or("localhost");
                let challenge = format!(
                    "Bearer realm=\"http://{host}/token\",service=\"rehearsal\",scope=\"repository:{name}:{due}\""
                );
                refusal(401, "UNAUTHORIZED", "authentication required", &Value::Null)
                    .with("www-authenticate", &challenge)
            }
        }
    }

    /// The token service. Its answer never says how long a token is good for; GHCR's neither.
    fn give_token(&self, call: &Call) -> Answer {
        let scope = call.parameter("scope").unwrap_or_default();
        let mut parts = scope.splitn(3, ':').skip(1);
        let (name, actions) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let denied =
            || refusal(403, "DENIED", "requested access to the resource is denied", &Value::Null);
        let is_open = actions == "pull" && !self.read().private.contains(name);
        match call.header("authorization") {
            Some(shown) if shown == basic(&self.login.user, &self.login.password) => {}
            None if is_open => {}
            _ => return denied(),
        }
        Answer::json(200, &json!({ "token": self.token(name, actions) }))
    }

    /// What whoever holds may do `actions` with `repository`.
    fn token(&self, repository: &str, actions: &str) -> String {
        let text = format!("{}:{repository}:{actions}", self.login.password);
        image::hash(text.as_bytes()).as_str()[7..].to_owned()
    }
}

/// The repository that a path is about.
pub(super) fn repository(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v2/")?;
    let ends = ["/manifests/", "/blobs/", "/tags/"].map(|part| rest.find(part));
    ends.into_iter().flatten().min().map(|end| &rest[..end])
}

/// How a registry refuses.
pub(crate) fn refusal(status: u16, code: &str, message: &str, detail: &Value) -> Answer {
    Answer::json(
        status,
        &json!({ "errors": [{ "code": code, "message": message, "detail": detail }] }),
    )
}

/// What `Authorization` says for a user and a password (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = "Basic ".to_owned();
    for chunk in format!("{user}:{password}").as_bytes().chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let [a, b, c] = group;
        let indexes = [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63];
        for (place, index) in indexes.into_iter().enumerate() {
            let fills = place > chunk.len();
            text.push(if fills { '=' } else { char::from(ALPHABET[usize::from(index)]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_written_as_the_standard_has_it() {
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(basic("x", "1"), "Basic eDox");
    }

    #[test]
    fn a_path_names_its_repository() {
        assert_eq!(repository("/v2/acme/api/manifests/1.0"), Some("acme/api"));
        assert_eq!(repository("/v2/acme/api/blobs/uploads/"), Some("acme/api"));
        assert_eq!(repository("/v2/"), None);
    }
}
