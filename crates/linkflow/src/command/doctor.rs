//! `linkflow doctor`: asks everything that can be asked, and says what is well and what helps where it is not.

use clap::Args;
use linkflow_model::ProviderName;
use linkflow_model::config::nearest;

use crate::doctor::{Patient, examine, show};
use crate::say::answer::Answer;
use crate::say::progress::Waiting;
use crate::wire::Listen;
use crate::wire::asking::Asking;

use super::check;
use super::{Answered, Context, REHEARSAL};

/// Ask everything that can be asked without changing anything: what is well, what is not, and what helps.
///
/// Looks at this machine (config, state folder, secrets, lock, clock, Docker), asks each provider whether it answers and
/// takes its token, what it can do for the services that may run there and what is left of its plan, whoever answers for the
/// zone or stands in front of the edge what differs from the config, looks each image up, and asks GitHub for the
/// repository. Nothing is written, neither there nor here.
///
/// The exit code is 0 when it works, also with warnings; 1 when something is broken; 4 when a token is refused.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow doctor\n  linkflow doctor fly           only this provider\n  linkflow doctor --json | jq '.errors[]'\n\nThe guide is docs/doctor.md."
)]
pub(crate) struct DoctorArgs {
    /// Only this provider.
    pub(crate) provider: Option<ProviderName>,
}

/// What `doctor` answers.
pub(crate) async fn answer(context: &Context, args: &DoctorArgs) -> Answered {
    let mut which = context.which.clone();
    let is_rehearsal = context.common.cloud.is_some();
    let mut parsed = check::parse(&which);
    if is_rehearsal && which.env.is_none() && parsed.environments.iter().any(|e| e == REHEARSAL) {
        which.env = Some(REHEARSAL.to_owned());
        parsed = check::parse(&which);
    }
    let Some(config) = parsed.config.take() else {
        return Err(Box::new(check::refused(&parsed, context.voice.colours_err)));
    };
    let cloud = context.cloud().await?;
    let options = context.options(&config, cloud, "doctor", Listen::Nowhere);
    let catalogue = context.catalogue()?;
    let asking = Asking::open(&config, &options)?;
    let patient = Patient {
        parsed: &parsed,
        config: &config,
        options: &options,
        catalogue: &catalogue,
        only: args.provider.as_ref(),
    };
    if let Some(only) = &args.provider
        && !config.providers.contains_key(only)
        && !asking.places.contains_key(only)
    {
        let names = config.providers.keys().chain(asking.places.keys());
        let names: Vec<&str> = names.map(ProviderName::as_str).collect();
        let help = match nearest(only.as_str(), names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`linkflow check --json` lists the providers".to_owned(),
        };
        return Answer::failed(2, &format!("the config has no provider `{only}`"), &help);
    }
    let waiting = Waiting::new(context.voice);
    let chapters = waiting.during(examine(&patient, &asking, &waiting)).await;
    if let (Some(only), true) = (&args.provider, chapters.is_empty()) {
        let what = format!("nothing of `{only}` can be asked: its kind is not acted on yet");
        return Answer::failed(2, &what, "`linkflow check` lists what is");
    }
    Ok(show::answer(&chapters, context.voice.colours))
}
