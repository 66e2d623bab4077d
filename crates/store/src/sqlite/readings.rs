//! Readings: kept together, added up once, forgotten as they age.

use std::collections::BTreeMap;

use linkflow_model::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::Trouble;
use crate::codec::{signed, unsigned};
use crate::minutes;
use crate::{Histogram, KEEP_READINGS_MS, KEEP_ROLLUPS_MS, Reading, Rollup, Step, StoreError};

type Done<T> = Result<T, Trouble>;

/// How many days of minutes are packed in one transaction, for which every other write waits: a day takes some milliseconds.
const DAYS_AT_ONCE: usize = 32;

/// Sums by subject, step and start.
type Sums = BTreeMap<(i64, Step, Timestamp), Rollup>;

pub(super) fn keep(c: &Connection, readings: &[Reading]) -> Done<()> {
    let added_up = added_up(c)?;
    let mut late = Sums::new();
    let mut put = c.prepare_cached(
        "INSERT INTO reading (subject, at, well, took, phases, why) VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for reading in readings {
        let subject = subject(c, &reading.subject)?;
        let phases = reading.phases_us.map(u32::to_le_bytes).concat();
        let (at, why) = (signed(reading.at.0), &reading.why);
        put.execute(params![subject, at, reading.well, reading.took_us, phases, why])?;
        if reading.at < added_up {
            add(&mut late, subject, reading);
        }
    }
    write(c, late)
}

fn subject(c: &Connection, name: &str) -> Done<i64> {
    let known = c
        .prepare_cached("SELECT number FROM subject WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    if let Some(number) = known {
        return Ok(number);
    }
    c.prepare_cached("INSERT INTO subject (name) VALUES (?)")?.execute([name])?;
    Ok(c.last_insert_rowid())
}

fn added_up(c: &Connection) -> Done<Timestamp> {
    let until = c
        .prepare_cached("SELECT until FROM added_up")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(Timestamp(until.map_or(0, unsigned)))
}

fn add(sums: &mut Sums, subject: i64, reading: &Reading) {
    for step in Step::ALL {
        let at = step.of(reading.at);
        sums.entry((subject, step, at)).or_insert_with(|| Rollup::at(at)).add(reading);
    }
}

pub(super) fn add_up(c: &Connection, now: Timestamp) -> Done<()> {
    let (from, until) = (added_up(c)?, Step::Minute.of(now));
    if until <= from {
        return Ok(());
    }
    let mut sums = Sums::new();
    let mut ask =
        c.prepare_cached("SELECT subject, at, well, took FROM reading WHERE at >= ? AND at < ?")?;
    let mut rows = ask.query(params![signed(from.0), signed(until.0)])?;
    while let Some(row) = rows.next()? {
        let reading = Reading {
            subject: String::new(),
            at: Timestamp(unsigned(row.get(1)?)),
            well: row.get(2)?,
            took_us: row.get(3)?,
            phases_us: [0; 4],
            why: None,
        };
        add(&mut sums, row.get(0)?, &reading);
    }
    write(c, sums)?;
    c.prepare_cached("INSERT OR REPLACE INTO added_up (one, until) VALUES (1, ?)")?
        .execute([signed(until.0)])?;
    Ok(())
}

fn write(c: &Connection, sums: Sums) -> Done<()> {
    let mut held = c.prepare_cached(
        "SELECT at, bad, count, sum, min, max, classes FROM rollup
         WHERE subject = ? AND step = ? AND at = ?",
    )?;
    let mut put = c.prepare_cached(
        "INSERT OR REPLACE INTO rollup (subject, step, at, bad, count, sum, min, max, classes)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for ((subject, step, at), mut sum) in sums {
        let (step, at) = (signed(step.ms()), signed(at.0));
        if let Some(held) = held.query_row(params![subject, step, at], rollup).optional()? {
            sum.merge(&held);
        }
        let took = &sum.took;
        put.execute(params![
            subject,
            step,
            at,
            signed(sum.bad),
            signed(took.count),
            signed(took.sum_us),
            took.min_us,
            took.max_us,
            took.bytes()
        ])?;
    }
    Ok(())
}

fn rollup(row: &rusqlite::Row<'_>) -> rusqlite::Result<Rollup> {
    let took = Histogram {
        count: unsigned(row.get(2)?),
        sum_us: unsigned(row.get(3)?),
        min_us: row.get(4)?,
        max_us: row.get(5)?,
        ..Histogram::default()
    };
    Ok(Rollup {
        at: Timestamp(unsigned(row.get(0)?)),
        bad: unsigned(row.get(1)?),
        took: took.read(row.get_ref(6)?.as_blob()?),
    })
}

