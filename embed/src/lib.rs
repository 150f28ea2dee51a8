//! The reference embedder: runs a component of the world `eryx:sandbox/sandbox` in wasmtime.
//!
//! [`Embedder`] owns the engines and the cache of compiled code, [`Image`] is one compiled
//! component, [`Session`] is one instance with its own memory, limits and grants. All methods
//! block; each session drives its guest on a private single-threaded executor.
//!
//! What a component needs of an engine: component-model async, exceptions, garbage collection and
//! function references (the call trampoline of the interpreter uses them), a wasm stack of 12 MiB
//! and a fibre stack that is larger than that.

mod bindings;
pub mod digest;
pub mod error;
mod failure;
mod grant;
mod image;
mod limits;
mod session;

pub use digest::Digest;
pub use error::Error;
pub use failure::{Cause, Failure};
pub use grant::Grant;
pub use image::{Embedder, Image};
pub use limits::{Limits, format_size, parse_duration, parse_size};
pub use session::{Callback, CallbackResult, Input, Output, Session, SessionOptions, TraceEvent};
