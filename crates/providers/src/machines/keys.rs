//! Keys of SSH: the one that a machine of ours will show, and the public half of the one that logs in.

use linkflow_model::Secret;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::{HashAlg, LineEnding, PrivateKey};

/// The key that a machine shows, known before the machine is there.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// Its private half, in OpenSSH's form.
    pub private: Secret,
    /// Its public half: `ssh-ed25519 AAAA…`.
    pub public: String,
    /// Its fingerprint: `SHA256:…`.
    pub fingerprint: String,
}

/// The key that follows from `seed`; the same seed gives the same key.
///
/// # Errors
/// When the key cannot be written down, in words.
pub fn host_key(seed: &[u8; 32]) -> Result<HostKey, String> {
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(seed));
    let key = PrivateKey::new(pair, "linkflow").map_err(|error| error.to_string())?;
    let private = key.to_openssh(LineEnding::LF).map_err(|error| error.to_string())?;
    let public = key.public_key().to_openssh().map_err(|error| error.to_string())?;
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    Ok(HostKey { private: Secret::new(private.to_string()), public, fingerprint })
}

/// The public half of a private key in OpenSSH's form, without a passphrase.
///
/// # Errors
/// What is wrong with it, in words; the key is not in them.
pub fn public_half(private: &Secret) -> Result<String, String> {
    let key = PrivateKey::from_openssh(private.expose())
        .map_err(|error| format!("it is no private key in OpenSSH's form: {error}"))?;
    if key.is_encrypted() {
        return Err("it has a passphrase, which nobody can type here".to_owned());
    }
    key.public_key().to_openssh().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_follows_from_its_seed_and_tells_its_public_half() {
        let (one, same) = (host_key(&[7; 32]).unwrap(), host_key(&[7; 32]).unwrap());
        assert_eq!((&one.public, &one.fingerprint), (&same.public, &same.fingerprint));
        assert_ne!(one.public, host_key(&[8; 32]).unwrap().public);
        assert!(one.public.starts_with("ssh-ed25519 ") && one.fingerprint.starts_with("SHA256:"));
        assert_eq!(public_half(&one.private).unwrap(), one.public);
        let why = public_half(&Secret::new("no key")).unwrap_err();
        assert!(why.starts_with("it is no private key") && !why.contains("no key in it"), "{why}");
    }
}
