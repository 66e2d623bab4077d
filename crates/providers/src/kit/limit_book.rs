//! What several processes on this machine have asked of one account together: a file behind a lock, so that a process that
//! was killed and started again, or a deploy beside `linkflow up`, does not begin to count anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::limit::State;

/// The file of one account.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
}

/// The book, open and locked until it is dropped.
pub(super) struct Page {
    file: File,
}

impl Book {
    /// The book at `path`, which is made with its folder when it is first opened.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Waits for the lock and puts what is written into `state`. `None`: it cannot be used now, so this process goes by
    /// what it knows itself.
    pub(super) fn open(&self, state: &mut State) -> Option<Page> {
        match self.read(state) {
            Ok(file) => Some(Page { file }),
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "requests are counted alone");
                None
            }
        }
    }

    fn read(&self, state: &mut State) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let mut file = options.open(&self.path)?;
        file.lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // Empty, or cut off by a kill: then what this process knows is written anew.
        if let Ok(held) = serde_json::from_str(&text) {
            *state = held;
        }
        Ok(file)
    }
}

impl Page {
    /// Writes `state` in place of what is there, and lets the next one have it.
    pub(super) fn write(mut self, state: &State) {
        let written = serde_json::to_vec(state).map_err(io::Error::from).and_then(|bytes| {
            self.file.rewind()?;
            self.file.set_len(0)?;
            self.file.write_all(&bytes)
        });
        if let Err(error) = written {
            tracing::debug!(%error, "requests could not be counted");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use linkflow_model::Moment;

    use super::super::limit::{Limiter, Rule, Scope};
    use super::*;

    /// A process with a limit of one request a second, three at once.
    fn process(path: &std::path::Path) -> Limiter {
        let rule = Rule { scope: Scope::Vendor, every: Duration::from_secs(1), burst: 3 };
        Limiter::new(vec![rule], Duration::from_secs(2)).shared_in(Some(Book::at(path.to_owned())))
    }

    fn waits(limiter: &Limiter, at: u64) -> u128 {
        limiter.admit(Moment(at), "look", "").map_or(u128::MAX, |wait| wait.as_millis())
    }

    #[test]
    fn processes_count_together_and_a_new_one_does_not_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("limits/fly.json");
        let (one, other) = (process(&path), process(&path));
        assert_eq!([waits(&one, 5_000), waits(&other, 5_000), waits(&one, 5_000)], [0, 0, 0]);
        drop(one);
        assert_eq!(waits(&process(&path), 5_000), 1_000);
        assert_eq!(waits(&other, 60_000), 0);
    }

    #[test]
    fn a_clock_that_was_put_back_holds_nobody_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fly.json");
        assert_eq!(waits(&process(&path), 90_000_000), 0);
        assert_eq!([0; 2].map(|_| waits(&process(&path), 1_000)), [0, 1_000]);
    }

    #[test]
    fn what_was_cut_off_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fly.json");
        fs::write(&path, "{\"full_at\":{").unwrap();
        let one = process(&path);
        assert_eq!([0; 3].map(|_| waits(&one, 5_000)), [0; 3]);
        assert_eq!(waits(&process(&path), 5_000), 1_000);
    }
}
