//! A cache in an OCI registry.
//!
//! ```text
//! <repository>:action-<key>   manifest   config: the record of the action
//! <repository>:tree-<digest>     "       layer:  the tree it made, as tar and zstd
//! ```
//!
//! The digest of a layer, and the digest of the tree that is unpacked from it, are checked before the store gets
//! anything; a record must be of the very action that was asked for. That an action made this tree and no other
//! cannot be checked without making it: who does not trust the registry wants records signed by a key.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::{Backing, Trouble, checked};
use crate::action::Action;
use crate::digest::Digest;
use crate::error::{Context as _, Error, Result};
use crate::oci::model::{Descriptor, Manifest};
use crate::oci::{Access, Patience, Reference, Registry};
use crate::publish::{PublicKey, SigningKey};
use crate::store::{Output, Record, Store, write_error};

const KIND: &str = "application/vnd.eryx.action.v1+json";
const RECORD: &str = "application/vnd.eryx.record.v1+json";
const TREE: &str = "application/vnd.eryx.tree.v1.tar+zstd";
/// The annotation of a manifest with the signature of its record.
const SIGNATURE: &str = "eryx.signature";
/// The longest record that is worth carrying in the manifest itself, in bytes.
const INLINE: usize = 256 << 10;

/// Whether anything is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Results are only taken from it.
    Read,
    /// What is known here is pushed to it, too.
    ReadWrite,
}

/// A cache in a registry.
pub struct Remote {
    reads: Registry,
    writes: Option<Registry>,
    keys: Keys,
}

/// The two halves of the key that a cache's records are signed with.
#[derive(Default)]
pub struct Keys {
    signs: Option<SigningKey>,
    verifies: Option<PublicKey>,
}

impl Keys {
    /// Reads a key file; a cache that is written needs the private half.
    ///
    /// # Errors
    /// When it cannot be read or is no key.
    pub fn read(file: &Path, mode: Mode) -> Result<Self> {
        let signs = (mode == Mode::ReadWrite).then(|| SigningKey::read(file)).transpose()?;
        Ok(Self { signs, verifies: Some(PublicKey::read(file)?) })
    }
}

impl Remote {
    /// A cache in a repository. With keys, records must be signed with them.
    ///
    /// # Errors
    /// When the registry's credentials cannot be had.
    pub fn open(reference: &Reference, mode: Mode, keys: Keys, plain_http: bool) -> Result<Self> {
        let access = |push, patience| Access { push, plain_http, patience };
        let writes = mode == Mode::ReadWrite;
        Ok(Self {
            reads: Registry::open(reference, access(writes, Patience::Short))?,
            writes: writes.then(|| Registry::open(reference, access(true, Patience::Long))).transpose()?,
            keys,
        })
    }

    fn read(&self, manifest: &Manifest, action: &Action) -> Result<Record> {
        let text = self.reads.pull_bytes(&manifest.config)?;
        if let Some(key) = &self.keys.verifies {
            let signature = manifest.annotations.get(SIGNATURE).map(String::as_str).unwrap_or_default();
            if !key.verifies(&text, signature) {
                return Err(Error::new("it is not signed with the key"));
            }
        }
        let record: Record = crate::oci::model::from_bytes("record", &text)?;
        match checked(record, action) {
            Ok(record) => Ok(record),
            Err(Trouble::Wrong(error) | Trouble::Gone(error) | Trouble::Local(error)) => Err(error),
        }
    }

    fn download(&self, layer: &Descriptor, to: &Path) -> Result<(), Trouble> {
        let full = |error| write_error(&format!("cannot write `{}`", to.display()), to, error);
        let mut file = fs::File::create(to).map_err(|error| Trouble::Local(full(error)))?;
        let mut broke_off = false;
        let mut buffer = vec![0; 1 << 16];
        let pulled = self.reads.pull_blob(layer, &mut |reader| {
            loop {
                let count = reader.read(&mut buffer).inspect_err(|_| broke_off = true);
                let count = count.context(|| "the download broke off".to_owned())?;
                let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                    return Ok(());
                };
                file.write_all(bytes).map_err(full)?;
            }
        });
        // Whoever breaks off or is too slow once is not waited for again; what is not there is another matter.
        pulled.map_err(if broke_off { Trouble::Gone } else { Trouble::of_import })?;
        let (found, size) = Digest::of_file(to).map_err(Trouble::Wrong)?;
        if found == layer.digest.0 && size == layer.size {
            return Ok(());
        }
        Err(Trouble::Wrong(Error::new(format!(
            "expected {} bytes with sha256 `{}` but found {size} with `{found}`",
            layer.size, layer.digest.0
        ))))
    }

    fn upload(&self, registry: &Registry, record: &Record, store: &Store) -> Result<()> {
        let Output::Tree { digest } = record.output else { return Ok(()) };
        let name = format!("action-{}", record.key);
        if registry.manifest(&name)?.is_some() {
            return Ok(());
        }
        let text = serde_json::to_vec(record).map_err(|error| Error::new(error.to_string()))?;
        let mut config = Descriptor::of(RECORD, &text);
        registry.push_bytes(&config, &text)?;
        if text.len() <= INLINE {
            use base64::Engine as _;
            config.data = Some(base64::engine::general_purpose::STANDARD.encode(&text));
        }
        let tree = format!("tree-{digest}");
        let layer = match registry.manifest(&tree)? {
            Some(known) => known.document.layer()?.clone(),
            None => {
                let scratch = store.scratch()?;
                let path = scratch.path().join("packed");
                let mut file = fs::File::create(&path)?;
                if !store.pack(digest, &mut file)? {
                    return Ok(());
                }
                drop(file);
                let (sha256, size) = Digest::of_file(&path)?;
                let layer = Descriptor::new(TREE, sha256, size);
                registry.push_file(&layer, &path)?;
                layer
            }
        };
        let mut manifest = Manifest::new(KIND, config, layer);
        manifest.annotations.insert("eryx.step".to_owned(), record.step.clone());
        if let Some(key) = &self.keys.signs {
            manifest.annotations.insert(SIGNATURE.to_owned(), key.sign(&text)?);
        }
        registry.tag(&tree, &manifest)?;
        registry.tag(&name, &manifest)
    }
}

impl Backing for Remote {
    fn name(&self) -> String {
        format!("the remote cache `{}`", self.reads.reference().name())
    }

    fn record(&self, action: &Action) -> Result<Option<Record>, Trouble> {
        let found = self.reads.manifest(&format!("action-{}", action.key())).map_err(Trouble::Gone)?;
        found.map(|found| self.read(&found.document, action).map_err(Trouble::Wrong)).transpose()
    }

    fn tree(&self, digest: Digest, store: &Store) -> Result<bool, Trouble> {
        let Some(found) = self.reads.manifest(&format!("tree-{digest}")).map_err(Trouble::Gone)? else {
            return Ok(false);
        };
        let layer = found.document.layer().map_err(Trouble::Wrong)?;
        let scratch = store.scratch().map_err(Trouble::of_import)?;
        let path = scratch.path().join("packed");
        self.download(layer, &path)?;
        store.import_packed(&path, digest).map_err(Trouble::of_import)?;
        Ok(true)
    }

    fn offer(&self, record: &Record, store: &Store) -> Result<(), Trouble> {
        match &self.writes {
            Some(registry) => self.upload(registry, record, store).map_err(Trouble::Gone),
            None => Ok(()),
        }
    }
}
