//! The control API of a cloud: where everything is, how it stands, and what is to go wrong.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use linkflow_model::ProviderName;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Call};
use super::registry::Image;
use super::trouble::Standing;
use super::{Hub, Place};

/// A fault as `PUT /v1/faults` takes it.
#[derive(Deserialize)]
struct Order {
    provider: ProviderName,
    #[serde(flatten)]
    standing: Standing,
}

/// Answers one call.
pub(crate) fn answer(hub: &Hub, call: &Call) -> Answer {
    match (call.method.as_str(), call.path.as_str()) {
        ("GET", "/v1/endpoints") => shown(serde_json::to_value(hub.endpoints())),
        ("GET", "/v1/state") => {
            let providers = hub.places.iter().map(|(name, place)| (name.to_string(), state(place)));
            let providers = providers.collect::<serde_json::Map<_, _>>();
            Answer::json(200, &json!({ "providers": providers, "beside": hub.stalls.state() }))
        }
        ("GET", "/v1/slack/messages") => Answer::json(200, &hub.stalls.messages()),
        ("GET", "/v1/github") => Answer::json(200, &hub.stalls.held()),
        ("GET", "/v1/cloudflare") => Answer::json(200, &hub.stalls.zones().0),
        ("PUT", "/v1/cloudflare") => match serde_json::from_slice(&call.body) {
            Ok(told) => {
                hub.stalls.tell_cloudflare(told);
                Answer::empty(204)
            }
            Err(error) => refusal(400, &error.to_string()),
        },
        ("GET", "/v1/twilio/messages") => Answer::json(200, &hub.stalls.texts()),
        ("GET", "/v1/mail") => Answer::json(200, &hub.stalls.letters()),
        ("GET", "/v1/desec") => Answer::json(200, &hub.stalls.zones().1),
        ("PUT", "/v1/watchers") => see(hub, call),
        ("POST", "/v1/sentry") => made(hub, call),
        ("PUT", "/v1/sentry") => changed(hub, call),
        ("PUT", "/v1/faults") => set(hub, call),
        ("DELETE", "/v1/faults") => lift(hub, call),
        ("GET", "/v1/images") => shown(serde_json::to_value(hub.images.all())),
        ("PUT", "/v1/images") => match serde_json::from_slice::<Image>(&call.body) {
            Ok(image)
                if matches!(
                    image.behaviour.as_str(),
                    "good" | "crash" | "sick" | "bad-migration"
                ) =>
            {
                shown(serde_json::to_value(hub.images.add(
                    &image.repository,
                    &image.tag,
                    &image.behaviour,
                )))
            }
            Ok(image) => refusal(
                400,
                &format!(
                    "behaviour `{}`: good, crash, sick or bad-migration is due",
                    image.behaviour
                ),
            ),
            Err(error) => refusal(400, &error.to_string()),
        },
        (_, path) => {
            refusal(404, &format!("{} {path} is not part of the control API", call.method))
        }
    }
}

/// What a vendor that watches is to see, as `PUT /v1/watchers` takes it.
#[derive(Deserialize)]
struct Seen {
    vendor: String,
    monitor: String,
    down: bool,
}

/// An issue that Sentry is to have, as `POST /v1/sentry` takes it.
#[derive(Deserialize)]
struct Issue {
    title: String,
    status: String,
}

/// How an issue of Sentry's goes on, as `PUT /v1/sentry` takes it.
#[derive(Deserialize)]
struct Changed {
    id: String,
    status: String,
}

fn made(hub: &Hub, call: &Call) -> Answer {
    match serde_json::from_slice::<Issue>(&call.body) {
        Ok(Issue { title, status }) => {
            Answer::json(201, &json!({ "id": hub.stalls.make_issue(&title, &status) }))
        }
        Err(error) => refusal(400, &error.to_string()),
    }
}

fn changed(hub: &Hub, call: &Call) -> Answer {
    match serde_json::from_slice::<Changed>(&call.body) {
        Ok(Changed { id, status }) if hub.stalls.change_issue(&id, &status) => Answer::empty(204),
        Ok(Changed { id, .. }) => refusal(404, &format!("there is no issue `{id}`")),
        Err(error) => refusal(400, &error.to_string()),
    }
}

fn see(hub: &Hub, call: &Call) -> Answer {
    match serde_json::from_slice::<Seen>(&call.body) {
        Ok(Seen { vendor, monitor, down }) if hub.stalls.see(&vendor, &monitor, down) => {
            Answer::empty(204)
        }
        Ok(Seen { vendor, monitor, .. }) => {
            refusal(404, &format!("`{vendor}` has no monitor `{monitor}`"))
        }
        Err(error) => refusal(400, &error.to_string()),
    }
}

fn set(hub: &Hub, call: &Call) -> Answer {
    match serde_json::from_slice::<Order>(&call.body) {
        Ok(Order { provider, standing: Standing { service, trouble } }) => {
            if hub.set_fault(&provider, service.as_ref(), Some(trouble)) {
                return Answer::empty(204);
            }
            refusal(404, &format!("no provider `{provider}`"))
        }
        Err(error) => refusal(400, &error.to_string()),
    }
}

fn lift(hub: &Hub, call: &Call) -> Answer {
    let Some(name) = call.parameter("provider") else {
        hub.clear_all();
        return Answer::empty(204);
    };
    match name.parse::<ProviderName>() {
        Ok(provider) if hub.knows(&provider) => {
            hub.clear(&provider);
            Answer::empty(204)
        }
        _ => refusal(404, &format!("no provider `{name}`")),
    }
}

fn state(place: &Place) -> Value {
    let counts = &place.site.counts;
    let asked = counts.asked();
    let services = counts.services.lock().unwrap_or_else(PoisonError::into_inner).clone();
    json!({
        "kind": place.kind,
        "faults": place.site.faults.standing(),
        "api_requests": asked.requests,
        "api_refused_for_rate": asked.refused,
        "ingress_requests": counts.ingress.load(Ordering::Relaxed),
        "requests_by_service": services,
        "instances": place.vendor.instances(),
    })
}

fn shown(value: serde_json::Result<Value>) -> Answer {
    match value {
        Ok(value) => Answer::json(200, &value),
        Err(error) => refusal(500, &error.to_string()),
    }
}

fn refusal(status: u16, why: &str) -> Answer {
    Answer::json(status, &json!({ "error": why }))
}
