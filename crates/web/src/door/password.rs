//! Passwords: what makes a good one, and how it is kept.
//!
//! Facts: NIST SP 800-63B-4, 3.1.1.2: 15 characters at least where a password is all that is asked, no rules of
//! composition, Unicode normalized, every character counts, common ones and those made of the context refused. OWASP's
//! cheat sheet on storage for the cost of Argon2id.

use std::collections::BTreeSet;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;

use super::error::AccessError;
use super::random;

/// The fewest characters of a password.
pub(super) const SHORTEST: usize = 15;

/// The most: nobody remembers more, and checking costs time.
const LONGEST: usize = 256;

/// Fewer different characters than this are a pattern and no password.
const DIFFERENT: usize = 5;

/// KiB, passes and lanes of one check: about 30 ms, and 19 MiB while it goes on.
const COST: (u32, u32, u32) = (19_456, 2, 1);

/// How many are checked at once: each takes a processor for its time.
const AT_ONCE: usize = 2;

/// How many more wait for their turn.
const WAITING: usize = 32;

/// What common passwords of this length are made of.
const COMMON: &[&str] = &[
    "password",
    "passwort",
    "letmein",
    "welcome",
    "qwertyuiop",
    "qwertzuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwerty",
    "qwertz",
    "abcdefgh",
    "1234567890",
    "123456789",
    "0987654321",
    "iloveyou",
    "administrator",
    "admin",
    "changeme",
    "secret",
    "linkflow",
    "monkey",
    "dragon",
    "football",
    "baseball",
    "sunshine",
    "princess",
    "trustno1",
    "superman",
];

/// A password as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// KiB, passes and lanes that it was made with.
    cost: (u32, u32, u32),
    salt: String,
    hash: String,
}

/// `password` with each character in its one form, so that two keyboards write the same.
fn normal(password: &str) -> String {
    password.nfkc().collect()
}

/// Refuses what is too short, too long, common, or made of `context`: the names of the person and the stack.
pub(super) fn check(password: &str, context: &[&str]) -> Result<(), AccessError> {
    let normal = normal(password);
    let length = normal.chars().count();
    if length < SHORTEST {
        return Err(AccessError::no(format!(
            "a password has at least {SHORTEST} characters, this one has {length}: a sentence of several words is easy to remember"
        )));
    }
    if length > LONGEST {
        return Err(AccessError::no(format!("a password has {LONGEST} characters at most")));
    }
    let small = normal.to_lowercase();
    let different = small.chars().collect::<BTreeSet<_>>().len();
    // What is left once everything known is taken out is what has to be guessed.
    let known = COMMON.iter().copied().chain(context.iter().copied()).filter(|word| word.len() > 2);
    let left = known.fold(small, |left, word| left.replace(&word.to_lowercase(), ""));
    if different < DIFFERENT || left.chars().count() * 2 < SHORTEST {
        return Err(AccessError::no(
            "this password is easy to guess: it repeats itself, or is made of common words and names",
        ));
    }
    Ok(())
}

fn hash(password: &str, salt: &[u8], cost: (u32, u32, u32)) -> Result<[u8; 32], AccessError> {
    let (memory, passes, lanes) = cost;
    let unable = |_| AccessError::Busy;
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(unable)?;
    let mut out = [0; 32];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(normal(password).as_bytes(), salt, &mut out).map_err(unable)?;
    Ok(out)
}

/// Makes and checks hashes, a few at once, away from the threads that answer.
pub(super) struct Hasher {
    turns: Arc<Semaphore>,
    line: Arc<Semaphore>,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            line: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
        }
    }

    async fn turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AccessError> + Send + 'static,
    ) -> Result<T, AccessError> {
        let _place = self.line.try_acquire().map_err(|_| AccessError::Busy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| AccessError::Busy)?;
        // The turn ends with the work, also when nobody waits for it any more.
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| AccessError::Busy)?
    }

    /// What is kept of `password`.
    pub(super) async fn keep(&self, password: String) -> Result<Kept, AccessError> {
        let salt = random::bytes::<16>()?;
        self.turn(move || {
            let hash = hash(&password, &salt, COST)?;
            let text = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
            Ok(Kept { cost: COST, salt: text(&salt), hash: text(&hash) })
        })
        .await
    }

    /// Whether `password` is the one of `kept`. Without one it takes as long and is none, so that nobody learns who has one.
    pub(super) async fn is(
        &self,
        password: String,
        kept: Option<Kept>,
    ) -> Result<bool, AccessError> {
        self.turn(move || {
            let bytes = |text: &str| BASE64_STANDARD_NO_PAD.decode(text).unwrap_or_default();
            let (cost, salt, wanted) = match &kept {
                Some(kept) => (kept.cost, bytes(&kept.salt), bytes(&kept.hash)),
                None => (COST, vec![0; 16], Vec::new()),
            };
            // None is as long as it is wanted to be, so nothing is refused before the work.
            let long = password.chars().count() > LONGEST * 4;
            let password = if long { String::new() } else { password };
            let made = hash(&password, &salt, cost)?;
            Ok(!long && bool::from(made.as_slice().ct_eq(&wanted)))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_and_composition_does_not() {
        let right = ["correct horse battery", "ää öö üü ßß éé çç", "nur kleine buchstaben"];
        for password in right {
            assert_eq!(check(password, &["ann", "shop"]), Ok(()), "{password}");
        }
        let wrong = [
            ("Sh0rt&Complex!", "at least 15 characters, this one has 14"),
            ("aaaaaaaaaaaaaaaaaaaa", "easy to guess"),
            ("passwordpassword1", "easy to guess"),
            ("annabel-annabel-shop", "easy to guess"),
            ("12345678901234567890", "easy to guess"),
        ];
        for (password, why) in wrong {
            let said = check(password, &["annabel", "shop"]).unwrap_err().to_string();
            assert!(said.contains(why), "{password}: {said}");
        }
        assert!(check(&"äbcdefg ".repeat(33), &[]).is_err(), "264 characters");
    }

    #[tokio::test]
    async fn a_password_is_known_again_in_whatever_form_it_is_typed() {
        let hasher = Hasher::new();
        let kept = hasher.keep("cafe\u{301} at the corner".to_owned()).await.unwrap();
        for (typed, is) in
            [("caf\u{e9} at the corner", true), ("cafe at the corner", false), ("", false)]
        {
            assert_eq!(hasher.is(typed.to_owned(), Some(kept.clone())).await, Ok(is), "{typed}");
        }
        assert_eq!(hasher.is("anything at all".to_owned(), None).await, Ok(false));
        assert_eq!(hasher.is("x".repeat(100_000), Some(kept.clone())).await, Ok(false));
        let again = hasher.keep("cafe\u{301} at the corner".to_owned()).await.unwrap();
        assert!(again != kept, "each has a salt of its own");
    }

    #[tokio::test]
    async fn more_than_can_wait_are_sent_away() {
        let hasher = Hasher::new();
        let _all = hasher.line.acquire_many(u32::try_from(AT_ONCE + WAITING).unwrap()).await;
        assert_eq!(hasher.is("anything".to_owned(), None).await, Err(AccessError::Busy));
    }
}
