//! Bodies too big to be held: they are passed on as they come, within the same limits, and are never recorded.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use linkflow_model::{Digest, Fault, FaultKind};
use reqwest::Response;
use sha2::{Digest as _, Sha256};
use tokio::time::{sleep, timeout};

use super::{Answer, Call, Vendor, innermost};

/// A transfer may take this long in all.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A transfer that moves nothing for this long is given up.
const IDLE: Duration = Duration::from_secs(60);

/// What a request for a big body led to.
pub enum Opened {
    /// The body comes.
    Body(Download),
    /// It does not; this is what was answered instead.
    Answer(Answer),
}

/// A body on its way to us.
pub struct Download {
    /// What tells of it.
    pub headers: HeaderMap,
    response: Response,
}

/// A body on its way through us, which has to have the size and the digest that were promised.
pub struct Upload {
    response: Response,
    bytes: u64,
    digest: Digest,
}

impl Download {
    /// Hands the body on. What is not of `bytes` or not of `digest` makes the upload fail at its last byte.
    pub fn pass_on(self, bytes: u64, digest: Digest) -> Upload {
        Upload { response: self.response, bytes, digest }
    }

    /// Reads the whole of a body of at most `most` bytes; `None` when it is longer or does not come to its end.
    pub async fn read(mut self, most: usize) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = timeout(IDLE, self.response.chunk()).await.ok()?.ok()? {
            if body.len() + chunk.len() > most {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        Some(body)
    }
}

impl Vendor {
    /// Asks for a body of any size. Neither it nor the query of `call` is recorded. Tried once.
    ///
    /// # Errors
    /// A [`Fault`] when there is no answer, or the limiter holds the request back.
    pub async fn open(&self, call: &Call) -> Result<Opened, Fault> {
        self.wait_for_place(call).await?;
        let asked = self.request(call).timeout(LONGEST).send();
        let response = match timeout(call.within, asked).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.no_answer(call, &error)),
            Err(_) => {
                let said = format!("no answer within {} s", call.within.as_secs());
                return Err(self.fault(FaultKind::Unreachable, call.attempt(), &said));
            }
        };
        if !response.status().is_success() {
            let answer = super::take_in(response).await.map_err(|e| self.no_answer(call, &e))?;
            self.heard(&call.clone().with_hidden_query(), &answer);
            return Ok(Opened::Answer(answer));
        }
        self.heard_of(call, response.status(), response.headers());
        Ok(Opened::Body(Download { headers: response.headers().clone(), response }))
    }

    /// Sends `upload` as the body of `call`. Neither it nor the query of `call` is recorded. Sent once.
    ///
    /// # Errors
    /// A [`Fault`] when there is no answer, the body did not come to its end, or it is not what was promised.
    pub async fn upload(&self, call: &Call, upload: Upload) -> Result<Answer, Fault> {
        self.wait_for_place(call).await?;
        let moved = Arc::new(AtomicU64::new(0));
        let trouble = Arc::new(Mutex::new(None));
        let relay = Relay {
            body: http::Response::<reqwest::Body>::from(upload.response).into_body(),
            left: upload.bytes,
            digest: upload.digest,
            hash: Sha256::new(),
            moved: Arc::clone(&moved),
            trouble: Arc::clone(&trouble),
        };
        let request = self.request(call).timeout(LONGEST).body(reqwest::Body::wrap(relay));
        let mut sending = std::pin::pin!(request.send());
        let mut before = 0;
        let outcome = loop {
            tokio::select! {
                outcome = &mut sending => break outcome,
                () = sleep(IDLE) => {
                    let now = moved.load(Ordering::Relaxed);
                    if std::mem::replace(&mut before, now) == now {
                        let said = format!("nothing moved for {} s", IDLE.as_secs());
                        return Err(self.fault(FaultKind::Unclear, call.attempt(), &said));
                    }
                }
            }
        };
        let why = trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        let response = outcome.map_err(|error| match why {
            Some(Trouble::Broken(said)) => self.fault(FaultKind::Unclear, call.attempt(), &said),
            Some(Trouble::Wrong(said)) => self.fault(FaultKind::Invalid, call.attempt(), &said),
            None => self.no_answer(call, &error),
        })?;
        let answer = super::take_in(response).await.map_err(|e| self.no_answer(call, &e))?;
        self.heard(&call.clone().with_hidden_query(), &answer);
        Ok(answer)
    }

    fn heard_of(&self, call: &Call, status: StatusCode, headers: &HeaderMap) {
        let answer = Answer { status, headers: headers.clone(), body: Vec::new() };
        self.heard(&call.clone().with_hidden_query(), &answer);
    }
}

/// Why a body was not passed on to its end.
enum Trouble {
    /// Its source did not go on.
    Broken(String),
    /// It is not what was promised.
    Wrong(String),
}

/// A body that is passed on chunk by chunk and hashed on the way.
struct Relay {
    body: reqwest::Body,
    /// Bytes that are still due.
    left: u64,
    digest: Digest,
    hash: Sha256,
    moved: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

impl Relay {
    /// Counts a chunk in. The last one is not let through before all of them are known to be right.
    fn count(&mut self, chunk: &[u8]) -> Result<(), Trouble> {
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.hash.update(chunk);
        self.moved.fetch_add(length, Ordering::Relaxed);
        let Some(left) = self.left.checked_sub(length) else {
            return Err(Trouble::Wrong(format!("more came than the size of {}", self.digest)));
        };
        self.left = left;
        if left > 0 {
            return Ok(());
        }
        let sum = std::mem::take(&mut self.hash).finalize();
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        match self.digest.as_str().strip_prefix("sha256:") == Some(sum.as_str()) {
            true => Ok(()),
            false => Err(Trouble::Wrong(format!("what came is not {}", self.digest))),
        }
    }

    fn fail(&self, trouble: Trouble) -> io::Error {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        io::ErrorKind::BrokenPipe.into()
    }
}

impl Body for Relay {
    type Data = bytes::Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let trouble = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => match self.count(&chunk) {
                    Ok(()) => return Poll::Ready(Some(Ok(Frame::data(chunk)))),
                    Err(trouble) => trouble,
                },
                // Trailers are not part of what is passed on.
                Err(_) => return Poll::Ready(None),
            },
            Some(Err(error)) => {
                Trouble::Broken(format!("the source broke off: {}", innermost(&error)))
            }
            None if self.left == 0 => return Poll::Ready(None),
            None => Trouble::Broken(format!("the source ended {} bytes early", self.left)),
        };
        Poll::Ready(Some(Err(self.fail(trouble))))
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
