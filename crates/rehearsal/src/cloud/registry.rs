//! A container registry that knows the example stack's images (OCI distribution specification 1.1, manifests only).

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use http::Method;
use linkflow_model::{Digest, ImageRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::answer::{Answer, Call};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The repositories of the example stack, under `acme/linkflow/`.
const SERVICES: [&str; 6] = [
    "api",
    "engine-frontend",
    "engine-history",
    "engine-matching",
    "engine-worker",
    "engine-timer",
];
/// The tags of each, and how they behave.
const TAGS: [(&str, &str); 6] = [
    ("1.0", "good"),
    ("1.1", "good"),
    ("1.2", "good"),
    ("broken", "crash"),
    ("sick", "sick"),
    ("bad-migration", "bad-migration"),
];

/// One image: how a tag of a repository behaves when it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `acme/linkflow/api`.
    pub repository: String,
    /// `1.0`.
    pub tag: String,
    /// `good`, `crash` (ends with status 1 at start) or `sick` (answers its health path with 503).
    pub behaviour: String,
    /// What the manifest hashes to. Not read when an image is added.
    #[serde(default)]
    pub digest: Option<Digest>,
}

/// The images that can be run.
pub(crate) struct Images(RwLock<Shelf>);

#[derive(Default)]
struct Shelf {
    tags: BTreeMap<(String, String), Image>,
    /// Also those that a tag once named.
    manifests: BTreeMap<Digest, (Image, Bytes)>,
}

impl Images {
    /// The images of the example stack.
    pub(crate) fn of_the_example() -> Self {
        let images = Self(RwLock::default());
        for service in SERVICES {
            for (tag, behaviour) in TAGS {
                images.add(&format!("acme/linkflow/{service}"), tag, behaviour);
            }
        }
        images
    }

    /// Adds an image, or moves its tag.
    pub(crate) fn add(&self, repository: &str, tag: &str, behaviour: &str) -> Image {
        let (digest, bytes) = manifest(repository, tag, behaviour);
        let image = Image {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            behaviour: behaviour.to_owned(),
            digest: digest.clone(),
        };
        let mut shelf = self.0.write().unwrap_or_else(PoisonError::into_inner);
        shelf.tags.insert((repository.to_owned(), tag.to_owned()), image.clone());
        if let Some(digest) = digest {
            shelf.manifests.insert(digest, (image.clone(), bytes));
        }
        image
    }

    /// Every tagged image.
    pub(crate) fn all(&self) -> Vec<Image> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).tags.values().cloned().collect()
    }

    /// What `reference` names, on whatever registry host. `None`: there is no such manifest.
    pub(crate) fn find(&self, reference: &str) -> Option<Image> {
        let asked: ImageRef = reference.parse().ok()?;
        let shelf = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = match asked.digest {
            Some(digest) => shelf.manifests.get(&digest).map(|(image, _)| image),
            None => shelf
                .tags
                .get(&(asked.repository.clone(), asked.tag.unwrap_or_else(|| "latest".to_owned()))),
        };
        found.filter(|image| image.repository == asked.repository).cloned()
    }

    /// The first good tag of `repository`.
    pub(crate) fn first_good(&self, repository: &str) -> Option<Image> {
        let shelf = self.0.read().unwrap_or_else(PoisonError::into_inner);
        shelf.tags.values().find(|i| i.repository == repository && i.behaviour == "good").cloned()
    }

    /// Answers one request to the registry.
    pub(crate) fn answer(&self, call: &Call) -> Answer {
        if call.method != Method::GET && call.method != Method::HEAD {
            return refusal(405, "UNSUPPORTED", "the operation is unsupported", &Value::Null);
        }
        if matches!(call.path.as_str(), "/v2" | "/v2/") {
            return Answer::json(200, &json!({}))
                .with("docker-distribution-api-version", "registry/2.0");
        }
        let asked = call.path.strip_prefix("/v2/").and_then(|p| p.rsplit_once("/manifests/"));
        let Some((name, reference)) = asked else {
            return refusal(
                404,
                "NAME_UNKNOWN",
                "repository name not known to registry",
                &Value::Null,
            );
        };
        let shelf = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let digest = match reference.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => {
                let tagged = shelf.tags.get(&(name.to_owned(), reference.to_owned()));
                tagged.and_then(|image| image.digest.clone())
            }
        };
        let held = digest
            .as_ref()
            .and_then(|d| shelf.manifests.get(d))
            .filter(|(i, _)| i.repository == name);
        match (held, digest) {
            (Some((_, bytes)), Some(digest)) => Answer::bytes(200, MANIFEST, bytes.clone())
                .with("docker-content-digest", digest.as_str()),
            _ => refusal(
                404,
                "MANIFEST_UNKNOWN",
                "manifest unknown",
                &json!({ "reference": reference }),
            ),
        }
    }
}

fn refusal(status: u16, code: &str, message: &str, detail: &Value) -> Answer {
    Answer::json(
        status,
        &json!({ "errors": [{ "code": code, "message": message, "detail": detail }] }),
    )
}

/// The manifest of an image, the same for the same words.
fn manifest(repository: &str, tag: &str, behaviour: &str) -> (Option<Digest>, Bytes) {
    let hash = |text: &str| {
        let sum = Sha256::digest(text.as_bytes());
        format!("sha256:{}", sum.iter().map(|b| format!("{b:02x}")).collect::<String>())
    };
    let config = format!("{repository}:{tag}");
    let body = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": hash(&config), "size": config.len() },
        "layers": [],
        "annotations": {
            "org.opencontainers.image.title": repository,
            "org.opencontainers.image.version": tag,
            "rehearsal.behaviour": behaviour,
        },
    });
    let text = body.to_string();
    (hash(&text).parse().ok(), Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_names_the_same_image_as_its_tag_did_also_after_the_tag_moved() {
        let images = Images::of_the_example();
        let first = images.find("ghcr.io/acme/linkflow/api:1.1").unwrap();
        let pinned = format!("ghcr.io/acme/linkflow/api@{}", first.digest.clone().unwrap());
        images.add("acme/linkflow/api", "1.1", "crash");
        assert_eq!(images.find(&pinned), Some(first));
        assert_eq!(images.find("ghcr.io/acme/linkflow/api:1.1").unwrap().behaviour, "crash");
    }

    #[test]
    fn a_digest_of_another_repository_is_not_found() {
        let images = Images::of_the_example();
        let api = images.find("ghcr.io/acme/linkflow/api:1.0").unwrap().digest.unwrap();
        assert_eq!(images.find(&format!("ghcr.io/acme/linkflow/engine-timer@{api}")), None);
    }

    #[test]
    fn the_digest_is_the_hash_of_the_bytes_that_are_served() {
        let (digest, bytes) = manifest("acme/linkflow/api", "1.0", "good");
        let sum: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest.unwrap().as_str(), format!("sha256:{sum}"));
    }
}
