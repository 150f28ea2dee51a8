//! Components in registries: pushed with all that says what is in them and where they come from, and pulled
//! with all of it checked.
//!
//! ```text
//! repository:<tags> ─▶ manifest   config application/vnd.wasm.config.v0+json, layer application/wasm
//!                        ▲ ▲ ▲
//!                subject │ │ └──── our manifest of the component   application/vnd.eryx.manifest.v1+json
//!                        │ └────── bill of materials               application/vnd.cyclonedx+json
//!                        └──────── provenance                      application/vnd.in-toto+json
//! repository:sha256-<digest of any of the four>.sig ─▶ signatures
//! ```
//!
//! Tags are set last: whoever sees one finds everything behind it.

mod inspect;
mod pull;
mod sbom;
mod sign;
mod statement;

use std::path::Path;

use serde_json::{Value, json};

use crate::check;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::manifest::Manifest;
use crate::oci::model::{Annotations, Descriptor, EMPTY, EMPTY_BYTES, Manifest as OciManifest};
use crate::oci::{Pulled as Named, Registry, is_tag};
use crate::plan::in_file;

pub use inspect::{inspect_file, inspect_remote, wit_of_file, wit_of_remote};
pub use pull::{Pulled, pull};
pub use sbom::sbom;
pub use sign::{PublicKey, SigningKey};
pub use statement::{BUILDER, Origin, statement};

/// The media type of the config of a wasm artifact.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The media type of a component, and the type of its artifact.
const WASM: &str = "application/wasm";
/// The media type of our manifest, and the type of its artifact.
const MANIFEST: &str = "application/vnd.eryx.manifest.v1+json";
/// The annotation with a file's name, by which other tools store it.
const TITLE: &str = "org.opencontainers.image.title";
/// When everything was made, for formats that want to know: the same for all, so that equal components have
/// equal manifests. It is [`crate::steps::SOURCE_DATE_EPOCH`].
const CREATED: &str = "2026-01-29T00:00:00Z";

/// What is to be published.
pub struct Publication<'a> {
    /// The component; its manifest lies beside it.
    pub component: &'a Path,
    /// What is not in the manifest.
    pub origin: &'a Origin,
    /// Tags besides those that follow from the content.
    pub tags: &'a [String],
    /// Signs everything.
    pub key: Option<&'a SigningKey>,
}

/// What was published.
#[derive(Debug)]
pub struct Published {
    /// What names it for ever.
    pub manifest: Descriptor,
    /// The tags that it has now.
    pub tags: Vec<String>,
    /// The bytes of the component, if it was not there yet.
    pub sent: u64,
}

/// Pushes a component with its manifest, bill of materials and provenance, signs them, and sets its tags.
///
/// # Errors
/// When the component has no manifest, or the registry refuses. No tag is set or moved then.
pub fn publish(registry: &Registry, publication: &Publication<'_>) -> Result<Published> {
    let component = publication.component;
    let (manifest, text) = Manifest::beside(component)?;
    let mut tags = publication.tags.to_vec();
    tags.extend([version_tag(&manifest), manifest.sha256.to_string()]);
    tags.sort();
    tags.dedup();
    let wrong: Vec<_> = tags.iter().filter(|tag| !is_tag(tag)).map(|tag| format!("`{tag}`")).collect();
    if !wrong.is_empty() {
        return Err(Error::new("expected tags of letters, digits, `.`, `_` and `-`").details(wrong));
    }

    let config = config(component, &manifest)?;
    let config_descriptor = Descriptor::of(CONFIG, &config);
    registry.push_bytes(&config_descriptor, &config)?;
    let mut layer = Descriptor::new(WASM, manifest.sha256, manifest.size);
    layer.annotations.insert(TITLE.to_owned(), format!("{}.wasm", in_file(&manifest.names)));
    let sent = if registry.push_file(&layer, component)? { manifest.size } else { 0 };
    let mut main = OciManifest::new(WASM, config_descriptor, layer);
    main.annotations = annotations(&manifest, publication.origin);
    let pushed = registry.push_manifest(&main)?;
    let mut subject = pushed.clone();
    subject.artifact_type = None;
    subject.annotations.clear();

    let mut signed = vec![pushed.digest.0];
    let bill = pretty(&sbom(&manifest))?;
    let statement = pretty(&statement(&manifest, &text, publication.origin))?;
    for (kind, suffix, bytes) in [
        (MANIFEST, "json", &text),
        (sbom::MEDIA_TYPE, "cdx.json", &bill),
        (statement::MEDIA_TYPE, "intoto.json", &statement),
    ] {
        let mut layer = Descriptor::of(kind, bytes);
        layer.annotations.insert(TITLE.to_owned(), format!("{}.{suffix}", in_file(&manifest.names)));
        registry.push_bytes(&layer, bytes)?;
        let mut referrer = OciManifest::new(kind, Descriptor::of(EMPTY, EMPTY_BYTES), layer);
        referrer.subject = Some(subject.clone());
        referrer.annotations.insert("org.opencontainers.image.created".to_owned(), CREATED.to_owned());
        if kind == statement::MEDIA_TYPE {
            referrer
                .annotations
                .insert("in-toto.io/predicate-type".to_owned(), statement::PREDICATE.to_owned());
        }
        signed.push(registry.push_manifest(&referrer)?.digest.0);
    }
    if let Some(key) = publication.key {
        for digest in signed {
            sign::sign(registry, digest, key)?;
        }
    }
    for tag in &tags {
        registry.tag(tag, &main)?;
    }
    Ok(Published { manifest: pushed, tags, sent })
}

