//! `linkflow rehearse`: kills providers under load and measures what visitors meet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use linkflow_model::config::{Config, Parsed};
use linkflow_rehearsal::report::{
    RehearsalReport, TextStyle, Verdict, html, markdown, terminal_svg, text,
};

use super::check::Disk;
use crate::drill::{DrillError, Scenario, Show, Wanted, rehearse};
use crate::say::answer::Answer;
use crate::say::output::Voice;
use crate::say::problem;

/// The example that is rehearsed when no config is named.
const EXAMPLE: &str = include_str!("../../../../examples/linkflow/linkflow.toml");

/// The environment that a rehearsal takes when none is named and the config has it.
const ENVIRONMENT: &str = "rehearsal";

/// Rehearse disasters: run the stack on simulated providers, kill them under load, and measure.
///
/// Needs no account, no network and no container: providers are simulated on this machine, and their machines are
/// processes. Without a config the example stack of LinkFlow itself is rehearsed.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow rehearse\n  linkflow rehearse --scenario provider-dies,bad-release\n  linkflow rehearse --report report --rate 400\n  linkflow rehearse linkflow.toml --json"
)]
pub(crate) struct RehearseArgs {
    /// The config; the example stack when not said.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Only these scenarios, in this order.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub(crate) scenario: Vec<Scenario>,

    /// Write report.md, report.json, report.html and terminal.svg there.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) report: Option<PathBuf>,

    /// Requests per second; one in ten is a write.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) rate: u32,

    /// What chance is thrown with.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,

    /// Keep logs, ledger and state in this folder, which must be empty or not there.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
}

/// Rehearses, and says how it went.
pub(crate) async fn answer(
    args: &RehearseArgs,
    env: Option<&str>,
    vars: &BTreeMap<String, String>,
    voice: Voice,
) -> Answer {
    let parsed = parse(args.file.as_deref(), env);
    let Some(config) = parsed.config.clone() else { return refused(&parsed, voice.colours_err) };
    let folder = match Folder::make(args.keep.as_deref()) {
        Ok(folder) => folder,
        Err(why) => return Answer::failure(1, &why, "`--keep FOLDER` names another folder"),
    };
    let file = match file_of(args.file.as_deref(), &folder.path) {
        Ok(file) => file,
        Err(error) => {
            let what = format!("{} cannot be written: {error}", folder.path.display());
            return Answer::failure(1, &what, "see whether the disk is full");
        }
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            let what = format!("the program of the app's processes cannot be found: {error}");
            return Answer::failure(1, &what, "is /proc mounted?");
        }
    };
    let wanted = Wanted {
        config,
        file,
        env: env.map(str::to_owned),
        scenarios: args.scenario.clone(),
        rate: args.rate,
        seed: args.seed,
        folder: folder.path.clone(),
        program,
        record: vars.get("LINKFLOW_RECORD").map(PathBuf::from),
        vars: vars.clone(),
    };
    let show = Show::new(voice.terminal, voice.colours_err);
    let answer = match Box::pin(rehearse(wanted, &show)).await {
        Ok(report) => reported(args, &report, voice),
        Err(error) => failed(&error),
    };
    drop(folder);
    answer
}

fn parse(file: Option<&Path>, env: Option<&str>) -> Parsed {
    let parse = |env: Option<&str>| match file {
        Some(file) => Config::parse(&Disk, &file.to_string_lossy(), env),
        None => {
            let files = BTreeMap::from([("linkflow.toml".to_owned(), EXAMPLE)]);
            Config::parse(&files, "linkflow.toml", env)
        }
    };
    if env.is_some() {
        return parse(env);
    }
    let plain = parse(None);
    let has_own = plain.environments.iter().any(|name| name == ENVIRONMENT);
    if has_own { parse(Some(ENVIRONMENT)) } else { plain }
}

/// Where the config is that is rehearsed: the example is written down for the processes that a rehearsal starts.
fn file_of(file: Option<&Path>, folder: &Path) -> std::io::Result<PathBuf> {
    match file {
        Some(file) => std::path::absolute(file),
        None => {
            let path = folder.join("linkflow.toml");
            std::fs::write(&path, EXAMPLE)?;
            Ok(path)
        }
    }
}

fn refused(parsed: &Parsed, colours: bool) -> Answer {
    Answer {
        err: problem::render(&parsed.problems, &parsed.sources, colours),
        errors: problem::values(&parsed.problems, &parsed.sources, true),
        warnings: problem::values(&parsed.problems, &parsed.sources, false),
        exit: 2,
        ..Answer::default()
    }
}

