//! What is read of a request: its query and its body, refused in words where they are not as described.

use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use linkflow_model::service::ServiceKind;
use linkflow_model::{Condition, EventKind, Level, ProviderName, ReleaseId, ServiceName};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::problem::Refused;
use crate::shape::{Book, Days, ImageWord, Limit, Minutes, Number, Reason, Shape, shapes};

/// The query of a request.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let read = Query::<T>::try_from_uri(&parts.uri);
        let wrong = |rejection: axum::extract::rejection::QueryRejection| {
            let help = "`/api/openapi.json` says what may be asked";
            Refused::new(StatusCode::BAD_REQUEST, "query", rejection.body_text(), help)
        };
        read.map(|Query(query)| Self(query)).map_err(wrong)
    }
}

/// Reads JSON. `60.0` is a whole number, as JSON Schema has it; serde sees it so only where it must.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|error| {
        let mut value = serde_json::from_slice::<Value>(bytes)?;
        make_whole(&mut value);
        serde_json::from_value(value).map_err(|_| error)
    })
}

/// Writes every number without a fraction as a whole one.
fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            let text =
                float.filter(|float| float.fract() == 0.0).map(|float| format!("{float:.0}"));
            let whole = text.and_then(|text| text.parse::<i64>().ok());
            if let Some(whole) = whole {
                *number = whole.into();
            }
        }
        Value::Array(all) => all.iter_mut().for_each(make_whole),
        Value::Object(all) => all.values_mut().for_each(make_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The JSON body of a request.
pub(crate) struct Told<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Told<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().unwrap_or_default().trim() != "application/json" {
            let what = format!("the body is `{kind}`, and `application/json` is expected");
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Refused::new(
                status,
                "body",
                what,
                "send `content-type: application/json`",
            ));
        }
        let bytes: Result<Bytes, BytesRejection> = request.extract().await;
        let bytes = bytes.map_err(|rejection| {
            Refused::new(rejection.status(), "body", rejection.body_text(), "send less")
        })?;
        read(&bytes).map(Self).map_err(|error| {
            let help = "`/api/openapi.json` says what a body holds";
            Refused::new(StatusCode::BAD_REQUEST, "body", error.to_string(), help)
        })
    }
}

/// A kind of event that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct KindWord(pub EventKind);

impl TryFrom<String> for KindWord {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let kind: Result<EventKind, _> = serde_json::from_value(json!(word));
        // Words of a newer version are read as unknown; here they are a mistake.
        let known = kind.ok().filter(|kind| json!(kind) == json!(word));
        known.map(Self).ok_or_else(|| format!("`{word}` is no kind of event"))
    }
}

