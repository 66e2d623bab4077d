//! How often one visitor may ask: a sliding window for each, in memory that never grows.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use http::HeaderName;
use http::header::HeaderMap;
use linkflow_model::Moment;

/// Visitors that are remembered at once, at least; with more of them the one that asked longest ago is forgotten.
const VISITORS: usize = 32_768;
/// Of each set, the places in which a visitor may stand.
const WAYS: usize = 8;

/// What one visitor may do.
#[derive(Clone, Debug)]
pub struct RateRule {
    /// How many requests.
    pub requests: NonZeroU32,
    /// In how many milliseconds; at least 1.
    pub per_ms: u64,
    /// The beginnings of paths that it counts for; all when empty.
    pub paths: Vec<String>,
    /// The header that tells visitors apart, where they have it, in place of their address: an API key.
    pub header: Option<HeaderName>,
}

/// Counts what visitors ask for.
pub(crate) struct Rates {
    rule: RateRule,
    sets: Vec<Mutex<[Slot; WAYS]>>,
    hash: RandomState,
}

/// One visitor.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// Whom it counts; 0: nobody.
    key: u64,
    /// Which window `now` counts.
    window: u64,
    now: u32,
    /// Requests of the window before.
    before: u32,
}

impl Rates {
    pub(crate) fn new(rule: RateRule) -> Self {
        let sets = (0..VISITORS / WAYS).map(|_| Mutex::default()).collect();
        Self { rule, sets, hash: RandomState::new() }
    }

    /// Counts a request. `Err`: it is one too many, and after so many milliseconds another one will not be.
    pub(crate) fn take(
        &self,
        ip: IpAddr,
        path: &str,
        headers: &HeaderMap,
        now: Moment,
    ) -> Result<(), u64> {
        let paths = &self.rule.paths;
        if !paths.is_empty() && !paths.iter().any(|prefix| path.starts_with(prefix)) {
            return Ok(());
        }
        let named = self.rule.header.as_ref().and_then(|name| headers.get(name));
        let key = match named {
            Some(value) => self.hash.hash_one(value.as_bytes()),
            None => self.hash.hash_one(network(ip)),
        };
        let at = usize::try_from(key).unwrap_or_default() % self.sets.len().max(1);
        let Some(set) = self.sets.get(at) else { return Ok(()) };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        slot(&mut set, key.max(1)).take(&self.rule, now)
    }
}

/// What one visitor has: an IPv4 address, or the 64 bits of IPv6 that one site gets.
fn network(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 | 1 << 63,
    }
}

/// The visitor's slot, or the one that was not used for longest.
fn slot(set: &mut [Slot; WAYS], key: u64) -> &mut Slot {
    let mut at = 0;
    for (index, slot) in set.iter().enumerate() {
        if slot.key == key {
            at = index;
            break;
        }
        if slot.window < set[at].window || slot.key == 0 && set[at].key != 0 {
            at = index;
        }
    }
    if set[at].key != key {
        set[at] = Slot { key, ..Slot::default() };
    }
    &mut set[at]
}

