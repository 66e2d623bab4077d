//! The small stack that is played: a page with a migration, a worker and a timer that must never run twice, over three
//! clouds.

use std::collections::BTreeMap;

use linkflow_engine::Render;
use linkflow_model::{
    Definition, Digest, Fingerprint, PinnedImage, Policy, ProviderName, Release, ServiceKind,
    ServiceName, ServiceRelease, ServiceSpec, Size, StackName,
};

/// Quick, so that a story is short.
pub(crate) const POLICY: Policy = Policy {
    probe_every_ms: 1_000,
    probe_timeout_ms: 500,
    probe_in_doubt_ms: 250,
    fall: 2,
    rise: 2,
    confirm_ms: 1_000,
    failback_after_ms: 3_000,
    min_stay_ms: 5_000,
    look_every_ms: 2_000,
    stale_after_ms: 10_000,
};

/// Name, kind, cascade, exclusive.
const SERVICES: [(&str, ServiceKind, [&str; 3], bool); 3] = [
    ("page", ServiceKind::Web, ["east", "west", "last"], false),
    ("worker", ServiceKind::Worker, ["west", "east", "last"], false),
    ("timer", ServiceKind::Worker, ["east", "last", "west"], true),
];

/// The clouds.
pub(crate) const CLOUDS: [&str; 3] = ["east", "west", "last"];

pub(crate) fn provider(name: &str) -> Option<ProviderName> {
    ProviderName::new(name)
}

/// The services.
pub(crate) fn services() -> Vec<ServiceSpec> {
    let spec = |(name, kind, cascade, exclusive): (&str, ServiceKind, [&str; 3], bool)| {
        Some(ServiceSpec {
            name: ServiceName::new(name)?,
            kind,
            image: format!("registry.test/{name}:1").parse().ok()?,
            runs_on: cascade.iter().filter_map(|name| provider(name)).collect(),
            exclusive,
            port: (kind == ServiceKind::Web).then_some(8000),
            health: (kind == ServiceKind::Web).then(|| "/health".to_owned()),
            routes: Vec::new(),
            replicas: 1,
            size: Size::default(),
            command: None,
            migrate: (kind == ServiceKind::Web).then(|| vec!["migrate".to_owned()]),
            needs: Vec::new(),
            start_within_ms: 10_000,
            idempotency_key: false,
            keep_warm: false,
            timeouts: Default::default(),
            concurrency: Default::default(),
        })
    };
    SERVICES.into_iter().filter_map(spec).collect()
}

/// Every service at image `version`.
pub(crate) fn release(version: u64) -> BTreeMap<ServiceName, ServiceRelease> {
    let one = |spec: ServiceSpec| {
        let digest: Digest = format!("sha256:{version:064x}").parse().ok()?;
        let image: PinnedImage = spec.image.at(digest);
        let hash = |provider: &ProviderName| {
            (provider.clone(), Fingerprint(format!("{}-{provider}-{version}", spec.name)))
        };
        let fingerprints = spec.runs_on.iter().map(hash).collect();
        let name = spec.name.clone();
        Some((name, ServiceRelease { spec, image, env: BTreeMap::new(), fingerprints }))
    };
    services().into_iter().filter_map(one).collect()
}

/// Definitions with nothing in them but what is compared.
pub(crate) struct Plain;

impl Render for Plain {
    fn definition(
        &self,
        release: &Release,
        service: &ServiceName,
        provider: &ProviderName,
        replicas: u32,
    ) -> Result<Definition, String> {
        let held = release.services.get(service).ok_or("no such service")?;
        Ok(Definition {
            stack: StackName::new("sim").ok_or("no name")?,
            service: service.clone(),
            provider: provider.clone(),
            release: release.id,
            image: held.image.clone(),
            command: None,
            login: None,
            kind: held.spec.kind,
            port: held.spec.port,
            health: held.spec.health.clone(),
            env: BTreeMap::new(),
            env_gone: Vec::new(),
            replicas,
            size: held.spec.size,
            fingerprint: held.fingerprints.get(provider).cloned().ok_or("no fingerprint")?,
        })
    }
}
