//! Services: what runs, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use super::amount::{Cpu, Memory};
use super::deploy::CommandLine;
use super::macros::{choice, section};
use super::read::Field;
use super::stack::ms;
use super::template::{Reference, ServiceProperty, Template};
use super::values::{Environment, Many};
use crate::{HostRoute, ImageRef, ProviderName, ServiceKind, ServiceName, ServiceSpec};

choice! {
    for ServiceKind {
        /// Answers HTTP; has a health path.
        Web = "web",
        /// Answers gRPC over HTTP/2; tells its health by the gRPC health protocol.
        Grpc = "grpc",
        /// Answers nobody; lives by its provider's word.
        Worker = "worker",
    }
}

section! {
    /// How big one instance is.
    pub struct Size as "size" {
        /// CPUs.
        cpu: Cpu = Cpu(250),
        /// Memory; 1024 MB are a GB.
        memory: Memory = Memory(256),
    }
}

impl Size {
    const USUAL: Self = Self { cpu: Cpu(250), memory: Memory(256) };
}

section! {
    /// How an image is built in CI. Paths begin at the folder of the config.
    pub struct Build as "build" {
        /// The folder that the build sees.
        context: String,
        /// The Dockerfile; the context's own `Dockerfile` when not said.
        dockerfile: Option<String>,
        /// The stage of the Dockerfile; its last one when not said.
        target: Option<String>,
        /// Build arguments. Whoever has the image can read them, so no secret belongs here.
        args: Environment,
    }
}

section! {
    /// How long requests to a service wait. What is not said is as the edge has it.
    pub struct Timeouts as "timeouts" {
        /// Until a connection to a place stands; `1s` when not said.
        connect: Option<Duration>,
        /// Until an answer begins. Then the place counts as slow, what may be repeated is asked at the next one too, and a
        /// place that answers nobody for so long is left. `2s` when not said: say more where good answers take longer.
        first_byte: Option<Duration>,
        /// Until an answer begins, whatever was tried; then 504. `edge.timeout` when not said.
        answer: Option<Duration>,
        /// How long nothing may come within an answer; `5m` when not said. Event streams need a sign of life within it.
        idle: Option<Duration>,
    }
}

section! {
    /// How many requests the places of a service take at once, and what becomes of more: they go to the next place that has
    /// room, else they wait in line.
    pub struct Concurrency as "concurrency" {
        /// So many at each place; as many as come when not said. Streams and open `WebSocket`s count as long as they last.
        most: Option<NonZeroU32>,
        /// Another number at some providers: a small last resort that is to stay up, say.
        on: BTreeMap<ProviderName, NonZeroU32>,
        /// How many may wait in line. More are answered 503 at once.
        queue: u32 = 100,
        /// How long each may wait; then 503.
        wait: Duration = Duration::from_secs(2),
    }
}

