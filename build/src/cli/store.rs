//! `why`, `diff`, `gc`, `vendor` and `verify`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::Value;

use super::BundleArgs;
use super::build::{Session, fetch_all};
use super::output::{self, line, print};
use crate::backing::Folder;
use crate::diff;
use crate::error::{Context, Error, Result};
use crate::execute::action_of;
use crate::files::files_below;
use crate::invocation::verb;
use crate::layout::Layout;
use crate::plan::Kind;
use crate::rebuild::rebuild;
use crate::report;
use crate::store::{Limits, Record, Store};
use crate::why;
use eryx_embed::parse_size;

/// The status of `diff` when it cannot compare.
const TROUBLE: u8 = 2;

/// What `gc` is told.
#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Keep what was of use within this many days.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    max_age: u32,
    /// Keep at most this much, such as `20GiB`; what was of use longest ago goes first.
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
}

/// What `vendor` is told.
#[derive(Debug, Args)]
pub(super) struct VendorArgs {
    /// The directory to write to.
    directory: PathBuf,
    #[command(flatten)]
    bundle: BundleArgs,
    /// Everything that any recipe needs.
    #[arg(long, conflicts_with = "packages")]
    all: bool,
}

pub(super) fn why(arguments: &BundleArgs) -> Result<u8> {
    let session = Session::open(arguments)?;
    let plan = session.beside_lock(arguments, |lock| session.plan_of(arguments, false, lock))?;
    let reasons = why::why(&session.executor(), &plan)?;
    print(why::show(&reasons, &plan))?;
    Ok(0)
}

pub(super) fn diff(one: &Path, other: &Path) -> Result<u8> {
    match diff::diff(one, other) {
        Ok(text) => {
            print(&text)?;
            Ok(u8::from(!text.is_empty()))
        }
        Err(error) => {
            output::complain(&error);
            Ok(TROUBLE)
        }
    }
}

pub(super) fn gc(arguments: &GcArgs) -> Result<u8> {
    let layout = Layout::discover()?;
    let limits = Limits {
        age: Duration::from_secs(u64::from(arguments.max_age) * 24 * 60 * 60),
        size: arguments.max_size.as_deref().map(parse_size).transpose()?,
        dry_run: arguments.dry_run,
    };
    let manifests = manifests(&layout.dist)?;
    // The link's parameters are in its manifest, too.
    let linked = |record: &Record| {
        let params = &record.preimage["params"];
        let same =
            |manifest: &Value| ["names", "world", "inputs"].iter().all(|key| params[*key] == manifest[*key]);
        record.step.starts_with("component ") && manifests.iter().any(same)
    };
    let store = Store::open(&layout.cache)?;
    let done = store.collect(&linked, &limits)?;
    let mut freed = done.freed;
    for folder in [layout.cache.join("work"), layout.cache.join("log"), layout.compiled()] {
        freed += remove_old(&folder, &limits)?;
    }
    let verb = if limits.dry_run { "would remove" } else { "removed" };
    line(format_args!("{verb} {} records, {} trees and {} files", done.records, done.trees, done.blobs))?;
    line(format_args!("{verb} {}, and {} stay in the store", report::size(freed), report::size(done.kept)))?;
    Ok(0)
}

/// The manifests in a directory; what is no manifest is passed over.
fn manifests(folder: &Path) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json")
            && let Ok(text) = fs::read(&path)
            && let Ok(value) = serde_json::from_slice::<Value>(&text)
            && value["inputs"].is_array()
        {
            found.push(value);
        }
    }
    Ok(found)
}

