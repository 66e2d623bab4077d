//! What a machine says is there, read into our words.

use std::collections::BTreeMap;

use linkflow_model::role::Seen;
use linkflow_model::{Lifecycle, PinnedImage, ReleaseId, ServiceName};
use serde::Deserialize;

/// A container, as `docker ps --format '{{json .}}'` writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(rename = "ID")]
    id: String,
    image: String,
    labels: String,
    state: String,
    status: String,
}

/// A container of ours.
#[derive(Debug)]
struct Container {
    id: String,
    image: String,
    state: String,
    status: String,
    labels: BTreeMap<String, String>,
}

impl Container {
    fn of(listed: Listed) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let labels = listed.labels.split(',').filter_map(pair).collect();
        let Listed { id, image, state, status, .. } = listed;
        Self { id, image, state, status, labels }
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(&format!("linkflow.{name}")).map(String::as_str)
    }

    fn number(&self) -> u32 {
        self.label("number").and_then(|text| text.parse().ok()).unwrap_or(u32::MAX)
    }

    fn runs(&self) -> bool {
        self.state == "running"
    }

    /// Not surely without a process.
    fn may_run(&self) -> bool {
        !matches!(self.state.as_str(), "created" | "exited" | "dead")
    }
}

/// A service's folder: the line that `look` in `calls.sh` writes.
#[derive(Debug, Default)]
struct Row {
    current: Option<String>,
    target: Option<String>,
    replicas: Option<u32>,
    busy: bool,
    release: Option<String>,
    fingerprint: Option<String>,
    digest: Option<String>,
    word: String,
}

impl Row {
    fn read(line: &str) -> Option<(ServiceName, Self)> {
        let mut words = line.strip_prefix("service ")?.split(' ');
        let service = ServiceName::new(words.next()?)?;
        let mut next = || words.next().filter(|word| !matches!(*word, "-" | ""));
        let text = |word: Option<&str>| word.map(str::to_owned);
        let row = Self {
            current: text(next()),
            target: text(next()),
            replicas: next().and_then(|word| word.parse().ok()),
            busy: next() == Some("busy"),
            release: text(next()),
            fingerprint: text(next()),
            digest: text(next()),
            word: words.collect::<Vec<_>>().join(" "),
        };
        Some((service, row))
    }
}

/// Reads what `look` wrote. `reached` is where published ports are.
pub(super) fn read(text: &str, reached: &str) -> Result<Vec<Seen>, String> {
    let mut rows: BTreeMap<ServiceName, (Row, Vec<Container>)> = BTreeMap::new();
    for line in text.lines() {
        if line.starts_with('{') {
            let listed: Listed =
                serde_json::from_str(line).map_err(|e| format!("docker ps: {e}: {line}"))?;
            let container = Container::of(listed);
            if let Some(service) = container.label("service").and_then(ServiceName::new) {
                rows.entry(service).or_default().1.push(container);
            }
        } else if let Some((service, row)) = Row::read(line) {
            rows.entry(service).or_default().0 = row;
        }
    }
    Ok(rows.into_iter().map(|(service, (row, all))| seen(service, &row, all, reached)).collect())
}

fn seen(service: ServiceName, row: &Row, all: Vec<Container>, reached: &str) -> Seen {
    // Without our folder, the containers themselves say what they are; the newest release counts.
    let newest = || all.iter().filter_map(|c| c.label("folder")).max_by_key(|f| release(f));
    let shown = row.current.as_deref().or(row.target.as_deref()).or_else(newest);
    let shown = shown.map(str::to_owned);
    let (mut own, other): (Vec<Container>, Vec<Container>) =
        all.into_iter().partition(|container| container.label("folder") == shown.as_deref());
    own.sort_by_key(|container| (!container.runs(), container.number()));
    let first = own.first();
    let running = own.iter().filter(|container| container.runs()).count();
    let elsewhere = other.iter().filter(|container| container.may_run()).count();
    let replicas =
        row.replicas.unwrap_or_else(|| u32::try_from(own.len()).unwrap_or(u32::MAX));
    let (lifecycle, said) = stands(row, replicas, &own, elsewhere);
    // Where nothing is to run, whatever runs of this service counts.
    let running = if replicas == 0 { running + elsewhere } else { running };
    let label = |name| first.and_then(|container| container.label(name)).map(str::to_owned);
    let of_image = first.and_then(|c| c.image.parse::<PinnedImage>().ok()).map(|i| i.digest);
    let port = label("port").filter(|port| port != "0");
    Seen {
        id: first.map_or_else(|| shown.clone().unwrap_or_default(), |c| c.id.clone()),
        lifecycle,
        said,
        digest: of_image.or_else(|| row.digest.clone().or_else(|| label("digest"))?.parse().ok()),
        release: row.release.clone().or_else(|| label("release")).and_then(|r| release(&r)),
        fingerprint: row
            .fingerprint
            .clone()
            .or_else(|| label("fingerprint"))
            .map(linkflow_model::Fingerprint),
        replicas,
        running: u32::try_from(running).unwrap_or(u32::MAX),
        address: port.map(|port| format!("http://{reached}:{port}")),
        service,
    }
}

