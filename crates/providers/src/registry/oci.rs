//! Any registry that speaks the OCI distribution protocol.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use http::{Method, StatusCode};
use linkflow_model::role::Registry;
use linkflow_model::{Digest, Fault, FaultKind, ImageRef, Moment, ProviderName, Secret};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::challenge::Challenge;
use crate::kit::{Account, Answer, Call, Kit, Limiter, Vendor};

/// Every kind of manifest. A registry may answer 404 when the kind it has is not asked for.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// How long a token is good for when its answer does not say, in seconds. GHCR's never does.
const TOKEN_SECONDS: u64 = 60;

/// A token is not used any more this long before it ends, in seconds.
const TOKEN_MARGIN: u64 = 5;

/// What registries need.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// One address that answers in place of every registry.
    pub base: Option<String>,
    /// Who pulls, by registry host. Public images need nobody.
    pub credentials: BTreeMap<String, Credentials>,
}

/// Who pulls from one registry.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password, or a token in its place.
    pub password: Secret,
}

/// Resolves images at whatever registry they name.
///
/// An index is resolved to its `linux/amd64` image, because that is what providers pull and what they then report:
/// only so can what runs be compared with what was asked for.
pub struct Oci {
    kit: Kit,
    provider: ProviderName,
    settings: Settings,
    /// By host and repository: the token, and until when it is good.
    tokens: Mutex<BTreeMap<(String, String), (Secret, Moment)>>,
}

impl Oci {
    /// A client for every registry. `provider` is the name that faults carry.
    pub fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Self {
        for credentials in settings.credentials.values() {
            kit.learn(&credentials.password);
        }
        Self { kit: kit.clone(), provider: provider.clone(), settings, tokens: Mutex::default() }
    }

    fn vendor(&self, production: String, base: String) -> Vendor {
        self.kit.vendor(Account {
            provider: self.provider.clone(),
            spec: "oci",
            production,
            base,
            auth: None,
            limits: Box::new(Limiter::free),
            judge: |_, _| None,
            hide: hide_tokens,
        })
    }

    /// The registry that `host` names.
    fn registry(&self, host: &str) -> Vendor {
        let server = if host == "docker.io" { "registry-1.docker.io" } else { host };
        // As every container tool has it: a registry on this machine needs no TLS.
        let scheme = if is_loopback(server) { "http" } else { "https" };
        let production = format!("{scheme}://{server}");
        let base = self.settings.base.clone().unwrap_or_else(|| production.clone());
        self.vendor(production, base.trim_end_matches('/').to_owned())
    }

    /// Asks for a manifest, with whatever proof of who asks the registry wants.
    async fn ask(
        &self,
        place: &Place<'_>,
        method: &Method,
        reference: &str,
    ) -> Result<Answer, Fault> {
        let path = format!("/v2/{}/manifests/{reference}", place.repository);
        let call = Call::write(method.clone(), "look up", place.image.to_string(), path)
            .as_read()
            .header("accept", ACCEPTED);
        let held = self.held_token(place);
        let first = match &held {
            Some(token) => call.clone().secret_header("authorization", bearer(token)),
            None => call.clone(),
        };
        let answer = place.registry.exchange(&first).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return place.registry.judge(&call, answer);
        }
        let proof = self.prove(place, &answer).await?;
        place.registry.send(call.secret_header("authorization", proof)).await
    }

    fn held_token(&self, place: &Place<'_>) -> Option<Secret> {
        let now = self.kit.clock().now();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, (_, until)| *until > now);
        tokens.get(&place.key()).map(|(token, _)| token.clone())
    }

    /// What to put into `Authorization` after a 401.
    async fn prove(&self, place: &Place<'_>, refused: &Answer) -> Result<Secret, Fault> {
        let credentials = self.settings.credentials.get(&place.image.registry);
        let denied = |said: &str| {
            let attempt = format!("look up {}", place.image);
            place.registry.fault(FaultKind::Denied, attempt, said)
        };
        match refused.header("www-authenticate").and_then(Challenge::read) {
            Some(Challenge::Basic) => credentials.map(basic).ok_or_else(|| {
                denied("the registry wants a user and a password, and none are given")
            }),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope =
                    scope.unwrap_or_else(|| format!("repository:{}:pull", place.repository));
                let token = self.fetch_token(place, &realm, service.as_deref(), &scope).await?;
                Ok(bearer(&token))
            }
            None => Err(denied("the registry wants a proof that nobody here can give")),
        }
    }

    async fn fetch_token(
        &self,
        place: &Place<'_>,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<Secret, Fault> {
        let attempt = || format!("get a token for {}", place.image);
        let Some((origin, path)) = split(realm) else {
            let said = format!("`{realm}` is no address");
            return Err(place.registry.fault(FaultKind::Invalid, attempt(), &said));
        };
        let is_safe = origin.starts_with("https://")
            || self.settings.base.is_some()
            || origin.strip_prefix("http://").is_some_and(is_loopback);
        if !is_safe {
            let said = format!("`{origin}` would get the credentials without TLS");
            return Err(place.registry.fault(FaultKind::Invalid, attempt(), &said));
        }
        let vendor = self.vendor(origin.to_owned(), origin.to_owned());
        let mut call = Call::read("get a token for", place.image.to_string(), path);
        if let Some(service) = service {
            call = call.query("service", service);
        }
        call = call.query("scope", scope);
        if let Some(credentials) = self.settings.credentials.get(&place.image.registry) {
            call = call.secret_header("authorization", basic(credentials));
        }
        let answer: TokenAnswer = vendor.send_for(call).await?;
        let Some(token) = answer.token.or(answer.access_token).map(Secret::new) else {
            let said = "the answer has no token";
            return Err(place.registry.fault(FaultKind::Denied, attempt(), said));
        };
        self.kit.learn(&token);
        let seconds = answer.expires_in.unwrap_or(TOKEN_SECONDS).saturating_sub(TOKEN_MARGIN);
        let until = self.kit.clock().now().plus(seconds.saturating_mul(1_000));
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(place.key(), (token.clone(), until));
        Ok(token)
    }
}

