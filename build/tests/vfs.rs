//! Runs the native tests of `sysroot/vfs`: the layer compiled for the build machine, with an embedder
//! made of POSIX calls and an image made by the encoder, under the address and undefined-behaviour
//! sanitizers.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use eryx_build::image::{Content, Entry, encode};

fn entry(path: &str, content: Content) -> Entry {
    Entry { path: path.into(), content }
}

fn file(path: &str, text: &str) -> Entry {
    entry(path, Content::File { bytes: text.into(), executable: false })
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, Content::Symlink(target.into()))
}

/// The tree that `tests/test_image.c` expects.
fn image() -> Vec<u8> {
    let mut entries = vec![
        file("/top.txt", "top"),
        file("/lib/os.py", "import sys\n"),
        file("/lib/python/empty.py", ""),
        link("/lib/link", "os.py"),
        link("/lib/absolute", "/lib"),
        link("/lib/loop", "loop"),
        file("/home/sandbox/given.txt", "given"),
    ];
    entries.extend((0..500).map(|number| file(&format!("/lib/many/m{number}.py"), "pass")));
    encode(&entries).unwrap()
}

/// A C file that defines the image as the linker would place it.
fn image_source() -> String {
    let mut source = String::from("_Alignas(16) const unsigned char __eryx_image[] = {");
    for byte in image() {
        write!(source, "{byte},").unwrap();
    }
    source.push_str("};\n");
    source
}

fn c_files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}", directory.display());
    files
}

#[test]
fn the_layer_passes_its_native_tests() {
    let vfs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sysroot/vfs");
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image_data.c");
    std::fs::write(&image, image_source()).unwrap();
    let program = scratch.path().join("vfs-tests");
    let granted = scratch.path().join("granted");
    std::fs::create_dir(&granted).unwrap();

    let compile = Command::new("cc")
        .args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-g"])
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
        .args(["-Wl,--wrap=malloc", "-Wl,--wrap=calloc"])
        .arg("-I")
        .arg(vfs.join("tests"))
        .arg("-o")
        .arg(&program)
        .args(c_files(&vfs))
        .args(c_files(&vfs.join("tests")))
        .arg(&image)
        .output()
        .unwrap();
    assert!(compile.status.success(), "{}", String::from_utf8_lossy(&compile.stderr));

    let run = Command::new(&program).arg(&granted).output().unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{:?}\n{stderr}", run.status);
    assert_eq!(String::from_utf8_lossy(&run.stdout), "ok\n", "{stderr}");
}
