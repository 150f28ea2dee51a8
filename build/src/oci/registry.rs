//! One repository of a registry.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use ureq::http::{Method, Response};

use super::auth::{Credentials, ENV_PASSWORD, ENV_USER};
use super::http::{Body, Client, Refusal, read_document};
use super::model::{self, Descriptor, EMPTY, EMPTY_BYTES, INDEX, Index, MANIFEST, Manifest, OciDigest};
use super::reference::Reference;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fetch::http::pause;

/// How long a registry is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Somebody asked for this: several tries, a minute each.
    Long,
    /// There is another way: one try, and seconds.
    Short,
}

impl Patience {
    fn tries(self) -> u32 {
        match self {
            Self::Long => 5,
            Self::Short => 1,
        }
    }
}

/// How a repository is used.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Whether anything will be pushed.
    pub push: bool,
    /// Plain HTTP to a registry that is not on this machine, too.
    pub plain_http: bool,
    /// How long it is waited for.
    pub patience: Patience,
}

/// A manifest, and what names it.
#[derive(Debug, Clone)]
pub struct Pulled<T> {
    /// Its digest, computed from the bytes that came.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// What they say.
    pub document: T,
}

/// The slowest that a registry may be in a download of [`Patience::Short`], in bytes a second.
const SLOWEST: u64 = 256 << 10;
/// How long it may be slower.
const GRACE: Duration = Duration::from_secs(10);

/// A repository that can be pushed to and pulled from.
pub struct Registry {
    client: Client,
    reference: Reference,
    patience: Patience,
}

impl Registry {
    /// The repository of a reference. Nothing is asked yet.
    ///
    /// # Errors
    /// When credentials are configured and cannot be read.
    pub fn open(reference: &Reference, access: Access) -> Result<Self> {
        let plain = access.plain_http || reference.is_loopback();
        let origin = format!("{}://{}", if plain { "http" } else { "https" }, reference.registry);
        let scope = access.push.then(|| format!("repository:{}:pull,push", reference.repository));
        let credentials = Credentials::find(&reference.registry)?;
        let client = Client::new(origin, scope, credentials, access.patience);
        Ok(Self { client, reference: reference.clone(), patience: access.patience })
    }

