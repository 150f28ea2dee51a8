//! Rust for the guest: a compiler with the sources of its standard library, unpacked from distribution
//! packages, and crates vendored by cargo.
//!
//! The standard library that is shipped for the target is not position independent, so it is compiled anew
//! with each crate (`-Z build-std`), which is why its sources and crates are needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Work;
use super::cross::TARGET;
use crate::archive::{self, Unpack};
use crate::command::Cmd;
use crate::error::{Error, Result};
use crate::files::{copy, copy_tree, write, write_executable};
use crate::recipe::Source;

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 1;
/// Changes when the result changes for equal inputs.
pub const CRATES_REVISION: u32 = 1;

/// The release of Rust whose cargo drives the builds: that of `rust-toolchain.toml`.
pub const TOOLCHAIN: &str = "1.95.0";

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
        copy_tree(&unpacked.join("usr"), &work.out, &|path| !path.starts_with("share"))?;
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

/// cargo as the machine has it, with the pinned compiler; what configures it is up to the caller.
///
/// rustup's own `cargo` puts a folder `bin` of cargo's home in front of the programs that it runs; so the toolchain's is
/// taken, where rustup has it.
fn cargo(work: &Work) -> Result<Cmd> {
    let rustup = users_home("RUSTUP_HOME", ".rustup");
    let direct = rustup.join(format!("toolchains/{TOOLCHAIN}-x86_64-unknown-linux-gnu/bin/cargo"));
    let cmd = if direct.is_file() {
        work.cmd(direct)
    } else {
        let home = users_home("CARGO_HOME", ".cargo").join("bin");
        work.cmd("/usr/bin/env")
            .arg("cargo")
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", home.display()))
    };
    Ok(cmd
        .env("RUSTUP_HOME", rustup)
        .env("RUSTUP_TOOLCHAIN", TOOLCHAIN)
        .env("RUSTC", work.input("rust")?.join("rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_INCREMENTAL", "0")
        .envs(work.jobs.for_make()))
}

/// A folder of the user's, by the variable that names it or below the home directory.
fn users_home(variable: &str, folder: &str) -> PathBuf {
    let home = || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(folder);
    std::env::var_os(variable).map_or_else(home, PathBuf::from)
}

/// cargo with the user's configuration, which says how this machine reaches its registries. That is no input of
/// the result: the lock file has the digest of every crate.
fn cargo_online(work: &Work) -> Result<Cmd> {
    let mut cmd = cargo(work)?.env("CARGO_HOME", users_home("CARGO_HOME", ".cargo"));
    for name in
        ["SSL_CERT_FILE", "CARGO_HTTP_CAINFO", "https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"]
    {
        if let Some(value) = std::env::var_os(name) {
            cmd = cmd.env(name, value);
        }
    }
    Ok(cmd)
}

/// cargo without network and with no configuration but `config`.
///
/// cargo reads the configuration of the folder it is started in and of all above it, then that of its home; and
/// looks for a workspace in all folders above a manifest, up to its home. So it is started in the root folder, and
/// its home is the work directory, which the sources lie in: neither what the sources bring nor what the user has
/// is read.
fn cargo_alone(work: &Work, config: &str) -> Result<Cmd> {
    for file in ["/.cargo/config.toml", "/.cargo/config"] {
        if Path::new(file).exists() {
            return Err(Error::new(format!("cargo reads `{file}` in every build"))
                .hint("remove it, or move it into `CARGO_HOME`"));
        }
    }
    write(&work.dir.join("config.toml"), config)?;
    Ok(cargo(work)?.cwd(Path::new("/")).env("CARGO_HOME", &work.dir))
}

/// Vendors the crates of a lock file, and those of the standard library.
///
/// # Errors
/// When cargo cannot get a crate, or the network is forbidden.
pub fn vendor(work: &Work, params: &Value, offline: bool) -> Result<()> {
    let source = work.dir.join("source");
    let manifest = unpack_manifest(work, params, &source)?;
    let mut cmd = cargo_online(work)?
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
        copy(manifest, &source.join("Cargo.toml"))?;
        copy(work.input("runtime/Cargo.lock")?, &source.join("Cargo.lock"))?;
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

/// Compiles the package of a manifest to an archive for the guest, with vendored crates and no network.
///
/// # Errors
/// When cargo fails.
pub fn staticlib(
    work: &Work,
    manifest: &Path,
    arguments: &[String],
    env: &[(String, String)],
) -> Result<PathBuf> {
    let vendor = work.input("crates")?.join("vendor");
    let config = format!(
        "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"{}\"\n[net]\noffline = true\n",
        vendor.display()
    );
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
    cargo_alone(work, &config)?
        .args(["rustc", "--release", "--lib", "--crate-type", "staticlib", "--locked", "--offline"])
        .arg("--manifest-path")
        .arg(manifest)
        .args(["-Zbuild-std=std,panic_abort", "--target", TARGET])
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
