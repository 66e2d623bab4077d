//! `linkflow check`: reads the config and tells everything that is wrong with it.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use linkflow_model::config::{Config, Files, Parsed};
use linkflow_model::{ProviderName, ServiceName};
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::problem;

/// Which config a command is about.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Which {
    /// The config.
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        env = "LINKFLOW_CONFIG",
        default_value = "linkflow.toml"
    )]
    pub(crate) config: PathBuf,

    /// The environment: `[env.NAME]` of the config is laid over the rest.
    #[arg(long, global = true, value_name = "NAME", env = "LINKFLOW_ENV")]
    pub(crate) env: Option<String>,
}

/// Read the config and tell everything that is wrong with it.
///
/// Without --env, every environment of the config is checked as well.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow check\n  linkflow check --env staging\n  linkflow check --deny-warnings --json"
)]
pub(crate) struct CheckArgs {
    /// Fail on warnings too.
    #[arg(long)]
    pub(crate) deny_warnings: bool,
}

/// The files on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk;

/// A config is written by people; anything larger is something else.
const LARGEST: u64 = 4 << 20;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let about = std::fs::metadata(path).map_err(|error| why(&error))?;
        if about.is_dir() {
            return Err("it is a folder".to_owned());
        }
        if about.len() > LARGEST {
            return Err(format!("it is larger than {} MiB", LARGEST >> 20));
        }
        std::fs::read(path).map_err(|error| why(&error))
    }
}

/// What the system says, without its number.
fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        _ => error.to_string(),
    }
}

/// The config of `which` from this machine, with all that is known of it.
pub(crate) fn parse(which: &Which) -> Parsed {
    Config::parse(&Disk, &which.config.to_string_lossy(), which.env.as_deref())
}

/// The config, for any command that needs one; otherwise the answer that says why there is none.
pub(crate) fn load(which: &Which, colours: bool) -> Result<Config, Box<Answer>> {
    let mut parsed = parse(which);
    match parsed.config.take() {
        Some(config) => Ok(config),
        None => Err(Box::new(refused(&parsed, colours))),
    }
}

/// The answer of a config that cannot be used.
pub(crate) fn refused(parsed: &Parsed, colours: bool) -> Answer {
    Answer {
        err: problem::render(&parsed.problems, &parsed.sources, colours),
        errors: problem::values(&parsed.problems, &parsed.sources, true),
        warnings: problem::values(&parsed.problems, &parsed.sources, false),
        exit: 2,
        ..Answer::default()
    }
}

/// What `check` answers.
pub(crate) fn answer(
    parsed: &Parsed,
    args: &CheckArgs,
    env: Option<&str>,
    colours: bool,
) -> Answer {
    let mut answer = refused(parsed, colours);
    let Some(config) = &parsed.config else { return answer };
    answer.exit = if args.deny_warnings && !parsed.problems.is_empty() { 2 } else { 0 };
    answer.out = summary(config, parsed, env);
    let not_yet: Vec<_> = parsed
        .not_yet
        .iter()
        .map(|n| {
            let (line, _) = parsed.sources.line_and_column(n.at);
            json!({ "key": n.path, "file": parsed.sources.path(n.at.file), "line": line })
        })
        .collect();
    answer.result = json!({
        "file": parsed.sources.path(0),
        "stack": config.stack.name.as_str(),
        "environment": env,
        "environments": parsed.environments,
        "services": config.services.keys().map(ServiceName::as_str).collect::<Vec<_>>(),
        "providers": config.providers.keys().map(ProviderName::as_str).collect::<Vec<_>>(),
        "secrets": parsed.secrets,
        "not_yet": not_yet,
    });
    answer
}

