//! What Python code in a component may rely on, as tables: `conformance/*.toml`, one case an entry.
//!
//! A case has `code` and one outcome: `prints` (the whole output), `raises` (the end of the traceback), or
//! `says` (parts of the traceback). Cases of one file run in one instance, each with globals of its own, so
//! that a case which leaves the interpreter damaged shows in the next. Every table runs in the bare interpreter and
//! in one with numpy and pydantic (`ERYX_E2E_COMPONENT` names a component with both that is there already),
//! `numpy.toml` in the second only, and `pandas.toml` in a third with pandas.
#![cfg(feature = "e2e")]

mod bundled;
#[path = "conformance/command.rs"]
mod command;
#[path = "conformance/eryx_0_14.rs"]
mod eryx_0_14;
mod outcome;
#[path = "conformance/pandas.rs"]
mod pandas;
#[path = "conformance/snapshot.rs"]
mod snapshot;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use bundled::{bundle, checkout};
use eryx_build::layout::Layout;
use eryx_embed::{
    Callback, Embedder, EmbedderOptions, Error, Image, Limits, Output, Session, SessionOptions, Stacks,
    TraceEvent,
};
use outcome::ok;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

/// A case of a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    code: String,
    #[serde(default)]
    prints: Option<String>,
    #[serde(default)]
    raises: Option<String>,
    #[serde(default)]
    says: Vec<String>,
    /// What goes to standard error.
    #[serde(default)]
    warns: Vec<String>,
}

/// What a component holds, behind the world `sandbox`; built and loaded once.
struct Variant {
    packages: &'static [&'static str],
    /// Whether its libraries are bound before the start.
    prelinked: bool,
    image: OnceLock<Image>,
}

impl Variant {
    const fn new(packages: &'static [&'static str], prelinked: bool) -> Self {
        Self { packages, prelinked, image: OnceLock::new() }
    }
}

const PACKAGES: &[&str] = &["numpy", "pydantic"];
static BARE: Variant = Variant::new(&[], true);
static NUMPY: Variant = Variant::new(PACKAGES, true);
// What prelinking is measured against: nothing may differ.
static BARE_UNLINKED: Variant = Variant::new(&[], false);
static NUMPY_UNLINKED: Variant = Variant::new(PACKAGES, false);

impl Variant {
    fn image(&self) -> &Image {
        self.image.get_or_init(|| {
            let path = match std::env::var_os("ERYX_E2E_COMPONENT") {
                Some(path) if self.prelinked && self.packages.contains(&"pydantic") => {
                    std::path::absolute(path).unwrap()
                }
                _ => {
                    let unlinked: &[&str] = if self.prelinked { &[] } else { &["--no-prelink"] };
                    bundle([unlinked, self.packages].concat())
                }
            };
            embedder().load(&path).unwrap()
        })
    }

    fn start(&self) -> Session {
        self.start_with(SessionOptions::default())
    }

    fn start_with(&self, options: SessionOptions) -> Session {
        start(self.image(), options)
    }
}

