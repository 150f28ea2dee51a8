//! One instance: its options, its exports as blocking methods.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use wasmtime::component::{Accessor, Component, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};

use crate::bindings::{Guest, Sandbox, linker};
use crate::error::Error;
use crate::failure::{Cause, Failure, told};
use crate::grant::Grant;
use crate::limits::{Limits, MemoryLimiter};

/// The most that is captured of one output, in bytes; a guest that writes more gets an error.
const CAPTURE_LIMIT: usize = 256 << 20;
/// The most that a guest may pass in one call, in bytes: a snapshot of a large session must fit.
const HOSTCALL_LIMIT: usize = 1 << 30;
/// How often a guest that is over its deadline is reminded.
const REMINDER: Duration = Duration::from_millis(20);

/// The answer of a callback: JSON, or the text of an error.
pub type CallbackResult = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// A function of the embedder that Python code may call.
#[derive(Clone)]
pub struct Callback {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) parameters_schema: String,
    pub(super) function: Arc<dyn Fn(String) -> CallbackResult + Send + Sync>,
}

impl Callback {
    /// Makes a callback. `parameters_schema` is a JSON schema of an object; `function` gets the
    /// arguments as a JSON object.
    pub fn new<F, R>(
        name: impl Into<String>,
        description: impl Into<String>,
        parameters_schema: impl Into<String>,
        function: F,
    ) -> Self
    where
        F: Fn(String) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, String>> + Send + 'static,
    {
        Self {
            name: name.into(),
            description: description.into(),
            parameters_schema: parameters_schema.into(),
            function: Arc::new(move |arguments| Box::pin(function(arguments))),
        }
    }
}

/// What a guest reports while it traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEvent {
    /// The line, counted from 1.
    pub line: u32,
    /// The event, as JSON.
    pub event: String,
    /// Its context, as JSON.
    pub context: String,
}

/// Where a guest's standard input comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Input {
    /// It is at its end.
    #[default]
    Empty,
    /// The embedder's own.
    Inherit,
    /// These bytes.
    Bytes(Vec<u8>),
}

/// Where a guest's standard output or standard error goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Output {
    /// Nowhere.
    #[default]
    Discard,
    /// To the embedder's own, as it is written.
    Inherit,
    /// Into memory, see [`Session::stdout`]; at most 256 MiB.
    Capture,
}

/// How to make a [`Session`]. The default grants nothing, limits nothing and discards output.
#[derive(Default)]
pub struct SessionOptions {
    /// Directories that the guest may use.
    pub grants: Vec<Grant>,
    /// What the instance may use.
    pub limits: Limits,
    /// The environment variables of the guest; the embedder's own are not passed on.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: Input,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// What Python code may call.
    pub callbacks: Vec<Callback>,
    /// Is told every trace event.
    pub on_trace: Option<Box<dyn FnMut(TraceEvent) + Send>>,
}

/// One instance of a component.
///
/// A method whose outer result is a [`Failure`] ends the session: all later calls fail.
pub struct Session {
    store: Store<Guest>,
    sandbox: Sandbox,
    executor: tokio::runtime::Runtime,
    timeout: Option<Duration>,
    stdout: Option<MemoryOutputPipe>,
    stderr: Option<MemoryOutputPipe>,
    failed: bool,
}

impl Session {
    pub(super) fn start(
        engine: &Engine,
        component: &Component,
        name: &str,
        options: SessionOptions,
    ) -> Result<Self, Failure> {
        let executor = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::unusable(Error::from(error).context("cannot start an executor")))?;
        let timeout = options.limits.timeout;
        let stdout = capture(options.stdout);
        let stderr = capture(options.stderr);
        let guest = guest(options, stdout.clone(), stderr.clone()).map_err(Failure::unusable)?;
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(HOSTCALL_LIMIT);
        if timeout.is_some() {
            // A deadline of the store is looked at when the epoch changes; which deadline that is
            // depends on the call, since all sessions share the engine's epoch.
            store.epoch_deadline_callback(|context| match context.data().deadline {
                Some(deadline) if Instant::now() >= deadline => Err(wasmtime::Error::new(TimedOut)),
                _ => Ok(UpdateDeadline::Continue(1)),
            });
        }
        let unfit = |error: wasmtime::Error| {
            Failure::unusable(told(&error).context(format!("cannot start `{name}`")))
        };
        let pre = linker(engine).and_then(|linker| linker.instantiate_pre(component)).map_err(unfit)?;
        // Indexing checks the types of the exports before any code of the guest runs.
        let pre = crate::bindings::SandboxPre::new(pre).map_err(unfit)?;
        let sandbox =
            limited(&executor, &mut store, timeout, async |store| pre.instantiate_async(store).await);
        let sandbox = sandbox.map_err(|mut failure| {
            failure.error = failure.error.context(format!("cannot start `{name}`"));
            failure
        })?;
        Ok(Self { store, sandbox, executor, timeout, stdout, stderr, failed: false })
    }

    /// Runs Python code; gives what it printed, or the formatted traceback.
    ///
    /// # Errors
    /// When the guest stops without an answer.
    pub fn execute(&mut self, code: &str) -> Result<Result<String, String>, Failure> {
        let code = code.to_owned();
        self.call(async |sandbox, accessor| sandbox.call_execute(accessor, code).await)
    }

    /// Saves the session's globals; the inner error names what cannot be saved.
    ///
    /// # Errors
    /// When the guest stops without an answer.
    pub fn snapshot_state(&mut self) -> Result<Result<Vec<u8>, String>, Failure> {
        self.call(async |sandbox, accessor| sandbox.call_snapshot_state(accessor).await)
    }

    /// Replaces the session's globals by saved ones.
    ///
    /// # Errors
    /// When the guest stops without an answer.
    pub fn restore_state(&mut self, data: &[u8]) -> Result<Result<(), String>, Failure> {
        let data = data.to_owned();
        self.call(async |sandbox, accessor| sandbox.call_restore_state(accessor, data).await)
    }

    /// Forgets the session's globals.
    ///
    /// # Errors
    /// When the guest stops without an answer.
    pub fn clear_state(&mut self) -> Result<(), Failure> {
        self.call(async |sandbox, accessor| sandbox.call_clear_state(accessor).await)
    }

    /// What was written to standard output so far, if it is captured.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.as_ref().map(|pipe| pipe.contents().to_vec()).unwrap_or_default()
    }

    /// What was written to standard error so far, if it is captured.
    #[must_use]
    pub fn stderr(&self) -> Vec<u8> {
        self.stderr.as_ref().map(|pipe| pipe.contents().to_vec()).unwrap_or_default()
    }

    /// The linear memory of the instance, in bytes, over all its memories.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.store.data().memory.used()
    }

    /// The limit of memory and what was asked for, in bytes, when the last call was refused memory.
    #[must_use]
    pub fn memory_refused(&self) -> Option<(u64, u64)> {
        self.store.data().memory.overrun()
    }

    fn call<R>(
        &mut self,
        call: impl AsyncFnOnce(&Sandbox, &Accessor<Guest>) -> wasmtime::Result<R>,
    ) -> Result<R, Failure> {
        if self.failed {
            return Err(Failure::unusable(Error::new("the session ended with an earlier failure")));
        }
        let sandbox = &self.sandbox;
        let result = limited(&self.executor, &mut self.store, self.timeout, async |store| {
            store.run_concurrent(async |accessor| call(sandbox, accessor).await).await?
        });
        self.failed = result.is_err();
        result
    }
}

