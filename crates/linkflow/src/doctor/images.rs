//! The images of the config: whether each is in its registry, for the login at hand.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use linkflow_engine::{ImageFacts, Patience, guarded};
use linkflow_model::config::kinds;
use linkflow_model::{Fault, FaultKind, ImageRef, ProviderName, ServiceName};
use serde_json::json;

use crate::wire::asking::Asking;

use super::{Chapter, Patient, State, state_of};

/// What registries said, by the image as it is written.
pub(super) type Images = BTreeMap<String, Result<ImageFacts, Fault>>;

/// Asks for each image that is not a program of this machine, once.
pub(super) async fn ask(patient: &Patient<'_>, asking: &Asking) -> Images {
    let services = patient.config.services.iter();
    let pulled = services.filter(|(_, service)| !is_here(patient, &service.runs_on));
    let images: BTreeMap<String, &ImageRef> =
        pulled.map(|(_, service)| (service.image.to_string(), &service.image)).collect();
    let Some(registry) = ProviderName::new("registry") else { return Images::new() };
    let registry = &registry;
    let each = images.into_iter().map(|(name, image)| async move {
        let call = || asking.registries.look(image);
        let told = guarded(registry, "look up an image", Patience::LOOK, call).await;
        let facts = told
            .map(|facts| ImageFacts { private: Some(facts.private), platforms: facts.platforms });
        (name, facts)
    });
    join_all(each).await.into_iter().collect()
}

/// Whether a service runs on programs of this machine and nowhere else. In a rehearsal the cloud's registry has all.
fn is_here(patient: &Patient<'_>, runs_on: &[ProviderName]) -> bool {
    let here = |name: &ProviderName| {
        let provider = patient.config.provider(name);
        provider.is_some_and(|p| matches!(p.settings, kinds::Settings::Embedded(_)))
    };
    !patient.is_rehearsed() && runs_on.iter().all(here)
}

/// The chapter of the images; none where none was asked for.
pub(super) fn chapter(patient: &Patient<'_>, images: &Images) -> Option<Chapter> {
    if images.is_empty() {
        return None;
    }
    let mut chapter = Chapter::new("images", "images in their registries");
    let there: Vec<&ImageFacts> = images.values().filter_map(|told| told.as_ref().ok()).collect();
    let private = there.iter().filter(|facts| facts.private == Some(true)).count();
    let closed = match private {
        0 => String::new(),
        1 => ", one of them for a login only".to_owned(),
        private => format!(", {private} of them for a login only"),
    };
    match (there.len(), images.len()) {
        (0, _) => {}
        (1, 1) => chapter.well(format!("the image is there{closed}")),
        (some, all) if some == all => chapter.well(format!("all {all} images are there{closed}")),
        (some, all) => chapter.well(format!("{some} of {all} images are there{closed}")),
    }
    for (image, told) in images {
        let Err(fault) = told else { continue };
        let services = patient.config.services.iter();
        let users: BTreeSet<&ServiceName> = services
            .filter(|(_, service)| service.image.to_string() == *image)
            .map(|(name, _)| name)
            .collect();
        let users = users.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let (what, help) = match fault.kind {
            FaultKind::Missing => {
                ("is not there", "see whether the tag is right and the image was pushed")
            }
            FaultKind::Denied => {
                ("may not be read", "docs/providers/github.md names what a login of GHCR needs")
            }
            FaultKind::Limited { .. } => ("could not be asked for", "wait as long as it asks"),
            _ => ("could not be asked for", "`linkflow deploy SERVICE=IMAGE` names another one"),
        };
        chapter.add(state_of(fault), format!("{users}: {image} {what}: {}", fault.said), help);
    }
    let rows = images.iter().map(|(image, told)| match told {
        Ok(facts) => json!({ "image": image, "there": true, "private": facts.private, "platforms": facts.platforms }),
        Err(fault) => json!({ "image": image, "there": false, "fault": fault }),
    });
    chapter.facts = rows.collect();
    if chapter.findings.iter().all(|finding| finding.state == State::Well) {
        chapter.title = "images".to_owned();
    }
    Some(chapter)
}
