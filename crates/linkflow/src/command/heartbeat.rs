//! `linkflow heartbeat`: jobs that report by themselves, where they report, and how they are.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand, ValueEnum};
use linkflow_model::config::Config;
use linkflow_model::{Beat, Condition, HeartbeatState, ItemName, Output, Paused, Says, StateSpan};
use linkflow_monitor::word;
use linkflow_store::Store;
use linkflow_web::order::address::{self, Reporter, Which};
use linkflow_web::order::heartbeat;
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};
use crate::say::time::{local, took};
use crate::wire::beats::asked;

use super::heartbeat_run::{ago, run, send};
use super::tell::Teller;
use super::{Answered, Context};

/// How many reports `show` tells of.
const REPORTS: usize = 12;

/// How many lines of the last output `show` prints.
const LINES: usize = 20;

/// Begins what our own jobs are called.
const OWN: &str = "own.";

/// Run jobs and be told when they fail, take too long, or do not run at all.
///
/// A job of `[heartbeats]` reports to the dashboard's address: by `linkflow heartbeat run`, or by any program that asks a web
/// address. Cronitor's and Healthchecks' forms both work.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow heartbeat run backup -- ./backup.sh\n  linkflow heartbeat list                 where jobs report, and how they are\n  linkflow heartbeat show backup          its last reports, and what it printed\n  linkflow heartbeat send backup --state fail --message \"disk is full\""
)]
pub(crate) enum HeartbeatCommand {
    /// Run a command and report when it begins, and how it ended: how long it took, its exit code, the end of what it printed.
    ///
    /// It gets what this command gets on stdin, and the signals TERM, INT and HUP; its exit code is the answer. A report that
    /// cannot be sent holds nothing up: it is tried twice, and sent with the next run.
    #[command(
        after_help = "Examples:\n  linkflow heartbeat run backup -- ./backup.sh --all\n  linkflow heartbeat run backup --max-runtime 30m -- ./backup.sh\n  linkflow heartbeat run backup --to https://ops.example.com/p/KEY -- ./backup.sh\n  0 3 * * * LINKFLOW_HEARTBEATS=https://ops.example.com/p/KEY linkflow heartbeat run backup -- /opt/backup.sh"
    )]
    Run(RunArgs),
    /// List what must report, how it is, and at which address it reports.
    #[command(
        after_help = "Examples:\n  linkflow heartbeat list\n  linkflow heartbeat list --json | jq -r '.result.heartbeats[].address'"
    )]
    List,
    /// Show one of them: its last reports, and what its last run printed.
    #[command(
        after_help = "Examples:\n  linkflow heartbeat show backup\n  linkflow heartbeat show backup --json | jq .result.reports"
    )]
    Show(NameArgs),
    /// Report by hand.
    #[command(
        after_help = "Examples:\n  linkflow heartbeat send backup --state ok\n  linkflow heartbeat send backup --state fail --message \"disk is full\"\n  linkflow heartbeat send backup --state complete --duration 90s --to https://ops.example.com/p/KEY"
    )]
    Send(SendArgs),
    /// Do not wait for it, until it is resumed.
    #[command(after_help = "Examples:\n  linkflow heartbeat pause backup")]
    Pause(NameArgs),
    /// Wait for it again. It is due as if it had just reported.
    #[command(after_help = "Examples:\n  linkflow heartbeat resume backup")]
    Resume(NameArgs),
    /// Make its UUID anew, or, without a name, the key that stands before names. The old one is not answered any more.
    #[command(
        after_help = "Examples:\n  linkflow heartbeat rotate backup --reason \"it was in a log\"\n  linkflow heartbeat rotate              the key of all of them"
    )]
    Rotate(RotateArgs),
}

/// What is run.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunArgs {
    /// Its name in `[heartbeats]`.
    pub(super) name: String,

    /// End it when it takes longer: with TERM, and ten seconds later with KILL. The exit code is 124 then.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) max_runtime: Option<Duration>,

    /// Do not send what it prints; it then has our terminal, if we have one.
    #[arg(long)]
    pub(super) no_output: bool,

    /// Where it reports: `https://HOST/p/KEY` of LinkFlow or Cronitor, `https://hc-ping.com/UUID` of Healthchecks; the store of
    /// this machine when neither this nor `LINKFLOW_HEARTBEATS` says so.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) to: Option<String>,

    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub(super) command: Vec<String>,
}

