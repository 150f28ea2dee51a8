//! One instance: its options, its exports as methods.

use std::fmt::Write as _;
use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Accessor, ResourceTable};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;

use crate::bindings::{Abandoned, EMBEDDER, Guest};
use crate::control::{CallGuard, Canceller, Control, Raced, Reason, Stage, race};
use crate::error::Error as Message;
use crate::exports::Sandbox;
use crate::failure::{Error, Result};
use crate::files;
use crate::grant::Grant;
use crate::image::Image;
use crate::limits::{Limits, MemoryLimiter};
use crate::output::{Budget, Outlet, Output};
use crate::setters::setters;

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
#[non_exhaustive]
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
#[non_exhaustive]
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
#[non_exhaustive]
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
    pub on_trace: Option<OnTrace>,
}

/// A function that gets trace events.
pub type OnTrace = Box<dyn FnMut(TraceEvent) + Send>;

setters!(SessionOptions {
    grants: Vec<Grant>,
    limits: Limits,
    env: Vec<(String, String)>,
    stdin: Input,
    stdout: Output,
    stderr: Output,
    callbacks: Vec<Callback>,
});

impl SessionOptions {
    /// Sets [`SessionOptions::on_trace`].
    #[must_use]
    pub fn on_trace(mut self, on_trace: impl FnMut(TraceEvent) + Send + 'static) -> Self {
        self.on_trace = Some(Box::new(on_trace));
        self
    }
}

/// One instance of a component.
///
/// An error ends the session, unless [`Session::is_usable`] says otherwise, as it does after [`Error::Raised`] and
/// [`Error::Refused`]: all later calls fail. A future of a method that is dropped before it is ready ends the session, too.
///
/// The `_async` methods run the guest where they are polled; [`crate::Pool`] has threads for guests.
pub struct Session {
    store: Store<Guest>,
    sandbox: Sandbox,
    control: Arc<Control>,
    limits: Limits,
    stdout: Outlet,
    stderr: Outlet,
    budget: Arc<Budget>,
    failed: bool,
    /// The place in a pool, given back after the store has given back its slot: fields are dropped in order.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// Makes an instance; `blocks` tells whether calls of the file system may block the thread.
    pub(super) async fn start(image: &Image, options: SessionOptions, blocks: bool) -> Result<Self> {
        let limits = options.limits;
        let interruptible = limits.stop_native_code;
        let pre = image.pre(interruptible)?;
        let engine = pre.engine();
        let control = Control::new(interruptible.then(|| engine.weak()));
        let budget = Budget::new(limits.max_output);
        let stdout = Outlet::stdout(options.stdout.clone(), &budget);
        let stderr = Outlet::stderr(options.stderr.clone(), &budget);
        let guest = guest(options, image.announcement(), &stdout, &stderr, &control, &budget, blocks)?;
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(limits.largest_call());
        if interruptible {
            // All sessions share the engine's epoch: it says that some call is over its time.
            store.epoch_deadline_callback(|context| match context.data().control.stage() {
                Stage::Abandoned => Err(wasmtime::Error::new(Abandoned)),
                Stage::Running | Stage::Stopping => Ok(UpdateDeadline::Continue(1)),
            });
            store.set_epoch_deadline(1);
        }
        let started = match control.begin(limits.timeout) {
            Ok(call) => {
                limited(&mut store, call, limits.timeout, async |store| pre.instantiate(store).await).await.0
            }
            Err(error) => Err(error),
        };
        let sandbox = started.map_err(|cause| {
            control.forget_word();
            Error::Start { component: image.name().to_owned(), cause: Box::new(cause) }
        })?;
        Ok(Self { store, sandbox, control, limits, stdout, stderr, budget, failed: false, _permit: None })
    }

    /// Takes a place in a pool, which is given back when the session is dropped.
    pub(super) fn occupying(mut self, permit: OwnedSemaphorePermit) -> Self {
        self._permit = Some(permit);
        self
    }

    /// Runs Python code; gives what it printed.
    ///
    /// # Errors
    /// [`Error::Raised`] when the code raises; others when the guest stops without an answer, or is stopped.
    pub fn execute(&mut self, code: &str) -> Result<String> {
        blocking(self.execute_async(code))?
    }

