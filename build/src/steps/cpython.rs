//! CPython for the guest: `libpython3.14.so`, headers, the standard library with its byte code.

use std::fs;
use std::path::{Path, PathBuf};

use wasmparser::{BinaryReader, NameSectionReader};

use super::cpython_dev::LIBRARY;
use super::cross::{CFLAGS, Cross, words};
use super::library::shown;
use super::{Work, component, train};
use crate::error::{Error, Result};
use crate::files::{copy, copy_tree, files_below, write};
use crate::recipe::{Answers, Backend, Recipe};
use crate::wasm::{self, count, hints};

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 12;

/// The interpreter is optimised as a whole when it is linked.
const WHOLE_PROGRAM: &[&str] = &["-flto=full", "-O3"];

/// Which indirect calls become direct ones is left to the link, which knows all that they may call. What the profile tells of
/// each is kept until then.
const OBJECT_FLAGS: &[&str] = &["-mllvm", "-disable-icp", "-mllvm", "-icp-max-annotations=16"];

/// An indirect call takes the engine some fifteen instructions and five reads of memory, several times what a native one
/// takes. So more of them than by default are worth a comparison and a direct call: up to eight for each, as long as one is
/// worth a tenth of what remains and a hundredth of all.
const LINK_FLAGS: &[&str] = &[
    "-Wl,-mllvm,-icp-max-prom=8",
    "-Wl,-mllvm,-icp-remaining-percent-threshold=10",
    "-Wl,-mllvm,-icp-total-percent-threshold=1",
];

/// How the loop of the interpreter is compiled, and what else is in its file. It is one huge function, and what clang does for
/// its speed (inlining, laying out by the profile) makes it so large that the engine's register allocator does worse: `-O3`
/// with the profile takes almost a quarter more time in it. Nor does the link optimise it with all else: what was inlined
/// into it then depended on changes elsewhere, and now and then cost it the register for the address of the guest's memory,
/// which each of its instructions needs.
/// The profile is left out by [`UNPROFILED_CFLAGS`].
const LOOP_CFLAGS: &[&str] = &["-Os", "-fno-lto"];

/// What else is compiled without the profile: another loop over instructions, that of regular expressions. By the profile it
/// takes an eighth more time. Extension modules without such a loop gain by it.
const UNPROFILED: &[&str] = &["Modules/_sre/sre.o"];
const UNPROFILED_CFLAGS: &[&str] = &["-fno-profile-generate", "-fno-profile-use"];

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

/// An interpreter whose objects are compiled.
pub(super) struct Compiled {
    source: PathBuf,
    build: PathBuf,
    cross: Cross,
}

impl Compiled {
    fn library(&self) -> PathBuf {
        self.build.join("libpython3.14.a")
    }
}

/// Builds the interpreter.
///
/// # Errors
/// When a command fails.
pub fn build(work: &Work, recipe: &Recipe) -> Result<()> {
    let profile = work.input("profile")?.join(super::profile::PROFILE);
    let mut flags = words(&[WHOLE_PROGRAM, OBJECT_FLAGS].concat());
    flags.push(format!("-fprofile-use={}", profile.display()));
    let compiled = compile(work, recipe, &flags)?;
    let flags = [WHOLE_PROGRAM, LINK_FLAGS].concat();
    let library = work.out.join("lib").join(LIBRARY);
    link(work, recipe, &compiled, &flags, &[], &library)?;
    tell_rare(work, &compiled, &library)?;
    let include = work.out.join("include/python3.14");
    copy_tree(&compiled.source.join("Include"), &include, &|_| true)?;
    copy(&compiled.build.join("pyconfig.h"), &include.join("pyconfig.h"))?;
    let stdlib = work.out.join("lib/python3.14");
    copy_library(&compiled, &stdlib, &kept)?;
    work.scrub()?;
    compile_python(work, &stdlib, STDLIB)
}

/// Tells in the interpreter's library which of its branches hardly ever go one way, for engines that lay code out by it.
/// clang, which lays out by the profile, cannot tell them. Nothing is told of the loops of Python and of regular expressions:
/// moving what is rare out of their ways took 2 % more time for Python, in single benchmarks 9 %, and 4 % for the other.
///
/// # Errors
/// When the training fails.
fn tell_rare(work: &Work, compiled: &Compiled, library: &Path) -> Result<()> {
    let folder = library.parent().unwrap_or(&work.out);
    let linked = component::shared(folder, LIBRARY)?;
    let module = linked.module.clone();
    let (fused, place) = train::fused(work, compiled, linked)?;
    let counts = train::run(&count::counted(&fused.module)?, &work.log, |store, instance| {
        let memory = instance.get_memory(&mut *store, count::COUNTS);
        memory
            .map(|memory| memory.data(&*store).to_vec())
            .ok_or_else(|| wasmtime::Error::msg("the module has no counts"))
    })?;
    let rare = count::rare(&fused.module, &counts)?;
    let names = wasm::custom_section(&module, "name").map_err(wasm::malformed)?.unwrap_or_default();
    let names = NameSectionReader::new(BinaryReader::new(names, 0));
    let names = wasm::function_names(names).map_err(wasm::malformed)?;
    let is_loop = |function| component::HOT.iter().any(|(name, _)| names.get(&function) == Some(name));
    let own = rare.into_iter().filter_map(|(number, rare)| {
        let (library, function) = (*fused.origins.get(number as usize)?)?;
        (library == place && !is_loop(function)).then_some((function, rare))
    });
    write(library, hints::attach(&module, &own.collect())?)
}

