//! What is known of vendors' plans, and what may stand in for what: facts with their source and date.
//!
//! The files of `catalogue/` are in the binary. A file of the same name in the folder `catalogue` beside
//! `linkflow.toml` replaces one, for whoever knows better or later.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The files in the binary, by the kind of provider.
const FILES: &[(&str, &str)] = &[
    ("azure-container-apps", include_str!("../../../catalogue/azure-container-apps.toml")),
    ("cloudflare", include_str!("../../../catalogue/cloudflare.toml")),
    ("fly", include_str!("../../../catalogue/fly.toml")),
    ("koyeb", include_str!("../../../catalogue/koyeb.toml")),
    ("railway", include_str!("../../../catalogue/railway.toml")),
    ("render", include_str!("../../../catalogue/render.toml")),
    ("server", include_str!("../../../catalogue/server.toml")),
    ("zeabur", include_str!("../../../catalogue/zeabur.toml")),
];

/// Everything known, by the kind of provider.
#[derive(Clone, Debug, Default)]
pub struct Catalogue(BTreeMap<String, Entry>);

/// What is known of one kind of provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The form of the file: 1.
    pub schema: u32,
    /// The kind of provider.
    pub provider: String,
    /// What whoever relies on its API has to know, in one sentence, where that is not as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// Its plans, cheapest first.
    #[serde(default, rename = "plan")]
    pub plans: Vec<PlanFacts>,
    /// What can take its place, best first.
    #[serde(default, rename = "swap")]
    pub swaps: Vec<Candidate>,
}

/// One plan of a vendor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFacts {
    /// Its id in this file: `free`, `hobby`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it costs in a month before anything is used: `5 USD`.
    pub price_month: String,
    /// Whether the vendor wants a card for it.
    pub card: bool,
    /// What happens when an allowance of it ends.
    pub at_end: AtEnd,
    /// The same in words, where it means something of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// When the vendor puts idle services to sleep.
    #[serde(default)]
    pub sleeps: Option<String>,
    /// Where this is from.
    pub source: String,
    /// When that was read: `2026-11-23`.
    pub checked: String,
    /// Whether the source could be read and says so. Otherwise it is the best that is known.
    #[serde(default = "yes")]
    pub confirmed: bool,
    /// Its allowances.
    #[serde(default, rename = "limit")]
    pub limits: Vec<Limit>,
}

fn yes() -> bool {
    true
}

/// What happens at the end of an allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtEnd {
    /// More is refused; what runs goes on.
    Reject,
    /// Everything becomes slow.
    Throttle,
    /// What runs is stopped until the next period.
    Suspend,
    /// It goes on and costs money.
    Bill,
}

/// One allowance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What is counted: `requests`, `instance_hours`.
    pub metric: String,
    /// How much of it there is.
    pub amount: f64,
    /// The unit, where it is not a number of things.
    #[serde(default)]
    pub unit: Option<String>,
    /// In which period.
    pub per: Per,
    /// For whom: `subscription`, `service`.
    pub scope: String,
}

/// After which time an allowance begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Every second.
    Second,
    /// Every minute.
    Minute,
    /// Every hour.
    Hour,
    /// Every day.
    Day,
    /// Every month.
    Month,
    /// Never.
    Total,
}

/// A kind of provider that can take another's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Its kind.
    pub to: String,
    /// What speaks for it, and what against.
    pub why: String,
}

impl Catalogue {
    /// What is in the binary.
    ///
    /// # Errors
    /// Never but for a mistake in a file of ours, which a test finds.
    pub fn embedded() -> Result<Self, String> {
        let mut catalogue = Self::default();
        for (kind, text) in FILES {
            catalogue.read(kind, text).map_err(|why| format!("catalogue/{kind}.toml: {why}"))?;
        }
        Ok(catalogue)
    }

    /// What is in the binary, with the files of `folder` in place of ours. A folder that is not there changes nothing.
    ///
    /// # Errors
    /// With the file and what is wrong in it.
    pub fn with(folder: &Path) -> Result<Self, String> {
        let mut catalogue = Self::embedded()?;
        let Ok(files) = std::fs::read_dir(folder) else { return Ok(catalogue) };
        for file in files.flatten().map(|entry| entry.path()) {
            if file.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let wrong = |why: String| format!("{}: {why}", file.display());
            let text = std::fs::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
            let kind = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            catalogue.read(kind, &text).map_err(wrong)?;
        }
        Ok(catalogue)
    }

    fn read(&mut self, kind: &str, text: &str) -> Result<(), String> {
        let entry: Entry = toml::from_str(text).map_err(|error| error.to_string())?;
        if entry.schema != 1 {
            return Err(format!("`schema = {}` is not known; 1 is", entry.schema));
        }
        if entry.provider != kind {
            return Err(format!(
                "`provider = \"{}\"` and the name of the file differ",
                entry.provider
            ));
        }
        self.0.insert(entry.provider.clone(), entry);
        Ok(())
    }

    /// What is known of `kind`.
    pub fn of(&self, kind: &str) -> Option<&Entry> {
        self.0.get(kind)
    }

    /// Everything, by kind.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }
}

impl Entry {
    /// The plan `id`; without one the cheapest.
    pub fn plan(&self, id: Option<&str>) -> Option<&PlanFacts> {
        match id {
            Some(id) => self.plans.iter().find(|plan| plan.id == id),
            None => self.plans.first(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use crate::config::kinds::Settings;

    #[test]
    fn the_files_in_the_binary_say_what_is_so_and_where_it_is_from() {
        let catalogue = Catalogue::embedded().unwrap();
        let computes = Settings::KINDS.iter().filter(|kind| kind.roles.contains(&Role::Compute));
        for kind in computes.filter(|kind| !matches!(kind.word, "embedded" | "docker")) {
            let entry =
                catalogue.of(kind.word).unwrap_or_else(|| panic!("nothing on {}", kind.word));
            assert!(!entry.plans.is_empty() && !entry.swaps.is_empty(), "{}", kind.word);
        }
        for entry in catalogue.entries() {
            for plan in &entry.plans {
                assert!(plan.source.starts_with("https://"), "{}: {}", entry.provider, plan.id);
                let day: Vec<&str> = plan.checked.split('-').collect();
                assert_eq!(day.iter().map(|part| part.len()).collect::<Vec<_>>(), [4, 2, 2]);
            }
            for candidate in &entry.swaps {
                let known = Settings::KINDS.iter().any(|kind| kind.word == candidate.to);
                assert!(known && candidate.to != entry.provider, "{candidate:?}");
            }
        }
    }

    #[test]
    fn a_file_beside_the_config_goes_before_ours() {
        let folder =
            std::env::temp_dir().join(format!("linkflow-catalogue-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |text: &str| std::fs::write(folder.join("fly.toml"), text).unwrap();
        write("schema = 1\nprovider = \"fly\"\n");
        let catalogue = Catalogue::with(&folder).unwrap();
        assert_eq!(catalogue.of("fly").unwrap().plans, []);
        assert!(catalogue.of("koyeb").is_some());
        write("schema = 1\nprovider = \"flyy\"\n");
        let why = Catalogue::with(&folder).unwrap_err();
        assert!(
            why.ends_with("fly.toml: `provider = \"flyy\"` and the name of the file differ"),
            "{why}"
        );
        write("schema = 1\nprovider = \"fly\"\nplans = 3\n");
        assert!(Catalogue::with(&folder).unwrap_err().contains("unknown field `plans`"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
