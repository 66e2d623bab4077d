//! Vendors that watch from outside: those of `also_on`, and what the config asks of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use linkflow_model::clock::SystemClock;
use linkflow_model::config::{Config, Heartbeat, Monitor, Provider, kinds};
use linkflow_model::role::{
    HeldWatch, Said, Schedule, Watch, WatchSort, Watcher, WatcherLook, Watching, WorkStage,
};
use linkflow_model::{
    Clock, Condition, Incident, IncidentStage, Maintenance, ProviderName, Secret, StateSpan,
    Timestamp,
};
use linkflow_providers::kit::{Kit, KitOptions};
use linkflow_providers::watcher::{
    Settings, betterstack, cronitor, healthchecks, instatus, open, uptimerobot,
};
use linkflow_store::{Sqlite, Store, StoreError};

use super::outside::address::{self, Entry};
use super::secrets::Secrets;
use super::state::Home;
use super::{LIMITS, OpenError, OpenOptions, parts};

/// How often the rehearsal's UptimeRobot may be asked in a minute.
const REHEARSED_PER_MINUTE: u32 = 100;

/// Whoever watches, with the power to change what is watched.
pub(crate) struct Writing {
    pub(crate) watchers: Vec<Arc<dyn Watcher>>,
    pub(crate) asked: Asked,
}

/// The same, made of parts that cannot write.
pub(crate) struct Looking {
    pub(crate) watchers: Vec<Arc<dyn WatcherLook>>,
    pub(crate) asked: Asked,
}

/// A provider's name, and its reading half or why it cannot be opened.
pub(crate) type Opened = (ProviderName, Result<Arc<dyn WatcherLook>, OpenError>);

/// The same with the power to change what is watched.
type OpenedWhole = (ProviderName, Result<Arc<dyn Watcher>, OpenError>);

/// What the config asks of them, and how things are.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    config: Option<Box<Config>>,
    /// How each line of the status page is, by its name; nothing of those of which nobody knows.
    conditions: Vec<(String, Condition)>,
    /// Incidents for the public.
    incidents: Vec<Incident>,
    /// Announced work; `None` where nobody knows, and what is shown of it stays.
    work: Option<Vec<Maintenance>>,
    /// When all that was learnt.
    now: Timestamp,
    /// The webhook of each that takes one by its API. Those of whoever is not named stay as they are.
    hooks: BTreeMap<ProviderName, Entry>,
}

