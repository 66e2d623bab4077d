//! Who sends text messages: the first provider of the kind `twilio`.

use linkflow_model::config::{Config, kinds};
use linkflow_model::{ProviderName, Secret};
use linkflow_providers::notify::twilio::Sender;

use super::secrets::Secrets;
use super::{OpenError, OpenOptions, parts};

/// The sender, of those in `first` before the others, and what the config calls it. A rehearsal has its own.
///
/// # Errors
/// What is missing, and what helps.
pub(super) fn sender(
    first: &[ProviderName],
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
) -> Result<(ProviderName, Sender), OpenError> {
    let carrier = first.iter().chain(config.providers.keys()).find_map(|name| {
        let provider = config.provider(name)?;
        match &provider.settings {
            kinds::Settings::Twilio(own) => Some((name.clone(), own.clone(), provider)),
            _ => None,
        }
    });
    let rehearsed = || options.cloud.as_ref().zip(ProviderName::new("twilio"));
    if let Some((cloud, name)) = rehearsed() {
        let there = &cloud.twilio;
        let sender = Sender {
            account: there.account.clone(),
            token: Secret::new(&there.token),
            from: there.from.clone(),
            api: Some(there.api.clone()),
        };
        return Ok((carrier.map_or(name, |(name, ..)| name), sender));
    }
    let Some((name, own, provider)) = carrier else {
        return Err(OpenError::Missing {
            what: "nobody carries text messages".to_owned(),
            help: "declare a provider of the kind twilio".to_owned(),
        });
    };
    let from = own.from.iter().next().cloned().ok_or_else(|| OpenError::Missing {
        what: format!("`{name}` has no number that messages come from"),
        help: format!("write `from = \"+1…\"` into `[providers.{name}]`"),
    })?;
    let sender = Sender {
        account: own.account_sid.clone(),
        token: parts::token(&name, &provider, secrets)?,
        from,
        api: provider.api().map(ToOwned::to_owned),
    };
    Ok((name, sender))
}
