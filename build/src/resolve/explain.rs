//! Errors about choices that cannot be made, in ten lines at most.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pep440_rs::Version;
use pubgrub::{DerivationTree, External};

use super::Requirement;
use super::missing::{self, Missing, Why};
use super::offer::Offers;
use super::range::{self, Point, Range};
use super::solve::{self, Conflict, Package, Proof, Solution, active, specifiers};
use crate::error::{Error, Result};
use crate::invocation::verb;
use crate::name::PackageName;

/// How alike a name must be to be offered, from 0 to 1.
const ALIKE: f64 = 0.72;
/// Lines of detail; with the message and the hints an error has ten lines at most.
const MOST_DETAILS: usize = 6;
/// Versions, or names of requirers, that are listed.
const MOST_LISTED: usize = 3;

/// Refuses requests for what is no package, as far as recipes know that.
///
/// # Errors
/// All such requests.
pub(super) fn check_requests(offers: &Offers<'_>) -> Result<()> {
    let mut problems = Vec::new();
    for requirement in active(offers.request.requirements, None, offers) {
        let name = PackageName::new(requirement.name.as_ref())?;
        if offers.local(&name).is_some() {
            continue;
        }
        let what = match name.as_str() {
            "python" => Some("the interpreter, which is in every component"),
            _ => offers.recipes.no_package(&name),
        };
        problems.extend(what.map(|what| format!("`{name}` is {what}")));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new("expected names of Python packages").details(problems).hint(
        "name no package at all for the bare interpreter; C libraries come with what is linked to them",
    ))
}

