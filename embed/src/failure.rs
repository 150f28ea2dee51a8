//! Why a guest stopped without giving an answer.

use std::fmt;
use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use crate::control::Reason;
use crate::error::Error;
use crate::limits::{format_duration, format_size};

/// The kind of a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The time limit was reached.
    TimeLimit,
    /// The call was cancelled, see [`crate::Canceller`].
    Cancelled,
    /// The guest gave up after its memory limit had refused it more.
    MemoryLimit,
    /// The wasm stack was exhausted, by deep recursion in native code.
    Stack,
    /// The guest asked to end the process, with this status.
    Exit(i32),
    /// Any other trap.
    Trap,
    /// The instance could not be made, or is no longer usable after an earlier failure.
    Unusable,
}

/// A guest stopped without giving an answer. Its session cannot be used any more, unless
/// [`crate::Session::is_usable`] says otherwise.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What kind of failure this is.
    pub cause: Cause,
    /// The failure as told to the user.
    pub error: Error,
}

impl Failure {
    pub(super) fn unusable(error: Error) -> Self {
        Self { cause: Cause::Unusable, error }
    }

    pub(super) fn stopped(reason: Reason, limit: Option<Duration>) -> Self {
        match reason {
            Reason::Cancelled => {
                Self { cause: Cause::Cancelled, error: Error::new("the call was cancelled") }
            }
            Reason::TimeLimit => Self::time_limit(limit.unwrap_or_default()),
        }
    }

    /// What is told when a guest was stopped at its time limit.
    #[must_use]
    pub fn time_limit(limit: Duration) -> Self {
        let message = format!("the time limit of {} was reached", format_duration(limit));
        Self { cause: Cause::TimeLimit, error: Error::new(message) }
    }

    /// What is told when a guest gave up at its memory limit; both in bytes.
    #[must_use]
    pub fn memory_limit(limit: u64, wanted: u64) -> Self {
        let message = format!("the memory limit of {} was reached", format_size(limit));
        let error = Error::new(message).detail(format!("the guest asked for {}", format_size(wanted)));
        Self { cause: Cause::MemoryLimit, error }
    }

    /// Classifies an error that came out of running wasm, apart from the limits.
    pub(super) fn of_wasmtime(error: &wasmtime::Error) -> Self {
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            let told = Error::new(format!("the guest ended itself with status {}", exit.0));
            return Self { cause: Cause::Exit(exit.0), error: told };
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => {
                let told = Error::new("the guest's stack is exhausted").details(frames(error));
                Self { cause: Cause::Stack, error: told }
            }
            _ => {
                let told = Error::new(format!("the guest trapped: {}", cause_text(error)));
                Self { cause: Cause::Trap, error: told.details(frames(error)) }
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// The innermost cause on one line, without the engine's own prefix.
fn cause_text(error: &wasmtime::Error) -> String {
    let text = error.root_cause().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("wasm trap: ").unwrap_or(line).to_owned()
}

/// The names of the functions that were running, innermost first; a recursion takes one line.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let mut lines: Vec<(String, usize)> = Vec::new();
    for frame in backtrace.frames() {
        let name =
            frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), str::to_owned);
        let line = match frame.module().name() {
            Some(module) => format!("at `{name}` in `{module}`"),
            None => format!("at `{name}`"),
        };
        match lines.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ => lines.push((line, 1)),
        }
    }
    let told = |(line, times)| if times == 1 { line } else { format!("{line}, {times} times") };
    lines.into_iter().map(told).collect()
}

/// Turns an error of the engine's interface (not of a guest) into one for the user.
pub(super) fn told(error: &wasmtime::Error) -> Error {
    Error::of_chain(error.chain())
}
