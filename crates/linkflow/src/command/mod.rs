//! What can be asked of LinkFlow, and how each command begins and ends.

mod access;
mod alerts;
pub(crate) mod app;
mod apply;
mod certificates;
mod change;
mod check;
mod ci;
mod ci_follow;
mod ci_secrets;
mod cloud;
mod completions;
mod deploy;
mod deploy_digests;
pub(crate) mod dns;
mod doctor;
mod domain;
mod drain;
mod drift;
mod drill;
mod events;
mod explain;
mod failover;
mod heartbeat;
mod heartbeat_run;
mod history;
mod incident;
mod init;
mod logs;
mod maintenance;
mod monitors;
mod page;
mod page_subscribers;
mod plan;
mod plan_markdown;
mod rehearse;
mod restart;
mod rollback;
mod route;
mod route_top;
mod schema;
mod server;
mod shutdown;
mod status;
mod svg;
mod swap;
mod tell;
mod top;
mod tunnel;
mod unlock;
mod up;
mod usage;
mod watchers;
mod watchers_hooks;
mod worker;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser, Subcommand};
use linkflow_engine::{CrashPoint, EngineError};
use linkflow_model::FaultKind;
use linkflow_model::catalogue::Catalogue;
use linkflow_model::config::Config;
use linkflow_rehearsal::cloud::Endpoints;

use crate::say::answer::Answer;
use crate::say::output::{self, Voice};
use crate::wire::control::Control;
use crate::wire::hooks::{REHEARSED, WITHIN};
use crate::wire::{Listen, OpenError, OpenOptions, Stack, docker};
use check::Which;

/// What a command comes to: its answer, or the answer that says why there is none.
pub(crate) type Answered = Result<Answer, Box<Answer>>;

/// One binary and one file that run a product on many providers and keep it up.
#[derive(Parser, Debug)]
#[command(
    name = "linkflow",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Examples:\n  linkflow init                     write a first linkflow.toml\n  linkflow rehearse                 see everything at work, with no account\n  linkflow plan                     what would change\n  linkflow apply                    change it\n  linkflow up                       serve visitors, watch, move services when something dies\n\nExit codes: 0 ok, 1 failed, 2 usage or invalid config, 3 changes found (--exit-code), 4 not\nauthorised, 5 refused by a safety rule, 6 partly done, 7 outcome unknown, 130 interrupted."
)]
struct Cli {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    common: Common,

    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Common {
    /// Print exactly one JSON value on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The folder for what LinkFlow keeps; `stack.state` of the config (.linkflow) when not said.
    #[arg(long, global = true, value_name = "FOLDER", env = "LINKFLOW_STATE")]
    pub(crate) state: Option<PathBuf>,

    /// The control address of a running rehearsal cloud, used in place of every vendor.
    #[arg(long, global = true, value_name = "URL", env = "LINKFLOW_CLOUD")]
    pub(crate) cloud: Option<String>,

    /// No colours.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    Init(init::InitArgs),
    Check(check::CheckArgs),
    Schema(schema::SchemaArgs),
    Explain(explain::ExplainArgs),
    Plan(plan::PlanArgs),
    Apply(apply::ApplyArgs),
    Deploy(deploy::DeployArgs),
    Rollback(rollback::RollbackArgs),
    Restart(restart::RestartArgs),
    History(history::HistoryArgs),
    Swap(swap::SwapArgs),
    Drain(drain::DrainArgs),
    Undrain(drain::UndrainArgs),
    Failover(failover::FailoverArgs),
    #[command(subcommand)]
    Server(server::ServerCommand),
    #[command(subcommand)]
    Dns(dns::DnsCommand),
    Tunnel(tunnel::TunnelArgs),
    #[command(subcommand)]
    Watchers(watchers::WatchersCommand),
    #[command(subcommand)]
    Alerts(alerts::AlertsCommand),
    Status(status::StatusArgs),
    Top(top::TopArgs),
    #[command(subcommand)]
    Route(route::RouteCommand),
    Doctor(doctor::DoctorArgs),
    Usage(usage::UsageArgs),
    #[command(subcommand)]
    Domain(domain::DomainCommand),
    Logs(logs::LogsArgs),
    Drift(drift::DriftArgs),
    Unlock(unlock::UnlockArgs),
    Up(up::UpArgs),
    Events(events::EventsArgs),
    #[command(subcommand)]
    Monitors(monitors::MonitorsCommand),
    #[command(subcommand)]
    Heartbeat(heartbeat::HeartbeatCommand),
    #[command(subcommand)]
    Incident(incident::IncidentCommand),
    #[command(subcommand)]
    Maintenance(maintenance::MaintenanceCommand),
    #[command(subcommand)]
    Page(page::PageCommand),
    #[command(subcommand)]
    Access(access::AccessCommand),
    #[command(subcommand)]
    Drill(drill::DrillCommand),
    Rehearse(rehearse::RehearseArgs),
    Cloud(cloud::CloudArgs),
    #[command(subcommand)]
    Ci(ci::CiCommand),
    #[command(subcommand)]
    Worker(worker::WorkerCommand),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    App(app::AppArgs),
    #[command(hide = true)]
    Svg(svg::SvgArgs),
}

/// What every command knows of how it was called.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Which config, and which environment of it.
    pub(crate) which: Which,
    /// What every command takes.
    pub(crate) common: Common,
    /// How to speak.
    pub(crate) voice: Voice,
    /// The environment of this process.
    pub(crate) vars: BTreeMap<String, String>,
}

