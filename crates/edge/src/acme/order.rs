//! One order: the account, the proof that the host leads here, the certificate.

use std::sync::Arc;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeHandle, ChallengeType, Error,
    ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use linkflow_model::config::Challenge;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::Acme;
use super::web::Shared;
use crate::tls::{self, Certificate, Keyring};

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// For people.
    pub(super) why: String,
    /// It was too much: for how many milliseconds the CA asked to wait, 0 when it did not say.
    pub(super) limited: Option<u64>,
}

impl Refusal {
    pub(super) fn of(why: String) -> Self {
        Self { why, limited: None }
    }
}

/// A proof that is taken back when its order is over, however it ended.
struct Shown<'k> {
    keyring: &'k Keyring,
    host: &'k str,
    token: String,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.keyring.show(&self.token, None);
        self.keyring.prove(self.host, None);
    }
}

impl Acme {
    /// Orders a certificate for `host`, and keeps it. `replaces`: says to the CA that it is in place of the kept one.
    pub(super) async fn order(&self, host: &str, replaces: bool) -> Result<Certificate, Refusal> {
        self.web.asked_to_wait();
        let ordered = Box::pin(self.ordered(host, replaces)).await;
        ordered.map_err(|why| {
            let asked = self.web.asked_to_wait();
            let limited = asked.or_else(|| why.contains(":rateLimited").then_some(0));
            Refusal { why, limited }
        })
    }

    async fn ordered(&self, host: &str, replaces: bool) -> Result<Certificate, String> {
        let account = self.account(true).await?;
        let names = [Identifier::Dns(host.to_owned())];
        let kept = self.shelf.leaf(host).filter(|_| replaces);
        let id = kept.as_ref().and_then(|der| CertificateIdentifier::try_from(der).ok());
        let new = NewOrder::new(&names);
        let new = id.into_iter().fold(new, NewOrder::replaces);
        let mut order = account.new_order(&new).await.map_err(why)?;
        let _shown = self.prove(host, &mut order).await?;
        let policy = RetryPolicy::default();
        if order.poll_ready(&policy).await.map_err(why)? != OrderStatus::Ready {
            return Err(self.what_was_wrong(&mut order).await);
        }
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let params = CertificateParams::new(vec![host.to_owned()]);
        let mut params = params.map_err(|error| error.to_string())?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(|error| error.to_string())?;
        order.finalize_csr(request.der()).await.map_err(why)?;
        let chain = order.poll_certificate(&policy).await.map_err(why)?;
        let key = key.serialize_pem();
        let certificate = tls::read(chain.as_bytes(), key.as_bytes())?;
        if !certificate.about.is_for(host) {
            return Err("the CA gave a certificate for another host".to_owned());
        }
        self.shelf.keep_certificate(host, &key, &chain)?;
        Ok(certificate)
    }

    /// The account at the CA; made when there is none and `make` says so.
    pub(super) async fn account(&self, make: bool) -> Result<Account, String> {
        let mut held = self.account.lock().await;
        if let Some(account) = held.as_ref() {
            return Ok(account.clone());
        }
        let builder = Account::builder_with_http(Box::new(Shared(self.web.clone())));
        let account = match self.shelf.account()? {
            Some(kept) => builder.from_credentials(kept).await.map_err(why)?,
            None if make => {
                let contact: Vec<&str> = self.options.contact.iter().map(String::as_str).collect();
                let wanted = NewAccount {
                    contact: &contact,
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let external = self.external()?;
                let directory = self.options.directory.clone();
                let created = builder.create(&wanted, directory, external.as_ref()).await;
                let (account, kept) = created.map_err(why)?;
                self.shelf.keep_account(&kept)?;
                account
            }
            None => return Err("there is no account yet".to_owned()),
        };
        Ok(held.insert(account).clone())
    }

    fn external(&self) -> Result<Option<ExternalAccountKey>, String> {
        use base64::Engine;
        use base64::prelude::BASE64_URL_SAFE_NO_PAD;
        let Some((id, key)) = &self.options.external else { return Ok(None) };
        let key = BASE64_URL_SAFE_NO_PAD.decode(key.expose().trim_end_matches('='));
        let key = key.map_err(|_| "`external_key` is not URL-safe base64".to_owned())?;
        Ok(Some(ExternalAccountKey::new(id.clone(), &key)))
    }

    /// Shows the CA what it wants to see, and tells it to look.
    async fn prove<'a>(
        &'a self,
        host: &'a str,
        order: &mut Order,
    ) -> Result<Option<Shown<'a>>, String> {
        let mut shown = None;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(why)?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                other => return Err(format!("the CA's authorization is {other:?}")),
            }
            let (kind, word) = match self.options.challenge {
                Challenge::Http01 => (ChallengeType::Http01, "http-01"),
                Challenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
            };
            let challenge = authorization.challenge(kind);
            let mut challenge = challenge.ok_or_else(|| format!("the CA offers no {word}"))?;
            shown = Some(self.show(host, &challenge)?);
            challenge.set_ready().await.map_err(why)?;
        }
        Ok(shown)
    }

    fn show<'a>(
        &'a self,
        host: &'a str,
        challenge: &ChallengeHandle<'_>,
    ) -> Result<Shown<'a>, String> {
        let (token, proof) = (challenge.token.clone(), challenge.key_authorization());
        match self.options.challenge {
            Challenge::Http01 => self.keyring.show(&token, Some(proof.as_str().to_owned())),
            Challenge::TlsAlpn01 => {
                let certificate = proving(host, proof.digest().as_ref())?;
                self.keyring.prove(host, Some(Arc::new(certificate)));
            }
        }
        Ok(Shown { keyring: &self.keyring, host, token })
    }

    /// What the CA says of an order that it refused.
    async fn what_was_wrong(&self, order: &mut Order) -> String {
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = authorization.refresh().await else { continue };
            if let Some(problem) = state.challenges.iter().find_map(|c| c.error.as_ref()) {
                return problem.to_string();
            }
        }
        "the CA refused the order".to_owned()
    }
}

/// The certificate that proves to a CA that `host` leads here (RFC 8737, section 3). It is for no other eyes: whoever
/// checks certificates refuses the extension in it.
fn proving(host: &str, digest: &[u8]) -> Result<CertifiedKey, String> {
    let text = |error: rcgen::Error| error.to_string();
    let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(text)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(text)?;
    let certificate = params.self_signed(&key).map_err(text)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let key = tls::provider().key_provider.load_private_key(key);
    let key = key.map_err(|error| error.to_string())?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn why(error: Error) -> String {
    error.to_string()
}
