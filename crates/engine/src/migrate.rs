//! Runs a migration: once for each new image, whatever is cut off or lost on the way.
//!
//! `migrated/<service>` remembers the last one that worked, and every job that was ever started and not taken away
//! since. The provider promises that a job of one id runs once ([`linkflow_model::role::Compute::run_once`]); the
//! document is what keeps that promise whole after the job itself was taken away.

use linkflow_model::role::{Compute, Job, JobState, LogLine};
use linkflow_model::{Migration, ProviderName, Release, ReleaseId, ServiceName, ServiceRelease};
use linkflow_store::Fence;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::act::{pause, said};
use crate::guard::{Patience, guarded};
use crate::{Engine, EngineError};

/// How long a provider may know nothing of a job that it was told to run.
const APPEARS_WITHIN_MS: u64 = 60_000;
/// How many of its last lines are kept.
const KEPT_LINES: usize = 50;
/// How many of them are told when it failed.
const TOLD_LINES: usize = 20;
/// The longest id of a job, in bytes.
const LONGEST_ID: usize = 40;

/// What is known of the migrations of one service: the document `migrated/<service>`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Migrated {
    /// The last one that worked.
    pub(crate) last: Option<Migration>,
    /// Jobs that were started and not taken away yet.
    #[serde(default)]
    pub(crate) left: Vec<LeftJob>,
}

/// A job at a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeftJob {
    provider: ProviderName,
    id: String,
}

/// One migration under way.
struct Task<'a> {
    service: &'a ServiceName,
    provider: &'a ProviderName,
    release: ReleaseId,
    held: &'a ServiceRelease,
    command: &'a [String],
    fence: &'a Fence,
}

impl Engine {
    /// Has the migration of `service` in `release` run, and says how it ended.
    pub(crate) async fn migrate(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        release: ReleaseId,
        fence: &Fence,
    ) -> Result<String, String> {
        let record = self.release(release).await.map_err(said)?;
        let held = record.services.get(service);
        let held = held.ok_or_else(|| format!("{release} has no service {service}"))?;
        let command = held.spec.migrate.as_deref();
        let command = command.ok_or_else(|| format!("{service} has no migration in {release}"))?;
        let task = Task { service, provider, release, held, command, fence };
        let compute = self.compute(provider)?;
        let known = self.migrated(service).await.map_err(said)?;
        let is_this =
            |last: &&Migration| last.digest == held.image.digest && last.command == command;
        let ended = match known.last.as_ref().filter(is_this) {
            // It worked, and LinkFlow was cut off before it could say so; or another deploy of this image was quicker.
            Some(last) => last.clone(),
            None => self.run_job(&task, compute, &record, known).await?,
        };
        self.change_release(release, fence, |record| {
            record.migrations.insert(service.clone(), ended.clone());
        })
        .await
        .map_err(said)?;
        if !ended.worked {
            return Err(failure(&ended));
        }
        self.take_away(&task, compute).await?;
        let took = seconds(ended.took_ms);
        Ok(match ended.release == release {
            true => format!("exited with 0 after {took}"),
            false => format!("it was run for {} already", ended.release),
        })
    }

    /// What is known of the migrations of `service`.
    pub(crate) async fn migrated(&self, service: &ServiceName) -> Result<Migrated, EngineError> {
        let held = self.document::<Migrated>(&format!("migrated/{service}")).await?;
        Ok(held.map(|(held, _)| held).unwrap_or_default())
    }

    async fn remember(&self, task: &Task<'_>, known: &Migrated) -> Result<(), String> {
        self.put(&format!("migrated/{}", task.service), known, task.fence).await.map_err(said)
    }

    /// Starts the job unless it was started, and waits for its end.
    async fn run_job(
        &self,
        task: &Task<'_>,
        compute: &dyn Compute,
        record: &Release,
        mut known: Migrated,
    ) -> Result<Migration, String> {
        let left = LeftJob { provider: task.provider.clone(), id: id(task.service, task.release) };
        self.clear_earlier(&mut known, &left).await?;
        if !known.left.contains(&left) {
            known.left.push(left.clone());
        }
        self.remember(task, &known).await?;
        let mut what = self.parts.render.definition(record, task.service, task.provider, 1)?;
        what.command = Some(task.command.to_vec());
        let job = Job { id: left.id, what };
        self.still_holds(task.fence).await.map_err(said)?;
        let started = self.parts.clock.now();
        let call = || compute.run_once(&job);
        guarded(task.provider, "run a migration", Patience::ACT, call).await.map_err(said)?;
        let (code, worked, log) = self.wait_for_job(task, compute, &job.id).await?;
        let from = log.len().saturating_sub(KEPT_LINES);
        let ended = Migration {
            release: task.release,
            digest: task.held.image.digest.clone(),
            command: task.command.to_vec(),
            provider: task.provider.clone(),
            code,
            worked,
            log: log.into_iter().skip(from).map(|line| line.text).collect(),
            at: self.parts.clock.wall(),
            took_ms: self.parts.clock.now().since(started),
        };
        if worked {
            known.last = Some(ended.clone());
            self.remember(task, &known).await?;
        }
        Ok(ended)
    }

