//! Engines, and compiled components kept on disk.
//!
//! The compiled form of a component is a pure function of the component and of the engine, so it
//! is kept under `<cache>/compiled`: `<key>` is a small text file with the SHA-256 of the code, and
//! `<sha256>.cwasm` is the code. The code is verified before it is mapped: running a damaged file
//! would not be safe. Both are written to a temporary file and renamed, so that two processes may
//! share a cache and a killed one leaves nothing wrong behind.

use std::fs;
use std::hash::Hash;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Result};
use crate::failure::{Failure, told};
use crate::session::{Session, SessionOptions};

/// The wasm stack of a guest, in bytes. Python's own recursion limits need more than the default.
const WASM_STACK: usize = 12 << 20;
/// The stack of a fibre, in bytes: the wasm stack and room for the embedder's frames above it. If it
/// were smaller than the wasm stack, deep recursion would end the process instead of trapping.
const FIBRE_STACK: usize = 16 << 20;
/// What the two kinds of wasm files begin with.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// How many compiled components are kept; each takes a few times the size of the component.
const KEPT: usize = 8;

/// Compiles components and keeps the compiled code.
pub struct Embedder {
    engines: Arc<Engines>,
    cache: Option<PathBuf>,
}

/// The two engines; see [`crate::Limits::timeout`] for why there are two.
struct Engines {
    plain: Engine,
    interruptible: Engine,
}

impl Embedder {
    /// Makes an embedder that keeps compiled code under `cache`, a directory that need not exist.
    /// Without one, each process compiles anew, which takes minutes of processor time for numpy.
    ///
    /// # Errors
    /// When wasmtime does not support this machine.
    pub fn new(cache: Option<&Path>) -> Result<Self> {
        let engine = |interruptible| {
            Engine::new(&config(interruptible))
                .map_err(|error| told(&error).context("cannot start the wasm engine"))
        };
        let engines = Engines { plain: engine(false)?, interruptible: engine(true)? };
        let cache = cache.map(|cache| cache.join("compiled"));
        Ok(Self { engines: Arc::new(engines), cache })
    }

    /// Reads a component. It is compiled when first needed, see [`Image::prepare`].
    ///
    /// # Errors
    /// When the file cannot be read or is no component.
    pub fn load(&self, component: &Path) -> Result<Image> {
        let what = || format!("cannot read the component `{}`", component.display());
        let bytes = fs::read(component).context(what)?;
        if !bytes.starts_with(COMPONENT) {
            let mut error = Error::new(format!("`{}` is not a component", component.display()));
            if bytes.starts_with(CORE_MODULE) {
                error = error.detail("it is a core module");
            }
            return Err(error);
        }
        Ok(Image {
            engines: Arc::clone(&self.engines),
            cache: self.cache.clone(),
            name: component.display().to_string(),
            digest: Digest::of(&bytes),
            bytes,
            plain: OnceLock::new(),
            interruptible: OnceLock::new(),
        })
    }
}

fn config(interruptible: bool) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .wasm_exceptions(true)
        .wasm_function_references(true)
        .wasm_gc(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBRE_STACK)
        .epoch_interruption(interruptible);
    config
}

/// A component, compiled when needed.
pub struct Image {
    engines: Arc<Engines>,
    cache: Option<PathBuf>,
    name: String,
    digest: Digest,
    bytes: Vec<u8>,
    plain: OnceLock<Component>,
    interruptible: OnceLock<Component>,
}

impl Image {
    /// The SHA-256 of the component file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Makes an instance with its own memory.
    ///
    /// # Errors
    /// When the component does not fit the world, a directory cannot be granted, or the start fails
    /// or reaches a limit.
    pub fn session(&self, options: SessionOptions) -> std::result::Result<Session, Failure> {
        let interruptible = options.limits.timeout.is_some();
        let component = self.prepare(interruptible).map_err(Failure::unusable)?;
        let engine = if interruptible { &self.engines.interruptible } else { &self.engines.plain };
        Session::start(engine, component, &self.name, options)
    }

