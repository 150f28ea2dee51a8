//! `eryx-build run` beside `python3`: how programs begin and end, and what they know of themselves.

use std::fs;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::run::{expect, run};
use super::session_code::native_python;
use super::{component, text};

fn tool() -> Command {
    Command::new(env!("CARGO_BIN_EXE_eryx-build"))
}

#[test]
fn a_program_ends_as_it_does_natively() {
    let native = native_python();
    for code in [
        "import atexit\natexit.register(print, 'bye')\natexit.register(lambda: 1 / 0)\nprint('hello')",
        "import sys\nsys.excepthook = lambda kind, error, traceback: print('hook', kind.__name__, error)\nraise ValueError('x')",
        "import sys\ndef hook(*_): raise KeyError('h')\nsys.excepthook = hook\nraise ValueError('x')",
        "import sys\ndef hook(*_): sys.exit(7)\nsys.excepthook = hook\nraise ValueError('x')",
        "import sys\ndel sys.excepthook\n1 / 0",
        "class A:\n    def __del__(self): print('gone', self.n)\na = A(); a.n = 1\nb = A(); b.n = 2; b.me = b\n_c = A(); _c.n = 3",
        "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'final')",
        "import threading\nthreading._register_atexit(print, 'threads')\nimport atexit\natexit.register(print, 'atexit')",
        "import logging.handlers\nh = logging.handlers.MemoryHandler(10, target=logging.StreamHandler())\nlogging.getLogger().addHandler(h)\nlogging.warning('kept')",
        "raise SystemExit(3)",
        "import os, sys\nprint('out')\nsys.stdout.flush()\nos._exit(9)",
        "def f(): f()\nf()",
        "raise ExceptionGroup('g', [ValueError(1), KeyError(2)])",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    e.add_note('note')\n    raise KeyError('k') from e",
        "x = (1",
        "print(1)\nreturn",
        "import sys\nsys.stdout.write('no end')\nsys.stderr.write('neither')",
        "raise KeyboardInterrupt",
        "import sys; print(sys.argv, __name__, sys.path[0] == '', '__file__' in globals(), __doc__, __spec__)",
    ] {
        let theirs = Command::new(&native).args(["-IB", "-c", code, "a", "b c"]).output().unwrap();
        let theirs = (text(&theirs.stdout), python_status(theirs.status), text(&theirs.stderr));
        let ours = run(&["-c", code, "a", "b c"], "");
        let ours = (text(&ours.stdout), ours.status.code().unwrap(), text(&ours.stderr));
        assert_eq!(without_numbers(&ours.2), without_numbers(&theirs.2), "{code}");
        assert_eq!(
            (ours.0.replace("True False None None", "False False None None"), ours.1),
            (theirs.0, theirs.1),
            "{code}"
        );
    }
}

#[test]
fn a_program_that_ends_itself_has_the_native_status() {
    let native = native_python();
    for code in [
        "import os; os._exit(300)",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import signal; signal.raise_signal(signal.SIGINT)",
        "import os; os.abort()",
    ] {
        let theirs = Command::new(&native).args(["-IB", "-c", code]).output().unwrap();
        assert_eq!(run(&["-c", code], "").status.code(), Some(python_status(theirs.status)), "{code}");
    }
}

/// The status as a shell tells it: a program that a signal ended has 128 and its number.
fn python_status(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
}

/// A traceback without what differs between two machines: addresses, and how often a line is repeated.
fn without_numbers(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains("0x") && !line.contains("more times]"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn files_are_whole_when_the_program_ends() {
    let ends = ["", "import sys; sys.exit(0)", "1 / 0", "raise KeyboardInterrupt", "raise SystemExit('x')"];
    let code = "import tempfile, zipfile
f = open('text', 'w'); f.write('hello')
b = open('binary', 'wb'); b.write(b'hello')
r = open('both', 'w+b'); r.write(b'hello')
_keep = [open('list', 'w')]; _keep[0].write('hello'); _keep.append(_keep)
def closure():
    c = open('closure', 'w'); c.write('hello')
    return lambda: c
get = closure()
z = zipfile.ZipFile('z.zip', 'w'); z.writestr('a', 'hello')
import builtins; builtins.hidden = open('hidden', 'w'); builtins.hidden.write('hello')
t = tempfile.NamedTemporaryFile(dir='.', prefix='temporary')
d = tempfile.TemporaryDirectory(dir='.', prefix='temporary')
";
    for end in ends {
        let folder = tempfile::tempdir().unwrap();
        let grant = format!("{}::/d", folder.path().display());
        run(&["--dir", &grant, "--cwd", "/d", "-c", &format!("{code}{end}")], "");
        for name in ["text", "binary", "both", "list", "closure", "hidden"] {
            assert_eq!(
                fs::read_to_string(folder.path().join(name)).unwrap(),
                "hello",
                "{name} after `{end}`"
            );
        }
        let read = "import os, zipfile
print(zipfile.ZipFile('z.zip').read('a'), [n for n in os.listdir() if n.startswith('temp')])";
        expect(&["--dir", &grant, "--cwd", "/d", "-c", read], 0, "b'hello' []\n", "");
    }
}

#[test]
fn a_script_knows_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    fs::write(path.join("helper.py"), "value = 7\n").unwrap();
    fs::create_dir(path.join("package")).unwrap();
    fs::write(path.join("package/__init__.py"), "").unwrap();
    fs::write(path.join("package/__main__.py"), "import sys\nprint('main', sys.argv[1:], __package__)\n")
        .unwrap();
    let script = path.join("program.py");
    let code = "# -*- coding: latin-1 -*-
import argparse, inspect, os, sys
class C:
    text = '\u{e9}'
print(__file__, __name__, sys.argv, sys.path[0])
print(inspect.getsource(C), end='')
argparse.ArgumentParser().print_usage()
try:
    import helper; print(helper.value, open('helper.py').read(), end='')
except ImportError as error:
    print(error)
";
    let bytes: Vec<u8> = code.chars().map(|character| character as u8).collect();
    fs::write(&script, bytes).unwrap();
    let run_in = |arguments: &[&str]| {
        let mut command = tool();
        command.current_dir(&path).arg("run").arg(component()).args(arguments);
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (status, stdout, stderr) = run_in(&["--dir", ".", "program.py", "-x", "y"]);
    let (own, here) = (script.display(), path.display());
    let expected = format!(
        "{own} __main__ ['program.py', '-x', 'y'] {here}\nclass C:\n    text = '\u{e9}'\nusage: program.py [-h]\n7 value = 7\n"
    );
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (0, expected.as_str(), ""));
    // Nothing is lent unasked.
    let (status, stdout, _) = run_in(&["program.py"]);
    assert!(status == 0 && stdout.ends_with("No module named 'helper'\n"), "{stdout}");
    let (status, _, stderr) = run_in(&["-c", "import helper"]);
    assert_eq!(status, 1);
    let hint = "ModuleNotFoundError: No module named 'helper'\nhint: `helper.py` is on this machine; `--dir .` lends it to the program\n";
    assert!(stderr.ends_with(hint), "{stderr}");
    let (_, _, stderr) = run_in(&["-c", "open('package/__init__.py')"]);
    assert!(
        stderr.ends_with(
            "hint: `package/__init__.py` is on this machine; `--dir package` lends it to the program\n"
        ),
        "{stderr}"
    );
    let (status, stdout, stderr) = run_in(&["--dir", ".", "-m", "package", "a"]);
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (0, "main ['a'] package\n", ""));
    let (status, _, stderr) = run_in(&["-m", "package"]);
    assert!(status == 1 && stderr.ends_with("lends it to the program\n"), "{stderr}");
}

