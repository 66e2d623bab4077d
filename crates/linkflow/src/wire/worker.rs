//! The worker that stands in front of the edge: its bundle, and its config for a stack.
//!
//! Here and not in a crate below, so that none of them is built anew for another bundle: whoever uploads it is handed
//! the text, as it is handed the config.

use std::collections::BTreeSet;

use linkflow_decide::{routes, worker};
use linkflow_model::World;
use linkflow_model::config::Config;
use linkflow_model::worker::{WorkerConfig, WorkerLimits, WorkerSettings};

/// The worker: one JavaScript module, made of `worker/src` by `node worker/build.mjs`.
pub(crate) const BUNDLE: &str = include_str!("../../../../worker/dist/worker.js");

/// The worker's config for `config`, as the placements of `world` are reached. `wall`: now, in milliseconds since 1970.
pub(crate) fn config_of(config: &Config, world: &World, wall: u64) -> WorkerConfig {
    let keyed = config.services.iter().filter(|(_, service)| service.idempotency_key);
    let page = config.status_page.as_ref().and_then(|page| page.host.as_ref());
    let settings = WorkerSettings {
        stack: config.stack.name.clone(),
        generation: wall,
        status_page: page.map(|host| format!("https://{}", host.0)),
        idempotency_key: keyed.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(),
        limits: WorkerLimits::default(),
    };
    worker(&routes(&config.services(), world, 0), &settings)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use linkflow_edge::Limits;
    use linkflow_model::{Health, Lifecycle, Moment, PlacementView, ProviderName, ServiceView};

    use super::*;

    #[test]
    fn the_config_says_what_the_stack_says_and_where_it_runs() {
        let text = "[stack]\nname = \"shop\"\n[providers.fly]\nkind = \"fly\"\n[services.web]\nimage = \"a\"\nport = 80\n\
                    route = \"shop.example/a\"\nhealth = \"/up\"\nidempotency_key = true\nruns_on = [\"fly\"]\n\
                    [status_page]\nhost = \"status.shop.example\"\n";
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text.to_owned())]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let placement = PlacementView {
            provider: ProviderName::new("fly").unwrap(),
            lifecycle: Lifecycle::Running,
            looked: None,
            health: Health::Up,
            health_since: Moment(0),
            why: None,
            latency_ms: None,
            release: None,
            digest: None,
            fingerprint: None,
            address: Some("https://shop.fly.dev".to_owned()),
            running: 1,
            sleeps: None,
        };
        let view = ServiceView { placements: vec![placement], ..ServiceView::default() };
        let name = config.services().remove(0).name;
        let world = World { services: BTreeMap::from([(name, view)]) };
        let made = config_of(&config, &world, 42);
        let read = WorkerConfig::parse(&serde_json::to_string(&made).unwrap()).unwrap();
        assert_eq!(read, made);
        assert_eq!((made.generation, made.stack.as_str()), (42, "shop"));
        assert_eq!(made.status_page.as_deref(), Some("https://status.shop.example"));
        let service = &made.services[0];
        assert_eq!(
            (service.hosts[0].path.as_str(), service.health.as_deref()),
            ("/a", Some("/up"))
        );
        assert!(service.idempotency_key);
        assert_eq!(service.targets[0].address, "https://shop.fly.dev");
    }

    #[test]
    fn the_worker_has_the_limits_of_the_edge() {
        let (worker, edge) = (WorkerLimits::default(), Limits::default());
        assert_eq!(worker.replay_bytes, edge.replay_bytes as u64);
        assert_eq!(worker.first_byte_ms, edge.first_byte_ms);
        assert_eq!(worker.first_byte_alone_ms, edge.first_byte_alone_ms);
        assert_eq!(worker.first_byte_once_ms, edge.first_byte_once_ms);
        assert_eq!(worker.suspect_ms, edge.suspect_ms);
        assert_eq!(worker.silent_ms, edge.silent_ms);
        assert_eq!((worker.hedge, worker.name_target), (edge.hedge, edge.name_target));
    }

    #[test]
    fn the_bundle_is_small_and_begins_where_workers_begin() {
        assert!(BUNDLE.len() < 20_000, "{} bytes", BUNDLE.len());
        assert!(BUNDLE.contains("passThroughOnException") && BUNDLE.contains("as default"));
    }
}