/// What is declared, and what of it is without effect so far.
fn summary(config: &Config, parsed: &Parsed, env: Option<&str>) -> String {
    let some =
        |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    let mut out = String::new();
    let in_env = env.map(|e| format!(" in `{e}`")).unwrap_or_default();
    let routes = config.services.values().map(|s| s.route.len()).sum();
    let parts = [
        format!(
            "{} on {}",
            some(config.services.len(), "service"),
            some(config.compute().len(), "provider")
        ),
        some(routes, "route"),
        some(parsed.secrets.len(), "secret"),
    ];
    say(
        &mut out,
        format_args!(
            "{} is sound: stack `{}`{in_env}, {}\n",
            parsed.sources.path(0),
            config.stack.name,
            parts.join(", ")
        ),
    );
    if env.is_none() && !parsed.environments.is_empty() {
        say(
            &mut out,
            format_args!("environments are sound too: {}\n", parsed.environments.join(", ")),
        );
    }
    if parsed.not_yet.is_empty() {
        return out;
    }
    out.push_str(
        "\nparsed, not acted on yet (in a rehearsal every compute provider acts, simulated):\n",
    );
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for not_yet in &parsed.not_yet {
        let (section, rest) = not_yet.path.split_once('.').unwrap_or((&not_yet.path, ""));
        match sections.iter_mut().find(|(s, _)| *s == section) {
            Some((_, keys)) => keys.push(rest),
            None => sections.push((section, vec![rest])),
        }
    }
    for (section, keys) in sections {
        let mut line = format!("  {section:<12}");
        for (i, key) in keys.iter().enumerate() {
            let comma = if i + 1 < keys.len() { "," } else { "" };
            if line.chars().count() + key.chars().count() > 98 {
                say(&mut out, format_args!("{line}\n"));
                line = format!("  {:<12}", "");
            }
            say(&mut line, format_args!(" {key}{comma}"));
        }
        say(&mut out, format_args!("{}\n", line.trim_end()));
    }
    out
}

fn say(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    out.write_fmt(text).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const EXAMPLE: &str = include_str!("../../../../examples/linkflow/linkflow.toml");

    fn checked(text: &str, env: Option<&str>, deny_warnings: bool) -> Answer {
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        let parsed = Config::parse(&files, "linkflow.toml", env);
        answer(&parsed, &CheckArgs { deny_warnings }, env, false)
    }

    #[test]
    fn the_example_is_sound_and_says_what_is_not_acted_on() {
        let answer = checked(EXAMPLE, None, true);
        assert_eq!((answer.exit, answer.err.as_str()), (0, ""));
        insta::assert_snapshot!(answer.out, @r"
        linkflow.toml is sound: stack `linkflow`, 7 services on 7 providers, 2 routes, 38 secrets
        environments are sound too: rehearsal

        parsed, not acted on yet (in a rehearsal every compute provider acts, simulated):
          secrets      from, file, sync_to, rotate_after
          providers    cockroachdb, neon, supabase, hetzner-postgres, upstash, cloudflare-kv, hetzner-redis,
                       r2, b2, azure-blob, grafana, doppler
          databases
          caches
          buckets
          backups
          telemetry
          budget
          quotas
        ");
        let not_yet = answer.result["not_yet"].as_array().unwrap();
        assert!(not_yet.iter().any(|n| n["key"] == "databases"));
        assert!(!not_yet.iter().any(|n| n["key"] == "providers.fly"));
    }

    #[test]
    fn warnings_pass_unless_they_are_denied() {
        let text = "[stack]\nname = \"shop\"\n[providers.fly]\nkind = \"fly\"\n";
        let answer = checked(text, None, false);
        assert_eq!((answer.exit, answer.warnings.len(), answer.errors.len()), (0, 1, 0));
        assert!(answer.err.starts_with("warning[LF0403]"), "{}", answer.err);
        assert_eq!(checked(text, None, true).exit, 2);
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_with_a_way_out() {
        let which = Which { config: "/nowhere/linkflow.toml".into(), env: None };
        let answer = load(&which, false).unwrap_err();
        assert_eq!(answer.exit, 2);
        insta::assert_snapshot!(answer.err, @r"
        error[LF0001]: `/nowhere/linkflow.toml` cannot be read: there is no such file
        --> /nowhere/linkflow.toml
         = help: `linkflow init` writes a first one; `--config FILE` names another

        1 error; `linkflow explain LF0001` tells more
        ");
    }

    #[test]
    fn a_folder_is_no_config() {
        let which = Which { config: "/".into(), env: None };
        assert!(load(&which, false).unwrap_err().err.contains("it is a folder"));
    }
}
