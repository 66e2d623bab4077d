//! A container registry that knows the example stack's images (OCI distribution specification 1.1).

mod gate;
mod image;
mod serve;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use linkflow_model::{Digest, ImageRef};
use serde::{Deserialize, Serialize};

pub(crate) use gate::{basic, refusal};

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
const TAGS: [(&str, &str); 5] =
    [("1.0", "good"), ("1.1", "good"), ("1.2", "good"), ("broken", "crash"), ("sick", "sick")];
/// A tag of each that has no image for `linux/amd64`.
const ARM_ONLY: &str = "arm-only";

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

/// Who may pull private images, and push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// One registry with its images.
pub(crate) struct Images {
    shelf: RwLock<Shelf>,
    login: Login,
}

#[derive(Default)]
struct Shelf {
    tags: BTreeMap<(String, String), Digest>,
    /// By repository; also those that a tag once named.
    manifests: BTreeMap<(String, Digest), Stored>,
    /// By repository.
    blobs: BTreeMap<(String, Digest), Bytes>,
    /// By id: the repository, and what has come.
    uploads: BTreeMap<String, (String, Vec<u8>)>,
    /// Repositories that nobody may pull without the login.
    private: BTreeSet<String>,
    /// How many uploads were begun.
    begun: u64,
}

/// A manifest as it is kept.
struct Stored {
    kind: String,
    bytes: Bytes,
    /// What can be run of it.
    image: Option<Image>,
}

impl Images {
    /// An empty registry.
    pub(crate) fn empty(login: Login) -> Self {
        Self { shelf: RwLock::default(), login }
    }

    /// The images of the example stack.
    pub(crate) fn of_the_example(login: Login) -> Self {
        let images = Self::empty(login);
        for service in SERVICES {
            let repository = format!("acme/linkflow/{service}");
            for (tag, behaviour) in TAGS {
                images.add(&repository, tag, behaviour);
            }
            images.put(&repository, image::foreign(&repository, ARM_ONLY), ARM_ONLY);
        }
        images
    }

    /// Who may pull private images, and push.
    pub(crate) fn login(&self) -> Login {
        self.login.clone()
    }

    /// Adds an image, or moves its tag.
    pub(crate) fn add(&self, repository: &str, tag: &str, behaviour: &str) -> Image {
        let parcel = image::amd64(repository, tag, behaviour);
        let digest = parcel.top.digest.clone();
        self.put(repository, parcel, tag);
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        Image { repository, tag, behaviour: behaviour.to_owned(), digest: Some(digest) }
    }

    fn put(&self, repository: &str, parcel: image::Parcel, tag: &str) {
        let mut shelf = self.write();
        shelf.tags.insert((repository.to_owned(), tag.to_owned()), parcel.top.digest.clone());
        for (digest, bytes) in parcel.blobs {
            shelf.blobs.insert((repository.to_owned(), digest), bytes);
        }
        for made in parcel.parts.into_iter().chain([parcel.top]) {
            let image = image::read(&made.bytes);
            let stored = Stored { kind: made.kind.to_owned(), bytes: made.bytes, image };
            shelf.manifests.insert((repository.to_owned(), made.digest), stored);
        }
    }

    /// Lets nobody pull from `repository` without the login any more.
    pub(crate) fn make_private(&self, repository: &str) {
        self.write().private.insert(repository.to_owned());
    }

    /// Drops a repository with all that is in it.
    pub(crate) fn drop_repository(&self, name: &str) {
        let mut shelf = self.write();
        shelf.tags.retain(|(repository, _), _| repository != name);
        shelf.manifests.retain(|(repository, _), _| repository != name);
        shelf.blobs.retain(|(repository, _), _| repository != name);
    }

    /// Every tagged image that can be run.
    pub(crate) fn all(&self) -> Vec<Image> {
        let shelf = self.read();
        let tagged = shelf.tags.iter().filter_map(|((repository, tag), digest)| {
            let image =
                shelf.manifests.get(&(repository.clone(), digest.clone()))?.image.clone()?;
            Some(Image { tag: tag.clone(), ..image })
        });
        tagged.collect()
    }

    /// What `reference` names, on whatever registry host. `None`: there is no such image for these machines.
    pub(crate) fn find(&self, reference: &str) -> Option<Image> {
        let asked: ImageRef = reference.parse().ok()?;
        let shelf = self.read();
        let digest = match asked.digest {
            Some(digest) => digest,
            None => {
                let tag = asked.tag.unwrap_or_else(|| "latest".to_owned());
                shelf.tags.get(&(asked.repository.clone(), tag))?.clone()
            }
        };
        shelf.manifests.get(&(asked.repository, digest))?.image.clone()
    }

    /// Whether whoever shows `login`, a user and a password, may pull what `reference` names.
    pub(crate) fn lets_in(&self, reference: &str, login: Option<(&str, &str)>) -> bool {
        let Ok(asked) = reference.parse::<ImageRef>() else { return false };
        let ours = (self.login.user.as_str(), self.login.password.as_str());
        !self.read().private.contains(&asked.repository) || login == Some(ours)
    }

    /// The first good tag of `repository`.
    pub(crate) fn first_good(&self, repository: &str) -> Option<Image> {
        self.all().into_iter().find(|i| i.repository == repository && i.behaviour == "good")
    }

    fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.shelf.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Images {
        let login = Login { user: "robot".to_owned(), password: "secret".to_owned() };
        Images::of_the_example(login)
    }

    #[test]
    fn a_digest_names_the_same_image_as_its_tag_did_also_after_the_tag_moved() {
        let images = images();
        let first = images.find("ghcr.io/acme/linkflow/api:1.1").unwrap();
        let pinned = format!("ghcr.io/acme/linkflow/api@{}", first.digest.clone().unwrap());
        images.add("acme/linkflow/api", "1.1", "crash");
        assert_eq!(images.find(&pinned), Some(first));
        assert_eq!(images.find("ghcr.io/acme/linkflow/api:1.1").unwrap().behaviour, "crash");
    }

    #[test]
    fn a_digest_of_another_repository_is_not_found() {
        let images = images();
        let api = images.find("ghcr.io/acme/linkflow/api:1.0").unwrap().digest.unwrap();
        assert_eq!(images.find(&format!("ghcr.io/acme/linkflow/engine-timer@{api}")), None);
    }

    #[test]
    fn what_is_for_other_machines_cannot_be_run() {
        assert_eq!(images().find("ghcr.io/acme/linkflow/api:arm-only"), None);
    }

    #[test]
    fn a_private_image_wants_the_login() {
        let (images, api) = (images(), "ghcr.io/acme/linkflow/api:1.0");
        assert!(images.lets_in(api, None));
        images.make_private("acme/linkflow/api");
        assert!(!images.lets_in(api, None));
        assert!(!images.lets_in(api, Some(("robot", "wrong"))));
        assert!(images.lets_in(api, Some(("robot", "secret"))));
        assert!(images.lets_in("ghcr.io/acme/linkflow/engine-timer:1.0", None));
    }
}
