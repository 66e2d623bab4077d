//! One look, with the time of each of its phases.

mod clock;
mod dial;
mod dns;
mod grpc;
mod http;
mod ping;
mod postgres;
mod redis;
mod trust;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use linkflow_decide::watch::Seen;
use serde::Serialize;
use tokio::time::timeout;

use crate::target::{HttpTarget, Target, Trust};
use clock::Stopwatch;
use dial::Dialer;
pub(crate) use http::Answer;
pub use trust::CertificateSeen;

/// How long each phase of a look took, in microseconds. A phase that was not come to has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Phases {
    /// Finding the address of the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_us: Option<u32>,
    /// Making the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u32>,
    /// Agreeing on TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_us: Option<u32>,
    /// From the question to the first byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_us: Option<u32>,
    /// All of it.
    pub total_us: u32,
}

/// What a look saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saw {
    /// The word on it.
    pub seen: Seen,
    /// How long it took.
    pub phases: Phases,
    /// Which address was looked at.
    pub address: Option<SocketAddr>,
    /// The certificate that was shown.
    pub certificate: Option<CertificateSeen>,
}

/// Why a look went badly.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bad {
    /// Nothing, or a connection that broke.
    Silent(String),
    /// A wrong answer.
    Wrong(String),
}

impl Bad {
    fn silent(why: impl fmt::Display) -> Self {
        Self::Silent(why.to_string())
    }

    fn wrong(why: impl fmt::Display) -> Self {
        Self::Wrong(why.to_string())
    }
}

/// Looks at things. Each look is one attempt at one address over a connection of its own.
pub struct Prober {
    dialer: Dialer,
}

impl Prober {
    /// A prober that trusts whom the machine trusts.
    ///
    /// # Errors
    /// When TLS cannot be had at all.
    pub fn new() -> Result<Self, String> {
        Ok(Self { dialer: Dialer::new(trust::machine())? })
    }

    /// A prober that trusts `roots`, certificates in DER form, and nobody else.
    ///
    /// # Errors
    /// A certificate that cannot be used.
    pub fn trusting(roots: &[Vec<u8>]) -> Result<Self, String> {
        Ok(Self { dialer: Dialer::new(trust::these(roots)?)? })
    }

    /// Looks at `target`, for `limit` at most.
    pub async fn look(&self, target: &Target, limit: Duration) -> Saw {
        let watch = Stopwatch::start();
        let looked = timeout(limit, self.at(target, &watch)).await;
        let phases = watch.phases();
        let (address, certificate) = watch.evidence();
        let seen = match looked {
            Ok(Ok(())) => Seen::Well { took_ms: u64::from(phases.total_us / 1_000) },
            Ok(Err(Bad::Silent(why))) => Seen::Silent(why),
            Ok(Err(Bad::Wrong(why))) => Seen::Wrong(why),
            Err(_) => Seen::Silent(watch.too_late(limit)),
        };
        Saw { seen, phases, address, certificate }
    }

    /// What `target` answers, whatever that is; otherwise why nothing came within `limit`.
    pub(crate) async fn fetch(
        &self,
        target: &HttpTarget,
        limit: Duration,
    ) -> Result<Answer, String> {
        let watch = Stopwatch::start();
        match timeout(limit, http::fetch(&self.dialer, target, &watch)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Bad::Silent(why) | Bad::Wrong(why))) => Err(why),
            Err(_) => Err(watch.too_late(limit)),
        }
    }

    async fn at(&self, target: &Target, watch: &Stopwatch) -> Result<(), Bad> {
        match target {
            Target::Http(http) => http::look(&self.dialer, http, watch).await,
            Target::Tcp(at) => self.dialer.tcp(at, watch).await.map(drop),
            Target::Tls(at) => {
                let tls = self.dialer.tls(at, None, &[], Trust::Machine, watch).await;
                tls.map(drop)
            }
            Target::Grpc(grpc) => grpc::look(&self.dialer, grpc, watch).await,
            Target::Dns(dns) => dns::look(dns, watch).await,
            Target::Ping(host) => ping::look(host, watch).await,
            Target::Postgres { url, query } => {
                postgres::look(&self.dialer, url, query, watch).await
            }
            Target::Redis { url } => redis::look(&self.dialer, url, watch).await,
        }
    }
}
