//! The whole way, from recipes to Python code that runs in a component.
//!
//! The first test that needs it builds `numpy` and `pydantic` with the real cache.
//! `ERYX_E2E_COMPONENT=<file>` takes a component with both that is there already.
#![cfg(feature = "e2e")]

#[path = "e2e/build.rs"]
mod build;
mod bundled;
mod checkout;
#[path = "e2e/guest.rs"]
mod guest;
#[path = "e2e/inputs.rs"]
mod inputs;
#[path = "wheels/mod.rs"]
mod made;
mod outcome;
#[path = "e2e/preinit.rs"]
mod preinit;
#[path = "e2e/program.rs"]
mod program;
#[path = "e2e/rebuild.rs"]
mod rebuild;
#[path = "e2e/recipe.rs"]
mod recipe;
#[path = "e2e/run.rs"]
mod run;
#[path = "e2e/session.rs"]
mod session_code;
#[path = "e2e/state.rs"]
mod state;
#[path = "e2e/wheels.rs"]
mod wheels;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use bundled::{bundle, checkout as root};
use eryx_build::layout::Layout;
use eryx_embed::{Embedder, Image, Session, SessionOptions};
use outcome::ok;

/// The packages of the component.
const PACKAGES: [&str; 2] = ["numpy", "pydantic"];
/// Its name.
const STEM: &str = "numpy+pydantic";

/// Runs the binary in the checkout, with the environment of the test.
fn eryx(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    command.args(arguments).current_dir(root()).stdin(Stdio::null()).output().unwrap()
}

/// Runs the binary on a copy of the checkout.
fn eryx_in(checkout: &Path, env: &[(&str, &Path)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    command.args(arguments).env("ERYX_CHECKOUT", checkout).current_dir(checkout).stdin(Stdio::null());
    command.envs(env.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A verb with the packages of the component.
fn with_packages(verb: &str) -> Vec<&str> {
    [&[verb], &PACKAGES[..]].concat()
}

/// The component, built once.
fn component() -> &'static Path {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    COMPONENT.get_or_init(|| {
        if let Some(path) = std::env::var_os("ERYX_E2E_COMPONENT") {
            return std::path::absolute(path).unwrap();
        }
        bundle(PACKAGES)
    })
}

/// The component, loaded once.
fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let embedder = Embedder::new(Some(&Layout::cache_folder().unwrap())).unwrap();
        embedder.load(component()).unwrap()
    })
}

fn session() -> Session {
    image().session(SessionOptions::default()).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Runs code that must raise, and gives the traceback.
#[track_caller]
fn raises(session: &mut Session, code: &str) -> String {
    match session.execute(code) {
        Ok(printed) => panic!("{code}\nraises nothing; printed {printed:?}"),
        Err(eryx_embed::Error::Raised(traceback)) => traceback,
        Err(failure) => panic!("{code}\n{failure}"),
    }
}
