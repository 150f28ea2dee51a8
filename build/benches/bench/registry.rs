//! Publishing, pulling and the remote cache, with Debian's `docker-registry` on loopback.

#[path = "../../tests/registry/mod.rs"]
mod server;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use eryx_build::error::{Context as _, Result};
use eryx_build::layout::Layout;
use eryx_build::store::Store;

use super::output;
use super::table::Entry;
use server::Server;

const PACKAGES: [&str; 2] = ["numpy", "pydantic"];

/// Adds the entries of a component that was built with the real cache.
pub fn measure(component: &Path, layout: &Layout, entries: &mut Vec<Entry>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let size = megabytes(std::fs::metadata(component)?.len());

    // The yardstick of both directions is a tool that everybody has.
    let server = Server::start();
    let reference = format!("{}/python:bench", server.address);
    let empty = server.stored()?;
    let push =
        timed(|| eryx(layout, &["publish", &reference, "--component", &component.display().to_string()]))?;
    let stored = server.stored()? - empty;
    let pulled = folder.path().join("pulled").display().to_string();
    let pull = timed(|| eryx(layout, &["pull", &reference, "-o", &pulled]))?;
    let (copied, other) = (format!("dir:{}", folder.path().join("copied").display()), Server::start());
    let skopeo = |from: &str, to: &str| {
        let mut command = Command::new("skopeo");
        command.args([
            "--insecure-policy",
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ]);
        output(command.args([from, to])).map(drop)
    };
    let their_pull = timed(|| skopeo(&format!("docker://{reference}"), &copied))?;
    let their_push = timed(|| skopeo(&copied, &format!("docker://{}/python:bench", other.address)))?;
    let rate = |name, seconds: f64, theirs: f64| Entry {
        name,
        value: size / seconds,
        unit: "MB/s",
        baseline: Some(size / theirs),
    };
    entries.push(rate("push", push, their_push));
    entries.push(rate("pull", pull, their_pull));
    let bytes = |name, value: u64, baseline: Option<f64>| Entry {
        name,
        value: megabytes(value) * 1e6,
        unit: "bytes",
        baseline,
    };
    entries.push(bytes("stored when published", stored, Some(size * 1e6)));

    // A registry that has everything, and a machine that has nothing.
    let before = server.stored()?;
    let remote = format!("{}/cache", server.address);
    let bundle = [&["bundle"], &PACKAGES[..], &["--remote", &remote]].concat();
    eryx(layout, &[&bundle[..], &["--remote-write"]].concat())?;
    entries.push(bytes("stored in remote cache", server.stored()? - before, None));
    let fresh = folder.path().join("cache");
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    command.args(&bundle).current_dir(&layout.checkout).env("ERYX_CACHE", &fresh);
    let since = Instant::now();
    output(&mut command)?;
    let seconds = since.elapsed().as_secs_f64();
    // What the steps took that made it all here, one after the other.
    let (store, mut cold) = (Store::open(&layout.cache)?, 0.0);
    for step in steps(layout)? {
        cold += store.latest(&step)?.map_or(0.0, |record| record.seconds);
    }
    entries.push(Entry { name: "bundle, remote cache", value: seconds, unit: "s", baseline: Some(cold) });
    Ok(())
}

/// The steps of the build, as `plan` shows them.
fn steps(layout: &Layout) -> Result<Vec<String>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    let text = output(command.arg("plan").args(PACKAGES).current_dir(&layout.checkout))?;
    // Names have single spaces in them.
    Ok(text.lines().filter_map(|line| line.split("  ").next()).map(str::to_owned).collect())
}

fn eryx(layout: &Layout, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    output(command.args(arguments).current_dir(&layout.checkout)).map(drop)
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let since = Instant::now();
    work()?;
    Ok(since.elapsed().as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl Server {
    /// The bytes that lie in the registry's folder.
    fn stored(&self) -> Result<u64> {
        fn below(folder: &Path) -> Result<u64> {
            let mut sum = 0;
            let entries =
                std::fs::read_dir(folder).context(|| format!("cannot read `{}`", folder.display()))?;
            for entry in entries {
                let entry = entry?;
                sum +=
                    if entry.file_type()?.is_dir() { below(&entry.path())? } else { entry.metadata()?.len() };
            }
            Ok(sum)
        }
        below(&self.folder())
    }
}
