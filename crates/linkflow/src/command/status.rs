//! `linkflow status`: how every service stands on every provider.

use std::time::Duration;

use clap::Args;
use linkflow_model::{
    Health, Lifecycle, PlacementView, ProviderName, Release, ServiceSpec, ServiceView, World,
};
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};
use crate::wire::Stack;

use super::change::GRACE;
use super::{Answered, Context, plan};

/// Show every service on every provider: how it stands, which release it runs, and why it serves or not.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow status\n  linkflow status --json | jq .result.services\n\nThe placement that serves is marked with *. Providers are asked once; each placement that can be is probed."
)]
pub(crate) struct StatusArgs {}

/// How long placements are given to answer a probe.
const PROBED_WITHIN: Duration = Duration::from_secs(3);

/// How often it is seen whether all have been.
const EVERY: Duration = Duration::from_millis(50);

/// What `status` answers.
pub(crate) async fn answer(context: &Context, _: &StatusArgs) -> Answered {
    let stack = context.stack("status").await?;
    let answer = stands(context, &stack).await;
    stack.close(GRACE).await;
    answer
}

async fn stands(context: &Context, stack: &Stack) -> Answered {
    stack.engine.follow_live().await?;
    stack.engine.look().await;
    let specs = stack.engine.services();
    let world = probed(stack, &specs).await?;
    let live = stack.engine.live().await?;
    let mut answer = Answer {
        out: text(&specs, &world, live.as_ref(), context.voice.colours),
        result: value(&specs, &world, live.as_ref()),
        ..Answer::default()
    };
    plan::silent(stack, &mut answer);
    Ok(answer)
}

