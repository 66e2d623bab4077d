//! Passkeys: what a browser sends for a new one and for signing in, held against WebAuthn.
//!
//! Facts: W3C Web Authentication Level 3, 6.1 (authenticator data), 7.1 (registering), 7.2 (signing in); RFC 9053 for
//! keys. No statement about the maker of an authenticator is asked for (`none`), and none is believed.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use linkflow_model::Timestamp;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::cbor::Cbor;
use super::challenge::GOOD_MS;
use super::error::AccessError;

/// The kinds of keys that are taken, the most wanted first, by their numbers at IANA: ES256, `EdDSA`, RS256 (which Windows
/// Hello has).
const KINDS: [i64; 3] = [-7, -8, -257];

/// The longest id of a credential: WebAuthn, 7.1.
const LONGEST_ID: usize = 1_023;

/// A person was there (WebAuthn, 6.1).
const PRESENT: u8 = 1;
/// And was known to the authenticator, by a finger or a PIN.
const VERIFIED: u8 = 4;
/// A credential is attached.
const ATTACHED: u8 = 0x40;

/// A public key. Numbers and points in URL-safe base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Key {
    /// ECDSA over P-256 with SHA-256: the point.
    Es256(String),
    /// Ed25519.
    EdDsa(String),
    /// RSA with SHA-256: modulus and exponent.
    Rs256(String, String),
}

/// A passkey as it is kept: nothing in it opens anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Passkey {
    /// The credential's id, in URL-safe base64.
    pub(super) id: String,
    pub(super) key: Key,
    /// How often it was used, by its own count; 0 when it does not count.
    pub(super) counter: u32,
    /// What its owner calls it.
    pub(super) name: String,
    /// The host that it is for.
    pub(super) host: String,
    pub(super) made: Timestamp,
    pub(super) used: Option<Timestamp>,
}

/// What a browser sends back, as `passkeys.js` writes it: bytes in URL-safe base64.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answered {
    /// The credential's id.
    pub(super) id: String,
    /// What the browser says.
    pub(super) client: String,
    /// For a new one: the attestation object.
    pub(super) attestation: String,
    /// For signing in: what the authenticator says.
    pub(super) authenticator: String,
    /// For signing in: its signature.
    pub(super) signature: String,
    /// For signing in: whose it is, as the authenticator remembers it.
    pub(super) handle: String,
    /// For a new one: what its owner calls it.
    pub(super) name: String,
}

/// What an answer is held against.
pub(super) struct Expected<'e> {
    /// `https://ops.example.com`.
    pub(super) origin: &'e str,
    /// `ops.example.com`.
    pub(super) host: &'e str,
}

/// What the browser says (WebAuthn, 5.8.1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
}

fn no(why: &str) -> AccessError {
    AccessError::no(format!("this passkey was not taken: {why}"))
}

fn bytes(text: &str) -> Result<Vec<u8>, AccessError> {
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| no("what came is not base64"))
}

fn text(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Answered {
    /// The challenge that was answered, by the browser's own word.
    pub(super) fn challenge(&self) -> Option<String> {
        let client: Client = serde_json::from_slice(&bytes(&self.client).ok()?).ok()?;
        Some(client.challenge)
    }

    /// The bytes of what the browser says, once it says what is expected.
    fn client(&self, kind: &str, expected: &Expected<'_>) -> Result<Vec<u8>, AccessError> {
        let raw = bytes(&self.client)?;
        let client: Client = serde_json::from_slice(&raw).map_err(|_| no("it says nothing"))?;
        if client.r#type != kind {
            return Err(no("it is for something else"));
        }
        if client.origin != expected.origin || client.cross_origin {
            return Err(no("it is for another address"));
        }
        Ok(raw)
    }

    /// The new passkey that this is (WebAuthn, 7.1). The challenge is the caller's matter.
    pub(super) fn registered(
        &self,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<Passkey, AccessError> {
        self.client("webauthn.create", expected)?;
        let object = bytes(&self.attestation)?;
        let (object, rest) = Cbor::read(&object).ok_or_else(|| no("it cannot be read"))?;
        let data = object.under("authData").and_then(Cbor::bytes);
        let data = data.filter(|_| rest.is_empty()).ok_or_else(|| no("it cannot be read"))?;
        let said = Said::read(data, expected.host)?;
        let (id, key) = said.credential().ok_or_else(|| no("its key is of no known kind"))?;
        let name: String = self.name.trim().chars().take(60).collect();
        Ok(Passkey {
            id: text(id),
            key,
            counter: said.counter,
            name: if name.is_empty() { "Passkey".to_owned() } else { name },
            host: expected.host.to_owned(),
            made: now,
            used: None,
        })
    }

    /// Whether this was signed by `passkey` (WebAuthn, 7.2); gives its new count.
    pub(super) fn signed_by(
        &self,
        passkey: &Passkey,
        expected: &Expected<'_>,
    ) -> Result<u32, AccessError> {
        let client = self.client("webauthn.get", expected)?;
        let data = bytes(&self.authenticator)?;
        let said = Said::read(&data, &passkey.host)?;
        if passkey.host != expected.host {
            return Err(no("it is for another host"));
        }
        let signed = [data.as_slice(), &Sha256::digest(&client)].concat();
        if !passkey.key.has_signed(&signed, &bytes(&self.signature)?) {
            return Err(no("its signature is wrong"));
        }
        // One that counts and does not get on was copied.
        if (said.counter != 0 || passkey.counter != 0) && said.counter <= passkey.counter {
            return Err(no("it may have been copied: its count did not grow"));
        }
        Ok(said.counter)
    }
}

/// What an authenticator says (WebAuthn, 6.1).
struct Said<'s> {
    flags: u8,
    counter: u32,
    rest: &'s [u8],
}

