//! `linkflow init`: at most five questions, then a first config that passes `check`.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use linkflow_model::config::{Config, quoted, schema};
use linkflow_model::{ImageRef, StackName};
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::problem;

/// Write a first linkflow.toml. No account is needed.
///
/// Asks at most five questions; every answer can be given as an option instead. Beside the config goes a JSON schema, so that
/// editors complete and check it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow init\n  linkflow init --yes\n  linkflow init --name shop --domain example.com --image ghcr.io/acme/shop:1.0 --port 8080 --providers fly,railway"
)]
pub(crate) struct InitArgs {
    /// What the stack is called.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// The domain that visitors use; empty for none.
    #[arg(long)]
    pub(crate) domain: Option<String>,

    /// The container image to run.
    #[arg(long)]
    pub(crate) image: Option<String>,

    /// The port that the container listens on.
    #[arg(long)]
    pub(crate) port: Option<u16>,

    /// Where it runs, most preferred first: embedded, docker, fly, railway, azure, koyeb, zeabur, render, hetzner.
    #[arg(long, value_delimiter = ',')]
    pub(crate) providers: Option<Vec<String>>,

    /// Ask nothing; what is not given is as usual.
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// Write over a config that is there.
    #[arg(long)]
    pub(crate) force: bool,

    /// The folder to write to.
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
}

/// Puts questions to somebody.
pub(crate) trait Ask {
    /// The answer to `question`; an empty one stands for `usual`.
    ///
    /// # Errors
    ///
    /// When nobody can be asked any more.
    fn ask(&mut self, question: &str, usual: &str) -> std::io::Result<String>;
}

/// Asks on a terminal.
#[derive(Debug)]
pub(crate) struct Terminal<R, W> {
    /// Where answers come from.
    pub(crate) from: R,
    /// Where questions go.
    pub(crate) to: W,
}

impl<R: BufRead, W: Write> Ask for Terminal<R, W> {
    fn ask(&mut self, question: &str, usual: &str) -> std::io::Result<String> {
        let shown = if usual.is_empty() { "none" } else { usual };
        write!(self.to, "{question} [{shown}] ")?;
        self.to.flush()?;
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim().to_owned())
    }
}

/// The image of the example stack, which a rehearsal knows.
const USUAL_IMAGE: &str = "ghcr.io/acme/linkflow/api:1.0";

/// A provider that can be chosen: its name, and its section but for the header.
const CHOICES: [(&str, &str); 9] = [
    ("embedded", ""),
    ("docker", ""),
    ("fly", "kind = \"fly\"\nregion = \"fra\"\ntoken = \"${secret.FLY_API_TOKEN}\"\n"),
    ("railway", "kind = \"railway\"\ntoken = \"${secret.RAILWAY_TOKEN}\"\n"),
    (
        "azure",
        "kind = \"azure-container-apps\"\nsubscription = \"00000000-0000-0000-0000-000000000000\" # put yours here\n\
         resource_group = \"linkflow-rg\"\ncredentials = \"${secret.AZURE_CREDENTIALS}\"\n",
    ),
    ("koyeb", "kind = \"koyeb\"\nregion = \"fra\"\ntoken = \"${secret.KOYEB_TOKEN}\"\n"),
    ("zeabur", "kind = \"zeabur\"\ntoken = \"${secret.ZEABUR_TOKEN}\"\n"),
    ("render", "kind = \"render\"\nregion = \"frankfurt\"\ntoken = \"${secret.RENDER_API_KEY}\"\n"),
    (
        "hetzner",
        "kind = \"server\"\naddress = \"203.0.113.7\" # put yours here\nkey = \"${secret.HETZNER_SSH_KEY}\"\nlast_resort = true\n",
    ),
];

/// All answers, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    domain: String,
    image: String,
    port: u16,
    providers: Vec<String>,
}

