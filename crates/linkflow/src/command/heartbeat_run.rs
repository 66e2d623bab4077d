//! `linkflow heartbeat run` and `send`: a job is run and told of, and never held up by that.

use std::collections::VecDeque;
use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use linkflow_model::clock::SystemClock;
use linkflow_model::{Beat, Clock, Output, ProviderName, Says, Secret, Timestamp};
use linkflow_providers::beats::Reports;
use linkflow_providers::kit::{Kit, KitOptions};
use linkflow_store::{Sqlite, Store};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::say::answer::Answer;
use crate::say::output;
use crate::wire::state::hex;

use super::heartbeat::{RunArgs, SendArgs};
use super::{Answered, Context};

/// Where reports go when nothing else is said.
const TO: &str = "LINKFLOW_HEARTBEATS";

/// How long a job that was asked to end may take for it.
const GRACE: Duration = Duration::from_secs(10);

/// How long what a job left running may hold its output open.
const LINGERS: Duration = Duration::from_secs(1);

/// How long all reports at the end of a job may take.
const REPORTS: Duration = Duration::from_secs(12);

/// How many reports wait on disk to be sent, at most.
const SPOOL: usize = 100;

/// Where reports go.
enum To {
    /// Into the store of this machine, whether somebody listens now or not.
    Here(Sqlite),
    /// To an address.
    There { reports: Reports, address: String, spool: Option<PathBuf> },
}

/// A report that could not be sent.
#[derive(Serialize, Deserialize)]
struct Spooled {
    to: String,
    beat: Beat,
    output: String,
}

/// What makes reports of one run.
struct Teller {
    to: To,
    clock: SystemClock,
    heartbeat: String,
    series: String,
    host: Option<String>,
}

impl Teller {
    fn open(context: &Context, name: &str, to: Option<&String>) -> Result<Self, Box<Answer>> {
        let clock = SystemClock::start();
        let address = to.or_else(|| context.vars.get(TO)).filter(|to| !to.is_empty());
        let to = match address {
            Some(address) => there(context, address)?,
            None => To::Here(here(context, name)?),
        };
        let host = fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
        Ok(Self { to, clock, heartbeat: name.to_owned(), series: uuid(), host })
    }

    fn beat(&self, says: Says) -> Beat {
        Beat {
            id: uuid(),
            heartbeat: self.heartbeat.clone(),
            at: self.clock.wall(),
            says,
            series: Some(self.series.clone()),
            message: None,
            exit: None,
            took_ms: None,
            counts: Default::default(),
            host: self.host.clone(),
            output: None,
        }
    }

    /// Sends `beat` once. Why it could not be sent, in words.
    async fn send(&self, beat: &Beat, printed: &[u8]) -> Result<(), String> {
        match &self.to {
            To::Here(store) => {
                let mut beat = beat.clone();
                if !printed.is_empty() {
                    beat.output = u32::try_from(printed.len()).ok();
                    let kept = Output { base64: STANDARD.encode(printed), cut: false };
                    let kept = store.write(&Output::key(&beat), None, &json!(kept), None).await;
                    kept.map_err(|error| error.to_string())?;
                }
                let done = store.write(&beat.key(), None, &json!(beat), None).await;
                done.map(drop).map_err(|error| error.to_string())
            }
            To::There { reports, .. } => {
                let late = self.clock.wall().0.saturating_sub(beat.at.0);
                // What is told at once is dated by whoever hears it: clocks differ.
                let late = if late < 2_000 { 0 } else { late };
                reports.tell(beat, printed, late).await.map_err(|fault| fault.to_string())
            }
        }
    }

    /// Sends `beat`, once more when that fails, and leaves it on disk when that fails, too.
    async fn tell(&self, beat: &Beat, printed: &[u8]) {
        if self.send(beat, printed).await.is_ok() {
            return;
        }
        sleep(Duration::from_secs(1)).await;
        if let Err(why) = self.send(beat, printed).await {
            let kept = self.spool(beat, printed);
            let then = if kept { "; it is sent with the next one" } else { "" };
            output::err(&format!("warning: `{}` is not told: {why}{then}\n", beat.says.word()));
        }
    }

