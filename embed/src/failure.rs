//! What can go wrong for an embedder.

use std::fmt;
use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use crate::control::Reason;
use crate::error::Error as Message;
use crate::limits::{format_duration, format_size};

/// Why there is no answer.
///
/// [`Error::Raised`] and [`Error::Refused`] are answers of the guest, after which the session lives on. All others of a
/// session end it, unless [`crate::Session::is_usable`] says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The code raised an exception: the formatted traceback, or `SystemExit: <status>`.
    Raised(String),
    /// The state of the session was not saved or not restored, for this reason; it is as it was.
    Refused(String),
    /// The time limit was reached.
    #[non_exhaustive]
    TimeLimit {
        /// The limit.
        limit: Duration,
        /// Where the code was, if it ended by the exception that stops it.
        traceback: String,
    },
    /// The call was cancelled, see [`crate::Canceller`].
    #[non_exhaustive]
    Cancelled {
        /// Where the code was, if it ended by the exception that stops it.
        traceback: String,
    },
    /// The guest gave up after its memory limit had refused it more.
    #[non_exhaustive]
    MemoryLimit {
        /// The limit, in bytes.
        limit: u64,
        /// What the guest wanted in all, in bytes.
        wanted: u64,
    },
    /// The guest passed more to the embedder at once than it may, see [`crate::Limits::max_transfer`].
    TransferLimit,
    /// The wasm stack was exhausted, by deep recursion in native code.
    #[non_exhaustive]
    Stack {
        /// The functions that were running, innermost first.
        frames: Vec<String>,
    },
    /// The guest ended its process, with this status.
    Exit(i32),
    /// Any other trap.
    #[non_exhaustive]
    Trap {
        /// What the engine says of it.
        message: String,
        /// The functions that were running, innermost first.
        frames: Vec<String>,
    },
    /// The session ended with an earlier error.
    Ended,
    /// An instance could not be started.
    #[non_exhaustive]
    Start {
        /// The component's name.
        component: String,
        /// Why.
        cause: Box<Error>,
    },
    /// A file is no component, cannot be read, or does not fit the world.
    Component(Message),
    /// The engine cannot be had on this machine, or has no room left.
    Engine(Message),
    /// A directory for compiled code cannot be trusted or written.
    Cache(Message),
    /// Directories that cannot be granted.
    Grants(Message),
    /// A text that is no duration, size or grant.
    Malformed(Message),
    /// A thread could not be started, or panicked.
    Thread(Message),
}

/// The result of what an embedder does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The reason behind [`Error::Start`], and otherwise the error itself.
    #[must_use]
    pub fn cause(&self) -> &Self {
        match self {
            Self::Start { cause, .. } => cause.cause(),
            other => other,
        }
    }

    /// A time limit that was reached; an embedder that watches over one itself says so in the same words.
    #[must_use]
    pub fn time_limit(limit: Duration) -> Self {
        Self::TimeLimit { limit, traceback: String::new() }
    }

    /// A memory limit that was reached; both numbers are in bytes.
    #[must_use]
    pub fn memory_limit(limit: u64, wanted: u64) -> Self {
        Self::MemoryLimit { limit, wanted }
    }

    /// The error as it is shown to a user, from `error: ` to a line feed.
    #[must_use]
    pub fn render(&self) -> String {
        Message::from(self.clone()).render()
    }

    pub(crate) fn stopped(reason: Reason, limit: Option<Duration>, traceback: String) -> Self {
        match reason {
            Reason::Cancelled => Self::Cancelled { traceback },
            Reason::TimeLimit => Self::TimeLimit { limit: limit.unwrap_or_default(), traceback },
        }
    }

    /// Classifies an error that came out of running wasm, apart from the limits.
    pub(crate) fn of_wasmtime(error: &wasmtime::Error) -> Self {
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            return Self::Exit(exit.0);
        }
        if error.root_cause().to_string().starts_with(TRANSFER) {
            return Self::TransferLimit;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => Self::Stack { frames: frames(error) },
            _ => Self::Trap { message: cause_text(error), frames: frames(error) },
        }
    }

    /// What is shown to a user.
    fn message(&self) -> Message {
        match self {
            Self::Raised(text) | Self::Refused(text) => Message::new(text.trim_end()),
            Self::TimeLimit { limit, traceback } => {
                let message = format!("the time limit of {} was reached", format_duration(*limit));
                Message::new(message).details(traceback.lines())
            }
            Self::Cancelled { traceback } => {
                Message::new("the call was cancelled").details(traceback.lines())
            }
            Self::MemoryLimit { limit, wanted } => {
                Message::new(format!("the memory limit of {} was reached", format_size(*limit)))
                    .detail(format!("the guest asked for {}", format_size(*wanted)))
            }
            Self::TransferLimit => Message::new("the guest passed more to the embedder at once than it may"),
            Self::Stack { frames } => Message::new("the guest's stack is exhausted").details(frames),
            Self::Exit(status) => Message::new(format!("the guest ended itself with status {status}")),
            Self::Trap { message, frames } => {
                Message::new(format!("the guest trapped: {message}")).details(frames)
            }
            Self::Ended => Message::new("the session ended with an earlier failure"),
            Self::Start { component, cause } => {
                cause.message().context(format!("cannot start `{component}`"))
            }
            Self::Component(message)
            | Self::Engine(message)
            | Self::Cache(message)
            | Self::Grants(message)
            | Self::Malformed(message)
            | Self::Thread(message) => message.clone(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl From<Error> for Message {
    fn from(error: Error) -> Self {
        error.message()
    }
}

/// What the engine says when the fuel of a call of the embedder is used up; it exports no type for it.
const TRANSFER: &str = "too much data is being copied between the host and the guest";

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
    let shown = |(line, times)| if times == 1 { line } else { format!("{line}, {times} times") };
    lines.into_iter().map(shown).collect()
}

/// Turns an error of the engine's interface (not of a guest) into words for the user.
pub(crate) fn words(error: &wasmtime::Error) -> Message {
    Message::of_chain(error.chain())
}