/// The environment of a config that a rehearsal runs in, when the config has it.
const REHEARSAL: &str = "rehearsal";

/// Reads the command line, does what it says, and gives the exit code.
pub(crate) fn dispatch(vars: BTreeMap<String, String>) -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let no_color = cli.common.no_color || vars.get("NO_COLOR").is_some_and(|v| !v.is_empty());
    let voice = Voice::new(cli.common.json, no_color);
    log_to_stderr(&vars, voice);
    let context = Context { which: cli.which, common: cli.common, voice, vars };
    let answer = run(cli.command, &context).unwrap_or_else(|answer| *answer);
    voice.tell(&answer)
}

/// What clap has to say: help and version on stdout, mistakes on stderr, and as JSON when that was asked for.
fn usage(error: &clap::Error) -> u8 {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && json {
        let text = error.render().to_string();
        let text = text.trim_start_matches("error: ");
        let what = text.lines().next().unwrap_or_default();
        return Voice::new(true, true).tell(&Answer::failure(2, what, "linkflow --help"));
    }
    match error.print() {
        Ok(()) => u8::from(error.use_stderr()) * 2,
        Err(_) => 1,
    }
}

fn log_to_stderr(vars: &BTreeMap<String, String>, voice: Voice) {
    // Events are shown by the commands themselves.
    let usual = "warn,linkflow_engine::tell=error";
    let wanted = vars.get("LINKFLOW_LOG").map_or(usual, String::as_str);
    let filter = tracing_subscriber::EnvFilter::try_new(wanted);
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(voice.colours_err);
    if subscriber.try_init().is_err() {
        output::err("warning: nothing will be logged\n");
    }
}

fn run(command: Command, context: &Context) -> Answered {
    match command {
        Command::Init(args) => initialise(&args, context),
        Command::Check(args) => {
            let mut parsed = check::parse(&context.which);
            certificates::look(&mut parsed, &context.workdir());
            let env = context.which.env.as_deref();
            Ok(check::answer(&parsed, &args, env, context.voice.colours_err))
        }
        Command::Schema(args) => Ok(schema::answer(&args)),
        Command::Explain(args) => Ok(explain::answer(&args)),
        Command::Completions(args) => Ok(completions::answer(&args, &mut Cli::command())),
        Command::Plan(args) => once(plan::answer(context, &args)),
        Command::Apply(args) => once(apply::answer(context, &args)),
        Command::Deploy(args) => once(deploy::answer(context, &args)),
        Command::Rollback(args) => once(rollback::answer(context, &args)),
        Command::Restart(args) => once(Box::pin(restart::answer(context, &args))),
        Command::History(args) => on_runtime(history::answer(context, &args)),
        Command::Logs(args) => on_runtime(logs::answer(context, &args)),
        Command::Drift(args) => on_runtime(drift::answer(context, &args)),
        Command::Unlock(args) => once(unlock::answer(context, &args)),
        Command::Server(command) => once(Box::pin(server::answer(context, &command))),
        Command::Dns(command) => once(Box::pin(dns::answer(context, &command))),
        Command::Watchers(command) => once(Box::pin(watchers::answer(context, &command))),
        Command::Alerts(command) => once(Box::pin(alerts::answer(context, &command))),
        Command::Tunnel(args) => once(Box::pin(tunnel::answer(context, &args))),
        Command::Swap(args) => once(Box::pin(swap::answer(context, &args))),
        Command::Doctor(args) => once(Box::pin(doctor::answer(context, &args))),
        Command::Domain(command) => once(Box::pin(domain::answer(context, &command))),
        Command::Usage(args) => once(usage::answer(context, &args)),
        Command::Route(command) => on_runtime(route::answer(context, &command)),
        Command::Drain(args) => once(drain::drain(context, &args)),
        Command::Undrain(args) => once(drain::undrain(context, &args)),
        Command::Failover(args) => once(failover::answer(context, &args)),
        Command::Top(args) => on_runtime(Box::pin(top::answer(context, &args))),
        Command::Status(args) => once(status::answer(context, &args)),
        Command::Ci(command) => ci::answer(context, &command),
        Command::Worker(command) => worker::answer(context, &command),
        Command::Drill(command) => once(drill::answer(context, &command)),
        Command::Events(args) => on_runtime(events::answer(context, &args)),
        Command::Heartbeat(command) => on_runtime(Box::pin(heartbeat::answer(context, &command))),
        Command::Incident(command) => once(incident::answer(context, &command)),
        Command::Maintenance(command) => once(maintenance::answer(context, &command)),
        Command::Access(command) => once(access::answer(context, &command)),
        Command::Page(command) => on_runtime(page::answer(context, &command)),
        Command::Monitors(command) => once(Box::pin(monitors::answer(context, &command))),
        Command::Up(args) => on_runtime(up::answer(context, &args)),
        Command::Cloud(args) => on_runtime(cloud::answer(context, &args)),
        Command::Rehearse(args) => on_runtime(async {
            let env = context.which.env.as_deref();
            Ok(rehearse::answer(&args, env, &context.vars, context.voice).await)
        }),
        Command::Svg(args) => svg::answer(&args),
        Command::App(args) => Ok(Answer {
            exit: app::serve(&args.words, context.vars.clone()),
            told: true,
            ..Answer::default()
        }),
    }
}

