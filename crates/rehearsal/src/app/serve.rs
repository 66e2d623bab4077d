//! Serves HTTP/1.1 and HTTP/2 without TLS; tells the health; says on every answer who gave it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, json};
use super::settings::{Behaviour, Settings};
use super::{Role, grpc};

/// One of so many answered requests is logged; every one that fails is.
const SAMPLE: u64 = 100;

/// Serves `role` on `listener` until `stop`, and then finishes what is in flight.
pub(super) async fn serve(
    listener: TcpListener,
    settings: Arc<Settings>,
    role: Arc<dyn Role>,
    stop: CancellationToken,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let served = Arc::new(AtomicU64::new(0));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                settings.log(&format!("a connection was not accepted: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        stream.set_nodelay(true).ok();
        let (settings, role, served) = (settings.clone(), role.clone(), served.clone());
        let service = service_fn(move |request| {
            let (settings, role, served) = (settings.clone(), role.clone(), served.clone());
            async move { Ok::<_, Infallible>(answer(request, &settings, &*role, &served).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let watched = graceful.watch(connection);
        connections.spawn(async move {
            // A connection that breaks is the other side's affair.
            watched.await.ok();
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    tokio::join!(graceful.shutdown(), drained);
}

async fn answer(
    request: Request<Incoming>,
    settings: &Settings,
    role: &dyn Role,
    served: &AtomicU64,
) -> Answer {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let well = settings.behaviour != Behaviour::Sick;
    let is_health = matches!(path.as_str(), "/health" | "/api/v1/health");
    let mut answer = if method == Method::POST && path == grpc::HEALTH {
        grpc::health(well)
    } else if is_health && matches!(method, Method::GET | Method::HEAD) {
        health(settings, well)
    } else {
        role.answer(request).await
    };
    sign(&mut answer, settings);
    let number = served.fetch_add(1, Ordering::Relaxed);
    let status = answer.status();
    let grpc_status = answer.headers().get("grpc-status").and_then(|s| s.to_str().ok());
    if status.is_server_error() || grpc_status.is_some_and(|s| s != "0" && s != "5") {
        let also = grpc_status.map(|s| format!(" grpc-status {s}")).unwrap_or_default();
        settings.log(&format!("{method} {path} {}{also}", status.as_u16()));
    } else if !well && path == grpc::HEALTH {
        settings.log("not well: this image is sick on purpose (behaviour `sick`)");
    } else if number.is_multiple_of(SAMPLE) {
        settings.log(&format!("{method} {path} {} (1 of {SAMPLE})", status.as_u16()));
    }
    answer
}

fn health(settings: &Settings, well: bool) -> Answer {
    let service = settings.service.name();
    if well {
        let body = json!({ "status": "ok", "service": service, "release": settings.me.release });
        return json(StatusCode::OK, &body);
    }
    let reason = "this image is sick on purpose (behaviour `sick`)";
    settings.log(&format!("not well: {reason}"));
    let body = json!({ "status": "sick", "service": service, "reason": reason });
    json(StatusCode::SERVICE_UNAVAILABLE, &body)
}

fn sign(answer: &mut Answer, settings: &Settings) {
    let me = &settings.me;
    let lines = [
        ("x-linkflow-service", settings.service.name()),
        ("x-linkflow-release", &me.release),
        ("x-linkflow-provider", &me.provider),
        ("x-linkflow-instance", &me.instance),
    ];
    for (name, value) in lines {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().insert(name, value);
        }
    }
}
