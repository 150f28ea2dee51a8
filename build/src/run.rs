//! The verb `run`: a program, as `python3` would run it.

mod arguments;
mod hint;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use eryx_embed::{
    Canceller, Embedder, EmbedderOptions, Grant, Input, Limits, OnCompile, Output, SessionOptions,
};
use serde::Deserialize;
use serde_json::json;
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

pub use arguments::{Program, PythonArguments};

use crate::error::{Context, Result};
use crate::invocation::verb;
use hint::Cause;

/// How long a guest that is over its time may go on before the process ends: longer than the embedder needs to stop
/// one that can be stopped.
const STUCK: Duration = Duration::from_secs(2);

/// Who presses Ctrl-C twice in this time wants the end, whatever the code makes of it.
const INSISTENCE: Duration = Duration::from_secs(1);

/// What to run, and with what. The default runs nothing, lends nothing and limits nothing.
#[derive(Clone, Default)]
pub struct RunOptions {
    /// The component file.
    pub component: PathBuf,
    /// The root of the cache, for compiled code.
    pub cache: Option<PathBuf>,
    /// The program, its arguments, and the options of Python.
    pub python: PythonArguments,
    /// Directories that the code may use.
    pub grants: Vec<Grant>,
    /// The working directory in the guest; by default this process's own one, where it is lent under its own path, and the
    /// guest's home otherwise.
    pub folder: Option<String>,
    /// The limits; [`Limits::stop_native_code`] is chosen here.
    pub limits: Limits,
    /// Whether this process ends when native code goes on long after its time ([`ExitStatus::TIME_LIMIT`]), or when it is
    /// interrupted twice; the guest then needs no interruption that costs it speed. Otherwise it is compiled to be stopped.
    pub owns_process: bool,
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

/// Runs a program with standard output and standard error passed through as they are written.
///
/// The status is that of `python3`: 0 when the code ends, 1 with the traceback on standard error when it raises, what
/// `sys.exit` and `os._exit` say, 130 when an interrupt ends it. A guest that stops without an answer is told on standard
/// error and has a status of its own, see [`ExitStatus`].
///
/// # Errors
/// When the program or the component cannot be read or the component cannot be started.
pub fn run(options: &RunOptions) -> Result<ExitStatus> {
    let (request, stdin) = request(options)?;
    let embedder = Embedder::with(
        EmbedderOptions::default()
            .cache(options.cache.clone())
            .trust_native_code_beside(options.native_code_beside)
            .on_compile(options.on_compile.clone()),
    )?;
    let outcome = execute(&embedder, &options.component, options, &request, stdin)?;
    let mut stderr = std::io::stderr().lock();
    // There is nobody to tell when standard error is closed.
    let _ = stderr.write_all(outcome.message.as_bytes());
    Ok(outcome.status)
}

/// What the guest's `_eryx_program` takes, as code for `execute`, and the guest's standard input.
fn request(options: &RunOptions) -> Result<(String, Input)> {
    let python = &options.python;
    let mut stdin = Input::Inherit;
    let mut source = Vec::new();
    let (kind, name, path, own) = match &python.program {
        Program::Code(code) => {
            source = code.clone().into_bytes();
            ("code", "<string>".to_owned(), Some(String::new()), "-c".to_owned())
        }
        Program::Version => {
            source = b"import platform; print('Python', platform.python_version())".to_vec();
            ("code", "<string>".to_owned(), Some(String::new()), "-c".to_owned())
        }
        Program::Module(name) => ("module", name.clone(), None, "-m".to_owned()),
        Program::File(file) => {
            source = fs::read(file).context(|| format!("cannot read `{}`", file.display()))?;
            let name = std::path::absolute(file)?.display().to_string();
            let folder = Path::new(&name).parent().unwrap_or(Path::new("/")).display().to_string();
            ("file", name, Some(folder), file.display().to_string())
        }
        Program::Stdin => {
            std::io::stdin().read_to_end(&mut source).context(|| "cannot read standard input".to_owned())?;
            stdin = Input::Empty;
            ("code", "<stdin>".to_owned(), Some(String::new()), "-".to_owned())
        }
        Program::Prompt => ("prompt", String::new(), Some(String::new()), String::new()),
    };
    let mut argv = vec![own];
    argv.extend(python.arguments.iter().cloned());
    let request = json!({
        "kind": kind,
        "name": name,
        "path": path,
        // Each character is a byte: the code may have an encoding of its own.
        "source": source.into_iter().map(char::from).collect::<String>(),
        "argv": argv,
        "folder": options.folder.clone().or_else(|| lent_here(&options.grants)),
        "options": {
            "inspect": python.inspect,
            "unbuffered": python.unbuffered,
            "optimize": python.optimize,
            "warnings": python.warnings,
            "x": python.x,
        },
    });
    // A JSON string of ASCII characters is a Python string, too.
    let literal = json!(request.to_string()).to_string();
    let literal: String = literal.chars().map(escaped).collect();
    // The program's globals are its own.
    Ok((format!("__import__('_eryx_program').run({literal})"), stdin))
}

/// A character of a JSON string, so that it means the same in a Python one.
fn escaped(character: char) -> String {
    match character {
        character if character.is_ascii() && character != '\x7f' => character.to_string(),
        character => format!("\\U{:08x}", u32::from(character)),
    }
}

/// This process's directory, where a guest has it under the same path.
fn lent_here(grants: &[Grant]) -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let is_lent = grants.iter().any(|grant| {
        let own =
            std::path::absolute(&grant.embedder_path).is_ok_and(|own| own == Path::new(&grant.guest_path));
        own && here.starts_with(&grant.guest_path)
    });
    is_lent.then(|| here.to_str().map(str::to_owned)).flatten()
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
    request: &str,
    stdin: Input,
) -> Result<Outcome> {
    let image = embedder.load(component)?;
    let timeout = options.limits.timeout;
    let limits = options.limits.stop_native_code(timeout.is_some() && !options.owns_process);
    image.prepare(limits.stop_native_code)?;
    let watch = || timeout.filter(|_| options.owns_process).map(Watch::start);
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
    if options.owns_process {
        pass_interrupts_on(session.canceller())?;
    }
    match session.execute(request) {
        // What the code printed has already gone to standard output.
        Ok(answer) => Ok(ended(&answer, session.memory_refused(), options)),
        Err(eryx_embed::Error::Raised(traceback)) => {
            Ok(Outcome { status: ExitStatus::RAISED, message: traceback })
        }
        Err(error) => {
            let mut outcome = stopped(error)?;
            for file in session.files_being_written() {
                outcome
                    .message
                    .push_str(&format!("  it was writing `{}`, which may lack its end\n", file.display()));
            }
            Ok(outcome)
        }
    }
}

