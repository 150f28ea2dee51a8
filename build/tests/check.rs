//! The verb `check`, with the small guest of the embedder's tests.

use std::fs;
use std::path::PathBuf;

use eryx_build::check::{CheckOptions, Package, check};
use tempfile::TempDir;

const FAKE: &str = include_str!("../../embed/tests/fixtures/fake_guest.wat");

fn component(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fake.wasm");
    fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    (dir, path)
}

fn package(name: &str, smoke: &str) -> Package {
    Package { name: name.to_owned(), imports: Vec::new(), smoke: Some(smoke.to_owned()) }
}

#[test]
fn a_good_component_passes() {
    let (_dir, path) = component(FAKE);
    let packages = [package("numpy", "o fine"), package("attrs", "o")];
    let options = CheckOptions { packages: &packages, ..CheckOptions::default() };
    let report = check(&path, &options).unwrap();
    assert_eq!(report.verdict(), Ok(()));
    assert_eq!(report.exports, ["clear-state", "execute", "restore-state", "snapshot-state"]);
    let features: Vec<_> = report.features.iter().copied().collect();
    assert_eq!(features, ["bulk_memory", "component_model_async", "reference_types"]);
    let modules = report.parts.iter().find(|part| part.name == "core modules").unwrap();
    let whole = report.parts.last().unwrap();
    assert_eq!((modules.count, whole.bytes), (2, fs::metadata(&path).unwrap().len()));
    assert!(modules.bytes > 0 && modules.bytes < whole.bytes);
    let text = report.to_string();
    assert!(text.contains("\npackages        numpy                           ok\n"), "{text}");
    assert!(text.contains("\nimports         invoke\n                report-trace\n"), "{text}");
}

#[test]
fn every_problem_is_told_at_once() {
    let secret = "(data (i32.const 900) \"/root/.cache/eryx/build/x.c\")";
    let custom = "(@custom \".debug_info\" \"abc\")";
    let text = FAKE
        .replace("(data (i32.const 16)", &format!("{custom}{secret}(data (i32.const 16)"))
        .replace("(func (export \"clear-state\") async", "(func (export \"forget\") async");
    let (_dir, path) = component(&text);
    let forbidden = ["/root/.cache".to_owned(), "/home/nobody".to_owned(), String::new()];
    let report = check(&path, &CheckOptions { forbidden: &forbidden, ..CheckOptions::default() }).unwrap();
    let told = report.verdict().unwrap_err().to_string();
    for expected in [
        "the export `clear-state` is missing",
        "the export `forget` is not in the world",
        "the custom section `.debug_info` is not allowed (3 bytes)",
        "`/root/.cache` occurs in core module 1 (`main-module`): `/root/.cache/eryx/build/x.c",
        "no export `clear-state` found",
    ] {
        assert!(told.contains(expected), "{expected:?} is not in {told}");
    }
    assert_eq!(report.problems.len(), 5, "{told}");
}

#[test]
fn failing_packages_are_all_told() {
    let (_dir, path) = component(FAKE);
    let packages = [package("a", "e ImportError: no"), package("b", "t"), package("c", "o")];
    let report = check(&path, &CheckOptions { packages: &packages, ..CheckOptions::default() }).unwrap();
    let told = report.verdict().unwrap_err().to_string();
    assert!(told.contains("package `a`: the smoke test failed\n  ImportError: no\n"), "{told}");
    assert!(told.contains("package `b`: the smoke test: the guest trapped: wasm `unreachable`"), "{told}");
    assert!(report.packages[2].problems.is_empty());
}

#[test]
fn a_core_module_is_no_component() {
    let (_dir, path) = component("(module)");
    let error = check(&path, &CheckOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` is not a component\n  it is a core module", path.display()));
}
