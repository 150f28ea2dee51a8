//! The verb `run`: one piece of Python code, as `python3` would run it.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use eryx_embed::{Embedder, EmbedderOptions, Grant, Input, Limits, OnCompile, Output, SessionOptions};

use crate::error::{Context, Error, Result};

/// How long a guest that is over its time may go on before the process ends: longer than the embedder needs to stop
/// one that can be stopped.
const STUCK: Duration = Duration::from_secs(2);

/// Where the code to run comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Code {
    /// Given as such (`-c`).
    Text(String),
    /// A file.
    File(PathBuf),
    /// Standard input, to its end (`-`); the code itself then finds its standard input at its end.
    #[default]
    Stdin,
}

/// What to run, and with what. The default runs nothing, grants nothing and limits nothing.
#[derive(Clone, Default)]
pub struct RunOptions {
    /// The component file.
    pub component: PathBuf,
    /// The root of the cache, for compiled code.
    pub cache: Option<PathBuf>,
    /// The code.
    pub code: Code,
    /// Directories that the code may use.
    pub grants: Vec<Grant>,
    /// The longest that the start and, separately, the code may take.
    pub timeout: Option<Duration>,
    /// Whether this process ends with [`ExitStatus::TIME_LIMIT`] when native code goes on long after its time; the
    /// guest then needs no interruption that costs it speed. Otherwise it is compiled to be stopped.
    pub exit_when_stuck: bool,
    /// The most linear memory, in bytes.
    pub max_memory: Option<u64>,
    /// The environment variables of the guest.
    pub env: Vec<(String, String)>,
    /// Whether to take native code from beside the component, see [`EmbedderOptions::trust_native_code_beside`].
    pub native_code_beside: bool,
    /// Is told when the component has to be compiled first.
    pub on_compile: Option<OnCompile>,
}

/// The exit status of a process, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

impl ExitStatus {
    /// The code ended.
    pub const SUCCESS: Self = Self(0);
    /// The code raised.
    pub const RAISED: Self = Self(1);
    /// The time limit was reached: what `timeout` gives.
    pub const TIME_LIMIT: Self = Self(124);
    /// The call was cancelled: what a shell gives for an interrupt.
    pub const CANCELLED: Self = Self(130);
    /// The guest trapped: what a process gives that aborts.
    pub const TRAPPED: Self = Self(134);
    /// The memory limit was reached and the guest gave up: what the kernel's killer gives.
    pub const MEMORY_LIMIT: Self = Self(137);
    /// The stack of native code is exhausted: what `python3` gives for it.
    pub const STACK: Self = Self(139);
}

/// Runs code with standard output and standard error passed through as they are written.
///
/// The status is that of `python3`: 0 when the code ends, 1 with the traceback on standard error
/// when it raises, and what `sys.exit` says. A guest that stops without an answer is told on
/// standard error and has a status of its own, see [`ExitStatus`].
///
/// # Errors
/// When the code or the component cannot be read or the component cannot be started.
pub fn run(options: &RunOptions) -> Result<ExitStatus> {
    let (code, stdin) = match &options.code {
        Code::Text(text) => (text.clone(), Input::Inherit),
        Code::File(path) => {
            let what = || format!("cannot read `{}`", path.display());
            (decode(fs::read(path).context(what)?, &path.display().to_string())?, Input::Inherit)
        }
        Code::Stdin => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context(|| "cannot read standard input".to_owned())?;
            (decode(bytes, "standard input")?, Input::Empty)
        }
    };
    let embedder = Embedder::with(
        EmbedderOptions::default()
            .cache(options.cache.clone())
            .trust_native_code_beside(options.native_code_beside)
            .on_compile(options.on_compile.clone()),
    )?;
    let outcome = execute(&embedder, &options.component, options, &code, stdin)?;
    let mut stderr = std::io::stderr().lock();
    // There is nobody to tell when standard error is closed.
    let _ = stderr.write_all(outcome.message.as_bytes());
    Ok(outcome.status)
}

/// Ends the process when a guest goes on long after its time, unless it is dropped before.
struct Watch {
    _done: mpsc::Sender<()>,
}

impl Watch {
    fn start(limit: Duration) -> Self {
        let (done, is_done) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if is_done.recv_timeout(limit.saturating_add(STUCK)) == Err(RecvTimeoutError::Timeout) {
                eprint!("{}", eryx_embed::Error::time_limit(limit).render());
                std::process::exit(ExitStatus::TIME_LIMIT.0.into());
            }
        });
        Self { _done: done }
    }
}

/// How a run ended: its status, and what is left to be written to standard error.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: ExitStatus,
    message: String,
}

