//! `linkflow incident`: telling people that something is wrong, how it goes on, and that it is over.

use clap::{Args, Subcommand, ValueEnum};
use linkflow_model::{Impact, Incident, IncidentStage, ItemName, Timestamp};
use linkflow_web::order::incident::{self, Going, Opening, Word};
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};

use super::tell::{Teller, said, unknown};
use super::{Answered, Context};

/// Tell people that something is wrong, how it goes on, and that it is over.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow incident open \"Payments fail\" --on API --impact major --text \"We are looking.\"\n  linkflow incident update 20261129-payments-fail --stage identified --text \"A bad release.\"\n  linkflow incident resolve 20261129-payments-fail --text \"It works again.\"\n  linkflow incident list"
)]
pub(crate) enum IncidentCommand {
    /// Open an incident.
    #[command(
        after_help = "Examples:\n  linkflow incident open \"Payments fail\" --on API --impact major\n  linkflow incident open --template slow --next 30m\n  linkflow incident open \"Mail was late\" --at 2h --text - < notes.md\n\nTexts are Markdown. Times are `2026-11-29 14:00` in the zone of the page, or so long ago: `20m`."
    )]
    Open(OpenArgs),
    /// Say how it goes on.
    #[command(
        after_help = "Examples:\n  linkflow incident update ID --stage monitoring --text \"Mended; we watch it.\"\n  linkflow incident update ID --private --text \"It was the connection pool.\""
    )]
    Update(UpdateArgs),
    /// Say that you look after it: reminders end, and nobody further is told.
    #[command(
        after_help = "Examples:\n  linkflow incident acknowledge 20261129-api\n  linkflow incident acknowledge 20261129-api --by Ann"
    )]
    Acknowledge(AcknowledgeArgs),
    /// Say that it is over.
    #[command(
        after_help = "Examples:\n  linkflow incident resolve ID\n  linkflow incident resolve ID --at 10m --text \"It has worked for ten minutes.\""
    )]
    Resolve(ResolveArgs),
    /// List incidents, the newest first.
    #[command(
        after_help = "Examples:\n  linkflow incident list\n  linkflow incident list --open --json"
    )]
    List(ListArgs),
    /// Show one with all that was said, private notes included.
    #[command(after_help = "Examples:\n  linkflow incident show 20261129-payments-fail")]
    Show(ShowArgs),
}

/// What an incident begins with.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenArgs {
    /// One line for the public; the template's when not said.
    #[arg(required_unless_present = "template")]
    title: Option<String>,

    /// What is said first, in Markdown; `-` reads stdin.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,

    /// A component of the status page that is affected, by its name or by what it watches. May stand several times.
    #[arg(long, value_name = "COMPONENT")]
    on: Vec<String>,

    /// How much it takes [minor when neither this nor the template says].
    #[arg(long)]
    impact: Option<ImpactWord>,

    /// A template of `status_page.templates` to begin with.
    #[arg(long, value_name = "NAME")]
    template: Option<ItemName>,

    /// When it began. Earlier than now, it is marked as written later.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// By when the next word is promised: `30m`.
    #[arg(long, value_name = "TIME")]
    next: Option<String>,

    /// Keep it off the status page.
    #[arg(long)]
    private: bool,
}

/// How an incident goes on.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpdateArgs {
    /// Its id.
    id: String,

    /// What is said, in Markdown; `-` reads stdin.
    #[arg(long, value_name = "TEXT")]
    text: String,

    /// How far it has come; as before when not said.
    #[arg(long)]
    stage: Option<StageWord>,

    /// How much it takes; as before when not said.
    #[arg(long)]
    impact: Option<ImpactWord>,

    /// When this was so. Earlier than now, it is marked as written later.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// By when the next word is promised: `30m`.
    #[arg(long, value_name = "TIME")]
    next: Option<String>,

    /// A note for the team, which the status page does not show.
    #[arg(long)]
    private: bool,
}

/// Who looks after an incident.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcknowledgeArgs {
    /// Its id.
    id: String,

    /// Who; you, when not said.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// How an incident ends.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolveArgs {
    /// Its id.
    id: String,

    /// What is said, in Markdown; `-` reads stdin.
    #[arg(long, value_name = "TEXT", default_value = "It is over.")]
    text: String,

    /// When it was over. Earlier than now, it is marked as written later.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// Which incidents are listed.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListArgs {
    /// Only those that are not over.
    #[arg(long)]
    open: bool,
}

