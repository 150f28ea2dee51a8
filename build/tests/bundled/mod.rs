//! Components that tests need, built by the program and with the real cache.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The checkout that the tests belong to.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Runs the verb `bundle` with these arguments, and gives the component's file.
pub fn bundle<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> PathBuf {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    command.arg("bundle").args(arguments).current_dir(checkout()).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).unwrap();
    let component = told.lines().find_map(|line| line.strip_prefix("component  "));
    component.unwrap_or_else(|| panic!("it tells no component\n{told}")).into()
}
