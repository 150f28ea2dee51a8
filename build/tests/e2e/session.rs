//! The session's Python code over a fake embedder, on the build machine's interpreter of the same version.

use std::process::Command;

use super::{component, root, text};
use eryx_build::layout::Layout;
use eryx_build::store::{Output, Store};

#[test]
fn the_session_s_python_code_passes_its_own_tests() {
    // The interpreter is a step of every build.
    component();
    let store = Store::open(&Layout::cache_folder().unwrap()).unwrap();
    let record = store.latest("python").unwrap().expect("a build for the machine's Python");
    let Output::Tree { digest } = record.output else { panic!("{record:?}") };
    let python = store.tree(digest).unwrap().expect("a result in the store").join("bin/python3.14");
    let output = Command::new(python)
        // Nothing may be written, neither beside the tests nor into the store.
        .args(["-B", "-m", "unittest"])
        .current_dir(root().join("runtime/tests"))
        .output()
        .unwrap();
    let report = text(&output.stderr);
    assert!(output.status.success(), "{report}");
    assert!(report.contains("\nOK\n") && !report.contains("Ran 0 tests"), "{report}");
}
