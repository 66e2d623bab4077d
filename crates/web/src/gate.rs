//! Who may come to which routes: one layer for each scope.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use linkflow_model::access::{Caller, Scope};

use crate::Site;
use crate::api::problem::Refused;

/// `routes` for those who may do what takes `scope`. Whoever was not let in is told so, and the same for whoever may not.
pub(crate) fn gated(routes: Router<Arc<Site>>, scope: Scope) -> Router<Arc<Site>> {
    routes.route_layer(from_fn(move |request: Request, next: Next| async move {
        let refused = match request.extensions().get::<Caller>() {
            None => Refused::new(
                StatusCode::UNAUTHORIZED,
                "caller",
                "nobody was let in with this request",
                "sign in, or send `authorization: Bearer` with a token",
            ),
            Some(caller) if !caller.may(scope) => {
                let what = format!(
                    "{} may {}, and this takes `{}`",
                    caller.name,
                    caller.scope.word(),
                    scope.word()
                );
                let help = "ask whoever administers LinkFlow for a wider scope";
                Refused::new(StatusCode::FORBIDDEN, "caller", what, help)
            }
            Some(_) => return next.run(request).await,
        };
        refusal(&request, refused)
    }))
}

/// JSON for programs, a page for people.
fn refusal(request: &Request, refused: Refused) -> Response {
    let path = request.uri().path();
    if path.starts_with("/api/") || path == "/metrics" || path == "/events/stream" {
        return refused.into_response();
    }
    crate::board::refused(request, &refused)
}
