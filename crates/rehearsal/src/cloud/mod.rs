//! The rehearsal cloud: simulated providers that speak their vendors' APIs and really run the sample app.
//!
//! Each provider is a [`site::Site`] (processes, faults, chance) with a [`site::Vendor`] (its API and its state) behind
//! two doors: the management API and the ingress. Nothing here is shared with the adapters that talk to it.

mod answer;
mod azure;
mod beside;
mod cloudflare;
mod control;
mod desec;
mod dice;
mod door;
mod endpoints;
mod fly;
pub mod generic;
mod github;
mod graphql;
mod hetzner;
mod ingress;
mod koyeb;
mod limit;
mod log;
mod mail;
mod process;
mod railway;
mod registry;
mod render;
mod sentry;
mod site;
mod slack;
mod tasks;
mod trouble;
mod twilio;
mod watcher;
mod zeabur;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use linkflow_model::clock::SystemClock;
use linkflow_model::{Clock, ProviderName, ServiceName, StackName};
use tokio::sync::broadcast;

use answer::{Answer, Call};
use beside::Stalls;
use dice::Dice;
use door::Door;
use ingress::Ingress;
use process::Runner;
use registry::Images;
use site::{Counts, Site, Vendor};
use tasks::Tasks;
use trouble::{Faults, Teller};

pub use endpoints::{
    CloudflareEndpoint, DesecEndpoint, Endpoints, GithubEndpoint, MailEndpoint, ProviderEndpoint,
    SlackEndpoint, TwilioEndpoint, WatcherEndpoint,
};
pub use hetzner::{Boot, Booted};
pub use registry::{Image, Login};
pub use site::{Asked, InstanceView};
pub use trouble::{FaultChange, Standing, Trouble};

/// What a cloud is made of.
#[derive(Clone, Debug)]
pub struct CloudOptions {
    /// Run as `program app SERVICE` for each instance.
    pub program: PathBuf,
    /// Where logs and the ledger go. Made when it is not there.
    pub folder: PathBuf,
    /// The stack that is rehearsed.
    pub stack: StackName,
    /// Each provider and its kind. `azure-container-apps`, `fly`, `hetzner`, `koyeb`, `railway`, `render` and `zeabur` speak
    /// those vendors' APIs; all others, `server`, `docker` and `embedded` among them, the generic one.
    pub providers: Vec<(ProviderName, String)>,
    /// Ids and delays follow from it.
    pub seed: u64,
}

/// A running cloud. Dropping it kills its processes; [`Cloud::stop`] also waits until they are gone.
pub struct Cloud {
    hub: Arc<Hub>,
    tasks: Tasks,
}

/// What the control API and the cloud itself share.
struct Hub {
    places: BTreeMap<ProviderName, Place>,
    stalls: Stalls,
    images: Arc<Images>,
    clock: Arc<dyn Clock>,
    teller: Teller,
    endpoints: OnceLock<Endpoints>,
}

/// One provider.
struct Place {
    kind: String,
    site: Arc<Site>,
    vendor: Arc<dyn Vendor>,
    /// The machines that its API rents out.
    machines: Option<Arc<hetzner::Hetzner>>,
    api: Arc<Door>,
    /// The vendor's own registry, where it has one.
    registry: Option<Arc<Door>>,
    ingress: Arc<Door>,
}

