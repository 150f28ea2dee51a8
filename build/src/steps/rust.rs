//! Rust for the guest: a compiler with the sources of its standard library, unpacked from distribution
//! packages, and crates vendored by cargo.
//!
//! The standard library that is shipped for the target is not position independent, so it is compiled anew
//! with each crate (`-Z build-std`), which is why its sources and crates are needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cross::TARGET;
use super::{Work, write, write_executable};
use crate::archive::{self, Unpack};
use crate::command::Cmd;
use crate::error::{Error, Result};
use crate::recipe::Source;

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 1;
/// Changes when the result changes for equal inputs.
pub const CRATES_REVISION: u32 = 1;

/// The file of a result that lists the crates it was made with; the manifest takes them from there.
pub const CRATES: &str = "crates.json";

/// Name, version, digest and licence of every vendored crate, sorted.
fn crates(vendor: &Path) -> Result<String> {
    let mut listed = BTreeMap::new();
    for entry in fs::read_dir(vendor)? {
        let folder = entry?.path();
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        let manifest: toml::Table = manifest.parse().map_err(|error| {
            Error::new(format!("malformed manifest of crate `{}`: {error}", folder.display()))
        })?;
        let checksum = fs::read_to_string(folder.join(".cargo-checksum.json"))?;
        let checksum: Value = serde_json::from_str(&checksum).map_err(|error| {
            Error::new(format!("malformed checksum of crate `{}`: {error}", folder.display()))
        })?;
        let text = |key: &str| {
            manifest.get("package").and_then(|package| package.get(key)).and_then(toml::Value::as_str)
        };
        let (name, version) = (text("name").unwrap_or_default(), text("version").unwrap_or_default());
        listed.insert(
            (name.to_owned(), version.to_owned()),
            json!({
                "crate": name, "version": version, "license": text("license"), "sha256": checksum["package"],
            }),
        );
    }
    serde_json::to_string(&listed.into_values().collect::<Vec<_>>())
        .map_err(|error| Error::new(error.to_string()))
}

/// Unpacks the packages into one prefix.
///
/// # Errors
/// When a package is refused.
pub fn assemble(work: &Work, sources: &[Source]) -> Result<()> {
    for (position, source) in sources.iter().enumerate() {
        let unpacked = work.dir.join(format!("package-{position}"));
        let options = Unpack { strip: source.strip, only: source.only.clone(), ..Unpack::default() };
        archive::unpack(work.input(&format!("source/{}", source.file))?, &source.file, &unpacked, &options)?;
        super::copy_tree(&unpacked.join("usr"), &work.out, &|path| !path.starts_with("share"))?;
    }
    write_executable(
        &work.out.join("rustc"),
        "#!/bin/sh\nhere=${0%/*}\nLD_LIBRARY_PATH=\"$here/lib/x86_64-linux-gnu\" exec \"$here/bin/rustc\" \"$@\"\n",
    )
}

/// The folder of the standard library's sources in the prefix.
fn library(rust: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(rust.join("src"))? {
        let path = entry?.path().join("library");
        if path.is_dir() {
            return Ok(path);
        }
    }
    Err(Error::new("expected the sources of Rust's standard library in the Rust toolchain but found none"))
}

/// cargo as the machine has it, with the pinned compiler.
///
/// # Errors
/// When the step has no Rust among its inputs.
pub fn cargo(work: &Work) -> Result<Cmd> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let cargo_home =
        std::env::var_os("CARGO_HOME").map_or_else(|| Path::new(&home).join(".cargo"), PathBuf::from);
    let rustup =
        std::env::var_os("RUSTUP_HOME").map_or_else(|| Path::new(&home).join(".rustup"), PathBuf::from);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", cargo_home.join("bin").display());
    let mut cmd = work
        .cmd("/usr/bin/env")
        .arg("cargo")
        .env("PATH", path)
        .env("CARGO_HOME", cargo_home)
        .env("RUSTUP_HOME", rustup)
        .env("RUSTUP_TOOLCHAIN", "1.95.0")
        .env("RUSTC", work.input("rust")?.join("rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_INCREMENTAL", "0");
    // How this machine reaches its registries is no input of the result: the lock file has the hashes.
    for name in
        ["SSL_CERT_FILE", "CARGO_HTTP_CAINFO", "https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"]
    {
        if let Some(value) = std::env::var_os(name) {
            cmd = cmd.env(name, value);
        }
    }
    Ok(cmd)
}

