//! What can be had of each package: from its recipe, a local wheel, the lock, or the index.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, MarkerExpression, MarkerTree, MarkerValueExtra};

use super::environment::Target;
use super::metadata::parse_metadata;
use super::range::{Point, Range};
use super::wheel::{WheelName, sdist_version};
use super::{Recipes, Request, Requirement};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::file_name::FileName;
use crate::index::{CoreMetadata, Index, ProjectFile};
use crate::lock::{Lock, LockedWheel};
use crate::name::PackageName;

/// After this many wheels whose metadata was read in one search, the search gives up.
const MOST_WHEELS: usize = 1500;

/// Releases whose metadata is read together, after as many were read one by one.
const AHEAD: usize = 8;

/// A version of a package, and where it comes from.
#[derive(Clone, Debug)]
pub(super) enum Candidate {
    Recipe(Version),
    Wheel(LockedWheel),
}

/// Why a release cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// There are only source distributions.
    OnlySource,
    /// There are wheels, but for other machines.
    OtherWheels,
    /// It is for other versions of Python, which this specifier says.
    Python(String),
    /// The index gives no digest.
    NoDigest,
}

/// One version of a project.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) version: Version,
    /// The wheels that the target can use, the best first; empty when there is a reason against it.
    files: Vec<ProjectFile>,
    /// Whether all of those were withdrawn.
    pub(super) yanked: bool,
    pub(super) unfit: Option<Unfit>,
}

impl Release {
    pub(super) fn usable(&self) -> bool {
        self.unfit.is_none()
    }
}

/// What the index has of one project.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Whether the index knows the name.
    pub(super) exists: bool,
    /// All versions, the newest first.
    pub(super) releases: Vec<Release>,
}

/// How well a wheel fits, the smallest best: by its tags, then by its build number.
type Rank = (u32, Reverse<Option<(u64, String)>>);

/// A wheel, or why it is of no use.
type Described = Rc<Result<LockedWheel, String>>;

/// Reads recipes, lock and index, each thing once.
pub(super) struct Offers<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) recipes: &'a dyn Recipes,
    pub(super) target: &'a Target,
    index: &'a dyn Index,
    lock: &'a Lock,
    listings: RefCell<BTreeMap<PackageName, Rc<Listing>>>,
    described: RefCell<BTreeMap<(PackageName, Version), Described>>,
    /// Whether so much was read that the search ended.
    exhausted: Cell<bool>,
    /// The names that could not be looked up, because the index must not be asked.
    unreachable: RefCell<BTreeSet<PackageName>>,
}

impl<'a> Offers<'a> {
    pub(super) fn new(
        request: &'a Request<'a>,
        recipes: &'a dyn Recipes,
        target: &'a Target,
        index: &'a dyn Index,
        lock: &'a Lock,
    ) -> Self {
        Self {
            request,
            recipes,
            target,
            index,
            lock,
            listings: RefCell::default(),
            described: RefCell::default(),
            exhausted: Cell::new(false),
            unreachable: RefCell::default(),
        }
    }

