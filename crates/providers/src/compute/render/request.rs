//! What is sent: bodies, commands, instance types, and what of it a recording must not show.

use linkflow_model::{Definition, ServiceKind, Size};
use serde_json::{Map, Value, json};

use super::wire::Service;

/// Reads of all sorts share one limit.
pub(super) const READ: &str = "read";
/// Making services has a limit of its own.
pub(super) const CREATE: &str = "create service";
/// Deploying, changing, stopping and starting one service share a limit.
pub(super) const CHANGE_SERVICE: &str = "change service";
/// Starting jobs has a limit of its own.
pub(super) const START_JOB: &str = "start a job of";
/// All other writes share one limit.
pub(super) const CHANGE: &str = "change";

/// The command of a service that is made only to rest: it ends at once.
pub(super) const HOLD: &str = "true";

/// When a service runs that is there for one-off jobs only: never, for no February has so many days.
const NEVER: &str = "0 0 31 2 *";

/// Paid instance types, smallest first: name, thousandths of a CPU, memory in MiB (docs: pricing).
const PLANS: [(&str, u32, u32); 6] = [
    ("starter", 500, 512),
    ("standard", 1_000, 2_048),
    ("pro", 2_000, 4_096),
    ("pro_plus", 4_000, 8_192),
    ("pro_max", 4_000, 16_384),
    ("pro_ultra", 8_000, 32_768),
];

/// The instance type for `size`: the one that the config names, or with `auto` the smallest that is big enough.
pub(super) fn plan(configured: &str, size: Size) -> &str {
    if configured != "auto" {
        return configured;
    }
    let fits = |(_, cpu, memory): &&(&str, u32, u32)| {
        *cpu >= size.cpu_milli && *memory >= size.memory_mb
    };
    PLANS.iter().find(fits).or(PLANS.last()).map_or("starter", |(name, ..)| *name)
}

/// `words` as one line that a shell splits into the same words.
pub(super) fn command_line(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let quoted = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The command that `wanted` asks for, empty for the image's own.
pub(super) fn command(wanted: &Definition) -> String {
    wanted.command.as_deref().map(command_line).unwrap_or_default()
}

/// The vendor's word for how `wanted` is spoken to.
pub(super) fn kind(wanted: &Definition) -> &'static str {
    match wanted.kind {
        ServiceKind::Worker => "background_worker",
        _ => "web_service",
    }
}

/// Every variable that `wanted` asks for.
pub(super) fn variables(wanted: &Definition) -> std::collections::BTreeMap<String, String> {
    let env = wanted.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    env.chain(wanted.markers()).collect()
}

fn env_vars(variables: &std::collections::BTreeMap<String, String>) -> Value {
    variables.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// Where things are made.
pub(super) struct Place<'a> {
    pub(super) owner: &'a str,
    pub(super) region: &'a str,
    pub(super) plan: &'a str,
    pub(super) credential: Option<&'a str>,
}

impl Place<'_> {
    fn image(&self, wanted: &Definition) -> Value {
        let mut image = json!({ "ownerId": self.owner, "imagePath": wanted.image.to_string() });
        if let Some(credential) = self.credential {
            image["registryCredentialId"] = json!(credential);
        }
        image
    }

    /// A service that does not exist yet.
    pub(super) fn create(&self, name: &str, wanted: &Definition) -> Value {
        let mut details = json!({
            "runtime": "image",
            "region": self.region,
            "plan": self.plan,
            "numInstances": wanted.replicas.max(1),
        });
        let command = if wanted.replicas == 0 { HOLD.to_owned() } else { command(wanted) };
        if !command.is_empty() {
            details["envSpecificDetails"] = json!({ "dockerCommand": command });
        }
        if let (Some(path), "web_service") = (&wanted.health, kind(wanted)) {
            details["healthCheckPath"] = json!(path);
        }
        json!({
            "type": kind(wanted),
            "name": name,
            "ownerId": self.owner,
            "autoDeploy": "no",
            "image": self.image(wanted),
            "envVars": env_vars(&variables(wanted)),
            "serviceDetails": details,
        })
    }

    /// A service that holds an image for a one-off job, and never runs by itself.
    pub(super) fn create_for_job(&self, name: &str, wanted: &Definition, job: &str) -> Value {
        let mut variables = variables(wanted);
        variables.insert(super::job::MARK.to_owned(), job.to_owned());
        json!({
            "type": "cron_job",
            "name": name,
            "ownerId": self.owner,
            "autoDeploy": "no",
            "image": self.image(wanted),
            "envVars": env_vars(&variables),
            "serviceDetails": {
                "runtime": "image",
                "region": self.region,
                "plan": self.plan,
                "schedule": NEVER,
            },
        })
    }

    /// What has to change of `held`, `None` when nothing has to.
    pub(super) fn change(&self, held: &Service, wanted: &Definition) -> Option<Value> {
        let mut body = Map::new();
        let other_login = match (&held.registry_credential, self.credential) {
            (Some(held), Some(wanted)) => held.id != wanted,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if !runs(held.image_path.as_deref().unwrap_or_default(), wanted) || other_login {
            body.insert("image".to_owned(), self.image(wanted));
        }
        if held.auto_deploy != "no" {
            body.insert("autoDeploy".to_owned(), json!("no"));
        }
        let mut details = Map::new();
        if held.service_details.plan.as_deref() != Some(self.plan) {
            details.insert("plan".to_owned(), json!(self.plan));
        }
        let health = held.service_details.health_check_path.as_deref().unwrap_or_default();
        if held.is_web() && health != wanted.health.as_deref().unwrap_or_default() {
            details.insert("healthCheckPath".to_owned(), json!(wanted.health.as_deref().unwrap_or_default()));
        }
        if held.command() != command(wanted) {
            let own = json!({ "dockerCommand": command(wanted) });
            details.insert("envSpecificDetails".to_owned(), own);
        }
        if !details.is_empty() {
            body.insert("serviceDetails".to_owned(), Value::Object(details));
        }
        (!body.is_empty()).then_some(Value::Object(body))
    }
}

