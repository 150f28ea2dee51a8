//! The crate `eryx` 0.14 with the runtime that it comes with, measured by a program of `examples/eryx-0.14`.

use std::process::Command;

use eryx_build::error::{Error, Result};
use eryx_build::layout::Layout;

use super::output;

/// Seconds by the names of entries.
pub fn measure(layout: &Layout) -> Result<std::collections::BTreeMap<String, f64>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "run",
            "--quiet",
            "--release",
            "--locked",
            "--features",
            "published-runtime",
            "--bin",
            "bench",
        ])
        // The crate declares a newer Rust than the one that compiles it.
        .arg("--ignore-rust-version")
        .arg("--manifest-path")
        .arg(layout.checkout.join("examples/eryx-0.14/Cargo.toml"))
        .arg("--target-dir")
        .arg(layout.cache.join("hosts/eryx-0.14-bench"))
        .current_dir(&layout.checkout);
    let printed = output(&mut cargo)?;
    serde_json::from_str(&printed)
        .map_err(|error| Error::new(format!("expected JSON but found `{printed}`: {error}")))
}