/// Refuses extras that a requested package does not have in its chosen version.
///
/// # Errors
/// All such extras.
pub(super) fn check_extras(offers: &Offers<'_>, solution: &Solution) -> Result<()> {
    let mut problems = Vec::new();
    for requirement in active(offers.request.requirements, None, offers) {
        let name = PackageName::new(requirement.name.as_ref())?;
        let Some((version, _)) = solution.get(&name) else { continue };
        let Ok(candidate) = offers.candidate(&name, version)? else { continue };
        let known = candidate.extras(&name, offers.recipes);
        for extra in requirement.extras.iter().filter(|extra| !known.contains(extra)) {
            let all: Vec<_> = known.iter().map(|extra| format!("`{extra}`")).collect();
            let all =
                if all.is_empty() { "it has none".to_owned() } else { format!("it has {}", all.join(", ")) };
            problems.push(format!("`{name}` {version} has no extra `{extra}`: {all}"));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new("unknown extras").details(problems))
}

/// Explains why a search found nothing.
///
/// # Errors
/// When the index fails.
pub(super) fn no_solution(
    offers: &Offers<'_>,
    requests: &[Requirement],
    conflict: Conflict,
) -> Result<Error> {
    let applying: Vec<&Requirement> = active(requests, None, offers).collect();
    if !offers.unreachable().is_empty() {
        // Looks up all that is missing, not only what the search met first.
        missing::all(offers, &applying)?;
        return Ok(offline(offers));
    }
    let mut failing = Vec::new();
    let mut first = None;
    for request in applying {
        if let Err(conflict) = solve::solve(offers, std::slice::from_ref(request))? {
            failing.push(request);
            first.get_or_insert(conflict);
        }
    }
    let missing = missing::all(offers, &failing)?;
    if missing.is_empty() {
        return contradiction(offers, &first.unwrap_or(conflict));
    }
    cannot_be_had(offers, &failing, &missing)
}

/// The error of a search that ended early, with what is known to be missing.
pub(super) fn broken_off(offers: &Offers<'_>, requests: &[Requirement], error: Error) -> Error {
    if !offers.exhausted() {
        return error;
    }
    let applying: Vec<&Requirement> = active(requests, None, offers).collect();
    match missing::all(offers, &applying) {
        Ok(missing) => {
            let lines = missing.iter().map(|one| line(offers, one)).take(MOST_LISTED);
            error.details(lines)
        }
        Err(_) => error,
    }
}

fn offline(offers: &Offers<'_>) -> Error {
    let names = offers.unreachable();
    let lines = names.iter().map(|name| match similar(offers, name) {
        Some(similar) => format!("`{name}`: {similar}"),
        None => format!("`{name}`"),
    });
    let message = match names.len() {
        1 => "cannot look up a package on pip's index: offline".to_owned(),
        count => format!("cannot look up {count} packages on pip's index: offline"),
    };
    Error::new(message)
        .details(shortened(lines.collect()))
        .hint("run the same command without `--offline` once; what it finds is kept in the lock file")
}

fn cannot_be_had(offers: &Offers<'_>, failing: &[&Requirement], missing: &[Missing]) -> Result<Error> {
    let message = match missing {
        [one] => format!("`{}` cannot be had", one.name),
        more => format!("{} packages cannot be had", more.len()),
    };
    let mut error =
        Error::new(message).details(shortened(missing.iter().map(|one| line(offers, one)).collect()));
    let mut older = Vec::new();
    for request in failing {
        // What cannot be found out here must not hide what is known already.
        older.extend(missing::older(offers, request).ok().flatten());
    }
    if !older.is_empty() {
        error = error.hint(format!("an older release would do: {}", older.join(", ")));
    }
    let is_guest = offers.target.is_guest();
    for one in missing {
        if let Why::Only(version, _) = &one.why
            && offers.local(&one.name).is_none()
        {
            return Ok(error.hint(of_recipe(&one.name, version)));
        }
    }
    let any = |wanted: fn(&Why) -> bool| missing.iter().any(|one| wanted(&one.why));
    if any(|why| matches!(why, Why::Unknown)) {
        error = error.hint(format!(
            "neither `recipes/` nor pip's index has such a project; {} lists the recipes",
            verb("recipes")
        ));
    } else if any(|why| matches!(why, Why::NoneUsable(_) | Why::NoneFits(_, _, Some(_)))) {
        error = error.hint(if is_guest {
            format!(
                "what must be compiled needs a recipe: {} lists them, CONTRIBUTING.md says how to add one",
                verb("recipes")
            )
        } else {
            "build tools are taken from wheels only".to_owned()
        });
    }
    Ok(error)
}

fn line(offers: &Offers<'_>, missing: &Missing) -> String {
    let why = match &missing.why {
        Why::Unknown => {
            let similar = similar(offers, &missing.name);
            format!(
                "there is no such package; {}",
                similar.unwrap_or("no recipe has a similar name".to_owned())
            )
        }
        Why::NoneUsable(newest) if offers.target.is_guest() => {
            format!("no recipe and no usable release: {newest}")
        }
        Why::NoneUsable(newest) => format!("no usable release: {newest}"),
        Why::Only(version, specifiers) => {
            let source = if offers.local(&missing.name).is_some() { "the given wheel" } else { "its recipe" };
            format!("`{specifiers}` is required, {source} has {version}")
        }
        Why::NoneFits(specifiers, newest, None) => {
            format!("`{specifiers}` is required, the newest usable release is {newest}")
        }
        Why::NoneFits(specifiers, newest, Some(inside)) => {
            format!("`{specifiers}` is required, but {inside}; the newest usable release is {newest}")
        }
    };
    format!("`{}` (for {}): {why}", missing.name, some(&missing.by))
}

/// The packages that requirements lead to and that cannot be had, each with the reason.
///
/// # Errors
/// When the index fails.
pub(super) fn lacking(offers: &Offers<'_>, requirements: &[&Requirement]) -> Result<Vec<String>> {
    let reason = |one: &Missing| match &one.why {
        Why::Unknown => format!("`{}`, which does not exist", one.name),
        Why::NoneUsable(_) if offers.target.is_guest() => {
            format!("`{}`, which has no recipe and no usable release", one.name)
        }
        Why::NoneUsable(_) => format!("`{}`, which has no usable release", one.name),
        Why::Only(version, specifiers) => {
            format!("`{}{specifiers}`, where only {version} can be had", one.name)
        }
        Why::NoneFits(specifiers, newest, _) => {
            format!("`{}{specifiers}`, whose newest usable release is {newest}", one.name)
        }
    };
    Ok(missing::all(offers, requirements)?.iter().map(reason).collect())
}

/// How requirements contradict a solution that they are no part of.
///
/// # Errors
/// When a name is malformed.
pub(super) fn contradicting(
    offers: &Offers<'_>,
    requirements: &[&Requirement],
    solution: &Solution,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for requirement in requirements {
        let name = PackageName::new(requirement.name.as_ref())?;
        let Some((version, _)) = solution.get(&name) else { continue };
        let specifiers = specifiers(offers, requirement);
        if !range::of_specifiers(&specifiers).contains(&Point::new(version.clone())) {
            found.push(format!("`{name}{specifiers}`, while {version} is chosen"));
        }
    }
    Ok(found)
}

/// A reason in a proof.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    /// A request.
    Request(String),
    /// Versions of a package require another one.
    Requires(Package, String),
    /// A package has no usable version that would do.
    None(PackageName),
    /// Versions of a package cannot be used.
    Unusable(Package, String),
}

