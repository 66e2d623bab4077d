//! `linkflow cloud`: the rehearsal cloud alone, for other commands to use.

use std::path::PathBuf;

use clap::Args;
use linkflow_model::config::Config;
use linkflow_rehearsal::cloud::{Cloud, CloudOptions};
use serde_json::json;

use crate::say::answer::Answer;

use super::{Answered, Context, shutdown};

/// Run the rehearsal cloud until Ctrl-C: every compute provider of the config, simulated, with real processes.
///
/// Its addresses are printed as JSON. Other commands use it with --cloud and the `control` address.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow cloud --json > cloud.json &\n  export LINKFLOW_CLOUD=$(jq -r .result.control cloud.json)\n  linkflow apply\n  linkflow drill set fly killed"
)]
pub(crate) struct CloudArgs {
    /// Ids and delays follow from it.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Where its logs and its ledger go; `cloud` in the state folder when not said.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}

/// What `cloud` answers.
pub(crate) async fn answer(context: &Context, args: &CloudArgs) -> Answered {
    let config = context.config(true)?;
    let folder = args.folder.clone().unwrap_or_else(|| context.state(&config, true).join("cloud"));
    let cloud = start(&config, folder, args.seed).await?;
    let endpoints = cloud.endpoints();
    context.voice.tell_now(&format!("{:#}\n", json!(endpoints)), json!(endpoints));
    shutdown::requested().await;
    cloud.stop().await;
    Ok(Answer { told: true, ..Answer::default() })
}

/// Starts a cloud with every compute provider of `config`.
///
/// # Errors
/// When the folder cannot be made or no port can be had.
pub(crate) async fn start(
    config: &Config,
    folder: PathBuf,
    seed: u64,
) -> Result<Cloud, Box<Answer>> {
    let providers = config.compute().into_iter();
    let providers = providers.map(|(name, provider)| (name, provider.kind().word.to_owned()));
    let made = async {
        let options = CloudOptions {
            program: std::env::current_exe()?,
            folder: std::path::absolute(folder)?,
            stack: config.stack.name.clone(),
            providers: providers.collect(),
            seed,
        };
        Cloud::start(options).await
    };
    match made.await {
        Ok(cloud) => Ok(cloud),
        Err(error) => Answer::failed(1, &format!("the rehearsal cloud cannot start: {error}"), ""),
    }
}
