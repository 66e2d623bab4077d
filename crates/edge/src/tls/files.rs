//! Certificates in files: read at the start, and again whenever they change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linkflow_model::Level;
use tokio_util::sync::CancellationToken;

use super::certificate::{self, Certificate};
use super::keyring::{Keyring, Origin};
use crate::tell::Teller;

/// A certificate in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairOfFiles {
    /// Its name in the config.
    pub name: String,
    /// Where the certificate and those behind it are.
    pub chain: PathBuf,
    /// Where its key is.
    pub key: PathBuf,
}

/// What a file looks like from outside; another look means another content.
type Look = [Option<(u64, u64, i64, i64)>; 2];

/// Keeps certificates in step with their files.
pub(crate) struct Files {
    pairs: Vec<(PairOfFiles, Look)>,
    keyring: Arc<Keyring>,
}

impl PairOfFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// One sentence that says what is wrong with which file.
    pub fn read(&self) -> Result<Certificate, String> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
        };
        let (chain, key) = (read(&self.chain)?, read(&self.key)?);
        let about = |why| format!("{why} ({}, {})", self.chain.display(), self.key.display());
        certificate::read(&chain, &key).map_err(about)
    }

    fn look(&self) -> Look {
        [&self.chain, &self.key].map(|path| {
            let about = fs::metadata(path).ok()?;
            Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
        })
    }
}

impl Files {
    /// # Errors
    /// When one of them cannot be used: what is wrong at the start is told at the start.
    pub(crate) fn open(pairs: &[PairOfFiles], keyring: Arc<Keyring>) -> Result<Self, String> {
        let mut held = Vec::new();
        for (at, pair) in pairs.iter().enumerate() {
            let look = pair.look();
            let certificate = pair.read().map_err(|why| format!("{}: {why}", pair.name))?;
            keyring.put(Origin::Files(at, pair.name.clone()), certificate);
            held.push((pair.clone(), look));
        }
        Ok(Self { pairs: held, keyring })
    }

    /// Looks at the files every `every`, until `stop`.
    pub(crate) async fn watch(
        mut self,
        every: Duration,
        teller: Arc<Teller>,
        stop: CancellationToken,
    ) {
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            // A few small files: not worth a thread of their own.
            for (level, said) in self.again() {
                teller.of_certificates(level, said);
            }
        }
    }

    /// Reads again what has changed, and says how that went. What cannot be used changes nothing.
    fn again(&mut self) -> Vec<(Level, String)> {
        let mut said = Vec::new();
        for (at, (pair, before)) in self.pairs.iter_mut().enumerate() {
            let look = pair.look();
            if look == *before {
                continue;
            }
            *before = look;
            let origin = Origin::Files(at, pair.name.clone());
            said.push(match pair.read() {
                Ok(certificate) => {
                    let text = format!("{origin} was read again: its files changed");
                    self.keyring.put(origin, certificate);
                    (Level::Notice, text)
                }
                Err(why) => (Level::Warning, format!("{origin} stays as it was: {why}")),
            });
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(pair: &PairOfFiles, host: &str) {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
        fs::write(&pair.chain, made.cert.pem()).unwrap();
        fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn a_change_is_taken_and_a_bad_one_leaves_the_old_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let pair = PairOfFiles { name: "main".to_owned(), chain: path("c"), key: path("k") };
        let keyring = Arc::new(Keyring::default());
        let error = Files::open(std::slice::from_ref(&pair), Arc::clone(&keyring)).err().unwrap();
        assert!(error.starts_with("main: ") && error.contains("/c cannot be read"), "{error}");
        write(&pair, "a.example");
        let mut files = Files::open(std::slice::from_ref(&pair), Arc::clone(&keyring)).unwrap();
        let names = || keyring.stats()[0].about.names.join(", ");
        assert_eq!((names().as_str(), files.again().len()), ("a.example", 0));

        fs::write(&pair.key, "nothing").unwrap();
        let said = files.again();
        assert_eq!((said[0].0, names().as_str()), (Level::Warning, "a.example"));
        assert!(said[0].1.starts_with("the certificate `main` stays as it was: "), "{said:?}");
        assert_eq!(files.again(), [], "it is said once");

        write(&pair, "b.example");
        assert_eq!((files.again()[0].0, names().as_str()), (Level::Notice, "b.example"));
    }
}
