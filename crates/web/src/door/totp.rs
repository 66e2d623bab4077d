//! Codes of an authenticator app, and codes for the day the phone is lost.
//!
//! Facts: RFC 6238 (TOTP) over RFC 4226 (HOTP), with what every app takes: SHA-1, 6 digits, 30 seconds. The `otpauth:` URI is
//! that of Google Authenticator's wiki, "Key URI Format".

use linkflow_model::Timestamp;
use qrcodegen::{QrCode, QrCodeEcc};
use ring::hmac;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tracing::warn;

use super::error::AccessError;
use super::random;
use super::seal::Seal;
use crate::frame::escaped;

/// How long a code is good.
const STEP_MS: u64 = 30_000;

/// How many steps the phone's clock may be off, in both directions.
const OFF: u64 = 1;

/// How many recovery codes there are.
const RECOVERY: usize = 10;

/// An authenticator app.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totp {
    /// The shared secret of 160 bits, in base 32. A code cannot be checked without it, so it is kept, [sealed](Seal).
    pub(super) secret: String,
    /// The last step whose code was taken: neither it nor one before is taken again (RFC 6238, 5.2).
    last: u64,
}

impl Totp {
    /// A new one of whoever is called `of` by authenticators.
    pub(super) fn new(seal: &Seal, of: &str) -> Result<Self, AccessError> {
        Ok(Self { secret: seal.close(&base32(&random::bytes::<20>()?), of)?, last: 0 })
    }

    /// The secret, where it can be opened.
    pub(super) fn opened(&self, seal: &Seal, of: &str) -> Option<String> {
        let opened = seal.open(&self.secret, of);
        if opened.is_none() {
            warn!(
                "the secret of an authenticator app was sealed with the key of another state folder"
            );
        }
        opened
    }

    /// Whether `code` is good at `now`. One that was is not again. A secret that an older version kept is sealed by the way.
    pub(super) fn take(&mut self, code: &str, (seal, of): (&Seal, &str), now: Timestamp) -> bool {
        let Some(secret) = self.opened(seal, of) else { return false };
        let taken = self.is_taken(code, &secret, now);
        if taken && !Seal::is_closed(&self.secret) {
            self.secret = seal.close(&secret, of).unwrap_or(secret);
        }
        taken
    }

    fn is_taken(&mut self, code: &str, secret: &str, now: Timestamp) -> bool {
        let digits: String = code.chars().filter(|char| !char.is_whitespace()).collect();
        let step = now.0 / STEP_MS;
        let key = unbase32(secret);
        let steps = step.saturating_sub(OFF)..=step + OFF;
        let mut found = None;
        for step in steps.filter(|step| *step > self.last) {
            if bool::from(digits.as_bytes().ct_eq(hotp(&key, step).as_bytes())) {
                found = Some(step);
            }
        }
        self.last = found.unwrap_or(self.last);
        found.is_some()
    }
}

/// What an app reads: `otpauth://totp/shop:ann?secret=…&issuer=shop`.
pub(super) fn uri(secret: &str, stack: &str, name: &str) -> String {
    let (stack, name) = (escaped(stack), escaped(name));
    format!("otpauth://totp/{stack}:{name}?secret={secret}&issuer={stack}")
}

/// The secret in groups of four, for whoever types it.
pub(super) fn typed(secret: &str) -> String {
    groups(&secret.to_lowercase(), " ")
}

/// The code of one step: RFC 4226, 5.3.
fn hotp(key: &[u8], step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag.last().copied().unwrap_or(0) & 0xf);
    let part: [u8; 4] =
        tag.get(at..at + 4).and_then(|part| part.try_into().ok()).unwrap_or_default();
    format!("{:06}", (u32::from_be_bytes(part) & 0x7fff_ffff) % 1_000_000)
}

/// `text` as SVG.
pub(super) fn qr(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let size = code.size();
    let dark = (0..size).flat_map(|y| (0..size).map(move |x| (x, y)));
    let dark = dark.filter(|&(x, y)| code.get_module(x, y));
    let path: String = dark.map(|(x, y)| format!("M{} {}h1v1h-1z", x + 4, y + 4)).collect();
    let all = size + 8;
    Some(format!(
        "<svg class=\"qr\" viewBox=\"0 0 {all} {all}\" role=\"img\" aria-label=\"QR code with the key below\" shape-rendering=\"crispEdges\"><rect width=\"{all}\" height=\"{all}\" fill=\"#fff\"/><path d=\"{path}\" fill=\"#000\"/></svg>"
    ))
}

/// New recovery codes, each with what is kept of it.
pub(super) fn recovery() -> Result<(Vec<String>, Vec<String>), AccessError> {
    let mut codes = Vec::new();
    for _ in 0..RECOVERY {
        codes.push(groups(&base32(&random::bytes::<10>()?).to_lowercase(), "-"));
    }
    let kept = codes.iter().map(|code| recovery_hash(code)).collect();
    Ok((codes, kept))
}

