//! A provider that runs services: whether it answers, whether it takes the token, what it can do, and what is left of
//! its plan.

use linkflow_engine::{Patience, guarded, misfits};
use linkflow_model::config::kinds;
use linkflow_model::role::{Capabilities, PrivateImages, Seen, Usage};
use linkflow_model::{Fault, ImageRef, ProviderName, ServiceName, ServiceSpec};
use serde_json::json;

use crate::say::time::took;
use crate::wire::asking::{Asking, Place};

use super::images::Images;
use super::{Chapter, Patient, State, explained, state_of, usage};

/// What a provider answered.
pub(super) struct Asked {
    look: Result<Vec<Seen>, Fault>,
    took_ms: u64,
    usage: Option<Result<Vec<Usage>, Fault>>,
    able: Capabilities,
}

/// Asks one provider; `None` when it cannot be opened.
pub(super) async fn ask(asking: &Asking, name: &ProviderName, place: &Place) -> Option<Asked> {
    let compute = place.opened.as_ref().ok()?;
    let look = async {
        let began = asking.clock.now();
        let call = || compute.look();
        let look = guarded(name, "tell its placements", Patience::LOOK, call).await;
        (look, asking.clock.now().since(began))
    };
    let ((look, took_ms), usage) = tokio::join!(look, usage::ask(&**compute));
    Some(Asked { look, took_ms, usage, able: compute.capabilities() })
}

/// What there is to say of one provider.
pub(super) fn chapter(
    patient: &Patient<'_>,
    name: &ProviderName,
    place: &Place,
    asked: &Option<Asked>,
    images: &Images,
) -> Chapter {
    let kind = place.provider.kind();
    let region = asked.as_ref().and_then(|asked| asked.able.region.as_deref());
    let region = region.map(|region| format!(", region {region}")).unwrap_or_default();
    let spare = if place.needed { "" } else { "; no service names it" };
    let title = if kind.word == "embedded" { "programs of this machine" } else { kind.title };
    let mut chapter = Chapter::new(name.as_str(), format!("{title}{region}{spare}"));
    let Some(asked) = asked else {
        let (state, what, help) = match &place.opened {
            Err(error) => (State::Broken, error.to_string(), error.help().to_owned()),
            Ok(_) => (State::Known, "it was not asked".to_owned(), String::new()),
        };
        chapter.add(milder(state, place), what, help);
        return chapter;
    };
    answers(name, place, asked, &mut chapter);
    abilities(&asked.able, &mut chapter);
    let specs: Vec<ServiceSpec> = services(patient, name);
    fits(patient, name, &specs, asked, images, &mut chapter);
    if let kinds::Settings::Embedded(settings) = &place.provider.settings {
        let has = |image: &ImageRef| {
            settings.programs.0.contains_key(&format!("{}/{}", image.registry, image.repository))
        };
        for spec in specs.iter().filter(|spec| !patient.is_rehearsed() && !has(&spec.image)) {
            let what = format!("no program stands for the image of {}, {}", spec.name, spec.image);
            let help =
                format!("`[providers.{name}.programs]` names one; docs/providers/embedded.md");
            chapter.add(State::Broken, what, help);
        }
    }
    used(asked, &mut chapter);
    if let Some(entry) = patient.catalogue.of(kind.word) {
        let end = usage::at_end(&usage::plans(&place.provider, entry));
        if let Some(end) = end {
            chapter.known(format!("at the end of an allowance: {end}"));
        }
        if let Some(api) = &entry.api {
            chapter.add(State::Known, api.clone(), format!("docs/providers/{}.md", kind.word));
        }
    }
    chapter.facts = json!({
        "kind": kind.word,
        "needed": place.needed,
        "answered_ms": asked.look.is_ok().then_some(asked.took_ms),
        "fault": asked.look.as_ref().err(),
        "placements": asked.look.as_ref().ok().map(Vec::len),
        "capabilities": asked.able,
        "usage": asked.usage.as_ref().and_then(|usage| usage.as_ref().ok()),
    });
    chapter
}

/// What is wrong with a provider that no service names breaks nothing yet.
fn milder(state: State, place: &Place) -> State {
    match state {
        State::Broken if !place.needed => State::Doubtful,
        state => state,
    }
}

