//! Who tells subscribers of the status page: the providers of `[mail]`, and calls to their web addresses.

use std::sync::Arc;

use linkflow_model::config::Config;
use linkflow_model::role::{Hook, Mail};
use linkflow_model::{Clock, ProviderName};
use linkflow_providers::hook::Strangers;
use linkflow_providers::kit::Kit;
use linkflow_providers::mail::Several;
use linkflow_store::Store;
use linkflow_web::subscribe::{Couriers, Desk, Tellers};

use super::secrets::Secrets;
use super::state::Key;
use super::{Listen, OpenOptions, Stack, mail};

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
    let config = Arc::new(config.clone());
    let tellers = Tellers::new((store, clock), config, &desk, Couriers { mail: senders, hook });
    Some((desk, tellers))
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
