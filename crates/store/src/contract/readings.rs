//! Promises about readings.

use std::sync::Arc;

use linkflow_model::Timestamp;

use super::{Broken, Check, checks, same};
use crate::{Reading, Rollup, Step, Store};

checks!(
    readings_come_back_as_they_were_kept,
    readings_are_added_up_by_minute_hour_and_day,
    what_comes_late_is_added_up_too,
    adding_up_twice_counts_nothing_twice,
    readings_thin_out_as_they_age,
    old_minutes_keep_their_counts_and_percentiles,
);

const DAY: u64 = 86_400_000;

fn reading(subject: &str, at: u64, took_us: u32) -> Reading {
    let why = (took_us == 0).then(|| "503".to_owned());
    Reading {
        subject: subject.to_owned(),
        at: Timestamp(at),
        well: took_us > 0,
        took_us,
        phases_us: [0, took_us / 4, 0, took_us / 2],
        why,
    }
}

fn rollup(at: u64, readings: &[Reading]) -> Rollup {
    let mut sum = Rollup::at(Timestamp(at));
    readings.iter().for_each(|reading| sum.add(reading));
    sum
}

async fn sums(store: &Arc<dyn Store>, subject: &str, step: Step) -> Result<Vec<Rollup>, Broken> {
    Ok(store.rollups(subject, step, Timestamp(0), Timestamp(u64::MAX)).await?)
}

async fn readings_come_back_as_they_were_kept(store: Arc<dyn Store>) -> Result<(), Broken> {
    let (a, b) = (reading("monitor.a", 20, 1_000), reading("monitor.a", 10, 0));
    let other = reading("monitor.b", 10, 7);
    store.keep_readings(&[a.clone(), b.clone(), other.clone()]).await?;
    store.keep_readings(&[]).await?;
    let of =
        |subject, from, to, most| store.readings(subject, Timestamp(from), Timestamp(to), most);
    same(of("monitor.a", 0, 21, 9).await?, vec![b.clone(), a.clone()])?;
    // The newest are kept when there are more than asked for.
    same(of("monitor.a", 0, 21, 1).await?, vec![a])?;
    same(of("monitor.a", 10, 20, 9).await?, vec![b])?;
    same(of("monitor.b", 0, 99, 9).await?, vec![other])?;
    same(of("monitor", 0, 99, 9).await?, vec![])
}

async fn readings_are_added_up_by_minute_hour_and_day(store: Arc<dyn Store>) -> Result<(), Broken> {
    let at = [DAY, DAY + 59_999, DAY + 60_000, DAY + 3_600_000, 2 * DAY];
    let all: Vec<Reading> =
        at.iter().zip([5, 0, 900, 80_000, 3]).map(|(at, took)| reading("s", *at, took)).collect();
    store.keep_readings(&all).await?;
    store.keep_readings(&[reading("t", DAY, 4)]).await?;
    // What is of the minute that still runs waits.
    store.add_up(Timestamp(2 * DAY + 59_999)).await?;
    let minute = |from: usize, to: usize| rollup(at[from], &all[from..to]);
    same(sums(&store, "s", Step::Minute).await?, vec![minute(0, 2), minute(2, 3), minute(3, 4)])?;
    same(sums(&store, "s", Step::Hour).await?, vec![minute(0, 3), minute(3, 4)])?;
    same(sums(&store, "s", Step::Day).await?, vec![minute(0, 4)])?;
    same(sums(&store, "t", Step::Day).await?, vec![rollup(DAY, &[reading("t", DAY, 4)])])?;
    store.add_up(Timestamp(2 * DAY + 60_000)).await?;
    same(sums(&store, "s", Step::Day).await?, vec![minute(0, 4), minute(4, 5)])?;
    let found = store.rollups("s", Step::Hour, Timestamp(DAY), Timestamp(DAY + 3_600_000)).await?;
    same(found, vec![minute(0, 3)])
}

