//! The guest runtime: our Rust crate, compiled to an archive and linked as a shared library.

use super::Work;
use super::cross::{CFLAGS, Cross, words};
use super::rust::staticlib;
use crate::error::{Context, Result};
use crate::files::{copy, copy_tree};
use crate::link::RUNTIME;

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 4;

/// Builds the runtime.
///
/// # Errors
/// When cargo or the link fails.
pub fn build(work: &Work) -> Result<()> {
    let source = work.dir.join("runtime");
    let parts: Vec<_> =
        work.inputs_of("runtime/").map(|(name, path)| (name.to_owned(), path.to_owned())).collect();
    for (name, path) in parts {
        if path.is_dir() {
            copy_tree(&path, &source.join(&name), &|_| true)?;
        } else {
            copy(&path, &source.join(&name))?;
        }
    }
    let archive = staticlib(work, &source.join("Cargo.toml"), &[], &[])?;
    let cross = Cross::new(work, work.input("sysroot")?, &words(CFLAGS), &[])?;
    let exports =
        std::fs::read_to_string(source.join("exports.txt")).context(|| "`exports.txt`".to_owned())?;
    let exports = exports.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    cross
        .shared(work, &work.out.join(RUNTIME))
        .arg("-Wl,--whole-archive")
        .arg(&archive)
        .arg("-Wl,--no-whole-archive")
        .args(exports.map(|name| format!("-Wl,--export={name}")))
        .args(["-Wl,--strip-debug", "-Wl,-Bdynamic"])
        .arg(format!("-L{}", work.input("cpython-dev")?.join("lib").display()))
        .arg("-lpython3.14")
        .run()
}
