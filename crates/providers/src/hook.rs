//! Calls web addresses that strangers gave: never one of this machine or its network, unless the config allows it.
//!
//! A name is looked up once, each of its addresses is checked, and the connection goes to one of those that were checked: a
//! name that means something else a moment later leads nowhere. No redirect is followed, and no proxy is asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::role::{Hook, HookCall};
use linkflow_model::{Clock, Fault, FaultKind, ProviderName};

use crate::notify::webhook::signature;

/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(10);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How much of an answer is read.
const ANSWER: usize = 4 << 10;

/// Calls web addresses.
pub struct Strangers {
    clock: Arc<dyn Clock>,
    provider: ProviderName,
    private: bool,
}

impl Strangers {
    /// Calls with the time of `clock`; those of private networks, and without TLS, only if `private`. Faults say that they are
    /// of `provider`.
    pub fn new(clock: Arc<dyn Clock>, provider: ProviderName, private: bool) -> Self {
        Self { clock, provider, private }
    }

    fn fault(&self, kind: FaultKind, said: impl Into<String>) -> Fault {
        let attempt = "call a subscriber's web address".to_owned();
        Fault { kind, provider: self.provider.clone(), attempt, said: said.into() }
    }

    /// The host of `url`, and the addresses that may be asked for it.
    async fn places(&self, url: &reqwest::Url) -> Result<(String, Vec<SocketAddr>), Fault> {
        let invalid = |said: &str| self.fault(FaultKind::Invalid, said);
        if url.scheme() != "https" && !(self.private && url.scheme() == "http") {
            return Err(invalid("it is no address with TLS"));
        }
        let host = url.host_str().ok_or_else(|| invalid("it has no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| invalid("it has no port"))?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let found: Vec<SocketAddr> = match literal {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => {
                let found =
                    tokio::time::timeout(CONNECT, tokio::net::lookup_host((host.as_str(), port)));
                let silent = || self.fault(FaultKind::Unreachable, "its name cannot be looked up");
                let found = found.await.map_err(|_| silent())?.map_err(|_| silent())?;
                found.collect()
            }
        };
        let may: Vec<SocketAddr> =
            found.into_iter().filter(|at| self.private || is_public(at.ip())).collect();
        if may.is_empty() {
            let said = "it leads into a private network; `status_page.subscribe.private_webhooks` would allow that";
            return Err(self.fault(FaultKind::Denied, said));
        }
        Ok((host, may))
    }
}

/// Whether `ip` is one of the whole network's: none of this machine, of a network at home or in a data centre, of a vendor's
/// metadata, and none that leads to such a one (IANA's registries of special addresses).
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(four) => is_public_v4(four),
        IpAddr::V6(six) => is_public_v6(six),
    }
}

fn is_public_v4(four: Ipv4Addr) -> bool {
    let [a, b, c, _] = four.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

fn is_public_v6(six: Ipv6Addr) -> bool {
    let parts = six.segments();
    match parts {
        // An address of IPv4 inside, by NAT64 and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Protocols (Teredo among them), benchmarks, documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // What is given to the public is 2000::/3.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[async_trait]
impl Hook for Strangers {
    async fn call(&self, call: &HookCall) -> Result<String, Fault> {
        let url = reqwest::Url::parse(&call.url);
        let url = url.map_err(|error| self.fault(FaultKind::Invalid, error.to_string()))?;
        let (host, places) = self.places(&url).await?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("linkflow/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .resolve_to_addrs(&host, &places)
            .build();
        let client =
            client.map_err(|error| self.fault(FaultKind::Unreachable, error.to_string()))?;
        let timestamp = self.clock.wall().0 / 1_000;
        let mut request = client
            .post(url)
            .header("content-type", "application/json")
            .header("linkflow-timestamp", timestamp.to_string());
        if let Some(signature) = signature(&call.secret, timestamp, &call.body) {
            request = request.header("linkflow-signature", format!("v1={signature}"));
        }
        let mut answer = request.body(call.body.clone()).send().await.map_err(|error| {
            let unreached = error.is_connect() || error.is_builder();
            let kind = if unreached { FaultKind::Unreachable } else { FaultKind::Unclear };
            // The whole address is a secret of theirs: it is not in what is said.
            self.fault(kind, error.without_url().to_string())
        })?;
        let status = answer.status();
        if !status.is_success() {
            let kind = if status == reqwest::StatusCode::GONE {
                FaultKind::Missing
            } else {
                FaultKind::Unclear
            };
            return Err(self.fault(kind, format!("it answered {status}")));
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(ANSWER - body.len())]);
            if body.len() >= ANSWER {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use linkflow_model::Secret;
    use linkflow_model::clock::SystemClock;

    use super::*;

    #[test]
    fn only_addresses_of_the_whole_network_are_called() {
        let rows = [
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("1.1.1.1", true),
            ("93.184.215.14", true),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:1.1.1.1", true),
            ("::127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::101:101", true),
            ("2002:7f00:1::", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("ff02::1", false),
            ("2606:4700:4700::1111", true),
        ];
        for (ip, wanted) in rows {
            assert_eq!(is_public(ip.parse().unwrap()), wanted, "{ip}");
        }
    }

    fn strangers(private: bool) -> Strangers {
        drop(rustls::crypto::ring::default_provider().install_default());
        let clock = Arc::new(SystemClock::start());
        Strangers::new(clock, ProviderName::new("webhook").unwrap(), private)
    }

    fn call(url: &str) -> HookCall {
        HookCall { url: url.to_owned(), body: "{}".to_owned(), secret: Secret::new("key") }
    }

    #[tokio::test]
    async fn what_leads_into_this_machine_is_refused_before_anything_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let hosts = ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1"];
        for host in hosts {
            let url = format!("https://{host}:{port}/");
            let fault = strangers(false).call(&call(&url)).await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Denied, "{url}: {fault}");
        }
        let plain = strangers(false).call(&call("http://example.com/")).await.unwrap_err();
        assert_eq!(plain.kind, FaultKind::Invalid, "{plain}");
        assert!(listener.accept().is_err(), "nobody came");
    }

    #[tokio::test]
    async fn a_call_is_signed_and_follows_no_redirect() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut heard = Vec::new();
            for answer in ["200 OK", "302 Found\r\nlocation: /other", "410 Gone"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut bytes = [0; 4_096];
                let mut text = String::new();
                while !text.ends_with("{}") {
                    let read = stream.read(&mut bytes).unwrap();
                    text.push_str(&String::from_utf8_lossy(&bytes[..read]));
                }
                heard.push(text);
                let answer = format!(
                    "HTTP/1.1 {answer}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
            heard
        });
        let strangers = strangers(true);
        assert_eq!(strangers.call(&call(&url)).await.unwrap(), "hi");
        let kinds = [
            strangers.call(&call(&url)).await.unwrap_err().kind,
            strangers.call(&call(&url)).await.unwrap_err().kind,
        ];
        assert_eq!(kinds, [FaultKind::Unclear, FaultKind::Missing]);
        let heard = server.join().unwrap();
        assert!(heard[0].starts_with("POST /hook HTTP/1.1\r\n"), "{}", heard[0]);
        let header = |name: &str| {
            let line = heard[0].lines().find(|line| line.starts_with(name)).unwrap();
            line.split_once(": ").unwrap().1.to_owned()
        };
        let at: u64 = header("linkflow-timestamp").parse().unwrap();
        let signed = signature(&Secret::new("key"), at, "{}").unwrap();
        assert_eq!(header("linkflow-signature"), format!("v1={signed}"));
    }
}
