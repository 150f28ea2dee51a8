//! Signatures with a local key, in cosign's format: a "simple signing" payload that names a manifest, signed
//! with ECDSA over P-256 and SHA-256, in a manifest of its own under the tag `sha256-<digest>.sig`.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde_json::{Value, json};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::oci::Registry;
use crate::oci::model::{Descriptor, Manifest};

/// The media type of a payload.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The media type of the config that cosign gives its manifests.
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The annotation of a payload that has its signature, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What a payload says that it is.
const TYPE: &str = "cosign container image signature";

/// What stands before the point of a P-256 key in a `SubjectPublicKeyInfo` (RFC 5480).
const SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

const MAKE_KEYS: &str = "make keys with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem` \
     and `openssl pkey -in key.pem -pubout -out key.pub`";

/// A private key, which signs.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl SigningKey {
    /// Reads a file with a private key: PEM with PKCS #8, not encrypted.
    ///
    /// # Errors
    /// When the file is something else.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).context(|| format!("cannot read `{}`", path.display()))?;
        Self::parse(&text).map_err(|error| error.context(format!("`{}`", path.display())))
    }

    fn parse(text: &str) -> Result<Self> {
        let der = pem(text, "PRIVATE KEY")?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, &random)
            .map_err(|error| Error::new(format!("expected a key over P-256: {error}")).hint(MAKE_KEYS))?;
        Ok(Self { pair, random })
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().to_vec())
    }

    /// Signs bytes; the signature in base64.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn sign(&self, bytes: &[u8]) -> Result<String> {
        let signature = self.pair.sign(&self.random, bytes).map_err(|_| Error::new("cannot sign"))?;
        Ok(BASE64.encode(signature.as_ref()))
    }
}

/// A public key, which verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads a file with a public key (PEM), or takes the public half of a file with a private one.
    ///
    /// # Errors
    /// When the file is something else.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).context(|| format!("cannot read `{}`", path.display()))?;
        Self::parse(&text).map_err(|error| error.context(format!("`{}`", path.display())))
    }

    fn parse(text: &str) -> Result<Self> {
        if text.contains("PRIVATE KEY") {
            return SigningKey::parse(text).map(|key| key.public());
        }
        let der = pem(text, "PUBLIC KEY")?;
        match der.strip_prefix(SPKI) {
            Some(point) if point.len() == 65 && point.first() == Some(&4) => Ok(Self(point.to_vec())),
            _ => Err(Error::new("expected a key over P-256").hint(MAKE_KEYS)),
        }
    }

    /// The key as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let text = BASE64.encode([SPKI, &self.0].concat());
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// Whether a signature, in base64, is of these bytes and by this key.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature) else { return false };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0).verify(bytes, &signature).is_ok()
    }
}

/// The bytes of the one block of a PEM text (RFC 7468).
fn pem(text: &str, label: &str) -> Result<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let block = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
    let Some((block, _)) = block else {
        let error = Error::new(format!("expected `{begin}` and `{end}`"));
        return Err(if text.contains("ENCRYPTED") {
            error.detail("the key is encrypted").hint("decrypt it, or make one for this use").hint(MAKE_KEYS)
        } else {
            error.hint(MAKE_KEYS)
        });
    };
    let letters: String = block.split_whitespace().collect();
    BASE64.decode(letters).map_err(|error| Error::new(format!("malformed PEM: {error}")))
}

/// The tag under which the signatures of a manifest are.
fn tag(manifest: Digest) -> String {
    format!("sha256-{manifest}.sig")
}

