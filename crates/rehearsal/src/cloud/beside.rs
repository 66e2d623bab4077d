//! Vendors beside those that run containers: always there, cheap, and without processes of their own.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use linkflow_model::{Clock, ProviderName};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::answer::{Answer, Call};
use super::cloudflare::{Cloudflare, Told};
use super::desec::Desec;
use super::dice::Dice;
use super::door::Door;
use super::endpoints::{
    CloudflareEndpoint, DesecEndpoint, GithubEndpoint, MailEndpoint, SentryEndpoint, SlackEndpoint,
    TwilioEndpoint, WatcherEndpoint,
};
use super::github::Github;
use super::mail::{self, Sends};
use super::registry::Images;
use super::sentry::Sentry;
use super::slack::Slack;
use super::tasks::Tasks;
use super::trouble::{Faults, Trouble};
use super::twilio::Twilio;
use super::watcher::{self, Watches};

/// What such a vendor has besides its API.
pub(crate) struct Ground {
    pub(crate) faults: Faults,
    pub(crate) dice: Dice,
    pub(crate) clock: Arc<dyn Clock>,
    requests: AtomicU64,
}

/// A vendor without processes.
pub(crate) trait Beside: Send + Sync + 'static {
    fn ground(&self) -> &Ground;

    /// Answers one call.
    fn answer(&self, call: &Call) -> Answer;

    /// What it says to a client that asks too often.
    fn limited(&self) -> Answer;
}

/// One of them behind its door.
struct Stall {
    vendor: Arc<dyn Beside>,
    door: Arc<Door>,
}

