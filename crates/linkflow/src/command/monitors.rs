//! `linkflow monitors`: what is watched, how it is and how it was.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use linkflow_decide::domain::{Asked, judge, take};
use linkflow_decide::watch::Seen;
use linkflow_model::clock::SystemClock;
use linkflow_model::config::{Config, Heartbeat};
use linkflow_model::domain::day_text;
use linkflow_model::{Clock, Condition, DomainState, StateSpan, Timestamp};
use linkflow_monitor::{Domain, Noted, Phases, Prober, Registries, word};
use linkflow_store::{Histogram, Memory, Reading, Rollup, Sqlite, Step, Store};
use linkflow_web::status::{Share, Tally};
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};
use crate::say::time::{local, took};
use crate::wire::beats;
use crate::wire::watched::{Planned, Way, planned};
use crate::wire::{Listen, OpenOptions};

use super::{Answered, Context};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How many spans `show` tells of.
const SPANS: usize = 12;

/// Show what is watched, how it is, and how it was.
///
/// A running `linkflow up` looks, at what `[monitors]` names and at each service with a route, each database, each cache and the
/// domain of each public host.
#[derive(Subcommand, Clone, Debug)]
#[command(
    after_help = "Examples:\n  linkflow monitors list\n  linkflow monitors show api           one of them, with its last outages\n  linkflow monitors test api           look once, now\n  linkflow monitors export --since 30d > history.ndjson"
)]
pub(crate) enum MonitorsCommand {
    /// List what is watched and what reports by itself, and how it is.
    #[command(
        after_help = "Examples:\n  linkflow monitors list\n  linkflow monitors list --tag shop\n  linkflow monitors list --json | jq '.result.monitors[] | select(.condition == \"down\")'"
    )]
    List(ListArgs),
    /// Show one thing that is watched: its uptime, its times, its last outages.
    #[command(
        after_help = "Examples:\n  linkflow monitors show api\n  linkflow monitors show service.api --json | jq .result.uptime"
    )]
    Show(NameArgs),
    /// Look once, now, and show what was seen and how long each phase took. Nothing of it is kept.
    ///
    /// The exit code is 0 when all is well, and 1 when it is not.
    #[command(
        after_help = "Examples:\n  linkflow monitors test api\n  linkflow monitors test api --json | jq .result.phases"
    )]
    Test(NameArgs),
    /// Print the history, one JSON value on each line: spans of conditions, and readings added up.
    #[command(
        after_help = "Examples:\n  linkflow monitors export > history.ndjson\n  linkflow monitors export api --since 90d --step day\n  linkflow monitors export api --since 52w --step minute\n  linkflow monitors export --json | jq '.result.spans | length'\n\nSpans follow each other without gap; uptime is exactly what they come to."
    )]
    Export(ExportArgs),
}

/// Which of them.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListArgs {
    /// Only those with this tag.
    #[arg(long)]
    pub(crate) tag: Option<String>,
}

/// Which one.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameArgs {
    /// Its name: `api`, or `monitor.api`, `service.api`.
    pub(crate) name: String,
}

/// What of the history.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportArgs {
    /// The name of one; all when not said.
    pub(crate) name: Option<String>,

    /// From how long ago on: `12h`, `30d`.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = since)]
    pub(crate) since: Duration,

    /// Over which spans readings are added up.
    #[arg(long, value_enum, default_value_t = By::Hour)]
    pub(crate) step: By,
}

/// The spans that readings are added up over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Minutes, which are kept for 13 months.
    Minute,
    /// Hours, which are kept for 13 months.
    Hour,
    /// Days, which are kept for 13 months.
    Day,
}

