//! What is left of a build command when the tool is ended: nothing.
//!
//! The tests start this program once more, which then runs commands as a build does.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use eryx_build::command::{Cmd, Log};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const FOLDER: &str = "ERYX_TEST_FOLDER";
const SCRIPT: &str = "ERYX_TEST_SCRIPT";

/// What the other process does; on its own, nothing.
#[test]
fn child() {
    let (Some(folder), Ok(script)) = (std::env::var_os(FOLDER), std::env::var(SCRIPT)) else { return };
    let folder = Path::new(&folder);
    let log = Log::create(&folder.join("log")).unwrap();
    Cmd::new("/bin/sh", folder, &log).args(["-c", &script]).env("PATH", "/usr/bin:/bin").run().unwrap();
}

/// Waits until a file has a number in it.
fn number_in(file: &Path) -> Pid {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let number = fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'));
        if let Some(pid) = number.and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw) {
            return pid;
        }
        assert!(Instant::now() < until, "`{}` does not appear", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a process is gone, or dead and not yet collected by whoever adopted it.
fn ends(pid: Pid) -> bool {
    let until = Instant::now() + Duration::from_secs(30);
    let dead = || {
        let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        test_kill_process(pid).is_err() || state.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z'))
    };
    while Instant::now() < until {
        if dead() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn start(folder: &Path, script: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FOLDER, folder)
        .env(SCRIPT, script)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_signal_to_the_tool_ends_its_commands_and_theirs() {
    // The second ignores being asked.
    for script in [
        "sleep 1000 & echo $! >inner; echo $$ >outer; wait",
        "trap '' TERM; sleep 1000 & echo $! >inner; echo $$ >outer; wait; sleep 1000",
    ] {
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let folder = tempfile::tempdir().unwrap();
            let mut tool = start(folder.path(), script);
            let (outer, inner) =
                (number_in(&folder.path().join("outer")), number_in(&folder.path().join("inner")));
            kill_process(Pid::from_child(&tool), signal).unwrap();
            let status = tool.wait().unwrap();
            assert_eq!(status.signal(), Some(signal.as_raw()), "{script}");
            assert!(ends(outer) && ends(inner), "{script}");
        }
    }
}

#[test]
fn what_a_command_leaves_behind_ends_with_it() {
    for (script, ends_well) in
        [("sleep 1000 & echo $! >inner", true), ("sleep 1000 & echo $! >inner; exit 3", false)]
    {
        let folder = tempfile::tempdir().unwrap();
        let status = start(folder.path(), script).wait().unwrap();
        assert_eq!(status.success(), ends_well, "{script}");
        assert!(ends(number_in(&folder.path().join("inner"))), "{script}");
    }
}
