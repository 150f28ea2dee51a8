//! The verb `compile`, and `run` with what it put beside a component: a small guest that stands for Python
//! (`embed/tests/fixtures/fake_guest.wat`), and Python itself.

#[cfg(feature = "e2e")]
mod bundled;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

struct Place {
    dir: TempDir,
}

impl Place {
    /// With the guest compiled.
    fn compiled() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let guest = wat::parse_str(include_str!("../../embed/tests/fixtures/fake_guest.wat")).unwrap();
        fs::write(place.component(), guest).unwrap();
        let told = place.works("compiler", &["compile", place.component().to_str().unwrap()]);
        assert_eq!(told, format!("{}\n", place.native().display()));
        place
    }

    fn component(&self) -> PathBuf {
        self.dir.path().join("guest.wasm")
    }

    fn native(&self) -> PathBuf {
        self.dir.path().join("guest.wasm.native")
    }

    /// What the program prints, with a cache of this name.
    fn works(&self, cache: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
        command.args(arguments).stdin(Stdio::null()).env("ERYX_CACHE", self.dir.path().join(cache));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs code with an empty cache; what it prints, and whether the component was compiled for it.
    fn run(&self, code: &str) -> (String, bool) {
        let printed = self.works("user", &["run", self.component().to_str().unwrap(), "-c", code]);
        let cache = self.dir.path().join("user");
        let compiled = cache.join("compiled");
        let has_code = compiled.exists() && files(&compiled).keys().any(|name| name.ends_with(".cwasm"));
        if cache.exists() {
            fs::remove_dir_all(cache).unwrap();
        }
        (printed, has_code)
    }
}

/// The files of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn printed(compiled: bool) -> (String, bool) {
    ("hello".to_owned(), compiled)
}

#[test]
fn what_was_compiled_ahead_is_not_compiled_again() {
    let place = Place::compiled();
    assert_eq!(place.run("pass"), printed(false));
    fs::remove_dir_all(place.native()).unwrap();
    assert_eq!(place.run("pass"), printed(true));
}

#[test]
fn native_code_that_is_damaged_is_left_alone() {
    let place = Place::compiled();
    let damages: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes[1000] ^= 1, |bytes| bytes.truncate(100), |bytes| bytes.clear()];
    for (suffix, damage) in [".cwasm", ""].into_iter().flat_map(|suffix| damages.map(|one| (suffix, one))) {
        let sound = files(&place.native());
        for (name, bytes) in &sound {
            let mut bytes = bytes.clone();
            // The other files are short texts, each the digest of one with code.
            if name.ends_with(".cwasm") == (suffix == ".cwasm") {
                bytes.resize(bytes.len().max(2000), 0);
                damage(&mut bytes);
            }
            fs::write(place.native().join(name), bytes).unwrap();
        }
        let damaged = files(&place.native());
        assert_eq!(place.run("pass"), printed(true));
        assert!(files(&place.native()) == damaged, "it is not ours to change");
        sound.iter().for_each(|(name, bytes)| fs::write(place.native().join(name), bytes).unwrap());
        assert_eq!(place.run("pass"), printed(false));
    }
}

#[test]
fn native_code_for_another_engine_is_left_alone() {
    let place = Place::compiled();
    let native = files(&place.native());
    let indices: Vec<_> = native.iter().filter(|(name, _)| !name.ends_with(".cwasm")).collect();
    let [(one, first), (other, second)] = indices.as_slice() else { panic!("{indices:?}") };
    // There is code for an engine that can stop guests, too: each has what belongs to the other.
    fs::write(place.native().join(one), second).unwrap();
    fs::write(place.native().join(other), first).unwrap();
    assert_eq!(place.run("pass"), printed(true));
    // Those of another version would have other names.
    for (name, _) in indices {
        fs::rename(place.native().join(name), place.native().join(format!("{name}-of-another"))).unwrap();
    }
    assert_eq!(place.run("pass"), printed(true));
}

#[cfg(feature = "e2e")]
#[test]
fn python_starts_from_native_code_beside_it() {
    let place = Place { dir: tempfile::tempdir().unwrap() };
    fs::copy(bundled::bundle::<&str>([]), place.component()).unwrap();
    // Where it may be compiled already.
    let mut compile = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    compile.arg("compile").arg(place.component()).stdin(Stdio::null());
    assert!(compile.status().unwrap().success());
    assert_eq!(place.run("print('hello', end='')"), printed(false));
}
