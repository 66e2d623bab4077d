//! Where the provider keeps what it knows: one state file per service, one lock, one log.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use linkflow_model::{ProviderName, ServiceName, StackName};

use super::state::State;

/// How long to wait for another LinkFlow that works on the same service.
const LOCK_WITHIN: Duration = Duration::from_secs(5);

/// How often to look whether it is done.
const LOCK_EVERY: Duration = Duration::from_millis(5);

/// The folder of one provider of one stack: `FOLDER/STACK/PROVIDER`.
pub(super) struct Home {
    root: PathBuf,
    folder: PathBuf,
}

impl Home {
    pub(super) fn new(root: PathBuf, stack: &StackName, provider: &ProviderName) -> Self {
        let folder = root.join(stack.as_str()).join(provider.as_str());
        Self { root, folder }
    }

    /// Where everything of the provider is.
    pub(super) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// A file of `service`.
    pub(super) fn file(&self, service: &ServiceName, kind: &str) -> PathBuf {
        self.folder.join(format!("{service}.{kind}"))
    }

    /// Every service that has a state file.
    pub(super) fn services(&self) -> io::Result<Vec<ServiceName>> {
        let mut found: Vec<_> = state_files(&self.folder)?
            .iter()
            .filter_map(|path| ServiceName::new(path.file_stem()?.to_str()?))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Keeps every other LinkFlow off `service` until the file is dropped; waits for it a little.
    pub(super) fn lock(&self, service: &ServiceName) -> io::Result<File> {
        self.lock_file(self.file(service, "lock"))
    }

    /// As [`Home::lock`], for the choice of ports by all providers that share the root.
    pub(super) fn lock_ports(&self) -> io::Result<File> {
        self.lock_file(self.root.join("ports.lock"))
    }

    pub(super) fn lock_file(&self, path: PathBuf) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let file = private().write(true).create(true).truncate(false).open(&path)?;
        let mut left = LOCK_WITHIN;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if left.is_zero() => {
                    let text = format!("another LinkFlow holds {}", path.display());
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
                }
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(LOCK_EVERY);
                    left = left.saturating_sub(LOCK_EVERY);
                }
            }
        }
    }

    /// What is known of `service`; `None` when it is not deployed. Writing replaces the file whole, so reading needs no lock.
    pub(super) fn load(&self, service: &ServiceName) -> io::Result<Option<State>> {
        let path = self.file(service, "json");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let text = format!("{} cannot be read: {error}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }

    /// Puts `state` on disk, whole or not at all. Only its owner can read it, as it holds the environment.
    pub(super) fn save(&self, service: &ServiceName, state: &State) -> io::Result<()> {
        let aside = self.file(service, "new");
        let mut file = private().write(true).create(true).truncate(true).open(&aside)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        file.sync_all()?;
        fs::rename(aside, self.file(service, "json"))?;
        File::open(&self.folder)?.sync_all()
    }

    /// Forgets `service`. Its lock stays, since another may be waiting for it.
    pub(super) fn forget(&self, service: &ServiceName) -> io::Result<()> {
        gone(fs::remove_file(self.file(service, "json")))?;
        File::open(&self.folder)?.sync_all()
    }

    /// Every port that some instance of any provider under the same root was given.
    pub(super) fn ports(&self) -> io::Result<Vec<u16>> {
        let mut ports = Vec::new();
        for stack in folders(&self.root)? {
            for provider in folders(&stack)? {
                for file in state_files(&provider)? {
                    // What cannot be read is complained of where it is used.
                    let state = fs::read(file).ok();
                    let state = state.and_then(|b| serde_json::from_slice::<State>(&b).ok());
                    let instances = state.into_iter().flat_map(|state| state.instances);
                    ports.extend(instances.filter_map(|instance| instance.port));
                }
            }
        }
        Ok(ports)
    }
}

/// Opens files that nobody but their owner can read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// What is gone already is as good as removed.
pub(super) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn entries(folder: &std::path::Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read?.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn folders(folder: &std::path::Path) -> io::Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn state_files(folder: &std::path::Path) -> io::Result<Vec<PathBuf>> {
    let json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    Ok(entries(folder)?.into_iter().filter(json).collect())
}