    fn spool(&self, beat: &Beat, printed: &[u8]) -> bool {
        let To::There { address, spool: Some(folder), .. } = &self.to else { return false };
        let kept =
            Spooled { to: address.clone(), beat: beat.clone(), output: STANDARD.encode(printed) };
        let file = folder.join(format!("{:014}-{}.json", beat.at.0, beat.id));
        let write = || {
            fs::create_dir_all(folder)?;
            let held = fs::read_dir(folder)?.count();
            if held >= SPOOL {
                return Err(std::io::Error::other("too many wait"));
            }
            let mut options = fs::OpenOptions::new();
            // An address holds a key.
            let mut file = options.create_new(true).write(true).mode(0o600).open(&file)?;
            file.write_all(json!(kept).to_string().as_bytes())
        };
        write().is_ok()
    }

    /// Sends what could not be sent before, the oldest first, as far as that goes.
    async fn send_spooled(&self) {
        let To::There { address, spool: Some(folder), .. } = &self.to else { return };
        let Ok(listed) = fs::read_dir(folder) else { return };
        let mut files: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let kept = serde_json::from_str::<Spooled>(&text).ok();
            // Those for others wait for a run that reports there.
            let Some(kept) = kept.filter(|kept| kept.to == *address) else { continue };
            let printed = STANDARD.decode(&kept.output).unwrap_or_default();
            if self.send(&kept.beat, &printed).await.is_err() || fs::remove_file(&file).is_err() {
                return;
            }
        }
    }
}

/// Opens the store of this machine's stack, which must wait for `name`.
fn here(context: &Context, name: &str) -> Result<Sqlite, Box<Answer>> {
    let teller = context.teller()?;
    super::heartbeat::known(&teller.config, name)?;
    Ok(teller.store)
}

/// Reports to `address`. A report that cannot be sent waits in the state folder, or in that of the user.
fn there(context: &Context, address: &str) -> Result<To, Box<Answer>> {
    if !address.starts_with("http://") && !address.starts_with("https://") {
        let help = "write `https://ops.example.com/p/KEY`; `linkflow heartbeat list` shows it";
        return Answer::failed(2, "what reports go to is no web address", help);
    }
    let home =
        context.vars.get("HOME").map(|home| PathBuf::from(home).join(".local/state/linkflow"));
    let folder = context.common.state.clone().or(home);
    let kit = Kit::new(KitOptions {
        record: context.record(),
        clock: Arc::new(SystemClock::start()),
        user_agent: concat!("linkflow/", env!("CARGO_PKG_VERSION")).to_owned(),
        limits: None,
    });
    let kit = kit.or_else(|error| Answer::failed(1, &error.to_string(), ""))?;
    let Some(provider) = ProviderName::new("heartbeats") else {
        return Answer::failed(1, "nothing can be told", "");
    };
    let reports = Reports::open(&Secret::new(address), &kit, &provider);
    let spool = folder.map(|folder| folder.join("heartbeats"));
    Ok(To::There { reports, address: address.to_owned(), spool })
}

