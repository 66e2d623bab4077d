//! Twelve years of one monitor, with the noise of real networks.
//!
//! Each year has 12 outages of 90 s and more, 120 blips of some 9 s, 0.2 % of all looks lost, 24 times 4 minutes in which
//! a vantage's own network is gone, and 12 times 5 minutes in which one vantage alone does not reach the target.

use linkflow_model::Timestamp;

use super::tests::{drive, manner};
use super::*;

const YEARS: u64 = 12;
const YEAR_MS: u64 = 365 * 86_400_000;

/// A sequence of numbers that a seed decides (splitmix64).
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Spans of `least_s` and more, `mean_s` longer on average, `per_year` of them.
    fn spans(&mut self, per_year: f64, least_s: f64, mean_s: f64) -> Spans {
        let (mut all, mut at) = (Vec::new(), 0.0);
        loop {
            at += self.exponential(YEAR_MS as f64 / per_year);
            let to = at + (least_s + self.exponential(mean_s)) * 1e3;
            if to >= YEAR_MS as f64 {
                return Spans { all, at: 0 };
            }
            all.push((at as u64, to as u64));
            at = to;
        }
    }
}

/// Spans of time, asked in the order of time.
struct Spans {
    all: Vec<(u64, u64)>,
    at: usize,
}

impl Spans {
    fn holds(&mut self, now: u64) -> bool {
        while self.all.get(self.at).is_some_and(|(_, to)| *to <= now) {
            self.at += 1;
        }
        self.all.get(self.at).is_some_and(|(from, _)| *from <= now)
    }

    fn meets(&self, from: u64, to: u64) -> bool {
        self.all.iter().any(|(a, b)| *a <= to && from < *b)
    }
}

/// What was told in all years.
#[derive(Debug, Default)]
struct Told {
    /// The target was well, and reached by everyone who saw at all.
    false_pages: u32,
    /// The target was well, and not reached by one vantage.
    unreached: u32,
    /// Pages for blips.
    blips: u32,
    outages: u32,
    missed: u32,
    /// From the beginning of each outage until it was told, in ms.
    delays: Vec<u64>,
}

impl Told {
    fn percentile(&mut self, of: usize) -> u64 {
        self.delays.sort_unstable();
        self.delays[(self.delays.len() - 1) * of / 100]
    }
}

fn year(seed: u64, manner: &Manner, (vantages, hangs): (u64, bool), told: &mut Told) {
    let dice = &mut Dice(seed);
    let mut outages = dice.spans(12.0, 90.0, 600.0);
    let mut blips = dice.spans(120.0, 1.0, 8.0);
    let mut cuts: Vec<Spans> = (0..vantages).map(|_| dice.spans(24.0, 0.0, 240.0)).collect();
    let mut ways: Vec<Spans> = (0..vantages).map(|_| dice.spans(12.0, 0.0, 300.0)).collect();
    let start = (dice.unit() * manner.every_ms as f64) as u64;
    let first: Vec<Moment> =
        (0..vantages).map(|v| Moment(start + v * manner.every_ms / vantages)).collect();
    let mut watch = Watch::new(manner.clone(), &first);
    let limit = manner.limit_ms;
    let mut world = |vantage: usize, at: Moment| {
        let hung = || (limit, Seen::Silent("no answer".to_owned()));
        if cuts[vantage].holds(at.0) {
            return (limit, Seen::Blind);
        }
        if outages.holds(at.0) || blips.holds(at.0) {
            // One in two hangs, if any does, the others refuse.
            return if hangs && outages.at.is_multiple_of(2) {
                hung()
            } else {
                (1, Seen::Silent("refused".to_owned()))
            };
        }
        if ways[vantage].holds(at.0) || dice.unit() < 0.002 {
            return hung();
        }
        (20, Seen::Well { took_ms: 20 })
    };
    let mut pages = Vec::new();
    drive(&mut watch, Moment(YEAR_MS), &mut world, |now, standing| {
        if standing.condition == Condition::Down {
            pages.push((standing.since.0, now.0));
        }
    });
    let mut seen = vec![false; outages.all.len()];
    for (since, now) in pages {
        let hit = outages.all.iter().position(|(from, to)| *from <= now && since < *to);
        match hit {
            Some(outage) if !seen[outage] => {
                seen[outage] = true;
                told.delays.push(now.saturating_sub(outages.all[outage].0));
            }
            Some(_) => {}
            None if blips.meets(since, now) => told.blips += 1,
            None if ways.iter().any(|way| way.meets(since, now)) => told.unreached += 1,
            None => told.false_pages += 1,
        }
    }
    told.outages += seen.len() as u32;
    told.missed += seen.iter().filter(|seen| !**seen).count() as u32;
}

