//! The status page, kept fresh: rendered when something changed and every minute, and put wherever the config asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use futures_util::future::join_all;
use linkflow_edge::{Answers, OwnHost};
use linkflow_engine::{Stop, Tasks};
use linkflow_model::config::{Config, PagePlace, SecretRef, SshFolder, StatusPage};
use linkflow_model::role::Pages;
use linkflow_model::{Clock, Event, EventKind, Level, ProviderName, Pulse, Secret, Timestamp};
use linkflow_providers::kit::Kit;
use linkflow_providers::pages::{bucket, embedded, git, ssh};
use linkflow_store::Store;
use linkflow_web::Shelf;
use linkflow_web::status::{Bundle, Look, gather};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::warn;

use super::secrets::Secrets;
use super::{Listen, OpenError, OpenOptions};

/// The folder of the rendered page, in the state folder.
pub(crate) const FOLDER: &str = "page";

/// How often the page is rendered while nothing changes: it says when it was checked.
const EVERY_MS: u64 = 60_000;

/// How often the store is asked whether something happened.
const LOOK: Duration = Duration::from_secs(1);

/// What `git` finds in its environment: where programs are, and how the network is reached.
const GIT_FINDS: [&str; 6] =
    ["PATH", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE"];

/// How large a logo may be: every page carries it.
const LOGO_BYTES: usize = 8 << 10;

/// What a page is made of.
pub(crate) struct PageMaker {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Config,
    pub(crate) look: Look,
    pub(crate) clock: Arc<dyn Clock>,
}

impl PageMaker {
    /// The page as it is now. It is gathered where it is rendered, as reading years of incidents takes its time, too.
    ///
    /// # Errors
    /// One sentence, when the store cannot be read.
    pub(crate) async fn render(self: &Arc<Self>) -> Result<Bundle, String> {
        let (maker, here) = (Arc::clone(self), Handle::current());
        behind(move || {
            let page = gather(&*maker.store, &maker.config, &maker.look, maker.clock.wall());
            let page = here.block_on(page).map_err(|error| error.to_string())?;
            Bundle::render(&page).map_err(|error| error.to_string())
        })
        .await?
    }
}

/// Does `work` where no thread that answers visitors is held up.
///
/// # Errors
/// One sentence, when the work broke down.
async fn behind<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

/// Where the page is from outside, when it has a host.
pub(super) fn address(config: &Config) -> Option<String> {
    let host = config.status_page.as_ref().and_then(|page| page.host.as_ref());
    host.map(|host| format!("https://{}", host.0))
}

/// What the config's files hold for the page. Paths begin at `workdir`.
///
/// # Errors
/// What is wrong with the logo, and what helps.
pub(crate) fn look(
    settings: Option<&StatusPage>,
    workdir: &Path,
) -> Result<Look, (String, String)> {
    let Some(logo) = settings.and_then(|page| page.logo.as_ref()) else {
        return Ok(Look::default());
    };
    let path = workdir.join(logo);
    let wrong = |why: String| format!("`status_page.logo`, {}, {why}", path.display());
    let bytes = std::fs::read(&path).map_err(|error| {
        (wrong(format!("cannot be read: {error}")), "it is a file beside the config".to_owned())
    })?;
    if bytes.len() > LOGO_BYTES {
        let what = wrong(format!("has {} bytes", bytes.len()));
        return Err((what, format!("{LOGO_BYTES} are the most: every page carries it")));
    }
    let kind = match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        _ if logo.ends_with(".svg") => "image/svg+xml",
        _ => {
            let what = wrong("is neither SVG nor PNG".to_owned());
            return Err((what, "those are what every browser shows".to_owned()));
        }
    };
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    Ok(Look { logo: Some(format!("data:{kind};base64,{text}")) })
}

