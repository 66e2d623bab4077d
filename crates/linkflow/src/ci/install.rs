//! How a machine of CI gets `linkflow`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::word;

/// Where `linkflow` comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Install {
    /// It is on the machine already.
    Present,
    /// It is built from a Git repository, at a tag, branch or commit.
    Git {
        /// The repository's address.
        url: String,
        /// The tag, branch or commit.
        revision: String,
    },
    /// It is built from a folder of this very repository.
    Path(String),
    /// It is a file of a release at GitHub.
    Release {
        /// `acme/linkflow`.
        repository: String,
        /// `v0.1.0`.
        tag: String,
    },
}

/// The ways, for people.
pub(crate) const WAYS: &str = "present, git:URL@REVISION, path:FOLDER or release:OWNER/NAME@TAG";

impl fmt::Display for Install {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("present"),
            Self::Git { url, revision } => write!(f, "git:{url}@{revision}"),
            Self::Path(folder) => write!(f, "path:{folder}"),
            Self::Release { repository, tag } => write!(f, "release:{repository}@{tag}"),
        }
    }
}

impl FromStr for Install {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no way to install: {WAYS}");
        let safe = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@+~".contains(c))
        };
        let pair = |rest: &str| {
            let (left, right) = rest.rsplit_once('@')?;
            (safe(left) && safe(right)).then(|| (left.to_owned(), right.to_owned()))
        };
        match text.split_once(':') {
            None if text == "present" => Ok(Self::Present),
            Some(("git", rest)) => {
                let (url, revision) = pair(rest).ok_or_else(wrong)?;
                Ok(Self::Git { url, revision })
            }
            Some(("path", folder)) if safe(folder) => Ok(Self::Path(folder.to_owned())),
            Some(("release", rest)) => {
                let (repository, tag) = pair(rest).ok_or_else(wrong)?;
                let is_one = repository.split('/').count() == 2;
                is_one.then_some(Self::Release { repository, tag }).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

impl Install {
    /// What is meant when nothing is said: LinkFlow's own source when the repository holds it, or what is on the user's
    /// own machine. `None` when neither is so: there is no release yet that could be taken.
    pub(crate) fn usual(root: &Path, runs_on: Option<&str>) -> Option<Self> {
        if root.join("crates/linkflow/Cargo.toml").is_file() {
            return Some(Self::Path("crates/linkflow".to_owned()));
        }
        runs_on.is_some().then_some(Self::Present)
    }

    /// The command that builds it into `to`; `None` when nothing is built.
    pub(crate) fn build(&self, to: &str) -> Option<String> {
        match self {
            Self::Git { url, revision } => {
                // A tag, a branch and a commit are three options of cargo; git takes all of them by one name.
                let (url, revision) = (word(url), word(revision));
                Some(format!(
                    "git clone --quiet {url} linkflow-source\ngit -C linkflow-source checkout --quiet {revision}\ncargo install --locked --quiet --path linkflow-source/crates/linkflow --root {to}\nrm -rf linkflow-source"
                ))
            }
            Self::Path(folder) => {
                Some(format!("cargo install --locked --quiet --path {} --root {to}", word(folder)))
            }
            Self::Present | Self::Release { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_read_and_written_alike() {
        for text in [
            "present",
            "git:https://example.com/linkflow.git@v0.1.0",
            "git:git@example.com:acme/linkflow.git@main",
            "path:crates/linkflow",
            "release:acme/linkflow@v0.1.0",
        ] {
            assert_eq!(text.parse::<Install>().unwrap().to_string(), text);
        }
        for text in
            ["", "git:https://example.com/x", "release:linkflow@v1", "path:", "brew:x", "path:$(x)"]
        {
            assert!(text.parse::<Install>().is_err(), "{text}");
        }
    }
}