/// A proof by its leaves: what requires what, and which releases there are.
fn contradiction(offers: &Offers<'_>, conflict: &Conflict) -> Result<Error> {
    let mut facts: BTreeMap<Fact, BTreeSet<Version>> = BTreeMap::new();
    let mut wanted: BTreeMap<&PackageName, BTreeSet<String>> = BTreeMap::new();
    for leaf in leaves(&conflict.proof) {
        let (fact, range) = match leaf {
            External::FromDependencyOf(Package::Extra(owner, _), _, Package::Base(name), _)
                if owner == name =>
            {
                continue;
            }
            External::FromDependencyOf(owner, range, package, range_wanted) => {
                let text = written(conflict, package, range_wanted);
                if let Some(name) = package.name() {
                    wanted.entry(name).or_default().insert(text.clone());
                }
                match owner {
                    Package::Root => (Fact::Request(text), None),
                    _ => (Fact::Requires(owner.clone(), text), Some(range)),
                }
            }
            External::NoVersions(package, _) => match package.name() {
                Some(name) => (Fact::None(name.clone()), None),
                None => continue,
            },
            External::Custom(package, range, why) => {
                (Fact::Unusable(package.clone(), why.clone()), Some(range))
            }
            External::NotRoot(..) => continue,
        };
        facts.entry(fact).or_default().extend(range.into_iter().flat_map(versions));
    }
    let mut lines = Vec::new();
    let requests = facts.keys().filter_map(|fact| match fact {
        Fact::Request(text) => Some(text.clone()),
        _ => None,
    });
    let requests: Vec<String> = requests.collect();
    if !requests.is_empty() {
        lines.push(format!("{} requires {}", offers.request.from, requests.join(", ")));
    }
    // What there is explains more than what requires it, so it is not what is cut: of packages of which several things
    // are required, else of those that ran out.
    let (mut hint, mut ends) = (None, Vec::new());
    let contended = wanted.iter().filter(|(_, texts)| texts.len() > 1).map(|(name, _)| *name);
    let out = facts.keys().filter_map(|fact| match fact {
        Fact::None(name) => Some(name),
        _ => None,
    });
    let contended: Vec<_> = contended.collect();
    for name in if contended.is_empty() { out.collect() } else { contended } {
        ends.push(available(offers, name, &mut hint)?);
    }
    for (fact, versions) in &facts {
        let versions = listed(versions.iter().rev());
        match fact {
            Fact::Request(_) | Fact::None(_) => {}
            Fact::Requires(owner, text) => lines.push(format!("`{owner}` {versions} requires {text}")),
            Fact::Unusable(owner, why) => lines.push(format!("`{owner}` {versions} cannot be used: {why}")),
        }
    }
    if lines.len() + ends.len() > MOST_DETAILS {
        ends.truncate(MOST_LISTED);
        let room = MOST_DETAILS - ends.len() - 1;
        let more = lines.len().saturating_sub(room);
        lines.truncate(room);
        lines.push(format!("and {more} more of this kind"));
    }
    let error = Error::new("no set of versions meets all requirements").details(lines).details(ends);
    Ok(match hint {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

fn of_recipe(name: &PackageName, version: &Version) -> String {
    format!("require `{name}` or `{name}=={version}`, or change `recipes/{name}/recipe.toml`")
}

/// What there is of a package, in one line.
fn available(offers: &Offers<'_>, name: &PackageName, hint: &mut Option<String>) -> Result<String> {
    if let Some(only) = offers.only(name) {
        if offers.local(name).is_some() {
            return Ok(format!("the given wheel of `{name}` is {only}"));
        }
        hint.get_or_insert(of_recipe(name, &only));
        return Ok(format!("`{name}` is built from its recipe, which has {only}"));
    }
    let listing = offers.listing(name)?;
    let finals = |usable: bool| {
        let all = listing.releases.iter();
        all.filter(move |one| one.usable() == usable && !one.yanked && one.version.is_stable())
    };
    let usable = listed(finals(true).map(|release| &release.version));
    let newest = finals(true).next().map(|release| &release.version);
    let newer = finals(false).find(|release| newest.is_none_or(|newest| release.version > *newest));
    let newer =
        newer.and_then(|release| Some((&release.version, release.unfit.as_ref()?.text(offers.target))));
    Ok(match (newest, newer) {
        (None, _) if !listing.exists => format!("there is no package `{name}`"),
        (None, None) => format!("`{name}` has no usable release"),
        (None, Some((version, why))) => format!("`{name}` has no usable release: {version} {why}"),
        (Some(_), None) => format!("usable releases of `{name}`: {usable}"),
        (Some(_), Some((version, why))) => format!("usable releases of `{name}`: {usable}; {version} {why}"),
    })
}

fn leaves(proof: &Proof) -> Vec<&External<Package, Range, String>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![proof];
    while let Some(node) = open.pop() {
        match node {
            DerivationTree::External(leaf) => found.push(leaf),
            DerivationTree::Derived(derived) => {
                for cause in [&derived.cause1, &derived.cause2] {
                    // Causes are shared; each is looked at once.
                    if seen.insert(Arc::as_ptr(cause) as usize) {
                        open.push(cause);
                    }
                }
            }
        }
    }
    found
}

fn versions(range: &Range) -> Vec<Version> {
    let bound = |bound: &std::ops::Bound<Point>| match bound {
        std::ops::Bound::Included(point) => Some(point.version.clone()),
        _ => None,
    };
    range.iter().filter_map(|(from, _)| bound(from)).collect()
}

fn written(conflict: &Conflict, package: &Package, range: &Range) -> String {
    let texts = package.name().and_then(|name| conflict.texts.get(name));
    let text = texts.and_then(|texts| texts.iter().find(|(known, _)| known == range));
    format!("`{package}{}`", text.map(|(_, text)| text.as_str()).unwrap_or_default())
}

/// Versions that come newest first: all of a few, else the ends.
fn listed<'v>(versions: impl Iterator<Item = &'v Version>) -> String {
    let all: Vec<String> = versions.map(ToString::to_string).collect();
    match all.as_slice() {
        [newest, .., oldest] if all.len() > MOST_LISTED => {
            format!("{newest} to {oldest} ({} versions)", all.len())
        }
        _ => all.join(", "),
    }
}

fn some(texts: &[String]) -> String {
    let mut text = texts.iter().take(MOST_LISTED).cloned().collect::<Vec<_>>().join(", ");
    if texts.len() > MOST_LISTED {
        text.push_str(&format!(" and {} more", texts.len() - MOST_LISTED));
    }
    text
}

/// The first lines; the last says how many are left out.
fn shortened(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > MOST_DETAILS {
        let rest = lines.split_off(MOST_DETAILS - 1);
        let name = |line: &String| line.split(['(', ':']).next().unwrap_or_default().trim_end().to_owned();
        let names: Vec<_> = rest.iter().map(name).collect();
        lines.push(format!("and {} more: {}", rest.len(), names.join(", ")));
    }
    lines
}

fn similar(offers: &Offers<'_>, name: &PackageName) -> Option<String> {
    let near = nearest_names(name, &offers.recipes.names());
    let near: Vec<_> = near.iter().map(|name| format!("`{name}`")).collect();
    (!near.is_empty()).then(|| format!("similar recipes: {}", near.join(", ")))
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
