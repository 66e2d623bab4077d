//! Manifests and indexes, as far as they are read. <https://github.com/opencontainers/image-spec>

use linkflow_model::Digest;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Every kind of manifest. A registry may answer 404 when the kind it has is not asked for.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// What every provider's machines run.
pub(super) const PLATFORM: &str = "linux/amd64";

/// A manifest or an index, as it came.
#[derive(Debug)]
pub(super) struct Manifest {
    /// The media type.
    pub(super) kind: String,
    /// What its bytes hash to.
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
    body: Value,
}

/// A part of an image, stored by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

impl Manifest {
    /// Reads a manifest; `None` when it is not one.
    pub(super) fn read(kind: Option<&str>, bytes: Vec<u8>) -> Option<Self> {
        let body: Value = serde_json::from_slice(&bytes).ok().filter(Value::is_object)?;
        let own = body.get("mediaType").and_then(Value::as_str);
        let kind = kind.or(own).unwrap_or("application/vnd.oci.image.manifest.v1+json").to_owned();
        Some(Self { kind, digest: hash(&bytes)?, bytes, body })
    }

    /// The images of an index, with their platforms; `None` when it is an image itself.
    fn entries(&self) -> Option<&Vec<Value>> {
        self.body.get("manifests").and_then(Value::as_array)
    }

    pub(super) fn is_index(&self) -> bool {
        self.entries().is_some()
    }

    /// Everything that an index names, attestations too.
    pub(super) fn parts(&self) -> Vec<Digest> {
        let entries = self.entries().into_iter().flatten();
        entries.filter_map(|entry| entry.get("digest")?.as_str()?.parse().ok()).collect()
    }

    /// What the images of an index were built for.
    pub(super) fn platforms(&self) -> Vec<String> {
        self.entries().into_iter().flatten().filter_map(platform_of).collect()
    }

    /// The image of an index that providers run. One for every such machine goes before one for newer ones.
    pub(super) fn ours(&self) -> Option<Digest> {
        let fits = |entry: &&Value| platform_of(entry).is_some_and(|p| is_ours(&p));
        let fitting: Vec<&Value> = self.entries()?.iter().filter(fits).collect();
        let plain = fitting.iter().find(|e| platform_of(e).as_deref() == Some(PLATFORM));
        plain.or(fitting.first())?.get("digest")?.as_str()?.parse().ok()
    }

    /// The configuration of an image.
    pub(super) fn config(&self) -> Option<Blob> {
        self.body.get("config").and_then(blob)
    }

    /// The layers of an image. Those that are to be fetched from somewhere else than its registry are left out.
    pub(super) fn layers(&self) -> Vec<Blob> {
        let layers = self.body.get("layers").and_then(Value::as_array).into_iter().flatten();
        layers.filter(|layer| layer.get("urls").is_none()).filter_map(blob).collect()
    }
}

fn blob(descriptor: &Value) -> Option<Blob> {
    let digest = descriptor.get("digest")?.as_str()?.parse().ok()?;
    Some(Blob { digest, bytes: descriptor.get("size")?.as_u64()? })
}

/// The platform of one entry of an index; `None` for what is no image, such as an attestation.
fn platform_of(entry: &Value) -> Option<String> {
    platform(entry.get("platform")?)
}

/// `linux/amd64`, `linux/arm/v7`: of a platform in an index, or of an image's configuration.
pub(super) fn platform(said: &Value) -> Option<String> {
    let text = |name: &str| said.get(name)?.as_str().filter(|text| !text.is_empty());
    let (os, architecture) = (text("os")?, text("architecture")?);
    let own = match text("variant") {
        Some(variant) => format!("{os}/{architecture}/{variant}"),
        None => format!("{os}/{architecture}"),
    };
    (os != "unknown").then_some(own)
}

/// Whether what was built for `platform` runs at providers.
pub(super) fn is_ours(platform: &str) -> bool {
    platform.strip_prefix(PLATFORM).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn is_index(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| kind.contains("image.index") || kind.contains("manifest.list"))
}

/// The digest of `bytes`.
pub(super) fn hash(bytes: &[u8]) -> Option<Digest> {
    let sum: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{sum}").parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_image_has_no_platform() {
        let said = |os: &str| json!({ "os": os, "architecture": "amd64" });
        assert_eq!(platform(&said("linux")).as_deref(), Some("linux/amd64"));
        assert_eq!(platform(&said("unknown")), None);
        let arm = json!({ "os": "linux", "architecture": "arm", "variant": "v7" });
        assert_eq!(platform(&arm).as_deref(), Some("linux/arm/v7"));
    }

    #[test]
    fn the_image_for_every_machine_goes_before_the_one_for_newer_ones() {
        let entry = |variant: &str, digit: &str| json!({ "digest": format!("sha256:{}", digit.repeat(64)), "platform": { "os": "linux", "architecture": "amd64", "variant": variant } });
        let index = |entries: &[Value]| {
            let body = json!({ "manifests": entries }).to_string();
            Manifest::read(None, body.into_bytes())
                .unwrap()
                .ours()
                .map(|d| d.as_str()[7..8].to_owned())
        };
        assert_eq!(index(&[entry("v3", "3"), entry("", "1")]).as_deref(), Some("1"));
        assert_eq!(index(&[entry("v3", "3")]).as_deref(), Some("3"));
        assert_eq!(index(&[]), None);
    }

    #[test]
    fn a_layer_that_is_elsewhere_is_none_of_this_registry() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let body = json!({ "layers": [
            { "digest": digest, "size": 5 },
            { "digest": digest, "size": 7, "urls": ["https://example.com/layer"] },
        ] });
        let manifest = Manifest::read(None, body.to_string().into_bytes()).unwrap();
        assert_eq!(manifest.layers().iter().map(|b| b.bytes).collect::<Vec<_>>(), [5]);
    }
}
