//! The verb `check`: whether a component is what an embedder may rely on.
//!
//! It looks at the file first (what it imports and exports, its sections, what of the build machine
//! is left in it), then runs it: every bundled package is imported and tried. All problems are
//! gathered in one [`Report`].

mod command;
mod eryx_0_14;
mod features;
mod inventory;
mod packages;
mod search;
mod surface;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use memchr::memmem;

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
pub use command::{Ended, Invocation, Program};
pub use eryx_0_14::{Answer, Embedding, Executed, Instance, Saved};
use eryx_embed::{Embedder, Session, SessionOptions, format_size};
pub use inventory::Part;
pub use packages::{Package, PackageReport};
use surface::World;

/// What a component consists of, without a judgement.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The names of the imports, sorted.
    pub imports: Vec<String>,
    /// The names of the exports, sorted.
    pub exports: Vec<String>,
    /// What the file consists of, with sizes in bytes; the last part is the whole.
    pub parts: Vec<Part>,
}

/// Looks into a component.
///
/// # Errors
/// When the bytes are not valid.
pub fn contents(bytes: &[u8]) -> wasmparser::Result<Contents> {
    let found = inventory::take(bytes)?;
    Ok(Contents {
        imports: found.import_names(),
        exports: found.export_names(),
        parts: found.parts(bytes.len() as u64),
    })
}

/// What to check a component against.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions<'a> {
    /// The root of the cache, for compiled code.
    pub cache: Option<&'a Path>,
    /// The bundled packages.
    pub packages: &'a [Package],
    /// What must not occur in the file, such as the cache's root and the home directory.
    pub forbidden: &'a [String],
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file as it was named.
    pub component: String,
    /// The SHA-256 of the file.
    pub digest: Digest,
    /// What the file consists of, with sizes in bytes; the last part is the whole.
    pub parts: Vec<Part>,
    /// The wasm proposals that its code uses.
    pub features: BTreeSet<&'static str>,
    /// The names of the imports, sorted.
    pub imports: Vec<String>,
    /// The names of the exports, sorted.
    pub exports: Vec<String>,
    /// How each package fared; empty when the component could not be started.
    pub packages: Vec<PackageReport>,
    /// Everything that is wrong, apart from the packages.
    pub problems: Vec<String>,
}

/// Checks a component. Problems of the component are in the report, see [`Report::verdict`].
///
/// # Errors
/// When the file cannot be read or is not a component at all.
pub fn check(component: &Path, options: &CheckOptions<'_>) -> Result<Report> {
    let name = component.display().to_string();
    let image = Embedder::new(options.cache)?.load(component)?;
    let bytes = fs::read(component).context(|| format!("cannot read the component `{name}`"))?;
    let found = inventory::take(&bytes)
        .map_err(|error| Error::new(format!("`{name}` is malformed")).detail(format!("{error}")))?;
    let world = World::of(&found);
    let mut problems = surface::problems(&found, world);
    problems.extend(found.section_problems());
    problems.extend(options.forbidden.iter().filter_map(|text| leak(&bytes, &found, text)));
    let tried = match world {
        World::Sandbox => {
            let start = || image.session(SessionOptions::default()).map_err(Error::from);
            start().map(|session| packages::try_all::<Session>(session, start, options.packages))
        }
        World::Command => {
            let component = image.prepare(false)?;
            let start = || Program::new(component.engine(), component);
            start().map(|program| packages::try_all(program, start, options.packages))
        }
        World::Eryx014 => {
            let component = image.prepare(false)?;
            let start = || Instance::new(component.engine(), component, &[], |_, _| Ok(String::new()));
            start().map(|instance| packages::try_all(instance, start, options.packages))
        }
    };
    // A component that does not fit the world cannot be started by us, whatever else it is.
    let packages = tried.unwrap_or_else(|error| {
        problems.push(error.to_string());
        Vec::new()
    });
    Ok(Report {
        component: name,
        digest: image.digest(),
        parts: found.parts(bytes.len() as u64),
        features: found.features(),
        imports: found.import_names(),
        exports: found.export_names(),
        packages,
        problems,
    })
}

/// Where a forbidden text occurs, if it does.
fn leak(bytes: &[u8], found: &inventory::Inventory, text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let places: Vec<usize> = memmem::find_iter(bytes, text.as_bytes()).collect();
    let first = *places.first()?;
    let more = if places.len() > 1 { format!(" and {} more times", places.len() - 1) } else { String::new() };
    let around = search::printable_around(bytes, first);
    Some(format!("`{text}` occurs in {}{more}: `{around}`", found.place(first as u64)))
}

impl Report {
    /// Whether all is well.
    ///
    /// # Errors
    /// One error with every problem of the component and of its packages.
    pub fn verdict(&self) -> Result<()> {
        let mut all = self.problems.clone();
        for package in &self.packages {
            all.extend(
                package.problems.iter().map(|problem| format!("package `{}`: {problem}", package.name)),
            );
        }
        match all.len() {
            0 => Ok(()),
            1 => Err(Error::new(format!("1 problem in `{}`", self.component)).details(all)),
            count => Err(Error::new(format!("{count} problems in `{}`", self.component)).details(all)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  sha256:{}", self.component, self.digest)?;
        writeln!(f, "{:<16}{:>8}{:>12}", "part", "count", "size")?;
        for part in &self.parts {
            writeln!(f, "{:<16}{:>8}{:>12}", part.name, part.count, format_size(part.bytes))?;
        }
        let features: Vec<_> = self.features.iter().copied().collect();
        writeln!(f, "{:<16}{}", "features", features.join(", "))?;
        writeln!(f, "{:<16}{}", "exports", self.exports.join(", "))?;
        for (index, import) in self.imports.iter().enumerate() {
            writeln!(f, "{:<16}{import}", if index == 0 { "imports" } else { "" })?;
        }
        for (index, package) in self.packages.iter().enumerate() {
            let verdict = if package.problems.is_empty() { "ok" } else { "failed" };
            let label = if index == 0 { "packages" } else { "" };
            writeln!(f, "{label:<16}{:<32}{verdict}", package.name)?;
        }
        Ok(())
    }
}
