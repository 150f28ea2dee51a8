//! Types generated from the world, and the embedder's side of its imports.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use wasmtime::component::{Accessor, HasData, HasSelf, Linker, Resource, ResourceTable, WasmStr};
use wasmtime::{Engine, StoreContextMut};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_io::bindings::wasi::io::poll;
use wasmtime_wasi_io::poll::DynPollable;

use crate::control::{Control, Raced, Raise, Stage, Word, race};
use crate::files;
use crate::limits::{MemoryLimiter, format_size};
use crate::output::Budget;
use crate::session::{Callback, OnTrace, TraceEvent};

// The macro writes items without documentation; they stay inside this module.
#[allow(missing_docs)]
mod generated {
    wasmtime::component::bindgen!({ path: "../runtime/wit/sandbox.wit" });
}

pub(super) use generated::SandboxIndices;
use generated::{CallbackInfo, SandboxImports, SandboxImportsWithStore};

/// The environment variable that tells a guest the size of its stack, and has words for what is asked of it.
pub(crate) const EMBEDDER: &str = "ERYX_EMBEDDER";
/// The word that asks a guest to tell where its evaluation loop looks, see [`report_trace`].
pub(crate) const ASK_FOR_WORD: &str = "eval-breaker";
/// Trace events that are not for the user. Their line is 0, as no line of Python is.
const WORD_TOLD: &str = r#"{"event":"eval-breaker"}"#;
const ABOUT_TO_STOP: &str = r#"{"event":"stopping"}"#;
const EXITS: &str = r#"{"event":"exit"}"#;

/// What the embedder keeps for one instance.
pub(super) struct Guest {
    pub(super) wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) memory: MemoryLimiter,
    pub(super) callbacks: Vec<Callback>,
    pub(super) on_trace: Option<OnTrace>,
    pub(super) control: Arc<Control>,
    /// What may still be written, in trace events, too.
    pub(super) output: Arc<Budget>,
    /// The most that the arguments of all callbacks under way may be, in bytes, and what they are.
    pub(super) transfer: u64,
    pub(super) in_flight: Arc<AtomicU64>,
    /// The status that the guest ends itself with; WASI 0.2 tells success and failure only.
    pub(super) exit_status: Option<i32>,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A call that was stopped did not end by itself in time.
#[derive(Debug)]
pub(super) struct Abandoned;

impl std::fmt::Display for Abandoned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the call was stopped")
    }
}

impl std::error::Error for Abandoned {}

impl SandboxImports for Guest {
    fn list_callbacks(&mut self) -> Vec<CallbackInfo> {
        self.callbacks
            .iter()
            .map(|callback| CallbackInfo {
                name: callback.name.clone(),
                description: callback.description.clone(),
                parameters_schema_json: callback.parameters_schema.clone(),
            })
            .collect()
    }

    fn report_trace(&mut self, lineno: u32, event_json: String, context_json: String) {
        let size = (event_json.len() + context_json.len()) as u64;
        if let Some(on_trace) = &mut self.on_trace
            && self.output.take(size)
        {
            on_trace(TraceEvent { line: lineno, event: event_json, context: context_json });
        }
    }
}

impl SandboxImportsWithStore<Guest> for HasSelf<Guest> {
    async fn invoke(
        accessor: &Accessor<Guest, Self>,
        name: String,
        arguments_json: String,
    ) -> Result<String, String> {
        let size = arguments_json.len() as u64;
        // The store is only borrowed to find the callback: while it runs, the guest continues and
        // may have other calls in flight.
        let begun = accessor.with(|mut access| {
            let guest = access.get();
            let callback = guest.callbacks.iter().find(|callback| callback.name == name);
            let callback = callback.ok_or_else(|| format!("there is no callback named `{name}`"))?;
            let held = Held::new(&guest.in_flight, size);
            if guest.in_flight.load(Ordering::Relaxed) > guest.transfer {
                let limit = format_size(guest.transfer);
                return Err(format!("the arguments of the callbacks under way are larger than {limit}"));
            }
            Ok::<_, String>(((callback.function)(arguments_json), Arc::clone(&guest.control), held))
        });
        let (answer, control, _held) = begun?;
        match race(answer, control.asked()).await {
            Raced::First(answer) => answer,
            // The guest continues, and is stopped in its own code.
            Raced::Second(()) => Err("the call was stopped".to_owned()),
        }
    }
}

