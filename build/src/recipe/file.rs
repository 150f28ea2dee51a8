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
