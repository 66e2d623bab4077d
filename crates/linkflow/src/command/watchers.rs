//! `linkflow watchers`: what vendors watch for the stack from outside: what differs, and putting it right.

use clap::{Args, Subcommand};
use futures_util::future::join_all;
use linkflow_decide::WatchChanges;
use linkflow_model::role::{HeldWatch, Schedule, Watch, Watching, WorkStage};
use linkflow_model::{Fault, FaultKind, ProviderName};
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::table::Tone;
use crate::say::time::local;
use crate::wire::Listen;
use crate::wire::mirror::{change, differences};
use crate::wire::watchers::{Asked, Looking, Writing};

use super::change::say;
use super::watchers_hooks::{self, HooksArgs};
use super::{Answered, Context};

/// Keep what others watch for the stack in step with the config: monitors, heartbeats, the status page.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow watchers plan      what would change at UptimeRobot, Better Stack, Cronitor, Healthchecks, Instatus\n  linkflow watchers apply     change it; what people made there stays\n  linkflow watchers drift     exit 2 when something is not as the config asks\n  linkflow watchers hooks     where vendors tell at once what they see"
)]
pub(crate) enum WatchersCommand {
    /// Show what `watchers apply` would change. Nothing is changed.
    #[command(
        after_help = "Examples:\n  linkflow watchers plan\n  linkflow watchers plan --exit-code --json"
    )]
    Plan(PlanArgs),
    /// Make what vendors watch as the config asks. A second time right after, there is nothing to do.
    #[command(
        after_help = "Examples:\n  linkflow watchers apply\n  linkflow watchers apply --dry-run"
    )]
    Apply(ApplyArgs),
    /// Show what is not as the config asks: exit code 0 when nothing is, 2 when something is, 1 when somebody did not answer.
    #[command(
        after_help = "Examples:\n  linkflow watchers drift\n  linkflow watchers drift --json | jq .result.watchers"
    )]
    Drift,
    /// Show the address at which each vendor that looks at monitors, or collects errors, may send a webhook. It is asked at once
    /// then.
    #[command(
        after_help = "Examples:\n  linkflow watchers hooks\n  linkflow watchers hooks --json | jq -r '.result.hooks[].address'\n  linkflow watchers hooks --rotate uptimerobot    the old address is not answered any more"
    )]
    Hooks(HooksArgs),
}

/// How a plan is shown.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlanArgs {
    /// Exit with 3 when there are changes.
    #[arg(long)]
    exit_code: bool,
}

/// How it is put right.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApplyArgs {
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// How things stand, or how it went.
#[derive(Default)]
struct Report {
    watchers: Vec<(ProviderName, WatchChanges)>,
    /// What no vendor is asked for.
    left_out: Vec<(String, String)>,
    /// What is missing for webhooks. Without them everything is watched all the same.
    missing: Vec<(ProviderName, &'static str)>,
    faults: Vec<Fault>,
}

/// What `watchers` answers.
pub(crate) async fn answer(context: &Context, command: &WatchersCommand) -> Answered {
    if let WatchersCommand::Hooks(args) = command {
        return watchers_hooks::answer(context, args).await;
    }
    let config = context.config(context.common.cloud.is_some())?;
    let cloud = context.cloud().await?;
    let options = context.options(&config, cloud, "watchers", Listen::Nowhere);
    let writing = Writing::open(&config, &options).await?;
    if writing.watchers.is_empty() {
        let what = "the config has nobody watch from outside";
        let help = "`also_on` of a monitor, a heartbeat or `[status_page]` names who does";
        return Answer::failed(2, what, help);
    }
    if let WatchersCommand::Apply(ApplyArgs { dry_run: false }) = command {
        context.refuse_within_hook("watchers apply")?;
        return Ok(applied(&write(&writing).await, context.voice.colours));
    }
    let report = look(&writing.looking()).await;
    let mut answer = planned(&report, context.voice.colours);
    match command {
        WatchersCommand::Plan(PlanArgs { exit_code: true })
            if answer.exit == 0 && report.is_due() =>
        {
            answer.exit = 3;
        }
        WatchersCommand::Drift => drifted(&report, &mut answer),
        WatchersCommand::Plan(_) | WatchersCommand::Apply(_) | WatchersCommand::Hooks(_) => {}
    }
    Ok(answer)
}

async fn look(looking: &Looking) -> Report {
    let each = looking.watchers.iter().map(|watcher| differences(&**watcher, &looking.asked));
    let mut report = Report::of(&looking.asked);
    for told in join_all(each).await {
        match told {
            Ok(told) => report.watchers.push(told),
            Err(fault) => report.faults.push(fault),
        }
    }
    report
}

/// Vendors are changed side by side; whoever does not answer keeps nobody else back.
async fn write(writing: &Writing) -> Report {
    let each = writing.watchers.iter().map(|watcher| change(&**watcher, &writing.asked));
    let mut report = Report::of(&writing.asked);
    for (done, fault) in join_all(each).await {
        report.watchers.push(done);
        report.faults.extend(fault);
    }
    report
}

impl Report {
    /// What there is to say whatever vendors answer.
    fn of(asked: &Asked) -> Self {
        let missing = asked.missing().into_iter().map(|(name, why)| (name.clone(), why)).collect();
        Self { left_out: asked.left_out(), missing, ..Self::default() }
    }

