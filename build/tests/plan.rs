//! Plans of the checkout's own recipes, and what the cache is said to know of them.
//!
//! `ERYX_BLESS=1 cargo test --test plan` rewrites the expectations in `tests/plan/`; look at the difference
//! before you commit it.

mod checkout;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eryx_build::backing::Backings;
use eryx_build::digest::Digest;
use eryx_build::error::{Error, Result};
use eryx_build::execute::{Executor, Status, action_of, show};
use eryx_build::fetch::{FetchOptions, Fetcher};
use eryx_build::file_name::FileName;
use eryx_build::files::files_below;
use eryx_build::index::{CoreMetadata, Index, Project, ProjectFile};
use eryx_build::layout::Layout;
use eryx_build::lock::{Lock, LockedWheel};
use eryx_build::name::PackageName;
use eryx_build::plan::{Form, Input, Materials, Plan, plan};
use eryx_build::recipe::{Catalog, parse_parts};
use eryx_build::report::Report;
use eryx_build::resolve::{Chosen, Closure, Request, parse_requests, resolve};
use eryx_build::store::{Output, Record, Store};
use eryx_build::why;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan").join(name);
    if std::env::var_os("ERYX_BLESS").is_some_and(|value| value == "1") {
        fs::write(path, found).unwrap();
    } else {
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{}: run with ERYX_BLESS=1 to accept", path.display());
    }
}

/// Everything here has a recipe, so the index is never asked.
struct NoIndex;

impl Index for NoIndex {
    fn project(&self, name: &PackageName) -> Result<Option<Arc<Project>>> {
        Err(Error::new(format!("the index is asked for `{name}`")))
    }

    fn metadata(&self, file: &ProjectFile) -> Result<CoreMetadata> {
        Err(Error::new(format!("the index is asked for the metadata of `{}`", file.file)))
    }
}

/// Wheels by the names of the requirements, made up.
fn tools(requires: &[String]) -> Result<Vec<LockedWheel>> {
    let wheel = |text: &String| {
        let (name, version) =
            text.split_once("==").ok_or_else(|| Error::new(format!("`{text}` is loose")))?;
        Ok(LockedWheel {
            name: PackageName::new(name)?,
            version: version.parse().map_err(|_| Error::new(format!("`{version}` is no version")))?,
            file: FileName::new(format!("{}-{version}-py3-none-any.whl", name.replace('-', "_")))?,
            sha256: Digest::of(text.as_bytes()),
            size: None,
            license: None,
            extras: Vec::new(),
            local: false,
            requires: Vec::new(),
        })
    };
    requires.iter().map(wheel).collect()
}

fn closure_of(catalog: &Catalog, packages: &[&str]) -> Closure {
    let mut wanted = packages.to_vec();
    wanted.push("tzdata");
    let requests = parse_requests(&wanted).unwrap();
    let mut closure = resolve(&Request::new(&requests), catalog, &mut Lock::default(), &NoIndex).unwrap();
    closure.named = packages.iter().map(|name| PackageName::new(name).unwrap()).collect();
    closure
}

fn plan_in(checkout: &Path, packages: &[&str]) -> Plan {
    let catalog = Catalog::load(&checkout.join("recipes")).unwrap_or_else(|error| panic!("{error}"));
    let closure = closure_of(&catalog, packages);
    plan_of(checkout, &catalog, &closure).unwrap_or_else(|error| panic!("{error}"))
}

fn plan_of(checkout: &Path, catalog: &Catalog, closure: &Closure) -> Result<Plan> {
    let text = fs::read_to_string(checkout.join("sysroot/toolchain.toml")).unwrap();
    let pins = parse_parts("sysroot/toolchain.toml", &text).unwrap();
    let machine = "a C compiler".to_owned();
    let materials = Materials { checkout, catalog, pins: &pins, tools: &tools, installed_sdk: None, machine };
    plan(&materials, closure, "sandbox", &Form::default())
}

/// A store of its own, and what an executor needs besides.
struct Cache {
    store: Store,
    layout: Layout,
    fetcher: Fetcher,
    report: Report,
    _folder: tempfile::TempDir,
}