    async fn wait_for_job(
        &self,
        task: &Task<'_>,
        compute: &dyn Compute,
        id: &str,
    ) -> Result<(Option<i32>, bool, Vec<LogLine>), String> {
        let provider = task.provider;
        let started = self.parts.clock.now();
        let within = self.parts.rollout.migrate_within_ms;
        let mut absent_since = None;
        loop {
            let call = || compute.job(id);
            let answer = guarded(provider, "tell how a migration goes", Patience::LOOK, call).await;
            let now = self.parts.clock.now();
            let word = match answer {
                Ok(JobState::Ended { code, worked, log }) => return Ok((code, worked, log)),
                Ok(JobState::Under { said }) => {
                    absent_since = None;
                    said
                }
                Ok(JobState::Absent) => {
                    let since = *absent_since.get_or_insert(now);
                    if now.since(since) >= APPEARS_WITHIN_MS {
                        return Err(format!("{provider} knows nothing of the job {id}"));
                    }
                    "nothing of it".to_owned()
                }
                Err(fault) if fault.kind.is_passing() => fault.said,
                Err(fault) => return Err(fault.to_string()),
            };
            if now.since(started) >= within {
                return Err(format!(
                    "{provider} says `{word}` of it after {}; it is left running, and no other is started before it has ended",
                    seconds(within)
                ));
            }
            self.still_holds(task.fence).await.map_err(said)?;
            sleep(pause(now.since(started))).await;
        }
    }

    /// Takes what earlier migrations left away, and refuses while one of them still runs.
    async fn clear_earlier(&self, known: &mut Migrated, this: &LeftJob) -> Result<(), String> {
        let mut kept = Vec::new();
        for left in std::mem::take(&mut known.left) {
            let Ok(compute) = self.compute(&left.provider) else { continue };
            if left == *this {
                kept.push(left);
                continue;
            }
            let LeftJob { provider, id } = &left;
            let call = || compute.job(id);
            let state = guarded(provider, "tell how a migration goes", Patience::LOOK, call).await;
            match state {
                Ok(JobState::Under { .. }) => {
                    return Err(format!(
                        "an earlier migration, the job {id} on {provider}, still runs; two at once are never started"
                    ));
                }
                Ok(JobState::Ended { .. }) => {
                    let call = || compute.forget_job(id);
                    let gone = guarded(provider, "take a job away", Patience::ACT, call).await;
                    if gone.is_err() {
                        kept.push(left);
                    }
                }
                Ok(JobState::Absent) => {}
                Err(fault) => {
                    return Err(format!(
                        "nobody can tell whether the job {id} still runs: {fault}"
                    ));
                }
            }
        }
        known.left = kept;
        Ok(())
    }

    /// Takes the job of a migration that worked away. Only from here on may nothing be left of it, as it is remembered
    /// by now; a provider that cannot do so now is asked again by the next migration.
    async fn take_away(&self, task: &Task<'_>, compute: &dyn Compute) -> Result<(), String> {
        let mut known = self.migrated(task.service).await.map_err(said)?;
        let id = id(task.service, task.release);
        let is_this = |left: &LeftJob| left.id == id && left.provider == *task.provider;
        if !known.left.iter().any(is_this) {
            return Ok(());
        }
        self.still_holds(task.fence).await.map_err(said)?;
        let call = || compute.forget_job(&id);
        if guarded(task.provider, "take a job away", Patience::LOOK, call).await.is_ok() {
            known.left.retain(|left| !is_this(left));
            self.remember(task, &known).await?;
        }
        Ok(())
    }
}

/// The id of the job that migrates `service` for `release`: the same each time, and short enough for every provider.
fn id(service: &ServiceName, release: ReleaseId) -> String {
    let whole = format!("migrate-{service}-{release}");
    if whole.len() <= LONGEST_ID {
        return whole;
    }
    // FNV-1a: what is cut off still tells two services apart.
    let hash = service
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let tail = format!("-{hash:08x}-{release}");
    let room = LONGEST_ID.saturating_sub("migrate-".len() + tail.len());
    let name: String = service.as_str().chars().take(room).collect();
    format!("migrate-{}{tail}", name.trim_end_matches('-'))
}

fn failure(ended: &Migration) -> String {
    let how = match ended.code {
        Some(code) => format!("exited with {code}"),
        None => "ended, and nobody could tell its exit code".to_owned(),
    };
    let mut text = format!("`{}` {how}", ended.command.join(" "));
    for line in ended.log.iter().skip(ended.log.len().saturating_sub(TOLD_LINES)) {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    text
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fits_every_provider_and_tells_services_apart() {
        let name = |text: &str| ServiceName::new(text).unwrap();
        assert_eq!(id(&name("api"), ReleaseId(12)), "migrate-api-r12");
        let long = "a-very-long-name-of-a-service-that-is-a";
        let one = id(&name(&format!("{long}1")), ReleaseId(123));
        let two = id(&name(&format!("{long}2")), ReleaseId(123));
        assert!(one.len() <= LONGEST_ID && two.len() <= LONGEST_ID, "{one} {two}");
        assert_ne!(one, two);
        assert!(one.ends_with("-r123"), "{one}");
    }
}