/// Removes the entries of a directory that are older than the limit; returns their bytes.
fn remove_old(folder: &Path, limits: &Limits) -> Result<u64> {
    let mut freed = 0;
    let Ok(entries) = fs::read_dir(folder) else { return Ok(0) };
    for entry in entries {
        let entry = entry?;
        let age = SystemTime::now().duration_since(entry.metadata()?.modified()?).unwrap_or_default();
        if age < limits.age {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            for file in files_below(&path)? {
                freed += fs::symlink_metadata(path.join(file))?.len();
            }
            if !limits.dry_run {
                fs::remove_dir_all(&path).context(|| format!("cannot remove `{}`", path.display()))?;
            }
        } else {
            freed += entry.metadata()?.len();
            if !limits.dry_run {
                fs::remove_file(&path).context(|| format!("cannot remove `{}`", path.display()))?;
            }
        }
    }
    Ok(freed)
}

pub(super) fn vendor(arguments: &VendorArgs) -> Result<u8> {
    let session = Session::open(&arguments.bundle)?;
    let plan = session
        .with_lock(&arguments.bundle, |lock| session.plan_of(&arguments.bundle, arguments.all, lock))?;
    let pins = fetch_all(&session, &plan)?;
    let folder = &arguments.directory;
    let doing = || format!("cannot write to `{}`", folder.display());
    fs::create_dir_all(folder).context(doing)?;
    let mut names = std::collections::BTreeMap::new();
    let clashes: Vec<_> = pins
        .values()
        .filter_map(|pin| names.insert(&pin.file, pin.sha256).map(|_| format!("`{}`", pin.file)))
        .collect();
    if !clashes.is_empty() {
        return Err(Error::new("two files have one name").details(clashes));
    }
    let executor = session.executor();
    for pin in pins.values() {
        super::build::place(&executor.blob(pin)?, &folder.join(&pin.file))?;
    }
    // What cargo fetches is no file that a mirror could have: the results of these steps are.
    let results = Folder::new(folder);
    let mut count = 0;
    let outputs = executor.known(&plan)?;
    for step in plan.steps.iter().filter(|step| matches!(step.kind, Kind::Crates)) {
        let record = session.store.record(action_of(step, &outputs)?.key())?;
        let record = record.ok_or_else(|| Error::new(format!("`{}` is not recorded", step.name)))?;
        results.write(&record, &session.store)?;
        count += 1;
    }
    line(format_args!("{} files and {count} sets of crates are in `{}`", pins.len(), folder.display()))?;
    Ok(0)
}

/// What `verify` is told.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Make only this step anew, from the inputs that the cache has; may be given several times.
    #[arg(long = "step", value_name = "STEP")]
    steps: Vec<String>,
    /// Where to build the second time; a directory in the cache, removed afterwards, by default.
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

/// Whether the directory has no entry, or cannot be read.
fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

pub(super) fn verify(arguments: &VerifyArgs) -> Result<u8> {
    let session = Session::open(&arguments.bundle)?;
    let plan = session.plan(&arguments.bundle)?;
    let work = session.layout.cache.join("work");
    fs::create_dir_all(&work).context(|| format!("cannot create `{}`", work.display()))?;
    let scratch = tempfile::Builder::new().prefix("verify-").tempdir_in(&work)?;
    let folder = arguments.prefix.as_deref().unwrap_or(scratch.path());
    let verdict = match rebuild(&session.executor(), &plan, &arguments.steps, folder) {
        Ok(verdict) => verdict,
        // What failed earlier has made nothing there.
        Err(error) if arguments.prefix.is_none() && !is_empty(scratch.path()) => {
            // The log that the error names lies in there.
            let kept = scratch.keep();
            return Err(error.hint(format!("the second build is kept in `{}`", kept.display())));
        }
        Err(error) => return Err(error),
    };
    let Some(difference) = verdict.difference else {
        line(format_args!("{} steps were made twice, with equal results", verdict.steps.len()))?;
        return Ok(0);
    };
    let mut error = Error::new(format!("step `{}` gives something else the second time", difference.step))
        .details(difference.files);
    if arguments.prefix.is_none() {
        error = error.hint(format!(
            "to look at both, run {}",
            verb(&format!("verify --step \"{}\" --prefix DIR", difference.step))
        ));
    }
    Err(error)
}
