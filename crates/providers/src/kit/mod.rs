//! The one HTTP client of all adapters: time limits, rate limits, masking, recording, and what went wrong in our words.

mod call;
pub(crate) mod graphql;
mod judge;
mod limit;
mod limit_book;
mod record;
mod stream;
mod veil;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linkflow_model::{Clock, Fault, FaultKind, ProviderName, Secret};
use serde::de::DeserializeOwned;

pub use call::{Answer, Call, encode};
pub use judge::Judge;
pub(crate) use judge::is_spent;
pub use limit::{Limiter, Rule, Scope};
pub use record::Hide;
pub use stream::{Download, Opened, Upload};
pub use veil::{mask_values, mask_values_but};

use call::Content;
use limit_book::Book;
use record::{Place, Recorder};
use veil::Veil;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// A read is tried this often in all.
const TRIES: u32 = 3;

/// A read waits this long at most before it is tried again.
const SHORT_WAIT: Duration = Duration::from_secs(2);

/// How a form's body is called.
const FORM: &str = "application/x-www-form-urlencoded";

/// Largest answer that is taken in, in bytes.
const LARGEST: usize = 16 << 20;

/// How a [`Kit`] is made.
pub struct KitOptions {
    /// Where to append each exchange, one JSON line each, secrets masked.
    pub record: Option<PathBuf>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What requests say of who asks: `linkflow/0.1.0`.
    pub user_agent: String,
    /// The folder in which the processes that ask the same accounts count their requests together. `None`: this process
    /// counts for itself.
    pub limits: Option<PathBuf>,
}

/// Why a [`Kit`] could not be made.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// The recording cannot be written.
    #[error("the recording {path} cannot be written: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The HTTP client could not be set up; most often the machine has no CA certificates.
    #[error("HTTPS cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
}

/// The HTTP client that all adapters share. A clone is the same client.
#[derive(Clone)]
pub struct Kit {
    shared: Arc<Shared>,
}

struct Shared {
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
    recorder: Option<Recorder>,
    veil: Veil,
    limits: Option<PathBuf>,
    /// By provider and production address: a vendor counts requests by account, however many clients send them.
    limiters: Mutex<BTreeMap<(ProviderName, String), Arc<Limiter>>>,
    /// How far this machine's clock is ahead of each provider's, in milliseconds, by its last answer.
    ahead: Mutex<BTreeMap<ProviderName, i64>>,
}

impl Kit {
    /// A client. Makes ring the process's TLS provider when there is none yet.
    ///
    /// # Errors
    /// When the recording cannot be opened, or TLS cannot be set up.
    pub fn new(options: KitOptions) -> Result<Self, KitError> {
        let installed = rustls::crypto::ring::default_provider().install_default();
        if installed.is_err() {
            tracing::debug!("the process already has a TLS provider");
        }
        let http = reqwest::Client::builder()
            .user_agent(options.user_agent)
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let recorder = options
            .record
            .map(|path| Recorder::open(&path).map_err(|source| KitError::Record { path, source }))
            .transpose()?;
        let shared = Shared {
            http,
            clock: options.clock,
            recorder,
            veil: Veil::default(),
            limits: options.limits,
            limiters: Mutex::default(),
            ahead: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A client for one account at one vendor. A second one for the same provider shares the limiter of the first.
    pub fn vendor(&self, account: Account) -> Vendor {
        if let Some(auth) = &account.auth {
            self.learn(&auth.value);
        }
        let key = (account.provider.clone(), account.production.clone());
        let mut limiters = self.shared.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = limiters.entry(key).or_insert_with(|| {
            let name = format!("{}.{}.json", account.provider, account.spec);
            let book = self.shared.limits.as_ref().map(|folder| Book::at(folder.join(name)));
            Arc::new((account.limits)().shared_in(book))
        });
        let limiter = Arc::clone(limiter);
        Vendor { kit: self.clone(), account: Arc::new(account), limiter }
    }

    /// The clock of all adapters.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock)
    }

    /// How far this machine's clock is ahead of each provider's, in milliseconds, going by the `Date` of its last answer.
    /// That has whole seconds and was on its way for a while, so less than a few seconds mean nothing.
    pub fn clock_ahead(&self) -> BTreeMap<ProviderName, i64> {
        self.shared.ahead.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `text` without any secret that this process has handed to a provider.
    pub fn mask(&self, text: &str) -> String {
        self.shared.veil.mask(text)
    }

    /// Masks `secret` from now on, wherever it turns up in a recording or a message.
    pub fn learn(&self, secret: &Secret) {
        self.shared.veil.learn(secret);
    }
}

/// How a vendor knows who asks.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The header, in lower case.
    pub header: &'static str,
    /// What goes before the credential: `Bearer `.
    pub scheme: &'static str,
    /// The credential.
    pub value: Secret,
}

impl Auth {
    /// `Authorization: Bearer …`.
    pub fn bearer(value: Secret) -> Self {
        Self { header: "authorization", scheme: "Bearer ", value }
    }
}

/// One account at one vendor, as its adapter knows it.
pub struct Account {
    /// Its name in the config.
    pub provider: ProviderName,
    /// The name of the vendor's published description, for recordings.
    pub spec: &'static str,
    /// The vendor's own base address, for recordings.
    pub production: String,
    /// The base address that is really used. No slash at its end.
    pub base: String,
    /// The credential, if one is needed.
    pub auth: Option<Auth>,
    /// Makes a limiter with the vendor's limits.
    pub limits: Box<dyn Fn() -> Limiter + Send + Sync>,
    /// The vendor's own reading of statuses and messages.
    pub judge: Judge,
    /// Masks what holds secrets by its nature.
    pub hide: Hide,
}

/// A client for one account at one vendor. A clone is the same client.
#[derive(Clone)]
pub struct Vendor {
    kit: Kit,
    account: Arc<Account>,
    limiter: Arc<Limiter>,
}

impl Vendor {
    /// Sends `call` and gives its answer when that is a success.
    ///
    /// A read is tried up to three times on connection errors, 5xx and 429, when the wait is short. A write is sent once.
    ///
    /// # Errors
    /// A [`Fault`] that says what the caller may do; its text is free of secrets.
    pub async fn send(&self, call: Call) -> Result<Answer, Fault> {
        let answer = self.exchange(&call).await?;
        self.judge(&call, answer)
    }

