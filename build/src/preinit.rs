//! Pre-initialises a fused module: runs its start and Python's, and saves the memory.
//!
//! The module is run as a core module, before a component is made of it, so that no handle of an embedder's is
//! ever in its memory. wasmtime-wizer turns what is there at the end into data segments. Everything that the
//! run can see is fixed: clocks, random numbers, an empty environment, no directories; so equal modules and
//! requests give equal bytes. What an instance must not share with others is undone at its first call
//! (`runtime/src/preinit.rs`). Only how long each part may take is measured by a real clock.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use eryx_embed::format_duration;
use serde_json::json;
use wasmtime::{Config, Engine, Instance, Linker, Module, OptLevel, Store, Val};
use wasmtime_wasi::cli::{InputFile, OutputFile};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

use crate::command::Log;
use crate::error::{Error, Result};
use crate::fixed;
use crate::link::STACK_SIZE;

/// The export of the runtime that prepares the memory.
pub const EXPORT: &str = "__eryx_preinitialise";

/// What the errors begin with.
const FAILED: &str = "cannot pre-initialise";

/// How long each import and the set-up may take: far longer than any that ends.
pub const LIMIT: Duration = Duration::from_secs(300);

/// How often it is looked whether one is over its time.
const LOOK: Duration = Duration::from_millis(100);

/// What to do before the memory is saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Modules to import.
    pub imports: Vec<String>,
    /// Python code to run in the session.
    pub setup: Option<String>,
}

/// A module that was run.
#[derive(Debug)]
pub struct Prepared {
    /// The module with the memory as it was then.
    pub module: Vec<u8>,
    /// What was written to standard output and standard error meanwhile; it is no part of the module.
    pub printed: String,
}

impl Request {
    /// What is done, in order: in words, and as the guest reads it.
    fn parts(&self) -> Vec<(String, String)> {
        let imports =
            self.imports.iter().map(|name| (format!("importing `{name}`"), json!({ "import": name })));
        let setup = self.setup.iter().map(|code| ("the set-up".to_owned(), json!({ "setup": code })));
        let parts = imports.chain(setup).map(|(words, part)| (words, part.to_string()));
        parts.map(|(words, part)| (words, format!("{} {part}", part.len()))).collect()
    }
}

/// Runs a module's start and [`EXPORT`]. What is printed goes to the log as it comes. `limit` is how long each import and
/// the set-up may take, see [`LIMIT`].
///
/// # Errors
/// When Python raises, with what it told; when something takes too long; when the module cannot be run or saved.
pub fn preinitialise(module: &[u8], request: &Request, limit: Duration, log: &Log) -> Result<Prepared> {
    let mut wizer = Wizer::new();
    wizer.init_func(EXPORT);
    let (context, instrumented) = wizer.instrument(module).map_err(|error| told(&error))?;
    let (compiled, linker) = fixed::compile(&config(), &instrumented).map_err(|error| told(&error))?;

    let parts = request.parts();
    let mut input = tempfile::tempfile()?;
    input.write_all(parts.iter().map(|(_, part)| part.as_str()).collect::<String>().as_bytes())?;
    input.rewind()?;
    let (output, begin) = log.begin("pre-initialise")?;
    let output = OutputFile::new(output);
    let wasi = fixed::wasi()
        .stdin(InputFile::new(input.try_clone()?))
        .stdout(output.clone())
        .stderr(output)
        .build_p1();
    let mut store = Store::new(linker.engine(), wasi);
    store.set_epoch_deadline(1);
    let (done, late) = watched(input, &parts, limit, linker.engine(), || run(&mut store, &linker, &compiled));
    let printed = log.since(begin)?;
    let instance = match done {
        Ok(instance) => instance,
        Err(error) => {
            let error = match late {
                Some(doing) => {
                    let limit = format_duration(limit);
                    Error::new(format!("{FAILED}: {doing} took longer than {limit}"))
                        .details(log.tail(begin)?)
                }
                None if printed.is_empty() => told(&error),
                None => log.failure(FAILED, begin)?,
            };
            return Err(error.hint(
                "`--import` and `--setup` choose what runs before the memory is saved; `--no-preinit` leaves it out",
            ));
        }
    };
    forget_stack(&mut store, &instance)?;
    let mut state = Saved { store: &mut store, instance };
    let snapshot = wizer.snapshot(&context, &mut state);
    let executor = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(Prepared { module: executor.block_on(snapshot).map_err(|error| told(&error))?, printed })
}

