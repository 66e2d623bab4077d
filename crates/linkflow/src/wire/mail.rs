//! Who sends mail: the providers of `[mail]`, from the typed config or from a rehearsal cloud.

use linkflow_model::config::{Config, Mail, Mailbox, kinds};
use linkflow_model::{ProviderName, Secret};
use linkflow_providers::mail::{Settings, Via, brevo, embedded, resend, smtp};
use linkflow_providers::notify;

use super::secrets::Secrets;
use super::{OpenError, OpenOptions, parts};

/// The Maildir of letters that nobody sends, in the state folder.
const FOLDER: &str = "mail";

/// The way to `to` by mail.
pub(super) fn way(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    to: &Mailbox,
) -> Result<notify::mail::Settings, OpenError> {
    let Some(mail) = &config.mail else {
        return Err(OpenError::Missing {
            what: "nobody sends mail".to_owned(),
            help: "add `[mail]` with `from` and `via`".to_owned(),
        });
    };
    if !mail.may_go_to(to) {
        return Err(OpenError::Missing {
            what: format!("`mail.only_to` does not allow {}", to.address),
            help: "add its domain there, or take the address away".to_owned(),
        });
    }
    Ok(notify::mail::Settings {
        via: via(config, mail, options, secrets)?,
        from: mail.from.clone(),
        reply_to: mail.reply_to.clone(),
        to: to.clone(),
    })
}

/// Those who send mail by the config; `None` where it has no `[mail]`.
pub(super) fn senders(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
) -> Option<Result<Via, OpenError>> {
    let mail = config.mail.as_ref()?;
    Some(via(config, mail, options, secrets))
}

/// The providers of `mail.via`, in order. One that cannot be opened is left out when there are others.
fn via(
    config: &Config,
    mail: &Mail,
    options: &OpenOptions,
    secrets: &Secrets,
) -> Result<Via, OpenError> {
    let mut opened = Vec::new();
    let mut wrong = None;
    for name in &mail.via {
        match one(config, options, secrets, name) {
            Ok(settings) => opened.push((name.clone(), settings)),
            Err(error) => {
                tracing::warn!("mail does not go by `{name}`: {error}; {}", error.help());
                wrong = wrong.or(Some(error));
            }
        }
    }
    let mut opened = opened.into_iter();
    match (opened.next(), wrong) {
        (Some(first), _) => Ok(Via { first, others: opened.collect() }),
        (None, Some(error)) => Err(error),
        (None, None) => Err(OpenError::Missing {
            what: "`mail.via` names nobody".to_owned(),
            help: "name a provider of the kind resend, brevo or smtp, or `embedded`".to_owned(),
        }),
    }
}

/// What the provider `name` needs. In a rehearsal those without an API of their own keep letters on this machine.
fn one(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    name: &ProviderName,
) -> Result<Settings, OpenError> {
    let missing = || OpenError::Missing {
        what: format!("`{name}` sends no mail"),
        help: "one of the kind resend, brevo or smtp does, and `embedded` keeps it".to_owned(),
    };
    let provider = config.provider(name).ok_or_else(missing)?;
    let there = options.cloud.as_ref().map(|cloud| cloud.mail.get(provider.kind().word));
    let kept = || Settings::Embedded(embedded::Settings { folder: options.state.join(FOLDER) });
    // The key and, where it is not the vendor's own, the address.
    let account = || match there {
        Some(Some(there)) => Ok((Secret::new(&there.token), Some(there.api.clone()))),
        _ => Ok((parts::token(name, &provider, secrets)?, provider.api().map(ToOwned::to_owned))),
    };
    match &provider.settings {
        kinds::Settings::Resend(_) => {
            account().map(|(token, api)| Settings::Resend(resend::Settings { token, api }))
        }
        kinds::Settings::Brevo(_) => {
            account().map(|(token, api)| Settings::Brevo(brevo::Settings { token, api }))
        }
        kinds::Settings::Embedded(_) => Ok(kept()),
        kinds::Settings::Smtp(_) if there.is_some() => Ok(kept()),
        kinds::Settings::Smtp(own) => server(name, own, secrets).map(Settings::Smtp),
        _ => Err(missing()),
    }
}

fn server(
    name: &ProviderName,
    own: &kinds::Smtp,
    secrets: &Secrets,
) -> Result<smtp::Settings, OpenError> {
    let password = own.password.as_ref().map(|reference| {
        secrets.follow(reference).ok_or_else(|| OpenError::Missing {
            what: format!("the password of `{name}`, `${{{}}}`, is not there", reference.reference),
            help: "put it into the environment, under the name of the secret".to_owned(),
        })
    });
    Ok(smtp::Settings {
        host: own.host.0.clone(),
        port: own.port,
        login: own.user.clone().zip(password.transpose()?),
        implicit_tls: own.implicit_tls,
        roots: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn mail(only_to: &str) -> Mail {
        let text = format!(
            "[stack]\nname = \"shop\"\n[mail]\nfrom = \"shop@example.com\"\nonly_to = [{only_to}]\n"
        );
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        Config::parse(&files, "linkflow.toml", None).config.unwrap().mail.unwrap()
    }

    #[test]
    fn an_environment_for_trying_writes_to_its_own_people_only() {
        let to = |address: &str| Mailbox { name: None, address: address.to_owned() };
        assert!(mail("").may_go_to(&to("a@example.org")));
        let own = mail("\"example.com\"");
        assert!(own.may_go_to(&to("a@example.com")));
        assert!(!own.may_go_to(&to("a@example.org")) && !own.may_go_to(&to("a@x.example.com")));
    }
}
