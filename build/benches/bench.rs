//! `just bench`: how long things take, as a table and as `target/bench.json`.
//!
//! Each entry has a value, what it is compared with, and the ratio of the two; only ratios say something
//! about another machine. Of several runs the fastest counts: the others measure what else the machine does.
//!
//! `just bench registry` measures only publishing, pulling and the remote cache.
//!
//! | variable | meaning |
//! |---|---|
//! | `ERYX_BENCH_COMPONENT` | a component that takes the place of `dist/numpy+pydantic.wasm` |
//!
//! The baseline of a fresh sandbox is that of `pyeryx`, in the same run; that of the Python workload is the build
//! machine's CPython of the same version, from the store; that of numpy's is the same interpreter with the wheel of the
//! same version that the package index has, which pip fetches into `target/`, as it does `pyeryx`. Beside them stands what
//! the crate `eryx` 0.14 takes for the same with its own runtime, both as they are published; its engine is wasmtime 50
//! and ours 48. cargo compiles it into the cache, which takes minutes once.

#[path = "bench/native.rs"]
mod native;
#[path = "bench/published.rs"]
mod published;
#[path = "bench/registry.rs"]
mod registry;
#[path = "bench/sandbox.rs"]
mod sandbox;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use eryx_build::error::{Error, Result};
use eryx_build::layout::Layout;
use eryx_build::name::PackageName;
use eryx_build::recipe::Catalog;
use eryx_build::report;
use eryx_build::store::Store;
use eryx_embed::{Callback, Embedder, Image, SessionOptions};
use serde_json::{Value, json};

const STEP: &str = "component numpy+pydantic";
const RUNS: usize = 5;

/// Prints the seconds of the fastest of twenty runs of `work()`.
const TIMED: &str = "
import time
def timed(work):
    best = float('inf')
    for _ in range(20):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    print(best)
";
const PYTHON: &str = "
import json, re
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
rows = [{'id': i, 'name': f'row {i}', 'values': [i / 7, None, True]} for i in range(3000)]
def work():
    fib(22)
    assert json.loads(json.dumps(rows)) == rows
    assert len(re.findall(r'row \\d*7\\b', json.dumps(rows))) == 300
    sorted(rows, key=lambda row: row['name'])
timed(work)
";
const IMPORT: &str =
    "import time\nstart = time.perf_counter()\nimport numpy\nprint(time.perf_counter() - start)";
const ROWS: &str = "
import pickle
rows = [{'id': i, 'name': str(i)} for i in range(20000)]
";
const NUMPY: &str = "
import numpy as np
rng = np.random.default_rng(1)
a, x = rng.standard_normal((160, 160)), rng.standard_normal(200_000)
def work():
    np.linalg.solve(a, a @ a)
    np.fft.ifft(np.fft.fft(x))
    np.sort(x)
    (np.sin(x) * x + 1).sum()
timed(work)
";

fn main() -> std::process::ExitCode {
    // `cargo test --benches` starts every bench to see whether it runs; there is nothing to see so cheaply.
    if std::env::args().any(|argument| argument == "--test") {
        return std::process::ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", error.render());
            std::process::ExitCode::FAILURE
        }
    }
}

/// One line of the table; times are in seconds.
struct Entry {
    name: &'static str,
    value: f64,
    unit: &'static str,
    baseline: Option<f64>,
}

impl Entry {
    fn ratio(&self) -> Option<f64> {
        self.baseline.filter(|baseline| *baseline > 0.0).map(|baseline| self.value / baseline)
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "baseline": self.baseline,
            "ratio": self.ratio(),
        })
    }
}

/// What others take for the entries of a name, or why that is not known.
type Published = std::result::Result<BTreeMap<String, f64>, String>;

