//! Walks a plan: looks every step up in the action cache, runs what is missing, stops at the first failure.
//!
//! The key of a step needs the digests of its inputs, not the inputs themselves. So a plan that is all hits
//! reads one small record for each step and nothing else; files are fetched, and trees verified, only for a
//! step that really runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::Value;

use crate::action::{self, Action};
use crate::backing::Backings;
use crate::command::Log;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::fetch::{Fetcher, Pin};
use crate::invocation::verb;
use crate::jobs::Jobs;
use crate::layout::{self, Layout};
use crate::plan::{Input, Kind, Plan, Step};
use crate::report::{Outcome, Report};
use crate::steps::{self, Work};
use crate::store::{Output, Record, Store};

mod schedule;

/// How many steps run at once at most; their commands share the jobs.
const WORKERS: usize = 4;

/// What the cache knows of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It is in the cache.
    Hit,
    /// It was never built.
    Missing,
    /// It was built from other inputs; what changed.
    Stale(Vec<String>),
    /// Its key is not known before these steps have run.
    After(Vec<String>),
}

/// Runs plans.
pub struct Executor<'a> {
    /// Results.
    pub store: &'a Store,
    /// Sources.
    pub fetcher: &'a Fetcher,
    /// Paths.
    pub layout: &'a Layout,
    /// What the user sees.
    pub report: &'a Report,
    /// Other places that may have results; the store knows best.
    pub backings: &'a Backings<'a>,
    /// How many processes may run at once.
    pub jobs: usize,
}

