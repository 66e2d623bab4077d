//! Runs one instance of the sample app as a process: starts it, restarts it as its vendor would, holds it dead or
//! frozen while a fault says so, and never leaves it behind.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use linkflow_model::{Clock, ServiceName, Timestamp};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::log::{Log, Stream};
use super::tasks::Tasks;

/// How a port is watched for until its process listens on it.
const KNOCK_EVERY: Duration = Duration::from_millis(5);
const EXITS_KEPT: usize = 20;
/// A process that lived this long starts with all its tries again.
const LONG_LIFE: Duration = Duration::from_secs(10);

/// When a process that ended by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Never.
    Never,
    /// When it failed, up to this many times in a row.
    OnFailure(u32),
    /// However it ended.
    Always,
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// The machine's, replica's or instance's id, for the log.
    pub(crate) instance: String,
    /// The vendor's own mark on the log's lines.
    pub(crate) tag: String,
    /// The service, for faults.
    pub(crate) service: Option<ServiceName>,
    /// What follows `app` on the command line.
    pub(crate) arguments: Vec<String>,
    /// The environment. `PORT` is replaced by the port that the process really gets.
    pub(crate) env: BTreeMap<String, String>,
    /// Whether it only runs once it listens on its port.
    pub(crate) listens: bool,
    /// How the image behaves.
    pub(crate) behaviour: String,
    /// When to start it again.
    pub(crate) restart: Restart,
}

/// How a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not started yet.
    New,
    /// Started; its port does not answer yet.
    Starting,
    /// It listens, or has no port to listen on.
    Running,
    /// Asked to stop.
    Stopping,
    /// It failed and will be started again soon.
    BackingOff,
    /// It ended as asked, or was told not to run.
    Stopped,
    /// It ended and is not started again: a fault holds it, its policy says so, or its tries are used up.
    Dead,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) at: Timestamp,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// Somebody had asked for it.
    pub(crate) requested: bool,
    /// It is to be started again.
    pub(crate) restarting: bool,
}

/// How a process stands, and how it stood before.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    pub(crate) pid: Option<u32>,
    /// Starts in all.
    pub(crate) starts: u32,
    /// When it was last started.
    pub(crate) started: Option<Timestamp>,
    /// The last ends, oldest first.
    pub(crate) exits: Vec<Exit>,
}

/// What is wanted of a process.
#[derive(Clone, Copy, Debug)]
struct Intent {
    run: bool,
    /// Grows with each restart asked for.
    round: u64,
    /// Killed and kept dead by a fault.
    held: bool,
    /// Stopped in its tracks by a fault.
    frozen: bool,
    grace: Duration,
}

/// A process that is looked after. Dropping it kills it.
pub(crate) struct Process {
    pub(crate) service: Option<ServiceName>,
    pub(crate) address: SocketAddr,
    intent: watch::Sender<Intent>,
    status: watch::Receiver<Status>,
}

impl Process {
    /// Lets it run; a process that gave up gets a new set of tries.
    pub(crate) fn run(&self) {
        self.intent.send_modify(|i| {
            i.run = true;
            i.round += 1;
        });
    }

    /// Asks it to end, and kills it after `grace`.
    pub(crate) fn stop(&self, grace: Duration) {
        self.intent.send_modify(|i| {
            i.run = false;
            i.grace = grace;
        });
    }

    /// What a fault does to it.
    pub(crate) fn suffer(&self, held: bool, frozen: bool) {
        self.intent.send_if_modified(|i| {
            let changed = (i.held, i.frozen) != (held, frozen);
            (i.held, i.frozen) = (held, frozen);
            changed
        });
    }