/// Whether `reference` names the image of `wanted`, however much of the default host and path it spells out.
pub(super) fn runs(reference: &str, wanted: &Definition) -> bool {
    let digest = format!("@{}", wanted.image.digest);
    reference.strip_suffix(&digest).is_some_and(|path| path.contains(&wanted.image.repository))
}

/// Masks values of variables that are not our markers, and registry tokens.
pub(super) fn hide_values(body: &mut Value) {
    const MASK: &str = "***";
    match body {
        Value::Array(items) => items.iter_mut().for_each(hide_values),
        Value::Object(fields) => {
            let key = fields.get("key").and_then(Value::as_str);
            let is_ours = key.is_some_and(|key| key == "PORT" || key.starts_with("LINKFLOW_"));
            let is_variable = key.is_some() || fields.len() == 1;
            for (name, value) in fields.iter_mut() {
                match (name.as_str(), &*value) {
                    ("value", Value::String(_)) if is_variable && !is_ours => *value = json!(MASK),
                    ("authToken", Value::String(_)) => *value = json!(MASK),
                    _ => hide_values(value),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(words: &[&str], expected: &str) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(command_line(&words), expected);
    }

    #[test]
    fn a_command_is_one_line_that_splits_into_the_same_words() {
        check_line(&["app", "--port=80", "./x"], "app --port=80 ./x");
        check_line(&["sh", "-c", "echo $A; it's"], r"sh -c 'echo $A; it'\''s'");
        check_line(&["a", ""], "a ''");
    }

    #[test]
    fn the_smallest_instance_that_is_big_enough_is_taken_or_the_one_that_is_named() {
        let size = |cpu_milli, memory_mb| Size { cpu_milli, memory_mb };
        assert_eq!(plan("auto", size(250, 256)), "starter");
        assert_eq!(plan("auto", size(250, 600)), "standard");
        assert_eq!(plan("auto", size(4_000, 9_000)), "pro_max");
        assert_eq!(plan("auto", size(64_000, 1)), "pro_ultra");
        assert_eq!(plan("free", size(64_000, 1)), "free");
    }

    #[test]
    fn values_are_masked_and_markers_shown() {
        let mut body = json!([{ "envVar": { "key": "TOKEN", "value": "x" }, "cursor": "c" },
            { "envVar": { "key": "LINKFLOW_STACK", "value": "s" }, "cursor": "d" }]);
        hide_values(&mut body);
        assert_eq!(body[0]["envVar"], json!({ "key": "TOKEN", "value": "***" }));
        assert_eq!(body[1]["envVar"]["value"], "s");
        let mut written = json!({ "value": "x" });
        hide_values(&mut written);
        assert_eq!(written, json!({ "value": "***" }));
        let mut labels = json!({ "labels": [{ "name": "level", "value": "info" }], "authToken": "t" });
        hide_values(&mut labels);
        assert_eq!(labels, json!({ "labels": [{ "name": "level", "value": "info" }], "authToken": "***" }));
    }
}