impl Executor<'_> {
    /// The results of a plan's steps that are recorded, as far as their keys are known without building anything.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn known(&self, plan: &Plan) -> Result<Vec<Option<Digest>>> {
        let mut outputs = vec![None; plan.steps.len()];
        for (place, step) in plan.steps.iter().enumerate() {
            let known = |input: &Input| match input {
                Input::Step(other) => outputs.get(*other).copied().flatten().is_some(),
                _ => true,
            };
            if step.inputs.values().all(known)
                && let Some(record) = self.store.record(action_of(step, &outputs)?.key())?
                && let Some(slot) = outputs.get_mut(place)
            {
                *slot = Some(record.output.digest());
            }
        }
        Ok(outputs)
    }

    /// What the cache knows of each step, in the plan's order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn status(&self, plan: &Plan) -> Result<Vec<Status>> {
        let outputs = self.known(plan)?;
        let mut all = Vec::new();
        for (place, step) in plan.steps.iter().enumerate() {
            if outputs.get(place).copied().flatten().is_some() {
                all.push(Status::Hit);
                continue;
            }
            let waits: Vec<String> = step
                .inputs
                .values()
                .filter_map(|input| match input {
                    Input::Step(other) if outputs.get(*other).copied().flatten().is_none() => {
                        plan.steps.get(*other).map(|step| step.name.clone())
                    }
                    _ => None,
                })
                .collect();
            if !waits.is_empty() {
                all.push(Status::After(waits));
                continue;
            }
            let action = action_of(step, &outputs)?;
            all.push(match self.store.latest(&step.name)? {
                Some(record) => Status::Stale(action::differences(&record.preimage, &action.preimage())),
                None => Status::Missing,
            });
        }
        Ok(all)
    }

    /// Runs the plan and returns the directory of its last step's result.
    ///
    /// # Errors
    /// The first failure of a step.
    pub fn run(&self, plan: &Plan) -> Result<PathBuf> {
        self.check_sizes(plan)?;
        // An input that turns out to be damaged, or that nobody has, makes its step run again: the walk starts over.
        for _ in 0..plan.steps.len() + 3 {
            let outputs = match self.walk(plan) {
                Ok(outputs) => outputs,
                Err(Failure::Lost) => continue,
                Err(Failure::Told(error)) => return Err(error),
            };
            let last = outputs.last().copied().ok_or_else(|| Error::new("the plan is empty"))?;
            self.tell_warnings();
            let name = plan.steps.last().map(|step| step.name.as_str()).unwrap_or_default();
            if let Some(path) = self.tree(last, name)? {
                return Ok(path);
            }
            self.forget(plan.steps.last(), &outputs.iter().copied().map(Some).collect::<Vec<_>>())?;
        }
        Err(Error::new("the store loses what is put into it")
            .hint(format!("check the file system of `{}`", self.layout.cache.display())))
    }

    /// Refuses pins whose length is not that of the file in the store: with an empty store they could not be fetched.
    fn check_sizes(&self, plan: &Plan) -> Result<()> {
        let mut problems = std::collections::BTreeSet::new();
        for input in plan.steps.iter().flat_map(|step| step.inputs.values()) {
            let Input::Pin(pin) = input else { continue };
            let (Some(stated), Some(found)) = (pin.size, self.store.blob_size(pin.sha256)) else { continue };
            // A damaged file is removed by looking at it, and fetched again.
            if stated != found && self.store.blob(pin.sha256)?.is_some() {
                problems.insert(format!("`{}`: expected {stated} bytes but found {found}", pin.file));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::new("files have another length than is pinned")
            .details(problems)
            .hint("correct `size` where the sha256 is pinned"))
    }

    fn tell_warnings(&self) {
        for warning in self.store.take_warnings() {
            self.report.warning(&warning);
        }
    }

    fn walk(&self, plan: &Plan) -> Result<Vec<Digest>, Failure> {
        // Made with the first step that runs: a plan that is all hits writes nothing.
        let jobs = OnceLock::new();
        let needs: Vec<Vec<usize>> = plan.steps.iter().map(|step| step.needs().collect()).collect();
        let run = |index: usize, outputs: &[Option<Digest>]| match plan.steps.get(index) {
            Some(step) => self.step(plan, step, outputs, &jobs),
            None => Err(Error::new("the plan lost a step").into()),
        };
        let panicked = |index: usize, message: &str| {
            let name = plan.steps.get(index).map(|step| step.name.as_str()).unwrap_or_default();
            Failure::Told(
                Error::new(format!("step `{name}` panicked: {message}"))
                    .hint("this is a defect of eryx-build; please report it with the message above"),
            )
        };
        let outputs = schedule::schedule(&needs, self.jobs.clamp(1, WORKERS), &run, &panicked)?;
        Ok(outputs.ok_or_else(|| Error::new("the plan has a step that waits for itself"))?)
    }

    /// Whatever is known here may be of use elsewhere, whenever it was made.
    fn offer(&self, record: &Record) {
        self.backings.offer(record, self.store, &|text| self.report.warning(&text));
    }

    fn step(
        &self,
        plan: &Plan,
        step: &Step,
        outputs: &[Option<Digest>],
        jobs: &OnceLock<Result<Jobs>>,
    ) -> Result<Digest, Failure> {
        let action = action_of(step, outputs)?;
        let key = action.key();
        if let Some(record) = self.store.record(key)? {
            self.store.touch(key);
            self.report.hit(&step.name);
            self.offer(&record);
            return Ok(record.output.digest());
        }
        let claim = self.store.claim(key, &|| {
            self.report.line(&format!("wait     {} (another build runs it)", step.name));
        })?;
        if let Some(record) = self.store.record(key)? {
            self.report.hit(&step.name);
            return Ok(record.output.digest());
        }
        if let Some(record) = self.backings.record(&action, &|text| self.report.warning(&text))? {
            claim.adopt(&record)?;
            self.report.hit(&step.name);
            return Ok(record.output.digest());
        }
        let jobs = jobs.get_or_init(|| Jobs::new(self.jobs, self.store.scratch()?));
        let jobs = jobs.as_ref().map_err(Clone::clone)?;
        let job = jobs.acquire()?;
        let running = self.report.start(&step.name);
        let since = Instant::now();
        let made = self.make(plan, step, &action, outputs, jobs);
        drop(job);
        self.tell_warnings();
        match made {
            Ok(digest) => {
                let seconds = since.elapsed().as_secs_f64();
                let record = Record {
                    step: step.name.clone(),
                    key,
                    preimage: action.preimage(),
                    output: Output::Tree { digest },
                    seconds,
                };
                claim.publish(record.clone())?;
                running.end(Outcome::Built);
                self.offer(&record);
                Ok(digest)
            }
            Err(Failure::Lost) => {
                running.end(Outcome::Failed);
                Err(Failure::Lost)
            }
            Err(Failure::Told(error)) => {
                running.end(Outcome::Failed);
                Err(Failure::Told(error.context(format!("step `{}` failed", step.name)).hint(format!(
                    "to stand where it failed, run {}",
                    verb(&format!("shell \"{}\"", step.name))
                ))))
            }
        }
    }

    fn make(
        &self,
        plan: &Plan,
        step: &Step,
        action: &Action,
        outputs: &[Option<Digest>],
        jobs: &Jobs,
    ) -> Result<Digest, Failure> {
        let label = format!("{}-{}", step.name, &action.key().short());
        let dir = self.layout.work(&label);
        if dir.exists() {
            fs::remove_dir_all(&dir).context(|| format!("cannot clear `{}`", dir.display()))?;
        }
        let out = dir.join("out");
        fs::create_dir_all(&out).context(|| format!("cannot create `{}`", out.display()))?;
        let mut inputs = BTreeMap::new();
        for (role, input) in &step.inputs {
            inputs.insert(role.clone(), self.materialise(plan, input, outputs)?);
        }
        let log = Log::create(&self.layout.log(&label))?.keeping(dir.join(layout::FAILED));
        let work = Work { dir: dir.clone(), out: out.clone(), inputs, log, jobs, report: self.report };
        dispatch(step, &work, self.fetcher.offline())?;
        steps::place::refuse(&out, &dir)?;
        // Read-only inputs that a build copied may have left folders that only their owner may enter.
        let digest = self.store.import_tree(&out)?;
        fs::remove_dir_all(&dir).context(|| format!("cannot clear `{}`", dir.display()))?;
        Ok(digest)
    }

    /// The path of an input, fetched or verified.
    fn materialise(
        &self,
        plan: &Plan,
        input: &Input,
        outputs: &[Option<Digest>],
    ) -> Result<PathBuf, Failure> {
        match input {
            Input::Local { path, .. } => Ok(path.clone()),
            Input::Pin(pin) => Ok(self.blob(pin)?),
            Input::Step(place) => {
                let digest = outputs.get(*place).copied().flatten();
                let digest = digest.ok_or_else(|| Error::new("a step runs before its inputs"))?;
                let name = plan.steps.get(*place).map(|step| step.name.as_str()).unwrap_or_default();
                if let Some(path) = self.tree(digest, name)? {
                    return Ok(path);
                }
                self.forget(plan.steps.get(*place), outputs)?;
                Err(Failure::Lost)
            }
        }
    }

    /// The result of a step, from the store or got into it; none when nobody has it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(crate) fn tree(&self, digest: Digest, step: &str) -> Result<Option<PathBuf>> {
        if let Some(path) = self.store.tree(digest)? {
            return Ok(Some(path));
        }
        if self.backings.is_empty() {
            return Ok(None);
        }
        let running = self.report.start(&format!("get {step}"));
        let warn = |text: String| self.report.warning(&text);
        let found = self.backings.tree(digest, step, self.store, &warn);
        running.end(if matches!(found, Ok(true)) { Outcome::Built } else { Outcome::Failed });
        if found? { self.store.tree(digest) } else { Ok(None) }
    }

    /// The file of a pin, from the store or fetched into it.
    ///
    /// # Errors
    /// When no origin has it.
    pub fn blob(&self, pin: &Pin) -> Result<PathBuf> {
        if let Some(path) = self.store.blob(pin.sha256)? {
            return Ok(path);
        }
        if let Some(path) = self.backings.blob(pin) {
            return Ok(path);
        }
        let running = self.report.start(&format!("fetch {}", pin.file));
        let fetched = self.fetch(pin, &|done, all| {
            let all = all.map(|all| format!(" of {}", crate::report::size(all))).unwrap_or_default();
            running.doing(&format!("{}{all}", crate::report::size(done)));
        });
        running.end(if fetched.is_ok() { Outcome::Built } else { Outcome::Failed });
        fetched
    }

    fn fetch(&self, pin: &Pin, progress: &dyn Fn(u64, Option<u64>)) -> Result<PathBuf> {
        let scratch = self.store.scratch()?;
        let path = scratch.path().join("download");
        let mut file = fs::File::create(&path)?;
        self.fetcher.download(pin, &mut file, progress)?;
        drop(file);
        let mut file = fs::File::open(&path)?;
        self.store.import_blob(&mut file, Some((pin.sha256, pin.size)))?;
        self.store
            .blob(pin.sha256)?
            .ok_or_else(|| Error::new(format!("`{}` vanished from the store", pin.file)))
    }

    /// Removes the record of a step whose result is gone, so that it runs again.
    fn forget(&self, step: Option<&Step>, outputs: &[Option<Digest>]) -> Result<()> {
        match step {
            Some(step) => self.store.forget(action_of(step, outputs)?.key()),
            None => Ok(()),
        }
    }
}

