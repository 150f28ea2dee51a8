//! Trains the interpreter: lets it run the tests of CPython's own profile-guided build (`recipes/cpython/profile`), so that
//! what it does most is known.
//!
//! It runs as the interpreter of a component does, prelinked and in a world in which nothing differs between two runs
//! ([`crate::fixed`]), so equal inputs give equal counts.

use std::fs;

use wasmtime::{Instance, Linker, Module, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::cli::OutputFile;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::cpython::{self, Compiled, STDLIB};
use super::cpython_dev::LIBRARY;
use super::{Work, component};
use crate::command::Log;
use crate::error::{Error, Result};
use crate::fixed;
use crate::fuse::{self, Fused};
use crate::image::{self, Content, Entry};
use crate::link::{Library, STACK_SIZE};

/// Where the script is in the guest.
const SCRIPT: &str = "/usr/lib/train.py";
/// What the interpreter is called with.
const ARGUMENTS: &[&str] = &["python3", "-I", "-B", "-X", "utf8", SCRIPT];

/// Makes one module of the interpreter's library, its standard library with the tests, and the script; also tells where in
/// the list of libraries the interpreter's is.
///
/// # Errors
/// When it cannot be fused.
pub(super) fn fused(work: &Work, compiled: &Compiled, interpreter: Library) -> Result<(Fused, usize)> {
    let stdlib = work.dir.join("stdlib");
    cpython::copy_library(compiled, &stdlib, &|path| {
        !path.components().any(|part| part.as_os_str() == "__pycache__")
    })?;
    // To read a longer path takes longer, and would count.
    work.scrub_folder(&stdlib)?;
    let mut entries = Vec::new();
    component::add_files(&mut entries, &mut Vec::new(), &stdlib, STDLIB)?;
    let script = fs::read(work.input("training")?.join("train.py"))?;
    let content = Content::File { bytes: script, executable: false };
    entries.push(Entry { path: SCRIPT.to_owned(), content });
    let mut libraries = component::system_libraries(work, image::library(&image::encode(&entries)?))?;
    libraries.push(interpreter);
    component::keep_needed(&mut libraries, &[LIBRARY])?;
    component::redirect(&mut libraries)?;
    let place = libraries.iter().position(|library| library.name == LIBRARY);
    let place = place.ok_or_else(|| Error::new(format!("`{LIBRARY}` is not among the libraries")))?;
    let libraries: Vec<&Library> = libraries.iter().collect();
    Ok((fuse::fuse(&libraries, &["malloc"], STACK_SIZE, fuse::Options::default())?, place))
}

/// Runs the training, and takes from the instance what it has counted. What is printed goes to the log as it comes.
///
/// # Errors
/// When the training fails.
pub(super) fn run<T: Send>(
    module: &[u8],
    log: &Log,
    take: impl FnOnce(&mut Store<WasiP1Ctx>, &Instance) -> wasmtime::Result<T> + Send,
) -> Result<T> {
    // Deep recursion in the guest shall end as the guest's own error.
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(fixed::THREAD_STACK);
        let thread = builder.spawn_scoped(scope, || run_here(module, log, take))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn run_here<T>(
    module: &[u8],
    log: &Log,
    take: impl FnOnce(&mut Store<WasiP1Ctx>, &Instance) -> wasmtime::Result<T>,
) -> Result<T> {
    let (compiled, linker) = fixed::compile(&fixed::config(), module).map_err(|error| told(&error))?;
    let (output, begin) = log.begin("train")?;
    let output = OutputFile::new(output);
    let mut store =
        Store::new(linker.engine(), fixed::wasi().stdout(output.clone()).stderr(output).build_p1());
    match trained(&mut store, &linker, &compiled).and_then(|instance| take(&mut store, &instance)) {
        Ok(taken) => Ok(taken),
        Err(error) => Err(log.failure(told(&error).to_string(), begin)?),
    }
}

/// An instance in which Python has run the script and ended.
fn trained(
    store: &mut Store<WasiP1Ctx>,
    linker: &Linker<WasiP1Ctx>,
    module: &Module,
) -> wasmtime::Result<Instance> {
    let instance = linker.instantiate(&mut *store, module)?;
    instance.get_typed_func::<(), ()>(&mut *store, "_initialize")?.call(&mut *store, ())?;
    // The command line as C has it: the addresses of its words, and the words.
    let table = (ARGUMENTS.len() + 1) * size_of::<u32>();
    let words: Vec<u8> = ARGUMENTS.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let allocate = instance.get_typed_func::<u32, u32>(&mut *store, "malloc")?;
    let begin = allocate.call(&mut *store, (table + words.len()) as u32)?;
    let mut bytes = Vec::new();
    let mut next = begin + table as u32;
    for word in ARGUMENTS {
        bytes.extend(next.to_le_bytes());
        next += word.len() as u32 + 1;
    }
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(words);
    let memory = instance.get_memory(&mut *store, "memory");
    let memory = memory.ok_or_else(|| wasmtime::Error::msg("the module has no memory"))?;
    memory.write(&mut *store, begin as usize, &bytes)?;
    let main = instance.get_typed_func::<(u32, u32), i32>(&mut *store, "Py_BytesMain")?;
    match main.call(&mut *store, (ARGUMENTS.len() as u32, begin))? {
        0 => Ok(instance),
        status => Err(I32Exit(status).into()),
    }
}

fn told(error: &wasmtime::Error) -> Error {
    Error::of_chain(error.chain()).context("cannot train the interpreter")
}