fn run() -> Result<()> {
    let layout = Layout::discover()?;
    let mut entries = Vec::new();
    let component = match std::env::var_os("ERYX_BENCH_COMPONENT") {
        Some(path) => PathBuf::from(path),
        None => built(&layout, &mut entries)?,
    };
    // `just bench registry` measures publishing and the remote cache alone.
    if std::env::args().any(|argument| argument == "registry") {
        registry::measure(&component, &layout, &mut entries)?;
        show(&entries, &Ok(BTreeMap::new()));
        return Ok(());
    }
    let bytes = std::fs::metadata(&component)?.len();
    #[expect(clippy::cast_precision_loss, reason = "a component has far fewer than 2^52 bytes")]
    entries.push(Entry { name: "component size", value: bytes as f64, unit: "bytes", baseline: None });

    let image = Embedder::new(Some(&layout.cache))?.load(&component)?;
    image.prepare(false)?;
    let instantiate = fastest(|| image.session(SessionOptions::default()).map(drop).map_err(Error::from))?;
    let python = native::python(&layout)?;
    let start =
        python.as_deref().map(|python| fastest(|| native::run(python, "pass").map(drop))).transpose()?;
    // The nearest thing that a native Python has is to start its process.
    entries.push(Entry { name: "instantiate", value: instantiate, unit: "s", baseline: start });

    calls(&image, &mut entries)?;
    let baseline = python.as_deref().map(|python| native_seconds(python, PYTHON)).transpose()?;
    entries.push(Entry {
        name: "python workload",
        value: guest_seconds(&image, PYTHON)?,
        unit: "s",
        baseline,
    });
    if guest(&image, "import importlib.util\nprint(importlib.util.find_spec('numpy') is not None)")?
        == "True\n"
    {
        with_numpy(&layout, python.as_deref(), &image, &mut entries)?;
    }

    sandbox::measure(&layout, python.as_deref(), &component, &mut entries)?;
    if std::env::var_os("ERYX_BENCH_COMPONENT").is_none() {
        registry::measure(&component, &layout, &mut entries)?;
    }

    let published = published::measure(&layout);
    show(&entries, &published);
    let path = layout.checkout.join("target/bench.json");
    let list: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let mut value = entry.json();
            value["eryx-0.14"] = json!(published.as_ref().ok().and_then(|known| known.get(entry.name)));
            value
        })
        .collect();
    let text = serde_json::to_string_pretty(&list).map_err(|error| Error::new(error.to_string()))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, text + "\n")?;
    println!("\nwritten to {}", path.display());
    Ok(())
}

/// Builds the component if need be, and measures what a build costs that has nothing to do.
fn built(layout: &Layout, entries: &mut Vec<Entry>) -> Result<PathBuf> {
    let bundle = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
        output(command.args(["bundle", "numpy", "pydantic"]).current_dir(&layout.checkout)).map(drop)
    };
    bundle()?;
    // The baseline is what we promise: a second.
    entries.push(Entry { name: "cached bundle", value: fastest(bundle)?, unit: "s", baseline: Some(1.0) });
    let store = Store::open(&layout.cache)?;
    if let Some(record) = store.latest(STEP)? {
        // Both were measured by the builds that did them last: the link, and compiling all that is linked.
        let mut compile = 0.0;
        for step in ["libc", "libcxx", "cpython", "guest", "extension numpy", "extension pydantic-core"] {
            compile += store.latest(step)?.map_or(0.0, |record| record.seconds);
        }
        entries.push(Entry { name: "link", value: record.seconds, unit: "s", baseline: Some(compile) });
    }
    Ok(layout.dist.join("numpy+pydantic.wasm"))
}

/// What a call costs in a live instance.
fn calls(image: &Image, entries: &mut Vec<Entry>) -> Result<()> {
    const CALLS: u32 = 50;
    let echo = Callback::new("echo", "", "{}", |arguments| async move { Ok(arguments) });
    let mut session = image.session(SessionOptions { callbacks: vec![echo], ..SessionOptions::default() })?;
    let mut run = |code: &str| -> Result<String> {
        session.execute(code)?.map_err(|traceback| Error::new("the code raised").detail(traceback))
    };
    // The baselines are what we promise: 20 microseconds a call.
    let mut add = |name, seconds: f64| {
        entries.push(Entry { name, value: seconds / f64::from(CALLS), unit: "s", baseline: Some(20e-6) });
    };
    add("execute", least(|| (0..CALLS).try_for_each(|_| run("x = 1").map(drop)))?);
    // Code that has not been seen before, which has to be compiled.
    let mut seen = 0;
    let mut run_new = |_| {
        seen += 1;
        run(&format!("x = {seen}")).map(drop)
    };
    add("execute new code", least(|| (0..CALLS).try_for_each(&mut run_new))?);
    let code = format!("for _ in range({CALLS}): await invoke('echo', '{{}}')");
    add("invoke", least(|| run(&code).map(drop))?);

    // Beside pickle in the same instance.
    run(&format!("{TIMED}{ROWS}"))?;
    let dump = seconds(&run("timed(lambda: pickle.dumps(rows, 5))")?)?;
    let load = seconds(&run("data = pickle.dumps(rows, 5)\ntimed(lambda: pickle.loads(data))\ndel data")?)?;
    let refused = |told: String| Error::new("the session was not saved or restored").detail(told);
    let saved = session.snapshot_state()?.map_err(refused)?;
    let snapshot = least(|| session.snapshot_state()?.map_err(refused).map(drop))?;
    entries.push(Entry { name: "snapshot", value: snapshot, unit: "s", baseline: Some(dump) });
    let restore = least(|| session.restore_state(&saved)?.map_err(refused))?;
    entries.push(Entry { name: "restore", value: restore, unit: "s", baseline: Some(load) });
    Ok(())
}

