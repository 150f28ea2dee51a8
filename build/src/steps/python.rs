//! CPython for the build machine, from the same source as the guest's: it runs the build tools, freezes
//! modules and compiles byte code whose format the guest reads.

use std::fs;
use std::path::Path;

use super::Work;
use crate::error::Result;
use crate::files::files_below;
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
    work.cmd("make").cwd(&source).envs(work.jobs.for_make()).run()?;
    work.cmd("make").cwd(&source).arg("install").arg(format!("DESTDIR={}", work.out.display())).run()?;
    for dropped in ["share", "lib/libpython3.14.a", "lib/pkgconfig", "bin/idle3.14", "bin/pydoc3.14"] {
        remove(&work.out.join(dropped))?;
    }
    for file in files_below(&work.out)? {
        if file.extension().is_some_and(|extension| extension == "a" || extension == "pyc") {
            fs::remove_file(work.out.join(file))?;
        }
    }
    work.scrub()?;
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
