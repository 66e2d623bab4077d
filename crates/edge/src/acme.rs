//! Certificates from a CA by ACME (RFC 8555): got, kept, and renewed in time.
//!
//! One certificate for each host, so that a host that cannot be proven takes no other one with it. What was got is kept in
//! a folder, where a restart and other processes find it. Whoever orders holds the folder's lock, which the system frees
//! with its process: of several processes one orders, and the others read what it got.

mod order;
mod shelf;
mod web;

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, CertificateIdentifier};
use linkflow_model::config::Challenge;
use linkflow_model::{Level, Pulse, Secret, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::tell::Teller;
use crate::tls::{About, Certificate, Keyring, Origin};
use order::Refusal;
use shelf::{Shelf, Tries};
use web::Web;

/// How certificates are got.
#[derive(Clone, Debug)]
pub struct AcmeOptions {
    /// The address of the CA's directory.
    pub directory: String,
    /// Whom the CA may write to: `mailto:ops@example.com`.
    pub contact: Vec<String>,
    /// How hosts are proven.
    pub challenge: Challenge,
    /// The hosts, lower case. Those that a file is good for are left out.
    pub hosts: Vec<String>,
    /// Who vouches for the directory, as PEM, in place of whom the machine trusts.
    pub roots: Option<PathBuf>,
    /// Key id and key (URL-safe base64) of an external account.
    pub external: Option<(String, Secret)>,
    /// The folder for accounts and certificates.
    pub folder: PathBuf,
    /// The times.
    pub pace: Pace,
    /// Beats while hosts are seen to.
    pub pulse: Pulse,
}

/// When things are done, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How often each host is looked at, at least.
    pub look_ms: u64,
    /// How long to wait after the first refusal; after each further one twice as long, up to a day. Let's Encrypt counts
    /// five failures of a host in an hour.
    pub retry_ms: u64,
    /// How long a CA may take over one order.
    pub order_ms: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { look_ms: 3_600_000, retry_ms: 15 * 60_000, order_ms: 120_000 }
    }
}

/// The longest wait after a refusal.
const RETRY_MOST: u64 = 86_400_000;
/// How long to wait at least when the CA says that it was too much, in milliseconds.
const LIMITED: u64 = 3_600_000;
/// How soon to look again when another process is at work, in milliseconds.
const BUSY: u64 = 5_000;

/// How often at least it is told that hosts are seen to.
const BEAT: Duration = Duration::from_secs(20);

/// Gets and renews.
pub(crate) struct Acme {
    options: AcmeOptions,
    shelf: Shelf,
    keyring: Arc<Keyring>,
    teller: Arc<Teller>,
    web: Arc<Web>,
    /// Made when it is first needed: a restart with good certificates asks nobody anything.
    account: Mutex<Option<Account>>,
}

/// When a certificate is to be renewed, and until when that is known.
#[derive(Clone, Copy)]
struct Renewal {
    of: Timestamp,
    due: Timestamp,
    ask_again: Timestamp,
}

impl Acme {
    /// Opens the folder, and takes from it what is good.
    ///
    /// # Errors
    /// When the folder cannot be used, or the roots cannot be read.
    pub(crate) fn open(
        options: AcmeOptions,
        keyring: Arc<Keyring>,
        teller: Arc<Teller>,
    ) -> Result<Self, String> {
        let shelf = Shelf::open(&options.folder, &options.directory)?;
        let web = Arc::new(Web::new(options.roots.as_deref())?);
        let acme = Self { options, shelf, keyring, teller, web, account: Mutex::new(None) };
        for host in &acme.options.hosts {
            acme.take(host);
        }
        Ok(acme)
    }