impl Shape for KindWord {
    fn schema(book: &mut Book) -> Value {
        EventKind::schema(book)
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderWord {
    /// What the config asks for.
    Apply,
    /// Other images.
    Deploy,
    /// An earlier release.
    Rollback,
    /// A service again.
    Restart,
}

impl Shape for OrderWord {
    fn schema(book: &mut Book) -> Value {
        let all = [Self::Apply, Self::Deploy, Self::Rollback, Self::Restart];
        book.named("OrderWord", |_| json!({ "type": "string", "enum": all }))
    }
}

shapes! {
    /// Which part of a list is wanted.
    pub struct ListAsk {
        /// How many; 100 when not said.
        pub limit: Option<Limit>,
        /// How many are left out before.
        pub skip: Option<Number>,
    }

    /// Which incidents are wanted.
    pub struct IncidentsAsk {
        /// Only those that are over, or that are not.
        pub open: Option<bool>,
        /// How many; 100 when not said.
        pub limit: Option<Limit>,
        /// How many are left out before.
        pub skip: Option<Number>,
    }

    /// Which monitors are wanted.
    pub struct MonitorsAsk {
        /// Only those with this tag.
        pub tag: Option<String>,
        /// Only those in this condition.
        pub condition: Option<Condition>,
        /// Only those with this in their name or in what they look at.
        pub q: Option<String>,
        /// How many; 1000 when not said.
        pub limit: Option<Limit>,
        /// How many are left out before.
        pub skip: Option<Number>,
    }

    /// Which events are wanted.
    pub struct EventsAsk {
        /// Only those with a smaller number.
        pub before: Option<Number>,
        /// How many; 100 when not said.
        pub limit: Option<Limit>,
        /// Only this kind.
        pub kind: Option<KindWord>,
        /// Only those that matter at least so much.
        pub level: Option<Level>,
        /// Only those about this service.
        pub service: Option<ServiceName>,
        /// Only those about this provider.
        pub provider: Option<ProviderName>,
        /// Only those of this run.
        pub run: Option<String>,
        /// Only those with this in their message.
        pub q: Option<String>,
    }

    /// Which services are wanted.
    pub struct ServicesAsk {
        /// Only this kind.
        pub kind: Option<ServiceKind>,
    }

    /// Whose traffic is wanted.
    pub struct TrafficAsk {
        /// Only that of this service.
        pub service: Option<ServiceName>,
    }

    /// Which history is wanted.
    pub struct HistoryAsk {
        /// Of how many days: 1, 7, 30 or 90; the next greater one of these is taken. 1 when not said.
        pub days: Option<Days>,
    }

    /// Which looks are wanted.
    pub struct LooksAsk {
        /// From when on, in milliseconds since 1970.
        pub from: Option<Number>,
        /// Until when.
        pub to: Option<Number>,
        /// How many of the newest; 100 when not said.
        pub limit: Option<Limit>,
    }

    /// What is looked for.
    pub struct SearchAsk {
        /// The words, whatever their case.
        pub q: String,
    }

    /// What would be done.
    pub struct PlanAsk {
        /// What.
        pub order: OrderWord,
        /// For `deploy`: the image of each service that gets one.
        pub images: Option<std::collections::BTreeMap<ServiceName, ImageWord>>,
        /// For `rollback`: which release; what ran before when not said.
        pub release: Option<ReleaseId>,
        /// For `restart`: which service.
        pub service: Option<ServiceName>,
        /// For `restart`: only on this provider.
        pub on: Option<ProviderName>,
    }

    /// The config is to be carried out.
    pub struct ApplyAsk {
        /// Why.
        pub reason: Reason,
    }

    /// Images are to go out.
    pub struct DeployAsk {
        /// Why.
        pub reason: Reason,
        /// The image of each service that gets one; what the tags mean now when there is none.
        pub images: Option<std::collections::BTreeMap<ServiceName, ImageWord>>,
    }

    /// An earlier release is to run again.
    pub struct RollbackAsk {
        /// Why.
        pub reason: Reason,
        /// Which; what ran before the live one when not said.
        pub release: Option<ReleaseId>,
    }

    /// A service is to be started again.
    pub struct RestartAsk {
        /// Why.
        pub reason: Reason,
        /// Which.
        pub service: ServiceName,
        /// Only on this provider.
        pub on: Option<ProviderName>,
    }

    /// A provider is to be kept free of services, or no longer.
    pub struct DrainAsk {
        /// Why.
        pub reason: Reason,
        /// Which.
        pub provider: ProviderName,
        /// Only this service.
        pub service: Option<ServiceName>,
    }

    /// An alert is to be tried.
    pub struct TryAsk {
        /// Why.
        pub reason: Reason,
        /// The alert of the config.
        pub alert: String,
    }

    /// A service, or every one, is to serve from a provider.
    pub struct FailoverAsk {
        /// Why.
        pub reason: Reason,
        /// The provider.
        pub to: ProviderName,
        /// Only this service; every one that may run there when not said.
        pub service: Option<ServiceName>,
        /// For how many minutes; until it is ended when not said.
        pub minutes: Option<Minutes>,
        /// Also where it is known not to serve there now: then it goes there as soon as it does.
        pub force: Option<bool>,
    }

    /// Such an order is to end.
    pub struct BackAsk {
        /// Why.
        pub reason: Reason,
        /// The service that it is about; that about every one when not said.
        pub service: Option<ServiceName>,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::read;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Work {
        minutes: u64,
        share: f64,
        list: Vec<i64>,
    }

    #[test]
    fn a_number_without_a_fraction_is_a_whole_one() {
        let work = |text: &str| read::<Work>(text.as_bytes());
        let whole = work(r#"{"minutes": 60.0, "share": 2.0, "list": [-1.0, 2, 3e2]}"#).unwrap();
        assert_eq!(whole, Work { minutes: 60, share: 2.0, list: vec![-1, 2, 300] });
        let said = |text: &str| work(text).unwrap_err().to_string();
        assert!(said(r#"{"minutes": 60.5, "share": 1, "list": []}"#).contains("60.5"));
        assert!(said(r#"{"minutes": -1.0, "share": 1, "list": []}"#).contains("line 1"));
        assert!(said(r#"{"minutes": 1e300, "share": 1, "list": []}"#).contains("line 1"));
        assert!(said("{").contains("EOF"));
    }
}
