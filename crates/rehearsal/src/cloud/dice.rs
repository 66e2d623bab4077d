//! Chance by a seed: the same seed throws the same delays and ids.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// A generator (`SplitMix64`, Steele, Lea and Flood 2014) that threads share.
pub(crate) struct Dice(Mutex<u64>);

impl Dice {
    /// Dice for one `name`, so that one provider's throws do not depend on another's.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mixed = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(Mutex::new(mixed))
    }

    /// The next number.
    pub(crate) fn throw(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.throw() % (high - low + 1)
    }

    /// A short while, in milliseconds from `low` to `high`.
    pub(crate) fn while_ms(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// `length` lower-case hex digits.
    pub(crate) fn hex(&self, length: usize) -> String {
        self.letters("0123456789abcdef", length)
    }

    /// `length` of the letters of `alphabet`, which is ASCII.
    pub(crate) fn letters(&self, alphabet: &str, length: usize) -> String {
        let letters = alphabet.as_bytes();
        let pick = || letters[usize::try_from(self.throw() >> 1).unwrap_or(0) % letters.len()];
        (0..length).map(|_| char::from(pick())).collect()
    }

    /// An id in the form of a version 4 UUID.
    pub(crate) fn uuid(&self) -> String {
        let hex = self.hex(32);
        format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
    }

    /// An id in the form of a ULID, 26 letters.
    pub(crate) fn ulid(&self) -> String {
        format!("01{}", self.letters("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 24))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same_and_another_name_throws_otherwise() {
        let throws = |seed, name| Dice::new(seed, name).uuid();
        assert_eq!(throws(7, "fly"), throws(7, "fly"));
        assert_ne!(throws(7, "fly"), throws(7, "railway"));
        assert_ne!(throws(7, "fly"), throws(8, "fly"));
    }
}
