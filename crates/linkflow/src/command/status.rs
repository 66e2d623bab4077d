//! `linkflow status`: how every service stands on every provider.

use std::time::Duration;

use clap::Args;
use linkflow_model::{Health, Lifecycle, PlacementView, ReleaseId, ServiceSpec, World};
use linkflow_web::operator::{PlacementState, Service};
use linkflow_web::view::overview::Status;
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};
use crate::wire::{Stack, site, standing};

use super::change::GRACE;
use super::{Answered, Context, plan};

/// Show every service on every provider: how it stands, which release it runs, and why it serves or not.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow status\n  linkflow status --json | jq .result.services\n\nThe placement that serves is marked with *. Where `linkflow up` runs with this state folder, it says how things stand, as\nfor `top`. Otherwise providers are asked once, and each placement that can be is probed."
)]
pub(crate) struct StatusArgs {}

/// How long placements are given to answer a probe.
const PROBED_WITHIN: Duration = Duration::from_secs(3);

/// How often it is seen whether all have been.
const EVERY: Duration = Duration::from_millis(50);

/// What `status` answers.
pub(crate) async fn answer(context: &Context, _: &StatusArgs) -> Answered {
    if let Some(seen) = running(context).await? {
        return Ok(as_seen(&seen, context.voice.colours));
    }
    let stack = context.stack("status").await?;
    let answer = stands(context, &stack).await;
    stack.close(GRACE).await;
    answer
}

/// How everything stands in the process that runs with this state folder, where one does and answers.
async fn running(context: &Context) -> Result<Option<Status>, Box<Answer>> {
    let rehearsed = context.common.cloud.is_some();
    let config = context.config(rehearsed)?;
    let folder = context.state(&config, rehearsed);
    // Of one that cannot be understood, another version for one, nothing is taken: everything is asked anew.
    Ok(site::get(&folder, "/api/v1/status").await.unwrap_or_default())
}

fn as_seen(seen: &Status, colours: bool) -> Answer {
    let live = seen.live.as_ref().map(|live| live.release);
    let said = seen.live.as_ref().map(|live| (live.release, live.why.as_str()));
    let mut answer = Answer {
        out: text(&seen.services, live, said, colours),
        result: json!({ "live": live, "services": seen.services }),
        ..Answer::default()
    };
    for silent in &seen.silent {
        answer.err.push_str(&format!("warning: {}\n", silent.why));
        answer.warnings.push(json!({ "provider": silent.provider, "message": silent.why }));
    }
    answer
}

async fn stands(context: &Context, stack: &Stack) -> Answered {
    stack.engine.follow_live().await?;
    stack.engine.look().await;
    let specs = stack.engine.services();
    let world = probed(stack, &specs).await?;
    let live = stack.engine.live().await?;
    let faults = stack.engine.faults();
    let stand = standing::services(&specs, &world, live.as_ref().map(|live| live.id), &faults);
    let said = live.as_ref().map(|live| (live.id, live.why.as_str()));
    let mut answer = Answer {
        out: text(&stand.services, stand.live, said, context.voice.colours),
        result: json!({ "live": stand.live, "services": stand.services }),
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

fn tone(state: PlacementState) -> Tone {
    match state {
        PlacementState::Up | PlacementState::Running => Tone::Good,
        PlacementState::Down | PlacementState::Failed => Tone::Bad,
        PlacementState::Waking | PlacementState::Starting | PlacementState::Unknown => {
            Tone::Notable
        }
        PlacementState::Resting
        | PlacementState::Asleep
        | PlacementState::Stopped
        | PlacementState::Absent => Tone::Faint,
    }
}

/// Every service on every provider, as a table.
pub(super) fn table(services: &[Service], live: Option<ReleaseId>, colours: bool) -> String {
    let mut table = Table::new(&["SERVICE", "", "PROVIDER", "STATE", "RELEASE", "LATENCY", "WHY"]);
    for service in services {
        let mut name = service.service.to_string();
        for placement in &service.placements {
            let late = live.is_some_and(|live| placement.release.is_some_and(|r| r < live));
            let release = placement.release.map(|r| r.to_string()).unwrap_or_default();
            let latency = placement.latency_ms.map(|ms| format!("{ms} ms")).unwrap_or_default();
            table.row(vec![
                (std::mem::take(&mut name), Tone::Strong),
                (if placement.active { "*" } else { "" }.to_owned(), Tone::Good),
                (placement.provider.to_string(), Tone::Plain),
                (placement.state.word().to_owned(), tone(placement.state)),
                (release, if late { Tone::Notable } else { Tone::Plain }),
                (latency, Tone::Plain),
                (placement.why.clone(), Tone::Faint),
            ]);
        }
    }
    table.render(colours)
}

fn text(
    services: &[Service],
    live: Option<ReleaseId>,
    said: Option<(ReleaseId, &str)>,
    colours: bool,
) -> String {
    let said = said.map_or_else(
        || "nothing is live; `linkflow apply` deploys the stack\n".to_owned(),
        |(id, why)| format!("{id} is live: {why}\n"),
    );
    format!("{said}\n{}", table(services, live, colours))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use linkflow_model::config::Config;
    use linkflow_model::{Moment, ProviderName, ServiceView};

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
        let stand = standing::services(&[spec], &world, None, &BTreeMap::new());
        insta::assert_snapshot!(text(&stand.services, stand.live, None, false), @r"
        nothing is live; `linkflow apply` deploys the stack

        SERVICE     PROVIDER  STATE    RELEASE  LATENCY  WHY
        api         fly       down     r1                down: connection refused
                 *  railway   up       r1       12 ms    serves in place of what is preferred
                    embedded  stopped  r1                standby, stopped: railway is preferred
        ");
    }
}
