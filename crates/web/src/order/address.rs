//! At which addresses others report: jobs as heartbeats, vendors by webhooks.
//!
//! Each address has a secret in it that follows from the key of the state folder. The store only knows how often each was made
//! anew, so nobody who reads it learns one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linkflow_model::config::Config;
use linkflow_model::{Event, EventKind, HeartbeatState, Level, Timestamp};
use linkflow_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Hand;
use crate::beat::Addresses;
use crate::hook::Came;
use crate::operator::{Refusal, Why};

/// Makes 32 bytes of a label, which nobody makes without the key of the state folder.
pub type Derive = Arc<dyn Fn(&str) -> [u8; 32] + Send + Sync>;

/// What addresses follow from.
#[derive(Clone)]
pub struct Source {
    /// Makes secrets.
    pub derive: Derive,
    /// Where the dashboard answers: `https://ops.example.com`.
    pub base: String,
    /// The key before names that the config gives, in place of ours.
    pub given: Option<String>,
    /// UUIDs that the config gives, by the name of their heartbeat, in lower case.
    pub uuids: BTreeMap<String, String>,
    /// Every heartbeat's name.
    pub heartbeats: BTreeSet<String>,
    /// Every provider that sends webhooks, and who enters its address there, in words.
    pub hooks: BTreeMap<String, &'static str>,
}

/// How often the addresses of heartbeats were made anew; the document [`Rotated::KEY`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The key before names.
    pub key: u32,
    /// Each UUID, by name.
    pub uuids: BTreeMap<String, u32>,
}

impl Rotated {
    /// The key of its document.
    pub const KEY: &'static str = "heartbeats-rotated";

    /// Reads it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let document = store.read(Self::KEY).await?;
        Ok(document.and_then(|held| serde_json::from_value(held.body).ok()).unwrap_or_default())
    }
}

/// How often the address for webhooks of each provider was made anew; the document [`Renewed::KEY`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Renewed(pub BTreeMap<String, u32>);

impl Renewed {
    /// The key of its document.
    pub const KEY: &'static str = "hooks-rotated";

    /// Reads it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let document = store.read(Self::KEY).await?;
        Ok(document.and_then(|held| serde_json::from_value(held.body).ok()).unwrap_or_default())
    }

    /// The key in the address of `provider`.
    pub fn key_of(&self, provider: &str, derive: impl Fn(&str) -> [u8; 32]) -> String {
        let times = self.0.get(provider).copied().unwrap_or_default();
        URL_SAFE_NO_PAD.encode(&derive(&format!("hooks/{provider}/{times}"))[..16])
    }
}

impl Source {
    /// The addresses of heartbeats, after so many were made anew.
    pub fn beats(&self, rotated: &Rotated) -> Addresses {
        let names = self.heartbeats.iter();
        Addresses {
            key: self.key(rotated),
            by_uuid: names.map(|name| (self.uuid(name, rotated), name.clone())).collect(),
            names: self.heartbeats.clone(),
        }
    }

    /// The key before names.
    fn key(&self, rotated: &Rotated) -> String {
        let made = || {
            let bytes = (self.derive)(&format!("heartbeats/key/{}", rotated.key));
            URL_SAFE_NO_PAD.encode(&bytes[..16])
        };
        self.given.clone().unwrap_or_else(made)
    }

    /// The UUID of a heartbeat.
    fn uuid(&self, name: &str, rotated: &Rotated) -> String {
        let made = || {
            let times = rotated.uuids.get(name).copied().unwrap_or_default();
            let mut bytes = (self.derive)(&format!("heartbeats/uuid/{name}/{times}"));
            // The form of a random one (RFC 9562, 5.4).
            bytes[6] = 0x40 | bytes[6] & 0x0f;
            bytes[8] = 0x80 | bytes[8] & 0x3f;
            let text: String = bytes[..16].iter().map(|byte| format!("{byte:02x}")).collect();
            let groups = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
            groups.join("-")
        };
        self.uuids.get(name).cloned().unwrap_or_else(made)
    }
}

