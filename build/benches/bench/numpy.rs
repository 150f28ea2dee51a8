//! numpy's import and its speed, and what it saves to have packages imported.

use std::path::Path;

use eryx_build::error::{Error, Result};
use eryx_build::layout::Layout;
use eryx_build::name::PackageName;
use eryx_build::recipe::Catalog;
use eryx_embed::Image;

use super::native::Wheels;
use super::peers::FRESH;
use super::table::Entry;
use super::{RUNS, TIMED, guest, guest_seconds, middle, seconds};

const IMPORT: &str =
    "import time\nstart = time.perf_counter()\nimport numpy\nprint(time.perf_counter() - start)";
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

/// Whether a fresh instance has imported both.
const BOTH: &str = "import sys\nprint(sys.modules.keys() >= {'numpy', 'pydantic'})";
/// What a process costs in which both are imported, in processor time.
const IMPORT_BOTH: &str = "import numpy, pydantic, time\nprint(time.process_time())";

/// Adds the entries of a component that has numpy; `entries` has what a fresh sandbox takes.
pub fn measure(
    layout: &Layout,
    python: Option<&Path>,
    image: &Image,
    entries: &mut Vec<Entry>,
) -> Result<()> {
    let catalog = Catalog::load(&layout.recipes())?;
    let wheel = |name| -> Result<String> {
        let recipe = catalog.get(&PackageName::new(name)?);
        Ok(format!("{name}=={}", recipe.ok_or_else(|| Error::new(format!("no recipe `{name}`")))?.version))
    };
    let wanted = [wheel("numpy")?, wheel("pydantic")?];
    let wanted = wanted.each_ref().map(String::as_str);
    let native = python.map(|python| Wheels::install(layout, python, &wanted)).transpose()?;
    let mut import = f64::INFINITY;
    for _ in 0..RUNS {
        import = import.min(seconds(&guest(image, IMPORT)?)?);
    }
    let baseline = native.as_ref().map(import_natively).transpose()?;
    entries.push(Entry { name: "import numpy", value: import, unit: "s", baseline });
    let workload = format!("{TIMED}{NUMPY}");
    let baseline = native.as_ref().map(|native| seconds(&native.run(&workload)?)).transpose()?;
    entries.push(Entry { name: "numpy workload", value: guest_seconds(image, NUMPY)?, unit: "s", baseline });

    let fresh = entries.iter().find(|entry| entry.name == FRESH).map(|entry| entry.value);
    if let (Some(value), Some(native), "True\n") = (fresh, native, guest(image, BOTH)?.as_str()) {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            times.push(seconds(&native.run(IMPORT_BOTH)?)?);
        }
        let baseline = Some(middle(times));
        entries.push(Entry { name: "fresh beside a process", value, unit: "s", baseline });
    }
    Ok(())
}

fn import_natively(numpy: &Wheels) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        best = best.min(seconds(&numpy.run(IMPORT)?)?);
    }
    Ok(best)
}
