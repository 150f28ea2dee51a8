//! A recipe as written: plain values, nothing but their types checked.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Answers, Kind};

/// A `recipe.toml`; `recipes/README.md` and [`super::schema`] tell what the keys mean.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeFile {
    /// What is made.
    pub package: PackageTable,
    /// What it is made from.
    pub source: Vec<SourceTable>,
    /// Changes to the source.
    #[serde(default)]
    pub patch: Vec<PatchTable>,
    /// How it is made.
    pub build: BuildTable,
    /// What it needs.
    #[serde(default)]
    pub requires: RequiresTable,
    /// What others may compile and link against.
    #[serde(default)]
    pub provides: ProvidesTable,
    /// How the result is tried.
    #[serde(default)]
    pub check: CheckTable,
}

/// `[package]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the schema documents each key")]
pub struct PackageTable {
    pub name: String,
    pub version: String,
    pub kind: Kind,
    #[serde(default)]
    pub imports: Vec<String>,
    pub license: LicenseTable,
}

/// `[package.license]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the schema documents each key")]
pub struct LicenseTable {
    pub spdx: String,
    pub files: Vec<String>,
}

/// `[[source]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the schema documents each key")]
pub struct SourceTable {
    pub pypi: Option<String>,
    #[serde(rename = "crate")]
    pub krate: Option<String>,
    pub debian: Option<String>,
    pub url: Option<String>,
    pub sha256: String,
    pub size: u64,
    pub strip: Option<usize>,
    pub into: Option<String>,
    #[serde(default)]
    pub only: Vec<String>,
}

/// `[[patch]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the schema documents each key")]
pub struct PatchTable {
    pub file: String,
    pub reason: String,
    pub upstream: String,
    pub drop: String,
}

/// `[build]`: the keys of all back ends side by side; a checked [`super::Build`] has each in its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the schema documents each key")]
pub struct BuildTable {
    pub backend: BackendName,
    pub dir: Option<String>,
    #[serde(default)]
    pub options: Vec<String>,
    #[serde(default)]
    pub cflags: Vec<String>,
    #[serde(default)]
    pub cxxflags: Vec<String>,
    #[serde(default)]
    pub ldflags: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub exceptions: bool,
    #[serde(default)]
    pub setjmp: bool,
    #[serde(default)]
    pub targets: Vec<String>,
    #[serde(default)]
    pub install: BTreeMap<String, String>,
    pub manifest: Option<String>,
    pub lib: Option<String>,
    pub module: Option<String>,
    #[serde(default)]
    pub features: Vec<String>,
    pub python_source: Option<String>,
    #[serde(default)]
    pub cross: Answers,
}

/// The value of `[build] backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "`Backend` documents each")]
pub enum BackendName {
    Setuptools,
    MesonPython,
    #[serde(rename = "cargo-pyo3")]
    CargoPyo3,
    Cmake,
    Autotools,
    Make,
    Wheel,
    Cpython,
}

impl BackendName {
    /// The name as a recipe has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setuptools => "setuptools",
            Self::MesonPython => "meson-python",
            Self::CargoPyo3 => "cargo-pyo3",
            Self::Cmake => "cmake",
            Self::Autotools => "autotools",
            Self::Make => "make",
            Self::Wheel => "wheel",
            Self::Cpython => "cpython",
        }
    }
}

/// `[requires]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the schema documents each key")]
pub struct RequiresTable {
    pub build: Vec<String>,
    pub host: Vec<String>,
    pub run: Vec<String>,
}

/// `[provides]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the schema documents each key")]
pub struct ProvidesTable {
    pub archives: Vec<String>,
    pub include: Vec<String>,
}

/// `[check]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the schema documents each key")]
pub struct CheckTable {
    pub smoke: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::recipe::schema::{BACKENDS, KINDS, TABLES};

    /// The field names of a type, as serde lists them when it meets another.
    fn fields<T: DeserializeOwned>() -> Vec<String> {
        let Err(error) = toml::from_str::<T>("no-such-key = 1") else { panic!("a key was let through") };
        let (_, expected) = error.message().split_once("expected").unwrap();
        let mut names = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn the_schema_and_the_types_have_the_same_keys() {
        let types = [
            ("", fields::<RecipeFile>()),
            ("package", fields::<PackageTable>()),
            ("package.license", fields::<LicenseTable>()),
            ("source", fields::<SourceTable>()),
            ("patch", fields::<PatchTable>()),
            ("build", fields::<BuildTable>()),
            ("requires", fields::<RequiresTable>()),
            ("provides", fields::<ProvidesTable>()),
            ("check", fields::<CheckTable>()),
        ];
        assert_eq!(types.len(), TABLES.len());
        for (table, (name, fields)) in TABLES.iter().zip(types) {
            assert_eq!(table.name, name);
            let mut keys = table.keys.iter().map(|key| key.name).collect::<Vec<_>>();
            keys.sort_unstable();
            assert_eq!(keys, fields, "{name}");
        }
    }

    #[test]
    fn every_choice_is_a_value() {
        for name in BACKENDS {
            let backend = serde_json::from_value::<BackendName>((*name).into()).unwrap();
            assert_eq!(backend.as_str(), *name);
        }
        for name in KINDS {
            let kind = serde_json::from_value::<Kind>((*name).into()).unwrap();
            assert_eq!(serde_json::to_value(kind).unwrap(), *name);
        }
    }
}
