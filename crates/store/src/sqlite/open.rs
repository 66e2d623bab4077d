//! Opens the file: its settings, its version, and what is refused.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::fault::{Place, said};
use crate::StoreError;

/// How long to wait for another process that is writing.
const BUSY: Duration = Duration::from_secs(15);

/// Stands in the file's header, so that another program's database is not taken for ours: the letters L, F, s and t.
pub(super) const APPLICATION: i64 = 0x4c46_7374;

/// What brings a file from each version to the next. A released entry is never changed.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE document (
        key TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE job (
        number INTEGER PRIMARY KEY,
        queue TEXT NOT NULL,
        id TEXT NOT NULL,
        body TEXT,
        due INTEGER NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,
        claim INTEGER NOT NULL DEFAULT 0,
        UNIQUE (queue, id)
    ) STRICT;
    CREATE INDEX job_open ON job (queue, due, number) WHERE body IS NOT NULL;
    CREATE TABLE series (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE sample (
        series INTEGER NOT NULL REFERENCES series,
        at INTEGER NOT NULL,
        count INTEGER NOT NULL,
        sum REAL NOT NULL,
        min REAL NOT NULL,
        max REAL NOT NULL,
        PRIMARY KEY (series, at)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE lease (
        name TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        token INTEGER NOT NULL,
        beat INTEGER NOT NULL,
        held INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE subject (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE reading (
        number INTEGER PRIMARY KEY,
        subject INTEGER NOT NULL REFERENCES subject,
        at INTEGER NOT NULL,
        well INTEGER NOT NULL,
        took INTEGER NOT NULL,
        phases BLOB NOT NULL,
        why TEXT
    ) STRICT;
    CREATE INDEX reading_of ON reading (subject, at);
    CREATE INDEX reading_at ON reading (at);
    CREATE TABLE rollup (
        subject INTEGER NOT NULL REFERENCES subject,
        step INTEGER NOT NULL,
        at INTEGER NOT NULL,
        bad INTEGER NOT NULL,
        count INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        min INTEGER NOT NULL,
        max INTEGER NOT NULL,
        classes BLOB NOT NULL,
        PRIMARY KEY (subject, step, at)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE added_up (
        one INTEGER PRIMARY KEY,
        until INTEGER NOT NULL
    ) STRICT;
",
    // Triggers, so that also a process of before, which still runs while this one takes over, numbers what it writes.
    "
    CREATE TABLE change (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TRIGGER document_written AFTER INSERT ON document BEGIN
        INSERT OR REPLACE INTO change (key) VALUES (NEW.key);
    END;
    CREATE TRIGGER document_removed AFTER DELETE ON document BEGIN
        DELETE FROM change WHERE key = OLD.key;
    END;
",
    // With row numbers: a packed day is too long for a row of a tree of keys.
    "
    CREATE TABLE minutes (
        number INTEGER PRIMARY KEY,
        subject INTEGER NOT NULL REFERENCES subject,
        day INTEGER NOT NULL,
        packed BLOB NOT NULL,
        UNIQUE (subject, day)
    ) STRICT;
    CREATE INDEX minutes_day ON minutes (day);
",
];

/// The version this program writes.
pub(super) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Opens the connection that writes, makes the file when there is none, and brings it up to date.
pub(super) fn writing(path: &Path) -> Result<Connection, StoreError> {
    make_private(path)?;
    let mut connection = Connection::open(path).place(path)?;
    connection.busy_timeout(BUSY).place(path)?;
    recognise(&connection, path)?;
    set_up(&connection).place(path)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn reading(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).place(path)?;
    connection.busy_timeout(BUSY).place(path)?;
    connection.pragma_update(None, "cache_size", -512).place(path)?;
    Ok(connection)
}

/// Makes the file and its folder, so that nobody but its owner can read it.
/// `SQLite` gives the files beside it the same rights.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let wrong = |error: std::io::Error| StoreError::Failed(format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(wrong)?;
    }
    let mut options = fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop).map_err(wrong)
}

/// Refuses another program's database, and a file that a newer LinkFlow wrote.
fn recognise(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    // One statement, so that another process's migration is seen whole or not at all.
    let (version, application, tables): (i64, i64, i64) = connection
        .query_row(
            "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
             FROM pragma_user_version, pragma_application_id",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .place(path)?;
    let at = path.display();
    if application != APPLICATION && (application != 0 || tables != 0) {
        return Err(StoreError::Failed(format!("{at} is another program's database")));
    }
    if version > newest() {
        return Err(StoreError::Failed(format!(
            "{at} has version {version} and was written by a newer LinkFlow; this one knows up to {}: update LinkFlow",
            newest()
        )));
    }
    Ok(())
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    enter_wal(connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    connection.pragma_update(None, "cache_size", -1024)
}

/// Two processes that turn to WAL at once may find each other in the way without being asked to wait, hence the tries.
fn enter_wal(connection: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && tries < 200 =>
            {
                tries += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other.map(drop),
        }
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    loop {
        let transaction =
            Transaction::new(connection, TransactionBehavior::Immediate).place(path)?;
        let version = transaction
            .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
            .place(path)?;
        let next = usize::try_from(version).ok().and_then(|at| MIGRATIONS.get(at));
        let Some(migration) = next else { return recognise(&transaction, path) };
        transaction.execute_batch(migration).place(path)?;
        transaction.pragma_update(None, "application_id", APPLICATION).place(path)?;
        transaction.pragma_update(None, "user_version", version + 1).place(path)?;
        transaction.commit().map_err(|error| said(&error, path))?;
    }
}
