//! What each kind of look says of servers that are well, slow, hung, refusing or lying.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use linkflow_decide::watch::Seen;
use linkflow_monitor::{
    Authority, DnsRecord, DnsTarget, GrpcTarget, HttpTarget, JsonRule, Prober, Saw, Target,
};
use tokio::net::{TcpListener, UdpSocket};

use crate::servers::{Certified, Servers, said};

const LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn look(target: &Target) -> Saw {
    Prober::trusting(&[]).unwrap().look(target, LIMIT).await
}

fn http(at: SocketAddr, change: impl FnOnce(&mut HttpTarget)) -> Target {
    let mut target = HttpTarget::get(format!("http://{at}/health").parse().unwrap());
    change(&mut target);
    Target::Http(Box::new(target))
}

#[track_caller]
pub(crate) fn well(saw: &Saw) {
    assert!(matches!(saw.seen, Seen::Well { .. }), "{saw:?}");
}

#[track_caller]
pub(crate) fn wrong(saw: &Saw, expected: &str) {
    assert_eq!(saw.seen, Seen::Wrong(expected.to_owned()), "{saw:?}");
}

fn authority(at: SocketAddr) -> Authority {
    Authority { host: at.ip().to_string(), port: at.port() }
}

/// A port that nobody listens at, for as long as the socket is held.
fn free() -> (socket2::Socket, SocketAddr) {
    let kind = socket2::Type::STREAM;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let at = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, at)
}

