//! The crate `eryx` 0.14: its documented features are tested by `examples/eryx-0.14`, a package of its own.

use super::{bundle, cargo, checkout, folder, succeeded, text};

#[test]
fn the_published_crate_runs_our_component() {
    let component = bundle(["--world", "eryx-0.14"]);
    let package = checkout().join("examples/eryx-0.14");
    let run = |verb: &[&str], more: &[&str]| {
        // The crate declares a newer Rust than the one that compiles it.
        let output = cargo()
            .args(verb)
            .args(["--locked", "--ignore-rust-version", "--target-dir"])
            .arg(folder("eryx-0.14"))
            .arg("--manifest-path")
            .arg(package.join("Cargo.toml"))
            .args(more)
            .env("ERYX_COMPONENT", &component)
            .output()
            .unwrap();
        succeeded(&output);
        text(&output.stdout)
    };
    let tests = run(&["test", "--all-targets", "--no-fail-fast"], &[]);
    assert!(tests.contains("test sessions::a_session_keeps_its_state ... ok\n"), "{tests}");
    let roots = run(&["test", "--package", "webpki-roots"], &[]);
    assert!(roots.contains("1 passed"), "{roots}");

    let example = run(&["run", "--quiet"], &["--", component.to_str().unwrap()]);
    let lines: Vec<&str> = example.lines().collect();
    assert!(
        matches!(
            lines.as_slice(),
            [
                "== callbacks",
                "{'Oslo': 720000, 'Bergen': 290000}",
                "execution failed: no such city: Some(\"Atlantis\")",
                "result 1010000, 3 callbacks",
                _,
                "== sessions",
                "cleared: false",
                _,
                "== errors",
                ..,
                "ZeroDivisionError: division by zero"
            ]
        ),
        "{example}"
    );
}