    /// Sends it `signal` as it is, as vendors' APIs do on request.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.status().pid.is_some_and(|pid| send(pid, signal))
    }

    /// How it stands.
    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Whether it is meant to run, whatever it does.
    pub(crate) fn is_wanted(&self) -> bool {
        self.intent.borrow().run
    }

    /// Waits until `reached` is true of how it stands. `false`: it never will be, for the cloud stops.
    pub(crate) async fn until(&self, reached: impl FnMut(&Status) -> bool) -> bool {
        self.status.clone().wait_for(reached).await.is_ok()
    }
}

/// Starts processes for one cloud.
pub(crate) struct Runner {
    program: PathBuf,
    ledger: PathBuf,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    births: mpsc::Sender<Birth>,
}

struct Birth {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Runner {
    /// A runner of `program app …`.
    ///
    /// All processes are born of one thread that lives as long as the runner: Linux kills a process that asked for it
    /// (`PR_SET_PDEATHSIG`) when the *thread* that bore it ends, and a worker thread of the runtime may end early.
    pub(crate) fn start(
        program: PathBuf,
        ledger: PathBuf,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> io::Result<Self> {
        let (births, due) = mpsc::channel::<Birth>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("cloud-births".to_owned()).spawn(move || {
            let _inside = runtime.enter();
            while let Ok(mut birth) = due.recv() {
                // When nobody waits for it any more, the child is dropped and so killed.
                birth.reply.send(birth.command.spawn()).ok();
            }
        })?;
        Ok(Self { program, ledger, clock, tasks, births })
    }

    /// Looks after a process made by `recipe`. It does not run before [`Process::run`].
    pub(crate) fn prepare(self: &Arc<Self>, recipe: Recipe, log: Arc<Log>) -> io::Result<Process> {
        // The port is bound, not listened on, as long as the process is looked after: nobody else gets it, and the
        // process itself may (both sides set SO_REUSEADDR).
        let port = TcpSocket::new_v4()?;
        port.set_reuseaddr(true)?;
        port.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = port.local_addr()?;
        let intent =
            Intent { run: false, round: 0, held: false, frozen: false, grace: Duration::ZERO };
        let status =
            Status { phase: Phase::New, pid: None, starts: 0, started: None, exits: Vec::new() };
        let (intent, wanted) = watch::channel(intent);
        let (told, status) = watch::channel(status);
        let service = recipe.service.clone();
        let keeper = Keeper {
            runner: Arc::clone(self),
            recipe,
            log,
            address,
            wanted,
            told,
            tries: 0,
            stdin: None,
        };
        self.tasks.start_to_the_end(async move {
            keeper.keep().await;
            drop(port);
        });
        Ok(Process { service, address, intent, status })
    }

    async fn bear(&self, command: Command) -> io::Result<Child> {
        let (reply, born) = oneshot::channel();
        let gone = || io::Error::other("the cloud stops");
        self.births.send(Birth { command, reply }).map_err(|_| gone())?;
        born.await.map_err(|_| gone())?
    }
}

/// Looks after one process.
struct Keeper {
    runner: Arc<Runner>,
    recipe: Recipe,
    log: Arc<Log>,
    address: SocketAddr,
    wanted: watch::Receiver<Intent>,
    told: watch::Sender<Status>,
    tries: u32,
    /// Kept open: the app ends when it closes.
    stdin: Option<ChildStdin>,
}

/// Why a process ended.
enum End {
    /// By itself.
    Itself(std::process::ExitStatus),
    /// A fault killed it.
    Held,
    /// It was asked to.
    Asked(Option<std::process::ExitStatus>),
    /// Nobody wants it any more.
    Dropped,
}

impl Keeper {
    async fn keep(mut self) {
        let stopping = self.runner.tasks.stopping();
        // A channel that says whether it has changed has not been closed: somebody still wants the process.
        while self.wanted.has_changed().is_ok() {
            let next = self.wanted.wait_for(|i| i.run && !i.held);
            let round = match stopping.run_until_cancelled(next).await {
                Some(Ok(intent)) => intent.round,
                Some(Err(_)) | None => return,
            };
            let began = Instant::now();
            let end = match self.begin().await {
                Ok(child) => self.watch(child, round).await,
                Err(error) => {
                    self.say(&format!("could not start: {error}"));
                    self.rest(round, None, None).await;
                    continue;
                }
            };
            match end {
                End::Itself(status) => {
                    if began.elapsed() > LONG_LIFE {
                        self.tries = 0;
                    }
                    self.rest(round, status.code(), status.signal()).await;
                }
                End::Held => self.ended(Phase::Dead, None, Some(9), false, false),
                End::Asked(status) => {
                    self.tries = 0;
                    let (code, signal) = status.map_or((None, Some(9)), |s| (s.code(), s.signal()));
                    self.ended(Phase::Stopped, code, signal, true, false);
                }
                End::Dropped => return,
            }
        }
    }

