//! Heartbeats: at which addresses jobs report, what is asked of them, and who listens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::Stands;
use linkflow_decide::heartbeat::Terms;
use linkflow_engine::Stop;
use linkflow_model::config::{Config, Heartbeat, SecretRef, duration_text};
use linkflow_model::{Pulse, Rhythm};
use linkflow_monitor::{Awaited, Listening};
use linkflow_store::Store;
use linkflow_web::beat::{Addresses, Intake};
use linkflow_web::order::address::{Rotated, Source};
use tokio::sync::{Notify, mpsc, watch};

use super::Stack;
use super::outside::address;
use super::secrets::Secrets;
use super::state::Key;
use super::watched::telling;

/// How often it is looked whether an address was made anew.
const EVERY: Duration = Duration::from_secs(2);

/// How long a job of our own may be silent, and how much longer until it counts.
pub(crate) const OWN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(60));

/// What addresses follow from, by `config` and the state folder's `key`. Gives, too, what of the config cannot be used, in words.
pub(crate) fn source(config: &Config, key: Key, secrets: &Secrets) -> (Source, Vec<String>) {
    let mut unable = Vec::new();
    let mut follow = |what: String, reference: &Option<SecretRef>| {
        let reference = reference.as_ref()?;
        let found = secrets.follow(reference).map(|secret| secret.expose().trim().to_owned());
        if found.is_none() {
            let reference = &reference.reference;
            unable.push(format!("`{what}` is not used: `${{{reference}}}` is not there"));
        }
        found.filter(|found| !found.is_empty())
    };
    let given = follow("reports.key".to_owned(), &config.reports.key);
    let uuids = config.heartbeats.iter().filter_map(|(name, heartbeat)| {
        let uuid = follow(format!("heartbeats.{name}.uuid"), &heartbeat.uuid)?;
        Some((name.to_string(), uuid.to_ascii_lowercase()))
    });
    let source = Source {
        uuids: uuids.collect(),
        derive: Arc::new(move |label| key.derive(label)),
        base: address::base(config).0,
        given,
        heartbeats: config.heartbeats.keys().map(ToString::to_string).collect(),
        hooks: address::senders(config),
    };
    (source, unable)
}

/// What listens, from when the stack is opened on.
pub(crate) struct Beats {
    /// What the addresses follow from, those of webhooks as well.
    pub(crate) source: Source,
    /// Takes reports.
    pub(crate) intake: Arc<Intake>,
    addresses: watch::Sender<Addresses>,
    bell: Arc<Notify>,
}

impl Beats {
    /// Nothing is taken before [`listen`].
    pub(super) fn open(config: &Config, key: Key, secrets: &Secrets) -> Self {
        let (source, unable) = source(config, key, secrets);
        unable.iter().for_each(|unable| tracing::warn!("{unable}"));
        let (addresses, told) = watch::channel(Addresses::default());
        let bell = Arc::new(Notify::new());
        let per_second = u32::from(config.reports.per_second.0);
        let intake = Intake::new(told, per_second, Arc::clone(&bell));
        Self { source, intake, addresses, bell }
    }

    /// Reads which addresses hold now.
    async fn learn(&self, store: &dyn Store) {
        match Rotated::read(store).await {
            Ok(rotated) => {
                let fresh = self.source.beats(&rotated);
                self.addresses.send_if_modified(|held| {
                    let is_new = *held != fresh;
                    *held = fresh;
                    is_new
                });
            }
            Err(error) => tracing::warn!("addresses of heartbeats cannot be read: {error}"),
        }
    }
}

/// What the subjects of our own jobs begin with.
pub(crate) const OURS: &str = "own.";

/// The pulses of our own jobs, by name.
pub(crate) type Pulses = BTreeMap<&'static str, Pulse>;