impl Writing {
    /// Opens them. Nothing is asked of a vendor yet.
    ///
    /// # Errors
    /// What is missing, and what helps.
    pub(crate) async fn open(config: &Config, options: &OpenOptions) -> Result<Self, OpenError> {
        let in_folder = |source| OpenError::State { folder: options.state.clone(), source };
        let home = Home::open(&options.state).map_err(in_folder)?;
        let secrets = Secrets::new(options.vars.clone(), home.key(), options.cloud.is_some());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let now = clock.wall();
        let kit = Kit::new(KitOptions {
            record: options.record.clone(),
            clock,
            user_agent: concat!("linkflow/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Some(home.path(LIMITS)),
        })?;
        let opened = open_all(config, options, &secrets, &kit);
        let watchers = opened.into_iter().map(|(_, opened)| opened).collect::<Result<_, _>>()?;
        let mut asked = Asked::of(config);
        asked.learn(options, now).await?;
        let store = options.state.join("linkflow.db");
        asked.hooks = address::entries(config, &home.key(), &store, &kit).await?;
        Ok(Self { watchers, asked })
    }

    /// Their reading halves.
    pub(crate) fn looking(self) -> Looking {
        let watchers = self.watchers.into_iter().map(|whole| whole as Arc<dyn WatcherLook>);
        Looking { watchers: watchers.collect(), asked: self.asked }
    }
}

/// Opens the reading half of each by itself. Nothing is asked of a vendor yet, and nothing is written.
pub(super) fn apart(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
) -> Vec<Opened> {
    let opened = open_all(config, options, secrets, kit).into_iter();
    opened.map(|(name, opened)| (name, opened.map(|whole| whole as Arc<dyn WatcherLook>))).collect()
}

/// The providers that some `also_on` names, and those of which only what was made before may be left: one of these
/// without a token is passed over.
fn open_all(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
) -> Vec<OpenedWhole> {
    let needed = named(config);
    let declared = config.providers.keys().filter(|name| !needed.contains(*name));
    let all = needed.iter().chain(declared).filter_map(|name| {
        let provider = config.provider(name)?;
        let settings = match settings(name, &provider, options, secrets)? {
            Ok(settings) => settings,
            Err(_) if !needed.contains(name) => return None,
            Err(error) => return Some((name.clone(), Err(error))),
        };
        Some((name.clone(), Ok(open(settings, kit, &config.stack.name, name))))
    });
    all.collect()
}

/// Every provider that some `also_on` names, but for this machine itself.
fn named(config: &Config) -> BTreeSet<ProviderName> {
    let monitors = config.monitors.values().flat_map(|monitor| &monitor.also_on);
    let beats = config.heartbeats.values().flat_map(|beat| &beat.also_on);
    let page = config.status_page.iter().flat_map(|page| &page.also_on);
    let watchdog = &config.watchdog.also_on;
    monitors.chain(beats).chain(page).chain(watchdog).cloned().collect()
}

/// What the vendor needs; `None` for one that does not watch.
fn settings(
    name: &ProviderName,
    provider: &Provider,
    options: &OpenOptions,
    secrets: &Secrets,
) -> Option<Result<Settings, OpenError>> {
    let kind = provider.kind().word;
    let there = options.cloud.as_ref().and_then(|cloud| cloud.watchers.get(kind));
    let token = || match there {
        Some(there) => Ok(Secret::new(&there.token)),
        None => parts::token(name, provider, secrets),
    };
    let api = there.map(|there| there.api.clone()).or(provider.api().map(ToOwned::to_owned));
    Some(match &provider.settings {
        kinds::Settings::Uptimerobot(own) => token().map(|token| {
            let per_minute = u32::from(own.requests_per_minute.0);
            let per_minute = if there.is_some() { REHEARSED_PER_MINUTE } else { per_minute };
            let least_every = own.least_every;
            Settings::Uptimerobot(uptimerobot::Settings { token, least_every, per_minute, api })
        }),
        kinds::Settings::Betterstack(own) => token().map(|token| {
            let least_every = own.least_every;
            Settings::Betterstack(betterstack::Settings { token, least_every, api })
        }),
        kinds::Settings::Cronitor(_) => {
            token().map(|token| Settings::Cronitor(cronitor::Settings { token, api }))
        }
        kinds::Settings::Healthchecks(_) => {
            token().map(|token| Settings::Healthchecks(healthchecks::Settings { token, api }))
        }
        kinds::Settings::Instatus(own) => token().map(|token| {
            let page = there.map_or_else(|| own.page.clone(), |there| there.page.clone());
            Settings::Instatus(instatus::Settings { token, page, api })
        }),
        _ => return None,
    })
}

impl Asked {
    /// What `config` asks, with nothing known of how things are.
    pub(crate) fn of(config: &Config) -> Self {
        Self { config: Some(Box::new(config.clone())), ..Self::default() }
    }

    /// Reads from the store, where there is one, how the lines of the status page are and what went wrong.
    async fn learn(&mut self, options: &OpenOptions, now: Timestamp) -> Result<(), StoreError> {
        let file = options.state.join("linkflow.db");
        if file.exists() { self.learn_from(&Sqlite::open(file)?, now).await } else { Ok(()) }
    }

    /// Reads from `store` how the lines of the status page are at `now`, what went wrong, and what is announced.
    pub(crate) async fn learn_from(
        &mut self,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.now = now;
        let work = store.list(Maintenance::PREFIX).await?.into_iter();
        self.work = Some(work.filter_map(|d| serde_json::from_value(d.body).ok()).collect());
        let page = self.config.as_ref().and_then(|config| config.status_page.as_ref());
        let Some(page) = page else { return Ok(()) };
        for component in &page.components {
            let mut worst = None;
            for subject in component.watch.iter() {
                let last = store.last(&StateSpan::prefix(subject)).await?;
                let last = last.and_then(|d| serde_json::from_value::<StateSpan>(d.body).ok());
                worst = worst.max(last.map(|span| span.condition));
            }
            self.conditions.extend(worst.map(|worst| (component.name.clone(), worst)));
        }
        let all = store.list(Incident::PREFIX).await?.into_iter();
        let all = all.filter_map(|document| serde_json::from_value::<Incident>(document.body).ok());
        self.incidents = all.filter(|incident| incident.public).collect();
        Ok(())
    }

