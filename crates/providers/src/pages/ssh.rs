//! A folder on a machine behind SSH, which a web server there shows.
//!
//! What differs is sent beside the page and checked there; then one script, which came whole, moves file by file to its
//! place. So a connection that breaks changes nothing that visitors see, and each of them gets an old file or a new one.
//! A folder for each release behind a symlink would change all files at once, and would take away what others keep beside
//! the page, or need a web server that follows it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linkflow_model::role::{Files, Pages, Put};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use rustls::crypto::ring::default_provider;
use sha2::{Digest, Sha256};
use tracing::debug;

use super::archive;
use crate::kit::Kit;
use crate::shell::host_key::HostKey;
use crate::shell::ssh::{Login, Ssh};
use crate::shell::{Broken, Output, Shell, judge, quote, whole};

/// What is asked of the machine in one go.
const CALLS: &str = include_str!("ssh.sh");

/// What people come to: it is put in its place last.
const FIRST: &str = "index.html";

/// How long a look, and how long the change of places may take.
const LOOK: Duration = Duration::from_secs(20);

/// How long sending may take.
const SEND: Duration = Duration::from_secs(120);

/// What `look` writes between the list and the hashes.
const THEN: &str = "\n--\n";

/// Where the folder is, and who may write there.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The machine's host name or IP address.
    pub address: String,
    /// The port of SSH.
    pub port: u16,
    /// The user that logs in, who may write into the folder.
    pub user: String,
    /// The private key, in the form of OpenSSH or PEM, without a passphrase.
    pub key: Secret,
    /// The fingerprint that the machine's own key must have, `SHA256:…`.
    pub host_key: String,
    /// The folder; one that does not begin with a slash begins in the user's home. Only its last part is made when it is not
    /// there.
    pub folder: String,
    /// What people call the place.
    pub name: String,
}

/// A folder behind SSH.
pub struct Remote {
    ssh: Ssh,
    folder: String,
    name: String,
    kit: Kit,
    provider: ProviderName,
}

/// Opens the folder. Nothing is connected before it is written to.
pub fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Remote {
    kit.learn(&settings.key);
    let Settings { address, port, user, key, host_key, folder, name } = settings;
    let host_key = HostKey::Pinned(host_key);
    let ssh = Ssh::new(Login { address, port, user, key, host_key });
    // So that no folder reads like an option.
    let folder = if folder.starts_with('/') { folder } else { format!("./{folder}") };
    Remote { ssh, folder, name, kit: kit.clone(), provider: provider.clone() }
}

#[async_trait]
impl Pages for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, files: &Files) -> Result<Put, Fault> {
        let there = self.ask("look into", "look", LOOK).await?;
        let files = files.clone();
        // Hashing and packing take a while: no thread that serves visitors is held up.
        let made = tokio::task::spawn_blocking(move || {
            let change = Change::of(&Held::read(&there), &files);
            let done = Put { written: change.moves.len(), removed: change.gone.len() };
            let packed = if done == Put::default() { Vec::new() } else { change.pack(&files)? };
            Ok::<_, io::Error>((done, packed))
        });
        let made = made.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let (done, packed) = made.map_err(|error| {
            self.fault((FaultKind::Invalid, error.to_string()), "pack the status page for")
        })?;
        if done == Put::default() {
            return Ok(done);
        }
        let beside = format!(".linkflow-page.new-{}", self.word()?);
        let put = self.change(&beside, &packed).await;
        if put.is_err() {
            // It takes room there, and nobody else takes it away soon. What went wrong before is what counts.
            self.ask("clear", &format!("forget {beside}"), LOOK).await.ok();
        }
        put.map(|()| done)
    }
}

impl Remote {
    /// Sends what is `packed` into the folder `beside` the page, and has it moved to its places.
    async fn change(&self, beside: &str, packed: &[u8]) -> Result<(), Fault> {
        debug!(place = self.name, bytes = packed.len(), "the status page is sent");
        self.ask("make room in", &format!("begin {beside}"), LOOK).await?;
        let into = quote(&format!("{}/{beside}", self.folder));
        let sent = self.ssh.feed(&format!("exec tar -xzpof - -C {into}"), packed, SEND).await;
        self.told(sent, "send the status page to")?;
        self.ask("put the status page into", &format!("publish {beside}"), LOOK).await.map(drop)
    }

    /// Has `call` carried out, which is one of `ssh.sh`.
    async fn ask(&self, attempt: &str, call: &str, limit: Duration) -> Result<String, Fault> {
        let script = whole(&format!("root={}\n{CALLS}{call}", quote(&self.folder)));
        self.told(self.ssh.run(&script, limit).await, attempt)
    }

    /// What the machine said. Whatever was cut off can be done again, so it was out of reach and not unclear.
    fn told(&self, said: Result<Output, Broken>, attempt: &str) -> Result<String, Fault> {
        let said = match said {
            Ok(output) => judge::judge(output, false),
            Err(broken) if broken.kind == FaultKind::Unclear => {
                Err((FaultKind::Unreachable, broken.said))
            }
            Err(broken) => Err((broken.kind, broken.said)),
        };
        said.map_err(|why| self.fault(why, attempt))
    }

