//! `bundle`, `plan` and `fetch`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::BundleArgs;
use super::output::{line, print};
use crate::backing::{self, Backings, Folder, Keys, Mode, Remote};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::execute::{Executor, Status, show};
use crate::fetch::{FetchOptions, Fetcher, Pin};
use crate::index::PipIndex;
use crate::invocation::verb;
use crate::layout::Layout;
use crate::local;
use crate::lock::{Lock, LockedWheel, Moves};
use crate::manifest::Manifest;
use crate::oci::Reference;
use crate::ownership::{borrowed, owners};
use crate::plan::{self, COMMAND_WORLD, Form, Input, Kind, Materials, Plan};
use crate::recipe::{Catalog, parse_parts};
use crate::report::{self, Outcome, Report};
use crate::resolve::{Request, Requirement, Upgrade, parse_constraints, parse_requests, resolve};
use crate::steps::component::{COMPONENT, MANIFEST};
use crate::steps::toolchain;
use crate::store::Store;

/// Everything that the three verbs have in common.
pub(super) struct Session {
    pub(super) layout: Layout,
    pub(super) store: Store,
    fetcher: Fetcher,
    backings: Backings<'static>,
    report: Report,
    jobs: usize,
}

impl Session {
    pub(super) fn open(arguments: &BundleArgs) -> Result<Self> {
        let layout = Layout::discover()?;
        let options = FetchOptions {
            offline: arguments.offline,
            mirror: arguments.mirror.clone(),
            scratch: None,
            find_links: arguments.find_links.clone(),
        };
        let jobs = arguments
            .jobs
            .or_else(|| std::thread::available_parallelism().ok().map(std::num::NonZero::get))
            .unwrap_or(2);
        let report = Report::new();
        let mut backings = Backings::default();
        if let Some(folder) = &arguments.mirror {
            backings.push(Folder::new(folder));
        }
        if let Some(reference) = arguments.remote.as_ref().filter(|_| !arguments.offline) {
            let mode = if arguments.remote_write { Mode::ReadWrite } else { Mode::Read };
            let keys = arguments.remote_key.as_deref().map(|file| Keys::read(file, mode)).transpose()?;
            let reference: Reference = reference.parse()?;
            match Remote::open(&reference, mode, keys.unwrap_or_default(), arguments.remote_plain_http) {
                Ok(remote) => backings.push(remote),
                // A remote cache is never needed.
                Err(error) => report.warning(&format!(
                    "going on without the remote cache `{}`: {}",
                    reference.name(),
                    backing::one_line(&error)
                )),
            }
        }
        Ok(Self {
            store: Store::open(&layout.cache)?,
            backings,
            fetcher: Fetcher::new(options),
            report,
            jobs,
            layout,
        })
    }