/// Which address is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The key that stands before the names of heartbeats.
    Key,
    /// The UUID of a heartbeat.
    Heartbeat(String),
    /// That for webhooks of a provider.
    Hook(String),
}

impl Which {
    /// In a few words: `the UUID of the heartbeat backup`.
    pub fn words(&self) -> String {
        match self {
            Self::Key => "the key of all heartbeats".to_owned(),
            Self::Heartbeat(name) => format!("the UUID of the heartbeat {name}"),
            Self::Hook(name) => format!("the address for webhooks of {name}"),
        }
    }

    /// What is done, in a few words: `make the UUID of the heartbeat backup anew`.
    pub fn anew(&self) -> String {
        format!("make {} anew", self.words())
    }

    /// The key of `config` that says which it is.
    fn given(&self, config: &Config) -> Option<String> {
        match self {
            Self::Key => config.reports.key.as_ref().map(|_| "reports.key".to_owned()),
            Self::Heartbeat(name) => {
                let mut all = config.heartbeats.iter();
                let given = all.any(|(held, beat)| held.as_str() == name && beat.uuid.is_some());
                given.then(|| format!("heartbeats.{name}.uuid"))
            }
            Self::Hook(_) => None,
        }
    }
}

/// Where somebody reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// Who.
    pub which: Which,
    /// Its address, a secret. Behind that of the key stands a name.
    pub address: String,
    /// When they reported last; of the key it is not known.
    pub last: Option<Timestamp>,
    /// The key of the config that says which it is, where one does: then it is not made anew here.
    pub given: Option<String>,
    /// Who enters it at the vendor, in words; of a webhook.
    pub entered: Option<&'static str>,
}

/// Where everybody reports: jobs by any name, each job, each vendor.
///
/// # Errors
/// What the store says.
pub async fn all(
    store: &dyn Store,
    config: &Config,
    source: &Source,
) -> Result<Vec<Reporter>, StoreError> {
    let (rotated, renewed) = (Rotated::read(store).await?, Renewed::read(store).await?);
    let key = (!source.heartbeats.is_empty()).then_some(Which::Key);
    let beats = source.heartbeats.iter().cloned().map(Which::Heartbeat);
    let hooks = source.hooks.keys().cloned().map(Which::Hook);
    let mut all = Vec::new();
    for which in key.into_iter().chain(beats).chain(hooks) {
        let base = &source.base;
        let (address, last, entered) = match &which {
            Which::Key => (format!("{base}/p/{}", source.key(&rotated)), None, None),
            Which::Heartbeat(name) => {
                let address = format!("{base}/ping/{}", source.uuid(name, &rotated));
                (address, last_beat(store, name).await?, None)
            }
            Which::Hook(name) => {
                let key = renewed.key_of(name, |label| (source.derive)(label));
                let came = Came::read(store, name).await?;
                (format!("{base}/hooks/{name}/{key}"), came, source.hooks.get(name).copied())
            }
        };
        let given = which.given(config);
        all.push(Reporter { which, address, last, given, entered });
    }
    Ok(all)
}

/// When a heartbeat reported last.
async fn last_beat(store: &dyn Store, name: &str) -> Result<Option<Timestamp>, StoreError> {
    let document = store.read(&HeartbeatState::key(name)).await?;
    let state = document.and_then(|held| serde_json::from_value::<HeartbeatState>(held.body).ok());
    Ok(state.and_then(|state| state.last))
}

/// Makes an address anew: the one before is not answered any more, within two seconds. Gives the new one.
///
/// # Errors
/// When there is no such address, or the config says which it is.
pub async fn rotate(
    hand: Hand<'_>,
    config: &Config,
    source: &Source,
    which: &Which,
    why: &str,
) -> Result<Reporter, Refusal> {
    hand.noting(&which.anew(), why, renew(hand, config, source, which, why)).await
}

