//! The operators' pages: made on the server, whole without scripts, and of the same values as the API.

mod chart;
mod forms;
mod pages;
mod say;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use linkflow_model::access::{Caller, Scope};

use crate::Site;
use crate::api::problem::Refused;
use crate::frame::{Frame, show};
use crate::gate::gated;
use crate::live;
use crate::operator::Refusal;

/// All pages, and the stream that says when they have changed.
pub(crate) fn routes() -> Router<Arc<Site>> {
    let read = Router::new()
        .route("/", get(pages::overview))
        .route("/services/{name}", get(pages::service))
        .route("/routes", get(pages::routes))
        .route("/monitors", get(pages::monitors))
        .route("/monitors/{name}", get(pages::monitor))
        .route("/incidents", get(pages::incidents))
        .route("/incidents/{id}", get(pages::incident))
        .route("/maintenance", get(pages::maintenance))
        .route("/events", get(pages::events))
        .route("/events/stream", get(live::changes))
        .route("/releases", get(pages::releases))
        .route("/runs/{run}", get(pages::run))
        .route("/usage", get(pages::usage))
        .route("/drift", get(pages::drift))
        .route("/alerts", get(pages::alerts))
        .route("/certificates", get(pages::certificates))
        .route("/addresses", get(pages::addresses))
        .route("/search", get(pages::search));
    let operate = Router::new()
        .route("/do/{what}", get(forms::confirm).post(forms::carry_out))
        .route("/incidents", post(forms::open))
        .route("/incidents/{id}/acknowledge", post(forms::acknowledge))
        .route("/incidents/{id}/update", post(forms::update))
        .route("/incidents/{id}/resolve", post(forms::resolve))
        .route("/maintenance", post(forms::announce))
        .route("/maintenance/{id}/cancel", post(forms::cancel));
    gated(read, Scope::Read).merge(gated(operate, Scope::Operate))
}

/// A page that says why there is no other one.
#[derive(Template)]
#[template(path = "board/refused.html")]
struct RefusedPage<'a> {
    frame: Frame,
    what: &'a str,
    help: &'a str,
}

/// The page for somebody who may not come to where `request` leads.
pub(crate) fn refused(request: &Request, refused: &Refused) -> Response {
    let frame = Frame {
        stack: "LinkFlow".to_owned(),
        caller: request.extensions().get::<Caller>().cloned(),
        csrf: String::new(),
        path: request.uri().path().to_owned(),
    };
    let (what, help) = refused.said();
    show(refused.status, &RefusedPage { frame, what, help })
}

/// Why a page cannot be shown, with the frame that it would have had.
pub(super) struct Unable(Box<(Frame, Refused)>);

/// What a page comes to.
type Shown = Result<Response, Unable>;

impl IntoResponse for Unable {
    fn into_response(self) -> Response {
        let (frame, refused) = *self.0;
        let (what, help) = refused.said();
        show(refused.status, &RefusedPage { frame, what, help })
    }
}

/// Gives a refusal the frame of its page.
fn within(frame: &Frame) -> impl Fn(Refusal) -> Unable {
    |refusal| Unable(Box::new((frame.clone(), refusal.into())))
}
