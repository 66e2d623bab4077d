//! `linkflow domain`: names of the stack's own domain at a provider directly.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures_util::future::join_all;
use linkflow_engine::{EngineError, Patience, guarded};
use linkflow_model::config::Host;
use linkflow_model::role::{Compute, DnsRecord, DomainState};
use linkflow_model::{Fault, FaultKind, Moment, ProviderName, ServiceName};
use serde_json::json;
use tokio::time::sleep;

use crate::say::answer::Answer;
use crate::say::progress::Waiting;
use crate::say::table::{Table, Tone};
use crate::say::wrap::wrapped;
use crate::wire::Stack;

use super::change::GRACE;
use super::{Answered, Context};

/// How often a provider is asked whether a name serves already.
const POLL: Duration = Duration::from_secs(2);

/// Have names of your own domain lead to a service at a provider directly, past LinkFlow's edge.
///
/// The provider gets the certificate itself, once DNS says what it asks for. A name that leads there directly does not
/// move when the provider dies: for that, lead it to LinkFlow's edge.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow domain add api.example.com --service api --on fly\n  linkflow domain add api.example.com --service api --on fly --wait 600\n  linkflow domain list\n  linkflow domain list api.example.com --on fly\n  linkflow domain remove api.example.com --service api --on fly"
)]
pub(crate) enum DomainCommand {
    /// How names stand at the providers: those of the routes, or those that are given.
    List(ListArgs),
    /// Have a name lead to a service, and show what DNS has to say.
    Add(AddArgs),
    /// Take a name away.
    Remove(RemoveArgs),
}

/// Which names.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow domain list\n  linkflow domain list api.example.com --service api"
)]
pub(crate) struct ListArgs {
    /// The names; those of the routes when none is given.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<Host>,

    /// Only of this service.
    #[arg(long)]
    pub(crate) service: Option<ServiceName>,

    /// Only at this provider.
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) on: Option<ProviderName>,
}

/// A name, and where it leads.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    /// The name: `api.example.com`.
    #[arg(value_name = "NAME")]
    pub(crate) name: Host,

    /// The service.
    #[arg(long)]
    pub(crate) service: ServiceName,

    /// The provider.
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) on: ProviderName,
}

/// What is added.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow domain add api.example.com --service api --on fly\n  linkflow domain add api.example.com --service api --on fly --wait 600"
)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    pub(crate) lead: Lead,

    /// How many seconds to wait: for another process that acts on this stack, and then until the name serves.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,
}

/// What is removed.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow domain remove api.example.com --service api --on fly"
)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(crate) lead: Lead,

    /// How many seconds to wait for another process that acts on this stack.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,
}

/// What `domain` answers.
pub(crate) async fn answer(context: &Context, command: &DomainCommand) -> Answered {
    if !matches!(command, DomainCommand::List(_)) {
        context.refuse_within_hook("domain")?;
    }
    let stack = context.stack("domain").await?;
    let answer = match command {
        DomainCommand::List(args) => list(context, &stack, args).await,
        DomainCommand::Add(args) => add(context, &stack, args).await,
        DomainCommand::Remove(args) => remove(&stack, args).await,
    };
    stack.close(GRACE).await;
    answer
}

async fn list(context: &Context, stack: &Stack, args: &ListArgs) -> Answered {
    if let Some(service) = args.service.as_ref().filter(|s| !stack.config.services.contains_key(*s))
    {
        return Answer::failed(2, &format!("there is no service `{service}`"), STATUS);
    }
    let mut places = Vec::new();
    for (service, declared) in &stack.config.services {
        if args.service.as_ref().is_some_and(|only| only != service) {
            continue;
        }
        let spec = declared.spec(service);
        let routed =
            spec.routes.iter().map(|route| route.host.as_str()).filter(|host| *host != "*");
        let names: BTreeSet<&str> = match args.names.as_slice() {
            [] => routed.collect(),
            given => given.iter().map(|name| name.0.as_str()).collect(),
        };
        for provider in
            declared.runs_on.iter().filter(|p| args.on.as_ref().is_none_or(|on| on == *p))
        {
            let Some(compute) = stack.computes.get(provider) else { continue };
            if compute.capabilities().domains {
                let rows = names
                    .iter()
                    .map(|name| ((*name).to_owned(), service.clone(), Arc::clone(compute)));
                places.extend(rows);
            }
        }
    }
    let waiting = Waiting::new(context.voice);
    let asked = join_all(places.iter().map(|(name, service, compute)| async {
        let call = || compute.domain(service, name);
        let told = guarded(compute.name(), "tell of a domain", Patience::LOOK, call);
        waiting.for_one(compute.name().as_str(), told).await
    }));
    let told = waiting.during(asked).await;
    let rows = places.iter().zip(told).map(|((name, service, compute), told)| Row {
        name: name.clone(),
        service: service.clone(),
        provider: compute.name().clone(),
        told,
    });
    Ok(listed(&rows.collect::<Vec<_>>(), context.voice.colours))
}