    /// Whether something would be, or was, written.
    fn is_due(&self) -> bool {
        self.watchers.iter().any(|(_, changes)| !changes.is_empty())
    }

    /// Whether something is wanted and cannot be had.
    fn is_short(&self) -> bool {
        !self.left_out.is_empty()
            || self.watchers.iter().any(|(_, changes)| !changes.left_out.is_empty())
    }

    fn value(&self) -> Value {
        let watcher = |(provider, changes): &(ProviderName, WatchChanges)| {
            let change = changes.change.iter();
            let left_out = changes.left_out.iter();
            json!({
                "provider": provider,
                "create": changes.create,
                "change": change.map(|(held, to)| json!({ "from": held, "to": to })).collect::<Vec<_>>(),
                "remove": changes.remove,
                "left_out": left_out.map(|(watch, why)| json!({ "watch": watch, "why": why })).collect::<Vec<_>>(),
            })
        };
        let left_out = self.left_out.iter().map(|(what, why)| json!({ "what": what, "why": why }));
        let missing =
            self.missing.iter().map(|(name, why)| json!({ "provider": name, "missing": why }));
        json!({
            "changed": self.is_due(),
            "watchers": self.watchers.iter().map(watcher).collect::<Vec<_>>(),
            "left_out": left_out.collect::<Vec<_>>(),
            "webhooks": missing.collect::<Vec<_>>(),
        })
    }

    fn text(&self, colours: bool) -> String {
        let mut out = String::new();
        for (provider, changes) in &self.watchers {
            if changes.is_empty() && changes.left_out.is_empty() {
                continue;
            }
            let title = format!("watched at {provider}");
            say(&mut out, format_args!("{}\n", Tone::Strong.paint(&title, colours)));
            for (tone, line) in lines(changes) {
                say(&mut out, format_args!("  {}\n", tone.paint(&line, colours)));
            }
        }
        for (what, why) in &self.left_out {
            say(&mut out, format_args!("left out: {what}: {why}\n"));
        }
        out
    }

