//! Says to whoever looks at a page that something has changed: one stream of server-sent events for all pages.
//!
//! One task looks whether anything is new, as long as anybody listens. It says only that something is: what, the page asks
//! for itself, so that nobody sees less than what a fresh page would show.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::sleep;

use crate::Site;

/// How often it is looked whether anything is new.
const LOOK: Duration = Duration::from_millis(500);
/// How often a silent stream says that it is still there.
const ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes again, once it has lost the stream.
const RETRY: Duration = Duration::from_secs(2);
/// How many changes somebody may be behind before the whole page is to be loaded anew.
const BEHIND: usize = 16;

/// Who listens: the number of the newest event is said whenever something has changed. `None` once it is closed.
#[derive(Clone, Debug)]
pub struct Live(Arc<Mutex<Option<broadcast::Sender<u64>>>>);

impl Default for Live {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(broadcast::channel(BEHIND).0))))
    }
}

impl Live {
    /// Ends every stream, and begins none any more.
    pub(crate) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn sender(&self) -> Option<broadcast::Sender<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Site {
    /// Looks whether anything is new and says so, as long as anybody listens; until the streams are closed.
    pub async fn watch(self) {
        let mut seen = None;
        while let Some(sender) = self.live.sender() {
            if sender.receiver_count() == 0 {
                seen = None;
            } else {
                let now = digest(&self).await;
                if seen.is_some_and(|seen| seen != now) {
                    // Who has just left needs nothing.
                    drop(sender.send(now.0));
                }
                seen = Some(now);
            }
            drop(sender);
            sleep(LOOK).await;
        }
    }
}

/// The number of the newest event, and a hash of what changes without one.
async fn digest(site: &Site) -> (u64, u64) {
    let newest = site.store.newest_event().await.unwrap_or(0);
    let mut hasher = DefaultHasher::new();
    if let Ok(services) = site.operator.services().await {
        for service in &services.services {
            (&service.service, &service.active).hash(&mut hasher);
            for held in &service.placements {
                (&held.provider, held.state.word(), &held.drained).hash(&mut hasher);
            }
        }
    }
    for one in site.operator.watched() {
        (one.subject, one.condition).hash(&mut hasher);
    }
    for target in site.operator.traffic().targets {
        // Whole requests a second: less is no news.
        (target.address, target.state, target.requests_per_s as u64).hash(&mut hasher);
    }
    (newest, hasher.finish())
}

/// The stream of changes.
pub(crate) async fn changes(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let receiver = site.live.sender().map(|sender| sender.subscribe());
    let newest = site.store.newest_event().await.unwrap_or(0);
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    // What has changed while somebody was away is said at once.
    let missed = last.is_some_and(|last| last != newest);
    let first = said(if missed { "change" } else { "hello" }, newest).retry(RETRY);
    let events = unfold((receiver, Some(first)), |(mut receiver, first)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (receiver, None)));
        }
        let event = match receiver.as_mut()?.recv().await {
            Ok(newest) => said("change", newest),
            Err(RecvError::Lagged(missed)) => {
                Event::default().event("reload").data(missed.to_string())
            }
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (receiver, None)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE))
}

fn said(what: &str, newest: u64) -> Event {
    Event::default().event(what).id(newest.to_string()).data(newest.to_string())
}