/// A random UUID (RFC 9562, 5.4).
fn uuid() -> String {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(std::process::id()).to_be_bytes();
    let mut bytes = [half(), half()].concat();
    bytes[6] = 0x40 | bytes[6] & 0x0f;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    let text = hex(&bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// What `heartbeat send` answers.
pub(super) async fn send(context: &Context, args: &SendArgs) -> Answered {
    let teller = Teller::open(context, &args.name, args.to.as_ref())?;
    let mut beat = teller.beat(args.state.says());
    beat.series.clone_from(&args.series);
    beat.message.clone_from(&args.message);
    beat.took_ms = args.duration.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    beat.exit = args.exit;
    match teller.send(&beat, &[]).await {
        Ok(()) => Ok(Answer {
            out: format!("{} has told `{}`\n", args.name, beat.says.word()),
            result: json!({ "heartbeat": args.name, "state": beat.says }),
            ..Answer::default()
        }),
        Err(why) => Answer::failed(1, &why, "see whether the address and its key are right"),
    }
}

/// The end of what a job printed.
type Tail = Arc<Mutex<VecDeque<u8>>>;

/// What `heartbeat run` answers: the exit code of the job, whatever became of the reports.
pub(super) async fn run(context: &Context, args: &RunArgs) -> Answered {
    let teller = match Teller::open(context, &args.name, args.to.as_ref()) {
        Ok(teller) => Some(Arc::new(teller)),
        // The job matters more than who hears of it.
        Err(answer) => {
            output::err(&answer.err);
            output::err("warning: the job runs, and nobody is told\n");
            None
        }
    };
    let mut begun = JoinSet::new();
    if let Some(teller) = &teller {
        let (teller, beat) = (Arc::clone(teller), teller.beat(Says::Run));
        begun.spawn(async move {
            teller.send_spooled().await;
            teller.tell(&beat, &[]).await;
        });
    }
    let clock = SystemClock::start();
    let tail = Tail::default();
    let ended = job(args, &tail).await;
    let took = clock.now().0;
    if let Some(teller) = &teller {
        let mut beat = teller.beat(if ended.code == 0 { Says::Complete } else { Says::Fail });
        beat.took_ms = Some(took);
        beat.exit = Some(i32::from(ended.code));
        beat.message.clone_from(&ended.why);
        let printed = printed(&tail);
        let telling = async {
            while begun.join_next().await.is_some() {}
            teller.tell(&beat, &printed).await;
        };
        if timeout(REPORTS, telling).await.is_err() && !teller.spool(&beat, &printed) {
            output::err("warning: it took too long to tell how the job ended\n");
        }
    }
    if let Some(why) = ended.why {
        output::err(&format!("linkflow: {why}\n"));
    }
    Ok(Answer { told: true, exit: ended.code, ..Answer::default() })
}

fn printed(tail: &Tail) -> Vec<u8> {
    let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    tail.iter().copied().collect()
}

/// How a job ended.
struct Ended {
    code: u8,
    why: Option<String>,
}

async fn job(args: &RunArgs, tail: &Tail) -> Ended {
    let Some((program, words)) = args.command.split_first() else {
        return Ended { code: 2, why: Some("there is no command".to_owned()) };
    };
    let mut command = Command::new(program);
    command.args(words);
    if !args.no_output {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            return Ended { code, why: Some(format!("`{program}` cannot be started: {error}")) };
        }
    };
    let mut passing = JoinSet::new();
    if let Some(from) = child.stdout.take() {
        passing.spawn(pass_on(from, std::io::stdout(), Arc::clone(tail)));
    }
    if let Some(from) = child.stderr.take() {
        passing.spawn(pass_on(from, std::io::stderr(), Arc::clone(tail)));
    }
    let (status, late) = waited(&mut child, args.max_runtime).await;
    // What it left running may hold its output open for ever.
    drop(timeout(LINGERS, async { while passing.join_next().await.is_some() {} }).await);
    match status {
        Ok(status) => ended(status, late.then_some(args.max_runtime).flatten()),
        Err(error) => Ended { code: 1, why: Some(format!("it cannot be waited for: {error}")) },
    }
}

fn ended(status: ExitStatus, late: Option<Duration>) -> Ended {
    if let Some(limit) = late {
        let limit = linkflow_model::config::duration_text(limit);
        return Ended {
            code: 124,
            why: Some(format!("it took longer than {limit} and was ended")),
        };
    }
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended { code: u8::try_from(code).unwrap_or(1), why: None },
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            let code = u8::try_from(128 + signal).unwrap_or(1);
            Ended { code, why: Some(format!("it was ended by signal {signal}")) }
        }
    }
}

/// Waits until it ends, and hands on what this process is asked by signals. Says, too, whether it took too long.
async fn waited(child: &mut Child, limit: Option<Duration>) -> (std::io::Result<ExitStatus>, bool) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let tell = |signal: Signal| {
        if let Some(id) = id
            && kill_process(id, signal).is_err()
        {
            // It has ended already.
        }
    };
    let (mut term, mut int, mut hup) = (
        signal(SignalKind::terminate()).ok(),
        signal(SignalKind::interrupt()).ok(),
        signal(SignalKind::hangup()).ok(),
    );
    // On a terminal Ctrl-C reaches the job by itself.
    let has_terminal = std::io::stdin().is_terminal();
    let (mut end, mut late) = (limit.map(|limit| Instant::now() + limit), false);
    loop {
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => return (status, late),
            () = over => {
                tell(if late { Signal::KILL } else { Signal::TERM });
                (end, late) = (Some(Instant::now() + GRACE), true);
            }
            () = came(&mut term) => tell(Signal::TERM),
            () = came(&mut hup) => tell(Signal::HUP),
            () = came(&mut int) => {
                if !has_terminal {
                    tell(Signal::INT);
                }
            }
        }
    }
}

async fn came(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Hands on what comes, and keeps its end.
async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: impl Write, tail: Tail) {
    let mut bytes = vec![0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let came = &bytes[..length];
        // Whoever reads may have gone; the job goes on.
        drop(to.write_all(came).and_then(|()| to.flush()));
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(came);
        let more = tail.len().saturating_sub(Output::MOST);
        tail.drain(..more);
    }
}

/// The moment of a report, for people.
pub(super) fn ago(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.0.saturating_sub(at.0) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}