/// The guest was stopped at its deadline.
#[derive(Debug)]
struct TimedOut;

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the time limit was reached")
    }
}

impl std::error::Error for TimedOut {}

/// Drives a guest to the end of `work`, within the limits, and finds out why it failed.
fn limited<R>(
    executor: &tokio::runtime::Runtime,
    store: &mut Store<Guest>,
    timeout: Option<Duration>,
    work: impl AsyncFnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
) -> Result<R, Failure> {
    store.data_mut().memory.forget();
    let result = match timeout {
        None => executor.block_on(work(store)),
        Some(limit) => {
            // Saturating: a limit beyond what the clock can tell is none that matters.
            let deadline = Instant::now().checked_add(limit);
            store.data_mut().deadline = deadline;
            store.set_epoch_deadline(1);
            let _watchdog = deadline.map(|deadline| Watchdog::start(store.engine().clone(), deadline));
            // The watchdog stops a guest that computes, the timer one that waits.
            match executor.block_on(async { tokio::time::timeout(limit, work(store)).await }) {
                Ok(result) => result,
                Err(_) => Err(wasmtime::Error::new(TimedOut)),
            }
        }
    };
    result.map_err(|error| {
        if error.downcast_ref::<TimedOut>().is_some() {
            return Failure::time_limit(timeout);
        }
        let failure = Failure::of_wasmtime(&error);
        match store.data().memory.overrun() {
            Some((limit, wanted)) if failure.cause == Cause::Trap => Failure::memory_limit(limit, wanted),
            _ => failure,
        }
    })
}

/// A thread that advances the engine's epoch from a deadline on, until it is dropped.
struct Watchdog {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watchdog {
    fn start(engine: Engine, deadline: Instant) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut wait = deadline.saturating_duration_since(Instant::now());
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
                wait = REMINDER;
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked in a way that matters: it only counts.
            let _ = thread.join();
        }
    }
}

fn capture(output: Output) -> Option<MemoryOutputPipe> {
    (output == Output::Capture).then(|| MemoryOutputPipe::new(CAPTURE_LIMIT))
}

fn guest(
    options: SessionOptions,
    stdout: Option<MemoryOutputPipe>,
    stderr: Option<MemoryOutputPipe>,
) -> Result<Guest, Error> {
    let mut wasi = WasiCtxBuilder::new();
    // The executor has one thread and one guest: nothing is gained by handing file calls over.
    wasi.allow_blocking_current_thread(true).envs(&options.env);
    match options.stdin {
        Input::Empty => {}
        Input::Inherit => {
            wasi.inherit_stdin();
        }
        Input::Bytes(bytes) => {
            wasi.stdin(MemoryInputPipe::new(bytes));
        }
    }
    match (options.stdout, stdout) {
        (_, Some(pipe)) => {
            wasi.stdout(pipe);
        }
        (Output::Inherit, None) => {
            wasi.inherit_stdout();
        }
        (_, None) => {}
    }
    match (options.stderr, stderr) {
        (_, Some(pipe)) => {
            wasi.stderr(pipe);
        }
        (Output::Inherit, None) => {
            wasi.inherit_stderr();
        }
        (_, None) => {}
    }
    Grant::open_all(&options.grants, &mut wasi)?;
    Ok(Guest {
        wasi: wasi.build(),
        table: ResourceTable::new(),
        memory: MemoryLimiter::new(options.limits.max_memory),
        callbacks: options.callbacks,
        on_trace: options.on_trace,
        deadline: None,
    })
}
