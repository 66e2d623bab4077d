//! `linkflow ci`: writes the workflows that build and deploy, and speaks with whoever runs them.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::ci::install::{Install, WAYS};
use crate::ci::kept::{self, Standing};
use crate::ci::{Pipeline, dependabot, diff, github, gitlab, images, inside, root_of};
use crate::say::answer::Answer;

use super::ci_follow::{self, RunArgs, WatchArgs};
use super::ci_secrets::{self, SecretsArgs};
use super::{Answered, Context, check, once};

/// Let CI build the images, plan each pull request, and deploy what is merged.
#[derive(Subcommand, Clone, Debug)]
#[command(
    after_help = "Examples:\n  linkflow ci github                       write .github/workflows/deploy.yml\n  linkflow ci github --check               is it in sync with the config?\n  linkflow ci secrets --to github          give its workflows the secrets that the config names\n  linkflow ci run                          start a deploy and follow it\n  linkflow ci watch                        follow the newest one\n  linkflow ci gitlab                       write .gitlab-ci.yml"
)]
pub(crate) enum CiCommand {
    /// Write the workflow for GitHub Actions, and what keeps its parts up to date.
    #[command(
        after_help = "Examples:\n  linkflow ci github --install git:https://git.example.com/linkflow.git@v0.1.0\n  linkflow ci github --runs-on self-hosted,linkflow     deploy where `linkflow up` serves\n  linkflow ci github --check                            exit 2 and a diff when it is not in sync\n  linkflow ci github                                    once more, with the same options"
    )]
    Github(WriteArgs),
    /// Write the pipeline for GitLab.
    #[command(
        after_help = "Examples:\n  linkflow ci gitlab --install git:https://git.example.com/linkflow.git@v0.1.0\n  linkflow ci gitlab --check"
    )]
    Gitlab(WriteArgs),
    /// Give workflows the secrets that the config names. Values come from the environment and are shown to nobody.
    #[command(
        after_help = "Examples:\n  linkflow ci secrets --to github\n  linkflow ci secrets --to github --dry-run\n  linkflow ci secrets --to github FLY_API_TOKEN JWT_SECRET"
    )]
    Secrets(SecretsArgs),
    /// Start a workflow and follow its run to the end.
    #[command(
        after_help = "Examples:\n  linkflow ci run\n  linkflow ci run --input dry_run=true\n  linkflow ci run --workflow deploy.yml --branch main --no-wait --json"
    )]
    Run(RunArgs),
    /// Follow a run to its end: the newest one, or the one that is named.
    #[command(after_help = "Examples:\n  linkflow ci watch\n  linkflow ci watch 12345678901")]
    Watch(WatchArgs),
}

/// How a workflow is written. What is not said is as in the file that is there.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteArgs {
    /// How the machine gets linkflow: present, git:URL@REVISION, path:FOLDER or release:OWNER/NAME@TAG. There is no published
    /// release yet, so this has to be said once, unless the repository holds LinkFlow itself or --runs-on names your machine.
    #[arg(long, value_name = "WAY")]
    pub(crate) install: Option<Install>,

    /// The branch that is deployed; main when not said.
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,

    /// The machine that plans and deploys, by its labels: yours, where the state folder stays. A new machine of the vendor's for
    /// each run when not said; the state then travels in its cache.
    #[arg(long, value_name = "LABELS")]
    pub(crate) runs_on: Option<String>,

    /// Write nothing: tell whether the files are in sync, show what differs, and exit with 2 when they are not.
    #[arg(long, conflicts_with = "force")]
    pub(crate) check: bool,

    /// Write over a file that was changed by hand, or that LinkFlow did not write.
    #[arg(long)]
    pub(crate) force: bool,

    /// The root of the repository; where `.git` is when not said.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
}

/// Reads the options that a file was written with.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Stored {
    #[command(flatten)]
    args: WriteArgs,
}