fn since(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err("write a time like `12h` or `30d`".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a time like `12h` or `30d`".to_owned())?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

/// What `monitors` answers.
pub(crate) async fn answer(context: &Context, command: &MonitorsCommand) -> Answered {
    let config = context.config(context.common.cloud.is_some())?;
    let cloud = context.cloud().await?;
    let options = context.options(&config, cloud, "monitors", Listen::Nowhere);
    let all = planned(&config, &options);
    match command {
        MonitorsCommand::List(args) => list(context, &config, &options, &all, args).await,
        MonitorsCommand::Show(args) => {
            show(context, &config, &options, one(&all, &args.name)?).await
        }
        MonitorsCommand::Test(args) => test(&config, one(&all, &args.name)?).await,
        MonitorsCommand::Export(args) => export(&config, &options, &all, args).await,
    }
}

/// The one called `name`, with or without its kind.
fn one<'a>(all: &'a [Planned], name: &str) -> Result<&'a Planned, Box<Answer>> {
    let whole = all.iter().find(|planned| planned.subject == name);
    let short = |planned: &&Planned| {
        planned.subject.split_once('.').is_some_and(|(_, short)| short == name)
    };
    if let Some(found) = whole.or_else(|| all.iter().find(short)) {
        return Ok(found);
    }
    let names: Vec<&str> = all.iter().map(|planned| planned.subject.as_str()).collect();
    let help = match names.as_slice() {
        [] => "nothing is watched: add `[monitors.NAME]`".to_owned(),
        names => format!("there are {}", names.join(", ")),
    };
    Answer::failed(2, &format!("nothing called `{name}` is watched"), &help)
}

/// The history, when there is one.
struct History {
    store: Option<Sqlite>,
    now: Timestamp,
    partial_counts: u32,
}

impl History {
    fn open(config: &Config, options: &OpenOptions) -> Result<Self, Box<Answer>> {
        let path: PathBuf = options.state.join("linkflow.db");
        let store = if path.exists() { Some(Sqlite::open(path)?) } else { None };
        let now = SystemClock::start().wall();
        Ok(Self { store, now, partial_counts: config.partial_counts() })
    }

    async fn spans(&self, subject: &str) -> Result<Vec<StateSpan>, Box<Answer>> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let documents = store.list(&StateSpan::prefix(subject)).await?;
        Ok(documents.into_iter().filter_map(|d| serde_json::from_value(d.body).ok()).collect())
    }

    /// What is known of the domain that is watched as `planned`, if it is one.
    async fn domain(&self, planned: &Planned) -> Result<Option<DomainState>, Box<Answer>> {
        let (Ok(Way::Registry(domain)), Some(store)) = (&planned.watched, &self.store) else {
            return Ok(None);
        };
        let document = store.read(&DomainState::key(&domain.name)).await?;
        Ok(document.and_then(|document| serde_json::from_value(document.body).ok()))
    }

    async fn last(&self, subject: &str) -> Result<Option<Reading>, Box<Answer>> {
        let Some(store) = &self.store else { return Ok(None) };
        let all = (Timestamp(0), Timestamp(u64::MAX));
        Ok(store.readings(subject, all.0, all.1, 1).await?.pop())
    }

    async fn rollups(
        &self,
        subject: &str,
        step: Step,
        ago_ms: u64,
    ) -> Result<Vec<Rollup>, Box<Answer>> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let from = Timestamp(self.now.0.saturating_sub(ago_ms));
        Ok(store.rollups(subject, step, from, Timestamp(u64::MAX)).await?)
    }

    /// How long the good looks of the last day took.
    async fn took(&self, subject: &str) -> Result<Histogram, Box<Answer>> {
        let mut sum = Histogram::default();
        for hour in self.rollups(subject, Step::Hour, DAY_MS).await? {
            sum.merge(&hour.took);
        }
        Ok(sum)
    }

    fn uptime(&self, spans: &[StateSpan], days: u32) -> Uptime {
        let tally = Tally::of_spans(spans, days, self.now);
        Uptime { days, share: tally.uptime(self.partial_counts), tally }
    }
}

/// Uptime within a time, counted as the status page counts it.
struct Uptime {
    days: u32,
    share: Option<Share>,
    tally: Tally,
}

