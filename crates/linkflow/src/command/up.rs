//! `linkflow up`: serves visitors, watches, and moves services when something dies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use linkflow_engine::{RunKind, RunState};
use linkflow_model::config::{Config, LeadsTo};
use linkflow_rehearsal::cloud::Cloud;
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::output;
use crate::say::progress::Progress;
use crate::wire::follow::follow;
use crate::wire::mirror::Mirror;
use crate::wire::names::Writing;
use crate::wire::picture::publish;
use crate::wire::{Listen, Stack, dashboard, recurring, watched};

use super::change::{self, Doing};
use super::dns::expectation;
use super::{Answered, Context, cloud, plan, shutdown};

/// Serve visitors, watch every placement, and move services when something dies, until Ctrl-C.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow up\n  linkflow up --rehearsal            everything on this machine, with no account\n  linkflow up --listen 127.0.0.1:9000\n  linkflow up --take-over            after an upgrade of linkflow, with another config"
)]
pub(crate) struct UpArgs {
    /// Start a rehearsal cloud, deploy the stack to it, and serve it.
    #[arg(long)]
    pub(crate) rehearsal: bool,

    /// Where to listen for visitors, in place of `edge.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,

    /// Where to listen for visitors with TLS, in place of `edge.listen_tls`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen_tls: Option<SocketAddr>,

    /// Take the place of the `linkflow up` that serves with this state folder: at its sockets, so that no visitor is turned
    /// away. It ends once it has finished what it has under way.
    #[arg(long, conflicts_with = "rehearsal")]
    pub(crate) take_over: bool,
}

/// How long what is under way may take at the end.
const GRACE: Duration = Duration::from_secs(10);

/// What `up` answers.
pub(crate) async fn answer(context: &Context, args: &UpArgs) -> Answered {
    let rehearsal = args.rehearsal || context.common.cloud.is_some();
    let config = context.config(rehearsal)?;
    let mut own_cloud = None;
    let endpoints = match context.cloud().await? {
        Some(endpoints) => Some(endpoints),
        None if args.rehearsal => {
            let folder = context.state(&config, true).join("cloud");
            let cloud = cloud::start(&config, folder, 1).await?;
            Some(own_cloud.insert(cloud).endpoints())
        }
        None => None,
    };
    let listen = Listen::At {
        public: args.listen.unwrap_or(config.edge.listen),
        tls: args.listen_tls.or(config.edge.listen_tls),
        takes_over: args.take_over,
    };
    let control = endpoints.as_ref().map(|cloud| cloud.control.clone());
    let options = context.options(&config, endpoints, "up", listen);
    let tells = config.edge.worker && config.edge.on.is_some();
    let writes = follows(&config) || tells;
    let names = if writes { Some(Writing::open(&config, &options)?) } else { None };
    let mirror = Mirror::open(&config, &options).await.unwrap_or_else(|error| {
        let help = error.help();
        output::err(&format!("warning: the page is told to no vendor: {error}; {help}\n"));
        None
    });
    let answer = match Stack::open(config, options).await {
        Ok(stack) => {
            Box::pin(serve(context, args, stack, (names, mirror), control.as_deref())).await
        }
        Err(error) => Err(error.into()),
    };
    if let Some(cloud) = own_cloud {
        Cloud::stop(cloud).await;
    }
    answer
}

/// Has names follow the placement that serves, and tells the worker in front of the edge how things stand, where the
/// config asks for it.
fn tell_others(stack: &Stack, names: Writing) {
    let parts = || (Arc::clone(&stack.engine), Arc::clone(&stack.clock));
    if let Some(cdn) = names.cdn.clone().filter(|_| stack.config.edge.worker) {
        let ((engine, clock), config) = (parts(), stack.config.clone());
        stack.tasks.start("worker", |stop| publish(stop, engine, clock, config, cdn));
    }
    if follows(&stack.config) {
        output::err(&expectation(names.asked.ttl_s()));
        let (engine, clock) = parts();
        stack.tasks.start("names", |stop| follow(stop, engine, clock, names));
    }
}

/// Whether records of routes follow the placement that serves.
fn follows(config: &Config) -> bool {
    config.dns.as_ref().is_some_and(|dns| dns.leads_to == LeadsTo::Placement)
}

async fn serve(
    context: &Context,
    args: &UpArgs,
    mut stack: Stack,
    (names, mirror): (Option<Writing>, Option<Mirror>),
    control: Option<&str>,
) -> Answered {
    let begun = tokio::select! {
        begun = begin(context, args, &stack, control) => begun,
        () = shutdown::requested() => Ok(()),
    };
    if begun.is_ok() {
        let shown = Progress::for_ever(stack.engine.listen(), context.voice.colours_err);
        stack.tasks.start("show events", |stop| async move {
            stop.or(shown).await;
        });
        stack.run_loop();
        for unable in watched::watch(&mut stack, control.is_some()).await {
            output::err(&format!("warning: {unable}\n"));
        }
        recurring::start(&stack);
        stack.alerts.start(&stack.tasks);
        stack.tell_subscribers();
        if let Some(mirror) = mirror {
            mirror.start(&stack);
        }
        if let Some(names) = names {
            tell_others(&stack, names);
        }
        served(args, &mut stack).await;
    }
    stack.close(GRACE).await;
    begun.map(|()| Answer { told: true, ..Answer::default() })
}