    pub(super) fn local(&self, name: &PackageName) -> Option<&'a LockedWheel> {
        self.request.local.iter().find(|wheel| wheel.name == *name)
    }

    /// The only version that there can be, of a package that is given or built here.
    pub(super) fn only(&self, name: &PackageName) -> Option<Version> {
        let local = self.local(name).map(|wheel| wheel.version.clone());
        local.or_else(|| self.recipes.version(name))
    }

    /// The newest version of the lock in a range.
    pub(super) fn locked(&self, name: &PackageName, range: &Range) -> Option<Version> {
        let wheels = self.locked_wheels(name).map(|(_, wheel)| &wheel.version);
        wheels.filter(|version| range.contains(&Point::new((*version).clone()))).max().cloned()
    }

    /// The wheels of the lock that the target can use and that need not move, with how well they fit.
    fn locked_wheels(&self, name: &PackageName) -> impl Iterator<Item = (impl Ord, &'a LockedWheel)> {
        let stays = !self.request.upgrade.moves(name);
        self.lock.of(name.clone()).filter(move |wheel| stays && !wheel.local).filter_map(|wheel| {
            let parsed = WheelName::parse(&wheel.file)?;
            Some(((Reverse(self.target.rank(&parsed)?), parsed.build), wheel))
        })
    }

    /// What the index has of a project; nothing, and a note of it, where it must not be asked.
    ///
    /// # Errors
    /// When the index fails.
    pub(super) fn listing(&self, name: &PackageName) -> Result<Rc<Listing>> {
        if let Some(known) = self.listings.borrow().get(name) {
            return Ok(Rc::clone(known));
        }
        let listing = match self.index.project(name) {
            Ok(Some(project)) => {
                Listing { exists: true, releases: releases(name, &project.files, self.target) }
            }
            Ok(None) => Listing::default(),
            Err(_) if self.index.offline() => {
                self.unreachable.borrow_mut().insert(name.clone());
                Listing::default()
            }
            Err(error) => return Err(error.context(format!("cannot choose a version of `{name}`"))),
        };
        let listing = Rc::new(listing);
        self.listings.borrow_mut().insert(name.clone(), Rc::clone(&listing));
        Ok(listing)
    }

    /// Whether the search ended because so much was read.
    pub(super) fn exhausted(&self) -> bool {
        self.exhausted.get()
    }

    /// The names that could not be looked up so far.
    pub(super) fn unreachable(&self) -> BTreeSet<PackageName> {
        self.unreachable.borrow().clone()
    }

    /// A version of a package with what it requires, or why it is of no use.
    ///
    /// # Errors
    /// When the index fails, or so much was read that the search should end.
    pub(super) fn candidate(
        &self,
        name: &PackageName,
        version: &Version,
    ) -> Result<Result<Candidate, String>> {
        if let Some(wheel) = self.local(name) {
            return Ok(Ok(Candidate::Wheel(wheel.clone())));
        }
        if let Some(version) = self.recipes.version(name) {
            return Ok(Ok(Candidate::Recipe(version)));
        }
        let locked = self.locked_wheels(name).filter(|(_, wheel)| wheel.version == *version);
        if let Some((_, wheel)) = locked.max_by(|(left, _), (right, _)| left.cmp(right)) {
            return Ok(Ok(Candidate::Wheel(wheel.clone())));
        }
        Ok(self.described(name, version)?.as_ref().clone().map(Candidate::Wheel))
    }

    fn described(&self, name: &PackageName, version: &Version) -> Result<Described> {
        let key = (name.clone(), version.clone());
        if let Some(known) = self.described.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        if self.described.borrow().len() >= MOST_WHEELS {
            self.exhausted.set(true);
            return Err(self.too_many());
        }
        let listing = self.listing(name)?;
        self.read_ahead(name, version, &listing);
        let release = listing.releases.iter().find(|release| release.version == *version);
        let mut found = Err("it is not on the index".to_owned());
        for file in release.map(|release| release.files.as_slice()).unwrap_or_default() {
            found = self.describe(name, version, file)?;
            if found.is_ok() {
                break;
            }
        }
        let found = Rc::new(found);
        self.described.borrow_mut().insert(key, Rc::clone(&found));
        Ok(found)
    }

    /// Reads the metadata of the next older releases together, once several releases were of no use.
    fn read_ahead(&self, name: &PackageName, version: &Version, listing: &Listing) {
        let described = self.described.borrow();
        let read = described.keys().filter(|(of, _)| of == name).count();
        if read < AHEAD || !read.is_multiple_of(AHEAD) {
            return;
        }
        let fresh = |release: &&Release| {
            release.usable()
                && release.version.is_stable()
                && !release.yanked
                && release.version <= *version
                && !described.contains_key(&(name.clone(), release.version.clone()))
        };
        let releases = listing.releases.iter().filter(fresh).take(AHEAD);
        let files: Vec<_> = releases.filter_map(|release| release.files.first().cloned()).collect();
        self.index.prefetch(&files);
    }

    fn too_many(&self) -> Error {
        let mut counts: BTreeMap<PackageName, usize> = BTreeMap::new();
        for (name, _) in self.described.borrow().keys() {
            *counts.entry(name.clone()).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(&right.0)));
        let most = counts.iter().take(3).map(|(name, count)| format!("`{name}`: {count} versions"));
        Error::new(format!("the search for versions gave up after the metadata of {MOST_WHEELS} wheels"))
            .details(most)
            .hint("name versions (`name>=version`) of these packages")
    }

    /// Reads a wheel's metadata.
    fn describe(
        &self,
        name: &PackageName,
        version: &Version,
        file: &ProjectFile,
    ) -> Result<Result<LockedWheel, String>> {
        let text = match self.index.metadata(file) {
            Ok(CoreMetadata::Text(text)) => text,
            Ok(CoreMetadata::Malformed(why)) => return Ok(Err(why)),
            Err(_) if self.index.offline() => {
                return Ok(Err(format!("the metadata of `{}` is not at hand offline", file.file)));
            }
            Err(error) => return Err(error).context(|| format!("cannot choose a version of `{name}`")),
        };
        let Some(sha256) = file.sha256 else {
            return Ok(Err(format!("the index gives no sha256 for `{}`", file.file)));
        };
        Ok(wheel_of(&file.file, sha256, file.size, &text, self.target).and_then(|wheel| {
            if wheel.name == *name && wheel.version == *version {
                return Ok(wheel);
            }
            Err(format!("the metadata of `{}` is that of `{}` {}", file.file, wheel.name, wheel.version))
        }))
    }
}

