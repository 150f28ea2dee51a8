//! What a component is made of, as its manifest says it (written by `steps/component.rs`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::check::Package;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::plan::Form;

/// A manifest. Keys that are not read here are left alone.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// The packages that were asked for, joined by `+`; `python` for none.
    pub names: String,
    /// The WIT world that the component implements.
    pub world: String,
    /// How it is put together.
    #[serde(default)]
    pub form: Form,
    /// What became of the libraries' functions, unless they stay apart.
    #[serde(default)]
    pub prelinked: Option<Prelinked>,
    /// The digest of the component.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// How many files are in it.
    pub files: u64,
    /// The libraries in it, with their lengths in bytes before the link.
    pub libraries: BTreeMap<String, u64>,
    /// Every file and directory that its build used.
    pub inputs: Vec<Input>,
    /// The crates that it was made with.
    pub crates: Vec<Crate>,
    /// The packages in it.
    pub checks: Vec<Package>,
    /// For each package the modules that it brings, by the first part of their names; older manifests do not say.
    #[serde(default)]
    pub modules: BTreeMap<String, Vec<String>>,
}

/// How many functions of the libraries are in a prelinked component.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Prelinked {
    /// Those that are there.
    pub functions: u64,
    /// Those that nothing can call, which were left out.
    pub dropped: u64,
    /// How large the code of those was, in bytes; older manifests do not tell.
    pub dropped_bytes: Option<u64>,
    /// Those that can be called but are like another one, which stands for them; older manifests do not tell.
    pub folded: Option<u64>,
    /// How large the code of those was, in bytes.
    pub folded_bytes: Option<u64>,
}

/// A pinned file, or a file or directory of the checkout.
#[derive(Debug, Clone, Deserialize)]
pub struct Input {
    /// The file's name; its path for one of the checkout.
    pub file: String,
    /// Its digest; for a directory that of [`crate::store::tree_digest`].
    pub sha256: Digest,
    /// The steps that used it.
    pub steps: Vec<String>,
    /// What it is a part of.
    pub name: Option<String>,
    /// The version of that.
    pub version: Option<String>,
    /// The licence of that.
    pub license: Option<String>,
}

/// A crate.
#[derive(Debug, Clone, Deserialize)]
pub struct Crate {
    /// Its name.
    #[serde(rename = "crate")]
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence as it says it.
    pub license: Option<String>,
    /// The digest of its archive.
    pub sha256: Option<Digest>,
}

impl Manifest {
    /// Reads the text of a manifest.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &[u8]) -> Result<Self> {
        serde_json::from_slice(text).map_err(|error| Error::new(format!("malformed manifest: {error}")))
    }

    /// Reads the manifest beside a component.
    ///
    /// # Errors
    /// When there is none, or it is of another component.
    pub fn beside(component: &Path) -> Result<(Self, Vec<u8>)> {
        let path = component.with_extension("json");
        let text = std::fs::read(&path)
            .context(|| format!("expected the manifest of the component in `{}`", path.display()))?;
        let manifest = Self::parse(&text).map_err(|error| error.context(format!("`{}`", path.display())))?;
        let (found, _) = Digest::of_file(component)?;
        if found != manifest.sha256 {
            return Err(Error::new(format!(
                "`{}` is not the manifest of `{}`: expected sha256 `{}` but found `{found}`",
                path.display(),
                component.display(),
                manifest.sha256
            )));
        }
        Ok((manifest, text))
    }

    /// The version of an input by the name of what it is a part of.
    #[must_use]
    pub fn version_of(&self, name: &str) -> Option<&str> {
        let input = self.inputs.iter().find(|input| input.name.as_deref() == Some(name));
        input.and_then(|input| input.version.as_deref())
    }

    /// The packages in the component with their versions, Python first.
    #[must_use]
    pub fn packages(&self) -> Vec<(&str, &str)> {
        self.checks.iter().map(|one| (one.name.as_str(), self.version_of(&one.name).unwrap_or("?"))).collect()
    }

    /// The packages that were asked for.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.names_and_kind().0.split('+').filter(|name| *name != "python")
    }

    /// What sets the component apart from the usual one of its packages, such as `command` or `eryx-0.14.cold`: the
    /// world and the form, as far as they are in the name; empty for the usual one.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.names_and_kind().1
    }

    /// No package has a dot in its name.
    fn names_and_kind(&self) -> (&str, &str) {
        self.names.split_once('.').unwrap_or((&self.names, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_packages_from_world_and_form() {
        let read = |names: &str| {
            let text = serde_json::json!({
                "names": names, "world": "eryx-0.14", "sha256": Digest::of(b""), "size": 0, "files": 0,
                "libraries": {}, "inputs": [], "crates": [], "checks": [],
            });
            let manifest = Manifest::parse(text.to_string().as_bytes()).unwrap();
            let named: Vec<_> = manifest.named().map(str::to_owned).collect();
            (named.join(" "), manifest.kind().to_owned())
        };
        let expected = |named: &str, kind: &str| (named.to_owned(), kind.to_owned());
        assert_eq!(read("python"), expected("", ""));
        assert_eq!(read("numpy+pydantic"), expected("numpy pydantic", ""));
        assert_eq!(read("numpy.eryx-0.14"), expected("numpy", "eryx-0.14"));
        assert_eq!(read("python.eryx-0.14.cold"), expected("", "eryx-0.14.cold"));
    }
}
