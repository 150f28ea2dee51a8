//! What went wrong inside the runtime, as text for the embedder.

use alloc::string::String;
use core::fmt;

/// A failure of the runtime itself, as against an exception of the session's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

/// The result of anything in the runtime that can fail.
pub type Result<T, E = Error> = core::result::Result<T, E>;

impl Error {
    /// Makes an error from one lower-case sentence without a full stop.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Puts what was being done in front: `outer: inner`.
    #[must_use]
    pub fn context(self, outer: &str) -> Self {
        Self(alloc::format!("{outer}: {}", self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
