//! When a service ends: when it is asked to, or when its parent is gone.

use std::io::Read;

use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Waits until this process is asked to end (SIGTERM, SIGINT) or, with `orphan_dies`, has lost its parent. Says why.
pub(super) async fn asked(orphan_dies: bool) -> Result<&'static str, String> {
    let watch = |kind| signal(kind).map_err(|error| format!("signals cannot be watched: {error}"));
    let (mut terminate, mut interrupt) =
        (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    let orphaned =
        async { if orphan_dies { parent_gone().await } else { std::future::pending().await } };
    Ok(tokio::select! {
        _ = terminate.recv() => "asked to stop (SIGTERM)",
        _ = interrupt.recv() => "asked to stop (SIGINT)",
        () = orphaned => "the parent process is gone",
    })
}

/// Makes the kernel kill this process when the parent ends, and waits for the end of stdin, which the parent holds open.
///
/// The two together: the kernel's signal also comes when only the parent's *thread* ends, so some parents cannot use
/// it; and stdin may be anything when a person starts a service by hand, so only a pipe or socket is watched.
async fn parent_gone() {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        tracing::debug!(%error, "no signal when the parent dies");
    }
    let is_pipe = rustix::fs::fstat(std::io::stdin()).is_ok_and(|stat| {
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        matches!(kind, rustix::fs::FileType::Fifo | rustix::fs::FileType::Socket)
    });
    if !is_pipe {
        return std::future::pending().await;
    }
    let (gone, heard) = oneshot::channel::<()>();
    // A thread of its own: the runtime would wait for one of its own threads that is stuck in a read.
    let reader = std::thread::Builder::new().name("orphan".to_owned());
    let started = reader.spawn(move || {
        let mut bytes = [0; 64];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut bytes).is_ok_and(|read| read > 0) {}
        drop(gone);
    });
    match started {
        Ok(_) => heard.await.unwrap_or_default(),
        Err(_) => std::future::pending().await,
    }
}
