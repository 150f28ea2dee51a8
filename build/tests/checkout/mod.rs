//! A copy of the checkout, for tests that change it or must not.

use std::fs;
use std::path::Path;

/// Copies everything that a plan is made from, without the lock file.
pub fn copy(into: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for part in ["recipes", "sysroot", "runtime"] {
        copy_folder(&source.join(part), &into.join(part));
    }
}

/// Copies the lock file, too.
#[allow(dead_code, reason = "each test program uses what it needs")]
pub fn copy_locked(into: &Path) {
    copy(into);
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../eryx.lock"), into.join("eryx.lock")).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if !entry.file_type().unwrap().is_dir() {
            fs::copy(source, target).unwrap();
        } else if entry.file_name() != "target" {
            copy_folder(&source, &target);
        }
    }
}
