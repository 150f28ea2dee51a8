//! Components in programs of other people, as they are published: the crate `eryx` 0.14, wasmtime's own command line
//! and wkg, which pulls them. All are compiled from the registry, into the cache, which takes minutes once.
#![cfg(feature = "e2e")]

mod bundled;
#[path = "hosts/eryx_0_14.rs"]
mod eryx_0_14;
#[path = "hosts/published.rs"]
mod published;
mod registry;
#[path = "hosts/wasmtime.rs"]
mod wasmtime;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use bundled::{bundle, checkout};
use eryx_build::layout::Layout;

/// Where a program is compiled and kept.
fn folder(name: &str) -> PathBuf {
    let folder = Layout::cache_folder().unwrap().join("hosts").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Cargo, as it is run by hand.
fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.stdin(Stdio::null()).current_dir(checkout());
    command
}

/// A program of a crate, compiled when it is missing: fast rather than well, as it runs a few times.
fn program(package: &str, version: &str, binary: &str, options: &[&str]) -> PathBuf {
    let root = folder(&format!("{binary}-{version}"));
    let program = root.join("bin").join(binary);
    if !program.exists() {
        // cargo moves the program to its place when it is complete.
        let mut install = cargo();
        install
            .args(["install", package, "--locked", "--version", version])
            .args(options)
            .arg("--root")
            .arg(&root)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        succeeded(&install.env("CARGO_TARGET_DIR", root.join("target")).output().unwrap());
        let _ = std::fs::remove_dir_all(root.join("target"));
    }
    program
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
}
