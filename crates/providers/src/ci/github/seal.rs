//! Seals a secret so that only GitHub can open it: a libsodium sealed box for the repository's key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::PublicKey;
use crypto_box::aead::OsRng;
use linkflow_model::Secret;

/// `value`, sealed for `key`, which comes in base64; the result is base64 too.
pub(super) fn sealed(value: &Secret, key: &str) -> Result<String, &'static str> {
    let bytes = STANDARD.decode(key).map_err(|_| "the public key is not base64")?;
    let key = PublicKey::from_slice(&bytes).map_err(|_| "the public key has not 32 bytes")?;
    let sealed = key.seal(&mut OsRng, value.expose().as_bytes());
    Ok(STANDARD.encode(sealed.map_err(|_| "the value cannot be sealed")?))
}

#[cfg(test)]
mod tests {
    use crypto_box::SecretKey;

    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_other_half_of_the_key_and_differs_each_time() {
        let private = SecretKey::from([7; 32]);
        let public = STANDARD.encode(private.public_key().as_bytes());
        let value = Secret::new("s3cr3t ü");
        let seal = || STANDARD.decode(sealed(&value, &public).unwrap()).unwrap();
        let (first, second) = (seal(), seal());
        assert_ne!(first, second);
        for sealed in [first, second] {
            assert_eq!(private.unseal(&sealed).unwrap(), value.expose().as_bytes());
        }
    }

    #[test]
    fn a_key_that_is_none_is_told() {
        let why = |key| sealed(&Secret::new("x"), key).unwrap_err();
        assert_eq!(why("not base64!"), "the public key is not base64");
        assert_eq!(why("YWJj"), "the public key has not 32 bytes");
    }
}