fn years(manner: &Manner, vantages: u64, hangs: bool) -> Told {
    let mut told = Told::default();
    (0..YEARS).for_each(|seed| year(7 + seed, manner, (vantages, hangs), &mut told));
    let (p50, p95) = (told.percentile(50) / 1_000, told.percentile(95) / 1_000);
    println!(
        "every {} s from {vantages}: {} false, {} unreached, {} blips a year; {} of {} missed; p50 {p50} s, p95 {p95} s",
        manner.every_ms / 1_000,
        told.false_pages,
        told.unreached,
        told.blips / YEARS as u32,
        told.missed,
        told.outages,
    );
    told
}

#[test]
fn three_vantages_tell_no_falsehood_in_twelve_years_and_miss_nothing() {
    let mut told = years(&manner(30, None), 3, false);
    assert_eq!((told.false_pages, told.unreached, told.missed), (0, 0, 0), "{told:?}");
    assert!(told.outages > 120 && told.percentile(95) <= 39_000, "{told:?}");
    assert!(told.blips <= 3 * YEARS as u32, "{told:?}");
}

#[test]
fn a_single_vantage_errs_only_where_it_alone_does_not_reach_the_target() {
    let mut told = years(&manner(10, None), 1, true);
    assert_eq!((told.false_pages, told.missed), (0, 0), "{told:?}");
    assert!(told.percentile(95) <= 22_000, "{told:?}");
}

/// What answers take: 80 ms, a third more or less, twice that at noon, seldom four times; slow in `slow`, and in blips.
fn takes(dice: &mut Dice, at: Moment, slow: bool) -> u64 {
    let around: f64 = (0..6).map(|_| dice.unit() - 0.5).sum();
    let hour = at.0 as f64 / 3_600_000.0 % 24.0;
    let noon = 1.0 + (hour / 24.0 * std::f64::consts::PI).sin();
    let tail = if dice.unit() < 0.01 { 4.0 } else { 1.0 };
    let slow = if slow { 8.0 } else { 1.0 };
    (80.0 * (0.33 * 1.41 * around).exp() * noon * tail * slow) as u64
}

/// A year of one that learns: when it was slow, and from when to when it was said to be. 120 blips of some 9 s are slow, too.
fn slow_year(seed: u64) -> (Spans, Vec<(u64, u64)>) {
    let dice = &mut Dice(seed);
    let mut slow = dice.spans(12.0, 900.0, 1_800.0);
    let mut blips = dice.spans(120.0, 1.0, 8.0);
    let mut watch = Watch::new(Manner { learn_ms: Some(0), ..manner(60, None) }, &[Moment(7_000)]);
    let (mut hours, mut hour): (Vec<Hour>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut told: Vec<(u64, u64)> = Vec::new();
    for number in 0..YEAR_MS / 3_600_000 {
        let end = Moment((number + 1) * 3_600_000);
        let mut world = |_: usize, at: Moment| {
            let took_ms = takes(dice, at, slow.holds(at.0) || blips.holds(at.0));
            hour.push(took_ms);
            (took_ms, Seen::Well { took_ms })
        };
        drive(&mut watch, end, &mut world, |now, standing| match standing.condition {
            Condition::Degraded => told.push((standing.since.0, u64::MAX)),
            Condition::Up
            | Condition::Partial
            | Condition::Down
            | Condition::Maintenance
            | Condition::Unknown => {
                told.last_mut().into_iter().for_each(|last| last.1 = last.1.min(now.0));
            }
        });
        hour.sort_unstable();
        let at = Timestamp(number * 3_600_000);
        hours.push(Hour { at, looks: hour.len() as u64, p95_ms: hour[hour.len() * 95 / 100] });
        hour.clear();
        let week = &hours[hours.len().saturating_sub(7 * 24 + 1)..];
        watch.usually(usual(week, Timestamp(end.0), 0));
    }
    (slow, told)
}

#[test]
fn who_learns_tells_no_slowness_that_is_none_in_years_and_misses_none_after_the_first_week() {
    let (mut found, mut all) = (0, 0);
    for seed in 0..3 {
        let (slow, told) = slow_year(70 + seed);
        for (since, to) in &told {
            assert!(slow.meets(*since, *to), "seed {seed}: nothing was slow at {since}");
        }
        for (from, to) in slow.all.iter().filter(|(from, _)| *from > 7 * 86_400_000) {
            all += 1;
            found += usize::from(told.iter().any(|(since, until)| since < to && from < until));
        }
    }
    println!("{found} of {all} times of slowness were told");
    assert!(all > 25 && found == all, "{found} of {all}");
}
