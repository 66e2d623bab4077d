//! Any Linux machine with Docker and Compose, over SSH. <https://docs.docker.com/reference/cli/docker/>
//!
//! Each release is a folder on the machine, `~/.linkflow/STACK/PROVIDER/SERVICE/rN-HASH`, and each instance a container
//! with a port of its own. A deploy uploads the folder and starts one script (`work.sh`) that needs nobody to wait for
//! it: it pulls, starts the new containers beside the old ones, waits until they answer, makes them the current ones,
//! and stops the old ones after a while. So the address of a service changes with each release, and for a moment both
//! answer. A repeated call joins the script that is under way; another wish ends it and begins anew.
//!
//! The machine has no balancer: of several instances with a port the first that runs is the service's address, and the
//! others stand by.

mod compose;
mod seen;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, Job, JobState, LogLine, PrivateImages, Progress,
    Seen, Usage,
};
use linkflow_model::{
    Definition, EnvValue, Fault, FaultKind, ProviderName, Secret, ServiceName, StackName,
};

use super::time::timestamp;
use crate::kit::Kit;
use crate::shell::host_key::HostKey;
use crate::shell::ssh::{Login, Ssh};
use crate::shell::{Local, Shell, judge, quote, whole};

use compose::What;

/// What is asked of a machine in one go.
const CALLS: &str = include_str!("calls.sh");

/// What a machine does by itself.
const WORK: &str = include_str!("work.sh");

/// How long a look may take.
const LOOK: Duration = Duration::from_secs(20);

/// How long a change may take that ends containers: each gets 10 seconds.
const CHANGE: Duration = Duration::from_secs(90);

/// What a server needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its host name or IP address.
    pub address: String,
    /// The port of SSH.
    pub port: u16,
    /// The user that logs in, who may use Docker.
    pub user: String,
    /// The private key, in the form of OpenSSH or PEM, without a passphrase.
    pub key: Secret,
    /// The fingerprint of the machine's own key, `SHA256:…`. When `None`, the one that it shows first is remembered.
    pub host_key: Option<String>,
    /// The folder on this machine where fingerprints are remembered: `FOLDER/host-keys/ADDRESS_PORT`.
    pub state: PathBuf,
    /// How containers are placed on it.
    pub place: Place,
}

/// How containers are placed on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address of the machine that ports are published on; services are reached at it. With an unspecified one
    /// (`0.0.0.0`) they are reached at the address of the machine.
    pub publish: IpAddr,
    /// The first and the last port for containers.
    pub ports: (u16, u16),
    /// How containers are connected.
    pub network: Network,
    /// How long the old release runs on beside the new one, for requests under way and for callers that do not know of
    /// the new one yet. Whole seconds.
    pub drain: Duration,
    /// The platform of the machine: `linux/amd64`.
    pub platform: &'static str,
    /// Where Docker's engine listens, when not where its command line looks by itself: `unix:///run/user/1000/docker.sock`.
    pub docker_host: Option<String>,
    /// The folder for releases, an absolute path; `$HOME/.linkflow` when not said.
    pub folder: Option<String>,
}

impl Place {
    /// Published on `publish`, and all else as usual.
    pub fn on(publish: IpAddr) -> Self {
        Self {
            publish,
            ports: (21_000, 21_999),
            network: Network::Bridge,
            drain: Duration::from_secs(30),
            platform: "linux/amd64",
            docker_host: None,
            folder: None,
        }
    }

    /// Where published ports are reached, when the machine itself is reached at `address`.
    fn reached(&self, address: &str) -> String {
        let host = match self.publish.is_unspecified() {
            true => address.to_owned(),
            false => self.publish.to_string(),
        };
        if host.contains(':') { format!("[{host}]") } else { host }
    }
}

/// How containers are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Docker's own bridge; ports are published. The machine is `host.docker.internal` inside.
    Bridge,
    /// The machine's own network. Services listen on the port in `PORT`, at the address in `LINKFLOW_BIND`.
    Host,
}