/// Arguments that a callback has while it runs, however it ends.
struct Held(Arc<AtomicU64>, u64);

impl Held {
    fn new(in_flight: &Arc<AtomicU64>, size: u64) -> Self {
        in_flight.fetch_add(size, Ordering::Relaxed);
        Self(Arc::clone(in_flight), size)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// `report-trace`, with three events of our own.
///
/// The guest tells the word that its evaluation loop looks at by a string whose bytes *are* that word: wasmtime has
/// checked that they lie in the instance's memory, so a hostile guest can point us to a place in its own memory at
/// worst. It tells when it is about to raise what we asked for, by bytes of the same kind, so that we can end what has been
/// asked too often, or answer that it is an interrupt. And it tells the status that it ends itself with.
fn report_trace(
    mut store: StoreContextMut<'_, Guest>,
    (line, event, context): (u32, WasmStr, WasmStr),
) -> wasmtime::Result<()> {
    let event = event.to_str(&store)?.into_owned();
    if line == 0 && event == WORD_TOLD {
        let word = match context.to_str(&store)? {
            // SAFETY: the bytes are those of the instance's memory, not a copy of them. `Session` makes the control
            // forget the word before it drops the store.
            Cow::Borrowed(place) => unsafe { Word::of(place.as_bytes()) },
            Cow::Owned(_) => None,
        };
        let word = word.ok_or_else(|| wasmtime::Error::msg("the guest told no word of its memory"))?;
        store.data().control.tell_word(word);
        return Ok(());
    }
    if line == 0 && event == ABOUT_TO_STOP {
        let control = &store.data().control;
        if control.raised(Instant::now()) == Raise::Interrupt
            && let Cow::Borrowed(place) = context.to_str(&store)?
            // SAFETY: as above; the word is not kept.
            && let Some(word) = unsafe { Word::of(place.as_bytes()) }
        {
            word.answer_interrupt();
            return Ok(());
        }
        return match control.stage() {
            Stage::Abandoned => Err(wasmtime::Error::new(Abandoned)),
            Stage::Running | Stage::Stopping => Ok(()),
        };
    }
    let context = context.to_str(&store)?.into_owned();
    if line == 0 && event == EXITS {
        store.data_mut().exit_status = context.parse().ok();
        return Ok(());
    }
    store.data_mut().report_trace(line, event, context);
    Ok(())
}

/// WASI's `poll`, which returns early when the call is stopped: then nothing that a guest waits for is left to wait for.
struct Waits;

struct WaitsView<'a> {
    table: &'a mut ResourceTable,
    control: Arc<Control>,
}

impl HasData for Waits {
    type Data<'a> = WaitsView<'a>;
}

impl poll::Host for WaitsView<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        let all: Vec<u32> = (0..).take(pollables.len()).collect();
        match race(poll::Host::poll(self.table, pollables), self.control.asked()).await {
            Raced::First(ready) => ready,
            Raced::Second(()) => Ok(all),
        }
    }
}

impl poll::HostPollable for WaitsView<'_> {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        poll::HostPollable::ready(self.table, pollable).await
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        let waited = race(poll::HostPollable::block(self.table, pollable), self.control.asked());
        match waited.await {
            Raced::First(waited) => waited,
            Raced::Second(()) => Ok(()),
        }
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::drop(self.table, pollable)
    }
}

/// A linker with everything the world may import.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    generated::Sandbox::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    linker.allow_shadowing(true);
    linker.root().func_wrap("report-trace", report_trace)?;
    poll::add_to_linker::<Guest, Waits>(&mut linker, |guest| WaitsView {
        table: &mut guest.table,
        control: Arc::clone(&guest.control),
    })?;
    files::add_to_linker(&mut linker)?;
    Ok(linker)
}
