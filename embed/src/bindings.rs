//! Types generated from the world, and the embedder's side of its imports.

use std::time::Instant;

use wasmtime::component::{Accessor, HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::limits::MemoryLimiter;
use crate::session::{Callback, TraceEvent};

// The macro writes items without documentation; they stay inside this module.
#[allow(missing_docs)]
mod generated {
    wasmtime::component::bindgen!({ path: "../runtime/wit/sandbox.wit" });
}

use generated::{CallbackInfo, SandboxImports, SandboxImportsWithStore};
pub(super) use generated::{Sandbox, SandboxPre};

/// What the embedder keeps for one instance.
pub(super) struct Guest {
    pub(super) wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) memory: MemoryLimiter,
    pub(super) callbacks: Vec<Callback>,
    pub(super) on_trace: Option<Box<dyn FnMut(TraceEvent) + Send>>,
    /// When the call under way must be over.
    pub(super) deadline: Option<Instant>,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

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
        if let Some(on_trace) = &mut self.on_trace {
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
        // The store is only borrowed to find the callback: while it runs, the guest goes on and
        // may have other calls in flight.
        let answer = accessor.with(|mut access| {
            let guest = access.get();
            let callback = guest.callbacks.iter().find(|callback| callback.name == name);
            callback.map(|callback| (callback.function)(arguments_json))
        });
        match answer {
            Some(answer) => answer.await,
            None => Err(format!("there is no callback named `{name}`")),
        }
    }
}

/// A linker with everything the world may import.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Sandbox::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}