/// What `init` answers. `ask` is `None` when nobody can be asked; what is not given is then as usual.
/// `has_docker` says whether a Docker engine answers on this machine.
pub(crate) fn answer(args: &InitArgs, ask: Option<&mut dyn Ask>, has_docker: bool) -> Answer {
    let path = args.dir.join("linkflow.toml");
    if path.exists() && !args.force {
        let what = format!("`{}` is there already", path.display());
        return Answer::failure(
            2,
            &what,
            "`--force` writes over it; `--dir FOLDER` writes elsewhere",
        );
    }
    let wanted = match wanted(args, ask, has_docker) {
        Ok(wanted) => wanted,
        Err((what, help)) => return Answer::failure(2, &what, &help),
    };
    let text = text(&wanted);
    let files = BTreeMap::from([("linkflow.toml".to_owned(), &text)]);
    let parsed = Config::parse(&files, "linkflow.toml", None);
    if parsed.config.is_none() {
        return Answer {
            err: problem::render(&parsed.problems, &parsed.sources, false),
            errors: problem::values(&parsed.problems, &parsed.sources, true),
            exit: 2,
            ..Answer::default()
        };
    }
    let schema_path = args.dir.join("linkflow.schema.json");
    for (path, text) in [(&schema_path, &format!("{:#}\n", schema())), (&path, &text)] {
        if let Err(error) = write(path, text) {
            let what = format!("`{}` cannot be written: {error}", path.display());
            return Answer::failure(1, &what, "`--dir FOLDER` writes elsewhere");
        }
    }
    let mut out = format!("wrote {}\n", path.display());
    for secret in &parsed.secrets {
        out.push_str(&format!("next: linkflow secrets set {secret}\n"));
    }
    out.push_str("next: linkflow check\n");
    let result = json!({
        "files": [path.display().to_string(), schema_path.display().to_string()],
        "secrets": parsed.secrets,
    });
    Answer { out, result, ..Answer::default() }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)
}

type Refusal = (String, String);

/// Every answer: from the options, from `ask`, or the usual one.
fn wanted(
    args: &InitArgs,
    mut ask: Option<&mut dyn Ask>,
    has_docker: bool,
) -> Result<Wanted, Refusal> {
    if args.yes {
        ask = None;
    }
    let folder = std::path::absolute(&args.dir).unwrap_or_default();
    let folder = folder.file_name().map(|n| n.to_string_lossy().to_lowercase());
    let name = folder.filter(|n| StackName::new(n).is_some()).unwrap_or_else(|| "app".to_owned());
    let port = args.port.map(|p| p.to_string());
    let providers = args.providers.as_ref().map(|p| p.join(","));
    let mut which = format!("Where does it run, most preferred first? ({})", choices());
    let offered = has_docker && ask.is_some();
    if offered {
        which.push_str(" A Docker engine answers here.");
    }
    let usual = if offered { "docker" } else { "embedded" };
    Ok(Wanted {
        name: one(args.name.as_deref(), &mut ask, "What is the stack called?", &name, check_name)?,
        domain: one(
            args.domain.as_deref(),
            &mut ask,
            "Which domain do visitors use?",
            "",
            check_domain,
        )?,
        image: one(
            args.image.as_deref(),
            &mut ask,
            "Which container image runs?",
            USUAL_IMAGE,
            check_image,
        )?,
        port: one(port.as_deref(), &mut ask, "Which port does it listen on?", "8000", check_port)?,
        providers: one(providers.as_deref(), &mut ask, &which, usual, check_providers)?,
    })
}

/// One answer. What is given as an option is checked; what is asked is asked until it fits.
fn one<T>(
    given: Option<&str>,
    ask: &mut Option<&mut dyn Ask>,
    question: &str,
    usual: &str,
    check: fn(&str) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    if let Some(given) = given {
        return check(given);
    }
    let Some(ask) = ask else { return check(usual) };
    let mut question = question.to_owned();
    loop {
        let gone =
            |_| ("the questions were not answered".to_owned(), "`--yes` asks nothing".to_owned());
        let answer = ask.ask(&question, usual).map_err(gone)?;
        match check(if answer.is_empty() { usual } else { &answer }) {
            Ok(value) => return Ok(value),
            Err((what, help)) => question = format!("{what}; {help}:"),
        }
    }
}

fn check_name(text: &str) -> Result<String, Refusal> {
    let help = || "for example `shop`".to_owned();
    text.parse::<StackName>().map(|n| n.to_string()).map_err(|error| (error.to_string(), help()))
}

