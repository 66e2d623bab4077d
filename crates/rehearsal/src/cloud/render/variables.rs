//! Variables of a service. Writing them deploys nothing, and a list that is put replaces all.

use serde_json::{Value, json};

use super::services::variables;
use super::{Refused, Render, not_found, object, page, refusal};
use crate::cloud::answer::{Answer, Call};

fn shown(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": value })
}

impl Render {
    /// Answers a call below `/services/{id}/env-vars`.
    pub(super) fn of_variables(
        &self,
        call: &Call,
        id: &str,
        parts: &[&str],
    ) -> Result<Answer, Refused> {
        match (call.method.as_str(), parts) {
            ("GET", []) => self.with(id, |service| {
                let rows = service.variables.iter();
                page(
                    call,
                    "envVar",
                    rows.map(|(key, value)| (format!("c-{key}"), shown(key, value))),
                )
            }),
            ("PUT", []) => {
                let body = call.json().filter(Value::is_array);
                let body = body.ok_or_else(|| refusal(400, "a list of variables is due"))?;
                let all = variables(Some(&body))?;
                self.with(id, |service| {
                    service.variables = all;
                    let rows = service.variables.iter();
                    let row = |(key, value): (&String, &String)| json!({ "envVar": shown(key, value), "cursor": format!("c-{key}") });
                    Answer::json(200, &rows.map(row).collect())
                })
            }
            ("GET", [key]) => {
                let held = self.with(id, |service| service.variables.get(*key).cloned())?;
                held.map(|value| Answer::json(200, &shown(key, &value)))
                    .ok_or_else(|| not_found(key))
            }
            ("PUT", [key]) => {
                let body = object(call)?;
                let generated = body.get("generateValue").and_then(Value::as_bool) == Some(true);
                let value = match body.get("value").and_then(Value::as_str) {
                    Some(value) => value.to_owned(),
                    None if generated => self.site.dice.hex(32),
                    None => return Err(refusal(400, "value or generateValue is required")),
                };
                self.with(id, |service| {
                    service.variables.insert((*key).to_owned(), value.clone());
                    Answer::json(200, &shown(key, &value))
                })
            }
            ("DELETE", [key]) => {
                let held = self.with(id, |service| service.variables.remove(*key))?;
                held.map(|_| Answer::empty(204)).ok_or_else(|| not_found(key))
            }
            _ => Err(refusal(404, "404 page not found")),
        }
    }
}
