//! The crates of this tool whose code or data decides what a component's bytes are.
//!
//! They are inputs like any other: another version may give another component, so they are part of the link's
//! key and of the manifest. The tool's own lock file, compiled in, says which they are.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// Name and licence. The adapter ends in the component; wasmtime and its parts prepare its memory; the others write it.
const CRATES: &[(&str, &str)] = &[
    ("wasi-preview1-component-adapter-provider", WASMTIME),
    ("wasm-encoder", WASM_TOOLS),
    ("wasmparser", WASM_TOOLS),
    ("wasmtime", WASMTIME),
    ("wasmtime-wasi", WASMTIME),
    ("wasmtime-wizer", WASMTIME),
    ("wit-component", WASM_TOOLS),
    ("wit-dylib", WASM_TOOLS),
    ("wit-parser", WASM_TOOLS),
];
const WASMTIME: &str = "Apache-2.0 WITH LLVM-exception";
const WASM_TOOLS: &str = "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT";

#[derive(Deserialize)]
struct LockFile {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// Stands for our own code that links, prelinks, instruments and runs modules. It is in the key of every step that
/// does; `tests/plan.rs` notices when that code changes and this does not.
pub const REVISION: u32 = 1;

/// What a step's key says of the linker: our revision and the crates.
///
/// # Errors
/// As [`linker`].
pub fn linker_key() -> Result<Value> {
    Ok(json!({ "revision": REVISION, "crates": linker()? }))
}

/// Name, version, digest and licence of each, in the form of the manifest's list of crates.
///
/// # Errors
/// When the lock file has one of them not at all.
pub fn linker() -> Result<Vec<Value>> {
    linker_of(include_str!("../../Cargo.lock"))
}

fn linker_of(lock: &str) -> Result<Vec<Value>> {
    let lock: LockFile =
        toml::from_str(lock).map_err(|error| Error::new(format!("malformed `Cargo.lock`: {error}")))?;
    let ours = lock.package.iter().find(|package| package.name == env!("CARGO_PKG_NAME"));
    CRATES
        .iter()
        .map(|(name, license)| {
            // Where the lock file has two versions, a dependency is written `name version`.
            let named = ours.into_iter().flat_map(|ours| &ours.dependencies);
            let mut words = named
                .map(|entry| entry.split(' '))
                .filter_map(|mut entry| (entry.next() == Some(name)).then(|| entry.next()));
            let version = words.next().ok_or_else(|| {
                Error::new(format!("expected `{name}` among the dependencies in `Cargo.lock`"))
            })?;
            let package = lock
                .package
                .iter()
                .find(|package| package.name == *name && version.is_none_or(|it| it == package.version))
                .ok_or_else(|| Error::new(format!("expected `{name}` in `Cargo.lock` but found none")))?;
            Ok(json!({
                "crate": name,
                "version": package.version,
                "license": license,
                "sha256": package.checksum,
            }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_that_we_depend_on() {
        let found = linker().unwrap();
        assert_eq!(found.len(), CRATES.len());
        for entry in &found {
            assert_eq!(entry["sha256"].as_str().map(str::len), Some(64), "{entry}");
        }
        let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
        for entry in &found {
            let stated = &manifest["dependencies"][entry["crate"].as_str().unwrap()];
            let stated = stated.as_str().or_else(|| stated["version"].as_str());
            let stated = stated.unwrap().trim_start_matches('=');
            let (stated, _) = stated.rsplit_once('.').unwrap();
            assert!(entry["version"].as_str().unwrap().starts_with(stated), "{entry}");
        }
    }

    #[test]
    fn a_lock_file_without_one_is_refused() {
        let error = linker_of("[[package]]\nname = \"eryx-build\"\nversion = \"1\"\n").unwrap_err();
        assert!(error.message().contains("`wasi-preview1-component-adapter-provider`"), "{error}");
    }
}