impl Cache {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let options = FetchOptions { offline: true, ..FetchOptions::default() };
        Self {
            store: Store::open(&cache).unwrap(),
            layout: Layout { cache, checkout: root(), dist: folder.path().join("dist") },
            fetcher: Fetcher::new(options),
            report: Report::silent(),
            _folder: folder,
        }
    }

    fn with_executor<T>(&self, work: impl FnOnce(&Executor<'_>) -> Result<T>) -> T {
        let (store, fetcher, layout, report) = (&self.store, &self.fetcher, &self.layout, &self.report);
        let backings = &Backings::default();
        work(&Executor { store, fetcher, layout, report, backings, jobs: 1 }).unwrap()
    }

    fn status(&self, plan: &Plan) -> Vec<Status> {
        self.with_executor(|executor| executor.status(plan))
    }

    fn why(&self, plan: &Plan) -> String {
        why::show(&self.with_executor(|executor| why::why(executor, plan)), plan)
    }

    /// Records every step of a plan as built; what a step gives is known by its name.
    fn publish(&self, plan: &Plan) {
        let outputs: Vec<_> = plan.steps.iter().map(|step| Some(self.output(&step.name))).collect();
        for step in &plan.steps {
            let action = action_of(step, &outputs).unwrap();
            let record = Record {
                step: step.name.clone(),
                key: action.key(),
                preimage: action.preimage(),
                output: Output::Tree { digest: self.output(&step.name) },
                seconds: 1.0,
            };
            self.store.claim(action.key(), &|| {}).unwrap().publish(record).unwrap();
        }
    }

    /// The digest of what a step is said to give: a folder with the step's name in a file. Steps for tools may
    /// be equal but for their names, and then share one record.
    fn output(&self, step: &str) -> Digest {
        let folder = tempfile::tempdir().unwrap();
        let content = if step.starts_with("tools ") { "tools" } else { step };
        fs::write(folder.path().join("step"), content).unwrap();
        self.store.import_tree(folder.path()).unwrap()
    }
}

/// A plan as text: the table that the verb `plan` prints, then where every step's inputs come from.
fn text_of(plan: &Plan, statuses: &[Status]) -> String {
    let mut text = show(plan, statuses);
    for step in &plan.steps {
        writeln!(text, "\n{}", step.name).unwrap();
        for (role, input) in &step.inputs {
            let from = match input {
                Input::Step(place) => format!("step {}", plan.steps[*place].name),
                Input::Pin(pin) => format!("file {}", pin.file),
                Input::Local { path, .. } => {
                    format!("checkout {}", path.strip_prefix(root()).unwrap().display())
                }
            };
            writeln!(text, "  {role}: {from}").unwrap();
        }
    }
    text
}

fn status_of<'a>(plan: &Plan, statuses: &'a [Status], name: &str) -> &'a Status {
    &statuses[plan.steps.iter().position(|step| step.name == name).unwrap()]
}

fn names_with(plan: &Plan, statuses: &[Status], wanted: impl Fn(&Status) -> bool) -> Vec<String> {
    let pairs = plan.steps.iter().zip(statuses);
    pairs.filter(|(_, status)| wanted(status)).map(|(step, _)| step.name.clone()).collect()
}

/// A copy of what plans are made from, which a test may change.
fn copied_root() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    checkout::copy(folder.path());
    folder
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "`{from}` is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn plans_are_golden() {
    for (file, packages) in [("python.txt", &[][..]), ("numpy+pydantic.txt", &["numpy", "pydantic"])] {
        let plan = plan_in(&root(), packages);
        assert_golden(file, &text_of(&plan, &Cache::new().status(&plan)));
    }
}

#[test]
fn steps_come_after_what_they_need_and_have_names_of_their_own() {
    let plan = plan_in(&root(), &["numpy", "pydantic"]);
    let mut seen = std::collections::BTreeSet::new();
    for (place, step) in plan.steps.iter().enumerate() {
        assert!(seen.insert(&step.name), "`{}` is there twice", step.name);
        for (role, input) in &step.inputs {
            if let Input::Step(other) = input {
                assert!(*other < place, "`{}` comes before its `{role}`", step.name);
            }
        }
    }
    assert_eq!(plan.steps.last().unwrap().name, "check numpy+pydantic");
}

#[test]
fn a_plan_does_not_depend_on_where_the_checkout_is() {
    let cache = Cache::new();
    cache.publish(&plan_in(&root(), &["numpy"]));
    let moved = plan_in(copied_root().path(), &["numpy"]);
    let statuses = cache.status(&moved);
    assert_eq!(names_with(&moved, &statuses, |status| *status != Status::Hit), Vec::<String>::new());
}

