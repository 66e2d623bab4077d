//! Who did what, why, from where, and what came of it.

use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use linkflow_model::Timestamp;
use linkflow_model::access::{Caller, Means};
use linkflow_store::Store;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::csrf::is_safe;
use super::documents;
use super::error::AccessError;
use super::random;
use crate::Site;

/// The prefix of its documents; `audit/2026-11/1795999999999-00000007-1f2e3d4c` is one.
const PREFIX: &str = "audit/";

/// How long it is kept: 13 months, as the history of monitors.
const KEEP_MS: u64 = 396 * 86_400_000;

/// How long a text in it may be, in characters.
const LONGEST: usize = 500;

/// One thing that somebody did, or tried to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When.
    pub at: Timestamp,
    /// Who: a person's or a token's name; of a failed sign-in, the name that was typed.
    pub who: String,
    /// How they proved it: `session`, `token`, `link`, `terminal`; `nothing` when they did not.
    pub means: String,
    /// What they did, in words: `signed in`.
    pub what: String,
    /// Why, in their own words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// From which address; `terminal` for commands on the machine.
    pub from: String,
    /// What came of it: `done`, or why not. [`Deed::UNKNOWN`] while it is being done, and of what a process was killed over.
    pub outcome: String,
}

impl Deed {
    /// What came of a deed that was begun, and whose end nobody has written down.
    pub const UNKNOWN: &str = "outcome unknown";

    fn of(site: &Site, (who, means): (&str, &str), (what, why): (&str, &str)) -> Self {
        let from = FROM.try_with(Clone::clone).unwrap_or_else(|_| "this machine".to_owned());
        let (who, means) = (who.to_owned(), means.to_owned());
        let (what, why) = (what.to_owned(), why.to_owned());
        let outcome = Self::UNKNOWN.to_owned();
        Self { at: site.clock.wall(), who, means, what, why, from, outcome }
    }

    /// What `who` is about to do on the terminal of this machine.
    fn at_terminal(at: Timestamp, who: &str, (what, why): (&str, &str)) -> Self {
        let terminal = || "terminal".to_owned();
        let (who, what, why) = (who.to_owned(), what.to_owned(), why.to_owned());
        let outcome = Self::UNKNOWN.to_owned();
        Self { at, who, means: terminal(), what, why, from: terminal(), outcome }
    }
}

/// A request that changes something, while it is answered.
struct Act {
    site: Arc<Site>,
    caller: Caller,
    begun: Mutex<Option<Begun>>,
}

/// What a request does, with the key of its line where that could be kept.
struct Begun {
    deed: Deed,
    key: Option<String>,
}

/// Counts what this process kept: of two deeds in one millisecond, the one that was first stands first.
static KEPT: AtomicU32 = AtomicU32::new(0);

tokio::task_local! {
    /// From where the request comes that is being answered.
    pub(super) static FROM: String;
    /// What it does, once that is known.
    static ACT: Arc<Act>;
}

/// Says what the request that is being answered does, in words (`drain fly`), and why in its caller's. It is written down
/// before it is tried, so that a process that is killed over it leaves its line; [`audited`] adds what came of it.
pub(crate) async fn doing(what: impl Into<String>, why: &str) {
    // Without a request, as in a test of the value alone, there is nobody to note.
    let Ok(act) = ACT.try_with(Arc::clone) else { return };
    let deed = Deed::of(&act.site, by(&act.caller), (&what.into(), why));
    let begun = begin(&*act.site.store, deed).await;
    *act.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
}

/// Stands around whatever changes something, and notes what came of what it [said](doing) that it does.
pub(crate) async fn audited(
    State(site): State<Arc<Site>>,
    request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let Some(caller) = caller.filter(|_| !is_safe(request.method())) else {
        return next.run(request).await;
    };
    let act = Arc::new(Act { site, caller, begun: Mutex::default() });
    let response = ACT.scope(Arc::clone(&act), next.run(request)).await;
    let begun = act.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(begun) = begun {
        let status = response.status();
        let good = status.is_success() || status.is_redirection();
        let outcome = if good { "done".to_owned() } else { format!("refused: {status}") };
        ended(&*act.site.store, begun, &outcome).await;
    }
    response
}

/// Writes what came of a deed into its line, or the whole line where there is none.
async fn ended(store: &dyn Store, begun: Begun, outcome: &str) {
    let Begun { deed, key } = begun;
    let deed = Deed { outcome: outcome.to_owned(), ..deed };
    let kept = match key {
        Some(key) => {
            let end = |held: &mut Deed| {
                held.outcome.clone_from(&deed.outcome);
                Ok(())
            };
            documents::change(store, &key, end).await.map(drop)
        }
        None => keep(store, &deed).await,
    };
    if let Err(error) = kept {
        warn!(%error, ?deed, "what came of a line of the audit could not be kept");
    }
}

