//! `linkflow access`: who may come into the dashboard and the API, from the machine itself.

use clap::{Args, Subcommand, ValueEnum};
use linkflow_model::Timestamp;
use linkflow_model::access::Scope;
use linkflow_web::door::{self, AccessError};
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};
use crate::wire::dashboard;

use super::tell::Teller;
use super::{Answered, Context};

/// Say who may come into the dashboard and the API, and see who did what.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow access invite --name ann --scope admin\n  linkflow access people list\n  linkflow access token create ci --scope read --days 90\n  linkflow access audit --limit 20\n\nThe guide is docs/dashboard.md."
)]
pub(crate) enum AccessCommand {
    /// Make a link that lets somebody in, once, within one hour.
    ///
    /// Somebody who is there already begins anew with it: for when they lost their way in.
    #[command(
        after_help = "Examples:\n  linkflow access invite                            they choose a name; scope read\n  linkflow access invite --name ann --scope admin\n  linkflow access invite --name ann                 ann lost her phone: she begins anew"
    )]
    Invite(InviteArgs),
    /// People who may come in.
    #[command(
        subcommand,
        after_help = "Examples:\n  linkflow access people list\n  linkflow access people remove bob --why \"left the team\""
    )]
    People(PeopleCommand),
    /// Tokens of programs.
    #[command(
        subcommand,
        after_help = "Examples:\n  linkflow access token create ci --scope operate --days 90\n  linkflow access token list\n  linkflow access token revoke 3f1c09ab22de"
    )]
    Token(TokenCommand),
    /// Show who did what, why, from where, and what came of it; the newest first.
    #[command(
        after_help = "Examples:\n  linkflow access audit\n  linkflow access audit --month 2026-10 --json | jq '.result.deeds[]'"
    )]
    Audit(AuditArgs),
}

/// Whom a link lets in.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct InviteArgs {
    /// Who is meant; they choose a name themselves when not said.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// What they may do [what they may already, or read].
    #[arg(long)]
    scope: Option<ScopeWord>,
}

/// What is asked of people.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeopleCommand {
    /// List them.
    #[command(
        after_help = "Examples:\n  linkflow access people list\n  linkflow access people list --json"
    )]
    List,
    /// Let somebody in no more, and end their sessions.
    #[command(
        after_help = "Examples:\n  linkflow access people remove bob --why \"left the team\""
    )]
    Remove(RemoveArgs),
}

/// Who goes.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoveArgs {
    /// Their name.
    name: String,

    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

/// What is asked of tokens.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenCommand {
    /// Make one, and show it, this once.
    #[command(
        after_help = "Examples:\n  linkflow access token create ci --scope operate\n  linkflow access token create grafana --days 365\n  curl -H \"Authorization: Bearer lf_…\" http://127.0.0.1:7788/api/…"
    )]
    Create(CreateArgs),
    /// List them; none is shown again.
    #[command(
        after_help = "Examples:\n  linkflow access token list\n  linkflow access token list --json"
    )]
    List,
    /// End one, by its id.
    #[command(after_help = "Examples:\n  linkflow access token revoke 3f1c09ab22de")]
    Revoke(RevokeArgs),
}

/// What a token is for.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct CreateArgs {
    /// What it is for.
    name: String,

    /// What it may do.
    #[arg(long, default_value = "read")]
    scope: ScopeWord,

    /// For how many days it is good; until it is revoked when not said.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3_650))]
    days: Option<u64>,
}

/// Which token ends.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevokeArgs {
    /// Its id, as `token list` shows it.
    id: String,

    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

/// What of the audit is shown.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditArgs {
    /// Of which month, like 2026-11; this one when not said.
    #[arg(long, value_name = "MONTH")]
    month: Option<String>,

    /// How many of the newest to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

/// What somebody may do; each holds those before it.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScopeWord {
    /// See how things are.
    Read,
    /// Acknowledge, drain, move, deploy, go back.
    Operate,
    /// Say who may do what.
    Admin,
}

