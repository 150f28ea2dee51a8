//! CPython for the guest: `libpython3.14.so`, headers, the standard library with its byte code.

use std::fs;
use std::path::Path;

use super::cross::{CFLAGS, Cross, words};
use super::library::shown;
use super::{Work, copy_tree, write};
use crate::error::{Error, Result};
use crate::recipe::{Answers, Backend, Recipe};

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 3;

/// The guest's prefix.
pub const PREFIX: &str = "/usr";
/// Where the standard library is in the component.
pub const STDLIB: &str = "/usr/lib/python3.14";

/// Emulations of wasi-libc that CPython needs.
const EMULATED: &[&str] = &["SIGNAL", "GETPID", "PROCESS_CLOCKS"];

/// Parts of the standard library that cannot work in a sandbox or are of no use in one.
const DROPPED: &[&str] = &[
    "test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "turtle.py",
    "ensurepip",
    "__phello__",
    "pydoc_data",
    "site-packages",
];

/// Builds the interpreter.
///
/// # Errors
/// When a command fails.
pub fn build(work: &Work, recipe: &Recipe) -> Result<()> {
    let Backend::Cpython { cross: answers } = &recipe.build.backend else {
        return Err(Error::new(format!(
            "expected back end `cpython` but found `{}`",
            recipe.build.backend.name()
        )));
    };
    let source = work.dir.join("source");
    work.unpack(&recipe.sources, &recipe.patches, &source)?;
    let mut flags = words(CFLAGS);
    flags.extend(EMULATED.iter().map(|name| format!("-D_WASI_EMULATED_{name}")));
    flags.extend(recipe.build.cflags.iter().cloned());
    for (_, host) in work.inputs_of("host/") {
        flags.push(format!("-I{}", host.join("include").display()));
    }
    let cross = Cross::new(work, work.input("sysroot")?, &flags, &[])?;
    let build = work.dir.join("build-guest");
    configure(work, recipe, &cross, answers, &source, &build)?;
    work.cmd("make").cwd(&build).arg(format!("-j{}", work.jobs)).arg("libpython3.14.a").run()?;
    link(work, recipe, &cross, &build)?;
    // Not `make install`: it would link the program, which no component needs.
    work.cmd("make").cwd(&build).arg("pybuilddir.txt").run()?;
    let include = work.out.join("include/python3.14");
    copy_tree(&source.join("Include"), &include, &|_| true)?;
    super::copy(&build.join("pyconfig.h"), &include.join("pyconfig.h"))?;
    let stdlib = work.out.join("lib/python3.14");
    copy_tree(&source.join("Lib"), &stdlib, &kept)?;
    let data = fs::read_to_string(build.join("pybuilddir.txt"))?;
    copy_tree(&build.join(data.trim()), &stdlib, &|path| path.extension().is_some_and(|kind| kind == "py"))?;
    work.scrub()?;
    compile(work, &stdlib, STDLIB)
}

fn kept(path: &Path) -> bool {
    !path.components().any(|part| part.as_os_str() == "__pycache__" || part.as_os_str() == "tests")
        && !DROPPED.iter().any(|dropped| path.starts_with(dropped))
        && path.extension().is_none_or(|extension| extension != "so")
}

fn configure(
    work: &Work,
    recipe: &Recipe,
    cross: &Cross,
    answers: &Answers,
    source: &Path,
    build: &Path,
) -> Result<()> {
    let mut site = String::new();
    for place in ["Platforms/WASI/config.site-wasm32-wasi", "Tools/wasm/wasi/config.site-wasm32-wasi"] {
        if let Ok(text) = fs::read_to_string(source.join(place)) {
            site = text;
            break;
        }
    }
    for (name, answer) in answers {
        site.push_str(&format!("{name}={}\n", shown(answer)));
    }
    let site_file = work.dir.join("config.site");
    write(&site_file, site)?;
    write(&build.join("Modules/Setup.local"), "# all modules as configured\n")?;
    let mut cmd = cross
        // By a relative path: it goes into the interpreter, which looks for its library from there.
        .env(work.cmd("../source/configure"))
        .cwd(build)
        .env("CONFIG_SITE", &site_file)
        .env("READELF", "true")
        .env("PKG_CONFIG", "/bin/false")
        .env("LIBS", "-lwasi-emulated-signal -lwasi-emulated-getpid -lwasi-emulated-process-clocks");
    for (host, prefix) in work.inputs_of("host/") {
        let variable = match host {
            "zlib" => "ZLIB",
            "bzip2" => "BZIP2",
            "xz" => "LIBLZMA",
            "zstd" => "LIBZSTD",
            "sqlite" => "LIBSQLITE3",
            other => return Err(Error::new(format!("CPython has no use for library `{other}`"))),
        };
        let archives = archives(prefix)?;
        cmd = cmd
            .env(format!("{variable}_CFLAGS"), format!("-I{}", prefix.join("include").display()))
            .env(format!("{variable}_LIBS"), archives.join(" "));
    }
    cmd.args([
        "--host=wasm32-wasip1",
        "--build=x86_64-pc-linux-gnu",
        "--disable-test-modules",
        "--without-ensurepip",
    ])
    .arg(format!("--prefix={PREFIX}"))
    .arg(format!("--with-build-python={}", work.input("python")?.join("bin/python3.14").display()))
    .args(&recipe.build.options)
    .envs(&recipe.build.env)
    .run()
}