#[test]
fn one_changed_flag_makes_one_step_stale() {
    let folder = copied_root();
    let recipe = folder.path().join("recipes/zlib/recipe.toml");
    let cache = Cache::new();
    cache.publish(&plan_in(folder.path(), &[]));
    edit(&recipe, "cflags = [\"-DHAVE_UNISTD_H\", \"-DHAVE_STDARG_H\"]", "cflags = [\"-DHAVE_UNISTD_H\"]");
    let plan = plan_in(folder.path(), &[]);

    let statuses = cache.status(&plan);
    let change = "`params.build.cflags` changed from [\"-DHAVE_UNISTD_H\",\"-DHAVE_STDARG_H\"] to [\"-DHAVE_UNISTD_H\"]";
    assert_eq!(*status_of(&plan, &statuses, "library zlib"), Status::Stale(vec![change.to_owned()]));
    assert_eq!(
        *status_of(&plan, &statuses, "cpython"),
        Status::After(vec!["library zlib".to_owned(), "profile".to_owned()]),
        "its key is not known before zlib was built, and what is trained with it"
    );
    let stale = names_with(&plan, &statuses, |status| matches!(status, Status::Stale(_)));
    assert_eq!(stale, ["library zlib"]);
    let table = show(&plan, &statuses);
    assert!(table.contains(&format!("\nlibrary zlib      stale: {change}\n")), "{table}");

    // When the other flag makes the same bytes, nothing after it is built again.
    cache.publish(&plan);
    let statuses = cache.status(&plan);
    assert_eq!(names_with(&plan, &statuses, |status| *status != Status::Hit), Vec::<String>::new());
}

#[test]
fn the_reasons_for_each_step_are_told() {
    let folder = copied_root();
    let cache = Cache::new();
    let plan = plan_in(folder.path(), &[]);
    assert!(cache.why(&plan).starts_with("toolchain\n  it was never built\n"), "{}", cache.why(&plan));
    cache.publish(&plan);
    let all = plan.steps.len();
    assert_eq!(cache.why(&plan), format!("{all} of {all} steps are in the cache\n"));

    edit(&folder.path().join("recipes/zlib/recipe.toml"), ", \"-DHAVE_STDARG_H\"", "");
    let configure = folder.path().join("recipes/cpython/recipe.toml");
    edit(&configure, "cflags = [", "cflags = [\"-DMORE\", ");
    let plan = plan_in(folder.path(), &[]);
    let found = cache.why(&plan);
    // The interpreter is known to have changed, besides that it waits; the rest only waits.
    let flags = "[\"-DHAVE_UNISTD_H\",\"-DHAVE_STDARG_H\"] to [\"-DHAVE_UNISTD_H\"]";
    assert!(
        found.starts_with(&format!("library zlib\n  `params.build.cflags` changed from {flags}\n")),
        "{found}"
    );
    let cpython = found.split("\ncpython\n").nth(1).unwrap().split("\ncpython-dev\n").next().unwrap();
    assert!(cpython.starts_with("  `params.recipe.build.cflags` changed from ["), "{cpython}");
    assert!(
        cpython.ends_with(
            "\n  `inputs.host/zlib` may change: `library zlib` is built first\
             \n  `inputs.profile` may change: `profile` is built first"
        ),
        "{cpython}"
    );
    // The rest compiles against the interpreter's headers and symbols, not against itself.
    assert!(
        found.contains("\ncpython-dev\n  `inputs.cpython` may change: `cpython` is built first\n"),
        "{found}"
    );
    assert!(found.ends_with(&format!("\n{} of {all} steps are in the cache\n", all - 7)), "{found}");
}

#[test]
fn what_people_read_is_part_of_no_build() {
    let folder = copied_root();
    let cache = Cache::new();
    cache.publish(&plan_in(folder.path(), &[]));
    edit(&folder.path().join("recipes/cpython/recipe.toml"), "\nreason = \"", "\nreason = \"in short: ");
    let plan = plan_in(folder.path(), &[]);
    let statuses = cache.status(&plan);
    assert_eq!(names_with(&plan, &statuses, |status| *status != Status::Hit), Vec::<String>::new());
}

#[test]
fn changed_files_of_the_checkout_are_named() {
    let folder = copied_root();
    let cache = Cache::new();
    cache.publish(&plan_in(folder.path(), &[]));
    let source = folder.path().join("runtime/python/eryx.py");
    fs::write(&source, fs::read_to_string(&source).unwrap() + "\n# more\n").unwrap();
    let plan = plan_in(folder.path(), &[]);
    let statuses = cache.status(&plan);
    let Status::Stale(changes) = status_of(&plan, &statuses, "guest") else { panic!("{statuses:?}") };
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].starts_with("`inputs.runtime/python` changed from `"), "{changes:?}");
    let rest = names_with(&plan, &statuses, |status| *status != Status::Hit);
    assert_eq!(rest, ["guest", "component python", "check python"]);
}

