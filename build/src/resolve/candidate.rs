//! Which version of one package to take.

use std::collections::BTreeSet;

use pep440_rs::{Operator, Version, VersionSpecifiers};

use super::environment::Target;
use super::metadata::parse_metadata;
use super::wheel::{WheelName, sdist_version};
use crate::error::{Context, Error, Result};
use crate::index::{Index, Project, ProjectFile};
use crate::lock::{Lock, LockedWheel};
use crate::name::PackageName;

/// Where a package comes from.
#[derive(Clone, Debug)]
pub(super) enum Pick {
    Recipe(Version),
    Wheel(LockedWheel),
}

impl Pick {
    pub(super) fn version(&self) -> &Version {
        match self {
            Self::Recipe(version) => version,
            Self::Wheel(wheel) => &wheel.version,
        }
    }
}

/// What one requirement asks of a package's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) specifiers: VersionSpecifiers,
    /// Who asks, for messages.
    pub(super) from: String,
    /// The package that asks; nothing when it is the user.
    pub(super) package: Option<PackageName>,
}

pub(super) fn satisfies(version: &Version, wishes: &[Wish]) -> bool {
    wishes.iter().all(|wish| wish.specifiers.contains(version))
}

/// The newest locked wheel that fits.
pub(super) fn from_lock(
    name: &PackageName,
    wishes: &[Wish],
    excluded: &BTreeSet<(PackageName, Version)>,
    target: &Target,
    lock: &Lock,
) -> Option<LockedWheel> {
    let fitting = lock.of(name).filter_map(|wheel| {
        let parsed = WheelName::parse(&wheel.file)?;
        let rank = target.rank(&parsed)?;
        let wanted =
            satisfies(&wheel.version, wishes) && !excluded.contains(&(name.clone(), wheel.version.clone()));
        wanted.then(|| ((wheel.version.clone(), std::cmp::Reverse(rank), parsed.build), wheel))
    });
    fitting.max_by(|(left, _), (right, _)| left.cmp(right)).map(|(_, wheel)| wheel.clone())
}

/// A wheel that the target can use.
struct Usable<'a> {
    wheel: WheelName,
    rank: u32,
    file: &'a ProjectFile,
}

/// The newest wheel of the index that fits, or nothing.
pub(super) fn from_index(
    project: &Project,
    wishes: &[Wish],
    excluded: &BTreeSet<(PackageName, Version)>,
    target: &Target,
    index: &dyn Index,
) -> Result<Option<LockedWheel>> {
    let mut usable = usable(project, target);
    let key = |found: &Usable<'_>| {
        (found.wheel.version.clone(), std::cmp::Reverse(found.rank), found.wheel.build.clone())
    };
    usable.sort_by_key(|found| std::cmp::Reverse(key(found)));
    let any_stable = usable.iter().any(|found| found.wheel.version.is_stable());
    let specifiers = || wishes.iter().flat_map(|wish| wish.specifiers.iter());
    // PEP 440: pre-releases only on request, or when there is nothing else.
    let unstable = !any_stable || specifiers().any(|specifier| specifier.any_prerelease());
    // PEP 592: withdrawn files only for who insists on the very version.
    let insists = specifiers().any(|one| matches!(one.operator(), Operator::Equal | Operator::ExactEqual));
    for found in &usable {
        let version = &found.wheel.version;
        if !satisfies(version, wishes)
            || excluded.contains(&(project.name.clone(), version.clone()))
            || (found.file.yanked && !insists)
            || (!version.is_stable() && !unstable)
        {
            continue;
        }
        if let Some(wheel) = describe(found, target, index)? {
            return Ok(Some(wheel));
        }
    }
    Ok(None)
}

/// Reads a wheel's metadata; nothing when it does not support this Python after all.
fn describe(found: &Usable<'_>, target: &Target, index: &dyn Index) -> Result<Option<LockedWheel>> {
    let file = found.file;
    let what = || format!("cannot use `{}`", file.file);
    let metadata = parse_metadata(&index.metadata(file)?).context(what)?;
    if metadata.name != found.wheel.name || metadata.version != found.wheel.version {
        return Err(Error::new(format!(
            "expected the metadata of `{}` {} but found that of `{}` {}",
            found.wheel.name, found.wheel.version, metadata.name, metadata.version
        ))
        .context(what()));
    }
    if metadata.requires_python.is_some_and(|wanted| !wanted.contains(&target.python)) {
        return Ok(None);
    }
    let Some(sha256) = file.sha256 else { return Ok(None) };
    Ok(Some(LockedWheel {
        name: metadata.name,
        version: metadata.version,
        file: file.file.clone(),
        sha256,
        size: file.size,
        license: metadata.license,
        requires: metadata.requires,
    }))
}

fn usable<'a>(project: &'a Project, target: &Target) -> Vec<Usable<'a>> {
    let admits = |file: &ProjectFile| match &file.requires_python {
        // Old releases have specifiers that no longer parse; none of them was made for this Python.
        Some(text) => text.parse::<VersionSpecifiers>().is_ok_and(|wanted| wanted.contains(&target.python)),
        None => true,
    };
    let usable = |file: &'a ProjectFile| {
        let wheel = WheelName::parse(&file.file)?;
        let rank = target.rank(&wheel)?;
        (wheel.name == project.name && file.sha256.is_some() && admits(file)).then_some(Usable {
            wheel,
            rank,
            file,
        })
    };
    project.files.iter().filter_map(usable).collect()
}

/// The versions of a project, newest first.
pub(super) struct Versions {
    /// With a wheel that the target can use.
    pub(super) usable: Vec<Version>,
    /// Without.
    pub(super) unusable: Vec<Version>,
    /// Whether some wheel is there at all.
    pub(super) any_wheel: bool,
}

pub(super) fn versions(project: &Project, target: &Target) -> Versions {
    let good: BTreeSet<Version> =
        usable(project, target).into_iter().map(|found| found.wheel.version).collect();
    let mut bad = BTreeSet::new();
    let mut any_wheel = false;
    for file in &project.files {
        let wheel = WheelName::parse(&file.file);
        any_wheel |= wheel.is_some();
        let version = wheel.map(|wheel| wheel.version).or_else(|| sdist_version(&project.name, &file.file));
        bad.extend(version.filter(|version| !good.contains(version)));
    }
    Versions {
        usable: good.into_iter().rev().collect(),
        unusable: bad.into_iter().rev().collect(),
        any_wheel,
    }
}
