//! What is kept of a CA in a folder: the account, certificates with their keys, and what was refused. For its owner only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use linkflow_model::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::tls::{self, Certificate};

/// The folder of one CA.
pub(super) struct Shelf {
    folder: PathBuf,
}

/// How often a host was refused, and when it may be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tries {
    pub(super) failures: u32,
    pub(super) next: Timestamp,
}

impl Shelf {
    /// Opens the folder of the CA with this directory, made with mode 0700 when it is not there.
    pub(super) fn open(folder: &Path, directory: &str) -> Result<Self, String> {
        let name: String = directory
            .trim_start_matches("https://")
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        let folder = folder.join(name.trim_matches(['-', '.']));
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The lock; `None`: another has it. It ends with the file, and with the process.
    pub(super) fn lock(&self) -> Option<File> {
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(self.path("lock")).ok()?;
        match file.try_lock() {
            Ok(()) => Some(file),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
        }
    }

    /// The account, when there is one.
    pub(super) fn account(&self) -> Result<Option<AccountCredentials>, String> {
        self.json("account.json")
    }

    pub(super) fn keep_account(&self, account: &AccountCredentials) -> Result<(), String> {
        self.write_json("account.json", account)
    }

    /// The certificate of `host`, when there is one.
    pub(super) fn certificate(&self, host: &str) -> Result<Option<Certificate>, String> {
        let Some(pem) = self.read(&format!("{host}.pem"))? else { return Ok(None) };
        tls::read(&pem, &pem).map(Some)
    }

    /// The certificate of `host` itself, as it is.
    pub(super) fn leaf(&self, host: &str) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_file(self.path(&format!("{host}.pem"))).ok()
    }

    /// Keeps key and chain in one file, so that they always belong together.
    pub(super) fn keep_certificate(
        &self,
        host: &str,
        key: &str,
        chain: &str,
    ) -> Result<(), String> {
        self.write(&format!("{host}.pem"), format!("{key}{chain}").as_bytes())
    }

    pub(super) fn tries(&self, host: &str) -> Tries {
        // A note that cannot be read says nothing.
        self.json(&format!("{host}.tries.json")).ok().flatten().unwrap_or_default()
    }

    pub(super) fn note_tries(&self, host: &str, tries: Tries) -> Result<(), String> {
        self.write_json(&format!("{host}.tries.json"), &tries)
    }

    pub(super) fn forget_tries(&self, host: &str) -> Result<(), String> {
        match fs::remove_file(self.path(&format!("{host}.tries.json"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} cannot be read: {error}", self.path(name).display())),
        }
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let value = serde_json::from_slice(&bytes);
        value.map(Some).map_err(|error| format!("{}: {error}", self.path(name).display()))
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), String> {
        let bytes = serde_json::to_vec(value).map_err(|error| error.to_string())?;
        self.write(name, &bytes)
    }

    /// Replaces a file, all or nothing.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let (path, fresh) = (self.path(name), self.path(&format!("{name}.new")));
        let written = || {
            let mut options = OpenOptions::new();
            let options = options.create(true).truncate(true).write(true).mode(0o600);
            let mut file = options.open(&fresh)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        written()
            .map_err(|error: io::Error| format!("{} cannot be written: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_for_their_owner_only_and_each_ca_has_its_own_folder() {
        let dir = tempfile::tempdir().unwrap();
        let open = |directory| Shelf::open(dir.path(), directory).unwrap();
        let (one, other) = (open("https://ca.example/dir?x"), open("https://ca.example:14000/dir"));
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let (key, chain) = (made.signing_key.serialize_pem(), made.cert.pem());
        one.keep_certificate("a.example", &key, &chain).unwrap();
        assert!(one.certificate("a.example").unwrap().unwrap().about.is_for("a.example"));
        assert!(other.certificate("a.example").unwrap().is_none());
        let file = one.path("a.example.pem");
        assert_eq!(file.parent().unwrap().file_name().unwrap(), "ca.example-dir-x");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&one.folder)), (0o600, 0o700));
    }

    #[test]
    fn one_at_a_time_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let shelves = [0, 1].map(|_| Shelf::open(dir.path(), "https://ca.example").unwrap());
        let held = shelves[0].lock().unwrap();
        assert!(shelves[1].lock().is_none());
        drop(held);
        assert!(shelves[1].lock().is_some());
    }
}