fn check_domain(text: &str) -> Result<String, Refusal> {
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.is_empty() || text.len() < 200 && text.split('.').all(label) {
        return Ok(text.to_lowercase());
    }
    Err((format!("`{text}` is not a domain"), "for example `example.com`".to_owned()))
}

fn check_image(text: &str) -> Result<String, Refusal> {
    let help = || format!("for example `{USUAL_IMAGE}`");
    text.parse::<ImageRef>().map(|_| text.to_owned()).map_err(|error| (error.to_string(), help()))
}

fn check_port(text: &str) -> Result<u16, Refusal> {
    let wrong = || (format!("`{text}` is not a port"), "1 to 65535 are".to_owned());
    text.parse().ok().filter(|p| *p > 0).ok_or_else(wrong)
}

fn check_providers(text: &str) -> Result<Vec<String>, Refusal> {
    let mut names: Vec<String> = Vec::new();
    for name in text.split([',', ' ']).filter(|n| !n.is_empty()) {
        if !CHOICES.iter().any(|(n, _)| *n == name) {
            return Err((
                format!("`{name}` cannot be chosen"),
                format!("these can: {}", choices()),
            ));
        }
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        return Err((
            "no provider is named".to_owned(),
            "`embedded` and `docker` need no account".to_owned(),
        ));
    }
    // The last resort comes last, whatever the order of the answer.
    names.sort_by_key(|n| n == "hetzner");
    Ok(names)
}

fn choices() -> String {
    CHOICES.map(|(name, _)| name).join(", ")
}

