//! `linkflow drain` and `linkflow undrain`: keeping a provider free of services, until it is lifted.

use clap::Args;
use linkflow_model::{Drain, Event, EventKind, Level, ProviderName, ServiceName};
use linkflow_store::Store;
use serde_json::json;

use crate::say::answer::Answer;

use super::tell::Teller;
use super::{Answered, Context};

/// Keep a provider free of services, until it is lifted.
///
/// What serves there is moved by the running `linkflow up`, at once, to the next provider of its cascade that can take it, and
/// stays away. What nobody else can take stays, and says so. Nothing fails over to a drained provider.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow drain fly --reason \"their region is being rebuilt\"\n  linkflow drain fly --service api --reason \"slow there\"\n  linkflow undrain fly --reason \"it is over\"\n  linkflow status                         says who drained what"
)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) meant: Meant,
}

/// Let services run on a drained provider again.
///
/// They come back by themselves, once the provider has been well for as long as `[failover]` says.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow undrain fly --reason \"it is over\"\n  linkflow undrain fly --service api --reason \"fast again\""
)]
pub(crate) struct UndrainArgs {
    #[command(flatten)]
    pub(crate) meant: Meant,
}

/// What is meant, and why.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meant {
    /// The provider.
    #[arg(value_name = "PROVIDER")]
    pub(crate) provider: ProviderName,

    /// Only this service on it.
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<ServiceName>,

    /// Why, for whoever reads it later.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// What `drain` answers.
pub(crate) async fn drain(context: &Context, args: &DrainArgs) -> Answered {
    let teller = context.teller()?;
    let (provider, service) = (&args.meant.provider, args.meant.service.as_ref());
    let services = teller.config.services.iter();
    let meant = services.filter(|(name, _)| service.is_none_or(|service| service == *name));
    if !meant.clone().any(|(_, service)| service.runs_on.contains(provider)) {
        let what = match service {
            Some(service) => format!("{service} may not run on `{provider}` anyway"),
            None => format!("no service may run on `{provider}`"),
        };
        return Answer::failed(2, &what, "`linkflow status` tells what may run where");
    }
    let (by, why, at) = (teller.who.clone(), args.meant.reason.trim().to_owned(), teller.now);
    if why.is_empty() {
        return Answer::failed(2, "a drain has a reason", "`--reason` says why, in a few words");
    }
    let drain = Drain { provider: provider.clone(), service: service.cloned(), by, why, at };
    let key = Drain::key(provider, service);
    let held = teller.store.read(&key).await?.map(|document| document.version);
    teller.store.write(&key, held, &json!(drain), None).await?;
    let said = match service {
        Some(service) => format!("{} keeps {service} away from {provider}", drain.by),
        None => format!("{} drains {provider}", drain.by),
    };
    note(&teller, provider, service, format!("{said}: {}", drain.why)).await?;
    let out = format!("{provider} is drained; the running `linkflow up` moves what serves there\n");
    Ok(Answer { out, result: json!(drain), ..Answer::default() })
}

/// What `undrain` answers.
pub(crate) async fn undrain(context: &Context, args: &UndrainArgs) -> Answered {
    let teller = context.teller()?;
    let (provider, service) = (&args.meant.provider, args.meant.service.as_ref());
    let key = Drain::key(provider, service);
    let Some(document) = teller.store.read(&key).await? else {
        let what = match service {
            Some(service) => format!("{service} is not kept away from `{provider}` alone"),
            None => format!("`{provider}` is not drained"),
        };
        let help = match held(&teller).await?.as_slice() {
            [] => "nothing is drained".to_owned(),
            all => format!("drained: {}", all.join(", ")),
        };
        return Answer::failed(2, &what, &help);
    };
    teller.store.remove(&key, document.version).await?;
    let (who, why) = (&teller.who, args.meant.reason.trim());
    let said = match service {
        Some(service) => format!("{who} lets {service} run on {provider} again: {why}"),
        None => format!("{who} lets services run on {provider} again: {why}"),
    };
    note(&teller, provider, service, said).await?;
    let out = format!("{provider} may be used again\n");
    Ok(Answer { out, result: document.body, ..Answer::default() })
}

/// What is drained, in words.
async fn held(teller: &Teller) -> Result<Vec<String>, Box<Answer>> {
    let all: Vec<Drain> = teller.all(Drain::PREFIX).await?;
    let words = |drain: &Drain| match &drain.service {
        Some(service) => format!("{} for {service}", drain.provider),
        None => drain.provider.to_string(),
    };
    Ok(all.iter().map(words).collect())
}

async fn note(
    teller: &Teller,
    provider: &ProviderName,
    service: Option<&ServiceName>,
    said: String,
) -> Result<(), Box<Answer>> {
    let mut event = Event::new(teller.now, EventKind::Control, Level::Notice, said);
    (event.provider, event.service) = (Some(provider.clone()), service.cloned());
    teller.store.append(&event).await?;
    Ok(())
}
