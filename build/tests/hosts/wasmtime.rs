//! wasmtime's own command line, without any switch for the engine.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::{bundle, program, text};

/// The newest version that our Rust compiles.
const VERSION: &str = "48.0.8";
/// What `wasmtime run` is made of; the other commands are left out to save time. What an engine can do by default
/// follows from `gc` (exceptions are on with it), `threads` and `component-model-async`, which are in the program as
/// it is published.
const FEATURES: &str = "run,compile,cranelift,parallel-compilation,cache,config,component-model,\
    component-model-async,gc,gc-copying,gc-drc,gc-null,threads,pooling-allocator,backtrace,addr2line,demangle";

/// The program, compiled from the registry when it is missing.
pub(super) fn wasmtime() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let options = ["--no-default-features", "--features", FEATURES];
    PROGRAM.get_or_init(|| program("wasmtime-cli", VERSION, "wasmtime", &options))
}

pub(super) fn component() -> &'static Path {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    COMPONENT.get_or_init(|| bundle(["--world", "command"]))
}

/// How a run ended: exit status, standard output, standard error.
type Ended = (i32, String, String);

/// Runs `wasmtime run <options> <component> <arguments>`.
fn run(options: &[&str], arguments: &[&str], stdin: &str, folder: &Path) -> Ended {
    let mut child = Command::new(wasmtime())
        .arg("run")
        .args(options)
        .arg(component())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn check(
    options: &[&str],
    arguments: &[&str],
    stdin: &str,
    folder: &Path,
    (status, stdout, stderr): (i32, &str, &str),
) {
    let ended = run(options, arguments, stdin, folder);
    assert_eq!(ended, (status, stdout.to_owned(), stderr.to_owned()), "{options:?} {arguments:?} {stdin:?}");
}

#[test]
fn code_modules_and_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let check =
        |arguments: &[&str], stdin: &str, expected| check(&[], arguments, stdin, folder.path(), expected);
    let argv = "import sys; print(sys.argv)";
    check(&["-c", argv, "a", "b c", "é"], "", (0, "['-c', 'a', 'b c', 'é']\n", ""));
    check(&["-", "x"], argv, (0, "['-', 'x']\n", ""));
    check(&[], argv, (0, "['']\n", ""));
    check(&["-m", "json"], "[1]", (0, "[\n    1\n]\n", ""));
    check(&["-V"], "", (0, "Python 3.14.5\n", ""));
    check(&["-c", "print(input(), input())"], "one\ntwo", (0, "one two\n", ""));
    check(&["-c", "import sys; sys.exit()"], "", (0, "", ""));
    check(&["-c", "import sys; sys.exit('no')"], "", (1, "", "no\n"));
    // WASI 0.2 tells success from failure, and no more.
    check(&["-c", "import sys; sys.exit(3)"], "", (1, "", ""));
    check(&["-c", "import os; os._exit(3)"], "", (1, "", ""));
    let code = "import asyncio, json, re\nprint(asyncio.run(asyncio.sleep(0.01, 'slept')))\n\
                try: json.loads('[' * 100_000)\nexcept RecursionError: print('deep')\n\
                print(re.sub('a+', 'b', 'caat'))";
    check(&["-c", code], "", (0, "slept\ndeep\ncbt\n", ""));
    let (status, stdout, stderr) = run(&[], &["-c", "print('before')\n1 / 0"], "", folder.path());
    assert_eq!((status, stdout.as_str()), (1, "before\n"));
    assert!(stderr.ends_with("ZeroDivisionError: division by zero\n"), "{stderr}");
}

#[test]
fn scripts_folders_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let script = "import sys, os, helper\n\
                  print(__name__, sys.argv, helper.x, os.environ.get('ME'))\n\
                  open(sys.argv[1], 'w').write(sys.stdin.read())\n";
    std::fs::write(folder.path().join("script.py"), script).unwrap();
    std::fs::write(folder.path().join("helper.py"), "x = 'helped'").unwrap();
    let expected = |name: &str, out: &str, me: &str| format!("__main__ ['{name}', '{out}'] helped {me}\n");
    let path = folder.path();
    check(
        &["--dir", ".", "--env", "ME=you"],
        &["script.py", "out"],
        "given",
        path,
        (0, &expected("script.py", "out", "you"), ""),
    );
    assert_eq!(std::fs::read_to_string(path.join("out")).unwrap(), "given");
    let lent = format!("{}::/work", path.display());
    check(
        &["--dir", &lent],
        &["/work/script.py", "/work/other"],
        "more",
        path,
        (0, &expected("/work/script.py", "/work/other", "None"), ""),
    );
    assert_eq!(std::fs::read_to_string(path.join("other")).unwrap(), "more");
    check(&["--dir", &lent, "--env", "PYTHONPATH=/work"], &["-m", "helper"], "", path, (0, "", ""));
    // What is not lent is not there.
    let (status, _, stderr) = run(&[], &["script.py"], "", path);
    assert!(status == 1 && stderr.contains("can't open file"), "{status} {stderr}");
    let (status, ..) = run(&[], &["-c", "open('/etc/passwd')"], "", path);
    assert_eq!(status, 1);
}

#[test]
fn the_prompt_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    // `script` gives the program a terminal.
    let command = format!("'{}' run --env NO_COLOR=1 '{}'", wasmtime().display(), component().display());
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"x = 6 * 7\nx\n1 / 0\nexit()\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}");
    for part in ["Python 3.14.5 ", ">>> ", "42\r\n", "division by zero"] {
        assert!(shown.contains(part), "{part:?} in {shown:?}");
    }
}
