//! From what a user names to a closed set of packages with exact versions.
//!
//! A name with a recipe is always taken from its recipe. Any other name is taken from the lock when an entry
//! satisfies everything that is asked of it, and else the newest fitting wheel of the index is chosen and
//! added to the lock. The search is greedy and restarts when a choice turns out wrong: it walks from the
//! requests through the requirements, chooses for every name the newest version that fits all that is wanted
//! so far, and starts again when a later wish contradicts; when nothing fits, it gives up the newest version of
//! whoever wants it, if there is another one.

mod candidate;
mod environment;
mod explain;
mod metadata;
mod search;
pub(crate) mod tools;
mod wheel;

pub use pep440_rs::Version;

pub use self::environment::Target;
pub use self::metadata::{Metadata, parse_metadata};
pub use self::wheel::WheelName;
use crate::error::{Error, Result};
use crate::fetch::Pin;
use crate::index::Index;
use crate::lock::Lock;
use crate::name::PackageName;

/// A requirement on a Python package (PEP 508).
pub type Requirement = pep508_rs::Requirement<pep508_rs::VerbatimUrl>;

/// What the recipes can provide.
pub trait Recipes {
    /// The version that a package's recipe builds; nothing when it has no recipe.
    fn version(&self, name: &PackageName) -> Option<Version>;
    /// The Python packages that it imports; empty for a name without a recipe.
    fn requires(&self, name: &PackageName) -> Vec<Requirement>;
    /// All packages with a recipe.
    fn names(&self) -> Vec<PackageName>;
}

/// What a component is made of, apart from the interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The packages that the user named, sorted, each once.
    pub named: Vec<PackageName>,
    /// These and everything that they require, sorted by name.
    pub packages: Vec<Chosen>,
}

/// A package of a closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// A package that a recipe builds.
    Recipe {
        /// The package.
        name: PackageName,
        /// The recipe's version.
        version: Version,
    },
    /// A pure-Python package that is unpacked from its wheel.
    Wheel {
        /// The package.
        name: PackageName,
        /// The chosen version.
        version: Version,
        /// The wheel.
        pin: Pin,
        /// The licence as the package's metadata says it, when it does.
        license: Option<String>,
        /// The packages that it requires in the guest, sorted; all are in the closure.
        requires: Vec<PackageName>,
    },
}

impl Chosen {
    /// The package.
    #[must_use]
    pub fn name(&self) -> &PackageName {
        match self {
            Self::Recipe { name, .. } | Self::Wheel { name, .. } => name,
        }
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &Version {
        match self {
            Self::Recipe { version, .. } | Self::Wheel { version, .. } => version,
        }
    }
}

/// Reads what a user names, such as `numpy`, `Pydantic`, `numpy==2.5.5` or `pkg[extra]>=3`.
///
/// # Errors
/// When one of the texts is no requirement, or is an address; all such texts are in one error.
pub fn parse_requests<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Requirement>> {
    let mut requests = Vec::new();
    let mut problems = Vec::new();
    for text in texts {
        match parse_requirement(text.as_ref()) {
            Ok(request) => requests.push(request),
            Err(why) => problems.push(format!("`{}`: {why}", text.as_ref().escape_debug())),
        }
    }
    if problems.is_empty() {
        return Ok(requests);
    }
    Err(Error::new("expected package names with optional versions")
        .details(problems)
        .hint("write `numpy`, `numpy==2.5.5`, `'jinja2>=3'` or `'pkg[extra]'`"))
}

fn parse_requirement(text: &str) -> Result<Requirement, String> {
    use pep508_rs::{Pep508ErrorSource, VersionOrUrl};
    let requirement: Requirement = text.trim().parse().map_err(|error: pep508_rs::Pep508Error| {
        match error.message {
            // One line only: what follows are pictures of the text with a marker under it.
            Pep508ErrorSource::String(message) => {
                let line = message.lines().next().unwrap_or_default().to_owned();
                let mut letters = line.chars();
                letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or(line)
            }
            other => other.to_string(),
        }
    })?;
    match requirement.version_or_url {
        Some(VersionOrUrl::Url(_)) => {
            Err("an address is not supported, only a name with versions".to_owned())
        }
        _ => Ok(requirement),
    }
}

/// Chooses the packages of a component: `requests` and everything that they require, for the guest.
///
/// What the index is asked about is added to `lock`; a lock that has everything makes no request.
///
/// # Errors
/// When a name or a version is unknown, requirements contradict each other, a package needs native code and has
/// no recipe, or the index cannot be asked. The error says who wants what.
pub fn resolve(
    requests: &[Requirement],
    recipes: &dyn Recipes,
    lock: &mut Lock,
    index: &dyn Index,
) -> Result<Closure> {
    let target = Target::guest()?;
    let found = search::run(
        &search::Question { requests, recipes, target: &target, index, from: "the command line" },
        lock,
    )?;
    let mut named = Vec::new();
    for request in requests {
        named.push(PackageName::new(request.name.as_ref())?);
    }
    named.sort();
    named.dedup();
    let packages = found.into_iter().map(|(name, choice)| match choice.pick {
        candidate::Pick::Recipe(version) => Chosen::Recipe { name, version },
        candidate::Pick::Wheel(wheel) => Chosen::Wheel {
            name,
            version: wheel.version.clone(),
            pin: wheel.pin(),
            license: wheel.license,
            requires: choice.edges,
        },
    });
    Ok(Closure { named, packages: packages.collect() })
}