fn failed(error: &DrillError) -> Answer {
    let what = error.to_string();
    match error {
        DrillError::Interrupted => Answer::failure(130, &what, ""),
        DrillError::Unfit(_) => {
            Answer::failure(2, &what, "`linkflow rehearse` without a file rehearses the example")
        }
        DrillError::Open(open) => {
            Answer::failure(if open.is_of_config() { 2 } else { 1 }, &what, open.help())
        }
        DrillError::Failed(_) => {
            Answer::failure(1, &what, "`--keep FOLDER` keeps the logs of every process")
        }
    }
}

fn reported(args: &RehearseArgs, report: &RehearsalReport, voice: Voice) -> Answer {
    let style = TextStyle { colour: voice.colours, ..TextStyle::default() };
    let mut answer = Answer {
        out: text(report, style),
        // Plain data with text keys always has a JSON form.
        result: serde_json::to_value(report).unwrap_or_default(),
        exit: u8::from(report.verdict() == Verdict::Fail),
        ..Answer::default()
    };
    for scenario in &report.scenarios {
        for broken in &scenario.broken {
            let error = serde_json::json!({ "scenario": scenario.name, "message": broken });
            answer.errors.push(error);
        }
    }
    if let Some(folder) = &args.report {
        match write(folder, report) {
            Ok(()) => answer.err = format!("the report is in {}\n", folder.display()),
            Err(error) => {
                let what = format!("the report cannot be written to {}: {error}", folder.display());
                answer.errors.push(serde_json::json!({ "message": what }));
                answer.err = format!("error: {what}\n");
                answer.exit = 1;
            }
        }
    }
    answer
}

fn write(folder: &Path, report: &RehearsalReport) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let coloured = text(report, TextStyle { colour: true, ..TextStyle::default() });
    let json = serde_json::to_string_pretty(report).map_err(std::io::Error::other)?;
    std::fs::write(folder.join("report.md"), markdown(report))?;
    std::fs::write(folder.join("report.json"), json)?;
    std::fs::write(folder.join("report.html"), html(report))?;
    std::fs::write(folder.join("terminal.svg"), terminal_svg(&coloured, "linkflow rehearse"))
}

/// Where everything of a rehearsal is kept; taken away at its end unless somebody wants it.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn make(keep: Option<&Path>) -> Result<Self, String> {
        let said = |path: &Path, error: &dyn std::fmt::Display| {
            format!("{} cannot be used: {error}", path.display())
        };
        if let Some(path) = keep {
            std::fs::create_dir_all(path).map_err(|error| said(path, &error))?;
            let mut held = std::fs::read_dir(path).map_err(|error| said(path, &error))?;
            if held.next().is_some() {
                return Err(said(path, &"it is not empty"));
            }
            let path = path.canonicalize().map_err(|error| said(path, &error))?;
            return Ok(Self { path, keep: true });
        }
        let base = std::env::temp_dir();
        // A folder that is there already, of whomever, is never used.
        for number in 0..1_000 {
            let path = base.join(format!("linkflow-rehearsal-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, keep: false }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(said(&path, &error)),
            }
        }
        Err(said(&base, &"too many rehearsals have left their folders"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!("{} is left: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_rehearsed_with_its_own_environment() {
        let parsed = parse(None, None);
        let config = parsed.config.unwrap();
        assert_eq!(config.services.len(), 7);
        assert_eq!(config.policy().failback_after_ms, 3_000);
    }

    #[test]
    fn a_folder_is_taken_away_unless_it_is_to_be_kept() {
        let folder = Folder::make(None).unwrap();
        let path = folder.path.clone();
        std::fs::write(path.join("something"), "").unwrap();
        drop(folder);
        assert!(!path.exists());

        let mine = tempfile::tempdir().unwrap();
        let kept = mine.path().join("kept");
        drop(Folder::make(Some(&kept)).unwrap());
        assert!(kept.is_dir());
        std::fs::write(kept.join("something"), "").unwrap();
        assert!(Folder::make(Some(&kept)).is_err());
    }

    #[test]
    fn every_scenario_has_a_name_that_is_read_back() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse(), Ok(scenario));
        }
        let refused = "provider-dances".parse::<Scenario>().unwrap_err();
        assert!(refused.contains("provider-dies"), "{refused}");
    }
}