/// Vendors the crates of a lock file, and those of the standard library.
///
/// # Errors
/// When cargo cannot get a crate, or the network is forbidden.
pub fn vendor(work: &Work, params: &Value, offline: bool) -> Result<()> {
    let source = work.dir.join("source");
    let manifest = unpack_manifest(work, params, &source)?;
    let mut cmd = cargo(work)?
        .args(["vendor", "--locked", "--versioned-dirs", "--manifest-path"])
        .arg(&manifest)
        .arg("--sync")
        .arg(library(work.input("rust")?)?.join("Cargo.toml"));
    if offline {
        cmd = cmd.arg("--offline");
    }
    cmd.arg(work.out.join("vendor")).output().map(drop)
}

/// Lays out what cargo needs to read a manifest: the whole source of a recipe, or our runtime's manifest with
/// an empty library.
fn unpack_manifest(work: &Work, params: &Value, source: &Path) -> Result<PathBuf> {
    if let Ok(manifest) = work.input("runtime/Cargo.toml") {
        super::copy(manifest, &source.join("Cargo.toml"))?;
        super::copy(work.input("runtime/Cargo.lock")?, &source.join("Cargo.lock"))?;
        write(&source.join("src/lib.rs"), "")?;
        return Ok(source.join("Cargo.toml"));
    }
    for (file, archive) in work.inputs_of("source/") {
        archive::unpack(archive, file, source, &Unpack { strip: 1, ..Unpack::default() })?;
    }
    let patches: Vec<String> = work.inputs_of("patch/").map(|(file, _)| file.to_owned()).collect();
    for patch in patches {
        work.patch(&patch, source)?;
    }
    let manifest = params["build"]["backend"]["manifest"].as_str().unwrap_or("Cargo.toml");
    Ok(source.join(manifest))
}

/// Compiles the package in `source` to an archive for the guest, with vendored crates and no network.
///
/// # Errors
/// When cargo fails.
pub fn staticlib(
    work: &Work,
    source: &Path,
    arguments: &[String],
    env: &[(String, String)],
) -> Result<PathBuf> {
    let vendor = work.input("crates")?.join("vendor");
    let config = format!(
        "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"{}\"\n[net]\noffline = true\n",
        vendor.display()
    );
    write(&work.dir.join(".cargo/config.toml"), config)?;
    let rust = work.input("rust")?;
    let flags = [
        "-Crelocation-model=pic".to_owned(),
        "-Ctarget-feature=+simd128,+bulk-memory,+sign-ext,+nontrapping-fptoint,+mutable-globals".to_owned(),
        "-Cpanic=abort".to_owned(),
        // Whatever is exported is named at the link.
        "-Zdefault-visibility=hidden".to_owned(),
        format!("--remap-path-prefix={}=/build", work.dir.display()),
        format!("--remap-path-prefix={}=/rust", rust.display()),
        format!("--remap-path-prefix={}=/crates", vendor.display()),
    ];
    write(&work.out.join(CRATES), crates(&vendor)?)?;
    let target = work.dir.join("target");
    cargo(work)?
        .cwd(source)
        .args(["rustc", "--release", "--lib", "--crate-type", "staticlib", "--locked", "--offline"])
        .args(["-Zbuild-std=std,panic_abort", "--target", TARGET])
        .arg(format!("-j{}", work.jobs))
        .args(arguments)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .envs(env.iter().cloned())
        .run()?;
    let release = target.join(TARGET).join("release");
    let mut archives = Vec::new();
    for entry in fs::read_dir(&release)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "a") {
            archives.push(path);
        }
    }
    match archives.as_slice() {
        [archive] => Ok(archive.clone()),
        found => Err(Error::new(format!("expected one archive from cargo but found {}", found.len()))),
    }
}

/// An object with two integers that the libc crate expects as symbols; in wasi-libc they are macros.
///
/// # Errors
/// When the compiler fails.
pub fn clock_object(work: &Work, cc: &Path) -> Result<PathBuf> {
    let source = work.dir.join("clock.c");
    let object = work.dir.join("clock.o");
    write(
        &source,
        "#define HIDDEN __attribute__((visibility(\"hidden\")))\n\
         HIDDEN const int _CLOCK_PROCESS_CPUTIME_ID = 2, _CLOCK_THREAD_CPUTIME_ID = 3;\n",
    )?;
    work.cmd(cc).args(["-fPIC", "-c"]).arg(&source).arg("-o").arg(&object).run()?;
    Ok(object)
}
