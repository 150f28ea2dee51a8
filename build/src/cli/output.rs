//! What verbs print on standard output and standard error.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};

use crate::error::{Context as _, Error, Result};

/// Prints on standard output. When nobody reads it any more, the process ends as programs do by default: by
/// `SIGPIPE`, without a message.
///
/// # Errors
/// When it cannot be written for another reason, such as a full disk.
pub(super) fn print(text: impl Display) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match write!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
            Err(error.into())
        }
        written => written.context(|| "cannot write to standard output".to_owned()),
    }
}

/// Prints a line on standard output, as [`print()`] does.
///
/// # Errors
/// When it cannot be written.
pub(super) fn line(text: impl Display) -> Result<()> {
    print(format_args!("{text}\n"))
}

/// Prints an error on standard error; where that cannot be written, nobody can be reached.
pub(super) fn complain(error: &Error) {
    let _ = std::io::stderr().write_all(error.render().as_bytes());
}
