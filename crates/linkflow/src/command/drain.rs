//! `linkflow drain` and `linkflow undrain`: keeping a provider free of services, until it is lifted.

use clap::Args;
use linkflow_model::{ProviderName, ServiceName};
use linkflow_web::order;
use serde_json::json;

use crate::say::answer::Answer;

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
    let why = args.meant.reason.trim();
    if why.is_empty() {
        return Answer::failed(2, "a drain has a reason", "`--reason` says why, in a few words");
    }
    let places = order::places_of_config(&teller.config);
    let drain = order::drain::drain(teller.hand(), &places, provider, service, why).await?;
    let out = format!("{provider} is drained; the running `linkflow up` moves what serves there\n");
    Ok(Answer { out, result: json!(drain), ..Answer::default() })
}

/// What `undrain` answers.
pub(crate) async fn undrain(context: &Context, args: &UndrainArgs) -> Answered {
    let teller = context.teller()?;
    let (provider, service) = (&args.meant.provider, args.meant.service.as_ref());
    let why = args.meant.reason.trim();
    let drain = order::drain::lift(teller.hand(), provider, service, why).await?;
    let out = format!("{provider} may be used again\n");
    Ok(Answer { out, result: json!(drain), ..Answer::default() })
}
