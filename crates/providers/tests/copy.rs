//! Copying images between registries: Debian's `docker-registry`, and the rehearsal's.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Method;
use linkflow_model::role::Registry;
use linkflow_model::{FaultKind, ImageRef, PinnedImage, Secret};
use linkflow_providers::kit::{Account, Auth, Call, Limiter, Vendor};
use linkflow_providers::registry::{Credentials, Oci, Settings};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::canned::{Canned, Reply};
use super::lossy::Lossy;
use super::stage::{Stage, kit};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The user `robot` with the password `the-password` (bcrypt).
const HTPASSWD: &str = "robot:$2y$05$abcdefghijklmnopqrstuu.znb4r.2SiHQeF.pCKpDSFBaTOrRZqq\n";

/// A registry of Debian's. It ends when dropped.
struct Distribution {
    host: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Distribution {
    /// Starts one on a free port; `None` when this machine has none.
    async fn start(with_login: bool) -> Option<Self> {
        if !std::path::Path::new("/usr/bin/docker-registry").exists() {
            eprintln!("not tested: there is no docker-registry here");
            return None;
        }
        loop {
            let folder = tempfile::tempdir().unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let root = folder.path().display();
            let mut config = format!(
                "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {root}/data }} }}\nhttp: {{ addr: \"127.0.0.1:{port}\" }}\n"
            );
            if with_login {
                std::fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
                config +=
                    &format!("auth: {{ htpasswd: {{ realm: test, path: {root}/htpasswd }} }}\n");
            }
            let file = folder.path().join("config.yml");
            std::fs::write(&file, config).unwrap();
            let mut command = Command::new("/usr/bin/docker-registry");
            command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            let host = format!("127.0.0.1:{port}");
            // Somebody else may have taken the port meanwhile: then it ends, and the next one is tried.
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(&host).is_ok() {
                    return Some(Self { host, child, _folder: folder });
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.host)
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn digest(bytes: &[u8]) -> String {
    let sum: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{sum}")
}

fn basic() -> Auth {
    // robot:the-password
    Auth {
        header: "authorization",
        scheme: "Basic ",
        value: Secret::new("cm9ib3Q6dGhlLXBhc3N3b3Jk"),
    }
}

fn client(base: &str) -> Vendor {
    kit(None).vendor(Account {
        provider: "registry".parse().unwrap(),
        spec: "oci",
        production: base.to_owned(),
        base: base.to_owned(),
        auth: Some(basic()),
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide: |_| {},
    })
}

/// Pushes a blob as a client of its own does, in one request.
async fn push_blob(vendor: &Vendor, repository: &str, bytes: Vec<u8>) -> String {
    let digest = digest(&bytes);
    let path = format!("/v2/{repository}/blobs/uploads/");
    let begun = vendor.send(Call::write(Method::POST, "begin", "", path)).await.unwrap();
    let location = begun.header("location").unwrap().to_owned();
    let path = location
        .split_once("//")
        .map_or(location.as_str(), |(_, rest)| &rest[rest.find('/').unwrap()..]);
    let call = Call::write(Method::PUT, "push", "", path).query("digest", &digest);
    vendor.send(call.bytes("application/octet-stream", bytes)).await.unwrap();
    digest
}

/// An image with a layer of `size` bytes at `registry`.
async fn push(registry: &Distribution, repository: &str, size: usize) -> PinnedImage {
    let vendor = client(&registry.url());
    let layer: Vec<u8> = (0..size).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
    let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": {} }).to_string();
    let config_size = config.len();
    let layer = push_blob(&vendor, repository, layer).await;
    let config = push_blob(&vendor, repository, config.into_bytes()).await;
    let body = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size }],
    });
    let bytes = body.to_string().into_bytes();
    let name = digest(&bytes);
    let path = format!("/v2/{repository}/manifests/1.0");
    vendor.send(Call::write(Method::PUT, "push", "", path).bytes(MANIFEST, bytes)).await.unwrap();
    format!("{}/{repository}@{name}", registry.host).parse().unwrap()
}

