//! How fast Python code runs: pyperformance's benchmarks, in the component and natively.
//!
//! In the set is every benchmark that pyperformance's own manifest lists and that measures the interpreter with its
//! standard library and nothing else: it declares no dependency but `pyperf`, and its script names none of
//! [`ELSEWHERE`]. The scripts run as they are; `throughput.py` stands in for `pyperf`, in both alike. A benchmark that
//! has several results, such as `scimark`, counts as their geometric mean. All times are processor time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eryx_build::error::{Context as _, Error, Result};
use eryx_build::layout::Layout;
use eryx_embed::{Grant, Image, SessionOptions};
use serde_json::{Value, json};

use super::native;
use super::table::Entry;

const SUITE: &str = "pyperformance==1.14.0";
const FOLDER: &str = "pyperformance/data-files/benchmarks";
const DRIVER: &str = include_str!("throughput.py");
const ROUNDS: usize = 2;
/// The least speed that we promise, as a part of the native one.
const PROMISE: f64 = 0.65;
/// What the kernel tells of the thread that looks: the guest runs in the thread that makes its instance.
const THREAD: &str = "/proc/thread-self";
/// What a script names that uses processes, threads or the network. An event loop is one of the machine's.
const ELSEWHERE: [&str; 6] =
    ["multiprocessing", "threading", "subprocess", "bench_command", "socket", "import asyncio"];

/// One benchmark, as the manifest lists it.
pub struct Benchmark {
    pub name: String,
    /// Its script, below the suite's folder.
    script: String,
    options: Vec<String>,
}

/// What the results of one benchmark took, in seconds by their names.
pub type Results = BTreeMap<String, f64>;

impl Benchmark {
    /// Python code that runs it where the suite lies in `folder`, and what the kernel tells of the thread in `thread`.
    fn code(&self, folder: &str, thread: &str) -> String {
        let (script, clock) = (format!("{folder}/{}", self.script), format!("{thread}/schedstat"));
        format!("{DRIVER}\nrun({}, {}, None, {})", json!(script), json!(self.options), json!(clock))
    }

    /// Python code that runs it without any file, by a clock on the wall.
    pub fn inlined(&self, folder: &Path) -> Result<String> {
        let script = folder.join(&self.script);
        let source =
            std::fs::read_to_string(&script).context(|| format!("cannot read `{}`", script.display()))?;
        // What JSON can write of these, Python reads alike.
        Ok(format!("{DRIVER}\nrun({}, {}, {})", json!(self.script), json!(self.options), json!(source)))
    }
}

/// Has pip fetch the suite; gives the folder of its benchmarks.
pub fn suite(layout: &Layout) -> Result<PathBuf> {
    Ok(native::fetch(layout, &[SUITE], &["--no-deps"], |_| Ok(()))?.join(FOLDER))
}

/// The benchmarks of the set, in the manifest's order.
pub fn set(folder: &Path) -> Result<Vec<Benchmark>> {
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).context(|| format!("cannot read `{}`", path.display()))
    };
    let mut set = Vec::new();
    let manifest = read(folder.join("MANIFEST"))?;
    for line in manifest.lines().filter(|line| !line.starts_with('#')) {
        // `name TAB <local>`, or `name TAB <local:other>` when it is a variant of another's script.
        let Some((name, place)) = line.split_once('\t') else { continue };
        let Some(place) = place.strip_prefix("<local").and_then(|rest| rest.strip_suffix('>')) else {
            continue;
        };
        let base = place.strip_prefix(':').unwrap_or(name);
        let script = format!("bm_{base}/run_benchmark.py");
        let own = folder.join(format!("bm_{base}"));
        if own.join("requirements.txt").exists() {
            continue;
        }
        let source = read(folder.join(&script))?;
        let parse = |file: PathBuf| {
            toml::from_str::<toml::Table>(&read(file)?).map_err(|error| Error::new(error.to_string()))
        };
        let project = parse(own.join("pyproject.toml"))?;
        let dependencies = project.get("project").and_then(|table| table.get("dependencies")?.as_array());
        let alone = dependencies.is_some_and(|list| list.iter().all(|name| name.as_str() == Some("pyperf")));
        if !alone || ELSEWHERE.iter().any(|word| source.contains(word)) {
            continue;
        }
        let described = if base == name { project } else { parse(own.join(format!("bm_{name}.toml")))? };
        let options =
            described.get("tool").and_then(|table| table.get("pyperformance")?.get("extra_opts")?.as_array());
        let options = options.into_iter().flatten().filter_map(|option| option.as_str().map(str::to_owned));
        set.push(Benchmark { name: name.to_owned(), script, options: options.collect() });
    }
    if set.is_empty() {
        Err(Error::new(format!("expected benchmarks in `{}`", folder.display())))
    } else {
        Ok(set)
    }
}

