//! Minutes of a day, packed: what is older than the readings keeps its detail at about a byte a minute.
//!
//! Counts stay exact, so uptime comes to the same. Of the times the fastest, the middle, the 95th percentile and the slowest
//! stay, as classes of a [`Histogram`], right to an eighth: however often is looked, that is four bytes at most. The columns
//! are runs of minutes with equal counts, the first class of each minute, and the step to each next one; then deflate.
//! Columns of one sort each pack far better than minutes one after another.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use linkflow_model::Timestamp;

use crate::reading::{begin, end};
use crate::{Histogram, Rollup, Step};

/// Minutes of a day.
const MINUTES: usize = 1_440;

/// What is packed is no longer than this when it is unpacked: four bytes and a run for each minute, and some.
const LONGEST: u64 = 64 << 10;

/// Of how many looks each kept class of a minute stands, where so many `looks` were good: the fastest, the middle, the 95th
/// percentile and the slowest, as far as these are different looks.
fn parts(looks: u64) -> impl Iterator<Item = u64> {
    let slow = rank(looks, 95);
    let parts = match looks {
        0 => [0; 4],
        1 => [1, 0, 0, 0],
        _ => [1, slow - 2, looks - slow, 1],
    };
    parts.into_iter().filter(|part| *part > 0)
}

/// Which look, in the order of their times, `percent` of `looks` end with.
fn rank(looks: u64, percent: u64) -> u64 {
    (looks * percent).div_ceil(100)
}

/// The classes that are kept of a minute, one for each of [`parts`].
fn kept(took: &Histogram) -> Vec<u8> {
    let at = |wanted: u64| {
        let mut seen = 0;
        let mut classes = took.classes.iter();
        let found = classes.find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        found.map(|(class, _)| *class)
    };
    let looks = took.count;
    let (middle, slow) = (rank(looks, 50), rank(looks, 95));
    let ranks = match looks {
        0 => Vec::new(),
        1 => vec![1],
        _ => [(1, 1), (slow - 2, middle), (looks - slow, slow), (1, looks)]
            .into_iter()
            .filter_map(|(part, rank)| (part > 0).then_some(rank))
            .collect(),
    };
    ranks.into_iter().filter_map(at).collect()
}

/// A minute of what is kept of it.
fn minute(at: Timestamp, bad: u64, good: u64, kept: &[u8]) -> Rollup {
    let mut took = Histogram { count: good, ..Histogram::default() };
    for (class, count) in kept.iter().zip(parts(good)) {
        took.sum_us += u64::from(begin(*class)).midpoint(u64::from(end(*class))) * count;
        match took.classes.last_mut().filter(|(last, _)| last == class) {
            Some((_, held)) => *held += count,
            None => took.classes.push((*class, count)),
        }
    }
    took.min_us = kept.first().map_or(0, |class| begin(*class));
    took.max_us = kept.last().map_or(0, |class| end(*class));
    Rollup { at, bad, took }
}

impl Rollup {
    /// What of a minute is left when it is packed.
    pub(crate) fn coarse(&self) -> Self {
        minute(self.at, self.bad, self.took.count, &kept(&self.took))
    }
}

/// Packs minutes of the day that begins at `day`, in the order of time. Others are left out.
pub(crate) fn pack(day: Timestamp, minutes: &[Rollup]) -> std::io::Result<Vec<u8>> {
    let mut slots: Vec<Option<&Rollup>> = vec![None; MINUTES];
    for minute in minutes {
        let slot = minute.at.0.checked_sub(day.0).map(|ms| ms / Step::Minute.ms());
        if let Some(slot) = slot.and_then(|slot| slots.get_mut(usize::try_from(slot).ok()?)) {
            *slot = Some(minute);
        }
    }
    let counts = |slot: &Option<&Rollup>| slot.map_or((0, 0), |m| (m.took.count, m.bad));
    let (mut runs, mut columns) = (vec![], [const { Vec::new() }; 4]);
    for run in slots.chunk_by(|a, b| counts(a) == counts(b)) {
        let (good, bad) = run.first().map_or((0, 0), counts);
        for number in [run.len() as u64, good, bad] {
            put(&mut runs, number);
        }
    }
    for minute in slots.iter().flatten() {
        let kept = kept(&minute.took);
        let mut before = 0;
        for (column, class) in columns.iter_mut().zip(&kept) {
            column.push(class.saturating_sub(before));
            before = *class;
        }
    }
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
    for column in [runs].into_iter().chain(columns) {
        let mut length = Vec::new();
        put(&mut length, column.len() as u64);
        packed.write_all(&length)?;
        packed.write_all(&column)?;
    }
    packed.finish()
}

