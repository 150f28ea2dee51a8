//! Running a component of the world `eryx-0.14`, with as little of an embedder as it needs.

use wasmtime::component::{Accessor, Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::packages::{Failed, Interpreter};
use crate::error::{Error, Result};

// The macro writes items without documentation; they stay inside this module.
#[allow(missing_docs)]
mod generated {
    wasmtime::component::bindgen!({
        path: "../runtime/wit/eryx-0.14.wit",
        exports: { "finalize-preinit": async },
    });
}

use generated::eryx::net::tcp::{self, TcpError};
use generated::eryx::net::tls::{self, TlsError};
use generated::{CallbackInfo, ExecutionOptions, Sandbox, SandboxImports, SandboxImportsWithStore};

/// A callback: takes a name and arguments, gives a result or an error.
pub type Answer = fn(&str, &str) -> std::result::Result<String, String>;

/// What an embedder lends to an [`Instance`], and what it was told.
pub struct Embedding {
    /// Names of callbacks; none has a schema.
    pub callbacks: &'static [&'static str],
    /// Answers them.
    pub answer: Answer,
    /// Whether executions are traced.
    pub tracing: bool,
    /// What was reported as output: the stream's number, and bytes.
    pub output: Vec<(u32, Vec<u8>)>,
    /// The trace events that were reported: line and event.
    pub traced: Vec<(u32, String)>,
    /// For how many nanoseconds the guest asked to sleep.
    pub slept: Vec<u64>,
    wasi: WasiCtx,
    table: ResourceTable,
}

/// What `execute` gives: standard output, standard error, the result as JSON, why there is none.
pub type Executed = std::result::Result<(Vec<u8>, Vec<u8>, String, String), String>;

/// What `snapshot-state` gives: the state, and the names of what was left out.
pub type Saved = std::result::Result<(Vec<u8>, Vec<String>), String>;

/// One instance of a component.
pub struct Instance {
    store: Store<Embedding>,
    sandbox: Sandbox,
    executor: tokio::runtime::Runtime,
}

impl Instance {
    /// Makes an instance with callbacks.
    ///
    /// # Errors
    /// When the component does not fit the world.
    pub fn new(
        engine: &Engine,
        component: &Component,
        callbacks: &'static [&'static str],
        answer: Answer,
    ) -> Result<Self> {
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let embedding = Embedding {
            callbacks,
            answer,
            tracing: false,
            output: Vec::new(),
            traced: Vec::new(),
            slept: Vec::new(),
            wasi: WasiCtxBuilder::new().allow_blocking_current_thread(true).build(),
            table: ResourceTable::new(),
        };
        let mut store = Store::new(engine, embedding);
        let mut linker = Linker::new(engine);
        let sandbox = wasmtime_wasi::p2::add_to_linker_async(&mut linker)
            .and_then(|()| Sandbox::add_to_linker::<_, HasSelf<Embedding>>(&mut linker, |data| data))
            .and_then(|()| executor.block_on(Sandbox::instantiate_async(&mut store, component, &linker)))
            .map_err(told)?;
        Ok(Self { store, sandbox, executor })
    }

    /// What the embedder lent and was told.
    pub fn embedding(&mut self) -> &mut Embedding {
        self.store.data_mut()
    }

    /// Runs code.
    ///
    /// # Errors
    /// When the guest traps.
    pub fn execute(&mut self, code: &str) -> Result<Executed> {
        let code = code.to_owned();
        let executed = self.call(async |sandbox, accessor| sandbox.call_execute(accessor, code).await)?;
        Ok(executed.map(|output| (output.stdout, output.stderr, output.result_json, output.result_error)))
    }

    /// Saves the state; gives it with the names of what was left out.
    ///
    /// # Errors
    /// When the guest traps.
    pub fn snapshot_state(&mut self) -> Result<Saved> {
        let saved = self.call(async |sandbox, accessor| sandbox.call_snapshot_state(accessor).await)?;
        Ok(saved.map(|snapshot| (snapshot.data, snapshot.skipped_globals)))
    }

    /// Restores a state.
    ///
    /// # Errors
    /// When the guest traps.
    pub fn restore_state(&mut self, data: Vec<u8>) -> Result<std::result::Result<(), String>> {
        self.call(async |sandbox, accessor| sandbox.call_restore_state(accessor, data).await)
    }

    /// Forgets the state.
    ///
    /// # Errors
    /// When the guest traps.
    pub fn clear_state(&mut self) -> Result<()> {
        self.call(async |sandbox, accessor| sandbox.call_clear_state(accessor).await)
    }

    /// Chooses the global that is the result.
    ///
    /// # Errors
    /// When the guest traps.
    pub fn set_result_variable(&mut self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.call(async |sandbox, accessor| sandbox.call_set_result_variable(accessor, name).await)
    }

    /// Says that the memory is about to be saved.
    ///
    /// # Errors
    /// When the guest traps.
    pub fn finalize_preinit(&mut self) -> Result<()> {
        self.executor.block_on(self.sandbox.call_finalize_preinit(&mut self.store)).map_err(told)
    }

    fn call<R>(
        &mut self,
        call: impl AsyncFnOnce(&Sandbox, &Accessor<Embedding>) -> wasmtime::Result<R>,
    ) -> Result<R> {
        let (sandbox, store) = (&self.sandbox, &mut self.store);
        self.executor
            .block_on(async { store.run_concurrent(async |accessor| call(sandbox, accessor).await).await? })
            .map_err(told)
    }
}

