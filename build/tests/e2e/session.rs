//! The session's Python code over a fake embedder, on the build machine's interpreter of the same version.

use std::path::PathBuf;
use std::process::Command;

use super::{component, root, text};
use eryx_build::layout::Layout;
use eryx_build::store::{Output, Store};

/// The interpreter of the same version that every build makes for its own machine. It lies in the store: with `-B` it
/// writes nothing there.
pub(super) fn native_python() -> PathBuf {
    component();
    let store = Store::open(&Layout::cache_folder().unwrap()).unwrap();
    let record = store.latest("python").unwrap().expect("a build for the machine's Python");
    let Output::Tree { digest } = record.output else { panic!("{record:?}") };
    store.tree(digest).unwrap().expect("a result in the store").join("bin/python3.14")
}

#[test]
fn the_session_s_python_code_passes_its_own_tests() {
    let output = Command::new(native_python())
        // Nothing may be written, neither beside the tests nor into the store.
        .args(["-B", "-m", "unittest"])
        .current_dir(root().join("runtime/tests"))
        .output()
        .unwrap();
    let report = text(&output.stderr);
    assert!(output.status.success(), "{report}");
    assert!(report.contains("\nOK\n") && !report.contains("Ran 0 tests"), "{report}");
}
