//! The public API: what visitors call.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Role;
use super::answer::{Answer, header, json, read_json, refuse};
use super::peer::{HttpPeer, Repeat};
use super::settings::Settings;
use crate::ledger::Books;

/// The longest idempotency key.
const LONGEST_KEY: usize = 200;

pub(super) struct Api {
    settings: Arc<Settings>,
    frontend: HttpPeer,
    books: Arc<dyn Books>,
}

impl Api {
    pub(super) fn new(settings: Arc<Settings>) -> Result<Self, String> {
        let frontend = HttpPeer::new(settings.address("FRONTEND_ADDR")?, settings.pass());
        let books = settings.books()?;
        Ok(Self { settings, frontend, books })
    }

    /// Starts a workflow: records that the request arrived, then hands it on. It is never handed on twice.
    async fn start(&self, request: Request<Incoming>) -> Answer {
        let key = header(request.headers(), "idempotency-key").to_owned();
        if key.is_empty() || key.len() > LONGEST_KEY {
            let reason = "the header Idempotency-Key is required, up to 200 characters";
            return refuse(StatusCode::BAD_REQUEST, reason);
        }
        let body = match read_json(request).await {
            Ok(body) if body["name"].is_string() => body,
            Ok(_) => return refuse(StatusCode::BAD_REQUEST, "the body has no text `name`"),
            Err(reason) => return refuse(StatusCode::BAD_REQUEST, &reason),
        };
        let service = self.settings.service.name();
        let at = self.settings.wall();
        if let Err(error) = self.books.arrive(&key, service, &self.settings.me, at).await {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
        }
        let message = json!({ "key": key, "name": body["name"] });
        self.ask(&Method::POST, "/internal/workflows", Some(&message), Repeat::Unsafe).await
    }

    async fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        repeat: Repeat,
    ) -> Answer {
        match self.frontend.call(method, path, &[], body, repeat).await {
            Ok((StatusCode::UNAUTHORIZED, _)) => {
                refuse(StatusCode::BAD_GATEWAY, "engine-frontend does not know LINKFLOW_SECRET")
            }
            Ok((status, body)) => json(status, &body),
            Err(why) => refuse(StatusCode::BAD_GATEWAY, &format!("engine-frontend: {why}")),
        }
    }

    /// Takes the worker's word that a workflow is done, and queues a notification about it.
    async fn completed(&self, request: Request<Incoming>) -> Answer {
        if !self.settings.trusts(request.headers()) {
            return refuse(StatusCode::UNAUTHORIZED, "only the engine may say so");
        }
        let body = read_json(request).await;
        let Some(entry) = body.ok().and_then(|body| body["entry"].as_i64()) else {
            return refuse(StatusCode::BAD_REQUEST, "the body has no number `entry`");
        };
        let message = format!("workflow {entry} is done");
        match self.books.notify(entry, &message, self.settings.wall()).await {
            Ok(new) => json(StatusCode::OK, &json!({ "entry": entry, "new": new })),
            Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }
}

#[async_trait]
impl Role for Api {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path());
        let id = path.strip_prefix("/api/v1/workflows/").and_then(|id| id.parse::<i64>().ok());
        match (&method, path, id) {
            (&Method::POST, "/api/v1/workflows", _) => self.start(request).await,
            (&Method::POST, "/internal/completed", _) => self.completed(request).await,
            (&Method::GET, "/api/v1/workflows", _) => {
                let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
                let path = format!("/internal/workflows{query}");
                self.ask(&Method::GET, &path, None, Repeat::Safe).await
            }
            (&Method::GET, _, Some(id)) => {
                let path = format!("/internal/workflows/{id}");
                self.ask(&Method::GET, &path, None, Repeat::Safe).await
            }
            _ => refuse(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }
}
