//! From what a user names to a closed set of packages with exact versions.
//!
//! A name with a recipe is always taken from its recipe, and a wheel that is given as a file is the only version of
//! its package. Any other name is taken from the lock when an entry satisfies all requirements, else the newest fitting
//! wheel of the index is chosen and added to the lock. The search is complete (`solve`): when there is a set of versions
//! that meets all requirements, it finds one. Which versions may be chosen at all follows pip: a pre-release when a
//! requirement names one or nothing else fits, a withdrawn release when a requirement pins it.

mod environment;
mod explain;
mod metadata;
mod missing;
mod notes;
mod offer;
mod range;
mod solve;
pub(crate) mod tools;
mod wheel;

pub use pep440_rs::Version;

pub use self::environment::{PYTHON, Target};
pub use self::metadata::{Metadata, parse_metadata};
pub use self::wheel::{WheelName, project_has};
use std::collections::{BTreeMap, BTreeSet};

use self::offer::{Candidate, Offers};
use self::solve::Solution;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fetch::Pin;
use crate::file_name::FileName;
use crate::index::Index;
use crate::lock::{Lock, LockedWheel};
use crate::name::PackageName;

/// A requirement on a Python package (PEP 508). Its address, if it has one, is taken as it is: another type of that crate
/// puts variables of the environment into it.
pub type Requirement = pep508_rs::Requirement<url::Url>;

/// What the recipes can provide.
pub trait Recipes {
    /// The version that a package's recipe builds; nothing when it has no recipe.
    fn version(&self, name: &PackageName) -> Option<Version>;
    /// The Python packages that it imports; empty for a name without a recipe.
    fn requires(&self, name: &PackageName) -> Vec<Requirement>;
    /// All packages with a recipe.
    fn names(&self) -> Vec<PackageName>;
    /// What a recipe gives that is no package, such as `a C library`; nothing for a package or an unknown name.
    fn no_package(&self, name: &PackageName) -> Option<&'static str>;
}

/// What to resolve.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What the user names.
    pub requirements: &'a [Requirement],
    /// What is needed besides, without being named.
    pub implied: &'a [Requirement],
    /// What holds for packages if they are needed at all, as pip's constraint files have it.
    pub constraints: &'a [Requirement],
    /// Wheels that are given as files: each is the only version of its package.
    pub local: &'a [LockedWheel],
    /// What need not stay at the version that the lock has.
    pub upgrade: &'a Upgrade,
    /// Who makes the request, for messages.
    pub from: &'a str,
}

impl<'a> Request<'a> {
    /// Requirements by name, without anything else.
    #[must_use]
    pub fn new(requirements: &'a [Requirement]) -> Self {
        let from = "the command line";
        let upgrade = &Upgrade::Nothing;
        Self { requirements, implied: &[], constraints: &[], local: &[], upgrade, from }
    }
}

/// The packages that need not stay at the version that the lock has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// None.
    #[default]
    Nothing,
    /// These.
    Names(BTreeSet<PackageName>),
    /// All.
    Everything,
}

impl Upgrade {
    /// Whether a package may move.
    #[must_use]
    pub fn moves(&self, name: &PackageName) -> bool {
        match self {
            Self::Nothing => false,
            Self::Names(names) => names.contains(name),
            Self::Everything => true,
        }
    }
}

/// What a component is made of, apart from the interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The packages that the user named, sorted, each once.
    pub named: Vec<PackageName>,
    /// These and everything that they require, sorted by name.
    pub packages: Vec<Chosen>,
    /// What the user should know of the choice, a sentence each: releases that were passed over, requests that do not
    /// apply.
    pub notes: Vec<String>,
}

impl Closure {
    /// The names and files of its wheels.
    pub fn wheels(&self) -> impl Iterator<Item = (&PackageName, &FileName)> {
        self.packages.iter().filter_map(|package| match package {
            Chosen::Wheel { name, pin, .. } => Some((name, &pin.file)),
            Chosen::Recipe { .. } => None,
        })
    }
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

/// Reads a file of constraints: a requirement a line, without extras; `#` begins a comment.
///
/// # Errors
/// When a line is something else; all such lines are in one error.
pub fn parse_constraints(text: &str) -> Result<Vec<Requirement>> {
    let mut constraints = Vec::new();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        if line.is_empty() {
            continue;
        }
        match parse_requirement(line) {
            Ok(constraint) if constraint.extras.is_empty() => constraints.push(constraint),
            Ok(_) => problems.push(format!("line {}: a constraint has no extras", index + 1)),
            Err(why) => problems.push(format!("line {}: {why}", index + 1)),
        }
    }
    if problems.is_empty() {
        return Ok(constraints);
    }
    Err(Error::new("expected a package with versions on each line").details(problems))
}

