//! Worlds written as lines of text, for the tests.
//!
//! A line is a service: `web api at fly since 5: fly=up@0 railway=down@3 hetzner=absent@0`. Its kind is `web`, `grpc`,
//! `worker` or `exclusive` (a worker that must never run twice; `maybe azure,fly` names where it may still run).
//! `drained fly,koyeb` names where somebody wants it kept away from, `asked fly` where somebody wants it, and `asked-before fly`
//! where that was so before it came to where it is. A placement is what probes or its provider say of it, since when, then `~` and when its provider was last asked where
//! that is not now (`~never`), then `#` and what runs there: a letter for the image and a digit for the settings. A
//! placement that its provider puts to sleep begins with `z`: `zrender=resting@0`.

use std::fmt::Write as _;

use linkflow_model::{
    Asked, Digest, Fingerprint, Health, Lifecycle, Moment, PlacementView, Plan, ServiceKind,
    ServiceName, ServiceSpec, ServiceView, Size, Sleeps, World,
};

/// What the lines say.
pub(crate) fn read(lines: &str, now: Moment) -> (Vec<ServiceSpec>, World) {
    let mut world = World::default();
    let mut specs = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, places) = line.split_once(':').unwrap();
        let head: Vec<&str> = head.split_whitespace().collect();
        let placements: Vec<_> = places.split_whitespace().map(|p| placement(p, now)).collect();
        let after = |word| head.iter().position(|w| *w == word).map(|i| head[i + 1]);
        let name: ServiceName = head[1].parse().unwrap();
        specs.push(ServiceSpec {
            runs_on: placements.iter().map(|p| p.provider.clone()).collect(),
            ..spec(head[0], name.clone())
        });
        let active = after("at").map(|provider| provider.parse().unwrap());
        let active_since = Moment(after("since").map_or(0, |ms| ms.parse().unwrap()));
        let may_run = after("maybe").into_iter().flat_map(|names| names.split(','));
        let may_run = may_run.map(|provider| provider.parse().unwrap()).collect();
        let drained = after("drained").into_iter().flat_map(|names| names.split(','));
        let drained = drained.map(|name| (name.parse().unwrap(), "Ann: it is rebuilt".to_owned()));
        let drained = drained.collect();
        let asked = after("asked").map(|to| (to, true));
        let asked = asked.or_else(|| after("asked-before").map(|to| (to, false)));
        let asked = asked.map(|(to, is_new)| Asked {
            to: to.parse().unwrap(),
            why: "Ann: they rebuild".to_owned(),
            is_new,
        });
        let view = ServiceView { active, active_since, may_run, drained, asked, placements };
        world.services.insert(name, view);
    }
    (specs, world)
}

fn spec(kind: &str, name: ServiceName) -> ServiceSpec {
    ServiceSpec {
        kind: match kind {
            "web" => ServiceKind::Web,
            "grpc" => ServiceKind::Grpc,
            "worker" | "exclusive" => ServiceKind::Worker,
            other => panic!("no kind `{other}`"),
        },
        image: format!("ghcr.io/acme/{name}:1.0").parse().unwrap(),
        name,
        runs_on: Vec::new(),
        exclusive: kind == "exclusive",
        port: Some(8000),
        health: (kind == "web").then(|| "/health".to_owned()),
        routes: Vec::new(),
        replicas: 1,
        size: Size::default(),
        command: None,
        migrate: None,
        needs: Vec::new(),
        start_within_ms: 60_000,
        idempotency_key: false,
        keep_warm: false,
        timeouts: Default::default(),
        concurrency: Default::default(),
    }
}

fn placement(text: &str, now: Moment) -> PlacementView {
    let (text, runs) = text.split_once('#').map_or((text, None), |(text, runs)| (text, Some(runs)));
    let (text, looked) = match text.split_once('~') {
        None => (text, Some(now)),
        Some((text, "never")) => (text, None),
        Some((text, ms)) => (text, Some(Moment(ms.parse().unwrap()))),
    };
    let (provider, state) = text.split_once('=').unwrap();
    let (provider, sleeps) = match provider.strip_prefix('z') {
        Some(sleeper) if sleeper != "eabur" => (sleeper, true),
        _ => (provider, false),
    };
    let (state, since) = state.split_once('@').unwrap();
    let (health, lifecycle) = match state {
        "up" => (Health::Up, Lifecycle::Running),
        "down" => (Health::Down, Lifecycle::Running),
        "resting" => (Health::Resting, Lifecycle::Running),
        "asleep" => (Health::Resting, Lifecycle::Asleep),
        "resting-failed" => (Health::Resting, Lifecycle::Failed),
        "waking" => (Health::Waking, Lifecycle::Running),
        "unprobed" => (Health::Unknown, Lifecycle::Running),
        "running" => (Health::Unknown, Lifecycle::Running),
        "starting" => (Health::Unknown, Lifecycle::Starting),
        "stopped" => (Health::Unknown, Lifecycle::Stopped),
        "failed" => (Health::Unknown, Lifecycle::Failed),
        "absent" => (Health::Unknown, Lifecycle::Absent),
        "unknown" => (Health::Unknown, Lifecycle::Unknown),
        other => panic!("no state `{other}`"),
    };
    PlacementView {
        provider: provider.parse().unwrap(),
        lifecycle,
        looked,
        health,
        health_since: Moment(since.parse().unwrap()),
        why: (health == Health::Down).then(|| "refused".to_owned()),
        latency_ms: None,
        release: None,
        digest: runs.map(|runs| image(&runs[..1])),
        fingerprint: runs.map(|runs| Fingerprint(runs.to_owned())),
        address: (lifecycle != Lifecycle::Absent).then(|| format!("http://{provider}.test")),
        running: u32::from(lifecycle == Lifecycle::Running),
        sleeps: sleeps.then_some(Sleeps {
            after_ms: 900_000,
            cold_start_ms: 60_000,
            may_rest: true,
            asleep: lifecycle == Lifecycle::Asleep,
        }),
    }
}

/// The digest that a letter stands for.
pub(crate) fn image(letter: &str) -> Digest {
    format!("sha256:{}", letter.repeat(64)).parse().unwrap()
}

/// A plan in lines: `canary: deploy r2 of api on fly (its image differs)`.
pub(crate) fn lines(plan: &Plan) -> String {
    let mut said = String::new();
    for stage in &plan.stages {
        for step in &stage.steps {
            writeln!(said, "{}: {} ({})", stage.name, step.action, step.why).unwrap();
        }
    }
    said
}

/// Text without the indentation that a row has in the source.
pub(crate) fn flat(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}
