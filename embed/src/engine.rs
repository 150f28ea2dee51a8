//! Engines: how guests are compiled, where their memory comes from, and how large their stacks are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bindings::ASK_FOR_WORD;
use crate::cache::Cache;
use crate::failure::{Error, Result, words};
use crate::image::Image;
use crate::setters::setters;

/// The stacks of a guest, which have to fit each other.
///
/// A guest has two: one in its own memory, which the link decides, and one of the embedder's, for the frames of
/// compiled code. Where the second ends, wasmtime traps ([`Error::Stack`]). Functions of the embedder that the
/// guest calls run on the same fibre above that limit and are not checked: without room for them the *process* would
/// end. This is the only place where sizes of stacks are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stacks {
    wasm: usize,
}

impl Stacks {
    /// What functions of the embedder may use: WASI's, callbacks and their destructors need far less.
    const EMBEDDER: usize = 4 << 20;
    /// The least that a guest can have; Python does not start with less.
    const LEAST: usize = 128 << 10;
    /// The most; a fibre of this size is reserved for each slot of a pool.
    const MOST: usize = 1 << 30;

    /// A guest whose compiled code may use `bytes` of stack, at least 128 KiB and at most 1 GiB.
    ///
    /// Guests of ours are told, so that deep recursion raises `RecursionError` before the stack ends in
    /// [`Error::Stack`]; with less than 512 KiB it may end so all the same.
    #[must_use]
    pub fn of(bytes: usize) -> Self {
        Self { wasm: bytes.clamp(Self::LEAST, Self::MOST) }
    }

    fn configure(self, config: &mut Config) {
        config.max_wasm_stack(self.wasm).async_stack_size(self.wasm + Self::EMBEDDER);
    }
}

impl Default for Stacks {
    fn default() -> Self {
        Self::of(12 << 20)
    }
}

/// Slots that are reserved once and used again and again.
///
/// A slot is address space for one instance's memory, tables and stack. When an instance is dropped, its slot is reset:
/// pages that were written to get their first content again, so that nothing is carried over and the next instance
/// finds its memory mapped already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pooling {
    /// How many instances may be alive at once. Each slot reserves some 16 GiB of address space, which is no memory.
    pub slots: u32,
    /// How much of a slot's memory stays with it when it is reset, in bytes; the rest is given back to the system.
    /// So a pool that is idle holds at most `slots` times this, and what an instance has written beyond it costs page
    /// faults the next time. So does what lies behind the first 32 runs of written pages: the engine looks at no more.
    /// Short code in a component of ours stays below that.
    pub keep_resident: usize,
}

setters!(Pooling { keep_resident: usize });

impl Pooling {
    /// What stays of a stack, in bytes; code that recurses deeper gives the rest back when it ends.
    const STACK_RESIDENT: usize = 64 << 10;
    /// Stacks of one instance: a call that waits holds one, while what wakes it runs on another.
    const STACKS: u32 = 4;
    /// Entries that a table may have. A table that grows beyond it does not grow.
    const TABLE: usize = 1 << 17;
    /// Memories of one instance: its own, and the engine's heap for the exceptions that its code throws.
    const MEMORIES: u32 = 2;
    /// Tables, core instances of one component: an unfused one has one of each for every library.
    const TABLES: u32 = 8;
    const INSTANCES: u32 = 512;
    /// The most that describes one instance, in bytes.
    const DESCRIPTION: usize = 16 << 20;

    /// A pool of this many slots which keep 16 MiB each.
    #[must_use]
    pub fn of(slots: u32) -> Self {
        Self { slots, keep_resident: 16 << 20 }
    }

    fn strategy(self) -> InstanceAllocationStrategy {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(self.slots)
            .total_core_instances(self.slots.saturating_mul(Self::INSTANCES))
            .total_memories(self.slots.saturating_mul(Self::MEMORIES))
            .total_tables(self.slots.saturating_mul(Self::TABLES))
            .total_stacks(self.slots.saturating_mul(Self::STACKS))
            .total_gc_heaps(self.slots)
            .max_component_instance_size(Self::DESCRIPTION)
            .max_core_instance_size(Self::DESCRIPTION)
            .max_tables_per_module(Self::TABLES)
            .table_elements(Self::TABLE)
            .linear_memory_keep_resident(self.keep_resident)
            .table_keep_resident(Self::TABLE * size_of::<usize>())
            .async_stack_keep_resident(Self::STACK_RESIDENT)
            // Without it (Linux before 6.7) resetting would have to copy all that is kept.
            .pagemap_scan(Enabled::Auto)
            // Slots that were used are used first: they are mapped and warm.
            .max_unused_warm_slots(self.slots);
        InstanceAllocationStrategy::Pooling(pool)
    }
}

/// What an embedder is told while a component is compiled, which may take a minute the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compiling<'a> {
    /// It begins: the component's name, and its size in bytes.
    Begun(&'a str, u64),
    /// It has ended, after this time.
    Ended(Duration),
}

