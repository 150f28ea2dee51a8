//! The world `command`: a component behaves as `python3` does, on an engine with WASI 0.2 and no more.

use std::path::PathBuf;
use std::sync::OnceLock;

use eryx_build::check::{Ended, Invocation, Program};
use wasmparser::{Validator, WasmFeatures};

use super::{behind, embedder};

fn component() -> &'static PathBuf {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    COMPONENT.get_or_init(|| behind("command"))
}

fn program() -> Program {
    let image = embedder().load(component()).unwrap();
    let component = image.prepare(false).unwrap();
    Program::new(component.engine(), component).unwrap()
}

#[track_caller]
fn run(program: &Program, arguments: &[&str], stdin: &str) -> Ended {
    let invocation = Invocation { arguments, stdin: stdin.as_bytes(), ..Invocation::default() };
    program.run(&invocation).unwrap_or_else(|error| panic!("{error}"))
}

fn ended(success: bool, stdout: &str, stderr: &str) -> Ended {
    Ended { success, stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

#[test]
fn it_needs_no_asynchronous_abi() {
    let bytes = std::fs::read(component()).unwrap();
    let features = WasmFeatures::default() | WasmFeatures::COMPONENT_MODEL;
    let features = features - WasmFeatures::CM_ASYNC - WasmFeatures::CM_ASYNC_STACKFUL;
    Validator::new_with_features(features).validate_all(&bytes).unwrap();
}

#[test]
fn the_command_line_is_python_s() {
    let program = program();
    let argv = "import sys; print(sys.argv, sys.flags.optimize)";
    for (arguments, stdin, expected) in [
        (&["-c", argv, "a", "b c", "é"] as &[&str], "", ended(true, "['-c', 'a', 'b c', 'é'] 0\n", "")),
        (&["-O", "-c", argv], "", ended(true, "['-c'] 1\n", "")),
        (&["-", "x"], argv, ended(true, "['-', 'x'] 0\n", "")),
        (&[], argv, ended(true, "[''] 0\n", "")),
        (&["-m", "json"], "[1]", ended(true, "[\n    1\n]\n", "")),
        (&["-c", "print(input(), input())"], "one\ntwo", ended(true, "one two\n", "")),
        (&["-c", "input()"], "", {
            let error = "Traceback (most recent call last):\n  File \"<string>\", line 1, in <module>\n    input()\n    ~~~~~^^\nEOFError: EOF when reading a line\n";
            ended(false, "", error)
        }),
        (&["-V"], "", ended(true, "Python 3.14.5\n", "")),
        (&["-c", "import sys; sys.exit(3)"], "", ended(false, "", "")),
        (&["-c", "import sys; sys.exit()"], "", ended(true, "", "")),
        (&["-c", "import sys; sys.exit('no')"], "", ended(false, "", "no\n")),
        (&["-c", "import os; os._exit(0)"], "", ended(true, "", "")),
        (&["-c", "import os; os._exit(2)"], "", ended(false, "", "")),
        (&["-c", "import sys; sys.stdout.write('no end')"], "", ended(true, "no end", "")),
        (&["-c", "import atexit; atexit.register(print, 'bye'); print('hello')"], "", {
            ended(true, "hello\nbye\n", "")
        }),
        (&["-i", "-q", "-c", "x = 1"], "print(x)\nx + 1\n", ended(true, "1\n2\n", ">>> >>> >>> \n")),
        (&["-c", "import asyncio; print(asyncio.run(asyncio.sleep(0.01, 'slept')))"], "", {
            ended(true, "slept\n", "")
        }),
        (&["-c", "import re, sqlite3, zoneinfo; print(zoneinfo.ZoneInfo('Europe/Berlin'))"], "", {
            ended(true, "Europe/Berlin\n", "")
        }),
    ] {
        assert_eq!(run(&program, arguments, stdin), expected, "{arguments:?} {stdin:?}");
    }
    let refused = run(&program, &["--nonsense"], "");
    assert!(!refused.success && refused.stderr.contains("Unknown option: --nonsense"), "{refused:?}");
    let missing = run(&program, &["/no/such.py"], "");
    assert!(!missing.success && missing.stderr.contains("can't open file '/no/such.py'"), "{missing:?}");
    let wrong = run(&program, &["-c", "x ="], "");
    assert!(!wrong.success && wrong.stderr.ends_with("SyntaxError: invalid syntax\n"), "{wrong:?}");
    let deep = run(&program, &["-c", "import json; json.loads('[' * 100000)"], "");
    assert!(!deep.success && deep.stderr.contains("\nRecursionError: "), "{deep:?}");
}

#[test]
fn scripts_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let script = "import sys, os, helper\nprint(__name__, __file__, sys.argv[1:], sys.path[0], helper.x, os.environ['ME'])\nopen('/work/out', 'w').write('written')\n";
    std::fs::write(folder.path().join("script.py"), script).unwrap();
    std::fs::write(folder.path().join("helper.py"), "x = 'helped'").unwrap();
    let program = program();
    let invocation = Invocation {
        arguments: &["/work/script.py", "a", "-b"],
        env: &[("ME", "you"), ("PYTHONUNBUFFERED", "1")],
        folders: &[(folder.path(), "/work")],
        ..Invocation::default()
    };
    let expected = "__main__ /work/script.py ['a', '-b'] /work helped you\n";
    assert_eq!(program.run(&invocation).unwrap(), ended(true, expected, ""));
    assert_eq!(std::fs::read_to_string(folder.path().join("out")).unwrap(), "written");
    let invocation = Invocation {
        arguments: &["-m", "helper"],
        env: &[("PYTHONPATH", "/work")],
        folders: &[(folder.path(), "/work")],
        ..Invocation::default()
    };
    assert_eq!(program.run(&invocation).unwrap(), ended(true, "", ""));
    let ignored = Invocation { arguments: &["-E", "-m", "helper"], ..invocation };
    let ended = program.run(&ignored).unwrap();
    assert!(!ended.success && ended.stderr.contains("No module named helper"), "{ended:?}");
}
