//! What components are compared with: the build machine's CPython of the same version, and wheels beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use eryx_build::error::Result;
use eryx_build::layout::Layout;
use eryx_build::store::{Output, Store};

use super::output;

/// The build machine's CPython of the same version, from the store; nothing before a build.
pub fn python(layout: &Layout) -> Result<Option<PathBuf>> {
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

/// A native Python with wheels beside it.
pub struct Wheels {
    python: PathBuf,
    site: PathBuf,
}

impl Wheels {
    /// Has pip fetch wheels, such as `numpy==2.5.5`, and what they need.
    pub fn install(layout: &Layout, python: &Path, wanted: &[&str]) -> Result<Self> {
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
            output(pip.arg("--platform").arg("manylinux2014_x86_64").args(wanted))?;
            // pip compiled for itself; the component's modules are compiled, too.
            output(Command::new(python).args(["-I", "-B", "-m", "compileall", "-q"]).arg(&partial))?;
            std::fs::rename(partial, &site)?;
        }
        Ok(Self { python: python.to_owned(), site })
    }

    /// Runs code that can import them.
    pub fn run(&self, code: &str) -> Result<String> {
        let path = format!("import sys\nsys.path.insert(0, {:?})\n{code}", self.site.display().to_string());
        run(&self.python, &path)
    }
}
