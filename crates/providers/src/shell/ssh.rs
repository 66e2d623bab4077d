//! A shell behind SSH: one connection that is kept, and made anew when it is lost.

use std::net::IpAddr;
use std::sync::{Arc, Mutex as Held, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::{FaultKind, Secret};
use russh::client::{self, AuthResult, Handle, Handler};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};
use russh::{Channel, ChannelMsg, ChannelReadHalf, Disconnect};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::host_key::HostKey;
use super::{Broken, LARGEST, Output, Shell};

/// How long connecting and logging in may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How often a silent connection is asked whether it is still there.
const ALIVE: Duration = Duration::from_secs(15);

/// The kinds of fault that a script never began with.
const UNSENT: FaultKind = FaultKind::Unreachable;

/// Where the machine is, and who logs in.
pub(crate) struct Login {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    /// The private key, in the form of OpenSSH or PEM, without a passphrase.
    pub(crate) key: Secret,
    pub(crate) host_key: HostKey,
}

/// A machine behind SSH.
pub(crate) struct Ssh {
    login: Login,
    held: Mutex<Option<Arc<Handle<Client>>>>,
}

/// Looks at the machine's key.
pub(crate) struct Client {
    host_key: HostKey,
    shown: Arc<Held<Shown>>,
}

/// What the machine showed, and why it was refused.
#[derive(Default)]
struct Shown {
    fingerprint: String,
    refusal: Option<String>,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            shown.refusal = Some("it shows a certificate in place of a key".to_owned());
            return Ok(false);
        };
        shown.fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        shown.refusal = self.host_key.refusal(&shown.fingerprint);
        Ok(shown.refusal.is_none())
    }
}

impl Ssh {
    /// Nothing is connected before it is needed.
    pub(crate) fn new(login: Login) -> Self {
        Self { login, held: Mutex::default() }
    }

    /// Has the command line `command` carried out within `limit`, with `input` as its standard input. It is read by the login
    /// shell of the user, whichever that is. What is sent may be cut off: whoever uses it checks that all of it is there.
    pub(crate) async fn feed(
        &self,
        command: &str,
        input: &[u8],
        limit: Duration,
    ) -> Result<Output, Broken> {
        let channel = self.channel().await?;
        match timeout(limit, carry(channel, command, input)).await {
            Ok(done) => done,
            Err(_) => Err(Broken::unclear(format!("no answer within {} s", limit.as_secs()))),
        }
    }

    /// The connection, a new one when there is none that lives.
    async fn connection(&self) -> Result<Arc<Handle<Client>>, Broken> {
        let mut held = self.held.lock().await;
        if let Some(handle) = held.as_ref().filter(|handle| !handle.is_closed()) {
            return Ok(Arc::clone(handle));
        }
        let handle = timeout(CONNECT, self.connect()).await.unwrap_or_else(|_| {
            Err(Broken::new(
                UNSENT,
                format!("{} does not answer within {} s", self.place(), CONNECT.as_secs()),
            ))
        });
        let handle = Arc::new(handle?);
        *held = Some(Arc::clone(&handle));
        Ok(handle)
    }

