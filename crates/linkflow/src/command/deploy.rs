//! `linkflow deploy`: other images, everything else as it runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use linkflow_engine::{Draft, RunKind};
use linkflow_model::{ImageRef, ServiceName};
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::output::Voice;
use crate::wire::Stack;

use super::change::{Doing, GRACE, carry_out, finish_earlier};
use super::deploy_digests;
use super::{Answered, Context};

/// Deploy images, and leave everything else as it runs.
///
/// With nothing said, the tags of the config are looked up anew. What the config itself says is not changed: `linkflow apply` goes
/// back to it.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow deploy api=ghcr.io/acme/linkflow/api:1.1\n  linkflow deploy api=:1.1 queue=:1.1\n  linkflow deploy --image ghcr.io/acme/linkflow/api:1.1    every service with that image\n  linkflow deploy                                          what the tags mean now\n  linkflow deploy --digests digests                        the whole config, with the images that CI has built"
)]
pub(crate) struct DeployArgs {
    /// A service and its image, or only `:TAG` or `@DIGEST` of the image that it has.
    #[arg(value_name = "SERVICE=IMAGE")]
    pub(crate) images: Vec<String>,

    /// An image, for every service that runs this repository.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Vec<String>,

    /// A folder of digest files, as the workflow of `linkflow ci` makes them. Everything else is as the config has it, not as it
    /// runs.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["images", "image"])]
    pub(crate) digests: Option<PathBuf>,

    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How many seconds to wait for another process that acts on this stack.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,
}

/// What `deploy` answers.
pub(crate) async fn answer(context: &Context, args: &DeployArgs) -> Answered {
    context.refuse_within_hook("deploy")?;
    let stack = context.stack("deploy").await?;
    let wait = Duration::from_secs(args.wait);
    let doing = Doing { kind: RunKind::Deploy, dry_run: args.dry_run, wait };
    let (images, draft) = match prepare(&stack, args, context.voice).await {
        Ok(prepared) => prepared,
        Err(answer) => {
            stack.close(GRACE).await;
            return Err(answer);
        }
    };
    let differs = images.iter().filter(|(name, image)| {
        args.digests.is_none()
            && stack.config.services.get(*name).is_some_and(|service| service.image != **image)
    });
    let differs: Vec<String> = differs.map(|(name, _)| name.to_string()).collect();
    let mut answer = Box::pin(carry_out(context, stack, draft, doing)).await?;
    if !differs.is_empty() && answer.exit == 0 {
        let note = format!(
            "the config names another image of {}: `linkflow apply` would go back to it",
            differs.join(", ")
        );
        answer.err.push_str(&format!("note: {note}\n"));
        answer.warnings.push(json!({ "message": note }));
    }
    Ok(answer)
}

async fn prepare(
    stack: &Stack,
    args: &DeployArgs,
    voice: Voice,
) -> Result<(BTreeMap<ServiceName, ImageRef>, Draft), Box<Answer>> {
    let images = match chosen(stack, args) {
        Ok(images) => images,
        Err(why) => return Answer::failed(2, &why, "linkflow deploy --help"),
    };
    finish_earlier(stack, args.dry_run, voice).await?;
    let (services, images) = match stack.engine.live().await? {
        _ if args.digests.is_some() => (stack.releases.service_releases(&images).await?, images),
        Some(live) if images.is_empty() => {
            let own = live.services.values().map(|s| (s.spec.name.clone(), s.spec.image.clone()));
            let own = own.collect();
            (stack.releases.releases_like(&live, &own).await?, images)
        }
        Some(live) => (stack.releases.releases_like(&live, &images).await?, images),
        None => (stack.releases.service_releases(&images).await?, images),
    };
    let said: Vec<String> = images.iter().map(|(name, image)| format!("{name}={image}")).collect();
    let why =
        if said.is_empty() { "deploy".to_owned() } else { format!("deploy {}", said.join(" ")) };
    let draft = stack.releases.draft(services, &why).await?;
    Ok((images, draft))
}

/// The image of each service that gets one.
fn chosen(stack: &Stack, args: &DeployArgs) -> Result<BTreeMap<ServiceName, ImageRef>, String> {
    let mut images = BTreeMap::new();
    if let Some(folder) = &args.digests {
        images.extend(deploy_digests::read(folder, &stack.config)?);
    }
    for text in &args.image {
        let image: ImageRef =
            text.parse().map_err(|e: linkflow_model::image::ImageError| e.to_string())?;
        let same = |own: &ImageRef| {
            (&own.registry, &own.repository) == (&image.registry, &image.repository)
        };
        let held = images.len();
        for (name, _) in stack.config.services.iter().filter(|(_, s)| same(&s.image)) {
            images.insert(name.clone(), image.clone());
        }
        if images.len() == held {
            return Err(format!("no service runs {}/{}", image.registry, image.repository));
        }
    }
    for text in &args.images {
        let (name, image) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not of the form SERVICE=IMAGE"))?;
        let name: ServiceName =
            name.parse().map_err(|e: linkflow_model::name::NameError| e.to_string())?;
        let image = stack.releases.image_for(&name, image)?;
        images.insert(name, image);
    }
    Ok(images)
}
