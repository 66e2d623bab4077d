//! What the providers run that nobody asked for. It is given nothing that could write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use linkflow_model::role::{ComputeLook, Seen};
use linkflow_model::{Fault, Lifecycle, ProviderName, Release, ServiceName, ServiceRelease};
use serde::Serialize;

use crate::Engine;
use crate::guard::{Patience, guarded};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Drift {
    /// What differs, by service and provider.
    pub rows: Vec<Drifted>,
    /// Providers that did not answer, so that nothing is known of them.
    pub silent: Vec<Fault>,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Drifted {
    /// The service.
    pub service: ServiceName,
    /// Where.
    pub provider: ProviderName,
    /// What differs: `image`, `settings`, `replicas`, `lifecycle`, `placement`.
    pub field: &'static str,
    /// What was asked for.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

/// Compares what `release` asks for with what the providers say, who are asked. `serving` holds where each service serves.
pub async fn drift(
    release: &Release,
    serving: &BTreeMap<ServiceName, ProviderName>,
    looks: &BTreeMap<ProviderName, Arc<dyn ComputeLook>>,
) -> Drift {
    let asked = looks.iter().map(|(name, look)| async move {
        let word = guarded(name, "tell its placements", Patience::LOOK, || look.look()).await;
        (name.clone(), word)
    });
    compare(release, serving, join_all(asked).await)
}

impl Engine {
    /// Compares what `release` asks for with what the providers said last. Nobody is asked.
    pub fn drift(&self, release: &Release) -> Drift {
        compare(release, &self.serving(), self.words())
    }
}

fn compare(
    release: &Release,
    serving: &BTreeMap<ServiceName, ProviderName>,
    words: impl IntoIterator<Item = (ProviderName, Result<Vec<Seen>, Fault>)>,
) -> Drift {
    let mut drift = Drift::default();
    for (provider, word) in words {
        match word {
            Ok(seen) => on_provider(&provider, &seen, release, serving, &mut drift.rows),
            Err(fault) => drift.silent.push(fault),
        }
    }
    drift.rows.sort();
    drift
}

fn on_provider(
    provider: &ProviderName,
    seen: &[Seen],
    release: &Release,
    serving: &BTreeMap<ServiceName, ProviderName>,
    rows: &mut Vec<Drifted>,
) {
    let mut known = BTreeSet::new();
    for (name, service) in &release.services {
        if !service.spec.runs_on.contains(provider) {
            continue;
        }
        known.insert(name);
        let found = seen.iter().find(|seen| seen.service == *name);
        let serves = serving.get(name).or(service.spec.runs_on.first()) == Some(provider);
        placement(provider, service, found, serves, rows);
    }
    for extra in seen.iter().filter(|seen| !known.contains(&seen.service)) {
        if extra.lifecycle == Lifecycle::Absent {
            continue;
        }
        rows.push(Drifted {
            service: extra.service.clone(),
            provider: provider.clone(),
            field: "placement",
            wanted: "nothing".to_owned(),
            found: extra.said.clone(),
        });
    }
}

fn placement(
    provider: &ProviderName,
    service: &ServiceRelease,
    found: Option<&Seen>,
    serves: bool,
    rows: &mut Vec<Drifted>,
) {
    let spec = &service.spec;
    let mut row = |field: &'static str, wanted: String, found: String| {
        let (service, provider) = (spec.name.clone(), provider.clone());
        rows.push(Drifted { service, provider, field, wanted, found });
    };
    let Some(seen) = found.filter(|seen| seen.lifecycle != Lifecycle::Absent) else {
        return row("placement", service.image.to_string(), "nothing".to_owned());
    };
    if seen.lifecycle == Lifecycle::Unknown {
        return;
    }
    if let Some(digest) = seen.digest.as_ref().filter(|held| **held != service.image.digest) {
        row("image", service.image.digest.short().to_owned(), digest.short().to_owned());
    } else if seen.fingerprint.as_ref() != service.fingerprints.get(provider) {
        let found = match &seen.fingerprint {
            Some(_) => "others",
            None => "not told",
        };
        row("settings", "as the release has them".to_owned(), found.to_owned());
    }
    let due = if spec.keeps_standby_warm() || serves { spec.replicas.max(1) } else { 0 };
    let runs = match seen.lifecycle {
        Lifecycle::Running | Lifecycle::Starting | Lifecycle::Asleep => true,
        Lifecycle::Stopped | Lifecycle::Failed | Lifecycle::Absent | Lifecycle::Unknown => false,
    };
    if runs != (due > 0) {
        let wanted = if due > 0 { "running" } else { "stopped" };
        row("lifecycle", wanted.to_owned(), seen.said.clone());
    } else if runs && seen.replicas != due {
        row("replicas", due.to_string(), seen.replicas.to_string());
    }
}
