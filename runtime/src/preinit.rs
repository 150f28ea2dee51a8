//! The end of pre-initialisation, for embedders that say when it is: they save the memory after it.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::interpreter;

static DONE: AtomicBool = AtomicBool::new(false);

/// Gives up what belongs to the embedder that is about to save the memory. Only the first call has an
/// effect: in a live instance it would take away files that are in use.
///
/// # Errors
/// Why Python could not be started.
pub fn finalize() -> Result<()> {
    if DONE.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    interpreter::start()?.call_method(c"flush", Vec::new())?;
    reset_files();
    Ok(())
}

#[cfg(target_family = "wasm")]
fn reset_files() {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        safe fn __eryx_vfs_reset();
    }
    __eryx_vfs_reset();
}

#[cfg(not(target_family = "wasm"))]
fn reset_files() {}
