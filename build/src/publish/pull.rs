//! Pulling a component, and refusing it when something about it is wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{CONFIG, MANIFEST, PublicKey, WASM, referrer, sbom, sign, statement};
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Result};
use crate::file_name::FileName;
use crate::manifest::Manifest;
use crate::oci::model::{Descriptor, Manifest as OciManifest};
use crate::oci::{Pulled as Named, Registry};
use crate::plan::in_file;

/// What was pulled.
#[derive(Debug)]
pub struct Pulled {
    /// The component; its manifest, bill of materials and provenance lie beside it.
    pub component: PathBuf,
    /// The digest of the component.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What it is made of.
    pub manifest: Manifest,
}

/// What was found of a component without the component itself.
pub(super) struct Found {
    pub(super) main: Named<OciManifest>,
    pub(super) manifest: Manifest,
    texts: Vec<(&'static str, Vec<u8>)>,
    pub(super) statement: Option<Value>,
}

/// Finds a component and what is said of it, and checks that it all belongs together; with a key also that all
/// is there and signed.
pub(super) fn find(registry: &Registry, key: Option<&PublicKey>) -> Result<Found> {
    let reference = registry.reference();
    let main = registry
        .manifest(&reference.wanted())?
        .ok_or_else(|| Error::new(format!("`{reference}` is not there")))?;
    let layer = main.document.layer().map_err(|error| error.context(format!("`{reference}`")))?;
    if main.document.config.media_type != CONFIG || layer.media_type != WASM {
        return Err(Error::new(format!("`{reference}` is no WebAssembly artifact")).detail(format!(
            "expected a config `{CONFIG}` with a layer `{WASM}` but found `{}` with `{}`",
            main.document.config.media_type, layer.media_type
        )));
    }
    if let Some(key) = key {
        sign::verify(registry, main.digest, key, "component")?;
    }
    let part = |kind: &str, what: &str| -> Result<Option<Vec<u8>>> {
        let Some(found) = referrer(registry, &main, kind)? else {
            return match key {
                None => Ok(None),
                Some(_) => Err(Error::new(format!("`{reference}` has no {what}"))),
            };
        };
        if let Some(key) = key {
            sign::verify(registry, found.digest, key, what)?;
        }
        Ok(Some(registry.pull_bytes(found.document.layer()?)?))
    };
    let text = part(MANIFEST, "manifest of the component")?
        .ok_or_else(|| Error::new(format!("`{reference}` has no manifest of the component")))?;
    let manifest = Manifest::parse(&text)?;
    of_this("manifest of the component", manifest.sha256, layer.digest.0)?;
    let mut texts = vec![("json", text)];
    if let Some(bill) = part(sbom::MEDIA_TYPE, "bill of materials")? {
        let value: Value = crate::oci::model::from_bytes("bill of materials", &bill)?;
        let of = digest_in(&value["metadata"]["component"]["hashes"][0]["content"]);
        of_this("bill of materials", of, layer.digest.0)?;
        texts.push(("cdx.json", bill));
    }
    let mut statement = None;
    if let Some(text) = part(statement::MEDIA_TYPE, "provenance")? {
        let value: Value = crate::oci::model::from_bytes("provenance", &text)?;
        of_this("provenance", digest_in(&value["subject"][0]["digest"]["sha256"]), layer.digest.0)?;
        if value["predicateType"] != statement::PREDICATE {
            return Err(Error::new(format!(
                "expected a predicate `{}` but found {}",
                statement::PREDICATE,
                value["predicateType"]
            )));
        }
        statement = Some(value);
        texts.push(("intoto.json", text));
    }
    Ok(Found { main, manifest, texts, statement })
}

fn digest_in(value: &Value) -> Digest {
    let found = value.as_str().and_then(|text| text.parse().ok());
    found.unwrap_or_else(|| Digest::of(b"no digest"))
}

fn of_this(what: &str, of: Digest, component: Digest) -> Result<()> {
    if of == component {
        return Ok(());
    }
    Err(Error::new(format!("the {what} is of another component"))
        .detail(format!("expected sha256 `{component}` but found `{of}`")))
}

/// Pulls a component into a folder, under its name and digest, with what is said of it beside it. With a key,
/// the component, its manifest, bill of materials and provenance must all be there and signed with it.
///
/// # Errors
/// When anything is missing, wrong or not signed, or cannot be written. Nothing is left in the folder then.
pub fn pull(
    registry: &Registry,
    key: Option<&PublicKey>,
    folder: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<Pulled> {
    let Found { main, manifest, texts, .. } = find(registry, key)?;
    let layer = main.document.layer()?;
    // The names come from elsewhere, and become the name of a file.
    let names = FileName::like(&in_file(&manifest.names), 150);
    let stem = FileName::new(format!("{names}-{}", manifest.sha256.short()))?;
    let doing = || format!("cannot write to `{}`", folder.display());
    std::fs::create_dir_all(folder).context(doing)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).context(doing)?;
    fetch(
        registry,
        layer,
        &mut |bytes| {
            std::io::Write::write_all(&mut file, bytes).context(doing)?;
            Ok(())
        },
        progress,
    )?;
    let place = |file: tempfile::NamedTempFile, suffix: &str| -> Result<PathBuf> {
        let path = folder.join(format!("{stem}.{suffix}"));
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).context(doing)?;
        file.as_file().sync_all().context(doing)?;
        file.persist(&path).map_err(|error| error.error).context(doing)?;
        Ok(path)
    };
    // The component comes last: it is never there without what is said of it.
    for (suffix, text) in &texts {
        let mut file = tempfile::NamedTempFile::new_in(folder).context(doing)?;
        std::io::Write::write_all(&mut file, text).context(doing)?;
        place(file, suffix)?;
    }
    let component = place(file, "wasm")?;
    Ok(Pulled { component, sha256: layer.digest.0, size: layer.size, manifest })
}

/// Gets the bytes of a component, piece by piece; they are what was promised only when this succeeds.
pub(super) fn fetch(
    registry: &Registry,
    layer: &Descriptor,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
    progress: &dyn Fn(u64, u64),
) -> Result<()> {
    let mut hasher = Hasher::new();
    registry.pull_blob(layer, &mut |reader| {
        let mut buffer = vec![0; 1 << 18];
        let mut done = 0;
        loop {
            let count = reader.read(&mut buffer).context(|| "the component broke off".to_owned())?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            hasher.update(bytes);
            take(bytes)?;
            done += bytes.len() as u64;
            progress(done, layer.size);
        }
    })?;
    let (found, size) = hasher.finish();
    if found == layer.digest.0 && size == layer.size {
        return Ok(());
    }
    Err(Error::new(format!(
        "expected a component of {} bytes with sha256 `{}` but found {size} with `{found}`",
        layer.size, layer.digest.0
    )))
}