impl Cloud {
    /// Starts the cloud, with nothing deployed.
    ///
    /// # Errors
    /// When the folder cannot be made or no port can be had.
    pub async fn start(options: CloudOptions) -> io::Result<Self> {
        let logs = options.folder.join("logs");
        tokio::fs::create_dir_all(&logs).await?;
        let ledger = options.folder.join("ledger.db");
        let (tasks, images) =
            (Tasks::default(), Arc::new(Images::of_the_example(login(options.seed))));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let runner = Runner::start(
            options.program.clone(),
            ledger.clone(),
            Arc::clone(&clock),
            tasks.clone(),
        )?;
        let parts = Parts {
            tasks: tasks.clone(),
            images: Arc::clone(&images),
            clock,
            runner: Arc::new(runner),
            logs,
        };

        let mut places = BTreeMap::new();
        let mut providers = BTreeMap::new();
        for (name, kind) in &options.providers {
            let (place, endpoint) = build(&parts, &options, name, kind)?;
            places.insert(name.clone(), place);
            providers.insert(name.clone(), endpoint);
        }
        let stalls = Stalls::open(&tasks, &parts.clock, &images, options.seed)?;
        let (cloudflare, desec) = (stalls.cloudflare(), stalls.desec());
        let (github, slack) = (stalls.github(), stalls.slack());
        let (twilio, mail, watchers) = (stalls.twilio(), stalls.mail(), stalls.watchers());
        let sentry = stalls.sentry();
        let hub = Arc::new(Hub {
            places,
            stalls,
            images: Arc::clone(&images),
            clock: parts.clock,
            teller: Teller::new(),
            endpoints: OnceLock::new(),
        });
        let registry = api(&tasks, move |call: Call| std::future::ready(images.answer(&call)))?;
        let of_control = Arc::clone(&hub);
        let control =
            api(&tasks, move |call: Call| std::future::ready(control::answer(&of_control, &call)))?;
        let (control, registry) = (control.url(), registry.url());
        let registry_login = hub.images.login();
        let endpoints = Endpoints {
            control,
            registry,
            registry_login,
            ledger,
            providers,
            cloudflare,
            desec,
            github,
            slack,
            twilio,
            sentry,
            mail,
            watchers,
        };
        hub.endpoints.set(endpoints).map_err(|_| io::Error::other("a cloud starts once"))?;
        Ok(Self { hub, tasks })
    }

    /// Where everything answers.
    pub fn endpoints(&self) -> Endpoints {
        self.hub.endpoints()
    }

    /// Sets a fault of a provider, or of one service there, in place of the one it has; `None` lifts it.
    /// It holds at once, also for requests under way. `cloudflare`, `desec`, `github`, `slack` and the watchers are
    /// always there. `false`: there is no such
    /// provider.
    pub fn set_fault(
        &self,
        provider: &ProviderName,
        service: Option<&ServiceName>,
        trouble: Option<Trouble>,
    ) -> bool {
        self.hub.set_fault(provider, service, trouble)
    }

    /// Lifts every fault.
    pub fn clear_faults(&self) {
        self.hub.clear_all();
    }

    /// The faults that hold.
    pub fn faults(&self) -> BTreeMap<ProviderName, Vec<Standing>> {
        self.hub
            .places
            .iter()
            .map(|(name, place)| (name.clone(), place.site.faults.standing()))
            .collect()
    }

    /// Each fault set or lifted from now on, by whomever.
    pub fn fault_changes(&self) -> broadcast::Receiver<FaultChange> {
        self.hub.teller.listen()
    }

    /// Adds an image to the registry, or moves its tag.
    pub fn add_image(&self, repository: &str, tag: &str, behaviour: &str) -> Image {
        self.hub.images.add(repository, tag, behaviour)
    }

    /// Has `boot` make the machines real that `provider`, of the kind `hetzner`, rents out. `false`: it rents none out, or
    /// somebody does so already.
    pub fn on_boot(&self, provider: &ProviderName, boot: Arc<dyn Boot>) -> bool {
        let place = self.hub.places.get(provider);
        place
            .and_then(|place| place.machines.as_ref())
            .is_some_and(|machines| machines.on_boot(boot))
    }

    /// From now on the monitor `name` that `vendor` keeps is down, or up. `false`: there is none.
    pub fn see(&self, vendor: &str, name: &str, is_down: bool) -> bool {
        self.hub.stalls.see(vendor, name, is_down)
    }

    /// Has Sentry have an issue that was seen now, `unresolved` or of another status; gives its id.
    pub fn make_issue(&self, title: &str, status: &str) -> String {
        self.hub.stalls.make_issue(title, status)
    }

    /// Lets nobody pull from a repository of the registry any more without [`Endpoints::registry_login`].
    pub fn make_private(&self, repository: &str) {
        self.hub.images.make_private(repository);
    }

    /// Every instance of every provider, with its process.
    pub fn instances(&self) -> BTreeMap<ProviderName, Vec<InstanceView>> {
        self.hub
            .places
            .iter()
            .map(|(name, place)| (name.clone(), place.vendor.instances()))
            .collect()
    }

