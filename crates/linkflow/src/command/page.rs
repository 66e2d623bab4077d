//! `linkflow page`: the status page as files, or served.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use linkflow_engine::{Stop, Tasks};
use linkflow_model::role::Pages;
use linkflow_model::{ProviderName, Pulse};
use linkflow_providers::pages::embedded;
use linkflow_web::Shelf;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::say::answer::Answer;
use crate::wire::page::{self, PageMaker, keep};

use super::change::GRACE;
use super::page_subscribers::{self, SubscribersCommand};
use super::{Answered, Context, shutdown};

/// Make the status page, or serve it. `linkflow up` does both by itself when the config has `[status_page]`.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow page build public         write it into the folder `public`\n  linkflow page serve                look at it on this machine\n  linkflow page subscribers list     who is told of it"
)]
pub(crate) enum PageCommand {
    /// Write it into a folder: what differs, and nothing that somebody else put there.
    #[command(
        after_help = "Examples:\n  linkflow page build public\n  linkflow page build /srv/status --json"
    )]
    Build(BuildArgs),
    /// Serve it, and keep it fresh, until Ctrl-C. The stack itself is left alone.
    #[command(
        after_help = "Examples:\n  linkflow page serve\n  linkflow page serve --listen 0.0.0.0:8090"
    )]
    Serve(ServeArgs),
    /// People and programs who are told by mail and by webhook.
    #[command(
        subcommand,
        after_help = "Examples:\n  linkflow page subscribers list\n  linkflow page subscribers export ann@example.com\n  linkflow page subscribers remove ann@example.com"
    )]
    Subscribers(SubscribersCommand),
}

/// Where it is written.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildArgs {
    /// The folder; it is made when it is not there.
    folder: PathBuf,
}

/// Where it is served.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServeArgs {
    /// Where to listen. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
}

/// How long a client may take to say what it wants.
const HEAD: Duration = Duration::from_secs(10);

/// Most connections at once: a page that is looked at when all else is down must not fall with a crowd.
const CONNECTIONS: usize = 4_096;

/// What `page` answers.
pub(crate) async fn answer(context: &Context, command: &PageCommand) -> Answered {
    match command {
        PageCommand::Build(args) => build(&maker(context)?, args).await,
        PageCommand::Serve(args) => serve(context, maker(context)?, args).await,
        PageCommand::Subscribers(command) => page_subscribers::answer(context, command).await,
    }
}

/// What makes the page of the config.
fn maker(context: &Context) -> Result<Arc<PageMaker>, Box<Answer>> {
    let teller = context.teller()?;
    let look = page::look(teller.config.status_page.as_ref(), &context.workdir());
    let look = look.or_else(|(what, help)| Answer::failed(2, &what, &help))?;
    if teller.config.status_page.is_none() {
        let help = "add `[status_page]` with its `components`; `linkflow explain` and docs/status-page.md tell more";
        return Answer::failed(2, "the config has no status page", help);
    }
    let clock = Arc::new(linkflow_model::clock::SystemClock::start());
    let (store, config) = (Arc::new(teller.store), teller.config);
    Ok(Arc::new(PageMaker { store, config, look, clock }))
}

async fn build(maker: &Arc<PageMaker>, args: &BuildArgs) -> Answered {
    let made = maker.render().await;
    let bundle =
        made.or_else(|why| Answer::failed(1, &why, "see whether the state folder is whole"))?;
    let Some(here) = ProviderName::new("embedded") else { return Ok(Answer::default()) };
    let put = embedded::open(args.folder.clone(), &here).put(&bundle.0).await;
    let put = put.or_else(|fault| {
        Answer::failed(1, &fault.said, "choose a folder that is empty or held the page before")
    })?;
    let (files, folder) = (bundle.0.len(), args.folder.display());
    let out =
        format!("{files} files in {folder}: {} written, {} taken away\n", put.written, put.removed);
    let result = json!({ "files": files, "written": put.written, "removed": put.removed });
    Ok(Answer { out, result, ..Answer::default() })
}

async fn serve(context: &Context, maker: Arc<PageMaker>, args: &ServeArgs) -> Answered {
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.or_else(|error| {
        let what = format!("nothing can listen at {}: {error}", args.listen);
        Answer::failed(1, &what, "`--listen ADDRESS` names another address")
    })?;
    let at = listener.local_addr().unwrap_or(args.listen);
    let (tasks, shelf) = (Tasks::default(), Arc::new(Shelf::default()));
    let kept = Arc::clone(&shelf);
    match maker.render().await {
        Ok(bundle) => shelf.put(&bundle),
        Err(why) => return Answer::failed(1, &why, "see whether the state folder is whole"),
    }
    tasks.start("status page", |stop| keep(stop, maker, kept, Vec::new(), Pulse::default()));
    let (own, stop) = (tasks.clone(), tasks.stop());
    tasks.start("status page visitors", |_| accept(stop, listener, shelf, own));
    context
        .voice
        .tell_now(&format!("the status page is at http://{at}\n"), json!({ "listen": at }));
    shutdown::requested().await;
    tasks.shut_down(GRACE).await;
    Ok(Answer { told: true, ..Answer::default() })
}

async fn accept(stop: Stop, listener: TcpListener, shelf: Arc<Shelf>, tasks: Tasks) {
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Some(place) = stop.or(Arc::clone(&places).acquire_owned()).await else { return };
        let Some(accepted) = stop.or(listener.accept()).await else { return };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let shelf = Arc::clone(&shelf);
        tasks.start("status page visitor", |stop| async move {
            stop.or(talk(stream, shelf)).await;
            drop(place);
        });
    }
}

async fn talk(stream: TcpStream, shelf: Arc<Shelf>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let answer = shelf.answer(request.method(), request.uri().path(), request.headers());
        async move { Ok::<Response<Full<Bytes>>, Infallible>(answer.map(Full::new)) }
    });
    let mut server = http1::Builder::new();
    let server = server.timer(TokioTimer::new()).header_read_timeout(HEAD);
    // A client that goes away is its own matter.
    drop(server.serve_connection(TokioIo::new(stream), answer).await);
}
