//! Reports of jobs to whoever waits for them: another LinkFlow, Cronitor, Healthchecks, or any address that is to be asked.

use std::time::Duration;

use http::{Method, StatusCode};
use linkflow_model::{Beat, Fault, FaultKind, ProviderName, Says, Secret};

use crate::kit::{Call, Kit, Vendor, encode};
use crate::notify::post::{Place, split};

/// How long one report may take: the job that makes it waits for it at its end.
const WITHIN: Duration = Duration::from_secs(5);

/// Stands for whatever address is named, in recordings.
const PRODUCTION: &str = "https://heartbeats.example.com";

/// Where reports go.
pub struct Reports {
    vendor: Vendor,
    path: Secret,
}

/// The form of the addresses of whoever takes reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `/p/KEY`, then a name: LinkFlow and Cronitor.
    Cronitor,
    /// `/UUID` or `/KEY`: Healthchecks.
    Healthchecks,
}

impl Reports {
    /// Reports to `address`: `https://ops.example.com/p/KEY`, `https://cronitor.link/p/KEY`, `https://hc-ping.com/UUID`,
    /// `https://hc-ping.com/KEY`. Nothing is asked yet.
    pub fn open(address: &Secret, kit: &Kit, provider: &ProviderName) -> Self {
        let (origin, path) = split(address, kit, &[]);
        let place = Place {
            spec: "heartbeats",
            production: PRODUCTION,
            base: origin,
            auth: None,
            every: Duration::from_millis(20),
            burst: 50,
            judge,
        };
        let path = Secret::new(path.expose().trim_end_matches('/'));
        Self { vendor: place.open(kit, provider), path }
    }

    /// Tells `beat`, with the end of what it printed, and how many ms ago it was.
    ///
    /// # Errors
    /// What went wrong; nobody tried twice.
    pub async fn tell(&self, beat: &Beat, output: &[u8], late_ms: u64) -> Result<(), Fault> {
        let path = path(self.path.expose(), beat, late_ms);
        let mut call = Call::write(Method::POST, "report", "", path).within(WITHIN);
        if !output.is_empty() {
            call = call.bytes("text/plain; charset=utf-8", output.to_vec());
        }
        self.vendor.send(call.with_hidden_query()).await.map(drop)
    }

    /// Asks the address as it is.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn ping(&self) -> Result<(), Fault> {
        let path = if self.path.expose().is_empty() { "/" } else { self.path.expose() };
        let call = Call::read("ping", "", path).within(WITHIN);
        self.vendor.send(call.with_hidden_query()).await.map(drop)
    }
}

/// Only what it says of itself counts.
fn judge(status: StatusCode, _: &str) -> Option<FaultKind> {
    (status == StatusCode::NOT_FOUND).then_some(FaultKind::Missing)
}

/// Where `beat` is told, below `base`.
fn path(base: &str, beat: &Beat, late_ms: u64) -> String {
    match form(base) {
        Form::Cronitor => format!("{base}/{}?{}", encode(&beat.heartbeat), query(beat, late_ms)),
        Form::Healthchecks => {
            let name = if ends_with_uuid(base) {
                String::new()
            } else {
                format!("/{}", encode(&beat.heartbeat))
            };
            let what = match (beat.says, beat.exit) {
                (Says::Complete | Says::Ok, _) => String::new(),
                (Says::Run, _) => "/start".to_owned(),
                (Says::Log, _) => "/log".to_owned(),
                (Says::Fail, Some(exit @ 1..=255)) => format!("/{exit}"),
                (Says::Fail, _) => "/fail".to_owned(),
            };
            let series = beat.series.iter().filter(|series| is_uuid(series));
            let rid: String = series.map(|series| format!("?rid={series}")).collect();
            format!("{base}{name}{what}{rid}")
        }
    }
}

fn query(beat: &Beat, late_ms: u64) -> String {
    let mut pairs = vec![format!("state={}", beat.says.word())];
    let mut add = |name: &str, value: String| pairs.push(format!("{name}={}", encode(&value)));
    beat.series.iter().for_each(|series| add("series", series.clone()));
    beat.message.iter().for_each(|message| add("message", message.clone()));
    beat.host.iter().for_each(|host| add("host", host.clone()));
    beat.exit.iter().for_each(|exit| add("status_code", exit.to_string()));
    if let Some(took) = beat.took_ms {
        add("metric", format!("duration:{}.{:03}", took / 1_000, took % 1_000));
    }
    for (name, count) in &beat.counts {
        add("metric", format!("{name}:{count}"));
    }
    if late_ms > 0 {
        add("late", format!("{}.{:03}", late_ms / 1_000, late_ms % 1_000));
    }
    pairs.join("&")
}

fn form(base: &str) -> Form {
    let mut parts = base.trim_start_matches('/').split('/');
    if parts.next() == Some("p") && parts.next().is_some() {
        Form::Cronitor
    } else {
        Form::Healthchecks
    }
}

fn ends_with_uuid(base: &str) -> bool {
    base.rsplit('/').next().is_some_and(is_uuid)
}

/// Whether `text` has the form of a UUID.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use linkflow_model::Timestamp;

    use super::*;

    const UUID: &str = "0189f6a0-1111-4222-8333-123456789abc";

    fn check(base: &str, says: Says, expected: &str) {
        let beat = Beat {
            id: String::new(),
            heartbeat: "nightly".to_owned(),
            at: Timestamp(0),
            says,
            series: Some(UUID.to_owned()),
            message: None,
            exit: (says == Says::Fail).then_some(3),
            took_ms: (says != Says::Run).then_some(61_020),
            counts: Default::default(),
            host: Some("a b".to_owned()),
            output: None,
        };
        let late = if says == Says::Fail { 1_500 } else { 0 };
        assert_eq!(path(base, &beat, late), expected.replace("UUID", UUID));
    }

    #[test]
    fn each_is_told_in_its_own_form() {
        check("/p/key", Says::Run, "/p/key/nightly?state=run&series=UUID&host=a%20b");
        check(
            "/p/key",
            Says::Fail,
            "/p/key/nightly?state=fail&series=UUID&host=a%20b&status_code=3&metric=duration%3A61.020&late=1.500",
        );
        let one = format!("/{UUID}");
        check(&one, Says::Run, "/UUID/start?rid=UUID");
        check(&one, Says::Complete, "/UUID?rid=UUID");
        check(&one, Says::Fail, "/UUID/3?rid=UUID");
        check("/ping/pingkey", Says::Log, "/ping/pingkey/nightly/log?rid=UUID");
    }
}