/// Where copies are kept: in the state folder first, then wherever the config asks, in its order.
///
/// # Errors
/// When the key of a place is not there.
pub(crate) fn places(
    settings: Option<&StatusPage>,
    (state, workdir): (&Path, &Path),
    secrets: &Secrets,
    kit: &Kit,
) -> Result<Vec<Box<dyn Pages>>, OpenError> {
    // The name of the embedded provider is one.
    let Some(here) = ProviderName::new("embedded") else { return Ok(Vec::new()) };
    let folder = |path| Box::new(embedded::open(path, &here)) as Box<dyn Pages>;
    let mut places = vec![folder(state.join(FOLDER))];
    for place in settings.into_iter().flat_map(|page| &page.publish) {
        places.extend(place.folder.as_ref().map(|path| folder(workdir.join(path))));
        if let Some(name) = &place.bucket {
            places.push(Box::new(bucket::open(bucket_of(name, place, secrets)?, kit, &here)));
        }
        if let Some(at) = &place.ssh {
            places.push(Box::new(ssh::open(folder_of(at, place, secrets)?, kit, &here)));
        }
        if let Some(url) = &place.git {
            let work = state.join(format!("{FOLDER}-git-{}", places.len()));
            places.push(Box::new(git::open(branch_of(&url.0, place, work, secrets)?, kit, &here)));
        }
    }
    Ok(places)
}

/// What opens the bucket `name`.
fn bucket_of(
    name: &str,
    place: &PagePlace,
    secrets: &Secrets,
) -> Result<bucket::Settings, OpenError> {
    let of = format!("the bucket `{name}`");
    let endpoint = place.endpoint.as_ref().map(|url| url.0.trim_end_matches('/').to_owned());
    Ok(bucket::Settings {
        bucket: name.to_owned(),
        endpoint: endpoint.unwrap_or_default(),
        region: place.region.clone(),
        key: follow("key", &of, place.key.as_ref(), secrets)?,
        secret: follow("secret", &of, place.secret.as_ref(), secrets)?,
    })
}

/// What opens the folder `at` behind SSH.
fn folder_of(
    at: &SshFolder,
    place: &PagePlace,
    secrets: &Secrets,
) -> Result<ssh::Settings, OpenError> {
    let name = at.to_string();
    Ok(ssh::Settings {
        address: at.host.clone(),
        port: at.port,
        user: at.user.clone(),
        key: follow("key", &format!("`{name}`"), place.key.as_ref(), secrets)?,
        host_key: place.host_key.clone().unwrap_or_default(),
        folder: at.folder.clone(),
        name,
    })
}

/// What opens a branch of the repository at `url`. Files lie in `work` while they are pushed.
fn branch_of(
    url: &str,
    place: &PagePlace,
    work: PathBuf,
    secrets: &Secrets,
) -> Result<git::Settings, OpenError> {
    Ok(git::Settings {
        url: url.to_owned(),
        branch: place.branch.clone(),
        token: follow("key", &format!("`{url}`"), place.key.as_ref(), secrets)?,
        per_hour: place.per_hour,
        work,
        env: secrets.environment(&GIT_FINDS),
    })
}

/// The secret that `key` of a place names.
fn follow(
    key: &str,
    of: &str,
    reference: Option<&SecretRef>,
    secrets: &Secrets,
) -> Result<Secret, OpenError> {
    reference.and_then(|reference| secrets.follow(reference)).ok_or_else(|| OpenError::Missing {
        what: format!("the `{key}` of {of} is not there"),
        help: "export what `status_page.publish` names before you start LinkFlow".to_owned(),
    })
}

/// Answers visitors of the edge from the shelf.
pub(crate) struct FromShelf(pub(crate) Arc<Shelf>);

impl Answers for FromShelf {
    fn answer(
        &self,
        method: &http::Method,
        path: &str,
        headers: &http::HeaderMap,
    ) -> http::Response<bytes::Bytes> {
        self.0.answer(method, path, headers)
    }
}

/// The host that the edge answers for, when the config has one.
pub(crate) fn own_host(config: &Config, shelf: &Arc<Shelf>) -> Option<OwnHost> {
    let host = config.status_page.as_ref()?.host.as_ref()?;
    Some(OwnHost { host: host.0.clone(), by: Arc::new(FromShelf(Arc::clone(shelf))) })
}

