//! The stages of the pipeline, one file each: inputs in, one directory out.
//!
//! A step sees its inputs, an empty work directory and nothing else. It writes its result into
//! [`Work::out`]; the executor stores it. Each stage has a revision: it changes when the stage's code
//! changes in a way that can change its result, and is part of the action key.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::archive::{self, Unpack};
use crate::command::{Cmd, Log};
use crate::error::{Context, Error, Result};
use crate::file_name::FileName;
use crate::files::{files_below, write};
use crate::install::{self, Scheme};
use crate::jobs::Jobs;
use crate::recipe::{Patch, Source};
use crate::report::Report;

pub mod component;
mod contents;
pub mod cpython;
pub mod cpython_dev;
pub mod cross;
pub mod guest;
pub mod library;
pub mod packages;
pub mod place;
pub mod profile;
pub mod python;
pub mod rust;
pub mod sysroot;
pub mod toolchain;
pub mod tools;
mod train;
pub mod verify;

/// Fixed in every environment and file, so that no result depends on when it was made: the date of the
/// pinned wasi-libc, 2026-01-29.
pub const SOURCE_DATE_EPOCH: &str = "1769644800";

/// Where a step runs, and what it may use.
pub struct Work<'a> {
    /// An empty directory of the step's own; kept when the step fails.
    pub dir: PathBuf,
    /// The directory that becomes the result.
    pub out: PathBuf,
    /// Files and directories of the store and the checkout, by role; read-only.
    pub inputs: BTreeMap<String, PathBuf>,
    /// Where commands are logged.
    pub log: Log,
    /// The jobs that the commands of all steps share.
    pub jobs: &'a Jobs,
    /// What the user sees.
    pub report: &'a Report,
}

/// The environment that all steps share, for a step in `dir`.
#[must_use]
pub fn environment(dir: &Path) -> BTreeMap<String, String> {
    let home = dir.display().to_string();
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", &home),
        ("TMPDIR", &home),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONNOUSERSITE", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

impl Work<'_> {
    /// The path of an input.
    ///
    /// # Errors
    /// When the plan gave the step no such input, which is a mistake in the plan.
    pub fn input(&self, role: &str) -> Result<&Path> {
        self.inputs
            .get(role)
            .map(PathBuf::as_path)
            .ok_or_else(|| Error::new(format!("the plan gave this step no input `{role}`")))
    }

    /// The inputs whose role begins with `prefix`, as (rest of the role, path), sorted.
    pub fn inputs_of<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Path)> {
        self.inputs.iter().filter_map(move |(role, path)| Some((role.strip_prefix(prefix)?, path.as_path())))
    }

    /// A command in the work directory with the environment that all steps share.
    pub fn cmd(&self, program: impl AsRef<std::ffi::OsStr>) -> Cmd {
        Cmd::new(program, &self.dir, &self.log).envs(environment(&self.dir))
    }

    /// Unpacks sources (inputs `source/<file>`) into a folder and applies patches (inputs `patch/<file>`).
    ///
    /// # Errors
    /// When an archive is refused or a patch does not apply exactly.
    pub fn unpack(&self, sources: &[Source], patches: &[Patch], into: &Path) -> Result<()> {
        for (position, source) in sources.iter().enumerate() {
            let options = Unpack { strip: source.strip, only: source.only.clone(), ..Unpack::default() };
            let archive = self.input(&format!("source/{}", source.file))?;
            let target = if position == 0 && source.into.is_empty() {
                into.to_owned()
            } else {
                into.join(&source.into)
            };
            archive::unpack(archive, &source.file, &target, &options)?;
        }
        for patch in patches {
            self.patch(&patch.file, into)?;
        }
        Ok(())
    }

    /// Installs the wheels among the inputs (`source/<file>`).
    ///
    /// # Errors
    /// When a wheel is refused.
    pub fn install_wheels(&self, scheme: &Scheme) -> Result<()> {
        for (file, wheel) in self.inputs_of("source/") {
            let file = FileName::new(file)?;
            let scratch = self.dir.join("wheel").join(&file);
            install::install(wheel, &file, &scratch, scheme)?;
        }
        Ok(())
    }

    /// Replaces the work directory by `/build`, and every input that is a directory by its role, in all text
    /// files of the result.
    ///
    /// # Errors
    /// When a binary file names one: then a flag that maps paths is missing.
    pub fn scrub(&self) -> Result<()> {
        self.scrub_folder(&self.out)
    }

    /// Does in a folder what [`Work::scrub`] does in the result.
    ///
    /// # Errors
    /// When a binary file names such a directory.
    pub fn scrub_folder(&self, folder: &Path) -> Result<()> {
        let mut names = vec![(self.dir.display().to_string(), "/build".to_owned())];
        let folders = self.inputs.iter().filter(|(_, path)| path.is_dir());
        names.extend(folders.map(|(role, path)| (path.display().to_string(), format!("/{role}"))));
        let mut found = Vec::new();
        for file in files_below(folder)? {
            let path = folder.join(&file);
            if path.is_symlink() {
                continue;
            }
            let bytes = fs::read(&path).context(|| format!("cannot read `{}`", path.display()))?;
            let named = |(name, _): &&(String, String)| memmem::find(&bytes, name.as_bytes()).is_some();
            let named: Vec<_> = names.iter().filter(named).collect();
            if named.is_empty() {
                continue;
            }
            match String::from_utf8(bytes) {
                Ok(text) => {
                    let replace = |text: String, (name, role): &(String, String)| text.replace(name, role);
                    write(&path, named.into_iter().fold(text, replace))?;
                }
                Err(_) => found.push(format!("`{}`: {}", file.display(), ticked(&named))),
            }
        }
        if found.is_empty() {
            Ok(())
        } else {
            Err(Error::new("paths of the build machine got into binary files").details(found))
        }
    }

    /// Applies the patch of input `patch/<file>` to a folder, with `-p1` and no fuzz.
    ///
    /// # Errors
    /// When it does not apply exactly.
    pub fn patch(&self, file: &str, folder: &Path) -> Result<()> {
        self.cmd("patch")
            .args(["-p1", "--fuzz=0", "--forward", "--no-backup-if-mismatch", "-i"])
            .arg(self.input(&format!("patch/{file}"))?)
            .cwd(folder)
            .run()
            .context(|| format!("patch `{file}` does not apply"))
    }
}

fn ticked(names: &[&(String, String)]) -> String {
    names.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
