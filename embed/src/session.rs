//! One instance: its options, its exports as methods.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Accessor, ResourceTable};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;

use crate::bindings::{Abandoned, EMBEDDER, Guest};
use crate::control::{Canceller, Control, Raced, Reason, Stage, race};
use crate::error::Error;
use crate::exports::Sandbox;
use crate::failure::{Cause, Failure};
use crate::grant::Grant;
use crate::image::Image;
use crate::limits::{Limits, MemoryLimiter};
use crate::output::{Budget, Outlet, Output};

/// The most that a guest may pass in one call, in bytes: a snapshot of a large session must fit.
const HOSTCALL_LIMIT: usize = 1 << 30;

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
/// A method whose outer result is a [`Failure`] ends the session, unless [`Session::is_usable`] says otherwise: all later
/// calls fail. A future of a method that is dropped before it is ready ends the session, too.
pub struct Session {
    store: Store<Guest>,
    sandbox: Sandbox,
    control: Arc<Control>,
    timeout: Option<Duration>,
    stdout: Outlet,
    stderr: Outlet,
    budget: Arc<Budget>,
    failed: bool,
    /// The place in a pool, given back after the store has given back its slot: fields are dropped in order.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// Makes an instance; `blocks` tells whether calls of the file system may block the thread.
    pub(super) async fn start(image: &Image, options: SessionOptions, blocks: bool) -> Result<Self, Failure> {
        let limits = options.limits;
        let interruptible = limits.stop_native_code;
        let pre = image.pre(interruptible)?;
        let engine = pre.engine();
        let control = Control::new(interruptible.then(|| engine.weak()));
        let budget = Budget::new(limits.max_output);
        let stdout = Outlet::stdout(options.stdout.clone(), &budget);
        let stderr = Outlet::stderr(options.stderr.clone(), &budget);
        let guest = guest(options, image.announcement(), &stdout, &stderr, &control, blocks)
            .map_err(Failure::unusable)?;
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(HOSTCALL_LIMIT);
        if interruptible {
            // All sessions share the engine's epoch: it says that some call is over its time.
            store.epoch_deadline_callback(|context| match context.data().control.stage() {
                Stage::Abandoned => Err(wasmtime::Error::new(Abandoned)),
                Stage::Running | Stage::Stopping => Ok(UpdateDeadline::Continue(1)),
            });
            store.set_epoch_deadline(1);
        }
        let (sandbox, _) =
            limited(&mut store, limits.timeout, async |store| pre.instantiate(store).await).await;
        let sandbox = sandbox.map_err(|mut failure| {
            control.forget_word();
            failure.error = failure.error.context(format!("cannot start `{}`", image.name()));
            failure
        })?;
        let timeout = limits.timeout;
        Ok(Self { store, sandbox, control, timeout, stdout, stderr, budget, failed: false, _permit: None })
    }

    /// Takes a place in a pool, which is given back when the session is dropped.
    pub(super) fn occupying(mut self, permit: OwnedSemaphorePermit) -> Self {
        self._permit = Some(permit);
        self
    }

    /// Runs Python code; gives what it printed, or the formatted traceback.
    ///
    /// # Errors
    /// When the guest stops without an answer, or is stopped.
    pub fn execute(&mut self, code: &str) -> Result<Result<String, String>, Failure> {
        blocking(self.execute_async(code))?
    }

    /// As [`Session::execute`].
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn execute_async(&mut self, code: &str) -> Result<Result<String, String>, Failure> {
        let code = code.to_owned();
        self.call(async |sandbox, accessor| sandbox.execute(accessor, code).await).await
    }

    /// Saves the session's globals; the inner error names what cannot be saved.
    ///
    /// # Errors
    /// When the guest stops without an answer, or is stopped.
    pub fn snapshot_state(&mut self) -> Result<Result<Vec<u8>, String>, Failure> {
        blocking(self.snapshot_state_async())?
    }

    /// As [`Session::snapshot_state`].
    ///
    /// # Errors
    /// As [`Session::snapshot_state`].
    pub async fn snapshot_state_async(&mut self) -> Result<Result<Vec<u8>, String>, Failure> {
        self.call(async |sandbox, accessor| sandbox.snapshot_state(accessor).await).await
    }

    /// Replaces the session's globals by saved ones.
    ///
    /// # Errors
    /// When the guest stops without an answer, or is stopped.
    pub fn restore_state(&mut self, data: &[u8]) -> Result<Result<(), String>, Failure> {
        blocking(self.restore_state_async(data))?
    }

    /// As [`Session::restore_state`].
    ///
    /// # Errors
    /// As [`Session::restore_state`].
    pub async fn restore_state_async(&mut self, data: &[u8]) -> Result<Result<(), String>, Failure> {
        let data = data.to_owned();
        self.call(async |sandbox, accessor| sandbox.restore_state(accessor, data).await).await
    }

    /// Forgets the session's globals.
    ///
    /// # Errors
    /// When the guest stops without an answer.
    pub fn clear_state(&mut self) -> Result<(), Failure> {
        blocking(self.clear_state_async())?
    }

