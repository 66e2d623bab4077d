//! Stops the time of each phase, so that it is known also when the look is broken off.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{CertificateSeen, Phases};

/// A phase of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Dns,
    Connect,
    Tls,
    First,
}

/// Stops the time of one look.
pub(super) struct Stopwatch {
    start: Instant,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    phases: Phases,
    under_way: Option<Phase>,
    address: Option<SocketAddr>,
    certificate: Option<CertificateSeen>,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), held: Mutex::default() }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Awaits `work` as `phase`. Of a phase that comes again, after a redirect, the times add up.
    pub(super) async fn during<T>(&self, phase: Phase, work: impl Future<Output = T>) -> T {
        self.held().under_way = Some(phase);
        let begun = Instant::now();
        let done = work.await;
        let took = micros(begun.elapsed());
        let mut held = self.held();
        held.under_way = None;
        let field = match phase {
            Phase::Dns => &mut held.phases.dns_us,
            Phase::Connect => &mut held.phases.connect_us,
            Phase::Tls => &mut held.phases.tls_us,
            Phase::First => &mut held.phases.first_us,
        };
        *field = Some(field.unwrap_or(0).saturating_add(took));
        done
    }

    pub(super) fn at(&self, address: SocketAddr) {
        self.held().address = Some(address);
    }

    pub(super) fn shown(&self, certificate: CertificateSeen) {
        self.held().certificate = Some(certificate);
    }

    pub(super) fn phases(&self) -> Phases {
        Phases { total_us: micros(self.start.elapsed()), ..self.held().phases }
    }

    pub(super) fn evidence(&self) -> (Option<SocketAddr>, Option<CertificateSeen>) {
        let held = self.held();
        (held.address, held.certificate.clone())
    }

    /// What a look that was broken off waited for.
    pub(super) fn too_late(&self, limit: Duration) -> String {
        let what = match self.held().under_way {
            Some(Phase::Dns) => "the name did not resolve",
            Some(Phase::Connect) => "no connection",
            Some(Phase::Tls) => "no TLS",
            Some(Phase::First) => "no answer",
            None => "no whole answer",
        };
        let ms = limit.as_millis();
        if ms.is_multiple_of(1_000) {
            format!("{what} in {} s", ms / 1_000)
        } else {
            format!("{what} in {ms} ms")
        }
    }
}

fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
}
