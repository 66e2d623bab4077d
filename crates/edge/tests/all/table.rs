//! Hosts and paths lead to services; new routes touch no connection.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use linkflow_edge::{Front, Guard};
use linkflow_model::{HostRoute, Routes, ServiceKind, ServiceName, ServiceRoute};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::load::Load;
use crate::stage::{Stage, route, target};
use crate::upstream::{background, full};

fn named(stage: &Stage, name: &str, up: usize, hosts: &[(&str, &str)]) -> ServiceRoute {
    let targets = vec![target("fly", stage.ups[up].url(), 0)];
    let host = |(host, path): &(&str, &str)| HostRoute::new(*host, *path);
    ServiceRoute {
        service: ServiceName::new(name).unwrap(),
        hosts: hosts.iter().map(host).collect(),
        ..route(ServiceKind::Web, targets)
    }
}

async fn ask(stage: &Stage, host: &str, path: &str) -> String {
    let url = format!("http://{}{path}", stage.edge.public());
    let request = Request::get(url).header("host", host).body(full("")).unwrap();
    let read = stage.send(request).await.unwrap();
    if read.status == 200 { read.text } else { read.status.as_u16().to_string() }
}

#[tokio::test]
async fn the_host_and_then_the_longest_path_decide() {
    let stage = Stage::with(crate::stage::Setup { count: 3, ..Default::default() }).await;
    let services = vec![
        named(&stage, "web", 0, &[("shop.example", "/"), ("www.example", "/")]),
        named(&stage, "api", 1, &[("shop.example", "/api")]),
        named(&stage, "rest", 2, &[("*", "/")]),
    ];
    stage.routes.send_replace(Arc::new(Routes { generation: 2, services }));
    let rows = [
        ("shop.example", "/", "a"),
        ("SHOP.example:8080", "/api/v1?x=1", "b"),
        ("shop.example", "/apiary", "a"),
        ("www.example", "/api", "a"),
        ("other.example", "/", "c"),
    ];
    for (host, path, expected) in rows {
        assert_eq!(ask(&stage, host, path).await, expected, "{host} {path}");
    }
}

#[tokio::test]
async fn an_unknown_host_is_not_found() {
    let stage = Stage::set().await;
    assert_eq!(ask(&stage, "api.example", "/").await, "a");
    assert_eq!(ask(&stage, "else.example", "/").await, "404");
}

#[tokio::test]
async fn what_the_process_itself_serves_is_led_to_whatever_routes_there_are() {
    let other = Stage::set().await;
    let also = ServiceRoute {
        service: ServiceName::new("own").unwrap(),
        hosts: vec![HostRoute::new("ops.example", "/")],
        ..route(ServiceKind::Web, vec![target("embedded", other.ups[1].url(), 0)])
    };
    let guard = Guard { also: Some(also), ..Guard::default() };
    let front = Front { guard, ..Front::default() };
    let stage = Stage::with(crate::stage::Setup { front, ..Default::default() }).await;
    assert_eq!(ask(&stage, "ops.example", "/").await, "b");
    assert_eq!(ask(&stage, "api.example", "/").await, "a");
    stage.routes.send_replace(Arc::new(Routes::default()));
    assert_eq!(ask(&stage, "ops.example", "/").await, "b");
    assert_eq!(ask(&stage, "api.example", "/").await, "404");
}

#[tokio::test]
async fn an_internal_listener_leads_to_its_service_whatever_the_host() {
    let stage = Stage::set().await;
    let address = stage.edge.internal(&crate::stage::service()).unwrap();
    let url = format!("http://{address}/read");
    let read = stage.send(Request::get(&url).body(full("")).unwrap()).await.unwrap();
    assert_eq!(read.text, "a");
    stage.routes.send_replace(Arc::new(Routes::default()));
    let read = stage.send(Request::get(&url).body(full("")).unwrap()).await.unwrap();
    assert_eq!((read.status.as_u16(), read.text.contains("api: it is not deployed")), (503, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_routes_under_load_fail_nothing_and_keep_connections() {
    let stage = Stage::set().await;
    stage.is_up(&[]).await;
    let stream = TcpStream::connect(stage.edge.public()).await.unwrap();
    let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut kept, connection) = made.unwrap();
    drop(background(connection));
    let load = Load::start(&stage, 200, Duration::from_millis(1_200));
    for generation in 2..12 {
        let up = generation % 2;
        let name = ["a", "b"][up];
        let targets = vec![target(name, stage.ups[up].url(), 0)];
        let services = vec![route(ServiceKind::Web, targets)];
        stage.routes.send_replace(Arc::new(Routes { generation: generation as u64, services }));
        let request = Request::get("/read").header("host", "api.example").body(full("")).unwrap();
        let response = kept.send_request(request).await.unwrap();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, name, "the same connection, the new route");
        kept.ready().await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    let shots = load.end().await;
    shots.no_read_failed();
    shots.no_write_failed(Duration::ZERO);
}
