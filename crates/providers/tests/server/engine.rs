//! A machine of a test's own: dockerd, a registry and sshd that are there for it alone, and images in the registry.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use linkflow_model::{PinnedImage, Secret};
use linkflow_providers::compute::server::{self, Place};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::pages::sshd::{self, Keeper, free_port};

/// What somebody who pulls from a registry with a login has to say.
pub(crate) const USER: &str = "puller";
/// See [`USER`].
pub(crate) const PASSWORD: &str = "let-me-$in";

/// `puller:let-me-$in`, as htpasswd writes it.
const HTPASSWD: &str = "puller:$2a$05$abcdefghijklmnopqrstuupBiPWUJn2D4ybRp4uHpEe.N1Q64p1WS\n";

/// How long an old release answers after another one took over: a busy machine may need seconds to ask where it is.
pub(crate) const DRAIN: Duration = Duration::from_secs(15);

/// What a machine is to be like.
#[derive(Default)]
pub(crate) struct Like {
    /// The size of Docker's own disk: `64m`.
    pub(crate) data: Option<&'static str>,
    /// Whether the registry wants a login.
    pub(crate) login: bool,
}

/// The machine. Everything of it ends when this is dropped, and also when the test is killed.
pub(crate) struct Engine {
    keeper: Mutex<Keeper>,
    folder: PathBuf,
    /// No other machine of these tests has it.
    number: u16,
    registry: u16,
    ssh: u16,
    login: bool,
}

impl Engine {
    /// A machine, or why there can be none here.
    pub(crate) fn start(like: &Like) -> Result<Self, String> {
        let not_there = |program: &&str| !is_there(program);
        let needed =
            ["dockerd", "docker", "docker-registry", "docker-compose", "sshd", "ip", "setsid"];
        if let Some(program) = needed.iter().find(|p| not_there(p)) {
            return Err(format!("{program} is not installed"));
        }
        if !is_root() {
            return Err("only root can start dockerd".to_owned());
        }
        program()?;
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("lf{}x{number}", std::process::id());
        // Short: a socket's path has room for 107 bytes.
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let (registry, ssh) = (free_port(), free_port());
        configure(&folder, registry, ssh, like.login);
        let bridge = Ipv4Addr::new(10, 200 + (registry % 50) as u8, (registry / 50 % 250) as u8, 1);
        let keeper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/keeper.sh");
        let (at, bridge) = (folder.to_str().unwrap(), bridge.to_string());
        let keeper = Keeper::start(&keeper, &[at, &name, &bridge, like.data.unwrap_or_default()])?;
        let number = (std::process::id() as u16).wrapping_add(number as u16);
        Ok(Self { keeper: Mutex::new(keeper), folder, number, registry, ssh, login: like.login })
    }

    /// Has the keeper do one of its functions.
    pub(crate) fn tell(&self, word: &str) {
        self.keeper.lock().unwrap().tell(word).unwrap();
    }

    /// What `docker` says.
    pub(crate) fn docker(&self, words: &[&str]) -> String {
        let said =
            Command::new("docker").env("DOCKER_HOST", self.docker_host()).args(words).output();
        let said = said.unwrap();
        assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    pub(crate) fn docker_host(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.display())
    }

    /// A folder for releases.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// The settings of the adapter with SSH.
    pub(crate) fn settings(&self) -> server::Settings {
        server::Settings {
            address: "127.0.0.1".to_owned(),
            port: self.ssh,
            user: "root".to_owned(),
            key: Secret::new(std::fs::read_to_string(self.folder.join("client")).unwrap()),
            host_key: None,
            state: self.folder.join("state"),
            place: self.place(),
        }
    }

    /// On this machine, with ports and times that suit tests.
    pub(crate) fn place(&self) -> Place {
        let from = 10_000 + self.number % 200 * 100;
        Place {
            ports: (from, from + 99),
            drain: DRAIN,
            docker_host: Some(self.docker_host()),
            folder: Some(self.home().to_str().unwrap().to_owned()),
            ..Place::on(Ipv4Addr::LOCALHOST.into())
        }
    }

    /// The fingerprint of the machine's key.
    pub(crate) fn fingerprint(&self) -> String {
        sshd::fingerprint(&self.folder.join("host"))
    }

    /// Another key for the machine, from its next start on.
    pub(crate) fn change_key(&self) {
        std::fs::remove_file(self.folder.join("host")).unwrap();
        sshd::key(&self.folder.join("host"));
    }

