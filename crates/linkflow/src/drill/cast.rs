//! Who plays which part: the service that visitors ask, the provider that is struck, the last resort, the timer.

use std::collections::{BTreeMap, BTreeSet};

use linkflow_model::config::Config;
use linkflow_model::{
    Health, Lifecycle, Moment, ProviderName, ServiceKind, ServiceName, ServiceSpec, World,
};

/// The parts of a rehearsal, as one config casts them.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    /// Every service.
    pub(crate) services: Vec<ServiceSpec>,
    /// The service that visitors ask.
    pub(crate) front: ServiceSpec,
    /// The host that they ask for.
    pub(crate) host: String,
    /// The provider that is struck: the one that `front` prefers.
    pub(crate) struck: ProviderName,
    /// The provider that is left when all others are gone.
    pub(crate) last: ProviderName,
    /// All the others.
    pub(crate) free: BTreeSet<ProviderName>,
}

impl Cast {
    /// Casts the parts.
    ///
    /// # Errors
    /// When there is no part for visitors, or no provider that everything could run on.
    pub(crate) fn of(config: &Config) -> Result<Self, String> {
        let services = config.services();
        let is_front = |spec: &&ServiceSpec| {
            spec.kind == ServiceKind::Web
                && spec.command.is_none()
                && spec.image.repository.rsplit('/').next() == Some("api")
        };
        let front = services.iter().find(is_front).cloned().ok_or(
            "no web service runs an image called `…/api`: visitors of a rehearsal ask the sample app's api",
        )?;
        let host = match front.routes.first().map(|route| route.host.clone()) {
            Some(host) if !host.starts_with('*') => host,
            Some(_) => "localhost".to_owned(),
            None => return Err(format!("`services.{}` has no route for visitors", front.name)),
        };
        let providers: BTreeSet<ProviderName> = config.compute().into_keys().collect();
        let holds_all = |name: &&ProviderName| services.iter().all(|s| s.rank(name).is_some());
        let last = front.runs_on.iter().rev().find(holds_all).cloned();
        let last = last.ok_or("no provider is in the cascade of every service: the last resort")?;
        let struck = front.runs_on.iter().find(|p| **p != last).cloned();
        let struck = struck.ok_or_else(|| {
            format!("`services.{}` runs on one provider only: it cannot be moved", front.name)
        })?;
        let free = providers.into_iter().filter(|p| *p != last).collect();
        Ok(Self { services, front, host, struck, last, free })
    }

    /// The services that must never run twice.
    pub(crate) fn exclusive(&self) -> impl Iterator<Item = &ServiceSpec> {
        self.services.iter().filter(|spec| spec.exclusive)
    }

    /// What keeps the stack from being settled: every service where it prefers to be, every spare as it should be.
    pub(crate) fn unsettled(&self, world: &World) -> Option<String> {
        self.services.iter().find_map(|spec| {
            let home = spec.runs_on.first()?;
            if let Some(away) = is_at(world, &spec.name, home) {
                return Some(away);
            }
            spec.runs_on.iter().find_map(|provider| amiss(world, spec, provider, provider == home))
        })
    }

    /// What keeps every service, but the exclusive ones, from running on `provider`.
    pub(crate) fn not_all_on(&self, provider: &ProviderName, world: &World) -> Option<String> {
        self.services
            .iter()
            .filter(|spec| !spec.exclusive)
            .find_map(|spec| is_at(world, &spec.name, provider))
            .or_else(|| {
                let warm = |spec: &&ServiceSpec| !spec.exclusive;
                let amiss = |spec| amiss(world, spec, provider, true);
                self.services.iter().filter(warm).find_map(amiss)
            })
    }

    /// A service that can be spoken to and is not served from `provider` yet.
    pub(crate) fn not_served_from(&self, provider: &ProviderName, world: &World) -> Option<String> {
        let probed = self.services.iter().filter(|spec| spec.is_probed());
        probed.filter(|spec| !spec.exclusive).find_map(|spec| is_at(world, &spec.name, provider))
    }

    /// How long each service that is placed on `provider` has been there at `now`, in milliseconds.
    pub(crate) fn stays_on(
        &self,
        provider: &ProviderName,
        world: &World,
        now: Moment,
    ) -> BTreeMap<ServiceName, u64> {
        let there =
            world.services.iter().filter(|(_, view)| view.active.as_ref() == Some(provider));
        there.map(|(name, view)| (name.clone(), now.since(view.active_since))).collect()
    }

    /// Whether `service` answers on `provider`.
    pub(crate) fn is_reached(
        &self,
        world: &World,
        service: &ServiceSpec,
        provider: &ProviderName,
    ) -> bool {
        let placement = world.services.get(&service.name).and_then(|view| view.on(provider));
        placement.is_some_and(|seen| seen.health == Health::Up)
    }