    /// Sees to every host, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut renewals = vec![None; self.options.hosts.len()];
        loop {
            let mut next = self.options.pace.look_ms;
            for (host, renewal) in self.options.hosts.iter().zip(&mut renewals) {
                // One after the other: a CA is asked for nothing at once. An order has a limit of its own, and is work as well.
                let limit = Duration::from_millis(self.options.pace.order_ms) + BEAT;
                let seen = self.beating(self.see_to(host, renewal), limit);
                let Some(wait) = stop.run_until_cancelled(seen).await else { return };
                next = next.min(wait);
            }
            let sleep = Duration::from_millis(next.max(100));
            let slept = self.beating(tokio::time::sleep(sleep), sleep);
            if stop.run_until_cancelled(slept).await.is_none() {
                return;
            }
        }
    }

    /// Beats while `work` is done, for no longer than `limit`: what hangs falls silent.
    async fn beating<T>(&self, work: impl Future<Output = T>, limit: Duration) -> T {
        let began = tokio::time::Instant::now();
        let mut work = std::pin::pin!(work);
        loop {
            if began.elapsed() <= limit {
                self.options.pulse.beat();
            }
            if let Ok(done) = tokio::time::timeout(BEAT, &mut work).await {
                return done;
            }
        }
    }

    /// Gets a certificate for `host` if that is due. Gives how long it can wait until the next look, in milliseconds.
    async fn see_to(&self, host: &str, renewal: &mut Option<Renewal>) -> u64 {
        if self.keyring.has_file_for(host) {
            return self.options.pace.look_ms;
        }
        // Another process may have renewed it.
        self.take(host);
        let now = self.teller.wall();
        let held = self.keyring.about(&Origin::Acme(host.to_owned()));
        if let Some(about) = &held {
            let due = self.due(host, about, renewal, now).await;
            if now < due {
                return due.0 - now.0;
            }
        }
        let tries = self.shelf.tries(host);
        if now < tries.next {
            return tries.next.0 - now.0;
        }
        let Some(_lock) = self.shelf.lock() else { return BUSY.min(self.options.pace.look_ms) };
        // Whoever held the lock until now may have done it, or been refused.
        if self.take(host) || self.shelf.tries(host) != tries {
            return 0;
        }
        let replaced = renewal.filter(|r| r.ask_again > r.of && tries.failures == 0).and(held);
        let limit = Duration::from_millis(self.options.pace.order_ms);
        let ordered = tokio::time::timeout(limit, self.order(host, replaced.is_some())).await;
        let late = || Refusal::of("the CA took too long".to_owned());
        match ordered.unwrap_or_else(|_| Err(late())) {
            Ok(certificate) => self.got(host, certificate),
            Err(refusal) => self.refused(host, &refusal, tries),
        }
    }

    /// Takes the kept certificate of `host` into use. Says whether it is another one than before.
    fn take(&self, host: &str) -> bool {
        let origin = Origin::Acme(host.to_owned());
        let kept = match self.shelf.certificate(host) {
            Ok(Some(kept)) if kept.about.is_for(host) => kept,
            Ok(_) => return false,
            Err(why) => {
                debug!(host, why, "a kept certificate cannot be used");
                return false;
            }
        };
        let newer = self.keyring.about(&origin).is_none_or(|held| held.ends < kept.about.ends);
        if newer {
            self.keyring.put(origin, kept);
        }
        newer
    }

    /// When the certificate of `host` is to be renewed: as the CA advises (RFC 9773), or after two thirds of its time.
    async fn due(
        &self,
        host: &str,
        about: &About,
        known: &mut Option<Renewal>,
        now: Timestamp,
    ) -> Timestamp {
        if let Some(renewal) = known.filter(|r| r.of == about.ends && now < r.ask_again) {
            return renewal.due;
        }
        let usual = usual(about, chance());
        // Close to its end nobody has to be asked; and who has no account yet asks nobody.
        let asked = if now < usual { self.advice(host).await } else { None };
        let renewal = match asked {
            Some((due, again)) => {
                Renewal { of: about.ends, due: due.min(usual), ask_again: Timestamp(now.0 + again) }
            }
            // The advice is not there: the dice stay as they fell.
            None => Renewal { of: about.ends, due: usual, ask_again: about.ends },
        };
        known.insert(renewal).due
    }

    /// What the CA advises: when to renew, and in how many milliseconds to ask again.
    async fn advice(&self, host: &str) -> Option<(Timestamp, u64)> {
        let der = self.shelf.leaf(host)?;
        let id = CertificateIdentifier::try_from(&der).ok()?;
        let account = self.account(false).await.ok()?;
        let (info, again) = account.renewal_info(&id).await.ok()?;
        let ms = |time: i128| u64::try_from(time / 1_000_000).unwrap_or_default();
        let window = info.suggested_window;
        let (start, end) =
            (ms(window.start.unix_timestamp_nanos()), ms(window.end.unix_timestamp_nanos()));
        let due = start + spread(end.saturating_sub(start), chance());
        let again = u64::try_from(again.as_millis()).unwrap_or(u64::MAX);
        Some((Timestamp(due), again.clamp(60_000, RETRY_MOST)))
    }

    fn got(&self, host: &str, certificate: Certificate) -> u64 {
        let ends = certificate.about.ends;
        self.keyring.put(Origin::Acme(host.to_owned()), certificate);
        if let Err(why) = self.shelf.forget_tries(host) {
            debug!(host, why, "the count of refusals stays");
        }
        let days = ends.0.saturating_sub(self.teller.wall().0) / 86_400_000;
        let said = format!("the CA gave a certificate for {host}, good for {days} days");
        self.teller.of_certificates(Level::Notice, said);
        0
    }

    fn refused(&self, host: &str, refusal: &Refusal, tries: Tries) -> u64 {
        let wait = wait_after(refusal, tries.failures, self.options.pace.retry_ms, chance());
        let next = Timestamp(self.teller.wall().0 + wait);
        let tries = Tries { failures: tries.failures + 1, next };
        if let Err(why) = self.shelf.note_tries(host, tries) {
            debug!(host, why, "the count of refusals is not kept");
        }
        let said = format!(
            "no certificate for {host}: {}; the next try is in {}",
            refusal.why,
            words(wait)
        );
        self.teller.of_certificates(Level::Warning, said);
        wait
    }
}