/// A function that is told of [`Compiling`].
pub type OnCompile = Arc<dyn Fn(Compiling<'_>) + Send + Sync>;

/// How to make an [`Embedder`].
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct EmbedderOptions {
    /// A directory for compiled code, which need not exist. Without one, each process compiles anew.
    ///
    /// It must not be one that others may make first or write to; [`crate::user_cache`] names one.
    pub cache: Option<PathBuf>,
    /// Whether to take native code from the directory `<component>.native` beside a component, as
    /// [`Image::compile_beside`] puts it there. It is not taken where others than this user and root may write.
    ///
    /// Native code is not sandboxed. Take it only from those from whom you would take a program.
    pub trust_native_code_beside: bool,
    /// The sizes of stacks.
    pub stacks: Stacks,
    /// A pool of slots; without one, each instance has its memory mapped anew, which takes a few times as long.
    pub pooling: Option<Pooling>,
    /// Is told when compiling begins and ends.
    pub on_compile: Option<OnCompile>,
}

setters!(EmbedderOptions {
    cache: Option<PathBuf>,
    trust_native_code_beside: bool,
    stacks: Stacks,
    pooling: Option<Pooling>,
    on_compile: Option<OnCompile>,
});

/// Compiles components and keeps the compiled code.
#[derive(Clone)]
pub struct Embedder {
    engines: Arc<Engines>,
}

/// The two engines; see [`crate::Limits::stop_native_code`] for why there are two. Both are made when first needed.
pub(crate) struct Engines {
    pub(crate) options: EmbedderOptions,
    /// What each guest is told; made once, as each instance has it.
    pub(crate) announcement: String,
    plain: OnceLock<Engine>,
    interruptible: OnceLock<Engine>,
}

impl Engines {
    pub(crate) fn get(&self, interruptible: bool) -> Result<&Engine> {
        let slot = if interruptible { &self.interruptible } else { &self.plain };
        if let Some(engine) = slot.get() {
            return Ok(engine);
        }
        let engine = Engine::new(&config(&self.options, interruptible))
            .map_err(|error| Error::Engine(words(&error).context("cannot start the wasm engine")))?;
        Ok(slot.get_or_init(|| engine))
    }

    /// Where compiled code is looked for; the last one is where it is written.
    pub(crate) fn cache(&self) -> Option<Cache> {
        self.options.cache.as_ref().map(|folder| Cache::new(folder.join("compiled")))
    }
}

impl Embedder {
    /// Makes an embedder that keeps compiled code under `cache`, a directory that need not exist.
    /// Without one, each process compiles anew, which takes minutes of processor time for numpy.
    ///
    /// # Errors
    /// When wasmtime does not support this machine, or others may write to the cache.
    pub fn new(cache: Option<&Path>) -> Result<Self> {
        Self::with(EmbedderOptions::default().cache(cache.map(Path::to_owned)))
    }

    /// Makes an embedder.
    ///
    /// # Errors
    /// When wasmtime does not support this machine, there is no address space for a pool, or others may write to the cache.
    pub fn with(options: EmbedderOptions) -> Result<Self> {
        let announcement = format!("stack={} {ASK_FOR_WORD}", options.stacks.wasm);
        let engines =
            Engines { options, announcement, plain: OnceLock::new(), interruptible: OnceLock::new() };
        engines.get(false)?;
        if let Some(cache) = engines.cache() {
            cache.check()?;
        }
        Ok(Self { engines: Arc::new(engines) })
    }

    /// Opens a component. It is compiled when first needed, see [`Image::prepare`].
    ///
    /// # Errors
    /// When the file cannot be read or is no component.
    pub fn load(&self, component: &Path) -> Result<Image> {
        Image::of_file(Arc::clone(&self.engines), component)
    }

    /// Opens a component in memory; `name` is what messages call it.
    ///
    /// # Errors
    /// When the bytes are no component.
    pub fn load_bytes(&self, name: impl Into<String>, component: Vec<u8>) -> Result<Image> {
        Image::of_bytes(Arc::clone(&self.engines), name.into(), component)
    }
}

/// What a component needs of an engine: component-model async, exceptions, garbage collection and function references
/// (the call trampoline of the interpreter uses them). What is set here for a pool does not change compiled code, so
/// that embedders with and without one share it.
fn config(options: &EmbedderOptions, interruptible: bool) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .wasm_exceptions(true)
        .wasm_function_references(true)
        .wasm_gc(true)
        // Components of ours tell which of Python's branches hardly ever go one way. The engine has this off by default, as it
        // was not fuzzed yet; all that hints decide is where code lies.
        .wasm_branch_hinting(true)
        // The watcher of time limits holds an address in a guest's memory.
        .memory_may_move(false)
        // The memory of a pre-initialised component is an image of this size at most; below it, it is always mapped.
        .memory_guaranteed_dense_image_size(1 << 30)
        .epoch_interruption(interruptible);
    options.stacks.configure(&mut config);
    if let Some(pooling) = options.pooling {
        // Code that recursed deeply must not leave megabytes of stack in each slot.
        config.async_stack_zeroing(true).allocation_strategy(pooling.strategy());
    }
    config
}
