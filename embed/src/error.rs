//! The one error type that reaches a user.
//!
//! The grammar is the same everywhere: `error: ` and a lower-case sentence without a full stop,
//! names in backticks, what was expected and what was found; further lines of detail are indented;
//! advice stands on `hint: ` lines of its own. Problems of one kind are gathered as details of one
//! error rather than reported one by one.

use std::fmt;

/// A failure that is told to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    message: String,
    details: Vec<String>,
    hints: Vec<String>,
    storage: bool,
}

/// The result of anything that can fail in front of the user.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error from one lower-case sentence without `error: ` and without a full stop.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), details: Vec::new(), hints: Vec::new(), storage: false }
    }

    /// Makes an error of a chain of causes, the outermost first: that is the message, the others are details.
    #[must_use]
    pub fn of_chain(causes: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        let mut lines = causes.into_iter().map(|cause| cause.to_string());
        Self::new(lines.next().unwrap_or_default()).details(lines)
    }

    /// Adds an indented line of detail.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Adds several indented lines of detail.
    #[must_use]
    pub fn details<S: Into<String>>(mut self, lines: impl IntoIterator<Item = S>) -> Self {
        self.details.extend(lines.into_iter().map(Into::into));
        self
    }

    /// Adds a `hint:` line.
    #[must_use]
    pub fn hint(mut self, line: impl Into<String>) -> Self {
        self.hints.push(line.into());
        self
    }

    /// Marks a failure to write to a disk of this machine: whatever was to be written is not to blame.
    #[must_use]
    pub fn of_storage(mut self) -> Self {
        self.storage = true;
        self
    }

    /// Whether a disk of this machine could not be written.
    #[must_use]
    pub fn is_of_storage(&self) -> bool {
        self.storage
    }

    /// Puts a noun in front of the message: `outer: inner`.
    #[must_use]
    pub fn context(mut self, outer: impl fmt::Display) -> Self {
        self.message = format!("{outer}: {}", self.message);
        self
    }

    /// The first line, without `error: `.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The whole text as printed on standard error, ending in a line feed.
    #[must_use]
    pub fn render(&self) -> String {
        format!("error: {self}\n")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for detail in &self.details {
            for line in detail.lines() {
                write!(f, "\n  {line}")?;
            }
        }
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(lower_first(&error.to_string()))
    }
}

/// Adds what was being done to a failure.
pub trait Context<T> {
    /// Turns the failure into an [`Error`] whose message is `outer: inner`.
    ///
    /// # Errors
    /// The failure itself, with `outer` in front.
    fn context(self, outer: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, outer: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().context(outer()))
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_message_details_and_hints() {
        let error = Error::new("2 symbols are unresolved").detail("`a`\n`b`").hint("look").context("link");
        assert_eq!(error.render(), "error: link: 2 symbols are unresolved\n  `a`\n  `b`\nhint: look\n");
    }

    #[test]
    fn io_errors_start_in_lower_case() {
        let error = Error::from(std::io::Error::other("Disk on fire"));
        assert_eq!(error.message(), "disk on fire");
    }
}