pub(super) fn readings(
    c: &Connection,
    name: &str,
    (from, to): (Timestamp, Timestamp),
    most: usize,
) -> Done<Vec<Reading>> {
    let mut ask = c.prepare_cached(
        "SELECT at, well, took, phases, why FROM reading
         WHERE subject = (SELECT number FROM subject WHERE name = ?) AND at >= ? AND at < ?
         ORDER BY at DESC, number DESC LIMIT ?",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = ask.query_map(params![name, signed(from.0), signed(to.0), most], |row| {
        let phases = row.get_ref(3)?.as_blob()?;
        let phase = |at: usize| {
            let bytes = phases.get(at * 4..at * 4 + 4).and_then(|four| four.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        Ok(Reading {
            subject: name.to_owned(),
            at: Timestamp(unsigned(row.get(0)?)),
            well: row.get(1)?,
            took_us: row.get(2)?,
            phases_us: [phase(0), phase(1), phase(2), phase(3)],
            why: row.get(4)?,
        })
    })?;
    let mut found = rows.collect::<Result<Vec<_>, _>>()?;
    found.reverse();
    Ok(found)
}

pub(super) fn rollups(
    c: &Connection,
    name: &str,
    step: Step,
    (from, to): (Timestamp, Timestamp),
) -> Done<Vec<Rollup>> {
    // Of one moment: what is packed meanwhile would come twice, or not at all.
    let _moment = c.unchecked_transaction()?;
    let packed = match step {
        Step::Minute => packed(c, name, (from, to))?,
        Step::Hour | Step::Day => Vec::new(),
    };
    let mut ask = c.prepare_cached(
        "SELECT at, bad, count, sum, min, max, classes FROM rollup
         WHERE subject = (SELECT number FROM subject WHERE name = ?) AND step = ?
             AND at >= ? AND at < ? ORDER BY at",
    )?;
    let span = params![name, signed(step.ms()), signed(from.0), signed(to.0)];
    let rows = ask.query_map(span, rollup)?.collect::<Result<Vec<_>, _>>()?;
    Ok(merged(packed, rows))
}

/// The minutes of packed days.
fn packed(c: &Connection, name: &str, (from, to): (Timestamp, Timestamp)) -> Done<Vec<Rollup>> {
    let mut ask = c.prepare_cached(
        "SELECT day, packed FROM minutes
         WHERE subject = (SELECT number FROM subject WHERE name = ?) AND day >= ? AND day < ?
         ORDER BY day",
    )?;
    let first = Step::Day.of(from);
    let mut rows = ask.query(params![name, signed(first.0), signed(to.0)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let day = Timestamp(unsigned(row.get(0)?));
        let minutes = unpacked(day, row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
        found.extend(minutes.into_iter().filter(|minute| minute.at >= from && minute.at < to));
    }
    Ok(found)
}

fn unpacked(day: Timestamp, packed: &[u8]) -> Done<Vec<Rollup>> {
    minutes::unpack(day, packed).ok_or_else(|| {
        StoreError::Failed(format!("the minutes of the day at {} cannot be unpacked", day.0)).into()
    })
}

/// Both, in the order of time; what is of the same time is added up.
fn merged(mut packed: Vec<Rollup>, rows: Vec<Rollup>) -> Vec<Rollup> {
    if packed.is_empty() {
        return rows;
    }
    packed.extend(rows);
    packed.sort_by_key(|sum| sum.at);
    packed.dedup_by(|later, kept| {
        let same = later.at == kept.at;
        if same {
            kept.merge(later);
        }
        same
    });
    packed
}

pub(super) fn thin_out(c: &Connection, now: Timestamp) -> Done<bool> {
    let before = |keep: u64| now.0.saturating_sub(keep);
    c.prepare_cached("DELETE FROM reading WHERE at < ?")?
        .execute([signed(before(KEEP_READINGS_MS))])?;
    for step in Step::ALL {
        c.prepare_cached("DELETE FROM rollup WHERE step = ? AND at < ?")?
            .execute([signed(step.ms()), signed(before(KEEP_ROLLUPS_MS))])?;
    }
    c.prepare_cached("DELETE FROM minutes WHERE day < ?")?
        .execute([signed(Step::Day.of(Timestamp(before(KEEP_ROLLUPS_MS))).0)])?;
    pack_days(c, Step::Day.of(Timestamp(before(KEEP_READINGS_MS))))
}

/// Packs the minutes of days before `until`, up to [`DAYS_AT_ONCE`] of them; says whether there are more.
fn pack_days(c: &Connection, until: Timestamp) -> Done<bool> {
    let mut subjects = c.prepare_cached("SELECT number FROM subject")?;
    let subjects: Vec<i64> = subjects.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut oldest =
        c.prepare_cached("SELECT min(at) FROM rollup WHERE subject = ? AND step = ?")?;
    let mut packed = 0;
    for subject in subjects {
        loop {
            let minute = signed(Step::Minute.ms());
            let at: Option<i64> = oldest.query_row(params![subject, minute], |row| row.get(0))?;
            let day = at.map(|at| Step::Day.of(Timestamp(unsigned(at))));
            let Some(day) = day.filter(|day| *day < until) else { break };
            if packed == DAYS_AT_ONCE {
                return Ok(true);
            }
            pack_day(c, subject, day)?;
            packed += 1;
        }
    }
    Ok(false)
}

/// Packs the minutes of one day, together with those of it that were packed before: readings may have come late.
fn pack_day(c: &Connection, subject: i64, day: Timestamp) -> Done<()> {
    let (from, to) = (signed(day.0), signed(day.0 + Step::Day.ms()));
    let minute = signed(Step::Minute.ms());
    let mut ask = c.prepare_cached(
        "SELECT at, bad, count, sum, min, max, classes FROM rollup
         WHERE subject = ? AND step = ? AND at >= ? AND at < ? ORDER BY at",
    )?;
    let rows = ask.query_map(params![subject, minute, from, to], rollup)?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let held: Option<Vec<u8>> = c
        .prepare_cached("SELECT packed FROM minutes WHERE subject = ? AND day = ?")?
        .query_row(params![subject, from], |row| row.get(0))
        .optional()?;
    let held = held.map_or_else(|| Ok(Vec::new()), |held| unpacked(day, &held))?;
    let packed = minutes::pack(day, &merged(held, rows))
        .map_err(|error| StoreError::Failed(format!("minutes cannot be packed: {error}")))?;
    c.prepare_cached("INSERT OR REPLACE INTO minutes (subject, day, packed) VALUES (?, ?, ?)")?
        .execute(params![subject, from, packed])?;
    c.prepare_cached("DELETE FROM rollup WHERE subject = ? AND step = ? AND at >= ? AND at < ?")?
        .execute(params![subject, minute, from, to])?;
    Ok(())
}