impl Network {
    fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
        }
    }
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> impl Compute + 'static {
    kit.learn(&settings.key);
    let reached = settings.place.reached(&settings.address);
    let Settings { address, port, user, key, host_key, state, place } = settings;
    let host_key = HostKey::of(host_key, &state, &address, port);
    let ssh = Ssh::new(Login { address, port, user, key, host_key });
    Machine::new(Box::new(ssh), place, reached, kit, stack, provider)
}

/// A machine that is driven through a shell.
pub(super) struct Machine {
    shell: Box<dyn Shell>,
    place: Place,
    /// The host in addresses of services.
    reached: String,
    kit: Kit,
    stack: StackName,
    provider: ProviderName,
}

impl Machine {
    /// The machine that this process runs on. `env` is all that `docker` finds in its environment.
    pub(super) fn here(
        env: BTreeMap<String, String>,
        place: Place,
        kit: &Kit,
        stack: &StackName,
        provider: &ProviderName,
    ) -> Self {
        let reached = place.reached(&Ipv4Addr::LOCALHOST.to_string());
        Self::new(Box::new(Local { env }), place, reached, kit, stack, provider)
    }

    fn new(
        shell: Box<dyn Shell>,
        place: Place,
        reached: String,
        kit: &Kit,
        stack: &StackName,
        provider: &ProviderName,
    ) -> Self {
        let (kit, stack, provider) = (kit.clone(), stack.clone(), provider.clone());
        Self { shell, place, reached, kit, stack, provider }
    }

    /// Reads something: nothing was changed, however it ends.
    async fn read(&self, attempt: &str, call: &str) -> Result<String, Fault> {
        self.call(attempt, "", call, false).await
    }

    /// Changes something.
    async fn write(&self, attempt: &str, given: &str, call: &str) -> Result<String, Fault> {
        self.call(attempt, given, call, true).await
    }

    /// Has `call` carried out, which is one of `calls.sh`, with the assignments `given`.
    async fn call(
        &self,
        attempt: &str,
        given: &str,
        call: &str,
        writes: bool,
    ) -> Result<String, Fault> {
        let script = whole(&format!("{}{CALLS}{given}{call}", self.preamble()));
        let limit = if writes { CHANGE } else { LOOK };
        let done = self.shell.run(&script, limit).await;
        let judged = match done {
            Ok(output) => judge::judge(output, writes),
            // What only reads has changed nothing.
            Err(broken) if !writes && broken.kind == FaultKind::Unclear => {
                Err((FaultKind::Unreachable, broken.said))
            }
            Err(broken) => Err((broken.kind, broken.said)),
        };
        judged.map_err(|(kind, said)| self.fault(kind, attempt, &said))
    }

    fn preamble(&self) -> String {
        let base = match &self.place.folder {
            Some(folder) => quote(folder),
            None => "$HOME/.linkflow".to_owned(),
        };
        let host = self.place.docker_host.as_ref();
        let host = host.map_or_else(String::new, |h| format!("export DOCKER_HOST={}\n", quote(h)));
        let (stack, provider) = (&self.stack, &self.provider);
        format!(
            "umask 077\nexport PATH=\"$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\n\
             base={base}\nstack={stack}\nprovider={provider}\nroot=$base/$stack/$provider\n{host}"
        )
    }

    fn fault(&self, kind: FaultKind, attempt: &str, said: &str) -> Fault {
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = self.kit.mask(&said);
        Fault { kind, provider: self.provider.clone(), attempt: attempt.to_owned(), said }
    }