/// The page of a stack: on the shelf that the edge serves from, and soon in its places.
pub(super) struct Opened {
    pub(super) shelf: Arc<Shelf>,
    config: Config,
    look: Look,
    places: Vec<Box<dyn Pages>>,
    serves: bool,
}

/// Opens what the page of `config` needs, for a process that serves. A rehearsal puts it nowhere beside what is real.
///
/// # Errors
/// When its logo cannot be used, or the key of a place is not there.
pub(super) fn open(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
) -> Result<Opened, OpenError> {
    let page = config.status_page.as_ref().filter(|_| options.listen != Listen::Nowhere);
    let look = look(page, &options.workdir);
    let look = look.map_err(|(what, help)| OpenError::Missing { what, help })?;
    let asked = page.filter(|_| options.cloud.is_none());
    let places = places(asked, (&options.state, &options.workdir), secrets, kit)?;
    let serves = options.listen != Listen::Nowhere;
    Ok(Opened { shelf: Arc::default(), config: config.clone(), look, places, serves })
}

impl Opened {
    /// Keeps it fresh in a task of `tasks`, where the config has a page and this process serves. Gives what beats meanwhile.
    pub(super) fn start(
        self,
        tasks: &Tasks,
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
    ) -> Pulse {
        let pulse = Pulse::default();
        let Self { shelf, config, look, places, serves } = self;
        if serves && config.status_page.is_some() {
            let (store, clock) = (Arc::clone(store), Arc::clone(clock));
            let maker = Arc::new(PageMaker { store, config, look, clock });
            let beats = pulse.clone();
            tasks.start("status page", |stop| keep(stop, maker, shelf, places, beats));
        }
        pulse
    }
}

/// A place, and whether the last put worked: only a change is told.
struct Kept {
    place: Box<dyn Pages>,
    worked: Option<bool>,
}

/// Keeps the page fresh on the shelf and in all places, until it is asked to stop. `pulse` beats while that works. What is under
/// way then is cut off: each place stands that, and the next process finishes it.
pub(crate) async fn keep(
    stop: Stop,
    maker: Arc<PageMaker>,
    shelf: Arc<Shelf>,
    places: Vec<Box<dyn Pages>>,
    pulse: Pulse,
) {
    let made = watch::Sender::new(None);
    // Each at its own pace: one that is slow or away holds up neither the others nor visitors.
    let kept = places.into_iter().map(|place| keep_in(place, made.subscribe(), &maker));
    let kept = join_all(kept);
    tokio::select! {
        () = keep_fresh(stop, &maker, &shelf, &made, &pulse) => {}
        () = async { kept.await; std::future::pending().await } => {}
    }
}