impl Slot {
    /// The window slides: of the one before counts as much as still lies within the time.
    fn take(&mut self, rule: &RateRule, now: Moment) -> Result<(), u64> {
        let per = rule.per_ms.max(1);
        let (window, passed) = (now.0 / per, now.0 % per);
        if window != self.window {
            self.before = if window == self.window + 1 { self.now } else { 0 };
            (self.window, self.now) = (window, 0);
        }
        let most = u64::from(rule.requests.get());
        let (held, before) = (u64::from(self.now), u64::from(self.before));
        if held + before * (per - passed) / per < most {
            self.now += 1;
            return Ok(());
        }
        if held >= most {
            // As much of this window has to leave as is too many, in the course of the next one.
            let leaves = (held + 1 - most) * per / held.max(1);
            return Err(per - passed + leaves.max(1));
        }
        // `before` may count for `most - held - 1` at most.
        let counts = (most - held) * per / before.max(1);
        Err((per - passed).saturating_sub(counts).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(requests: u32, per_ms: u64) -> Rates {
        let requests = NonZeroU32::new(requests).unwrap();
        Rates::new(RateRule { requests, per_ms, paths: vec!["/api".to_owned()], header: None })
    }

    fn ask(rates: &Rates, ip: &str, now: u64) -> Result<(), u64> {
        rates.take(ip.parse().unwrap(), "/api/v1", &HeaderMap::new(), Moment(now))
    }

    #[test]
    fn the_hundred_and_first_request_within_ten_seconds_is_one_too_many() {
        let rates = rates(100, 10_000);
        for request in 0..100 {
            assert_eq!(ask(&rates, "192.0.2.1", 50_000 + request), Ok(()));
        }
        let wait = ask(&rates, "192.0.2.1", 50_200).unwrap_err();
        assert_eq!(ask(&rates, "192.0.2.2", 50_200), Ok(()), "others are not disturbed");
        assert!(ask(&rates, "192.0.2.1", 50_200 + wait - 200).is_err(), "{wait}");
        assert_eq!(ask(&rates, "192.0.2.1", 50_200 + wait), Ok(()), "{wait}");
        assert_eq!(ask(&rates, "192.0.2.1", 90_000), Ok(()), "all is forgiven");
    }

    #[test]
    fn the_window_slides_so_two_bursts_at_its_border_are_one() {
        let rates = rates(100, 10_000);
        let burst =
            |from: u64| (0..100).filter(|i| ask(&rates, "192.0.2.1", from + i).is_ok()).count();
        assert_eq!(burst(59_900), 100);
        assert!(burst(60_000) < 5, "the border of a window is no way round");
        let half = burst(65_000);
        assert!((40..60).contains(&half), "{half}");
    }

    #[test]
    fn a_visitor_of_ipv6_is_a_network() {
        let rates = rates(1, 10_000);
        assert_eq!(ask(&rates, "2001:db8:1:1::1", 5), Ok(()));
        assert!(ask(&rates, "2001:db8:1:1:ffff::2", 5).is_err());
        assert_eq!(ask(&rates, "2001:db8:1:2::1", 5), Ok(()));
        assert_eq!(ask(&rates, "::ffff:192.0.2.1", 5), Ok(()));
        assert!(ask(&rates, "192.0.2.1", 5).is_err(), "the same address, written otherwise");
    }

    #[test]
    fn other_paths_are_free_and_a_header_may_tell_visitors_apart() {
        let mut rates = rates(1, 10_000);
        let ip = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(rates.take(ip, "/assets/a", &HeaderMap::new(), Moment(5)), Ok(()));
        }
        rates.rule.header = Some(HeaderName::from_static("x-api-key"));
        let with = |key: &'static str| {
            HeaderMap::from_iter([(
                HeaderName::from_static("x-api-key"),
                http::HeaderValue::from_static(key),
            )])
        };
        assert_eq!(rates.take(ip, "/api", &with("a"), Moment(5)), Ok(()));
        assert!(rates.take(ip, "/api", &with("a"), Moment(5)).is_err());
        assert_eq!(rates.take(ip, "/api", &with("b"), Moment(5)), Ok(()));
        assert_eq!(rates.take(ip, "/api", &HeaderMap::new(), Moment(5)), Ok(()));
    }

    #[test]
    fn a_million_visitors_take_no_more_memory_than_one() {
        let rates = rates(2, 10_000);
        for visitor in 0..1_000_000_u32 {
            let ip = IpAddr::V4(visitor.into());
            assert_eq!(
                rates.take(ip, "/api", &HeaderMap::new(), Moment(u64::from(visitor))),
                Ok(())
            );
        }
        let size = rates.sets.len() * size_of::<Mutex<[Slot; WAYS]>>();
        assert!(size < 1_200_000, "{size} bytes");
        assert_eq!(ask(&rates, "255.0.0.1", 2_000_000), Ok(()));
        assert_eq!(ask(&rates, "255.0.0.1", 2_000_000), Ok(()));
        assert!(ask(&rates, "255.0.0.1", 2_000_000).is_err(), "the newest are remembered");
    }
}
