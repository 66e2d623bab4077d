//! Every kind of provider: one entry each makes its settings, its word and its roles.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::address::{Host, Machine, Url};
use super::macros::{choice, section};
use super::print::Printed;
use super::programs::Programs;
use super::provider::Role;
use super::read::{Field, Fields, Reader};
use super::shape::{Book, Key, Word};
use super::template::SecretRef;
use super::values::{Many, Within};

/// What is known of a kind of provider.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The word in the config.
    pub word: &'static str,
    /// What the vendor is called.
    pub title: &'static str,
    /// What it can be used for.
    pub roles: &'static [Role],
    pub(super) section: &'static str,
    pub(super) keys: fn(&mut Book) -> Vec<Key>,
}

macro_rules! kinds {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $word:literal, $title:literal, [$($role:ident),+] {
            $( $(#[doc = $fdoc:literal])* $field:ident : $ty:ty $(= $default:expr)?, )*
        }
    )+) => {
        $(section! {
            $(#[doc = $doc])+
            pub struct $name as $word {
                $( $(#[doc = $fdoc])* $field: $ty $(= $default)?, )*
            }
        })+

        /// The settings of one kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Settings {
            $( $(#[doc = $doc])+ $name($name), )+
        }

        impl Settings {
            /// Every kind.
            pub const KINDS: &'static [Kind] = &[$(Kind {
                word: $word,
                title: $title,
                roles: &[$(Role::$role),+],
                section: concat!("provider-", $word),
                keys: $name::keys,
            }),+];

            pub(super) const WORDS: &'static [Word] =
                &[$(Word { word: $word, doc: concat!($($doc, "\n"),+) }),+];

            /// What is known of this kind.
            pub fn kind(&self) -> &'static Kind {
                let word = match self { $(Self::$name(_) => $word,)+ };
                Self::KINDS.iter().find(|k| k.word == word).unwrap_or(&Self::KINDS[0])
            }

            pub(super) fn read(kind: &str, fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<Self> {
                match kind {
                    $($word => Some(Self::$name($name::read_fields(fields, reader))),)+
                    _ => None,
                }
            }

            pub(super) fn print_fields(&self) -> Vec<(String, Printed)> {
                match self { $(Self::$name(settings) => settings.print_fields(),)+ }
            }
        }
    };
}

choice! {
    /// What a token of Railway is bound to.
    pub enum RailwayToken {
        /// An account or a workspace.
        Account = "account",
        /// One environment of one project, which it then knows by itself.
        Project = "project",
    }
}

choice! {
    /// The plans of Railway.
    pub enum RailwayPlan {
        /// 100 requests an hour.
        Free = "free",
        /// 1,000 requests an hour, 10 a second.
        Hobby = "hobby",
        /// 10,000 requests an hour, 50 a second.
        Pro = "pro",
    }
}

choice! {
    /// How containers on a machine are connected.
    pub enum ContainerNetwork {
        /// Docker's own bridge, with ports published on the machine, which is `host.docker.internal` inside.
        Bridge = "bridge",
        /// The machine's own network: services listen on the port in `PORT`, at the address in `LINKFLOW_BIND`.
        Host = "host",
    }
}

choice! {
    /// The platforms that machines have.
    pub enum Platform {
        /// Intel and AMD.
        Amd64 = "linux/amd64",
        /// ARM.
        Arm64 = "linux/arm64",
    }
}

impl Settings {
    pub(super) fn embedded() -> Self {
        Self::Embedded(Embedded { programs: Programs::default() })
    }

    pub(super) fn docker() -> Self {
        Self::Docker(Docker::blank())
    }
}

kinds! {
    /// Everything on this machine, without any account. It is there without being declared.
    Embedded = "embedded", "embedded", [
        Compute, Dns, Cdn, Database, Cache, Objects, Mail, Monitor, Heartbeat, StatusPage, Errors, Logs, Metrics, Secrets, Notify,
        Registry, Ci
    ] {
        /// The program that stands for each image, by repository without tag: its command line as a list of words, or
        /// the program alone.
        programs: Programs,
    }

    /// Azure Container Apps.
    AzureContainerApps = "azure-container-apps", "Azure Container Apps", [Compute] {
        /// The id of the subscription.
        subscription: String,
        /// The resource group that the apps are in.
        resource_group: String,
        /// The Container Apps environment.
        environment: String = "linkflow".to_owned(),
        /// The region: `westeurope`.
        location: Option<String>,
        /// The id of the directory, where the credentials do not say it.
        tenant: Option<String>,
    }

    /// Fly.io Machines.
    Fly = "fly", "Fly.io", [Compute] {
        /// The organization's slug.
        organization: String = "personal".to_owned(),
        /// Where machines run: `fra`, `iad`.
        region: String = "fra".to_owned(),
        /// What app names start with, in place of the stack's name. App names are unique in all of Fly.
        app_prefix: Option<String>,
        /// In place of the base address of the logs API.
        logs_api: Option<Url>,
    }

    /// Railway.
    Railway = "railway", "Railway", [Compute] {
        /// The id of the project.
        project: Option<String>,
        /// The id of the environment within the project.
        environment: Option<String>,
        /// The id of the workspace.
        workspace: Option<String>,
        /// What `token` is bound to.
        token_kind: RailwayToken = RailwayToken::Account,
        /// The plan of the account, which decides how often LinkFlow may ask.
        plan: RailwayPlan = RailwayPlan::Hobby,
        /// The region: `europe-west4`.
        region: Option<String>,
        /// Whether Railway puts web services to sleep that had no traffic for ten minutes. The next request wakes them.
        sleep: bool = false,
    }

    /// Koyeb.
    Koyeb = "koyeb", "Koyeb", [Compute] {
        /// The id of the organization. Asked for when it is needed and not said.
        organization: Option<String>,
        /// The region: `fra`.
        region: String = "fra".to_owned(),
        /// The instance type, `free` for the one that costs nothing; by the service's size when not said.
        instance: Option<String>,
        /// What app names start with, in place of the stack's name. App names are unique in an organization.
        app_prefix: Option<String>,
        /// After how long without a request a web service is put to sleep, until the next request. Free instances always
        /// sleep after an hour.
        sleep_after: Option<Duration>,
    }

    /// Zeabur.
    Zeabur = "zeabur", "Zeabur", [Compute] {
        /// The id of the project.
        project: Option<String>,
        /// The id of the environment within the project.
        environment: Option<String>,
        /// The region or the server that a new project is made in: `hnd1`, `server-…`.
        region: Option<String>,
        /// The host name that the dashboard shows for the project's TCP ports. gRPC services need it.
        tcp_host: Option<String>,
    }

    /// Render.
    Render = "render", "Render", [Compute] {
        /// The id of the workspace, `tea-…`; needed only where the API key may see several.
        owner: Option<String>,
        /// The region: `frankfurt`.
        region: String = "frankfurt".to_owned(),
        /// The instance type of the services: `free`, `starter`, …, or `auto`: the smallest paid one that is big enough.
        plan: String = "free".to_owned(),
    }

    /// Any machine with SSH and Docker, for example at Hetzner, whose API can make it anew.
    Server = "server", "server", [Compute, Database, Cache, Objects, Registry] {
        /// Where it is.
        address: Machine,
        /// The user that SSH logs in as.
        user: String = "root".to_owned(),
        /// The port of SSH.
        port: u16 = 22,
        /// The private key that SSH logs in with.
        key: Option<SecretRef>,
        /// The fingerprint of the machine's own key: `SHA256:…`. Remembered at first sight when not said.
        host_key: Option<String>,
        /// The type of a new machine, when Hetzner's API makes it anew: `cx23`. `token` is Hetzner's.
        server_type: Option<String>,
        /// The location of a new machine: `nbg1`.
        location: Option<String>,
        /// The machine's address that services are published on and reached at: one of a private network, or `0.0.0.0`
        /// for all of them; they are reached at `address` then, without encryption.
        publish: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        /// The first port for containers. Each instance of a service has its own, another one with each release.
        first_port: u16 = 21_000,
        /// The last port for containers.
        last_port: u16 = 21_999,
        /// How containers are connected.
        network: ContainerNetwork = ContainerNetwork::Bridge,
        /// How long the old release runs on beside the new one, so that no request is lost.
        drain: Duration = Duration::from_secs(30),
        /// The platform of the machine.
        platform: Platform = Platform::Amd64,
        /// Where Docker's engine listens, when not where `docker` looks by itself: `unix:///run/user/1000/docker.sock`.
        docker_host: Option<String>,
        /// The folder for releases, an absolute path. `~/.linkflow` when not said.
        folder: Option<String>,
    }

    /// The Docker engine of this machine, without SSH and without any account. It is there without being declared.
    Docker = "docker", "Docker", [Compute] {
        /// The address of this machine that services are published on and reached at.
        publish: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST),
        /// The first port for containers. Each instance of a service has its own, another one with each release.
        first_port: u16 = 21_000,
        /// The last port for containers.
        last_port: u16 = 21_999,
        /// How containers are connected.
        network: ContainerNetwork = ContainerNetwork::Bridge,
        /// How long the old release runs on beside the new one, so that no request is lost.
        drain: Duration = Duration::from_secs(30),
        /// The platform of the machine.
        platform: Platform = Platform::Amd64,
        /// Where Docker's engine listens, when not where `docker` looks by itself: `unix:///run/user/1000/docker.sock`.
        docker_host: Option<String>,
        /// The folder for releases, an absolute path. `~/.linkflow` when not said.
        folder: Option<String>,
    }

    /// CockroachDB Cloud.
    Cockroachdb = "cockroachdb", "CockroachDB", [Database] {
        /// The id of the cluster.
        cluster: Option<String>,
    }

    /// Neon.
    Neon = "neon", "Neon", [Database] {
        /// The id of the project.
        project: Option<String>,
        /// The branch.
        branch: Option<String>,
    }

    /// Supabase.
    Supabase = "supabase", "Supabase", [Database] {
        /// The reference of the project.
        project: Option<String>,
    }

    /// Any PostgreSQL.
    Postgres = "postgres", "PostgreSQL", [Database] {}

    /// Upstash.
    Upstash = "upstash", "Upstash", [Cache] {
        /// The id of the database.
        database: Option<String>,
        /// The mail address of the account, which its API asks for beside the key.
        email: Option<String>,
    }

    /// Any Redis.
    Redis = "redis", "Redis", [Cache] {}

    /// Cloudflare Workers KV: values with an expiry, and nothing else of a cache.
    CloudflareKv = "cloudflare-kv", "Cloudflare KV", [Cache] {
        /// The id of the account.
        account: String,
        /// The id of the namespace.
        namespace: Option<String>,
    }

    /// Cloudflare R2.
    R2 = "r2", "Cloudflare R2", [Objects] {
        /// The id of the account.
        account: String,
        /// The key id of its S3 API.
        access_key: Option<SecretRef>,
        /// The key of its S3 API.
        secret_key: Option<SecretRef>,
    }

    /// Backblaze B2.
    B2 = "b2", "Backblaze B2", [Objects] {
        /// The region: `eu-central-003`.
        region: Option<String>,
        /// The key id.
        key_id: Option<SecretRef>,
        /// The application key.
        application_key: Option<SecretRef>,
    }

    /// Azure Blob Storage.
    AzureBlob = "azure-blob", "Azure Blob Storage", [Objects] {
        /// The storage account.
        account: String,
        /// The account's key.
        key: Option<SecretRef>,
    }

    /// Resend.
    Resend = "resend", "Resend", [Mail] {
        /// The secret that its webhooks are signed with.
        webhook_secret: Option<SecretRef>,
    }

    /// Brevo.
    Brevo = "brevo", "Brevo", [Mail] {}

    /// Any server that takes mail by SMTP.
    Smtp = "smtp", "SMTP", [Mail] {
        /// Its host.
        host: Host,
        /// Its port.
        port: u16 = 587,
        /// The user to log in as.
        user: Option<String>,
        /// The password to log in with.
        password: Option<SecretRef>,
        /// Whether TLS begins with the connection; otherwise it begins with STARTTLS.
        implicit_tls: bool = false,
    }

    /// Cloudflare: DNS, content delivery, firewall, Worker and Tunnel.
    Cloudflare = "cloudflare", "Cloudflare", [Dns, Cdn] {
        /// The id of the account.
        account: Option<String>,
        /// The id of the zone; found by the domain when not said.
        zone: Option<String>,
        /// The name of the Worker; `linkflow-STACK` when not said.
        worker: Option<String>,
        /// The id of a Tunnel that is there already. LinkFlow makes its own when not said.
        tunnel: Option<String>,
    }

    /// deSEC: DNS.
    Desec = "desec", "deSEC", [Dns] {}

    /// UptimeRobot.
    Uptimerobot = "uptimerobot", "UptimeRobot", [Monitor, Heartbeat] {
        /// The shortest time between two looks that the plan has: 5 minutes on the free one, 1 minute on most others.
        least_every: Duration = Duration::from_secs(300),
        /// How many requests a minute the plan has: 10 on the free one, twice its monitors on others.
        requests_per_minute: Within<1, 5_000> = Within(10),
        /// Whether `linkflow watchers apply` enters the address for its webhooks there. They are part of larger plans.
        webhook: bool = true,
    }

    /// Cronitor.
    Cronitor = "cronitor", "Cronitor", [Heartbeat, Monitor] {}

    /// Healthchecks, at healthchecks.io or on a server of one's own.
    Healthchecks = "healthchecks", "Healthchecks", [Heartbeat] {}

    /// Sentry.
    Sentry = "sentry", "Sentry", [Errors] {
        /// The organization's slug.
        organization: Option<String>,
        /// The project's slug. Without effect so far.
        project: Option<String>,
        /// Where events go. Without effect so far.
        dsn: Option<SecretRef>,
        /// The client secret of an internal integration, which signs its webhooks. With it, they are taken.
        client_secret: Option<SecretRef>,
        /// Whether an issue that a webhook tells of opens an incident of low severity, which ends after an hour without another.
        incidents: bool = false,
    }

    /// Better Stack.
    Betterstack = "betterstack", "Better Stack", [Logs, Monitor, Heartbeat] {
        /// The token of the log source.
        source_token: Option<SecretRef>,
        /// Where logs go.
        ingest: Option<Url>,
        /// The shortest time between two looks that the plan has: 3 minutes on the free one.
        least_every: Duration = Duration::from_secs(180),
        /// Whether `linkflow watchers apply` enters the address for its webhooks there.
        webhook: bool = true,
    }

    /// Grafana Cloud.
    Grafana = "grafana", "Grafana Cloud", [Metrics, Logs] {
        /// Where metrics go by remote write.
        remote_write: Option<Url>,
        /// The number that remote write logs in as.
        user: Option<String>,
        /// Where logs go.
        loki: Option<Url>,
    }

    /// Instatus.
    Instatus = "instatus", "Instatus", [StatusPage] {
        /// The id of the page.
        page: Option<String>,
    }

    /// GitHub and its Actions.
    Github = "github", "GitHub Actions", [Ci, Secrets] {
        /// The repository: `acme/linkflow`.
        repository: Option<String>,
    }

    /// GitHub's container registry.
    Ghcr = "ghcr", "GHCR", [Registry] {
        /// The user to log in as.
        user: Option<String>,
    }

    /// Doppler.
    Doppler = "doppler", "Doppler", [Secrets] {
        /// The project.
        project: Option<String>,
        /// The config within the project: `prd`.
        config: Option<String>,
    }

    /// Slack: a bot by its `token`, which writes into `channel`, or a webhook.
    Slack = "slack", "Slack", [Notify] {
        /// The webhook, which decides the channel.
        webhook: Option<SecretRef>,
        /// The channel that a bot writes into, by its id or name. With `token`.
        channel: Option<String>,
    }

    /// Twilio.
    Twilio = "twilio", "Twilio", [Notify] {
        /// The SID of the account.
        account_sid: String,
        /// The numbers that messages come from.
        from: Many<String>,
    }
}
