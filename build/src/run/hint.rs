//! What a program did not find, although this machine has it: which option lends it.

use std::path::{Path, PathBuf};

use eryx_embed::Grant;
use serde::Deserialize;

use super::{Program, RunOptions};

/// The guest's home, where a program starts that was lent no directory.
const HOME: &str = "/home/sandbox";

/// What the exception that ended a program says of its cause.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Cause {
    /// There is no such file; the path is absolute.
    File(String),
    /// There is no such module.
    Module(String),
    /// Memory was refused.
    Memory(bool),
}

impl Cause {
    /// The way out, when what was not found is on this machine.
    pub(super) fn hint(&self, options: &RunOptions) -> Option<String> {
        let here = std::env::current_dir().ok()?;
        match self {
            Self::File(path) => {
                let path = Path::new(path);
                let own = path.strip_prefix(HOME).map_or_else(|_| path.to_owned(), |below| here.join(below));
                let found = own.symlink_metadata().ok()?;
                let folder = if found.is_dir() { own.as_path() } else { own.parent()? };
                lend(&own, folder, &here, &options.grants)
            }
            Self::Module(name) => {
                let name = name.split('.').next()?;
                let folder = match &options.python.program {
                    Program::File(file) => std::path::absolute(file).ok()?.parent()?.to_owned(),
                    _ => here.clone(),
                };
                let candidates = [folder.join(format!("{name}.py")), folder.join(name)];
                let own = candidates.into_iter().find(|candidate| candidate.exists())?;
                lend(&own, &folder, &here, &options.grants)
            }
            Self::Memory(_) => None,
        }
    }
}

fn lend(own: &Path, folder: &Path, here: &Path, grants: &[Grant]) -> Option<String> {
    let is_lent =
        |grant: &Grant| std::path::absolute(&grant.embedder_path).is_ok_and(|lent| folder.starts_with(lent));
    if folder == Path::new("/") || grants.iter().any(is_lent) {
        return None;
    }
    let (own, folder) = (relative(own, here), relative(folder, here));
    Some(format!(
        "`{}` is on this machine; `--dir {}` lends it to the program",
        own.display(),
        folder.display()
    ))
}

/// A path as a user in `here` would write it.
fn relative(path: &Path, here: &Path) -> PathBuf {
    match path.strip_prefix(here) {
        Ok(below) if below.as_os_str().is_empty() => ".".into(),
        Ok(below) => below.to_owned(),
        Err(_) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_has_can_be_lent() {
        let here = std::env::current_dir().unwrap();
        let hint = |cause: Cause, grants: &[&str]| {
            let grants = grants.iter().map(|text| text.parse().unwrap()).collect();
            cause.hint(&RunOptions { grants, ..RunOptions::default() })
        };
        let file = |path: &str| Cause::File(path.to_owned());
        let told = |own: &str, folder: &str| {
            Some(format!("`{own}` is on this machine; `--dir {folder}` lends it to the program"))
        };
        assert_eq!(hint(file("/home/sandbox/Cargo.toml"), &[]), told("Cargo.toml", "."));
        assert_eq!(hint(file("/home/sandbox/src/run.rs"), &[]), told("src/run.rs", "src"));
        assert_eq!(hint(file(here.join("src").to_str().unwrap()), &[]), told("src", "src"));
        assert_eq!(hint(file("/etc/passwd"), &[]), told("/etc/passwd", "/etc"));
        assert_eq!(hint(file("/home/sandbox/Cargo.toml"), &["."]), None);
        assert_eq!(hint(file("/home/sandbox/src/run.rs"), &[".::/work:ro"]), None);
        assert_eq!(hint(file("/nonexistent"), &[]), None);
        assert_eq!(hint(Cause::Module("src.x".into()), &[]), told("src", "."));
        assert_eq!(hint(Cause::Module("nonexistent".into()), &[]), None);
        assert_eq!(hint(Cause::Memory(true), &[]), None);
    }
}