fn pretty(value: &Value) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| Error::new(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The longest tag that registries take, in bytes.
const LONGEST_TAG: usize = 128;

/// The versions in a component, such as `3.14.5-numpy-2.5.5`.
fn version_tag(manifest: &Manifest) -> String {
    let mut tag = manifest.version_of("cpython").unwrap_or("0").to_owned();
    for name in manifest.named() {
        tag.push_str(&format!("-{name}-{}", manifest.version_of(name).unwrap_or("0")));
    }
    if !manifest.kind().is_empty() {
        tag.push_str(&format!("-{}", manifest.kind()));
    }
    let tag = tag.replace(['+', '!'], "_");
    match tag.get(..LONGEST_TAG - 13) {
        // Two long lists that begin alike are two tags.
        Some(begin) if tag.len() > LONGEST_TAG => format!("{begin}-{}", Digest::of(tag.as_bytes()).short()),
        _ => tag,
    }
}

/// The config of a wasm artifact: what the component imports and exports.
fn config(component: &Path, manifest: &Manifest) -> Result<Vec<u8>> {
    let bytes = std::fs::read(component).context(|| format!("cannot read `{}`", component.display()))?;
    let contents = check::contents(&bytes)
        .map_err(|error| Error::new(format!("`{}` is no component: {error}", component.display())))?;
    serde_json::to_vec(&json!({
        "created": CREATED,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [format!("sha256:{}", manifest.sha256)],
        "component": { "imports": contents.imports, "exports": contents.exports, "target": null },
    }))
    .map_err(|error| Error::new(error.to_string()))
}

fn annotations(manifest: &Manifest, origin: &Origin) -> Annotations {
    let packages: Vec<_> = manifest.packages();
    let listed: Vec<_> = packages.iter().map(|(name, version)| format!("{name}=={version}")).collect();
    let python = manifest.version_of("cpython").unwrap_or("?");
    let others: Vec<_> =
        manifest.named().map(|name| format!("{name} {}", manifest.version_of(name).unwrap_or("?"))).collect();
    let with = if others.is_empty() { String::new() } else { format!(" with {}", others.join(", ")) };
    let mut all = Annotations::from(
        [
            (TITLE, manifest.names.clone()),
            (
                "org.opencontainers.image.description",
                format!("CPython {python}{with} as a WebAssembly component"),
            ),
            ("org.opencontainers.image.created", CREATED.to_owned()),
            ("org.opencontainers.image.version", version_tag(manifest)),
            ("org.opencontainers.image.licenses", licenses(manifest)),
            ("eryx.python", python.to_owned()),
            ("eryx.packages", listed.join(" ")),
            ("eryx.world", manifest.world.clone()),
            ("eryx.sha256", manifest.sha256.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    for (key, value) in [("source", &origin.source), ("revision", &origin.revision)] {
        if let Some(value) = value {
            all.insert(format!("org.opencontainers.image.{key}"), value.clone());
        }
    }
    all
}

/// One expression for all that is compiled in; the bill of materials has them one by one.
fn licenses(manifest: &Manifest) -> String {
    let compiled = |input: &&crate::manifest::Input| {
        let tool = |step: &String| {
            step.starts_with("tools ") || step == "python" || step == "toolchain" || step == "rust"
        };
        !input.steps.iter().all(tool)
    };
    let inputs = manifest.inputs.iter().filter(compiled).filter_map(|input| input.license.as_deref());
    let mut found: Vec<_> = inputs.filter(|text| crate::recipe::is_spdx(text)).collect();
    found.push("MIT OR Apache-2.0");
    found.sort_unstable();
    found.dedup();
    let grouped = |text: &&str| if text.contains(' ') { format!("({text})") } else { (*text).to_owned() };
    found.iter().map(grouped).collect::<Vec<_>>().join(" AND ")
}

/// The referrer of a kind, if a manifest has one; of several the last.
fn referrer(
    registry: &Registry,
    subject: &Named<OciManifest>,
    kind: &str,
) -> Result<Option<Named<OciManifest>>> {
    let all = registry.referrers(subject.digest)?;
    let Some(found) = all.iter().rev().find(|one| one.artifact_type.as_deref() == Some(kind)) else {
        return Ok(None);
    };
    let name = format!("sha256:{}", found.digest.0);
    let manifest = registry
        .manifest(&name)?
        .ok_or_else(|| Error::new(format!("the list of referrers names `{name}`, which is not there")))?;
    if manifest.document.kind() != kind
        || manifest.document.subject.as_ref().map(|subject| subject.digest.0) != Some(subject.digest)
    {
        return Err(Error::new(format!("`{name}` is listed as a referrer of another manifest or kind")));
    }
    Ok(Some(manifest))
}
