//! The digests that CI has built: one small JSON file for each image.

use std::collections::BTreeMap;
use std::path::Path;

use linkflow_model::config::Config;
use linkflow_model::{Digest, ImageRef, ServiceName};
use serde::Deserialize;

/// A file of the folder: `{"image": "ghcr.io/acme/api", "digest": "sha256:…"}`.
#[derive(Deserialize)]
struct Built {
    /// The image, without tag.
    image: String,
    /// What was pushed.
    digest: String,
}

/// The image of each service whose image is in `folder`, by digest.
///
/// # Errors
/// One sentence about the file that is wrong.
pub(super) fn read(
    folder: &Path,
    config: &Config,
) -> Result<BTreeMap<ServiceName, ImageRef>, String> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let entries = std::fs::read_dir(folder).map_err(|error| wrong(folder, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| wrong(folder, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut images: BTreeMap<ServiceName, ImageRef> = BTreeMap::new();
    for path in &paths {
        let text = std::fs::read_to_string(path).map_err(|error| wrong(path, &error))?;
        let built: Built = serde_json::from_str(&text).map_err(|error| wrong(path, &error))?;
        let image: ImageRef = built.image.parse().map_err(|error| wrong(path, &error))?;
        let digest: Digest = built.digest.parse().map_err(|error| wrong(path, &error))?;
        let same = |own: &ImageRef| {
            (&own.registry, &own.repository) == (&image.registry, &image.repository)
        };
        let mut found = false;
        for (name, service) in config.services.iter().filter(|(_, s)| same(&s.image)) {
            found = true;
            let built = ImageRef { digest: Some(digest.clone()), ..service.image.clone() };
            if images.insert(name.clone(), built.clone()).is_some_and(|before| before != built) {
                return Err(wrong(
                    path,
                    &format!("`{}` has another digest in another file", built.repository),
                ));
            }
        }
        if !found {
            return Err(wrong(
                path,
                &format!("no service runs {}/{}", image.registry, image.repository),
            ));
        }
    }
    if images.is_empty() {
        return Err(wrong(folder, &"there is no digest file in it"));
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[stack]\nname = \"shop\"\n\n[services.api]\nimage = \"ghcr.io/acme/shop:1.0\"\nport = 80\nroute = \"*\"\n\n[services.queue]\nimage = \"ghcr.io/acme/shop:1.0\"\nkind = \"worker\"\n\n[services.cache]\nimage = \"redis:7\"\nkind = \"worker\"\n";

    fn hex(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    fn images(files: &[(&str, String)]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let config = BTreeMap::from([("linkflow.toml".to_owned(), CONFIG)]);
        let config = Config::parse(&config, "linkflow.toml", None).config.unwrap();
        let path = folder.path().display().to_string();
        match read(folder.path(), &config) {
            Ok(images) => {
                Ok(images.iter().map(|(name, image)| format!("{name}={image}\n")).collect())
            }
            Err(why) => Err(why.replace(&path, "")),
        }
    }

    fn built(image: &str, digest: &str) -> String {
        format!("{{\"image\": \"{image}\", \"digest\": \"{digest}\"}}")
    }

    #[test]
    fn every_service_of_an_image_gets_its_digest_and_the_others_none() {
        let files =
            [("shop.json", built("ghcr.io/acme/shop", &hex("a"))), ("notes.txt", "x".to_owned())];
        let a = hex("a");
        let expected = format!("api=ghcr.io/acme/shop:1.0@{a}\nqueue=ghcr.io/acme/shop:1.0@{a}\n");
        assert_eq!(images(&files).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_file() {
        let shop = |letter| built("ghcr.io/acme/shop", &hex(letter));
        assert_eq!(images(&[]).unwrap_err(), ": there is no digest file in it");
        let other = images(&[("x.json", built("ghcr.io/acme/other", &hex("a")))]).unwrap_err();
        assert_eq!(other, "/x.json: no service runs ghcr.io/acme/other");
        let short = images(&[("x.json", built("ghcr.io/acme/shop", "sha256:a"))]).unwrap_err();
        assert!(short.starts_with("/x.json: `sha256:a` is not a digest"), "{short}");
        let two = images(&[("a.json", shop("a")), ("b.json", shop("b"))]).unwrap_err();
        assert_eq!(two, "/b.json: `acme/shop` has another digest in another file");
        assert!(
            images(&[("a.json", "{}".to_owned())]).unwrap_err().contains("missing field `image`")
        );
    }
}
