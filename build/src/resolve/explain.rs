//! Errors about choices that cannot be made.

use pep440_rs::Version;

use super::candidate::{Versions, Wish};
use super::environment::Target;
use crate::error::Error;
use crate::name::PackageName;

/// How alike a name must be to be offered, from 0 to 1.
const ALIKE: f64 = 0.72;

/// A name that neither a recipe nor the index has.
pub(super) struct Unknown {
    pub(super) name: PackageName,
    pub(super) wishes: Vec<Wish>,
}

/// Several failures as one; a single one stays as it is.
pub(super) fn all(failures: Vec<Error>) -> Error {
    match <[Error; 1]>::try_from(failures) {
        Ok([one]) => one,
        Err(more) => {
            Error::new("some packages cannot be chosen").details(more.iter().map(ToString::to_string))
        }
    }
}

pub(super) fn unknown(names: &[Unknown], recipes: &[PackageName]) -> Error {
    let message = match names {
        [one] => format!("there is no package `{}`", one.name),
        more => format!("{} packages do not exist", more.len()),
    };
    let lines = names.iter().map(|unknown| {
        let nearest = match nearest_names(&unknown.name, recipes) {
            near if near.is_empty() => "no recipe has a similar name".to_owned(),
            near => format!("similar recipes: {}", quoted(&near)),
        };
        format!("`{}` (wanted by {}): {nearest}", unknown.name, wishers(&unknown.wishes))
    });
    Error::new(message)
        .details(lines)
        .hint("neither `recipes/` nor pip's index has such a project; `eryx-build recipes` lists the recipes")
}

pub(super) fn with_nearest(error: Error, name: &PackageName, recipes: &[PackageName]) -> Error {
    match nearest_names(name, recipes) {
        near if near.is_empty() => error,
        near => error.hint(format!("recipes with a similar name: {}", quoted(&near))),
    }
}

pub(super) fn recipe_does_not_fit(name: &PackageName, version: &Version, wishes: &[Wish]) -> Error {
    Error::new(format!("no version of `{name}` satisfies all that is wanted of it"))
        .details(wish_lines(wishes))
        .detail(format!("the only version is {version}: `{name}` is built from its recipe"))
        .hint(format!("ask for `{name}` or `{name}=={version}`, or change `recipes/{name}/recipe.toml`"))
}

pub(super) fn nothing_fits(
    name: &PackageName,
    versions: &Versions,
    wishes: &[Wish],
    target: &Target,
) -> Error {
    let mut error = Error::new(format!("no version of `{name}` satisfies all that is wanted of it"))
        .details(wish_lines(wishes))
        .detail(format!("nearest: {}", listed(&nearest_versions(&versions.usable, wishes))))
        .detail(format!("all usable versions: {}", listed(&versions.usable)));
    if !versions.unusable.is_empty() {
        error = error.detail(format!(
            "not usable, without a {} wheel for Python 3.14: {}",
            target.usable(),
            listed(&versions.unusable)
        ));
    }
    error
}

pub(super) fn nothing_usable(
    name: &PackageName,
    versions: &Versions,
    wishes: &[Wish],
    target: &Target,
) -> Error {
    let kinds =
        if versions.any_wheel { "other wheels or source distributions" } else { "source distributions" };
    let mut error =
        Error::new(format!("`{name}` has no recipe and no {} wheel for Python 3.14", target.usable()))
            .detail(format!("wanted by {}", wishers(wishes)));
    if versions.unusable.is_empty() {
        error = error.detail("the index lists the project but no version of it");
    } else {
        error = error.detail(format!("these versions have only {kinds}: {}", listed(&versions.unusable)));
    }
    if target.is_guest() {
        error
            .hint("a package that must be compiled needs a recipe: `eryx-build recipes` lists what can be bundled")
            .hint("CONTRIBUTING.md says how to add a recipe")
    } else {
        error.hint("build tools are taken from wheels only")
    }
}

/// Who wants a package, in one line.
pub(super) fn wishers(wishes: &[Wish]) -> String {
    let mut names: Vec<&str> = wishes.iter().map(|wish| wish.from.as_str()).collect();
    names.dedup();
    names.join(", ")
}

fn wish_lines(wishes: &[Wish]) -> impl Iterator<Item = String> {
    wishes.iter().map(|wish| match wish.specifiers.is_empty() {
        true => format!("any version will do for {}", wish.from),
        false => format!("`{}` is wanted by {}", wish.specifiers, wish.from),
    })
}

fn nearest_names(name: &PackageName, all: &[PackageName]) -> Vec<PackageName> {
    let score = |other: &PackageName| strsim::normalized_damerau_levenshtein(name.as_str(), other.as_str());
    let mut near: Vec<(f64, &PackageName)> = all.iter().map(|other| (score(other), other)).collect();
    near.retain(|(score, other)| {
        *score >= ALIKE
            || other.as_str().starts_with(name.as_str())
            || name.as_str().starts_with(other.as_str())
    });
    near.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(right.1)));
    near.into_iter().take(3).map(|(_, other)| other.clone()).collect()
}

/// The versions on both sides of the one that was asked for, or the newest.
fn nearest_versions(all: &[Version], wishes: &[Wish]) -> Vec<Version> {
    let asked = wishes.iter().flat_map(|wish| wish.specifiers.iter()).next().map(|one| one.version());
    let Some(asked) = asked else { return all.iter().take(1).cloned().collect() };
    let above = all.iter().rev().find(|version| *version >= asked);
    let below = all.iter().find(|version| *version < asked);
    above.into_iter().chain(below).cloned().collect()
}

fn listed(versions: &[Version]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn quoted(names: &[PackageName]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