    fn fault(&self, (kind, said): (FaultKind, String), attempt: &str) -> Fault {
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let attempt = format!("{attempt} {}", self.name);
        Fault { kind, provider: self.provider.clone(), attempt, said: self.kit.mask(&said) }
    }

    /// A word that no other put uses.
    fn word(&self) -> Result<String, Fault> {
        let mut bytes = [0; 9];
        default_provider().secure_random.fill(&mut bytes).map_err(|_| {
            let said = "this machine gives no random bytes".to_owned();
            self.fault((FaultKind::Unreachable, said), "write into")
        })?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// What was put into the folder before.
struct Held {
    /// By the list that lies there.
    listed: BTreeSet<String>,
    /// What the files there are now.
    hashes: BTreeMap<String, String>,
}

impl Held {
    /// What `look` wrote: the list, a line of its own, and `HASH  PATH` of each file that is there.
    fn read(text: &str) -> Self {
        let (list, hashes) = text.split_once(THEN).unwrap_or((text, ""));
        let listed = list.lines().filter(|path| stays_within(path)).map(str::to_owned).collect();
        let pair = |line: &str| {
            let (hash, path) = line.split_once("  ")?;
            Some((path.to_owned(), hash.to_owned()))
        };
        Self { listed, hashes: hashes.lines().filter_map(pair).collect() }
    }
}

/// Whether `path` leads to nothing outside: the list lies where others may write.
fn stays_within(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|p| matches!(p, Component::Normal(_)))
}

/// What has to be done there.
struct Change {
    /// Which files are written, in their order.
    moves: Vec<String>,
    /// Which are taken away.
    gone: Vec<String>,
    /// What is there afterwards.
    list: BTreeSet<String>,
    /// What may be there meanwhile.
    union: BTreeSet<String>,
}

impl Change {
    fn of(held: &Held, files: &Files) -> Self {
        let differs = |(path, bytes): &(&String, &Vec<u8>)| {
            held.hashes.get(*path).is_none_or(|hash| *hash != hex(&Sha256::digest(bytes)))
        };
        let paths = files.iter().filter(differs).map(|(path, _)| path.clone());
        let (late, early): (Vec<_>, Vec<_>) = paths.partition(|path| path.ends_with(FIRST));
        let list: BTreeSet<String> = files.keys().cloned().collect();
        Self {
            moves: early.into_iter().chain(late).collect(),
            gone: held.listed.difference(&list).cloned().collect(),
            union: held.listed.union(&list).cloned().collect(),
            list,
        }
    }

    /// All that `publish` needs, packed: each file under its number, and what has to be done with them.
    fn pack(&self, files: &Files) -> io::Result<Vec<u8>> {
        let lines = |paths: &mut dyn Iterator<Item = &String>| {
            paths.map(|path| format!("{path}\n")).collect::<String>().into_bytes()
        };
        let numbered = self.moves.iter().enumerate();
        let moves = numbered.clone().map(|(n, path)| format!("{n} {path}\n")).collect::<String>();
        let orders = [
            ("moves", moves.into_bytes()),
            ("gone", lines(&mut self.gone.iter())),
            ("list", lines(&mut self.list.iter())),
            ("union", lines(&mut self.union.iter())),
        ];
        let sent = numbered.filter_map(|(n, path)| Some((n.to_string(), files.get(path)?)));
        let mut all: Vec<(String, &[u8])> =
            sent.map(|(name, bytes)| (name, bytes.as_slice())).collect();
        all.extend(orders.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.as_slice())));
        let sums =
            all.iter().map(|(name, bytes)| format!("{}  {name}\n", hex(&Sha256::digest(bytes))));
        let sums = sums.collect::<String>();
        all.push(("sums".to_owned(), sums.as_bytes()));
        archive::pack(&all)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[track_caller]
    fn check(held: &str, wanted: &[(&str, &str)], moves: &[&str], gone: &[&str]) {
        let change = Change::of(&Held::read(held), &files(wanted));
        assert_eq!(
            (change.moves, change.gone),
            (
                moves.iter().map(|&path| path.to_owned()).collect(),
                gone.iter().map(|&path| path.to_owned()).collect(),
            )
        );
    }

    /// Of `a`.
    const A: &str = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

    #[test]
    fn what_differs_is_written_and_what_people_come_to_is_last() {
        let page = [("index.html", "a"), ("de/index.html", "a"), ("z.html", "b")];
        check("\n--\n", &page, &["z.html", "de/index.html", "index.html"], &[]);
        let held = format!("index.html\nz.html\nold.html\n\n--\n{A}  index.html\n{A}  z.html\n");
        check(&held, &page, &["z.html", "de/index.html"], &["old.html"]);
    }

    #[test]
    fn a_list_that_was_tampered_with_takes_nothing_away_elsewhere() {
        check("../other\n/etc/passwd\n\n--\n", &[], &[], &[]);
    }
}