/// Renders the page when something happened and every minute, and gives it to the shelf and to whoever hears `made`.
async fn keep_fresh(
    stop: Stop,
    maker: &Arc<PageMaker>,
    shelf: &Arc<Shelf>,
    made: &watch::Sender<Option<Arc<Bundle>>>,
    pulse: &Pulse,
) {
    let mut rendered: Option<(u64, Timestamp)> = None;
    loop {
        let newest = maker.store.newest_event().await.unwrap_or_default();
        let now = maker.clock.wall();
        let is_due =
            rendered.is_none_or(|(event, at)| event != newest || now.0.abs_diff(at.0) >= EVERY_MS);
        if !is_due {
            pulse.beat();
        } else {
            match maker.render().await {
                Ok(bundle) => {
                    pulse.beat();
                    let bundle = Arc::new(bundle);
                    let (shelf, shown) = (Arc::clone(shelf), Arc::clone(&bundle));
                    if let Err(error) = behind(move || shelf.put(&shown)).await {
                        warn!(error, "the status page could not be shown");
                    }
                    made.send_replace(Some(bundle));
                }
                Err(why) => warn!(why, "the status page could not be made"),
            }
            // As it was before: what happened meanwhile is not in it yet.
            rendered = Some((newest, now));
        }
        if stop.or(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

/// Puts the newest page into a place, as often as there is a newer one.
async fn keep_in(
    place: Box<dyn Pages>,
    mut made: watch::Receiver<Option<Arc<Bundle>>>,
    maker: &PageMaker,
) {
    let mut kept = Kept { place, worked: None };
    while made.changed().await.is_ok() {
        let newest = made.borrow_and_update().clone();
        if let Some(bundle) = newest {
            put(&mut kept, &bundle, maker).await;
        }
    }
}

/// Puts `bundle` into a place, and tells when that begins to work or to fail.
async fn put(kept: &mut Kept, bundle: &Bundle, maker: &PageMaker) {
    let done = kept.place.put(&bundle.0).await;
    let worked = done.is_ok();
    if kept.worked.replace(worked) == Some(worked) {
        return;
    }
    let name = kept.place.name();
    let (level, message) = match &done {
        Ok(_) => (Level::Info, format!("the status page is kept in {name}")),
        Err(fault) => (Level::Warning, format!("the copy in {name} is old: {fault}")),
    };
    let event = Event::new(maker.clock.wall(), EventKind::Page, level, message);
    if let Err(error) = maker.store.append(&event).await {
        warn!(%error, "an event could not be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> StatusPage {
        let text = format!("[stack]\nname = \"shop\"\n[status_page]\n{text}");
        let files = std::collections::BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        Config::parse(&files, "linkflow.toml", None).config.unwrap().status_page.unwrap()
    }

    #[test]
    fn a_logo_is_carried_by_the_page_and_small() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.svg"), "<svg/>").unwrap();
        std::fs::write(dir.path().join("b.jpg"), "jpg").unwrap();
        std::fs::write(dir.path().join("c.svg"), vec![b' '; LOGO_BYTES + 1]).unwrap();
        let of = |name: &str| look(Some(&settings(&format!("logo = \"{name}\""))), dir.path());
        assert_eq!(of("a.svg").unwrap().logo.unwrap(), "data:image/svg+xml;base64,PHN2Zy8+");
        assert!(of("b.jpg").unwrap_err().0.contains("neither SVG nor PNG"));
        assert!(of("c.svg").unwrap_err().0.contains("8193 bytes"));
        assert!(of("d.svg").unwrap_err().0.contains("cannot be read"));
        assert_eq!(look(None, dir.path()), Ok(Look::default()));
    }

    #[tokio::test]
    async fn a_copy_that_begins_to_fail_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        std::fs::write(taken.join("index.html"), "a shop").unwrap();
        let page = settings("publish = [{ folder = \"taken\" }, { folder = \"free\" }]");
        let text = "[stack]\nname = \"shop\"\n".to_owned();
        let files = std::collections::BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let maker = Arc::new(PageMaker {
            store: Arc::new(linkflow_store::Memory::default()),
            config,
            look: Look::default(),
            clock: Arc::new(linkflow_model::clock::SystemClock::start()),
        });
        let bundle = maker.render().await.unwrap();
        let kit = linkflow_providers::kit::KitOptions {
            record: None,
            clock: Arc::clone(&maker.clock),
            user_agent: "test".to_owned(),
            limits: None,
        };
        let kit = Kit::new(kit).unwrap();
        let key = super::super::state::Key::peek(dir.path());
        let secrets = Secrets::new(std::collections::BTreeMap::new(), key, false);
        let state = dir.path().join("state");
        let places = places(Some(&page), (&state, dir.path()), &secrets, &kit).unwrap();
        let mut places: Vec<Kept> =
            places.into_iter().map(|place| Kept { place, worked: None }).collect();
        for _ in 0..2 {
            for kept in &mut places {
                put(kept, &bundle, &maker).await;
            }
        }
        let told = maker.store.events(0, 10).await.unwrap();
        let levels: Vec<Level> = told.iter().map(|(_, event)| event.level).collect();
        assert_eq!(levels, [Level::Info, Level::Warning, Level::Info], "{told:?}");
        let read =
            |folder: &str| std::fs::read(dir.path().join(folder).join("index.html")).unwrap();
        assert_eq!(read("state/page"), read("free"), "the same bytes everywhere");
        assert_eq!(read("taken"), b"a shop");
    }
}