#[test]
fn options_of_python_have_their_effect() {
    expect(&["-O", "-c", "assert False\nprint(__debug__)"], 0, "False\n", "");
    expect(&["-OO", "-c", "def f(): 'doc'\nprint(f.__doc__)"], 0, "None\n", "");
    let error = run(&["-W", "error", "-c", "import warnings; warnings.warn('w')"], "");
    assert!(error.status.code() == Some(1) && text(&error.stderr).ends_with("UserWarning: w\n"));
    expect(&["-W", "ignore", "-c", "import warnings; warnings.warn('w')"], 0, "", "");
    expect(&["-X", "a=b", "-Xc", "-c", "import sys; print(sys._xoptions)"], 0, "{'a': 'b', 'c': True}\n", "");
    expect(&["-V"], 0, "Python 3.14.5\n", "");
    let own = [("ERYX_TEST_VARIABLE", "own")];
    let mut command = tool();
    command.arg("run").args(["--env", "A=1=2", "--env", own[0].0]).arg(component());
    command.args(["-c", "import os; print(os.environ['A'], os.environ['ERYX_TEST_VARIABLE'], os.getcwd())"]);
    let output = command.envs(own).stdin(Stdio::null()).output().unwrap();
    assert_eq!(text(&output.stdout), "1=2 own /home/sandbox\n", "{}", text(&output.stderr));
    let output = run(&["--max-tmp", "1M", "-c", "open('/tmp/x', 'wb').write(bytes(2 << 20))"], "");
    assert!(text(&output.stderr).contains("No space left on device"), "{}", text(&output.stderr));
    let output = run(&["--max-output", "1000", "-c", "print('x' * 5000)"], "");
    assert_eq!(output.stdout.len(), 1000);
}

#[test]
fn a_prompt_runs_what_it_reads() {
    let output = run(&["-i", "-c", "x = 20"], "x + 1\nexit(4)\n");
    assert_eq!(
        (text(&output.stdout).replace(">>> ", ""), output.status.code()),
        ("21\n".to_owned(), Some(4))
    );
}

#[test]
fn an_interrupt_is_a_keyboard_interrupt() {
    let code = "import sys, time
print('on', flush=True)
def loop():
    while True: pass
for wait in (lambda: time.sleep(60), loop):
    try:
        wait()
    except KeyboardInterrupt:
        print('caught', flush=True)
try:
    time.sleep(60)
finally:
    print('finally', flush=True)
";
    let mut command = tool();
    command.arg("run").arg(component()).args(["-c", code]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let pid = Pid::from_child(&child);
    for expected in ["on", "caught", "caught"] {
        assert_eq!(lines.next().unwrap().unwrap(), expected);
        // Two of them at once would end the process.
        std::thread::sleep(Duration::from_millis(1200));
        kill_process(pid, Signal::INT).unwrap();
    }
    assert_eq!(lines.next().unwrap().unwrap(), "finally");
    let output = child.wait_with_output().unwrap();
    assert!(text(&output.stderr).ends_with("\nKeyboardInterrupt\n"), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(130));
}

#[test]
fn a_closed_pipe_is_a_broken_pipe() {
    let code = "import sys
try:
    while True: print('x' * 1000)
except OSError as error:
    print(type(error).__name__, error.errno == __import__('errno').EPIPE, file=sys.stderr)
    __import__('os')._exit(3)";
    let mut command = tool();
    command.arg("run").arg(component()).args(["-c", code]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("BrokenPipeError True\n", Some(3)));
}

#[test]
fn output_that_streams_is_not_kept() {
    let code = "for i in range(600): print('x' * 1_000_000)";
    let mut command = tool();
    command.arg("run").args(["--max-memory", "128MiB"]).arg(component()).args(["-c", code]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let size = std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!((size, child.wait().unwrap().code()), (600 * 1_000_001, Some(0)));
}
