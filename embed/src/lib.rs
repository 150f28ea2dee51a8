//! The reference embedder: runs components of the world `eryx:sandbox/sandbox` in wasmtime.
//!
//! [`Embedder`] owns the engines and the cache of compiled code, [`Image`] is one component, [`Session`] is one
//! instance with its own memory, limits and grants, and [`Pool`] gives each execution a fresh instance. What may wait
//! has two forms: a blocking one, and one ending in `_async` for use on an executor (tokio's).
//!
//! ```no_run
//! use eryx_embed::{Embedder, EmbedderOptions, Limits, Pool, Pooling, SessionOptions};
//!
//! # fn main() -> Result<(), eryx_embed::Error> {
//! let options = EmbedderOptions::default().cache(eryx_embed::user_cache("example")).pooling(Pooling::of(100));
//! let image = Embedder::with(options)?.load("dist/python.wasm".as_ref())?;
//! let pool = Pool::new(&image, || SessionOptions::default().limits(Limits::untrusted()))?;
//! print!("{}", pool.execute_fresh("print(1 + 1)")?);
//! # Ok(()) }
//! ```

mod bindings;
mod cache;
mod control;
pub mod digest;
mod engine;
pub mod error;
mod exports;
mod failure;
mod files;
mod grant;
mod image;
mod limits;
mod output;
mod pool;
mod session;
mod setters;
mod threads;

pub use cache::user_cache;
pub use control::Canceller;
pub use digest::Digest;
pub use engine::{Compiling, Embedder, EmbedderOptions, OnCompile, Pooling, Stacks};
pub use failure::{Error, Result};
pub use grant::Grant;
pub use image::Image;
pub use limits::{Limits, format_duration, format_size, parse_duration, parse_size};
pub use output::Output;
pub use pool::Pool;
pub use session::{Callback, CallbackResult, Input, Session, SessionOptions, TraceEvent};