fn execute(
    embedder: &Embedder,
    component: &Path,
    options: &RunOptions,
    code: &str,
    stdin: Input,
) -> Result<Outcome> {
    let image = embedder.load(component)?;
    let limits = Limits::default()
        .timeout(options.timeout)
        .max_memory(options.max_memory)
        .stop_native_code(options.timeout.is_some() && !options.exit_when_stuck);
    image.prepare(limits.stop_native_code)?;
    let watch = || options.timeout.filter(|_| options.exit_when_stuck).map(Watch::start);
    let watched = watch();
    let session = image.session(
        SessionOptions::default()
            .grants(options.grants.clone())
            .limits(limits)
            .env(options.env.clone())
            .stdin(stdin)
            .stdout(Output::Inherit)
            .stderr(Output::Inherit),
    );
    let mut session = match session {
        Ok(session) => session,
        Err(error) => return stopped(error),
    };
    drop(watched);
    let _watched = watch();
    match session.execute(code) {
        // What the code printed has already gone to standard output.
        Ok(_) => Ok(Outcome { status: ExitStatus::SUCCESS, message: String::new() }),
        Err(eryx_embed::Error::Raised(text)) => Ok(raised(&text, session.memory_refused())),
        Err(error) => stopped(error),
    }
}

/// Judges the text of an error as `python3` judges the exception.
fn raised(text: &str, memory_refused: Option<(u64, u64)>) -> Outcome {
    let text = text.trim_end_matches('\n');
    match text.strip_prefix("SystemExit") {
        Some("" | ": None") => return Outcome { status: ExitStatus::SUCCESS, message: String::new() },
        Some(rest) => {
            if let Some(argument) = rest.strip_prefix(": ") {
                return match exit_status(argument) {
                    Some(status) => Outcome { status, message: String::new() },
                    None => Outcome { status: ExitStatus::RAISED, message: format!("{argument}\n") },
                };
            }
        }
        None => {}
    }
    let mut message = format!("{text}\n");
    if let Some((limit, wanted)) = memory_refused
        && text.lines().last().is_some_and(|line| line.starts_with("MemoryError"))
    {
        message.push_str(&eryx_embed::Error::memory_limit(limit, wanted).render());
    }
    Outcome { status: ExitStatus::RAISED, message }
}

/// The status of an integer given to `sys.exit`: its lowest eight bits, however large it is.
fn exit_status(argument: &str) -> Option<ExitStatus> {
    let (negative, digits) = match argument.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, argument),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let low = digits.bytes().fold(0_u8, |low, byte| low.wrapping_mul(10).wrapping_add(byte - b'0'));
    Some(ExitStatus(if negative { low.wrapping_neg() } else { low }))
}

/// How a guest stopped that gave no answer; what is not its doing is an error.
fn stopped(error: eryx_embed::Error) -> Result<Outcome> {
    use eryx_embed::Error;
    let status = match error.cause() {
        Error::TimeLimit { .. } => ExitStatus::TIME_LIMIT,
        Error::Cancelled { .. } => ExitStatus::CANCELLED,
        Error::MemoryLimit { .. } => ExitStatus::MEMORY_LIMIT,
        Error::Stack { .. } => ExitStatus::STACK,
        Error::Trap { .. } | Error::TransferLimit => ExitStatus::TRAPPED,
        // The code wanted it (`os._exit`): nothing is wrong.
        Error::Exit(status) => {
            return Ok(Outcome { status: ExitStatus(*status as u8), message: String::new() });
        }
        _ => return Err(error.into()),
    };
    Ok(Outcome { status, message: error.render() })
}

/// Python source is UTF-8, with or without a byte order mark.
fn decode(bytes: Vec<u8>, name: &str) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Error::new(format!("expected UTF-8 in `{name}` but found other bytes at offset {offset}"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u8, message: &str) -> Outcome {
        Outcome { status: ExitStatus(status), message: message.to_owned() }
    }

    #[test]
    fn exits_are_silent_and_traceback_are_told() {
        for (text, expected) in [
            ("SystemExit: 0", outcome(0, "")),
            ("SystemExit: 3\n", outcome(3, "")),
            ("SystemExit: 256", outcome(0, "")),
            ("SystemExit: -1", outcome(255, "")),
            ("SystemExit: 100000000000000000000000", outcome(0, "")),
            ("SystemExit", outcome(0, "")),
            ("SystemExit: None", outcome(0, "")),
            ("SystemExit: no such file", outcome(1, "no such file\n")),
            ("SystemExit: 3\nand more", outcome(1, "3\nand more\n")),
            ("SystemExitIsh: 3", outcome(1, "SystemExitIsh: 3\n")),
            ("Traceback\nValueError: 1", outcome(1, "Traceback\nValueError: 1\n")),
        ] {
            assert_eq!(raised(text, None), expected, "{text}");
        }
    }

    #[test]
    fn a_memory_error_names_the_limit() {
        let told = raised("Traceback\nMemoryError", Some((64 << 20, 65 << 20)));
        let message = "Traceback\nMemoryError\nerror: the memory limit of 64 MiB was reached\n  the guest asked for 65 MiB\n";
        assert_eq!(told, outcome(1, message));
        assert_eq!(raised("Traceback\nKeyError", Some((1, 2))), outcome(1, "Traceback\nKeyError\n"));
    }

    #[test]
    fn source_is_utf8_with_or_without_a_mark() {
        assert_eq!(decode(b"\xef\xbb\xbfx = 1".to_vec(), "f").unwrap(), "x = 1");
        assert_eq!(decode("ä".into(), "f").unwrap(), "ä");
        let error = decode(b"ab\xff".to_vec(), "f").unwrap_err();
        assert_eq!(error.message(), "expected UTF-8 in `f` but found other bytes at offset 2");
    }
}
