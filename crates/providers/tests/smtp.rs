//! Mail by submission, to servers that say what a test has them say.

use std::sync::{Arc, Mutex};

use linkflow_model::{FaultKind, Secret};
use linkflow_providers::mail::{self, Settings, smtp};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::mail::letter;
use crate::stage::kit;

/// What a server does.
#[derive(Clone, Default)]
struct Manner {
    /// In TLS from the first byte on.
    implicit_tls: bool,
    /// What it offers beside.
    offers: &'static str,
    /// The beginning of a line, and what is said to it in place of the usual. Nothing: it hangs up.
    odd: Option<(&'static str, &'static str)>,
}

/// A server on loopback; it ends when dropped.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    root: CertificateDer<'static>,
    _tasks: JoinSet<()>,
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Server {
    async fn start(manner: Manner) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let root = cert.der().clone();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![root.clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (ears, mut tasks) = (Arc::clone(&heard), JoinSet::new());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (manner, ears, acceptor) =
                    (manner.clone(), Arc::clone(&ears), acceptor.clone());
                open.spawn(async move {
                    let wire: Box<dyn Wire> = match manner.implicit_tls {
                        true => match acceptor.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                        false => Box::new(stream),
                    };
                    converse(wire, &manner, &ears, &acceptor).await;
                });
            }
        });
        Self { port, heard, root, _tasks: tasks }
    }

    fn settings(&self, implicit_tls: bool) -> smtp::Settings {
        smtp::Settings {
            host: "localhost".to_owned(),
            port: self.port,
            login: Some(("shop".to_owned(), Secret::new("pass-word"))),
            implicit_tls,
            roots: vec![self.root.clone()],
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// Answers until the client leaves. `None`: it hangs up.
async fn converse(
    wire: Box<dyn Wire>,
    manner: &Manner,
    heard: &Mutex<Vec<String>>,
    acceptor: &TlsAcceptor,
) -> Option<()> {
    let mut wire = BufReader::new(wire);
    wire.write_all(b"220 relay.example.com ready\r\n").await.ok()?;
    let mut in_body = false;
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end_matches("\r\n").to_owned();
        heard.lock().unwrap().push(line.clone());
        let odd =
            manner.odd.filter(|(begin, _)| line.starts_with(begin) && (!in_body || line == "."));
        let said = match (odd, line.split(' ').next().unwrap_or_default()) {
            (Some((_, "")), _) => return None,
            (Some((_, said)), _) => said.to_owned(),
            (None, ".") if in_body => "250 2.0.0 queued as 7F3A".to_owned(),
            _ if in_body => continue,
            (None, "EHLO") => format!("250-relay.example.com\r\n{}250 8BITMIME", manner.offers),
            (None, "DATA") => "354 go on".to_owned(),
            (None, "STARTTLS") => "220 begin".to_owned(),
            (None, "AUTH") => "235 2.7.0 hello".to_owned(),
            (None, "QUIT") => return None,
            _ => "250 2.1.0 well".to_owned(),
        };
        in_body = said.starts_with("354") || (in_body && line != ".");
        wire.write_all(format!("{said}\r\n").as_bytes()).await.ok()?;
        if line == "STARTTLS" && said.starts_with("220") {
            let stream = acceptor.accept(wire.into_inner()).await.ok()?;
            wire = BufReader::new(Box::new(stream));
        }
    }
}

async fn sent(manner: Manner) -> (Result<String, FaultKind>, Vec<String>) {
    let server = Server::start(manner.clone()).await;
    let settings = Settings::Smtp(server.settings(manner.implicit_tls));
    let sender = mail::open(settings, &kit(None), &"relay".parse().unwrap());
    let done = sender.send(&letter("one")).await.map_err(|fault| fault.kind);
    (done, server.heard())
}

const STARTTLS: &str = "250-STARTTLS\r\n250-AUTH PLAIN LOGIN\r\n";

#[tokio::test]
async fn a_letter_goes_over_in_tls_with_a_login_and_its_dots_stay() {
    for manner in [
        Manner { offers: STARTTLS, ..Manner::default() },
        Manner { implicit_tls: true, offers: "250-AUTH PLAIN\r\n", ..Manner::default() },
        // A relay on this machine.
        Manner { offers: "250-AUTH PLAIN\r\n", ..Manner::default() },
    ] {
        let (done, heard) = sent(manner).await;
        assert_eq!(done.as_deref(), Ok("2.0.0 queued as 7F3A"));
        // printf '\0shop\0pass-word' | base64
        assert!(heard.contains(&"AUTH PLAIN AHNob3AAcGFzcy13b3Jk".to_owned()), "{heard:?}");
        assert!(heard.contains(&"MAIL FROM:<shop@example.com>".to_owned()), "{heard:?}");
        assert!(heard.contains(&"RCPT TO:<ada@example.org>".to_owned()), "{heard:?}");
        let dots = heard.iter().filter(|line| line.starts_with('.')).map(String::as_str);
        assert_eq!(dots.collect::<Vec<_>>(), ["..", "...and a dot", "."]);
    }
}

#[tokio::test]
async fn only_what_comes_after_the_last_dot_is_unclear() {
    let at =
        |begin, said| Manner { odd: Some((begin, said)), offers: STARTTLS, ..Manner::default() };
    let cases = [
        (at("MAIL", ""), FaultKind::Unreachable),
        (at("DATA", ""), FaultKind::Unreachable),
        (at(".", ""), FaultKind::Unclear),
        (at(".", "451 4.3.0 later"), FaultKind::Unreachable),
        (at("AUTH", "535 5.7.8 no"), FaultKind::Denied),
        (at("RCPT", "550 5.1.1 no such user"), FaultKind::Invalid),
        (at("MAIL", "452 4.5.3 your daily quota is used up"), FaultKind::Exhausted),
    ];
    for (manner, kind) in cases {
        let odd = manner.odd;
        assert_eq!(sent(manner).await.0, Err(kind), "{odd:?}");
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_hears_no_password() {
    let server = Server::start(Manner { offers: STARTTLS, ..Manner::default() }).await;
    let stranger = Server::start(Manner::default()).await;
    let settings = smtp::Settings { roots: vec![stranger.root.clone()], ..server.settings(false) };
    let sender = mail::open(Settings::Smtp(settings), &kit(None), &"relay".parse().unwrap());
    let fault = sender.send(&letter("one")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    assert!(!server.heard().iter().any(|line| line.starts_with("AUTH")), "{:?}", server.heard());
}

#[tokio::test]
async fn the_password_is_in_no_fault_however_it_is_said() {
    // printf '\0shops\0pass-word' | base64; printf pass-word | base64
    let echo = ("AUTH", "535 5.7.8 AHNob3BzAHBhc3Mtd29yZA== is not pass-word, cGFzcy13b3Jk");
    let server =
        Server::start(Manner { odd: Some(echo), offers: STARTTLS, ..Manner::default() }).await;
    let login = Some(("shops".to_owned(), Secret::new("pass-word")));
    let settings = Settings::Smtp(smtp::Settings { login, ..server.settings(false) });
    let sender = mail::open(settings, &kit(None), &"relay".parse().unwrap());
    let fault = sender.send(&letter("one")).await.unwrap_err().to_string();
    assert!(fault.ends_with("535 5.7.8 *** is not ***, ***"), "{fault}");
}