    /// Starts the process once.
    async fn begin(&mut self) -> io::Result<Child> {
        let mut command = Command::new(&self.runner.program);
        command.arg("app").args(&self.recipe.arguments).env_clear().envs(&self.recipe.env);
        // Also for what listens on nothing: an app may have a port of its own, for its health, and two would clash.
        command.env("PORT", self.address.port().to_string());
        command.env("LINKFLOW_LEDGER", &self.runner.ledger);
        command.env("LINKFLOW_APP_BEHAVIOUR", &self.recipe.behaviour);
        command.env("LINKFLOW_ORPHAN", "die");
        command.stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        self.told.send_modify(|s| s.starts += 1);
        let mut child = self.runner.bear(command).await?;
        self.stdin = child.stdin.take();
        let (pid, at) = (child.id(), self.runner.clock.wall());
        let phase = if self.recipe.listens { Phase::Starting } else { Phase::Running };
        self.told.send_modify(|s| (s.phase, s.pid, s.started) = (phase, pid, Some(at)));
        Ok(child)
    }

    /// Stays with a process until it has ended.
    async fn watch(&mut self, mut child: Child, round: u64) -> End {
        let mut readers = JoinSet::new();
        if let Some(out) = child.stdout.take() {
            readers.spawn(self.read(out, Stream::Out));
        }
        if let Some(err) = child.stderr.take() {
            readers.spawn(self.read(err, Stream::Err));
        }
        let end = self.stay(&mut child, round).await;
        // What it wrote last is in the log before anybody is told that it ended.
        timeout(Duration::from_millis(200), async { while readers.join_next().await.is_some() {} })
            .await
            .ok();
        self.stdin = None;
        end
    }

    async fn stay(&mut self, child: &mut Child, round: u64) -> End {
        let stopping = self.runner.tasks.stopping();
        let mut frozen = false;
        let mut knock = std::pin::pin!(knock(self.address));
        let mut open = !self.recipe.listens;
        loop {
            let intent = *self.wanted.borrow_and_update();
            if intent.held {
                kill(child).await;
                return End::Held;
            }
            if !intent.run || intent.round != round {
                self.told.send_modify(|s| s.phase = Phase::Stopping);
                return End::Asked(self.ask_to_end(child, intent.grace).await);
            }
            if frozen != intent.frozen {
                frozen = intent.frozen;
                self.send(child, if frozen { Signal::STOP } else { Signal::CONT });
            }
            tokio::select! {
                () = stopping.cancelled() => {
                    kill(child).await;
                    return End::Dropped;
                }
                ended = child.wait() => return match ended {
                    Ok(status) => End::Itself(status),
                    Err(_) => End::Held,
                },
                () = &mut knock, if !open => {
                    open = true;
                    self.told.send_modify(|s| s.phase = Phase::Running);
                }
                changed = self.wanted.changed() => if changed.is_err() {
                    kill(child).await;
                    return End::Dropped;
                }
            }
        }
    }

