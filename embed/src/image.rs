//! A component, opened and compiled.

use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::engine::{Compiling, Engines};
use crate::error::{Context, Error as Message};
use crate::exports::SandboxPre;
use crate::failure::{Error, Result, words};
use crate::session::{Session, SessionOptions, blocking};

/// What the two kinds of wasm files begin with.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A component, compiled when needed. Clones share the code.
#[derive(Clone)]
pub struct Image {
    shared: Arc<Shared>,
}

struct Shared {
    engines: Arc<Engines>,
    name: String,
    digest: Digest,
    source: Source,
    plain: Compiled,
    interruptible: Compiled,
}

/// Where the bytes of a component are. Those of a file are read again when they are needed, which they seldom are.
enum Source {
    File(PathBuf, Mutex<fs::File>),
    Bytes(Vec<u8>),
}

#[derive(Default)]
struct Compiled {
    component: OnceLock<Component>,
    pre: OnceLock<SandboxPre>,
}

impl Image {
    pub(crate) fn of_file(engines: Arc<Engines>, path: &Path) -> Result<Self> {
        let what = || format!("cannot read the component `{}`", path.display());
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| Error::Component(Message::from(error).context(what()));
        let file = fs::File::open(path).map_err(unreadable)?;
        let mut head = Vec::new();
        (&file).take(COMPONENT.len() as u64).read_to_end(&mut head).map_err(unreadable)?;
        check_head(&name, &head)?;
        let digest = match engines.cache() {
            Some(cache) => cache.digest_of(path).context(what),
            None => Digest::of_file(path).map(|(digest, _)| digest),
        };
        let digest = digest.map_err(Error::Component)?;
        Ok(Self::new(engines, name, digest, Source::File(path.to_owned(), file.into())))
    }

    pub(crate) fn of_bytes(engines: Arc<Engines>, name: String, bytes: Vec<u8>) -> Result<Self> {
        check_head(&name, &bytes)?;
        Ok(Self::new(engines, name, Digest::of(&bytes), Source::Bytes(bytes)))
    }

    fn new(engines: Arc<Engines>, name: String, digest: Digest, source: Source) -> Self {
        let (plain, interruptible) = (Compiled::default(), Compiled::default());
        Self { shared: Arc::new(Shared { engines, name, digest, source, plain, interruptible }) }
    }

