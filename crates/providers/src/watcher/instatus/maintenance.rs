//! Announced work at Instatus. <https://instatus.com/help/api/maintenances>
//!
//! It begins and ends there by Instatus' own clock, so that it does while nobody is here, too; its subscribers are told by Instatus
//! then. Its text ends with the mark and its id, as that of an incident does.

use http::Method;
use linkflow_model::role::{HeldWatch, Watch, Watching, WorkStage};
use linkflow_model::{Fault, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Component, Instatus, Update, moment, ours, reference, time};
use crate::kit::{Call, encode};

const MINUTE_MS: u64 = 60_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Maintenance {
    id: String,
    name: String,
    status: String,
    start: Option<String>,
    /// Minutes; a number in some answers and a text in others.
    #[serde(default)]
    duration: Value,
    #[serde(default)]
    notify_start: bool,
    #[serde(default)]
    updates: Vec<Update>,
    #[serde(default)]
    components: Vec<Component>,
}

fn word(stage: WorkStage) -> &'static str {
    match stage {
        WorkStage::ToCome => "NOTSTARTEDYET",
        WorkStage::UnderWay => "INPROGRESS",
        WorkStage::Over => "COMPLETED",
    }
}

fn stage(word: &str) -> WorkStage {
    match word {
        "INPROGRESS" => WorkStage::UnderWay,
        "COMPLETED" => WorkStage::Over,
        _ => WorkStage::ToCome,
    }
}

impl Maintenance {
    /// What it is, when it is ours.
    pub(super) fn held(&self, mark: &str) -> Option<HeldWatch> {
        let name = ours(&self.updates, mark)?;
        let mark = reference(mark, &name);
        // What was said last is what it says now.
        let said = self.updates.iter().rfind(|update| update.message.contains(&mark));
        let mut components: Vec<String> =
            self.components.iter().map(|component| component.name.clone()).collect();
        components.sort();
        let text = self.duration.as_str().and_then(|text| text.parse().ok());
        let what = Watching::Maintenance {
            title: self.name.clone(),
            text: said.map(|said| said.message.replace(&mark, "").trim().to_owned())?,
            from: self.start.as_deref().and_then(moment).unwrap_or_default(),
            minutes: self.duration.as_u64().or(text).unwrap_or_default(),
            stage: stage(&self.status),
            components,
            tell: self.notify_start,
        };
        Some(HeldWatch { id: self.id.clone(), watch: Watch { name, what } })
    }
}

/// Whether both begin at once and last as long.
fn is_at_the_same_time(one: &Watching, other: &Watching) -> bool {
    let span = |what: &Watching| match what {
        Watching::Maintenance { from, minutes, .. } => Some((*from, *minutes)),
        _ => None,
    };
    span(one) == span(other)
}

pub(super) fn all_of(page: &str) -> String {
    format!("/v1/{}/maintenances", encode(page))
}

impl Instatus {
    pub(super) async fn maintenances(&self, page: &str) -> Result<Vec<HeldWatch>, Fault> {
        let all: Vec<Maintenance> = self.rows("list maintenances", &all_of(page)).await?;
        Ok(all.iter().filter_map(|one| one.held(&self.mark)).collect())
    }

    pub(super) async fn ensure_maintenance(
        &self,
        wanted: &Watch,
        held: Option<&HeldWatch>,
    ) -> Result<(), Fault> {
        let Watching::Maintenance { title, text, from, minutes, stage, components, tell } = &wanted.what
        else {
            return Ok(());
        };
        let page = self.page().await?;
        let ids = self.ids(&page, components).await?;
        let (name, all) = (&wanted.name, all_of(&page));
        let end = Timestamp(from.0.saturating_add(minutes.saturating_mul(MINUTE_MS)));
        // Its page documents the end for a change, and the duration for what is read.
        let mut body = json!({
            "name": title, "message": format!("{text}\n\n{}", reference(&self.mark, name)).trim(),
            "components": ids, "start": time(*from), "end": time(end), "duration": minutes,
            "status": word(*stage),
        });
        let call = match held {
            Some(held) => {
                // That it begins and ends, Instatus tells by itself.
                let is_moved = !is_at_the_same_time(&wanted.what, &held.watch.what);
                body["notify"] = (*tell && is_moved).into();
                let path = format!("{all}/{}", encode(&held.id));
                Call::write(Method::PUT, "change maintenance", name, path)
            }
            None => {
                for key in ["notify", "notifyStart", "notifyEnd"] {
                    body[key] = (*tell).into();
                }
                (body["autoStart"], body["autoEnd"]) = (true.into(), true.into());
                Call::write(Method::POST, "announce maintenance", name, all)
            }
        };
        self.api.send(call.json(body)).await.map(drop)
    }
}