impl<'s> Said<'s> {
    /// Reads it; refuses what is for another host, or was done without its owner.
    fn read(data: &'s [u8], host: &str) -> Result<Self, AccessError> {
        let short = || no("it is cut short");
        let (hash, rest) = data.split_at_checked(32).ok_or_else(short)?;
        let (flags, rest) = rest.split_first().ok_or_else(short)?;
        let (counter, rest) = rest.split_first_chunk().ok_or_else(short)?;
        if !bool::from(Sha256::digest(host.as_bytes()).as_slice().ct_eq(hash)) {
            return Err(no("it is for another host"));
        }
        if flags & PRESENT == 0 || flags & VERIFIED == 0 {
            return Err(no("the device did not ask who you are"));
        }
        Ok(Self { flags: *flags, counter: u32::from_be_bytes(*counter), rest })
    }

    /// The attached credential: its id and its key.
    fn credential(&self) -> Option<(&'s [u8], Key)> {
        let rest = self.rest.get(16..).filter(|_| self.flags & ATTACHED != 0)?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (id, rest) = rest.split_at_checked(length)?;
        let (key, _extensions) = Cbor::read(rest)?;
        let good = (1..=LONGEST_ID).contains(&length);
        Some((id, Key::read(&key)?)).filter(|_| good)
    }
}

impl Key {
    /// A `COSE_Key` (RFC 9053, 7; RFC 8230, 4 for RSA).
    fn read(key: &Cbor<'_>) -> Option<Self> {
        let number = |label| key.labelled(label).and_then(Cbor::number);
        let part = |label| key.labelled(label).and_then(Cbor::bytes);
        match (number(1)?, number(3)?) {
            (2, -7) if number(-1) == Some(1) => {
                let (x, y) = (part(-2)?, part(-3)?);
                let point = [&[4], x, y].concat();
                (x.len() == 32 && y.len() == 32).then(|| Self::Es256(text(&point)))
            }
            (1, -8) if number(-1) == Some(6) => {
                part(-2).filter(|x| x.len() == 32).map(|x| Self::EdDsa(text(x)))
            }
            (3, -257) => Some(Self::Rs256(text(part(-1)?), text(part(-2)?))),
            _ => None,
        }
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let raw = |text: &str| bytes(text).unwrap_or_default();
        let verified = match self {
            Self::Es256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, raw(point))
                    .verify(message, signature)
            }
            Self::EdDsa(point) => {
                UnparsedPublicKey::new(&signature::ED25519, raw(point)).verify(message, signature)
            }
            Self::Rs256(modulus, exponent) => {
                RsaPublicKeyComponents { n: raw(modulus), e: raw(exponent) }.verify(
                    &signature::RSA_PKCS1_2048_8192_SHA256,
                    message,
                    signature,
                )
            }
        };
        verified.is_ok()
    }
}

/// What a browser is asked for a new passkey: `PublicKeyCredentialCreationOptions` as JSON.
pub(super) fn creation(
    challenge: &str,
    (host, stack): (&str, &str),
    (handle, name): (&str, &str),
    held: &[Passkey],
) -> Value {
    let kinds = KINDS.map(|kind| json!({ "type": "public-key", "alg": kind }));
    json!({
        "challenge": challenge,
        "rp": { "id": host, "name": format!("LinkFlow: {stack}") },
        "user": { "id": handle, "name": name, "displayName": name },
        "pubKeyCredParams": kinds,
        "timeout": GOOD_MS,
        "excludeCredentials": held.iter().map(|one| json!({ "type": "public-key", "id": one.id })).collect::<Vec<_>>(),
        "authenticatorSelection": { "residentKey": "required", "requireResidentKey": true, "userVerification": "required" },
        "attestation": "none",
    })
}

/// What a browser is asked for signing in: `PublicKeyCredentialRequestOptions` as JSON, for whichever passkey it has.
pub(super) fn request(challenge: &str, host: &str) -> Value {
    json!({
        "challenge": challenge,
        "rpId": host,
        "timeout": GOOD_MS,
        "userVerification": "required",
        "allowCredentials": [],
    })
}
