//! What the environment tells a service.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use linkflow_model::Clock;
use linkflow_model::clock::SystemClock;

use super::peer::Address;
use crate::ledger::{Books, Maker, open_books};

/// The services of the sample app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Api,
    Frontend,
    History,
    Matching,
    Worker,
    Queue,
    Timer,
    /// Ends by itself.
    Migrate,
}

impl Service {
    const ALL: [Self; 8] = [
        Self::Api,
        Self::Queue,
        Self::Frontend,
        Self::History,
        Self::Matching,
        Self::Worker,
        Self::Timer,
        Self::Migrate,
    ];

    /// Whether there is a service of that name.
    pub(super) fn is_named(name: &str) -> bool {
        Self::ALL.iter().any(|service| service.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Frontend => "engine-frontend",
            Self::History => "engine-history",
            Self::Matching => "engine-matching",
            Self::Worker => "engine-worker",
            Self::Queue => "queue",
            Self::Timer => "engine-timer",
            Self::Migrate => "migrate",
        }
    }

    /// Where it listens when `PORT` does not say.
    fn port(self) -> Option<u16> {
        match self {
            Self::Api => Some(8000),
            Self::Frontend => Some(8080),
            Self::History => Some(7234),
            Self::Matching => Some(7235),
            Self::Timer => Some(7238),
            Self::Worker | Self::Queue | Self::Migrate => None,
        }
    }
}

/// What an image was built to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Works.
    Good,
    /// Ends at start with an error.
    Crash,
    /// Runs, and says that it is not well.
    Sick,
    /// Works, but for its migration.
    BadMigration,
}

/// The variable that holds the command line that a migration was asked for with.
pub(super) const COMMAND: &str = "LINKFLOW_APP_COMMAND";

/// What the environment tells, checked.
pub(super) struct Settings {
    pub(super) service: Service,
    pub(super) me: Maker,
    pub(super) behaviour: Behaviour,
    pub(super) port: Option<u16>,
    pub(super) bind: String,
    pub(super) orphan_dies: bool,
    pub(super) timer_ms: u64,
    secret: Option<String>,
    env: BTreeMap<String, String>,
    clock: SystemClock,
}

/// The variables by which providers tell a process which instance it is, the most specific first.
const INSTANCE: [&str; 7] = [
    "LINKFLOW_INSTANCE",
    "FLY_MACHINE_ID",
    "RAILWAY_REPLICA_ID",
    "RENDER_INSTANCE_ID",
    "KOYEB_INSTANCE_ID",
    "CONTAINER_APP_REPLICA_NAME",
    "HOSTNAME",
];

impl Settings {
    pub(super) fn read(service: &str, env: &BTreeMap<String, String>) -> Result<Self, String> {
        let known = Service::ALL.into_iter().find(|s| s.name() == service);
        let service = known.ok_or_else(|| {
            let names = Service::ALL.map(Service::name).join(", ");
            format!("there is no service `{service}`; there are: {names}")
        })?;
        let get = |name: &str| env.get(name).filter(|value| !value.is_empty());
        let or_unknown = |name: &str| get(name).cloned().unwrap_or_else(|| "unknown".to_owned());
        let number = |name: &str, default: u64| match get(name) {
            Some(text) => text.parse().map_err(|_| format!("{name}=`{text}` is not a number")),
            None => Ok(default),
        };
        let behaviour = match get("LINKFLOW_APP_BEHAVIOUR").map_or("good", String::as_str) {
            "good" => Behaviour::Good,
            "crash" => Behaviour::Crash,
            "sick" => Behaviour::Sick,
            "bad-migration" => Behaviour::BadMigration,
            other => {
                return Err(format!(
                    "LINKFLOW_APP_BEHAVIOUR=`{other}` is not good, crash, sick or bad-migration"
                ));
            }
        };
        let port = match get("PORT") {
            Some(text) => {
                Some(text.parse().map_err(|_| format!("PORT=`{text}` is not a port number"))?)
            }
            None => service.port(),
        };
        let instance = INSTANCE.iter().find_map(|name| get(name).cloned());
        let me = Maker {
            release: or_unknown("LINKFLOW_RELEASE"),
            provider: or_unknown("LINKFLOW_PROVIDER"),
            instance: instance.unwrap_or_else(|| format!("pid-{}", std::process::id())),
        };
        Ok(Self {
            service,
            me,
            behaviour,
            port,
            bind: get("LINKFLOW_BIND").cloned().unwrap_or_else(|| "127.0.0.1".to_owned()),
            orphan_dies: get("LINKFLOW_ORPHAN").is_some_and(|value| value == "die"),
            timer_ms: number("LINKFLOW_TIMER_MS", 1_000)?.max(1),
            secret: get("LINKFLOW_SECRET").cloned(),
            env: env.clone(),
            clock: SystemClock::start(),
        })
    }

    /// The address in the variable `name`.
    pub(super) fn address(&self, name: &str) -> Result<Address, String> {
        let text = self.env.get(name).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| format!("{} needs {name}", self.service.name()))?;
        Address::read(text).map_err(|why| format!("{name}: {why}"))
    }

    /// The variable `name`, when it is set to something.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The address in the variable `name`, if it is set.
    pub(super) fn optional_address(&self, name: &str) -> Result<Option<Address>, String> {
        if self.env.get(name).is_none_or(String::is_empty) {
            Ok(None)
        } else {
            self.address(name).map(Some)
        }
    }

    /// The books that this process writes.
    pub(super) fn books(&self) -> Result<Arc<dyn Books>, String> {
        let get = |name: &str| self.env.get(name).map(String::as_str).filter(|v| !v.is_empty());
        open_books(get("DATABASE_URL"), get("LINKFLOW_LEDGER"))
    }

    /// The time on the wall, in milliseconds since the Unix epoch.
    pub(super) fn wall(&self) -> i64 {
        i64::try_from(self.clock.wall().0).unwrap_or(i64::MAX)
    }

    /// What a call to another service of the app carries to be trusted.
    pub(super) fn pass(&self) -> Option<String> {
        self.secret.as_ref().map(|secret| format!("Bearer {secret}"))
    }

    /// Whether a request comes from another service of the app. Where no secret is configured, all are trusted.
    pub(super) fn trusts(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = self.pass() else { return true };
        let given = headers.get(AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
        // Every byte is compared, so that the time taken tells nothing.
        let differing = given.iter().zip(wanted.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        given.len() == wanted.len() && differing == 0
    }

    /// Writes one line to stdout, which the provider keeps as the service's log.
    pub(super) fn log(&self, line: &str) {
        let Maker { provider, instance, .. } = &self.me;
        let mut out = std::io::stdout().lock();
        // Nobody may be reading; the service goes on without a log then.
        writeln!(out, "{} {provider}/{instance}: {line}", self.service.name())
            .and_then(|()| out.flush())
            .ok();
    }
}