/// How one name stands at one provider.
struct Row {
    name: String,
    service: ServiceName,
    provider: ProviderName,
    told: Result<DomainState, Fault>,
}

fn listed(rows: &[Row], colours: bool) -> Answer {
    let mut answer = Answer::default();
    let mut table = Table::new(&["NAME", "SERVICE", "PROVIDER", "STATE"]);
    let mut wanted = String::new();
    let mut values = Vec::new();
    for row in rows {
        let (state, tone) = match &row.told {
            // Of a service that is not deployed no name is known.
            Err(fault) if fault.kind == FaultKind::Missing => ("not deployed", Tone::Faint),
            Err(fault) => {
                answer.err.push_str(&format!("warning: {fault}\n"));
                answer
                    .warnings
                    .push(json!({ "provider": fault.provider, "message": fault.to_string() }));
                ("unknown", Tone::Notable)
            }
            Ok(DomainState::Absent) => ("absent", Tone::Faint),
            Ok(DomainState::Waiting { said, records }) => {
                wanted.push_str(&format!("\n{} on {} waits: {said}\n", row.name, row.provider));
                wanted.push_str(&shown(records, colours));
                ("waits", Tone::Notable)
            }
            Ok(DomainState::Ready) => ("serves", Tone::Good),
        };
        table.row(vec![
            (row.name.clone(), Tone::Strong),
            (row.service.to_string(), Tone::Plain),
            (row.provider.to_string(), Tone::Plain),
            (state.to_owned(), tone),
        ]);
        values.push(json!({
            "name": row.name,
            "service": row.service,
            "provider": row.provider,
            "state": row.told.as_ref().ok(),
        }));
    }
    answer.out = if rows.is_empty() {
        "no name can be asked for: no route names a host of a service that runs at a provider which serves own domains\n".to_owned()
    } else {
        table.render(colours) + &wanted
    };
    answer.result = json!({ "names": values });
    answer
}

async fn add(context: &Context, stack: &Stack, args: &AddArgs) -> Answered {
    let lead = &args.lead;
    let compute = able(stack, lead)?;
    let wait = Duration::from_secs(args.wait);
    let began = stack.clock.now();
    let state = put(stack, lead, wait).await?;
    let deadline = began.plus(args.wait.saturating_mul(1_000));
    let waiting = Waiting::new(context.voice);
    let until =
        waiting.for_one(lead.on.as_str(), until_ready(stack, compute, lead, state, deadline));
    let state = waiting.during(until).await?;
    let result = json!({
        "name": lead.name.0, "service": lead.service, "provider": lead.on, "state": state,
    });
    let (name, service, on) = (&lead.name.0, &lead.service, &lead.on);
    Ok(match state {
        DomainState::Ready => Answer {
            out: format!("{name} leads to {service} on {on}, with a certificate\n"),
            result,
            ..Answer::default()
        },
        DomainState::Waiting { said, records } => {
            let mut out = format!("{name} will lead to {service} on {on} once DNS says this:\n\n");
            out.push_str(&shown(&records, context.voice.colours));
            out.push('\n');
            let text =
                format!("{on} says: {said}. `linkflow domain list {name}` tells how it stands.");
            wrapped(&text, 0).iter().for_each(|line| out.push_str(&format!("{line}\n")));
            let late = format!("{name} does not serve yet after {} s", args.wait);
            let help = "set the records above at your DNS, then the same command again";
            let failure = Answer::failure(1, &late, help);
            match args.wait {
                0 => Answer { out, result, ..Answer::default() },
                _ => Answer { out, result, ..failure },
            }
        }
        DomainState::Absent => {
            let what = format!("{on} does not know {name} after it was added");
            Answer { result, ..Answer::failure(7, &what, "the same command again") }
        }
    })
}