/// Which incident is shown.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShowArgs {
    /// Its id.
    id: String,
}

/// How much an incident takes.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImpactWord {
    /// Nothing that a visitor would notice.
    None,
    /// Something is slow or partly away.
    Minor,
    /// Something is away.
    Major,
    /// The product is away.
    Critical,
}

/// How far an incident has come.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StageWord {
    /// Something is wrong; why is not known yet.
    Investigating,
    /// The cause is known.
    Identified,
    /// It is mended, and watched.
    Monitoring,
    /// What was learned, written afterwards.
    Postmortem,
}

impl From<ImpactWord> for Impact {
    fn from(word: ImpactWord) -> Self {
        match word {
            ImpactWord::None => Self::None,
            ImpactWord::Minor => Self::Minor,
            ImpactWord::Major => Self::Major,
            ImpactWord::Critical => Self::Critical,
        }
    }
}

impl From<StageWord> for IncidentStage {
    fn from(word: StageWord) -> Self {
        match word {
            StageWord::Investigating => Self::Investigating,
            StageWord::Identified => Self::Identified,
            StageWord::Monitoring => Self::Monitoring,
            StageWord::Postmortem => Self::Postmortem,
        }
    }
}

/// What `incident` answers.
pub(crate) async fn answer(context: &Context, command: &IncidentCommand) -> Answered {
    let teller = context.teller()?;
    match command {
        IncidentCommand::Open(args) => open(&teller, args).await,
        IncidentCommand::Update(args) => update(&teller, args).await,
        IncidentCommand::Acknowledge(args) => acknowledge(&teller, args).await,
        IncidentCommand::Resolve(args) => resolve(&teller, args).await,
        IncidentCommand::List(args) => list(&teller, args, context.voice.colours).await,
        IncidentCommand::Show(args) => show(&teller, args).await,
    }
}

/// When something was so.
fn dated(teller: &Teller, at: Option<&String>) -> Result<Timestamp, Box<Answer>> {
    let Some(text) = at else { return Ok(teller.now) };
    let at = teller.moment(text, -1)?;
    if at > teller.now {
        let what = format!("`{text}` has not come yet");
        return Answer::failed(2, &what, "`linkflow maintenance schedule` announces work");
    }
    Ok(at)
}

/// By when the next word is promised.
fn next(teller: &Teller, next: Option<&String>) -> Result<Option<Timestamp>, Box<Answer>> {
    next.map(|text| teller.moment(text, 1)).transpose()
}

async fn open(teller: &Teller, args: &OpenArgs) -> Answered {
    let page = teller.config.status_page.as_ref();
    let template = match &args.template {
        None => None,
        Some(name) => match page.and_then(|page| page.templates.get(name)) {
            Some(template) => Some(template),
            None => {
                let what = format!("there is no template `{name}`");
                return Answer::failed(
                    2,
                    &what,
                    "add `[status_page.templates.NAME]` to the config",
                );
            }
        },
    };
    let title =
        args.title.clone().or_else(|| template.map(|t| t.title.clone())).unwrap_or_default();
    let text = match &args.text {
        Some(text) => said(text)?,
        None => template.map_or_else(|| "We are looking into it.".to_owned(), |t| t.text.clone()),
    };
    let mut subjects = teller.subjects(&args.on)?;
    if subjects.is_empty() {
        subjects = template.map(|template| template.subjects.clone()).unwrap_or_default();
    }
    let impact = args.impact.map(Impact::from).or(template.map(|template| template.impact));
    let (at, next) = (dated(teller, args.at.as_ref())?, next(teller, args.next.as_ref())?);
    let opening = Opening {
        title: title.trim().to_owned(),
        impact: impact.unwrap_or(Impact::Minor),
        subjects,
        word: Word { text, at, next, public: !args.private },
    };
    let opened = incident::open(teller.hand(), &teller.config, opening).await?;
    Ok(told(teller, &opened, "opened"))
}

