//! Files in a bucket: what is written, what is left alone, and what is refused.

mod git;
mod ssh;
pub(crate) mod sshd;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use linkflow_model::role::{Files, Pages, Put};
use linkflow_model::{FaultKind, Secret};
use linkflow_providers::pages::bucket;

use super::canned::{Asked, Canned, Reply};
use super::stage::kit;

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A store with one bucket, `status`, which wants every request signed for the body that it has.
async fn store(objects: &Objects) -> Canned {
    let objects = Arc::clone(objects);
    Canned::start(move |asked| answer(&objects, asked)).await
}

fn answer(objects: &Objects, asked: &Asked) -> Reply {
    use sha2::{Digest, Sha256};
    let hash: String = Sha256::digest(&asked.body).iter().map(|b| format!("{b:02x}")).collect();
    let signed = asked.header("authorization").is_some_and(|a| {
        a.starts_with("AWS4-HMAC-SHA256 Credential=key/")
            && a.contains(
                "/auto/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,",
            )
    });
    if !signed || asked.header("x-amz-content-sha256") != Some(&hash) {
        return Reply::Answer(
            403,
            Vec::new(),
            b"<Error><Code>SignatureDoesNotMatch</Code></Error>".to_vec(),
        );
    }
    let Some(path) = asked.path.strip_prefix("/status/") else {
        return Reply::Answer(404, Vec::new(), Vec::new());
    };
    let mut objects = objects.lock().unwrap();
    let (status, body) = match asked.method.as_str() {
        "PUT" => {
            objects.insert(path.to_owned(), asked.body.clone());
            (200, Vec::new())
        }
        "DELETE" => {
            objects.remove(path);
            (204, Vec::new())
        }
        _ => objects.get(path).map_or((404, Vec::new()), |body| (200, body.clone())),
    };
    Reply::Answer(status, Vec::new(), body)
}

fn open(server: &Canned, key: &str) -> bucket::Bucket {
    let settings = bucket::Settings {
        bucket: "status".to_owned(),
        endpoint: server.url.clone(),
        region: "auto".to_owned(),
        key: Secret::new(key),
        secret: Secret::new("secret-that-nobody-sees"),
    };
    bucket::open(settings, &kit(None), &"r2".parse().unwrap())
}

fn files(all: &[(&str, &str)]) -> Files {
    all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn a_bucket_gets_what_differs_and_loses_what_is_no_longer_wanted() {
    let objects = Objects::default();
    let server = store(&objects).await;
    let place = open(&server, "key");
    let first = files(&[("index.html", "a"), ("component/api.html", "b")]);
    assert_eq!(place.put(&first).await.unwrap(), Put { written: 2, removed: 0 });
    let written: Vec<String> = server.lines().into_iter().filter(|l| l.contains(".html")).collect();
    assert_eq!(
        written,
        ["HEAD /status/index.html", "PUT /status/component/api.html", "PUT /status/index.html"],
        "what people come to is last"
    );
    objects.lock().unwrap().insert("other.txt".to_owned(), b"not ours".to_vec());
    let asked = server.lines().len();
    assert_eq!(place.put(&first).await.unwrap(), Put::default());
    assert_eq!(server.lines().len(), asked, "what is there is not asked for again");
    // Another process knows by the bucket's own list.
    let second = files(&[("index.html", "c")]);
    assert_eq!(open(&server, "key").put(&second).await.unwrap(), Put { written: 1, removed: 1 });
    let held = objects.lock().unwrap();
    assert_eq!(held.get("index.html").map(Vec::as_slice), Some(&b"c"[..]));
    assert!(!held.contains_key("component/api.html") && held.contains_key("other.txt"));
}

#[tokio::test]
async fn files_have_their_types_and_how_long_they_may_be_shown() {
    let server = store(&Objects::default()).await;
    let page = files(&[("index.html", "a"), ("badge.svg", "b"), ("feed.atom", "c")]);
    open(&server, "key").put(&page).await.unwrap();
    let asked = server.asked();
    let put =
        |name: &str| asked.iter().find(|a| a.method == "PUT" && a.path.ends_with(name)).unwrap();
    assert_eq!(put("index.html").header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(put("badge.svg").header("content-type"), Some("image/svg+xml"));
    assert!(put("feed.atom").header("cache-control").unwrap().contains("stale-if-error"));
}

#[tokio::test]
async fn a_bucket_that_shows_something_else_and_a_wrong_key_are_refused() {
    let objects = Objects::default();
    objects.lock().unwrap().insert("index.html".to_owned(), b"a shop".to_vec());
    let server = store(&objects).await;
    let page = files(&[("index.html", "a")]);
    let fault = open(&server, "key").put(&page).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Conflict, "{fault}");
    assert_eq!(objects.lock().unwrap()["index.html"], b"a shop");
    let fault = open(&server, "other").put(&page).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    assert!(!fault.to_string().contains("secret-that-nobody-sees"));
}

#[tokio::test]
async fn what_was_cut_off_is_finished_by_the_next_put() {
    let objects = Objects::default();
    let cut = Arc::new(Mutex::new(true));
    let (held, is_cut) = (Arc::clone(&objects), Arc::clone(&cut));
    let server = Canned::start(move |asked| {
        if *is_cut.lock().unwrap() && asked.method == "PUT" && asked.path.ends_with("index.html") {
            return Reply::Answer(503, Vec::new(), Vec::new());
        }
        answer(&held, asked)
    })
    .await;
    let place = open(&server, "key");
    let page = files(&[("index.html", "a"), ("404.html", "b")]);
    assert!(place.put(&page).await.is_err());
    *cut.lock().unwrap() = false;
    place.put(&page).await.unwrap();
    assert_eq!(objects.lock().unwrap()["index.html"], b"a");
    assert!(objects.lock().unwrap().contains_key("404.html"));
}
