//! Who watches, and who is told: monitors, heartbeats, the status page, alerts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::address::{Host, Machine, Mailbox, Url};
use super::amount::Percent;
use super::codes::{self, Code};
use super::macros::{choice, section};
use super::node::Node;
use super::page::{Colour, IncidentTemplate, Language, PageLink, PagePlace, PageSubscribe, Zone};
use super::print::Printed;
use super::read::{Field, Reader};
use super::route::{HeaderKey, Method};
use super::shape::{Book, Shape};
use super::template::{SecretRef, Template};
use super::values::{Many, Within, Written, written};
use crate::{CronTable, ItemName, ProviderName, Rhythm, ServiceName, Timestamp};

/// How much of a partial outage counts as downtime, where nothing else is written.
pub(super) const PARTIAL_COUNTS: Percent = Percent(30);

section! {
    /// Something that is looked at from outside. It takes exactly one of `http`, `tcp`, `tls`, `grpc`, `dns`, `ping`, `postgres`, `redis` and `domain`.
    pub struct Monitor as "monitor" {
        /// A web address that must answer.
        http: Option<Url>,
        /// A host and port that must accept a connection.
        tcp: Option<HostPort>,
        /// A host and port that must speak TLS, with a certificate that is trusted for the host.
        tls: Option<HostPort>,
        /// A host and port that must be well by the gRPC health protocol.
        grpc: Option<HostPort>,
        /// A name that must resolve.
        dns: Option<Host>,
        /// A host that must answer a ping.
        ping: Option<Machine>,
        /// The address of a PostgreSQL that must let us in and answer `query`: `${database.main.url}`.
        postgres: Option<Template>,
        /// The address of a Redis that must let us in and answer `PING`: `${cache.main.url}`.
        redis: Option<Template>,
        /// A domain that must stay registered. Its registry is asked when it ends.
        domain: Option<Host>,
        /// How often, `1s` at least. A `domain` is asked for `1h` apart at least, and as `[domains]` says when this is not said.
        every: Duration = Duration::from_secs(60),
        /// How long an answer may take.
        timeout: Duration = Duration::from_secs(10),
        /// For how long it must fail to count as down; it is looked at three times more within. When not said, what fits `every`: `1.6s` up to `10s`, `28s` from `30s` on.
        confirm: Option<Duration>,
        /// From which time on answers are slow. What is slow for some minutes is degraded, not down.
        slow: Option<Duration>,
        /// Whether what is slow is learned where `slow` is not said: three times what is usual at this hour of the day, and 200 ms more than that at least.
        learn_slow: bool = true,
        /// Below this nothing counts as slow by what was learned.
        slow_least: Option<Duration>,
        /// The method of `http`.
        method: Method = Method("GET".to_owned()),
        /// Headers that are sent. Secrets may stand in them: `${secret.NAME}`.
        headers: BTreeMap<HeaderKey, Template>,
        /// What is sent.
        body: Option<Template>,
        /// The statuses that an HTTP answer may have; any from 200 to 399 when not said.
        status: Many<Within<100, 599>>,
        /// A text that an HTTP answer must contain, within its first 64 KiB.
        contains: Option<String>,
        /// A text that an HTTP answer must not contain.
        lacks: Option<String>,
        /// Values that an HTTP answer must have as JSON: `checks.0.state = ok`.
        json: Many<JsonIs>,
        /// How many redirects are followed. With 0 a redirect is the answer.
        redirects: Within<0, 20> = Within(5),
        /// Which record `dns` must have.
        record: AskedRecord = AskedRecord::A,
        /// What the record must lead to.
        answer: Many<String>,
        /// Who is asked for `dns`; the machine's own resolver when not said.
        server: Option<SocketAddr>,
        /// What `postgres` is asked.
        query: Option<String>,
        /// Which service of `grpc` is asked for; the server as a whole when not said.
        grpc_service: Option<String>,
        /// Whether `grpc` speaks TLS.
        grpc_tls: bool = false,
        /// Warn when the certificate ends sooner than this.
        certificate_left: Duration = Duration::from_secs(14 * 86_400),
        /// Warn when the domain ends sooner than this.
        domain_left: Duration = Duration::from_secs(30 * 86_400),
        /// The service it is about. It then takes the place of the monitor that each service with a route has by itself.
        service: Option<ServiceName>,
        /// What it needs: `database.main`, `monitor.gateway`. When one of them is down, that is the cause, and no alarm comes for this one.
        needs: Many<String>,
        /// Words to find it by.
        tags: Many<String>,
        /// Providers that look as well, from elsewhere.
        also_on: Vec<ProviderName>,
    }
}

