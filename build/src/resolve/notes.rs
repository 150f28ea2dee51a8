//! What is worth knowing of a choice that succeeded.

use std::collections::BTreeMap;

use pep440_rs::Version;

use super::offer::{Listing, Offers, Release};
use super::range::{self, Point, Range};
use super::solve::{Solution, active, constraints_in, specifiers};
use super::{Requirement, explain};
use crate::error::Result;
use crate::name::PackageName;

/// Requirements that are listed as the reason against a release.
const MOST_OBSTACLES: usize = 3;

/// Notes on a solution, a sentence each.
///
/// # Errors
/// When the index fails.
pub(super) fn all(offers: &Offers<'_>, solution: &Solution) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let applies: Vec<_> = active(offers.request.requirements, None, offers).collect();
    for requirement in offers.request.requirements.iter().filter(|one| !applies.contains(one)) {
        notes.push(format!("`{requirement}` is left out: its marker does not hold in a component"));
    }
    let requests: Vec<_> =
        offers.request.requirements.iter().chain(offers.request.implied).cloned().collect();
    let constraints = constraints_in(offers, &requests, solution)?;
    let mut ranges: BTreeMap<&PackageName, Range> = BTreeMap::new();
    for (owner, requirement) in &constraints {
        let Some((name, (version, _))) = solution.iter().find(|(name, _)| of(requirement, name)) else {
            continue;
        };
        let range = ranges.entry(name).or_insert_with(Range::full);
        *range = range.intersection(&range::of_specifiers(&specifiers(offers, requirement)));
        // The user's own are errors, which were found before.
        let Some(owner) = owner else { continue };
        let known = offers.candidate(name, version)?.map(|found| found.extras(name, offers.recipes));
        let missing =
            |extra: &&pep508_rs::ExtraName| known.as_ref().is_ok_and(|known| !known.contains(extra));
        for extra in requirement.extras.iter().filter(missing) {
            notes.push(format!(
                "`{owner}` requires the extra `{extra}` of `{name}`, which {version} does not have"
            ));
        }
    }
    for (name, (version, _)) in solution {
        let range = ranges.get(name).cloned().unwrap_or_else(Range::full);
        if offers.only(name).is_none() && offers.locked(name, &range::of_version(version)).is_none() {
            notes.extend(passed_over(offers, name, version, &range, solution)?);
        }
    }
    Ok(notes)
}

fn of(requirement: &Requirement, name: &PackageName) -> bool {
    PackageName::new(requirement.name.as_ref()).is_ok_and(|found| found == *name)
}

/// Says why the newest release that the requirements let in was not chosen.
fn passed_over(
    offers: &Offers<'_>,
    name: &PackageName,
    version: &Version,
    range: &Range,
    solution: &Solution,
) -> Result<Option<String>> {
    let listing: &Listing = &*offers.listing(name)?;
    let chosen = listing.releases.iter().find(|release| release.version == *version);
    if chosen.is_some_and(|release| release.yanked) {
        return Ok(Some(format!("`{name}` {version} was withdrawn from the index, but is pinned")));
    }
    let candidate = |release: &&Release| {
        release.version > *version
            && release.version.is_stable()
            && !release.yanked
            && range.contains(&Point::new(release.version.clone()))
    };
    let Some(newest) = listing.releases.iter().find(candidate) else {
        let alone = !version.is_stable()
            && !listing.releases.iter().any(|one| one.usable() && one.version.is_stable());
        let note = || format!("`{name}` {version} is a pre-release: nothing else can be used");
        return Ok(alone.then(note));
    };
    let why = match &newest.unfit {
        Some(unfit) => unfit.text(offers.target),
        None => match offers.candidate(name, &newest.version)? {
            Err(why) => format!("cannot be used: {why}"),
            Ok(candidate) => {
                let requires = candidate.requires(name, offers.recipes);
                let required: Vec<_> = active(&requires, None, offers).collect();
                let mut obstacles = explain::lacking(offers, &required)?;
                // What cannot be had at all explains more than what was chosen instead.
                if obstacles.is_empty() {
                    obstacles = explain::contradicting(offers, &required, solution)?;
                }
                let more = obstacles.len().saturating_sub(MOST_OBSTACLES);
                obstacles.truncate(MOST_OBSTACLES);
                match (obstacles.is_empty(), more) {
                    (true, _) => "does not go together with the rest".to_owned(),
                    (_, 0) => format!("requires {}", obstacles.join("; ")),
                    _ => format!("requires {}; and {more} more", obstacles.join("; ")),
                }
            }
        },
    };
    Ok(Some(format!("`{name}` {version} is chosen, not the newest {}, which {why}", newest.version)))
}