/// After two thirds of its time, up to a thirtieth earlier: certificates of the same hour are not renewed in one.
fn usual(about: &About, chance: u64) -> Timestamp {
    let whole = about.ends.0.saturating_sub(about.begins.0);
    Timestamp(about.begins.0 + whole / 3 * 2 - spread(whole / 30, chance))
}

/// How long to wait after a refusal, in milliseconds: twice as long each time, and up to a tenth longer.
fn wait_after(refusal: &Refusal, failures: u32, first: u64, chance: u64) -> u64 {
    let wait = first.saturating_mul(1_u64 << failures.min(20)).min(RETRY_MOST);
    let wait = match refusal.limited {
        Some(asked) => wait.max(asked).max(LIMITED),
        None => wait,
    };
    wait + spread(wait / 10, chance)
}

/// A number below `most`, as `chance` says.
fn spread(most: u64, chance: u64) -> u64 {
    if most == 0 { 0 } else { chance % most }
}

fn chance() -> u64 {
    // The standard library's own source of chance.
    RandomState::new().hash_one(0_u8)
}

fn words(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} minutes", seconds / 60),
        seconds => format!("{} hours", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_time_and_not_all_at_once() {
        let about = |days: u64| About {
            names: Vec::new(),
            begins: Timestamp(0),
            ends: Timestamp(days * DAY),
        };
        assert_eq!(usual(&about(90), 0), Timestamp(60 * DAY));
        assert_eq!(usual(&about(90), 3 * DAY - 1), Timestamp(57 * DAY + 1));
        assert_eq!(usual(&about(6), 0), Timestamp(4 * DAY));
    }

    #[test]
    fn refusals_are_waited_out_longer_each_time() {
        let refusal = |limited| Refusal { why: String::new(), limited };
        let minutes = |limited, failures, chance| {
            wait_after(&refusal(limited), failures, 15 * 60_000, chance) / 60_000
        };
        assert_eq!([0, 1, 2, 30].map(|n| minutes(None, n, 0)), [15, 30, 60, 1_440]);
        assert_eq!(minutes(None, 2, 359_999), 65, "and not all at once");
        assert_eq!(minutes(Some(0), 0, 0), 60, "an hour at least when it was too much");
        assert_eq!(minutes(Some(7_200_000), 0, 0), 120, "as long as the CA says");
    }
}
