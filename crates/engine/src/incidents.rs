//! The incidents that still matter, followed by what changes: what was over long ago costs nothing.

use std::collections::BTreeMap;

use linkflow_model::{Incident, Timestamp};
use linkflow_store::{Document, Store, StoreError};

/// For how long after its last word an incident that is over still matters: it may flap, and its day names the next one.
const MATTERS_MS: u64 = 2 * 86_400_000;

/// Incidents as the store has them: those that are open, and those that were until lately.
#[derive(Debug, Default)]
pub struct Incidents {
    held: BTreeMap<String, (u64, Incident)>,
    after: Option<u64>,
}

impl Incidents {
    /// Reads what was written since the last time, all of it the first time; gives the ids of what was read, also of what
    /// does not matter any more. What cannot be read is left out.
    ///
    /// # Errors
    /// What the store says; the next time reads the same again.
    pub async fn follow(
        &mut self,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<Vec<(Incident, u64)>, StoreError> {
        let (next, news) = store.changed(Incident::PREFIX, self.after).await?;
        let read = |document: Document| {
            let incident = serde_json::from_value::<Incident>(document.body).ok()?;
            Some((incident, document.version))
        };
        let news: Vec<(Incident, u64)> = news.into_iter().filter_map(read).collect();
        for (incident, version) in &news {
            self.held.insert(incident.id.clone(), (*version, incident.clone()));
        }
        self.after = Some(next);
        self.held.retain(|_, (_, incident)| matters(incident, now));
        Ok(news)
    }

    /// Those that matter, by id, each with the version of its document.
    pub fn held(&self) -> &BTreeMap<String, (u64, Incident)> {
        &self.held
    }
}

fn matters(incident: &Incident, now: Timestamp) -> bool {
    let said = incident.updates.last().map(|update| update.written.unwrap_or(update.at));
    let last = said.max(incident.ended).unwrap_or(incident.began).max(incident.began);
    incident.is_open() || now.0.saturating_sub(last.0) < MATTERS_MS
}
