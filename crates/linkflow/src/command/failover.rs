//! `linkflow failover`: having services serve from a provider that is named, until that is ended.

use clap::Args;
use linkflow_model::{ProviderName, ServiceName};
use linkflow_web::operator::Services;
use linkflow_web::order::failover::{self, Wanted};
use linkflow_web::order::{self, Place};
use serde_json::json;

use crate::say::answer::Answer;
use crate::wire::site;

use super::tell::Teller;
use super::{Answered, Context};

/// Have a service, or all of them, serve from a provider that you name, and end that again.
///
/// The running `linkflow up` moves it there at once when it is known to work there, and it stays until the order is ended or its
/// time is over. When it dies there, it fails over as always, and goes back there when it has recovered. Afterwards what is
/// preferred takes over again, once it has been well for as long as `[failover]` says.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow failover api --to railway --reason \"fly is slow\"\n  linkflow failover api --to railway --for 2h\n  linkflow failover --all --to hetzner --reason \"they rebuild fly\"\n  linkflow failover api --back --reason \"it is over\"\n  linkflow status                          says who asked for what\n\nIt is refused where the service may not run, and where it is known to be down or drained. With --force the latter is taken as\nwell: it goes there as soon as it serves there, and not before.",
    group = clap::ArgGroup::new("what").args(["service", "all"]).required(true),
    group = clap::ArgGroup::new("how").args(["to", "back"]).required(true)
)]
pub(crate) struct FailoverArgs {
    /// The service.
    #[arg(value_name = "SERVICE")]
    service: Option<ServiceName>,

    /// Every service that may run there.
    #[arg(long)]
    all: bool,

    /// The provider that is to serve.
    #[arg(long, value_name = "PROVIDER")]
    to: Option<ProviderName>,

    /// End it.
    #[arg(long, conflicts_with_all = ["lasts", "force"])]
    back: bool,

    /// For how long, as `30m` or `1h30m`; until it is ended when not said.
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<String>,

    /// Also where it is known not to serve there now.
    #[arg(long)]
    force: bool,

    /// Why, for whoever reads it later.
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
}

/// What `failover` answers.
pub(crate) async fn answer(context: &Context, args: &FailoverArgs) -> Answered {
    let teller = context.teller()?;
    match &args.to {
        Some(to) => order(context, &teller, args, to).await,
        None => back(&teller, args).await,
    }
}

async fn order(
    context: &Context,
    teller: &Teller,
    args: &FailoverArgs,
    to: &ProviderName,
) -> Answered {
    let for_ms = args.lasts.as_deref().map(lasts).transpose()?;
    let (service, force) = (args.service.clone(), args.force);
    let wanted = Wanted { to: to.clone(), service, for_ms, force };
    let (places, runs) = places(context, teller).await;
    let given = failover::order(teller.hand(), &places, &wanted, args.reason.trim()).await?;
    let of = args.service.as_ref().map_or("every service that may run there", ServiceName::as_str);
    let next = match runs {
        true => "the running `linkflow up` moves it as soon as it is known to work there",
        false => "no `linkflow up` runs with this state folder: the next one does it",
    };
    let out = format!("{of} is to serve from {to}; {next}\n");
    Ok(Answer { out, result: json!(given), ..Answer::default() })
}

async fn back(teller: &Teller, args: &FailoverArgs) -> Answered {
    let ended = failover::back(teller.hand(), args.service.as_ref(), args.reason.trim()).await?;
    let of = args.service.as_ref().map_or("every service", ServiceName::as_str);
    let out = format!("the failover of {of} to {} is over\n", ended.to);
    Ok(Answer { out, result: json!(ended), ..Answer::default() })
}

/// The places of all services, and whether they are as the running `linkflow up` sees them, or only what the config names.
async fn places(context: &Context, teller: &Teller) -> (Vec<Place>, bool) {
    let folder = context.state(&teller.config, context.common.cloud.is_some());
    // Of one that cannot be understood, another version for one, nothing is taken.
    match site::get::<Services>(&folder, "/api/v1/services").await {
        Ok(Some(seen)) => (order::places(&seen), true),
        Ok(None) => (order::places_of_config(&teller.config), false),
        Err(_) => (order::places_of_config(&teller.config), true),
    }
}

/// How long `text` is, in milliseconds.
fn lasts(text: &str) -> Result<u64, Box<Answer>> {
    let span = text.parse::<jiff::SignedDuration>().ok();
    let ms = span.and_then(|span| u64::try_from(span.as_millis()).ok()).filter(|ms| *ms > 0);
    ms.ok_or_else(|| {
        Box::new(Answer::failure(2, &format!("`{text}` is no duration"), "write `30m` or `1h30m`"))
    })
}
