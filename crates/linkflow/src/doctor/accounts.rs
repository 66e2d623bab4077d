//! Accounts beside those that run services: GitHub and Slack.

use futures_util::future::join_all;
use linkflow_engine::{Patience, guarded};
use linkflow_model::config::{Provider, kinds};
use linkflow_model::{FaultKind, ProviderName};
use serde_json::json;

use crate::wire::asking::Asking;
use crate::wire::ci::open_ci;

use super::{Chapter, Patient, State, state_of};

/// A chapter for each account of a kind that can be told of.
pub(super) async fn examine(patient: &Patient<'_>, asking: &Asking) -> Vec<Chapter> {
    let accounts = patient.config.providers.iter().filter(|(name, _)| patient.is_asked(name));
    let each = accounts.map(|(name, provider)| async move {
        match &provider.settings {
            kinds::Settings::Github(_) => Some(github(patient, asking, name).await),
            kinds::Settings::Slack(_) => Some(slack(patient, asking, name, provider)),
            _ => None,
        }
    });
    join_all(each).await.into_iter().flatten().collect()
}

async fn github(patient: &Patient<'_>, asking: &Asking, name: &ProviderName) -> Chapter {
    let mut chapter = Chapter::new(name.as_str(), "GitHub");
    let options = patient.options;
    let opened = open_ci(
        patient.config,
        Some(name),
        options.cloud.as_ref(),
        &asking.secrets,
        options.record.clone(),
    );
    let ci = match opened {
        Ok(ci) => ci,
        Err(error) => {
            chapter.add(State::Broken, error.to_string(), error.help());
            return chapter;
        }
    };
    let call = || ci.repository();
    match guarded(name, "read the repository", Patience::LOOK, call).await {
        Ok(found) => {
            let who = if found.private { "private" } else { "public" };
            chapter.well(format!("the token is accepted, and sees {} ({who})", found.name));
            if found.may_push == Some(false) {
                chapter.known("it may only read there: workflows cannot be started with it");
            }
            chapter.facts = json!(found);
        }
        Err(fault) => {
            let page = "docs/providers/github.md names what the token needs";
            let (what, help) = match fault.kind {
                FaultKind::Denied => ("the token is refused".to_owned(), page.to_owned()),
                FaultKind::Missing => (
                    "the repository is not there, or the token may not see it".to_owned(),
                    format!("see whether `repository` of `[providers.{name}]` is right; {page}"),
                ),
                _ => ("it does not answer".to_owned(), String::new()),
            };
            chapter.add(state_of(&fault), format!("{what}: {}", fault.said), help);
            chapter.facts = json!({ "fault": fault });
        }
    }
    chapter
}

/// Slack's webhooks have one request, and that writes; a bot's scope for writing lets it read nothing.
fn slack(
    patient: &Patient<'_>,
    asking: &Asking,
    name: &ProviderName,
    provider: &Provider,
) -> Chapter {
    let mut chapter = Chapter::new(name.as_str(), "Slack");
    let kinds::Settings::Slack(settings) = &provider.settings else { return chapter };
    let (what, reference) = match &settings.channel {
        Some(_) => ("token", provider.secret()),
        None => ("webhook", settings.webhook.as_ref()),
    };
    match reference {
        Some(reference) if patient.is_rehearsed() || asking.secrets.follow(reference).is_some() => {
            chapter.known(format!(
                "the {what} is there; whether Slack takes it cannot be asked without posting a message"
            ));
        }
        Some(reference) => chapter.add(
            State::Broken,
            format!("the {what}, `${{{}}}`, is not there", reference.reference),
            "put it into the environment, under the name of the secret",
        ),
        None => {
            let secret = format!("SLACK_{}", what.to_uppercase());
            chapter.add(
                State::Broken,
                format!("it names no {what}"),
                format!("write `{what} = \"${{secret.{secret}}}\"` into `[providers.{name}]`"),
            );
        }
    }
    chapter
}
