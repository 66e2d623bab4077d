//! Copies an image from one registry to another, blob by blob, without ever holding one.
//!
//! What is there already is not sent again, so a copy that was cut off goes on where it was when it is asked for anew.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Method, StatusCode};
use linkflow_model::{Digest, Fault, FaultKind, ImageRef, PinnedImage};

use super::access::{Access, Place, split};
use super::manifest::{Blob, Manifest};
use super::oci::Oci;
use crate::kit::{Answer, Call, Download, Opened};

/// Registries keep blobs in object stores; two redirects are more than any needs.
const MOST_REDIRECTS: u32 = 5;

/// How long the first byte of a blob may take.
const FIRST_BYTE: Duration = Duration::from_secs(30);

impl Oci {
    /// Has `to` hold what `from` is, the same by digest: blobs, then what names them. Where `to` has a tag, that is set
    /// too. Calling it again sends only what is not there.
    ///
    /// # Errors
    /// A [`Fault`] that says at which of both registries it went wrong, and what to do.
    pub async fn copy(&self, from: &PinnedImage, to: &ImageRef) -> Result<(), Fault> {
        let near = (from.registry == to.registry).then_some(from.repository.as_str());
        self.copy_near(from, to, near).await
    }

    /// As [`Oci::copy`]; blobs that the repository `near` of the target's registry has are taken from there.
    ///
    /// # Errors
    /// As [`Oci::copy`].
    pub async fn copy_near(
        &self,
        from: &PinnedImage,
        to: &ImageRef,
        near: Option<&str>,
    ) -> Result<(), Fault> {
        let source = self.place(&from.registry, &from.repository, from.to_string());
        let target = self.place(&to.registry, &to.repository, to.to_string());
        let way = Way { source, target, near: near.filter(|near| *near != to.repository) };
        if to.digest.as_ref().is_some_and(|digest| *digest != from.digest) {
            let said = format!("a copy of {from} cannot have another digest");
            return Err(way.target.registry.fault(
                FaultKind::Invalid,
                format!("copy to {to}"),
                &said,
            ));
        }
        let reference = to.tag.as_deref().unwrap_or(from.digest.as_str());
        if self.has_manifest(&way.target, reference, &from.digest).await? {
            return Ok(());
        }
        let top = self.manifest(&way.source, from.digest.as_str()).await?;
        for part in top.parts() {
            if !self.has_manifest(&way.target, part.as_str(), &part).await? {
                let image = self.manifest(&way.source, part.as_str()).await?;
                self.copy_image(&way, &image, part.as_str()).await?;
            }
        }
        self.copy_image(&way, &top, reference).await
    }

    /// Copies the blobs of one image, and then the manifest that names them.
    async fn copy_image(&self, way: &Way<'_>, image: &Manifest, name: &str) -> Result<(), Fault> {
        let mut done = BTreeSet::new();
        for blob in image.config().into_iter().chain(image.layers()) {
            if done.insert(blob.digest.clone()) {
                self.copy_blob(way, &blob).await?;
            }
        }
        let target = &way.target;
        let path = format!("/v2/{}/manifests/{name}", target.repository);
        let call = Call::write(Method::PUT, "push", &target.about, path)
            .bytes(&image.kind, image.bytes.clone());
        let answer = self.ask(target, call.clone(), Access::Push).await?;
        let answer = self.told(target, Access::Push, &call, answer).await?;
        match answer.header("docker-content-digest") {
            Some(named) if named != image.digest.as_str() => {
                let said = format!("the registry keeps it as {named}");
                let attempt = format!("push {}", target.about);
                Err(target.registry.fault(FaultKind::Invalid, attempt, &said))
            }
            _ => Ok(()),
        }
    }

    async fn copy_blob(&self, way: &Way<'_>, blob: &Blob) -> Result<(), Fault> {
        let target = &way.target;
        let path = format!("/v2/{}/blobs/{}", target.repository, blob.digest);
        let call = Call::write(Method::HEAD, "look for a blob of", &target.about, path).as_read();
        let answer = self.ask(target, call.clone(), Access::Push).await?;
        if answer.status != StatusCode::NOT_FOUND {
            return self.told(target, Access::Push, &call, answer).await.map(drop);
        }
        let path = format!("/v2/{}/blobs/uploads/", target.repository);
        let mut call = Call::write(Method::POST, "begin to push", &target.about, path);
        if let Some(near) = way.near {
            call = call.query("mount", blob.digest.as_str()).query("from", near);
        }
        let answer = self.ask(target, call.clone(), Access::Push).await?;
        let answer = self.told(target, Access::Push, &call, answer).await?;
        // Created: the registry took the blob from the repository beside it.
        if answer.status == StatusCode::CREATED {
            return Ok(());
        }
        self.send_blob(way, blob, &answer).await
    }

