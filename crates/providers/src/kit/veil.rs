//! Keeps secrets out of recordings, messages and logs.

use std::sync::{PoisonError, RwLock};

use linkflow_model::Secret;
use serde_json::Value;

/// What stands in place of a secret.
pub(crate) const MASK: &str = "***";

/// A secret shorter than this is masked only where it is the whole text; anything else would garble every message.
const SHORT: usize = 4;

/// Every secret that this process has handed to a provider, longest first.
#[derive(Default)]
pub(crate) struct Veil {
    known: RwLock<Vec<Secret>>,
}

impl Veil {
    /// Remembers `secret`, to mask it from now on.
    pub(crate) fn learn(&self, secret: &Secret) {
        if secret.expose().is_empty() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(secret) {
            let at = known.partition_point(|k| k.expose().len() >= secret.expose().len());
            known.insert(at, secret.clone());
        }
    }

    /// `text` without secrets.
    pub(crate) fn mask(&self, text: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut masked = text.to_owned();
        for secret in known.iter().map(Secret::expose) {
            if masked == secret {
                return MASK.to_owned();
            }
            if secret.len() < SHORT {
                continue;
            }
            for form in [secret.to_owned(), in_json(secret), super::call::encode(secret)] {
                if masked.contains(&form) {
                    masked = masked.replace(&form, MASK);
                }
            }
        }
        masked
    }

    /// Masks every text within `value`. Types stay what they are.
    pub(crate) fn mask_json(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.mask(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_json(item)),
            Value::Object(fields) => fields.values_mut().for_each(|item| self.mask_json(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// `text` as it stands between the quotes of a JSON string.
fn in_json(text: &str) -> String {
    Value::from(text).to_string().trim_matches('"').to_owned()
}

/// Masks every text of the object at `pointer`, whatever its names. For what holds secrets by its nature.
pub fn mask_values(body: &mut Value, pointer: &str) {
    mask_values_but(body, pointer, |_| false);
}

/// Masks every text of the object at `pointer`, but those under names that `keep` is true for.
pub fn mask_values_but(body: &mut Value, pointer: &str, keep: impl Fn(&str) -> bool) {
    let Some(Value::Object(fields)) = body.pointer_mut(pointer) else { return };
    for (name, value) in fields.iter_mut() {
        if value.is_string() && !keep(name) {
            *value = Value::from(MASK);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn veil(secrets: &[&str]) -> Veil {
        let veil = Veil::default();
        secrets.iter().for_each(|s| veil.learn(&Secret::new(*s)));
        veil
    }

    #[test]
    fn a_secret_is_masked_wherever_it_stands() {
        let veil = veil(&["hunter22", "hunter22-and-more"]);
        assert_eq!(veil.mask("no: hunter22-and-more, hunter22"), "no: ***, ***");
    }

    #[test]
    fn a_secret_is_masked_in_its_json_and_its_url_form() {
        let veil = veil(&["a\"b c/d"]);
        assert_eq!(veil.mask(r#"{"x":"a\"b c/d"} ?q=a%22b%20c%2Fd"#), r#"{"x":"***"} ?q=***"#);
    }

    #[test]
    fn a_short_secret_is_masked_only_when_it_is_the_whole_text() {
        let veil = veil(&["1"]);
        let mut body = json!({"a": "1", "b": "r12", "n": 1});
        veil.mask_json(&mut body);
        assert_eq!(body, json!({"a": "***", "b": "r12", "n": 1}));
    }

    #[test]
    fn values_are_masked_and_their_names_kept() {
        let mut body = json!({"values": {"TOKEN": "x", "LINKFLOW_STACK": "s"}, "other": "y"});
        mask_values_but(&mut body, "/values", |name| name.starts_with("LINKFLOW_"));
        assert_eq!(body, json!({"values": {"TOKEN": "***", "LINKFLOW_STACK": "s"}, "other": "y"}));
    }
}
