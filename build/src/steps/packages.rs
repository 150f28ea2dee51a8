//! Python packages: pure ones from their wheels, and those with extension modules from source.
//!
//! The result is a folder `site-packages` with the Python files, their byte code, and every extension module
//! at its place.

use std::fs;
use std::path::{Path, PathBuf};

use super::Work;
use super::cpython::compile_python;
use super::cpython_dev::SYSCONFIG;
use super::cross::{CFLAGS, Cross, EXCEPTIONS, SETJMP, TARGET, cxxflags, words};
use super::library::shown;
use super::rust::{clock_object, staticlib};
use crate::command::Cmd;
use crate::error::{Context, Error, Result};
use crate::files::{copy, copy_tree, files_below, write, write_executable};
use crate::install::Scheme;
use crate::recipe::{Answer, Answers, Backend, Cargo, Recipe};

/// Changes when the result changes for equal inputs.
pub const EXTENSION_REVISION: u32 = 5;
/// Changes when the result changes for equal inputs.
pub const WHEEL_REVISION: u32 = 3;

/// The folder of a result with what goes below Python's prefix: programs, headers, data.
pub const PREFIX: &str = "prefix";
/// Where packages are in the component.
pub const SITE_PACKAGES: &str = "/usr/lib/python3.14/site-packages";
/// How the guest's interpreter names extension modules.
pub const EXTENSION_SUFFIX: &str = ".cpython-314-wasm32-wasi.so";

/// Unpacks the wheels of a pure package.
///
/// # Errors
/// When a wheel is refused.
pub fn wheel(work: &Work) -> Result<()> {
    let site = work.out.join("site-packages");
    let scheme = Scheme { site: site.clone(), prefix: work.out.join(PREFIX), to_prefix: "../../.." };
    work.install_wheels(&scheme)?;
    compile_python(work, &site, SITE_PACKAGES)
}

/// Builds a package with extension modules.
///
/// # Errors
/// When a command fails, or the package has no extension module afterwards.
pub fn extension(work: &Work, recipe: &Recipe) -> Result<()> {
    let source = work.dir.join("source");
    work.unpack(&recipe.sources, &recipe.patches, &source)?;
    let site = work.out.join("site-packages");
    let root = source.join(&recipe.build.dir);
    match &recipe.build.backend {
        Backend::CargoPyo3(cargo) => cargo_pyo3(work, recipe, cargo, &root, &site)?,
        Backend::MesonPython { cross } => meson_python(work, recipe, cross, &root, &site)?,
        Backend::Setuptools => setuptools(work, recipe, &root, &site)?,
        other => return Err(Error::new(format!("back end `{}` makes no extension module", other.name()))),
    }
    metadata(recipe, &source, &site)?;
    work.scrub()?;
    let modules = files_below(&site)?.iter().filter(|file| is_module(file)).count();
    if modules == 0 {
        return Err(Error::new(format!("the build of `{}` made no file `*{EXTENSION_SUFFIX}`", recipe.name)));
    }
    compile_python(work, &site, SITE_PACKAGES)
}

/// Whether a file is an extension module of the guest.
#[must_use]
pub fn is_module(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "so")
}

/// The metadata of an sdist is that of the package; back ends would write the same.
fn metadata(recipe: &Recipe, source: &Path, site: &Path) -> Result<()> {
    let folder = site.join(format!("{}-{}.dist-info", recipe.name.file_stem(), recipe.version));
    copy(&source.join("PKG-INFO"), &folder.join("METADATA"))?;
    write(&folder.join("INSTALLER"), "eryx-build\n")?;
    for file in &recipe.license.files {
        copy(&source.join(file), &folder.join("licenses").join(file))
            .map_err(|error| error.context(format!("licence `{file}` of `{}`", recipe.name)))?;
    }
    let listed = files_below(site)?;
    let prefix = folder.strip_prefix(site).unwrap_or(&folder).join("RECORD");
    let mut record = String::new();
    for file in listed {
        record.push_str(&format!("{},,\n", file.display()));
    }
    record.push_str(&format!("{},,\n", prefix.display()));
    write(&folder.join("RECORD"), record)
}