impl Monitor {
    /// How often it is looked at, where `domains` says how often registries are asked.
    pub fn pace(&self, domains: &Domains) -> Duration {
        // A shorter time can only be the one that fits everything else.
        let is_said = self.domain.is_none() || self.every >= Domains::LEAST;
        if is_said { self.every } else { domains.every }
    }
}

section! {
    /// The domains that the stack's hosts are under. Their registries are asked when they end.
    pub struct Domains as "domains" {
        /// Whether those of routes, of the status page, of the dashboard and of the mail's sender are watched without a monitor of their own.
        watch: bool = true,
        /// How often a registry is asked, `1h` at least.
        every: Duration = Duration::from_secs(43_200),
        /// Warn when a domain ends sooner than this.
        left: Duration = Duration::from_secs(30 * 86_400),
        /// Where it stands which registry answers for which ending.
        list: Url = Url("https://data.iana.org/rdap/dns.json".to_owned()),
    }
}

impl Domains {
    /// Registries are not asked more often.
    pub const LEAST: Duration = Duration::from_secs(3_600);
}

choice! {
    /// The records that a monitor can ask for.
    pub enum AskedRecord {
        /// An IPv4 address.
        A = "A",
        /// An IPv6 address.
        Aaaa = "AAAA",
        /// Another name.
        Cname = "CNAME",
        /// Who takes mail.
        Mx = "MX",
        /// Who answers for the zone.
        Ns = "NS",
        /// A text.
        Txt = "TXT",
    }
}

section! {
    /// Something that must report by itself. It takes exactly one of `every` and `cron`.
    pub struct Heartbeat as "heartbeat" {
        /// How often it reports.
        every: Option<Duration>,
        /// When it reports, as five cron fields or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
        cron: Option<Cron>,
        /// The time zone of `cron`, by its name in the time zone database.
        time_zone: Zone = Zone("UTC".to_owned()),
        /// How late it may be.
        grace: Duration = Duration::from_secs(60),
        /// How long a run may take. When not said, it must end before the next one is overdue.
        max_runtime: Option<Duration>,
        /// From which time on a run is slow: then it is degraded, not down.
        slow: Option<Duration>,
        /// How many in a row may fail or not come before it counts.
        failures: Within<0, 100> = Within(0),
        /// Whether two runs at once are fine. Otherwise it is degraded while there are.
        overlap: bool = true,
        /// Its UUID, in place of the one that LinkFlow makes: that of Healthchecks, so that only the host of an address changes.
        uuid: Option<SecretRef>,
        /// The service that reports.
        service: Option<ServiceName>,
        /// What it needs: `database.main`, `monitor.gateway`. When one of them is down, that is the cause, and no alarm comes for this one.
        needs: Many<String>,
        /// Providers that wait for it as well.
        also_on: Vec<ProviderName>,
    }
}

impl Heartbeat {
    /// When its reports are due; `None` for one that does not say.
    pub fn rhythm(&self) -> Option<Rhythm> {
        let by_cron = || {
            let table = self.cron.as_ref()?.table()?;
            Some(Rhythm::Cron(table, self.time_zone.rules()))
        };
        let every = self.every.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        every.map(Rhythm::Every).or_else(by_cron)
    }
}

section! {
    /// Work that is done again and again. Each of its times is announced as any other work is: it counts as no outage.
    pub struct Window as "window" {
        /// One line for the public.
        title: String,
        /// What is done and what it means, in Markdown.
        text: String = String::new(),
        /// When it begins, as five cron fields or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
        cron: Cron,
        /// The time zone of `cron`, by its name in the time zone database.
        time_zone: Zone = Zone("UTC".to_owned()),
        /// How long it takes.
        lasts: Duration,
        /// How long before it begins each time is announced.
        ahead: Duration = Duration::from_secs(3 * 86_400),
        /// Whether feeds and subscribers are told. The page and its calendar show it all the same.
        tell: bool = true,
        /// What is affected: `service.api`, `database.main`, `cache.main`, `bucket.uploads`, `monitor.api` or `heartbeat.timer`.
        on: Many<String>,
    }
}

