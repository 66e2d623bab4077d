//! What the commands that tell people share: times, subjects, and who gives an order.

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use linkflow_model::Timestamp;
use linkflow_model::config::Config;
use linkflow_store::{Sqlite, Store};
use linkflow_web::operator::{Refusal, Why};
use linkflow_web::order::Hand;
use linkflow_web::order::address::Source;
use serde::de::DeserializeOwned;

use crate::say::answer::Answer;
use crate::wire::beats;
use crate::wire::process;
use crate::wire::secrets::Secrets;
use crate::wire::state::Home;

use super::{Answered, Context};

/// The store and what is known beside it.
pub(super) struct Teller {
    pub(super) store: Sqlite,
    pub(super) config: Config,
    pub(super) zone: TimeZone,
    pub(super) now: Timestamp,
    pub(super) who: String,
}

impl Context {
    /// The store of the stack, for a command that tells people something.
    pub(super) fn teller(&self) -> Result<Teller, Box<Answer>> {
        let rehearsal = self.common.cloud.is_some();
        let config = self.config(rehearsal)?;
        let state = self.state(&config, rehearsal);
        let home = Home::open(&state).or_else(|error| {
            let what = format!("the state folder {} cannot be used: {error}", state.display());
            Answer::failed(1, &what, "`--state FOLDER` names another folder")
        })?;
        let store = Sqlite::open(home.path("linkflow.db"))?;
        let zone = config.status_page.as_ref().map(|page| page.time_zone.rules());
        let clock = linkflow_model::clock::SystemClock::start();
        Ok(Teller {
            store,
            zone: zone.unwrap_or(TimeZone::UTC),
            now: linkflow_model::Clock::wall(&clock),
            who: process::owner("linkflow", &self.vars)
                .who
                .unwrap_or_else(|| "somebody".to_owned()),
            config,
        })
    }
}

impl Context {
    /// What the addresses of the stack with `config` follow from.
    pub(super) fn source(&self, config: &Config) -> Result<Source, Box<Answer>> {
        let rehearsed = self.common.cloud.is_some();
        let state = self.state(config, rehearsed);
        let home = Home::open(&state).or_else(|error| {
            let what = format!("the state folder {} cannot be used: {error}", state.display());
            Answer::failed(1, &what, "`--state FOLDER` names another folder")
        })?;
        let secrets = Secrets::new(self.vars.clone(), home.key(), rehearsed);
        Ok(beats::source(config, home.key(), &secrets).0)
    }
}

impl From<Refusal> for Box<Answer> {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.why {
            Why::Missing | Why::Wrong => 2,
            Why::Forbidden => 5,
            Why::Busy => 4,
            Why::Failed => 1,
        };
        Self::new(Answer::failure(code, &refusal.what, &refusal.help))
    }
}

impl Teller {
    /// Gives orders in the name of whoever typed the command.
    pub(super) fn hand(&self) -> Hand<'_> {
        Hand { store: &self.store, by: &self.who, now: self.now, terminal: true }
    }

    /// Every document under `prefix`.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Vec<T>, Box<Answer>> {
        let documents = self.store.list(prefix).await?.into_iter();
        documents.map(|document| read(&document.key, document.body)).collect()
    }

    /// The subjects that `names` mean: components by their name, or what they watch, as the config calls it.
    pub(super) fn subjects(&self, names: &[String]) -> Result<Vec<String>, Box<Answer>> {
        let components = self.config.status_page.iter().flat_map(|page| &page.components);
        let components: Vec<_> = components.collect();
        let mut subjects: Vec<String> = Vec::new();
        for name in names {
            let called = components.iter().find(|one| one.name.eq_ignore_ascii_case(name));
            let watched = || components.iter().any(|one| one.watch.contains(name));
            match called {
                Some(component) => subjects.extend(component.watch.iter().cloned()),
                None if watched() => subjects.push(name.clone()),
                None => {
                    let known: Vec<String> =
                        components.iter().map(|one| format!("`{}`", one.name)).collect();
                    let help = match known.as_slice() {
                        [] => "`status_page.components` in the config has none yet".to_owned(),
                        known => format!("it has {}", known.join(", ")),
                    };
                    let what = format!("the status page has no component `{name}`");
                    return Answer::failed(2, &what, &help);
                }
            }
        }
        subjects.sort();
        subjects.dedup();
        Ok(subjects)
    }

    /// The moment that `text` names: `2026-11-29 14:00` in the page's zone, with a zone of its own, or so long from now
    /// (`sign` 1) or ago (-1).
    pub(super) fn moment(&self, text: &str, sign: i32) -> Result<Timestamp, Box<Answer>> {
        let span = || text.parse::<SignedDuration>().ok().filter(|span| !span.is_negative());
        let local = || text.parse::<DateTime>().ok()?.to_zoned_datetime(self.zone.clone()).ok();
        let ms = if let Ok(at) = text.parse::<jiff::Timestamp>() {
            Some(at.as_millisecond())
        } else if let Some(at) = local() {
            Some(at.timestamp().as_millisecond())
        } else {
            let ms = span().and_then(|span| i64::try_from(span.as_millis()).ok());
            ms.zip(i64::try_from(self.now.0).ok()).map(|(ms, now)| now + ms * i64::from(sign))
        };
        match ms.and_then(|ms| u64::try_from(ms).ok()) {
            Some(ms) => Ok(Timestamp(ms)),
            None => Answer::failed(
                2,
                &format!("`{text}` is no moment"),
                "write `2026-11-29 14:00`, `2026-11-29T14:00:00Z`, or a span of time such as `20m`",
            ),
        }
    }

    /// `at` as people read it, in the page's zone.
    pub(super) fn shown(&self, at: Timestamp) -> String {
        let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let at = at.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        at.to_zoned_datetime(self.zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
    }
}

/// What nobody knows, and where to look.
pub(super) fn unknown(what: &str, id: &str, list: &str) -> Answered {
    Answer::failed(2, &format!("there is no {what} `{id}`"), &format!("`{list}` shows all"))
}

/// `text` as it is, or what stdin says when it is `-`.
pub(super) fn said(text: &str) -> Result<String, Box<Answer>> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    std::io::read_to_string(std::io::stdin()).or_else(|error| {
        Answer::failed(1, &format!("stdin cannot be read: {error}"), "pipe the text into it")
    })
}

fn read<T: DeserializeOwned>(key: &str, body: serde_json::Value) -> Result<T, Box<Answer>> {
    serde_json::from_value(body).or_else(|error| {
        let what = format!("{key} cannot be read: {error}");
        Answer::failed(1, &what, "a newer LinkFlow may have written it")
    })
}