#[test]
fn a_host_requirement_without_a_recipe_is_refused() {
    let folder = copied_root();
    edit(&folder.path().join("recipes/cpython/recipe.toml"), "\"zlib\", \"bzip2\"", "\"zlip\", \"bzip2\"");
    let error = Catalog::load(&folder.path().join("recipes")).unwrap_err().to_string();
    let error = error.replace(&format!("{}/", folder.path().display()), "");
    assert_golden("unknown-host.txt", &format!("{error}\n"));
}

#[test]
fn a_package_without_a_recipe_is_refused() {
    let catalog = Catalog::load(&root().join("recipes")).unwrap();
    let mut closure = closure_of(&catalog, &[]);
    let name = PackageName::new("spam").unwrap();
    closure.packages.push(Chosen::Recipe { name, version: "1.0".parse().unwrap() });
    let error = plan_of(&root(), &catalog, &closure).unwrap_err();
    assert_eq!(error.to_string(), "expected a recipe `spam` but there is none");
}

#[test]
fn a_table_of_pins_that_is_missing_is_named() {
    let catalog = Catalog::load(&root().join("recipes")).unwrap();
    let closure = closure_of(&catalog, &[]);
    let (checkout, pins) = (root(), BTreeMap::new());
    let machine = String::new();
    let materials = Materials {
        checkout: &checkout,
        catalog: &catalog,
        pins: &pins,
        tools: &tools,
        installed_sdk: None,
        machine,
    };
    let error = plan(&materials, &closure, "sandbox", &Form::default()).unwrap_err();
    assert_eq!(error.to_string(), "expected a table `clang` in `sysroot/toolchain.toml` but found none");
}

/// Versions that code repeats are those of the files that pin them.
#[test]
fn versions_in_code_are_those_that_are_pinned() {
    let toolchain: toml::Table =
        fs::read_to_string(root().join("rust-toolchain.toml")).unwrap().parse().unwrap();
    assert_eq!(toolchain["toolchain"]["channel"].as_str(), Some(eryx_build::steps::rust::TOOLCHAIN));
    let catalog = Catalog::load(&root().join("recipes")).unwrap();
    let cpython = catalog.get(&PackageName::new("cpython").unwrap()).unwrap();
    assert_eq!(cpython.version.to_string(), eryx_build::resolve::PYTHON);
}

/// The sources behind [`eryx_build::provenance::REVISION`]: what links, prelinks, instruments and runs modules.
const LINKER: [&str; 12] = [
    "fixed.rs",
    "fuse",
    "fuse.rs",
    "image.rs",
    "link",
    "link.rs",
    "merge",
    "merge.rs",
    "preinit.rs",
    "preview1.rs",
    "wasm",
    "wasm.rs",
];

/// A change of the linker that may change a result is a new revision, or every cache gives what the old one made.
#[test]
fn the_linker_has_the_revision_of_its_sources() {
    let mut text = String::new();
    for name in LINKER {
        let path = root().join("build/src").join(name);
        let files = match path.is_dir() {
            true => files_below(&path).unwrap().into_iter().map(|file| path.join(file)).collect(),
            false => vec![path],
        };
        for file in files {
            text.push_str(&fs::read_to_string(&file).unwrap());
        }
    }
    let found = format!("{} {}\n", eryx_build::provenance::REVISION, Digest::of(text.as_bytes()));
    let expected = fs::read_to_string(root().join("build/tests/plan/linker.txt")).unwrap_or_default();
    let hint = "if a result may change, raise `REVISION` in `build/src/provenance.rs`; then";
    let same_revision = expected.split(' ').next() == found.split(' ').next();
    if !same_revision || std::env::var_os("ERYX_BLESS").is_some() {
        return assert_golden("linker.txt", &found);
    }
    assert_eq!(found, expected, "the linker's sources have changed: {hint} run with ERYX_BLESS=1");
}

/// What a step runs is in its key: the crates and the code that prelink, instrument and run CPython to train it.
#[test]
fn every_step_that_links_names_the_linker() {
    let plan = plan_in(&root(), &[]);
    for step in &plan.steps {
        let links = step.name == "cpython" || step.name == "profile" || step.name.starts_with("component ");
        let named = &step.params["linker"];
        assert_eq!(links, named.is_object(), "{}", step.name);
        if links {
            assert_eq!(named["revision"], eryx_build::provenance::REVISION);
            let crates: Vec<_> =
                named["crates"].as_array().unwrap().iter().filter_map(|one| one["crate"].as_str()).collect();
            for needed in ["wasmtime", "wasm-encoder", "wasmparser"] {
                assert!(crates.contains(&needed), "{}: {crates:?}", step.name);
            }
        }
    }
}
