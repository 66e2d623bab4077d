//! What happened, the newest first, with a filter.

use linkflow_model::{Event, EventKind, Level, ProviderName, ReleaseId, ServiceName};

use crate::Site;
use crate::operator::Refusal;
use crate::shape::shapes;

shapes! {
    /// Events, the newest first.
    pub struct Events {
        /// The events.
        pub events: Vec<Happened>,
        /// Where older ones go on: the next question's `before`. None: there are no older ones.
        pub before: Option<u64>,
    }

    /// Something that happened.
    pub struct Happened {
        /// Its number: later ones have greater ones.
        pub number: u64,
        /// When, in milliseconds since 1970.
        pub at: u64,
        /// What sort of thing.
        pub kind: EventKind,
        /// How much it matters.
        pub level: Level,
        /// What it is about: a service.
        pub service: Option<ServiceName>,
        /// What it is about: a provider.
        pub provider: Option<ProviderName>,
        /// What it is about: a release.
        pub release: Option<ReleaseId>,
        /// The run that it belongs to.
        pub run: Option<String>,
        /// What happened, in one sentence.
        pub message: String,
    }
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) before: Option<u64>,
    pub(crate) kind: Option<EventKind>,
    pub(crate) level: Option<Level>,
    pub(crate) service: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) run: Option<String>,
    /// Words of the message, whatever their case.
    pub(crate) text: Option<String>,
}

impl Filter {
    fn fits(&self, event: &Event) -> bool {
        let named = |wanted: &Option<String>, held: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| held == Some(wanted))
        };
        self.kind.is_none_or(|kind| event.kind == kind)
            && self.level.is_none_or(|level| event.level >= level)
            && named(&self.service, event.service.as_ref().map(ServiceName::as_str))
            && named(&self.provider, event.provider.as_ref().map(ProviderName::as_str))
            && named(&self.run, event.run.as_deref())
            && self
                .text
                .as_ref()
                .is_none_or(|text| event.message.to_lowercase().contains(&text.to_lowercase()))
    }
}

/// How many events are read at once, and how many are looked through for one answer.
const PAGE: u64 = 1_000;
const LOOKED_THROUGH: u64 = 50_000;

/// The newest `limit` events that fit, or fewer when they lie further back than is looked for one answer.
pub(crate) async fn events(site: &Site, filter: &Filter, limit: usize) -> Result<Events, Refusal> {
    let newest = site.store.newest_event().await?;
    let mut end = filter.before.map_or(newest, |before| newest.min(before.saturating_sub(1)));
    let floor = end.saturating_sub(LOOKED_THROUGH);
    let mut found: Vec<Happened> = Vec::new();
    while end > floor && found.len() < limit {
        let after = end.saturating_sub(PAGE).max(floor);
        let page = site.store.events(after, usize::try_from(end - after).unwrap_or(0)).await?;
        for (number, event) in page.into_iter().rev().filter(|(number, _)| *number <= end) {
            if filter.fits(&event) && found.len() < limit {
                found.push(shown(number, event));
            }
        }
        if found.len() < limit {
            end = after;
        }
    }
    let full = found.len() >= limit;
    let oldest = if full { found.last().map(|one| one.number) } else { Some(end + 1) };
    Ok(Events { events: found, before: oldest.filter(|before| *before > 1) })
}

fn shown(number: u64, event: Event) -> Happened {
    Happened {
        number,
        at: event.at.0,
        kind: event.kind,
        level: event.level,
        service: event.service,
        provider: event.provider,
        release: event.release,
        run: event.run,
        message: event.message,
    }
}
