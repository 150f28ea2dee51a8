//! The guest's C library, C++ library and file system, from their sources.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cross::{CFLAGS, Cross, EXCEPTIONS, SETJMP, TARGET, words};

use super::{Work, toolchain};
use crate::command::Cmd;
use crate::error::{Error, Result};
use crate::files::{copy, copy_tree, files_below, write};
use crate::image;
use crate::recipe::Source;

/// Changes when the result changes for equal inputs.
pub const LIBC_REVISION: u32 = 2;
/// Changes when the result changes for equal inputs.
pub const LIBCXX_REVISION: u32 = 2;
/// Changes when the result changes for equal inputs.
pub const VFS_REVISION: u32 = 2;
/// Changes when the result changes for equal inputs.
pub const MERGE_REVISION: u32 = 2;

/// A command with the build tools (cmake, ninja) on its path.
pub(super) fn with_tools(work: &Work, program: &str) -> Result<Cmd> {
    let tools = work.input("tools")?;
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", tools.join("bin").display());
    let cmd = work.cmd("/usr/bin/env").arg(program).env("PATH", path).env("PYTHONPATH", tools.join("lib"));
    Ok(cmd.envs([work.jobs.for_ninja()]))
}

/// What every cmake build for the guest is told.
pub(super) fn cmake_cross(cross: &Cross) -> Vec<String> {
    let tool = |name: &str| cross.tool(name).display().to_string();
    vec![
        "-G".to_owned(),
        "Ninja".to_owned(),
        "-DCMAKE_BUILD_TYPE=Release".to_owned(),
        "-DCMAKE_SYSTEM_NAME=WASI".to_owned(),
        "-DCMAKE_SYSTEM_PROCESSOR=wasm32".to_owned(),
        // Nothing for the guest can be linked as a program while its sysroot is being made.
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY".to_owned(),
        "-DCMAKE_C_COMPILER_WORKS=ON".to_owned(),
        "-DCMAKE_CXX_COMPILER_WORKS=ON".to_owned(),
        format!("-DCMAKE_C_COMPILER={}", tool("cc")),
        format!("-DCMAKE_CXX_COMPILER={}", tool("c++")),
        format!("-DCMAKE_AR={}", tool("ar")),
        format!("-DCMAKE_RANLIB={}", tool("ranlib")),
        format!("-DCMAKE_NM={}", tool("nm")),
    ]
}

/// Builds wasi-libc, the library of exception tags and libsetjmp.
///
/// # Errors
/// When a command fails.
pub fn libc(work: &Work, sources: &[Source], params: &Value) -> Result<()> {
    let source = work.dir.join("wasi-libc");
    work.unpack(sources, &[], &source)?;
    for patch in params["patches"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        work.patch(patch, &source)?;
    }
    let cross = Cross::new(work, &work.out, &[], &[])?;
    let builtins = toolchain::builtins(work.input("toolchain")?)?;
    let build = work.dir.join("build");
    with_tools(work, "cmake")?
        .args(cmake_cross(&cross))
        .arg("-S")
        .arg(&source)
        .arg("-B")
        .arg(&build)
        .arg(format!("-DCMAKE_INSTALL_PREFIX={}", work.out.display()))
        .args(["-DCMAKE_INSTALL_LIBDIR=lib", "-DBUILD_SHARED=ON", "-DSIMD=ON"])
        .arg(format!("-DTARGET_TRIPLE={TARGET}"))
        .arg(format!("-DBUILTINS_LIB={}", builtins.display()))
        .run()?;
    with_tools(work, "ninja")?.arg("-C").arg(&build).arg("sysroot").run()?;
    with_tools(work, "cmake")?.arg("--install").arg(&build).run()?;

    let lib = cross.lib();
    let object = work.dir.join("tags.o");
    work.cmd(cross.tool("cc"))
        .args(["-c", "-fPIC", "-mexception-handling"])
        .arg(work.input("tags.s")?)
        .arg("-o")
        .arg(&object)
        .run()?;
    work.cmd(cross.tool("wasm-ld"))
        .args(["-m", "wasm32", "-shared", "--experimental-pic"])
        .args(["--export=__cpp_exception", "--export=__c_longjmp"])
        .arg(&object)
        .arg("-o")
        .arg(lib.join("libtags.so"))
        .run()?;
    // libsetjmp once more, now with the library of tags among what it needs.
    cross
        .shared(work, &lib.join("libsetjmp.so"))
        .args(CFLAGS)
        .args(SETJMP)
        .args(["-fvisibility=default"])
        .arg(source.join("libc-top-half/musl/src/setjmp/wasm32/rt.c"))
        .arg("-ltags")
        .run()
}

