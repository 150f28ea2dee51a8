//! That results do not depend on where, when and by whom they are made.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{PACKAGES, STEM, checkout, component, text};

/// Steps of each kind of work that take seconds: unpacking, compiling C by each build system, byte code, merging, the link.
const STEPS: [&str; 7] = [
    "tools sysroot",
    "vfs",
    "sysroot",
    "library zlib",
    "library xz",
    "wheel typing-extensions",
    "component numpy+pydantic",
];

/// A directory in memory, if there is room and programs may run from it: there directories list their entries in
/// another order than on a disk. Elsewhere only the place is another.
fn elsewhere() -> TempDir {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    let runs = |folder: &TempDir| {
        let program = folder.path().join("program");
        std::fs::copy("/bin/true", &program).is_ok_and(|_| Command::new(program).status().is_ok())
    };
    let found = (room > 4 << 30).then(|| tempfile::tempdir_in(memory).ok()).flatten();
    found.filter(runs).unwrap_or_else(|| tempfile::tempdir().unwrap())
}

#[test]
fn another_place_time_user_order_and_number_of_jobs_give_the_same() {
    component();
    assert!(STEPS.iter().any(|step| step.ends_with(STEM)));
    let folder = elsewhere();
    let checkout = folder.path().join("a checkout");
    checkout::copy_locked(&checkout);
    let mut command = Command::new("/bin/sh");
    command
        .args([
            "-c",
            "umask 077; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_eryx-build"),
            "verify",
            "--offline",
        ])
        .args(["--jobs", "4"])
        .arg("--prefix")
        .arg(folder.path().join("prefix-of-some-length"))
        .args(STEPS.iter().flat_map(|step| ["--step", step]))
        .args(PACKAGES)
        .stdin(Stdio::null());
    // What a build might see of a user, and must not.
    command
        .env("ERYX_CHECKOUT", &checkout)
        .env("TZ", "Asia/Kathmandu")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("LANG", "de_DE")
        .env("USER", "somebody")
        .env("TMPDIR", folder.path())
        .env("SOURCE_DATE_EPOCH", "1")
        .env("CFLAGS", "-O1 -g")
        .env("PYTHONPATH", "/nowhere")
        .env("MAKEFLAGS", "-k");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = format!("{} steps were made twice, with equal results\n", STEPS.len());
    assert_eq!(text(&output.stdout), said);
}

#[test]
fn a_step_that_is_not_there_is_refused() {
    component();
    let output = super::eryx(&[&["verify", "--offline", "--step", "vsf"], &PACKAGES[..]].concat());
    assert_eq!(
        text(&output.stderr),
        "error: the plan does not have these steps\n  `vsf`\nhint: `plan` lists them\n"
    );
}