    /// When something of the announced work begins or ends next, after it was learnt.
    pub(crate) fn next_change(&self) -> Option<Timestamp> {
        let work = self.work.iter().flatten().filter(|work| !work.cancelled);
        work.flat_map(|work| [work.from, work.to]).filter(|at| *at > self.now).min()
    }

    /// What of `held`, which `provider` does of ours, is looked at: all, but for webhooks and announced work of which nothing
    /// is known here.
    pub(crate) fn known(
        &self,
        provider: &ProviderName,
        mut held: Vec<HeldWatch>,
    ) -> Vec<HeldWatch> {
        if matches!(self.hooks.get(provider), None | Some(Entry::Unknown(_))) {
            held.retain(|held| held.watch.what.sort() != WatchSort::Hook);
        }
        if self.work.is_none() {
            held.retain(|held| held.watch.what.sort() != WatchSort::Maintenance);
        }
        held
    }

    /// What is missing for a webhook, where one would do.
    pub(crate) fn missing(&self) -> Vec<(&ProviderName, &'static str)> {
        let missing = self.hooks.iter().filter_map(|(name, entry)| match entry {
            Entry::None(Some(why)) | Entry::Unknown(why) => Some((name, *why)),
            Entry::To(_) | Entry::None(None) => None,
        });
        missing.collect()
    }

    /// What `provider` should do, where `held` is what it does of ours: an incident that was over before it was told there
    /// is not told any more, and neither is work.
    pub(crate) fn wanted(&self, provider: &ProviderName, held: &[HeldWatch]) -> Vec<Watch> {
        let Some(config) = &self.config else { return Vec::new() };
        let mut wanted = Vec::new();
        for (name, monitor) in &config.monitors {
            if let (true, Ok(what)) = (monitor.also_on.contains(provider), look(monitor)) {
                wanted.push(Watch { name: name.to_string(), what });
            }
        }
        if let Some(Entry::To(to)) = self.hooks.get(provider) {
            let of = wanted.iter().map(|watch| watch.name.clone()).collect();
            let what = Watching::Hook { to: to.clone(), of };
            wanted.push(Watch { name: HOOK.to_owned(), what });
        }
        for (name, beat) in &config.heartbeats {
            let Ok(schedule) = schedule(beat) else { continue };
            if beat.also_on.contains(provider) {
                let what = Watching::Heartbeat { schedule, grace_s: beat.grace.as_secs() };
                wanted.push(Watch { name: name.to_string(), what });
            }
        }
        if config.watchdog.also_on.contains(provider) {
            wanted.push(watchdog(config));
        }
        if config.status_page.as_ref().is_some_and(|page| page.also_on.contains(provider)) {
            wanted.extend(self.components());
            let is_due = |incident: &&Incident| {
                let is_told = held.iter().any(|held| held.watch.name == incident.id);
                incident.stage < IncidentStage::Resolved || is_told
            };
            wanted.extend(self.incidents.iter().filter(is_due).map(|i| self.told(i)));
            wanted.extend(self.announced(held));
        }
        wanted
    }

    /// What of the config no vendor is asked for, with the reason.
    pub(crate) fn left_out(&self) -> Vec<(String, String)> {
        let monitors = self.config.iter().flat_map(|config| &config.monitors);
        let named = monitors.filter(|(_, monitor)| !monitor.also_on.is_empty());
        let monitors =
            named.filter_map(|(name, m)| Some((format!("monitors.{name}"), look(m).err()?)));
        let beats = self.config.iter().flat_map(|config| &config.heartbeats);
        let named = beats.filter(|(_, beat)| !beat.also_on.is_empty());
        let beats =
            named.filter_map(|(name, b)| Some((format!("heartbeats.{name}"), schedule(b).err()?)));
        monitors.chain(beats).collect()
    }

    fn components(&self) -> impl Iterator<Item = Watch> {
        let page = self.config.iter().filter_map(|config| config.status_page.as_ref());
        page.flat_map(|page| &page.components).map(|component| {
            let shows = self.conditions.iter().find(|(name, _)| *name == component.name);
            let shows = shows.map(|(_, condition)| *condition);
            let what = Watching::Component { group: component.group.clone(), shows };
            Watch { name: component.name.clone(), what }
        })
    }

    /// The components that decide by one of `subjects`, by name.
    fn taken(&self, subjects: &[String]) -> Vec<String> {
        let page = self.config.iter().filter_map(|config| config.status_page.as_ref());
        let taken = page
            .flat_map(|page| &page.components)
            .filter(|component| component.watch.iter().any(|subject| subjects.contains(subject)));
        taken.map(|component| component.name.clone()).collect()
    }

