//! The search itself, by the algorithm PubGrub: complete, and always with an end.
//!
//! A package with an extra is a package beside it, which requires it in the same version and adds what the extra
//! requires.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, VersionOrUrl};
use pubgrub::{Dependencies, DependencyProvider, PackageResolutionStatistics, PubGrubError};

use super::Requirement;
use super::offer::{Candidate, Offers, Release};
use super::range::{self, Point, Range};
use crate::error::{Error, Result};
use crate::name::PackageName;

/// After this many conflicts a package is chosen before those that came up earlier.
const MANY_CONFLICTS: u32 = 5;

/// A node of the search.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Package {
    /// What makes the requests.
    Root,
    Base(PackageName),
    Extra(PackageName, ExtraName),
}

impl Package {
    pub(super) fn name(&self) -> Option<&PackageName> {
        match self {
            Self::Root => None,
            Self::Base(name) | Self::Extra(name, _) => Some(name),
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => out.write_str("the requests"),
            Self::Base(name) => name.fmt(out),
            Self::Extra(name, extra) => write!(out, "{name}[{extra}]"),
        }
    }
}

/// A proof that there is no solution.
pub(super) type Proof = pubgrub::DerivationTree<Package, Range, String>;

/// Why there is no solution.
pub(super) struct Conflict {
    pub(super) proof: Proof,
    /// How the ranges in the proof are written.
    pub(super) texts: BTreeMap<PackageName, Vec<(Range, String)>>,
}

/// The chosen versions, and the extras that are wanted of each.
pub(super) type Solution = BTreeMap<PackageName, (Version, BTreeSet<ExtraName>)>;

/// A constraint that some candidate puts on a package.
struct Constraint {
    range: Range,
    /// The specifiers as they are written.
    text: String,
    names_prerelease: bool,
    pins: bool,
}

/// What may be chosen beyond what any search may choose.
#[derive(Clone, Default)]
struct Policy {
    /// Pre-releases and withdrawn releases of every package, where nothing else is left.
    last_resort: bool,
    /// Withdrawn releases that nobody pinned in the end.
    excluded: BTreeSet<(PackageName, Version)>,
}

/// One search.
struct Solver<'a> {
    offers: &'a Offers<'a>,
    requests: &'a [Requirement],
    policy: Policy,
    constraints: RefCell<BTreeMap<PackageName, Vec<Constraint>>>,
    /// The packages in the order in which they came up.
    order: RefCell<BTreeMap<PackageName, usize>>,
    /// The version of each package that was chosen last.
    chosen: RefCell<BTreeMap<PackageName, Version>>,
    /// Whether something was left out that a last resort may take.
    withheld: Cell<bool>,
}

/// The versions that requests lead to, or why there are none.
///
/// # Errors
/// When the index fails, or the search gives up.
pub(super) fn solve(offers: &Offers<'_>, requests: &[Requirement]) -> Result<Result<Solution, Conflict>> {
    let mut policy = Policy::default();
    let mut first = None;
    loop {
        let solver = Solver::new(offers, requests, policy);
        let found = pubgrub::resolve(&solver, Package::Root, Point::new(Version::new([0_u64])));
        policy = solver.policy.clone();
        match found {
            Ok(found) => {
                let solution = gather(found.into_iter());
                match unpinned(offers, requests, &solution)? {
                    Some(withdrawn) => drop(policy.excluded.insert(withdrawn)),
                    None => return Ok(Ok(solution)),
                }
            }
            Err(PubGrubError::NoSolution(proof)) => {
                let conflict = Conflict { proof, texts: solver.texts() };
                // What a last resort fails at explains less than what the ordinary search fails at.
                let conflict = first.take().unwrap_or(conflict);
                if policy.last_resort || !solver.withheld.get() {
                    return Ok(Err(conflict));
                }
                first = Some(conflict);
                policy.last_resort = true;
            }
            Err(
                PubGrubError::ErrorRetrievingDependencies { source, .. }
                | PubGrubError::ErrorChoosingVersion { source, .. }
                | PubGrubError::ErrorInShouldCancel(source),
            ) => return Err(source),
        }
    }
}

fn gather(found: impl Iterator<Item = (Package, Point)>) -> Solution {
    let mut solution = Solution::new();
    for (package, point) in found {
        let Some(name) = package.name() else { continue };
        let (_, extras) =
            solution.entry(name.clone()).or_insert_with(|| (point.version.clone(), BTreeSet::new()));
        if let Package::Extra(_, extra) = package {
            extras.insert(extra);
        }
    }
    solution
}

