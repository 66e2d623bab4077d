//! Connections that are encrypted, against a server in a thread of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use http::{HeaderMap, Method};
use linkflow_model::ServiceKind;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::address::Resolve;
use crate::pool::{Head, Keep, Pool, Trouble};

const PEM: &[u8] = include_bytes!("localhost.pem");

/// Answers one HTTP/1.1 request over TLS. Says which protocol was agreed on, if a connection came about.
fn server() -> (SocketAddr, std::thread::JoinHandle<Option<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(PEM).unwrap()],
                PrivateKeyDer::from_pem_slice(PEM).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (mut tcp, _) = listener.accept().unwrap();
        let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
        while tls.is_handshaking() {
            if tls.complete_io(&mut tcp).is_err() {
                return None;
            }
        }
        let agreed = tls.alpn_protocol().map(<[u8]>::to_vec).unwrap_or_default();
        let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
        let mut read = [0; 1_024];
        if stream.read(&mut read).is_ok() {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        }
        Some(agreed)
    });
    (address, serving)
}

fn dialer(trusting: bool) -> Arc<Dialer> {
    let mut dialer = Dialer::new(Duration::from_secs(1), TaskTracker::new());
    let mut roots = RootCertStore::empty();
    if trusting {
        roots.add(CertificateDer::from_pem_slice(PEM).unwrap()).unwrap();
    }
    dialer.trusted = Some(roots);
    Arc::new(dialer)
}

async fn ask(address: &str, kind: ServiceKind, trusting: bool) -> Result<u16, Trouble> {
    let place = Place::parse(address, kind, &Resolve::default()).unwrap();
    let pool =
        Pool::new(place, dialer(trusting), Keep { threads: 0, idle: Duration::from_secs(1) });
    let path = "/".parse().unwrap();
    let head = Head { method: Method::GET, path, headers: HeaderMap::new() };
    let reply = pool.send(&head, Outgoing::Empty, false).await?;
    Ok(reply.response.status().as_u16())
}

#[tokio::test]
async fn a_web_target_is_spoken_to_in_http1_over_tls() {
    let (address, serving) = server();
    let status =
        ask(&format!("https://localhost:{}", address.port()), ServiceKind::Web, true).await;
    assert_eq!(status.unwrap(), 200);
    assert_eq!(serving.join().unwrap().as_deref(), Some(&b""[..]), "HTTP/1.1 is what is meant");
}

#[tokio::test]
async fn a_grpc_target_is_spoken_to_in_http2_over_tls() {
    let (address, serving) = server();
    let asked =
        ask(&format!("https://localhost:{}", address.port()), ServiceKind::Grpc, true).await;
    assert!(asked.is_err(), "the server here cannot speak it");
    assert_eq!(serving.join().unwrap().as_deref(), Some(&b"h2"[..]));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent() {
    let (address, serving) = server();
    let asked =
        ask(&format!("https://localhost:{}", address.port()), ServiceKind::Web, false).await;
    let trouble = asked.unwrap_err();
    assert!(!trouble.sent);
    let Failure::Unreachable(why) = trouble.failure else { panic!("{:?}", trouble.failure) };
    assert!(why.contains("UnknownIssuer"), "{why}");
    assert_eq!(serving.join().unwrap(), None);
}
