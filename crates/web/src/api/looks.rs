//! Looks from this place: for another LinkFlow, which asks whether only it cannot reach something.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use linkflow_model::Looked;
use linkflow_model::access::Scope;

use super::Api;
use super::ask::Told;
use super::describe::Operation;
use crate::Site;
use crate::shape::{LookLimit, shapes};

shapes! {
    /// What is to be looked at, once, from here.
    pub struct LookWanted {
        /// As the config calls it: `monitor.api`.
        pub subject: String,
        /// How long its target may take, in milliseconds.
        pub limit_ms: LookLimit,
    }

    /// What was seen.
    pub struct LookSaw {
        /// `well`, `silent`, `wrong`, or `blind` where nothing can be said: it is not known here, or cannot be seen from elsewhere.
        pub seen: String,
        /// How long a good answer took, in milliseconds.
        pub took_ms: Option<u64>,
        /// What was seen in place of one, in a few words.
        pub why: Option<String>,
    }
}

pub(super) fn add(api: &mut Api) {
    let about = "Looks once, from here, at something that is watched here as well; at nothing else, whoever asks.";
    let op = Operation::post("/looks", about).takes::<LookWanted>(&mut api.book);
    api.add::<LookSaw, _, _>(Operation { scope: Scope::Read, ..op }, look);
}

async fn look(State(site): State<Arc<Site>>, Told(wanted): Told<LookWanted>) -> Json<LookSaw> {
    let limit = Duration::from_millis(wanted.limit_ms.0);
    let looked = match site.eyes.get() {
        Some(eyes) => eyes.look(&wanted.subject, limit).await,
        None => Looked::Blind,
    };
    let (seen, took_ms, why) = match looked {
        Looked::Well { took_ms } => ("well", Some(took_ms), None),
        Looked::Silent { why } => ("silent", None, Some(why)),
        Looked::Wrong { why } => ("wrong", None, Some(why)),
        Looked::Blind => ("blind", None, None),
    };
    Json(LookSaw { seen: seen.to_owned(), took_ms, why })
}
