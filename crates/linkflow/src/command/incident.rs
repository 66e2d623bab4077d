//! `linkflow incident`: telling people that something is wrong, how it goes on, and that it is over.

use clap::{Args, Subcommand, ValueEnum};
use linkflow_model::{
    Acknowledged, Impact, Incident, IncidentStage, IncidentUpdate, ItemName, Level, Timestamp,
};
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};

use super::tell::{Teller, said, slug, unknown};
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

/// When something was so, and when it was written where that is later.
fn dated(
    teller: &Teller,
    at: Option<&String>,
) -> Result<(Timestamp, Option<Timestamp>), Box<Answer>> {
    let Some(text) = at else { return Ok((teller.now, None)) };
    let at = teller.moment(text, -1)?;
    if at > teller.now {
        let what = format!("`{text}` has not come yet");
        return Answer::failed(2, &what, "`linkflow maintenance schedule` announces work");
    }
    Ok((at, (at < teller.now).then_some(teller.now)))
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
    let (at, written) = dated(teller, args.at.as_ref())?;
    let mut subjects = teller.subjects(&args.on)?;
    if subjects.is_empty() {
        subjects = template.map(|template| template.subjects.clone()).unwrap_or_default();
    }
    let impact = args.impact.map(Impact::from).or(template.map(|template| template.impact));
    let incident = Incident {
        id: String::new(),
        title: title.trim().to_owned(),
        impact: impact.unwrap_or(Impact::Minor),
        stage: IncidentStage::Investigating,
        began: at,
        ended: None,
        subjects,
        cause: None,
        automatic: false,
        public: !args.private,
        acknowledged: None,
        updates: vec![IncidentUpdate {
            at,
            stage: IncidentStage::Investigating,
            text,
            by: teller.who.clone(),
            public: !args.private,
            written,
            next: next(teller, args.next.as_ref())?,
        }],
    };
    if incident.title.is_empty() {
        return Answer::failed(2, "an incident has a title", "say what people notice, in one line");
    }
    let first = format!("{}-{}", teller.day(at), slug(&incident.title));
    let ids = std::iter::once(first.clone()).chain((2..100).map(|n| format!("{first}-{n}")));
    let made = ids.map(|id| {
        let incident = Incident { id, ..incident.clone() };
        (incident.key(), incident)
    });
    let incident = teller.create(made).await?;
    let level = if incident.impact >= Impact::Major { Level::Warning } else { Level::Notice };
    let message = format!("{} opened the incident {}: {}", teller.who, incident.id, incident.title);
    teller.note(level, message).await?;
    Ok(told(teller, &incident, "opened"))
}

async fn update(teller: &Teller, args: &UpdateArgs) -> Answered {
    let (text, next) = (said(&args.text)?, next(teller, args.next.as_ref())?);
    let (at, written) = dated(teller, args.at.as_ref())?;
    let change = |incident: &mut Incident| {
        let stage = args.stage.map_or(incident.stage, IncidentStage::from);
        if !incident.is_open() && stage < IncidentStage::Resolved {
            let what = format!("`{}` is over", incident.id);
            return Answer::failed(
                5,
                &what,
                "`--stage postmortem` adds what was learned; `linkflow incident open` opens another",
            );
        }
        incident.impact = args.impact.map_or(incident.impact, Impact::from);
        // A note for the team does not change what people were told.
        if !args.private {
            incident.stage = stage;
        }
        let by = teller.who.clone();
        let public = !args.private;
        add(incident, IncidentUpdate { at, stage, text: text.clone(), by, public, written, next });
        Ok(())
    };
    change_and_tell(teller, &args.id, change, "updated", Level::Notice).await
}

async fn acknowledge(teller: &Teller, args: &AcknowledgeArgs) -> Answered {
    let by = args.by.clone().unwrap_or_else(|| teller.who.clone());
    let change = |incident: &mut Incident| {
        if !incident.is_open() {
            return Answer::failed(5, &format!("`{}` is over already", incident.id), "");
        }
        let at = incident.acknowledged.as_ref().filter(|taken| taken.by == by).map(|t| t.at);
        incident.acknowledged = Some(Acknowledged { by: by.clone(), at: at.unwrap_or(teller.now) });
        Ok(())
    };
    change_and_tell(teller, &args.id, change, "acknowledged", Level::Notice).await
}

async fn resolve(teller: &Teller, args: &ResolveArgs) -> Answered {
    let text = said(&args.text)?;
    let (at, written) = dated(teller, args.at.as_ref())?;
    let change = |incident: &mut Incident| {
        if !incident.is_open() {
            return Answer::failed(5, &format!("`{}` is over already", incident.id), "");
        }
        if at < incident.began {
            let what = format!("`{}` would be over before it began", incident.id);
            return Answer::failed(2, &what, "`--at` is when it was over");
        }
        let stage = IncidentStage::Resolved;
        (incident.stage, incident.ended) = (stage, Some(at));
        let (by, public, next) = (teller.who.clone(), incident.public, None);
        add(incident, IncidentUpdate { at, stage, text: text.clone(), by, public, written, next });
        Ok(())
    };
    change_and_tell(teller, &args.id, change, "resolved", Level::Notice).await
}

/// Adds an update where it belongs: they are in the order of what they say, not of when they were written.
fn add(incident: &mut Incident, update: IncidentUpdate) {
    let place = incident.updates.partition_point(|held| held.at <= update.at);
    incident.updates.insert(place, update);
}

async fn change_and_tell(
    teller: &Teller,
    id: &str,
    change: impl FnMut(&mut Incident) -> Result<(), Box<Answer>>,
    what: &str,
    level: Level,
) -> Answered {
    let key = format!("{}{id}", Incident::PREFIX);
    match teller.change(&key, change).await? {
        None => unknown("incident", id, "linkflow incident list"),
        Some(incident) => {
            let message = format!("{} {what} the incident {id}: {}", teller.who, incident.title);
            teller.note(level, message).await?;
            Ok(told(teller, &incident, what))
        }
    }
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