impl Uptime {
    fn text(&self) -> String {
        self.share.map_or_else(|| "–".to_owned(), |share| format!("{share} %"))
    }

    fn percent(&self) -> Option<f64> {
        self.share.map(Share::percent)
    }

    fn json(&self) -> Value {
        json!({
            "days": self.days,
            "percent": self.percent(),
            "down_ms": self.tally.down,
            "partial_ms": self.tally.partial,
            "unknown_ms": self.tally.unknown,
        })
    }
}

fn tone(condition: Condition) -> Tone {
    match condition {
        Condition::Up => Tone::Good,
        Condition::Down => Tone::Bad,
        Condition::Degraded | Condition::Partial => Tone::Notable,
        Condition::Maintenance | Condition::Unknown => Tone::Faint,
    }
}

/// A condition in a sentence about `subject`.
fn said(planned: &Planned, condition: Condition) -> &'static str {
    match (&planned.watched, condition) {
        (Ok(Way::Registry(_)), Condition::Up) => "registered",
        (Ok(Way::Registry(_)), Condition::Degraded) => "at risk",
        (Ok(Way::Registry(_)), Condition::Down) => "lost",
        _ => word(condition),
    }
}

fn ms_text(took_us: u32) -> String {
    format!("{}.{} ms", took_us / 1_000, took_us % 1_000 / 100)
}

async fn list(
    context: &Context,
    config: &Config,
    options: &OpenOptions,
    all: &[Planned],
    args: &ListArgs,
) -> Answered {
    let history = History::open(config, options)?;
    let headings = ["NAME", "IS", "SINCE", "24 H", "P95", "EVERY", "WHAT", "WHY"];
    let (mut table, mut rows) = (Table::new(&headings), Vec::new());
    let tagged =
        |planned: &&Planned| args.tag.as_ref().is_none_or(|tag| planned.tags.contains(tag));
    for planned in all.iter().filter(tagged) {
        let spans = history.spans(&planned.subject).await?;
        let now = spans.last();
        let condition = now.map_or(Condition::Unknown, |span| span.condition);
        let uptime = history.uptime(&spans, 1);
        let p95 = history.took(&planned.subject).await?.percentile(95);
        let unable = planned.watched.as_ref().err();
        let why = unable.cloned().or_else(|| now.and_then(|span| span.why.clone()));
        table.row(vec![
            (planned.subject.clone(), Tone::Strong),
            (said(planned, condition).to_owned(), tone(condition)),
            (now.map(|span| local(span.from)).unwrap_or_default(), Tone::Plain),
            (uptime.text(), Tone::Plain),
            (p95.map(ms_text).unwrap_or_default(), Tone::Plain),
            (planned.rhythm(), Tone::Plain),
            (planned.what.clone(), Tone::Plain),
            (why.clone().unwrap_or_default(), Tone::Faint),
        ]);
        rows.push(json!({
            "name": planned.subject,
            "condition": condition,
            "since": now.map(|span| span.from),
            "why": why,
            "uptime_24h": uptime.percent(),
            "p95_us": p95,
            "every_ms": u64::try_from(planned.every.as_millis()).unwrap_or(u64::MAX),
            "what": planned.what,
            "tags": planned.tags,
            "derived": planned.derived,
            "watched": unable.is_none(),
        }));
    }
    // They have no tags.
    if args.tag.is_none() {
        for (name, beat) in &config.heartbeats {
            let (cells, row) = reports(&history, name.as_str(), beat).await?;
            table.row(cells);
            rows.push(row);
        }
    }
    let out = if rows.is_empty() {
        "nothing is watched\n".to_owned()
    } else {
        table.render(context.voice.colours)
    };
    Ok(Answer { out, result: json!({ "monitors": rows }), ..Answer::default() })
}

