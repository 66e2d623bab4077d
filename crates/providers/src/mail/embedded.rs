//! Without a provider: letters are kept in a Maildir, which mail programs read.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use async_trait::async_trait;
use linkflow_model::role::{Letter, Mail};
use linkflow_model::{Fault, FaultKind, ProviderName};

use super::{SEND, mime};
use crate::kit::Kit;

/// Where letters are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Maildir, which is made when it is not there.
    pub folder: PathBuf,
}

/// A Maildir on this machine.
pub struct Maildir {
    folder: PathBuf,
    kit: Kit,
    provider: ProviderName,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Maildir {
    Maildir { folder: settings.folder, kit: kit.clone(), provider: provider.clone() }
}

impl Maildir {
    /// Writes `text` beside, and moves it in as a whole. The same name is the same letter.
    fn keep(&self, name: &str, text: &str) -> std::io::Result<()> {
        for folder in ["tmp", "new", "cur"] {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        let beside = self.folder.join("tmp").join(name);
        let mut file = fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(beside, self.folder.join("new").join(name))
    }
}

#[async_trait]
impl Mail for Maildir {
    async fn send(&self, letter: &Letter) -> Result<String, Fault> {
        let text = mime::message(letter, self.kit.clock().wall());
        // As files on a Unix have it.
        let text = text.replace("\r\n", "\n");
        let name = format!("{}.linkflow", mime::number(&letter.key));
        self.keep(&name, &text).map_err(|error| Fault {
            kind: FaultKind::Unreachable,
            provider: self.provider.clone(),
            attempt: SEND.to_owned(),
            said: format!("{}: {error}", self.folder.display()),
        })?;
        Ok(name)
    }
}