#[tokio::test]
async fn a_web_address_is_well_when_all_that_is_asked_of_it_holds() {
    let mut servers = Servers::default();
    let at = servers.http(|_| said(200, "", r#"{"db":{"ok":true},"n":[1,2]}"#)).await;
    let saw = look(&http(at, |_| {})).await;
    well(&saw);
    assert_eq!(saw.address, Some(at));
    let phases = saw.phases;
    assert!(phases.connect_us.is_some() && phases.first_us.is_some(), "{phases:?}");
    assert_eq!((phases.dns_us, phases.tls_us), (None, None));
    assert!(phases.total_us >= phases.connect_us.unwrap() + phases.first_us.unwrap());

    let rule = |path: &str, is: &str| JsonRule { path: path.to_owned(), is: is.to_owned() };
    let asks = |rules: Vec<JsonRule>| http(at, |target| target.json = rules);
    well(&look(&asks(vec![rule("db.ok", "true"), rule("n.1", "2")])).await);
    wrong(&look(&asks(vec![rule("db.ok", "yes")])).await, "`db.ok` is `true`, not `yes`");
    wrong(&look(&asks(vec![rule("db.lag", "0")])).await, "its answer has no `db.lag`");
    well(&look(&http(at, |target| target.contains = Some("\"ok\":true".to_owned()))).await);
    let lacks = look(&http(at, |target| target.contains = Some("fine".to_owned()))).await;
    wrong(&lacks, "its answer lacks `fine`");
    let has = look(&http(at, |target| target.lacks = Some("db".to_owned()))).await;
    wrong(&has, "its answer has `db`");
}

#[tokio::test]
async fn a_wrong_status_is_a_wrong_answer() {
    let mut servers = Servers::default();
    let at = servers.http(|_| said(503, "", "")).await;
    wrong(&look(&http(at, |_| {})).await, "answered 503");
    well(&look(&http(at, |target| target.statuses = vec![204, 503])).await);
    let at = servers.http(|_| Some("SSH-2.0-OpenSSH\r\n\r\n".to_owned())).await;
    wrong(&look(&http(at, |_| {})).await, "it does not answer in HTTP");
}

#[tokio::test]
async fn method_headers_and_body_are_sent_as_asked() {
    let mut servers = Servers::default();
    let at = servers
        .http(|request| {
            let right = request.starts_with("POST /health HTTP/1.1\r\n")
                && request.contains("\r\nauthorization: Bearer x\r\n")
                && request.contains("\r\nhost: shop.example\r\n")
                && request.ends_with("\r\n\r\n{\"q\":1}");
            said(if right { 200 } else { 400 }, "", "")
        })
        .await;
    let target = http("203.0.113.1:80".parse().unwrap(), |target| {
        target.url = "http://shop.example/health".parse().unwrap();
        target.connect = Some(at);
        target.method = Method::POST;
        target.headers = vec![("authorization".parse().unwrap(), "Bearer x".parse().unwrap())];
        target.body = b"{\"q\":1}".to_vec();
    });
    well(&look(&target).await);
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_asked_and_a_stranger_gets_no_headers() {
    let mut servers = Servers::default();
    let stranger = servers
        .http(|request| {
            let told = request.to_lowercase().contains("x-key");
            said(if told { 500 } else { 200 }, "", "")
        })
        .await;
    let at = servers
        .http(move |request| {
            if request.starts_with("GET /health ") {
                return said(302, "location: /next\r\n", "");
            }
            let kept = request.contains("x-key: k");
            let to = format!("location: http://{stranger}/\r\n");
            said(if kept { 307 } else { 500 }, &to, "")
        })
        .await;
    let with = |redirects| {
        http(at, |target| {
            target.redirects = redirects;
            target.headers = vec![("x-key".parse().unwrap(), "k".parse().unwrap())];
        })
    };
    well(&look(&with(2)).await);
    wrong(&look(&with(1)).await, "more than 1 redirects");
    // Without any, the redirect is the answer.
    well(&look(&with(0)).await);
}

#[tokio::test]
async fn no_more_of_an_answer_is_read_than_its_cap() {
    let mut servers = Servers::default();
    let head = "HTTP/1.1 200 x\r\ncontent-length: 99999999\r\n\r\nstart";
    let at = servers.http(move |_| Some(format!("{head}{}", "x".repeat(1 << 20)))).await;
    let target = http(at, |target| {
        target.contains = Some("start".to_owned());
        target.body_cap = 1_024;
    });
    well(&look(&target).await);
}

#[tokio::test]
async fn who_refuses_hangs_or_breaks_off_is_silent() {
    let (_held, nobody) = free();
    let saw = look(&http(nobody, |_| {})).await;
    assert_eq!(saw.seen, Seen::Silent("connection refused".to_owned()));
    let saw = look(&Target::Tcp(authority(nobody))).await;
    assert_eq!(saw.seen, Seen::Silent("connection refused".to_owned()));

    let mut servers = Servers::default();
    let hung = servers.http(|_| None).await;
    let prober = Prober::trusting(&[]).unwrap();
    let saw = prober.look(&http(hung, |_| {}), Duration::from_millis(300)).await;
    assert_eq!(saw.seen, Seen::Silent("no answer in 300 ms".to_owned()));
    assert!(saw.phases.connect_us.is_some() && saw.phases.total_us >= 300_000, "{saw:?}");
    // It accepts connections all the same.
    well(&look(&Target::Tcp(authority(hung))).await);

    let breaks = servers.http(|_| Some(String::new())).await;
    let saw = look(&http(breaks, |_| {})).await;
    assert_eq!(saw.seen, Seen::Silent("it closed the connection without an answer".to_owned()));
}

#[tokio::test]
async fn certificates_are_judged_and_told_of() {
    let mut servers = Servers::default();
    let good = Certified::until("localhost", 2099);
    let old = Certified::until("localhost", 2021);
    let other = Certified::until("other.example", 2099);
    let trusted = [&good, &old, &other].map(|certified| certified.der.clone());
    let prober = Prober::trusting(&trusted).unwrap();
    let at = servers.https(&good, |_| said(200, "", "")).await;
    let url = format!("https://localhost:{}/", at.port()).parse().unwrap();
    let saw = prober.look(&Target::Http(Box::new(HttpTarget::get(url))), LIMIT).await;
    well(&saw);
    assert!(saw.phases.dns_us.is_some() && saw.phases.tls_us.is_some(), "{saw:?}");
    assert_eq!(saw.certificate.unwrap().ends, 4_070_908_800);

    let tls = |port| Target::Tls(Authority { host: "localhost".to_owned(), port });
    let nobody = Prober::trusting(&[Certified::until("x.example", 2099).der]).unwrap();
    let saw = nobody.look(&tls(at.port()), LIMIT).await;
    wrong(&saw, "nobody whom this machine trusts gave its certificate");
    assert!(saw.certificate.is_some(), "a bad one is noted too");

    let at = servers.https(&old, |_| None).await;
    let saw = prober.look(&tls(at.port()), LIMIT).await;
    let Seen::Wrong(why) = &saw.seen else { panic!("{saw:?}") };
    assert!(why.starts_with("its certificate expired ") && why.ends_with(" days ago"), "{why}");
    let at = servers.https(&other, |_| None).await;
    wrong(&prober.look(&tls(at.port()), LIMIT).await, "its certificate is not for localhost");
    let at = servers.http(|_| said(400, "", "")).await;
    let saw = prober.look(&tls(at.port()), Duration::from_millis(500)).await;
    assert!(
        matches!(&saw.seen, Seen::Wrong(why) | Seen::Silent(why) if why.starts_with("no TLS")),
        "{saw:?}"
    );
}

#[tokio::test]
async fn a_grpc_server_must_say_that_it_serves() {
    let mut servers = Servers::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    servers.run(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut answer))) = connection.accept().await {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let mut body = request.into_body();
                    let asked = body.data().await.unwrap().unwrap();
                    let (code, says): (&str, &'static [u8]) = match &asked[5..] {
                        b"" => ("0", &[0, 0, 0, 0, 2, 8, 1]),
                        b"\x0a\x04mail" => ("0", &[0, 0, 0, 0, 2, 8, 2]),
                        _ => ("5", &[]),
                    };
                    let mut send = answer.send_response(Response::new(()), false).unwrap();
                    send.send_data(Bytes::from_static(says), false).unwrap();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", code.parse().unwrap());
                    send.send_trailers(trailers).unwrap();
                }
            });
        }
    });
    let ask = |service: &str| {
        Target::Grpc(GrpcTarget { at: authority(at), tls: false, service: service.to_owned() })
    };
    well(&look(&ask("")).await);
    wrong(&look(&ask("mail")).await, "says NOT_SERVING");
    wrong(&look(&ask("none")).await, "it knows no such service (gRPC status 5)");
    let at = servers.http(|_| said(400, "", "")).await;
    let target = GrpcTarget { at: authority(at), tls: false, service: String::new() };
    let saw = Prober::trusting(&[]).unwrap();
    let saw = saw.look(&Target::Grpc(target), Duration::from_millis(500)).await;
    assert!(!matches!(saw.seen, Seen::Well { .. }), "{saw:?}");
}

