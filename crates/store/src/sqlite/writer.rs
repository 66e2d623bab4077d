//! The one thread that writes: what waits together is committed together, and each learns its own fate.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rusqlite::{Connection, Error};
use tokio::sync::{mpsc, oneshot};

use super::Trouble;
use super::fault::said;
use crate::StoreError;

/// How many commands share one transaction at most; more would let the last of them wait for long.
const TOGETHER: usize = 256;

/// How many commands may wait before callers have to.
const WAITING: usize = 1024;

/// Owns the connection that writes.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Command>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; it ends, and closes the connection, when the writer is dropped.
    pub(super) fn start(connection: Connection, path: PathBuf) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || work_off(&connection, &path, waiting))
            .map_err(|error| StoreError::Failed(format!("no thread to write with: {error}")))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Carries `work` out in a transaction and answers when it is on disk. `work` may be called again after its
    /// transaction was undone.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let gone = || StoreError::Failed("the thread that writes has ended".to_owned());
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        let command = Box::new(Change { work, done: Err(gone()), tell });
        queue.send(command).await.map_err(|_| gone())?;
        told.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the store ended badly");
        }
    }
}

/// A change of any answer type.
trait Command: Send {
    /// Does it within the open transaction; says whether it is to be kept.
    fn attempt(&mut self, connection: &Connection, path: &Path) -> bool;

    /// Tells the caller, now that the transaction has ended as it did.
    fn tell(self: Box<Self>, ended: Result<(), StoreError>);
}

struct Change<T, W> {
    work: W,
    done: Result<T, StoreError>,
    tell: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, W: FnMut(&Connection) -> Result<T, Trouble> + Send> Command for Change<T, W> {
    fn attempt(&mut self, connection: &Connection, path: &Path) -> bool {
        self.done = (self.work)(connection).map_err(|trouble| trouble.said(path));
        self.done.is_ok()
    }

    fn tell(self: Box<Self>, ended: Result<(), StoreError>) {
        // Who no longer waits for the answer needs none.
        drop(self.tell.send(self.done.and_then(|done| ended.map(|()| done))));
    }
}

fn work_off(connection: &Connection, path: &Path, mut waiting: mpsc::Receiver<Box<dyn Command>>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Ok(next) = waiting.try_recv()
        {
            together.push(next);
        }
        match transact(connection, path, &mut together) {
            Err(Undone::Later(_)) if together.len() > 1 => {
                // One of them, or their number, was too much. Alone, each gets the answer that is its own.
                for command in together {
                    let mut alone = vec![command];
                    let ended = transact(connection, path, &mut alone);
                    tell_all(alone, ended, path);
                }
            }
            ended => tell_all(together, ended, path),
        }
    }
}

/// A transaction that was undone.
enum Undone {
    /// It never began: somebody else is writing.
    Never(Error),
    /// It was undone as a whole.
    Later(Error),
}

/// Carries `commands` out in one transaction. A command that refuses leaves nothing behind and does not disturb the others.
fn transact(
    connection: &Connection,
    path: &Path,
    commands: &mut [Box<dyn Command>],
) -> Result<(), Undone> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(Undone::Never)?;
    let ended = attempt_each(connection, path, commands).and_then(|()| run(connection, "COMMIT"));
    ended.map_err(|error| {
        if !connection.is_autocommit()
            && let Err(error) = run(connection, "ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be undone");
        }
        Undone::Later(error)
    })
}

fn attempt_each(
    connection: &Connection,
    path: &Path,
    commands: &mut [Box<dyn Command>],
) -> Result<(), Error> {
    for command in commands {
        run(connection, "SAVEPOINT one")?;
        // After some failures SQLite undoes the whole transaction by itself; then there is no savepoint left to go
        // back to, which is the error that ends this loop.
        if !command.attempt(connection, path) {
            run(connection, "ROLLBACK TO one")?;
        }
        run(connection, "RELEASE one")?;
    }
    Ok(())
}

fn run(connection: &Connection, sql: &str) -> Result<(), Error> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn tell_all(commands: Vec<Box<dyn Command>>, ended: Result<(), Undone>, path: &Path) {
    let ended = ended.map_err(|undone| match undone {
        Undone::Never(error) | Undone::Later(error) => said(&error, path),
    });
    for command in commands {
        command.tell(ended.clone());
    }
}
