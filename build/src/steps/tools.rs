//! Build tools from PyPI: wheels laid out as one prefix with `lib` (for PYTHONPATH) and `bin`.

use std::fs;

use super::Work;
use crate::error::Result;
use crate::install::Scheme;

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 2;

/// Installs the wheels among the inputs (`source/<file>`).
///
/// # Errors
/// When a wheel is refused.
pub fn install(work: &Work) -> Result<()> {
    let scheme = Scheme { site: work.out.join("lib"), prefix: work.out.clone(), to_prefix: ".." };
    // Build systems get both by name, whether a wheel has something for them or not.
    fs::create_dir_all(&scheme.site)?;
    fs::create_dir_all(scheme.prefix.join("bin"))?;
    work.install_wheels(&scheme)
}
