//! Where a build's inputs come from.

use std::fs;

use serde_json::json;

use super::{PACKAGES, STEM, checkout, component, eryx_in, text};
use eryx_build::digest::Digest;
use eryx_build::layout::Layout;
use eryx_build::store::{Output, Store};

#[test]
fn an_installed_sdk_takes_the_place_of_the_pinned_one() {
    let digest = Digest::of_file(component()).unwrap().0;
    // The pinned toolchain has the layout of a wasi-sdk: as an installed one it must give the same.
    let store = Store::open(&Layout::cache_folder().unwrap()).unwrap();
    let record = store.latest("toolchain").unwrap().expect("a build for a toolchain");
    let Output::Tree { digest: tree } = record.output else { panic!("{record:?}") };
    let sdk = store.tree(tree).unwrap().expect("a result in the store");
    let folder = tempfile::tempdir().unwrap();
    checkout::copy_locked(folder.path());
    let env = [("WASI_SDK_PATH", sdk.as_path())];

    let arguments = [&["bundle", "--offline"], &PACKAGES[..]].concat();
    let output = eryx_in(folder.path(), &env, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let dist = folder.path().join("dist");
    assert_eq!(Digest::of_file(&dist.join(format!("{STEM}.wasm"))).unwrap().0, digest);
    let manifest = fs::read_to_string(dist.join(format!("{STEM}.json"))).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let inputs = manifest["inputs"].as_array().unwrap();
    let sdk = inputs.iter().find(|input| input["name"] == "wasi-sdk").expect("the sdk in the manifest");
    assert!(sdk["sha256"].is_string() && sdk["license"].is_string(), "{sdk}");
    assert!(
        !inputs.iter().any(|input| input["steps"] == json!(["toolchain"]) && input["name"] == "clang"),
        "{inputs:?}"
    );
}

#[test]
fn what_was_fetched_is_enough_to_build_offline() {
    let folder = tempfile::tempdir().unwrap();
    checkout::copy_locked(folder.path());
    let cache = folder.path().join("cache");
    let env = [("ERYX_CACHE", cache.as_path())];
    let fetched = eryx_in(folder.path(), &env, &[&["fetch"], &PACKAGES[..]].concat());
    assert!(fetched.status.success(), "{}", text(&fetched.stderr));

    // Elsewhere, from a directory alone.
    let mirror = folder.path().join("mirror");
    let directory = mirror.to_str().unwrap();
    let vendored =
        eryx_in(folder.path(), &env, &[&["vendor", "--offline", directory], &PACKAGES[..]].concat());
    assert!(vendored.status.success(), "{}", text(&vendored.stderr));
    let elsewhere = folder.path().join("elsewhere");
    let from_mirror = [&["fetch", "--offline", "--mirror", directory], &PACKAGES[..]].concat();
    let there = eryx_in(folder.path(), &[("ERYX_CACHE", elsewhere.as_path())], &from_mirror);
    assert!(there.status.success(), "{}", text(&there.stderr));
    assert_eq!(text(&there.stdout), text(&fetched.stdout));
    fs::remove_dir_all(elsewhere).unwrap();

    let again = eryx_in(folder.path(), &env, &[&["fetch", "--offline"], &PACKAGES[..]].concat());
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), text(&fetched.stdout));
    // All that is left to do works on files that are here; crates are the ones that another program fetches.
    let plan = eryx_in(folder.path(), &env, &[&["plan", "--offline"], &PACKAGES[..]].concat());
    let plan = text(&plan.stdout);
    for step in ["rust ", "crates runtime ", "crates pydantic-core "] {
        let line = plan.lines().find(|line| line.starts_with(step));
        assert!(line.is_some_and(|line| line.ends_with(" hit")), "{plan}");
    }
}
