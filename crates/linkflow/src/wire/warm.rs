//! What `keep_warm` costs at the providers of a stack.

use std::collections::BTreeMap;
use std::path::Path;

use linkflow_decide::warmth;
use linkflow_model::Finding;
use linkflow_model::catalogue::Catalogue;

use super::releases::Releases;

impl Releases {
    /// What it costs to keep services awake where they would sleep. `folder` holds what the user knows better of plans.
    ///
    /// # Errors
    /// What is wrong in a file of `folder`.
    pub(super) fn warmth(&self, folder: &Path) -> Result<Vec<Finding>, String> {
        let services = self.config.services();
        if !services.iter().any(|spec| spec.keep_warm) {
            return Ok(Vec::new());
        }
        let catalogue = Catalogue::with(folder)?;
        let mut sleepers = BTreeMap::new();
        for (name, compute) in &self.computes {
            let provider = self.config.provider(name);
            let (Some(provider), Some(_)) = (provider, compute.capabilities().sleeps_after) else {
                continue;
            };
            let entry = catalogue.of(provider.kind().word);
            let plan = entry.and_then(|entry| entry.plan(provider.plan())).cloned();
            sleepers.insert(name.clone(), plan);
        }
        Ok(warmth(&services, &sleepers))
    }
}