    /// What it was opened with.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.client.origin, self.reference.repository)
    }

    /// Tries again what may pass.
    fn retry<T>(&self, mut attempt: impl FnMut() -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut count = 0;
        loop {
            count += 1;
            match attempt() {
                Err(refusal) if refusal.transient && count < self.patience.tries() => {
                    std::thread::sleep(pause(count));
                }
                Err(mut refusal) if refusal.transient && count > 1 => {
                    refusal.why.push_str(&format!(" ({count} tries)"));
                    return Err(refusal);
                }
                done => return done,
            }
        }
    }

    fn failed(&self, doing: &str, refusal: Refusal) -> Error {
        let error = Error::new(format!("cannot {doing} `{}`", self.reference.name())).detail(refusal.why);
        match refusal.status {
            Some(401 | 403) => {
                error.hint(format!("log in with Docker's client, or set `{ENV_USER}` and `{ENV_PASSWORD}`"))
            }
            _ => error,
        }
    }

    /// Whether the repository has a blob of this digest and length.
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, Refusal> {
        let url = self.url(&format!("blobs/sha256:{}", descriptor.digest.0));
        match self.client.send(&Method::HEAD, &url, &[], Body::None) {
            Ok(response) => Ok(response.body().content_length().is_none_or(|size| size == descriptor.size)),
            Err(refusal) if refusal.status == Some(404) => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// Pushes bytes unless they are there; says whether they were sent.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn push_bytes(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<bool> {
        self.push(descriptor, Body::Bytes(bytes))
    }

    /// Pushes a file unless it is there; says whether it was sent.
    ///
    /// # Errors
    /// When the file cannot be read or the registry refuses.
    pub fn push_file(&self, descriptor: &Descriptor, path: &Path) -> Result<bool> {
        self.push(descriptor, Body::File(path))
    }

    fn push(&self, descriptor: &Descriptor, body: Body<'_>) -> Result<bool> {
        self.retry(|| {
            // Asked anew in each try: the one that broke off may have arrived whole.
            if self.has_blob(descriptor)? {
                return Ok(false);
            }
            let begun =
                self.client.send(&Method::POST, &self.url("blobs/uploads/"), &[], Body::Bytes(b""))?;
            let location = self.location(&begun)?;
            let joint = if location.contains('?') { '&' } else { '?' };
            let url = format!("{location}{joint}digest=sha256:{}", descriptor.digest.0);
            let headers = [("content-type", "application/octet-stream")];
            self.client.send(&Method::PUT, &url, &headers, body).map_err(|refusal| {
                // A registry that was started anew knows nothing of the upload: begin another.
                let transient = refusal.transient || refusal.status == Some(404);
                Refusal { transient, ..refusal }
            })?;
            Ok(true)
        })
        .map_err(|refusal| self.failed("push a blob to", refusal))
    }

    fn location(&self, response: &Response<ureq::Body>) -> Result<String, Refusal> {
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        match location {
            Some(place) if place.starts_with('/') => Ok(format!("{}{place}", self.client.origin)),
            Some(place) if place.starts_with("http://") || place.starts_with("https://") => {
                Ok(place.to_owned())
            }
            _ => Err(Refusal::permanent("the registry does not say where to upload to")),
        }
    }

    /// Streams a blob into `sink`, in pieces. They are not checked: what is made of them must be.
    ///
    /// # Errors
    /// When the registry does not have it, sends more than there is to it, or breaks off; when the sink fails.
    pub fn pull_blob(
        &self,
        descriptor: &Descriptor,
        sink: &mut dyn FnMut(&mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let url = self.url(&format!("blobs/sha256:{}", descriptor.digest.0));
        let response = self
            .retry(|| self.client.send(&Method::GET, &url, &[], Body::None))
            .map_err(|refusal| self.failed("pull a blob from", refusal))?;
        let reader = response.into_body().into_reader().take(descriptor.size.saturating_add(1));
        let since = (self.patience == Patience::Short).then(Instant::now);
        sink(&mut Watched { reader, since, arrived: 0 })
    }

    /// A small blob, whole and checked.
    ///
    /// # Errors
    /// As [`Registry::pull_blob`], and when the bytes are not those that the descriptor names.
    pub fn pull_bytes(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        use base64::Engine as _;
        let told = descriptor.data.as_ref();
        let told = told.and_then(|data| base64::engine::general_purpose::STANDARD.decode(data).ok());
        let bytes = match told.filter(|bytes| Digest::of(bytes) == descriptor.digest.0) {
            Some(bytes) => bytes,
            None => self.pull_document(descriptor)?,
        };
        let found = Digest::of(&bytes);
        if found != descriptor.digest.0 || bytes.len() as u64 != descriptor.size {
            return Err(Error::new(format!(
                "expected a blob of {} bytes with sha256 `{}` but found {} with `{found}`",
                descriptor.size,
                descriptor.digest.0,
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    fn pull_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let url = self.url(&format!("blobs/sha256:{}", descriptor.digest.0));
        self.retry(|| read_document(self.client.send(&Method::GET, &url, &[], Body::None)?))
            .map_err(|refusal| self.failed("pull a blob from", refusal))
    }

    /// Pushes a manifest under its digest, and a config `{}` with it if it has that; tells the subject's
    /// referrers of it where the registry does not do so itself. Its other blobs must be there.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn push_manifest(&self, manifest: &Manifest) -> Result<Descriptor> {
        if manifest.config.media_type == EMPTY {
            self.push_bytes(&manifest.config, EMPTY_BYTES)?;
        }
        let bytes = model::to_bytes(manifest)?;
        let mut descriptor = Descriptor::of(MANIFEST, &bytes);
        let known = self
            .put(&format!("sha256:{}", descriptor.digest.0), MANIFEST, &bytes)
            .map_err(|refusal| self.failed("push a manifest to", refusal))?;
        descriptor.artifact_type.clone_from(&manifest.artifact_type);
        descriptor.annotations.clone_from(&manifest.annotations);
        if let Some(subject) = manifest.subject.as_ref().filter(|_| !known) {
            self.refer(subject.digest.0, &descriptor)?;
        }
        Ok(descriptor)
    }

    /// Gives a manifest a tag.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn tag(&self, tag: &str, manifest: &Manifest) -> Result<()> {
        let bytes = model::to_bytes(manifest)?;
        self.put(tag, MANIFEST, &bytes)
            .map(|_| ())
            .map_err(|refusal| self.failed(&format!("set the tag `{tag}` in"), refusal))
    }

    /// Says whether the registry keeps lists of referrers itself.
    fn put(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<bool, Refusal> {
        let url = self.url(&format!("manifests/{name}"));
        let headers = [("content-type", media_type)];
        let response = self.retry(|| self.client.send(&Method::PUT, &url, &headers, Body::Bytes(bytes)))?;
        Ok(response.headers().contains_key("oci-subject"))
    }

    /// A manifest by tag or digest (`sha256:…`), if the repository has it.
    ///
    /// # Errors
    /// When the registry cannot be asked, or what it sends is not what was asked for.
    pub fn manifest(&self, name: &str) -> Result<Option<Pulled<Manifest>>> {
        self.document(name, MANIFEST, "manifest")
    }

    fn document<T: DeserializeOwned>(
        &self,
        name: &str,
        media_type: &str,
        what: &str,
    ) -> Result<Option<Pulled<T>>> {
        let url = self.url(&format!("manifests/{name}"));
        let got = self.retry(|| {
            let response = self.client.send(&Method::GET, &url, &[("accept", media_type)], Body::None)?;
            let told = response.headers().get("docker-content-digest");
            let told = told.and_then(|value| value.to_str().ok()).map(str::to_owned);
            Ok((told, read_document(response)?))
        });
        let (told, bytes) = match got {
            Ok(got) => got,
            Err(refusal) if refusal.status == Some(404) => return Ok(None),
            Err(refusal) => return Err(self.failed(&format!("pull `{name}` from"), refusal)),
        };
        let digest = Digest::of(&bytes);
        let found = format!("sha256:{digest}");
        let expected = if name.starts_with("sha256:") { Some(name.to_owned()) } else { told };
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(Error::new(format!("expected a {what} with `{expected}` but found `{found}`")));
        }
        let document: T = model::from_bytes(what, &bytes)?;
        Ok(Some(Pulled { digest, size: bytes.len() as u64, document }))
    }

    /// What says something of a manifest: by the registry's own list, else by the tag that takes its place.
    ///
    /// # Errors
    /// When the registry cannot be asked, or answers with something else than a list.
    pub fn referrers(&self, subject: Digest) -> Result<Vec<Descriptor>> {
        let url = self.url(&format!("referrers/sha256:{subject}"));
        let listed = self.retry(|| {
            read_document(self.client.send(&Method::GET, &url, &[("accept", INDEX)], Body::None)?)
        });
        match listed {
            Ok(bytes) => Ok(model::from_bytes::<Index>("list of referrers", &bytes)?.manifests),
            Err(refusal) if matches!(refusal.status, Some(404 | 405)) => {
                Ok(self.fallback(subject)?.map(|index| index.manifests).unwrap_or_default())
            }
            Err(refusal) => Err(self.failed("list the referrers in", refusal)),
        }
    }

    fn fallback(&self, subject: Digest) -> Result<Option<Index>> {
        let found = self.document::<Index>(&format!("sha256-{subject}"), INDEX, "index")?;
        Ok(found.map(|found| found.document))
    }

    /// Adds a manifest to the list of a subject's referrers under the tag schema (distribution specification
    /// 1.1, "referrers tag schema").
    fn refer(&self, subject: Digest, referrer: &Descriptor) -> Result<()> {
        // Somebody else may add theirs at the same moment, and one of the two is then lost: look again.
        for _ in 0..5 {
            let mut index = self.fallback(subject)?.unwrap_or_else(|| Index::new(Vec::new()));
            if index.manifests.iter().any(|known| known.digest == referrer.digest) {
                return Ok(());
            }
            index.manifests.push(referrer.clone());
            let bytes = model::to_bytes(&index)?;
            self.put(&format!("sha256-{subject}"), INDEX, &bytes)
                .map_err(|refusal| self.failed("list a referrer in", refusal))?;
        }
        Err(Error::new(format!("cannot list a referrer in `{}`", self.reference.name()))
            .detail("the list does not hold what is added to it"))
    }

    /// The descriptor of a pulled manifest, for a subject.
    #[must_use]
    pub fn subject<T>(pulled: &Pulled<T>) -> Descriptor {
        Descriptor {
            digest: OciDigest(pulled.digest),
            ..Descriptor::new(MANIFEST, pulled.digest, pulled.size)
        }
    }
}

/// A body that gives up when it is too slow.
struct Watched<R> {
    reader: R,
    since: Option<Instant>,
    arrived: u64,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.arrived += count as u64;
        if let Some(elapsed) = self.since.map(|since| since.elapsed()).filter(|elapsed| *elapsed > GRACE)
            && self.arrived < SLOWEST.saturating_mul(elapsed.as_secs())
        {
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the registry is too slow"));
        }
        Ok(count)
    }
}
