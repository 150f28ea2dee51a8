//! A world in which nothing differs between two runs: for guest code that runs while something is built.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::{Config, Engine, Linker, Module};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// The wasm stack in bytes; generous, since code that is not optimised takes more of it.
const WASM_STACK: usize = 32 << 20;

/// The stack in bytes that a thread needs that runs guest code.
pub const THREAD_STACK: usize = 2 * WASM_STACK;

/// The time that all clocks show at first: 1980-01-01, the oldest that an archive can hold.
const EPOCH: Duration = Duration::from_secs(315_532_800);

/// What an engine needs for our modules.
#[must_use]
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_exceptions(true)
        .wasm_function_references(true)
        .wasm_gc(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(THREAD_STACK);
    config
}

/// A context with fixed clocks and random numbers, an empty environment and no directories.
#[must_use]
pub fn wasi() -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.secure_random(Deterministic::new(vec![0]))
        .insecure_random(Deterministic::new(vec![0]))
        .insecure_random_seed(0)
        .wall_clock(Fixed)
        .monotonic_clock(Ticking(AtomicU64::new(0)));
    wasi
}

/// Compiles a module, and links it with WASI preview1. Whatever else it imports is an embedder's, of which there is none: it
/// traps.
///
/// # Errors
/// When the module is not valid, or the engine cannot be made.
pub fn compile(config: &Config, module: &[u8]) -> wasmtime::Result<(Module, Linker<WasiP1Ctx>)> {
    let engine = Engine::new(config)?;
    let module = Module::new(&engine, module)?;
    let mut linker = Linker::new(&engine);
    p1::add_to_linker_sync(&mut linker, |context| context)?;
    linker.define_unknown_imports_as_traps(&module)?;
    Ok((module, linker))
}

/// A wall clock that stands still.
struct Fixed;

impl HostWallClock for Fixed {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        EPOCH
    }
}

/// A clock that goes on a microsecond each time that it is read, so that nobody waits for ever.
struct Ticking(AtomicU64);

impl HostMonotonicClock for Ticking {
    fn resolution(&self) -> u64 {
        1_000
    }

    fn now(&self) -> u64 {
        self.0.fetch_add(1_000, Ordering::Relaxed)
    }
}
