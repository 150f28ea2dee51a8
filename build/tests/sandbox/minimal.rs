//! The example that embeds Python in few lines, as its first line says to run it.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use eryx_build::layout::Layout;

use super::component;

#[test]
fn the_minimal_example_greets() {
    let tests = std::env::current_exe().unwrap();
    let example = tests.ancestors().nth(2).unwrap().join("examples/minimal");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../embed/examples/minimal.rs");
    let changed = |file: &str| std::fs::metadata(file).and_then(|file| file.modified());
    let made = changed(example.to_str().unwrap());
    assert!(
        made.is_ok_and(|made| made >= changed(source).unwrap()),
        "`{}` is not there or old: `cargo test` makes it, unless it is told which test to make",
        example.display()
    );
    // It has its own folder in the user's cache directory, which leads to ours here.
    let caches = tempfile::tempdir().unwrap();
    symlink(Layout::cache_folder().unwrap(), caches.path().join("eryx-minimal")).unwrap();
    let run = |code: &str| {
        let mut command = Command::new(&example);
        command.arg(component()).arg(code).stdin(Stdio::null()).env("XDG_CACHE_HOME", caches.path());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let nothing = String::new;
    assert_eq!(run("print(await greet(name=\"you\"))"), (true, "hello, you\n".to_owned(), nothing()));
    let (_, printed, error) = run("await greet(name=1)");
    assert!(printed.is_empty() && error.contains("TypeError: "), "{printed}{error}");
}
