//! Checks a component before anybody gets it: its surface, its sections, and every package in it.

use super::Work;
use super::component::{COMPONENT, MANIFEST};
use crate::check::{self, CheckOptions, Package};
use crate::error::{Error, Result};
use crate::files::{copy, write};
use crate::plan::Parts;

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 3;

/// The file name of the report in the result.
pub const REPORT: &str = "check.txt";

/// Checks the component and passes it on with its manifest and a report.
///
/// # Errors
/// Every problem of the component at once.
pub fn verify(work: &Work, parts: &Parts) -> Result<()> {
    let made = work.input("component")?;
    let packages: Vec<Package> = serde_json::from_value(parts.checks.clone().into())
        .map_err(|error| Error::new(format!("malformed list of checks: {error}")))?;
    // Work directories lie in the cache, whose path must not be in the component.
    let cache = work.dir.parent().and_then(std::path::Path::parent);
    let forbidden: Vec<String> = cache.map(|path| path.display().to_string()).into_iter().collect();
    let options = CheckOptions { cache, packages: &packages, forbidden: &forbidden };
    let mut report = check::check(&made.join(COMPONENT), &options)?;
    report.verdict()?;
    // Where it was looked at is of no interest, and would make another result of it.
    COMPONENT.clone_into(&mut report.component);
    write(&work.out.join(REPORT), format!("{report}"))?;
    copy(&made.join(COMPONENT), &work.out.join(COMPONENT))?;
    copy(&made.join(MANIFEST), &work.out.join(MANIFEST))
}
