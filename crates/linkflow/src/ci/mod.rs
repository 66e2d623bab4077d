//! What CI is told: workflows that build the images of a stack and deploy them by digest.

pub(crate) mod dependabot;
pub(crate) mod diff;
pub(crate) mod github;
pub(crate) mod gitlab;
pub(crate) mod images;
pub(crate) mod install;
pub(crate) mod kept;

use std::path::{Component, Path, PathBuf};

use images::Image;
use install::Install;

/// All that a workflow is made of. Paths begin at the root of the repository.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    /// The stack.
    pub(crate) stack: String,
    /// The config.
    pub(crate) config: String,
    /// The environment of the config, when one was asked for.
    pub(crate) env: Option<String>,
    /// The state folder.
    pub(crate) state: String,
    /// What is built.
    pub(crate) images: Vec<Image>,
    /// The secrets that the config names.
    pub(crate) secrets: Vec<String>,
    /// The variables of the environment that it names.
    pub(crate) variables: Vec<String>,
    /// The branch that is deployed.
    pub(crate) branch: String,
    /// How the machine gets `linkflow`.
    pub(crate) install: Install,
    /// The machine that plans and deploys; one of the vendor's own when not said.
    pub(crate) runs_on: Option<String>,
    /// The options that make this very file again.
    pub(crate) options: String,
}

impl Pipeline {
    /// What goes after `linkflow` in every call.
    pub(crate) fn which(&self) -> String {
        let env = self.env.as_ref().map(|env| format!(" --env {env}")).unwrap_or_default();
        if self.config == "linkflow.toml" {
            env
        } else {
            format!(" --config {}{env}", word(&self.config))
        }
    }

    /// What people read as the name of where it is deployed to.
    pub(crate) fn environment(&self) -> &str {
        self.env.as_deref().unwrap_or("production")
    }

    /// Whether the state folder stays where it is between two runs.
    pub(crate) fn keeps_state(&self) -> bool {
        self.runs_on.is_some()
    }
}

/// `text` as one word of a shell.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+,%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// `text` as a value in YAML. What might be read as anything but a text is quoted, as JSON, which YAML takes.
pub(crate) fn yaml(text: &str) -> String {
    let first = |c: char| c.is_ascii_alphabetic() || c == '/' || c == '.';
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+".contains(c);
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let is_plain = text.starts_with(first)
        && text.chars().all(plain)
        && text.chars().any(|c| c.is_ascii_alphabetic())
        && !words.contains(&text.to_lowercase().as_str());
    if is_plain || matches!(text, "." | "/") {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

/// `text` with `by` spaces before each line that is not empty.
pub(crate) fn indented(text: &str, by: usize) -> String {
    let pad = " ".repeat(by);
    let line =
        |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("{pad}{line}\n") };
    text.lines().map(line).collect()
}

/// `path` without `.` and `..`, as it is written in a workflow; `None` when it leads out of the repository.
pub(crate) fn inside(path: &Path) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => parts.push(name.to_str()?.to_owned()),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

/// The root of the repository that `folder` is in: where `.git` is, or else `folder` itself.
pub(crate) fn root_of(folder: &Path) -> PathBuf {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let found = folder.ancestors().find(|at| at.join(".git").exists());
    found.unwrap_or(&folder).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_the_repository() {
        assert_eq!(inside(Path::new("deploy/../api/./x")).as_deref(), Some("api/x"));
        assert_eq!(inside(Path::new("./")).as_deref(), Some("."));
        assert_eq!(inside(Path::new("../other")), None);
        assert_eq!(inside(Path::new("/etc")), None);
    }

    #[test]
    fn what_yaml_would_misread_is_quoted() {
        assert_eq!(yaml("ghcr.io/acme/api"), "ghcr.io/acme/api");
        assert_eq!(yaml("8.3"), "\"8.3\"");
        assert_eq!(yaml("no"), "\"no\"");
        assert_eq!(yaml("a: b # c"), "\"a: b # c\"");
        assert_eq!(yaml(""), "\"\"");
    }

    #[test]
    fn a_word_of_a_shell_is_one_word() {
        assert_eq!(word("deploy/linkflow.toml"), "deploy/linkflow.toml");
        assert_eq!(word("it's here"), "'it'\\''s here'");
    }
}
