//! Recipes: how one source becomes libraries, extension modules or Python files.
//!
//! A recipe is a folder `recipes/<name>/` with a `recipe.toml` and the patches it lists. Reading it goes
//! through three forms, each surer than the one before:
//!
//! 1. the text as a TOML tree in which every key and value knows its place ([`schema`] checks the tree
//!    against the table of keys and types, so that a wrong key is told with its line);
//! 2. [`RecipeFile`]: the same as plain Rust values, as written;
//! 3. [`Recipe`]: names, versions, requirements, digests and paths checked, the back end's own keys inside
//!    the back end, patches read and hashed.
//!
//! A [`Catalog`] is all recipes together, with what only shows when they are together (unknown requirements,
//! cycles). All problems of all recipes are gathered in one error.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pep440_rs::Version;
use pep508_rs::Requirement;
use serde::Serialize;
use url::Url;

use crate::digest::Digest;
use crate::file_name::FileName;
use crate::name::PackageName;

pub mod catalog;
mod check;
mod file;
mod license;
mod place;
pub mod schema;
pub mod source;

pub use catalog::Catalog;
pub use file::{BackendName, RecipeFile};
pub use license::is_spdx;
pub use source::{Part, Source, parse_parts};

/// A checked recipe: nothing in it needs to be looked at twice.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The name, equal to the folder's.
    pub name: PackageName,
    /// The version of the main source.
    pub version: Version,
    /// What comes out.
    pub kind: Kind,
    /// The modules that a component with this package can import; `check` imports each.
    pub imports: Vec<String>,
    /// Under which terms.
    pub license: License,
    /// Where the source comes from: the main one first, never empty.
    pub sources: Vec<Source>,
    /// Changes to the source, applied in this order with `-p1` and no fuzz.
    pub patches: Vec<Patch>,
    /// How it is compiled.
    pub build: Build,
    /// Python packages installed on the build machine for the build, each with its exact version.
    pub requires_build: Vec<Pinned>,
    /// Recipes compiled for the guest before this one, whose headers and archives it sees, in link order.
    pub requires_host: Vec<PackageName>,
    /// Python packages that this one imports.
    pub requires_run: Vec<Requirement<Url>>,
    /// What later recipes may compile and link against.
    pub provides: Provides,
    /// Python code that `check` runs in the component; it fails by raising.
    pub smoke: Option<String>,
    /// The folder of the recipe.
    pub folder: PathBuf,
}

/// What comes out of a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A Python package with extension modules; compiled against the interpreter without naming it.
    Extension,
    /// A Python package without compiled code.
    Pure,
    /// Headers and archives that other recipes compile against; nothing of it is in the component by itself.
    Library,
    /// CPython: its library, standard library and build-machine twin.
    Interpreter,
}

/// The terms under which a source may be passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct License {
    /// An SPDX licence expression of known licences.
    pub spdx: String,
    /// The texts, relative to the root of the unpacked sources.
    pub files: Vec<String>,
}

/// A change to the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The file name within the recipe's folder.
    pub file: FileName,
    /// The file.
    pub path: PathBuf,
    /// The digest of the file.
    pub digest: Digest,
    /// Why it is needed.
    pub reason: String,
    /// Where upstream was told, or why not.
    pub upstream: String,
    /// When it can go.
    pub drop: String,
}

/// A Python package at one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pinned {
    /// The package.
    pub name: PackageName,
    /// The only version that will do.
    pub version: Version,
}

/// How a source is compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Build {
    /// What drives the build, with the settings that only this back end has.
    pub backend: Backend,
    /// The folder within the source in which the back end works; empty for its root.
    pub dir: String,
    /// Arguments of the back end's configuring command.
    pub options: Vec<String>,
    /// Compiler flags for C and C++.
    pub cflags: Vec<String>,
    /// Compiler flags for C++ only.
    pub cxxflags: Vec<String>,
    /// Flags for linking extension modules.
    pub ldflags: Vec<String>,
    /// Environment variables of every command.
    pub env: BTreeMap<String, String>,
    /// Whether the C++ code throws: compiled with wasm exceptions, linked with libc++.
    pub exceptions: bool,
    /// Whether the C code calls `setjmp`: compiled with wasm exceptions, linked with libsetjmp.
    pub setjmp: bool,
}

