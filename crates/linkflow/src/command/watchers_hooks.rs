//! `linkflow watchers hooks`: at which address each vendor that watches may tell at once that it saw something.

use clap::Args;
use linkflow_web::order::address::{self, Which};
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};
use crate::say::time::local;
use crate::wire::outside::address::base;

use super::{Answered, Context};

/// Which addresses, or one of them anew.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct HooksArgs {
    /// Make the address of this provider anew. The old one is not answered any more.
    #[arg(long, value_name = "PROVIDER")]
    rotate: Option<String>,

    /// Why it is made anew, for whoever reads it later.
    #[arg(long, value_name = "TEXT", default_value = "by hand", requires = "rotate")]
    reason: String,
}

/// What `watchers hooks` answers.
pub(super) async fn answer(context: &Context, args: &HooksArgs) -> Answered {
    let teller = context.teller()?;
    let source = context.source(&teller.config)?;
    if source.hooks.is_empty() {
        let what =
            "nobody looks at monitors of this stack, or collects its errors, who sends hooks";
        let help = "`also_on` of a monitor names a provider of the kind uptimerobot, betterstack or cronitor; one of the kind \
            sentry has a `client_secret`";
        return Answer::failed(2, what, help);
    }
    if let Some(name) = &args.rotate {
        let (which, why) = (Which::Hook(name.clone()), args.reason.trim());
        address::rotate(teller.hand(), &teller.config, &source, &which, why).await?;
    }
    let mut table = Table::new(&["PROVIDER", "ADDRESS", "ENTERED", "CAME LAST"]);
    let mut rows = Vec::new();
    for one in address::all(&teller.store, &teller.config, &source).await? {
        let Which::Hook(name) = one.which else { continue };
        let entered = one.entered.unwrap_or_default();
        let last = one.last.map_or_else(|| "never".to_owned(), local);
        let cells = [name.clone(), one.address.clone(), entered.to_owned(), last];
        table.row(cells.map(|cell| (cell, Tone::Plain)).to_vec());
        rows.push(json!({
            "provider": name, "address": one.address, "entered": entered, "last": one.last,
        }));
    }
    let mut out = table.render(context.voice.colours);
    if args.rotate.is_some() {
        out.push_str(
            "the address before is not answered any more, within two seconds; the new one has to be entered\n",
        );
    }
    let (_, is_public) = base(&teller.config);
    if !is_public {
        out.push_str(
            "these are reached from this machine only; `dashboard.host` makes them public\n",
        );
    }
    Ok(Answer { out, result: json!({ "hooks": rows }), ..Answer::default() })
}
