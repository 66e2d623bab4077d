//! Who watches, and who is told: monitors, heartbeats, the status page, alerts.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::address::{Host, Mailbox, Url};
use super::amount::Percent;
use super::codes::{self, Code};
use super::macros::{choice, section};
use super::node::Node;
use super::page::{Colour, IncidentTemplate, Language, PageLink, PagePlace, Zone};
use super::print::Printed;
use super::read::{Field, Reader};
use super::shape::{Book, Shape};
use super::template::SecretRef;
use super::values::{Many, Within, Written, written};
use crate::{ItemName, ProviderName, ServiceName};

section! {
    /// Something that is looked at from outside. It takes exactly one of `http`, `tcp`, `grpc`, `dns` and `ping`.
    pub struct Monitor as "monitor" {
        /// A web address that must answer.
        http: Option<Url>,
        /// A host and port that must accept a connection.
        tcp: Option<HostPort>,
        /// A host and port that must be well by the gRPC health protocol.
        grpc: Option<HostPort>,
        /// A name that must resolve.
        dns: Option<Host>,
        /// A host that must answer a ping.
        ping: Option<Host>,
        /// How often.
        every: Duration = Duration::from_secs(60),
        /// How long an answer may take.
        timeout: Duration = Duration::from_secs(10),
        /// The status that an HTTP answer must have; any from 200 to 399 when not said.
        status: Option<Within<100, 599>>,
        /// A text that an HTTP answer must contain.
        contains: Option<String>,
        /// How many bad looks in a row make an incident.
        confirm: NonZeroU32 = NonZeroU32::MIN,
        /// Warn when the certificate ends sooner than this.
        certificate_left: Option<Duration>,
        /// The service it is about, for the timeline.
        service: Option<ServiceName>,
        /// Providers that look as well, from elsewhere.
        also_on: Vec<ProviderName>,
    }
}

section! {
    /// Something that must report by itself. It takes exactly one of `every` and `cron`.
    pub struct Heartbeat as "heartbeat" {
        /// How often it reports.
        every: Option<Duration>,
        /// When it reports, as five cron fields, in UTC.
        cron: Option<Cron>,
        /// How late it may be.
        grace: Duration = Duration::from_secs(60),
        /// The service that reports.
        service: Option<ServiceName>,
        /// Providers that wait for it as well.
        also_on: Vec<ProviderName>,
    }
}

section! {
    /// The page that tells people how the product is.
    pub struct StatusPage as "status_page" {
        /// Its host.
        host: Option<Host>,
        /// Its title; the stack's name when not said.
        title: Option<String>,
        /// Providers that show the same page, for when nothing of ours answers.
        also_on: Vec<ProviderName>,
        /// What it shows, in order.
        components: Vec<Component>,
        /// The languages it is written in. The first one stands at its address, each other below it: `/de/`.
        languages: Many<Language> = Many(vec![Language::English]),
        /// Where its days begin, by the name of the time zone database.
        time_zone: Zone = Zone("UTC".to_owned()),
        /// How much of a partial outage counts as downtime.
        partial_counts: Percent = Percent(30),
        /// An SVG or PNG file for the top of the page, beside this one, 8 KB at most.
        logo: Option<String>,
        /// The colour of the line at the top.
        colour: Option<Colour>,
        /// Where else people may want to go.
        links: Vec<PageLink>,
        /// Ask search engines to leave it out.
        hidden: bool = false,
        /// Where copies of it are kept, so that it can be read when nothing of ours answers.
        publish: Vec<PagePlace>,
        /// What `linkflow incident open --template` begins with.
        templates: BTreeMap<ItemName, IncidentTemplate>,
    }
}

section! {
    /// One line of the status page.
    pub struct Component as "component" {
        /// What people call it.
        name: String,
        /// What decides how it is: `service.api`, `database.main`, `cache.main`, `bucket.uploads`, `monitor.api`, `heartbeat.timer` or `mail`.
        watch: Many<String>,
        /// The heading it stands under.
        group: Option<String>,
    }
}

section! {
    /// Where what the app says of itself goes besides LinkFlow's own store.
    pub struct Telemetry as "telemetry" {
        /// Providers that get errors.
        errors_to: Vec<ProviderName>,
        /// Providers that get logs.
        logs_to: Vec<ProviderName>,
        /// Providers that get metrics.
        metrics_to: Vec<ProviderName>,
        /// How long all of it is kept here.
        keep: Duration = Duration::from_secs(259_200),
    }
}

