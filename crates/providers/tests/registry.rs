//! Resolving images at registries, which differ in what they ask for and in what they have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use linkflow_model::role::Registry;
use linkflow_model::{Fault, FaultKind, Secret};
use linkflow_providers::registry::{Credentials, Oci, Settings};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::canned::{Asked, Canned, Reply};
use super::stage::kit;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn digest(bytes: &[u8]) -> String {
    let sum: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{sum}")
}

/// The answer that has `manifest`, with the header that names its digest.
fn manifest(kind: &str, manifest: &Value) -> Reply {
    let body = manifest.to_string().into_bytes();
    let name = digest(&body);
    let headers = vec![("content-type", kind.to_owned()), ("docker-content-digest", name)];
    Reply::Answer(200, headers, body)
}

fn plain() -> Value {
    json!({ "schemaVersion": 2, "config": {}, "layers": [] })
}

fn oci(base: &str, host: &str, user: Option<&str>) -> Oci {
    let password = Secret::new("the-password");
    let credentials =
        user.map(|user| (host.to_owned(), Credentials { user: user.to_owned(), password }));
    let settings = Settings {
        base: Some(base.to_owned()),
        credentials: credentials.into_iter().collect(),
        ..Settings::default()
    };
    Oci::open(settings, &kit(None), &"registry".parse().unwrap())
}

async fn resolve(base: &str, image: &str) -> Result<String, Fault> {
    let found = oci(base, "ghcr.io", None).resolve(&image.parse().unwrap()).await;
    found.map(|digest| digest.to_string())
}

#[tokio::test]
async fn a_tag_is_resolved_with_one_request_that_takes_every_kind() {
    let server = Canned::start(|_| manifest(MANIFEST, &plain())).await;
    let found = resolve(&server.url, "ghcr.io/acme/api:1.4").await.unwrap();
    assert_eq!(found, digest(plain().to_string().as_bytes()));
    assert_eq!(server.lines(), ["HEAD /v2/acme/api/manifests/1.4"]);
    let asked = server.asked();
    let accept = asked[0].header("accept").unwrap();
    assert_eq!(accept.split(", ").count(), 4, "{accept}");
}

#[tokio::test]
async fn no_tag_means_latest_and_docker_hub_keeps_its_own_images_in_library() {
    let server = Canned::start(|_| manifest(MANIFEST, &plain())).await;
    resolve(&server.url, "redis").await.unwrap();
    resolve(&server.url, "acme/api").await.unwrap();
    let expected =
        ["HEAD /v2/library/redis/manifests/latest", "HEAD /v2/acme/api/manifests/latest"];
    assert_eq!(server.lines(), expected);
}

fn index(platforms: &[&str]) -> Value {
    let row = |platform: &&str| {
        let (os, architecture) = platform.split_once('/').unwrap();
        json!({
            "mediaType": MANIFEST, "size": 1, "digest": digest(platform.as_bytes()),
            "platform": { "os": os, "architecture": architecture },
        })
    };
    json!({ "schemaVersion": 2, "manifests": platforms.iter().map(row).collect::<Vec<_>>() })
}

#[tokio::test]
async fn an_index_is_resolved_to_its_image_for_linux_amd64() {
    let all = ["unknown/unknown", "linux/arm64", "linux/amd64"];
    let server = Canned::start(move |_| manifest(INDEX, &index(&all))).await;
    let found = resolve(&server.url, "ghcr.io/acme/api:1.4").await.unwrap();
    assert_eq!(found, digest(b"linux/amd64"));
}

#[tokio::test]
async fn an_index_without_linux_amd64_is_refused_with_what_it_has() {
    let server = Canned::start(|_| manifest(INDEX, &index(&["linux/arm64", "unknown/unknown"])));
    let fault = resolve(&server.await.url, "ghcr.io/acme/api:1.4").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert_eq!(fault.said, "it has no linux/amd64 image, only linux/arm64");
}