fn initialise(args: &init::InitArgs, context: &Context) -> Answered {
    if args.yes || !std::io::stdin().is_terminal() {
        return Ok(init::answer(args, None, false));
    }
    on_runtime(async {
        let has_docker = docker::version(&context.vars).await.is_ok();
        let mut terminal = init::Terminal { from: std::io::stdin().lock(), to: std::io::stderr() };
        Ok(init::answer(args, Some(&mut terminal), has_docker))
    })
}

/// Does `work` on a runtime; Ctrl-C and SIGTERM are the work's own matter.
fn on_runtime(work: impl Future<Output = Answered>) -> Answered {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Answer::failed(1, &format!("no threads can be had: {error}"), ""),
    }
}

/// Does `work` until it ends, or until Ctrl-C. What was begun then is taken up again by the next command.
fn once(work: impl Future<Output = Answered>) -> Answered {
    on_runtime(async {
        tokio::select! {
            answer = work => answer,
            () = shutdown::requested() => {
                Answer::failed(130, "interrupted", "what was begun is taken up again by `linkflow apply` or `linkflow up`")
            }
        }
    })
}

impl Context {
    /// The config; in a rehearsal its environment `rehearsal`, when it has one and no other is asked for.
    pub(crate) fn config(&self, rehearsal: bool) -> Result<Config, Box<Answer>> {
        let mut which = self.which.clone();
        if rehearsal && which.env.is_none() {
            let has = check::parse(&which).environments.iter().any(|name| name == REHEARSAL);
            which.env = has.then(|| REHEARSAL.to_owned());
        }
        check::load(&which, self.voice.colours_err)
    }

    /// What is known of vendors' plans, with the files beside the config in place of ours.
    pub(crate) fn catalogue(&self) -> Result<Catalogue, Box<Answer>> {
        Catalogue::with(&self.workdir().join("catalogue")).or_else(|why| {
            Answer::failed(2, &why, "`catalogue/*.toml` beside the config is yours to mend")
        })
    }

    /// The folder of the config.
    pub(crate) fn workdir(&self) -> PathBuf {
        let folder = self.which.config.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.map_or_else(|| PathBuf::from("."), Path::to_owned)
    }

    /// The state folder. A rehearsal has its own within it, so that it never meets what is real.
    pub(crate) fn state(&self, config: &Config, rehearsal: bool) -> PathBuf {
        if let Some(state) = &self.common.state {
            return state.clone();
        }
        let state = self.workdir().join(&config.stack.state);
        if rehearsal { state.join(REHEARSAL) } else { state }
    }