/// Does `work`, which reads `parts` from `input`; ends it when one of them takes longer than `limit`, and tells which.
fn watched<R>(
    mut input: File,
    parts: &[(String, String)],
    limit: Duration,
    engine: &Engine,
    work: impl FnOnce() -> R,
) -> (R, Option<String>) {
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || -> Option<String> {
            let (mut read, mut since) = (0, Instant::now());
            while is_done.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                // Both handles have one position. What was not read yet is still to do.
                let now = input.stream_position().unwrap_or(read);
                if std::mem::replace(&mut read, now) != now {
                    since = Instant::now();
                }
                if since.elapsed() > limit {
                    engine.increment_epoch();
                    return Some(part_at(parts, now));
                }
            }
            None
        });
        let result = work();
        drop(done);
        (result, watcher.join().unwrap_or_default())
    })
}

/// What is done when so many bytes of the parts have been read.
fn part_at(parts: &[(String, String)], mut read: u64) -> String {
    let begun = parts.iter().take_while(|(_, part)| {
        let begun = read > 0;
        read = read.saturating_sub(part.len() as u64);
        begun
    });
    begun.last().map_or_else(|| "Python's start".to_owned(), |(words, _)| words.clone())
}

fn run(
    store: &mut Store<WasiP1Ctx>,
    linker: &Linker<WasiP1Ctx>,
    module: &Module,
) -> wasmtime::Result<Instance> {
    let instance = linker.instantiate(&mut *store, module)?;
    for function in ["_initialize", EXPORT] {
        instance.get_typed_func::<(), ()>(&mut *store, function)?.call(&mut *store, ())?;
    }
    Ok(instance)
}

/// The code runs once, so it is compiled fast rather than well.
fn config() -> Config {
    let mut config = fixed::config();
    config.cranelift_opt_level(OptLevel::None).epoch_interruption(true);
    config
}

/// What lies on the stack is of no use any more, and would only make the file larger.
fn forget_stack(store: &mut Store<WasiP1Ctx>, instance: &Instance) -> Result<()> {
    let memory =
        instance.get_memory(&mut *store, "memory").ok_or_else(|| Error::new("the module has no memory"))?;
    if let Some(stack) = memory.data_mut(&mut *store).get_mut(..STACK_SIZE as usize) {
        stack.fill(0);
    }
    Ok(())
}

/// What wizer reads of an instance.
struct Saved<'a> {
    store: &'a mut Store<WasiP1Ctx>,
    instance: Instance,
}

impl InstanceState for Saved<'_> {
    async fn global_get(&mut self, name: &str, ty: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut *self.store, name);
        match global.map(|global| global.get(&mut *self.store)) {
            Some(Val::I32(value)) => SnapshotVal::I32(value),
            Some(Val::I64(value)) => SnapshotVal::I64(value),
            Some(Val::F32(value)) => SnapshotVal::F32(value),
            Some(Val::F64(value)) => SnapshotVal::F64(value),
            Some(Val::V128(value)) => SnapshotVal::V128(value.as_u128()),
            // Wizer exports every global that it asks for, and refuses modules whose globals hold references.
            other => unreachable!("`{name}` is {other:?}, expected a value of type {ty}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut *self.store, name);
        contents(memory.map_or(&[], |memory| memory.data(&*self.store)));
    }
}

fn told(error: &wasmtime::Error) -> Error {
    Error::of_chain(error.chain()).context(FAILED)
}
