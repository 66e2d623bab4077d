//! Whoever answers for the zone or stands in front of the edge: whether it takes the token, sees the zone, what it may
//! not, what is not as the config asks, and what its worker used.

use futures_util::future::join_all;
use linkflow_engine::{Patience, guarded};
use linkflow_model::config::{Provider, kinds};
use linkflow_model::role::{CdnLook, DnsLook, Front, FrontChange, Tunnel, Usage, Zone};
use linkflow_model::{Fault, FaultKind, ProviderName, World};
use serde_json::{Value, json};

use crate::say::time::took;
use crate::wire::OpenError;
use crate::wire::asking::Asking;

use super::{Chapter, Patient, State, explained, state_of, usage};

/// What helps where something differs.
const DIFFERS: &str = "`linkflow dns drift` lists them, `linkflow dns apply` puts them right";

/// What one that answers for the zone said, and how long that took.
struct ZoneTold<'a> {
    name: &'a ProviderName,
    zone: Result<(Zone, u64), Untold<'a>>,
}

/// What the one in front said.
struct FrontTold<'a> {
    name: &'a ProviderName,
    front: Result<FrontSeen, Untold<'a>>,
}

/// What is in front.
struct FrontSeen {
    /// What differs; or, where something must not be read, each refusal.
    differs: Result<Vec<FrontChange>, Vec<Fault>>,
    /// `None` where there is no worker whose requests count.
    usage: Option<Result<Vec<Usage>, Fault>>,
}

/// The tunnel that records may lead to.
enum Way {
    /// There is none, or none is asked for.
    Open,
    Tunnel(Tunnel),
    /// The one in front could not tell, which its own chapter says.
    Unknown,
}

/// Why something was not told.
enum Untold<'a> {
    /// It cannot be opened.
    Shut(&'a OpenError),
    Fault(Fault),
}

/// A chapter for each provider of `[dns]` and `edge.on`.
pub(super) async fn examine(patient: &Patient<'_>, asking: &Asking) -> Vec<Chapter> {
    let names = &asking.names;
    let zones = names.dns.iter().filter(|(name, _)| patient.is_asked(name));
    let zones = join_all(zones.map(|(name, opened)| async move {
        let zone = match opened {
            Ok(dns) => zone(asking, &**dns).await.map_err(Untold::Fault),
            Err(error) => Err(Untold::Shut(error)),
        };
        ZoneTold { name, zone }
    }));
    let front = async {
        let (name, opened) = names.cdn.as_ref().filter(|(name, _)| patient.is_asked(name))?;
        let wanted = names.asked.front.as_ref()?;
        let front = match opened {
            Ok(cdn) => {
                let counts = names.worker(patient.config).is_some();
                in_front(&**cdn, wanted, counts).await.map_err(Untold::Fault)
            }
            Err(error) => Err(Untold::Shut(error)),
        };
        Some(FrontTold { name, front })
    };
    let (zones, front, way) = tokio::join!(zones, front, way(patient, asking));
    chapters(patient, asking, &zones, front.as_ref(), &way)
}

/// Looks up the tunnel, whoever answers for the zone that is looked at.
async fn way(patient: &Patient<'_>, asking: &Asking) -> Way {
    let names = &asking.names;
    let is_needed = names.dns.iter().any(|(name, _)| patient.is_asked(name));
    let cdn = match &names.cdn {
        Some((_, opened)) if is_needed && names.asked.has_tunnel() => opened,
        _ => return Way::Open,
    };
    let Ok(cdn) = cdn else { return Way::Unknown };
    match guarded(cdn.name(), "tell its tunnel", Patience::LOOK, || cdn.tunnel()).await {
        Ok(Some(tunnel)) => Way::Tunnel(tunnel),
        Ok(None) => Way::Open,
        Err(_) => Way::Unknown,
    }
}

async fn zone(asking: &Asking, dns: &dyn DnsLook) -> Result<(Zone, u64), Fault> {
    let began = asking.clock.now();
    let zone = guarded(dns.name(), "tell its zone", Patience::LOOK, || dns.zone()).await?;
    Ok((zone, asking.clock.now().since(began)))
}