    /// As [`Session::clear_state`].
    ///
    /// # Errors
    /// As [`Session::clear_state`].
    pub async fn clear_state_async(&mut self) -> Result<(), Failure> {
        let cleared =
            self.call(async |sandbox, accessor| Ok(Ok::<_, String>(sandbox.clear_state(accessor).await?)));
        cleared.await.map(|_| ())
    }

    /// What was written to standard output so far, if it is captured.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.captured()
    }

    /// What was written to standard error so far, if it is captured.
    #[must_use]
    pub fn stderr(&self) -> Vec<u8> {
        self.stderr.captured()
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

    /// The limit of output in bytes, when output was refused.
    #[must_use]
    pub fn output_refused(&self) -> Option<u64> {
        self.budget.overrun()
    }

    /// Whether further calls can succeed: after a call that was stopped, if the guest ended it by itself.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.failed
    }

    /// Changes the time that each further call may take.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// What stops this session's calls from another thread.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.control))
    }

    async fn call<R>(
        &mut self,
        call: impl AsyncFnOnce(&Sandbox, &Accessor<Guest>) -> wasmtime::Result<Result<R, String>>,
    ) -> Result<Result<R, String>, Failure> {
        if self.failed {
            return Err(Failure::unusable(Error::new("the session ended with an earlier failure")));
        }
        // Until the call has ended: who drops this future leaves the instance in the middle of it.
        self.failed = true;
        let sandbox = &self.sandbox;
        let (result, stopped) = limited(&mut self.store, self.timeout, async |store| {
            store.run_concurrent(async |accessor| call(sandbox, accessor).await).await?
        })
        .await;
        self.failed = result.is_err();
        match (result, stopped) {
            // The exception that we asked for has ended the code.
            (Ok(Err(traceback)), Some(reason)) => {
                let mut failure = Failure::stopped(reason, self.timeout);
                failure.error = failure.error.details(traceback.lines());
                Err(failure)
            }
            (result, _) => result,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The watcher must not write into memory that is given up.
        self.control.forget_word();
    }
}

/// Drives a guest to the end of `work`, within the limits, and finds out why it failed; also whether it was stopped.
async fn limited<R>(
    store: &mut Store<Guest>,
    timeout: Option<Duration>,
    work: impl AsyncFnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
) -> (Result<R, Failure>, Option<Reason>) {
    store.data_mut().memory.forget();
    let control = Arc::clone(&store.data().control);
    let call = match control.begin(timeout) {
        Ok(call) => call,
        Err(error) => return (Err(Failure::unusable(error)), None),
    };
    // A guest that computes is stopped by itself or by its engine, one that waits is dropped.
    let result = match race(work(store), control.reached(Stage::Abandoned)).await {
        Raced::First(result) => result,
        Raced::Second(()) => Err(wasmtime::Error::new(Abandoned)),
    };
    let reason = call.reason();
    let result = result.map_err(|error| {
        if let (Some(reason), true) = (reason, error.downcast_ref::<Abandoned>().is_some()) {
            return Failure::stopped(reason, timeout);
        }
        let failure = Failure::of_wasmtime(&error);
        match store.data().memory.overrun() {
            Some((limit, wanted)) if failure.cause == Cause::Trap => Failure::memory_limit(limit, wanted),
            _ => failure,
        }
    });
    if let Err(failure) = &result {
        tracing::debug!(cause = ?failure.cause, "a guest failed");
    }
    (result, reason)
}

/// Runs a future to its end on this thread's own executor.
pub(super) fn blocking<R: Send>(future: impl Future<Output = R> + Send) -> Result<R, Failure> {
    thread_local! {
        static EXECUTOR: Result<tokio::runtime::Runtime, Error> = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::from(error).context("cannot start an executor"));
    }
    // It is large: pinned once, and not moved into each of the calls below.
    let future = pin!(future);
    let run = move || {
        EXECUTOR.with(|executor| match executor {
            Ok(executor) => Ok(executor.block_on(future)),
            Err(error) => Err(Failure::unusable(error.clone())),
        })
    };
    if tokio::runtime::Handle::try_current().is_err() {
        return run();
    }
    // An executor's thread cannot run another one; whoever blocks it all the same shall not panic for it.
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| Err(Failure::unusable(Error::new("the thread of the call panicked"))))
}

fn guest(
    options: SessionOptions,
    announcement: &str,
    stdout: &Outlet,
    stderr: &Outlet,
    control: &Arc<Control>,
    blocks: bool,
) -> Result<Guest, Error> {
    let mut wasi = WasiCtxBuilder::new();
    // On an executor of its own with one guest, nothing is gained by handing file calls over to other threads.
    wasi.allow_blocking_current_thread(blocks)
        .envs(&options.env)
        .env(EMBEDDER, announcement)
        .stdout(stdout.clone())
        .stderr(stderr.clone());
    match options.stdin {
        Input::Empty => {}
        Input::Inherit => {
            wasi.inherit_stdin();
        }
        Input::Bytes(bytes) => {
            wasi.stdin(MemoryInputPipe::new(bytes));
        }
    }
    Grant::open_all(&options.grants, &mut wasi)?;
    Ok(Guest {
        wasi: wasi.build(),
        table: ResourceTable::new(),
        memory: MemoryLimiter::new(&options.limits),
        callbacks: options.callbacks,
        on_trace: options.on_trace,
        control: Arc::clone(control),
    })
}
