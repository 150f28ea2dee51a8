//! Version specifiers as sets on a line, with the meaning that PEP 440 gives them.

use std::cmp::Ordering;
use std::fmt;

use pep440_rs::{Operator, Version, VersionSpecifier, VersionSpecifiers};
use pubgrub::Ranges;

/// A set of versions.
pub(super) type Range = Ranges<Point>;

/// A version, or the gap behind all its local variants (`1.0+x`), which `==1.0` and `<=1.0` let in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Point {
    pub(super) version: Version,
    behind_locals: bool,
}

impl Point {
    pub(super) fn new(version: Version) -> Self {
        Self { version, behind_locals: false }
    }

    fn behind_locals(version: Version) -> Self {
        Self { version, behind_locals: true }
    }
}

impl Ord for Point {
    fn cmp(&self, other: &Self) -> Ordering {
        if !self.behind_locals && !other.behind_locals {
            return self.version.cmp(&other.version);
        }
        let public = |point: &Self| point.version.clone().without_local();
        // Only a gap is ever compared here: it lies behind all that is equal but for the local part.
        public(self).cmp(&public(other)).then(self.behind_locals.cmp(&other.behind_locals))
    }
}

impl PartialOrd for Point {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.version.fmt(out)
    }
}

/// The versions that meet all specifiers.
pub(super) fn of_specifiers(specifiers: &VersionSpecifiers) -> Range {
    specifiers.iter().fold(Range::full(), |range, one| range.intersection(&of_specifier(one)))
}

/// One version alone.
pub(super) fn of_version(version: &Version) -> Range {
    Range::singleton(Point::new(version.clone()))
}

fn of_specifier(specifier: &VersionSpecifier) -> Range {
    let version = specifier.version().clone();
    match specifier.operator() {
        Operator::Equal => equal(version),
        Operator::NotEqual => equal(version).complement(),
        Operator::LessThanEqual => Range::lower_than(Point::behind_locals(version)),
        // `>1.0.post1` lets `1.0.post2` in, but no local variant of `1.0.post1`.
        Operator::GreaterThan if version.is_post() => {
            Range::strictly_higher_than(Point::behind_locals(version))
        }
        _ => on_line(specifier.clone()),
    }
}

fn equal(version: Version) -> Range {
    if version.local().is_empty() {
        Range::from_range_bounds(Point::new(version.clone())..=Point::behind_locals(version))
    } else {
        of_version(&version)
    }
}

/// What `pep440_rs` makes of a specifier, which knows nothing of local variants.
fn on_line(specifier: VersionSpecifier) -> Range {
    let version = specifier.version();
    let numbers = version.release().iter().copied().chain(version.post());
    if numbers.chain(version.pre().map(|pre| pre.number)).any(|number| number == u64::MAX) {
        // The number after it, where some of these sets end, does not exist.
        return Range::empty();
    }
    let point = |bound: &std::ops::Bound<Version>| bound.as_ref().map(|version| Point::new(version.clone()));
    Ranges::<Version>::from(specifier).iter().map(|(from, to)| (point(from), point(to))).collect()
}

/// Whether a specifier names a pre-release, which lets all pre-releases in (PEP 440).
pub(super) fn names_prerelease(specifiers: &VersionSpecifiers) -> bool {
    specifiers.iter().any(|one| {
        !matches!(one.operator(), Operator::NotEqual | Operator::NotEqualStar | Operator::EqualStar)
            && one.any_prerelease()
    })
}

/// Whether a specifier insists on one version, which lets a withdrawn one in (PEP 592).
pub(super) fn pins(specifiers: &VersionSpecifiers) -> bool {
    specifiers.iter().any(|one| matches!(one.operator(), Operator::Equal | Operator::ExactEqual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_mean_what_pep_440_says() {
        for (specifiers, inside, outside) in [
            ("==1.0", &["1.0", "1", "1.0.0", "1.0+x"][..], &["1.0.post1", "1.0rc1", "1.0.1"][..]),
            ("==1.0+x", &["1.0+x"], &["1.0", "1.0+y", "1.0+x.1"]),
            ("===1.0", &["1.0"], &["1.0.1"]),
            ("!=1.0", &["1.1", "1.0.post1", "1.0rc1"], &["1.0", "1.0+x"]),
            ("==1.0.*", &["1.0", "1.0.5", "1.0rc1", "1.0.post1", "1.0+x"], &["1.1", "1.1.dev0"]),
            ("!=1.0.*", &["1.1", "0.9"], &["1.0", "1.0.5", "1.0rc1"]),
            ("~=1.4", &["1.4", "1.9", "1.4.post1"], &["2.0", "1.3", "2.0a1"]),
            ("~=1.4.2", &["1.4.2", "1.4.9"], &["1.5", "1.4.1"]),
            ("~=1!2.3", &["1!2.3"], &["2.3", "1!3.0"]),
            ("<=1.0", &["1.0", "1.0+x", "0.9"], &["1.0.post1", "1.0.1"]),
            ("<1.0", &["0.9", "0.9.post1"], &["1.0", "1.0rc1", "1.0.dev1", "1.0+x"]),
            ("<1.0rc2", &["1.0rc1", "1.0a1"], &["1.0rc2", "1.0"]),
            (">1.0", &["1.1", "1.0.1"], &["1.0", "1.0+x", "1.0.post1"]),
            (">1.0.post1", &["1.0.post2", "1.1"], &["1.0.post1", "1.0.post1+x", "1.0"]),
            (">=1.0,<2,!=1.5", &["1.0", "1.0+x", "1.9"], &["1.5", "2.0", "2.0rc1", "0.9"]),
            ("", &["0", "1!0.1a1"], &[]),
        ] {
            let range = of_specifiers(&specifiers.parse().unwrap());
            let has = |version: &&str| range.contains(&Point::new(version.parse().unwrap()));
            for version in inside {
                assert!(has(version), "{version} in `{specifiers}`");
            }
            for version in outside {
                assert!(!has(version), "{version} not in `{specifiers}`");
            }
        }
    }

    #[test]
    fn pre_releases_are_named_and_versions_pinned() {
        let parsed = |text: &str| text.parse::<VersionSpecifiers>().unwrap();
        for (text, named, pinned) in [
            (">=1.0rc1", true, false),
            ("<2.0.dev1", true, false),
            ("==1.0a1", true, true),
            ("!=1.0a1", false, false),
            ("==1.0", false, true),
            ("===1.0", false, true),
            ("==1.0.*", false, false),
            (">=1,<2", false, false),
        ] {
            let specifiers = parsed(text);
            assert_eq!((names_prerelease(&specifiers), pins(&specifiers)), (named, pinned), "{text}");
        }
    }
}
