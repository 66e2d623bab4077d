//! Container images: how they are written, and how they are pinned.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A content digest, `sha256:` and 64 lower-case hex digits (OCI image spec, descriptor).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }
}

/// Why a text is not an image reference or a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not `sha256:` and 64 hex digits.
    #[error("`{0}` is not a digest: sha256: and 64 lower-case hex digits are due")]
    Digest(String),
    /// Not `[registry/]repository[:tag][@digest]`.
    #[error("`{0}` is not an image: registry/repository[:tag][@sha256:…] is due")]
    Reference(String),
}

impl FromStr for Digest {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let fits = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if fits { Ok(Self(text.to_owned())) } else { Err(ImageError::Digest(text.to_owned())) }
    }
}

/// An image as a user writes it: `ghcr.io/acme/linkflow/api:1.4` or `…@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    /// The registry's host, and its port when it has one. `docker.io` when none is written.
    pub registry: String,
    /// The repository within the registry, `acme/linkflow/api`.
    pub repository: String,
    /// The tag; `latest` is meant when neither tag nor digest is written.
    pub tag: Option<String>,
    /// The digest, which wins over the tag.
    pub digest: Option<Digest>,
}

impl FromStr for ImageRef {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let wrong = || ImageError::Reference(text.to_owned());
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (registry, path) = match rest.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => ("docker.io", rest),
        };
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (path, None),
        };
        let part = |p: &str| {
            !p.is_empty()
                && p.starts_with(|c: char| c.is_ascii_alphanumeric())
                && p.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        };
        let tag_fits = tag.as_ref().is_none_or(|t| {
            (1..=128).contains(&t.len())
                && !t.starts_with(['.', '-'])
                && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        });
        let host_fits = !registry.is_empty()
            && registry
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'));
        if !repository.split('/').all(part) || !tag_fits || !host_fits {
            return Err(wrong());
        }
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// An image by digest: what is deployed. Always `registry/repository@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PinnedImage {
    /// The registry's host.
    pub registry: String,
    /// The repository within the registry.
    pub repository: String,
    /// What was resolved.
    pub digest: Digest,
}

impl FromStr for PinnedImage {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let image: ImageRef = text.parse()?;
        let digest = image.digest.ok_or_else(|| ImageError::Reference(text.to_owned()))?;
        Ok(Self { registry: image.registry, repository: image.repository, digest })
    }
}

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.registry, self.repository, self.digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ImageRef {
    /// This image at `digest`.
    pub fn at(&self, digest: Digest) -> PinnedImage {
        PinnedImage { registry: self.registry.clone(), repository: self.repository.clone(), digest }
    }
}

macro_rules! through_text {
    ($($name:ident),+) => {$(
        impl TryFrom<String> for $name {
            type Error = ImageError;
            fn try_from(text: String) -> Result<Self, ImageError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )+};
}
through_text!(Digest, ImageRef, PinnedImage);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let said = match text.parse::<ImageRef>() {
            Ok(i) => format!("{} | {} | {:?}", i.registry, i.repository, i.tag),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn references_are_read_as_docker_reads_them() {
        check("ghcr.io/acme/api:1.4", "ghcr.io | acme/api | Some(\"1.4\")");
        check("localhost:5000/api", "localhost:5000 | api | None");
        check("acme/api", "docker.io | acme/api | None");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        check("", "`` is not an image: registry/repository[:tag][@sha256:…] is due");
        check(
            "ghcr.io/Acme/api",
            "`ghcr.io/Acme/api` is not an image: registry/repository[:tag][@sha256:…] is due",
        );
    }
}
