//! The books in a `SQLite` file that all processes of one machine share.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::{Books, Entry, LedgerError, Maker, Task};

/// How long a process waits while another one writes.
const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, name TEXT NOT NULL,
  release TEXT NOT NULL, provider TEXT NOT NULL, instance TEXT NOT NULL, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS entries_key ON entries (key);
CREATE TABLE IF NOT EXISTS arrivals (key TEXT NOT NULL, service TEXT NOT NULL, provider TEXT NOT NULL,
  instance TEXT NOT NULL, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS arrivals_key ON arrivals (key);
CREATE TABLE IF NOT EXISTS tasks (id INTEGER PRIMARY KEY, entry INTEGER NOT NULL, state TEXT NOT NULL,
  claimed_by TEXT, claimed_until INTEGER);
CREATE INDEX IF NOT EXISTS tasks_open ON tasks (id) WHERE state <> 'done';
CREATE TABLE IF NOT EXISTS completions (task INTEGER NOT NULL, instance TEXT NOT NULL, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS completions_task ON completions (task);
CREATE TABLE IF NOT EXISTS fires (period INTEGER NOT NULL, instance TEXT NOT NULL, provider TEXT NOT NULL,
  at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS fires_period ON fires (period);
CREATE TABLE IF NOT EXISTS migrations (release TEXT NOT NULL, provider TEXT NOT NULL, instance TEXT NOT NULL,
  command TEXT NOT NULL, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS migrations_release ON migrations (release);
CREATE TABLE IF NOT EXISTS notifications (entry INTEGER PRIMARY KEY, message TEXT NOT NULL, state TEXT NOT NULL,
  taken_by TEXT, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS notifications_queued ON notifications (entry) WHERE state = 'queued';
";

/// Opens `file`, creating what is missing: WAL, `synchronous=NORMAL` (a process that is killed loses nothing; only a
/// power cut could), a small cache, and patience while another process writes.
pub(super) fn connect(file: &std::path::Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY)?;
    // Changing the journal mode does not wait for others by itself: many processes may open a new file at once.
    let mut tries = 0;
    while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL") {
        tries += 1;
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || tries > 100 {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -256)?;
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('notifications_queued', 'migrations_release')";
    if connection.query_row(tables, [], |row| row.get::<_, i64>(0))? < 2 {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
    }
    Ok(connection)
}

type Job = Box<dyn FnOnce(Result<&mut Connection, &rusqlite::Error>) + Send>;

/// The books in one `SQLite` file; one thread does all the waiting for the disk.
pub struct Sqlite {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Sqlite {
    /// Starts the thread that keeps the books in `file`. It ends when this is dropped.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(file: PathBuf) -> Result<Self, String> {
        let (jobs, todo) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        let started = thread.spawn(move || keep(&file, todo));
        started.map_err(|error| format!("no thread for the ledger: {error}"))?;
        Ok(Self { jobs })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = match connection {
                Ok(connection) => work(connection).map_err(|e| LedgerError(e.to_string())),
                Err(error) => Err(LedgerError(error.to_string())),
            };
            // Whoever asked may have given up waiting.
            done.send(outcome).ok();
        });
        let gone = |_| LedgerError("its thread has ended".to_owned());
        self.jobs.send(job).map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }
}

fn keep(file: &std::path::Path, mut todo: mpsc::UnboundedReceiver<Job>) {
    let mut held = None;
    while let Some(job) = todo.blocking_recv() {
        let opened = held.take().map_or_else(|| connect(file), Ok);
        match opened {
            Ok(mut connection) => {
                job(Ok(&mut connection));
                held = Some(connection);
            }
            Err(error) => job(Err(&error)),
        }
    }
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let maker = Maker { release: row.get(3)?, provider: row.get(4)?, instance: row.get(5)? };
    Ok(Entry { id: row.get(0)?, key: row.get(1)?, name: row.get(2)?, maker, at: row.get(6)? })
}

const COLUMNS: &str = "id, key, name, release, provider, instance, at";

#[async_trait]
impl Books for Sqlite {
    async fn arrive(
        &self,
        key: &str,
        service: &str,
        maker: &Maker,
        at: i64,
    ) -> Result<(), LedgerError> {
        let (key, service, maker) = (key.to_owned(), service.to_owned(), maker.clone());
        self.run(move |c| {
            c.prepare_cached("INSERT INTO arrivals VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![key, service, maker.provider, maker.instance, at])?;
            Ok(())
        })
        .await
    }

    async fn append(
        &self,
        key: &str,
        name: &str,
        maker: &Maker,
        at: i64,
    ) -> Result<(Entry, bool), LedgerError> {
        let (key, name, maker) = (key.to_owned(), name.to_owned(), maker.clone());
        self.run(move |c| {
            let t = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let lookup = format!("SELECT {COLUMNS} FROM entries WHERE key = ?1 ORDER BY id LIMIT 1");
            if let Some(entry) = t.query_row(&lookup, [&key], read_entry).optional()? {
                return Ok((entry, false));
            }
            t.execute(
                "INSERT INTO entries (key, name, release, provider, instance, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![key, name, maker.release, maker.provider, maker.instance, at],
            )?;
            let id = t.last_insert_rowid();
            t.commit()?;
            Ok((Entry { id, key, name, maker, at }, true))
        })
        .await
    }

    async fn entry(&self, id: i64) -> Result<Option<Entry>, LedgerError> {
        self.run(move |c| {
            c.prepare_cached(&format!("SELECT {COLUMNS} FROM entries WHERE id = ?1"))?
                .query_row([id], read_entry)
                .optional()
        })
        .await
    }

    async fn entries(&self, limit: i64) -> Result<Vec<Entry>, LedgerError> {
        self.run(move |c| {
            c.prepare_cached(&format!("SELECT {COLUMNS} FROM entries ORDER BY id DESC LIMIT ?1"))?
                .query_map([limit], read_entry)?
                .collect()
        })
        .await
    }

    async fn without_task(&self, before: i64) -> Result<Vec<i64>, LedgerError> {
        self.run(move |c| {
            c.prepare_cached(
                "SELECT id FROM entries WHERE at < ?1 AND id NOT IN (SELECT entry FROM tasks) ORDER BY id LIMIT 100",
            )?
            .query_map([before], |row| row.get(0))?
            .collect()
        })
        .await
    }

    async fn enqueue(&self, entry: i64) -> Result<bool, LedgerError> {
        self.run(move |c| {
            let sql =
                "INSERT INTO tasks (id, entry, state) VALUES (?1, ?1, 'queued') ON CONFLICT DO NOTHING";
            Ok(c.prepare_cached(sql)?.execute([entry])? > 0)
        })
        .await
    }

    async fn claim(
        &self,
        by: &str,
        now: i64,
        until: i64,
        limit: i64,
    ) -> Result<Vec<Task>, LedgerError> {
        let by = by.to_owned();
        self.run(move |c| {
            // Most of the time there is nothing to claim: then no write lock is taken.
            let open = "SELECT EXISTS (SELECT 1 FROM tasks WHERE state <> 'done'
                        AND (state = 'queued' OR claimed_until < ?1))";
            if !c.prepare_cached(open)?.query_row([now], |row| row.get::<_, bool>(0))? {
                return Ok(Vec::new());
            }
            let t = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let claimed = t
                .prepare_cached(
                    "UPDATE tasks SET state = 'claimed', claimed_by = ?1, claimed_until = ?2 WHERE id IN
                     (SELECT id FROM tasks WHERE state <> 'done' AND (state = 'queued' OR claimed_until < ?3)
                      ORDER BY id LIMIT ?4) RETURNING id, entry",
                )?
                .query_map(params![by, until, now, limit], |row| {
                    Ok(Task { id: row.get(0)?, entry: row.get(1)? })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            t.commit()?;
            Ok(claimed)
        })
        .await
    }

    async fn complete(&self, task: i64, instance: &str, at: i64) -> Result<bool, LedgerError> {
        let instance = instance.to_owned();
        self.run(move |c| {
            let t = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let first = t.execute(
                "INSERT INTO completions SELECT ?1, ?2, ?3 WHERE NOT EXISTS
                 (SELECT 1 FROM completions WHERE task = ?1)",
                params![task, instance, at],
            )? > 0;
            t.execute("UPDATE tasks SET state = 'done' WHERE id = ?1", [task])?;
            t.commit()?;
            Ok(first)
        })
        .await
    }

    async fn fire(&self, period: i64, maker: &Maker, at: i64) -> Result<(), LedgerError> {
        let maker = maker.clone();
        self.run(move |c| {
            c.prepare_cached("INSERT INTO fires VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                period,
                maker.instance,
                maker.provider,
                at
            ])?;
            Ok(())
        })
        .await
    }

    async fn migrate(&self, maker: &Maker, command: &str, at: i64) -> Result<(), LedgerError> {
        let (maker, command) = (maker.clone(), command.to_owned());
        self.run(move |c| {
            c.prepare_cached("INSERT INTO migrations VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![maker.release, maker.provider, maker.instance, command, at])?;
            Ok(())
        })
        .await
    }

    async fn notify(&self, entry: i64, message: &str, at: i64) -> Result<bool, LedgerError> {
        let message = message.to_owned();
        self.run(move |c| {
            let sql = "INSERT INTO notifications (entry, message, state, at) VALUES (?1, ?2, 'queued', ?3)
                       ON CONFLICT DO NOTHING";
            Ok(c.prepare_cached(sql)?.execute(params![entry, message, at])? > 0)
        })
        .await
    }

    async fn take_notifications(
        &self,
        instance: &str,
        at: i64,
        limit: i64,
    ) -> Result<Vec<i64>, LedgerError> {
        let instance = instance.to_owned();
        self.run(move |c| {
            let queued = "SELECT EXISTS (SELECT 1 FROM notifications WHERE state = 'queued')";
            if !c.prepare_cached(queued)?.query_row([], |row| row.get::<_, bool>(0))? {
                return Ok(Vec::new());
            }
            let t = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let taken = t
                .prepare_cached(
                    "UPDATE notifications SET state = 'sent', taken_by = ?1, at = ?2 WHERE entry IN
                     (SELECT entry FROM notifications WHERE state = 'queued' ORDER BY entry LIMIT ?3) RETURNING entry",
                )?
                .query_map(params![instance, at, limit], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            t.commit()?;
            Ok(taken)
        })
        .await
    }
}