async fn what_comes_late_is_added_up_too(store: Arc<dyn Store>) -> Result<(), Broken> {
    let (first, late) = (reading("s", DAY, 5), reading("s", DAY + 1, 0));
    store.keep_readings(std::slice::from_ref(&first)).await?;
    store.add_up(Timestamp(DAY + 60_000)).await?;
    store.keep_readings(std::slice::from_ref(&late)).await?;
    let both = vec![rollup(DAY, &[first, late])];
    for step in Step::ALL {
        same(sums(&store, "s", step).await?, both.clone())?;
    }
    Ok(())
}

async fn adding_up_twice_counts_nothing_twice(store: Arc<dyn Store>) -> Result<(), Broken> {
    let one = reading("s", DAY, 5);
    store.keep_readings(std::slice::from_ref(&one)).await?;
    for _ in 0..3 {
        store.add_up(Timestamp(DAY + 120_000)).await?;
    }
    // A clock that went back takes nothing back.
    store.add_up(Timestamp(DAY)).await?;
    store.keep_readings(std::slice::from_ref(&one)).await?;
    let twice = vec![rollup(DAY, &[one.clone(), one])];
    same(sums(&store, "s", Step::Minute).await?, twice)
}

async fn thinned_out(store: &Arc<dyn Store>, now: u64) -> Result<(), Broken> {
    for _ in 0..1_000 {
        if !store.thin_out(Timestamp(now)).await? {
            return Ok(());
        }
    }
    Err(Broken("it is never done".to_owned()))
}

async fn readings_thin_out_as_they_age(store: Arc<dyn Store>) -> Result<(), Broken> {
    let readings: Vec<Reading> = [1, 300, 370, 399].map(|day| reading("s", day * DAY, 5)).into();
    store.keep_readings(&readings).await?;
    store.add_up(Timestamp(400 * DAY)).await?;
    thinned_out(&store, 400 * DAY).await?;
    let raw = store.readings("s", Timestamp(0), Timestamp(u64::MAX), 9).await?;
    same(raw, readings[3..].to_vec())?;
    let days = |sums: Vec<Rollup>| sums.iter().map(|sum| sum.at.0 / DAY).collect::<Vec<_>>();
    for step in Step::ALL {
        same(days(sums(&store, "s", step).await?), vec![300, 370, 399])?;
    }
    thinned_out(&store, 700 * DAY).await?;
    for step in Step::ALL {
        same(days(sums(&store, "s", step).await?), vec![370, 399])?;
    }
    Ok(())
}

async fn old_minutes_keep_their_counts_and_percentiles(
    store: Arc<dyn Store>,
) -> Result<(), Broken> {
    let took = |n: u64| u32::try_from(n * 7_919 % 5_000).unwrap_or(0);
    let all: Vec<Reading> =
        (0..600).map(|n| reading("s", 10 * DAY + n * 997_000, took(n))).collect();
    store.keep_readings(&all).await?;
    store.add_up(Timestamp(20 * DAY)).await?;
    let before = sums(&store, "s", Step::Minute).await?;
    thinned_out(&store, 20 * DAY).await?;
    let after = sums(&store, "s", Step::Minute).await?;
    same(after.len(), before.len())?;
    for (before, after) in before.iter().zip(&after) {
        let of = |sum: &Rollup| (sum.at, sum.bad, sum.took.count, sum.took.classes.clone());
        same(of(after), of(before))?;
    }
    // A part of a day, in the order of time.
    let (from, to) = (Timestamp(10 * DAY + 7_200_000), Timestamp(12 * DAY + 60_000));
    let some = store.rollups("s", Step::Minute, from, to).await?;
    same(some, after.iter().filter(|sum| sum.at >= from && sum.at < to).cloned().collect())?;
    // What comes late is added to what was thinned out, and stays when that is done again.
    let late = reading("s", 10 * DAY + 1, 0);
    store.keep_readings(std::slice::from_ref(&late)).await?;
    for _ in 0..2 {
        let found = store.rollups("s", Step::Minute, Timestamp(0), Timestamp(11 * DAY)).await?;
        let bad = after.iter().filter(|sum| sum.at.0 < 11 * DAY).map(|sum| sum.bad).sum::<u64>();
        same(found.iter().map(|sum| sum.bad).sum::<u64>(), bad + 1)?;
        thinned_out(&store, 20 * DAY).await?;
    }
    Ok(())
}
