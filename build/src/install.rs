//! Installs wheels into a folder, as the binary distribution format says
//! (<https://packaging.python.org/en/latest/specifications/binary-distribution-format/>).
//!
//! A wheel may come from anybody: every name in it is checked before it becomes a path, and every file must
//! be listed in its `RECORD` with the digest and the size that it has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::archive::{self, Unpack};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::file_name::{FileName, RelativePath};
use crate::files::{copy, files_below, write, write_executable};
use crate::resolve::WheelName;

mod record;
mod scripts;

/// Where the parts of a wheel go.
#[derive(Debug, Clone)]
pub struct Scheme {
    /// Python modules: `purelib` and `platlib`.
    pub site: PathBuf,
    /// The folder with `bin`, `include` and whatever `data` has.
    pub prefix: PathBuf,
    /// The way from `site` to `prefix` once both are installed, such as `../../..`.
    pub to_prefix: &'static str,
}

/// Installs a wheel; `scratch` is a folder for its unpacked files, which must not exist.
///
/// # Errors
/// When the file is no wheel or is damaged, a file differs from its `RECORD`, a name would lead out of the
/// folders, or two wheels have different files of one name. All problems of one kind are listed.
pub fn install(archive: &Path, file: &FileName, scratch: &Path, scheme: &Scheme) -> Result<()> {
    install_into(archive, file, scratch, scheme).context(|| format!("cannot install `{file}`"))
}

fn install_into(archive: &Path, file: &FileName, scratch: &Path, scheme: &Scheme) -> Result<()> {
    archive::unpack(archive, file, scratch, &Unpack::default())?;
    let mut paths = Vec::new();
    let mut problems = Vec::new();
    for path in files_below(scratch)? {
        match path.to_str().map(RelativePath::new) {
            Some(Ok(_)) if scratch.join(&path).is_symlink() => {
                problems.push(format!("`{}` is a symbolic link", path.display()));
            }
            Some(Ok(path)) => paths.push(path),
            Some(Err(error)) => problems.push(error.message().to_owned()),
            None => problems.push(format!("`{}` is no UTF-8", path.display())),
        }
    }
    if !problems.is_empty() {
        return Err(Error::new("a wheel cannot have these files").details(problems));
    }
    let info = dist_info(&paths, file)?;
    check_format(scratch, &info)?;
    record::verify(scratch, &info, &paths)?;
    let entry_points = scripts::entry_points(scratch, &info)?;

    let mut targets = Vec::new();
    let mut problems = Vec::new();
    for path in &paths {
        match target(path, &info, scheme) {
            Ok((root, target)) => targets.push((path, root, target)),
            Err(error) => problems.push(error.message().to_owned()),
        }
    }
    if !problems.is_empty() {
        return Err(Error::new("files of the wheel belong nowhere").details(problems));
    }

    // Each installed file by its path relative to `site` once it is installed.
    let mut placed = BTreeMap::new();
    for (path, root, target) in targets {
        let to = root.folder.join(&target);
        let script = root.script.then(|| scripts::rewritten(&scratch.join(path))).transpose()?.flatten();
        put(&to, &mut |to| match &script {
            Some(text) => write_executable(to, text),
            None => copy(&scratch.join(path), to),
        })?;
        placed.insert(format!("{}{target}", root.shown), to);
    }
    for (name, text) in &entry_points {
        let to = scheme.prefix.join("bin").join(name);
        put(&to, &mut |to| write_executable(to, text))?;
        placed.insert(format!("{}/bin/{name}", scheme.to_prefix), to);
    }
    // What is installed as it was packed has the RECORD that it was packed with.
    let packed: BTreeSet<&str> = paths.iter().map(RelativePath::as_str).collect();
    if placed.keys().map(String::as_str).ne(packed) {
        write(&scheme.site.join(&info).join("RECORD"), record::installed(&placed, &info)?)?;
    }
    Ok(())
}