    /// How much the API of each provider was asked so far.
    pub fn asked(&self) -> BTreeMap<ProviderName, Asked> {
        let places = self.hub.places.iter();
        places.map(|(name, place)| (name.clone(), place.site.counts.asked())).collect()
    }

    /// Kills every process, closes every port, and waits until all are gone.
    pub async fn stop(self) {
        self.tasks.stop();
        if !self.tasks.ended(Duration::from_secs(5)).await {
            tracing::warn!("the rehearsal cloud did not end in 5 s");
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Hub {
    fn endpoints(&self) -> Endpoints {
        let none = || Endpoints {
            control: String::new(),
            registry: String::new(),
            registry_login: self.images.login(),
            ledger: PathBuf::new(),
            providers: BTreeMap::new(),
            cloudflare: self.stalls.cloudflare(),
            desec: self.stalls.desec(),
            github: self.stalls.github(),
            slack: self.stalls.slack(),
            twilio: self.stalls.twilio(),
            sentry: self.stalls.sentry(),
            mail: self.stalls.mail(),
            watchers: self.stalls.watchers(),
        };
        self.endpoints.get().cloned().unwrap_or_else(none)
    }

    fn set_fault(
        &self,
        provider: &ProviderName,
        service: Option<&ServiceName>,
        trouble: Option<Trouble>,
    ) -> bool {
        let place = self.places.get(provider);
        let own = place.map(|place| &place.site.faults);
        let Some(faults) = own.or_else(|| self.stalls.faults(provider)) else { return false };
        if faults.set(service, trouble) {
            match place {
                Some(place) => place.apply(),
                None => self.stalls.apply(),
            }
            let (provider, service) = (provider.clone(), service.cloned());
            self.teller.tell(FaultChange { at: self.clock.wall(), provider, service, trouble });
        }
        true
    }

    fn clear(&self, provider: &ProviderName) {
        let own = self.places.get(provider).map(|place| &place.site.faults);
        let Some(faults) = own.or_else(|| self.stalls.faults(provider)) else { return };
        for standing in faults.standing() {
            self.set_fault(provider, standing.service.as_ref(), None);
        }
    }

    fn clear_all(&self) {
        self.places.keys().chain(self.stalls.names()).for_each(|provider| self.clear(provider));
    }

    /// Whether faults can be set for `provider`.
    fn knows(&self, provider: &ProviderName) -> bool {
        self.places.contains_key(provider) || self.stalls.faults(provider).is_some()
    }
}

impl Place {
    /// Makes doors and processes what the faults of now say.
    fn apply(&self) {
        let faults = &self.site.faults;
        self.ingress.set_open(!faults.any(None, Trouble::shuts_ingress));
        self.site.set_entrances();
        for door in self.registry.iter().chain([&self.api]) {
            door.set_open(!faults.any(None, Trouble::shuts_api));
        }
        self.site.strike_all();
    }
}

/// What every provider of a cloud shares.
struct Parts {
    tasks: Tasks,
    images: Arc<Images>,
    clock: Arc<dyn Clock>,
    runner: Arc<Runner>,
    logs: PathBuf,
}

fn build(
    parts: &Parts,
    options: &CloudOptions,
    name: &ProviderName,
    kind: &str,
) -> io::Result<(Place, ProviderEndpoint)> {
    let site = site(parts, options, name, kind);
    let machines = (kind == "hetzner").then(|| Arc::new(hetzner::Hetzner::new(Arc::clone(&site))));
    let mut token = site.token.clone();
    let mut registry = None;
    let (vendor, project, environment): (Arc<dyn Vendor>, _, _) = match (kind, &machines) {
        (_, Some(machines)) => (Arc::clone(machines) as _, None, None),
        ("fly", _) => {
            let fly = Arc::new(fly::Fly::new(Arc::clone(&site)));
            let of_fly = Arc::clone(&fly);
            let answer = move |call: Call| std::future::ready(of_fly.of_registry(&call));
            registry = Some(api(&parts.tasks, answer)?);
            (fly, Some(fly::ORGANISATION.to_owned()), None)
        }
        ("azure-container-apps", _) => {
            let azure = azure::Azure::new(Arc::clone(&site));
            token = azure.credentials();
            (Arc::new(azure), Some(azure::GROUP.to_owned()), Some(azure::ENVIRONMENT.to_owned()))
        }
        ("koyeb", _) => {
            let koyeb = koyeb::Koyeb::new(Arc::clone(&site));
            let organization = koyeb.organization();
            (Arc::new(koyeb), Some(organization), None)
        }
        ("railway", _) => {
            let railway = railway::Railway::new(Arc::clone(&site), options.stack.as_str());
            let (project, environment) = railway.home();
            (Arc::new(railway), Some(project), Some(environment))
        }
        ("zeabur", _) => {
            let zeabur = zeabur::Zeabur::new(Arc::clone(&site), options.stack.as_str());
            let (project, environment) = zeabur.home();
            (Arc::new(zeabur), Some(project), Some(environment))
        }
        ("render", _) => {
            let render = render::Render::new(Arc::clone(&site));
            let workspace = render.workspace();
            (Arc::new(render), Some(workspace), None)
        }
        _ => (Arc::new(generic::Generic::new(Arc::clone(&site))), None, None),
    };
    let (of_site, of_vendor) = (Arc::clone(&site), Arc::clone(&vendor));
    let api = api(&parts.tasks, move |call| {
        let (site, vendor) = (Arc::clone(&of_site), Arc::clone(&of_vendor));
        async move {
            let answer = if site.faults.any(None, |t| matches!(t, Trouble::RateLimited)) {
                vendor.limited()
            } else {
                vendor.answer(site.faults.of_call(call)).await
            };
            site.counts.note(&answer);
            site.faults.of_answer(answer, site.clock.wall())
        }
    })?;
    let front = Arc::new(Ingress::new(Arc::clone(&site), Arc::clone(&vendor)));
    site.front.set(Arc::downgrade(&front)).ok();
    let ingress = Door::open(&parts.tasks, move |wire| Arc::clone(&front).serve(wire, None))?;
    let endpoint = ProviderEndpoint {
        kind: kind.to_owned(),
        api: api.url(),
        token,
        project,
        environment,
        registry: registry.as_ref().map(|door| door.url()),
        host_suffix: site.host_suffix.clone(),
        ingress: ingress.address(),
    };
    Ok((Place { kind: kind.to_owned(), site, vendor, machines, api, registry, ingress }, endpoint))
}

/// Who may pull private images of the registry.
fn login(seed: u64) -> Login {
    let password = Dice::new(seed, "registry").hex(24);
    Login { user: "rehearsal".to_owned(), password }
}

/// A provider's data centre, with nothing in it.
fn site(parts: &Parts, options: &CloudOptions, name: &ProviderName, kind: &str) -> Arc<Site> {
    let dice = Dice::new(options.seed, name.as_str());
    let host_suffix = match kind {
        "fly" => "fly.dev".to_owned(),
        "koyeb" => "koyeb.app".to_owned(),
        "railway" => "up.railway.app".to_owned(),
        "azure-container-apps" => azure::HOST_SUFFIX.to_owned(),
        "zeabur" => "zeabur.app".to_owned(),
        "render" => "onrender.com".to_owned(),
        _ => format!("{name}.rehearsal"),
    };
    Arc::new(Site {
        name: name.clone(),
        token: format!("rehearsal-{}", dice.hex(24)),
        host_suffix,
        faults: Faults::none(),
        images: Arc::clone(&parts.images),
        dice,
        clock: Arc::clone(&parts.clock),
        tasks: parts.tasks.clone(),
        runner: Arc::clone(&parts.runner),
        logs: parts.logs.clone(),
        counts: Counts::default(),
        processes: std::sync::Mutex::default(),
        front: OnceLock::new(),
        entrances: std::sync::Mutex::default(),
    })
}

/// Opens a door to an API.
fn api<A, F>(tasks: &Tasks, answer: A) -> io::Result<Arc<Door>>
where
    A: Fn(Call) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let answer = Arc::new(answer);
    Door::open(tasks, move |wire| answer::serve(wire, Arc::clone(&answer)))
}