/// Serves until this process is to end: somebody asks for it, or another one has taken its place.
async fn served(args: &UpArgs, stack: &mut Stack) {
    // The providers of a rehearsal end with their process, so nobody takes its place.
    let succession = stack.succession.take().filter(|_| !args.rehearsal);
    let taken = match succession {
        Some(succession) => succession.begin(&stack.tasks).await,
        None => Ok(Arc::default()),
    };
    let taken = taken.unwrap_or_else(|error| {
        output::err(&format!(
            "warning: no `linkflow up --take-over` will find this process: {error}\n"
        ));
        Arc::default()
    });
    tokio::select! {
        () = shutdown::requested() => output::err("stopping\n"),
        () = taken.notified() => output::err("another `linkflow up` serves now; this one finishes what it has under way\n"),
    }
}

/// Deploys what a rehearsal lacks, and tells where everything is.
async fn begin(
    context: &Context,
    args: &UpArgs,
    stack: &Stack,
    control: Option<&str>,
) -> Result<(), Box<Answer>> {
    if args.rehearsal {
        change::finish_earlier(stack, false, context.voice).await?;
        let draft = plan::drafted(stack).await?;
        if !draft.plan.is_empty() {
            let doing =
                Doing { kind: RunKind::Apply, dry_run: false, wait: Duration::from_secs(30) };
            let end = change::run(stack, &draft, doing, context.voice).await?;
            if end.state != RunState::Done {
                let done = change::done_of(stack, &end).await?;
                return Err(Box::new(change::ended(&draft, &end, done)));
            }
        }
    }
    if stack.engine.live().await?.is_none() {
        output::err("nothing is live yet; `linkflow apply` deploys the stack\n");
    }
    let dashboard = dashboard::start(stack, control.is_some()).await.unwrap_or_else(|unable| {
        output::err(&format!("warning: {unable}\n"));
        None
    });
    let links = match dashboard {
        Some(at) => dashboard::first_links(stack, at).await.unwrap_or_else(|unable| {
            output::err(&format!("warning: {unable}\n"));
            Vec::new()
        }),
        None => Vec::new(),
    };
    let (text, value) = addresses(stack, control, (dashboard, links));
    context.voice.tell_now(&text, value);
    Ok(())
}

fn addresses(
    stack: &Stack,
    control: Option<&str>,
    (dashboard, links): (Option<SocketAddr>, Vec<String>),
) -> (String, Value) {
    let public = stack.edge.public();
    let secure = stack.edge.secure().map(|at| format!("https://{at}"));
    let also = secure.as_ref().map(|at| format!(" and {at}")).unwrap_or_default();
    let mut out = format!("serving `{}` on http://{public}{also}\n", stack.config.stack.name);
    for (name, service) in &stack.config.services {
        for route in service.route.iter() {
            let host = match route.host.strip_prefix('*') {
                Some("") => String::new(),
                // Any name below it will do.
                Some(below) => format!(" -H 'host: www{below}'"),
                None => format!(" -H 'host: {}'", route.host),
            };
            out.push_str(&format!(
                "  {name}: curl{host} http://{public}{}\n",
                path(&stack.config, name, &route.path)
            ));
        }
    }
    let services = stack.config.services.keys();
    let internal: serde_json::Map<String, Value> = services
        .filter_map(|name| Some((name.to_string(), json!(stack.address_of(name)?))))
        .collect();
    let dashboard = dashboard.map(|at| format!("http://{at}"));
    if let Some(dashboard) = &dashboard {
        out.push_str(&format!("dashboard: {dashboard}\n"));
    }
    if !links.is_empty() {
        out.push_str(
            "  nobody may come in yet; this lets the first person in, once, within one hour:\n",
        );
    }
    for link in &links {
        out.push_str(&format!("  {link}\n"));
    }
    if let Some(control) = control {
        out.push_str(&format!(
            "rehearsal cloud: {control}\n  in another terminal: export LINKFLOW_CLOUD={control}\n  then: linkflow status, linkflow drill set PROVIDER killed, linkflow drill clear\n"
        ));
    }
    (
        out,
        json!({ "public": public, "tls": secure, "internal": internal, "control": control, "dashboard": dashboard, "setup": links }),
    )
}

/// A path that answers: the health path under the route, when the service has one.
fn path(config: &Config, name: &linkflow_model::ServiceName, route: &str) -> String {
    let health = config.services.get(name).and_then(|service| service.health.clone());
    health.filter(|health| health.starts_with(route)).unwrap_or_else(|| route.to_owned())
}