impl From<ScopeWord> for Scope {
    fn from(word: ScopeWord) -> Self {
        match word {
            ScopeWord::Read => Self::Read,
            ScopeWord::Operate => Self::Operate,
            ScopeWord::Admin => Self::Admin,
        }
    }
}

impl From<AccessError> for Box<Answer> {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Refused(why) => Self::new(Answer::failure(5, &why, "")),
            AccessError::Store(error) => error.into(),
            error => Self::new(Answer::failure(1, &error.to_string(), "try again")),
        }
    }
}

/// What `access` answers.
pub(crate) async fn answer(context: &Context, command: &AccessCommand) -> Answered {
    let teller = context.teller()?;
    let colours = context.voice.colours;
    match command {
        AccessCommand::Invite(args) => invite(&teller, args).await,
        AccessCommand::People(PeopleCommand::List) => people(&teller, colours).await,
        AccessCommand::People(PeopleCommand::Remove(args)) => remove(&teller, args).await,
        AccessCommand::Token(TokenCommand::Create(args)) => create(&teller, args).await,
        AccessCommand::Token(TokenCommand::List) => tokens(&teller, colours).await,
        AccessCommand::Token(TokenCommand::Revoke(args)) => revoke(&teller, args).await,
        AccessCommand::Audit(args) => audit(&teller, args, colours).await,
    }
}

/// Does `act`, and has it in the audit before, with what came of it after.
async fn noting<R>(
    teller: &Teller,
    what: &str,
    why: &str,
    act: impl Future<Output = Result<R, AccessError>>,
) -> Result<R, AccessError> {
    door::at_terminal(&teller.store, (&teller.who, teller.now), (what, why), act).await
}

async fn invite(teller: &Teller, args: &InviteArgs) -> Answered {
    let who = (args.name.as_deref(), args.scope.map(Scope::from));
    let whom = args.name.as_deref().unwrap_or("somebody new");
    let act = door::invite(&teller.store, who, &teller.who, teller.now);
    let (secret, invite) = noting(teller, &format!("made a link for {whom}"), "", act).await?;
    let at = teller.config.dashboard.listen;
    let links = dashboard::addresses(&teller.config, at).into_iter();
    let links: Vec<String> = links.map(|base| format!("{base}/setup/{secret}")).collect();
    let until = teller.shown(invite.until);
    let lines: String = links.iter().map(|link| format!("  {link}\n")).collect();
    let out = format!("lets {whom} in, once, until {until}:\n{lines}");
    let result = json!({ "links": links, "name": invite.name, "scope": invite.scope, "until": invite.until });
    Ok(Answer { out, result, ..Answer::default() })
}

async fn people(teller: &Teller, colours: bool) -> Answered {
    let people = door::everybody(&teller.store).await?;
    let mut table = Table::new(&["NAME", "SCOPE", "WAYS IN", "SINCE"]);
    for person in &people {
        table.row(vec![
            (person.name.clone(), Tone::Strong),
            (person.scope.word().to_owned(), Tone::Plain),
            (person.ways(), Tone::Plain),
            (teller.shown(person.made), Tone::Plain),
        ]);
    }
    let out = if people.is_empty() {
        "nobody may come in yet: `linkflow up` prints a link for the first person\n".to_owned()
    } else {
        table.render(colours)
    };
    let people = people.iter().map(|person| {
        json!({ "name": person.name, "scope": person.scope, "ways": person.ways(), "since": person.made })
    });
    let result = json!({ "people": people.collect::<Vec<_>>() });
    Ok(Answer { out, result, ..Answer::default() })
}

async fn remove(teller: &Teller, args: &RemoveArgs) -> Answered {
    let act = door::remove_person(&teller.store, &args.name);
    let person = noting(teller, &format!("removed {}", args.name), &args.why, act).await?;
    let out = format!("{} cannot come in any more; their sessions have ended\n", person.name);
    Ok(Answer { out, result: json!({ "removed": person.name }), ..Answer::default() })
}