    /// Compiles the component, or takes the code from the cache, for sessions with a time limit
    /// (`interruptible`) or without one. [`Image::session`] does it too: this is to have it done
    /// before, and to measure it.
    ///
    /// # Errors
    /// When the component is not valid. A cache that cannot be written is not an error.
    pub fn prepare(&self, interruptible: bool) -> Result<&Component> {
        let (slot, engine) = match interruptible {
            false => (&self.plain, &self.engines.plain),
            true => (&self.interruptible, &self.engines.interruptible),
        };
        if let Some(component) = slot.get() {
            return Ok(component);
        }
        let component = self.compile(engine)?;
        Ok(slot.get_or_init(|| component))
    }

    fn compile(&self, engine: &Engine) -> Result<Component> {
        let entry = self.cache.as_ref().map(|dir| Entry::new(dir, self.digest, engine));
        if let Some(component) = entry.as_ref().and_then(|entry| entry.load(engine)) {
            return Ok(component);
        }
        let component = Component::from_binary(engine, &self.bytes)
            .map_err(|error| told(&error).context(format!("cannot compile `{}`", self.name)))?;
        if let Some(entry) = entry {
            let code =
                component.serialize().map_err(|error| told(&error).context("cannot save compiled code"))?;
            // Only speed is lost when the disk is full or the directory is read-only.
            if entry.save(&code).is_ok() {
                entry.prune();
            }
        }
        Ok(component)
    }
}

/// One compiled component on disk.
struct Entry {
    dir: PathBuf,
    key: String,
}

impl Entry {
    fn new(dir: &Path, component: Digest, engine: &Engine) -> Self {
        let mut compatibility = FeedHasher(Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut compatibility);
        compatibility.0.update(component.to_string().as_bytes());
        Self { dir: dir.to_owned(), key: compatibility.0.finish().0.to_string() }
    }

    fn index(&self) -> PathBuf {
        self.dir.join(&self.key)
    }

    fn code(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}.cwasm"))
    }

    fn load(&self, engine: &Engine) -> Option<Component> {
        let digest: Digest = fs::read_to_string(self.index()).ok()?.trim_end().parse().ok()?;
        let path = self.code(digest);
        if Digest::of_file(&path).ok()?.0 != digest {
            // A damaged file would only be hashed again each time. Both may be gone already.
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(self.index());
            return None;
        }
        // SAFETY: the file holds, by its digest, the very bytes that `Component::serialize` gave,
        // for an engine that `precompile_compatibility_hash` calls the same. Files in the cache are
        // replaced by renaming and never written in place, so the mapping does not change.
        unsafe { Component::deserialize_file(engine, &path) }.ok()
    }

    fn save(&self, code: &[u8]) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        let digest = Digest::of(code);
        write_renamed(&self.dir, &self.code(digest), code)?;
        write_renamed(&self.dir, &self.index(), format!("{digest}\n").as_bytes())
    }

    /// Removes all but the newest [`KEPT`] codes; whoever has one mapped keeps it.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut codes: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        codes.sort();
        let excess = codes.len().saturating_sub(KEPT);
        for (_, path) in codes.into_iter().take(excess) {
            let _ = fs::remove_file(path);
        }
    }
}

fn write_renamed(dir: &Path, target: &Path, content: &[u8]) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(content)?;
    file.as_file().sync_data()?;
    file.persist(target).map_err(|error| error.error)?;
    Ok(())
}

/// Feeds what is hashed to a digest: the standard hashers promise nothing from one release to the next.
struct FeedHasher(Hasher);

impl std::hash::Hasher for FeedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let (digest, _) = self.0.clone().finish();
        u64::from_str_radix(digest.to_string().get(..16).unwrap_or_default(), 16).unwrap_or_default()
    }
}