/// How the containers of the release that is shown stand, in our word and in the machine's.
fn stands(row: &Row, replicas: u32, own: &[Container], elsewhere: usize) -> (Lifecycle, String) {
    let beginning = row.busy && row.word.starts_with("under") && row.current.is_none();
    let first = own.first();
    let status = first.map_or_else(|| "no container".to_owned(), |c| c.status.clone());
    let any = |state: &str| own.iter().any(|container| container.state == state);
    let may_run = own.iter().any(Container::may_run) || elsewhere > 0;
    let lifecycle = match replicas {
        _ if any("running") => Lifecycle::Running,
        0 if may_run => Lifecycle::Running,
        0 if beginning => Lifecycle::Starting,
        0 => Lifecycle::Stopped,
        _ if any("paused") => Lifecycle::Unknown,
        _ if row.busy => Lifecycle::Starting,
        _ => Lifecycle::Failed,
    };
    let said = match row.word.strip_prefix("under: ") {
        Some(said) if beginning => said.to_owned(),
        _ => status,
    };
    (lifecycle, said)
}

/// The number in `r7` or `r7-0123456789ab`.
fn release(text: &str) -> Option<ReleaseId> {
    let number = text.split('-').next()?.strip_prefix('r')?;
    number.parse().ok().map(ReleaseId)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn container(number: u32, folder: &str, state: &str) -> String {
        let labels = format!(
            "a=b,linkflow.service=api,linkflow.folder={folder},linkflow.number={number},linkflow.port=2100{number},com.x=c.yml,e.yml"
        );
        serde_json::json!({
            "ID": format!("id{number}"), "Image": format!("ghcr.io/acme/api@{DIGEST}"),
            "Labels": labels, "State": state, "Status": format!("is {state}"),
        })
        .to_string()
    }

    fn check(lines: &[String], wanted: &str) {
        let all = read(&lines.join("\n"), "10.0.0.1").unwrap();
        let told: Vec<String> = all
            .iter()
            .map(|s| {
                let address = s.address.clone().unwrap_or_default();
                format!("{} {:?} {}/{} {address}", s.service, s.lifecycle, s.running, s.replicas)
            })
            .collect();
        assert_eq!(told.join("; "), wanted);
    }

    fn row(current: &str, target: &str, replicas: u32, at: &str, word: &str) -> String {
        format!("service api {current} {target} {replicas} {at} r2 f1 {DIGEST} {word}")
    }

    #[test]
    fn a_service_stands_as_its_current_release_does() {
        let (old, new) = ("r1-aa", "r2-bb");
        let c = container;
        check(&[c(1, new, "running"), row(new, new, 1, "idle", "done")], "api Running 1/1 http://10.0.0.1:21001");
        check(
            &[c(1, old, "running"), c(2, new, "running"), row(old, new, 1, "busy", "under: x")],
            "api Running 1/1 http://10.0.0.1:21001",
        );
        check(
            &[c(1, new, "exited"), c(2, new, "running"), row(new, new, 2, "idle", "done")],
            "api Running 1/2 http://10.0.0.1:21002",
        );
        check(&[c(1, new, "exited"), row(new, new, 1, "idle", "done")], "api Failed 0/1 http://10.0.0.1:21001");
        check(&[row("-", new, 1, "busy", "under: pulls it")], "api Starting 0/1 ");
        check(&[row("-", new, 1, "idle", "failed")], "api Failed 0/1 ");
        check(&[row(new, new, 1, "idle", "done")], "api Failed 0/1 ");
        check(&[c(1, new, "paused"), row(new, new, 1, "idle", "done")], "api Unknown 0/1 http://10.0.0.1:21001");
    }

    #[test]
    fn a_service_is_stopped_only_when_none_of_its_containers_may_run() {
        let (old, new) = ("r1-aa", "r2-bb");
        let c = container;
        let rests = |at| row(new, new, 0, at, "done");
        check(&[c(1, new, "exited"), rests("idle")], "api Stopped 0/0 http://10.0.0.1:21001");
        check(&[c(1, new, "created"), rests("idle")], "api Stopped 0/0 http://10.0.0.1:21001");
        for state in ["running", "restarting", "paused", "removing"] {
            let told = read(&[c(1, old, state), c(2, new, "exited"), rests("idle")].join("\n"), "h");
            assert_eq!(told.unwrap()[0].lifecycle, Lifecycle::Running, "{state}");
        }
    }

    #[test]
    fn without_our_folder_the_containers_tell_what_they_are() {
        check(
            &[container(1, "r9-aa", "exited"), container(2, "r10-bb", "running")],
            "api Running 1/1 http://10.0.0.1:21002",
        );
    }
}