    /// As [`Session::execute`].
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn execute_async(&mut self, code: &str) -> Result<String> {
        let code = code.to_owned();
        let answer = self.call(async |sandbox, accessor| sandbox.execute(accessor, code).await).await?;
        // The guest cuts them itself, unless it is hostile.
        let cut = |text| cut(text, self.limits.max_output);
        answer.map(cut).map_err(|traceback| Error::Raised(cut(traceback)))
    }

    /// Saves the session's globals.
    ///
    /// # Errors
    /// [`Error::Refused`] names what cannot be saved; others when the guest stops without an answer, or is stopped.
    pub fn snapshot_state(&mut self) -> Result<Vec<u8>> {
        blocking(self.snapshot_state_async())?
    }

    /// As [`Session::snapshot_state`].
    ///
    /// # Errors
    /// As [`Session::snapshot_state`].
    pub async fn snapshot_state_async(&mut self) -> Result<Vec<u8>> {
        let saved = self.call(async |sandbox, accessor| sandbox.snapshot_state(accessor).await).await?;
        saved.map_err(|reason| Error::Refused(cut(reason, self.limits.max_output)))
    }

    /// Replaces the session's globals by saved ones.
    ///
    /// # Errors
    /// [`Error::Refused`] when the data is no snapshot of such a session, which then is as it was; others when the guest
    /// stops without an answer, or is stopped.
    pub fn restore_state(&mut self, data: &[u8]) -> Result<()> {
        blocking(self.restore_state_async(data))?
    }

    /// As [`Session::restore_state`].
    ///
    /// # Errors
    /// As [`Session::restore_state`].
    pub async fn restore_state_async(&mut self, data: &[u8]) -> Result<()> {
        let data = data.to_owned();
        let restored =
            self.call(async |sandbox, accessor| sandbox.restore_state(accessor, data).await).await?;
        restored.map_err(|reason| Error::Refused(cut(reason, self.limits.max_output)))
    }

    /// Ends the session's program as `python3` ends one (`atexit`, finalisers, open files), and begins an empty one.
    /// Imported modules stay imported.
    ///
    /// # Errors
    /// When the guest stops without an answer, or is stopped.
    pub fn clear_state(&mut self) -> Result<()> {
        blocking(self.clear_state_async())?
    }

    /// As [`Session::clear_state`].
    ///
    /// # Errors
    /// As [`Session::clear_state`].
    pub async fn clear_state_async(&mut self) -> Result<()> {
        let cleared =
            self.call(async |sandbox, accessor| Ok(Ok(sandbox.clear_state(accessor).await?))).await?;
        cleared.map_err(Error::Refused)
    }

    /// Ends the session's program as `python3` ends one (`atexit`, finalisers, open files), then the session.
    ///
    /// A session that is only dropped is ended where it is. What its code wrote to files is written out after each
    /// [`Session::execute`] that ends; what a file object still holds when a limit or a drop ends the guest in the middle
    /// of a call is lost, see [`Session::files_being_written`].
    ///
    /// # Errors
    /// When the guest stops without an answer, or is stopped.
    pub fn close(mut self) -> Result<()> {
        self.clear_state()
    }

    /// As [`Session::close`].
    ///
    /// # Errors
    /// As [`Session::close`].
    pub async fn close_async(mut self) -> Result<()> {
        self.clear_state_async().await
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

    /// The embedder's files that the guest has open for writing. After a call that was stopped without an answer, they lack
    /// what the guest still held of them. Known on Linux only.
    pub fn files_being_written(&mut self) -> Vec<PathBuf> {
        files::being_written(&mut self.store.data_mut().table)
    }

    /// Whether further calls can succeed: after a call that was stopped, if the guest ended it by itself.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.failed
    }