    pub(super) fn executor(&self) -> Executor<'_> {
        Executor {
            store: &self.store,
            fetcher: &self.fetcher,
            layout: &self.layout,
            report: &self.report,
            backings: &self.backings,
            jobs: self.jobs,
        }
    }

    /// The plan of the named packages; what was chosen for it is written to the lock file.
    pub(super) fn plan(&self, arguments: &BundleArgs) -> Result<Plan> {
        self.with_lock(arguments, |lock| self.plan_of(arguments, false, lock))
    }

    /// The plan of the named packages, or of all that recipes give, for a lock.
    pub(super) fn plan_of(&self, arguments: &BundleArgs, all: bool, lock: &mut Lock) -> Result<Plan> {
        let catalog = Catalog::load(&self.layout.recipes())?;
        let packages = match all {
            false => arguments.packages.clone(),
            true => catalog.iter().filter(|one| one.is_package()).map(|one| one.name.to_string()).collect(),
        };
        self.plan_with(arguments, &catalog, &packages, &mut Moves::default(), lock)
    }

    /// The plan of packages, of which some may move.
    pub(super) fn plan_with(
        &self,
        arguments: &BundleArgs,
        catalog: &Catalog,
        packages: &[String],
        moves: &mut Moves,
        lock: &mut Lock,
    ) -> Result<Plan> {
        let pins_path = self.layout.checkout.join("sysroot/toolchain.toml");
        let text =
            fs::read_to_string(&pins_path).context(|| format!("cannot read `{}`", pins_path.display()))?;
        let pins = parse_parts("sysroot/toolchain.toml", &text)?;
        let tell = |text: &str| self.report.line(text);
        let index = PipIndex::new(&self.fetcher, &tell);
        let named = local::read(packages)?;
        for given in &named.wheels {
            self.fetcher.give(given.wheel.sha256, given.path.clone());
        }
        let wheels: Vec<LockedWheel> = named.wheels.into_iter().map(|given| given.wheel).collect();
        // Time zones are data that the standard library expects beside it.
        let tzdata = parse_requests(&["tzdata"])?;
        let requirements = parse_requests(&named.requirements)?;
        let request = Request {
            implied: &tzdata,
            constraints: &constraints(arguments)?,
            local: &wheels,
            upgrade: &moves.upgrade,
            ..Request::new(&requirements)
        };
        let closure = resolve(&request, catalog, lock, &index)?;
        for note in &closure.notes {
            self.report.line(&format!("note: {note}"));
        }
        closure.wheels().for_each(|(name, file)| moves.note(name, file));
        let state = Mutex::new((lock, moves));
        let tools = |requires: &[String]| {
            let mut state = state.lock().map_err(|_| Error::new("a thread panicked"))?;
            let (lock, moves) = &mut *state;
            let wheels = crate::lock::tool_wheels(&parse_requests(requires)?, &moves.upgrade, lock, &index)?;
            for wheel in &wheels {
                moves.in_use.insert(wheel.file.clone());
                // Tools move only when they are named.
                if matches!(moves.upgrade, Upgrade::Names(_)) {
                    moves.note(&wheel.name, &wheel.file);
                }
            }
            Ok(wheels)
        };
        let installed_sdk = installed_sdk()?;
        let materials = Materials {
            checkout: &self.layout.checkout,
            catalog,
            pins: &pins,
            tools: &tools,
            installed_sdk,
            machine: machine()?,
        };
        plan::plan(&materials, &closure, &arguments.world, &form(arguments)?)
    }

    /// Works with the lock file and writes it, or refuses what would change it.
    pub(super) fn with_lock<T>(
        &self,
        arguments: &BundleArgs,
        work: impl FnOnce(&mut Lock) -> Result<T>,
    ) -> Result<T> {
        let path = self.layout.lock();
        let old = Lock::load(&path)?;
        let mut lock = old.clone();
        let done = work(&mut lock)?;
        let changes = old.changes(&lock);
        if !arguments.locked {
            lock.save(&path)?;
        } else if !changes.is_empty() {
            return Err(Error::new(format!("`{}` would change", path.display()))
                .details(changes)
                .hint(format!("{} with the same packages writes it", verb("lock"))));
        }
        Ok(done)
    }

    /// Works with the lock file as it is, which stays so.
    pub(super) fn beside_lock<T>(
        &self,
        arguments: &BundleArgs,
        work: impl FnOnce(&mut Lock) -> Result<T>,
    ) -> Result<T> {
        match arguments.locked {
            true => self.with_lock(arguments, work),
            false => work(&mut Lock::load(&self.layout.lock())?),
        }
    }
}

/// How the component is put together, by the arguments.
fn form(arguments: &BundleArgs) -> Result<Form> {
    let setup = match &arguments.setup {
        Some(path) => Some(fs::read_to_string(path).context(|| format!("cannot read `{}`", path.display()))?),
        None => None,
    };
    Ok(Form {
        dynamic: arguments.no_prelink,
        // What is linked at each start has no memory to save, and a command line configures Python by itself.
        cold: arguments.no_preinit || arguments.no_prelink || arguments.world == COMMAND_WORLD,
        imports: (!arguments.imports.is_empty()).then(|| arguments.imports.clone()),
        setup,
        debug_names: arguments.debug_names,
    })
}

