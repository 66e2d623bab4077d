//! The state folder: what LinkFlow keeps on this machine, for nobody else to read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// 32 random bytes that are made once for each state folder: fingerprints and rehearsed secrets follow from them.
#[derive(Clone)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// A keyed hash of `text`, in lower-case hex digits.
    pub(crate) fn hash(&self, text: &[u8]) -> String {
        // A key of any length is taken, so there is no error to tell.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(text);
        hex(&mac.finalize().into_bytes())
    }

    /// The key of `folder` for whoever only looks: nothing is made. Where there is none yet, no fingerprint is either, so
    /// any key will do.
    pub(crate) fn peek(folder: &Path) -> Self {
        let held = fs::read(folder.join("key")).ok().and_then(|bytes| bytes.try_into().ok());
        Self(held.unwrap_or_default())
    }

    /// 32 bytes that follow from this key and `label`, and tell nothing of either.
    pub(crate) fn derive(&self, label: &str) -> [u8; 32] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return [0; 32] };
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// `bytes` in lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A state folder that is there and has its key.
pub(crate) struct Home {
    folder: PathBuf,
    key: Key,
}

impl Home {
    /// Opens `folder`, made with mode 0700 when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, read or written.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = locked(folder)?;
        let key = key(&folder.join("key"))?;
        drop(lock);
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of `name` in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder's key.
    pub(crate) fn key(&self) -> Key {
        self.key.clone()
    }

    /// Holds the folder's lock until the file is dropped: one process writes its small files at a time.
    pub(crate) fn lock(&self) -> io::Result<File> {
        locked(&self.folder)
    }

    /// Replaces the file `name`, all or nothing.
    pub(crate) fn replace(&self, name: &str, text: &[u8]) -> io::Result<()> {
        replace(&self.path(name), text)
    }
}

fn locked(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let lock =
        options.create(true).truncate(false).write(true).mode(0o600).open(folder.join("lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(fresh, path)
}

fn key(path: &Path) -> io::Result<Key> {
    match fs::read(path) {
        Ok(bytes) => {
            let wrong = |_| io::Error::other(format!("{} is not 32 bytes long", path.display()));
            Ok(Key(bytes.try_into().map_err(wrong)?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            replace(path, &bytes)?;
            Ok(Key(bytes))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        let first = Home::open(&folder).unwrap().key().hash(b"x");
        assert_eq!(Home::open(&folder).unwrap().key().hash(b"x"), first);
        let mode = fs::metadata(folder.join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = Home::open(&dir.path().join("other")).unwrap();
        assert_ne!(other.key().hash(b"x"), first);
    }

    #[test]
    fn a_damaged_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), "short").unwrap();
        let error = Home::open(dir.path()).err().unwrap();
        assert!(error.to_string().contains("32 bytes"), "{error}");
    }
}
