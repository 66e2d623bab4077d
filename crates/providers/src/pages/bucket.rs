//! A bucket of an S3-compatible store: R2, B2, `MinIO`, S3 itself.
//!
//! Four requests are made, so they are signed here (AWS Signature Version 4); the vendor's own library is a hundred crates.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use hmac::{Hmac, Mac};
use http::Method;
use linkflow_model::role::{Files, Pages, Put, media_type};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret, Timestamp};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::kit::{Account, Call, Kit, Limiter, Vendor, encode};

/// Says which files of the bucket were put there, with the hash of each.
const LIST: &str = ".linkflow-page";

/// What people come to: it is written last.
const FIRST: &str = "index.html";

/// What browsers are told: old for a moment, and for a day when nothing answers.
const CACHE: &str = "max-age=15, stale-if-error=86400";

/// Which bucket, and who may write there.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub bucket: String,
    /// The address of the store, without a slash at its end.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// The id of the key.
    pub key: Secret,
    /// The secret of the key.
    pub secret: Secret,
}

/// A bucket.
pub struct Bucket {
    settings: Settings,
    name: String,
    vendor: Vendor,
    kit: Kit,
    /// What is there, by its hash; `None` until it was asked for.
    held: Mutex<Option<BTreeMap<String, String>>>,
}

/// Opens the bucket.
pub fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Bucket {
    kit.learn(&settings.secret);
    let vendor = kit.vendor(Account {
        provider: provider.clone(),
        spec: "s3",
        production: settings.endpoint.clone(),
        base: settings.endpoint.clone(),
        auth: None,
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide: |_| {},
    });
    let name = format!("the bucket {}", settings.bucket);
    Bucket { name, settings, vendor, kit: kit.clone(), held: Mutex::default() }
}

#[async_trait]
impl Pages for Bucket {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, files: &Files) -> Result<Put, Fault> {
        let mut guard = self.held.lock().await;
        let mut held = match guard.take() {
            Some(held) => held,
            None => self.list().await?,
        };
        // Until it is known how this ends, nothing is known of what is there: the list is read again.
        let done = self.change(&mut held, files).await?;
        *guard = Some(held);
        Ok(done)
    }
}

impl Bucket {
    /// What was put there, by its own list. A bucket without one must not show something else.
    async fn list(&self) -> Result<BTreeMap<String, String>, Fault> {
        match self.send(Method::GET, "read the list of", LIST, Vec::new()).await {
            Ok(body) => Ok(serde_json::from_slice(&body).unwrap_or_default()),
            Err(fault) if fault.kind == FaultKind::Missing => {
                match self.send(Method::HEAD, "look into", FIRST, Vec::new()).await {
                    Err(fault) if fault.kind == FaultKind::Missing => Ok(BTreeMap::new()),
                    Err(fault) => Err(fault),
                    Ok(_) => {
                        let what = "it has an index.html that LinkFlow did not put there";
                        let attempt = format!("put the status page into {}", self.name);
                        Err(self.vendor.fault(FaultKind::Conflict, attempt, what))
                    }
                }
            }
            Err(fault) => Err(fault),
        }
    }

    async fn change(
        &self,
        held: &mut BTreeMap<String, String>,
        files: &Files,
    ) -> Result<Put, Fault> {
        let wanted: BTreeMap<&String, String> =
            files.iter().map(|(path, bytes)| (path, hex(&Sha256::digest(bytes)))).collect();
        // Noted before anything is written: a put that is cut off leaves no file that nobody knows.
        if files.keys().any(|path| !held.contains_key(path)) {
            for path in files.keys() {
                held.entry(path.clone()).or_default();
            }
            self.note(held).await?;
        }
        let mut done = Put::default();
        let (late, early): (Vec<&String>, Vec<&String>) =
            files.keys().partition(|path| path.ends_with(FIRST));
        for path in early.into_iter().chain(late) {
            let hash = wanted.get(path).cloned().unwrap_or_default();
            if held.get(path) == Some(&hash) {
                continue;
            }
            let bytes = files.get(path).cloned().unwrap_or_default();
            self.send(Method::PUT, "write into", path, bytes).await?;
            held.insert(path.clone(), hash);
            done.written += 1;
        }
        let gone: BTreeSet<String> =
            held.keys().filter(|path| !files.contains_key(*path)).cloned().collect();
        for path in gone {
            match self.send(Method::DELETE, "take away from", &path, Vec::new()).await {
                Ok(_) => done.removed += 1,
                Err(fault) if fault.kind == FaultKind::Missing => {}
                Err(fault) => return Err(fault),
            }
            held.remove(&path);
        }
        if done != Put::default() {
            self.note(held).await?;
        }
        Ok(done)
    }

