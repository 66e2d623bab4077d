//! Proves to a registry who asks (the distribution project's token flow, and basic authentication).

use std::collections::BTreeMap;
use std::sync::PoisonError;

use http::StatusCode;
use linkflow_model::{Fault, FaultKind, Moment, Secret};
use serde::Deserialize;
use serde_json::Value;

use super::challenge::Challenge;
use super::oci::{Credentials, Oci, is_loopback};
use crate::kit::{Answer, Call, Vendor};

/// How long a token is good for when its answer does not say, in seconds. GHCR's never does.
const TOKEN_SECONDS: u64 = 60;

/// A token is not used any more this long before it ends, in seconds.
const TOKEN_MARGIN: u64 = 5;

/// What a request is to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Reading, with the credentials that there are.
    Pull,
    /// Reading, as somebody without any.
    Anyone,
    /// Reading and writing.
    Push,
}

/// Proofs that were given out, by host, repository and what they allow: each with its last moment.
pub(super) type Proofs = BTreeMap<(String, String, Access), (Secret, Moment)>;

/// One repository at its registry.
pub(super) struct Place {
    /// The host, as images name it.
    pub(super) host: String,
    /// The repository, as the registry knows it.
    pub(super) repository: String,
    /// What all this is about, for people.
    pub(super) about: String,
    pub(super) registry: Vendor,
}

impl Place {
    fn key(&self, access: Access) -> (String, String, Access) {
        (self.host.clone(), self.repository.clone(), access)
    }
}

impl Oci {
    /// Sends `call` with whatever proof of who asks the registry wants, and gives its answer whatever its status.
    pub(super) async fn ask(
        &self,
        place: &Place,
        call: Call,
        access: Access,
    ) -> Result<Answer, Fault> {
        let first = self.with_proof(place, call.clone(), access);
        let answer = place.registry.exchange(&first).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let proof = self.prove(place, access, &answer).await?;
        place.registry.exchange(&call.secret_header("authorization", proof)).await
    }

    /// `call` with the proof that was given before, if it is still good.
    pub(super) fn with_proof(&self, place: &Place, call: Call, access: Access) -> Call {
        let now = self.kit.clock().now();
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.retain(|_, (_, until)| *until > now);
        match proofs.get(&place.key(access)) {
            Some((proof, _)) => call.secret_header("authorization", proof.clone()),
            None => call,
        }
    }

    /// Who asks there, when it is not just anyone.
    pub(super) fn credentials(&self, place: &Place, access: Access) -> Option<&Credentials> {
        self.settings.credentials.get(&place.host).filter(|_| access != Access::Anyone)
    }

    /// What to put into `Authorization` after a 401.
    pub(super) async fn prove(
        &self,
        place: &Place,
        access: Access,
        refused: &Answer,
    ) -> Result<Secret, Fault> {
        let (proof, seconds) = match refused.header("www-authenticate").and_then(Challenge::read) {
            Some(Challenge::Basic) => match self.credentials(place, access) {
                Some(credentials) => (basic(credentials), u64::MAX / 2_000),
                None => return Err(self.denied(place, access, "")),
            },
            Some(Challenge::Bearer { realm, service, scope }) => {
                let due = format!("repository:{}:pull", place.repository);
                let scope = match access {
                    Access::Push => format!("{due},push"),
                    _ => scope.unwrap_or(due),
                };
                let call = token_call(place, service.as_deref(), &scope);
                let given = self.fetch_token(place, access, &realm, call).await?;
                let seconds = given.expires_in.unwrap_or(TOKEN_SECONDS);
                let token = given.token.or(given.access_token).unwrap_or_default();
                self.kit.learn(&Secret::new(token.clone()));
                (Secret::new(format!("Bearer {token}")), seconds.saturating_sub(TOKEN_MARGIN))
            }
            None => {
                let said = "the registry wants a proof that nobody here can give";
                let attempt = format!("look up {}", place.about);
                return Err(place.registry.fault(FaultKind::Denied, attempt, said));
            }
        };
        let until = self.kit.clock().now().plus(seconds.saturating_mul(1_000));
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.insert(place.key(access), (proof.clone(), until));
        Ok(proof)
    }

    async fn fetch_token(
        &self,
        place: &Place,
        access: Access,
        realm: &str,
        call: impl FnOnce(&str) -> Call,
    ) -> Result<TokenAnswer, Fault> {
        let wrong = |said: String| {
            let attempt = format!("get a token for {}", place.about);
            Err(place.registry.fault(FaultKind::Invalid, attempt, &said))
        };
        let Some((origin, path)) = split(realm) else {
            return wrong(format!("`{realm}` is no address"));
        };
        let is_safe = origin.starts_with("https://")
            || self.settings.stands_in(&place.host)
            || origin.strip_prefix("http://").is_some_and(is_loopback);
        if !is_safe {
            return wrong(format!("`{origin}` would get the credentials without TLS"));
        }
        let vendor = self.vendor(origin.to_owned(), origin.to_owned());
        let mut call = call(path);
        if let Some(credentials) = self.credentials(place, access) {
            call = call.secret_header("authorization", basic(credentials));
        }
        let answer = vendor.exchange(&call).await?;
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let refusal = vendor.judge(&call, answer);
            let said = refusal.err().map(|fault| fault.said).unwrap_or_default();
            return Err(self.denied(place, access, &said));
        }
        let answer = vendor.judge(&call, answer)?;
        let given: TokenAnswer =
            vendor.read(format!("get a token for {}", place.about), &answer)?;
        if given.token.is_none() && given.access_token.is_none() {
            return Err(self.denied(place, access, "the answer has no token"));
        }
        Ok(given)
    }
}

/// Asks the token service at a path for `scope`.
fn token_call(place: &Place, service: Option<&str>, scope: &str) -> impl FnOnce(&str) -> Call {
    let (about, scope) = (place.about.clone(), scope.to_owned());
    let service = service.map(str::to_owned);
    move |path| {
        let call = Call::read("get a token for", about, path);
        let call = match &service {
            Some(service) => call.query("service", service),
            None => call,
        };
        call.query("scope", &scope)
    }
}

/// Scheme and host of `address`, and the rest.
pub(super) fn split(address: &str) -> Option<(&str, &str)> {
    let scheme = address.find("://")? + 3;
    let end = address[scheme..].find('/').map_or(address.len(), |at| scheme + at);
    (end > scheme).then(|| address.split_at(end))
}

fn basic(credentials: &Credentials) -> Secret {
    let text = format!("{}:{}", credentials.user, credentials.password.expose());
    Secret::new(format!("Basic {}", base64(text.as_bytes())))
}

/// Base64 with the standard alphabet (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let index = usize::try_from(group >> (18 - 6 * place) & 63).unwrap_or(0);
            text.push(if place <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

/// Masks the tokens in an answer.
pub(super) fn hide_tokens(body: &mut Value) {
    for name in ["token", "access_token"] {
        if let Some(token @ Value::String(_)) = body.get_mut(name) {
            *token = Value::from("***");
        }
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_the_standard_has_it() {
        let all = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let expected = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        assert_eq!(all.map(|text| base64(text.as_bytes())), expected);
    }

    #[test]
    fn an_address_is_split_into_host_and_path() {
        assert_eq!(split("https://ghcr.io/token"), Some(("https://ghcr.io", "/token")));
        assert_eq!(split("https://auth.docker.io"), Some(("https://auth.docker.io", "")));
        assert_eq!(split("ghcr.io/token"), None);
    }
}
