//! What a registry answers of a domain: the object `domain` of RFC 9083, 5.3.

use linkflow_model::{Registration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    object_class_name: String,
    ldh_name: Option<String>,
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    events: Vec<Event>,
    #[serde(default)]
    entities: Vec<Entity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_action: String,
    event_date: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    vcard_array: Value,
}

/// What `body` says of `name`; otherwise why it cannot be understood.
pub(super) fn parse(body: &[u8], name: &str) -> Result<Registration, String> {
    let object: Object = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if object.object_class_name != "domain" {
        return Err(format!("it tells of a `{}`", object.object_class_name));
    }
    let other =
        object.ldh_name.filter(|told| !told.trim_end_matches('.').eq_ignore_ascii_case(name));
    if let Some(other) = other {
        return Err(format!("it tells of `{other}`"));
    }
    let ends = object.events.iter().find(|event| event.event_action == "expiration");
    let ends = match ends.map(|event| event.event_date.as_deref().unwrap_or_default()) {
        Some(date) => Some(moment(date).ok_or_else(|| format!("`{date}` is no date"))?),
        None => None,
    };
    let registrar = object.entities.iter().find(|one| one.roles.iter().any(|r| r == "registrar"));
    Ok(Registration {
        ends,
        status: object.status.iter().map(|word| word.to_ascii_lowercase()).collect(),
        registrar: registrar.and_then(|one| full_name(&one.vcard_array)),
    })
}

/// A date of RFC 3339.
fn moment(date: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = date.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

/// The name in a card (RFC 7095): `["vcard", [["fn", {}, "text", "Acme Names"]]]`.
fn full_name(card: &Value) -> Option<String> {
    let lines = card.get(1)?.as_array()?;
    let line = lines.iter().find(|line| line.get(0).and_then(Value::as_str) == Some("fn"))?;
    let name = line.get(3)?.as_str()?.trim();
    (!name.is_empty()).then(|| name.chars().take(80).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_answer_the_end_the_status_and_the_registrar_are_taken() {
        let body = r#"{
            "rdapConformance": ["rdap_level_0"],
            "objectClassName": "domain",
            "handle": "2336799_DOMAIN_COM-VRSN",
            "ldhName": "SHOP.COM",
            "status": ["Client Transfer Prohibited", "client hold"],
            "events": [
                { "eventAction": "registration", "eventDate": "1995-08-14T04:00:00Z" },
                { "eventAction": "registrar expiration", "eventDate": "2027-08-13T04:00:00Z" },
                { "eventAction": "expiration", "eventDate": "2026-12-24T01:00:00+01:00" }
            ],
            "entities": [
                { "objectClassName": "entity", "roles": ["abuse"] },
                {
                    "objectClassName": "entity", "handle": "376", "roles": ["registrar"],
                    "vcardArray": ["vcard", [
                        ["version", {}, "text", "4.0"], ["fn", {}, "text", "Acme Names"]
                    ]]
                }
            ]
        }"#;
        let expected = Registration {
            ends: Some(Timestamp(1_798_070_400_000)),
            status: vec!["client transfer prohibited".to_owned(), "client hold".to_owned()],
            registrar: Some("Acme Names".to_owned()),
        };
        assert_eq!(parse(body.as_bytes(), "shop.com"), Ok(expected));
    }

    #[test]
    fn what_is_no_domain_of_this_name_says_nothing_of_it() {
        let rows = [
            ("{", "EOF"),
            (r#"{ "errorCode": 404 }"#, "objectClassName"),
            (r#"{ "objectClassName": "nameserver" }"#, "it tells of a `nameserver`"),
            (r#"{ "objectClassName": "domain", "ldhName": "com" }"#, "it tells of `com`"),
            (
                r#"{ "objectClassName": "domain", "events": [{ "eventAction": "expiration" }] }"#,
                "`` is no date",
            ),
        ];
        for (body, expected) in rows {
            let why = parse(body.as_bytes(), "shop.com").unwrap_err();
            assert!(why.contains(expected), "{body}: {why}");
        }
        let least = r#"{ "objectClassName": "domain", "ldhName": "shop.com." }"#;
        assert_eq!(parse(least.as_bytes(), "shop.com"), Ok(Registration::default()));
    }
}