fn cargo_pyo3(work: &Work, recipe: &Recipe, cargo: &Cargo, source: &Path, site: &Path) -> Result<()> {
    let config = work.dir.join("pyo3.txt");
    write(&config, PYO3_CONFIG)?;
    let manifest = source.join(&cargo.manifest);
    let mut arguments = Vec::new();
    if !cargo.features.is_empty() {
        arguments.push(format!("--features={}", cargo.features.join(",")));
    }
    let cross = extension_wrappers(work, recipe)?;
    let suffix = TARGET.replace('-', "_");
    let mut env: Vec<(String, String)> = recipe.build.env.clone().into_iter().collect();
    env.extend([
        ("PYO3_CONFIG_FILE".to_owned(), config.display().to_string()),
        (format!("CC_{suffix}"), cross.tool("cc").display().to_string()),
        (format!("CXX_{suffix}"), cross.tool("c++").display().to_string()),
        (format!("AR_{suffix}"), cross.tool("ar").display().to_string()),
    ]);
    let archive = staticlib(work, &manifest, &arguments, &env)?;
    let mut parts: Vec<&str> = cargo.module.split('.').collect();
    let name = parts.pop().unwrap_or_default();
    let folder = parts.iter().fold(site.to_owned(), |folder, part| folder.join(part));
    if let Some(python) = &cargo.python_source {
        copy_tree(&source.join(python), site, &|path| path.extension().is_some_and(|kind| kind != "so"))?;
    }
    fs::create_dir_all(&folder)?;
    let clock = clock_object(work, &cross.tool("cc"))?;
    work.cmd(cross.tool("cc"))
        .args(["-Wl,--whole-archive"])
        .arg(&archive)
        .arg("-Wl,--no-whole-archive")
        .arg(&clock)
        .arg("-o")
        .arg(folder.join(format!("{name}{EXTENSION_SUFFIX}")))
        .run()
}

/// What PyO3's build scripts would otherwise ask an interpreter.
const PYO3_CONFIG: &str = "implementation=CPython\nversion=3.14\nshared=true\nabi3=false\nlib_name=python3.14\n\
    pointer_width=32\nsuppress_build_script_link_lines=true\n";

/// Compiler wrappers that also know how an extension module is linked: against libpython and the C library by
/// name, so that a function that does not exist is an error here and not in the component.
///
/// The flags for shared libraries are added only when an extension module is made: a configure probe that is
/// linked with them would find functions that do not exist.
fn extension_wrappers(work: &Work, recipe: &Recipe) -> Result<Cross> {
    let mut flags = words(CFLAGS);
    // An extension module exports its `PyInit_*` and nothing else.
    flags.extend(words(&[
        "-fvisibility=hidden",
        "-DPy_ENABLE_SHARED=1",
        "-D_WASI_EMULATED_SIGNAL",
        "-D_WASI_EMULATED_GETPID",
        "-D_WASI_EMULATED_PROCESS_CLOCKS",
    ]));
    if recipe.build.setjmp {
        flags.extend(words(SETJMP));
    }
    if recipe.build.exceptions {
        flags.extend(words(EXCEPTIONS));
    }
    flags.extend(recipe.build.cflags.iter().cloned());
    let mut libraries = vec![
        format!("-L{}", work.input("cpython-dev")?.join("lib").display()),
        format!("-L{}", image_stub(work)?.display()),
        "-lpython3.14".to_owned(),
        "-lvfs".to_owned(),
        "-ldl".to_owned(),
        "-lwasi-emulated-signal".to_owned(),
        "-lwasi-emulated-getpid".to_owned(),
        "-lwasi-emulated-process-clocks".to_owned(),
    ];
    if recipe.build.exceptions {
        libraries.extend(words(&["-lc++", "-lc++abi", "-ltags"]));
    }
    if recipe.build.setjmp {
        libraries.extend(words(&["-lsetjmp", "-ltags"]));
    }
    for (_, host) in work.inputs_of("host/") {
        flags.push(format!("-I{}", host.join("include").display()));
        libraries.push(format!("-L{}", host.join("lib").display()));
    }
    libraries.extend(recipe.build.ldflags.iter().cloned());
    let cross = Cross::new(work, work.input("sysroot")?, &flags, &cxxflags(&recipe.build))?;
    for name in ["cc", "c++"] {
        let plain = cross.bin.join(format!("plain-{name}"));
        fs::rename(cross.tool(name), &plain)?;
        let script = WRAPPER
            .replace("@PLAIN@", &plain.display().to_string())
            .replace("@TAGS@", &cross.open_tags())
            .replace("@LIBRARIES@", &libraries.join(" "));
        write_executable(&cross.tool(name), script)?;
    }
    Ok(cross)
}

const WRAPPER: &str = r#"#!/bin/sh
out=
previous=
for word do
  [ "$previous" = -o ] && out=$word
  previous=$word