    /// `private` for its own key, and `login` for those that may log in, from now on.
    pub(crate) fn be_known_by(&self, private: &str, login: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.tell("stop_ssh");
        let host = self.folder.join("host");
        std::fs::write(&host, private).unwrap();
        std::fs::set_permissions(&host, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(self.folder.join("client.pub"), login).unwrap();
        self.tell("start_ssh");
    }

    /// Puts an image of the app into the registry; `tag` makes it another one, `broken` one that ends at start, and
    /// `padding` that many bytes bigger.
    pub(crate) async fn push(&self, name: &str, tag: &str, padding: usize) -> PinnedImage {
        let repository = format!("acme/linkflow/{name}");
        let base = format!("http://127.0.0.1:{}/v2/{repository}", self.registry);
        let layer = layer(&self.folder, padding);
        let behaviour = if tag == "broken" { "APP=crash" } else { "APP=good" };
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": { "Entrypoint": ["/app"], "Env": [behaviour, format!("IMAGE={name}:{tag}")] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let of = |kind: &str, blob: &[u8]| {
            json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"), "size": blob.len(), "digest": digest(blob),
            })
        };
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind,
            "config": of("config.v1+json", &config), "layers": [of("layer.v1.tar", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        for blob in [layer, config] {
            let held = self.ask(reqwest::Method::HEAD, &format!("{base}/blobs/{}", digest(&blob)));
            if held.send().await.unwrap().status().is_success() {
                continue;
            }
            let begun = self.ask(reqwest::Method::POST, &format!("{base}/blobs/uploads/"));
            let begun = begun.send().await.unwrap().error_for_status().unwrap();
            let at = begun.headers()[LOCATION].to_str().unwrap();
            let at =
                format!("{at}{}digest={}", if at.contains('?') { '&' } else { '?' }, digest(&blob));
            let put = self
                .ask(reqwest::Method::PUT, &at)
                .header(CONTENT_TYPE, "application/octet-stream");
            put.body(blob).send().await.unwrap().error_for_status().unwrap();
        }
        let pinned = digest(&manifest);
        let put = self.ask(reqwest::Method::PUT, &format!("{base}/manifests/{tag}"));
        let put = put.header(CONTENT_TYPE, kind).body(manifest);
        put.send().await.unwrap().error_for_status().unwrap();
        format!("127.0.0.1:{}/{repository}@{pinned}", self.registry).parse().unwrap()
    }

    pub(crate) fn registry(&self) -> String {
        format!("127.0.0.1:{}", self.registry)
    }

    fn ask(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        super::super::stage::kit(None); // TLS has to have its provider before there is a client.
        let request = reqwest::Client::new().request(method, url);
        if self.login { request.basic_auth(USER, Some(PASSWORD)) } else { request }
    }
}

fn is_there(program: &str) -> bool {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folders.iter().any(|folder| Path::new(folder).join(program).exists())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Writes what sshd and the registry read.
fn configure(folder: &Path, registry: u16, ssh: u16, login: bool) {
    sshd::configure(folder, ssh, "");
    let at = folder.display();
    let auth = format!("auth: {{htpasswd: {{realm: test, path: {at}/htpasswd}}}}\n");
    let yml = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {at}/images}}}}\n\
         http: {{addr: \"127.0.0.1:{registry}\"}}\n{}",
        if login { auth.as_str() } else { "" }
    );
    std::fs::write(folder.join("registry.yml"), yml).unwrap();
    std::fs::write(folder.join("htpasswd"), HTPASSWD).unwrap();
}

/// The app, linked so that it needs no library. Compiled once.
fn program() -> Result<PathBuf, String> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let compile = || {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("app-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let options =
            ["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols"];
        let mut rustc = Command::new("rustc");
        rustc
            .current_dir(here)
            .args(options)
            .arg("tests/server/app.rs")
            .arg("-o")
            .arg(folder.join("app"));
        let said = rustc.output().map_err(|e| format!("rustc: {e}"))?;
        match said.status.success() {
            true => Ok(folder.join("app")),
            false => Err(format!("rustc: {}", String::from_utf8_lossy(&said.stderr))),
        }
    };
    PROGRAM.get_or_init(compile).clone()
}

/// A tar with the app, and with `padding` zeros.
fn layer(folder: &Path, padding: usize) -> Vec<u8> {
    let program = program().unwrap();
    let root = folder.join(format!("root{padding}"));
    std::fs::create_dir_all(&root).unwrap();
    std::fs::copy(program, root.join("app")).unwrap();
    std::fs::write(root.join("padding"), vec![0; padding]).unwrap();
    let options = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-c", "app", "padding"];
    let said = Command::new("tar").current_dir(&root).args(options).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    said.stdout
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