/// Refuses what [`rotate`] would refuse.
///
/// # Errors
/// As there.
pub fn check(config: &Config, source: &Source, which: &Which) -> Result<(), Refusal> {
    let listed = |names: Vec<&String>, none: String| match names.as_slice() {
        [] => none,
        [one] => format!("there is {one}"),
        all => {
            format!("there are {}", all.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", "))
        }
    };
    let unknown = match which {
        Which::Heartbeat(name) if !source.heartbeats.contains(name) => {
            let none = format!("add `[heartbeats.{name}]` to the config");
            let help = listed(source.heartbeats.iter().collect(), none);
            Some((format!("there is no heartbeat `{name}`"), help))
        }
        Which::Hook(name) if !source.hooks.contains_key(name) => {
            let what = format!("`{name}` sends no webhooks, or no monitor is also on it");
            let help = listed(source.hooks.keys().collect(), "nobody sends any".to_owned());
            Some((what, help))
        }
        Which::Key | Which::Heartbeat(_) | Which::Hook(_) => None,
    };
    if let Some((what, help)) = unknown {
        return Err(Refusal::new(Why::Missing, what, help));
    }
    match which.given(config) {
        None => Ok(()),
        Some(key) => {
            let what = format!("`{key}` of the config says which it is");
            Err(Refusal::new(Why::Wrong, what, "change the secret that it names"))
        }
    }
}

async fn renew(
    hand: Hand<'_>,
    config: &Config,
    source: &Source,
    which: &Which,
    why: &str,
) -> Result<Reporter, Refusal> {
    check(config, source, which)?;
    let key = match which {
        Which::Key | Which::Heartbeat(_) => Rotated::KEY,
        Which::Hook(_) => Renewed::KEY,
    };
    let held = hand.store.read(key).await?;
    let version = held.as_ref().map(|held| held.version);
    let (mut rotated, mut renewed) =
        (Rotated::read(hand.store).await?, Renewed::read(hand.store).await?);
    let body = match which {
        Which::Key => {
            rotated.key += 1;
            json!(rotated)
        }
        Which::Heartbeat(name) => {
            *rotated.uuids.entry(name.clone()).or_default() += 1;
            json!(rotated)
        }
        Which::Hook(name) => {
            *renewed.0.entry(name.clone()).or_default() += 1;
            json!(renewed)
        }
    };
    match hand.store.write(key, version, &body, None).await {
        Ok(_) => {}
        Err(StoreError::Conflict { .. }) => {
            let what = "somebody else makes an address anew at this moment";
            return Err(Refusal::new(Why::Busy, what, "look again"));
        }
        Err(error) => return Err(error.into()),
    }
    let said = format!("{} made {} anew: {why}", hand.by, which.words());
    hand.store.append(&Event::new(hand.now, EventKind::Control, Level::Notice, said)).await?;
    let all = all(hand.store, config, source).await?;
    let gone = || Refusal::new(Why::Missing, format!("{} is not there", which.words()), "");
    all.into_iter().find(|one| one.which == *which).ok_or_else(gone)
}

#[cfg(test)]
mod tests {
    use linkflow_store::Memory;
    use sha2::{Digest, Sha256};

    use super::*;

    const TEXT: &str = "[stack]\nname = \"shop\"\n[reports]\nkey = \"${env.KEY}\"\n[heartbeats.a]\nevery = \"1m\"\n\
                        [heartbeats.b]\nevery = \"1m\"\nuuid = \"${env.B}\"\n";

    fn config(text: &str) -> Config {
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        Config::parse(&files, "linkflow.toml", None).config.unwrap()
    }

    fn source() -> Source {
        Source {
            derive: Arc::new(|label| Sha256::digest(label).into()),
            base: "https://ops.example.com".to_owned(),
            given: None,
            uuids: BTreeMap::new(),
            heartbeats: ["a", "b"].map(str::to_owned).into(),
            hooks: BTreeMap::from([("sentry".to_owned(), "by hand")]),
        }
    }