done
case $out in
*.cpython-314-wasm32-wasi.so)
  module=${out##*/}
  module=${module%%.*}
  count=$#
  while [ "$count" -gt 0 ]; do
    word=$1
    shift
    count=$((count - 1))
    case $word in
    # Words of other linkers.
    -shared|-Wl,--start-group|-Wl,--end-group|-Wl,--as-needed|-Wl,--no-undefined|-Wl,-soname*|-Wl,-rpath*) ;;
    -Wl,--allow-shlib-undefined|-Wl,-O1|-lm|-lpthread|-static-libgcc|-static-libstdc++|-Wl,-z,*) ;;
    *) set -- "$@" "$word" ;;
    esac
  done
  exec '@PLAIN@' -shared -Wl,--gc-sections -Wl,--strip-debug @TAGS@ "$@" \
    "-Wl,--export=PyInit_$module" -Wl,-Bdynamic @LIBRARIES@
  ;;
esac
exec '@PLAIN@' "$@"
"#;

/// libvfs.so names an image library among those it needs, and the linker looks for it.
fn image_stub(work: &Work) -> Result<PathBuf> {
    let folder = work.dir.join("stub");
    write(&folder.join("libimage.so"), crate::image::library(&crate::image::encode(&[])?))?;
    Ok(folder)
}

/// A Python of the build machine that describes the guest's: its own library and byte code, the guest's
/// headers and configuration variables.
fn cross_python(work: &Work) -> Result<PathBuf> {
    let machine = work.input("python")?;
    let cpython = work.input("cpython-dev")?;
    let prefix = work.dir.join("python");
    copy(&machine.join("bin/python3.14"), &prefix.join("bin/python3.14-real"))?;
    fs::create_dir_all(prefix.join("lib"))?;
    fs::create_dir_all(prefix.join("include"))?;
    std::os::unix::fs::symlink(machine.join("lib/python3.14"), prefix.join("lib/python3.14"))?;
    std::os::unix::fs::symlink(cpython.join("include/python3.14"), prefix.join("include/python3.14"))?;
    let data = SYSCONFIG;
    // At the place where the guest has its headers this machine may have others.
    let variables = cpython.join(format!("lib/python3.14/{data}.py"));
    let variables = fs::read_to_string(&variables)
        .context(|| format!("cannot read `{}`", variables.display()))?
        .replace("'/usr/include/python3.14'", &format!("'{}'", prefix.join("include/python3.14").display()));
    write(&prefix.join(format!("sysconfig/{data}.py")), variables)?;
    // Tools, and what Cython reads of the packages that this one is compiled against.
    let mut modules: Vec<String> =
        work.input("tools").map(|tools| tools.join("lib").display().to_string()).into_iter().collect();
    modules.extend(work.inputs_of("host/").map(|(_, host)| host.join("include").display().to_string()));
    let modules = modules.join(":");
    let script = format!(
        "#!/bin/sh\nhere='{prefix}'\nexport _PYTHON_SYSCONFIGDATA_NAME={data} _PYTHON_HOST_PLATFORM=wasi-wasm32\n\
         export PYTHONPATH=\"$here/sysconfig:{modules}${{PYTHONPATH:+:$PYTHONPATH}}\"\n\
         exec \"$here/bin/python3.14-real\" \"$@\"\n",
        prefix = prefix.display(),
    );
    for name in ["python3.14", "python3", "python"] {
        write_executable(&prefix.join("bin").join(name), &script)?;
    }
    Ok(prefix.join("bin/python3.14"))
}