    /// The SHA-256 of the component file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.shared.digest
    }

    /// What messages call it: the path of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How many instances may be alive at once, if the embedder has a pool.
    #[must_use]
    pub fn slots(&self) -> Option<u32> {
        self.shared.engines.options.pooling.map(|pooling| pooling.slots)
    }

    /// What each guest is told in the variable [`crate::bindings::EMBEDDER`].
    pub(crate) fn announcement(&self) -> &str {
        &self.shared.engines.announcement
    }

    /// Makes an instance with its own memory. Blocks; on an executor's thread use [`Image::session_async`].
    ///
    /// # Errors
    /// When the component does not fit the world, a directory cannot be granted, or the start fails
    /// or reaches a limit.
    pub fn session(&self, options: SessionOptions) -> Result<Session> {
        blocking(Session::start(self, options, true))?
    }

    /// As [`Image::session`].
    ///
    /// # Errors
    /// As [`Image::session`].
    pub async fn session_async(&self, options: SessionOptions) -> Result<Session> {
        Session::start(self, options, false).await
    }

    /// Compiles the component, or takes the code from the cache, for sessions that stop native code (`interruptible`)
    /// or others, see [`crate::Limits::stop_native_code`]. [`Image::session`] does it too: this is to have it done
    /// before, and to measure it.
    ///
    /// # Errors
    /// When the component is not valid. A cache that cannot be written is not an error.
    pub fn prepare(&self, interruptible: bool) -> Result<&Component> {
        let compiled = self.compiled(interruptible);
        if let Some(component) = compiled.component.get() {
            return Ok(component);
        }
        let component = self.load_or_compile(self.shared.engines.get(interruptible)?)?;
        Ok(compiled.component.get_or_init(|| component))
    }

    /// The component with all its imports resolved: what is the same for each instance is done once.
    pub(crate) fn pre(&self, interruptible: bool) -> Result<&SandboxPre> {
        let compiled = self.compiled(interruptible);
        if let Some(pre) = compiled.pre.get() {
            return Ok(pre);
        }
        let component = self.prepare(interruptible)?;
        let pre = SandboxPre::new(component).map_err(|error| Error::Start {
            component: self.name().to_owned(),
            cause: Box::new(Error::Component(words(&error))),
        })?;
        Ok(compiled.pre.get_or_init(|| pre))
    }

    /// Compiles the component into the directory `<component>.native` beside it, for machines like this one, with and
    /// without the means to stop native code. Embedders with [`crate::EmbedderOptions::trust_native_code_beside`] then
    /// take it from there. Returns the directory.
    ///
    /// # Errors
    /// When the component is no file, is not valid, or the directory cannot be written.
    pub fn compile_beside(&self) -> Result<PathBuf> {
        let Some(folder) = self.beside() else {
            let message = format!("`{}` is no file, so nothing can be put beside it", self.name());
            return Err(Error::Cache(Message::new(message)));
        };
        let cache = Cache::new(folder.clone());
        for interruptible in [false, true] {
            let engine = self.shared.engines.get(interruptible)?;
            let code =
                self.prepare(interruptible)?.serialize().map_err(|error| Error::Engine(words(&error)))?;
            cache
                .save(self.digest(), engine, &code)
                .context(|| format!("cannot write to `{}`", folder.display()))
                .map_err(Error::Cache)?;
        }
        Ok(folder)
    }

    fn compiled(&self, interruptible: bool) -> &Compiled {
        if interruptible { &self.shared.interruptible } else { &self.shared.plain }
    }

    fn beside(&self) -> Option<PathBuf> {
        match &self.shared.source {
            Source::File(path, _) => {
                let mut name = path.clone().into_os_string();
                name.push(".native");
                Some(name.into())
            }
            Source::Bytes(_) => None,
        }
    }

    fn load_or_compile(&self, engine: &Engine) -> Result<Component> {
        let options = &self.shared.engines.options;
        let cache = self.shared.engines.cache();
        let beside = self.beside().filter(|_| options.trust_native_code_beside);
        let beside =
            beside.map(|folder| Cache::beside(folder, cache.as_ref().map(|cache| cache.folder().to_owned())));
        let start = Instant::now();
        for place in [&beside, &cache].into_iter().flatten() {
            if let Some(component) = place.load(self.digest(), engine) {
                tracing::debug!(component = self.name(), elapsed = ?start.elapsed(), "compiled code was loaded");
                return Ok(component);
            }
        }
        let bytes = self.bytes()?;
        if let Some(tell) = &options.on_compile {
            tell(Compiling::Begun(self.name(), bytes.len() as u64));
        }
        let component = Component::from_binary(engine, &bytes);
        if let Some(tell) = &options.on_compile {
            tell(Compiling::Ended(start.elapsed()));
        }
        let component = component.map_err(|error| {
            Error::Component(words(&error).context(format!("cannot compile `{}`", self.name())))
        })?;
        tracing::debug!(component = self.name(), elapsed = ?start.elapsed(), "the component was compiled");
        if let Some(cache) = cache {
            let code = component
                .serialize()
                .map_err(|error| Error::Engine(words(&error).context("cannot save compiled code")))?;
            // Only speed is lost when the disk is full or the directory is read-only.
            if cache.save(self.digest(), engine, &code).is_ok() {
                cache.prune();
                // What was saved is mapped, so that its pages are shared with others and the image of the memory
                // comes from the file.
                return Ok(cache.load(self.digest(), engine).unwrap_or(component));
            }
        }
        Ok(component)
    }

    fn bytes(&self) -> Result<std::borrow::Cow<'_, [u8]>> {
        match &self.shared.source {
            Source::Bytes(bytes) => Ok(bytes.into()),
            Source::File(path, file) => {
                let what = || format!("cannot read the component `{}`", path.display());
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let mut bytes = Vec::new();
                file.rewind()
                    .and_then(|()| file.read_to_end(&mut bytes))
                    .context(what)
                    .map_err(Error::Component)?;
                if Digest::of(&bytes) != self.digest() {
                    let message = format!("`{}` has changed since it was opened", path.display());
                    return Err(Error::Component(Message::new(message)));
                }
                Ok(bytes.into())
            }
        }
    }
}

fn check_head(name: &str, bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(COMPONENT) {
        return Ok(());
    }
    let message = Message::new(format!("`{name}` is not a component"));
    Err(Error::Component(if bytes.starts_with(CORE_MODULE) {
        message.detail("it is a core module")
    } else {
        message
    }))
}
