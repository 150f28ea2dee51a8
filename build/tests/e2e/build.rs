//! What a build leaves behind, and that a second one does nothing.

use std::fs;

use super::{STEM, component, eryx, root, text, with_packages};
use eryx_build::digest::Digest;

/// Whether the component is one that this test built: one that was given says nothing of builds.
fn built_here() -> bool {
    component();
    std::env::var_os("ERYX_E2E_COMPONENT").is_none()
}

#[test]
fn a_second_build_is_a_pure_hit() {
    if !built_here() {
        return;
    }
    let output = eryx(&[with_packages("bundle"), vec!["--offline"]].concat());
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "", "no step ran");
    assert!(stdout.contains(" steps were in the cache, 0 processes started\n"), "{stdout}");

    let output = eryx(&[with_packages("plan"), vec!["--offline"]].concat());
    let plan = text(&output.stdout);
    assert!(plan.lines().count() > 20, "{plan}");
    assert!(plan.lines().all(|line| line.ends_with(" hit")), "{plan}");
    let names: usize = plan.lines().count();
    assert!(stdout.contains(&format!("in all; {names} steps were in the cache")), "{stdout}");
}

#[test]
fn names_and_links_agree_with_the_content() {
    if !built_here() {
        return;
    }
    let dist = root().join("dist");
    let digest = Digest::of_file(component()).unwrap().0;
    let file = format!("{STEM}-{}", digest.short());
    for kind in ["wasm", "json"] {
        let target = fs::read_link(dist.join(format!("{STEM}.{kind}"))).unwrap();
        assert_eq!(target.display().to_string(), format!("{file}.{kind}"));
    }
    let manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(dist.join(format!("{file}.json"))).unwrap()).unwrap();
    assert_eq!(manifest["sha256"], digest.to_string());
    assert_eq!(manifest["size"], fs::metadata(component()).unwrap().len());
    let inputs = manifest["inputs"].as_array().unwrap();
    for name in ["numpy", "pydantic", "pydantic-core", "cpython", "zlib", "tzdata"] {
        let input = inputs.iter().find(|input| input["name"] == name);
        let input = input.unwrap_or_else(|| panic!("`{name}` is not listed"));
        for key in ["version", "license", "sha256", "file"] {
            assert!(input[key].is_string(), "`{name}` has no `{key}`: {input}");
        }
    }
    for input in inputs {
        assert_eq!(input["sha256"].as_str().map(str::len), Some(64), "{input}");
    }
}

#[test]
fn check_finds_nothing_wrong() {
    let output = eryx(&["check", component().to_str().unwrap()]);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(!text(&output.stdout).contains("failed"), "{}", text(&output.stdout));
}