impl Window {
    /// The first time after `after` at which it begins; `None` when it never does.
    pub fn begins(&self, after: Timestamp) -> Option<Timestamp> {
        self.cron.table()?.after(after, &self.time_zone.rules())
    }

    /// How long it takes, in milliseconds.
    pub fn lasts_ms(&self) -> u64 {
        u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX)
    }
}

section! {
    /// How jobs report to the heartbeats.
    pub struct Reports as "reports" {
        /// The key in the addresses, in place of the one that LinkFlow makes: that of Cronitor or Healthchecks, so that only the host of an address changes.
        key: Option<SecretRef>,
        /// How often one heartbeat may report in a second; with short bursts of twice as many.
        per_second: Within<1, 1000> = Within(5),
    }
}

section! {
    /// Who is told that LinkFlow itself is well, and tells you when that stops: a dead-man's switch.
    pub struct Watchdog as "watchdog" {
        /// Addresses that are asked for while all is well. Secrets, because whoever knows one can say so, too.
        ping: Vec<SecretRef>,
        /// How often.
        every: Duration = Duration::from_secs(60),
        /// Providers that keep a heartbeat for it, which `linkflow watchers apply` makes, and that are told.
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
        partial_counts: Percent = PARTIAL_COUNTS,
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
        /// How people are told by mail, and programs by webhooks. Without it there are feeds only.
        subscribe: Option<PageSubscribe>,
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
    /// Another LinkFlow with the same config, somewhere else, that looks as well: what only one of them cannot reach is not down.
    pub struct OtherPlace as "vantage" {
        /// Where its dashboard is: `https://ops2.example.com`.
        url: Url,
        /// A token of its own, with the scope `read`: `linkflow access token create` there.
        token: SecretRef,
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
        /// The secret that signs what goes to `webhook`.
        webhook_secret: Option<SecretRef>,
        /// A webhook of Discord.
        discord: Option<SecretRef>,
        /// The webhook of a workflow of Microsoft Teams.
        teams: Option<SecretRef>,
        /// The token of a Telegram bot.
        telegram: Option<SecretRef>,
        /// The chat that it writes into, an id or `@name`.
        telegram_chat: Option<String>,
        /// A topic of ntfy; a secret, because whoever knows it can read it.
        ntfy: Option<SecretRef>,
        /// In place of `https://ntfy.sh`.
        ntfy_server: Option<Url>,
        /// A token, where the server of ntfy has logins.
        ntfy_token: Option<SecretRef>,
        /// The integration key of a PagerDuty service.
        pagerduty: Option<SecretRef>,
        /// In place of `https://events.pagerduty.com`, for whoever speaks the same.
        pagerduty_server: Option<Url>,
        /// A program and its arguments, which is told as JSON on its standard input.
        command: Vec<String>,
        /// Phone numbers that get a text message by Twilio.
        sms: Many<Phone>,
        /// Providers that carry the messages, where there is a choice.
        via: Vec<ProviderName>,
        /// From which level on.
        level: AlertLevel = AlertLevel::Warning,
        /// Only when nobody has acted for so long.
        after: Option<Duration>,
        /// Only what has lasted so long: what is over sooner is not told.
        wait: Duration = Duration::ZERO,
        /// Say an unchanged state again after so long, until somebody has taken it.
        repeat: Option<Duration>,
        /// Hours of the day, in UTC, in which only alarms are told, and the rest when they are over.
        quiet: Option<QuietHours>,
        /// Of the phone numbers, tell only one, each for so long in turn.
        turn: Option<Duration>,
        /// The alert that is told in its place when this one could not be told for a minute. It is told of nothing else.
        otherwise: Option<ItemName>,
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

/// A value that JSON must have: where it is, and what it is as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonIs {
    /// Names and numbers with dots between.
    pub path: String,
    /// The value.
    pub is: String,
}

impl Written for JsonIs {
    const WHAT: &'static str = "a place in JSON and its value, like `checks.0.state = ok`";
    const PATTERN: Option<&'static str> = Some("^[^=]+=");
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let (path, is) = text.split_once('=').unwrap_or_default();
        if path.trim().is_empty() || path.trim().split('.').any(str::is_empty) {
            let what = format!("`{text}` says no place and value");
            return Err((what, format!("write {}", Self::WHAT)));
        }
        Ok(Self { path: path.trim().to_owned(), is: is.trim().to_owned() })
    }

    fn write(&self) -> String {
        format!("{} = {}", self.path, self.is)
    }

    fn blank() -> Self {
        Self { path: "blank".to_owned(), is: String::new() }
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

/// Hours of the day in which only alarms are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuietHours {
    /// The first minute of the day that is quiet.
    pub from: u16,
    /// The first one after it that is not.
    pub to: u16,
}

impl Written for QuietHours {
    const WHAT: &'static str = "two times of the day, like `22:00-07:00`";
    const PATTERN: Option<&'static str> = Some("^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$");
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong =
            || (format!("`{text}` is not two times of the day"), format!("write {}", Self::WHAT));
        let minute = |text: &str| {
            let (hour, minute) =
                text.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
            let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let (from, to) = minute(from).zip(minute(to)).ok_or_else(wrong)?;
        if from == to { Err(wrong()) } else { Ok(Self { from, to }) }
    }

    fn write(&self) -> String {
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        format!("{}-{}", time(self.from), time(self.to))
    }

    fn blank() -> Self {
        Self { from: 0, to: 1 }
    }
}

/// A phone number in international form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone(pub String);

impl Phone {
    /// What somebody typed: spaces, hyphens, dots, slashes and brackets in it are left out.
    pub fn typed(text: &str) -> Option<Self> {
        let between = |c: &char| !matches!(c, ' ' | '-' | '.' | '/' | '(' | ')');
        Self::parse(&text.chars().filter(between).collect::<String>()).ok()
    }
}

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

impl Cron {
    /// When it is due; `None` of what was not checked.
    pub fn table(&self) -> Option<CronTable> {
        CronTable::parse(&self.0)
    }
}

impl Written for Cron {
    const WHAT: &'static str = "five cron fields, like `0 3 * * *`, or `@hourly`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        match CronTable::parse(text) {
            Some(_) => Ok(Self(CronTable::fields(text))),
            None => {
                let what = format!("`{text}` is not five cron fields that name a time");
                Err((what, format!("write {}", Self::WHAT)))
            }
        }
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn blank() -> Self {
        Self("0 0 * * *".to_owned())
    }
}

written!(HostPort, JsonIs, Phone, Cron, QuietHours);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cron_expression_is_written_as_its_five_fields() {
        assert_eq!(Cron::parse("*/5  0-6 1,15 * 1-5"), Ok(Cron("*/5 0-6 1,15 * 1-5".to_owned())));
        assert_eq!(Cron::parse("@daily"), Ok(Cron("0 0 * * *".to_owned())));
        assert!(Cron::parse("0 0 31 2 *").is_err());
    }

    #[test]
    fn quiet_hours_may_cross_midnight() {
        assert_eq!(QuietHours::parse("22:00-07:30"), Ok(QuietHours { from: 1_320, to: 450 }));
        for wrong in ["22-7", "22:00", "24:00-07:00", "22:00-22:00", "2:00-07:00"] {
            assert!(QuietHours::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_in_json_has_a_place() {
        let read = |text: &str| JsonIs::parse(text).map(|rule| rule.write());
        assert_eq!(read("db.ok=true").unwrap(), "db.ok = true");
        assert_eq!(read("a.0 = x = y").unwrap(), "a.0 = x = y");
        assert_eq!(read("empty =").unwrap(), "empty = ");
        for wrong in ["db.ok", "= true", "a..b = 1", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn phone_numbers_are_international() {
        assert!(Phone::parse("+491701234567").is_ok());
        assert!(Phone::parse("01701234567").is_err());
        assert!(Phone::parse("+0170123456").is_err());
    }
}
