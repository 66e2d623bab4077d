//! Which key a machine must show: the one that the config names, or the one it showed first.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use linkflow_model::FaultKind;

use super::Broken;

/// What is known of a machine's own key.
#[derive(Clone, Debug)]
pub(crate) enum HostKey {
    /// The config names its fingerprint.
    Pinned(String),
    /// The fingerprint that it showed first is in this file, or will be.
    Remembered(PathBuf),
}

impl HostKey {
    /// What is known of the machine at `address` and `port`.
    pub(crate) fn of(pinned: Option<String>, state: &Path, address: &str, port: u16) -> Self {
        match pinned {
            Some(fingerprint) => Self::Pinned(fingerprint),
            None => {
                let name = format!("{}_{port}", address.replace([':', '/'], "-"));
                Self::Remembered(state.join("host-keys").join(name))
            }
        }
    }

    /// Why a machine that shows `fingerprint` is not talked to.
    pub(crate) fn refusal(&self, fingerprint: &str) -> Option<String> {
        match self {
            Self::Pinned(wanted) if wanted.trim_end_matches('=') == fingerprint => None,
            Self::Pinned(wanted) => Some(format!(
                "it shows the key {fingerprint}, and `host_key` is {wanted}: either it is another machine, or its key was made anew"
            )),
            Self::Remembered(file) => match std::fs::read_to_string(file) {
                Ok(known) if known.trim() == fingerprint => None,
                Ok(known) => Some(format!(
                    "it shows the key {fingerprint}, and it had {} before: when that is right, say it as `host_key` or remove {}",
                    known.trim(),
                    file.display()
                )),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => Some(format!("{} cannot be read: {error}", file.display())),
            },
        }
    }

    /// Remembers `fingerprint` unless one is known.
    pub(crate) fn remember(&self, fingerprint: &str) -> Result<(), Broken> {
        let Self::Remembered(file) = self else { return Ok(()) };
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
            let mut open = match std::fs::File::create_new(file) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                opened => opened?,
            };
            writeln!(open, "{fingerprint}")?;
            open.sync_all()
        };
        write().map_err(|error| {
            let said =
                format!("the machine's key cannot be remembered in {}: {error}", file.display());
            Broken::new(FaultKind::Denied, said)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_remembered_and_another_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let of = |port| HostKey::of(None, folder.path(), "fe80::1", port);
        assert_eq!(of(22).refusal("SHA256:a"), None);
        of(22).remember("SHA256:a").unwrap();
        of(22).remember("SHA256:b").unwrap();
        assert_eq!(of(22).refusal("SHA256:a"), None);
        let why = of(22).refusal("SHA256:b").unwrap();
        assert!(why.contains("SHA256:a") && why.contains("SHA256:b"), "{why}");
        assert_eq!(of(2222).refusal("SHA256:b"), None, "another port is another machine");
    }

    #[test]
    fn a_pinned_key_is_the_only_one() {
        let pinned = HostKey::of(Some("SHA256:a".to_owned()), Path::new("/nowhere"), "host", 22);
        assert_eq!(pinned.refusal("SHA256:a"), None);
        let why = pinned.refusal("SHA256:b").unwrap();
        assert!(why.contains("SHA256:a") && why.contains("SHA256:b"), "{why}");
        pinned.remember("SHA256:a").unwrap();
    }
}