/// What drives a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Backend {
    /// `setup.py` or a `pyproject.toml` of setuptools.
    Setuptools,
    /// meson through meson-python's layout.
    MesonPython {
        /// `[properties]` of the cross file.
        cross: Answers,
    },
    /// A cargo package with PyO3, as maturin and setuptools-rust drive it.
    CargoPyo3(Cargo),
    /// `cmake`, then `cmake --build` and `cmake --install`.
    Cmake {
        /// Cache entries, given as `-DNAME=VALUE`.
        cross: Answers,
    },
    /// `configure`, `make TARGETS`, `make install`.
    Autotools {
        /// Answers to configure's probes, as in a `config.site`.
        cross: Answers,
        /// What `make` makes; empty for its default.
        targets: Vec<String>,
        /// Build results (values) to copy to places in the prefix (keys), in place of `make install`.
        install: BTreeMap<String, String>,
    },
    /// `make TARGETS` with CC, CFLAGS, AR and RANLIB set.
    Make {
        /// What `make` makes; empty for its default.
        targets: Vec<String>,
        /// Places in the prefix (keys) and the build results copied there (values).
        install: BTreeMap<String, String>,
    },
    /// A wheel tagged `none-any`, unpacked.
    Wheel,
    /// CPython's own configure and make, and what follows from its being the interpreter.
    Cpython {
        /// Answers to configure's probes, as in a `config.site`.
        cross: Answers,
    },
}

/// Answers to questions that a cross build cannot find out by running a program.
pub type Answers = BTreeMap<String, Answer>;

/// One answer, rendered by the back end in its own syntax.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

/// The settings of a PyO3 build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cargo {
    /// The `Cargo.toml`, relative to the source; its folder also holds the `Cargo.lock`.
    pub manifest: String,
    /// The name of the library target.
    pub lib: String,
    /// The dotted name of the extension module.
    pub module: String,
    /// Features to switch on.
    pub features: Vec<String>,
    /// The folder with the Python files of the package, relative to the source, if it has any.
    pub python_source: Option<String>,
}

/// What later recipes may compile and link against; paths in the recipe's prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Provides {
    /// Archives, in link order.
    pub archives: Vec<String>,
    /// Include directories.
    pub include: Vec<String>,
}

/// Every field of a recipe that can change what its build gives, in a form whose JSON is canonical.
///
/// | in it | why |
/// |---|---|
/// | name, version, kind | they go into file names and metadata |
/// | sources: digest, kind of archive, strip, into, only | the tree that is built |
/// | digests of the patches, in order | likewise |
/// | licence files | copied into the result |
/// | build, required tools, host requirements in order, provides | the commands and the result's layout |
///
/// Left out: addresses of sources and names of patches (their digests stand for them), run requirements
/// (resolved elsewhere), imports and smoke code (used on the component), the SPDX expression (goes to the
/// manifest), reasons. The digests of what the requirements resolve to are inputs of the action, not of this.
#[derive(Debug, Serialize)]
pub struct BuildKey<'a> {
    name: &'a PackageName,
    version: String,
    kind: Kind,
    sources: Vec<source::SourceKey<'a>>,
    patches: Vec<Digest>,
    license_files: &'a [String],
    build: &'a Build,
    requires_build: Vec<String>,
    requires_host: &'a [PackageName],
    provides: &'a Provides,
}

impl Backend {
    /// The value of `[build] backend`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let name = match self {
            Self::Setuptools => BackendName::Setuptools,
            Self::MesonPython { .. } => BackendName::MesonPython,
            Self::CargoPyo3(_) => BackendName::CargoPyo3,
            Self::Cmake { .. } => BackendName::Cmake,
            Self::Autotools { .. } => BackendName::Autotools,
            Self::Make { .. } => BackendName::Make,
            Self::Wheel => BackendName::Wheel,
            Self::Cpython { .. } => BackendName::Cpython,
        };
        name.as_str()
    }
}

impl Recipe {
    /// Whether it is a Python package, which a bundle can name; libraries and the interpreter are not.
    #[must_use]
    pub fn is_package(&self) -> bool {
        matches!(self.kind, Kind::Extension | Kind::Pure)
    }

    /// What of this recipe belongs into an action key.
    #[must_use]
    pub fn build_key(&self) -> BuildKey<'_> {
        BuildKey {
            name: &self.name,
            version: self.version.to_string(),
            kind: self.kind,
            sources: self.sources.iter().map(Source::key).collect(),
            patches: self.patches.iter().map(|patch| patch.digest).collect(),
            license_files: &self.license.files,
            build: &self.build,
            requires_build: self.requires_build.iter().map(Pinned::to_string).collect(),
            requires_host: &self.requires_host,
            provides: &self.provides,
        }
    }
}

impl std::fmt::Display for Pinned {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}=={}", self.name, self.version)
    }
}
