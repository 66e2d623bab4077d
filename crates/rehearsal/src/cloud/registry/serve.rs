//! Manifests, blobs, uploads and tags, for whoever was let in.

use bytes::Bytes;
use linkflow_model::Digest;
use serde_json::{Value, json};

use super::gate::{refusal, repository};
use super::{Images, Stored, image};
use crate::cloud::answer::{Answer, Call};

impl Images {
    /// Answers one request of somebody who may do that.
    pub(crate) fn serve(&self, call: &Call) -> Answer {
        if matches!(call.path.as_str(), "/v2" | "/v2/") {
            return Answer::json(200, &json!({}))
                .with("docker-distribution-api-version", "registry/2.0");
        }
        let Some(name) = repository(&call.path) else {
            return refusal(
                404,
                "NAME_UNKNOWN",
                "repository name not known to registry",
                &Value::Null,
            );
        };
        let rest = call.path[4 + name.len()..].split('/').filter(|part| !part.is_empty());
        let rest: Vec<&str> = rest.collect();
        match (call.method.as_str(), rest.as_slice()) {
            ("GET" | "HEAD", ["manifests", reference]) => self.manifest(name, reference),
            ("PUT", ["manifests", reference]) => self.put_manifest(call, name, reference),
            ("GET", ["tags", "list"]) => self.tags(name),
            ("POST", ["blobs", "uploads"]) => self.begin(call, name),
            ("PATCH" | "PUT", ["blobs", "uploads", id]) => self.go_on(call, name, id),
            ("GET" | "HEAD", ["blobs", digest]) => self.blob(name, digest),
            _ => refusal(405, "UNSUPPORTED", "the operation is unsupported", &Value::Null),
        }
    }

