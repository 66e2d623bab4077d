//! Seals what the store keeps and must tell nobody who only has the store: by a key of the state folder.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::error::AccessError;
use super::random;

/// What is sealed begins with this. No secret in base 32 does.
const MARK: &str = "v1.";

/// A key that seals. Clones are the same key.
#[derive(Clone)]
pub struct Seal(Option<Arc<LessSafeKey>>);

impl Seal {
    /// Seals with `key`, which is used for nothing else.
    pub fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).ok();
        Self(key.map(|key| Arc::new(LessSafeKey::new(key))))
    }

    /// Seals `text`, which is `of` somebody: nobody else's can be put in its place.
    pub(super) fn close(&self, text: &str, of: &str) -> Result<String, AccessError> {
        let unable = || AccessError::no("it cannot be sealed: there is no key for it");
        let key = self.0.as_ref().ok_or_else(unable)?;
        let nonce = random::bytes::<NONCE_LEN>()?;
        let mut sealed = text.as_bytes().to_vec();
        let bound = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(bound, Aad::from(of), &mut sealed).map_err(|_| unable())?;
        Ok(format!("{MARK}{}", URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    /// What was sealed of `of`; `None` where another key sealed it, or it is somebody else's. What was never sealed comes as
    /// it is: older versions kept it so.
    pub(super) fn open(&self, kept: &str, of: &str) -> Option<String> {
        let Some(sealed) = kept.strip_prefix(MARK) else { return Some(kept.to_owned()) };
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let opened = self.0.as_ref()?.open_in_place(nonce, Aad::from(of), &mut sealed).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }

    /// Whether `kept` is sealed.
    pub(super) fn is_closed(kept: &str) -> bool {
        kept.starts_with(MARK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_with_its_key_and_for_its_owner_only() {
        let seal = Seal::new(&[7; 32]);
        let kept = seal.close("GEZDGNBVGY3TQOJQ", "ann").unwrap();
        assert!(Seal::is_closed(&kept) && !kept.contains("GEZD"), "{kept}");
        assert_ne!(kept, seal.close("GEZDGNBVGY3TQOJQ", "ann").unwrap(), "never twice the same");
        assert_eq!(seal.open(&kept, "ann").as_deref(), Some("GEZDGNBVGY3TQOJQ"));
        assert_eq!(seal.open(&kept, "bob"), None);
        assert_eq!(Seal::new(&[8; 32]).open(&kept, "ann"), None);
        for end in [3, 10, kept.len() - 1] {
            assert_eq!(seal.open(&kept[..end], "ann"), None, "{end}");
        }
        assert_eq!(seal.open("GEZDGNBV", "ann").as_deref(), Some("GEZDGNBV"));
    }
}
