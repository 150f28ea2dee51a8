//! Wheels that the user gives as files.
//!
//! What a file holds identifies it, as everything else: its path is in no key and in no lock file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::file_name::FileName;
use crate::index::read_metadata;
use crate::lock::LockedWheel;
use crate::name::PackageName;
use crate::resolve::{WheelName, given_wheel};

/// A wheel of the user's.
#[derive(Clone, Debug)]
pub struct Given {
    /// What the lock says of it.
    pub wheel: LockedWheel,
    /// Where it is.
    pub path: PathBuf,
}

/// What a user may name: packages, and files.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Requirements, those of the files among them.
    pub requirements: Vec<String>,
    /// The files.
    pub wheels: Vec<Given>,
}

/// Reads the files among what the user names: whatever has a slash, or ends in `.whl`.
///
/// # Errors
/// All files that are no wheels for a component, and all packages of which there are two.
pub fn read(arguments: &[String]) -> Result<Named> {
    let mut named = Named::default();
    let mut problems = Vec::new();
    let mut owners: BTreeMap<PackageName, PathBuf> = BTreeMap::new();
    let mut folder = false;
    for argument in arguments {
        let Some((path, extras)) = as_path(argument) else {
            named.requirements.push(argument.clone());
            continue;
        };
        folder |= path.is_dir();
        match wheel(&path) {
            Ok(wheel) => {
                named.requirements.push(format!("{}{extras}", wheel.name));
                match owners.insert(wheel.name.clone(), path.clone()) {
                    Some(other) if other != path => problems.push(format!(
                        "`{}` and `{}` are both `{}`",
                        other.display(),
                        path.display(),
                        wheel.name
                    )),
                    Some(_) => {}
                    None => named.wheels.push(Given { wheel, path }),
                }
            }
            Err(why) => problems.push(format!("`{}`: {why}", path.display())),
        }
    }
    if problems.is_empty() {
        return Ok(named);
    }
    let error = Error::new("expected pure-Python wheels").details(problems);
    Err(if folder {
        error.hint("build the wheel first, with `python3 -m pip wheel --no-deps FOLDER`, and name the `.whl`")
    } else {
        error.hint("a wheel for a component is named `name-version-py3-none-any.whl`")
    })
}

/// An argument as a path and the extras behind it; nothing for a requirement.
fn as_path(argument: &str) -> Option<(PathBuf, &str)> {
    let (path, extras) = match argument.split_once('[') {
        Some((path, _)) if argument.ends_with(']') => (path, argument.get(path.len()..)?),
        _ => (argument, ""),
    };
    let is_address = argument.contains("://") || argument.contains(" @ ");
    let is_path = !is_address && (path.contains('/') || path.ends_with(".whl"));
    is_path.then(|| (PathBuf::from(path), extras))
}

fn wheel(path: &Path) -> Result<LockedWheel, String> {
    if path.is_dir() {
        return Err("it is a folder with sources, or with wheels for `--find-links`".to_owned());
    }
    let text = |error: Error| error.to_string();
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let file = FileName::new(file).map_err(text)?;
    let opened = std::fs::File::open(path).map_err(|error| text(Error::from(error)))?;
    let name = WheelName::parse(&file).ok_or("its name is not that of a wheel")?;
    let (sha256, size) = Digest::of_file(path).map_err(text)?;
    let metadata = read_metadata(opened).map_err(text)?;
    given_wheel(&file, &name, (sha256, size), &metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_no_requirements() {
        for (argument, path, extras) in [
            ("./x-1-py3-none-any.whl", "./x-1-py3-none-any.whl", ""),
            ("x-1-py3-none-any.whl[a,b]", "x-1-py3-none-any.whl", "[a,b]"),
            ("/a/b", "/a/b", ""),
            ("../p@q/x.whl", "../p@q/x.whl", ""),
        ] {
            assert_eq!(as_path(argument), Some((PathBuf::from(path), extras)), "{argument}");
        }
        for argument in ["numpy", "x[y]>=1", "x @ https://a.example/x.whl", "x ; sys_platform == 'wasi'"] {
            assert_eq!(as_path(argument), None, "{argument}");
        }
    }
}