/// Signs a manifest in a repository, beside the signatures that it has.
///
/// # Errors
/// When the registry refuses.
pub fn sign(registry: &Registry, manifest: Digest, key: &SigningKey) -> Result<()> {
    let payload = serde_json::to_vec(&json!({
        "critical": {
            "identity": { "docker-reference": registry.reference().name() },
            "image": { "docker-manifest-digest": format!("sha256:{manifest}") },
            "type": TYPE,
        },
        "optional": null,
    }))
    .map_err(|error| Error::new(error.to_string()))?;
    let earlier = registry.manifest(&tag(manifest))?.map(|pulled| pulled.document);
    let mut layers = earlier.map(|manifest| manifest.layers).unwrap_or_default();
    let public = key.public();
    let mut layer = Descriptor::of(PAYLOAD, &payload);
    let signed = |known: &Descriptor| {
        known.digest == layer.digest
            && known.annotations.get(SIGNATURE).is_some_and(|text| public.verifies(&payload, text))
    };
    if layers.iter().any(signed) {
        return Ok(());
    }
    layer.annotations.insert(SIGNATURE.to_owned(), key.sign(&payload)?);
    registry.push_bytes(&layer, &payload)?;
    layers.push(layer);
    let diffs: Vec<_> = layers.iter().map(|layer| layer.digest).collect();
    let config = serde_json::to_vec(&json!({
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "os": "",
        "config": {},
        "history": vec![json!({ "created": "0001-01-01T00:00:00Z" }); layers.len()],
        "rootfs": { "type": "layers", "diff_ids": diffs },
    }))
    .map_err(|error| Error::new(error.to_string()))?;
    let descriptor = Descriptor::of(CONFIG, &config);
    registry.push_bytes(&descriptor, &config)?;
    let mut signatures = Manifest::new(CONFIG, descriptor, Descriptor::of(PAYLOAD, b""));
    // cosign's manifests say nothing of a kind.
    signatures.artifact_type = None;
    signatures.layers = layers;
    registry.tag(&tag(manifest), &signatures)
}

/// Checks that a manifest in a repository is signed with the private half of a key.
///
/// # Errors
/// When it is not, or the registry cannot be asked.
pub fn verify(registry: &Registry, manifest: Digest, key: &PublicKey, what: &str) -> Result<()> {
    let Some(signatures) = registry.manifest(&tag(manifest))? else {
        return Err(Error::new(format!("the {what} is not signed")).detail(format!(
            "expected signatures of `sha256:{manifest}` under the tag `{}`",
            tag(manifest)
        )));
    };
    let mut found = Vec::new();
    for layer in &signatures.document.layers {
        let Some(signature) = layer.annotations.get(SIGNATURE) else { continue };
        let payload = registry.pull_bytes(layer)?;
        if !key.verifies(&payload, signature) {
            found.push("a signature by another key".to_owned());
            continue;
        }
        let said: Value = serde_json::from_slice(&payload).unwrap_or_default();
        let critical = &said["critical"];
        let named = &critical["image"]["docker-manifest-digest"];
        if *named == format!("sha256:{manifest}") && critical["type"] == TYPE {
            return Ok(());
        }
        found.push(format!("a signature of {named}"));
    }
    Err(Error::new(format!("the {what} is not signed with this key"))
        .detail(format!("sha256:{manifest}"))
        .details(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (String, SigningKey) {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let text = BASE64.encode(der.as_ref());
        let text = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        let key = SigningKey::parse(&text).unwrap();
        (text, key)
    }

    #[test]
    fn only_the_other_half_verifies_and_only_these_bytes() {
        let ((text, key), (_, other)) = (key(), key());
        let signature = key.sign(b"payload").unwrap();
        let public = PublicKey::parse(&key.public().to_pem()).unwrap();
        assert_eq!(public, PublicKey::parse(&text).unwrap());
        assert!(public.verifies(b"payload", &signature));
        assert!(!public.verifies(b"payloae", &signature));
        assert!(!other.public().verifies(b"payload", &signature));
        for text in ["", "!", "AAAA"] {
            assert!(!public.verifies(b"payload", text), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_told() {
        let encrypted = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAA==\n";
        let error = SigningKey::parse(encrypted).err().unwrap().to_string();
        assert!(error.contains("the key is encrypted"), "{error}");
        for text in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(PublicKey::parse(text).is_err(), "{text}");
        }
        let error = PublicKey::parse("-----BEGIN PUBLIC KEY-----\n?\n-----END PUBLIC KEY-----").unwrap_err();
        assert!(error.message().starts_with("malformed PEM"), "{error}");
    }
}
