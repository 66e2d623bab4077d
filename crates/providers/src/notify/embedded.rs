//! Tells people on the terminal, or in a file that they read.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;

use async_trait::async_trait;
use linkflow_model::role::{Notice, Notify, Tone};
use linkflow_model::{Fault, FaultKind, ProviderName};

use crate::kit::Kit;

/// Where notices go.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// A file that each notice is added to; standard error when there is none.
    pub file: Option<PathBuf>,
}

/// A terminal or a file.
pub struct Terminal {
    settings: Settings,
    kit: Kit,
    provider: ProviderName,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Terminal {
    Terminal { settings, kit: kit.clone(), provider: provider.clone() }
}

#[async_trait]
impl Notify for Terminal {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        let text = self.kit.mask(&text(notice));
        let told = match &self.settings.file {
            None => io::stderr().lock().write_all(text.as_bytes()),
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                // One write, so that several processes may share the file.
                file.and_then(|mut file| file.write_all(text.as_bytes()))
            }
        };
        told.map_err(|error| Fault {
            kind: FaultKind::Unreachable,
            provider: self.provider.clone(),
            attempt: "tell people".to_owned(),
            said: error.to_string(),
        })
    }
}

/// The notice as a few lines, the first of which says it all.
fn text(notice: &Notice) -> String {
    let sign = match notice.tone {
        Tone::Good => "ok",
        Tone::Plain => "note",
        Tone::Warning => "warning",
        Tone::Bad => "failed",
    };
    let mut out = format!("{sign}: {}\n", notice.title);
    let mut say = |line: std::fmt::Arguments<'_>| out.write_fmt(line).unwrap_or_default();
    for line in notice.text.lines() {
        say(format_args!("  {line}\n"));
    }
    let width = notice.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in &notice.facts {
        say(format_args!("  {name:width$}  {value}\n"));
    }
    for line in &notice.lines {
        say(format_args!("  | {line}\n"));
    }
    if let Some((name, address)) = &notice.link {
        say(format_args!("  {name}: {address}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_a_line_and_its_details() {
        let notice = Notice {
            tone: Tone::Bad,
            key: None,
            title: "shop: r3 did not pass".to_owned(),
            text: "r2 was put back.".to_owned(),
            facts: vec![
                ("service".to_owned(), "api".to_owned()),
                ("by".to_owned(), "ada".to_owned()),
            ],
            lines: vec!["panic".to_owned()],
            link: Some(("Run".to_owned(), "https://example.com/1".to_owned())),
        };
        let expected = "failed: shop: r3 did not pass\n  r2 was put back.\n  service  api\n  by       ada\n  | panic\n  Run: https://example.com/1\n";
        assert_eq!(text(&notice), expected);
    }
}