/// A heartbeat among what is watched.
async fn reports(
    history: &History,
    name: &str,
    beat: &Heartbeat,
) -> Result<(Vec<(String, Tone)>, Value), Box<Answer>> {
    let subject = format!("heartbeat.{name}");
    let spans = history.spans(&subject).await?;
    let now = spans.last();
    let condition = now.map_or(Condition::Unknown, |span| span.condition);
    let why = now.and_then(|span| span.why.clone());
    let uptime = history.uptime(&spans, 1);
    let (every, what) = (beats::asked(beat), "reports by itself".to_owned());
    let cells = vec![
        (subject.clone(), Tone::Strong),
        (word(condition).to_owned(), tone(condition)),
        (now.map(|span| local(span.from)).unwrap_or_default(), Tone::Plain),
        (uptime.text(), Tone::Plain),
        (String::new(), Tone::Plain),
        (every.strip_prefix("every ").unwrap_or(&every).to_owned(), Tone::Plain),
        (what.clone(), Tone::Plain),
        (why.clone().unwrap_or_default(), Tone::Faint),
    ];
    let row = json!({
        "name": subject,
        "condition": condition,
        "since": now.map(|span| span.from),
        "why": why,
        "uptime_24h": uptime.percent(),
        "p95_us": Value::Null,
        "every_ms": beat.every.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX)),
        "what": what,
        "tags": [],
        "derived": false,
        "watched": true,
    });
    Ok((cells, row))
}

async fn show(
    context: &Context,
    config: &Config,
    options: &OpenOptions,
    planned: &Planned,
) -> Answered {
    let history = History::open(config, options)?;
    let subject = &planned.subject;
    let spans = history.spans(subject).await?;
    let (last, times) = (history.last(subject).await?, history.took(subject).await?);
    let noted = match &history.store {
        Some(store) => store.read(&Noted::key(subject)).await?,
        None => None,
    };
    let noted: Noted = noted.and_then(|d| serde_json::from_value(d.body).ok()).unwrap_or_default();
    let condition = spans.last().map_or(Condition::Unknown, |span| span.condition);
    let colours = context.voice.colours;
    let mut out = format!(
        "{} is {}: {} every {}\n",
        Tone::Strong.paint(subject, colours),
        tone(condition).paint(said(planned, condition), colours),
        planned.what,
        planned.rhythm(),
    );
    if let Err(why) = &planned.watched {
        out.push_str(&format!("it cannot be watched: {why}\n"));
    }
    let uptime = [1, 7, 30, 90].map(|days| history.uptime(&spans, days));
    let shares = uptime.each_ref().map(|one| format!("{} d {}", one.days, one.text()));
    out.push_str(&format!("uptime: {}\n", shares.join(", ")));
    let percentiles = [50, 95, 99].map(|p| (p, times.percentile(p)));
    if times.count > 0 {
        let said = percentiles.map(|(p, us)| format!("p{p} {}", ms_text(us.unwrap_or_default())));
        out.push_str(&format!("answers of the last 24 h: {}\n", said.join(", ")));
    }
    if let Some(last) = &last {
        let why = last.why.as_deref().unwrap_or("well");
        let phases = last.phases_us;
        let parts = [("name", 0), ("connection", 1), ("TLS", 2), ("first byte", 3)];
        let parts = parts.iter().filter(|(_, at)| phases[*at] > 0);
        let parts: Vec<String> =
            parts.map(|(name, at)| format!("{name} {}", ms_text(phases[*at]))).collect();
        let (all, parts) = (ms_text(last.took_us), parts.join(", "));
        out.push_str(&format!("last look at {}: {why}, {all} ({parts})\n", local(last.at)));
    }
    if let Some(certificate) = &noted.certificate {
        let ends = u64::try_from(certificate.ends).unwrap_or(0) * 1_000;
        let days = ends.saturating_sub(history.now.0) / DAY_MS;
        out.push_str(&format!("certificate: {days} days left, from {}\n", certificate.issuer));
    }
    let domain = history.domain(planned).await?;
    if let Some(domain) = &domain {
        out.push_str(&registered(domain, history.now));
    }
    let newest = &spans[spans.len().saturating_sub(SPANS)..];
    out.push_str(&told(planned, newest, history.now, colours));
    let result = json!({
        "name": subject,
        "condition": condition,
        "what": planned.what,
        "uptime": uptime.each_ref().map(Uptime::json),
        "took_us": percentiles.map(|(p, us)| json!({ "percentile": p, "us": us })),
        "last": last,
        "certificate": noted.certificate,
        "domain": domain,
        "spans": newest,
    });
    Ok(Answer { out, result, ..Answer::default() })
}