/// A withdrawn release in a solution that no requirement pins.
fn unpinned(
    offers: &Offers<'_>,
    requests: &[Requirement],
    solution: &Solution,
) -> Result<Option<(PackageName, Version)>> {
    for (name, (version, _)) in solution {
        if offers.only(name).is_some() || offers.locked(name, &range::of_version(version)).is_some() {
            continue;
        }
        let yanked = |release: &&Release| release.version == *version && release.yanked;
        if !offers.listing(name)?.releases.iter().any(|release| yanked(&release)) {
            continue;
        }
        let pinned = constraints_in(offers, requests, solution)?.into_iter().any(|(_, requirement)| {
            named(&requirement, name) && range::pins(&specifiers(offers, &requirement))
        });
        if !pinned {
            return Ok(Some((name.clone(), version.clone())));
        }
    }
    Ok(None)
}

fn named(requirement: &Requirement, name: &PackageName) -> bool {
    PackageName::new(requirement.name.as_ref()).is_ok_and(|found| found == *name)
}

/// All requirements that hold in a solution, with the packages that have them; nothing for the requests.
///
/// # Errors
/// When the index fails.
pub(super) fn constraints_in(
    offers: &Offers<'_>,
    requests: &[Requirement],
    solution: &Solution,
) -> Result<Vec<(Option<PackageName>, Requirement)>> {
    let mut all: Vec<_> = active(requests, None, offers).map(|request| (None, request.clone())).collect();
    for (name, (version, extras)) in solution {
        let Ok(candidate) = offers.candidate(name, version)? else { continue };
        let requires = candidate.requires(name, offers.recipes);
        let mut own: Vec<_> = active(&requires, None, offers).collect();
        own.extend(extras.iter().flat_map(|extra| active(&requires, Some(extra), offers)));
        all.extend(own.into_iter().map(|requirement| (Some(name.clone()), requirement.clone())));
    }
    Ok(all)
}

/// The requirements whose markers hold: those of an extra alone, or those without any.
pub(super) fn active<'r>(
    requires: &'r [Requirement],
    extra: Option<&ExtraName>,
    offers: &Offers<'_>,
) -> impl Iterator<Item = &'r Requirement> {
    let markers = &offers.target.markers;
    let extra = extra.cloned();
    requires.iter().filter(move |requirement| {
        let always = requirement.evaluate_markers(markers, &[]);
        match &extra {
            None => always,
            Some(extra) => !always && requirement.evaluate_markers(markers, std::slice::from_ref(extra)),
        }
    })
}

/// What a requirement says of versions, and what the constraints add; nothing for an address.
pub(super) fn specifiers(offers: &Offers<'_>, requirement: &Requirement) -> VersionSpecifiers {
    let of = |requirement: &Requirement| match &requirement.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.to_vec(),
        _ => Vec::new(),
    };
    let constraints = active(offers.request.constraints, None, offers);
    let constraints = constraints.filter(|constraint| constraint.name == requirement.name).flat_map(of);
    of(requirement).into_iter().chain(constraints).collect()
}

impl<'a> Solver<'a> {
    fn new(offers: &'a Offers<'a>, requests: &'a [Requirement], policy: Policy) -> Self {
        Self {
            offers,
            requests,
            policy,
            constraints: RefCell::default(),
            order: RefCell::default(),
            chosen: RefCell::default(),
            withheld: Cell::new(false),
        }
    }

    /// Requirements as edges of the search; an error is a reason why their owner cannot be chosen.
    fn edges(
        &self,
        owner: &Package,
        version: &Version,
        requires: &[Requirement],
    ) -> Result<Vec<(Package, Range)>, String> {
        let extra = match owner {
            Package::Extra(_, extra) => Some(extra),
            _ => None,
        };
        let mut edges = Vec::new();
        for requirement in active(requires, extra, self.offers) {
            if matches!(requirement.version_or_url, Some(VersionOrUrl::Url(_))) {
                return Err(format!("it requires `{}` from an address", requirement.name));
            }
            let name = PackageName::new(requirement.name.as_ref()).map_err(|error| error.to_string())?;
            let specifiers = specifiers(self.offers, requirement);
            let range = range::of_specifiers(&specifiers);
            if owner.name() == Some(&name) && !range.contains(&Point::new(version.clone())) {
                return Err(format!("it requires `{name}{specifiers}`, which it is not"));
            }
            self.notice(&name, &range, &specifiers);
            let extras = requirement.extras.iter().map(|extra| Package::Extra(name.clone(), extra.clone()));
            let targets = std::iter::once(Package::Base(name.clone())).chain(extras);
            edges.extend(targets.filter(|target| target != owner).map(|target| (target, range.clone())));
        }
        if let Package::Extra(name, _) = owner {
            edges.push((Package::Base(name.clone()), range::of_version(version)));
        }
        Ok(edges)
    }

    fn notice(&self, name: &PackageName, range: &Range, specifiers: &VersionSpecifiers) {
        let mut order = self.order.borrow_mut();
        let next = order.len();
        order.entry(name.clone()).or_insert(next);
        let mut constraints = self.constraints.borrow_mut();
        let known = constraints.entry(name.clone()).or_default();
        if !known.iter().any(|constraint| constraint.range == *range) {
            let (names_prerelease, pins) = (range::names_prerelease(specifiers), range::pins(specifiers));
            let text = specifiers.to_string();
            known.push(Constraint { range: range.clone(), text, names_prerelease, pins });
        }
    }

