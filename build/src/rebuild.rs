//! Making a plan's results a second time, elsewhere and without what the cache has of them, to see that they are
//! the same to the byte.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::backing::{Backings, OtherStore};
use crate::diff::first_difference;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::execute::Executor;
use crate::files::{copy, copy_tree, files_below};
use crate::layout::Layout;
use crate::plan::{Input, Kind, Plan, Step};
use crate::store::Store;

/// The first thing that came out differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The step that made it, from inputs that were the same.
    pub step: String,
    /// The file in its result, and where in the file, in words; what differs most plainly comes first.
    pub files: Vec<String>,
}

/// What a second build showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The steps that were made anew.
    pub steps: Vec<String>,
    /// The first difference, if there is one.
    pub difference: Option<Difference>,
}

/// Builds a plan, and then some of its steps (all, when none is named) once more: in the cache `folder`, from a
/// copy of the checkout's files in it, with another number of jobs. Crates are fetched anew only where the network
/// may be used.
///
/// # Errors
/// When a name is of no step, or a build fails.
pub fn rebuild(first: &Executor<'_>, plan: &Plan, names: &[String], folder: &Path) -> Result<Verdict> {
    let known: BTreeSet<_> = plan.steps.iter().map(|step| step.name.as_str()).collect();
    let unknown: Vec<_> = names.iter().filter(|name| !known.contains(name.as_str())).collect();
    if !unknown.is_empty() {
        return Err(Error::new("the plan does not have these steps")
            .details(unknown.into_iter().map(|name| format!("`{name}`")))
            .hint("`plan` lists them"));
    }
    let anew = |kind: &Kind| !(matches!(kind, Kind::Crates) && first.fetcher.offline());
    let steps: Vec<String> = match names {
        [] => plan.steps.iter().filter(|step| anew(&step.kind)).map(|step| step.name.clone()).collect(),
        names => names.to_vec(),
    };
    let plan = &plan.for_steps(|step| steps.contains(&step.name));
    first.run(plan)?;
    get_inputs(first, plan, &steps)?;
    let moved = moved(plan, &first.layout.checkout, &folder.join("files"))?;
    let layout = Layout { cache: folder.join("store"), ..first.layout.clone() };
    let store = Store::open(&layout.cache)?;
    let mut backings = Backings::default();
    let made = steps.clone();
    backings.push(OtherStore::new(first.store, move |step| !made.iter().any(|name| name == step)));
    let second = Executor {
        store: &store,
        fetcher: first.fetcher,
        layout: &layout,
        report: first.report,
        backings: &backings,
        jobs: first.jobs + 1,
    };
    second.run(&moved)?;

    let (ours, theirs) = (first.known(plan)?, second.known(&moved)?);
    for (step, (one, other)) in plan.steps.iter().zip(ours.into_iter().zip(theirs)) {
        let (Some(one), Some(other)) = (one, other) else { continue };
        if one != other {
            let files = differing(first.store, one, &store, other)?;
            let difference = Some(Difference { step: step.name.clone(), files });
            return Ok(Verdict { steps, difference });
        }
    }
    Ok(Verdict { steps, difference: None })
}

/// Gets what steps are made from into the store: of a plan's results it may know no more than that others have them.
fn get_inputs(first: &Executor<'_>, plan: &Plan, names: &[String]) -> Result<()> {
    let results = first.known(plan)?;
    let made = plan.steps.iter().filter(|step| names.contains(&step.name));
    for index in made.flat_map(Step::needs).collect::<BTreeSet<_>>() {
        if let (Some(step), Some(Some(digest))) = (plan.steps.get(index), results.get(index)) {
            first.tree(*digest, &step.name)?;
        }
    }
    Ok(())
}

/// The plan with its files of the checkout in another place.
fn moved(plan: &Plan, checkout: &Path, to: &Path) -> Result<Plan> {
    let mut plan = plan.clone();
    for step in &mut plan.steps {
        for input in step.inputs.values_mut() {
            let Input::Local { path, .. } = input else { continue };
            let Ok(below) = path.strip_prefix(checkout) else { continue };
            let target = to.join(below);
            if path.is_dir() {
                copy_tree(path, &target, &|_| true)?;
            } else {
                copy(path, &target)?;
            }
            *path = target;
        }
    }
    Ok(plan)
}

/// How many files are told of.
const TOLD: usize = 10;

fn differing(first: &Store, one: Digest, second: &Store, other: Digest) -> Result<Vec<String>> {
    let tree = |store: &Store, digest| -> Result<PathBuf> {
        store.tree(digest)?.ok_or_else(|| Error::new(format!("the tree `{digest}` is not in the store")))
    };
    let (one, other) = (tree(first, one)?, tree(second, other)?);
    let mut found = Vec::new();
    let (ours, theirs) = (files_below(&one)?, files_below(&other)?);
    let all: BTreeSet<_> = ours.iter().chain(&theirs).collect();
    for file in all {
        let shown = file.display();
        let line = match (ours.contains(file), theirs.contains(file)) {
            (true, false) => Some(format!("`{shown}` is only in the first build")),
            (false, true) => Some(format!("`{shown}` is only in the second build")),
            _ => what_differs(&one.join(file), &other.join(file))?.map(|what| format!("`{shown}`: {what}")),
        };
        found.extend(line);
    }
    if found.is_empty() {
        found.push("the directories differ, or which files are executable".to_owned());
    }
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    Ok(found)
}

fn what_differs(one: &Path, other: &Path) -> Result<Option<String>> {
    if one.is_symlink() || other.is_symlink() {
        let (one, other) = (fs::read_link(one).ok(), fs::read_link(other).ok());
        return Ok((one != other).then(|| "a link that leads elsewhere".to_owned()));
    }
    let read = |path: &Path| fs::read(path).context(|| format!("cannot read `{}`", path.display()));
    let (one, other) = (read(one)?, read(other)?);
    Ok(first_difference(&one, &other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_two_results_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = |name: &str, module: &str, file: &str| {
            let store = Store::open(&folder.path().join(name)).unwrap();
            let scratch = store.scratch().unwrap();
            let dir = scratch.path().join("out");
            fs::create_dir_all(dir.join("lib")).unwrap();
            fs::write(dir.join("same"), "same").unwrap();
            fs::write(dir.join("lib").join(file), "x").unwrap();
            let bytes = wat::parse_str(format!("(module (func nop) (func {module}))")).unwrap();
            fs::write(dir.join("lib/x.so"), bytes).unwrap();
            let digest = store.import_tree(&dir).unwrap();
            drop(scratch);
            (store, digest)
        };
        let ((first, one), (second, other)) = (store("one", "nop", "a"), store("two", "unreachable", "b"));
        assert_eq!(
            differing(&first, one, &second, other).unwrap(),
            [
                "`lib/a` is only in the first build",
                "`lib/b` is only in the second build",
                "`lib/x.so`: first at byte 0x1c, in the body of function 1 (imports not counted)",
            ]
        );
    }
}
