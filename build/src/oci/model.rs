//! The documents of the OCI image specification 1.1, as far as artifacts need them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of the config of an artifact that has none; its bytes are [`EMPTY_BYTES`].
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The bytes of the empty config.
pub const EMPTY_BYTES: &[u8] = b"{}";

/// Annotations, by key.
pub type Annotations = BTreeMap<String, String>;

/// What names some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are.
    pub media_type: String,
    /// Their digest.
    pub digest: OciDigest,
    /// Their number.
    pub size: u64,
    /// In an index: what kind of artifact a manifest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// More about them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// The bytes themselves in base64, for the smallest of things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

impl Descriptor {
    /// Names bytes in memory.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Names bytes with a digest and a length.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: OciDigest(digest),
            size,
            artifact_type: None,
            annotations: Annotations::new(),
            data: None,
        }
    }
}

/// A SHA-256 that is written with `sha256:` before it; no other kind is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OciDigest(pub Digest);

impl Serialize for OciDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("sha256:{}", self.0))
    }
}

impl<'de> Deserialize<'de> for OciDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digest = text.strip_prefix("sha256:").and_then(|digits| digits.parse().ok());
        digest.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!("expected `sha256:` and 64 digits but found `{text}`"))
        })
    }
}

/// A manifest: a config and layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`MANIFEST`].
    #[serde(default = "manifest_type")]
    pub media_type: String,
    /// What kind of artifact this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The content.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one says something of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// More about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

fn manifest_type() -> String {
    MANIFEST.to_owned()
}

impl Manifest {
    /// A manifest with one layer.
    #[must_use]
    pub fn new(artifact_type: &str, config: Descriptor, layer: Descriptor) -> Self {
        Self {
            schema_version: 2,
            media_type: manifest_type(),
            artifact_type: Some(artifact_type.to_owned()),
            config,
            layers: vec![layer],
            subject: None,
            annotations: Annotations::new(),
        }
    }

    /// What kind of artifact this is: the type of its config where it does not say.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.artifact_type.as_deref().unwrap_or(&self.config.media_type)
    }

    /// Its only layer.
    ///
    /// # Errors
    /// When it has none or several.
    pub fn layer(&self) -> Result<&Descriptor> {
        match self.layers.as_slice() {
            [layer] => Ok(layer),
            layers => {
                Err(Error::new(format!("expected one layer in the manifest but found {}", layers.len())))
            }
        }
    }
}

/// An index: a list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`INDEX`].
    #[serde(default = "index_type")]
    pub media_type: String,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
}

fn index_type() -> String {
    INDEX.to_owned()
}

impl Index {
    /// An index of some manifests.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: index_type(), manifests }
    }
}

/// The bytes of a document.
///
/// # Errors
/// Never, in practice: these documents can all be written as JSON.
pub fn to_bytes(document: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(document).map_err(|error| Error::new(format!("cannot write JSON: {error}")))
}

/// A document from its bytes.
///
/// # Errors
/// When it is another document, or none.
pub fn from_bytes<T: for<'de> Deserialize<'de>>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(format!("malformed {what}: {error}")))
}