/// What the registry of a domain said, in a line.
fn registered(domain: &DomainState, now: Timestamp) -> String {
    let until = |ends: Timestamp| {
        let days = ends.0.saturating_sub(now.0) / DAY_MS;
        format!("until {}, {days} days left", day_text(ends))
    };
    let mut parts = Vec::new();
    if let Some(known) = domain.registration() {
        parts.push(known.ends.map_or_else(|| "without an end that is told".to_owned(), until));
        parts.extend(known.registrar.iter().map(|registrar| format!("at {registrar}")));
        parts.extend((!known.status.is_empty()).then(|| known.status.join(", ")));
    }
    parts.extend(domain.trouble.clone());
    parts.push(format!("its registry is asked again at {}", local(domain.next)));
    format!("registered: {}\n", parts.join("; "))
}

/// Spans, the newest first.
fn told(planned: &Planned, spans: &[StateSpan], now: Timestamp, colours: bool) -> String {
    if spans.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["FROM", "WAS", "FOR", "WHY"]);
    for span in spans.iter().rev() {
        let lasted = span.to.unwrap_or(now).0.saturating_sub(span.from.0);
        table.row(vec![
            (local(span.from), Tone::Plain),
            (said(planned, span.condition).to_owned(), tone(span.condition)),
            (took(lasted), Tone::Plain),
            (span.why.clone().unwrap_or_default(), Tone::Faint),
        ]);
    }
    table.render(colours)
}

async fn test(config: &Config, planned: &Planned) -> Answered {
    let watched = match &planned.watched {
        Ok(Way::Looks(watched)) => watched,
        Ok(Way::Registry(domain)) => return ask(config, planned, domain).await,
        Err(why) => {
            let help = "`linkflow check` tells more of the config";
            return Answer::failed(
                2,
                &format!("{} cannot be looked at: {why}", planned.subject),
                help,
            );
        }
    };
    let prober = match Prober::new() {
        Ok(prober) => prober,
        Err(why) => return Answer::failed(1, &why, ""),
    };
    let saw = prober.look(&watched.target, Duration::from_millis(watched.manner.limit_ms)).await;
    let (well, why) = match &saw.seen {
        Seen::Well { .. } => (true, "well".to_owned()),
        Seen::Silent(why) | Seen::Wrong(why) => (false, why.clone()),
        Seen::Blind => (false, "nothing could be seen".to_owned()),
    };
    let at = saw.address.map(|address| format!(" at {address}")).unwrap_or_default();
    let mut out = format!("{}: {why}\n{}{at}\n", planned.subject, planned.what);
    for (name, us) in named(&saw.phases) {
        out.push_str(&format!("  {name:<11}{}\n", ms_text(us)));
    }
    let result = json!({
        "name": planned.subject,
        "stack": config.stack.name,
        "well": well,
        "why": (!well).then_some(&why),
        "address": saw.address,
        "phases": saw.phases,
        "certificate": saw.certificate,
    });
    if well {
        return Ok(Answer { out, result, ..Answer::default() });
    }
    let failed = Answer::failure(1, &format!("{}: {why}", planned.subject), "");
    Ok(Answer { out, result, ..failed })
}

