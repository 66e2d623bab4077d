//! What an authenticator signs: nothing is remembered of those that were given out, so asking for many fills no memory.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use linkflow_model::Moment;
use ring::hmac;
use ring::rand::SystemRandom;

use super::error::AccessError;
use super::random;

/// How long one may be answered: what WebAuthn recommends as a browser's limit for people who have to find their key.
pub(super) const GOOD_MS: u64 = 300_000;

/// Gives challenges and knows its own again, once.
#[derive(Default)]
pub(super) struct Challenges {
    key: OnceLock<hmac::Key>,
    /// Those that were answered well, until they end by themselves.
    used: Mutex<HashMap<Vec<u8>, Moment>>,
}

impl Challenges {
    fn key(&self) -> Result<&hmac::Key, AccessError> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let fresh = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let fresh = fresh.map_err(|_| AccessError::NoRandom)?;
        Ok(self.key.get_or_init(|| fresh))
    }

    /// A new one for `purpose`, as text.
    pub(super) fn give(&self, purpose: &str, now: Moment) -> Result<String, AccessError> {
        let mut bytes = now.plus(GOOD_MS).0.to_be_bytes().to_vec();
        bytes.extend(random::bytes::<16>()?);
        let seal = hmac::sign(self.key()?, &[bytes.as_slice(), purpose.as_bytes()].concat());
        bytes.extend(seal.as_ref());
        Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whether `challenge` was given for `purpose`, is not too old, and was not answered before.
    pub(super) fn is_open(&self, challenge: &str, purpose: &str, now: Moment) -> bool {
        let Some((bytes, until)) = self.read(challenge, purpose) else { return false };
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        now <= until && !used.contains_key(&bytes)
    }

    /// Ends `challenge`, which was answered well; `false` when somebody else did so first.
    pub(super) fn end(&self, challenge: &str, purpose: &str, now: Moment) -> bool {
        let Some((bytes, until)) = self.read(challenge, purpose) else { return false };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| now <= *until);
        now <= until && used.insert(bytes, until).is_none()
    }

    fn read(&self, challenge: &str, purpose: &str) -> Option<(Vec<u8>, Moment)> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(challenge).ok()?;
        let (said, seal) = bytes.split_at_checked(24)?;
        let until = said.get(..8)?.try_into().ok()?;
        let sealed = [said, purpose.as_bytes()].concat();
        hmac::verify(self.key().ok()?, &sealed, seal).ok()?;
        Some((bytes, Moment(u64::from_be_bytes(until))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_once_for_its_purpose_and_in_time() {
        let (challenges, now) = (Challenges::default(), Moment(5_000));
        let one = challenges.give("in", now).unwrap();
        assert!(challenges.is_open(&one, "in", now.plus(GOOD_MS)));
        assert!(!challenges.is_open(&one, "in", now.plus(GOOD_MS + 1)), "too late");
        assert!(!challenges.is_open(&one, "out", now), "another purpose");
        assert!(!Challenges::default().is_open(&one, "in", now), "another process");
        for junk in ["", "AAAA", "ä", &one[1..], &format!("{one}AA")] {
            assert!(!challenges.is_open(junk, "in", now), "{junk}");
        }
        assert!(challenges.end(&one, "in", now));
        assert!(!challenges.end(&one, "in", now), "not twice");
        assert!(!challenges.is_open(&one, "in", now));
    }
}