async fn remove(stack: &Stack, args: &RemoveArgs) -> Answered {
    let lead = &args.lead;
    able(stack, lead)?;
    let (name, service, on) = (&lead.name.0, &lead.service, &lead.on);
    let wait = Duration::from_secs(args.wait);
    let removed = stack.engine.remove_domain(service, on, name, wait).await;
    removed.map_err(|error| refusal(lead, error))?;
    let out = format!(
        "{name} does not lead to {service} on {on} any more; take its records out of DNS\n"
    );
    let result =
        json!({ "name": name, "service": service, "provider": on, "state": DomainState::Absent });
    Ok(Answer { out, result, ..Answer::default() })
}

const STATUS: &str = "`linkflow status` lists them";

/// The provider of `lead`, when it serves own domains and may run the service.
fn able<'a>(stack: &'a Stack, lead: &Lead) -> Result<&'a Arc<dyn Compute>, Box<Answer>> {
    let (service, on) = (&lead.service, &lead.on);
    let Some(declared) = stack.config.services.get(service) else {
        return Answer::failed(2, &format!("there is no service `{service}`"), STATUS);
    };
    let cascade: Vec<&str> = declared.runs_on.iter().map(ProviderName::as_str).collect();
    let compute = stack.computes.get(on).filter(|_| declared.runs_on.contains(on));
    let Some(compute) = compute else {
        let what = format!("{service} does not run on `{on}`");
        return Answer::failed(2, &what, &format!("it runs on {}", cascade.join(", ")));
    };
    if compute.capabilities().domains {
        return Ok(compute);
    }
    let serves = |name: &&str| {
        let held = stack.computes.iter().find(|(known, _)| known.as_str() == *name);
        held.is_some_and(|(_, compute)| compute.capabilities().domains)
    };
    let others: Vec<&str> = cascade.iter().copied().filter(|name| serves(name)).collect();
    let help = if others.is_empty() {
        format!("lead {} to LinkFlow's edge: `route = \"{0}\"`", lead.name.0)
    } else {
        format!("of its cascade these do: {}", others.join(", "))
    };
    Answer::failed(2, &format!("{on} serves no names of your own domain"), &help)
}

async fn put(stack: &Stack, lead: &Lead, wait: Duration) -> Result<DomainState, Box<Answer>> {
    let added = stack.engine.add_domain(&lead.service, &lead.on, &lead.name.0, wait).await;
    added.map_err(|error| refusal(lead, error))
}

fn refusal(lead: &Lead, error: EngineError) -> Box<Answer> {
    match error {
        EngineError::Fault(fault) if fault.kind == FaultKind::Missing => {
            let what = format!("{} is not deployed on {}", lead.service, lead.on);
            Box::new(Answer::failure(2, &what, "`linkflow apply` deploys it"))
        }
        error => error.into(),
    }
}

/// Asks until the name serves or it is late. Some providers want to be told again, once DNS says what they asked for.
async fn until_ready(
    stack: &Stack,
    compute: &Arc<dyn Compute>,
    lead: &Lead,
    mut state: DomainState,
    deadline: Moment,
) -> Result<DomainState, Box<Answer>> {
    while state != DomainState::Ready && stack.clock.now() < deadline {
        sleep(POLL).await;
        let call = || compute.domain(&lead.service, &lead.name.0);
        match guarded(&lead.on, "tell of a domain", Patience::LOOK, call).await {
            Ok(DomainState::Absent) => state = put(stack, lead, Duration::ZERO).await?,
            Ok(now) => state = now,
            // It is asked again soon.
            Err(fault) if fault.kind.is_passing() => {}
            Err(fault) => return Err(EngineError::Fault(fault).into()),
        }
    }
    Ok(state)
}

/// Records in columns, as DNS providers ask for them.
fn shown(records: &[DnsRecord], colours: bool) -> String {
    let mut table = Table::new(&["  TYPE", "NAME", "VALUE"]);
    for record in records {
        table.row(vec![
            (format!("  {}", record.kind), Tone::Strong),
            (record.name.clone(), Tone::Plain),
            (record.value.clone(), Tone::Plain),
        ]);
    }
    table.render(colours)
}
