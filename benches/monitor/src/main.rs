//! What it costs to watch: `watch KIND COUNT EVERY_S SECONDS FOLDER` looks at what `FOLDER/ports` names.
//!
//! It does all that a running LinkFlow does of it: the wheel, the verdicts, the store on disk, the events. It prints one
//! JSON value; `bench.py` makes tables of them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::watch::Manner;
use linkflow_model::clock::SystemClock;
use linkflow_model::{Clock, Pulse, Timestamp};
use linkflow_monitor::{Authority, Eyes, Guard, HttpTarget, Prober, Target, Watched, Watching};
use linkflow_store::{Sqlite, Store};
use tokio::sync::{mpsc, watch as shown};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Done = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["watch", kind, count, every, seconds, folder] => {
            watch(kind, count.parse()?, every.parse()?, seconds.parse()?, Path::new(folder)).await
        }
        _ => Err("watch http|https|tcp COUNT EVERY_S SECONDS FOLDER".into()),
    }
}

async fn watch(kind: &str, count: usize, every_s: u64, seconds: u64, folder: &Path) -> Done {
    let ports = fs::read_to_string(folder.join("ports"))?;
    let (plain, secure) = ports.trim().split_once(' ').ok_or("no ports")?;
    let target = match kind {
        "http" => Target::Http(Box::new(HttpTarget::get(
            format!("http://127.0.0.1:{plain}/").parse()?,
        ))),
        "https" => {
            let mut http = HttpTarget::get(format!("https://localhost:{secure}/").parse()?);
            http.connect = Some(format!("127.0.0.1:{secure}").parse()?);
            Target::Http(Box::new(http))
        }
        "tcp" => {
            Target::Tcp(Authority { host: "127.0.0.1".to_owned(), port: plain.parse()? })
        }
        other => return Err(format!("`{other}` is no kind").into()),
    };
    let every_ms = every_s * 1_000;
    let manner = Manner {
        every_ms,
        limit_ms: 5_000,
        hold_ms: Manner::usual_hold(every_ms),
        slow_ms: None,
        learn_ms: Some(0),
    };
    let one = |number| Watched {
        subject: format!("monitor.m{number}"),
        also: Vec::new(),
        target: target.clone(),
        elsewhere: false,
        manner: manner.clone(),
        needs: Vec::new(),
        service: None,
        certificate_days: 14,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(folder.join(format!("{kind}-{count}.db")))?);
    let (tell, mut told) = mpsc::channel(1_024);
    let prober = Prober::trusting(&[fs::read(folder.join("root.der"))?])?;
    let watching = Watching {
        all: (0..count).map(one).collect(),
        eyes: Eyes::new(prober, Guard::new(Vec::new())),
        vantages: Vec::new(),
        witness: None,
        store: Arc::clone(&store),
        clock: Arc::clone(&clock),
        tell,
        show: shown::channel(Vec::new()).0,
        pulse: Pulse::default(),
    };
    let (before, stop) = (cpu_s()?, CancellationToken::new());
    let begun = clock.wall();
    let (mut after, mut rss) = (0.0, [0; 2]);
    let ending = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        (after, rss) = (cpu_s().unwrap_or_default(), memory());
        stop.cancel();
    };
    let telling = async { while told.recv().await.is_some() {} };
    tokio::join!(watching.run(stop.clone()), ending, telling);
    let cpu = after - before;
    let seen = seen(&store, count, every_ms, begun).await?;
    println!(
        r#"{{"looks":{},"bad":{},"cpu_s":{cpu:.2},"cpu_us":{:.1},"late_p50_ms":{},"late_p99_ms":{},"late_most_ms":{},"in_time":{},"rss_mb":{},"most_mb":{}}}"#,
        seen.looks,
        seen.bad,
        cpu * 1e6 / seen.looks.max(1) as f64,
        seen.late(50),
        seen.late(99),
        seen.late(100),
        seen.in_time,
        rss[0],
        rss[1],
    );
    Ok(())
}

#[derive(Default)]
struct Seen {
    looks: usize,
    bad: usize,
    in_time: usize,
    late_ms: Vec<u64>,
}

impl Seen {
    fn late(&self, percent: usize) -> u64 {
        let last = self.late_ms.len().saturating_sub(1);
        self.late_ms.get(last * percent / 100).copied().unwrap_or_default()
    }
}

/// What the store has of it. How late a look began is told by the others of the same monitor: each has its own time.
async fn seen(
    store: &Arc<dyn Store>,
    count: usize,
    every_ms: u64,
    begun: Timestamp,
) -> Result<Seen, Box<dyn Error>> {
    let mut seen = Seen::default();
    for number in 0..count {
        let subject = format!("monitor.m{number}");
        let readings = store.readings(&subject, begun, Timestamp(u64::MAX), 100_000).await?;
        let began = |at: Timestamp, took_us: u32| at.0 - begun.0 - u64::from(took_us) / 1_000;
        let phases: BTreeMap<u64, u64> = readings
            .iter()
            .map(|reading| began(reading.at, reading.took_us))
            .map(|at| (at, at % every_ms))
            .collect();
        let first = phases.values().min().copied().unwrap_or_default();
        seen.late_ms.extend(phases.values().map(|phase| phase - first));
        seen.in_time += usize::from(phases.keys().next().is_some_and(|at| *at <= every_ms + 20));
        seen.looks += readings.len();
        seen.bad += readings.iter().filter(|reading| !reading.well).count();
    }
    seen.late_ms.sort_unstable();
    Ok(seen)
}

/// What this process has used of CPU, all threads, in seconds.
fn cpu_s() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

/// What this process holds of memory, and the most it held, in MiB.
fn memory() -> [u64; 2] {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["VmRSS", "VmHWM"].map(|key| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1_024
    })
}
