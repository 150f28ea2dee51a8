//! The process of `run`: how long it takes until the first output, its component's code compiled before.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use eryx_build::error::{Error, Result};

use super::middle;
use super::table::Entry;

/// The packages of a component are imported in its snapshot.
const CODE: &str = "print(1)";
const RUNS: usize = 20;

/// Adds the entry of a component; the baseline is what we promise.
pub fn measure(component: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    // Without what the first one compiles.
    first_output(component)?;
    let times = (0..RUNS).map(|_| first_output(component)).collect::<Result<_>>()?;
    let (value, baseline) = (middle(times), Some(30e-3));
    entries.push(Entry { name: "run, first output", value, unit: "s", baseline });
    Ok(())
}

/// The seconds from the start of the process to its first byte of output.
fn first_output(component: &Path) -> Result<f64> {
    let mut run = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    run.arg("run").arg(component).args(["-c", CODE]);
    let start = Instant::now();
    let mut process = run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut byte = [0];
    let read = process.stdout.take().map_or(Ok(0), |mut stdout| stdout.read(&mut byte))?;
    let took = start.elapsed().as_secs_f64();
    let status = process.wait()?;
    if read == 1 && status.success() {
        return Ok(took);
    }
    Err(Error::new(format!("expected output of `run {}` but it ended with {status}", component.display())))
}