fn told(error: wasmtime::Error) -> Error {
    Error::of_chain(error.chain())
}

impl WasiView for Embedding {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl SandboxImports for Embedding {
    fn list_callbacks(&mut self) -> Vec<CallbackInfo> {
        let info = |name: &&str| CallbackInfo {
            name: (*name).to_owned(),
            description: String::new(),
            parameters_schema_json: "{}".to_owned(),
        };
        self.callbacks.iter().map(info).collect()
    }

    fn get_execution_options(&mut self) -> ExecutionOptions {
        ExecutionOptions { python_tracing: self.tracing, reuse_empty_callbacks: false }
    }

    fn report_trace(&mut self, lineno: u32, event_json: String, _context_json: String) {
        self.traced.push((lineno, event_json));
    }

    fn report_output(&mut self, stream_id: u32, data: Vec<u8>) {
        self.output.push((stream_id, data));
    }
}

impl SandboxImportsWithStore<Embedding> for HasSelf<Embedding> {
    async fn invoke(
        accessor: &Accessor<Embedding, Self>,
        name: String,
        arguments_json: String,
    ) -> std::result::Result<String, String> {
        accessor.with(|mut access| (access.get().answer)(&name, &arguments_json))
    }

    async fn sleep(accessor: &Accessor<Embedding, Self>, duration_ns: u64) {
        accessor.with(|mut access| access.get().slept.push(duration_ns));
        tokio::time::sleep(std::time::Duration::from_nanos(duration_ns)).await;
    }
}

/// There is no network here.
const NO_NETWORK: &str = "no network";

impl tcp::Host for Embedding {
    fn connect(&mut self, _: String, _: u16, _: u32) -> std::result::Result<u32, TcpError> {
        Err(TcpError::NotPermitted(NO_NETWORK.to_owned()))
    }

    fn read(&mut self, _: u32, _: u32, _: u32) -> std::result::Result<Vec<u8>, TcpError> {
        Err(TcpError::InvalidHandle)
    }

    fn write(&mut self, _: u32, _: u32, _: Vec<u8>) -> std::result::Result<u32, TcpError> {
        Err(TcpError::InvalidHandle)
    }

    fn close(&mut self, _: u32) {}
}

impl tls::Host for Embedding {
    fn upgrade(&mut self, _: u32, _: String, _: u32) -> std::result::Result<u32, TlsError> {
        Err(TlsError::InvalidHandle)
    }

    fn read(&mut self, _: u32, _: u32, _: u32) -> std::result::Result<Vec<u8>, TlsError> {
        Err(TlsError::InvalidHandle)
    }

    fn write(&mut self, _: u32, _: u32, _: Vec<u8>) -> std::result::Result<u32, TlsError> {
        Err(TlsError::InvalidHandle)
    }

    fn close(&mut self, _: u32) {}
}

impl Interpreter for Instance {
    fn execute(&mut self, code: &str) -> Result<(), Failed> {
        let executed = Instance::execute(self, code).map_err(Failed::Ended)?;
        executed.map(drop).map_err(Failed::Raised)
    }

    fn clear(&mut self) -> Result<()> {
        self.clear_state()
    }
}