/// All of them.
pub(crate) struct Stalls {
    cloudflare: Arc<Cloudflare>,
    desec: Arc<Desec>,
    github: Arc<Github>,
    slack: Arc<Slack>,
    twilio: Arc<Twilio>,
    sentry: Arc<Sentry>,
    watchers: Vec<(&'static str, Arc<dyn Watches>)>,
    mail: Vec<(&'static str, Arc<dyn Sends>)>,
    stalls: BTreeMap<ProviderName, Stall>,
}

impl Stalls {
    /// Opens their doors. Faults name them `cloudflare`, `desec`, `github`, `slack`, `twilio`, `sentry`, and those that watch or
    /// send mail by their kinds.
    pub(crate) fn open(
        tasks: &Tasks,
        clock: &Arc<dyn Clock>,
        images: &Arc<Images>,
        seed: u64,
    ) -> io::Result<Self> {
        let ground = |name: &str| Ground {
            faults: Faults::none(),
            dice: Dice::new(seed, name),
            clock: Arc::clone(clock),
            requests: AtomicU64::new(0),
        };
        let github = Arc::new(Github::new(ground("github"), Arc::clone(images)));
        let slack = Arc::new(Slack::new(ground("slack")));
        let cloudflare = Arc::new(Cloudflare::new(ground("cloudflare")));
        let desec = Arc::new(Desec::new(ground("desec")));
        let twilio = Arc::new(Twilio::new(ground("twilio")));
        let sentry = Arc::new(Sentry::new(ground("sentry")));
        let watchers = watcher::all(ground);
        let mail = mail::all(ground);
        let mut stalls = BTreeMap::new();
        let mut vendors: Vec<(&str, Arc<dyn Beside>)> = vec![
            ("cloudflare", Arc::clone(&cloudflare) as _),
            ("desec", Arc::clone(&desec) as _),
            ("github", Arc::clone(&github) as _),
            ("slack", Arc::clone(&slack) as _),
            ("twilio", Arc::clone(&twilio) as _),
            ("sentry", Arc::clone(&sentry) as _),
        ];
        vendors.extend(watchers.iter().map(|(name, vendor)| (*name, Arc::clone(vendor) as _)));
        vendors.extend(mail.iter().map(|(name, vendor)| (*name, Arc::clone(vendor) as _)));
        for (name, vendor) in vendors {
            let name = ProviderName::new(name).ok_or_else(|| io::Error::other("no name"))?;
            let of_door = Arc::clone(&vendor);
            let door = super::api(tasks, move |call| serve(Arc::clone(&of_door), call))?;
            stalls.insert(name, Stall { vendor, door });
        }
        Ok(Self { cloudflare, desec, github, slack, twilio, sentry, watchers, mail, stalls })
    }

    fn url(&self, name: &str) -> String {
        let stall = self.stalls.iter().find(|(key, _)| key.as_str() == name);
        stall.map(|(_, stall)| stall.door.url()).unwrap_or_default()
    }

    pub(crate) fn cloudflare(&self) -> CloudflareEndpoint {
        self.cloudflare.endpoint(self.url("cloudflare"))
    }

    pub(crate) fn desec(&self) -> DesecEndpoint {
        self.desec.endpoint(self.url("desec"))
    }

    pub(crate) fn github(&self) -> GithubEndpoint {
        self.github.endpoint(self.url("github"))
    }

    pub(crate) fn slack(&self) -> SlackEndpoint {
        self.slack.endpoint(&self.url("slack"))
    }

    pub(crate) fn twilio(&self) -> TwilioEndpoint {
        self.twilio.endpoint(self.url("twilio"))
    }

    pub(crate) fn sentry(&self) -> SentryEndpoint {
        self.sentry.endpoint(self.url("sentry"))
    }

    /// Has Sentry have an issue that was seen now; gives its id.
    pub(crate) fn make_issue(&self, title: &str, status: &str) -> String {
        self.sentry.make(title, status)
    }

    /// Gives an issue of Sentry's another status; says whether there is such an issue.
    pub(crate) fn change_issue(&self, id: &str, status: &str) -> bool {
        self.sentry.change(id, status)
    }

    /// What Twilio was given, for the control API.
    pub(crate) fn texts(&self) -> Value {
        json!({ "messages": self.twilio.messages() })
    }

    /// Those that watch, by their names.
    pub(crate) fn watchers(&self) -> BTreeMap<String, WatcherEndpoint> {
        let endpoint = |(name, vendor): &(&'static str, Arc<dyn Watches>)| {
            ((*name).to_owned(), vendor.endpoint(self.url(name)))
        };
        self.watchers.iter().map(endpoint).collect()
    }

    /// From now on the monitor `name` at `vendor` is down, or up. Says whether there is one.
    pub(crate) fn see(&self, vendor: &str, name: &str, is_down: bool) -> bool {
        let vendor = self.watchers.iter().find(|(held, _)| *held == vendor);
        vendor.is_some_and(|(_, vendor)| vendor.see(name, is_down))
    }

    /// Those that send mail, by their names.
    pub(crate) fn mail(&self) -> BTreeMap<String, MailEndpoint> {
        let endpoint = |(name, vendor): &(&'static str, Arc<dyn Sends>)| {
            ((*name).to_owned(), vendor.endpoint(self.url(name)))
        };
        self.mail.iter().map(endpoint).collect()
    }

    /// What each of those was given, for the control API.
    pub(crate) fn letters(&self) -> Value {
        let row = |(name, vendor): &(&'static str, Arc<dyn Sends>)| {
            ((*name).to_owned(), vendor.letters().all())
        };
        Value::Object(self.mail.iter().map(row).collect())
    }

    /// The faults of the one that is called `name`.
    pub(crate) fn faults(&self, name: &ProviderName) -> Option<&Faults> {
        self.stalls.get(name).map(|stall| &stall.vendor.ground().faults)
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &ProviderName> {
        self.stalls.keys()
    }

    /// Makes doors what the faults of now say.
    pub(crate) fn apply(&self) {
        for stall in self.stalls.values() {
            let faults = &stall.vendor.ground().faults;
            let shut = |trouble: Trouble| trouble.shuts_api() || trouble.shuts_ingress();
            stall.door.set_open(!faults.any(None, shut));
        }
    }

    /// What people were told at Slack, for the control API.
    pub(crate) fn messages(&self) -> Value {
        self.slack.messages()
    }

    /// What Cloudflare and deSEC hold, for the control API.
    pub(crate) fn zones(&self) -> (Value, Value) {
        (self.cloudflare.held(), self.desec.held())
    }

    /// Has Cloudflare be as a test tells it, for the control API.
    pub(crate) fn tell_cloudflare(&self, told: Told) {
        self.cloudflare.take(told);
    }

    /// What GitHub holds, for the control API. Of secrets only a hash.
    pub(crate) fn held(&self) -> Value {
        self.github.held()
    }

    /// How each stands, for the control API.
    pub(crate) fn state(&self) -> Value {
        let row = |(name, stall): (&ProviderName, &Stall)| {
            let ground = stall.vendor.ground();
            let requests = ground.requests.load(Ordering::Relaxed);
            let row = json!({ "faults": ground.faults.standing(), "api_requests": requests });
            (name.to_string(), row)
        };
        Value::Object(self.stalls.iter().map(row).collect())
    }
}

/// Answers one call, as the faults of now let it.
async fn serve(vendor: Arc<dyn Beside>, call: Call) -> Answer {
    let ground = vendor.ground();
    let answer = answer(&*vendor, ground.faults.of_call(call)).await;
    ground.faults.of_answer(answer, ground.clock.wall())
}

async fn answer(vendor: &dyn Beside, call: Call) -> Answer {
    let ground = vendor.ground();
    ground.requests.fetch_add(1, Ordering::Relaxed);
    let slow = |t| if let Trouble::Slow { ms } = t { Some(ms) } else { None };
    if let Some(ms) = ground.faults.find(None, slow) {
        sleep(Duration::from_millis(ms)).await;
    }
    ground.faults.outlast(None, Trouble::freezes).await;
    if ground.faults.any(None, |t| matches!(t, Trouble::RateLimited)) {
        return vendor.limited();
    }
    let broken = |t| if let Trouble::Errors { status } = t { Some(status) } else { None };
    match ground.faults.find(None, broken) {
        // About half of the requests are carried out all the same.
        Some(status) if ground.dice.throw().is_multiple_of(2) => {
            vendor.answer(&call);
            Answer::empty(status)
        }
        Some(status) => Answer::empty(status),
        None => vendor.answer(&call),
    }
}