/// The config.
fn text(wanted: &Wanted) -> String {
    let Wanted { name, domain, image, port, providers } = wanted;
    let mut out = String::from(
        "#:schema ./linkflow.schema.json\n\n# `linkflow check` tells what is wrong with this file; `linkflow schema --markdown` is its manual.\n\n",
    );
    out.push_str(&format!("[stack]\nname = {}\n", quoted(name)));
    if !domain.is_empty() {
        out.push_str(&format!("domain = {}\n", quoted(domain)));
    }
    for (name, section) in
        CHOICES.iter().filter(|(n, s)| !s.is_empty() && providers.iter().any(|p| p == n))
    {
        out.push_str(&format!("\n[providers.{name}]\n{section}"));
    }
    let runs_on: Vec<String> = providers.iter().map(|p| quoted(p)).collect();
    let route = if domain.is_empty() { "*" } else { "api.${stack.domain}" };
    let health = if image == USUAL_IMAGE { "/api/v1/health" } else { "/" };
    out.push_str(&format!(
        "\n[services.api]\nimage = {}\nport = {port}\nhealth = \"{health}\" # a path that answers 200 when all is well\nroute = \"{route}\"\n\
         runs_on = [{}] # most preferred first\n",
        quoted(image),
        runs_on.join(", "),
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Answers(Vec<&'static str>, Vec<String>);

    impl Ask for Answers {
        fn ask(&mut self, question: &str, _: &str) -> std::io::Result<String> {
            self.1.push(question.to_owned());
            if self.0.is_empty() {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            Ok(self.0.remove(0).to_owned())
        }
    }

    fn at(dir: &Path) -> InitArgs {
        InitArgs { dir: dir.to_owned(), ..InitArgs::default() }
    }

    #[track_caller]
    fn written(dir: &Path) -> Config {
        let text = std::fs::read_to_string(dir.join("linkflow.toml")).unwrap();
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        let parsed = Config::parse(&files, "linkflow.toml", None);
        assert_eq!(problem::render(&parsed.problems, &parsed.sources, false), "");
        parsed.config.unwrap()
    }

    #[test]
    fn nothing_asked_and_nothing_given_makes_a_config_that_needs_no_account() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("shop");
        let answer = answer(&InitArgs { yes: true, ..at(&home) }, None, false);
        assert_eq!((answer.exit, answer.err.as_str()), (0, ""));
        let config = written(&home);
        assert_eq!(config.stack.name.as_str(), "shop");
        assert!(config.providers.is_empty());
        insta::assert_snapshot!(std::fs::read_to_string(home.join("linkflow.toml")).unwrap(), @r#"
        #:schema ./linkflow.schema.json

        # `linkflow check` tells what is wrong with this file; `linkflow schema --markdown` is its manual.

        [stack]
        name = "shop"

        [services.api]
        image = "ghcr.io/acme/linkflow/api:1.0"
        port = 8000
        health = "/api/v1/health" # a path that answers 200 when all is well
        route = "*"
        runs_on = ["embedded"] # most preferred first
        "#);
        let schema = std::fs::read_to_string(home.join("linkflow.schema.json")).unwrap();
        assert!(schema.contains("2020-12"));
    }

    #[test]
    fn every_choice_of_provider_passes_check() {
        let dir = tempfile::tempdir().unwrap();
        for (name, _) in CHOICES {
            let providers = Some(vec![name.to_owned()]);
            let answer = answer(
                &InitArgs { yes: true, force: true, providers, ..at(dir.path()) },
                None,
                false,
            );
            assert_eq!((answer.exit, answer.err.as_str()), (0, ""), "{name}");
            written(dir.path());
        }
        let all = CHOICES.iter().rev().map(|(n, _)| (*n).to_owned()).collect();
        let answer = answer(
            &InitArgs { yes: true, force: true, providers: Some(all), ..at(dir.path()) },
            None,
            false,
        );
        assert_eq!(answer.exit, 0);
        assert_eq!(written(dir.path()).services().remove(0).runs_on.len(), CHOICES.len());
    }

    #[test]
    fn five_questions_are_asked_and_a_wrong_answer_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut ask =
            Answers(vec!["My Shop", "shop", "example.com", "", "80", "fly, railway"], Vec::new());
        let answer = answer(&at(dir.path()), Some(&mut ask), false);
        assert_eq!((answer.exit, answer.err.as_str()), (0, ""));
        assert_eq!(ask.1.len(), 6, "{:?}", ask.1);
        assert!(ask.1[1].starts_with("`My Shop` is not a name"), "{:?}", ask.1);
        let spec = written(dir.path()).services().remove(0);
        assert_eq!(
            (spec.port, spec.routes[0].host.as_str(), spec.runs_on.len()),
            (Some(80), "api.example.com", 2)
        );
        assert!(answer.out.contains("linkflow secrets set FLY_API_TOKEN"));
    }

    #[test]
    fn what_is_given_is_not_asked_and_what_is_wrong_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut ask = Answers(Vec::new(), Vec::new());
        let given = InitArgs {
            name: Some("shop".into()),
            domain: Some(String::new()),
            image: Some("nginx:1".into()),
            port: Some(80),
            providers: Some(vec!["flyy".into()]),
            ..at(dir.path())
        };
        let answer = answer(&given, Some(&mut ask), false);
        assert_eq!((answer.exit, ask.1.len()), (2, 0));
        assert!(answer.err.starts_with("error: `flyy` cannot be chosen"), "{}", answer.err);
        assert!(!dir.path().join("linkflow.toml").exists());
    }

    #[test]
    fn docker_is_offered_where_an_engine_answers() {
        let dir = tempfile::tempdir().unwrap();
        let mut ask = Answers(vec!["shop", "", "", "", ""], Vec::new());
        let answer = answer(&at(dir.path()), Some(&mut ask), true);
        assert_eq!((answer.exit, answer.err.as_str()), (0, ""));
        assert!(ask.1[4].ends_with("A Docker engine answers here."), "{:?}", ask.1);
        let text = std::fs::read_to_string(dir.path().join("linkflow.toml")).unwrap();
        assert!(text.contains("runs_on = [\"docker\"]"), "{text}");
    }

    #[test]
    fn a_config_that_is_there_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("linkflow.toml"), "mine").unwrap();
        let answer = answer(&InitArgs { yes: true, ..at(dir.path()) }, None, false);
        assert_eq!(answer.exit, 2);
        assert_eq!(std::fs::read_to_string(dir.path().join("linkflow.toml")).unwrap(), "mine");
    }

    #[test]
    fn a_terminal_shows_the_question_and_takes_a_line() {
        let mut to = Vec::new();
        let mut terminal = Terminal { from: &b"shop\n"[..], to: &mut to };
        assert_eq!(terminal.ask("Name?", "app").unwrap(), "shop");
        assert!(terminal.ask("Again?", "").is_err());
        assert_eq!(String::from_utf8(to).unwrap(), "Name? [app] Again? [none] ");
    }
}