fn with_python(work: &Work, cross: &Cross, python: &Path, cmd: Cmd) -> Result<Cmd> {
    let mut path = vec![cross.bin.clone(), python.parent().unwrap_or(python).to_owned()];
    if let Ok(tools) = work.input("tools") {
        path.push(tools.join("bin"));
    }
    path.extend(["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from));
    let path = std::env::join_paths(path).map_err(|error| Error::new(error.to_string()))?;
    Ok(cmd.env("PATH", path))
}

fn meson_python(work: &Work, recipe: &Recipe, answers: &Answers, source: &Path, site: &Path) -> Result<()> {
    let cross = extension_wrappers(work, recipe)?;
    let python = cross_python(work)?;
    let file = work.dir.join("cross.ini");
    write(&file, cross_file(work, &cross, &python, answers))?;
    let native = work.dir.join("native.ini");
    write(
        &native,
        format!("[binaries]\nc = '/usr/bin/cc'\ncpp = '/usr/bin/c++'\npython = '{}'\n", python.display()),
    )?;
    // numpy brings a meson of its own with a module that upstream's lacks.
    let vendored = source.join("vendored-meson/meson/meson.py");
    let meson: Vec<String> = if vendored.exists() {
        vec![python.display().to_string(), vendored.display().to_string()]
    } else {
        vec![python.display().to_string(), "-m".to_owned(), "mesonbuild.mesonmain".to_owned()]
    };
    let run = |arguments: &[&str]| -> Result<Cmd> {
        let cmd = work.cmd("/usr/bin/env").args(&meson).args(arguments).cwd(source).envs(&recipe.build.env);
        with_python(work, &cross, &python, cmd)
    };
    let build = work.dir.join("build");
    let build_text = build.display().to_string();
    run(&["setup"])?
        .arg(&build)
        .arg("--cross-file")
        .arg(&file)
        .arg("--native-file")
        .arg(&native)
        .args(["-Dbuildtype=release", "-Db_ndebug=if-release", "-Db_lundef=false", "--prefix=/"])
        .args(["-Dpython.purelibdir=/site-packages", "-Dpython.platlibdir=/site-packages"])
        .args(&recipe.build.options)
        .run()?;
    run(&["compile", "-C", &build_text])?.envs([work.jobs.for_ninja()]).run()?;
    let destination = work.dir.join("install");
    run(&["install", "-C", &build_text, "--no-rebuild", "--tags", "runtime,python-runtime"])?
        .arg("--destdir")
        .arg(&destination)
        .run()?;
    copy_tree(&destination.join("site-packages"), site, &|path| {
        path.extension().is_none_or(|kind| kind != "a" && kind != "pyc")
    })?;
    if !recipe.provides.include.is_empty() {
        let headers = work.dir.join("headers");
        let mut install =
            run(&["install", "-C", &build_text, "--no-rebuild", "--tags", "devel", "--destdir"])?;
        install = install.arg(&headers);
        install.run()?;
        for_dependants(work, recipe, &headers.join("site-packages"), site)?;
    }
    Ok(())
}

/// Lays out what others are compiled against: the headers below the package's folders `include`, some of which do
/// not go into the component, and the declarations that Cython reads, where it looks for them in a list of modules.
fn for_dependants(work: &Work, recipe: &Recipe, headers: &Path, site: &Path) -> Result<()> {
    let include = work.out.join("include");
    for folder in [site, headers] {
        for path in files_below(folder)? {
            let mut parts = path.iter();
            if parts.any(|part| part == "include") {
                copy(&folder.join(&path), &include.join(parts.as_path()))?;
            }
        }
    }
    for path in files_below(site)? {
        if path.extension().is_some_and(|kind| kind == "pxd") {
            copy(&site.join(&path), &include.join(&path))?;
        }
    }
    super::library::check_provided(work, recipe)
}

fn cross_file(work: &Work, cross: &Cross, python: &Path, answers: &Answers) -> String {
    let tool = |name: &str| cross.tool(name).display().to_string();
    let mut text = format!(
        "[binaries]\nc = '{}'\ncpp = '{}'\nar = '{}'\nranlib = '{}'\nstrip = '{}'\npython = '{}'\n\
         [host_machine]\nsystem = 'wasi'\ncpu_family = 'wasm32'\ncpu = 'wasm32'\nendian = 'little'\n\
         [properties]\nneeds_exe_wrapper = true\nskip_sanity_check = true\n",
        tool("cc"),
        tool("c++"),
        tool("ar"),
        tool("ranlib"),
        tool("strip"),
        python.display(),
    );
    // What many packages ask for by this name; the numpy of the build machine would tell of that machine.
    if let Ok(numpy) = work.input("host/numpy") {
        text.push_str(&format!("numpy-include-dir = '{}'\n", numpy.join("include").display()));
    }
    for (name, answer) in answers {
        let value = match answer {
            Answer::Text(text) => format!("'{text}'"),
            Answer::Bool(value) => value.to_string(),
            Answer::Number(_) => shown(answer),
        };
        text.push_str(&format!("{name} = {value}\n"));
    }
    text
}

fn setuptools(work: &Work, recipe: &Recipe, source: &Path, site: &Path) -> Result<()> {
    let cross = extension_wrappers(work, recipe)?;
    let python = cross_python(work)?;
    if !source.join("setup.py").exists() {
        write(&source.join("setup.py"), "from setuptools import setup\nsetup()\n")?;
    }
    let build = work.dir.join("build");
    let cmd = cross
        .env(work.cmd(&python))
        .cwd(source)
        .env("LDSHARED", cross.tool("cc"))
        .env("LDCXXSHARED", cross.tool("c++"))
        .env("CFLAGS", "")
        .env("SETUPTOOLS_USE_DISTUTILS", "local")
        .args(["setup.py", "build", "--build-base"])
        .arg(&build)
        .arg("--build-lib")
        .arg(site)
        .args(&recipe.build.options)
        .envs(&recipe.build.env);
    with_python(work, &cross, &python, cmd)?.run().context(|| "setup.py".to_owned())
}