    /// Passes a blob on to where the registry said that it wants it.
    async fn send_blob(&self, way: &Way<'_>, blob: &Blob, begun: &Answer) -> Result<(), Fault> {
        let target = &way.target;
        let wrong = |said: &str| {
            target.registry.fault(FaultKind::Unclear, format!("push {}", target.about), said)
        };
        let location = begun.header("location").map(str::to_owned);
        let location =
            location.ok_or_else(|| wrong("the registry does not say where to send it"))?;
        let (vendor, path, is_same) = self.whither(target, &location);
        let call = Call::write(Method::PUT, "push a blob of", &target.about, path)
            .header("content-type", "application/octet-stream")
            .query("digest", blob.digest.as_str());
        let call = if is_same { self.with_proof(target, call, Access::Push) } else { call };
        let body = self.open_blob(&way.source, blob).await?;
        let upload = body.pass_on(blob.bytes, blob.digest.clone());
        let answer = vendor.upload(&call, upload).await?;
        self.told(target, Access::Push, &call, answer).await.map(drop)
    }

    /// Opens a blob, following redirects. Who asks is told to the registry alone, never to where it redirects.
    pub(super) async fn open_blob(&self, place: &Place, blob: &Blob) -> Result<Download, Fault> {
        let path = format!("/v2/{}/blobs/{}", place.repository, blob.digest);
        let read =
            |path: String| Call::read("read a blob of", &place.about, path).within(FIRST_BYTE);
        let (mut vendor, mut call) = (place.registry.clone(), read(path));
        let mut is_same = true;
        for _ in 0..MOST_REDIRECTS {
            let first = match is_same {
                true => self.with_proof(place, call.clone(), Access::Pull),
                false => call.clone(),
            };
            let mut opened = vendor.open(&first).await?;
            if let Opened::Answer(refused) = &opened
                && refused.status == StatusCode::UNAUTHORIZED
                && is_same
            {
                let proof = self.prove(place, Access::Pull, refused).await?;
                let again = call.clone().secret_header("authorization", proof);
                opened = vendor.open(&again).await?;
            }
            let answer = match opened {
                Opened::Body(body) => return Ok(body),
                Opened::Answer(answer) => answer,
            };
            let location = answer.header("location").map(str::to_owned);
            match location.filter(|_| answer.status.is_redirection()) {
                Some(location) => {
                    let (next, path, stays) = self.whither(place, &location);
                    (vendor, call, is_same) = (next, read(path), stays && is_same);
                }
                None => {
                    self.told(place, Access::Pull, &call, answer).await?;
                    break;
                }
            }
        }
        let attempt = format!("read a blob of {}", place.about);
        Err(place.registry.fault(FaultKind::Unclear, attempt, "it is redirected without end"))
    }

    /// Whom an address within or beyond the registry names, by which path, and whether that is the registry itself.
    fn whither(&self, place: &Place, location: &str) -> (crate::kit::Vendor, String, bool) {
        match split(location) {
            None => (place.registry.clone(), location.to_owned(), true),
            // A registry behind a proxy may name itself without TLS; it is asked the way it was asked before.
            Some((origin, path)) if host_of(origin) == host_of(place.registry.base()) => {
                (place.registry.clone(), path.to_owned(), true)
            }
            Some((origin, path)) => {
                (self.vendor(origin.to_owned(), origin.to_owned()), path.to_owned(), false)
            }
        }
    }

    /// Whether the registry has `digest` under the name `reference`.
    async fn has_manifest(
        &self,
        place: &Place,
        reference: &str,
        digest: &Digest,
    ) -> Result<bool, Fault> {
        let path = format!("/v2/{}/manifests/{}", place.repository, reference);
        let call = Call::write(Method::HEAD, "look up", &place.about, path)
            .as_read()
            .header("accept", super::manifest::ACCEPTED);
        let answer = self.ask(place, call.clone(), Access::Push).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let answer = self.told(place, Access::Push, &call, answer).await?;
        let named = answer.header("docker-content-digest").unwrap_or(reference);
        Ok(named == digest.as_str())
    }
}

fn host_of(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, host)| host)
}

/// From where to where a copy goes.
struct Way<'a> {
    source: Place,
    target: Place,
    /// A repository beside the target that may have the same blobs.
    near: Option<&'a str>,
}
