//! How deep code in C may recurse: RecursionError has to come before the end of the embedder's stack does.
//!
//! A guest sees the stack in its memory and not the embedder's, on which each of its calls takes room, too. How much of
//! the one belongs to how much of the other was measured, with the recursion table of the conformance suite; see
//! [`RATIO`]. Embedders give as much as wasmtime does by default, unless they say that they give more.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;
use crate::{preinit, python};

/// What wasmtime gives, in bytes; at its end a call traps.
const DEFAULT: usize = 512 << 10;

/// What is not for recursion, in bytes: what lies on the stack when an export is called, how much deeper the last call
/// goes after the check, and what functions of the embedder take that call back.
const RESERVE: usize = 128 << 10;

/// How many bytes of the embedder's stack code takes at most for one of the stack in memory, as a fraction. It was 1.9 at
/// most, and 2.45 with fuel and interruption compiled in.
const RATIO: (usize, usize) = (5, 2);

/// The most that recursion may use of the stack in memory, in bytes, and the least with which Python works.
const MOST: usize = 1 << 20;
const LEAST: usize = 32 << 10;

/// The size of the embedder's stack in bytes.
static SIZE: AtomicUsize = AtomicUsize::new(DEFAULT);

/// Takes note how many bytes of stack calls of the guest may use (wasmtime's `max_wasm_stack`), if the embedder told a number.
pub fn set(size: Option<usize>) {
    if let Some(size) = size {
        SIZE.store(size, Ordering::Relaxed);
    }
}

/// Sets the limit, below the caller's frame; Python runs.
///
/// # Errors
/// What Python raised.
pub fn limit() -> Result<()> {
    // What prepares a memory has a stack that is larger than any embedder's.
    let usable = if preinit::is_preparing() {
        MOST
    } else {
        (SIZE.load(Ordering::Relaxed).saturating_sub(RESERVE) / RATIO.0 * RATIO.1).clamp(LEAST, MOST)
    };
    python::limit_stack(usable)
}
