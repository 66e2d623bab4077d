//! What the containers of an app wrote, from the log stream of each replica.
//!
//! The stream is no part of the resource manager: it has an address of its own in each replica's answer and a token of
//! its own, as the vendor's command line uses them (`az containerapp logs show`).

use http::Method;
use linkflow_model::role::LogLine;
use linkflow_model::{Fault, Secret, ServiceName};
use serde_json::Value;

use super::Azure;
use super::arm::path_of;
use super::wire::{Replica, Resource};
use crate::compute::time::timestamp;
use crate::kit::{Account, Auth, Call, Limiter};

/// The most lines that the stream gives.
const MOST: usize = 300;

impl Azure {
    /// The last lines of `service`, oldest first. Only replicas that are there now have any.
    pub(super) async fn read_logs(
        &self,
        service: &ServiceName,
        last: usize,
    ) -> Result<Vec<LogLine>, Fault> {
        let app = self.deployed(service).await?;
        let revision = app.text("/latestRevisionName");
        let replicas = self.replicas(&app.name, revision).await?;
        let streams: Vec<String> = replicas
            .iter()
            .flat_map(Replica::containers)
            .filter_map(|container| container.log_stream_endpoint.clone())
            .collect();
        if streams.is_empty() {
            return Ok(Vec::new());
        }
        let path = self.app_path(&app.name, "/getAuthtoken");
        let call = Call::write(Method::POST, "get a log token of", &app.name, path).as_read();
        let granted: Resource = self.send_for(call).await?;
        let token = Secret::new(granted.text("/token"));
        let mut lines = Vec::new();
        for stream in &streams {
            lines.extend(self.read_stream(&app.name, stream, &token, last.min(MOST)).await?);
        }
        lines.sort_by_key(|line| line.at.map(|at| at.0));
        let skipped = lines.len().saturating_sub(last);
        Ok(lines.split_off(skipped))
    }

    async fn read_stream(
        &self,
        app: &str,
        stream: &str,
        token: &Secret,
        last: usize,
    ) -> Result<Vec<LogLine>, Fault> {
        let Some(path) = path_of(stream) else { return Ok(Vec::new()) };
        let base = stream.strip_suffix(&path).unwrap_or(stream).to_owned();
        let vendor = self.kit.vendor(Account {
            provider: self.provider.clone(),
            spec: "azure-logs",
            production: "https://azurecontainerapps.dev".to_owned(),
            base,
            auth: Some(Auth::bearer(token.clone())),
            limits: Box::new(Limiter::free),
            judge: super::arm::own_judgement,
            hide: super::arm::hide_secrets,
        });
        let call = Call::read("read the log of", app, path)
            .query("follow", "false")
            .query("output", "json")
            .query("tailLines", &last.to_string());
        let answer = vendor.send(call).await?;
        let text = answer.text();
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        Ok(lines.map(|line| self.log_line(line)).collect())
    }

    fn log_line(&self, line: &str) -> LogLine {
        let (at, text) = read_line(line);
        LogLine { at: at.and_then(timestamp), text: self.kit.mask(text.trim_end()) }
    }
}

/// The time and the text of a line: `{"TimeStamp": …, "Log": …}`, where the log says `F` and the text, or plain text.
fn read_line(line: &str) -> (Option<&str>, String) {
    let parsed: Value = serde_json::from_str(line).unwrap_or_default();
    let Some(text) = parsed.get("Log").and_then(Value::as_str) else {
        return match line.split_once(' ') {
            Some((at, text)) if timestamp(at).is_some() => (Some(at), text.to_owned()),
            _ => (None, line.to_owned()),
        };
    };
    // The container runtime's own marks: `stdout F `, or `F ` alone.
    let text =
        text.strip_prefix("stdout ").or_else(|| text.strip_prefix("stderr ")).unwrap_or(text);
    let text = text.strip_prefix("F ").unwrap_or(text);
    let at = line.split('"').skip_while(|part| *part != "TimeStamp").nth(2);
    (at, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, at: Option<&str>, text: &str) {
        assert_eq!(read_line(line), (at, text.to_owned()));
    }

    #[test]
    fn a_line_is_read_in_each_form_that_the_stream_has() {
        let at = Some("2026-11-24T01:02:03.456Z");
        check(
            r#"{"TimeStamp":"2026-11-24T01:02:03.456Z","Log":"stdout F up and well"}"#,
            at,
            "up and well",
        );
        check(r#"{"TimeStamp": "2026-11-24T01:02:03.456Z", "Log": "F a \"b\""}"#, at, r#"a "b""#);
        check("2026-11-24T01:02:03.456Z up", at, "up");
        check("up and well", None, "up and well");
    }
}