/// What the files of constraints say.
fn constraints(arguments: &BundleArgs) -> Result<Vec<Requirement>> {
    let mut all = Vec::new();
    for path in &arguments.constraints {
        let text = fs::read_to_string(path).context(|| format!("cannot read `{}`", path.display()))?;
        let read = parse_constraints(&text).map_err(|error| error.context(format!("`{}`", path.display())));
        all.extend(read?);
    }
    Ok(all)
}

fn installed_sdk() -> Result<Option<(PathBuf, Digest)>> {
    let Some(path) = std::env::var_os("WASI_SDK_PATH").filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    toolchain::check_installed(&path)?;
    // The whole of it: headers and builtins go into results as the compiler's code does.
    let digest = crate::store::tree_digest(&path)?;
    Ok(Some((path, digest)))
}

/// The build machine's C compiler, by the digest of its program: it builds what runs during a build.
fn machine() -> Result<String> {
    let compiler = Path::new("/usr/bin/cc");
    let target = fs::canonicalize(compiler)
        .context(|| "expected a C compiler `/usr/bin/cc`".to_owned())
        .map_err(|error| error.hint("`just setup` installs what is missing"))?;
    Ok(Digest::of_file(&target)?.0.to_string())
}

pub(super) fn plan(arguments: &BundleArgs) -> Result<u8> {
    let session = Session::open(arguments)?;
    let plan = session.beside_lock(arguments, |lock| session.plan_of(arguments, false, lock))?;
    print(show(&plan, &session.executor().status(&plan)?))?;
    Ok(0)
}

pub(super) fn fetch(arguments: &BundleArgs, all: bool) -> Result<u8> {
    let session = Session::open(arguments)?;
    let plan = session.with_lock(arguments, |lock| session.plan_of(arguments, all, lock))?;
    line(format_args!("{} files are in the store", fetch_all(&session, &plan)?.len()))?;
    Ok(0)
}

/// Gets every input of a plan into the store; returns the pinned files.
pub(super) fn fetch_all(session: &Session, plan: &Plan) -> Result<BTreeMap<Digest, Pin>> {
    let mut pins = BTreeMap::new();
    for step in &plan.steps {
        for input in step.inputs.values() {
            if let Input::Pin(pin) = input {
                pins.insert(pin.sha256, pin.clone());
            }
        }
    }
    let executor = session.executor();
    for pin in pins.values() {
        executor.blob(pin)?;
    }
    // Crates are fetched by cargo, which needs the compiler and the sources unpacked: a plan of just that.
    let crates = plan.for_steps(|step| matches!(step.kind, Kind::Crates));
    if !crates.steps.is_empty() {
        executor.run(&crates)?;
    }
    Ok(pins)
}

/// A component that was put into `dist/`.
pub(super) struct Bundled {
    pub(super) file: PathBuf,
    digest: Digest,
    size: u64,
}

/// Refuses a build offline that lacks files, and names all of them.
fn check_files(session: &Session, plan: &Plan) -> Result<()> {
    if !session.fetcher.offline() {
        return Ok(());
    }
    let (mut certain, mut lacking) = (false, BTreeMap::new());
    for (step, status) in plan.steps.iter().zip(session.executor().status(plan)?) {
        // Crates may come whole from a mirror; a step that waits may turn out to be known.
        let waits = matches!(status, Status::After(_)) || matches!(step.kind, Kind::Crates);
        for input in step.inputs.values().filter(|_| status != Status::Hit) {
            let Input::Pin(pin) = input else { continue };
            if session.store.blob(pin.sha256)?.is_none() && !session.fetcher.has_at_hand(pin) {
                certain |= !waits;
                lacking.insert(&pin.file, pin.sha256);
            }
        }
    }
    if !certain {
        return Ok(());
    }
    let message = match lacking.len() {
        1 => "a file is not in the store, and offline forbids fetching it".to_owned(),
        count => format!("{count} files are not in the store, and offline forbids fetching them"),
    };
    Err(Error::new(message)
        .details(lacking.iter().map(|(file, sha256)| format!("`{file}` (sha256 {sha256})")))
        .hint(format!("run {} with the network first", verb("fetch"))))
}