/// Builds libc++abi and libc++ with exceptions, as shared libraries and as archives.
///
/// # Errors
/// When a command fails.
pub fn libcxx(work: &Work, sources: &[Source]) -> Result<()> {
    let source = work.dir.join("llvm");
    work.unpack(sources, &[], &source)?;
    let flags = [words(CFLAGS), words(EXCEPTIONS), words(&["-fvisibility=default"])].concat();
    let cross = Cross::new(work, work.input("libc")?, &flags, &[])?;
    let build = work.dir.join("build");
    let headers = format!("{}/include/{TARGET}/c++/v1", work.out.display());
    let lib = work.out.join("lib").join(TARGET);
    let on = [
        "LIBCXX_ENABLE_THREADS",
        "LIBCXX_HAS_PTHREAD_API",
        "LIBCXX_ENABLE_STATIC",
        "LIBCXX_ENABLE_EXCEPTIONS",
        "LIBCXX_ENABLE_FILESYSTEM",
        "LIBCXX_USE_COMPILER_RT",
        "LIBCXXABI_ENABLE_EXCEPTIONS",
        "LIBCXXABI_ENABLE_THREADS",
        "LIBCXXABI_HAS_PTHREAD_API",
        "LIBCXXABI_ENABLE_STATIC",
        "LIBCXXABI_SILENT_TERMINATE",
        "LIBCXXABI_USE_COMPILER_RT",
        "CMAKE_POSITION_INDEPENDENT_CODE",
        "UNIX",
    ];
    let off = [
        "LLVM_INCLUDE_TESTS",
        "LLVM_INCLUDE_DOCS",
        "LLVM_ENABLE_PER_TARGET_RUNTIME_DIR",
        "LIBCXX_ENABLE_SHARED",
        "LIBCXX_ENABLE_ABI_LINKER_SCRIPT",
        "LIBCXX_HAS_MUSL_LIBC",
        "LIBCXX_INCLUDE_TESTS",
        "LIBCXX_INCLUDE_BENCHMARKS",
        "LIBCXX_INSTALL_MODULES",
        "LIBCXX_HAS_ATOMIC_LIB",
        "LIBCXXABI_ENABLE_SHARED",
        "LIBCXXABI_USE_LLVM_UNWINDER",
        "LIBCXXABI_INCLUDE_TESTS",
    ];
    with_tools(work, "cmake")?
        .args(cmake_cross(&cross))
        .arg("-S")
        .arg(source.join("runtimes"))
        .arg("-B")
        .arg(&build)
        .args(on.map(|name| format!("-D{name}=ON")))
        .args(off.map(|name| format!("-D{name}=OFF")))
        .args([
            "-DLLVM_ENABLE_RUNTIMES=libcxx;libcxxabi",
            "-DLIBCXX_ABI_VERSION=2",
            "-DLIBCXX_CXX_ABI=libcxxabi",
        ])
        .arg(format!("-DCMAKE_INSTALL_PREFIX={}", work.out.display()))
        .arg(format!("-DCMAKE_C_COMPILER_TARGET={TARGET}"))
        .arg(format!("-DCMAKE_CXX_COMPILER_TARGET={TARGET}"))
        .arg(format!("-DLIBCXX_INSTALL_INCLUDE_TARGET_DIR={headers}"))
        .arg(format!("-DLIBCXX_INSTALL_INCLUDE_DIR={headers}"))
        .arg(format!("-DLIBCXXABI_INSTALL_INCLUDE_DIR={headers}"))
        .arg(format!("-DLIBCXX_INSTALL_LIBRARY_DIR={}", lib.display()))
        .arg(format!("-DLIBCXXABI_INSTALL_LIBRARY_DIR={}", lib.display()))
        .run()?;
    with_tools(work, "ninja")?.arg("-C").arg(&build).args(["cxx", "cxxabi"]).run()?;
    with_tools(work, "ninja")?.arg("-C").arg(&build).args(["install-cxx", "install-cxxabi"]).run()?;

    // The unwinder is one file, and belongs into libc++abi: clang hides the personality function on this
    // target, so a library of its own could not reach it.
    let unwind = work.dir.join("Unwind-wasm.o");
    let libunwind = source.join("libunwind");
    work.cmd(cross.tool("cc"))
        .args(["-DNDEBUG", "-fdeclspec", "-c"])
        .arg(format!("-I{}", libunwind.join("include").display()))
        .arg(format!("-I{}", libunwind.join("src").display()))
        .arg(libunwind.join("src/Unwind-wasm.c"))
        .arg("-o")
        .arg(&unwind)
        .run()?;
    let whole = |archive: &str| {
        [
            "-Wl,--whole-archive".to_owned(),
            lib.join(archive).display().to_string(),
            "-Wl,--no-whole-archive".to_owned(),
        ]
    };
    cross
        .shared(work, &lib.join("libc++abi.so"))
        .arg(&unwind)
        .args(whole("libc++abi.a"))
        .arg("-ltags")
        .run()?;
    cross
        .shared(work, &lib.join("libc++.so"))
        .args(whole("libc++.a"))
        .arg(format!("-L{}", lib.display()))
        .args(["-Wl,-Bdynamic", "-lc++abi", "-ltags"])
        .run()?;
    // With the archives beside them, `-lc++` could silently take a private copy.
    for archive in ["libc++.a", "libc++abi.a", "libc++experimental.a"] {
        let path = lib.join(archive);
        if path.exists() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Builds the in-component file system.
///
/// # Errors
/// When a command fails.
pub fn vfs(work: &Work) -> Result<()> {
    let source = work.input("vfs")?.to_owned();
    let cross = Cross::new(work, work.input("libc")?, &words(CFLAGS), &[])?;
    let mut objects: Vec<PathBuf> = Vec::new();
    for file in files_below(&source)? {
        if file.extension().is_some_and(|extension| extension == "c") && file.parent() == Some(Path::new(""))
        {
            let object = work.dir.join(&file).with_extension("o");
            work.cmd(cross.tool("cc"))
                .args([
                    "-std=c11",
                    "-D_GNU_SOURCE",
                    "-fvisibility=hidden",
                    "-Wall",
                    "-Wextra",
                    "-Werror",
                    "-c",
                ])
                .arg(format!("-ffile-prefix-map={}=/vfs", source.display()))
                .arg(format!("-I{}", source.join("include").display()))
                .arg(format!("-I{}", source.display()))
                .arg(source.join(&file))
                .arg("-o")
                .arg(&object)
                .run()?;
            objects.push(object);
        }
    }
    // Linked against an empty image, so that a misspelt symbol is an error here.
    let stub = work.dir.join("libimage.so");
    write(&stub, image::library(&image::encode(&[])?))?;
    let lib = work.out.join("lib").join(TARGET);
    fs::create_dir_all(&lib)?;
    work.cmd(cross.tool("wasm-ld"))
        .args(["-m", "wasm32", "-shared", "--experimental-pic", "-o"])
        .arg(lib.join("libvfs.so"))
        .args(&objects)
        .arg(&stub)
        .arg(cross.lib().join("libc.so"))
        .run()?;
    let include = source.join("include");
    copy_tree(&include, &work.out.join("include").join(TARGET), &|_| true)
}

/// Lays libc, libc++ and the file system over each other; two parts with one file are an error.
///
/// # Errors
/// When a file is in two parts.
pub fn merge(work: &Work) -> Result<()> {
    let mut clashes = Vec::new();
    for part in ["libc", "libcxx", "vfs"] {
        let from = work.input(part)?;
        for file in files_below(from)? {
            let target = work.out.join(&file);
            if target.exists() {
                clashes.push(format!("`{}`", file.display()));
            } else if from.join(&file).is_symlink() {
                fs::create_dir_all(target.parent().unwrap_or(&work.out))?;
                std::os::unix::fs::symlink(fs::read_link(from.join(&file))?, target)?;
            } else {
                copy(&from.join(&file), &target)?;
            }
        }
    }
    if clashes.is_empty() {
        Ok(())
    } else {
        Err(Error::new("two parts of the sysroot have files of one name").details(clashes))
    }
}
