//! The packages that cannot be had at all, found by a walk from the newest releases.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pep440_rs::Version;
use pep508_rs::VersionOrUrl;

use super::Requirement;
use super::offer::{Listing, Offers, Release};
use super::range::{self, Point, Range};
use super::solve::{self, active, specifiers};
use crate::error::Result;
use crate::name::PackageName;

/// Releases of one package whose metadata is read until one is good.
const TRIES: usize = 5;

/// A package without any release that would do.
pub(super) struct Missing {
    pub(super) name: PackageName,
    /// What requires it, for messages.
    pub(super) by: Vec<String>,
    pub(super) why: Why,
}

/// Why no release would do.
pub(super) enum Why {
    /// Neither a recipe nor the index has the name.
    Unknown,
    /// It has no release that the target can use; what the newest lacks.
    NoneUsable(String),
    /// Its recipe or the given wheel has another version.
    Only(Version, String),
    /// The usable releases do not satisfy these specifiers; the newest of them, and what releases that would satisfy
    /// them lack.
    NoneFits(String, Version, Option<String>),
}

/// All packages that cannot be had, when everything else is taken in its newest release.
///
/// # Errors
/// When the index fails.
pub(super) fn all(offers: &Offers<'_>, requests: &[&Requirement]) -> Result<Vec<Missing>> {
    let mut found: BTreeMap<PackageName, Missing> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut queue: VecDeque<(String, Requirement)> = VecDeque::new();
    queue.extend(requests.iter().map(|request| (offers.request.from.to_owned(), (*request).clone())));
    while let Some((by, requirement)) = queue.pop_front() {
        // What has it cannot be used, for a reason of another kind.
        if matches!(requirement.version_or_url, Some(VersionOrUrl::Url(_))) {
            continue;
        }
        let name = PackageName::new(requirement.name.as_ref())?;
        if let Some(known) = found.get_mut(&name) {
            if !known.by.contains(&by) {
                known.by.push(by);
            }
            continue;
        }
        let version = match first_choice(offers, &name, &requirement)? {
            Ok(version) => version,
            Err(why) => {
                found.insert(name.clone(), Missing { name, by: vec![by], why });
                continue;
            }
        };
        let Some(Ok(candidate)) = version.map(|version| offers.candidate(&name, &version)).transpose()?
        else {
            continue;
        };
        let requires = candidate.requires(&name, offers.recipes);
        let by = format!("`{name}` {}", candidate.version());
        let extras = requirement.extras.iter().map(Some).chain([None]);
        for extra in extras {
            if seen.insert((name.clone(), candidate.version().clone(), extra.cloned())) {
                queue.extend(active(&requires, extra, offers).map(|one| (by.clone(), one.clone())));
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The newest release that a requirement lets in; nothing when each has a fault of another kind.
fn first_choice(
    offers: &Offers<'_>,
    name: &PackageName,
    requirement: &Requirement,
) -> Result<Result<Option<Version>, Why>> {
    let specifiers = specifiers(offers, requirement);
    let range = range::of_specifiers(&specifiers);
    if let Some(only) = offers.only(name) {
        let fits = range.contains(&Point::new(only.clone()));
        return Ok(if fits { Ok(Some(only)) } else { Err(Why::Only(only, specifiers.to_string())) });
    }
    if let Some(locked) = offers.locked(name, &range) {
        return Ok(Ok(Some(locked)));
    }
    let listing = offers.listing(name)?;
    let pinned = range::pins(&specifiers);
    let mut fitting: Vec<&Release> = listing.releases.iter().filter(|one| usable(one, pinned)).collect();
    fitting.retain(|release| range.contains(&Point::new(release.version.clone())));
    // Pre-releases stand behind all others here: they are taken when there is nothing else.
    fitting.sort_by_key(|release| !release.version.is_stable());
    if fitting.is_empty() {
        return Ok(Err(why(offers, &listing, &range, specifiers.to_string())));
    }
    for release in fitting.iter().take(TRIES) {
        if offers.candidate(name, &release.version)?.is_ok() {
            return Ok(Ok(Some(release.version.clone())));
        }
    }
    Ok(Ok(None))
}

fn usable(release: &Release, pinned: bool) -> bool {
    release.usable() && (pinned || !release.yanked)
}

fn why(offers: &Offers<'_>, listing: &Listing, range: &Range, specifiers: String) -> Why {
    if !listing.exists {
        return Why::Unknown;
    }
    let lacks = |release: &Release| match &release.unfit {
        Some(unfit) => format!("{} {}", release.version, unfit.text(offers.target)),
        None => format!("{} was withdrawn", release.version),
    };
    let mut all = listing.releases.iter().filter(|release| usable(release, false));
    let first = all.clone().find(|release| release.version.is_stable()).or_else(|| all.next());
    match first {
        None => {
            let newest = listing.releases.iter().find(|one| one.version.is_stable());
            let newest = newest.or(listing.releases.first());
            Why::NoneUsable(newest.map_or("the index lists no release".to_owned(), lacks))
        }
        Some(usable) => {
            let inside = listing.releases.iter().find(|one| range.contains(&Point::new(one.version.clone())));
            Why::NoneFits(specifiers, usable.version.clone(), inside.map(lacks))
        }
    }
}

/// The newest release of a requested package with which its own request alone could be met, were there no specifiers, as
/// the specifier that leads to it.
///
/// # Errors
/// When the index fails.
pub(super) fn older(offers: &Offers<'_>, request: &Requirement) -> Result<Option<String>> {
    let name = PackageName::new(request.name.as_ref())?;
    if offers.only(&name).is_some() {
        return Ok(None);
    }
    let loose = Requirement { version_or_url: None, ..request.clone() };
    let Ok(solution) = solve::solve(offers, &[loose])? else { return Ok(None) };
    let Some((version, _)) = solution.get(&name) else { return Ok(None) };
    let listing = offers.listing(&name)?;
    let newer =
        listing.releases.iter().rev().filter(|release| release.usable() && release.version.is_stable());
    let bound = newer.map(|release| &release.version).find(|other| *other > version);
    Ok(Some(match bound {
        Some(bound) => format!("`{name}<{bound}` ({version})"),
        None => format!("`{name}=={version}`"),
    }))
}
