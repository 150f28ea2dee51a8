//! The guest that stands for Python, and embedders for it. Each test file takes what it needs.
#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;

use eryx_embed::{Embedder, EmbedderOptions, Image, Pooling};
use tempfile::TempDir;

pub struct Setup {
    pub dir: TempDir,
    pub component: PathBuf,
}

/// The component in a directory that ends with this.
pub fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let component = dir.path().join("fake.wasm");
    fs::write(&component, wat::parse_str(include_str!("../fixtures/fake_guest.wat")).unwrap()).unwrap();
    Setup { dir, component }
}

pub fn image() -> Image {
    let setup = setup();
    Embedder::new(None).unwrap().load(&setup.component).unwrap()
}

/// The component with so many slots.
pub fn slots(count: u32) -> Image {
    let setup = setup();
    let options = EmbedderOptions::default().pooling(Pooling::of(count));
    Embedder::with(options).unwrap().load_bytes("fake", fs::read(setup.component).unwrap()).unwrap()
}

/// The component with one slot, so that each instance gets that of the one before.
pub fn one_slot() -> Image {
    slots(1)
}
