//! The Python packages that recipes need on the build machine.

use pep440_rs::{Operator, Version};
use pep508_rs::VersionOrUrl;

use super::environment::Target;
use super::offer::{Candidate, Offers};
use super::{Recipes, Request, Requirement, Upgrade};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::lock::{Lock, LockedWheel};
use crate::name::PackageName;

/// Recipes are for the guest; the build machine takes wheels only.
struct NoRecipes;

impl Recipes for NoRecipes {
    fn version(&self, _: &PackageName) -> Option<Version> {
        None
    }
    fn requires(&self, _: &PackageName) -> Vec<Requirement> {
        Vec::new()
    }
    fn names(&self) -> Vec<PackageName> {
        Vec::new()
    }
    fn no_package(&self, _: &PackageName) -> Option<&'static str> {
        None
    }
}

/// Chooses the wheels of build tools, with all that they require, for CPython 3.14 on this build machine; sorted
/// by name. What the index is asked about is added to `lock`; a lock that has everything makes no request.
///
/// # Errors
/// When a requirement does not name one exact version, when no set of wheels fits, or when the index cannot be
/// asked.
pub fn tool_wheels(
    requires: &[Requirement],
    upgrade: &Upgrade,
    lock: &mut Lock,
    index: &dyn Index,
) -> Result<Vec<LockedWheel>> {
    let loose: Vec<String> =
        requires.iter().filter(|one| !is_exact(one)).map(|one| format!("`{one}`")).collect();
    if !loose.is_empty() {
        return Err(Error::new("expected build requirements with one exact version")
            .details(loose)
            .hint("write `name==version`"));
    }
    let target = Target::build_machine(std::env::consts::ARCH)?;
    // Of the packages that may move, tools move only when they are named: they decide what compilers make.
    let upgrade = match upgrade {
        Upgrade::Everything => &Upgrade::Nothing,
        named => named,
    };
    let from = "a recipe's `requires.build`";
    let request = Request { upgrade, from, ..Request::new(requires) };
    let offers = Offers::new(&request, &NoRecipes, &target, index, lock);
    let found = super::choose(&offers)?;
    super::keep(lock, &found);
    let wheels = found.choices.into_values().filter_map(|choice| match choice.candidate {
        Candidate::Wheel(wheel) => Some(wheel),
        Candidate::Recipe(_) => None,
    });
    Ok(wheels.collect())
}

fn is_exact(requirement: &Requirement) -> bool {
    match &requirement.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => {
            specifiers.iter().any(|one| matches!(one.operator(), Operator::Equal | Operator::ExactEqual))
        }
        _ => false,
    }
}
