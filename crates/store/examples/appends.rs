//! Measures appends per second into a file, by one writer and by 32 at once, and what the store costs in memory.
//!
//! `cargo run --release -p linkflow-store --example appends [FOLDER]`; the file is made in FOLDER and removed.
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linkflow_model::{Event, EventKind, Level, Timestamp};
use linkflow_store::{Sqlite, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;

const SPAN: Duration = Duration::from_secs(3);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let before = resident_kib()?;
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let folder = folder.join(format!("linkflow-appends-{}", std::process::id()));
    let store = Arc::new(Sqlite::open(folder.join("store.db"))?);
    for writers in [1, 32] {
        let (count, longest) = append(&store, writers).await?;
        let per_second = count / SPAN.as_secs();
        println!("{writers} writers: {per_second} appends/s, longest {} ms", longest.as_millis());
    }
    let newest = store.newest_event().await?;
    store.events(newest.saturating_sub(1000), 1000).await?;
    println!("memory: {} KiB more than before, with {newest} events", resident_kib()? - before);
    drop(store);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

async fn append(store: &Arc<Sqlite>, writers: usize) -> Result<(u64, Duration), Box<dyn Error>> {
    let mut all = JoinSet::new();
    let end = Instant::now() + SPAN;
    for _ in 0..writers {
        let store = Arc::clone(store);
        all.spawn(async move {
            let event = Event::new(
                Timestamp(1),
                EventKind::StepDone,
                Level::Info,
                "deploy r12 of api on azure: done in 12 s",
            );
            let (mut count, mut longest) = (0, Duration::ZERO);
            while Instant::now() < end {
                let start = Instant::now();
                store.append(&event).await?;
                longest = longest.max(start.elapsed());
                count += 1;
            }
            Ok::<_, linkflow_store::StoreError>((count, longest))
        });
    }
    let (mut total, mut longest) = (0, Duration::ZERO);
    while let Some(ended) = all.join_next().await {
        let (count, slowest) = ended??;
        total += count;
        longest = longest.max(slowest);
    }
    Ok((total, longest))
}

/// Memory of this process that is in RAM, as Linux counts it.
fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(|l| l.trim().strip_suffix(" kB")).ok_or("no VmRSS")?.parse()?)
}
