//! Counts the ledger after a drill: what is missing, and what happened twice.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use linkflow_model::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{LedgerError, sqlite};

/// The stretch of time that is counted, on the wall clock: from `from`, up to but without `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its start.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// What happened within a [`Span`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerCount {
    /// Rows in `entries`.
    pub entries: u64,
    /// Keys with more than one entry.
    pub doubled_entries: u64,
    /// POSTs that reached an api instance.
    pub arrivals: u64,
    /// Keys that reached api instances more than once: somebody between client and app sent them again.
    pub doubled_arrivals: u64,
    /// Keys that have more than one entry, or more than one arrival, or both.
    pub doubled_keys: u64,
    /// Rows in `completions`.
    pub completions: u64,
    /// Tasks that were completed more than once.
    pub doubled_completions: u64,
    /// Tasks of this span's entries that are not completed (yet).
    pub open_tasks: u64,
    /// Rows in `fires`.
    pub fires: u64,
    /// Periods for which the timer fired more than once.
    pub doubled_fires: u64,
    /// Whole periods of the span for which it never fired.
    pub missed_fires: u64,
}

impl LedgerCount {
    /// Keys that were doubled plus tasks that were completed twice.
    pub fn doubled_writes(&self) -> u64 {
        self.doubled_keys + self.doubled_completions
    }
}

/// The ledger as a drill reads it.
pub struct Ledger {
    connection: Connection,
}

fn told(error: rusqlite::Error) -> LedgerError {
    LedgerError(error.to_string())
}