/// What is told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct SendArgs {
    /// Its name in `[heartbeats]`.
    pub(super) name: String,

    /// What happened.
    #[arg(long, value_enum, default_value_t = State::Ok)]
    pub(super) state: State,

    /// In words.
    #[arg(long, value_name = "TEXT")]
    pub(super) message: Option<String>,

    /// What the reports of one run share.
    #[arg(long, value_name = "TEXT")]
    pub(super) series: Option<String>,

    /// How long the run took.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) duration: Option<Duration>,

    /// The exit code of what ran.
    #[arg(long, value_name = "CODE")]
    pub(super) exit: Option<i32>,

    /// Where to, as for `run`.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) to: Option<String>,
}

/// What a report can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// A run began.
    Run,
    /// A run ended well.
    Complete,
    /// A run failed.
    Fail,
    /// All is well, with no word of a run.
    Ok,
}

impl State {
    pub(super) fn says(self) -> Says {
        match self {
            Self::Run => Says::Run,
            Self::Complete => Says::Complete,
            Self::Fail => Says::Fail,
            Self::Ok => Says::Ok,
        }
    }
}

/// Which one.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameArgs {
    /// Its name in `[heartbeats]`; `own.loop` and such for LinkFlow's own jobs.
    name: String,
}

/// Which one, or the key of all.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct RotateArgs {
    /// Its name in `[heartbeats]`.
    name: Option<String>,

    /// Why, for whoever reads it later.
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span = text.parse::<jiff::SignedDuration>().ok();
    span.and_then(|span| Duration::try_from(span).ok())
        .filter(|span| !span.is_zero())
        .ok_or_else(|| "write a time like `90s` or `30m`".to_owned())
}

/// What `heartbeat` answers.
pub(crate) async fn answer(context: &Context, command: &HeartbeatCommand) -> Answered {
    match command {
        HeartbeatCommand::Run(args) => return run(context, args).await,
        HeartbeatCommand::Send(args) => return send(context, args).await,
        HeartbeatCommand::List
        | HeartbeatCommand::Show(_)
        | HeartbeatCommand::Pause(_)
        | HeartbeatCommand::Resume(_)
        | HeartbeatCommand::Rotate(_) => {}
    }
    let teller = context.teller()?;
    match command {
        HeartbeatCommand::Show(args) => show(&teller, &args.name).await,
        HeartbeatCommand::Pause(args) => pause(&teller, &args.name).await,
        HeartbeatCommand::Resume(args) => resume(&teller, &args.name).await,
        HeartbeatCommand::Rotate(args) => rotate(context, &teller, args).await,
        HeartbeatCommand::List | HeartbeatCommand::Run(_) | HeartbeatCommand::Send(_) => {
            list(context, &teller).await
        }
    }
}

/// Refuses a name that the config does not have.
pub(super) fn known(config: &Config, name: &str) -> Result<(), Box<Answer>> {
    if config.heartbeats.keys().any(|known| known.as_str() == name) {
        return Ok(());
    }
    let names: Vec<&str> = config.heartbeats.keys().map(ItemName::as_str).collect();
    let help = match names.as_slice() {
        [] => format!("add `[heartbeats.{name}]` to the config"),
        names => format!("there are {}", names.join(", ")),
    };
    Answer::failed(2, &format!("there is no heartbeat `{name}`"), &help)
}

/// Where the heartbeats of the stack report.
struct Places(Vec<Reporter>);

impl Places {
    async fn of(context: &Context, teller: &Teller) -> Result<Self, Box<Answer>> {
        let source = context.source(&teller.config)?;
        Ok(Self(address::all(&teller.store, &teller.config, &source).await?))
    }

    /// The address that `which` means; none where no heartbeat is declared.
    fn get(&self, which: &Which) -> Option<&str> {
        self.0.iter().find(|one| one.which == *which).map(|one| one.address.as_str())
    }

    /// Where a heartbeat reports by its UUID, as at Healthchecks.
    fn by_uuid(&self, name: &str) -> Option<String> {
        self.get(&Which::Heartbeat(name.to_owned())).map(str::to_owned)
    }
}

/// What is known of a heartbeat.
struct Known {
    state: Option<HeartbeatState>,
    span: Option<StateSpan>,
    paused: Option<Paused>,
}

impl Known {
    async fn of(teller: &Teller, name: &str) -> Result<Self, Box<Answer>> {
        let subject = subject(name);
        let span = teller.store.last(&StateSpan::prefix(&subject)).await?;
        let read = |document: Option<linkflow_store::Document>| document.map(|d| d.body);
        let state = read(teller.store.read(&HeartbeatState::key(name)).await?);
        let paused = read(teller.store.read(&HeartbeatState::paused(name)).await?);
        Ok(Self {
            state: state.and_then(|body| serde_json::from_value(body).ok()),
            span: read(span).and_then(|body| serde_json::from_value(body).ok()),
            paused: paused.and_then(|body| serde_json::from_value(body).ok()),
        })
    }