    /// The files of `wanted`, after what is secret in it is known to be masked.
    fn files(&self, wanted: &Definition, what: What<'_>) -> Result<String, Fault> {
        if wanted.stack != self.stack || wanted.provider != self.provider {
            let said = format!("{} on {} is not for here", wanted.stack, wanted.provider);
            return Err(self.fault(FaultKind::Invalid, "deploy", &said));
        }
        let secrets = wanted.env.values().filter_map(|value| match value {
            EnvValue::Secret(secret) => Some(secret),
            EnvValue::Plain(_) => None,
        });
        secrets
            .chain(wanted.login.iter().map(|login| &login.password))
            .for_each(|secret| self.kit.learn(secret));
        let files = compose::files(wanted, what, &self.place);
        if files.contains('\0') {
            let said = "a value of the environment has a NUL in it, which no environment can hold";
            return Err(self.fault(FaultKind::Invalid, "deploy", said));
        }
        Ok(format!("{files}work={}\n", quote(WORK)))
    }
}

#[async_trait]
impl ComputeLook for Machine {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            grpc: true,
            workers: true,
            scale_to_zero: true,
            logs: true,
            private_images: PrivateImages::Pulls,
            jobs: true,
            domains: false,
            usage: true,
            platform: self.place.platform,
            requests_per_deploy: 6,
            ..Capabilities::LEAST
        }
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        let attempt = "list containers";
        let text = self.read(attempt, "look").await?;
        let read = seen::read(&text, &self.reached);
        read.map_err(|why| self.fault(FaultKind::Unreachable, attempt, &why))
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        let attempt = "look at a deploy";
        let call = format!("progress \"$root/{}\"", deployment.service);
        let text = self.read(attempt, &call).await?;
        let progress = how_far(&text, &deployment.id);
        if let Progress::Failed { why } = &progress
            && let Some((FaultKind::Exhausted, said)) = judge::known(why)
        {
            return Err(self.fault(FaultKind::Exhausted, "deploy", &said));
        }
        Ok(match progress {
            Progress::Failed { why } => Progress::Failed { why: self.kit.mask(&why) },
            other => other,
        })
    }

    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault> {
        let text = self.read("read logs", &format!("logs {service} {last}")).await?;
        let mut lines = log_lines(&text);
        // Those of several containers come one container after another.
        lines.sort_by_key(|line| line.at);
        Ok(lines.split_off(lines.len().saturating_sub(last)))
    }

    async fn usage(&self) -> Result<Vec<Usage>, Fault> {
        Ok(usage(&self.read("read its usage", "usage").await?))
    }

    // `pull_problem`: Docker has no way to try a pull. `docker manifest inspect` asks as the client and not as the
    // engine does, with other settings for registries, so its answer is about something else.

    async fn job(&self, id: &str) -> Result<JobState, Fault> {
        let text = self.read("look at a job", &format!("job {}", quote(id))).await?;
        Ok(job_state(&text))
    }
}

#[async_trait]
impl Compute for Machine {
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        let given = self.files(wanted, What::Service)?;
        let (hash, folder) = (compose::hash(wanted), compose::folder(wanted));
        let call = format!(
            "deploy {} {} {} {}",
            wanted.service,
            quote(&hash),
            quote(&folder),
            wanted.replicas
        );
        let id = self.write("deploy", &given, &call).await?;
        Ok(Deployment { service: wanted.service.clone(), id: id.trim().to_owned() })
    }

    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        let work = format!("work={}\n", quote(WORK));
        self.write("scale", &work, &format!("scale {service} {replicas}")).await.map(drop)
    }

    async fn restart(&self, service: &ServiceName) -> Result<(), Fault> {
        self.write("restart", "", &format!("again {service}")).await.map(drop)
    }

    async fn delete(&self, service: &ServiceName) -> Result<(), Fault> {
        let call = format!("drop linkflow.service={service} \"$root/{service}\"");
        self.write("delete", "", &call).await.map(drop)
    }

    async fn run_once(&self, job: &Job) -> Result<(), Fault> {
        let given = self.files(&job.what, What::Job(&job.id))?;
        self.write("run a job", &given, &format!("run_once {}", quote(&job.id))).await.map(drop)
    }

    async fn forget_job(&self, id: &str) -> Result<(), Fault> {
        self.write("forget a job", "", &format!("forget {}", quote(id))).await.map(drop)
    }
}