#[tokio::test]
async fn a_name_must_lead_where_it_should() {
    let mut servers = Servers::default();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    servers.run(async move {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            // The question without the EDNS record after it.
            let mut answer = packet[..length - 11].to_vec();
            answer[2] = 0x81;
            answer[11] = 0;
            let missing = answer.windows(4).any(|window| window == b"gone");
            answer[3] = if missing { 0x83 } else { 0x80 };
            if !missing {
                answer[7] = 1;
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7]);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    let ask = |name: &str, record, answers: &[&str]| {
        let answers = answers.iter().map(|&answer| answer.to_owned()).collect();
        Target::Dns(DnsTarget { name: name.to_owned(), record, answers, server: Some(at) })
    };
    well(&look(&ask("shop.example", DnsRecord::A, &[])).await);
    well(&look(&ask("shop.example", DnsRecord::A, &["192.0.2.7"])).await);
    let other = look(&ask("shop.example", DnsRecord::A, &["192.0.2.8"])).await;
    wrong(&other, "it leads to 192.0.2.7, not to 192.0.2.8");
    let none = look(&ask("shop.example", DnsRecord::Mx, &[])).await;
    wrong(&none, "shop.example has no such record");
    let gone = look(&ask("gone.example", DnsRecord::A, &[])).await;
    wrong(&gone, "there is no gone.example (NXDOMAIN)");
}

#[tokio::test]
async fn this_machine_answers_its_own_ping_or_says_what_is_missing() {
    let saw = look(&Target::Ping("127.0.0.1".to_owned())).await;
    match &saw.seen {
        Seen::Well { .. } => assert!(saw.phases.first_us.is_some(), "{saw:?}"),
        Seen::Wrong(why) => assert!(why.contains("ping_group_range"), "{why}"),
        Seen::Silent(_) | Seen::Blind => panic!("{saw:?}"),
    }
}
