//! Secrets of Actions: each comes as a sealed box, which is really opened.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use linkflow_model::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::shape::time;
use super::{Github, Refused, listed, not_found, object, refusal};
use crate::cloud::answer::{Answer, Call};

/// Largest value, in bytes.
const LARGEST: usize = 48 * 1_024;

/// A secret that is held.
pub(super) struct Kept {
    value: Vec<u8>,
    made: Timestamp,
    set: Timestamp,
}

impl Kept {
    /// The SHA-256 of its value, in hex.
    pub(super) fn hash(&self) -> String {
        Sha256::digest(&self.value).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn view(&self, name: &str) -> Value {
        json!({ "name": name, "created_at": time(self.made), "updated_at": time(self.set) })
    }
}

impl Github {
    pub(super) fn of_secrets(&self, call: &Call, rest: &[&str]) -> Result<Answer, Refused> {
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                let state = self.state();
                let rows = state.secrets.iter().map(|(name, kept)| kept.view(name));
                Ok(listed(call, "secrets", rows.collect()))
            }
            ("GET", ["public-key"]) => {
                let key = STANDARD.encode(self.key.public_key().as_bytes());
                Ok(Answer::json(200, &json!({ "key_id": self.key_id, "key": key })))
            }
            ("GET", [name]) => {
                let (state, name) = (self.state(), name.to_uppercase());
                let kept = state.secrets.get(&name).ok_or_else(not_found)?;
                Ok(Answer::json(200, &kept.view(&name)))
            }
            ("PUT", [name]) => self.put(call, &name.to_uppercase()),
            ("DELETE", [name]) => {
                let gone = self.state().secrets.remove(&name.to_uppercase());
                gone.map(|_| Answer::empty(204)).ok_or_else(not_found)
            }
            _ => Err(not_found()),
        }
    }

    fn put(&self, call: &Call, name: &str) -> Result<Answer, Refused> {
        let first_fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !first_fits || !fits || name.starts_with("GITHUB_") {
            return Err(refusal(
                422,
                "Secret names can only contain alphanumeric characters ([a-z], [A-Z], [0-9]) or underscores (_), and must not start with GITHUB_ or a number",
            ));
        }
        let body = object(call)?;
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        if text("key_id") != Some(self.key_id.as_str()) {
            return Err(refusal(
                422,
                "Invalid request. The key_id does not match the public key of the repository.",
            ));
        }
        let sealed = text("encrypted_value").and_then(|text| STANDARD.decode(text).ok());
        let opened = sealed.and_then(|sealed| self.key.unseal(&sealed).ok());
        let Some(value) = opened.filter(|value| value.len() <= LARGEST) else {
            return Err(refusal(422, "Invalid request. The encrypted value cannot be opened."));
        };
        let now = self.now();
        let mut state = self.state();
        let before = state.secrets.remove(name);
        let status = if before.is_some() { 204 } else { 201 };
        let made = before.map_or(now, |kept| kept.made);
        state.secrets.insert(name.to_owned(), Kept { value, made, set: now });
        drop(state);
        Ok(if status == 201 { Answer::json(201, &json!({})) } else { Answer::empty(204) })
    }
}
