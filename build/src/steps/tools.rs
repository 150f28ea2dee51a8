//! Build tools from PyPI: wheels laid out as one prefix with `lib` (for PYTHONPATH) and `bin`.

use std::fs;
use std::path::Path;

use super::{Work, copy_tree, write_executable};
use crate::archive::{self, Unpack};
use crate::error::{Context, Result};

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 1;

/// Installs the wheels among the inputs (`source/<file>`).
///
/// # Errors
/// When a wheel is refused.
pub fn install(work: &Work) -> Result<()> {
    let lib = work.out.join("lib");
    let bin = work.out.join("bin");
    fs::create_dir_all(&lib)?;
    fs::create_dir_all(&bin)?;
    for (file, wheel) in work.inputs_of("source/") {
        let unpacked = work.dir.join("wheel").join(file);
        archive::unpack(wheel, file, &unpacked, &Unpack::default())?;
        install_wheel(&unpacked, &lib, &bin)?;
    }
    Ok(())
}

/// Spreads an unpacked wheel as an installer does: `*.data/scripts` to `bin`, `*.data/{purelib,platlib}` and
/// the rest to `lib`, and a script for each console entry point.
///
/// # Errors
/// When a file cannot be written.
pub fn install_wheel(unpacked: &Path, lib: &Path, bin: &Path) -> Result<()> {
    let entries = fs::read_dir(unpacked).context(|| format!("cannot read `{}`", unpacked.display()))?;
    let mut names: Vec<String> =
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
    names.sort();
    let is_data =
        |path: &Path| path.iter().next().is_some_and(|top| top.to_string_lossy().ends_with(".data"));
    copy_tree(unpacked, lib, &|path| !is_data(path))?;
    for name in &names {
        let top = unpacked.join(name);
        if name.ends_with(".data") {
            for (part, target) in [("purelib", lib), ("platlib", lib), ("scripts", bin)] {
                if top.join(part).is_dir() {
                    copy_tree(&top.join(part), target, &|_| true)?;
                }
            }
        } else if name.ends_with(".dist-info")
            && let Ok(text) = fs::read_to_string(top.join("entry_points.txt"))
        {
            for (script, module, function) in console_scripts(&text) {
                let head = function.split('.').next().unwrap_or_default();
                write_executable(
                    &bin.join(script),
                    format!(
                        "#!/usr/bin/env python3\nimport sys\nfrom {module} import {head}\nsys.exit({function}())\n"
                    ),
                )?;
            }
        }
    }
    Ok(())
}

fn console_scripts(text: &str) -> Vec<(&str, &str, &str)> {
    let mut inside = false;
    let mut scripts = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[console_scripts]";
        } else if inside && let Some((name, target)) = line.split_once('=') {
            let target = target.split_whitespace().next().unwrap_or_default();
            if let Some((module, function)) = target.split_once(':') {
                scripts.push((name.trim(), module.trim(), function.trim()));
            }
        }
    }
    scripts
}
