//! `linkflow ci secrets`: gives workflows the secrets that the config names.

use clap::{Args, ValueEnum};
use linkflow_model::ProviderName;
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::output::err;
use crate::wire::OpenError;
use crate::wire::ci::open_ci;
use crate::wire::secrets::Secrets;
use crate::wire::state::Home;

use super::ci_follow::refused;
use super::{Answered, Context, check};

/// Whom to give secrets.
#[derive(Args, Clone, Debug)]
pub(crate) struct SecretsArgs {
    /// Who gets them.
    #[arg(long, value_enum)]
    to: Receiver,

    /// The provider of the config, when it has several at that vendor.
    #[arg(long, value_name = "NAME")]
    provider: Option<ProviderName>,

    /// Only show what would be set.
    #[arg(long)]
    dry_run: bool,

    /// Only these; all that the config names when none is given.
    names: Vec<String>,
}

/// Who can get secrets.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    /// The Actions of a repository at GitHub.
    Github,
}

/// What becomes of one secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It has a value, and goes there.
    Goes,
    /// It has no value here.
    Missing,
    /// GitHub makes it by itself for each run.
    Made,
    /// GitHub takes no such name.
    Refused,
}

impl Fate {
    fn of(name: &str, secrets: &Secrets) -> Self {
        match name.strip_prefix("GITHUB_") {
            Some("TOKEN") => Self::Made,
            Some(_) => Self::Refused,
            None if secrets.secret(name).is_some() => Self::Goes,
            None => Self::Missing,
        }
    }

    fn word(self, dry_run: bool) -> &'static str {
        match self {
            Self::Goes if dry_run => "would be set",
            Self::Goes => "set",
            Self::Missing => "not there: put it into the environment",
            Self::Made => "made by GitHub for each run",
            Self::Refused => {
                "GitHub takes no name that begins with GITHUB_: call it otherwise in the config"
            }
        }
    }
}

/// What `ci secrets` answers.
pub(crate) async fn answer(context: &Context, args: &SecretsArgs) -> Answered {
    let mut parsed = check::parse(&context.which);
    let Some(config) = parsed.config.take() else {
        return check::load(&context.which, context.voice.colours_err).map(|_| Answer::default());
    };
    if let Some(unknown) = args.names.iter().find(|name| !parsed.secrets.contains(name)) {
        let what = format!("the config refers to no secret `{unknown}`");
        return Answer::failed(2, &what, "`linkflow check --json` lists those it refers to");
    }
    let names = if args.names.is_empty() { &parsed.secrets } else { &args.names };
    let cloud = context.cloud().await?;
    let folder = context.state(&config, cloud.is_some());
    let home = Home::open(&folder).map_err(|source| OpenError::State { folder, source })?;
    let secrets = Secrets::new(context.vars.clone(), home.key(), cloud.is_some());
    let Receiver::Github = args.to;
    let record = context.record();
    let ci = open_ci(&config, args.provider.as_ref(), cloud.as_ref(), &secrets, record)?;

    let mut answer = Answer::default();
    let mut rows = Vec::new();
    for name in names {
        let fate = Fate::of(name, &secrets);
        if let (Fate::Goes, false, Some(value)) = (fate, args.dry_run, secrets.secret(name)) {
            if !context.voice.json {
                err(&format!("setting {name}\n"));
            }
            ci.set_secret(name, &value).await.map_err(refused)?;
        }
        let word = fate.word(args.dry_run);
        answer.out.push_str(&format!("{name}: {word}\n"));
        rows.push(json!({ "name": name, "is": word, "set": fate == Fate::Goes && !args.dry_run }));
        if matches!(fate, Fate::Missing | Fate::Refused) {
            answer.exit = 1;
            answer.errors.push(json!({ "message": format!("{name}: {word}"), "help": "" }));
        }
    }
    answer.result = json!({ "to": ci.name(), "dry_run": args.dry_run, "secrets": rows });
    Ok(answer)
}