fn start(image: &Image, options: SessionOptions) -> Session {
    let options = options.stdout(Output::Capture).stderr(Output::Capture).callbacks(callbacks());
    image.session(options).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Makes a test of each function for each variant.
macro_rules! for_each_variant {
    ($($name:ident)*) => {
        mod bare {
            $(#[test] fn $name() { super::$name(&crate::BARE); })*
        }
        mod numpy_and_pydantic {
            $(#[test] fn $name() { super::$name(&crate::NUMPY); })*
        }
        mod bare_not_prelinked {
            $(#[test] fn $name() { super::$name(&crate::BARE_UNLINKED); })*
        }
        mod numpy_and_pydantic_not_prelinked {
            $(#[test] fn $name() { super::$name(&crate::NUMPY_UNLINKED); })*
        }
    };
}
use for_each_variant;

/// Builds the bare interpreter behind a world, and gives the component's file.
fn behind(world: &str) -> PathBuf {
    bundle(["--world", world])
}

fn embedder() -> Embedder {
    with_stacks(Stacks::default())
}

fn with_stacks(stacks: Stacks) -> Embedder {
    let cache = Some(Layout::cache_folder().unwrap());
    Embedder::with(EmbedderOptions::default().cache(cache).stacks(stacks)).unwrap()
}

fn callbacks() -> Vec<Callback> {
    let time = r#"{"type": "object", "required": ["zone"], "properties": {
        "zone": {"type": "string", "description": "A time zone."},
        "digits": {"type": "integer", "minimum": 0, "maximum": 9, "default": 3},
        "style": {"enum": ["short", "long"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "at": {"type": ["number", "null"]}}, "additionalProperties": false}"#;
    vec![
        Callback::new("echo", "Gives back what it gets.", "{}", |arguments| async move { Ok(arguments) }),
        Callback::new("get_time", "Tells the time.", time, |arguments| async move { Ok(arguments) }),
        Callback::new("fail", "", "{}", |_| async { Err::<String, _>("no such row".to_owned()) }),
        Callback::new("never", "", "{}", |_| std::future::pending::<Result<String, String>>()),
        Callback::new("later", "", "{}", |arguments| async move {
            tokio::time::sleep(std::time::Duration::from_millis(15)).await;
            Ok(arguments)
        }),
    ]
}

/// Runs code that must raise, and gives the traceback.
#[track_caller]
fn raised(session: &mut Session, code: &str) -> String {
    match session.execute(code) {
        Ok(_) => panic!("{code}\nraised nothing"),
        Err(Error::Raised(error)) => error,
        Err(failure) => panic!("{code}\n{failure}"),
    }
}

/// Runs every case of a table; tells all that fail at once.
fn run(variant: &Variant, table: &str) {
    run_in(variant.image(), table);
}

fn run_in(image: &Image, table: &str) {
    let path = checkout().join("build/tests/conformance").join(table);
    let table: Table = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut problems = String::new();
    let mut session = None;
    for case in table.case {
        let mut current: Session = session.take().unwrap_or_else(|| start(image, SessionOptions::default()));
        let quiet = current.stderr().len();
        let outcome = current.execute(&case.code);
        let stderr = String::from_utf8_lossy(&current.stderr()[quiet..]).into_owned();
        let missing: Vec<_> = case.warns.iter().filter(|text| !stderr.contains(*text)).collect();
        let good = missing.is_empty()
            && match (&outcome, &case) {
                (Ok(printed), Case { prints: Some(expected), .. }) => printed == expected,
                (Err(Error::Raised(error)), Case { raises: Some(end), says, .. }) => {
                    error.trim_end().ends_with(end.trim_end()) && says.iter().all(|text| error.contains(text))
                }
                (Err(Error::Raised(error)), Case { raises: None, says, .. }) => {
                    !says.is_empty() && says.iter().all(|text| error.contains(text))
                }
                _ => false,
            };
        if !good {
            let shown = match &outcome {
                Ok(printed) => format!("it printed\n{printed}"),
                Err(Error::Raised(error)) => format!("it raised\n{error}"),
                Err(failure) => format!("it ended the instance: {failure}"),
            };
            let shown: String = shown.chars().take(3000).collect();
            let _ = writeln!(problems, "--- {}: {shown}\nstandard error: {stderr}", case.name);
        }
        if outcome.is_ok() {
            current.clear_state().unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
            session = Some(current);
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

for_each_variant! {
    execute
    asyncio
    invoke
    files
    recursion
    recursion_on_the_stack_that_wasmtime_gives
    tracing_is_for_code_of_the_session_only_and_bounded
    the_environment_asks_for_tracing
    instances_share_no_random_stream
    clocks_and_the_environment_are_read_anew
    streams_are_bytes
    what_a_stream_still_holds_comes_with_the_call_that_wrote_it
    output_flows_while_the_code_runs
    memory_that_runs_out_raises
}

fn execute(variant: &Variant) {
    run(variant, "execute.toml");
}

fn asyncio(variant: &Variant) {
    run(variant, "asyncio.toml");
}

fn invoke(variant: &Variant) {
    run(variant, "invoke.toml");
}

fn files(variant: &Variant) {
    run(variant, "files.toml");
}

fn recursion(variant: &Variant) {
    run(variant, "recursion.toml");
}

fn recursion_on_the_stack_that_wasmtime_gives(variant: &Variant) {
    let small = with_stacks(Stacks::of(512 << 10)).load(Path::new(variant.image().name())).unwrap();
    run_in(&small, "recursion.toml");
}

#[test]
fn numpy() {
    run(&NUMPY, "numpy.toml");
}

fn tracing_is_for_code_of_the_session_only_and_bounded(variant: &Variant) {
    let seen = std::sync::Arc::new(Mutex::new(Vec::<TraceEvent>::new()));
    let sink = std::sync::Arc::clone(&seen);
    let on_trace = move |event| sink.lock().unwrap().push(event);
    let mut session = variant.start_with(SessionOptions::default().on_trace(on_trace));
    ok(
        &mut session,
        "import json, eryx\neryx.trace(True)\njson.dumps({1: [2]}, indent=1)\neryx.trace(False)",
    );
    let events = std::mem::take(&mut *seen.lock().unwrap());
    assert!(!events.is_empty());
    for event in &events {
        assert!(event.event.contains("<execute-"), "{event:?}");
        assert_eq!(event.context, "{}", "variables are told on request only");
    }
    let code = "import eryx
class Loud:
    def __repr__(self):
        raise ValueError
def f():
    big, bad = 'x' * 100_000, Loud()
    a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u = range(20)
    return 1
eryx.trace(True, variables=True)
f()
eryx.trace(False)";
    ok(&mut session, code);
    let events = std::mem::take(&mut *seen.lock().unwrap());
    let last = events.iter().rfind(|event| event.line == 8).unwrap();
    assert!(last.context.len() < 4000 && last.context.contains("repr failed: ValueError"), "{last:?}");
    // Recursion under tracing ends as it does without.
    let code = "import eryx\neryx.trace(True)\ndef f(n):\n    return f(n + 1)\ntry:\n    f(0)\nexcept RecursionError:\n    pass\neryx.trace(False)\nprint('alive')";
    assert_eq!(ok(&mut session, code), "alive\n");
}

fn the_environment_asks_for_tracing(variant: &Variant) {
    for (env, traced) in [(&[("ERYX_TRACE", "1")][..], true), (&[("ERYX_TRACE", "0")], false), (&[], false)] {
        let seen = std::sync::Arc::new(Mutex::new(Vec::<TraceEvent>::new()));
        let sink = std::sync::Arc::clone(&seen);
        let on_trace = move |event| sink.lock().unwrap().push(event);
        let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = SessionOptions::default().env(env).on_trace(on_trace);
        let mut session = variant.start_with(options);
        ok(&mut session, "def f():\n    return 1\nf()");
        let events = std::mem::take(&mut *seen.lock().unwrap());
        let told = |kind: &str, line| {
            events
                .iter()
                .any(|event| event.line == line && event.event.contains(&format!(r#""type": "{kind}""#)))
        };
        assert_eq!(
            (told("call", 1), told("line", 2), told("return", 2)),
            (traced, traced, traced),
            "{events:?}"
        );
        assert!(traced || events.is_empty(), "{events:?}");
        // What the code itself says comes after it.
        ok(&mut session, "import eryx\neryx.trace(False)");
        seen.lock().unwrap().clear();
        ok(&mut session, "f()");
        assert_eq!(seen.lock().unwrap().len(), 0);
    }
}

fn instances_share_no_random_stream(variant: &Variant) {
    let code = "import random, uuid, tempfile, os, secrets
print(random.random(), random.gauss(), random.Random().random(), random.SystemRandom().random())
print(os.urandom(8).hex(), secrets.token_hex(4), next(tempfile._get_candidate_names()), tempfile.mkdtemp())
print(uuid.uuid1(), uuid.uuid4(), uuid.uuid6(), uuid.uuid7(), uuid.getnode())
try:
    import numpy as np
except ImportError:
    pass
else:
    print(np.random.random(), np.random.standard_normal(), np.random.default_rng().random())
    print(np.random.RandomState().random_sample(), np.random.Generator(np.random.Philox()).random())";
    let (mut one, mut other) = (variant.start(), variant.start());
    let (first, second) = (ok(&mut one, code), ok(&mut other, code));
    let parts = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (left, right) in parts(&first).iter().zip(parts(&second)) {
        assert_ne!(*left, right);
    }
}

/// Streams that were begun before the memory was saved.
#[test]
fn instances_share_no_random_stream_of_the_saved_memory() {
    let folder = tempfile::tempdir().unwrap();
    let setup = folder.path().join("begin.py");
    let code = "import random, sqlite3, sys
own = random.Random(1)
base = sqlite3.connect(':memory:')
begun = random.random(), own.random(), *base.execute('select random(), hex(randomblob(8))').fetchone()";
    std::fs::write(&setup, code).unwrap();
    // With a package that no other test bundles by itself, so that the component's name is this one's.
    let component = bundle([OsStr::new("attrs"), OsStr::new("--setup"), setup.as_os_str()]);
    let image = embedder().load(&component).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let mut session = start(&image, SessionOptions::default());
        assert!(!ok(&mut session, "print(*begun)").is_empty());
        let code = "print(random.random(), own.random(), *base.execute('select random(), hex(randomblob(8))').fetchone())";
        for number in ok(&mut session, code).split_whitespace() {
            assert!(seen.insert(number.to_owned()), "{number} comes again");
        }
    }
}

fn clocks_and_the_environment_are_read_anew(variant: &Variant) {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    for value in ["one", "two"] {
        let env = vec![("ME".to_owned(), value.to_owned()), ("HOME".to_owned(), "/tmp".to_owned())];
        let mut session = variant.start_with(SessionOptions::default().env(env));
        let code = "import os, time, datetime, logging
print(os.environ['ME'], os.getenv('ME'), os.getcwd(), os.path.expanduser('~'), sorted(os.environ))
record = logging.makeLogRecord({})
print(time.time(), datetime.datetime.now().timestamp(), record.created - record.relativeCreated / 1e3)
print(time.monotonic() <= time.monotonic(), time.perf_counter() > 0, time.process_time() >= 0)";
        let printed = ok(&mut session, code);
        let mut lines = printed.lines();
        let environment = format!("{value} {value} /tmp /tmp ['HOME', 'ME']");
        assert_eq!(lines.next(), Some(environment.as_str()));
        for clock in lines.next().unwrap().split(' ') {
            let clock: f64 = clock.parse().unwrap();
            assert!(clock > since - 0.1 && clock < since + 600.0, "{clock} but now is {since}");
        }
        assert_eq!(lines.next(), Some("True True True"));
    }
}

fn streams_are_bytes(variant: &Variant) {
    let mut session = variant.start();
    let code = "import sys\nsys.stdout.buffer.write(b'\\xff\\n')\nsys.stdout.flush()\nprint('\\udc80')";
    assert_eq!(ok(&mut session, code), "\u{fffd}\n\u{fffd}\n");
    assert_eq!(session.stdout(), b"\xff\n\x80\n");
    let code = "print('before')\n1 / 0";
    assert!(matches!(session.execute(code), Err(Error::Raised(_))));
    assert!(session.stdout().ends_with(b"before\n"), "what was written before an error is not lost");
    assert_eq!(ok(&mut session, "print('x' * 5_000_000)").len(), 5_000_001);
}

fn what_a_stream_still_holds_comes_with_the_call_that_wrote_it(variant: &Variant) {
    let mut session = variant.start();
    for (code, printed) in [
        ("pass", ""),
        ("print('text', end='')", "text"),
        ("pass", ""),
        ("import sys\nsys.stdout.buffer.write(b'bytes')", "bytes"),
        ("sys.stdout.buffer.raw.write(b'raw')", "raw"),
        (
            "import io\nother = io.TextIOWrapper(sys.stdout.buffer)\nother.write('mine')\nother.flush()",
            "mine",
        ),
        ("sys.stdout.detach()", ""),
        ("print('anew')", "anew\n"),
        ("sys.stdout.buffer.detach()", ""),
        ("print('again')", "again\n"),
        ("import contextlib\nwith contextlib.redirect_stdout(io.StringIO()): print('elsewhere')", ""),
        (
            "sys.stdout = io.TextIOWrapper(io.BufferedWriter(sys.stdout.buffer.raw))\nprint('own', end='')",
            "own",
        ),
        ("sys.stdout = sys.__stdout__", ""),
        ("print('error', end='', file=sys.stderr)", ""),
    ] {
        assert_eq!(ok(&mut session, code), printed, "{code}");
    }
    assert_eq!(session.stderr(), b"error");
}

fn output_flows_while_the_code_runs(variant: &Variant) {
    let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
    let output = |sign: &'static [u8]| {
        let sink = std::sync::Arc::clone(&seen);
        Output::call(move |bytes| sink.lock().unwrap().extend([sign, bytes].concat()))
    };
    let sink = std::sync::Arc::clone(&seen);
    let so_far = Callback::new("so_far", "", "{}", move |_| {
        let text = String::from_utf8_lossy(&sink.lock().unwrap()).into_owned();
        async move { Ok(serde_json::to_string(&text).unwrap()) }
    });
    let options =
        SessionOptions::default().stdout(output(b"1:")).stderr(output(b"2:")).callbacks(vec![so_far]);
    let mut session = variant.image().session(options).unwrap_or_else(|failure| panic!("{failure}"));
    let code = "import sys
print('line')
print('error', file=sys.stderr)
print('no end', end='', flush=True)
sys.stdout.buffer.write(b'bytes')
sys.stdout.flush()
told = await so_far()
print(told == '1:line\\n2:error\\n1:no end1:bytes', repr(told))";
    let printed = ok(&mut session, code);
    assert!(printed.starts_with("line\nno endbytesTrue "), "{printed}");
}

fn memory_that_runs_out_raises(variant: &Variant) {
    let limits = Limits::default().max_memory(Some(160 << 20));
    let mut session = variant.start_with(SessionOptions::default().limits(limits));
    for code in [
        "x = []\nwhile True:\n    x.append('x' * 1000 + str(len(x)))",
        "x = {}\nwhile True:\n    x[len(x)] = [None] * 100",
        "x = 'a'\nwhile True:\n    x += x",
        "x = 1 << 4_000_000_000",
        "x = [0] * 500_000_000",
        "x = bytes(1 << 30)",
        "''.join(['a' * 1_000_000] * 1000)",
        "import pickle\npickle.dumps([bytes(1_000_000) + bytes([i]) for i in range(100)])",
        "import json\njson.dumps(['a' * 1_000_000] * 1000)",
        "set(range(100_000_000))",
        "import io\nf = io.BytesIO()\nwhile True:\n    f.write(bytes(10_000_000))",
        "x = None\nwhile True:\n    x = (x, x, [x])",
        "print('x' * 100_000_000 + 'y')",
    ] {
        let error = raised(&mut session, code);
        assert!(error.lines().any(|line| line == "MemoryError"), "{code}\n{error}");
        session.clear_state().unwrap();
    }
    assert_eq!(ok(&mut session, "print('alive')"), "alive\n");
}
