//! `linkflow drill`: makes things go wrong at a running rehearsal cloud.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use linkflow_model::{ProviderName, ServiceName};
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::wire::control::Control;

use super::{Answered, Context};

/// Make things go wrong at a running rehearsal cloud, and put them right again.
///
/// The cloud is named by --cloud or `LINKFLOW_CLOUD`: the `control` address that `linkflow cloud` and `linkflow up --rehearsal` print.
#[derive(Subcommand, Clone, Debug)]
#[command(
    after_help = "Examples:\n  linkflow drill set azure killed\n  linkflow drill set fly slow --ms 400 --service engine-frontend\n  linkflow drill set railway errors --status 503\n  linkflow drill list\n  linkflow drill clear"
)]
pub(crate) enum DrillCommand {
    /// Let something go wrong at a provider, in place of what is wrong there.
    Set(SetArgs),
    /// Put everything right, or one provider.
    Clear {
        /// The provider; all when none is given.
        provider: Option<ProviderName>,
    },
    /// Show what is wrong.
    List,
}

/// What is to go wrong.
#[derive(Args, Clone, Debug)]
pub(crate) struct SetArgs {
    /// Where.
    provider: ProviderName,
    /// What.
    trouble: Word,
    /// Only this service.
    #[arg(long)]
    service: Option<ServiceName>,
    /// For `slow` and `clock-ahead`: by how many milliseconds.
    #[arg(long, default_value_t = 500)]
    ms: u64,
    /// For `errors`: the status of every answer.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(500..600))]
    status: u16,
}

/// What can go wrong.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// The processes are killed and stay dead; the API tells the truth.
    Killed,
    /// The processes stand still: connections are accepted and never answered.
    Hung,
    /// Connections are refused; the processes live.
    Refusing,
    /// Every request waits (--ms).
    Slow,
    /// Every answer is an error (--status); the health path says all is well.
    Errors,
    /// The management API is away; the apps serve.
    ApiDown,
    /// The apps are dead; the API says all is well.
    AppDown,
    /// The whole provider is away.
    Gone,
    /// The API answers every call with 429.
    RateLimited,
    /// The API refuses every change, because an allowance is used up.
    OutOfQuota,
    /// Deploys never come to an end.
    DeployStuck,
    /// A deploy runs another image than asked.
    WrongImage,
    /// The API refuses the token of every call.
    Denied,
    /// The API tells a time that is off (--ms).
    ClockAhead,
}

impl SetArgs {
    fn trouble(&self) -> Trouble {
        match self.trouble {
            Word::Killed => Trouble::Killed,
            Word::Hung => Trouble::Hung,
            Word::Refusing => Trouble::Refusing,
            Word::Slow => Trouble::Slow { ms: self.ms },
            Word::Errors => Trouble::Errors { status: self.status },
            Word::ApiDown => Trouble::ApiDown,
            Word::AppDown => Trouble::AppDown,
            Word::Gone => Trouble::Gone,
            Word::RateLimited => Trouble::RateLimited,
            Word::OutOfQuota => Trouble::OutOfQuota,
            Word::DeployStuck => Trouble::DeployStuck,
            Word::WrongImage => Trouble::WrongImage,
            Word::Denied => Trouble::Denied,
            Word::ClockAhead => Trouble::ClockAhead { ms: self.ms },
        }
    }
}

/// What `drill` answers.
pub(crate) async fn answer(context: &Context, command: &DrillCommand) -> Answered {
    let Some(url) = &context.common.cloud else {
        let help = "start one with `linkflow cloud` or `linkflow up --rehearsal`, and give its control address with --cloud";
        return Answer::failed(2, "no rehearsal cloud is named", help);
    };
    let control = Control::at(url);
    let failed = |why: String| {
        Box::new(Answer::failure(
            1,
            &why,
            "`linkflow drill list` shows the providers and what is wrong",
        ))
    };
    let out = match command {
        DrillCommand::Set(args) => {
            let mut body = json!(args.trouble());
            body["provider"] = json!(args.provider);
            if let Some(service) = &args.service {
                body["service"] = json!(service);
            }
            control.ask(Method::PUT, "/v1/faults", Some(&body)).await.map_err(failed)?;
            String::new()
        }
        DrillCommand::Clear { provider } => {
            let path = match provider {
                Some(provider) => format!("/v1/faults?provider={provider}"),
                None => "/v1/faults".to_owned(),
            };
            control.ask(Method::DELETE, &path, None).await.map_err(failed)?;
            String::new()
        }
        DrillCommand::List => String::new(),
    };
    let state = control.ask(Method::GET, "/v1/state", None).await.map_err(failed)?;
    let faults = faults(&state);
    let out = out + &text(&faults);
    Ok(Answer { out, result: json!({ "faults": faults }), ..Answer::default() })
}

/// The faults of every provider that has any.
fn faults(state: &Value) -> Value {
    let providers = state["providers"].as_object();
    let wrong = providers.into_iter().flatten().filter_map(|(name, provider)| {
        let faults = provider["faults"].as_array().filter(|faults| !faults.is_empty())?;
        Some((name.clone(), json!(faults)))
    });
    Value::Object(wrong.collect())
}

fn text(faults: &Value) -> String {
    let mut out = String::new();
    for (provider, faults) in faults.as_object().into_iter().flatten() {
        for fault in faults.as_array().into_iter().flatten() {
            let word = fault["trouble"].as_str().unwrap_or_default().replace('_', "-");
            let amount = match (fault["ms"].as_u64(), fault["status"].as_u64()) {
                (Some(ms), _) => format!(" by {ms} ms"),
                (_, Some(status)) => format!(" {status}"),
                _ => String::new(),
            };
            let of = fault["service"].as_str().map(|s| format!(" ({s})")).unwrap_or_default();
            out.push_str(&format!("{provider}: {word}{amount}{of}\n"));
        }
    }
    if out.is_empty() { "all is well\n".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_the_command() {
        let state = json!({ "providers": {
            "fly": { "faults": [{ "service": "api", "trouble": "slow", "ms": 400 }, { "service": null, "trouble": "api_down" }] },
            "azure": { "faults": [] },
        } });
        assert_eq!(text(&faults(&state)), "fly: slow by 400 ms (api)\nfly: api-down\n");
        assert_eq!(text(&faults(&json!({ "providers": {} }))), "all is well\n");
    }
}