section! {
    /// One container image that runs on a ranked list of providers.
    pub struct Service as "service" {
        /// The image. What runs is always a digest: a tag is looked up when a release is made.
        image: ImageRef,
        /// How the image is built by the workflow that `linkflow ci` writes. Services with the same image need it once; an
        /// image without it comes from elsewhere.
        build: Option<Build>,
        /// How it is spoken to.
        kind: ServiceKind = ServiceKind::Web,
        /// The port that the container listens on; the container finds it in `PORT` as well. Only workers may have none.
        port: Option<u16>,
        /// The path that answers 2xx when a web service is well.
        health: Option<String>,
        /// Public names that lead to it, `host` or `host/path`. The longest path wins.
        route: Many<HostRoute>,
        /// The port at which the edge listens for other services that call this one; any free one when not said.
        internal_port: Option<u16>,
        /// Providers that run it, most preferred first: its cascade.
        runs_on: Vec<ProviderName> = vec![<ProviderName as Field>::blank()],
        /// Never two at once: the old one's stop is proven before another starts.
        exclusive: bool = false,
        /// How many instances run where it serves.
        replicas: NonZeroU32 = NonZeroU32::MIN,
        /// How big each instance is.
        size: Size = Size::USUAL,
        /// The command in place of the image's own: program and arguments.
        command: Option<Vec<String>>,
        /// Its environment. Values may refer to other parts of the file.
        env: Environment,
        /// A command line that is run to its end exactly once for each new image, before anything of the release is deployed. See `deploy.migrate_on`.
        migrate: Option<CommandLine>,
        /// How long a new release may take until it answers.
        start_within: Duration = Duration::from_secs(120),
        /// Whether a provider that puts idle services to sleep is kept from it, by asking for the health path all the time. It costs hours of the plan: `linkflow plan` says how many.
        keep_warm: bool = false,
        /// Whether a POST or PATCH with an `Idempotency-Key` may be sent to a second place by the worker in front of the edge. Say so only where the app itself sees to it that the same key is carried out once, also across places.
        idempotency_key: bool = false,
        /// How long requests to it wait.
        timeouts: Timeouts = Timeouts::USUAL,
        /// How many requests each place takes at once.
        concurrency: Concurrency = Concurrency::USUAL,
        /// Services that come before this one: where they do not run yet, it waits for them, and visitors are led to its new release after they were led to theirs. Those whose `address` the environment has are so anyway.
        needs: Vec<ServiceName>,
    }
}

impl Timeouts {
    const USUAL: Self = Self { connect: None, first_byte: None, answer: None, idle: None };

    /// Each that was said, by its key.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let Self { connect, first_byte, answer, idle } = *self;
        let all =
            [("connect", connect), ("first_byte", first_byte), ("answer", answer), ("idle", idle)];
        all.into_iter().filter_map(|(key, time)| Some((key, time?)))
    }

    fn of_routes(&self) -> crate::Timeouts {
        crate::Timeouts {
            connect_ms: self.connect.map(ms),
            first_byte_ms: self.first_byte.map(ms),
            answer_ms: self.answer.map(ms),
            idle_ms: self.idle.map(ms),
        }
    }
}

impl Concurrency {
    /// No limit.
    const USUAL: Self =
        Self { most: None, on: BTreeMap::new(), queue: 100, wait: Duration::from_secs(2) };

    fn of_spec(&self) -> crate::Concurrency {
        crate::Concurrency {
            most: self.most.map(NonZeroU32::get),
            on: self.on.iter().map(|(provider, most)| (provider.clone(), most.get())).collect(),
            queue: crate::Queue { longest: self.queue, wait_ms: ms(self.wait) },
        }
    }
}

impl Service {
    /// The services that it needs, and those whose address it is told.
    pub(crate) fn all_needs(&self) -> BTreeSet<ServiceName> {
        let told = self.env.values().flat_map(Template::references).filter_map(|r| match r {
            Reference::Service(name, ServiceProperty::Address) => Some(name.clone()),
            _ => None,
        });
        self.needs.iter().cloned().chain(told).collect()
    }

    /// The service as the loop sees it.
    pub fn spec(&self, name: &ServiceName) -> ServiceSpec {
        let web = self.kind == ServiceKind::Web;
        ServiceSpec {
            name: name.clone(),
            kind: self.kind,
            image: self.image.clone(),
            runs_on: self.runs_on.clone(),
            exclusive: self.exclusive,
            port: self.port,
            health: web.then(|| self.health.clone().unwrap_or_else(|| "/".to_owned())),
            routes: self.route.to_vec(),
            replicas: self.replicas.get(),
            size: crate::Size { cpu_milli: self.size.cpu.0, memory_mb: self.size.memory.0 },
            command: self.command.clone(),
            migrate: self.migrate.clone().map(|line| line.0),
            needs: self.all_needs().into_iter().filter(|needed| needed != name).collect(),
            start_within_ms: ms(self.start_within),
            idempotency_key: self.idempotency_key,
            keep_warm: self.keep_warm,
            timeouts: self.timeouts.of_routes(),
            concurrency: self.concurrency.of_spec(),
        }
    }
}