/// The world once every placement that runs has been probed, or has had its chance.
async fn probed(stack: &Stack, specs: &[ServiceSpec]) -> Result<World, Box<Answer>> {
    let started = stack.clock.now();
    loop {
        let world = stack.engine.world().await?;
        let waits = specs.iter().filter(|spec| spec.is_probed()).any(|spec| {
            world.services.get(&spec.name).is_some_and(|view| {
                let unsaid = |p: &PlacementView| {
                    p.lifecycle == Lifecycle::Running
                        && p.address.is_some()
                        && p.health == Health::Unknown
                };
                view.placements.iter().any(unsaid)
            })
        });
        if !waits || u128::from(stack.clock.now().since(started)) >= PROBED_WITHIN.as_millis() {
            return Ok(world);
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn state(view: &PlacementView) -> (&'static str, Tone) {
    match (view.lifecycle, view.health) {
        (Lifecycle::Absent, _) => ("absent", Tone::Faint),
        (Lifecycle::Running | Lifecycle::Unknown, Health::Up) => ("up", Tone::Good),
        (Lifecycle::Running | Lifecycle::Starting, Health::Down) => ("down", Tone::Bad),
        (Lifecycle::Running | Lifecycle::Asleep | Lifecycle::Unknown, Health::Waking) => {
            ("waking", Tone::Notable)
        }
        (Lifecycle::Running, Health::Unknown) => ("running", Tone::Good),
        (Lifecycle::Running, Health::Resting) => ("resting", Tone::Faint),
        (Lifecycle::Starting, _) => ("starting", Tone::Notable),
        (Lifecycle::Stopped, _) => ("stopped", Tone::Faint),
        (Lifecycle::Asleep, _) => ("asleep", Tone::Faint),
        (Lifecycle::Failed, _) => ("failed", Tone::Bad),
        (Lifecycle::Unknown, _) => ("unknown", Tone::Notable),
    }
}

/// Why a placement serves, or why it does not.
fn why(spec: &ServiceSpec, view: &ServiceView, placement: &PlacementView) -> String {
    let said = || placement.why.clone().map(|why| format!(": {why}")).unwrap_or_default();
    let rank = |provider: &ProviderName| spec.rank(provider).unwrap_or(usize::MAX);
    let Some(active) = &view.active else { return "nothing serves yet".to_owned() };
    if *active == placement.provider {
        return match placement.health {
            Health::Down => format!("serves, and is down{}", said()),
            Health::Resting if placement.lifecycle == Lifecycle::Asleep => {
                "serves, and sleeps until somebody asks for it".to_owned()
            }
            Health::Waking => "serves, and is being woken".to_owned(),
            Health::Up | Health::Unknown | Health::Resting => {
                if rank(active) == 0 {
                    "serves".to_owned()
                } else {
                    "serves in place of what is preferred".to_owned()
                }
            }
        };
    }
    match (placement.lifecycle, placement.health) {
        (Lifecycle::Absent, _) => "not deployed".to_owned(),
        (Lifecycle::Failed, _) => format!("its provider gave up starting it{}", said()),
        (Lifecycle::Unknown, _) => format!("its provider could not be asked{}", said()),
        (_, Health::Down) => format!("down{}", said()),
        (Lifecycle::Starting, _) => "is starting".to_owned(),
        _ if rank(&placement.provider) < rank(active) => {
            "preferred; serves again when it has been well for a while".to_owned()
        }
        (Lifecycle::Stopped, _) => format!("standby, stopped: {active} is preferred"),
        _ => format!("standby: {active} is preferred"),
    }
}

fn text(specs: &[ServiceSpec], world: &World, live: Option<&Release>, colours: bool) -> String {
    let mut table = Table::new(&["SERVICE", "", "PROVIDER", "STATE", "RELEASE", "LATENCY", "WHY"]);
    for spec in specs {
        let Some(view) = world.services.get(&spec.name) else { continue };
        let mut name = spec.name.to_string();
        for placement in &view.placements {
            let active = view.active.as_ref() == Some(&placement.provider);
            let (state, tone) = state(placement);
            let late = live.is_some_and(|live| placement.release.is_some_and(|r| r < live.id));
            let release = placement.release.map(|r| r.to_string()).unwrap_or_default();
            let latency = placement.latency_ms.map(|ms| format!("{ms} ms")).unwrap_or_default();
            table.row(vec![
                (std::mem::take(&mut name), Tone::Strong),
                (if active { "*" } else { "" }.to_owned(), Tone::Good),
                (placement.provider.to_string(), Tone::Plain),
                (state.to_owned(), tone),
                (release, if late { Tone::Notable } else { Tone::Plain }),
                (latency, Tone::Plain),
                (why(spec, view, placement), Tone::Faint),
            ]);
        }
    }
    let live = live.map_or_else(
        || "nothing is live; `linkflow apply` deploys the stack\n".to_owned(),
        |release| format!("{} is live: {}\n", release.id, release.why),
    );
    format!("{live}\n{}", table.render(colours))
}

fn value(specs: &[ServiceSpec], world: &World, live: Option<&Release>) -> Value {
    let services = specs.iter().filter_map(|spec| {
        let view = world.services.get(&spec.name)?;
        let placements = view.placements.iter().map(|p| {
            json!({
                "provider": p.provider,
                "active": view.active.as_ref() == Some(&p.provider),
                "state": state(p).0,
                "lifecycle": p.lifecycle,
                "health": p.health,
                "release": p.release,
                "digest": p.digest,
                "latency_ms": p.latency_ms,
                "address": p.address,
                "running": p.running,
                "why": why(spec, view, p),
            })
        });
        let placements: Vec<Value> = placements.collect();
        Some(json!({ "service": spec.name, "active": view.active, "placements": placements }))
    });
    let services: Vec<Value> = services.collect();
    json!({ "live": live.map(|release| release.id), "services": services })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use linkflow_model::config::Config;
    use linkflow_model::{Moment, ReleaseId};

    use super::*;

    fn spec() -> ServiceSpec {
        let text = "[stack]\nname = \"shop\"\n[providers.fly]\nkind = \"fly\"\n[providers.railway]\nkind = \"railway\"\n\
                    [services.api]\nimage = \"a\"\nport = 80\nruns_on = [\"fly\", \"railway\", \"embedded\"]\n";
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text.to_owned())]);
        Config::parse(&files, "linkflow.toml", None).config.unwrap().services().remove(0)
    }

    fn placement(provider: &str, lifecycle: Lifecycle, health: Health) -> PlacementView {
        PlacementView {
            provider: ProviderName::new(provider).unwrap(),
            lifecycle,
            looked: None,
            health,
            health_since: Moment(0),
            why: (health == Health::Down).then(|| "connection refused".to_owned()),
            latency_ms: (health == Health::Up).then_some(12),
            release: Some(ReleaseId(1)),
            digest: None,
            fingerprint: None,
            address: None,
            running: 1,
            sleeps: None,
        }
    }

    #[test]
    fn each_placement_says_why_it_serves_or_not() {
        let spec = spec();
        let view = ServiceView {
            active: ProviderName::new("railway"),
            active_since: Moment(0),
            placements: vec![
                placement("fly", Lifecycle::Running, Health::Down),
                placement("railway", Lifecycle::Running, Health::Up),
                placement("embedded", Lifecycle::Stopped, Health::Unknown),
            ],
            ..ServiceView::default()
        };
        let world = World { services: BTreeMap::from([(spec.name.clone(), view)]) };
        insta::assert_snapshot!(text(&[spec], &world, None, false), @r"
        nothing is live; `linkflow apply` deploys the stack

        SERVICE     PROVIDER  STATE    RELEASE  LATENCY  WHY
        api         fly       down     r1                down: connection refused
                 *  railway   up       r1       12 ms    serves in place of what is preferred
                    embedded  stopped  r1                standby, stopped: railway is preferred
        ");
    }
}