async fn update(teller: &Teller, args: &UpdateArgs) -> Answered {
    let (text, next) = (said(&args.text)?, next(teller, args.next.as_ref())?);
    let at = dated(teller, args.at.as_ref())?;
    let going = Going {
        word: Word { text, at, next, public: !args.private },
        stage: args.stage.map(IncidentStage::from),
        impact: args.impact.map(Impact::from),
    };
    let updated = incident::go_on(teller.hand(), &args.id, going).await?;
    Ok(told(teller, &updated, "updated"))
}

async fn acknowledge(teller: &Teller, args: &AcknowledgeArgs) -> Answered {
    let who = args.by.as_ref().unwrap_or(&teller.who);
    let taken = incident::acknowledge(teller.hand(), &args.id, who).await?;
    Ok(told(teller, &taken, "acknowledged"))
}

async fn resolve(teller: &Teller, args: &ResolveArgs) -> Answered {
    let (text, at) = (said(&args.text)?, dated(teller, args.at.as_ref())?);
    let resolved = incident::resolve(teller.hand(), &args.id, at, &text).await?;
    Ok(told(teller, &resolved, "resolved"))
}

fn told(teller: &Teller, incident: &Incident, what: &str) -> Answer {
    let host = teller.config.status_page.as_ref().and_then(|page| page.host.as_ref());
    let at = host.filter(|_| incident.public);
    let mut out = format!("{what} {}\n", incident.id);
    if let Some(host) = at {
        out.push_str(&format!("  https://{}/incident/{}.html\n", host.0, incident.id));
    }
    Answer { out, result: json!(incident), ..Answer::default() }
}

async fn list(teller: &Teller, args: &ListArgs, colours: bool) -> Answered {
    let mut incidents: Vec<Incident> = teller.all(Incident::PREFIX).await?;
    incidents.retain(|incident| !args.open || incident.is_open());
    incidents.sort_by(|a, b| b.began.cmp(&a.began).then(b.id.cmp(&a.id)));
    let mut table = Table::new(&["ID", "BEGAN", "STAGE", "IMPACT", "TITLE"]);
    for incident in &incidents {
        let tone = if incident.is_open() { Tone::Bad } else { Tone::Good };
        let shown = if incident.public { "" } else { " (private)" };
        table.row(vec![
            (incident.id.clone(), Tone::Strong),
            (teller.shown(incident.began), Tone::Plain),
            (word(&incident.stage), tone),
            (word(&incident.impact), Tone::Plain),
            (format!("{}{shown}", incident.title), Tone::Plain),
        ]);
    }
    let nothing = incidents.is_empty();
    let out = if nothing { "no incident\n".to_owned() } else { table.render(colours) };
    Ok(Answer { out, result: json!({ "incidents": incidents }), ..Answer::default() })
}

async fn show(teller: &Teller, args: &ShowArgs) -> Answered {
    let incidents: Vec<Incident> = teller.all(Incident::PREFIX).await?;
    let Some(incident) = incidents.into_iter().find(|incident| incident.id == args.id) else {
        return unknown("incident", &args.id, "linkflow incident list");
    };
    let mut out = format!(
        "{}\n  {}, {}, began {}\n",
        incident.title,
        word(&incident.stage),
        word(&incident.impact),
        teller.shown(incident.began)
    );
    if let Some(taken) = &incident.acknowledged {
        let at = teller.shown(taken.at);
        out.push_str(&format!("  {} looks after it since {at}\n", taken.by));
    }
    if !incident.subjects.is_empty() {
        out.push_str(&format!("  on {}\n", incident.subjects.join(", ")));
    }
    for update in &incident.updates {
        let private = if update.public { "" } else { ", private" };
        let late = update.written.map(|at| format!(", written {}", teller.shown(at)));
        out.push_str(&format!(
            "\n{}  {} by {}{private}{}\n",
            teller.shown(update.at),
            word(&update.stage),
            update.by,
            late.unwrap_or_default()
        ));
        for line in update.text.lines() {
            out.push_str(&format!("  {line}\n"));
        }
    }
    Ok(Answer { out, result: json!(incident), ..Answer::default() })
}

/// The word that documents have for it.
fn word<T: serde::Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
