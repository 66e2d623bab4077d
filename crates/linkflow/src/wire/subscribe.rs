//! Who tells subscribers of the status page: the providers of `[mail]`, text messages, and calls to their web addresses.

use std::sync::Arc;

use linkflow_model::config::Config;
use linkflow_model::role::{Hook, Mail, Sms};
use linkflow_model::{Clock, ProviderName};
use linkflow_providers::hook::Strangers;
use linkflow_providers::kit::Kit;
use linkflow_providers::mail::Several;
use linkflow_providers::notify::twilio;
use linkflow_store::Store;
use linkflow_web::subscribe::{Couriers, Desk, Tellers};

use super::secrets::Secrets;
use super::state::Key;
use super::{Listen, OpenOptions, Stack, mail, sms};

/// What the keys of links are derived for.
const LABEL: &str = "status page/subscribers";

/// Where people subscribe, and who tells them, where the config lets people subscribe and this process serves. A rehearsal calls no web address: it may be real.
pub(super) fn open(
    config: &Config,
    options: &OpenOptions,
    (secrets, key): (&Secrets, &Key),
    kit: &Kit,
    (store, clock): (&Arc<dyn Store>, &Arc<dyn Clock>),
) -> Option<(Arc<Desk>, Tellers)> {
    if options.listen == Listen::Nowhere {
        return None;
    }
    let desk = Arc::new(Desk::of(config, &key.derive(LABEL))?);
    let senders = mail::senders(config, options, secrets).and_then(|opened| match opened {
        Ok(via) => Some(Arc::new(Several::open(via, kit)) as Arc<dyn Mail>),
        Err(error) => {
            tracing::warn!("no subscriber is told by mail: {error}; {}", error.help());
            None
        }
    });
    let settings = config.status_page.as_ref()?.subscribe.as_ref()?;
    let name =
        ProviderName::new("webhook").filter(|_| options.cloud.is_none() && settings.webhooks);
    let hook = name.map(|name| {
        let strangers = Strangers::new(Arc::clone(clock), name, settings.private_webhooks);
        Arc::new(strangers) as Arc<dyn Hook>
    });
    let sms = texts(config, options, secrets, kit);
    let config = Arc::new(config.clone());
    let couriers = Couriers { mail: senders, hook, sms };
    let tellers = Tellers::new((store, clock), config, &desk, couriers);
    Some((desk, tellers))
}

/// Who sends text messages, where phones may subscribe.
fn texts(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
) -> Option<Arc<dyn Sms>> {
    let subscribe = config.status_page.as_ref()?.subscribe.as_ref()?;
    if subscribe.sms_per_day == 0 {
        return None;
    }
    match sms::sender(&[], config, options, secrets) {
        Ok((name, sender)) => Some(Arc::new(twilio::texts(sender, kit, &name))),
        Err(error) => {
            tracing::warn!("no subscriber is told by text message: {error}; {}", error.help());
            None
        }
    }
}

impl Stack {
    /// Begins to tell subscribers, where there may be any.
    pub(crate) fn tell_subscribers(&mut self) {
        let Some(tellers) = self.tellers.take() else { return };
        self.tasks.start("subscribers", |stop| async move {
            stop.or(tellers.run()).await;
        });
    }
}
