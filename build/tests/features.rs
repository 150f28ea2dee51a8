//! What cargo compiles for the tool and what it compiles for the tests are the same crates with the same features: else
//! `just test` would compile wasmtime, which takes minutes, a second time.

use std::collections::BTreeSet;
use std::process::Command;

/// The crates that these arguments of cargo select, each with its version and features.
fn crates(arguments: &[&str]) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--offline", "--no-dedupe", "--prefix", "none", "--format", "{p} [{f}]"]);
    let output = tree.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // This package has a feature for its tests.
    text.lines().filter(|line| !line.starts_with("eryx-build ")).map(str::to_owned).collect()
}

#[test]
fn no_crate_of_the_tool_has_other_features_in_the_tests() {
    let tool = crates(&["--edges", "normal,build", "--package", "eryx-build"]);
    let packages = ["--package", "eryx-build", "--package", "eryx-embed", "--package", "eryx-serve"];
    let tests = crates(&[&["--edges", "normal,build,dev"][..], &packages].concat());
    assert!(tool.iter().any(|line| line.starts_with("wasmtime v")), "{tool:?}");
    let missing: Vec<_> = tool.difference(&tests).collect();
    assert!(missing.is_empty(), "the tool needs these by itself, see `Cargo.toml`: {missing:#?}");
}
