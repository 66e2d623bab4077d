//! A machine's configuration, read as far as the rehearsal obeys it. It is kept and shown whole, as it came.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::cloud::process::Restart;

/// The configuration of one machine.
#[derive(Clone, Debug)]
pub(super) struct Config(Value);

/// One health check.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) port: Option<u16>,
    /// `None`: a connection is enough.
    pub(super) path: Option<String>,
}

/// How the ingress reaches a machine.
#[derive(Clone, Debug)]
pub(super) struct Exposed {
    /// Whether the port that the proxy was told is the one the app listens on.
    pub(super) reaches: bool,
    pub(super) health: Option<String>,
    /// Whether HTTP/2 goes on to the app: the proxy's `http` handler speaks HTTP/1.1 to it unless `h2_backend` is set.
    pub(super) http2: bool,
}

impl Config {
    /// Takes a configuration in, or says what is wrong with it.
    pub(super) fn read(value: Option<&Value>) -> Result<Self, String> {
        let config = match value {
            Some(value @ Value::Object(_)) => Self(value.clone()),
            _ => return Err("invalid_argument: config is required".to_owned()),
        };
        if config.image().is_none_or(|image| image.is_empty()) {
            return Err("invalid_argument: config.image is required".to_owned());
        }
        let texts = |name: &str| {
            let fields = config.0.get(name).and_then(Value::as_object);
            fields.is_none_or(|fields| fields.values().all(Value::is_string))
        };
        match ["env", "metadata"].into_iter().find(|name| !texts(name)) {
            Some(name) => Err(format!("invalid_argument: config.{name} must map names to strings")),
            None => Ok(config),
        }
    }

    /// The whole, as it came.
    pub(super) fn value(&self) -> &Value {
        &self.0
    }

    /// The metadata, made when there is none.
    pub(super) fn metadata(&mut self) -> Option<&mut serde_json::Map<String, Value>> {
        if !self.0["metadata"].is_object() {
            self.0["metadata"] = Value::Object(serde_json::Map::new());
        }
        self.0["metadata"].as_object_mut()
    }

    pub(super) fn image(&self) -> Option<String> {
        self.0["image"].as_str().map(str::to_owned)
    }

    pub(super) fn memory_mb(&self) -> u64 {
        self.0["guest"]["memory_mb"].as_u64().unwrap_or(256)
    }

    pub(super) fn env(&self) -> BTreeMap<String, String> {
        let texts = |value: &Value| -> BTreeMap<String, String> {
            let fields = value.as_object().into_iter().flatten();
            fields
                .filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
                .collect()
        };
        let mut env = texts(&self.0["env"]);
        env.extend(texts(&self.0["processes"][0]["env"]));
        env
    }

    /// The command in place of the image's own.
    pub(super) fn command(&self) -> Option<Vec<String>> {
        let words = |value: &Value| -> Option<Vec<String>> {
            let words = value
                .as_array()?
                .iter()
                .filter_map(|word| word.as_str().map(str::to_owned))
                .collect::<Vec<_>>();
            (!words.is_empty()).then_some(words)
        };
        let (init, process) = (&self.0["init"], &self.0["processes"][0]);
        words(&init["exec"])
            .or_else(|| words(&init["cmd"]))
            .or_else(|| words(&process["exec"]))
            .or_else(|| words(&process["cmd"]))
    }

    /// The port that the app listens on: it reads `PORT`; without that, the one its service names.
    pub(super) fn port(&self) -> Option<u16> {
        let told = self.env().get("PORT").and_then(|port| port.parse().ok());
        told.or_else(|| self.internal_port())
            .or_else(|| self.checks().iter().find_map(|check| check.port))
    }

    fn internal_port(&self) -> Option<u16> {
        port(&self.0["services"][0]["internal_port"])
    }

    /// How the ingress reaches it; `None`: not at all.
    pub(super) fn exposed(&self) -> Option<Exposed> {
        let service = &self.0["services"][0];
        let ports = service["ports"].as_array().filter(|ports| !ports.is_empty())?;
        let by_http = |port: &&Value| {
            port["handlers"].as_array().is_some_and(|h| h.iter().any(|name| name == "http"))
        };
        let http: Vec<&Value> = ports.iter().filter(by_http).collect();
        Some(Exposed {
            reaches: self.internal_port() == self.port(),
            health: self.checks().into_iter().find_map(|check| check.path),
            http2: http.is_empty()
                || http.iter().any(|port| port["http_options"]["h2_backend"] == true),
        })
    }

    /// Every health check, those of the machine first.
    pub(super) fn checks(&self) -> Vec<Check> {
        let read = |name: String, check: &Value, own: Option<u16>| Check {
            name,
            port: port(&check["port"]).or(own),
            path: (check["type"] == "http")
                .then(|| check["path"].as_str().unwrap_or("/").to_owned()),
        };
        let named = self.0["checks"].as_object().into_iter().flatten();
        let mut checks: Vec<Check> =
            named.map(|(name, check)| read(name.clone(), check, None)).collect();
        for service in self.0["services"].as_array().into_iter().flatten() {
            let internal = port(&service["internal_port"]);
            for (number, check) in service["checks"].as_array().into_iter().flatten().enumerate() {
                let kind = check["type"].as_str().unwrap_or("tcp");
                let name =
                    format!("servicecheck-{number:02}-{kind}-{}", internal.unwrap_or_default());
                checks.push(read(name, check, internal));
            }
        }
        checks
    }

    /// When it is started again: on failure, up to ten times, unless it says otherwise.
    pub(super) fn restart(&self) -> Restart {
        let most =
            self.0["restart"]["max_retries"].as_u64().and_then(|most| u32::try_from(most).ok());
        match self.0["restart"]["policy"].as_str() {
            Some("no") => Restart::Never,
            Some("always") => Restart::Always,
            _ => Restart::OnFailure(most.filter(|most| *most > 0).unwrap_or(10)),
        }
    }

    /// Whether it is taken away when it has ended.
    pub(super) fn is_ephemeral(&self) -> bool {
        self.0["auto_destroy"] == true
    }

    /// How long it is given to end: 5 s unless it says otherwise.
    pub(super) fn grace(&self) -> Duration {
        self.0["stop_config"]["timeout"].as_str().and_then(span).unwrap_or(Duration::from_secs(5))
    }
}

fn port(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}

/// Reads `10s`, `1m30s`, `500ms` as Go writes durations.
pub(super) fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = &rest[letters..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let ms = |text| span(text).map(|d| d.as_millis());
        assert_eq!(
            [ms("10s"), ms("1m30s"), ms("500ms"), ms("5")],
            [Some(10_000), Some(90_000), Some(500), None]
        );
    }

    #[test]
    fn a_service_that_names_another_port_than_the_app_listens_on_is_not_reached() {
        let config = |port: &str| {
            let value = json!({
                "image": "x", "env": { "PORT": port },
                "services": [{ "internal_port": 8080, "ports": [{ "port": 443, "handlers": ["tls", "http"] }] }],
            });
            Config::read(Some(&value)).unwrap().exposed().unwrap()
        };
        assert!(config("8080").reaches);
        assert!(!config("3000").reaches);
        assert!(!config("8080").http2, "the http handler speaks HTTP/1.1 to the app");
    }
}