#[tokio::test]
async fn a_missing_image_is_missing_also_when_a_digest_is_given() {
    let gone = json!({ "errors": [{ "code": "MANIFEST_UNKNOWN", "message": "manifest unknown" }] });
    let server = Canned::start(move |_| Reply::json(404, &gone)).await;
    for image in ["acme/api:9".to_owned(), format!("acme/api@{}", digest(b"x"))] {
        let fault = resolve(&server.url, &format!("ghcr.io/{image}")).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Missing);
    }
}

#[tokio::test]
async fn another_manifest_than_the_one_asked_for_is_refused() {
    let server = Canned::start(|_| manifest(MANIFEST, &plain())).await;
    let image = format!("ghcr.io/acme/api@{}", digest(b"another"));
    assert_eq!(resolve(&server.url, &image).await.unwrap_err().kind, FaultKind::Invalid);
    // Without the header the digest is computed.
    let body = plain().to_string().into_bytes();
    let silent = move |_: &Asked| {
        Reply::Answer(200, vec![("content-type", MANIFEST.to_owned())], body.clone())
    };
    let server = Canned::start(silent).await;
    let found = resolve(&server.url, "ghcr.io/acme/api:1").await.unwrap();
    assert_eq!(found, digest(plain().to_string().as_bytes()));
    assert_eq!(server.lines().len(), 2);
}

/// A registry that wants a token, which its token service gives to whoever is `allowed`.
async fn guarded(allowed: Option<&'static str>) -> Canned {
    let given = Arc::new(AtomicUsize::new(0));
    Canned::start(move |asked| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            if asked.header("authorization") != allowed {
                return Reply::json(403, &json!({ "errors": [{ "code": "DENIED" }] }));
            }
            let number = given.fetch_add(1, Ordering::SeqCst);
            return Reply::json(200, &json!({ "token": format!("pull-token-{number}") }));
        }
        if asked.header("authorization") == Some("Bearer pull-token-0") {
            return manifest(MANIFEST, &plain());
        }
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"ghcr.io\",scope=\"repository:acme/api:pull\"");
        Reply::json(401, &json!({ "errors": [] })).with("www-authenticate", &challenge)
    })
    .await
}

#[tokio::test]
async fn a_token_is_fetched_when_asked_for_and_used_again() {
    let server = guarded(None).await;
    let oci = oci(&server.url, "ghcr.io", None);
    for tag in ["1", "2"] {
        oci.resolve(&format!("ghcr.io/acme/api:{tag}").parse().unwrap()).await.unwrap();
    }
    let expected = [
        "HEAD /v2/acme/api/manifests/1",
        "GET /token?service=ghcr.io&scope=repository%3Aacme%2Fapi%3Apull",
        "HEAD /v2/acme/api/manifests/1",
        "HEAD /v2/acme/api/manifests/2",
    ];
    assert_eq!(server.lines(), expected);
}