    fn notes(&self) -> String {
        self.missing.iter().map(|(name, why)| format!("{name}: {why}\n")).collect()
    }
}

fn lines(changes: &WatchChanges) -> Vec<(Tone, String)> {
    let mut lines = Vec::new();
    let removed = changes.remove.iter().map(|HeldWatch { watch, .. }| watch);
    lines.extend(removed.map(|watch| (Tone::Bad, format!("- {}", shown(watch)))));
    lines.extend(changes.change.iter().map(|(held, to)| {
        (
            Tone::Notable,
            format!("~ {} -> {}", shown(&held.watch), becomes(&held.watch.what, &to.what)),
        )
    }));
    lines.extend(changes.create.iter().map(|watch| (Tone::Good, format!("+ {}", shown(watch)))));
    lines.extend(
        changes
            .left_out
            .iter()
            .map(|(watch, why)| (Tone::Notable, format!("! {} is left out: {why}", shown(watch)))),
    );
    lines
}

fn shown(watch: &Watch) -> String {
    format!("{} {}  {}", watch.what.sort().word(), watch.name, told(&watch.what))
}

/// What `held` is changed to. Two addresses that differ by their keys alone look the same.
fn becomes(held: &Watching, to: &Watching) -> String {
    match (held, to) {
        (Watching::Hook { to: before, .. }, Watching::Hook { to: after, .. })
            if before != after =>
        {
            format!("{}, with another key or host", told(to))
        }
        _ => told(to),
    }
}

fn told(what: &Watching) -> String {
    let every = |seconds: &u64| format!("every {seconds} s");
    match what {
        Watching::Http { url, every_s, status, contains, .. } => {
            let status = status.map(|status| format!(", {status}")).unwrap_or_default();
            let text = contains.as_ref().map(|t| format!(", with `{t}`")).unwrap_or_default();
            format!("{url} {}{status}{text}", every(every_s))
        }
        Watching::Tcp { host, port, every_s, .. } => format!("{host}:{port} {}", every(every_s)),
        Watching::Ping { host, every_s, .. } => format!("ping {host} {}", every(every_s)),
        Watching::Heartbeat { schedule, grace_s } => {
            let schedule = match schedule {
                Schedule::EveryS(seconds) => every(seconds),
                Schedule::Cron(cron) => format!("by `{cron}`"),
            };
            format!("{schedule}, {grace_s} s late at most")
        }
        Watching::Component { group, shows } => {
            let group = group.as_ref().map(|group| format!("under {group}, ")).unwrap_or_default();
            let shows =
                shows.map_or("as it is shown".to_owned(), |c| format!("{c:?}").to_lowercase());
            format!("{group}{shows}")
        }
        Watching::Hook { to, of } => {
            // The end of the address is its key.
            let place = to.expose().rsplit_once('/').map_or("", |(place, _)| place);
            let of = if of.is_empty() { String::new() } else { format!(", of {}", of.join(", ")) };
            format!("to {place}/***{of}")
        }
        Watching::Maintenance { title, from, minutes, stage, .. } => {
            let stage = match stage {
                WorkStage::ToCome => "to come",
                WorkStage::UnderWay => "under way",
                WorkStage::Over => "over",
            };
            format!("{title}: {stage}, at {} for {minutes} min", local(*from))
        }
        Watching::Incident { title, stage, said, .. } => {
            format!("{title}: {}, {} said", format!("{stage:?}").to_lowercase(), said.len())
        }
    }
}

fn planned(report: &Report, colours: bool) -> Answer {
    let mut answer =
        Answer { out: report.text(colours), result: report.value(), ..Answer::default() };
    for fault in &report.faults {
        let (exit, help) = match fault.kind {
            FaultKind::Denied => {
                (4, "docs/providers has a page for each vendor, which names what its token needs")
            }
            FaultKind::Exhausted => (1, "a plan has only so many places; see the vendor's page"),
            FaultKind::Unclear => (7, "the same command looks, and does what is left"),
            _ => (1, ""),
        };
        let one = Answer::failure(exit, &fault.to_string(), help);
        answer.err.push_str(&one.err);
        answer.errors.extend(one.errors);
        answer.exit = answer.exit.max(exit);
    }
    if !report.is_due() && !report.is_short() && report.faults.is_empty() {
        answer.out = "nothing to do: everything is watched as the config asks\n".to_owned();
    }
    answer.out.push_str(&report.notes());
    answer
}

fn applied(report: &Report, colours: bool) -> Answer {
    let mut answer = planned(report, colours);
    if report.is_due() {
        answer.out.push_str("done\n");
        // What was written was written, whoever else did not answer.
        answer.exit = if report.faults.is_empty() { 0 } else { 6 };
    }
    answer
}

fn drifted(report: &Report, answer: &mut Answer) {
    if report.is_due() || report.is_short() {
        answer.exit = 2;
        let what = "what others watch is not as the config asks";
        let help = "`linkflow watchers apply` puts right what it may";
        answer.errors.push(json!({ "message": what, "help": help }));
        answer.err.push_str(&format!("{what}; {help}\n"));
    } else if report.faults.is_empty() {
        answer.out = "no drift: everything is watched as the config asks\n".to_owned();
        answer.out.push_str(&report.notes());
    }
}
