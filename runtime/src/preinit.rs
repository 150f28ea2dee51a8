//! Pre-initialisation: what runs before the memory is saved, and what an instance undoes that starts from it.
//!
//! The build tool calls [`run`] in the fused module and saves the memory; embedders of the world `eryx-0.14` may
//! do it themselves, and say with [`finalize`] when they save. Whatever belongs to the machine of that moment
//! is taken back by the first export that is called in an instance: [`awake`].

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::ffi::{c, component};
use crate::interpreter::{self, Session};
use crate::memory;
use crate::python::Object;
use crate::seal;
use crate::stack;
use crate::stop;

/// The module that prepares Python.
const PREPARE: &CStr = c"_eryx_prepare";

static DONE: AtomicBool = AtomicBool::new(false);

/// Whether this memory is being prepared: there is no embedder, and the secret of hashes is the same each time.
static PREPARING: AtomicBool = AtomicBool::new(false);

/// Whether the memory was saved and nothing has been called since.
static ASLEEP: AtomicBool = AtomicBool::new(false);

/// Whether Python starts in a memory that is going to be saved, which must be the same each time.
#[must_use]
pub fn is_preparing() -> bool {
    PREPARING.load(Ordering::Relaxed)
}

/// Starts Python, does what standard input asks for (see `_eryx_prepare.py`), and leaves a memory
/// that can be saved.
///
/// # Errors
/// Why Python could not be started, or what was raised.
pub fn run() -> Result<()> {
    PREPARING.store(true, Ordering::Relaxed);
    interpreter::start()?;
    Object::import(PREPARE)?.call_method(c"prepare", &[])?;
    PREPARING.store(false, Ordering::Relaxed);
    sleep()
}

/// Gives up what belongs to the embedder that saves the memory; the next call is the first in an instance.
fn sleep() -> Result<()> {
    component::vfs_reset();
    c::forget_environment();
    // Each instance needs the class and the reserve, and asking for that grows the memory.
    stop::class()?;
    memory::hold_reserve();
    seal::seal();
    ASLEEP.store(true, Ordering::Relaxed);
    Ok(())
}

/// Takes back, before the first call in an instance, what was saved of the machine that prepared the memory.
///
/// # Errors
/// What Python raised.
pub fn awake(session: &Session) -> Result<()> {
    if !ASLEEP.swap(false, Ordering::Relaxed) {
        return Ok(());
    }
    c::reread_environment();
    interpreter::look_at_environment();
    stack::limit()?;
    session.call(Session::AWAKE, &[Object::bool(!c::environment_is_empty())?]).map(drop)
}

/// Gives up what belongs to the embedder that is about to save the memory. Only the first call has an
/// effect: in a live instance it would take away files that are in use.
///
/// # Errors
/// Why Python could not be started.
pub fn finalize() -> Result<()> {
    if DONE.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    interpreter::start()?;
    PREPARING.store(true, Ordering::Relaxed);
    let settled = Object::import(PREPARE)?.call_method(c"settle", &[]);
    PREPARING.store(false, Ordering::Relaxed);
    settled?;
    sleep()
}