async fn in_front(cdn: &dyn CdnLook, wanted: &Front, counts: bool) -> Result<FrontSeen, Fault> {
    let look = async {
        let call = || cdn.differences(wanted);
        match guarded(cdn.name(), "tell what is in front", Patience::LOOK, call).await {
            Ok(changes) => Ok(Ok(changes)),
            Err(fault) if fault.kind == FaultKind::Denied => {
                let call = || cdn.refused(wanted);
                guarded(cdn.name(), "tell what it may not", Patience::LOOK, call).await.map(Err)
            }
            Err(fault) => Err(fault),
        }
    };
    let usage = async { if counts { Some(usage::ask_front(cdn).await) } else { None } };
    let (differs, usage) = tokio::join!(look, usage);
    Ok(FrontSeen { differs: differs?, usage })
}

/// One chapter for each provider, whatever it is named for.
fn chapters(
    patient: &Patient<'_>,
    asking: &Asking,
    zones: &[ZoneTold<'_>],
    front: Option<&FrontTold<'_>>,
    way: &Way,
) -> Vec<Chapter> {
    let mut named: Vec<&ProviderName> = zones.iter().map(|told| told.name).collect();
    named.extend(front.map(|told| told.name).filter(|name| !named.contains(name)));
    let mut chapters = Vec::new();
    for name in named {
        let Some(provider) = patient.config.provider(name) else { continue };
        let zone = zones.iter().find(|told| told.name == name);
        let front = front.filter(|told| told.name == name);
        let title = title(&provider, &asking.names.asked.zone, zone.is_some(), front.is_some());
        let mut chapter = Chapter::new(name.as_str(), title);
        let mut facts = json!({ "kind": provider.kind().word });
        if let Some(told) = zone {
            facts["zone"] = of_zone(asking, &provider, told, way, &mut chapter);
        }
        if let Some(told) = front {
            facts["front"] = of_front(patient, &provider, told, &mut chapter);
        }
        chapter.facts = facts;
        chapters.push(chapter);
    }
    chapters
}

fn title(provider: &Provider, zone: &str, answers: bool, stands: bool) -> String {
    if let kinds::Settings::Embedded(_) = provider.settings {
        let what = if answers { "the zone in a file" } else { "nobody in front of the edge" };
        return what.to_owned();
    }
    let mut title = provider.kind().title.to_owned();
    if answers {
        title.push_str(&format!(", zone {zone}"));
    }
    if stands {
        title.push_str(", in front of the edge");
    }
    title
}

/// Says why something was not told, once.
fn untold(provider: &Provider, name: &ProviderName, why: &Untold<'_>, chapter: &mut Chapter) {
    let (state, what, help) = match why {
        Untold::Shut(error) => (State::Broken, error.to_string(), error.help().to_owned()),
        Untold::Fault(fault) => {
            let (what, help) = explained(provider, name, fault);
            (state_of(fault), what, help)
        }
    };
    if chapter.findings.iter().all(|finding| finding.what != what) {
        chapter.add(state, what, help);
    }
}

fn of_zone(
    asking: &Asking,
    provider: &Provider,
    told: &ZoneTold<'_>,
    way: &Way,
    chapter: &mut Chapter,
) -> Value {
    let (zone, took_ms) = match &told.zone {
        Ok((zone, took_ms)) => (zone, *took_ms),
        Err(why) => {
            untold(provider, told.name, why, chapter);
            return fact_of(why);
        }
    };
    let accepts = if provider.secret().is_some() { " and accepts the token" } else { "" };
    let ours = zone.records.iter().filter(|held| held.ours).count();
    let all = zone.records.len();
    let took = took(took_ms);
    let records = plural(all, "record");
    let name = &zone.name;
    chapter.well(format!("answers{accepts}, in {took}; {name} has {records}, {ours} of them ours"));
    let seen = json!({ "answered_ms": took_ms, "records": all, "ours": ours });
    let differ = of_records(asking, zone, way, chapter);
    json!({ "seen": seen, "differ": differ })
}

/// Says which records are not as the config asks; counts them where that can be told.
fn of_records(asking: &Asking, zone: &Zone, way: &Way, chapter: &mut Chapter) -> Option<usize> {
    let depends = |on: &str| format!("which records are due depends on {on}");
    let drift = "`linkflow dns drift` asks that too";
    if asking.names.asked.follows() {
        chapter.add(State::Known, depends("where services run"), drift);
        return None;
    }
    let tunnel = match way {
        Way::Unknown if zone.proxies => {
            chapter.add(State::Known, depends("the tunnel, which could not be looked up"), drift);
            return None;
        }
        Way::Tunnel(tunnel) => Some(tunnel),
        Way::Open | Way::Unknown => None,
    };
    let named = asking.names.asked.named(zone, tunnel, &World::default());
    let changes = zone.changes(&named.records);
    let differ = changes.create.len() + changes.change.len() + changes.remove.len();
    match differ {
        0 => chapter.well("its records are as the config asks"),
        _ => {
            let what = format!("{} not as the config asks", are(differ, "record"));
            chapter.add(State::Doubtful, what, DIFFERS);
        }
    }
    for blocked in &changes.blocked {
        let wanted = &blocked.wanted;
        let what = format!("{} {} is left out: {}", wanted.name, wanted.kind, blocked.why);
        chapter.add(State::Doubtful, what, "`linkflow dns plan`");
    }
    for (what, why) in &named.without {
        chapter.add(State::Doubtful, format!("{what} has no record: {why}"), "");
    }
    Some(differ)
}

fn of_front(
    patient: &Patient<'_>,
    provider: &Provider,
    told: &FrontTold<'_>,
    chapter: &mut Chapter,
) -> Value {
    let seen = match &told.front {
        Ok(seen) => seen,
        Err(why) => {
            untold(provider, told.name, why, chapter);
            return fact_of(why);
        }
    };
    let facts = match &seen.differs {
        Ok(changes) => {
            let (left_out, differ): (Vec<_>, Vec<_>) =
                changes.iter().partition(|change| change.blocked.is_some());
            match differ.len() {
                0 => chapter.well("what stands in front is as the config asks"),
                count => {
                    let what = format!("{} in front not as the config asks", are(count, "thing"));
                    chapter.add(State::Doubtful, what, DIFFERS);
                }
            }
            for change in &left_out {
                let why = change.blocked.as_deref().unwrap_or_default();
                let what = format!("{} is left out: {why}", change.what);
                chapter.add(State::Doubtful, what, "`linkflow dns plan`");
            }
            json!({ "differ": differ.len(), "blocked": left_out.len() })
        }
        Err(refused) => {
            for fault in refused {
                untold(provider, told.name, &Untold::Fault(fault.clone()), chapter);
            }
            json!({ "refused": refused })
        }
    };
    used(patient, provider, seen, chapter);
    let usage = seen.usage.as_ref().and_then(|usage| usage.as_ref().ok());
    json!({ "seen": facts, "usage": usage })
}

/// What its worker used, and what happens at the end of that.
fn used(patient: &Patient<'_>, provider: &Provider, seen: &FrontSeen, chapter: &mut Chapter) {
    let word = provider.kind().word;
    let entry = patient.catalogue.of(word);
    let end = entry.and_then(|entry| usage::at_end(&usage::plans(provider, entry)));
    match &seen.usage {
        None => return,
        Some(Ok(rows)) => {
            let at_end = end.as_ref().map(|end| format!("at the end, {end}"));
            usage::tell(rows, &at_end.unwrap_or_default(), chapter);
        }
        Some(Err(fault)) => {
            let what = format!("what the worker used could not be read: {}", fault.said);
            chapter.add(State::Doubtful, what, format!("docs/providers/{word}.md"));
        }
    }
    if let Some(end) = end {
        chapter.known(format!("at the end of an allowance: {end}"));
    }
}

fn fact_of(why: &Untold<'_>) -> Value {
    match why {
        Untold::Shut(error) => json!({ "shut": error.to_string() }),
        Untold::Fault(fault) => json!({ "fault": fault }),
    }
}

/// `1 record`, `2 records`.
fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// `1 record is`, `2 records are`.
fn are(count: usize, word: &str) -> String {
    format!("{} {}", plural(count, word), if count == 1 { "is" } else { "are" })
}