/// The seconds that the driver printed.
pub fn results(printed: &str) -> Result<Results> {
    let told = printed.rsplit_once("\nseconds: ").and_then(|(_, told)| serde_json::from_str(told).ok());
    told.ok_or_else(|| Error::new(format!("expected `seconds: {{…}}` but found `{}`", printed.trim())))
}

/// Keeps the least of each result.
pub fn keep(best: &mut Results, measured: Results) {
    for (name, seconds) in measured {
        best.entry(name).and_modify(|least| *least = least.min(seconds)).or_insert(seconds);
    }
}

/// Runs code that prints results natively.
pub fn natively(python: &Path, code: &str) -> Result<Results> {
    results(&native::run(python, code)?)
}

/// The geometric mean of some numbers, each above zero.
pub fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    for number in numbers {
        sum += number.ln();
        count += 1;
    }
    (sum / f64::from(count)).exp()
}

/// Adds the entry, and gives value, baseline and ratio of every benchmark.
pub fn measure(layout: &Layout, python: &Path, image: &Image, entries: &mut Vec<Entry>) -> Result<Value> {
    let folder = suite(layout)?;
    let grants =
        [Grant::new(&folder, "/suite")?.read_only(true), Grant::new(THREAD, "/thread")?.read_only(true)];
    let guest =
        |benchmark: &Benchmark| -> Result<Results> {
            let options = SessionOptions::default().grants(grants.to_vec());
            let printed = image.session(options)?.execute(&benchmark.code("/suite", "/thread"));
            results(&printed.map_err(|error| {
                Error::from(error).context(format!("`{}` in the component", benchmark.name))
            })?)
        };
    let (mut ratios, mut details) = (Vec::new(), json!({}));
    for benchmark in set(&folder)? {
        let code = benchmark.code(&folder.display().to_string(), THREAD);
        // A CPython that was compiled without a library, such as SQLite, lacks a module.
        let mut theirs = match natively(python, &code) {
            Ok(first) => first,
            Err(error) => {
                eprint!(
                    "`{}` is left out, since it does not run natively: {}",
                    benchmark.name,
                    error.render()
                );
                continue;
            }
        };
        let mut ours = guest(&benchmark)?;
        // In turns, so that what else the machine does hits both alike.
        for _ in 1..ROUNDS {
            keep(&mut theirs, natively(python, &code)?);
            keep(&mut ours, guest(&benchmark)?);
        }
        let (value, baseline) = (mean(ours.into_values()), mean(theirs.into_values()));
        eprintln!("{:<28}{:>8.2} times", benchmark.name, value / baseline);
        ratios.push(value / baseline);
        details[&benchmark.name] = json!({ "value": value, "baseline": baseline, "ratio": value / baseline });
    }
    let value = mean(ratios.into_iter());
    entries.push(Entry { name: "python throughput", value, unit: "times", baseline: Some(1.0 / PROMISE) });
    Ok(details)
}