    /// Changes the time that each further call may take.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.limits.timeout = timeout;
    }

    /// What stops this session's calls from another thread.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.control))
    }

    /// Calls an export; what it gave, or the text of its error.
    async fn call<R>(
        &mut self,
        call: impl AsyncFnOnce(&Sandbox, &Accessor<Guest>) -> wasmtime::Result<Result<R, String>>,
    ) -> Result<Result<R, String>> {
        if self.failed {
            return Err(Error::Ended);
        }
        let timeout = self.limits.timeout;
        let guard = self.control.begin(timeout)?;
        // Until the call has ended: who drops this future leaves the instance in the middle of it.
        self.failed = true;
        let sandbox = &self.sandbox;
        let (result, stopped) = limited(&mut self.store, guard, timeout, async |store| {
            store.run_concurrent(async |accessor| call(sandbox, accessor).await).await?
        })
        .await;
        self.failed = result.is_err();
        match (result, stopped) {
            // What is over its time has no answer, though its code may have caught the exception that ends it, or may have
            // been where exceptions are ignored.
            (Ok(answer), Some(reason)) => {
                let traceback = cut(answer.err().unwrap_or_default(), self.limits.max_output);
                Err(Error::stopped(reason, timeout, traceback))
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

/// Cuts a text that is longer than `limit` bytes, and says so at its end.
fn cut(mut text: String, limit: Option<u64>) -> String {
    let limit = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push_str("\n[cut here: the limit of output was reached]\n");
    }
    text
}

/// Drives a guest to the end of `work`, within the limits, and finds out why it failed; also whether it was stopped.
async fn limited<R>(
    store: &mut Store<Guest>,
    call: CallGuard,
    timeout: Option<Duration>,
    work: impl AsyncFnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
) -> (Result<R>, Option<Reason>) {
    store.data_mut().memory.forget();
    let control = Arc::clone(&store.data().control);
    // A guest that computes is stopped by itself or by its engine, one that waits is dropped.
    let result = match race(work(store), control.reached(Stage::Abandoned)).await {
        Raced::First(result) => result,
        Raced::Second(()) => Err(wasmtime::Error::new(Abandoned)),
    };
    let reason = call.reason();
    let result = result.map_err(|error| {
        if let (Some(reason), true) = (reason, error.downcast_ref::<Abandoned>().is_some()) {
            return Error::stopped(reason, timeout, String::new());
        }
        match (Error::of_wasmtime(&error), store.data().memory.overrun(), store.data().exit_status) {
            (Error::Trap { .. }, Some((limit, wanted)), _) => Error::memory_limit(limit, wanted),
            (Error::Exit(_), _, Some(status)) => Error::Exit(status),
            (error, ..) => error,
        }
    });
    if let Err(error) = &result {
        tracing::debug!(%error, "a guest failed");
    }
    (result, reason)
}

/// Runs a future to its end on this thread's own executor.
pub(super) fn blocking<R: Send>(future: impl Future<Output = R> + Send) -> Result<R> {
    thread_local! {
        static EXECUTOR: Result<tokio::runtime::Runtime> = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::Thread(Message::from(error).context("cannot start an executor")));
    }
    // It is large: pinned once, and not moved into each of the calls below.
    let future = pin!(future);
    let run = move || {
        EXECUTOR.with(|executor| match executor {
            Ok(executor) => Ok(executor.block_on(future)),
            Err(error) => Err(error.clone()),
        })
    };
    if tokio::runtime::Handle::try_current().is_err() {
        return run();
    }
    // An executor's thread cannot run another one; whoever blocks it all the same shall not panic for it.
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| Err(Error::Thread(Message::new("the thread of the call panicked"))))
}

fn guest(
    options: SessionOptions,
    announcement: &str,
    stdout: &Outlet,
    stderr: &Outlet,
    control: &Arc<Control>,
    budget: &Arc<Budget>,
    blocks: bool,
) -> Result<Guest> {
    let mut wasi = WasiCtxBuilder::new();
    let mut announcement = announcement.to_owned();
    for (word, limit) in [("output", options.limits.max_output), ("tmp", options.limits.max_tmp)] {
        if let Some(limit) = limit {
            let _ = write!(announcement, " {word}={limit}");
        }
    }
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
        output: Arc::clone(budget),
        transfer: options.limits.transfer(),
        in_flight: Arc::default(),
        exit_status: None,
    })
}