    /// `answer` when it is a success.
    ///
    /// # Errors
    /// The [`Fault`] that its status means.
    pub fn judge(&self, call: &Call, answer: Answer) -> Result<Answer, Fault> {
        match self.judged(call, &answer) {
            None => Ok(answer),
            Some(kind) => Err(self.fault(kind, call.attempt(), &judge::said(&answer))),
        }
    }

    /// Sends `call` and reads the answer's JSON.
    ///
    /// # Errors
    /// As [`Vendor::send`]; [`FaultKind::Unclear`] when the answer is not what the vendor promises.
    pub async fn send_for<T: DeserializeOwned>(&self, call: Call) -> Result<T, Fault> {
        let attempt = call.attempt();
        let answer = self.send(call).await?;
        self.read(attempt, &answer)
    }

    /// The JSON in `answer`.
    ///
    /// # Errors
    /// [`FaultKind::Unclear`] when it is not what the vendor promises.
    pub fn read<T: DeserializeOwned>(&self, attempt: String, answer: &Answer) -> Result<T, Fault> {
        serde_json::from_slice(&answer.body).map_err(|error| {
            let said = format!("the answer cannot be read: {error}");
            self.fault(FaultKind::Unclear, attempt, &said)
        })
    }

    /// Sends `call` and gives its answer whatever its status. Reads are tried again as in [`Vendor::send`].
    ///
    /// # Errors
    /// A [`Fault`] when there is no answer, or the limiter holds the request back.
    pub async fn exchange(&self, call: &Call) -> Result<Answer, Fault> {
        let mut tried = 0;
        loop {
            tried += 1;
            let outcome = self.once(call).await;
            let wait = if call.reads && tried < TRIES {
                self.wait_before_retry(call, tried, &outcome)
            } else {
                None
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return outcome,
            }
        }
    }

    /// The base address that is really used.
    pub(crate) fn base(&self) -> &str {
        &self.account.base
    }

    /// A fault of this provider. Secrets are masked in `said`.
    pub fn fault(&self, kind: FaultKind, attempt: impl Into<String>, said: &str) -> Fault {
        let masked = self.kit.shared.veil.mask(said);
        Fault {
            kind,
            provider: self.account.provider.clone(),
            attempt: attempt.into(),
            said: judge::one_line(&masked),
        }
    }

    fn judged(&self, call: &Call, answer: &Answer) -> Option<FaultKind> {
        if answer.status.is_success() {
            return None;
        }
        let said = judge::said(answer);
        let wall = self.kit.shared.clock.wall();
        match (self.account.judge)(answer.status, &said) {
            // The vendor's own reading knows the words; the headers know how long.
            Some(FaultKind::Limited { wait }) => {
                Some(FaultKind::Limited { wait: judge::wait_or(answer, wall, wait) })
            }
            Some(kind) => Some(kind),
            None => judge::kind(answer.status, &said, call.reads, judge::wait(answer, wall)),
        }
    }