/// Does `act`, which `who` calls `what` and says `why` of: its line is written before, and completed with what came of it.
pub(super) async fn noting<R>(
    site: &Site,
    who: (&str, &str),
    what: (&str, &str),
    act: impl Future<Output = Result<R, AccessError>>,
) -> Result<R, AccessError> {
    lined(&*site.store, Deed::of(site, who, what), act).await
}

/// The same for `who` on the terminal of this machine, at `now`.
///
/// # Errors
/// What `act` says.
pub async fn at_terminal<R, E: Display>(
    store: &dyn Store,
    (who, now): (&str, Timestamp),
    what: (&str, &str),
    act: impl Future<Output = Result<R, E>>,
) -> Result<R, E> {
    lined(store, Deed::at_terminal(now, who, what), act).await
}

/// Does `act` between the beginning and the end of the line of `deed`.
async fn lined<R, E: Display>(
    store: &dyn Store,
    deed: Deed,
    act: impl Future<Output = Result<R, E>>,
) -> Result<R, E> {
    let begun = begin(store, deed).await;
    let done = act.await;
    let outcome = done.as_ref().err().map_or_else(|| "done".to_owned(), ToString::to_string);
    ended(store, begun, &outcome).await;
    done
}

/// Writes the line of what somebody is about to do.
async fn begin(store: &dyn Store, deed: Deed) -> Begun {
    let key = match written(store, &deed).await {
        Ok(key) => Some(key),
        Err(error) => {
            warn!(%error, ?deed, "a line of the audit could not be kept before its deed");
            None
        }
    };
    Begun { deed, key }
}

/// The name of `caller`, and how they came in.
pub(super) fn by(caller: &Caller) -> (&str, &'static str) {
    let means = match caller.means {
        Means::Session => "session",
        Means::Token => "token",
    };
    (&caller.name, means)
}

/// Notes what somebody did, who may not have been let in: `what` in words, `why` in theirs, and what came of it: `done`, or why
/// not. When it cannot be kept, the log has it.
pub(super) async fn note(site: &Site, who: (&str, &str), what: &str, why: &str, outcome: &str) {
    let deed = Deed { outcome: outcome.to_owned(), ..Deed::of(site, who, (what, why)) };
    if let Err(error) = keep(&*site.store, &deed).await {
        warn!(%error, ?deed, "a line of the audit could not be kept");
    }
}

/// Keeps a deed.
async fn keep(store: &dyn Store, deed: &Deed) -> Result<(), AccessError> {
    written(store, deed).await.map(drop)
}

/// Writes a line; gives its key.
async fn written(store: &dyn Store, deed: &Deed) -> Result<String, AccessError> {
    let short = |text: &str| text.chars().take(LONGEST).collect::<String>();
    let deed = Deed {
        who: short(&deed.who),
        what: short(&deed.what),
        why: short(&deed.why),
        outcome: short(&deed.outcome),
        ..deed.clone()
    };
    let apart = random::bytes::<4>()?.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let count = KEPT.fetch_add(1, Ordering::Relaxed);
    let key = format!("{PREFIX}{}/{:013}-{count:08x}-{apart}", month(deed.at), deed.at.0);
    documents::create(store, &key, &deed).await?;
    Ok(key)
}

/// The month of `at` as [`deeds`] takes it: `2026-11`, by UTC.
pub fn month(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    ms.unwrap_or(jiff::Timestamp::MAX).strftime("%Y-%m").to_string()
}

/// All deeds of a month (`2026-11`), the newest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn deeds(store: &dyn Store, month: &str) -> Result<Vec<Deed>, AccessError> {
    let held = documents::list::<Deed>(store, &format!("{PREFIX}{month}/")).await?;
    Ok(held.into_iter().rev().map(|held| held.value).collect())
}

/// Removes what is older than it is kept: whole months, of the two years before.
pub(super) async fn tidy(store: &dyn Store, now: Timestamp) -> Result<(), AccessError> {
    const DAY_MS: u64 = 86_400_000;
    let oldest = month(Timestamp(now.0.saturating_sub(KEEP_MS)));
    let before = (1..=26).map(|step| now.0.saturating_sub(KEEP_MS + step * 28 * DAY_MS));
    for old in before.map(|at| month(Timestamp(at))).filter(|month| *month < oldest) {
        for document in store.list(&format!("{PREFIX}{old}/")).await? {
            store.remove(&document.key, document.version).await?;
        }
    }
    Ok(())
}
