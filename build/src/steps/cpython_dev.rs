//! What extension modules are compiled and linked against: CPython's headers, its configuration variables and
//! the symbols of its library.
//!
//! The interpreter's code is not in it. So a change of CPython that leaves headers and symbols alone gives the
//! same bytes here, and no extension module is built again for it.

use std::fs;

use super::Work;
use crate::error::{Context, Result};
use crate::files::{copy, copy_tree, write};
use crate::wasm;

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 1;

/// The module with the configuration variables of the guest.
pub const SYSCONFIG: &str = "_sysconfigdata__wasi_wasm32-wasi";

/// The interpreter's library.
pub const LIBRARY: &str = "libpython3.14.so";

/// Takes the parts from the interpreter.
///
/// # Errors
/// When one of them is missing.
pub fn take(work: &Work) -> Result<()> {
    let cpython = work.input("cpython")?;
    copy_tree(&cpython.join("include"), &work.out.join("include"), &|_| true)?;
    let sysconfig = format!("lib/python3.14/{SYSCONFIG}.py");
    copy(&cpython.join(&sysconfig), &work.out.join(&sysconfig))?;
    let library = cpython.join("lib").join(LIBRARY);
    let module = fs::read(&library).context(|| format!("cannot read `{}`", library.display()))?;
    let stub = wasm::stub(&module).map_err(|error| error.context(format!("`{LIBRARY}`")))?;
    write(&work.out.join("lib").join(LIBRARY), stub)
}