    fn condition(&self) -> Condition {
        self.span.as_ref().map_or(Condition::Unknown, |span| span.condition)
    }

    fn why(&self) -> Option<String> {
        let paused = self.paused.as_ref().map(|paused| format!("paused by {}", paused.by));
        let span = self.span.as_ref().and_then(|span| span.why.clone());
        paused.or_else(|| self.state.as_ref().and_then(|state| state.why.clone())).or(span)
    }

    fn value(&self) -> Value {
        let state = self.state.as_ref();
        json!({
            "condition": self.condition(),
            "since": self.span.as_ref().map(|span| span.from),
            "why": self.why(),
            "paused": self.paused,
            "last": state.and_then(|state| state.last),
            "expected": state.and_then(|state| state.expected),
            "took_ms": state.and_then(|state| state.took_ms),
            "failures": state.map(|state| state.failures),
        })
    }
}

fn subject(name: &str) -> String {
    if name.starts_with(OWN) { name.to_owned() } else { format!("heartbeat.{name}") }
}

fn tone(condition: Condition) -> Tone {
    match condition {
        Condition::Up => Tone::Good,
        Condition::Down => Tone::Bad,
        Condition::Degraded | Condition::Partial => Tone::Notable,
        Condition::Maintenance | Condition::Unknown => Tone::Faint,
    }
}

async fn list(context: &Context, teller: &Teller) -> Answered {
    let places = Places::of(context, teller).await?;
    let headings = ["NAME", "IS", "LAST", "DUE", "ASKED", "REPORTS TO", "WHY"];
    let (mut table, mut rows) = (Table::new(&headings), Vec::new());
    let declared = teller.config.heartbeats.iter();
    let declared =
        declared.map(|(name, beat)| (name.to_string(), asked(beat), places.by_uuid(name.as_str())));
    let own = teller.store.list(&format!("{}{OWN}", HeartbeatState::PREFIX)).await?;
    let own = own.into_iter().filter_map(|document| {
        let name = document.key.strip_prefix(HeartbeatState::PREFIX)?.to_owned();
        let state: HeartbeatState = serde_json::from_value(document.body).ok()?;
        Some((name, state.asked, None))
    });
    for (name, asked, address) in declared.chain(own) {
        let known = Known::of(teller, &name).await?;
        let state = known.state.as_ref();
        let condition = known.condition();
        let last = state.and_then(|state| state.last).map(|at| ago(teller.now, at));
        let due = state.and_then(|state| state.expected).filter(|_| known.paused.is_none());
        table.row(vec![
            (name.clone(), Tone::Strong),
            (word(condition).to_owned(), tone(condition)),
            (last.unwrap_or_else(|| "never".to_owned()), Tone::Plain),
            (due.map(local).unwrap_or_default(), Tone::Plain),
            (asked.clone(), Tone::Plain),
            (address.clone().unwrap_or_default(), Tone::Plain),
            (known.why().unwrap_or_default(), Tone::Faint),
        ]);
        let mut row = known.value();
        row["name"] = name.into();
        row["asked"] = asked.into();
        row["address"] = address.into();
        rows.push(row);
    }
    let mut out = table.render(context.voice.colours);
    let by_key = places.get(&Which::Key);
    out.push_str(&match by_key {
        Some(by_key) => format!("by name, as at Cronitor: {by_key}/NAME\n"),
        None => "no job must report yet: add `[heartbeats.NAME]` to the config\n".to_owned(),
    });
    let result = json!({ "heartbeats": rows, "by_key": by_key });
    Ok(Answer { out, result, ..Answer::default() })
}

async fn show(teller: &Teller, name: &str) -> Answered {
    if !name.starts_with(OWN) {
        known(&teller.config, name)?;
    }
    let known = Known::of(teller, name).await?;
    let since = known.span.as_ref().map(|span| format!(" since {}", local(span.from)));
    let why = known.why().map(|why| format!(": {why}")).unwrap_or_default();
    let condition = known.condition();
    let mut out =
        format!("{} is {}{}{why}\n", subject(name), word(condition), since.unwrap_or_default());
    let mut result = known.value();
    let Some(state) = &known.state else {
        out.push_str("nobody has listened yet: `linkflow up` does\n");
        return Ok(Answer { out, result, ..Answer::default() });
    };
    out.push_str(&format!("asked: {}\n", state.asked));
    if let Some(due) = state.expected {
        out.push_str(&format!("due: {}\n", local(due)));
    }
    for open in &state.runs {
        let long = took(teller.now.0.saturating_sub(open.since.0));
        out.push_str(&format!("a run is under way since {}, {long}\n", local(open.since)));
    }
    out.push('\n');
    for beat in state.recent.iter().rev().take(REPORTS) {
        out.push_str(&line(beat));
    }
    let last = state.recent.iter().rev().find(|beat| beat.output.is_some());
    let printed = match last {
        Some(beat) => printed(teller, beat).await?,
        None => None,
    };
    if let Some(printed) = &printed {
        let lines: Vec<&str> = printed.lines().collect();
        out.push_str("\nprinted last:\n");
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            out.push_str(&format!("  | {line}\n"));
        }
    }
    result["name"] = name.into();
    result["asked"] = state.asked.clone().into();
    result["runs"] = json!(state.runs);
    result["reports"] = json!(state.recent);
    result["output"] = json!(printed);
    Ok(Answer { out, result, ..Answer::default() })
}

