//! How often strangers may ask: so many times an hour from one address, and from one network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use linkflow_model::Moment;

/// After so long it begins anew.
const HOUR_MS: u64 = 3_600_000;

/// How many may ask within it from one address, and from one network: `/24`, and `/48` of IPv6.
const MOST: [u32; 2] = [6, 30];

/// How many of them are remembered; of more, the oldest are forgotten.
const REMEMBERED: usize = 8_192;

/// Counts what was asked.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<HashMap<(u8, u128), (u32, Moment)>>);

/// An address and its network as numbers. One customer has 64 bits of IPv6.
fn whose(address: IpAddr) -> [(u8, u128); 2] {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            let four = u128::from(u32::from(four));
            [(0, four), (1, four >> 8)]
        }
        IpAddr::V6(six) => [(2, u128::from(six) >> 64), (3, u128::from(six) >> 80)],
    }
}

impl Limits {
    /// Whether somebody at `address` may ask now; all who have none are one. Then it counts.
    pub(super) fn allow(&self, address: Option<IpAddr>, now: Moment) -> bool {
        let whose = whose(address.unwrap_or(IpAddr::from([0, 0, 0, 0])));
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |asked: &HashMap<_, (u32, Moment)>, one| {
            let held = asked.get(one).filter(|(_, since)| now.since(*since) < HOUR_MS);
            held.copied().unwrap_or((0, now))
        };
        if whose.iter().zip(MOST).any(|(one, most)| held(&asked, one).0 >= most) {
            return false;
        }
        for one in &whose {
            let (count, since) = held(&asked, one);
            if asked.len() >= REMEMBERED && !asked.contains_key(one) {
                let oldest = asked.iter().min_by_key(|(_, (_, since))| *since).map(|(one, _)| *one);
                oldest.and_then(|oldest| asked.remove(&oldest));
            }
            asked.insert(*one, (count + 1, since));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(limits: &Limits, address: &str, ms: u64) -> usize {
        let address = Some(address.parse().unwrap());
        (0..100).filter(|_| limits.allow(address, Moment(ms))).count()
    }

    #[test]
    fn an_address_may_ask_a_few_times_an_hour_and_a_network_some_more() {
        let limits = Limits::default();
        assert_eq!(come(&limits, "192.0.2.1", 5), 6);
        assert_eq!(come(&limits, "192.0.2.1", 4 + HOUR_MS), 0);
        let others: usize = (2..10).map(|n| come(&limits, &format!("192.0.2.{n}"), 6)).sum();
        assert_eq!(others, 24, "the network has had its thirty");
        assert_eq!(come(&limits, "198.51.100.1", 6), 6, "another network is not held up");
        assert_eq!(come(&limits, "192.0.2.1", 6 + HOUR_MS), 6, "an hour forgives");
    }

    #[test]
    fn one_customers_addresses_are_one() {
        let limits = Limits::default();
        assert_eq!(come(&limits, "2001:db8::1", 0), 6);
        assert_eq!(come(&limits, "2001:db8::ffff:1", 0), 0);
        assert_eq!(come(&limits, "2001:db8:0:1::1", 0), 6);
        assert_eq!(come(&limits, "::ffff:192.0.2.1", 0), 6);
        assert_eq!(come(&limits, "192.0.2.1", 0), 0);
    }
}
