//! The API: the values of the pages for programs, and what may be done, described by OpenAPI.

mod actions;
pub mod ask;
mod describe;
pub mod lists;
pub mod looks;
pub mod problem;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use axum::{Json, Router};
use linkflow_model::access::Scope;
use sha2::{Digest, Sha256};

use crate::Site;
use crate::gate::gated;
use crate::shape::{Book, Shape};
use describe::Operation;
use problem::Refused;

/// Where the API is.
pub(crate) const BASE: &str = "/api/v1";

/// The longest body that is read: texts of incidents are the longest.
const BODY: usize = 256 * 1024;

/// The routes of the API, with what each of them takes and gives. What is described is made of the same calls as what
/// answers.
pub(crate) struct Api {
    routes: BTreeMap<Scope, Router<Arc<Site>>>,
    operations: Vec<Operation>,
    book: Book,
}

impl Api {
    /// All of it.
    fn new() -> Self {
        let mut api =
            Self { routes: BTreeMap::new(), operations: Vec::new(), book: Book::default() };
        lists::add(&mut api);
        looks::add(&mut api);
        actions::add(&mut api);
        api
    }

    /// Adds `operation` at `path`, answered by `handler` with `T`. A body and a query are described beforehand.
    fn add<T: Shape, H, P>(&mut self, operation: Operation, handler: H)
    where
        H: Handler<P, Arc<Site>>,
        P: 'static,
    {
        let operation = Operation { answer: T::schema(&mut self.book), ..operation };
        let filter =
            if operation.method == Method::GET { MethodFilter::GET } else { MethodFilter::POST };
        let route = on(filter, handler);
        let path = format!("{BASE}{}", operation.path);
        let held = self.routes.remove(&operation.scope).unwrap_or_default();
        self.routes.insert(operation.scope, held.route(&path, route));
        self.operations.push(operation);
    }
}

/// What is answered to programs.
pub(crate) fn routes() -> Router<Arc<Site>> {
    let api = Api::new();
    let described = describe::document(&api.operations, &api.book);
    let description = Router::new().route(
        "/api/openapi.json",
        get(move || {
            let described = described.clone();
            async move { Json(described) }
        }),
    );
    let mut all = gated(description, Scope::Read);
    for (scope, routes) in api.routes {
        all = all.merge(gated(routes, scope));
    }
    let nothing = || async {
        let help = "`/api/openapi.json` lists what there is";
        Refused::new(StatusCode::NOT_FOUND, "path", "there is nothing here", help)
    };
    all.route("/api/{*rest}", axum::routing::any(nothing))
        .method_not_allowed_fallback(|| async {
            let help = "`/api/openapi.json` lists what there is";
            let what = "this cannot be done here in this way";
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, "path", what, help)
        })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn(tagged))
}

/// Gives each answer to a GET a tag of its content, and nothing more to whoever has that content.
async fn tagged(request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    if !is_get || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Answers of the API are whole in memory.
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let hash = Sha256::digest(&bytes);
    let tag: String = hash[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let same = known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
        // Whoever keeps it asks each time whether it still holds.
        let kept = HeaderValue::from_static("private, no-cache");
        parts.headers.entry(header::CACHE_CONTROL).or_insert(kept);
    }
    if same {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}
