//! The embedder with a real Python in it: what stops code, what a slot carries over, and stacks of other sizes. The component is the bare interpreter unless `ERYX_E2E_COMPONENT` names another one.
#![cfg(feature = "e2e")]

mod bundled;
#[path = "sandbox/files.rs"]
mod files;
#[path = "sandbox/held.rs"]
mod held;
#[path = "sandbox/isolation.rs"]
mod isolation;
#[path = "sandbox/minimal.rs"]
mod minimal;
mod outcome;
#[path = "sandbox/pages.rs"]
mod pages;
#[path = "sandbox/stacks.rs"]
mod stacks;
#[path = "sandbox/stop.rs"]
mod stop;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use eryx_build::layout::Layout;
use eryx_embed::{Embedder, EmbedderOptions, Image, Pooling};
use outcome::ok;

/// The component's file, built once.
fn component() -> &'static Path {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    COMPONENT.get_or_init(|| {
        if let Some(path) = std::env::var_os("ERYX_E2E_COMPONENT") {
            return std::path::absolute(path).unwrap();
        }
        bundled::bundle::<&str>([])
    })
}

fn embedder(options: EmbedderOptions) -> Embedder {
    Embedder::with(options.cache(Some(Layout::cache_folder().unwrap()))).unwrap()
}

/// The component with a memory for each instance.
fn image() -> Image {
    embedder(EmbedderOptions::default()).load(component()).unwrap()
}

/// The component with that many slots.
fn pooled(slots: u32) -> Image {
    let pooling = Some(Pooling::of(slots));
    embedder(EmbedderOptions::default().pooling(pooling)).load(component()).unwrap()
}
