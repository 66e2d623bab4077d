//! Names that follow their service: when its placement changes, so does its record. Only for `dns.leads_to = "placement"`.

use std::sync::Arc;
use std::time::Duration;

use linkflow_engine::{Engine, Stop};
use linkflow_model::role::{Zone, ZoneRecord};
use linkflow_model::{Clock, Event, EventKind, Level, World};
use tokio::time::{Instant, sleep_until};

use super::names::Writing;

/// How often the world is looked at for a move. It is in memory.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often all records are compared although nothing moved: somebody may have changed them.
const COMPARE: Duration = Duration::from_secs(600);

/// Publishes the records of routes whenever they have changed, until it is told to stop.
pub(crate) async fn follow(
    stop: Stop,
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    writing: Writing,
) {
    let mut known: Option<Vec<ZoneRecord>> = None;
    let mut due = Instant::now();
    let mut compare = due;
    while stop.or(sleep_until(due)).await.is_some() {
        due = Instant::now() + LOOK;
        let Ok(world) = engine.world().await else { continue };
        let wanted = writing.asked.named(&nowhere(&writing), None, &world).records;
        if known.as_ref() == Some(&wanted) && Instant::now() < compare {
            continue;
        }
        match publish(&writing, &world).await {
            Ok(moved) => {
                known = Some(wanted);
                compare = Instant::now() + COMPARE;
                for message in moved {
                    let event = Event::new(clock.wall(), EventKind::Control, Level::Info, message);
                    engine.tell(event).await;
                }
            }
            Err(why) => {
                known = None;
                due = Instant::now() + AGAIN;
                let event = Event::new(clock.wall(), EventKind::Api, Level::Warning, why);
                engine.tell(event).await;
            }
        }
    }
}

/// A zone of which nothing is known: enough to see whether anything moved.
fn nowhere(writing: &Writing) -> Zone {
    Zone {
        name: writing.asked.zone.clone(),
        records: Vec::new(),
        least_ttl_s: 0,
        proxies: false,
        flattens: false,
        servers: Vec::new(),
    }
}

/// Makes the records at every provider what they should be, and says what changed. One that does not answer keeps no other
/// back.
async fn publish(writing: &Writing, world: &World) -> Result<Vec<String>, String> {
    let (mut moved, mut faults) = (Vec::new(), Vec::new());
    for dns in &writing.dns {
        let outcome = async {
            let zone = dns.zone().await?;
            dns.publish(&writing.asked.named(&zone, None, world).records).await
        };
        match outcome.await {
            Ok(changes) => {
                let fresh = changes.create.iter().chain(changes.change.iter().map(|(_, to)| to));
                let told = |to: &ZoneRecord| {
                    format!("{} leads to {} now, at {}", to.name, to.value, dns.name())
                };
                moved.extend(fresh.map(told));
            }
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    if faults.is_empty() { Ok(moved) } else { Err(faults.join("; ")) }
}