    /// The rehearsal cloud that was asked for.
    pub(crate) async fn cloud(&self) -> Result<Option<Endpoints>, Box<Answer>> {
        let Some(url) = &self.common.cloud else { return Ok(None) };
        match Control::at(url).endpoints().await {
            Ok(endpoints) => Ok(Some(endpoints)),
            Err(why) => Answer::failed(
                1,
                &why,
                "`linkflow cloud` starts one and prints its `control` address",
            ),
        }
    }

    /// Where each exchange with a provider is recorded.
    pub(crate) fn record(&self) -> Option<PathBuf> {
        self.vars.get("LINKFLOW_RECORD").filter(|v| !v.is_empty()).map(PathBuf::from)
    }

    /// At the first of which points of its journal this process is to die.
    fn crash(&self) -> Vec<CrashPoint> {
        let points = self.vars.get("LINKFLOW_CRASH_AT").map_or("", String::as_str).split(',');
        points.filter_map(|point| point.parse().ok()).collect()
    }

    /// How a stack is opened for the command `what`.
    pub(crate) fn options(
        &self,
        config: &Config,
        cloud: Option<Endpoints>,
        what: &str,
        listen: Listen,
    ) -> OpenOptions {
        let hooks = cloud.is_none() || self.common.cloud.is_some();
        let hooks = hooks && !self.vars.contains_key(REHEARSED);
        // A command within a hook means the same config.
        let mut vars = self.vars.clone();
        if let Ok(config) = std::path::absolute(&self.which.config) {
            vars.insert("LINKFLOW_CONFIG".to_owned(), config.display().to_string());
        }
        vars.extend(self.which.env.clone().map(|env| ("LINKFLOW_ENV".to_owned(), env)));
        OpenOptions {
            state: self.state(config, cloud.is_some()),
            workdir: self.workdir(),
            cloud,
            record: self.record(),
            vars,
            what: format!("linkflow {what}"),
            listen,
            hooks,
            crash: self.crash(),
        }
    }

    /// Refuses `command` within a hook: the lock that it would wait for is held by the deploy that runs the hook.
    pub(crate) fn refuse_within_hook(&self, command: &str) -> Result<(), Box<Answer>> {
        let Some(hook) = self.vars.get(WITHIN).filter(|hook| !hook.is_empty()) else {
            return Ok(());
        };
        let stack = self.vars.get("LINKFLOW_STACK").map_or("this stack", String::as_str);
        let what = format!(
            "`linkflow {command}` cannot be run within the hook `{hook}`: the deploy of {stack} that runs the hook holds the lock until the hook has ended"
        );
        Answer::failed(
            5,
            &what,
            "take it out of the hook; `plan`, `status`, `history` and `logs` work there",
        )
    }

    /// The stack, for a command that does not serve.
    pub(crate) async fn stack(&self, what: &str) -> Result<Stack, Box<Answer>> {
        let config = self.config(self.common.cloud.is_some())?;
        let cloud = self.cloud().await?;
        let options = self.options(&config, cloud, what, Listen::Nowhere);
        // Large, and waited for once: no command is to carry it along.
        Ok(Box::pin(Stack::open(config, options)).await?)
    }
}

impl From<OpenError> for Box<Answer> {
    fn from(error: OpenError) -> Self {
        let exit = if error.is_of_config() { 2 } else { 1 };
        Self::new(Answer::failure(exit, &error.to_string(), error.help()))
    }
}

impl From<EngineError> for Box<Answer> {
    fn from(error: EngineError) -> Self {
        let (exit, help) = match &error {
            EngineError::Busy(_) => (
                5,
                "wait until it is done (`--wait SECONDS`), or ask it to stop; `linkflow unlock` shows who it is",
            ),
            EngineError::Refused(_) => (5, "nothing was changed; `linkflow plan` tells more"),
            EngineError::Fault(fault) => match fault.kind {
                FaultKind::Denied => (4, "see whether the token is right and may do this"),
                FaultKind::Unclear => (7, "`linkflow status` tells how it stands"),
                _ => (1, "`linkflow status` tells which providers answer"),
            },
            EngineError::Missing(_) => {
                (2, "`linkflow status` and `linkflow events` tell what there is")
            }
            EngineError::Render(_) => {
                (2, "`linkflow check` tells which secrets and addresses are due")
            }
            EngineError::Store(_) | EngineError::Unreadable { .. } => {
                (1, "see whether the disk is full and the state folder may be written")
            }
        };
        Self::new(Answer::failure(exit, &error.to_string(), help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_made() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_help_text_with_examples() {
        for command in Cli::command().get_subcommands().filter(|c| !c.is_hide_set()) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} says what it does");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("Examples:\n  linkflow "), "{name} shows examples: {after}");
        }
    }
}