fn with_numpy(layout: &Layout, python: Option<&Path>, image: &Image, entries: &mut Vec<Entry>) -> Result<()> {
    let catalog = Catalog::load(&layout.recipes())?;
    let recipe = (catalog.get(&PackageName::new("numpy")?)).ok_or_else(|| Error::new("no recipe `numpy`"))?;
    let numpy = format!("numpy=={}", recipe.version);
    let native_numpy = python.map(|python| native::Wheels::install(layout, python, &[&numpy])).transpose()?;
    let mut import = f64::INFINITY;
    for _ in 0..RUNS {
        import = import.min(seconds(&guest(image, IMPORT)?)?);
    }
    let baseline = native_numpy.as_ref().map(import_natively).transpose()?;
    entries.push(Entry { name: "import numpy", value: import, unit: "s", baseline });
    let workload = format!("{TIMED}{NUMPY}");
    let baseline = native_numpy.as_ref().map(|numpy| seconds(&numpy.run(&workload)?)).transpose()?;
    entries.push(Entry { name: "numpy workload", value: guest_seconds(image, NUMPY)?, unit: "s", baseline });
    Ok(())
}

fn import_natively(numpy: &native::Wheels) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        best = best.min(seconds(&numpy.run(IMPORT)?)?);
    }
    Ok(best)
}

fn fastest(work: impl FnMut() -> Result<()>) -> Result<f64> {
    fastest_of(RUNS, work)
}

/// The fastest of many runs, for work that takes about a turn of the machine's scheduler or less.
fn least(work: impl FnMut() -> Result<()>) -> Result<f64> {
    fastest_of(100, work)
}

fn fastest_of(runs: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let start = Instant::now();
        work()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn native_seconds(python: &Path, code: &str) -> Result<f64> {
    seconds(&native::run(python, &format!("{TIMED}{code}"))?)
}

fn guest_seconds(image: &Image, code: &str) -> Result<f64> {
    seconds(&guest(image, &format!("{TIMED}{code}"))?)
}

fn guest(image: &Image, code: &str) -> Result<String> {
    let mut session = image.session(SessionOptions::default())?;
    session
        .execute(code)?
        .map_err(|traceback| Error::new("the code raised in the component").detail(traceback))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let program = command.get_program().to_string_lossy();
    Err(Error::new(format!("`{program}` ended with {}", output.status))
        .detail(String::from_utf8_lossy(&output.stderr)))
}

fn seconds(printed: &str) -> Result<f64> {
    printed.trim().parse().map_err(|_| Error::new(format!("expected seconds but found `{}`", printed.trim())))
}

fn show(entries: &[Entry], published: &Published) {
    println!("{:<24}{:>14}{:>14}{:>10}{:>14}", "what", "value", "baseline", "ratio", "eryx 0.14");
    for entry in entries {
        let told = |value: f64| match entry.unit {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
            "bytes" => report::size(value as u64),
            "/s" => format!("{value:.0} /s"),
            "MB/s" => format!("{value:.0} MB/s"),
            _ if value >= 100.0 => format!("{value:.0} s"),
            _ if value < 1e-3 => format!("{:.1} us", value * 1e6),
            _ => format!("{:.1} ms", value * 1e3),
        };
        let baseline = entry.baseline.map_or_else(|| "-".to_owned(), told);
        let ratio = entry.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let theirs = published.as_ref().ok().and_then(|known| known.get(entry.name));
        let theirs = theirs.map_or_else(|| "-".to_owned(), |value| told(*value));
        println!("{:<24}{:>14}{baseline:>14}{ratio:>10}{theirs:>14}", entry.name, told(entry.value));
    }
    if let Err(reason) = published {
        println!("eryx 0.14 was not measured: {reason}");
    }
}