/// The name of the wheel's `.dist-info` folder.
fn dist_info(paths: &[RelativePath], file: &FileName) -> Result<FileName> {
    let mut found: Vec<FileName> = Vec::new();
    for path in paths {
        let (first, rest) = path.split_first();
        if rest.is_some() && first.ends_with(".dist-info") && found.last() != Some(&first) {
            found.push(first);
        }
    }
    let [info] = found.as_slice() else {
        let names = found.iter().map(|name| format!("`{name}`"));
        return Err(
            Error::new(format!("expected one folder `*.dist-info` but found {}", found.len())).details(names)
        );
    };
    let stated = WheelName::parse(file);
    let name = info
        .strip_suffix(".dist-info")
        .and_then(|stem| WheelName::parse(&format!("{stem}-py3-none-any.whl")));
    match (stated, name) {
        (Some(stated), Some(name)) if stated.name == name.name && stated.version == name.version => {
            Ok(info.clone())
        }
        _ => Err(Error::new(format!("expected the metadata of `{file}` but found `{info}`"))),
    }
}

/// Checks that the wheel has a format that this installer knows.
fn check_format(scratch: &Path, info: &FileName) -> Result<()> {
    let path = scratch.join(info).join("WHEEL");
    let text = fs::read_to_string(&path).context(|| format!("cannot read `{info}/WHEEL`"))?;
    let stated =
        text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| *key == "Wheel-Version"));
    match stated.map(|(_, version)| version.trim()) {
        Some(version) if version.split('.').next() == Some("1") => Ok(()),
        Some(version) => Err(Error::new(format!("expected a wheel of format 1 but found `{version}`"))),
        None => Err(Error::new(format!("expected `Wheel-Version` in `{info}/WHEEL` but found none"))),
    }
}

/// One of the folders that files go to.
struct Root {
    folder: PathBuf,
    /// The way to it from `site`, with a slash; empty for `site` itself.
    shown: String,
    script: bool,
}

/// Where a file of the wheel goes.
fn target(path: &RelativePath, info: &FileName, scheme: &Scheme) -> Result<(Root, RelativePath)> {
    let site = || Root { folder: scheme.site.clone(), shown: String::new(), script: false };
    let (first, rest) = path.split_first();
    let (true, Some(rest)) = (first.ends_with(".data"), rest) else { return Ok((site(), path.clone())) };
    if first.strip_suffix(".data") != info.strip_suffix(".dist-info") {
        return Err(Error::new(format!("`{path}` is the data of another distribution than `{info}`")));
    }
    let (part, rest) = rest.split_first();
    let below = |folder: &str, script| Root {
        folder: scheme.prefix.join(folder),
        shown: format!("{}/{folder}{}", scheme.to_prefix, if folder.is_empty() { "" } else { "/" }),
        script,
    };
    let distribution = info.split('-').next().unwrap_or_default();
    let root = match part.as_str() {
        "purelib" | "platlib" => site(),
        "scripts" => below("bin", true),
        "headers" => below(&format!("include/python3.14/{distribution}"), false),
        "data" => below("", false),
        _ => return Err(Error::new(format!("`{path}` is of the unknown part `{part}`"))),
    };
    let rest = rest.ok_or_else(|| Error::new(format!("expected a folder `{path}` but found a file")))?;
    Ok((root, rest))
}

/// Puts a file where none is; an equal one that is already there, of another wheel, stays.
fn put(to: &Path, make: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    if to.symlink_metadata().is_err() {
        return make(to);
    }
    let fresh = to.with_added_extension("fresh");
    make(&fresh)?;
    let equal = to.is_file() && Digest::of_file(to)?.0 == Digest::of_file(&fresh)?.0;
    fs::remove_file(&fresh)?;
    if equal {
        return Ok(());
    }
    Err(Error::new(format!("`{}` is already there, with other content", to.display()))
        .hint("two wheels have a file of this name, or one has it twice"))
}
