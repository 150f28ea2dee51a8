//! CPython for the build machine, from the same source as the guest's: it runs the build tools, freezes
//! modules and compiles byte code whose format the guest reads.

use std::fs;
use std::path::Path;

use super::{Work, files_below};
use crate::error::{Error, Result};
use crate::recipe::Recipe;

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 1;

/// Builds and installs it; the result can be moved, since it finds its library by its own place.
///
/// # Errors
/// When a command fails, or the interpreter lacks a module that the build tools need.
pub fn build(work: &Work, recipe: &Recipe) -> Result<()> {
    let source = work.dir.join("source");
    work.unpack(&recipe.sources, &[], &source)?;
    let map = format!("-ffile-prefix-map={}=/build", work.dir.display());
    work.cmd("./configure")
        .cwd(&source)
        .args(["--prefix=/", "--without-ensurepip", "--disable-test-modules", "--with-pkg-config=no"])
        .env("CFLAGS", map)
        .run()?;
    work.cmd("make").cwd(&source).arg(format!("-j{}", work.jobs)).run()?;
    work.cmd("make").cwd(&source).arg("install").arg(format!("DESTDIR={}", work.out.display())).run()?;
    for dropped in ["share", "lib/libpython3.14.a", "lib/pkgconfig", "bin/idle3.14", "bin/pydoc3.14"] {
        remove(&work.out.join(dropped))?;
    }
    for file in files_below(&work.out)? {
        if file.extension().is_some_and(|extension| extension == "a" || extension == "pyc") {
            fs::remove_file(work.out.join(file))?;
        }
    }
    scrub(&work.out, &work.dir)?;
    work.cmd(work.out.join("bin/python3.14"))
        .args(["-c", "import zlib, hashlib, json, subprocess, concurrent.futures, unicodedata"])
        .run()
        .map_err(|error| {
            error.hint("the build machine lacks a library: `just setup` installs what is needed")
        })
}

fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)?;
    } else if path.symlink_metadata().is_ok() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Replaces the work directory by `/build` in all text files of a result.
///
/// # Errors
/// When a binary file has it: then a flag that maps paths is missing.
pub fn scrub(out: &Path, dir: &Path) -> Result<()> {
    let needle = dir.display().to_string();
    let mut found = Vec::new();
    for file in files_below(out)? {
        let path = out.join(&file);
        if path.is_symlink() {
            continue;
        }
        let bytes = fs::read(&path)?;
        if !bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
            continue;
        }
        match String::from_utf8(bytes) {
            Ok(text) => fs::write(&path, text.replace(&needle, "/build"))?,
            Err(_) => found.push(format!("`{}`", file.display())),
        }
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(Error::new("the path of the work directory got into binary files").details(found))
    }
}