/// A report in one line.
fn line(beat: &Beat) -> String {
    let mut words = vec![local(beat.at), format!("{:<8}", beat.says.word())];
    words.extend(beat.took_ms.map(took));
    words.extend(beat.exit.filter(|exit| *exit != 0).map(|exit| format!("exit code {exit}")));
    words.extend(beat.host.as_deref().map(|host| format!("on {}", plain(host))));
    words.extend(beat.counts.iter().map(|(name, count)| format!("{}: {count}", plain(name))));
    words.extend(beat.message.as_deref().map(plain));
    format!("{}\n", words.join("  ").trim_end())
}

/// What came with a report, as text that does nothing to a terminal.
async fn printed(teller: &Teller, beat: &Beat) -> Result<Option<String>, Box<Answer>> {
    let Some(document) = teller.store.read(&Output::key(beat)).await? else { return Ok(None) };
    let output: Option<Output> = serde_json::from_value(document.body).ok();
    let bytes = output.and_then(|output| STANDARD.decode(output.base64).ok());
    Ok(bytes.map(|bytes| plain(&String::from_utf8_lossy(&bytes))))
}

/// Text from elsewhere without what would move a cursor or change a colour.
fn plain(text: &str) -> String {
    let shown = |c: char| c == '\n' || c == '\t' || !c.is_control();
    text.chars().map(|c| if shown(c) { c } else { '\u{fffd}' }).collect()
}

async fn pause(teller: &Teller, name: &str) -> Answered {
    known(&teller.config, name)?;
    heartbeat::pause(teller.hand(), name).await?;
    let out = format!("{name} is not waited for; `linkflow heartbeat resume {name}` ends that\n");
    Ok(Answer { out, result: json!({ "heartbeat": name, "paused": true }), ..Answer::default() })
}

async fn resume(teller: &Teller, name: &str) -> Answered {
    known(&teller.config, name)?;
    let again = if heartbeat::resume(teller.hand(), name).await? { " again" } else { "" };
    let out = format!("{name} is waited for{again}\n");
    Ok(Answer { out, result: json!({ "heartbeat": name, "paused": false }), ..Answer::default() })
}

async fn rotate(context: &Context, teller: &Teller, args: &RotateArgs) -> Answered {
    let which = args.name.clone().map_or(Which::Key, Which::Heartbeat);
    let source = context.source(&teller.config)?;
    let (hand, why) = (teller.hand(), args.reason.trim());
    let fresh = address::rotate(hand, &teller.config, &source, &which, why).await?;
    let address = fresh.address;
    let out = format!("{address}\nthe one before is not answered any more, within two seconds\n");
    Ok(Answer { out, result: json!({ "address": address }), ..Answer::default() })
}

#[cfg(test)]
mod tests {
    use linkflow_model::Timestamp;

    use super::*;

    #[test]
    fn what_comes_from_elsewhere_does_nothing_to_a_terminal() {
        assert_eq!(plain("a\tb\n\x1b[31mred\r\u{9b}x"), "a\tb\n\u{fffd}[31mred\u{fffd}\u{fffd}x");
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert!(duration("-5s").is_err() && duration("0s").is_err() && duration("soon").is_err());
    }

    #[test]
    fn a_report_is_one_line() {
        let beat = Beat {
            id: "1".to_owned(),
            heartbeat: "backup".to_owned(),
            at: Timestamp(0),
            says: Says::Fail,
            series: None,
            message: Some("no\x07disk".to_owned()),
            exit: Some(3),
            took_ms: Some(1_500),
            counts: Default::default(),
            host: Some("box".to_owned()),
            output: None,
        };
        let line = line(&beat);
        assert!(line.ends_with("fail      1.5 s  exit code 3  on box  no\u{fffd}disk\n"), "{line}");
    }
}