/// Asks the registry of a domain once, now.
async fn ask(config: &Config, planned: &Planned, domain: &Domain) -> Answered {
    let prober = match Prober::new() {
        Ok(prober) => prober,
        Err(why) => return Answer::failed(1, &why, ""),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let (store, list) = (Arc::new(Memory::default()), config.domains.list.0.clone());
    let asked = Registries::new(prober, Arc::clone(&clock), store, list).ask(&domain.name).await;
    let (mut state, now) = (DomainState::default(), clock.wall());
    // Here nobody asks once more.
    let times = if asked == Asked::Nobody { 2 } else { 1 };
    for _ in 0..times {
        take(domain.terms, &mut state, asked.clone(), now, 0);
    }
    let verdict = judge(domain.terms, &state, now);
    let well = verdict.condition == Condition::Up;
    let why = verdict.why.unwrap_or_else(|| "well".to_owned());
    let ends = state.registration().and_then(|known| known.ends).map(day_text);
    let until = ends.map(|day| format!(", registered until {day}")).unwrap_or_default();
    let out = format!("{}: {why}\n{}{until}\n", planned.subject, planned.what);
    let result = json!({
        "name": planned.subject,
        "stack": config.stack.name,
        "well": well,
        "condition": verdict.condition,
        "why": (!well).then_some(&why),
        "registration": state.registration(),
    });
    if well {
        return Ok(Answer { out, result, ..Answer::default() });
    }
    let failed = Answer::failure(1, &format!("{}: {why}", planned.subject), "");
    Ok(Answer { out, result, ..failed })
}

fn named(phases: &Phases) -> impl Iterator<Item = (&'static str, u32)> {
    let all = [
        ("name", phases.dns_us),
        ("connection", phases.connect_us),
        ("TLS", phases.tls_us),
        ("first byte", phases.first_us),
        ("all", Some(phases.total_us)),
    ];
    all.into_iter().filter_map(|(name, us)| Some((name, us?)))
}

async fn export(
    config: &Config,
    options: &OpenOptions,
    all: &[Planned],
    args: &ExportArgs,
) -> Answered {
    let history = History::open(config, options)?;
    let ago = u64::try_from(args.since.as_millis()).unwrap_or(u64::MAX);
    let from = Timestamp(history.now.0.saturating_sub(ago));
    let chosen: Vec<&Planned> = match &args.name {
        Some(name) => vec![one(all, name)?],
        None => all.iter().collect(),
    };
    let step = match args.step {
        By::Minute => Step::Minute,
        By::Hour => Step::Hour,
        By::Day => Step::Day,
    };
    let (mut out, mut spans, mut sums) = (String::new(), Vec::new(), Vec::new());
    for planned in chosen {
        let recent = history.spans(&planned.subject).await?.into_iter();
        for span in recent.filter(|span| span.to.is_none_or(|to| to > from)) {
            out.push_str(&format!("{}\n", json!({ "span": span })));
            spans.push(json!(span));
        }
        for sum in history.rollups(&planned.subject, step, ago).await? {
            let row = sum_row(&planned.subject, step, &sum);
            out.push_str(&format!("{}\n", json!({ "readings": row })));
            sums.push(row);
        }
    }
    Ok(Answer { out, result: json!({ "spans": spans, "readings": sums }), ..Answer::default() })
}

fn sum_row(subject: &str, step: Step, sum: &Rollup) -> Value {
    let percentile = |p| sum.took.percentile(p);
    json!({
        "subject": subject,
        "at": sum.at,
        "step": step,
        "looks": sum.bad + sum.took.count,
        "bad": sum.bad,
        "min_us": sum.took.min_us,
        "max_us": sum.took.max_us,
        "sum_us": sum.took.sum_us,
        "p50_us": percentile(50),
        "p95_us": percentile(95),
        "p99_us": percentile(99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ago_has_a_number_and_a_unit() {
        let rows = [("90s", Some(90)), ("12h", Some(43_200)), ("2w", Some(1_209_600))];
        let wrong = ["30", "d", "1y", "", "-1d"].map(|text| (text, None));
        for (text, expected) in rows.into_iter().chain(wrong) {
            assert_eq!(since(text).ok().map(|time| time.as_secs()), expected, "{text}");
        }
    }
}