    fn hand(store: &Memory) -> Hand<'_> {
        Hand { store, by: "ann", now: Timestamp(7), terminal: true }
    }

    #[test]
    fn addresses_are_made_once_and_anew_when_that_is_wanted() {
        let source = source();
        let first = source.beats(&Rotated::default());
        assert_eq!(first, source.beats(&Rotated::default()));
        assert_eq!((first.key.len(), first.by_uuid.len()), (22, 2));
        let rotated = Rotated { key: 1, uuids: BTreeMap::from([("a".to_owned(), 1)]) };
        let second = source.beats(&rotated);
        assert_ne!(first.key, second.key);
        let kept: Vec<&String> =
            first.by_uuid.keys().filter(|uuid| second.by_uuid.contains_key(*uuid)).collect();
        assert_eq!(kept, [&source.uuid("b", &rotated)]);
        assert_eq!(source.uuid("a", &rotated).as_bytes()[14], b'4');
        let of = |renewed: &Renewed, name| renewed.key_of(name, |label| (source.derive)(label));
        let renewed = Renewed(BTreeMap::from([("sentry".to_owned(), 1)]));
        assert_eq!(of(&Renewed::default(), "sentry").len(), 22);
        assert_ne!(of(&Renewed::default(), "sentry"), of(&renewed, "sentry"));
        assert_eq!(of(&Renewed::default(), "other"), of(&renewed, "other"));
    }

    #[tokio::test]
    async fn one_is_made_anew_and_all_others_stay_with_a_line_of_the_audit_and_an_event() {
        let (store, source) = (Memory::default(), source());
        let config = config("[stack]\nname = \"shop\"\n");
        let before = all(&store, &config, &source).await.unwrap();
        let which = Which::Hook("sentry".to_owned());
        let fresh = rotate(hand(&store), &config, &source, &which, "it leaked").await.unwrap();
        let after = all(&store, &config, &source).await.unwrap();
        assert_eq!(
            before.iter().zip(&after).map(|(a, b)| a == b).collect::<Vec<_>>(),
            [true, true, true, false]
        );
        assert_eq!(after[3], fresh);
        let events = store.events(0, 9).await.unwrap();
        assert_eq!(
            events[0].1.message,
            "ann made the address for webhooks of sentry anew: it leaked"
        );
        let deed = store.last("audit/").await.unwrap().unwrap().body;
        assert_eq!(
            (&deed["what"], &deed["why"], &deed["from"], &deed["outcome"]),
            (
                &json!("make the address for webhooks of sentry anew"),
                &json!("it leaked"),
                &json!("terminal"),
                &json!("done")
            )
        );
        let key = fresh.address.rsplit_once('/').unwrap().1;
        assert!(!format!("{deed} {events:?}").contains(key), "an address is a secret");
    }

    #[tokio::test]
    async fn what_nobody_has_and_what_the_config_gives_is_refused() {
        let (store, source, config) = (Memory::default(), source(), config(TEXT));
        for (which, why, what, help) in [
            (
                Which::Key,
                Why::Wrong,
                "`reports.key` of the config says which it is",
                "change the secret that it names",
            ),
            (
                Which::Heartbeat("b".to_owned()),
                Why::Wrong,
                "`heartbeats.b.uuid` of the config says which it is",
                "change the secret that it names",
            ),
            (
                Which::Heartbeat("c".to_owned()),
                Why::Missing,
                "there is no heartbeat `c`",
                "there are a, b",
            ),
            (
                Which::Hook("robot".to_owned()),
                Why::Missing,
                "`robot` sends no webhooks, or no monitor is also on it",
                "there is sentry",
            ),
        ] {
            let refused = rotate(hand(&store), &config, &source, &which, "x").await.unwrap_err();
            assert_eq!((refused.why, &*refused.what, &*refused.help), (why, what, help));
        }
        assert_eq!(store.newest_event().await.unwrap(), 0);
        let deed = store.last("audit/").await.unwrap().unwrap().body;
        assert_eq!(deed["outcome"], "`robot` sends no webhooks, or no monitor is also on it");
    }
}