impl Ledger {
    /// Opens the `SQLite` ledger at `path`, creating it with its tables if it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened or is no ledger.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { connection: sqlite::connect(path).map_err(told)? })
    }

    /// What happened within `span`. `period_ms` is the timer's period; 0 when no timer runs.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn count(&self, span: Span, period_ms: u64) -> Result<LedgerCount, LedgerError> {
        let rows = |table: &str| {
            self.number(span, &format!("SELECT count(*) FROM {table} WHERE at >= ?1 AND at < ?2"))
        };
        let doubled = |table: &str, column: &str| {
            self.number(
                span,
                &format!(
                    "SELECT count(*) FROM (SELECT {column} FROM {table} WHERE at >= ?1 AND at < ?2
                     GROUP BY {column} HAVING count(*) > 1)"
                ),
            )
        };
        Ok(LedgerCount {
            entries: rows("entries")?,
            doubled_entries: doubled("entries", "key")?,
            arrivals: rows("arrivals")?,
            doubled_arrivals: doubled("arrivals", "key")?,
            doubled_keys: self.number(
                span,
                "SELECT count(*) FROM (
                   SELECT key FROM entries WHERE at >= ?1 AND at < ?2 GROUP BY key HAVING count(*) > 1 UNION
                   SELECT key FROM arrivals WHERE at >= ?1 AND at < ?2 GROUP BY key HAVING count(*) > 1)",
            )?,
            completions: rows("completions")?,
            doubled_completions: doubled("completions", "task")?,
            open_tasks: self.number(
                span,
                "SELECT count(*) FROM entries WHERE at >= ?1 AND at < ?2
                 AND id NOT IN (SELECT task FROM completions)",
            )?,
            fires: rows("fires")?,
            doubled_fires: doubled("fires", "period")?,
            missed_fires: self.missed_fires(span, period_ms)?,
        })
    }

    /// Every migration that ran, oldest first: the release that it was run for, and the command.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn migrations(&self) -> Result<Vec<(String, String)>, LedgerError> {
        let sql = "SELECT release, command FROM migrations ORDER BY at, rowid";
        let mut look = self.connection.prepare_cached(sql).map_err(told)?;
        let rows = look.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(told)?;
        rows.collect::<rusqlite::Result<_>>().map_err(told)
    }

    /// Those of `keys` that have no entry.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn missing<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT 1 FROM entries WHERE key = ?1 LIMIT 1";
        let mut look = self.connection.prepare_cached(sql).map_err(told)?;
        let mut missing = Vec::new();
        for key in keys {
            let found = look.query_row([key], |row| row.get::<_, i64>(0)).optional();
            if found.map_err(told)?.is_none() {
                missing.push(key.to_owned());
            }
        }
        Ok(missing)
    }

    /// How often each of the doubled keys has an entry and an arrival: for the message about them. Up to 20.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn doubled(&self, span: Span) -> Result<Vec<(String, u64, u64)>, LedgerError> {
        let sql = "SELECT key, sum(e), sum(a) FROM
                   (SELECT key, 1 AS e, 0 AS a, at FROM entries UNION ALL SELECT key, 0, 1, at FROM arrivals)
                   WHERE at >= ?1 AND at < ?2 GROUP BY key HAVING sum(e) > 1 OR sum(a) > 1 ORDER BY key LIMIT 20";
        let mut look = self.connection.prepare_cached(sql).map_err(told)?;
        let (from, to) = (millis(span.from), millis(span.to));
        let rows = look.query_map(params![from, to], |row| {
            Ok((row.get(0)?, unsigned(row.get(1)?), unsigned(row.get(2)?)))
        });
        rows.map_err(told)?.collect::<rusqlite::Result<_>>().map_err(told)
    }

    /// Whether the write lock can be had within `patience`: a process that was stopped (SIGSTOP) in the middle of a
    /// transaction would hold it, and with it every other process of every provider.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn is_writable(&self, patience: Duration) -> Result<bool, LedgerError> {
        self.connection.busy_timeout(patience).map_err(told)?;
        match self.connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK;") {
            Ok(()) => Ok(true),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                Ok(false)
            }
            Err(error) => Err(told(error)),
        }
    }

    fn number(&self, span: Span, sql: &str) -> Result<u64, LedgerError> {
        let (from, to) = (millis(span.from), millis(span.to));
        let number = self.connection.query_row(sql, params![from, to], |row| row.get(0));
        Ok(unsigned(number.map_err(told)?))
    }

    fn missed_fires(&self, span: Span, period_ms: u64) -> Result<u64, LedgerError> {
        if period_ms == 0 {
            return Ok(0);
        }
        let (first, end) = (span.from.0.div_ceil(period_ms), span.to.0 / period_ms);
        let sql = "SELECT DISTINCT period FROM fires WHERE period >= ?1 AND period < ?2";
        let mut look = self.connection.prepare_cached(sql).map_err(told)?;
        let (from, to) = (signed(first), signed(end));
        let rows = look.query_map(params![from, to], |row| row.get(0)).map_err(told)?;
        let fired = rows.collect::<rusqlite::Result<BTreeSet<i64>>>().map_err(told)?;
        Ok(end.saturating_sub(first).saturating_sub(fired.len() as u64))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn millis(at: Timestamp) -> i64 {
    signed(at.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Books, Maker};

    fn maker() -> Maker {
        Maker { release: "r1".into(), provider: "fly".into(), instance: "m1".into() }
    }

    const SPAN: Span = Span { from: Timestamp(10_000), to: Timestamp(20_000) };

    #[tokio::test]
    async fn what_happened_twice_is_counted_once_per_key_and_only_within_the_span() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.db");
        let books = sqlite::Sqlite::start(file.clone()).unwrap();
        for (key, at) in
            [("a", 10_000), ("a", 10_001), ("b", 12_000), ("old", 9_000), ("old", 9_001)]
        {
            books.arrive(key, "api", &maker(), at).await.unwrap();
        }
        let ledger = Ledger::open(&file).unwrap();
        // `append` refuses to double a key, so the doubles are made behind its back.
        for (key, at) in [("a", 10_000), ("a", 10_001), ("b", 12_000), ("c", 19_999), ("c", 19_999)]
        {
            let sql = "INSERT INTO entries (key, name, release, provider, instance, at) VALUES (?1, '', '', '', '', ?2)";
            ledger.connection.execute(sql, params![key, at]).unwrap();
        }
        for task in [1, 1, 2] {
            let sql = "INSERT INTO completions VALUES (?1, 'w', 15000)";
            ledger.connection.execute(sql, [task]).unwrap();
        }
        let counted = ledger.count(SPAN, 0).unwrap();
        let wanted = LedgerCount {
            entries: 5,
            doubled_entries: 2,
            arrivals: 3,
            doubled_arrivals: 1,
            doubled_keys: 2,
            completions: 3,
            doubled_completions: 1,
            open_tasks: 3,
            ..LedgerCount::default()
        };
        assert_eq!(counted, wanted);
        assert_eq!(counted.doubled_writes(), 3);
        assert_eq!(ledger.doubled(SPAN).unwrap(), [("a".to_owned(), 2, 2), ("c".to_owned(), 2, 0)]);
        assert_eq!(ledger.missing(["a", "x", "b", "y"]).unwrap(), ["x", "y"]);
    }

    #[tokio::test]
    async fn a_period_without_a_fire_is_missed_and_one_with_two_is_doubled() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.db");
        let books = sqlite::Sqlite::start(file.clone()).unwrap();
        // Periods of 1 s: 10 … 19 are whole ones of the span.
        for period in [9, 10, 11, 12, 12, 15, 16, 17, 18, 19, 20] {
            books.fire(period, &maker(), period * 1_000).await.unwrap();
        }
        let counted = Ledger::open(&file).unwrap().count(SPAN, 1_000).unwrap();
        assert_eq!((counted.fires, counted.doubled_fires, counted.missed_fires), (9, 1, 2));
    }

    #[test]
    fn a_lock_held_by_another_process_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.db");
        let ledger = Ledger::open(&file).unwrap();
        assert!(ledger.is_writable(Duration::from_millis(10)).unwrap());
        let other = sqlite::connect(&file).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(!ledger.is_writable(Duration::from_millis(10)).unwrap());
        other.execute_batch("ROLLBACK").unwrap();
        assert!(ledger.is_writable(Duration::from_millis(10)).unwrap());
    }
}
