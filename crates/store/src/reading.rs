//! What looks saw, one by one and added up: the history of what is watched.

use linkflow_model::Timestamp;
use serde::{Deserialize, Serialize};

/// What one look saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What was looked at: `monitor.api`.
    pub subject: String,
    /// When the look ended.
    pub at: Timestamp,
    /// Whether all was well.
    pub well: bool,
    /// How long it took, in microseconds.
    pub took_us: u32,
    /// How long each phase took, in microseconds: name, connection, TLS, first byte. 0 where there was none.
    pub phases_us: [u32; 4],
    /// Why it was not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The span that readings are added up over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// How long it is.
    pub fn ms(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The start of the span that `at` lies in.
    pub fn of(self, at: Timestamp) -> Timestamp {
        Timestamp(at.0 - at.0 % self.ms())
    }
}

/// The readings of one subject in one span, added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rollup {
    /// The start of the span.
    pub at: Timestamp,
    /// How many looks were not well.
    pub bad: u64,
    /// How long the good ones took.
    pub took: Histogram,
}

/// How long many looks took. Adding two up gives the same as having seen all of both.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Histogram {
    /// How many.
    pub count: u64,
    /// Their sum, in microseconds.
    pub sum_us: u64,
    /// The shortest, in microseconds.
    pub min_us: u32,
    /// The longest, in microseconds.
    pub max_us: u32,
    /// How many are in each class, by class, without the empty ones. Each class is an eighth wider than where it begins.
    #[serde(skip)]
    pub(crate) classes: Vec<(u8, u64)>,
}

/// Classes for each doubling.
const PER_OCTAVE: u32 = 8;

impl Rollup {
    /// The empty sum of the span at `at`.
    pub fn at(at: Timestamp) -> Self {
        Self { at, ..Self::default() }
    }

    /// Adds a reading.
    pub fn add(&mut self, reading: &Reading) {
        if reading.well {
            self.took.add(reading.took_us);
        } else {
            self.bad += 1;
        }
    }

    /// Adds all that `other` has.
    pub fn merge(&mut self, other: &Self) {
        self.bad += other.bad;
        self.took.merge(&other.took);
    }
}

impl Histogram {
    /// Adds one.
    pub fn add(&mut self, took_us: u32) {
        self.min_us = if self.count == 0 { took_us } else { self.min_us.min(took_us) };
        self.max_us = self.max_us.max(took_us);
        self.count += 1;
        self.sum_us += u64::from(took_us);
        self.put(class(took_us), 1);
    }

    /// Adds all that `other` has.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min_us = if self.count == 0 { other.min_us } else { self.min_us.min(other.min_us) };
        self.max_us = self.max_us.max(other.max_us);
        self.count += other.count;
        self.sum_us += other.sum_us;
        for (class, count) in &other.classes {
            self.put(*class, *count);
        }
    }

    fn put(&mut self, class: u8, count: u64) {
        match self.classes.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(at) => self.classes[at].1 += count,
            Err(at) => self.classes.insert(at, (class, count)),
        }
    }

    /// What `percent` of them were not longer than, in microseconds, to an eighth. `None` when there are none.
    pub fn percentile(&self, percent: u8) -> Option<u32> {
        let wanted = (self.count * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0;
        for (class, count) in &self.classes {
            seen += count;
            if seen >= wanted {
                return Some(end(*class).clamp(self.min_us, self.max_us));
            }
        }
        None
    }

    /// The classes as bytes: each class, and its count with seven bits in a byte.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (class, count) in &self.classes {
            bytes.push(*class);
            let mut left = *count;
            while left >= 0x80 {
                bytes.push(0x80 | (left & 0x7f) as u8);
                left >>= 7;
            }
            bytes.push(left as u8);
        }
        bytes
    }

    /// Reads back what [`Histogram::bytes`] wrote.
    pub(crate) fn read(mut self, mut bytes: &[u8]) -> Self {
        while let Some((class, rest)) = bytes.split_first() {
            let (mut count, mut shift) = (0, 0);
            bytes = rest;
            while let Some((byte, rest)) = bytes.split_first() {
                bytes = rest;
                count |= u64::from(byte & 0x7f) << shift;
                shift = (shift + 7).min(63);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            self.put(*class, count);
        }
        self
    }
}

/// The class of a time: the doublings below it, in eighths.
fn class(took_us: u32) -> u8 {
    let value = took_us.max(1);
    let octave = value.ilog2();
    let below = 1_u64 << octave;
    let eighth = (u64::from(value) - below) * u64::from(PER_OCTAVE) / below;
    u8::try_from(u64::from(octave * PER_OCTAVE) + eighth).unwrap_or(u8::MAX)
}

/// The shortest time of a class.
pub(crate) fn begin(class: u8) -> u32 {
    class.checked_sub(1).map_or(0, |before| end(before).saturating_add(1))
}

/// The longest time of a class.
pub(crate) fn end(class: u8) -> u32 {
    let (octave, eighth) = (u32::from(class) / PER_OCTAVE, u64::from(class) % 8);
    let below = 1_u64 << octave;
    let next = below + below * (eighth + 1) / u64::from(PER_OCTAVE);
    u32::try_from(next.saturating_sub(1).max(below)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = u32>) -> Histogram {
        let mut histogram = Histogram::default();
        times.into_iter().for_each(|time| histogram.add(time));
        histogram
    }

    #[test]
    fn percentiles_are_right_to_an_eighth() {
        let all = of(1..=10_000);
        for (percent, exact) in [(50, 5_000), (95, 9_500), (99, 9_900), (100, 10_000)] {
            let found = all.percentile(percent).unwrap();
            assert!(found >= exact && found <= exact + exact / 8, "{percent}: {found}");
        }
        assert_eq!(of([]).percentile(50), None);
        assert_eq!(of([7]).percentile(1), Some(7));
        assert_eq!(of([0, u32::MAX]).percentile(100), Some(u32::MAX));
    }

    #[test]
    fn two_that_are_added_up_have_seen_all_of_both() {
        let (few, many) = (of([3, 3_000]), of((1..999).map(|n| n * 77)));
        let mut merged = few.clone();
        merged.merge(&many);
        assert_eq!(merged, of([3, 3_000].into_iter().chain((1..999).map(|n| n * 77))));
        merged.merge(&of([]));
        assert_eq!(merged.count, 1_000);
    }

    #[test]
    fn classes_are_read_back_as_they_were_written() {
        let mut histogram = of((0..100_000).map(|n| n % 300));
        histogram.put(200, u64::MAX >> 8);
        let empty = Histogram { classes: Vec::new(), ..histogram.clone() };
        assert_eq!(empty.read(&histogram.bytes()), histogram);
    }
}
