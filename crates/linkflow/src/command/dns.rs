//! `linkflow dns`: names of the stack and what stands in front of its edge: what differs, putting it right, taking it along.

use clap::{Args, Subcommand};
use linkflow_decide::Named;
use linkflow_model::role::{FrontChange, Tunnel, Zone, ZoneChanges, ZoneRecord};
use linkflow_model::{Fault, FaultKind, ProviderName, World};
use linkflow_providers::dns::{marker, zone_file};
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::table::Tone;
use crate::wire::Listen;
use crate::wire::names::{Asked, Looking, Writing};

use super::change::{GRACE, say};
use super::{Answered, Context};

/// Lead names to the edge, and keep what stands in front of it as the config asks.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow dns plan                 records, settings, rules, worker, tunnel: what would change\n  linkflow dns apply                change it; what others made stays\n  linkflow dns drift                exit 2 when something is not as the config asks\n  linkflow dns export > zone.txt    the whole zone, to take elsewhere"
)]
pub(crate) enum DnsCommand {
    /// Show what `dns apply` would change. Nothing is changed.
    #[command(
        after_help = "Examples:\n  linkflow dns plan\n  linkflow dns plan --exit-code --json"
    )]
    Plan(PlanArgs),
    /// Make the zone and what stands in front as the config asks. A second time right after, there is nothing to do.
    #[command(after_help = "Examples:\n  linkflow dns apply\n  linkflow dns apply --dry-run")]
    Apply(ApplyArgs),
    /// Show what is not as the config asks: exit code 0 when nothing is, 2 when something is, 1 when somebody did not answer.
    #[command(
        after_help = "Examples:\n  linkflow dns drift\n  linkflow dns drift --json | jq .result.zones"
    )]
    Drift,
    /// Print the whole zone as a zone file: every record, ours and others'.
    #[command(
        after_help = "Examples:\n  linkflow dns export > example.com.zone\n  linkflow dns export --from desec"
    )]
    Export(ExportArgs),
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

/// Which zone is printed.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportArgs {
    /// The provider whose records are printed; `dns.on` when not said.
    #[arg(long, value_name = "PROVIDER")]
    from: Option<ProviderName>,
}

/// How things stand, or how it went.
#[derive(Default)]
struct Report {
    zones: Vec<(ProviderName, ZoneChanges)>,
    front: Option<(ProviderName, Vec<FrontChange>)>,
    /// Hosts for which there is no record, and what else cannot be asked for.
    without: Vec<(String, String)>,
    faults: Vec<Fault>,
}

/// What `dns` answers.
pub(crate) async fn answer(context: &Context, command: &DnsCommand) -> Answered {
    let config = context.config(context.common.cloud.is_some())?;
    let cloud = context.cloud().await?;
    let options = context.options(&config, cloud, "dns", Listen::Nowhere);
    let writing = Writing::open(&config, &options)?;
    if writing.dns.is_empty() && writing.cdn.is_none() {
        let what = "the config has no names to lead: neither `[dns]` nor `edge.on`";
        return Answer::failed(
            2,
            what,
            "`[dns]` with `on = \"embedded\"` keeps the zone in a file",
        );
    }
    if let DnsCommand::Export(args) = command {
        let looking = writing.looking();
        return export(&looking, args, &marker(&config.stack.name)).await;
    }
    // Only names that follow a placement need to know where everything is.
    let follows = writing.asked.follows();
    let world = if follows { Box::pin(world(context)).await? } else { World::default() };
    match command {
        DnsCommand::Apply(args) if !args.dry_run => {
            context.refuse_within_hook("dns apply")?;
            let asked = writing.asked.clone();
            let report = write(&writing, &world).await;
            Ok(applied(&report, &asked, context.voice.colours))
        }
        DnsCommand::Plan(_) | DnsCommand::Apply(_) | DnsCommand::Drift | DnsCommand::Export(_) => {
            let looking = writing.looking();
            let report = look(&looking, &world).await;
            let exit_code = matches!(command, DnsCommand::Plan(args) if args.exit_code);
            let mut answer = planned(&report, &looking.asked, context.voice.colours);
            if exit_code && answer.exit == 0 && report.is_due() {
                answer.exit = 3;
            }
            if *command == DnsCommand::Drift {
                drifted(&report, &mut answer);
            }
            Ok(answer)
        }
    }
}

/// Where everything is, asked of every provider.
async fn world(context: &Context) -> Result<World, Box<Answer>> {
    let stack = context.stack("dns").await?;
    stack.engine.look().await;
    let world = stack.engine.world().await;
    stack.close(GRACE).await;
    Ok(world?)
}

