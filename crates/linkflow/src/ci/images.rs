//! The images of a stack that are built, each once however many services run it.

use std::path::Path;

use linkflow_model::ImageRef;
use linkflow_model::config::{Build, Config, Part, Reference, Service, StackProperty, Template};

use super::inside;

/// An image that is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// A short name for it, which no other has: `api`.
    pub(crate) name: String,
    /// The registry's host.
    pub(crate) registry: String,
    /// The image without tag, `ghcr.io/acme/linkflow/api`.
    pub(crate) image: String,
    /// The tag that the config means; `None` when it names a digest.
    pub(crate) tag: Option<String>,
    /// The folder that the build sees.
    pub(crate) context: String,
    /// The Dockerfile.
    pub(crate) dockerfile: String,
    /// The stage; empty for the last one.
    pub(crate) target: String,
    /// Build arguments, `NAME=value`.
    pub(crate) args: Vec<String>,
}

/// Every image that some service says how to build. `folder` is that of the config within the repository.
///
/// # Errors
/// What cannot be built as it is written, and what helps.
pub(crate) fn of(config: &Config, folder: &Path) -> Result<Vec<Image>, (String, String)> {
    let mut images: Vec<(Image, &Build, String)> = Vec::new();
    for (name, service) in &config.services {
        let Some(build) = &service.build else { continue };
        let whole = whole(&service.image);
        if let Some((_, other, by)) = images.iter().find(|(image, ..)| image.image == whole) {
            if *other != build {
                let what = format!("`{name}` and `{by}` build {whole} in two ways");
                return Err((what, "say it at one of them".to_owned()));
            }
            continue;
        }
        images.push((
            image(config, service, build, name.as_str(), folder)?,
            build,
            name.to_string(),
        ));
    }
    let mut images: Vec<Image> = images.into_iter().map(|(image, ..)| image).collect();
    name_apart(&mut images);
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

fn whole(image: &ImageRef) -> String {
    format!("{}/{}", image.registry, image.repository)
}

fn image(
    config: &Config,
    service: &Service,
    build: &Build,
    name: &str,
    folder: &Path,
) -> Result<Image, (String, String)> {
    let path = |key: &str, text: &str| {
        inside(&folder.join(text)).ok_or_else(|| {
            let what =
                format!("`services.{name}.build.{key}` = `{text}` leads out of the repository");
            (what, "paths begin at the folder of the config".to_owned())
        })
    };
    let context = path("context", &build.context)?;
    let dockerfile = match &build.dockerfile {
        Some(file) => path("dockerfile", file)?,
        None if context == "." => "Dockerfile".to_owned(),
        None => format!("{context}/Dockerfile"),
    };
    let mut args = Vec::new();
    for (key, value) in build.args.iter() {
        args.push(format!("{key}={}", argument(config, name, key, value)?));
    }
    let last = service.image.repository.rsplit('/').next().unwrap_or_default();
    Ok(Image {
        name: last.to_owned(),
        registry: service.image.registry.clone(),
        image: whole(&service.image),
        tag: tag(&service.image),
        context,
        dockerfile,
        target: build.target.clone().unwrap_or_default(),
        args,
    })
}

/// The tag that the config means; none where it names a digest, which no tag stands for.
fn tag(image: &ImageRef) -> Option<String> {
    let usual = || "latest".to_owned();
    image.digest.is_none().then(|| image.tag.clone().unwrap_or_else(usual))
}

/// A build argument's value: only what is known when the workflow is written.
fn argument(
    config: &Config,
    service: &str,
    key: &str,
    value: &Template,
) -> Result<String, (String, String)> {
    let mut out = String::new();
    for part in &value.parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Reference(Reference::Stack(StackProperty::Name)) => {
                out.push_str(config.stack.name.as_str());
            }
            Part::Reference(reference) => {
                let what =
                    format!("`services.{service}.build.args.{key}` refers to `${{{reference}}}`");
                let help = "whoever has the image can read its build arguments: give it to the service as `env`";
                return Err((what, help.to_owned()));
            }
        }
    }
    if out.contains(['\n', '\r']) {
        let what = format!("`services.{service}.build.args.{key}` has more than one line");
        return Err((what, "write it on one line".to_owned()));
    }
    Ok(out)
}

/// Two images whose names end alike get their whole names.
fn name_apart(images: &mut [Image]) {
    let names: Vec<String> = images.iter().map(|image| image.name.clone()).collect();
    for image in images.iter_mut() {
        if names.iter().filter(|name| **name == image.name).count() > 1 {
            image.name = image.image.replace(['/', ':', '.'], "-");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn config(services: &str) -> Config {
        let text = format!("[stack]\nname = \"shop\"\n{services}");
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        let parsed = Config::parse(&files, "linkflow.toml", None);
        parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.problems))
    }

    fn worker(name: &str, image: &str, build: &str) -> String {
        format!("[services.{name}]\nimage = \"{image}\"\nkind = \"worker\"\n{build}\n")
    }

    #[test]
    fn an_image_is_built_once_for_all_its_services_and_others_are_not() {
        let build = "build = { context = \"../api\", target = \"app\", args = { PHP = \"8.3\", STACK = \"${stack.name}\" } }";
        let text = [
            worker("api", "ghcr.io/acme/api:1.0", build),
            worker("queue", "ghcr.io/acme/api:1.0", ""),
            worker("cache", "redis:7", ""),
        ];
        let images = of(&config(&text.concat()), Path::new("deploy")).unwrap();
        let expected = Image {
            name: "api".to_owned(),
            registry: "ghcr.io".to_owned(),
            image: "ghcr.io/acme/api".to_owned(),
            tag: Some("1.0".to_owned()),
            context: "api".to_owned(),
            dockerfile: "api/Dockerfile".to_owned(),
            target: "app".to_owned(),
            args: vec!["PHP=8.3".to_owned(), "STACK=shop".to_owned()],
        };
        assert_eq!(images, [expected]);
    }

    #[test]
    fn what_cannot_be_built_as_written_is_told() {
        let why = |text: &str| of(&config(text), Path::new("")).unwrap_err().0;
        let out = worker("api", "a/b:1", "build = { context = \"../x\" }");
        assert_eq!(why(&out), "`services.api.build.context` = `../x` leads out of the repository");
        let secret =
            worker("api", "a/b:1", "build = { context = \".\", args = { T = \"${secret.T}\" } }");
        assert_eq!(why(&secret), "`services.api.build.args.T` refers to `${secret.T}`");
        let two = worker("api", "a/b:1", "build = { context = \"a\" }")
            + &worker("queue", "a/b:1", "build = { context = \"b\" }");
        assert_eq!(why(&two), "`queue` and `api` build docker.io/a/b in two ways");
    }

    #[test]
    fn images_whose_names_end_alike_are_told_apart() {
        let text = worker("a", "ghcr.io/acme/api:1", "build = { context = \"a\" }")
            + &worker("b", "ghcr.io/other/api:1", "build = { context = \"b\" }");
        let names: Vec<String> =
            of(&config(&text), Path::new("")).unwrap().into_iter().map(|i| i.name).collect();
        assert_eq!(names, ["ghcr-io-acme-api", "ghcr-io-other-api"]);
    }
}
