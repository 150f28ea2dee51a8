//! `just bench`: how long things take, as a table and as `target/bench.json`.
//!
//! Each entry has a value, what it is compared with, and the ratio of the two; only ratios say something
//! about another machine. Of several runs the fastest counts: the others measure what else the machine does.
//!
//! `just bench registry` measures only publishing, pulling and the remote cache; `just bench throughput` only how fast
//! Python code runs, and prints the ratio of each benchmark; `just bench neighbours` only fresh sandboxes and the
//! neighbours from pip and npm; `just bench serve` only how long clients of the service wait, alone and under attack.
//!
//! | variable | meaning |
//! |---|---|
//! | `ERYX_BENCH_COMPONENT` | a component that takes the place of `dist/numpy+pydantic.wasm` |
//!
//! The baseline of Python code is CPython of the same version as distributions compile it, made once in the cache; that
//! of numpy's is the same interpreter with the wheel of the same version that the package index has. Beside us stand
//! neighbours, each as it is published: the crate `eryx` 0.14 with its own runtime, whose engine is wasmtime 50 and ours
//! 48, and sandboxes from pip and npm. All that is fetched goes into `target/`, and what is compiled into the cache, which
//! takes minutes once.

#[path = "bench/calls.rs"]
mod calls;
#[path = "bench/componentize.rs"]
mod componentize;
#[path = "bench/native.rs"]
mod native;
#[path = "bench/numpy.rs"]
mod numpy;
#[path = "bench/peers.rs"]
mod peers;
#[path = "bench/process.rs"]
mod process;
#[path = "bench/published.rs"]
mod published;
#[path = "bench/registry.rs"]
mod registry;
#[path = "bench/sandbox.rs"]
mod sandbox;
#[path = "bench/serve.rs"]
mod serve;
#[path = "bench/table.rs"]
mod table;
#[path = "bench/throughput.rs"]
mod throughput;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use eryx_build::error::{Error, Result};
use eryx_build::layout::Layout;
use eryx_build::store::Store;
use eryx_embed::{Embedder, Image, SessionOptions};
use serde_json::json;
use table::{Entry, Neighbour};

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

fn run() -> Result<()> {
    let layout = Layout::discover()?;
    let mut entries = Vec::new();
    let mode = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let component = match std::env::var_os("ERYX_BENCH_COMPONENT") {
        Some(path) => called_in().join(path),
        None => built(&layout, &mut entries)?,
    };
    match mode.as_deref() {
        None => everything(&layout, &component, entries),
        Some(mode @ ("registry" | "serve")) => {
            if mode == "registry" {
                registry::measure(&component, &layout, &mut entries)?;
            } else {
                serve::measure(&layout, &component, &mut entries)?;
            }
            table::show(&entries, &[]);
            Ok(())
        }
        Some(mode @ ("throughput" | "neighbours")) => {
            let python = native::python(&layout)?.ok_or_else(|| Error::new("no native CPython"))?;
            let image = Embedder::new(Some(&layout.cache))?.load(&component)?;
            let mut neighbours = Vec::new();
            if mode == "throughput" {
                throughput::measure(&layout, &python, &image, &mut entries)?;
            } else {
                sandbox::measure(&layout, &component, &mut entries)?;
                process::measure(&component, &mut entries)?;
                neighbours = peers::measure(&layout, &python, &image, &mut entries)?;
            }
            table::show(&entries, &neighbours);
            Ok(())
        }
        Some(other) => Err(Error::new(format!(
            "expected `registry`, `serve`, `throughput`, `neighbours` or nothing but found `{other}`"
        ))),
    }
}

/// Where the user is: cargo starts benches in the package's folder, and leaves `PWD` as it was.
fn called_in() -> PathBuf {
    std::env::var_os("PWD").map(PathBuf::from).unwrap_or_default()
}

fn everything(layout: &Layout, component: &Path, mut entries: Vec<Entry>) -> Result<()> {
    let bytes = std::fs::metadata(component)?.len();
    #[expect(clippy::cast_precision_loss, reason = "a component has far fewer than 2^52 bytes")]
    entries.push(Entry { name: "component size", value: bytes as f64, unit: "bytes", baseline: None });

    let image = Embedder::new(Some(&layout.cache))?.load(component)?;
    image.prepare(false)?;
    let instantiate = fastest(|| image.session(SessionOptions::default()).map(drop).map_err(Error::from))?;
    let python = native::python(layout)?;
    let start =
        python.as_deref().map(|python| fastest(|| native::run(python, "pass").map(drop))).transpose()?;
    // The nearest thing that a native Python has is to start its process.
    entries.push(Entry { name: "instantiate", value: instantiate, unit: "s", baseline: start });

    calls::measure(&image, &mut entries)?;
    let baseline = python.as_deref().map(|python| native_seconds(python, PYTHON)).transpose()?;
    entries.push(Entry {
        name: "python workload",
        value: guest_seconds(&image, PYTHON)?,
        unit: "s",
        baseline,
    });
    sandbox::measure(layout, component, &mut entries)?;
    process::measure(component, &mut entries)?;
    if guest(&image, "import importlib.util\nprint(importlib.util.find_spec('numpy') is not None)")?
        == "True\n"
    {
        numpy::measure(layout, python.as_deref(), &image, &mut entries)?;
    }

    let mut neighbours = vec![Neighbour::new("eryx 0.14", published::measure(layout))];
    let mut details = json!({});
    if let Some(python) = &python {
        details["python throughput"] = throughput::measure(layout, python, &image, &mut entries)?;
        neighbours.extend(peers::measure(layout, python, &image, &mut entries)?);
    }
    if std::env::var_os("ERYX_BENCH_COMPONENT").is_none() {
        registry::measure(component, layout, &mut entries)?;
    }

    table::show(&entries, &neighbours);
    let path = table::write(layout, &entries, &neighbours, &details)?;
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
    // The baseline is what we promise: a quarter of a minute.
    entries.push(Entry { name: "link", value: link_seconds(layout)?, unit: "s", baseline: Some(15.0) });
    Ok(layout.dist.join("numpy+pydantic.wasm"))
}

/// The seconds that linking, prelinking and starting the component takes. It is made once more: what the cache has of it
/// was made beside who knows what.
fn link_seconds(layout: &Layout) -> Result<f64> {
    let folder = tempfile::tempdir_in(&layout.cache)?;
    let mut verify = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    verify.args(["verify", "numpy", "pydantic", "--step", STEP, "--prefix"]).arg(folder.path());
    output(verify.current_dir(&layout.checkout))?;
    let record = Store::open(&folder.path().join("store"))?.latest(STEP)?;
    record.map(|record| record.seconds).ok_or_else(|| Error::new(format!("`verify` did not make `{STEP}`")))
}

fn fastest(work: impl FnMut() -> Result<()>) -> Result<f64> {
    fastest_of(RUNS, work)
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

/// The median of several times.
fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn native_seconds(python: &Path, code: &str) -> Result<f64> {
    seconds(&native::run(python, &format!("{TIMED}{code}"))?)
}

fn guest_seconds(image: &Image, code: &str) -> Result<f64> {
    seconds(&guest(image, &format!("{TIMED}{code}"))?)
}

fn guest(image: &Image, code: &str) -> Result<String> {
    let mut session = image.session(SessionOptions::default())?;
    session.execute(code).map_err(|error| Error::from(error).context("in the component"))
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