/// The archives of a library's prefix.
fn archives(prefix: &Path) -> Result<Vec<String>> {
    Ok(super::files_below(&prefix.join("lib"))?
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "a"))
        .map(|file| prefix.join("lib").join(file).display().to_string())
        .collect())
}

/// Turns CPython's archive and those it was configured with into one shared library.
fn link(work: &Work, recipe: &Recipe, cross: &Cross, build: &Path) -> Result<()> {
    let mut inner = Vec::new();
    for folder in ["Modules/_hacl", "Modules/_decimal", "Modules/expat"] {
        if build.join(folder).is_dir() {
            for file in super::files_below(&build.join(folder))? {
                if file.extension().is_some_and(|extension| extension == "a") {
                    inner.push(build.join(folder).join(file));
                }
            }
        }
    }
    let mut host = Vec::new();
    for (_, prefix) in work.inputs_of("host/") {
        host.extend(archives(prefix)?);
    }
    fs::create_dir_all(work.out.join("lib"))?;
    let trampoline = trampoline(work, cross, build)?;
    let mut cmd = cross
        .shared(work, &work.out.join("lib/libpython3.14.so"))
        .arg(trampoline)
        .arg("-Wl,--whole-archive")
        .arg(build.join("libpython3.14.a"))
        .arg("-Wl,--no-whole-archive")
        .args(inner)
        .args(host)
        .args(["-Wl,--strip-debug", "-Wl,-Bdynamic"])
        .args([
            "-lwasi-emulated-signal",
            "-lwasi-emulated-getpid",
            "-lwasi-emulated-process-clocks",
            "-lvfs",
            "-ldl",
        ]);
    cmd = cmd.arg(format!("-L{}", image_stub(work)?.display())).args(&recipe.build.ldflags);
    cmd.run()
}

/// The call trampoline tests signatures with an instruction of wasm-gc, which only this one file may use:
/// elsewhere the compiler would be free to.
fn trampoline(work: &Work, cross: &Cross, build: &Path) -> Result<std::path::PathBuf> {
    let source = work.dir.join("source");
    let object = work.dir.join("trampoline.o");
    work.cmd(cross.tool("cc"))
        .args(["-mgc", "-mreference-types", "-DPy_BUILD_CORE", "-c"])
        .arg(format!("-I{}", source.join("Include").display()))
        .arg(format!("-I{}", source.join("Include/internal").display()))
        .arg(format!("-I{}", build.display()))
        .arg(source.join("Python/wasi_trampoline.c"))
        .arg("-o")
        .arg(&object)
        .run()?;
    Ok(object)
}

/// libvfs.so needs an image library, and the linker looks for it.
fn image_stub(work: &Work) -> Result<std::path::PathBuf> {
    let folder = work.dir.join("stub");
    write(&folder.join("libimage.so"), crate::image::library(&crate::image::encode(&[])?))?;
    Ok(folder)
}

/// Compiles a tree of Python files to byte code that does not look at its source's time, as if it lay at
/// `guest` in the component.
///
/// # Errors
/// When the compiler fails; files that are no valid Python are left without byte code.
pub fn compile(work: &Work, folder: &Path, guest: &str) -> Result<()> {
    work.cmd(work.input("python")?.join("bin/python3.14"))
        // `-I` ignores the variable that forbids byte code in the tree that it runs from.
        .args(["-I", "-B", "-c", COMPILE])
        .arg(folder)
        .arg(guest)
        .run()
}

/// Not `compileall`: its exit status cannot tell templates that are no Python from real failures.
const COMPILE: &str = "
import os, py_compile, sys
root, guest = sys.argv[1:]
for folder, folders, files in os.walk(root):
    folders.sort()
    for name in sorted(files):
        if not name.endswith('.py'):
            continue
        path = os.path.join(folder, name)
        shown = os.path.join(guest, os.path.relpath(path, root))
        cached = os.path.join(folder, '__pycache__', name[:-3] + '.cpython-314.pyc')
        try:
            py_compile.compile(path, cached, shown, doraise=True,
                               invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        except py_compile.PyCompileError as error:
            print('left out:', error.msg)
";
