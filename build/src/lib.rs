//! Builds CPython and native packages into prelinked WebAssembly components.
//!
//! `ARCHITECTURE.md` has the bird's eye view; each module's first lines say what it owns.

pub mod digest;
pub mod error;
pub mod link;
pub mod wasm;
