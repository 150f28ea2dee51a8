//! What components are compared with: CPython of the same version as it is distributed, and wheels beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use eryx_build::archive::{Unpack, unpack};
use eryx_build::command::{Cmd, Log};
use eryx_build::error::{Error, Result};
use eryx_build::fetch::{FetchOptions, Fetcher};
use eryx_build::layout::Layout;
use eryx_build::recipe::{Catalog, Recipe};
use eryx_build::steps::environment;
use eryx_build::store::{Output, Store};

use super::output;

/// CPython as distributions compile it: with a profile of its own run, and optimised as a whole.
const DISTRIBUTED: [&str; 2] = ["--enable-optimizations", "--with-lto"];

/// The CPython to compare with, which is compiled once, in a quarter of an hour or more. Where that fails it is the
/// one of the build, which is compiled plainly; nothing before a build.
pub fn python(layout: &Layout) -> Result<Option<PathBuf>> {
    let error = match optimised(layout) {
        Ok(python) => return Ok(Some(python)),
        Err(error) => error,
    };
    let plain = plain(layout)?;
    let instead = if plain.is_some() { "the plainly compiled one is the baseline" } else { "nothing is" };
    eprint!("no optimised CPython, so {instead}: {}", error.render());
    Ok(plain)
}

/// Compiles CPython from the recipe's source into the cache, if it is not there.
fn optimised(layout: &Layout) -> Result<PathBuf> {
    let catalog = Catalog::load(&layout.recipes())?;
    let recipe = catalog.interpreter().ok_or_else(|| Error::new("no recipe of an interpreter"))?;
    let place = layout.cache.join(format!("hosts/cpython-{}-optimised", recipe.version));
    let python = place.join("bin/python3.14");
    if !python.exists() {
        eprintln!("compiling CPython {} with {}, once", recipe.version, DISTRIBUTED.join(" "));
        let work = layout.work("cpython optimised");
        let _ = std::fs::remove_dir_all(&work);
        compile(layout, recipe, &work)?;
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(layout.cache.join("hosts"))?;
        std::fs::rename(work.join("out"), &place)?;
        std::fs::remove_dir_all(&work)?;
    }
    Ok(python)
}

fn compile(layout: &Layout, recipe: &Recipe, work: &Path) -> Result<()> {
    let source = work.join("source");
    std::fs::create_dir_all(&source)?;
    let [pinned] = &recipe.sources[..] else {
        return Err(Error::new("expected one source of the interpreter"));
    };
    let archive = match Store::open(&layout.cache)?.blob(pinned.sha256)? {
        Some(archive) => archive,
        None => {
            let archive = work.join(&pinned.file);
            let fetcher = Fetcher::new(FetchOptions::default());
            fetcher.download(&pinned.pin(), &mut std::fs::File::create(&archive)?, &|_, _| ())?;
            archive
        }
    };
    unpack(&archive, &pinned.file, &source, &Unpack { strip: pinned.strip, ..Unpack::default() })?;
    let log = Log::create(&layout.log("cpython optimised"))?;
    // With a fixed date, the installed byte code would be of the kind that reads its source at each import.
    let neutral = |(name, _): &(String, String)| name != "SOURCE_DATE_EPOCH" && !name.starts_with("PYTHON");
    let cmd =
        |program: &str| Cmd::new(program, &source, &log).envs(environment(work).into_iter().filter(neutral));
    let configure = cmd("./configure").args(["--prefix=/", "--without-ensurepip", "--with-pkg-config=no"]);
    configure.args(DISTRIBUTED).run()?;
    let jobs = std::thread::available_parallelism()?;
    // What fails in the profiled tests is profiled all the same; one does where interrupts are ignored, as in a background
    // job, and the build ended with it.
    let profiled = "PROFILE_TASK=-m test --pgo --timeout=1200 || true";
    cmd("make").args([&format!("-j{jobs}"), profiled]).run()?;
    cmd("make").arg("install").arg(format!("DESTDIR={}", work.join("out").display())).run()
}

/// The CPython that runs the build, from the store.
fn plain(layout: &Layout) -> Result<Option<PathBuf>> {
    let store = Store::open(&layout.cache)?;
    let Some(record) = store.latest("python")? else { return Ok(None) };
    let Output::Tree { digest } = record.output else { return Ok(None) };
    let python = store.tree(digest)?.map(|tree| tree.join("bin/python3.14"));
    Ok(python.filter(|python| python.exists()))
}

/// Runs code in a native Python, which must not leave compiled files in the store (`-B`).
pub fn run(python: &Path, code: &str) -> Result<String> {
    // A component has one thread; so has what it is compared with.
    output(Command::new(python).args(["-I", "-B", "-c", code]).env("OPENBLAS_NUM_THREADS", "1"))
}

/// Has the machine's pip put wheels, such as `numpy==2.5.5`, and what they need, into a folder in `target/`, once.
/// `finish` does what is to be done to the folder before it counts as there.
pub fn fetch(
    layout: &Layout,
    wanted: &[&str],
    options: &[&str],
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let site = layout.checkout.join("target/bench").join(wanted.join("+"));
    if !site.is_dir() {
        let partial = site.with_added_extension("partial");
        // The machine's pip stands in for the interpreter's own, which it was built without.
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--upgrade", "--target"]);
        pip.arg(&partial).args(["--implementation", "cp", "--python-version", "3.14"]);
        // pip looks at the interpreter that it runs on, whatever it is told to install for.
        pip.arg("--ignore-requires-python");
        for platform in ["2_34", "2_28", "2_27", "2_17"] {
            pip.args(["--platform", &format!("manylinux_{platform}_x86_64")]);
        }
        output(pip.arg("--platform").arg("manylinux2014_x86_64").args(options).args(wanted))?;
        finish(&partial)?;
        std::fs::rename(partial, &site)?;
    }
    Ok(site)
}

/// A native Python with wheels beside it.
pub struct Wheels {
    python: PathBuf,
    site: PathBuf,
}

impl Wheels {
    /// Fetches the wheels.
    pub fn install(layout: &Layout, python: &Path, wanted: &[&str]) -> Result<Self> {
        // pip compiled for itself; the component's modules are compiled, too.
        let compile = |folder: &Path| {
            output(Command::new(python).args(["-I", "-B", "-m", "compileall", "-q"]).arg(folder)).map(drop)
        };
        Ok(Self { python: python.to_owned(), site: fetch(layout, wanted, &[], compile)? })
    }

    /// Runs code that can import them.
    pub fn run(&self, code: &str) -> Result<String> {
        let path = format!("import sys\nsys.path.insert(0, {:?})\n{code}", self.site.display().to_string());
        run(&self.python, &path)
    }
}