/// Whose workflow it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vendor {
    Github,
    Gitlab,
}

/// What `ci` answers.
pub(crate) fn answer(context: &Context, command: &CiCommand) -> Answered {
    match command {
        CiCommand::Github(args) => written(context, args, Vendor::Github),
        CiCommand::Gitlab(args) => written(context, args, Vendor::Gitlab),
        CiCommand::Secrets(args) => once(ci_secrets::answer(context, args)),
        CiCommand::Run(args) => once(ci_follow::run(context, args)),
        CiCommand::Watch(args) => once(ci_follow::watch(context, args)),
    }
}

/// A file as it is and as it should be.
struct File {
    path: PathBuf,
    shown: String,
    held: Option<String>,
    wanted: String,
    standing: Standing,
}

impl File {
    fn new(root: &Path, shown: &str, text: &str) -> Result<Self, Box<Answer>> {
        let path = root.join(shown);
        let held = match kept::read(&path) {
            Ok(held) => held,
            Err(why) => return Answer::failed(1, &why, ""),
        };
        let standing = kept::standing(held.as_deref(), text);
        let wanted = kept::with_pins_of(held.as_deref(), text);
        Ok(Self { path, shown: shown.to_owned(), held, wanted, standing })
    }

    fn value(&self) -> Value {
        json!({ "file": self.shown, "is": self.standing.word() })
    }
}

fn written(context: &Context, args: &WriteArgs, vendor: Vendor) -> Answered {
    let mut parsed = check::parse(&context.which);
    let Some(config) = parsed.config.take() else {
        return check::load(&context.which, context.voice.colours_err).map(|_| Answer::default());
    };
    let root = root_of(args.dir.as_deref().unwrap_or(&context.workdir()));
    let (file, command) = match vendor {
        Vendor::Github => (github::FILE, "linkflow ci github"),
        Vendor::Gitlab => (gitlab::FILE, "linkflow ci gitlab"),
    };
    let args = with_stored(args, &root.join(file));
    let place = place(context, &root)?;
    let folder = Path::new(&place).parent().unwrap_or(Path::new("")).to_owned();
    let images =
        images::of(&config, &folder).or_else(|(what, help)| Answer::failed(2, &what, &help))?;
    let install = args.install.clone().or_else(|| Install::usual(&root, args.runs_on.as_deref()));
    let Some(install) = install else {
        let what = "nobody said how the machine of CI gets `linkflow`, and there is no published release yet";
        return Answer::failed(2, what, &format!("`--install` says it: {WAYS}"));
    };
    let pipeline = Pipeline {
        stack: config.stack.name.to_string(),
        config: place,
        env: context.which.env.clone(),
        state: inside(&folder.join(&config.stack.state))
            .unwrap_or_else(|| config.stack.state.clone()),
        images,
        secrets: parsed.secrets,
        variables: parsed.variables,
        branch: args.branch.clone().unwrap_or_else(|| "main".to_owned()),
        options: options(&args, &install),
        install,
        runs_on: args.runs_on.clone(),
    };
    let body = match vendor {
        Vendor::Github => github::workflow(&pipeline),
        Vendor::Gitlab => gitlab::pipeline(&pipeline),
    };
    let mut files = vec![File::new(&root, file, &kept::sealed(command, &pipeline.options, &body))?];
    if vendor == Vendor::Github {
        let text = dependabot::text(&dependabot::find(&root));
        files.push(File::new(&root, ".github/dependabot.yml", &kept::sealed(command, "", &text))?);
    }
    if args.check { Ok(compared(&files)) } else { put(&files, &args, &pipeline) }
}

/// The config, from the root of the repository.
fn place(context: &Context, root: &Path) -> Result<String, Box<Answer>> {
    let config =
        std::path::absolute(&context.which.config).unwrap_or_else(|_| context.which.config.clone());
    let place = config.strip_prefix(root).ok().and_then(inside);
    place.ok_or_else(|| {
        let what = format!("{} is not in the repository {}", config.display(), root.display());
        Box::new(Answer::failure(2, &what, "`--dir FOLDER` names the root of the repository"))
    })
}