async fn create(teller: &Teller, args: &CreateArgs) -> Answered {
    let until = args.days.map(|days| Timestamp(teller.now.0.saturating_add(days * 86_400_000)));
    let asked = (args.name.as_str(), Scope::from(args.scope));
    let scope = asked.1.word();
    let act = door::create_token(&teller.store, asked, until, &teller.who, teller.now);
    let what = format!("made the token {} with `{scope}`", args.name);
    let (shown, token) = noting(teller, &what, "", act).await?;
    let good = until.map_or_else(String::new, |until| format!(", until {}", teller.shown(until)));
    let out = format!("{shown}\n");
    let err = format!(
        "the token {} ({}) may {scope}{good}; it is not shown again\n",
        token.name, token.id
    );
    let result = json!({ "token": shown, "id": token.id, "name": token.name, "scope": token.scope, "until": token.until });
    Ok(Answer { out, err, result, ..Answer::default() })
}

async fn tokens(teller: &Teller, colours: bool) -> Answered {
    let tokens = door::every_token(&teller.store).await?;
    let mut table = Table::new(&["ID", "NAME", "SCOPE", "MADE BY", "GOOD UNTIL", "USED LAST"]);
    let shown = |at: Option<Timestamp>, none: &str| {
        at.map_or_else(|| none.to_owned(), |at| teller.shown(at))
    };
    for token in &tokens {
        let tone = if token.is_over(teller.now) { Tone::Bad } else { Tone::Plain };
        table.row(vec![
            (token.id.clone(), Tone::Strong),
            (token.name.clone(), Tone::Plain),
            (token.scope.word().to_owned(), Tone::Plain),
            (token.by.clone(), Tone::Plain),
            (shown(token.until, "it is revoked"), tone),
            (shown(token.used, "never"), Tone::Plain),
        ]);
    }
    let out = if tokens.is_empty() { "no token\n".to_owned() } else { table.render(colours) };
    Ok(Answer { out, result: json!({ "tokens": tokens }), ..Answer::default() })
}

async fn revoke(teller: &Teller, args: &RevokeArgs) -> Answered {
    let all = door::every_token(&teller.store).await?;
    let name = all.iter().find(|token| token.id == args.id).map_or(&args.id, |token| &token.name);
    let act = door::revoke_token(&teller.store, &args.id);
    let token = noting(teller, &format!("revoked the token {name}"), &args.why, act).await?;
    let out = format!("the token {} is good no more\n", token.name);
    Ok(Answer { out, result: json!(token), ..Answer::default() })
}

async fn audit(teller: &Teller, args: &AuditArgs, colours: bool) -> Answered {
    let month = args.month.clone().unwrap_or_else(|| door::month(teller.now));
    let mut deeds = door::deeds(&teller.store, &month).await?;
    deeds.truncate(args.limit);
    let mut table = Table::new(&["WHEN", "WHO", "BY", "WHAT", "WHY", "FROM", "OUTCOME"]);
    for deed in &deeds {
        let tone = if deed.outcome == "done" { Tone::Good } else { Tone::Notable };
        table.row(vec![
            (teller.shown(deed.at), Tone::Plain),
            (deed.who.clone(), Tone::Strong),
            (deed.means.clone(), Tone::Faint),
            (deed.what.clone(), Tone::Plain),
            (deed.why.clone(), Tone::Plain),
            (deed.from.clone(), Tone::Plain),
            (deed.outcome.clone(), tone),
        ]);
    }
    let nothing = deeds.is_empty();
    let out = if nothing { format!("nothing in {month}\n") } else { table.render(colours) };
    Ok(Answer { out, result: json!({ "month": month, "deeds": deeds }), ..Answer::default() })
}