/// What `progress` in `calls.sh` wrote about the release in `folder`.
fn how_far(text: &str, folder: &str) -> Progress {
    let failed = |why: &str| Progress::Failed { why: why.to_owned() };
    let (head, state) = text.split_once('\n').unwrap_or((text, ""));
    let (current, at) = head.split_once(' ').unwrap_or((head, ""));
    let (state, rest) = state.split_once('\n').unwrap_or((state, ""));
    match state.split_once(' ') {
        Some((target, word)) if target == folder => match word.strip_prefix("under: ") {
            Some(said) if at == "busy" => Progress::Under { said: said.to_owned() },
            Some(said) => failed(&format!("it was cut off on the machine: {said}")),
            None if word == "done" => Progress::Done,
            None => failed(rest.trim()),
        },
        _ if current == folder => Progress::Done,
        Some(_) => failed("a later deploy took its place"),
        None => failed("it was deleted"),
    }
}

/// What `job` in `calls.sh` wrote.
fn job_state(text: &str) -> JobState {
    let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
    let mut words = head.split(' ');
    match (words.next(), words.next()) {
        (Some("container"), Some(said @ ("exited" | "dead"))) => {
            let code = words.next().and_then(|code| code.parse().ok());
            JobState::Ended { code, worked: code == Some(0) && said == "exited", log: log_lines(rest) }
        }
        (Some("container"), Some(said)) => JobState::Under { said: said.to_owned() },
        (Some("work"), Some(at)) => {
            let (state, why) = rest.split_once('\n').unwrap_or((rest, ""));
            match state.split_once(' ') {
                Some((_, "failed")) => {
                    JobState::Ended { code: None, worked: false, log: log_lines(why) }
                }
                Some((_, said)) if at == "busy" => JobState::Under { said: said.to_owned() },
                _ => JobState::Absent,
            }
        }
        _ => JobState::Absent,
    }
}

/// Lines that may begin with a time.
fn log_lines(text: &str) -> Vec<LogLine> {
    let line = |line: &str| match line.split_once(' ').map(|(at, text)| (timestamp(at), text)) {
        Some((Some(at), text)) => LogLine { at: Some(at), text: text.trim_end().to_owned() },
        _ => LogLine { at: timestamp(line), text: without_time(line) },
    };
    text.lines().map(line).collect()
}

/// An empty line of a log is a time and nothing else.
fn without_time(line: &str) -> String {
    if timestamp(line).is_some() { String::new() } else { line.trim_end().to_owned() }
}

/// What `usage` in `calls.sh` wrote.
fn usage(text: &str) -> Vec<Usage> {
    let mut rows = Vec::new();
    let (mut total, mut available, mut cpus) = (None, None, None);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok());
        match words.first() {
            Some(&"MemTotal:") => total = number(1),
            Some(&"MemAvailable:") => available = number(1),
            Some(&"cpus") => cpus = number(1),
            Some(&"load") => rows.push(row("load", number(1), cpus, "cpu")),
            // The last line of `df -P`: device, blocks of 1024 bytes, used, available, share, place.
            Some(_) => rows.push(row(
                "disk",
                number(2).map(|kib| kib * 1024.0),
                number(2).zip(number(3)).map(|(used, free)| (used + free) * 1024.0),
                "B",
            )),
            None => {}
        }
    }
    let used = total.zip(available).map(|(total, available)| (total - available) * 1024.0);
    rows.push(row("memory", used, total.map(|kib| kib * 1024.0), "B"));
    rows.into_iter().flatten().collect()
}

fn row(what: &str, used: Option<f64>, limit: Option<f64>, unit: &str) -> Option<Usage> {
    Some(Usage { what: what.to_owned(), used: used?, limit, unit: unit.to_owned(), resets: None })
}

#[cfg(test)]
mod tests;
