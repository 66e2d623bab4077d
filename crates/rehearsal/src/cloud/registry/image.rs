//! Makes images: a layer, a configuration, a manifest, the same for the same words.

use bytes::Bytes;
use linkflow_model::Digest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Image;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";
const BEHAVIOUR: &str = "rehearsal.behaviour";

/// A manifest or an index that was made.
pub(super) struct Made {
    pub(super) kind: &'static str,
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
}

/// All that makes up one reference.
pub(super) struct Parcel {
    pub(super) top: Made,
    pub(super) parts: Vec<Made>,
    pub(super) blobs: Vec<(Digest, Bytes)>,
}

/// An image for `linux/amd64`.
pub(super) fn amd64(repository: &str, tag: &str, behaviour: &str) -> Parcel {
    let (top, blobs) = image(repository, tag, behaviour, "amd64");
    Parcel { top, parts: Vec::new(), blobs }
}

/// An index that has an image for `linux/arm64` alone.
pub(super) fn foreign(repository: &str, tag: &str) -> Parcel {
    let (part, blobs) = image(repository, tag, "good", "arm64");
    let entry = json!({
        "mediaType": MANIFEST, "digest": part.digest, "size": part.bytes.len(),
        "platform": { "os": "linux", "architecture": "arm64" },
    });
    let body = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    let bytes = Bytes::from(body.to_string());
    let top = Made { kind: INDEX, digest: hash(&bytes), bytes };
    Parcel { top, parts: vec![part], blobs }
}

/// What can be run of a manifest: its behaviour stands in its annotations. `None`: nothing.
pub(super) fn read(manifest: &Bytes) -> Option<Image> {
    let body: Value = serde_json::from_slice(manifest).ok()?;
    let text = |name: &str| body["annotations"][name].as_str().map(str::to_owned);
    Some(Image {
        repository: text(TITLE)?,
        tag: text(VERSION)?,
        behaviour: text(BEHAVIOUR)?,
        digest: Some(hash(manifest)),
    })
}

/// The digest of `bytes`.
#[expect(clippy::expect_used, reason = "`sha256:` and 64 hex digits are a digest")]
pub(super) fn hash(bytes: &[u8]) -> Digest {
    let sum: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{sum}").parse().expect("a hash is a digest")
}

fn image(
    repository: &str,
    tag: &str,
    behaviour: &str,
    architecture: &str,
) -> (Made, Vec<(Digest, Bytes)>) {
    let layer = Bytes::from(tar("image", &format!("{repository}:{tag} {behaviour}\n")));
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Labels": { TITLE: repository, VERSION: tag } },
        "rootfs": { "type": "layers", "diff_ids": [hash(&layer)] },
    });
    let config = Bytes::from(config.to_string());
    let mut annotations = json!({ TITLE: repository, VERSION: tag });
    if architecture == "amd64" {
        annotations[BEHAVIOUR] = json!(behaviour);
    }
    let body = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": hash(&config), "size": config.len() },
        "layers": [{ "mediaType": LAYER, "digest": hash(&layer), "size": layer.len() }],
        "annotations": annotations,
    });
    let bytes = Bytes::from(body.to_string());
    let made = Made { kind: MANIFEST, digest: hash(&bytes), bytes };
    (made, vec![(hash(&config), config), (hash(&layer), layer)])
}

/// A tar archive (POSIX ustar) with one file.
fn tar(name: &str, text: &str) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", text.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(text.as_bytes());
    // The file is filled up to a whole block, and two empty blocks end the archive.
    archive.resize(archive.len().next_multiple_of(512) + 1_024, 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_hash_of_the_bytes_that_are_served() {
        let parcel = amd64("acme/linkflow/api", "1.0", "good");
        let sum: String =
            Sha256::digest(&parcel.top.bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(parcel.top.digest.as_str(), format!("sha256:{sum}"));
    }

    #[test]
    fn a_layer_is_an_archive_with_one_file() {
        let archive = tar("image", "acme/linkflow/api:1.0\n");
        assert_eq!(archive.len(), 512 + 512 + 1_024);
        let told = std::str::from_utf8(&archive[148..154]).unwrap();
        let mut blank = archive[..512].to_vec();
        blank[148..156].fill(b' ');
        let sum: u32 = blank.iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(u32::from_str_radix(told, 8).unwrap(), sum);
    }
}