/// Builds, and puts the result into `dist/`.
fn make(session: &Session, plan: &Plan) -> Result<Bundled> {
    check_files(session, plan)?;
    let result = session.executor().run(plan)?;
    let names = match plan.steps.last().map(|step| &step.kind) {
        Some(Kind::Check(parts)) => parts.file.clone(),
        _ => return Err(Error::new("the plan does not end in a checked component")),
    };
    let manifest = fs::read(result.join(MANIFEST)).context(|| format!("cannot read `{MANIFEST}`"))?;
    let manifest = Manifest::parse(&manifest)?;
    let owners = owners(&Catalog::load(&session.layout.recipes())?, &Lock::load(&session.layout.lock())?);
    for warning in borrowed(&manifest, &owners) {
        session.report.warning(&warning);
    }
    let component = result.join(COMPONENT);
    let (digest, size) = Digest::of_file(&component)?;
    let stem = format!("{names}-{}", digest.short());
    let dist = &session.layout.dist;
    fs::create_dir_all(dist).context(|| format!("cannot create `{}`", dist.display()))?;
    let file = dist.join(format!("{stem}.wasm"));
    place(&component, &file)?;
    place(&result.join(MANIFEST), &dist.join(format!("{stem}.json")))?;
    point(dist, &format!("{names}.wasm"), &format!("{stem}.wasm"))?;
    point(dist, &format!("{names}.json"), &format!("{stem}.json"))?;
    Ok(Bundled { file, digest, size })
}

/// Builds a component for another verb.
pub(super) fn made(arguments: &BundleArgs) -> Result<Bundled> {
    let session = Session::open(arguments)?;
    let plan = session.plan(arguments)?;
    make(&session, &plan)
}

pub(super) fn bundle(arguments: &BundleArgs) -> Result<u8> {
    let session = Session::open(arguments)?;
    let plan = session.plan(arguments)?;
    let Bundled { file, digest, size } = make(&session, &plan)?;
    let timings = session.report.timings();
    line(format_args!("component  {}", file.display()))?;
    line(format_args!("size       {}", report::size(size)))?;
    line(format_args!("sha256     {digest}"))?;
    line("")?;
    for timing in timings.iter().filter(|timing| timing.outcome == Outcome::Built) {
        line(format_args!("  {:>12}  {}", report::seconds(timing.elapsed), timing.step))?;
    }
    let hits = timings.iter().filter(|timing| timing.outcome == Outcome::Hit).count();
    line(format_args!(
        "  {:>12}  in all; {hits} steps were in the cache, {} processes started",
        report::seconds(session.report.elapsed()),
        crate::command::processes_started()
    ))?;
    Ok(0)
}

/// Puts a file of the store at a place of the user's, whole or not at all.
pub(super) fn place(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("cannot write `{}`", to.display());
    if let (Ok(one), Ok(other)) = (Digest::of_file(from), Digest::of_file(to))
        && one == other
    {
        return Ok(());
    }
    let folder = to.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).context(what)?;
    let mut source = fs::File::open(from).context(what)?;
    std::io::copy(&mut source, &mut file).context(what)?;
    file.as_file().sync_all().context(what)?;
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).context(what)?;
    file.persist(to).map_err(|error| error.error).context(what)?;
    Ok(())
}

/// Makes a relative link, replacing an older one at once.
fn point(folder: &Path, name: &str, target: &str) -> Result<()> {
    let link = folder.join(name);
    let what = || format!("cannot link `{}`", link.display());
    let stage = tempfile::Builder::new().prefix(".link-").tempdir_in(folder).context(what)?;
    let fresh = stage.path().join(name);
    std::os::unix::fs::symlink(target, &fresh).context(what)?;
    fs::rename(&fresh, &link).context(what)
}
