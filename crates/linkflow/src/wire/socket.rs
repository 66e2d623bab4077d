//! Sockets in the state folder, at which a process of this machine hears another one.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tracing::warn;

use super::state::Home;

/// No path of a socket may be longer, on any system.
const LONGEST: usize = 100;

/// A path by which the socket `name` of `folder` is reached, and what has to be held meanwhile: paths of sockets are short.
pub(super) fn reached(folder: &Path, name: &str) -> io::Result<(PathBuf, Option<File>)> {
    let path = folder.join(name);
    if path.as_os_str().len() <= LONGEST {
        return Ok((path, None));
    }
    let held = File::open(folder)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{name}", held.as_raw_fd())), Some(held)))
}

/// Listens at the socket `name` of a state folder, for its owner alone. Of several processes with one state folder, the first
/// one does, until another one `takes_over`: `None` for the others.
pub(super) fn listen(
    home: &Home,
    name: &str,
    takes_over: bool,
) -> io::Result<Option<(UnixListener, SocketFile)>> {
    let _lock = home.lock()?;
    let (path, _held) = reached(home.folder(), name)?;
    match std::os::unix::net::UnixStream::connect(&path) {
        Ok(_) if !takes_over => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // Left by a process that has ended, or is about to.
        _ => fs::remove_file(&path)?,
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(Some((listener, SocketFile::at(home.path(name))?)))
}

/// The file of a socket, which goes with it, unless another process has put its own there meanwhile.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// The file of the socket that this process has just bound at `path`.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn at(path: PathBuf) -> io::Result<Self> {
        let inode = fs::symlink_metadata(&path)?.ino();
        Ok(Self { path, inode })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let own = fs::symlink_metadata(&self.path).is_ok_and(|held| held.ino() == self.inode);
        if own && let Err(error) = fs::remove_file(&self.path) {
            warn!(%error, "the socket {} is left", self.path.display());
        }
    }
}