/// A wheel as the lock knows it, from its metadata; or why it cannot be used.
pub(super) fn wheel_of(
    file: &FileName,
    sha256: Digest,
    size: Option<u64>,
    text: &str,
    target: &Target,
) -> Result<LockedWheel, String> {
    let metadata = parse_metadata(text).map_err(|error| error.to_string().replace("\n ", ";"))?;
    if let Some(wanted) = &metadata.requires_python
        && !wanted.contains(&target.python)
    {
        return Err(format!("it is for Python `{wanted}`"));
    }
    let named = extras_in(&metadata.requires);
    Ok(LockedWheel {
        name: metadata.name,
        version: metadata.version,
        file: file.clone(),
        sha256,
        size,
        license: metadata.license,
        extras: metadata.extras.into_iter().filter(|extra| !named.contains(extra)).collect(),
        local: false,
        requires: metadata.requires,
    })
}

/// The extras that markers of requirements name.
pub(super) fn extras_in(requires: &[Requirement]) -> BTreeSet<ExtraName> {
    let mut extras = BTreeSet::new();
    for requirement in requires {
        let marker: &MarkerTree = &requirement.marker;
        for expression in marker.to_dnf().into_iter().flatten() {
            if let MarkerExpression::Extra { name: MarkerValueExtra::Extra(name), .. } = expression {
                extras.insert(name);
            }
        }
    }
    extras
}

impl Candidate {
    pub(super) fn version(&self) -> &Version {
        match self {
            Self::Recipe(version) => version,
            Self::Wheel(wheel) => &wheel.version,
        }
    }

    /// All requirements, also those of extras and of other platforms.
    pub(super) fn requires(&self, name: &PackageName, recipes: &dyn Recipes) -> Vec<Requirement> {
        match self {
            Self::Recipe(_) => recipes.requires(name),
            Self::Wheel(wheel) => wheel.requires.clone(),
        }
    }

    /// The extras that it has.
    pub(super) fn extras(&self, name: &PackageName, recipes: &dyn Recipes) -> BTreeSet<ExtraName> {
        let mut extras = extras_in(&self.requires(name, recipes));
        if let Self::Wheel(wheel) = self {
            extras.extend(wheel.extras.iter().cloned());
        }
        extras
    }
}

/// The releases of a project, the newest first.
fn releases(project: &PackageName, files: &[ProjectFile], target: &Target) -> Vec<Release> {
    struct Found<'a> {
        files: Vec<(Rank, &'a ProjectFile)>,
        unfit: BTreeMap<u8, Unfit>,
    }
    let mut found: BTreeMap<Version, Found<'_>> = BTreeMap::new();
    for file in files {
        let wheel = WheelName::parse(&file.file).filter(|wheel| wheel.name == *project);
        let version = match &wheel {
            Some(wheel) => Some(wheel.version.clone()),
            None => sdist_version(project, &file.file),
        };
        let Some(version) = version else { continue };
        let release =
            found.entry(version).or_insert_with(|| Found { files: Vec::new(), unfit: BTreeMap::new() });
        match fits(wheel, file, target) {
            Ok(rank) => release.files.push((rank, file)),
            // The reason that is nearest to success counts.
            Err(unfit) => {
                let severity = match unfit {
                    Unfit::NoDigest => 0,
                    Unfit::Python(_) => 1,
                    Unfit::OtherWheels => 2,
                    Unfit::OnlySource => 3,
                };
                release.unfit.insert(severity, unfit);
            }
        }
    }
    let release = |(version, mut found): (Version, Found<'_>)| {
        found.files.sort_by(|(left, one), (right, other)| left.cmp(right).then(one.file.cmp(&other.file)));
        let yanked = !found.files.is_empty() && found.files.iter().all(|(_, file)| file.yanked);
        // Of a release that was withdrawn in part the rest is used.
        let stays = |file: &ProjectFile| yanked || !file.yanked;
        let files: Vec<_> = found.files.into_iter().map(|(_, file)| file.clone()).filter(stays).collect();
        let unfit = if files.is_empty() { found.unfit.into_values().next() } else { None };
        Release { version, files, yanked, unfit }
    };
    found.into_iter().rev().map(release).collect()
}

fn fits(wheel: Option<WheelName>, file: &ProjectFile, target: &Target) -> Result<Rank, Unfit> {
    // As for pip, a specifier that does not parse excludes nothing.
    let python = file.requires_python.as_ref().and_then(|text| text.parse::<VersionSpecifiers>().ok());
    if let Some(python) = python.filter(|wanted| !wanted.contains(&target.python)) {
        return Err(Unfit::Python(python.to_string()));
    }
    let wheel = wheel.ok_or(Unfit::OnlySource)?;
    let rank = target.rank(&wheel).ok_or(Unfit::OtherWheels)?;
    if file.sha256.is_none() {
        return Err(Unfit::NoDigest);
    }
    Ok((rank, Reverse(wheel.build)))
}

impl Unfit {
    /// The reason as a predicate, such as `has only source distributions`.
    pub(super) fn text(&self, target: &Target) -> String {
        match self {
            Self::OnlySource => "has only source distributions".to_owned(),
            Self::OtherWheels => format!("has no {} wheel for Python 3.14", target.usable()),
            Self::Python(wanted) => format!("is for Python `{wanted}`"),
            Self::NoDigest => "has no sha256 on the index".to_owned(),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.version().fmt(out)
    }
}