async fn look(looking: &Looking, world: &World) -> Report {
    let mut report = Report { without: looking.asked.left_out.clone(), ..Report::default() };
    let mut tunnel = None;
    if let (Some(cdn), Some(front)) = (&looking.cdn, &looking.asked.front) {
        match cdn.differences(front).await {
            Ok(changes) => report.front = Some((cdn.name().clone(), changes)),
            Err(fault) => report.faults.push(fault),
        }
        tunnel = report.ask(cdn.tunnel().await).flatten();
    }
    for dns in &looking.dns {
        let Some(zone) = report.ask(dns.zone().await) else { continue };
        let named = report.named(&looking.asked, &zone, tunnel.as_ref(), world);
        report.zones.push((dns.name().clone(), zone.changes(&named.records)));
    }
    report
}

/// What stands in front comes first: a tunnel is there before a name leads to it. Whoever does not answer keeps nobody else
/// back.
async fn write(writing: &Writing, world: &World) -> Report {
    let mut report = Report { without: writing.asked.left_out.clone(), ..Report::default() };
    let mut tunnel = None;
    if let (Some(cdn), Some(front)) = (&writing.cdn, &writing.asked.front) {
        match cdn.put(front).await {
            Ok(changes) => report.front = Some((cdn.name().clone(), changes)),
            Err(fault) => report.faults.push(fault),
        }
        tunnel = report.ask(cdn.tunnel().await).flatten();
    }
    for dns in &writing.dns {
        let Some(zone) = report.ask(dns.zone().await) else { continue };
        let named = report.named(&writing.asked, &zone, tunnel.as_ref(), world);
        if let Some(changes) = report.ask(dns.publish(&named.records).await) {
            report.zones.push((dns.name().clone(), changes));
        }
    }
    report
}

impl Report {
    fn ask<T>(&mut self, answer: Result<T, Fault>) -> Option<T> {
        answer.map_err(|fault| self.faults.push(fault)).ok()
    }

    fn named(
        &mut self,
        asked: &Asked,
        zone: &Zone,
        tunnel: Option<&Tunnel>,
        world: &World,
    ) -> Named {
        let named = asked.named(zone, tunnel, world);
        for without in &named.without {
            if !self.without.contains(without) {
                self.without.push(without.clone());
            }
        }
        named
    }

    /// Whether something would be, or was, written.
    fn is_due(&self) -> bool {
        let front = self.front.iter().flat_map(|(_, changes)| changes);
        self.zones.iter().any(|(_, changes)| !changes.is_empty())
            || front.into_iter().any(|change| change.blocked.is_none())
    }

    /// Whether something is wanted and cannot be had.
    fn is_short(&self) -> bool {
        let mut front = self.front.iter().flat_map(|(_, changes)| changes);
        !self.without.is_empty()
            || self.zones.iter().any(|(_, changes)| !changes.blocked.is_empty())
            || front.any(|change| change.blocked.is_some())
    }

    fn value(&self) -> Value {
        let zone = |(provider, changes): &(ProviderName, ZoneChanges)| {
            json!({
                "provider": provider,
                "create": changes.create,
                "change": changes.change.iter().map(|(held, to)| json!({ "from": held.record, "to": to })).collect::<Vec<_>>(),
                "remove": changes.remove.iter().map(|held| &held.record).collect::<Vec<_>>(),
                "left_out": changes.blocked,
            })
        };
        let front = self
            .front
            .as_ref()
            .map(|(provider, changes)| json!({ "provider": provider, "changes": changes }));
        let without = self.without.iter().map(|(what, why)| json!({ "what": what, "why": why }));
        json!({
            "changed": self.is_due(),
            "zones": self.zones.iter().map(zone).collect::<Vec<_>>(),
            "front": front,
            "left_out": without.collect::<Vec<_>>(),
        })
    }

    fn text(&self, colours: bool) -> String {
        let mut out = String::new();
        let row = |out: &mut String, tone: Tone, line: &str| {
            say(out, format_args!("  {}\n", tone.paint(line, colours)));
        };
        for (provider, changes) in &self.zones {
            if changes.is_empty() && changes.blocked.is_empty() {
                continue;
            }
            say(
                &mut out,
                format_args!("{}\n", Tone::Strong.paint(&format!("names at {provider}"), colours)),
            );
            for record in &changes.create {
                row(&mut out, Tone::Good, &format!("+ {}", shown(record)));
            }
            for (held, to) in &changes.change {
                row(&mut out, Tone::Notable, &format!("~ {} -> {}", shown(&held.record), told(to)));
            }
            for held in &changes.remove {
                row(&mut out, Tone::Bad, &format!("- {}", shown(&held.record)));
            }
            for blocked in &changes.blocked {
                let line = format!("! {} is left out: {}", shown(&blocked.wanted), blocked.why);
                row(&mut out, Tone::Notable, &line);
            }
        }
        if let Some((provider, changes)) = self.front.as_ref().filter(|(_, all)| !all.is_empty()) {
            say(
                &mut out,
                format_args!("{}\n", Tone::Strong.paint(&format!("in front: {provider}"), colours)),
            );
            for change in changes {
                let (sign, tone) = match (&change.blocked, &change.from, &change.to) {
                    (Some(_), ..) => ('!', Tone::Notable),
                    (None, None, _) => ('+', Tone::Good),
                    (None, Some(_), None) => ('-', Tone::Bad),
                    (None, Some(_), Some(_)) => ('~', Tone::Notable),
                };
                row(&mut out, tone, &format!("{sign} {}", difference(change)));
            }
        }
        for (what, why) in &self.without {
            say(&mut out, format_args!("waits: {what}: {why}\n"));
        }
        out
    }
}