    /// The work that is announced, and what of it that is over was shown before.
    fn announced(&self, held: &[HeldWatch]) -> impl Iterator<Item = Watch> {
        let is_shown = |work: &Maintenance| {
            let is_it = |held: &HeldWatch| {
                held.watch.name == work.id && held.watch.what.sort() == WatchSort::Maintenance
            };
            held.iter().any(is_it)
        };
        let due =
            move |work: &&Maintenance| !work.cancelled && (work.to > self.now || is_shown(work));
        self.work.iter().flatten().filter(due).map(|work| {
            let stage = match self.now {
                now if now < work.from => WorkStage::ToCome,
                now if now < work.to => WorkStage::UnderWay,
                _ => WorkStage::Over,
            };
            let what = Watching::Maintenance {
                title: work.title.clone(),
                text: work.text.clone(),
                from: work.from,
                minutes: work.to.0.saturating_sub(work.from.0).div_ceil(60_000).max(1),
                stage,
                components: self.taken(&work.subjects),
                tell: work.is_news(),
            };
            Watch { name: work.id.clone(), what }
        })
    }

    fn told(&self, incident: &Incident) -> Watch {
        let said = incident.updates.iter().filter(|update| update.public);
        let said = said.map(|update| Said { stage: update.stage, text: update.text.clone() });
        let what = Watching::Incident {
            title: incident.title.clone(),
            stage: incident.stage,
            began: incident.began,
            components: self.taken(&incident.subjects),
            said: said.collect(),
        };
        Watch { name: incident.id.clone(), what }
    }
}

/// What vendors call our webhook.
const HOOK: &str = "linkflow";

/// What vendors call the heartbeat of LinkFlow itself.
pub(super) const WATCHDOG: &str = "linkflow-watchdog";

/// The heartbeat of LinkFlow itself. It is late after three that did not come.
pub(super) fn watchdog(config: &Config) -> Watch {
    let every_s = config.watchdog.every.as_secs().max(1);
    let schedule = Schedule::EveryS(every_s);
    let what = Watching::Heartbeat { schedule, grace_s: every_s.saturating_mul(2).max(120) };
    Watch { name: WATCHDOG.to_owned(), what }
}

/// When a vendor would wait for reports; why none can.
fn schedule(beat: &Heartbeat) -> Result<Schedule, String> {
    match (&beat.every, &beat.cron) {
        (Some(every), _) => Ok(Schedule::EveryS(every.as_secs().max(1))),
        (None, Some(cron)) if beat.time_zone.0 == "UTC" => Ok(Schedule::Cron(cron.0.clone())),
        (None, Some(_)) => Err("vendors are asked for cron in UTC only".to_owned()),
        (None, None) => Err("it does not say when it reports".to_owned()),
    }
}

/// How a vendor would look; why none can.
fn look(monitor: &Monitor) -> Result<Watching, String> {
    let (every_s, timeout_s) = (monitor.every.as_secs().max(1), monitor.timeout.as_secs().max(1));
    Ok(match (&monitor.http, &monitor.tcp, &monitor.ping) {
        (Some(url), ..) => Watching::Http {
            url: url.0.clone(),
            every_s,
            timeout_s,
            // Of several that would do, vendors take none by number: theirs are those that are good.
            status: monitor.status.first().filter(|_| monitor.status.len() == 1).map(|s| s.0),
            contains: monitor.contains.clone(),
        },
        (_, Some(place), _) => {
            Watching::Tcp { host: place.host.clone(), port: place.port, every_s, timeout_s }
        }
        (.., Some(host)) => Watching::Ping { host: host.0.clone(), every_s, timeout_s },
        _ => return Err("vendors are asked for http, tcp and ping only".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SHOP: &str = r#"
[stack]
name = "shop"
[services.web]
image = "ghcr.io/acme/shop:1.0"
port = 8080
[monitors.web]
http = "https://www.example.com/health"
also_on = ["uptimerobot"]
[monitors.names]
dns = "www.example.com"
also_on = ["uptimerobot"]
[heartbeats.backup]
cron = "0 3 * * *"
also_on = ["uptimerobot"]
[status_page]
also_on = ["instatus"]
components = [{ name = "Shop", watch = "monitor.web" }, { name = "Data", watch = "service.web" }]
[providers.uptimerobot]
kind = "uptimerobot"
[providers.instatus]
kind = "instatus"
"#;

    fn asked() -> Asked {
        let files = BTreeMap::from([("linkflow.toml".to_owned(), SHOP)]);
        Asked::of(&Config::parse(&files, "linkflow.toml", None).config.unwrap())
    }

    fn incident(id: &str, stage: IncidentStage) -> Incident {
        Incident {
            id: id.to_owned(),
            title: "Shop is away".to_owned(),
            impact: linkflow_model::Impact::Major,
            stage,
            began: Timestamp(1),
            ended: None,
            subjects: vec!["monitor.web".to_owned()],
            cause: None,
            automatic: true,
            public: true,
            acknowledged: None,
            updates: Vec::new(),
        }
    }

    fn names(wanted: &[Watch]) -> Vec<&str> {
        wanted.iter().map(|watch| watch.name.as_str()).collect()
    }

    #[test]
    fn each_vendor_is_asked_for_what_names_it_and_told_what_none_is_asked_for() {
        let asked = asked();
        assert_eq!(names(&asked.wanted(&"uptimerobot".parse().unwrap(), &[])), ["web", "backup"]);
        assert_eq!(names(&asked.wanted(&"instatus".parse().unwrap(), &[])), ["Shop", "Data"]);
        let left_out = asked.left_out();
        assert_eq!(left_out[0].0, "monitors.names");
        assert_eq!(left_out.len(), 1);
    }

    #[test]
    fn an_incident_is_shown_until_it_is_over_and_one_that_was_over_before_never() {
        let mut asked = asked();
        asked.incidents = vec![
            incident("open", IncidentStage::Investigating),
            incident("shown", IncidentStage::Resolved),
            incident("over", IncidentStage::Resolved),
        ];
        let held = HeldWatch { id: "1".to_owned(), watch: asked.told(&asked.incidents[1]) };
        let wanted = asked.wanted(&"instatus".parse().unwrap(), &[held]);
        assert_eq!(names(&wanted), ["Shop", "Data", "open", "shown"]);
        let Watching::Incident { components, .. } = &wanted[2].what else { panic!("{wanted:?}") };
        assert_eq!(components, &["Shop"]);
    }

    #[test]
    fn announced_work_is_shown_in_its_stage_until_it_is_called_off_and_stays_where_nobody_knows() {
        let work = |id: &str, from: u64, minutes: u64| Maintenance {
            id: id.to_owned(),
            title: "Backup".to_owned(),
            text: String::new(),
            from: Timestamp(from),
            to: Timestamp(from + minutes * 60_000 - 1),
            subjects: vec!["monitor.web".to_owned()],
            cancelled: id == "off",
            sequence: 0,
            changed: Timestamp(0),
            recurs: None,
        };
        let (mut asked, unknown, instatus) = (asked(), asked(), "instatus".parse().unwrap());
        let now = 10 * 3_600_000;
        asked.now = Timestamp(now);
        let all = [("next", now + 5), ("on", now - 5), ("shown", 5), ("old", 5), ("off", now + 5)];
        asked.work = Some(all.iter().map(|(id, from)| work(id, *from, 60)).collect());
        let held = |id: &str, stage| {
            let components = vec!["Shop".to_owned()];
            let (title, text, from) = ("Backup".to_owned(), String::new(), Timestamp(5));
            let what = Watching::Maintenance {
                title,
                text,
                from,
                minutes: 60,
                stage,
                components,
                tell: true,
            };
            HeldWatch { id: id.to_owned(), watch: Watch { name: id.to_owned(), what } }
        };
        let there = vec![held("shown", WorkStage::UnderWay), held("off", WorkStage::ToCome)];
        let wanted = asked.wanted(&instatus, &there);
        assert_eq!(names(&wanted), ["Shop", "Data", "next", "on", "shown"]);
        let stage = |watch: &Watch| match &watch.what {
            Watching::Maintenance { stage, minutes: 60, .. } => *stage,
            other => panic!("{other:?}"),
        };
        let stages: Vec<WorkStage> = wanted[2..].iter().map(stage).collect();
        assert_eq!(stages, [WorkStage::ToCome, WorkStage::UnderWay, WorkStage::Over]);
        assert_eq!(wanted[4].what, held("shown", WorkStage::Over).watch.what);
        assert_eq!(asked.next_change(), Some(Timestamp(now + 5)));
        assert_eq!(asked.known(&instatus, there.clone()), there);
        assert_eq!(unknown.known(&instatus, there), []);
    }
}