/// The minutes that were packed; `None` when these are no packed minutes.
pub(crate) fn unpack(day: Timestamp, packed: &[u8]) -> Option<Vec<Rollup>> {
    let mut bytes = Vec::new();
    DeflateDecoder::new(packed).take(LONGEST).read_to_end(&mut bytes).ok()?;
    let mut rest = bytes.as_slice();
    let mut column = || {
        let length = usize::try_from(take(&mut rest)?).ok()?;
        let (column, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(column)
    };
    let mut runs = column()?;
    let mut columns = [column()?, column()?, column()?, column()?];
    let (mut minutes, mut slot) = (Vec::new(), 0_u64);
    while !runs.is_empty() {
        let (length, good, bad) = (take(&mut runs)?, take(&mut runs)?, take(&mut runs)?);
        for at in slot..slot.checked_add(length).filter(|end| *end <= MINUTES as u64)? {
            if good == 0 && bad == 0 {
                continue;
            }
            let mut kept = Vec::new();
            for (column, _) in columns.iter_mut().zip(parts(good)) {
                kept.push(byte(column)?.checked_add(kept.last().copied().unwrap_or(0))?);
            }
            let at = Timestamp(day.0 + at * Step::Minute.ms());
            minutes.push(minute(at, bad, good, &kept));
        }
        slot += length;
    }
    Some(minutes)
}

fn put(bytes: &mut Vec<u8>, mut left: u64) {
    while left >= 0x80 {
        bytes.push(0x80 | (left & 0x7f) as u8);
        left >>= 7;
    }
    bytes.push(left as u8);
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let next = byte(bytes)?;
        number |= u64::from(next & 0x7f).checked_shl(shift)?;
        if next & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::Reading;

    const DAY: Timestamp = Timestamp(20_000 * 86_400_000);

    fn reading(at: u64, took_us: Option<u32>) -> Reading {
        Reading {
            subject: String::new(),
            at: Timestamp(at),
            well: took_us.is_some(),
            took_us: took_us.unwrap_or(0),
            phases_us: [0; 4],
            why: None,
        }
    }

    fn looked(number: u64, took: &[Option<u32>]) -> Rollup {
        let mut sum = Rollup::at(Timestamp(DAY.0 + number * 60_000));
        took.iter().for_each(|took| sum.add(&reading(sum.at.0, *took)));
        sum
    }

    /// Numbers that look like chance (splitmix64), from 0 to 1.
    fn chance(seed: &mut u64) -> f64 {
        *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A day of a service that answers in about 80 ms, a fifth more or less, slower at noon and seldom much slower.
    fn day(looks_a_minute: usize, seed: u64) -> Vec<Rollup> {
        let seed = &mut (seed * 7_919);
        let one = |number: u64| {
            let looks = (0..looks_a_minute).map(|_| {
                let around: f64 = (0..6).map(|_| chance(seed) - 0.5).sum();
                let noon = 1.0 + 0.2 * (number as f64 / 1_440.0 * std::f64::consts::PI).sin();
                let tail = if chance(seed) < 0.01 { 4.0 } else { 1.0 };
                let took = 80_000.0 * (0.2 * 1.41 * around).exp() * noon * tail;
                (chance(seed) > 0.002).then_some(took as u32)
            });
            looked(number, &looks.collect::<Vec<_>>())
        };
        (0..1_440).map(one).collect()
    }

    #[test]
    fn thirteen_months_of_a_hundred_monitors_are_some_tens_of_megabytes() {
        // 396 days of 100 monitors, beside 16 bytes of a row and its index each.
        let megabytes = |looks| {
            let days = (1..=8).map(|seed| pack(DAY, &day(looks, seed)).unwrap().len());
            (days.sum::<usize>() / 8 + 16) * 396 * 100 / 1_000_000
        };
        let all = [1, 2, 6, 60].map(|looks| (looks, megabytes(looks)));
        println!("looks a minute, MB: {all:?}");
        assert!(all[0].1 <= 35 && all[1].1 <= 60, "{all:?}");
        assert!(
            all.iter().all(|(_, megabytes)| *megabytes <= 110),
            "however often is looked: {all:?}"
        );
    }

    #[test]
    fn a_day_in_which_nothing_happened_is_next_to_nothing() {
        assert!(pack(DAY, &[]).unwrap().len() < 20);
        let calm: Vec<Rollup> =
            (0..1_440).map(|n| looked(n, &[Some(9_000), Some(9_001)])).collect();
        assert!(pack(DAY, &calm).unwrap().len() < 60);
    }

    #[test]
    fn what_is_no_packed_day_is_refused() {
        assert_eq!(unpack(DAY, b"what?"), None);
        let packed = pack(DAY, &day(2, 1)).unwrap();
        for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
            assert_eq!(unpack(DAY, &packed[..cut]), None, "{cut}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_day_comes_back_with_its_counts_and_percentiles(
            some in vec((0..1_440_u64, vec(any::<Option<u32>>(), 1..99)), 0..40)
        ) {
            let mut some = some;
            some.sort();
            some.dedup_by_key(|(number, _)| *number);
            let all: Vec<Rollup> = some.iter().map(|(number, took)| looked(*number, took)).collect();
            let coarse: Vec<Rollup> = all.iter().map(Rollup::coarse).collect();
            let packed = pack(DAY, &all).unwrap();
            prop_assert_eq!(unpack(DAY, &packed), Some(coarse.clone()));
            prop_assert_eq!(pack(DAY, &coarse).unwrap(), packed);
            for (fine, coarse) in all.iter().zip(&coarse) {
                prop_assert_eq!((fine.bad, fine.took.count), (coarse.bad, coarse.took.count));
                for percent in [1, 50, 95, 99, 100] {
                    let (fine, coarse) = (fine.took.percentile(percent), coarse.took.percentile(percent));
                    let (Some(fine), Some(coarse)) = (fine, coarse) else {
                        prop_assert_eq!(fine, coarse);
                        continue;
                    };
                    prop_assert!(coarse >= fine && coarse - fine <= fine / 8 + 1, "{} {}", fine, coarse);
                }
            }
        }
    }
}