    async fn note(&self, held: &BTreeMap<String, String>) -> Result<(), Fault> {
        // A map of texts always has a JSON form.
        let body = serde_json::to_vec(held).unwrap_or_default();
        self.send(Method::PUT, "note what is in", LIST, body).await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        action: &'static str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Fault> {
        let parts: Vec<String> = path.split('/').map(encode).collect();
        let at = format!("/{}/{}", encode(&self.settings.bucket), parts.join("/"));
        let hash = hex(&Sha256::digest(&body));
        let stamp = stamp(self.kit.clock().wall());
        let host = self.settings.endpoint.split_once("://").map_or("", |(_, host)| host);
        let host = host.split('/').next().unwrap_or_default();
        let signed = [("host", host), ("x-amz-content-sha256", &hash), ("x-amz-date", &stamp)];
        let signature = self.settings.authorization(&method, &at, &signed, &hash, &stamp);
        let mut call = Call::write(method.clone(), action, &self.name, at)
            .header("x-amz-content-sha256", hash.as_str())
            .header("x-amz-date", stamp.as_str())
            .secret_header("authorization", Secret::new(signature));
        if matches!(method, Method::GET | Method::HEAD) {
            call = call.as_read();
        }
        if method == Method::PUT {
            call = call.header("cache-control", CACHE).bytes(media_type(path), body);
        }
        self.vendor.send(call).await.map(|answer| answer.body)
    }
}

impl Settings {
    /// The `Authorization` of a request (AWS Signature Version 4). `headers` are in the order of their names.
    fn authorization(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
        body_hash: &str,
        stamp: &str,
    ) -> String {
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = headers.iter().map(|(n, v)| format!("{n}:{}\n", v.trim())).collect();
        let request = format!("{method}\n{path}\n\n{lines}\n{names}\n{body_hash}");
        let day = stamp.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let hashed = hex(&Sha256::digest(request.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}");
        let first = format!("AWS4{}", self.secret.expose());
        let steps = [day, self.region.as_str(), "s3", "aws4_request", &text];
        let signature = steps.iter().fold(first.into_bytes(), |key, step| keyed(&key, step));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={}",
            self.key.expose(),
            hex(&signature)
        )
    }
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    // A key of any length is taken, so there is no error to tell.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20261129T140305Z`.
fn stamp(at: Timestamp) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(method: &Method, path: &str, headers: &[(&str, &str)], hash: &str, signature: &str) {
        let settings = Settings {
            bucket: "examplebucket".to_owned(),
            endpoint: "https://s3.amazonaws.com".to_owned(),
            region: "us-east-1".to_owned(),
            key: Secret::new("AKIAIOSFODNN7EXAMPLE"),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        };
        let stamp = "20130524T000000Z";
        let made = settings.authorization(method, path, headers, hash, stamp);
        assert!(made.ends_with(&format!("Signature={signature}")), "{made}");
    }

    /// The examples of the vendor's documentation of the signature.
    #[test]
    fn it_signs_as_the_vendors_examples_do() {
        let host = ("host", "examplebucket.s3.amazonaws.com");
        let date = ("x-amz-date", "20130524T000000Z");
        check(
            &Method::GET,
            "/test.txt",
            &[host, ("range", "bytes=0-9"), ("x-amz-content-sha256", NOTHING), date],
            NOTHING,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        );
        let hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        check(
            &Method::PUT,
            "/test%24file.text",
            &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                host,
                ("x-amz-content-sha256", hash),
                date,
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            hash,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        );
    }
}
