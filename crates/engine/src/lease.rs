//! One process acts at a time.
//!
//! The lease `act` has no time in it. Its holder beats; whoever waits watches the beats on its own clock and takes over
//! after [`SILENCE`] without one, so that a jumping wall clock neither frees nor keeps it. A holder on this machine
//! whose process is gone is taken over at once.

use std::fmt;
use std::time::Duration;

use linkflow_model::{Author, EventKind, Level};
use linkflow_store::{Fence, Lease, Store, StoreError};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{Engine, EngineError};

/// The lease that whoever changes something holds.
const NAME: &str = "act";
/// How long a holder may be silent before it is taken over.
const SILENCE: Duration = Duration::from_secs(25);
/// How often a holder beats.
pub(crate) const BEAT: Duration = Duration::from_secs(3);
/// After which wait it is said for whom, in milliseconds.
const TELL_MS: u64 = 1_000;
/// How often whoever waits looks.
const WATCH: Duration = Duration::from_millis(200);

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Unique among all processes, ever.
    pub id: String,
    /// The machine.
    pub host: String,
    /// The process id on that machine.
    pub pid: u32,
    /// What it does: `linkflow apply`.
    pub what: String,
    /// The person who started it, as far as its environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The address of the CI run that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Owner {
    /// The owner as the one who asked for a release.
    pub(crate) fn author(&self) -> Author {
        let (who, host, what) = (self.who.clone(), self.host.clone(), self.what.clone());
        Author { who, host, what, url: self.url.clone() }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.what)?;
        if let Some(who) = &self.who {
            write!(f, "by {who}, ")?;
        }
        write!(f, "process {} on {}", self.pid, self.host)?;
        if let Some(url) = &self.url {
            write!(f, ", {url}")?;
        }
        f.write_str(")")
    }
}

/// Who holds the lock of the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// What `unlock` wants to be told; another each time the lock is taken.
    pub id: u64,
    /// Who it is.
    pub owner: Owner,
    /// How many signs of life it gave since it took the lock.
    pub beats: u64,
    /// Whether it is provably gone.
    pub gone: bool,
}

impl Engine {
    /// Takes the lease, waiting up to `patience` for whoever holds it.
    pub(crate) async fn take_lease(&self, patience: Duration) -> Result<Fence, EngineError> {
        let me = serde_json::to_string(&self.parts.owner).unwrap_or_default();
        let started = self.parts.clock.now();
        let mut told = false;
        let mut watched: Option<(u64, u64)> = None;
        let mut since = started;
        loop {
            let now = self.parts.clock.now();
            let silent = Duration::from_millis(now.since(since)) >= SILENCE;
            let replacing = watched.filter(|_| silent);
            let held = match self.parts.store.take_lease(NAME, &me, replacing).await {
                Ok(fence) => return Ok(fence),
                Err(StoreError::Held(lease)) => lease,
                Err(error) => return Err(error.into()),
            };
            let stands = (held.token, held.beat);
            if read_owner(&held).is_some_and(|owner| self.is_gone(&owner))
                && let Ok(fence) = self.parts.store.take_lease(NAME, &me, Some(stands)).await
            {
                return Ok(fence);
            }
            if watched != Some(stands) {
                watched = Some(stands);
                since = now;
            }
            if Duration::from_millis(now.since(started)) >= patience {
                return Err(EngineError::Busy(Box::new(owner_of(&held))));
            }
            if !told && now.since(started) >= TELL_MS {
                told = true;
                let said = format!("waits for {}", owner_of(&held));
                self.tell(self.event(EventKind::Control, Level::Notice, said)).await;
            }
            sleep(WATCH).await;
        }
    }

    /// Who holds the lock of the stack; `None` when nobody does.
    pub async fn holder(&self) -> Result<Option<Holder>, EngineError> {
        Ok(holder(&*self.parts.store, |owner| self.is_gone(owner)).await?)
    }

    /// Takes the lock from whoever holds it under `id`, and frees it. Whoever had it is stopped by the next thing that
    /// it would change. Refused when it is held under another id, and, unless `force`, when its holder lives: it is
    /// watched for up to two beats.
    pub async fn unlock(&self, id: u64, force: bool) -> Result<Holder, EngineError> {
        let changed =
            || EngineError::Refused(format!("the lock is not held under the id {id} any more"));
        let holder = self.holder().await?.filter(|holder| holder.id == id).ok_or_else(changed)?;
        let lives = |why: &str| EngineError::Refused(format!("{} {why}", holder.owner));
        if !force && !holder.gone {
            if holder.owner.host == self.parts.owner.host {
                return Err(lives("still runs"));
            }
            let until =
                self.parts.clock.now().plus(2 * u64::try_from(BEAT.as_millis()).unwrap_or(0));
            while self.parts.clock.now() <= until {
                sleep(WATCH).await;
                let now = self.holder().await?.filter(|now| now.id == id).ok_or_else(changed)?;
                if now.beats != holder.beats {
                    return Err(lives("gave a sign of life just now"));
                }
            }
        }
        let me = serde_json::to_string(&self.parts.owner).unwrap_or_default();
        // Its beats may go on, where it was forced: then it is taken at whichever it stands.
        for _ in 0..10 {
            let now = self.holder().await?.filter(|now| now.id == id).ok_or_else(changed)?;
            if !force && now.beats != holder.beats {
                return Err(lives("gave a sign of life just now"));
            }
            match self.parts.store.take_lease(NAME, &me, Some((now.id, now.beats))).await {
                Ok(fence) => {
                    self.parts.store.free_lease(&fence).await?;
                    let said = format!("the lock was taken from {}", holder.owner);
                    self.tell(self.event(EventKind::Control, Level::Warning, said)).await;
                    return Ok(holder);
                }
                Err(StoreError::Held(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EngineError::Busy(Box::new(holder.owner)))
    }

    /// Whether the holder is provably gone: its process is, or it is an act of this very process that was dropped in
    /// the middle (acts of one process never overlap).
    fn is_gone(&self, owner: &Owner) -> bool {
        owner.id == self.parts.owner.id || !(self.parts.alive)(owner)
    }

    /// Proves, right before a provider is written to, that this process still may act.
    pub(crate) async fn still_holds(&self, fence: &Fence) -> Result<(), EngineError> {
        Ok(self.parts.store.beat_lease(fence).await?)
    }
}

/// Who holds the lock of the stack in `store`, for whoever only looks; `is_gone` says whether a process is provably gone.
///
/// # Errors
/// What the store says.
pub async fn holder(
    store: &dyn Store,
    is_gone: impl Fn(&Owner) -> bool,
) -> Result<Option<Holder>, StoreError> {
    let Some(lease) = store.lease(NAME).await? else { return Ok(None) };
    Ok(lease.held.then(|| Holder {
        id: lease.token,
        owner: owner_of(&lease),
        beats: lease.beat,
        gone: read_owner(&lease).is_some_and(|owner| is_gone(&owner)),
    }))
}

fn read_owner(lease: &Lease) -> Option<Owner> {
    serde_json::from_str(&lease.owner).ok()
}

fn owner_of(lease: &Lease) -> Owner {
    read_owner(lease).unwrap_or_else(|| Owner {
        id: String::new(),
        host: "an unknown machine".to_owned(),
        pid: 0,
        what: lease.owner.clone(),
        who: None,
        url: None,
    })
}