    /// How long the vendor asks to be left alone, when that is what `answer` says.
    fn asked_wait(&self, call: &Call, answer: &Answer) -> Option<Duration> {
        match self.judged(call, answer)? {
            FaultKind::Limited { wait } => Some(wait),
            _ => None,
        }
    }

    /// How long to wait before a read is tried again, `None` when that would not help.
    fn wait_before_retry(
        &self,
        call: &Call,
        tried: u32,
        outcome: &Result<Answer, Fault>,
    ) -> Option<Duration> {
        let pause = Duration::from_millis(100 << tried);
        match outcome {
            Err(fault) if fault.kind == FaultKind::Unreachable => Some(pause),
            Err(_) => None,
            Ok(answer) if answer.status.is_server_error() => Some(pause),
            Ok(answer) => self.asked_wait(call, answer).filter(|wait| *wait <= SHORT_WAIT),
        }
    }

    async fn once(&self, call: &Call) -> Result<Answer, Fault> {
        let started = self.kit.shared.clock.now();
        self.wait_for_place(call).await?;
        let asked = async { take_in(self.request(call).timeout(call.within).send().await?).await };
        let answer = asked.await.map_err(|error| self.no_answer(call, &error))?;
        let ms = self.kit.shared.clock.now().since(started);
        tracing::debug!(provider = %self.account.provider, action = call.action, status = answer.status.as_u16(), ms, "asked");
        self.heard(call, &answer);
        Ok(answer)
    }

    /// Waits for the turn that the limiter gives `call`.
    async fn wait_for_place(&self, call: &Call) -> Result<(), Fault> {
        let now = self.limiter.now(&*self.kit.shared.clock);
        match self.limiter.admit(now, call.action, call.counted()) {
            Ok(wait) if wait.is_zero() => Ok(()),
            Ok(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Err(wait) => {
                let said = format!("its rate limit asks for {} s of patience", wait.as_secs() + 1);
                Err(self.fault(FaultKind::Limited { wait }, call.attempt(), &said))
            }
        }
    }

    /// Records an exchange, notes the provider's time, and keeps to what the answer asks for.
    fn heard(&self, call: &Call, answer: &Answer) {
        let shared = &self.kit.shared;
        if let Some(ahead) = judge::ahead(answer, shared.clock.wall()) {
            let mut held = shared.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            held.insert(self.account.provider.clone(), ahead);
        }
        if let Some(recorder) = &shared.recorder {
            recorder.note(&shared.veil, &self.place(), call, answer);
        }
        if let Some(wait) = self.asked_wait(call, answer) {
            let now = self.limiter.now(&*shared.clock);
            self.limiter.hold(now, call.action, call.counted(), wait);
        }
    }

    fn request(&self, call: &Call) -> reqwest::RequestBuilder {
        let address = format!("{}{}", self.account.base, call.path);
        let mut request = self.kit.shared.http.request(call.method.clone(), address);
        if let Some(auth) = &self.account.auth {
            request =
                request.header(auth.header, format!("{}{}", auth.scheme, auth.value.expose()));
        }
        for (name, text) in &call.headers {
            request = request.header(*name, text.expose());
        }
        match &call.body {
            None => request,
            Some(Content::Json(body)) => request.json(body),
            Some(Content::Bytes(kind, bytes)) => {
                request.header(http::header::CONTENT_TYPE, kind).body(bytes.clone())
            }
            Some(Content::Form(form)) => {
                request.header(http::header::CONTENT_TYPE, FORM).body(form.expose().to_owned())
            }
        }
    }

    /// Why there was no answer. A request that was not sent whole cannot have been carried out; any other may have.
    fn no_answer(&self, call: &Call, error: &reqwest::Error) -> Fault {
        let never_sent = error.is_connect() || error.is_builder();
        let kind = if error.is_builder() {
            FaultKind::Invalid
        } else if never_sent || call.reads {
            FaultKind::Unreachable
        } else {
            FaultKind::Unclear
        };
        let said = if error.is_timeout() && error.is_connect() {
            format!("no connection within {} s", CONNECT.as_secs())
        } else if error.is_timeout() {
            format!("no answer within {} s", call.within.as_secs())
        } else {
            innermost(error)
        };
        self.fault(kind, call.attempt(), &said)
    }

    fn place(&self) -> Place<'_> {
        Place {
            spec: self.account.spec,
            production: &self.account.production,
            auth: self.account.auth.as_ref().map(|auth| auth.header),
            hide: self.account.hide,
        }
    }
}

/// Reads an answer, up to the largest that is taken in.
async fn take_in(mut response: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LARGEST {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body })
}

/// The cause at the bottom of an error, which is the one that tells something: "connection refused".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
