//! `linkflow watchers hooks`: at which address each vendor that watches may tell at once that it saw something.

use std::collections::BTreeSet;

use clap::Args;
use linkflow_model::config::Config;
use linkflow_model::{Event, EventKind, Level, ProviderName};
use linkflow_store::Store;
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};
use crate::wire::errors::senders;
use crate::wire::outside::address::{self, Renewed};
use crate::wire::outside::lookers;
use crate::wire::state::Home;

use super::{Answered, Context};

/// Which addresses, or one of them anew.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct HooksArgs {
    /// Make the address of this provider anew. The old one is not answered any more.
    #[arg(long, value_name = "PROVIDER")]
    rotate: Option<String>,
}

/// What `watchers hooks` answers.
pub(super) async fn answer(context: &Context, args: &HooksArgs) -> Answered {
    let teller = context.teller()?;
    let (lookers, senders) = (lookers(&teller.config), senders(&teller.config));
    let names: BTreeSet<String> =
        lookers.keys().chain(senders.keys()).map(ToString::to_string).collect();
    let names: Vec<String> = names.into_iter().collect();
    if names.is_empty() {
        let what =
            "nobody looks at monitors of this stack, or collects its errors, who sends hooks";
        let help = "`also_on` of a monitor names a provider of the kind uptimerobot, betterstack or cronitor; one of the kind \
            sentry has a `client_secret`";
        return Answer::failed(2, what, help);
    }
    let (mut renewed, version) = Renewed::read(&teller.store).await?;
    if let Some(name) = &args.rotate {
        if !names.contains(name) {
            let what = format!("`{name}` sends no hooks, or no monitor is also on it");
            return Answer::failed(2, &what, &format!("there are {}", names.join(", ")));
        }
        *renewed.0.entry(name.clone()).or_default() += 1;
        teller.store.write(Renewed::KEY, version, &json!(renewed), None).await?;
        let message = format!("{} made the address for hooks of {name} anew", teller.who);
        let event = Event::new(teller.now, EventKind::Control, Level::Notice, message);
        teller.store.append(&event).await?;
    }
    let state = context.state(&teller.config, context.common.cloud.is_some());
    let home = Home::open(&state).or_else(|error| {
        let what = format!("the state folder {} cannot be used: {error}", state.display());
        Answer::failed(1, &what, "`--state FOLDER` names another folder")
    })?;
    let (base, is_public) = address::base(&teller.config);
    let mut table = Table::new(&["PROVIDER", "ADDRESS", "ENTERED"]);
    let mut rows = Vec::new();
    for name in names {
        let address = format!("{base}/hooks/{name}/{}", renewed.key_of(&name, &home.key()));
        let entered = entered(&teller.config, &name, is_public);
        let cells = [name.clone(), address.clone(), entered.to_owned()];
        table.row(cells.map(|cell| (cell, Tone::Plain)).to_vec());
        rows.push(json!({ "provider": name, "address": address, "entered": entered }));
    }
    let mut out = table.render(context.voice.colours);
    if args.rotate.is_some() {
        out.push_str(
            "the address before is not answered any more, within two seconds; the new one has to be entered\n",
        );
    }
    if !is_public {
        out.push_str(
            "these are reached from this machine only; `dashboard.host` makes them public\n",
        );
    }
    Ok(Answer { out, result: json!({ "hooks": rows }), ..Answer::default() })
}

/// Who enters the address at the vendor.
fn entered(config: &Config, name: &str, is_public: bool) -> &'static str {
    let provider = name.parse::<ProviderName>().ok().and_then(|name| config.provider(&name));
    match provider.and_then(|held| address::takes(&held.settings)) {
        Some(true) if is_public => "by `linkflow watchers apply`",
        _ => "by hand",
    }
}
