//! What can go wrong with a simulated provider, and which of it is wrong now.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use linkflow_model::{ProviderName, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use super::answer::{Answer, Call};

/// One injected fault. As JSON: `{"trouble": "slow", "ms": 300}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trouble", rename_all = "snake_case")]
pub enum Trouble {
    /// The processes are killed and stay dead. The ingress refuses connections and resets the open ones.
    /// The API lives and tells the truth.
    Killed,
    /// The processes are stopped in their tracks. The ingress accepts and never answers; what is in flight stalls.
    /// The API says all is well.
    Hung,
    /// The ingress refuses connections and resets the open ones. The processes live.
    Refusing,
    /// Every request waits this long before it is passed on.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// Every answer has this status, but the health path answers as always. About half of the requests are carried
    /// out all the same before the answer is replaced, as with a broken app.
    Errors {
        /// The status, 500 to 599.
        status: u16,
    },
    /// The management API refuses connections. The apps serve.
    ApiDown,
    /// The processes are killed and stay dead, the ingress answers 502, and the API says all is well.
    AppDown,
    /// Killed, and the API is down too: the whole provider is away.
    Gone,
    /// The API answers every call with 429.
    RateLimited,
    /// The API refuses writes the way the vendor does when an allowance is used up. What runs goes on.
    OutOfQuota,
    /// Deploys never come to an end.
    DeployStuck,
    /// A deploy runs another image than asked: the one before, or else the first good tag of the repository.
    WrongImage,
    /// The API refuses the token of every call, as the vendor does when it was revoked. What runs goes on.
    Denied,
    /// The API tells a time that is off by this much.
    ClockAhead {
        /// Milliseconds.
        ms: u64,
    },
}

impl Trouble {
    /// Whether processes are killed and kept dead.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::Killed | Self::AppDown | Self::Gone)
    }

    /// Whether processes are stopped in their tracks.
    pub(crate) fn freezes(self) -> bool {
        matches!(self, Self::Hung)
    }

    /// Whether the ingress refuses connections.
    pub(crate) fn shuts_ingress(self) -> bool {
        matches!(self, Self::Killed | Self::Refusing | Self::Gone)
    }

    /// Whether the API refuses connections.
    pub(crate) fn shuts_api(self) -> bool {
        matches!(self, Self::ApiDown | Self::Gone)
    }

    /// Whether the API says that all is well when it is not.
    pub(crate) fn lies(self) -> bool {
        matches!(self, Self::Hung | Self::AppDown)
    }
}

/// A fault that was set or lifted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultChange {
    /// When.
    pub at: Timestamp,
    /// Where.
    pub provider: ProviderName,
    /// Only this service there; `None`: the whole provider.
    pub service: Option<ServiceName>,
    /// What holds now; `None`: the fault was lifted.
    pub trouble: Option<Trouble>,
}

/// A fault that holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Only this service; `None`: the whole provider.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// What is wrong.
    #[serde(flatten)]
    pub trouble: Trouble,
}

/// The faults of one provider: at most one for all of it, and at most one for each service.
pub(crate) struct Faults {
    held: RwLock<BTreeMap<Option<ServiceName>, Trouble>>,
    version: watch::Sender<u64>,
}

impl Faults {
    pub(crate) fn none() -> Self {
        Self { held: RwLock::default(), version: watch::Sender::new(0) }
    }

    /// Sets or lifts one fault. Says whether anything changed.
    pub(crate) fn set(&self, service: Option<&ServiceName>, trouble: Option<Trouble>) -> bool {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let before = match trouble {
            Some(trouble) => held.insert(service.cloned(), trouble),
            None => held.remove(&service.cloned()),
        };
        drop(held);
        self.version.send_modify(|v| *v += 1);
        before != trouble
    }

    /// Every fault that holds, the provider's own first.
    pub(crate) fn standing(&self) -> Vec<Standing> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.iter()
            .map(|(service, trouble)| Standing { service: service.clone(), trouble: *trouble })
            .collect()
    }

    /// The first fault, of the provider or of `service`, that fits.
    pub(crate) fn find<T>(
        &self,
        service: Option<&ServiceName>,
        fits: impl Fn(Trouble) -> Option<T>,
    ) -> Option<T> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        if held.is_empty() {
            return None;
        }
        let own = service.and_then(|s| held.get(&Some(s.clone())));
        held.get(&None).into_iter().chain(own).find_map(|t| fits(*t))
    }

    /// Whether a fault, of the provider or of `service`, fits.
    pub(crate) fn any(
        &self,
        service: Option<&ServiceName>,
        fits: impl Fn(Trouble) -> bool,
    ) -> bool {
        self.find(service, |t| fits(t).then_some(())).is_some()
    }

    /// `call` as it reaches the API: with a revoked token, where that is what is wrong.
    pub(crate) fn of_call(&self, call: Call) -> Call {
        if self.any(None, |t| matches!(t, Trouble::Denied)) {
            return call.with_revoked_token();
        }
        call
    }

    /// `answer` as it leaves the API: with another time than `now`, where that is what is wrong.
    pub(crate) fn of_answer(&self, answer: Answer, now: Timestamp) -> Answer {
        let ahead = |t| if let Trouble::ClockAhead { ms } = t { Some(ms) } else { None };
        match self.find(None, ahead) {
            Some(ms) => answer.dated(Timestamp(now.0.saturating_add(ms))),
            None => answer,
        }
    }

    /// Waits while a fault, of the provider or of `service`, fits.
    pub(crate) async fn outlast(
        &self,
        service: Option<&ServiceName>,
        fits: impl Fn(Trouble) -> bool,
    ) {
        let mut version = self.version.subscribe();
        while self.any(service, &fits) {
            if version.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Tells whoever listens of faults set and lifted.
pub(crate) struct Teller(broadcast::Sender<FaultChange>);

impl Teller {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(256))
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<FaultChange> {
        self.0.subscribe()
    }

    pub(crate) fn tell(&self, change: FaultChange) {
        // An error only says that nobody listens.
        self.0.send(change).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_written_as_the_control_api_takes_it() {
        let text = r#"{"service":"api","trouble":"slow","ms":300}"#;
        let standing: Standing = serde_json::from_str(text).unwrap();
        assert_eq!(standing.trouble, Trouble::Slow { ms: 300 });
        assert_eq!(serde_json::to_string(&standing).unwrap(), text);
    }

    #[test]
    fn a_fault_of_one_service_leaves_the_others_alone() {
        let (faults, api) = (Faults::none(), ServiceName::new("api").unwrap());
        assert!(faults.set(Some(&api), Some(Trouble::Hung)));
        assert!(faults.any(Some(&api), Trouble::freezes));
        assert!(!faults.any(ServiceName::new("queue").as_ref(), Trouble::freezes));
        assert!(!faults.any(None, Trouble::freezes));
    }

    #[tokio::test]
    async fn waiting_ends_when_the_fault_is_lifted() {
        let faults = Faults::none();
        faults.set(None, Some(Trouble::Hung));
        let lift = async {
            tokio::task::yield_now().await;
            faults.set(None, None);
        };
        tokio::join!(faults.outlast(None, Trouble::freezes), lift);
        assert!(faults.standing().is_empty());
    }
}