/// Configures the interpreter and compiles its objects with `flags`: that of its loop with [`LOOP_CFLAGS`] besides, and both it
/// and [`UNPROFILED`] ones with [`UNPROFILED_CFLAGS`]. None are in force while it is configured, when programs are linked, nor
/// are extension modules told them.
///
/// # Errors
/// When a command fails.
pub(super) fn compile(work: &Work, recipe: &Recipe, flags: &[String]) -> Result<Compiled> {
    let Backend::Cpython { cross: answers } = &recipe.build.backend else {
        return Err(Error::new(format!(
            "expected back end `cpython` but found `{}`",
            recipe.build.backend.name()
        )));
    };
    let source = work.dir.join("source");
    work.unpack(&recipe.sources, &recipe.patches, &source)?;
    let mut common = words(CFLAGS);
    common.extend(EMULATED.iter().map(|name| format!("-D_WASI_EMULATED_{name}")));
    common.extend(recipe.build.cflags.iter().cloned());
    for (_, host) in work.inputs_of("host/") {
        common.push(format!("-I{}", host.join("include").display()));
    }
    let cross = Cross::new(work, work.input("sysroot")?, &common, &[])?;
    let build = work.dir.join("build-guest");
    configure(work, recipe, &cross, answers, &source, &build)?;
    let make = |goals: &[&str], more: &[&str]| {
        work.cmd("make")
            .cwd(&build)
            .envs(work.jobs.for_make())
            // What debuggers need would be stripped by the link.
            .arg(format!("CFLAGS_NODIST=-g0 {} {}", flags.join(" "), more.join(" ")))
            .arg(format!("CFLAGS_CEVAL={}", [LOOP_CFLAGS, UNPROFILED_CFLAGS].concat().join(" ")))
            .args(goals)
            .run()
    };
    // First, so that the library finds them made: the flags of a single extension module stand before those of all.
    make(UNPROFILED, UNPROFILED_CFLAGS)?;
    // Not `make install`: it would link the program, which no component needs.
    make(&["libpython3.14.a", "pybuilddir.txt"], &[])?;
    Ok(Compiled { source, build, cross })
}

fn kept(path: &Path) -> bool {
    !path.components().any(|part| part.as_os_str() == "__pycache__" || part.as_os_str() == "tests")
        && !DROPPED.iter().any(|dropped| path.starts_with(dropped))
        && path.extension().is_none_or(|extension| extension != "so")
}

/// Copies the standard library, or what `keep` wants of it.
///
/// # Errors
/// When it cannot be copied.
pub(super) fn copy_library(compiled: &Compiled, into: &Path, keep: &dyn Fn(&Path) -> bool) -> Result<()> {
    copy_tree(&compiled.source.join("Lib"), into, keep)?;
    let data = fs::read_to_string(compiled.build.join("pybuilddir.txt"))?;
    let data = compiled.build.join(data.trim());
    copy_tree(&data, into, &|path| path.extension().is_some_and(|kind| kind == "py"))
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
    Ok(files_below(&prefix.join("lib"))?
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "a"))
        .map(|file| prefix.join("lib").join(file).display().to_string())
        .collect())
}

/// Turns CPython's archive, those it was configured with, and `objects` into one shared library; `flags` as they were
/// compiled.
///
/// # Errors
/// When the link fails.
pub(super) fn link(
    work: &Work,
    recipe: &Recipe,
    compiled: &Compiled,
    flags: &[&str],
    objects: &[PathBuf],
    output: &Path,
) -> Result<()> {
    let Compiled { source, cross, .. } = compiled;
    let mut host = Vec::new();
    for (_, prefix) in work.inputs_of("host/") {
        host.extend(archives(prefix)?);
    }
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder)?;
    }
    let trampoline = work.dir.join("trampoline.o");
    internal_object(work, compiled, &[], &source.join("Python/wasi_trampoline.c"), &trampoline)?;
    let mut cmd = cross
        .shared(work, output)
        .args(flags)
        .arg(trampoline)
        .args(objects)
        .arg("-Wl,--whole-archive")
        .arg(compiled.library())
        .arg("-Wl,--no-whole-archive")
        .args(inner(compiled)?)
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

/// Compiles a file that looks into CPython.
///
/// # Errors
/// When it does not compile.
pub(super) fn internal_object(
    work: &Work,
    compiled: &Compiled,
    flags: &[String],
    source: &Path,
    object: &Path,
) -> Result<()> {
    let include = compiled.source.join("Include");
    work.cmd(compiled.cross.tool("cc"))
        .args(flags)
        .args(["-DPy_BUILD_CORE", "-c"])
        .arg(format!("-I{}", include.display()))
        .arg(format!("-I{}", include.join("internal").display()))
        .arg(format!("-I{}", compiled.build.display()))
        .arg(source)
        .arg("-o")
        .arg(object)
        .run()
}

/// The archives of the libraries that CPython brings along.
fn inner(compiled: &Compiled) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in ["Modules/_hacl", "Modules/_decimal", "Modules/expat"] {
        let folder = compiled.build.join(folder);
        if folder.is_dir() {
            let files = files_below(&folder)?.into_iter();
            let archives = files.filter(|file| file.extension().is_some_and(|extension| extension == "a"));
            found.extend(archives.map(|file| folder.join(file)));
        }
    }
    Ok(found)
}

/// All archives that were compiled.
///
/// # Errors
/// When a folder cannot be read.
pub(super) fn archives_of(compiled: &Compiled) -> Result<Vec<PathBuf>> {
    let mut all = inner(compiled)?;
    all.push(compiled.library());
    Ok(all)
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
pub fn compile_python(work: &Work, folder: &Path, guest: &str) -> Result<()> {
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