section! {
    /// Who is told when something happens.
    pub struct Alert as "alert" {
        /// A Slack webhook.
        slack: Option<SecretRef>,
        /// Addresses that get mail.
        email: Many<Mailbox>,
        /// A web address that gets a JSON message; a secret, because such addresses let anybody write.
        webhook: Option<SecretRef>,
        /// Phone numbers that get a text message.
        sms: Many<Phone>,
        /// Providers that carry the messages, where there is a choice.
        via: Vec<ProviderName>,
        /// From which level on.
        level: AlertLevel = AlertLevel::Warning,
        /// Only when nobody has acted for so long.
        after: Option<Duration>,
        /// Say an unchanged state again after so long.
        repeat: Option<Duration>,
    }
}

choice! {
    /// How much an event must matter to be told.
    pub enum AlertLevel {
        /// Everything.
        Info = "info",
        /// What is worth reading.
        Notice = "notice",
        /// Something is wrong and handled.
        Warning = "warning",
        /// Somebody is needed.
        Alarm = "alarm",
    }
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Written for HostPort {
    const WHAT: &'static str = "a host and a port, like `example.com:443`";
    const PATTERN: Option<&'static str> = Some(":[0-9]+$");
    const CODE: Code = codes::BAD_ADDRESS;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong =
            || (format!("`{text}` is not a host and a port"), format!("write {}", Self::WHAT));
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let Host(host) = Host::parse(host).map_err(|_| wrong())?;
        let port = port.parse().ok().filter(|p| *p > 0).ok_or_else(wrong)?;
        Ok(Self { host, port })
    }

    fn write(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn blank() -> Self {
        Self { host: "blank.invalid".to_owned(), port: 1 }
    }
}

/// A phone number in international form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone(pub String);

impl Written for Phone {
    const WHAT: &'static str = "a phone number in international form, like `+491701234567`";
    const PATTERN: Option<&'static str> = Some(r"^\+[1-9][0-9]{6,14}$");
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let digits = text.strip_prefix('+').unwrap_or_default();
        let fits = (7..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err((format!("`{text}` is not a phone number"), format!("write {}", Self::WHAT)))
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn blank() -> Self {
        Self("+10000000".to_owned())
    }
}

/// Five cron fields: minute, hour, day of the month, month, day of the week.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cron(pub String);

impl Written for Cron {
    const WHAT: &'static str = "five cron fields, like `0 3 * * *`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let ranges = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
        let fits = fields.len() == 5 && fields.iter().zip(ranges).all(|(f, r)| cron_field(f, r));
        if fits {
            return Ok(Self(fields.join(" ")));
        }
        Err((format!("`{text}` is not five cron fields"), format!("write {}", Self::WHAT)))
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn blank() -> Self {
        Self("0 0 * * *".to_owned())
    }
}

/// Whether `field` is a list of `*`, `n`, `n-m`, each with an optional `/step`, within the range.
fn cron_field(field: &str, (least, most): (u8, u8)) -> bool {
    let number = |t: &str| t.parse::<u8>().ok().filter(|n| (least..=most).contains(n));
    field.split(',').all(|item| {
        let (range, step) = item.split_once('/').map_or((item, None), |(r, s)| (r, Some(s)));
        let step_fits = step.is_none_or(|s| s.parse::<u8>().is_ok_and(|s| s > 0));
        let range_fits = range == "*"
            || match range.split_once('-') {
                Some((from, to)) => number(from).zip(number(to)).is_some_and(|(a, b)| a <= b),
                None => number(range).is_some(),
            };
        step_fits && range_fits
    })
}

written!(HostPort, Phone, Cron);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cron_fields_are_held_to_their_ranges() {
        for fits in ["0 3 * * *", "*/5 0-6 1,15 * 1-5", "0 0 31 12 7"] {
            assert!(Cron::parse(fits).is_ok(), "{fits}");
        }
        for wrong in
            ["0 3 * *", "60 * * * *", "0 24 * * *", "5-1 * * * *", "*/0 * * * *", "a b c d e"]
        {
            assert!(Cron::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn phone_numbers_are_international() {
        assert!(Phone::parse("+491701234567").is_ok());
        assert!(Phone::parse("01701234567").is_err());
        assert!(Phone::parse("+0170123456").is_err());
    }
}