fn parse_requirement(text: &str) -> Result<Requirement, String> {
    let requirement = parse_dependency(text)?;
    match requirement.version_or_url {
        Some(pep508_rs::VersionOrUrl::Url(_)) => {
            Err("an address is not supported, only a name with versions".to_owned())
        }
        _ => Ok(requirement),
    }
}

/// Reads a requirement that may name an address; whether that matters is known only when it applies.
fn parse_dependency(text: &str) -> Result<Requirement, String> {
    use pep508_rs::Pep508ErrorSource;
    text.trim().parse().map_err(|error: pep508_rs::Pep508Error<url::Url>| {
        match error.message {
            // One line only: what follows are pictures of the text with a marker under it.
            Pep508ErrorSource::String(message) => {
                let line = message.lines().next().unwrap_or_default().to_owned();
                let mut letters = line.chars();
                letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or(line)
            }
            other => other.to_string(),
        }
    })
}

/// Chooses the packages of a component: the requested ones and everything that they require, for the guest.
///
/// What the index gave is added to `lock`; a lock that has everything makes no request.
///
/// # Errors
/// When no set of versions meets all requirements, a name or an extra is unknown, a package needs native code and has
/// no recipe, or the index cannot be asked. The error states all packages that cannot be had, and what requires them.
pub fn resolve(
    request: &Request<'_>,
    recipes: &dyn Recipes,
    lock: &mut Lock,
    index: &dyn Index,
) -> Result<Closure> {
    let target = Target::guest()?;
    let offers = Offers::new(request, recipes, &target, index, lock);
    explain::check_requests(&offers)?;
    let found = choose(&offers)?;
    explain::check_extras(&offers, &found.solution)?;
    let notes = notes::all(&offers, &found.solution)?;
    let mut named = Vec::new();
    for requirement in solve::active(request.requirements, None, &offers) {
        named.push(PackageName::new(requirement.name.as_ref())?);
    }
    named.sort();
    named.dedup();
    keep(lock, &found);
    let package = |(name, chosen): (PackageName, Choice)| match chosen.candidate {
        Candidate::Recipe(version) => Chosen::Recipe { name, version },
        Candidate::Wheel(wheel) => Chosen::Wheel {
            name,
            version: wheel.version.clone(),
            pin: wheel.pin(),
            license: wheel.license,
            requires: chosen.edges,
        },
    };
    Ok(Closure { named, packages: found.choices.into_iter().map(package).collect(), notes })
}

/// What the lock says of a wheel that is given as a file, from its name, its digest and length, and its metadata.
///
/// # Errors
/// Why it is no wheel for a component.
pub fn given_wheel(
    file: &FileName,
    name: &WheelName,
    (sha256, size): (Digest, u64),
    metadata: &str,
) -> Result<LockedWheel, String> {
    let target = Target::guest().map_err(|error| error.to_string())?;
    if target.rank(name).is_none() {
        return Err("by its name it is for other machines or another Python".to_owned());
    }
    let wheel = offer::wheel_of(file, sha256, Some(size), metadata, &target)?;
    if wheel.name != name.name || wheel.version != name.version {
        return Err(format!("its metadata is that of `{}` {}", wheel.name, wheel.version));
    }
    Ok(LockedWheel { local: true, ..wheel })
}

/// The answer for one package.
struct Choice {
    candidate: Candidate,
    /// The packages that it requires, sorted.
    edges: Vec<PackageName>,
}

struct Found {
    solution: Solution,
    choices: BTreeMap<PackageName, Choice>,
}

/// Searches, and explains why there is nothing to find.
fn choose(offers: &Offers<'_>) -> Result<Found> {
    let requests: Vec<_> =
        offers.request.requirements.iter().chain(offers.request.implied).cloned().collect();
    let found =
        solve::solve(offers, &requests).map_err(|error| explain::broken_off(offers, &requests, error));
    let solution = match found? {
        Ok(solution) => solution,
        Err(conflict) => return Err(explain::no_solution(offers, &requests, conflict)?),
    };
    let mut choices = BTreeMap::new();
    for (name, (version, _)) in &solution {
        let candidate = offers.candidate(name, version)?.map_err(Error::new)?;
        choices.insert(name.clone(), Choice { candidate, edges: Vec::new() });
    }
    for (owner, requirement) in solve::constraints_in(offers, &requests, &solution)? {
        let name = PackageName::new(requirement.name.as_ref())?;
        // A package may require itself with an extra; that is no edge.
        if let Some(choice) = owner.filter(|owner| *owner != name).and_then(|owner| choices.get_mut(&owner)) {
            choice.edges.push(name);
        }
    }
    for choice in choices.values_mut() {
        choice.edges.sort();
        choice.edges.dedup();
    }
    Ok(Found { solution, choices })
}

/// Puts what was chosen into the lock.
fn keep(lock: &mut Lock, found: &Found) {
    for choice in found.choices.values() {
        if let Candidate::Wheel(wheel) = &choice.candidate {
            lock.insert(wheel.clone());
        }
    }
}
