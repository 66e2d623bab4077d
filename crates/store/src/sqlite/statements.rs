//! What each call says to `SQLite`.

use linkflow_model::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::Trouble;
use crate::codec::{self, signed, unsigned};
use crate::{Bucket, Document, Fence, Job, Lease, StoreError};

type Done<T> = Result<T, Trouble>;

pub(super) fn append(c: &Connection, at: Timestamp, body: &str) -> Done<u64> {
    c.prepare_cached("INSERT INTO event (at, body) VALUES (?, ?)")?
        .execute(params![signed(at.0), body])?;
    Ok(unsigned(c.last_insert_rowid()))
}

pub(super) fn events(
    c: &Connection,
    after: u64,
    limit: usize,
) -> Done<Vec<(u64, linkflow_model::Event)>> {
    let mut ask =
        c.prepare_cached("SELECT seq, at, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = ask.query_map(params![signed(after), limit], |row| {
        let (seq, at) = (unsigned(row.get(0)?), Timestamp(unsigned(row.get(1)?)));
        Ok((seq, codec::event(seq, at, row.get_ref(2)?.as_str()?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn newest_event(c: &Connection) -> Done<u64> {
    let newest = c
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'event'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(newest.map_or(0, unsigned))
}

fn document(row: &Row<'_>) -> Done<Document> {
    let key: String = row.get(0)?;
    let body = parsed(&format!("document `{key}`"), row.get_ref(2)?.as_str().map_err(wrong_type)?)?;
    Ok(Document { key, version: unsigned(row.get(1)?), body })
}

fn parsed(what: &str, text: &str) -> Done<Value> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Failed(format!("{what} is not JSON: {error}")).into())
}

fn wrong_type(error: rusqlite::types::FromSqlError) -> Trouble {
    rusqlite::Error::from(error).into()
}

pub(super) fn read(c: &Connection, key: &str) -> Done<Option<Document>> {
    let mut ask = c.prepare_cached("SELECT key, version, body FROM document WHERE key = ?")?;
    let mut rows = ask.query([key])?;
    rows.next()?.map(document).transpose()
}

pub(super) fn list(c: &Connection, prefix: &str) -> Done<Vec<Document>> {
    // A range rather than LIKE: no character is special, and the key's index serves it.
    let mut ask = c.prepare_cached(
        "SELECT key, version, body FROM document
         WHERE key >= ?1 AND (?2 IS NULL OR key < ?2) ORDER BY key",
    )?;
    let mut rows = ask.query(params![prefix, after_prefix(prefix)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(document(row)?);
    }
    Ok(found)
}

pub(super) fn last(c: &Connection, prefix: &str) -> Done<Option<Document>> {
    let mut ask = c.prepare_cached(
        "SELECT key, version, body FROM document
         WHERE key >= ?1 AND (?2 IS NULL OR key < ?2) ORDER BY key DESC LIMIT 1",
    )?;
    let mut rows = ask.query(params![prefix, after_prefix(prefix)])?;
    rows.next()?.map(document).transpose()
}

pub(super) fn changed(
    c: &Connection,
    prefix: &str,
    after: Option<u64>,
) -> Done<(u64, Vec<Document>)> {
    // Asked first: what is written in between comes now and once more, rather than never.
    let newest: Option<i64> = c
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'change'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let newest = newest.map_or(0, unsigned);
    let Some(after) = after else { return Ok((newest, list(c, prefix)?)) };
    // The unary plus keeps the range of keys from being used: what is new is less.
    let mut ask = c.prepare_cached(
        "SELECT document.key, version, body FROM change CROSS JOIN document USING (key)
         WHERE seq > ?3 AND +change.key >= ?1 AND (?2 IS NULL OR +change.key < ?2)
         ORDER BY document.key",
    )?;
    let mut rows = ask.query(params![prefix, after_prefix(prefix), signed(after)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(document(row)?);
    }
    Ok((newest, found))
}

/// The first text, by bytes, that comes after all that start with `prefix`; `None` when there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The range skips the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn version(c: &Connection, key: &str) -> Done<Option<u64>> {
    let found = c
        .prepare_cached("SELECT version FROM document WHERE key = ?")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(found.map(unsigned))
}

fn expect_version(c: &Connection, key: &str, expected: Option<u64>) -> Done<()> {
    let found = version(c, key)?;
    if found == expected {
        return Ok(());
    }
    Err(StoreError::Conflict { key: key.to_owned(), expected, found }.into())
}

pub(super) fn write(
    c: &Connection,
    key: &str,
    expected: Option<u64>,
    body: &str,
    fence: Option<&Fence>,
) -> Done<u64> {
    if let Some(fence) = fence {
        hold(c, fence)?;
    }
    expect_version(c, key, expected)?;
    let next = expected.unwrap_or(0) + 1;
    c.prepare_cached("INSERT OR REPLACE INTO document (key, version, body) VALUES (?, ?, ?)")?
        .execute(params![key, signed(next), body])?;
    Ok(next)
}

pub(super) fn remove(c: &Connection, key: &str, expected: u64) -> Done<()> {
    expect_version(c, key, Some(expected))?;
    c.prepare_cached("DELETE FROM document WHERE key = ?")?.execute([key])?;
    Ok(())
}

pub(super) fn put_job(
    c: &Connection,
    queue: &str,
    id: &str,
    body: &str,
    due: Timestamp,
) -> Done<bool> {
    let put = c
        .prepare_cached(
            "INSERT INTO job (queue, id, body, due) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![queue, id, body, signed(due.0)])?;
    Ok(put == 1)
}

pub(super) fn claim_job(
    c: &Connection,
    queue: &str,
    now: Timestamp,
    until: Timestamp,
) -> Done<Option<Job>> {
    // While claimed, a job is due when its claim runs out.
    let mut ask = c.prepare_cached(
        "UPDATE job SET due = ?3, tries = tries + 1, claim = claim + 1 WHERE number = (
             SELECT number FROM job WHERE queue = ?1 AND due <= ?2 AND body IS NOT NULL
             ORDER BY due, number LIMIT 1
         ) RETURNING id, body, tries, claim",
    )?;
    let mut rows = ask.query(params![queue, signed(now.0), signed(until.0)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let id: String = row.get(0)?;
    let text = row.get_ref(1)?.as_str().map_err(wrong_type)?;
    let job = Job {
        body: parsed(&format!("job `{id}` of `{queue}`"), text)?,
        queue: queue.to_owned(),
        id,
        tries: row.get(2)?,
        claim: unsigned(row.get(3)?),
    };
    // Steps to the statement's end, so that nothing of it is open at the commit.
    rows.next()?;
    Ok(Some(job))
}

pub(super) fn finish_job(c: &Connection, queue: &str, id: &str, claim: u64) -> Done<()> {
    // The row stays, without its body: its id must never be taken again.
    let done = c
        .prepare_cached("UPDATE job SET body = NULL WHERE queue = ? AND id = ? AND claim = ?")?
        .execute(params![queue, id, signed(claim)])?;
    still_claimed(done, queue, id)
}

pub(super) fn return_job(
    c: &Connection,
    queue: &str,
    id: &str,
    claim: u64,
    due: Timestamp,
) -> Done<()> {
    let done = c
        .prepare_cached(
            "UPDATE job SET due = ?4, claim = claim + 1
             WHERE queue = ?1 AND id = ?2 AND claim = ?3 AND body IS NOT NULL",
        )?
        .execute(params![queue, id, signed(claim), signed(due.0)])?;
    still_claimed(done, queue, id)
}

fn still_claimed(rows: usize, queue: &str, id: &str) -> Done<()> {
    if rows == 1 { Ok(()) } else { Err(StoreError::Fenced(format!("job {queue}/{id}")).into()) }
}

pub(super) fn open_jobs(c: &Connection, queue: &str) -> Done<u64> {
    let count = c
        .prepare_cached("SELECT count(*) FROM job WHERE queue = ? AND body IS NOT NULL")?
        .query_row([queue], |row| row.get(0))?;
    Ok(unsigned(count))
}

pub(super) fn record(c: &Connection, name: &str, at: Timestamp, value: f64) -> Done<()> {
    c.prepare_cached("INSERT INTO series (name) VALUES (?) ON CONFLICT DO NOTHING")?
        .execute([name])?;
    c.prepare_cached(
        "INSERT INTO sample (series, at, count, sum, min, max)
         SELECT number, ?2, 1, ?3, ?3, ?3 FROM series WHERE name = ?1
         ON CONFLICT DO UPDATE SET count = count + 1, sum = sum + excluded.sum,
             min = min(min, excluded.min), max = max(max, excluded.max)",
    )?
    .execute(params![name, signed(at.0), value])?;
    Ok(())
}

pub(super) fn series(
    c: &Connection,
    name: &str,
    from: Timestamp,
    to: Timestamp,
    step_ms: u64,
) -> Done<Vec<Bucket>> {
    let mut ask = c.prepare_cached(
        "SELECT (at - ?2) / ?4 AS span, sum(count), sum(sum), min(min), max(max) FROM sample
         WHERE series = (SELECT number FROM series WHERE name = ?1) AND at >= ?2 AND at < ?3
         GROUP BY span ORDER BY span",
    )?;
    let (start, end, step) = (signed(from.0), signed(to.0), signed(step_ms));
    let rows = ask.query_map(params![name, start, end, step], |row| {
        let span = unsigned(row.get(0)?);
        Ok(Bucket {
            at: Timestamp(from.0.saturating_add(span.saturating_mul(step_ms))),
            count: unsigned(row.get(1)?),
            sum: row.get(2)?,
            min: row.get(3)?,
            max: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn forget(c: &Connection, before: Timestamp) -> Done<u64> {
    let before = signed(before.0);
    let events = c.prepare_cached("DELETE FROM event WHERE at < ?")?.execute([before])?;
    let samples = c
        .prepare_cached(
            "DELETE FROM sample WHERE series IN (SELECT number FROM series) AND at < ?",
        )?
        .execute([before])?;
    Ok(u64::try_from(events + samples).unwrap_or(u64::MAX))
}

pub(super) fn lease(c: &Connection, name: &str) -> Done<Option<Lease>> {
    let found = c
        .prepare_cached("SELECT name, owner, token, beat, held FROM lease WHERE name = ?")?
        .query_row([name], |row| {
            Ok(Lease {
                name: row.get(0)?,
                owner: row.get(1)?,
                token: unsigned(row.get(2)?),
                beat: unsigned(row.get(3)?),
                held: row.get(4)?,
            })
        })
        .optional()?;
    Ok(found)
}

pub(super) fn take_lease(
    c: &Connection,
    name: &str,
    owner: &str,
    replacing: Option<(u64, u64)>,
) -> Done<Fence> {
    let found = lease(c, name)?;
    let token = found.as_ref().map_or(0, |lease| lease.token) + 1;
    if let Some(lease) = found
        && lease.held
        && replacing != Some((lease.token, lease.beat))
    {
        return Err(StoreError::Held(Box::new(lease)).into());
    }
    c.prepare_cached(
        "INSERT OR REPLACE INTO lease (name, owner, token, beat, held) VALUES (?, ?, ?, 0, 1)",
    )?
    .execute(params![name, owner, signed(token)])?;
    Ok(Fence { lease: name.to_owned(), token })
}

/// Refuses a fence whose lease is no longer held with its token.
fn hold(c: &Connection, fence: &Fence) -> Done<()> {
    let held = c
        .prepare_cached("SELECT 1 FROM lease WHERE name = ? AND token = ? AND held")?
        .exists(params![fence.lease, signed(fence.token)])?;
    if held { Ok(()) } else { Err(StoreError::Fenced(fence.lease.clone()).into()) }
}

pub(super) fn beat_lease(c: &Connection, fence: &Fence) -> Done<()> {
    hold(c, fence)?;
    c.prepare_cached("UPDATE lease SET beat = beat + 1 WHERE name = ?")?.execute([&fence.lease])?;
    Ok(())
}

pub(super) fn free_lease(c: &Connection, fence: &Fence) -> Done<()> {
    c.prepare_cached(
        "UPDATE lease SET held = 0, owner = '' WHERE name = ? AND token = ? AND held",
    )?
    .execute(params![fence.lease, signed(fence.token)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_after_a_prefix_comes_right_after_it() {
        assert_eq!(after_prefix("a/"), Some("a0".to_owned()));
        assert_eq!(after_prefix("a\u{d7ff}"), Some("a\u{e000}".to_owned()));
        assert_eq!(after_prefix("a\u{10ffff}"), Some("b".to_owned()));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
