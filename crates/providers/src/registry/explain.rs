//! Says what a registry's refusal means: which login it wants, and whether it is the tag or the repository that lacks.

use std::time::Duration;

use http::Method;
use linkflow_model::{Fault, FaultKind};
use serde::Deserialize;

use super::access::{Access, Place};
use super::oci::Oci;
use crate::kit::{Answer, Call};

/// How long to leave a registry alone that says only that it was asked too often.
const PAUSE: Duration = Duration::from_secs(300);

/// Most tags that are named to somebody who asked for one that is not there.
const NAMED: usize = 5;

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Oci {
    /// `answer` when it is a success, and otherwise a fault that says what to do.
    pub(super) async fn told(
        &self,
        place: &Place,
        access: Access,
        call: &Call,
        answer: Answer,
    ) -> Result<Answer, Fault> {
        let pause = pause(&answer, self.kit.clock().wall().0 / 1_000);
        let fault = match place.registry.judge(call, answer) {
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        Err(match fault.kind {
            FaultKind::Denied => self.denied(place, access, &fault.said),
            FaultKind::Limited { wait } => {
                let anonymous = self.credentials(place, access).is_none();
                let wait = pause.unwrap_or(wait.max(PAUSE));
                self.limited(place, fault, wait, anonymous)
            }
            _ => fault,
        })
    }

    /// That the registry lets this one not in.
    pub(super) fn denied(&self, place: &Place, access: Access, said: &str) -> Fault {
        let host = &place.host;
        let need = need(host, access == Access::Push);
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        let (text, attempt) = match (self.credentials(place, access), access) {
            (Some(who), Access::Push) => {
                (format!("{host} does not let `{}` push to it{said}: {need}", who.user), "push")
            }
            (Some(who), _) => {
                (format!("{host} does not let `{}` pull it{said}: {need}", who.user), "look up")
            }
            (None, _) => (
                format!(
                    "it is private, or not there: {host} gives it to nobody without a login{said}: {need}"
                ),
                "look up",
            ),
        };
        place.registry.fault(FaultKind::Denied, format!("{attempt} {}", place.about), &text)
    }

    /// What is missing: the tag, or the whole repository. A registry may say "manifest unknown" in both cases.
    pub(super) async fn missing(&self, place: &Place, reference: &str) -> Fault {
        let attempt = format!("look up {}", place.about);
        let path = format!("/v2/{}/tags/list", place.repository);
        let call = Call::read("list the tags of", &place.about, path);
        let (host, repository) = (&place.host, &place.repository);
        let text = match self.ask(place, call, Access::Pull).await {
            Ok(answer) if answer.status.is_success() => {
                let tags = serde_json::from_slice::<Tags>(&answer.body).ok().and_then(|t| t.tags);
                match tags.filter(|tags| !tags.is_empty()) {
                    Some(tags) => {
                        let first = tags.len().saturating_sub(NAMED);
                        let (named, more) =
                            (tags[first..].join(", "), if first > 0 { ", …" } else { "" });
                        format!("{host} has no `{reference}` in {repository}, only {named}{more}")
                    }
                    None => format!("{host} has nothing in {repository} yet"),
                }
            }
            Ok(answer) if answer.status == http::StatusCode::NOT_FOUND => {
                format!("{host} has no repository {repository}")
            }
            _ => format!("{host} has no {repository} with `{reference}`"),
        };
        place.registry.fault(FaultKind::Missing, attempt, &text)
    }

    fn limited(&self, place: &Place, fault: Fault, wait: Duration, anonymous: bool) -> Fault {
        let more = if anonymous { "; with a login it allows more" } else { "" };
        let text = format!("{} was asked too often ({}){more}", place.host, fault.said);
        place.registry.fault(FaultKind::Limited { wait }, fault.attempt, &text)
    }

    /// Asks for a manifest, and explains a refusal.
    pub(super) async fn look_up(
        &self,
        place: &Place,
        method: &Method,
        reference: &str,
        access: Access,
    ) -> Result<Answer, Fault> {
        let path = format!("/v2/{}/manifests/{reference}", place.repository);
        let call = Call::write(method.clone(), "look up", &place.about, path)
            .as_read()
            .header("accept", super::manifest::ACCEPTED);
        let answer = self.ask(place, call.clone(), access).await?;
        match self.told(place, access, &call, answer).await {
            Err(fault) if fault.kind == FaultKind::Missing && access != Access::Anyone => {
                Err(self.missing(place, reference).await)
            }
            told => told,
        }
    }
}

/// What a login has to be allowed at `host`, in the words of its settings page.
fn need(host: &str, push: bool) -> &'static str {
    match (host, push) {
        ("ghcr.io", false) => {
            "a classic personal access token with the scope read:packages is due, of somebody who may read the package"
        }
        ("ghcr.io", true) => {
            "a classic personal access token with the scope write:packages is due, of somebody who may write the package"
        }
        ("docker.io", false) => "an access token with the permission Read-only is due",
        ("docker.io", true) => "an access token with the permission Read & Write is due",
        ("registry.gitlab.com", false) => "a deploy token with the scope read_registry is due",
        ("registry.gitlab.com", true) => "a deploy token with the scope write_registry is due",
        ("registry.fly.io", _) => "a token of the organization that owns the app is due",
        (_, false) => "a login that may pull it is due",
        (_, true) => "a login that may push to it is due",
    }
}

/// How long a registry asks to be left alone: as a Unix time, as Docker Hub's API has it, or by how many requests it
/// allows in a window (`ratelimit-limit: 100;w=21600`): then until the next one.
fn pause(answer: &Answer, now: u64) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    if answer.header("retry-after").and_then(number).is_some() {
        return answer.header("retry-after").and_then(number).map(Duration::from_secs);
    }
    if let Some(until) = answer.header("x-retry-after").and_then(number) {
        return Some(Duration::from_secs(until.saturating_sub(now).min(86_400)));
    }
    let (count, window) = answer.header("ratelimit-limit")?.split_once(";w=")?;
    let (count, window) = (number(count)?, number(window)?);
    window.checked_div(count).map(|each| Duration::from_secs(each.max(1)))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    #[track_caller]
    fn check(name: &'static str, text: &'static str, expected: Option<u64>) {
        let headers =
            HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(text))]);
        let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Vec::new() };
        assert_eq!(pause(&answer, 1_000).map(|wait| wait.as_secs()), expected);
    }

    #[test]
    fn a_registry_says_in_its_own_way_how_long_to_leave_it_alone() {
        check("retry-after", "7", Some(7));
        check("x-retry-after", "1012", Some(12));
        check("ratelimit-limit", "100;w=21600", Some(216));
        check("ratelimit-limit", "0;w=21600", None);
        check("x-other", "1", None);
    }
}