    fn texts(&self) -> BTreeMap<PackageName, Vec<(Range, String)>> {
        let constraints = self.constraints.borrow();
        let texts = |(name, all): (&PackageName, &Vec<Constraint>)| {
            (name.clone(), all.iter().map(|one| (one.range.clone(), one.text.clone())).collect())
        };
        constraints.iter().map(texts).collect()
    }

    /// The version to try first of those in a range.
    fn choose(&self, name: &PackageName, range: &Range) -> Result<Option<Version>> {
        if let Some(only) = self.offers.only(name) {
            return Ok(range.contains(&Point::new(only.clone())).then_some(only));
        }
        if let Some(locked) = self.offers.locked(name, range) {
            return Ok(Some(locked));
        }
        let listing = self.offers.listing(name)?;
        let usable = || listing.releases.iter().filter(|release| release.usable());
        let inside = |release: &Release, range: &Range| range.contains(&Point::new(release.version.clone()));
        // A constraint can be in force only if the range lies in it.
        let constraints = self.constraints.borrow();
        let all = constraints.get(name).into_iter().flatten();
        let in_force: Vec<_> = all.filter(|one| range.subset_of(&one.range)).collect();
        let names_prerelease = in_force.iter().any(|one| one.names_prerelease);
        let without_final = |one: &&Constraint| {
            let is_final = |release: &Release| release.version.is_stable() && !release.yanked;
            !usable().any(|release| is_final(release) && inside(release, &one.range))
        };
        let withdrawn = self.policy.last_resort || in_force.iter().any(|one| one.pins);
        let mut prereleases = None;
        let mut second = None;
        for release in usable().filter(|release| inside(release, range)) {
            let version = &release.version;
            let class = match (release.yanked, version.is_stable() || names_prerelease) {
                (false, true) => return Ok(Some(version.clone())),
                (false, false) => {
                    let last_resort = self.policy.last_resort;
                    let allowed =
                        prereleases.get_or_insert_with(|| last_resort || in_force.iter().any(without_final));
                    allowed.then_some(1)
                }
                (true, _) if self.policy.excluded.contains(&(name.clone(), version.clone())) => continue,
                (true, _) => withdrawn.then_some(2),
            };
            match class {
                None => self.withheld.set(true),
                Some(class) if second.as_ref().is_none_or(|(other, _)| class < *other) => {
                    second = Some((class, version.clone()));
                }
                Some(_) => {}
            }
        }
        Ok(second.map(|(_, version)| version))
    }
}

impl DependencyProvider for Solver<'_> {
    type P = Package;
    type V = Point;
    type VS = Range;
    type M = String;
    type Priority = (bool, bool, Reverse<(usize, bool)>);
    type Err = Error;

    /// What can be only one version first, then what conflicts often, then in the order of coming up.
    fn prioritize(
        &self,
        package: &Package,
        range: &Range,
        conflicts: &PackageResolutionStatistics,
    ) -> Self::Priority {
        let Some(name) = package.name() else { return (true, true, Reverse((0, false))) };
        let only = range.as_singleton().is_some() || self.offers.only(name).is_some();
        let order = self.order.borrow().get(name).copied().unwrap_or_default();
        let is_extra = matches!(package, Package::Extra(..));
        (only, conflicts.conflict_count() >= MANY_CONFLICTS, Reverse((order, is_extra)))
    }

    fn choose_version(&self, package: &Package, range: &Range) -> Result<Option<Point>> {
        let Some(name) = package.name() else { return Ok(Some(Point::new(Version::new([0_u64])))) };
        let chosen = self.chosen.borrow().get(name).cloned();
        if let (Package::Extra(..), Some(version)) = (package, chosen)
            && range.contains(&Point::new(version.clone()))
        {
            return Ok(Some(Point::new(version)));
        }
        let version = self.choose(name, range)?;
        if let (Package::Base(_), Some(version)) = (package, &version) {
            self.chosen.borrow_mut().insert(name.clone(), version.clone());
        }
        Ok(version.map(Point::new))
    }

    fn get_dependencies(
        &self,
        package: &Package,
        point: &Point,
    ) -> Result<Dependencies<Package, Range, String>> {
        let edges = match package.name() {
            None => self.edges(package, &point.version, self.requests),
            Some(name) => match self.offers.candidate(name, &point.version)? {
                Ok(candidate) => {
                    let requires = Candidate::requires(&candidate, name, self.offers.recipes);
                    self.edges(package, &point.version, &requires)
                }
                Err(why) => Err(why),
            },
        };
        Ok(match edges {
            Ok(edges) => Dependencies::Available(edges.into_iter().collect()),
            Err(why) => Dependencies::Unavailable(why),
        })
    }
}