#[tokio::test]
async fn credentials_go_to_the_token_service_of_their_registry_only() {
    let allowed = Some("Basic cm9ib3Q6dGhlLXBhc3N3b3Jk");
    let server = guarded(allowed).await;
    let image = "ghcr.io/acme/api:1".parse().unwrap();
    oci(&server.url, "ghcr.io", Some("robot")).resolve(&image).await.unwrap();
    assert!(server.asked().iter().all(|asked| {
        asked.path.starts_with("/token") == (asked.header("authorization") == allowed)
    }));
    let server = guarded(allowed).await;
    let refused = oci(&server.url, "quay.io", Some("robot")).resolve(&image).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Denied);
    assert!(server.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn a_single_image_is_known_by_its_configuration_which_is_fetched_without_the_token_elsewhere()
{
    let config = json!({ "os": "linux", "architecture": "arm64" }).to_string().into_bytes();
    let name = digest(&config);
    let blob = config.clone();
    let elsewhere = Canned::start(move |_| {
        Reply::Answer(
            200,
            vec![("content-type", "application/octet-stream".to_owned())],
            blob.clone(),
        )
    })
    .await;
    let body = json!({
        "schemaVersion": 2, "config": { "digest": name, "size": config.len() },
        "layers": [{ "digest": digest(b"1"), "size": 30 }, { "digest": digest(b"2"), "size": 12 }],
    });
    let target = format!("{}/bucket/blob?signature=s1gn3d", elsewhere.url);
    let server = Canned::start(move |asked| {
        if asked.header("authorization").is_none() {
            let challenge = "Basic realm=\"x\"";
            return Reply::json(401, &json!({ "errors": [] })).with("www-authenticate", challenge);
        }
        match asked.path.contains("/blobs/") {
            true => Reply::json(307, &json!({})).with("location", &target),
            false => manifest(MANIFEST, &body),
        }
    })
    .await;
    let image = "ghcr.io/acme/api:1".parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("recording.ndjson");
    let credentials =
        Credentials { user: "robot".to_owned(), password: Secret::new("the-password") };
    let settings = Settings {
        base: Some(server.url.clone()),
        credentials: [("ghcr.io".to_owned(), credentials)].into(),
        ..Settings::default()
    };
    let kit = kit(Some(recording.clone()));
    let oci = Oci::open(settings, &kit, &"registry".parse().unwrap());
    let fault = oci.inspect(&image).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert_eq!(fault.said, "it has no linux/amd64 image, only linux/arm64");
    let recorded = std::fs::read_to_string(recording).unwrap();
    assert!(recorded.contains("/bucket/blob?***") && !recorded.contains("s1gn3d"), "{recorded}");
    assert!(!recorded.contains("arm64"), "blobs are not recorded");
    let asked = elsewhere.asked();
    assert_eq!(asked[0].line(), "GET /bucket/blob?signature=s1gn3d");
    assert_eq!(asked[0].header("authorization"), None, "nobody else is told who asks");
    let last = server.asked().pop().unwrap();
    assert!(last.path.contains("/blobs/") && last.header("authorization").is_some());
}

#[tokio::test]
async fn an_index_is_told_with_all_that_it_has_and_the_size_of_ours() {
    let own = json!({ "schemaVersion": 2, "config": {}, "layers": [{ "digest": digest(b"1"), "size": 30 }, { "digest": digest(b"2"), "size": 12 }] });
    let bytes = own.to_string().into_bytes();
    let ours = digest(&bytes);
    let (named, path) = (ours.clone(), format!("/v2/acme/api/manifests/{ours}"));
    let server = Canned::start(move |asked| {
        if asked.path == path {
            return manifest(MANIFEST, &own);
        }
        let mut index = index(&["linux/arm64", "linux/amd64", "unknown/unknown"]);
        index["manifests"][1]["digest"] = json!(named);
        manifest(INDEX, &index)
    })
    .await;
    let image = "ghcr.io/acme/api:1".parse().unwrap();
    let facts = oci(&server.url, "ghcr.io", None).inspect(&image).await.unwrap();
    assert_eq!(facts.digest.as_str(), ours);
    assert!(facts.index.is_some_and(|index| index != facts.digest));
    assert_eq!(facts.platforms, ["linux/arm64", "linux/amd64"]);
    assert_eq!((facts.bytes, facts.private), (42, false));
}

#[tokio::test]
async fn docker_hub_says_in_its_own_way_that_it_was_asked_too_often() {
    let server = Canned::start(|_| {
        let said = "You have reached your pull rate limit.";
        let body = json!({ "errors": [{ "code": "TOOMANYREQUESTS", "message": said }] });
        Reply::json(429, &body).with("ratelimit-limit", "100;w=21600").with("retry-after", "900")
    })
    .await;
    let fault = resolve(&server.url, "acme/api:1").await.unwrap_err();
    let wait = std::time::Duration::from_secs(900);
    assert_eq!(fault.kind, FaultKind::Limited { wait });
    assert!(fault.said.contains("docker.io was asked too often"), "{fault}");
    assert!(fault.said.ends_with("with a login it allows more"), "{fault}");
}