    /// A service that is still placed on `provider`.
    pub(crate) fn still_on(&self, provider: &ProviderName, world: &World) -> Option<String> {
        let on = |spec: &&ServiceSpec| {
            world.services.get(&spec.name).and_then(|view| view.active.as_ref()) == Some(provider)
        };
        let spec = self.services.iter().find(on)?;
        Some(format!("{} is still on {provider}", spec.name))
    }
}

/// Says where a service is when it is not on `provider`.
fn is_at(world: &World, service: &ServiceName, provider: &ProviderName) -> Option<String> {
    let active = world.services.get(service).and_then(|view| view.active.as_ref());
    match active {
        Some(at) if at == provider => None,
        Some(at) => Some(format!("{service} is on {at}")),
        None => Some(format!("{service} is nowhere")),
    }
}

/// What is wrong with one placement, if anything.
fn amiss(
    world: &World,
    spec: &ServiceSpec,
    provider: &ProviderName,
    serves: bool,
) -> Option<String> {
    let service = &spec.name;
    let placement = world.services.get(service).and_then(|view| view.on(provider));
    let Some(seen) = placement else { return Some(format!("{service} is not on {provider}")) };
    let due = match (spec.is_probed(), serves || spec.keeps_standby_warm()) {
        (true, true) => matches!(seen.health, Health::Up | Health::Resting),
        (false, true) => seen.lifecycle == Lifecycle::Running,
        (_, false) => seen.lifecycle == Lifecycle::Stopped,
    };
    let how = || match &seen.why {
        Some(why) => format!("{service} on {provider}: {why}"),
        None => format!("{service} on {provider} is {:?}, {:?}", seen.lifecycle, seen.health),
    };
    (!due).then(how)
}

#[cfg(test)]
mod tests {
    use linkflow_model::{PlacementView, ServiceView};

    use super::*;

    fn example() -> Cast {
        let text = include_str!("../../../../examples/linkflow/linkflow.toml");
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        let parsed = Config::parse(&files, "linkflow.toml", Some("rehearsal"));
        Cast::of(&parsed.config.unwrap()).unwrap()
    }

    fn world(cast: &Cast) -> World {
        let view = |spec: &ServiceSpec| {
            let place = |(rank, provider): (usize, &ProviderName)| PlacementView {
                provider: provider.clone(),
                lifecycle: if rank == 0 || spec.keeps_standby_warm() {
                    Lifecycle::Running
                } else {
                    Lifecycle::Stopped
                },
                looked: Some(Moment(1)),
                health: if spec.is_probed() { Health::Up } else { Health::Unknown },
                health_since: Moment(1),
                why: None,
                latency_ms: None,
                release: None,
                digest: None,
                fingerprint: None,
                address: None,
                running: 1,
                sleeps: None,
            };
            let placements = spec.runs_on.iter().enumerate().map(place).collect();
            let active = spec.runs_on.first().cloned();
            (
                spec.name.clone(),
                ServiceView {
                    active,
                    active_since: Moment(1),
                    placements,
                    ..ServiceView::default()
                },
            )
        };
        World { services: cast.services.iter().map(view).collect() }
    }

    #[test]
    fn the_example_casts_every_part() {
        let cast = example();
        assert_eq!(cast.front.name.as_str(), "api");
        assert_eq!(cast.host, "api.example.com");
        assert_eq!((cast.struck.as_str(), cast.last.as_str()), ("azure", "hetzner"));
        assert_eq!(cast.free.len(), 6);
        assert_eq!(cast.exclusive().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["engine-timer"]);
    }

    #[test]
    fn a_stack_is_settled_only_when_every_placement_is_as_it_should_be() {
        let cast = example();
        let good = world(&cast);
        assert_eq!(cast.unsettled(&good), None);
        assert_eq!(cast.still_on(&cast.last, &good), None);
        assert!(cast.not_all_on(&cast.last, &good).is_some());

        let mut away = good.clone();
        let front = away.services.get_mut(&cast.front.name).unwrap();
        front.active = Some(cast.last.clone());
        assert_eq!(cast.unsettled(&away).as_deref(), Some("api is on hetzner"));
        assert_eq!(cast.still_on(&cast.last, &away).as_deref(), Some("api is still on hetzner"));

        let mut sick = good.clone();
        sick.services.get_mut(&cast.front.name).unwrap().placements[2].health = Health::Down;
        assert_eq!(cast.unsettled(&sick).as_deref(), Some("api on hetzner is Running, Down"));

        let mut twice = good;
        let timer = cast.exclusive().next().unwrap();
        twice.services.get_mut(&timer.name).unwrap().placements[1].lifecycle = Lifecycle::Running;
        assert!(cast.unsettled(&twice).unwrap().starts_with("engine-timer on fly"));
    }
}