/// `args`, and what they do not say as in the file that is there.
fn with_stored(args: &WriteArgs, file: &Path) -> WriteArgs {
    let held = kept::read(file).ok().flatten();
    let stored = held.and_then(|text| Stored::try_parse_from(kept::options_of(&text)?).ok());
    let stored = stored.map(|stored| stored.args).unwrap_or_default();
    WriteArgs {
        install: args.install.clone().or(stored.install),
        branch: args.branch.clone().or(stored.branch),
        runs_on: args.runs_on.clone().or(stored.runs_on),
        ..args.clone()
    }
}

/// The options that make the same file again.
fn options(args: &WriteArgs, install: &Install) -> String {
    let mut out = format!("--install {install}");
    for (name, value) in [("branch", &args.branch), ("runs-on", &args.runs_on)] {
        if let Some(value) = value {
            out.push_str(&format!(" --{name} {}", value.replace(' ', "")));
        }
    }
    out
}

/// How the files stand, and what differs.
fn compared(files: &[File]) -> Answer {
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    for file in files {
        // A file of the user's own keeps dependencies up to date in its own way.
        let own = file.standing == Standing::Foreign && file.shown.ends_with("dependabot.yml");
        let differs = !own && file.standing != Standing::Same;
        let difference = if differs {
            diff::lines(file.held.as_deref().unwrap_or_default(), &file.wanted)
        } else {
            String::new()
        };
        answer.out.push_str(&format!("{}: {}\n{difference}", file.shown, file.standing.word()));
        let mut row = file.value();
        row["diff"] = difference.into();
        rows.push(row);
        if differs {
            answer.exit = 2;
            let what = format!("{} is {}", file.shown, file.standing.word());
            answer
                .errors
                .push(json!({ "message": what, "help": "run the command without --check" }));
        }
    }
    if answer.exit != 0 {
        answer.err.push_str("help: the command without --check writes what is missing or out of date; --force also what was changed by hand\n");
    }
    answer.result = json!({ "in_sync": answer.exit == 0, "files": rows });
    answer
}

/// Writes what is missing or out of date; what people changed stays, unless that was asked for.
fn put(files: &[File], args: &WriteArgs, pipeline: &Pipeline) -> Answered {
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    for file in files {
        let theirs = matches!(file.standing, Standing::Changed | Standing::Foreign);
        let own = file.standing == Standing::Foreign && file.shown.ends_with("dependabot.yml");
        let mut row = file.value();
        if own && !args.force {
            answer.out.push_str(&format!("left {} as it is: it is yours\n", file.shown));
        } else if theirs && !args.force {
            let what = format!("{} is {}", file.shown, file.standing.word());
            let refused =
                Answer::failure(5, &what, "`--check` shows what differs; `--force` writes over it");
            answer.err.push_str(&refused.err);
            answer.errors.extend(refused.errors);
            answer.exit = 5;
        } else if file.standing == Standing::Same {
            answer.out.push_str(&format!("{} is in sync\n", file.shown));
        } else {
            if let Err(why) = kept::write(&file.path, &file.wanted) {
                return Answer::failed(1, &why, "");
            }
            answer.out.push_str(&format!("wrote {}\n", file.shown));
            row["is"] = "written".into();
        }
        rows.push(row);
    }
    if pipeline.images.is_empty() {
        let note = "no service says how its image is built (`build`), so the workflow builds none: it deploys what the tags mean";
        answer.err.push_str(&format!("note: {note}\n"));
        answer.warnings.push(json!({ "message": note }));
    }
    let images: Vec<&str> = pipeline.images.iter().map(|image| image.image.as_str()).collect();
    answer.result = json!({ "files": rows, "images": images, "secrets": pipeline.secrets });
    Ok(answer)
}
