//! The programs of a wheel: `scripts` as they are packed, and entry points
//! (<https://packaging.python.org/en/latest/specifications/entry-points/>), for which a program is written.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::file_name::FileName;

/// How every program finds its interpreter: no path of a machine is in it.
const INTERPRETER: &str = "#!/usr/bin/env python3\n";

/// The programs that the entry points ask for, by name.
///
/// # Errors
/// All entry points whose name cannot be that of a file, or that do not name a function.
pub(super) fn entry_points(folder: &Path, info: &FileName) -> Result<Vec<(FileName, String)>> {
    let file = folder.join(info).join("entry_points.txt");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| format!("cannot read `{info}/entry_points.txt`")),
    };
    let mut programs = Vec::new();
    let mut problems = Vec::new();
    for (name, target) in listed(&text) {
        match (FileName::new(name), function(target)) {
            (Ok(name), Some((module, attribute))) => {
                programs.push((name, program(module, attribute)));
            }
            (Err(error), _) => problems.push(error.message().to_owned()),
            (_, None) => problems.push(format!(
                "`{}`: expected `module:function` but found `{}`",
                name.escape_debug(),
                target.escape_debug()
            )),
        }
    }
    if problems.is_empty() {
        return Ok(programs);
    }
    Err(Error::new(format!("`{info}/entry_points.txt` names scripts that cannot be made")).details(problems))
}

/// Names and targets in the groups that stand for programs.
fn listed(text: &str) -> Vec<(&str, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(group) = line.strip_prefix('[') {
            inside = matches!(group.trim_end_matches(']').trim(), "console_scripts" | "gui_scripts");
        } else if inside && let Some((name, target)) = line.split_once('=') {
            found.push((name.trim(), target.trim()));
        }
    }
    found
}

/// The module and the attribute of `module:attribute [extras]`, both dotted identifiers.
fn function(target: &str) -> Option<(&str, &str)> {
    let target = target.split('[').next().unwrap_or_default().trim();
    let (module, attribute) = target.split_once(':')?;
    let (module, attribute) = (module.trim(), attribute.trim());
    (is_dotted(module) && is_dotted(attribute)).then_some((module, attribute))
}

fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        !part.starts_with(|first: char| first.is_ascii_digit())
            && !part.is_empty()
            && part.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

fn program(module: &str, attribute: &str) -> String {
    let head = attribute.split('.').next().unwrap_or_default();
    format!("{INTERPRETER}import sys\nfrom {module} import {head}\nsys.exit({attribute}())\n")
}

/// A packed script whose first line asks for the interpreter that it is installed for; nothing for any other.
///
/// # Errors
/// When it cannot be read.
pub(super) fn rewritten(script: &Path) -> Result<Option<Vec<u8>>> {
    let bytes = fs::read(script).context(|| format!("cannot read `{}`", script.display()))?;
    let Some(rest) = bytes.strip_prefix(b"#!python") else { return Ok(None) };
    let rest = rest.strip_prefix(b"w").unwrap_or(rest);
    let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
    Ok(Some([INTERPRETER.as_bytes(), rest.get(end..).unwrap_or_default()].concat()))
}