    fn manifest(&self, name: &str, reference: &str) -> Answer {
        let shelf = self.read();
        let digest = match reference.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => shelf.tags.get(&(name.to_owned(), reference.to_owned())).cloned(),
        };
        let held = digest.and_then(|digest| {
            let stored = shelf.manifests.get(&(name.to_owned(), digest.clone()))?;
            Some((digest, stored))
        });
        match held {
            Some((digest, stored)) => Answer::bytes(200, &stored.kind, stored.bytes.clone())
                .with("docker-content-digest", digest.as_str()),
            None => {
                let detail = json!({ "reference": reference });
                refusal(404, "MANIFEST_UNKNOWN", "manifest unknown", &detail)
            }
        }
    }

    /// Takes a manifest in. Everything that it names has to be there.
    fn put_manifest(&self, call: &Call, name: &str, reference: &str) -> Answer {
        let wrong = |code: &str, message: &str| refusal(400, code, message, &Value::Null);
        let Some(body @ Value::Object(_)) = call.json() else {
            return wrong("MANIFEST_INVALID", "manifest invalid");
        };
        let digest = image::hash(&call.body);
        let asked = reference.parse::<Digest>();
        if asked.as_ref().is_ok_and(|asked| *asked != digest) {
            return wrong("DIGEST_INVALID", "provided digest did not match uploaded content");
        }
        let mut shelf = self.write();
        let is_there = |part: &Value, manifests: bool| {
            let named = part["digest"].as_str().and_then(|text| text.parse::<Digest>().ok());
            named.is_some_and(|digest| match manifests {
                true => shelf.manifests.contains_key(&(name.to_owned(), digest)),
                false => shelf.blobs.contains_key(&(name.to_owned(), digest)),
            })
        };
        let list = |field: &str| body[field].as_array().into_iter().flatten();
        let blobs = list("layers").chain(body.get("config")).all(|part| is_there(part, false));
        if !blobs || !list("manifests").all(|part| is_there(part, true)) {
            return wrong(
                "MANIFEST_BLOB_UNKNOWN",
                "manifest references a manifest or blob unknown to registry",
            );
        }
        let kind = call.header("content-type").unwrap_or_default().to_owned();
        let image = image::read(&call.body);
        let stored = Stored { kind, bytes: call.body.clone(), image };
        shelf.manifests.insert((name.to_owned(), digest.clone()), stored);
        if asked.is_err() {
            shelf.tags.insert((name.to_owned(), reference.to_owned()), digest.clone());
        }
        Answer::empty(201)
            .with("location", &format!("/v2/{name}/manifests/{digest}"))
            .with("docker-content-digest", digest.as_str())
    }

    fn tags(&self, name: &str) -> Answer {
        let shelf = self.read();
        let tags: Vec<&String> =
            shelf.tags.keys().filter(|(own, _)| own == name).map(|(_, tag)| tag).collect();
        if tags.is_empty() && !shelf.manifests.keys().any(|(own, _)| own == name) {
            let detail = json!({ "name": name });
            return refusal(404, "NAME_UNKNOWN", "repository name not known to registry", &detail);
        }
        Answer::json(200, &json!({ "name": name, "tags": tags }))
    }

    fn blob(&self, name: &str, digest: &str) -> Answer {
        let key = digest.parse::<Digest>().ok().map(|digest| (name.to_owned(), digest));
        match key.and_then(|key| self.read().blobs.get(&key).cloned()) {
            Some(bytes) => Answer::bytes(200, "application/octet-stream", bytes)
                .with("docker-content-digest", digest),
            None => {
                let detail = json!({ "digest": digest });
                refusal(404, "BLOB_UNKNOWN", "blob unknown to registry", &detail)
            }
        }
    }

    /// Begins an upload, or takes the blob from another repository that has it.
    fn begin(&self, call: &Call, name: &str) -> Answer {
        let mut shelf = self.write();
        let mount = call.parameter("mount").and_then(|text| text.parse::<Digest>().ok());
        if let (Some(digest), Some(from)) = (mount, call.parameter("from"))
            && !shelf.private.contains(from)
            && let Some(bytes) = shelf.blobs.get(&(from.to_owned(), digest.clone())).cloned()
        {
            shelf.blobs.insert((name.to_owned(), digest.clone()), bytes);
            return stored(name, &digest);
        }
        shelf.begun += 1;
        let id =
            image::hash(format!("upload {}", shelf.begun).as_bytes()).as_str()[7..39].to_owned();
        shelf.uploads.insert(id.clone(), (name.to_owned(), Vec::new()));
        Answer::empty(202)
            .with("location", &format!("/v2/{name}/blobs/uploads/{id}?_state={id}"))
            .with("range", "0-0")
    }

    /// Takes more of an upload in; a `PUT` ends it.
    fn go_on(&self, call: &Call, name: &str, id: &str) -> Answer {
        let mut shelf = self.write();
        let unknown =
            || refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", &Value::Null);
        let Some((_, mut bytes)) = shelf.uploads.remove(id).filter(|(own, _)| own == name) else {
            return unknown();
        };
        bytes.extend_from_slice(&call.body);
        if call.method == http::Method::PATCH {
            let end = bytes.len().saturating_sub(1);
            shelf.uploads.insert(id.to_owned(), (name.to_owned(), bytes));
            return Answer::empty(202)
                .with("location", &format!("/v2/{name}/blobs/uploads/{id}?_state={id}"))
                .with("range", &format!("0-{end}"));
        }
        let asked = call.parameter("digest").and_then(|text| text.parse::<Digest>().ok());
        match asked.filter(|digest| *digest == image::hash(&bytes)) {
            Some(digest) => {
                shelf.blobs.insert((name.to_owned(), digest.clone()), Bytes::from(bytes));
                stored(name, &digest)
            }
            None => refusal(
                400,
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
                &Value::Null,
            ),
        }
    }
}

fn stored(name: &str, digest: &Digest) -> Answer {
    Answer::empty(201)
        .with("location", &format!("/v2/{name}/blobs/{digest}"))
        .with("docker-content-digest", digest.as_str())
}