/// What is kept of a recovery code, however it is typed.
pub(super) fn recovery_hash(code: &str) -> String {
    let typed = code.chars().filter(char::is_ascii_alphanumeric);
    random::hashed(&typed.collect::<String>().to_lowercase())
}

fn groups(text: &str, between: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let groups: Vec<String> = chars.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join(between)
}

/// The alphabet of RFC 4648, 6.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Base 32 of whole groups of 5 bytes.
fn base32(bytes: &[u8]) -> String {
    let group = |group: &[u8]| {
        let number = group.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let char = move |place: u32| ALPHABET[(number >> (35 - 5 * place) & 31) as usize];
        (0..8).map(char).map(char::from).collect::<String>()
    };
    bytes.chunks_exact(5).map(group).collect()
}

/// The bytes of `text`; what is none of the alphabet ends it.
fn unbase32(text: &str) -> Vec<u8> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for char in text.bytes() {
        let Some(value) = ALPHABET.iter().position(|one| *one == char) else { break };
        held = held << 5 | (value as u32 & 31);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
            held &= (1 << bits) - 1;
        }
    }
    bytes
}

/// The code that an app with `secret` shows at `now`.
#[cfg(test)]
pub(super) fn code(secret: &str, now: Timestamp) -> String {
    hotp(&unbase32(secret), now.0 / STEP_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of the RFCs' examples: `12345678901234567890`.
    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn codes_are_those_of_the_rfcs() {
        assert_eq!(base32(b"12345678901234567890"), SECRET);
        // RFC 6238, appendix B, of which the last six digits are left.
        let rows = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ];
        for (second, wanted) in rows {
            assert_eq!(code(SECRET, Timestamp(second * 1_000)), wanted);
        }
    }

    #[test]
    fn a_code_is_taken_once_and_by_a_clock_that_is_half_a_minute_off() {
        let at = |second: u64| Timestamp(1_111_111_000_000 + second * 1_000);
        let seal = Seal::new(&[7; 32]);
        let fresh = || Totp { secret: seal.close(SECRET, "ann").unwrap(), last: 0 };
        let of = (&seal, "ann");
        let shown = code(SECRET, at(60));
        for (second, good) in [(0, false), (30, true), (60, true), (90, true), (120, false)] {
            assert_eq!(fresh().take(&shown, of, at(second)), good, "{second} s");
        }
        let mut totp = fresh();
        assert!(totp.take(&format!(" {} {} ", &shown[..3], &shown[3..]), of, at(60)));
        assert!(!totp.take(&shown, of, at(60)), "not twice");
        assert!(!totp.take(&code(SECRET, at(30)), of, at(60)), "nor one from before");
        assert!(totp.take(&code(SECRET, at(90)), of, at(90)));
        for junk in ["", "1", "1234567", "äöü", "999999999999999999999"] {
            assert!(!fresh().take(junk, of, at(60)), "{junk}");
        }
    }

    #[test]
    fn a_secret_of_an_older_version_is_sealed_with_the_next_code_that_is_good() {
        let at = Timestamp(1_111_111_060_000);
        let seal = Seal::new(&[7; 32]);
        let mut totp = Totp { secret: SECRET.to_owned(), last: 0 };
        assert!(!totp.take("000000", (&seal, "ann"), at) && totp.secret == SECRET);
        assert!(totp.take(&code(SECRET, at), (&seal, "ann"), at));
        assert!(!totp.secret.contains(SECRET), "{}", totp.secret);
        assert_eq!(totp.opened(&seal, "ann").as_deref(), Some(SECRET));
        let later = Timestamp(at.0 + 60_000);
        assert!(!totp.take(&code(SECRET, later), (&Seal::new(&[8; 32]), "ann"), later));
        assert!(totp.take(&code(SECRET, later), (&seal, "ann"), later));
    }

    #[test]
    fn an_app_reads_names_with_any_character() {
        let uri = uri(SECRET, "my shop", "ann@example.com");
        let wanted = "otpauth://totp/my%20shop:ann%40example.com?secret=";
        assert!(uri.starts_with(wanted), "{uri}");
        assert!(qr(&uri).unwrap().starts_with("<svg"));
        assert_eq!(typed(SECRET), "gezd gnbv gy3t qojq gezd gnbv gy3t qojq");
    }

    #[test]
    fn recovery_codes_are_known_however_they_are_typed() {
        let (codes, kept) = recovery().unwrap();
        assert_eq!((codes.len(), codes[0].len()), (10, 19));
        assert_eq!(recovery_hash(&codes[0].to_uppercase().replace('-', " ")), kept[0]);
        assert!(!kept.contains(&recovery_hash("")));
    }
}
