//! One conversation in SMTP: a line or a letter there, a reply back, each within its time.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(4);
/// How long a reply may take.
const STEP: Duration = Duration::from_secs(6);
/// How long the reply to a whole letter may take: it may be looked through meanwhile.
const BODY: Duration = Duration::from_secs(15);
/// Longest line of a reply. Some are longer than the 512 of RFC 5321.
const LINE: u64 = 4_096;
/// Most lines of a reply.
const LINES: usize = 100;

/// A reply: its code, and its lines without it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) text: String,
}

impl Reply {
    /// Whether a server that said this offers `word`.
    pub(super) fn has(&self, word: &str) -> bool {
        let mut firsts = self.text.lines().filter_map(|line| line.split_whitespace().next());
        firsts.any(|first| first.eq_ignore_ascii_case(word))
    }

    /// Whether it offers to log in by `way`.
    pub(super) fn has_way(&self, way: &str) -> bool {
        let mut lines = self.text.lines().map(str::to_ascii_uppercase);
        lines.any(|line| line.starts_with("AUTH") && line.split([' ', '=']).any(|w| w == way))
    }
}

/// Why a letter was not handed over.
#[derive(Debug)]
pub(super) enum Stumble {
    /// Nothing was taken.
    Away(String),
    /// The letter was there, and nothing was said of it.
    Unclear(String),
    /// It cannot be trusted with anything.
    Unsafe(String),
    /// It said no.
    Said(Reply),
}

/// Bytes both ways.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A conversation.
pub(super) struct Talk {
    wire: BufReader<Box<dyn Wire>>,
    /// What this machine calls itself.
    own: String,
}

impl Talk {
    pub(super) async fn dial(host: &str, port: u16) -> Result<Self, Stumble> {
        let late = || format!("no connection within {} s", CONNECT.as_secs());
        let dialled = timeout(CONNECT, TcpStream::connect((host, port))).await;
        let stream = dialled.map_err(|_| Stumble::Away(late()))?.map_err(away)?;
        let own = match stream.local_addr().map_err(away)?.ip() {
            IpAddr::V4(address) => format!("[{address}]"),
            IpAddr::V6(address) => format!("[IPv6:{address}]"),
        };
        Ok(Self { wire: BufReader::new(Box::new(stream)), own })
    }

    /// The same, in TLS. What was said before that is not listened to any more.
    pub(super) async fn secure(
        self,
        connector: &TlsConnector,
        name: ServerName<'static>,
    ) -> Result<Self, Stumble> {
        if !self.wire.buffer().is_empty() {
            return Err(Stumble::Unsafe("it spoke before TLS began".to_owned()));
        }
        let met = timeout(STEP, connector.connect(name, self.wire.into_inner())).await;
        let late = |_| Stumble::Away("it did not begin TLS in time".to_owned());
        let refused = |error: io::Error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            inner.map(|inner| Stumble::Unsafe(inner.to_string())).unwrap_or_else(|| away(error))
        };
        let stream = met.map_err(late)?.map_err(refused)?;
        Ok(Self { wire: BufReader::new(Box::new(stream)), own: self.own })
    }

    pub(super) async fn greeting(&mut self) -> Result<Reply, Stumble> {
        self.listen(STEP).await.and_then(well)
    }

    /// Says who this is; gives what the server offers.
    pub(super) async fn hello(&mut self) -> Result<Reply, Stumble> {
        let line = format!("EHLO {}", self.own);
        self.ask(&line).await
    }

    /// Says `line`, and gives the reply when it is a success, or wants more.
    pub(super) async fn ask(&mut self, line: &str) -> Result<Reply, Stumble> {
        self.say(format!("{line}\r\n").as_bytes(), STEP).await.map_err(away)?;
        self.listen(STEP).await.and_then(well)
    }

    /// Hands over a whole letter, whose lines end in CR LF.
    pub(super) async fn body(&mut self, text: &str) -> Result<Reply, Stumble> {
        let mut stuffed = text.replace("\r\n.", "\r\n..");
        if stuffed.starts_with('.') {
            stuffed.insert(0, '.');
        }
        let (last, all) = (b".\r\n", stuffed.as_bytes());
        self.say(all, BODY).await.map_err(away)?;
        // From here on it may have it.
        let unclear = |error: io::Error| Stumble::Unclear(error.to_string());
        self.say(last, STEP).await.map_err(unclear)?;
        match self.listen(BODY).await {
            Ok(reply) => well(reply),
            Err(Stumble::Away(said)) => Err(Stumble::Unclear(said)),
            Err(other) => Err(other),
        }
    }

    /// Says good-bye. The letter is there, whatever comes of it.
    pub(super) async fn end(mut self) {
        self.say(b"QUIT\r\n", STEP).await.ok();
    }

    async fn say(&mut self, bytes: &[u8], within: Duration) -> io::Result<()> {
        let said = async {
            self.wire.get_mut().write_all(bytes).await?;
            self.wire.get_mut().flush().await
        };
        timeout(within, said).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn listen(&mut self, within: Duration) -> Result<Reply, Stumble> {
        let heard = timeout(within, self.reply()).await;
        heard.unwrap_or_else(|_| {
            Err(Stumble::Away(format!("no reply within {} s", within.as_secs())))
        })
    }

    async fn reply(&mut self) -> Result<Reply, Stumble> {
        let mut lines = Vec::new();
        while lines.len() < LINES {
            let mut line = Vec::new();
            let read = (&mut self.wire).take(LINE).read_until(b'\n', &mut line).await;
            if read.map_err(away)? == 0 {
                return Err(Stumble::Away("it hung up".to_owned()));
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let Some(code) = code.filter(|code| (200..600).contains(code)) else {
                return Err(Stumble::Away("it does not speak SMTP".to_owned()));
            };
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, text: lines.join("\n") });
            }
        }
        Err(Stumble::Away("it said too much".to_owned()))
    }
}

fn away(error: io::Error) -> Stumble {
    Stumble::Away(error.to_string())
}

fn well(reply: Reply) -> Result<Reply, Stumble> {
    if reply.code < 400 { Ok(reply) } else { Err(Stumble::Said(reply)) }
}