#[async_trait]
impl Registry for Oci {
    async fn resolve(&self, image: &ImageRef) -> Result<Digest, Fault> {
        let registry = self.registry(&image.registry);
        let place = Place { image, repository: repository(image), registry };
        let tag = image.tag.as_deref().unwrap_or("latest");
        let reference = image.digest.as_ref().map_or(tag, Digest::as_str).to_owned();
        let head = self.ask(&place, &Method::HEAD, &reference).await?;
        let named = head.header("docker-content-digest").and_then(|text| text.parse().ok());
        match named.filter(|_| !is_index(head.header("content-type"))) {
            Some(digest) => place.checked(digest),
            None => {
                let answer = self.ask(&place, &Method::GET, &reference).await?;
                place.digest_in(&answer)
            }
        }
    }
}

/// One image at its registry.
struct Place<'a> {
    image: &'a ImageRef,
    repository: String,
    registry: Vendor,
}

impl Place<'_> {
    fn key(&self) -> (String, String) {
        (self.image.registry.clone(), self.repository.clone())
    }

    fn fault(&self, kind: FaultKind, said: &str) -> Fault {
        self.registry.fault(kind, format!("look up {}", self.image), said)
    }

    /// `digest`, unless another was asked for.
    fn checked(&self, digest: Digest) -> Result<Digest, Fault> {
        match &self.image.digest {
            Some(asked) if *asked != digest => {
                let said = format!("the registry gave {digest} instead");
                Err(self.fault(FaultKind::Invalid, &said))
            }
            _ => Ok(digest),
        }
    }

    /// The digest of the image in `answer`: its own, or that of its `linux/amd64` image.
    fn digest_in(&self, answer: &Answer) -> Result<Digest, Fault> {
        let sum: String = Sha256::digest(&answer.body).iter().map(|b| format!("{b:02x}")).collect();
        let own: Digest = format!("sha256:{sum}")
            .parse()
            .map_err(|_| self.fault(FaultKind::Unclear, "the manifest cannot be hashed"))?;
        let named = answer.header("docker-content-digest");
        if named.is_some_and(|named| named.starts_with("sha256:") && named != own.as_str()) {
            return Err(self.fault(FaultKind::Invalid, "the manifest is not what its digest says"));
        }
        let own = self.checked(own)?;
        let body: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| self.fault(FaultKind::Unclear, "the manifest is not JSON"))?;
        let Some(manifests) = body.get("manifests").and_then(Value::as_array) else {
            return Ok(own);
        };
        let platforms: Vec<String> = manifests.iter().filter_map(platform).collect();
        let found = manifests.iter().find(|m| platform(m).as_deref() == Some("linux/amd64"));
        let digest = found.and_then(|m| m.get("digest")?.as_str()?.parse().ok());
        digest.ok_or_else(|| {
            let said = format!("it has no linux/amd64 image, only {}", platforms.join(", "));
            self.fault(FaultKind::Invalid, &said)
        })
    }
}

/// The platform of one entry of an index; `None` for what is no image, such as an attestation.
fn platform(manifest: &Value) -> Option<String> {
    let platform = manifest.get("platform")?;
    let text = |name: &str| platform.get(name)?.as_str();
    let (os, architecture) = (text("os")?, text("architecture")?);
    (os != "unknown").then(|| format!("{os}/{architecture}"))
}

fn is_index(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| kind.contains("image.index") || kind.contains("manifest.list"))
}

/// The repository as the registry knows it: Docker Hub's own images live under `library`.
fn repository(image: &ImageRef) -> String {
    if image.registry == "docker.io" && !image.repository.contains('/') {
        format!("library/{}", image.repository)
    } else {
        image.repository.clone()
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    name == "localhost" || name.starts_with("127.")
}

/// Scheme and host of `address`, and the rest.
fn split(address: &str) -> Option<(&str, &str)> {
    let scheme = address.find("://")? + 3;
    let end = address[scheme..].find('/').map_or(address.len(), |at| scheme + at);
    (end > scheme).then(|| address.split_at(end))
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
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

fn hide_tokens(body: &mut Value) {
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

    #[test]
    fn what_is_no_image_has_no_platform() {
        let entry =
            |os: &str| serde_json::json!({ "platform": { "os": os, "architecture": "amd64" } });
        assert_eq!(platform(&entry("linux")).as_deref(), Some("linux/amd64"));
        assert_eq!(platform(&entry("unknown")), None);
    }
}
