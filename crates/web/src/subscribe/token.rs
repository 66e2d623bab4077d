//! Links that only this LinkFlow can have made. Nothing of them is kept: a link says whom it is for, what for and until when.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use linkflow_model::Timestamp;
use ring::hmac;

/// How long a link that confirms is good: 48 hours.
pub(super) const CONFIRM_MS: u64 = 48 * 3_600_000;

/// How long the code of a text message is good: an hour.
pub(super) const CODE_MS: u64 = 3_600_000;

/// How many bytes of a hash are kept: as many as nobody guesses.
const MARK: usize = 16;

/// Purpose, end in seconds, and whom it is for.
const HEAD: usize = 1 + 8 + MARK;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To say that one wants to be told.
    Confirm,
    /// To change what one is told, and to end it. It has no end itself: old letters have to work.
    Own,
    /// To type the code of a text message.
    Code,
}

/// Makes links, and knows its own.
#[derive(Clone, Debug)]
pub(super) struct Signer(hmac::Key);

impl Signer {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn hash(&self, of: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        of.iter().for_each(|part| context.update(part));
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }

    /// The id of whoever is reached by `way`: the same each time, and nothing is read from it.
    pub(super) fn id(&self, way: &str) -> String {
        hex(&self.hash(&[b"id\0", way.as_bytes()])[..MARK])
    }

    /// What posts to the webhook with this id are signed with.
    pub(super) fn secret(&self, id: &str) -> String {
        hex(&self.hash(&[b"webhook\0", id.as_bytes()]))
    }

    /// What the webhook with this id has to send back when it was asked at `at`.
    pub(super) fn challenge(&self, id: &str, at: Timestamp) -> String {
        hex(&self.hash(&[b"challenge\0", id.as_bytes(), &at.0.to_be_bytes()])[..MARK])
    }

    /// The six digits that the phone with this id is sent when it was asked at `at`.
    pub(super) fn code(&self, id: &str, at: Timestamp) -> String {
        let hash = self.hash(&[b"code\0", id.as_bytes(), &at.0.to_be_bytes()]);
        let number = hash[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{:06}", number % 1_000_000)
    }

    /// Whether `typed` is that code.
    pub(super) fn is_code(&self, typed: &str, id: &str, at: Timestamp) -> bool {
        let typed: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
        subtle::ConstantTimeEq::ct_eq(typed.as_bytes(), self.code(id, at).as_bytes()).into()
    }

    /// A link's last part for the subscriber `id`, who asked at `asked`.
    pub(super) fn token(&self, purpose: Purpose, id: &str, asked: Timestamp) -> String {
        let end = match purpose {
            Purpose::Confirm => asked.0.saturating_add(CONFIRM_MS) / 1_000,
            Purpose::Own => u64::MAX,
            Purpose::Code => asked.0.saturating_add(CODE_MS) / 1_000,
        };
        let mut bytes = vec![purpose as u8];
        bytes.extend(end.to_be_bytes());
        bytes.extend(raw(id));
        let mark = self.hash(&[b"link\0", &bytes]);
        bytes.extend(&mark[..MARK]);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whom `token` is for, when it is one of ours for `purpose` and still good at `now`.
    pub(super) fn read(&self, purpose: Purpose, token: &str, now: Timestamp) -> Option<String> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        if bytes.len() != HEAD + MARK {
            return None;
        }
        let (head, mark) = bytes.split_at(HEAD);
        let wanted = self.hash(&[b"link\0", head]);
        let is_ours = subtle::ConstantTimeEq::ct_eq(&wanted[..MARK], mark);
        let end = u64::from_be_bytes(head[1..9].try_into().ok()?);
        (bool::from(is_ours) && head[0] == purpose as u8 && now.0 / 1_000 <= end)
            .then(|| hex(&head[9..]))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of an id.
fn raw(id: &str) -> Vec<u8> {
    let pairs = id.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(|pair| byte(pair).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_for_its_purpose_its_time_and_its_maker() {
        let (ours, other) = (Signer::new(&[1; 32]), Signer::new(&[2; 32]));
        let id = ours.id("mail:ann@example.com");
        assert_ne!(id, other.id("mail:ann@example.com"));
        let asked = Timestamp(1_000_000);
        let token = ours.token(Purpose::Confirm, &id, asked);
        let end = Timestamp(asked.0 + CONFIRM_MS);
        assert_eq!(ours.read(Purpose::Confirm, &token, end), Some(id.clone()));
        assert_eq!(ours.read(Purpose::Confirm, &token, Timestamp(end.0 + 1_000)), None, "late");
        assert_eq!(ours.read(Purpose::Own, &token, asked), None, "another purpose");
        assert_eq!(other.read(Purpose::Confirm, &token, asked), None, "another maker");
        let own = ours.token(Purpose::Own, &id, asked);
        assert_eq!(ours.read(Purpose::Own, &own, Timestamp(u64::MAX)), Some(id));
    }

    #[test]
    fn a_code_is_six_digits_of_one_phone_and_one_moment() {
        let ours = Signer::new(&[1; 32]);
        let (id, other) = (ours.id("sms:+491701234567"), ours.id("sms:+491701234568"));
        let code = ours.code(&id, Timestamp(5));
        assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        assert!(ours.is_code(&format!(" {} {}", &code[..3], &code[3..]), &id, Timestamp(5)));
        assert!(
            !ours.is_code(&code, &id, Timestamp(6)) && !ours.is_code(&code, &other, Timestamp(5))
        );
        assert!(!ours.is_code("", &id, Timestamp(5)));
    }

    #[test]
    fn a_link_that_was_changed_is_none() {
        let ours = Signer::new(&[1; 32]);
        let token = ours.token(Purpose::Own, &ours.id("mail:ann@example.com"), Timestamp(0));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(ours.read(Purpose::Own, &changed, Timestamp(0)), None, "{at}");
        }
        for junk in ["", "A", "ä", &"A".repeat(4_096)] {
            assert_eq!(ours.read(Purpose::Own, junk, Timestamp(0)), None);
        }
    }
}