fn shown(record: &ZoneRecord) -> String {
    format!("{} {} {}", record.name, record.kind, told(record))
}

fn told(record: &ZoneRecord) -> String {
    let proxied = if record.proxied { ", proxied" } else { "" };
    format!("{} ({} s{proxied})", record.value, record.ttl_s)
}

fn difference(change: &FrontChange) -> String {
    let FrontChange { what, from, to, blocked } = change;
    let line = match (from, to) {
        (Some(from), Some(to)) => format!("{what}  {from} -> {to}"),
        (None, Some(to)) => format!("{what}  {to}"),
        (Some(from), None) => format!("{what}  {from} -> gone"),
        (None, None) => what.clone(),
    };
    match blocked {
        Some(why) => format!("{line} is left out: {why}"),
        None => line,
    }
}

fn planned(report: &Report, asked: &Asked, colours: bool) -> Answer {
    let mut answer = answered(report, asked, colours);
    if !report.is_due() && !report.is_short() && report.faults.is_empty() {
        answer.out =
            "nothing to do: names and what stands in front are as the config asks\n".to_owned();
    }
    answer
}

fn applied(report: &Report, asked: &Asked, colours: bool) -> Answer {
    let mut answer = planned(report, asked, colours);
    if report.is_due() {
        answer.out.push_str("done\n");
        // What was written was written, whoever else did not answer.
        answer.exit = if report.faults.is_empty() { 0 } else { 6 };
    }
    answer
}

/// The report as an answer: what did not answer makes it a failure.
fn answered(report: &Report, asked: &Asked, colours: bool) -> Answer {
    let mut answer =
        Answer { out: report.text(colours), result: report.value(), ..Answer::default() };
    if asked.follows() {
        answer.err = expectation(asked.ttl_s());
    }
    for fault in &report.faults {
        let (exit, help) = match fault.kind {
            FaultKind::Denied => {
                (4, "docs/dns.md names what each provider's token must be allowed")
            }
            FaultKind::Unclear => (7, ""),
            _ => (1, ""),
        };
        let one = Answer::failure(exit, &fault.to_string(), help);
        answer.err.push_str(&one.err);
        answer.errors.extend(one.errors);
        answer.exit = answer.exit.max(exit);
    }
    answer
}

/// What may be expected of names that follow a placement.
pub(crate) fn expectation(ttl_s: u32) -> String {
    format!(
        "note: visitors follow a move within {ttl_s} s after it is noticed, and some much later: about one resolver in\n      twelve keeps answers longer than it may (TTL Violation of DNS Resolvers in the Wild, PAM 2023). An edge that\n      visitors reach moves them within a request.\n"
    )
}

fn drifted(report: &Report, answer: &mut Answer) {
    if report.is_due() || report.is_short() {
        answer.exit = 2;
        let what = "names or what stands in front are not as the config asks";
        let help = "`linkflow dns apply` puts right what it may";
        answer.errors.push(json!({ "message": what, "help": help }));
        answer.err.push_str(&format!("{what}; {help}\n"));
    } else if report.faults.is_empty() {
        answer.out = "no drift: names and what stands in front are as the config asks\n".to_owned();
    }
}

async fn export(looking: &Looking, args: &ExportArgs, marker: &str) -> Answered {
    let named = |name: &ProviderName| args.from.as_ref().is_none_or(|from| from == name);
    let Some(dns) = looking.dns.iter().find(|dns| named(dns.name())) else {
        let what = "no such provider answers for the zone";
        return Answer::failed(2, what, "`dns.on` and `dns.also_on` name those that do");
    };
    let zone = dns.zone().await.map_err(linkflow_engine::EngineError::Fault)?;
    let serial = zone.records.iter().map(|held| &held.record).find(|r| r.kind == "SOA");
    let serial = serial.and_then(|soa| soa.value.split(' ').nth(2)?.parse().ok()).unwrap_or(1);
    let out = zone_file::text(&zone, marker, serial);
    let result = json!({ "provider": dns.name(), "zone": zone, "text": out });
    Ok(Answer { out, result, ..Answer::default() })
}