fn oci(logins: &[(&str, &str)]) -> Oci {
    let login = |(host, password): &(&str, &str)| {
        let password = Secret::new(*password);
        ((*host).to_owned(), Credentials { user: "robot".to_owned(), password })
    };
    let credentials = logins.iter().map(login).collect();
    let settings = Settings { credentials, ..Settings::default() };
    Oci::open(settings, &kit(None), &"registry".parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_bigger_than_anything_that_is_held_is_copied_to_a_registry_with_a_login() {
    let Some(from) = Distribution::start(false).await else { return };
    let Some(to) = Distribution::start(true).await else { return };
    // The client holds no more than 16 MB of an answer.
    let image = push(&from, "acme/api", 24 << 20).await;
    let target: ImageRef = format!("{}/copies/api:1.0", to.host).parse().unwrap();
    let oci = oci(&[(&to.host, "the-password")]);
    oci.copy(&image, &target).await.unwrap();
    let facts = oci.inspect(&target).await.unwrap();
    assert_eq!(facts.digest, image.digest, "what is copied keeps its digest");
    assert_eq!((facts.bytes, facts.private), (24 << 20, true));
    assert_eq!(facts.platforms, ["linux/amd64"]);
    // The other one lets everybody in.
    let source: ImageRef = image.to_string().parse().unwrap();
    assert!(!oci.inspect(&source).await.unwrap().private);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_denied_with_what_is_due() {
    let Some(registry) = Distribution::start(true).await else { return };
    let image = push(&registry, "acme/api", 1_000).await;
    let source: ImageRef = image.to_string().parse().unwrap();
    let fault = oci(&[(&registry.host, "wrong")]).inspect(&source).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(fault.said.contains("does not let `robot` pull it"), "{fault}");
    let fault = oci(&[]).resolve(&source).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(fault.said.contains("without a login"), "{fault}");
    let target = format!("{}/acme/copy", registry.host).parse().unwrap();
    let fault = oci(&[(&registry.host, "wrong")]).copy(&image, &target).await.unwrap_err();
    assert!(fault.said.contains("does not let `robot` push to it"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_tag_and_a_missing_repository_are_told_apart() {
    let Some(registry) = Distribution::start(false).await else { return };
    push(&registry, "acme/api", 1_000).await;
    let said = async |image: &str| {
        let image: ImageRef = format!("{}/{image}", registry.host).parse().unwrap();
        let fault = oci(&[]).resolve(&image).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Missing);
        fault.said.replace(&registry.host, "HOST")
    };
    assert_eq!(said("acme/api:2.0").await, "HOST has no `2.0` in acme/api, only 1.0");
    assert_eq!(said("acme/web:1.0").await, "HOST has no repository acme/web");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_within_a_registry_moves_no_bytes_and_a_second_copy_asks_once() {
    let Some(registry) = Distribution::start(false).await else { return };
    let image = push(&registry, "acme/api", 1_000).await;
    let way = Lossy::to(&registry.url()).await;
    let settings = Settings { base: Some(way.url.clone()), ..Settings::default() };
    let oci = Oci::open(settings, &kit(None), &"registry".parse().unwrap());
    let target: ImageRef = format!("{}/copies/api", registry.host).parse().unwrap();
    oci.copy(&image, &target).await.unwrap();
    assert_eq!(way.writes(), 3, "two blobs are mounted, one manifest is put");
    oci.copy(&image, &target).await.unwrap();
    assert_eq!(way.writes(), 3);
    let pinned = target.at(image.digest.clone());
    let pinned: ImageRef = pinned.to_string().parse().unwrap();
    assert_eq!(oci.resolve(&pinned).await.unwrap(), image.digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_cut_off_goes_on_where_it_was() {
    let Some(from) = Distribution::start(false).await else { return };
    let Some(to) = Distribution::start(false).await else { return };
    let image = push(&from, "acme/api", 100_000).await;
    let way = Lossy::to(&to.url()).await;
    let settings =
        Settings { bases: [(to.host.clone(), way.url.clone())].into(), ..Settings::default() };
    let oci = Oci::open(settings, &kit(None), &"registry".parse().unwrap());
    let target: ImageRef = format!("{}/copies/api", to.host).parse().unwrap();
    // Each blob costs two writes, a beginning and an upload; the manifest costs one. What had arrived before its answer
    // was lost is not sent again.
    for (answered, writes) in [(0, 1), (1, 3), (1, 5), (0, 6)] {
        way.lose_after(answered);
        let fault = oci.copy(&image, &target).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unclear, "{fault}");
        assert!(way.has_lost());
        assert_eq!(way.writes(), writes);
    }
    oci.copy(&image, &target).await.unwrap();
    assert_eq!(way.writes(), 6);
    let pinned: ImageRef = target.at(image.digest.clone()).to_string().parse().unwrap();
    assert_eq!(oci.resolve(&pinned).await.unwrap(), image.digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_what_its_digest_says_is_never_taken_in() {
    let Some(to) = Distribution::start(false).await else { return };
    let (config, layer) = (b"{}".to_vec(), b"the layer".to_vec());
    let body = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "digest": digest(&config), "size": config.len() },
        "layers": [{ "digest": digest(&layer), "size": layer.len() }],
    });
    let bytes = body.to_string().into_bytes();
    let image: PinnedImage = format!("ghcr.io/acme/api@{}", digest(&bytes)).parse().unwrap();
    let broken = digest(&layer);
    let server = Canned::start(move |asked| {
        let header = |kind: &str| vec![("content-type", kind.to_owned())];
        if asked.path.ends_with(&broken) {
            return Reply::Answer(200, header("application/octet-stream"), b"another.!".to_vec());
        }
        if asked.path.contains("/blobs/") {
            return Reply::Answer(200, header("application/octet-stream"), config.clone());
        }
        Reply::Answer(200, header(MANIFEST), bytes.clone())
    })
    .await;
    let settings = Settings {
        bases: [("ghcr.io".to_owned(), server.url.clone())].into(),
        ..Settings::default()
    };
    let oci = Oci::open(settings, &kit(None), &"registry".parse().unwrap());
    let target: ImageRef = format!("{}/copies/api", to.host).parse().unwrap();
    let fault = oci.copy(&image, &target).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
    assert!(fault.said.contains(&format!("is not {}", digest(&layer))), "{fault}");
    let pinned: ImageRef = target.at(image.digest.clone()).to_string().parse().unwrap();
    assert_eq!(oci.resolve(&pinned).await.unwrap_err().kind, FaultKind::Missing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rehearsals_registry_keeps_private_images_to_its_login_and_says_what_is_not_for_these_machines()
 {
    let stage = Stage::start(&[]).await;
    let (login, base) = (stage.endpoints.registry_login.clone(), stage.endpoints.registry.clone());
    let open = |password: Option<&str>| {
        let credentials = password.map(|password| {
            let password = Secret::new(password);
            ("ghcr.io".to_owned(), Credentials { user: login.user.clone(), password })
        });
        let credentials = credentials.into_iter().collect();
        let settings = Settings { base: Some(base.clone()), credentials, ..Settings::default() };
        Oci::open(settings, &stage.kit, &"registry".parse().unwrap())
    };
    let api: ImageRef = "ghcr.io/acme/linkflow/api:1.0".parse().unwrap();
    let facts = open(Some(&login.password)).inspect(&api).await.unwrap();
    assert!(!facts.private && facts.bytes > 0 && facts.index.is_none());
    stage.cloud.make_private("acme/linkflow/api");
    assert!(open(Some(&login.password)).inspect(&api).await.unwrap().private);
    for refused in [open(None), open(Some("wrong"))] {
        let fault = refused.inspect(&api).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Denied);
        assert!(fault.said.contains("read:packages"), "{fault}");
    }
    let arm: ImageRef = "ghcr.io/acme/linkflow/engine-timer:arm-only".parse().unwrap();
    let fault = open(None).inspect(&arm).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert_eq!(fault.said, "it has no linux/amd64 image, only linux/arm64");
    // Pushing wants the login too, and then the whole of an image comes along, by tag and by digest.
    let pinned = api.at(facts.digest.clone());
    let target: ImageRef = "ghcr.io/acme/copies/api:kept".parse().unwrap();
    assert_eq!(open(None).copy(&pinned, &target).await.unwrap_err().kind, FaultKind::Denied);
    let oci = open(Some(&login.password));
    oci.copy(&pinned, &target).await.unwrap();
    assert_eq!(oci.resolve(&target).await.unwrap(), facts.digest);
    let recorded = serde_json::to_string(&stage.recording()).unwrap();
    assert!(!recorded.contains(&login.password) && !recorded.contains("the image"));
    stage.stop().await;
}