/// Has Ctrl-C interrupt the code, as it does in `python3`.
fn pass_interrupts_on(canceller: Canceller) -> Result<()> {
    let mut signals = Signals::new([SIGINT])?;
    std::thread::spawn(move || {
        let mut last: Option<Instant> = None;
        for _ in signals.forever() {
            let insists = last.is_some_and(|last| last.elapsed() < INSISTENCE);
            if insists || canceller.interrupt().is_err() {
                std::process::exit(ExitStatus::CANCELLED.0.into());
            }
            last = Some(Instant::now());
        }
    });
    Ok(())
}

/// The guest's answer: how its program ended.
#[derive(Debug, Deserialize)]
struct Answer {
    status: u8,
    cause: Option<Cause>,
}

/// Judges the guest's answer; what the code ran into may have a way out.
fn ended(answer: &str, memory_refused: Option<(u64, u64)>, options: &RunOptions) -> Outcome {
    let Ok(answer) = serde_json::from_str::<Answer>(answer) else {
        let hint = verb("bundle");
        let message = format!(
            "error: the component does not answer as one that this version makes\nhint: {hint} makes it anew\n"
        );
        return Outcome { status: ExitStatus::RAISED, message };
    };
    let message = match (&answer.cause, memory_refused) {
        (Some(Cause::Memory(_)), Some((limit, wanted))) => {
            eryx_embed::Error::memory_limit(limit, wanted).render()
        }
        (Some(cause), _) => cause.hint(options).map(|hint| format!("hint: {hint}\n")).unwrap_or_default(),
        (None, _) => String::new(),
    };
    Outcome { status: ExitStatus(answer.status), message }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u8, message: &str) -> Outcome {
        Outcome { status: ExitStatus(status), message: message.to_owned() }
    }

    #[test]
    fn a_guest_that_gives_no_answer_has_a_status() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("fake.wasm");
        // It stands for Python, and takes other code.
        let text = include_str!("../../embed/tests/fixtures/fake_guest.wat");
        fs::write(&component, wat::parse_str(text).unwrap()).unwrap();
        let embedder = Embedder::new(None).unwrap();
        let status = |code: &str, timeout, max_memory| {
            let limits = Limits::default().timeout(timeout).max_memory(max_memory);
            let options = RunOptions { limits, ..RunOptions::default() };
            execute(&embedder, &component, &options, code, Input::Empty).unwrap().status
        };
        let short = Some(Duration::from_millis(50));
        assert_eq!(status(r#"o {"status": 3, "cause": null}"#, None, None), ExitStatus(3));
        assert_eq!(status("o", None, None), ExitStatus::RAISED);
        assert_eq!(status("e Traceback", None, None), ExitStatus::RAISED);
        assert_eq!(status("t", None, None), ExitStatus::TRAPPED);
        assert_eq!(status("r", None, None), ExitStatus::STACK);
        assert_eq!(status("l", short, None), ExitStatus::TIME_LIMIT);
        assert_eq!(status("m", None, Some(8 << 20)), ExitStatus::MEMORY_LIMIT);
    }

    #[test]
    fn a_memory_error_names_the_limit() {
        let options = RunOptions::default();
        let answer = r#"{"status": 1, "cause": {"memory": true}}"#;
        let message = "error: the memory limit of 64 MiB was reached\n  the guest asked for 65 MiB\n";
        assert_eq!(ended(answer, Some((64 << 20, 65 << 20)), &options), outcome(1, message));
        assert_eq!(ended(answer, None, &options), outcome(1, ""));
        let answer = r#"{"status": 3, "cause": null}"#;
        assert_eq!(ended(answer, Some((1, 2)), &options), outcome(3, ""));
    }

    #[test]
    fn a_request_is_a_python_string() {
        let options = RunOptions {
            python: PythonArguments {
                program: Program::Code("print('é\\n\u{1d11e}\x7f\0')".into()),
                arguments: vec!["a\"b".into()],
                ..PythonArguments::default()
            },
            ..RunOptions::default()
        };
        let (request, _) = request(&options).unwrap();
        assert!(request.is_ascii() && !request.contains(['\n', '\0', '\x7f']), "{request}");
    }
}
