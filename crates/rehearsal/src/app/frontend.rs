//! The engine's front: takes what the API hands on and asks the services behind.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Role;
use super::answer::{Answer, json, read_json, refuse};
use super::grpc::{Code, Status};
use super::peer::{GrpcPeer, Repeat};
use super::settings::Settings;

pub(super) struct Frontend {
    settings: Arc<Settings>,
    history: GrpcPeer,
}

impl Frontend {
    pub(super) fn new(settings: Arc<Settings>) -> Result<Self, String> {
        let history = GrpcPeer::new(settings.address("HISTORY_ADDR")?, settings.pass());
        Ok(Self { settings, history })
    }

    /// Appends once. History would find the key again, but a write is handed on once all the same.
    async fn start(&self, request: Request<Incoming>) -> Answer {
        let message = match read_json(request).await {
            Ok(message) => message,
            Err(reason) => return refuse(StatusCode::BAD_REQUEST, &reason),
        };
        match self.history.call("/linkflow.History/Append", &message, Repeat::Unsafe).await {
            Ok(answer) => {
                let new = answer["new"].as_bool().unwrap_or_default();
                json(if new { StatusCode::CREATED } else { StatusCode::OK }, &answer["entry"])
            }
            Err(status) => failed(&status),
        }
    }

    async fn read(&self, method: &str, message: &Value) -> Answer {
        match self.history.call(method, message, Repeat::Safe).await {
            Ok(answer) => json(StatusCode::OK, &answer),
            Err(status) => failed(&status),
        }
    }
}

fn failed(status: &Status) -> Answer {
    let http = match status.code {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Unavailable | Code::DeadlineExceeded => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unimplemented | Code::Internal | Code::Unauthenticated => StatusCode::BAD_GATEWAY,
    };
    refuse(http, &format!("engine-history: {}", status.message))
}

#[async_trait]
impl Role for Frontend {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if !self.settings.trusts(request.headers()) {
            return refuse(StatusCode::UNAUTHORIZED, "only the API may call the engine");
        }
        let (method, path) = (request.method().clone(), request.uri().path());
        let id = path.strip_prefix("/internal/workflows/").and_then(|id| id.parse::<i64>().ok());
        match (&method, path, id) {
            (&Method::POST, "/internal/workflows", _) => self.start(request).await,
            (&Method::GET, "/internal/workflows", _) => {
                let query = request.uri().query().unwrap_or_default();
                let limit = query.split('&').find_map(|pair| pair.strip_prefix("limit="));
                let limit = limit.and_then(|limit| limit.parse::<i64>().ok()).unwrap_or(20);
                let message = json!({ "limit": limit.clamp(1, 1_000) });
                self.read("/linkflow.History/List", &message).await
            }
            (&Method::GET, _, Some(id)) => {
                self.read("/linkflow.History/Get", &json!({ "id": id })).await
            }
            _ => refuse(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }
}