    /// Asks the process to end, then kills it.
    async fn ask_to_end(
        &self,
        child: &mut Child,
        grace: Duration,
    ) -> Option<std::process::ExitStatus> {
        self.send(child, Signal::TERM);
        let stopping = self.runner.tasks.stopping();
        let ended = stopping.run_until_cancelled(timeout(grace, child.wait())).await;
        if let Some(Ok(Ok(status))) = ended {
            return Some(status);
        }
        kill(child).await;
        None
    }

    fn send(&self, child: &Child, signal: Signal) {
        if let Some(pid) = child.id() {
            send(pid, signal);
        }
    }

    /// A process ended by itself: waits before it is started again, or until somebody asks for it.
    async fn rest(&mut self, round: u64, code: Option<i32>, signal: Option<i32>) {
        let again = match self.recipe.restart {
            Restart::Never => false,
            Restart::Always => true,
            Restart::OnFailure(most) => code != Some(0) && self.tries < most,
        };
        let phase = if again { Phase::BackingOff } else { Phase::Dead };
        self.ended(phase, code, signal, false, again);
        let stopping = self.runner.tasks.stopping();
        let pause = if again {
            // 50 ms, then half as long again each time, up to 1 s: a vendor's own back-off, in rehearsal time.
            let exponent = i32::try_from(self.tries.min(12)).unwrap_or(12);
            self.tries += 1;
            Duration::from_secs_f64(0.05 * 1.5_f64.powi(exponent)).min(Duration::from_secs(1))
        } else {
            self.tries = 0;
            Duration::MAX
        };
        let asked =
            self.wanted.wait_for(|i| i.round != round || (!i.run && again) || (i.held && again));
        tokio::select! {
            () = stopping.cancelled() => {}
            () = sleep(pause) => {}
            _ = asked => {}
        }
        let (run, held) = (self.wanted.borrow().run, self.wanted.borrow().held);
        if !run || held {
            let phase = if run { Phase::Dead } else { Phase::Stopped };
            self.told.send_modify(|s| s.phase = phase);
        }
    }

    fn ended(
        &self,
        phase: Phase,
        code: Option<i32>,
        signal: Option<i32>,
        requested: bool,
        restarting: bool,
    ) {
        let exit = Exit { at: self.runner.clock.wall(), code, signal, requested, restarting };
        self.say(&describe(&exit));
        self.told.send_modify(|s| {
            (s.phase, s.pid) = (phase, None);
            s.exits.push(exit);
            let surplus = s.exits.len().saturating_sub(EXITS_KEPT);
            s.exits.drain(..surplus);
        });
    }

    fn say(&self, text: &str) {
        self.log.write(Stream::Provider, &self.recipe.instance, &self.recipe.tag, text);
    }

    fn read<P>(&self, pipe: P, stream: Stream) -> impl Future<Output = ()> + Send + use<P>
    where
        P: AsyncRead + Unpin + Send + 'static,
    {
        let (log, instance, tag) =
            (Arc::clone(&self.log), self.recipe.instance.clone(), self.recipe.tag.clone());
        async move {
            let mut lines = BufReader::new(pipe).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                log.write(stream, &instance, &tag, &String::from_utf8_lossy(&line));
            }
        }
    }
}

fn describe(exit: &Exit) -> String {
    let how = match (exit.code, exit.signal) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "never began".to_owned(),
    };
    let why = if exit.requested { ", as requested" } else { "" };
    let then = if exit.restarting { "; starting it again" } else { "" };
    format!("process {how}{why}{then}")
}

/// Waits until something listens at `address`.
async fn knock(address: SocketAddr) {
    while TcpStream::connect(address).await.is_err() {
        sleep(KNOCK_EVERY).await;
    }
}

async fn kill(child: &mut Child) {
    if let Some(pid) = child.id() {
        send(pid, Signal::KILL);
    }
    child.wait().await.ok();
}

/// Signals the process group of `pid`. Says whether there was one.
fn send(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process_group(pid, signal).is_ok())
}
