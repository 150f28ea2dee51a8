//! A directory with a small component, its manifest and keys, and the tool to run on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use eryx_build::digest::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with a small component and its manifest.
pub struct Place {
    pub dir: TempDir,
    pub component: PathBuf,
    pub digest: Digest,
}

pub const NAMES: &str = "numpy+pydantic";

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = wat::parse_str(
            r#"(component
                (import "list-callbacks" (func))
                (core module $m (func (export "run")) (memory 1) (data (i32.const 0) "data"))
                (core instance $i (instantiate $m))
                (func (export "execute") (canon lift (core func $i "run"))))"#,
        )
        .unwrap();
        // A custom section of a length that is worth cutting short.
        bytes.push(0);
        leb(&mut bytes, 200_005);
        bytes.extend_from_slice(b"\x04fill");
        bytes.extend((0..200_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8));
        let digest = Digest::of(&bytes);
        let component = dir.path().join("given.wasm");
        fs::write(&component, &bytes).unwrap();
        let manifest = manifest(digest, bytes.len());
        fs::write(component.with_extension("json"), serde_json::to_string_pretty(&manifest).unwrap())
            .unwrap();
        Self { dir, component, digest }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the tool with an environment that has nothing else.
    pub fn run(&self, arguments: &[&str], env: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_eryx-build"))
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(env.iter().copied())
            .output()
            .unwrap()
    }

    #[track_caller]
    pub fn works(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, &[]);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The error of a run that must fail.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], env: &[(&str, &str)]) -> String {
        let output = self.run(arguments, env);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}{stderr}", text(&output.stdout));
        stderr.split_once("error: ").map(|(_, error)| error.to_owned()).unwrap_or(stderr)
    }

    #[track_caller]
    pub fn publish(&self, reference: &str, more: &[&str]) -> String {
        self.works(&[&["publish", reference, "--component", "given.wasm"], more].concat())
    }

    /// Makes a pair of keys and returns their files.
    pub fn keys(&self, name: &str) -> (String, String) {
        let (private, public) = (format!("{name}.pem"), format!("{name}.pub"));
        openssl(
            self.dir.path(),
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &private],
        );
        openssl(self.dir.path(), &["pkey", "-in", &private, "-pubout", "-out", &public]);
        (private, public)
    }

    pub fn is_empty(&self, folder: &str) -> bool {
        fs::read_dir(self.path(folder)).map_or(true, |mut entries| entries.next().is_none())
    }
}

pub fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

pub fn leb(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A manifest of every kind of input.
pub fn manifest(digest: Digest, size: usize) -> Value {
    let input = |file: &str, steps: &[&str], label: Option<(&str, &str, Option<&str>)>| {
        let mut input = json!({ "file": file, "sha256": Digest::of(file.as_bytes()), "steps": steps });
        if let Some((name, version, license)) = label {
            input["name"] = name.into();
            input["version"] = version.into();
            input["license"] = json!(license);
        }
        input
    };
    json!({
        "format": 1,
        "names": NAMES,
        "world": "sandbox",
        "form": { "dynamic": false, "cold": false, "imports": null, "setup": null, "debug_names": true },
        "prelinked": { "functions": 12_000, "dropped": 345, "dropped_bytes": 67_890 },
        "sha256": digest,
        "size": size,
        "files": 2,
        "libraries": { "libc.so": 1000, "/usr/lib/python3.14/site-packages/numpy/_core/x.so": 2_000_000 },
        "inputs": [
            input("Python-3.14.5.tar.xz", &["python", "cpython"], Some(("cpython", "3.14.5", Some("PSF-2.0")))),
            input("clang.deb", &["toolchain"], Some(("clang", "22.1", Some("Apache-2.0 WITH LLVM-exception")))),
            input("cmake.whl", &["tools sysroot"], Some(("cmake", "4.4.4", Some("BSD 3-Clause, roughly")))),
            input("numpy-2.5.5.tar.gz", &["extension numpy"], Some(("numpy", "2.5.5", Some("BSD-3-Clause AND MIT")))),
            input("pydantic-2.13.whl", &["wheel pydantic"], Some(("pydantic", "2.13", Some("MIT")))),
            input("recipes/numpy/0001-unique-rtti.patch", &["extension numpy"], None),
            input("runtime/src", &["guest"], None),
            input("rustc.deb", &["rust"], Some(("rust", "1.96.0", Some("MIT OR Apache-2.0")))),
            input("rust-src.deb", &["rust"], Some(("rust", "1.96.0", Some("MIT OR Apache-2.0")))),
            input("unknown.whl", &["wheel unknown"], Some(("unknown", "1", None))),
        ],
        "crates": [
            { "crate": "pyo3", "version": "0.29.0", "license": "MIT OR Apache-2.0", "sha256": Digest::of(b"pyo3") },
            { "crate": "old", "version": "1.0.0+x", "license": "MIT/Apache-2.0", "sha256": null },
        ],
        "checks": [
            { "name": "cpython", "imports": [], "smoke": null },
            { "name": "numpy", "imports": ["numpy"], "smoke": null },
            { "name": "pydantic", "imports": [], "smoke": null },
        ],
    })
}