/// Whether it answers, and whether the token is accepted: two things, told apart.
fn answers(name: &ProviderName, place: &Place, asked: &Asked, chapter: &mut Chapter) {
    let token = place.provider.secret();
    let fault = match &asked.look {
        Ok(seen) => {
            let accepts = if token.is_some() { " and accepts the token" } else { "" };
            let holds = match seen.len() {
                0 => "nothing of this stack is there yet".to_owned(),
                1 => "1 service of this stack is there".to_owned(),
                count => format!("{count} services of this stack are there"),
            };
            return chapter.well(format!("answers{accepts}, in {}; {holds}", took(asked.took_ms)));
        }
        Err(fault) => fault,
    };
    let (what, help) = explained(&place.provider, name, fault);
    chapter.add(milder(state_of(fault), place), what, help);
}

/// What it can do, and what not.
fn abilities(able: &Capabilities, chapter: &mut Chapter) {
    let (mut can, mut cannot) = (Vec::new(), Vec::new());
    let mut sort = |what: &str, does: bool| {
        if does { can.push(what.to_owned()) } else { cannot.push(what.to_owned()) }
    };
    sort("gRPC", able.grpc);
    sort("workers", able.workers);
    sort("jobs", able.jobs);
    match able.private_images {
        PrivateImages::Pulls => sort("private images", true),
        PrivateImages::Copies => sort("private images (copied to its registry)", true),
        PrivateImages::Never => sort("private images", false),
    }
    sort("stopped standbys", able.scale_to_zero);
    sort("own domains", able.domains);
    sort("logs", able.logs);
    let mut text = format!("can: {}", can.join(", "));
    if !cannot.is_empty() {
        text.push_str(&format!("; cannot: {}", cannot.join(", ")));
    }
    chapter.known(text);
    if let Some(seconds) = able.sleeps_after {
        let after = took(u64::from(seconds) * 1_000);
        chapter.known(format!(
            "puts a service to sleep after {after} without a request; waking it takes up to {} s",
            able.cold_start
        ));
    }
}

/// The services that may run there.
fn services(patient: &Patient<'_>, name: &ProviderName) -> Vec<ServiceSpec> {
    let all = patient.config.services().into_iter();
    all.filter(|spec| spec.runs_on.contains(name)).collect()
}

/// Which of the services do not fit there.
fn fits(
    patient: &Patient<'_>,
    name: &ProviderName,
    specs: &[ServiceSpec],
    asked: &Asked,
    images: &Images,
    chapter: &mut Chapter,
) {
    let mut fit: Vec<&ServiceName> = Vec::new();
    for spec in specs {
        let serves = spec.rank(name) == Some(0) || spec.keeps_standby_warm();
        let image = images.get(&spec.image.to_string()).and_then(|told| told.as_ref().ok());
        let replicas = if serves { spec.replicas.max(1) } else { 0 };
        let problems = misfits(spec, name, &asked.able, replicas, image);
        if problems.is_empty() {
            fit.push(&spec.name);
        }
        for problem in problems {
            let state = if problem.forbids { State::Broken } else { State::Doubtful };
            chapter.add(state, problem.what, problem.help);
        }
    }
    match fit.as_slice() {
        [] => {}
        [one] => chapter.well(format!("can run {one}")),
        many => {
            let names: Vec<&str> = many.iter().map(|name| name.as_str()).collect();
            chapter.well(format!("can run {}", names.join(", ")));
        }
    }
    let runs_migrations = patient.config.deploy.migrate_on.as_ref() == Some(name);
    if runs_migrations && !asked.able.jobs {
        let what = "`deploy.migrate_on` names it, and it runs no jobs";
        chapter.add(State::Broken, what, "name another provider there");
    }
}

/// What was used of its plan.
fn used(asked: &Asked, chapter: &mut Chapter) {
    let rows = match &asked.usage {
        None => return chapter.known("no API tells what was used of the plan"),
        Some(Ok(rows)) => rows,
        // That it is away or refuses the token was said already.
        Some(Err(_)) if asked.look.is_err() => return,
        Some(Err(fault)) => {
            let what = format!("what was used of the plan could not be read: {}", fault.said);
            return chapter.add(State::Doubtful, what, "");
        }
    };
    usage::tell(rows, "`linkflow swap` leads services elsewhere; `linkflow usage`", chapter);
}