/// Listens in tasks of the stack. Gives how everything that is waited for stands, and what beats while it is listened.
pub(super) async fn listen(stack: &Stack, own: Pulses) -> (watch::Receiver<Vec<Stands>>, Pulse) {
    let declared = stack.config.heartbeats.iter();
    let declared = declared.filter_map(|(name, beat)| awaited(name.as_str(), beat));
    let own = own.into_iter().map(|(name, pulse)| of_our_own(name, pulse));
    let (tell, told) = mpsc::channel(1_024);
    let show = stack.awaited.clone();
    let shown = show.subscribe();
    let pulse = Pulse::default();
    let listening = Listening {
        all: declared.chain(own).collect(),
        store: Arc::clone(&stack.store),
        clock: Arc::clone(&stack.clock),
        tell,
        show,
        bell: Arc::clone(&stack.beats.bell),
        pulse: pulse.clone(),
    };
    telling(stack, "heartbeats", told, |token| listening.run(token));
    stack.beats.learn(&*stack.store).await;
    let (beats, store) = (Arc::clone(&stack.beats), Arc::clone(&stack.store));
    stack.tasks.start("heartbeat addresses", async move |stop: Stop| {
        while stop.or(tokio::time::sleep(EVERY)).await.is_some() {
            beats.learn(&*store).await;
        }
    });
    (shown, pulse)
}

/// What is asked of a heartbeat of the config.
fn awaited(name: &str, beat: &Heartbeat) -> Option<Awaited> {
    let terms = Terms {
        rhythm: beat.rhythm()?,
        grace_ms: ms(beat.grace),
        max_runtime_ms: beat.max_runtime.map(ms),
        slow_ms: beat.slow.map(ms),
        failures: u32::from(beat.failures.0),
        overlap: beat.overlap,
    };
    Some(Awaited {
        subject: format!("heartbeat.{name}"),
        terms,
        asked: asked(beat),
        service: beat.service.clone(),
        needs: beat.needs.to_vec(),
        pulse: None,
    })
}

/// When a heartbeat reports, in words.
pub(crate) fn asked(beat: &Heartbeat) -> String {
    match (&beat.every, &beat.cron) {
        (Some(every), _) => format!("every {}", duration_text(*every)),
        (None, Some(cron)) if beat.time_zone.0 == "UTC" => cron.0.clone(),
        (None, Some(cron)) => format!("{} in {}", cron.0, beat.time_zone.0),
        (None, None) => String::new(),
    }
}

fn of_our_own(name: &str, pulse: Pulse) -> Awaited {
    let (every, grace) = OWN;
    let terms = Terms {
        rhythm: Rhythm::Every(ms(every)),
        grace_ms: ms(grace),
        max_runtime_ms: None,
        slow_ms: None,
        failures: 0,
        overlap: true,
    };
    Awaited {
        subject: format!("{OURS}{name}"),
        terms,
        asked: format!("every {}", duration_text(every)),
        service: None,
        needs: Vec::new(),
        pulse: Some(pulse),
    }
}

pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::state::Home;
    use super::*;

    fn sourced(text: &str, vars: &[(&str, &str)]) -> (Source, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let key = Home::open(dir.path()).unwrap().key();
        let text = format!("[stack]\nname = \"shop\"\n{text}");
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text.as_str())]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let secrets = Secrets::new(vars.collect(), key.clone(), false);
        source(&config, key, &secrets)
    }

    #[test]
    fn what_jobs_know_already_may_stay() {
        let text = "[reports]\nkey = \"${secret.CRONITOR}\"\n[heartbeats.a]\nevery = \"1m\"\nuuid = \"${env.A}\"\n[heartbeats.b]\nevery = \"1m\"\nuuid = \"${secret.B}\"\n";
        let (source, unable) = sourced(text, &[("CRONITOR", "abc"), ("A", "0189F6A0-x")]);
        assert_eq!(unable, ["`heartbeats.b.uuid` is not used: `${secret.B}` is not there"]);
        let addresses = source.beats(&Rotated::default());
        assert_eq!(addresses.key, "abc");
        assert_eq!(addresses.by_uuid["0189f6a0-x"], "a");
        assert_eq!(addresses.by_uuid.len(), 2);
    }
}