    async fn connect(&self) -> Result<Handle<Client>, Broken> {
        // Only a key that can be read is worth a connection; what the parser says may hold parts of it.
        let key = decode_secret_key(self.login.key.expose(), None).map_err(|_| {
            Broken::new(FaultKind::Denied, "`key` is no private key without a passphrase, in the form of OpenSSH or PEM; RSA keys are not taken: make one with `ssh-keygen -t ed25519`")
        })?;
        let config = client::Config {
            keepalive_interval: Some(ALIVE),
            keepalive_max: 2,
            nodelay: true,
            ..client::Config::default()
        };
        let shown = Arc::<Held<Shown>>::default();
        let client = Client { host_key: self.login.host_key.clone(), shown: Arc::clone(&shown) };
        let at = (self.login.address.as_str(), self.login.port);
        let connected = client::connect(Arc::new(config), at, client).await;
        let refusal = shown.lock().unwrap_or_else(PoisonError::into_inner).refusal.take();
        if let Some(why) = refusal {
            return Err(Broken::new(FaultKind::Denied, format!("{}: {why}", self.place())));
        }
        let mut handle =
            connected.map_err(|e| Broken::new(UNSENT, format!("{}: {e}", self.place())))?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let login = handle.authenticate_publickey(self.login.user.clone(), key).await;
        let login = login.map_err(|e| Broken::new(UNSENT, format!("{}: {e}", self.place())))?;
        match login {
            AuthResult::Success => {}
            // A connection that broke at this point looks like a refusal; a real one names what may be tried instead.
            AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() => {
                let said = format!("{} hung up at the login", self.place());
                return Err(Broken::new(UNSENT, said));
            }
            AuthResult::Failure { .. } => {
                let (place, user) = (self.place(), &self.login.user);
                let said = format!("{place} does not take this key for the user {user}");
                return Err(Broken::new(FaultKind::Denied, said));
            }
        }
        let fingerprint = shown.lock().unwrap_or_else(PoisonError::into_inner).fingerprint.clone();
        self.login.host_key.remember(&fingerprint)?;
        Ok(handle)
    }

    /// A channel; the connection is made anew once when the one that was kept turns out to be dead.
    async fn channel(&self) -> Result<Channel<client::Msg>, Broken> {
        let handle = self.connection().await?;
        match timeout(CONNECT, handle.channel_open_session()).await {
            Ok(Ok(channel)) => return Ok(channel),
            Ok(Err(_)) | Err(_) => self.lose(&handle).await,
        }
        let handle = self.connection().await?;
        match timeout(CONNECT, handle.channel_open_session()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => {
                self.lose(&handle).await;
                Err(Broken::new(UNSENT, format!("{}: {error}", self.place())))
            }
            Err(_) => {
                self.lose(&handle).await;
                Err(Broken::new(UNSENT, format!("{} opens no channel", self.place())))
            }
        }
    }

    /// Lets go of a connection that no longer works.
    async fn lose(&self, handle: &Arc<Handle<Client>>) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, handle)) {
            *held = None;
        }
        handle.disconnect(Disconnect::ByApplication, "", "").await.ok();
    }

    fn place(&self) -> String {
        match self.login.address.parse::<IpAddr>() {
            Ok(ip) => std::net::SocketAddr::new(ip, self.login.port).to_string(),
            Err(_) => format!("{}:{}", self.login.address, self.login.port),
        }
    }
}

#[async_trait]
impl Shell for Ssh {
    async fn run(&self, script: &str, limit: Duration) -> Result<Output, Broken> {
        self.feed("exec sh -s", script.as_bytes(), limit).await
    }
}

/// Has `command` carried out on `channel`, with `input` as its standard input.
async fn carry(
    channel: Channel<client::Msg>,
    command: &str,
    input: &[u8],
) -> Result<Output, Broken> {
    let cut = |error: russh::Error| Broken::unclear(format!("the connection broke: {error}"));
    channel.exec(true, command).await.map_err(cut)?;
    let (read, write) = channel.split();
    let send = async {
        write.data(input).await.map_err(cut)?;
        write.eof().await.map_err(cut)
    };
    let hear = hear(read);
    tokio::pin!(send, hear);
    // Whoever ends without reading everything says more than the pipe that breaks.
    tokio::select! {
        biased;
        heard = &mut hear => heard,
        sent = &mut send => match (sent, hear.await) {
            (Err(broken), Err(_)) => Err(broken),
            (_, heard) => heard,
        },
    }
}

/// What comes back until the other side ends.
async fn hear(mut channel: ChannelReadHalf) -> Result<Output, Broken> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (mut code, mut closed) = (None, false);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } if out.len() < LARGEST => out.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, ext: 1 } if err.len() < LARGEST => {
                err.extend_from_slice(&data);
            }
            ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
            ChannelMsg::ExitSignal { .. } => closed = true,
            ChannelMsg::Failure => {
                return Err(Broken::new(FaultKind::Denied, "this user may not run commands"));
            }
            _ => {}
        }
    }
    if code.is_none() && !closed {
        return Err(Broken::unclear("the connection broke before the answer was whole"));
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { code, stdout: text(out), stderr: text(err) })
}