/// Why a walk ends early.
enum Failure {
    /// An input that was recorded is damaged or gone: it has been forgotten, and the walk starts over.
    Lost,
    /// Anything else.
    Told(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

/// The action of a step, given the digests of the results of the plan's steps so far.
///
/// # Errors
/// When the result of a step that it needs is not among them.
pub fn action_of(step: &Step, outputs: &[Option<Digest>]) -> Result<Action> {
    let mut inputs = BTreeMap::new();
    for (role, input) in &step.inputs {
        let digest =
            match input {
                Input::Pin(pin) => pin.sha256,
                Input::Local { digest, .. } => *digest,
                Input::Step(place) => outputs.get(*place).copied().flatten().ok_or_else(|| {
                    Error::new(format!("`{}` is planned before its input `{role}`", step.name))
                })?,
            };
        inputs.insert(role.clone(), digest);
    }
    let (kind, revision) = kind_of(&step.kind);
    let params: Value = step.params.clone();
    Ok(Action { step: step.name.clone(), kind: format!("{kind}/{revision}"), params, inputs })
}

fn kind_of(kind: &Kind) -> (&'static str, u32) {
    match kind {
        Kind::Toolchain(_) => ("toolchain", steps::toolchain::REVISION),
        Kind::Libc(_) => ("libc", steps::sysroot::LIBC_REVISION),
        Kind::Libcxx(_) => ("libcxx", steps::sysroot::LIBCXX_REVISION),
        Kind::Vfs => ("vfs", steps::sysroot::VFS_REVISION),
        Kind::Sysroot => ("sysroot", steps::sysroot::MERGE_REVISION),
        Kind::Tools => ("tools", steps::tools::REVISION),
        Kind::Python(_) => ("python", steps::python::REVISION),
        Kind::Library(_) => ("library", steps::library::REVISION),
        Kind::Cpython(_) => ("cpython", steps::cpython::REVISION),
        Kind::Profile(..) => ("profile", steps::profile::REVISION),
        Kind::CpythonDev => ("cpython-dev", steps::cpython_dev::REVISION),
        Kind::Rust(_) => ("rust", steps::rust::REVISION),
        Kind::Crates => ("crates", steps::rust::CRATES_REVISION),
        Kind::Extension(_) => ("extension", steps::packages::EXTENSION_REVISION),
        Kind::Wheel { .. } => ("wheel", steps::packages::WHEEL_REVISION),
        Kind::Guest => ("guest", steps::guest::REVISION),
        Kind::Component(_) => ("component", steps::component::REVISION),
        Kind::Check(_) => ("check", steps::verify::REVISION),
    }
}

fn dispatch(step: &Step, work: &Work, offline: bool) -> Result<()> {
    match &step.kind {
        Kind::Toolchain(sources) => steps::toolchain::assemble(work, sources),
        Kind::Libc(sources) => steps::sysroot::libc(work, sources, &step.params),
        Kind::Libcxx(sources) => steps::sysroot::libcxx(work, sources),
        Kind::Vfs => steps::sysroot::vfs(work),
        Kind::Sysroot => steps::sysroot::merge(work),
        Kind::Tools => steps::tools::install(work),
        Kind::Python(recipe) => steps::python::build(work, recipe),
        Kind::Library(recipe) => steps::library::build(work, recipe),
        Kind::Cpython(recipe) => steps::cpython::build(work, recipe),
        Kind::Profile(recipe, sources) => steps::profile::take(work, recipe, sources),
        Kind::CpythonDev => steps::cpython_dev::take(work),
        Kind::Rust(sources) => steps::rust::assemble(work, sources),
        Kind::Crates => steps::rust::vendor(work, &step.params, offline),
        Kind::Extension(recipe) => steps::packages::extension(work, recipe),
        Kind::Wheel { .. } => steps::packages::wheel(work),
        Kind::Guest => steps::guest::build(work),
        Kind::Component(parts) => steps::component::link(work, parts),
        Kind::Check(parts) => steps::verify::verify(work, parts),
    }
}

/// A table of steps and what the cache knows of them.
#[must_use]
pub fn show(plan: &Plan, statuses: &[Status]) -> String {
    let width = plan.steps.iter().map(|step| step.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (step, status) in plan.steps.iter().zip(statuses) {
        let status = match status {
            Status::Hit => "hit".to_owned(),
            Status::Missing => "missing".to_owned(),
            Status::Stale(changes) if changes.is_empty() => "stale".to_owned(),
            Status::Stale(changes) => format!("stale: {}", changes.join(", ")),
            Status::After(steps) => format!("after {}", steps.join(", ")),
        };
        text.push_str(&format!("{:<width$}  {status}\n", step.name));
    }
    text
}

/// The name of a step's work directory, for `shell`.
#[must_use]
pub fn work_prefix(step: &str) -> String {
    layout::file_name(&format!("{step}-"))
}
