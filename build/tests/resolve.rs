//! Resolving and the lock file, against an index in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use eryx_build::digest::Digest;
use eryx_build::error::{Error, Result};
use eryx_build::index::{Index, Project, ProjectFile};
use eryx_build::lock::{Lock, tool_wheels};
use eryx_build::name::PackageName;
use eryx_build::resolve::{Chosen, Closure, Recipes, Requirement, Version, parse_requests, resolve};

fn name(text: &str) -> PackageName {
    PackageName::new(text).unwrap()
}

/// An index that counts what it is asked.
#[derive(Default)]
struct Memory {
    projects: BTreeMap<PackageName, Project>,
    metadata: BTreeMap<String, String>,
    asked: RefCell<usize>,
}

impl Memory {
    fn file(&mut self, project: &str, file: &str) -> &mut ProjectFile {
        let entry = self.projects.entry(name(project));
        let found = entry.or_insert_with(|| Project { name: name(project), files: Vec::new() });
        found.files.push(ProjectFile {
            project: name(project),
            file: file.to_owned(),
            url: format!("https://files.example/{file}"),
            sha256: Some(Digest::of(file.as_bytes())),
            size: Some(file.len() as u64),
            requires_python: None,
            yanked: false,
            has_metadata: false,
            metadata_sha256: None,
        });
        found.files.last_mut().unwrap()
    }

    fn tagged(&mut self, project: &str, version: &str, tags: &str, requires: &[&str]) -> &mut ProjectFile {
        let file = format!("{}-{version}-{tags}.whl", name(project).file_stem());
        let requires: String = requires.iter().map(|one| format!("Requires-Dist: {one}\n")).collect();
        let text = format!("Name: {project}\nVersion: {version}\nLicense-Expression: MIT\n{requires}\n");
        self.metadata.insert(file.clone(), text);
        self.file(project, &file)
    }

    fn wheel(&mut self, project: &str, version: &str, requires: &[&str]) -> &mut ProjectFile {
        self.tagged(project, version, "py3-none-any", requires)
    }
}

impl Index for Memory {
    fn project(&self, name: &PackageName) -> Result<Option<Arc<Project>>> {
        *self.asked.borrow_mut() += 1;
        Ok(self.projects.get(name).cloned().map(Arc::new))
    }

    fn metadata(&self, file: &ProjectFile) -> Result<String> {
        *self.asked.borrow_mut() += 1;
        Ok(self.metadata[&file.file].clone())
    }
}

struct Offline;

impl Index for Offline {
    fn project(&self, name: &PackageName) -> Result<Option<Arc<Project>>> {
        Err(Error::new(format!("`{name}` was asked for offline")))
    }
    fn metadata(&self, file: &ProjectFile) -> Result<String> {
        Err(Error::new(format!("`{}` was asked for offline", file.file)))
    }
}

struct Book(BTreeMap<PackageName, (Version, Vec<Requirement>)>);

impl Book {
    fn new(recipes: &[(&str, &str, &[&str])]) -> Self {
        let parsed = recipes.iter().map(|(package, version, requires)| {
            (name(package), (version.parse().unwrap(), parse_requests(requires).unwrap()))
        });
        Self(parsed.collect())
    }

    fn usual() -> Self {
        Self::new(&[
            ("numpy", "2.5.5", &[]),
            (
                "pydantic",
                "2.13.0",
                &["pydantic-core==2.50.4", "typing-extensions>=4.14", "tzdata; sys_platform == 'win32'"],
            ),
            ("pydantic-core", "2.50.4", &["typing-extensions>=4.14"]),
        ])
    }
}

impl Recipes for Book {
    fn version(&self, name: &PackageName) -> Option<Version> {
        Some(self.0.get(name)?.0.clone())
    }
    fn requires(&self, name: &PackageName) -> Vec<Requirement> {
        self.0.get(name).map(|(_, requires)| requires.clone()).unwrap_or_default()
    }
    fn names(&self) -> Vec<PackageName> {
        self.0.keys().cloned().collect()
    }
}

fn run(requests: &[&str], recipes: &Book, lock: &mut Lock, index: &dyn Index) -> Result<Closure> {
    resolve(&parse_requests(requests)?, recipes, lock, index)
}

fn chosen(closure: &Closure) -> Vec<String> {
    let line = |package: &Chosen| {
        let kind = if matches!(package, Chosen::Recipe { .. }) { "recipe" } else { "wheel" };
        format!("{} {} {kind}", package.name(), package.version())
    };
    closure.packages.iter().map(line).collect()
}

fn choose(requests: &[&str], index: &Memory) -> Vec<String> {
    chosen(&run(requests, &Book::usual(), &mut Lock::default(), index).unwrap())
}

fn refuse(requests: &[&str], index: &dyn Index) -> String {
    let mut lock = Lock::default();
    let error = run(requests, &Book::usual(), &mut lock, index).unwrap_err().to_string();
    assert_eq!(lock, Lock::default(), "a failure changes no lock");
    error
}

#[test]
fn recipes_and_wheels_make_a_closure() {
    let mut index = Memory::default();
    index.wheel("typing-extensions", "4.15.0", &[]);
    index.wheel("typing-extensions", "4.13.0", &[]);
    let mut lock = Lock::default();
    let closure = run(&["Pydantic", "numpy==2.5.5", "pydantic"], &Book::usual(), &mut lock, &index).unwrap();
    assert_eq!(closure.named, [name("numpy"), name("pydantic")]);
    assert_eq!(
        chosen(&closure),
        [
            "numpy 2.5.5 recipe",
            "pydantic 2.13.0 recipe",
            "pydantic-core 2.50.4 recipe",
            "typing-extensions 4.15.0 wheel"
        ]
    );
    let asked = *index.asked.borrow();
    let again = run(&["numpy", "pydantic"], &Book::usual(), &mut lock.clone(), &Offline).unwrap();
    assert_eq!((again, *index.asked.borrow()), (closure, asked), "a full lock makes no request");
}

#[test]
fn no_request_makes_an_empty_closure() {
    let closure = run(&[], &Book::usual(), &mut Lock::default(), &Offline).unwrap();
    assert_eq!((closure.named.len(), closure.packages.len()), (0, 0));
}

#[test]
fn the_lock_wins_over_newer_versions_until_it_does_not_fit() {
    let mut index = Memory::default();
    index.wheel("a", "1", &[]);
    let mut lock = Lock::default();
    let versions = |lock: &mut Lock, request: &str, index: &Memory| {
        chosen(&run(&[request], &Book::usual(), lock, index).unwrap())
    };
    assert_eq!(versions(&mut lock, "a", &index), ["a 1 wheel"]);
    index.wheel("a", "2", &[]);
    assert_eq!(versions(&mut lock, "a", &index), ["a 1 wheel"]);
    assert_eq!(versions(&mut lock, "a>1", &index), ["a 2 wheel"]);
    assert_eq!(lock.wheels().count(), 2);
}

#[test]
fn unfit_files_are_passed_over() {
    let mut index = Memory::default();
    index.wheel("a", "1.0", &[]);
    index.wheel("a", "1.1", &[]).requires_python = Some("<3.14".to_owned());
    index.wheel("a", "1.2", &[]).yanked = true;
    index.wheel("a", "1.3", &[]).sha256 = None;
    index.wheel("a", "1.4rc1", &[]);
    index.tagged("a", "1.5", "cp314-cp314-manylinux_2_17_x86_64", &[]);
    index.tagged("a", "1.6", "py2-none-any", &[]);
    index.file("a", "a-1.7.tar.gz");
    index.wheel("b", "1.0a1", &[]);
    assert_eq!(choose(&["a", "b"], &index), ["a 1.0 wheel", "b 1.0a1 wheel"]);
    assert_eq!(choose(&["a==1.2"], &index), ["a 1.2 wheel"], "who insists gets a yanked version");
    assert_eq!(choose(&["a>=1.4rc1"], &index), ["a 1.4rc1 wheel"], "who asks gets a pre-release");
}

#[test]
fn metadata_has_the_last_word() {
    let mut index = Memory::default();
    index.wheel("a", "1", &[]);
    index.wheel("a", "2", &[]);
    index.metadata.insert(
        "a-2-py3-none-any.whl".to_owned(),
        "Name: a\nVersion: 2\nRequires-Python: <3.14\n".to_owned(),
    );
    assert_eq!(choose(&["a"], &index), ["a 1 wheel"]);
    index.wheel("b", "1", &[]);
    index.metadata.insert("b-1-py3-none-any.whl".to_owned(), "Name: c\nVersion: 1\n".to_owned());
    assert_eq!(
        refuse(&["b"], &index),
        "cannot choose a version of `b` (wanted by the command line): cannot use `b-1-py3-none-any.whl`: expected the metadata of `b` 1 but found that of `c` 1"
    );
}

#[test]
fn extras_and_markers_are_those_of_the_guest() {
    let mut index = Memory::default();
    index.wheel(
        "a",
        "1",
        &["b; extra == 'more'", "c; sys_platform == 'linux'", "a[more]; extra == 'all'", "e[more]"],
    );
    index.wheel("b", "1", &["d; sys_platform == 'wasi'"]);
    index.wheel("d", "1", &[]);
    index.wheel("e", "1", &["b; extra == 'more'"]);
    assert_eq!(choose(&["a[all]"], &index), ["a 1 wheel", "b 1 wheel", "d 1 wheel", "e 1 wheel"]);
    let closure = run(&["a[all]"], &Book::usual(), &mut Lock::default(), &index).unwrap();
    let Some(Chosen::Wheel { requires, license, pin, .. }) = closure.packages.first() else {
        panic!("no wheel")
    };
    assert_eq!(requires, &[name("b"), name("e")]);
    assert_eq!((license.as_deref(), pin.file.as_str()), (Some("MIT"), "a-1-py3-none-any.whl"));
}

#[test]
fn cycles_are_allowed() {
    let mut index = Memory::default();
    index.wheel("a", "1", &["b"]);
    index.wheel("b", "1", &["a"]);
    assert_eq!(choose(&["a"], &index), ["a 1 wheel", "b 1 wheel"]);
}

#[test]
fn a_wrong_choice_is_taken_back() {
    let mut index = Memory::default();
    index.wheel("a", "2", &["c<2"]);
    index.wheel("a", "1", &["c"]);
    index.wheel("b", "1", &["c>=2"]);
    index.wheel("c", "1", &[]);
    index.wheel("c", "2", &[]);
    assert_eq!(choose(&["a", "b"], &index), ["a 1 wheel", "b 1 wheel", "c 2 wheel"]);
    // A later wish narrows an earlier choice.
    index.wheel("z", "1", &["c<2"]);
    assert_eq!(choose(&["c", "z"], &index), ["c 1 wheel", "z 1 wheel"]);
}

#[test]
fn contradictions_name_who_wants_what() {
    let mut index = Memory::default();
    index.wheel("a", "1", &["c<2"]);
    index.wheel("b", "1", &["c>=2"]);
    index.wheel("c", "1", &[]);
    index.wheel("c", "2.1", &[]);
    index.file("c", "c-3.tar.gz");
    assert_eq!(
        refuse(&["a", "b"], &index),
        "no version of `c` satisfies all that is wanted of it
  `<2` is wanted by `a` 1
  `>=2` is wanted by `b` 1
  nearest: 2.1, 1
  all usable versions: 2.1, 1
  not usable, without a pure-Python (`none-any`) wheel for Python 3.14: 3"
    );
}

#[test]
fn a_recipe_that_does_not_fit_is_told_with_both_versions() {
    let recipes =
        Book::new(&[("pydantic", "2.13.0", &["pydantic-core==2.50.3"]), ("pydantic-core", "2.50.4", &[])]);
    let error = run(&["pydantic"], &recipes, &mut Lock::default(), &Offline).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no version of `pydantic-core` satisfies all that is wanted of it
  `==2.50.3` is wanted by `pydantic` 2.13.0
  the only version is 2.50.4: `pydantic-core` is built from its recipe
hint: ask for `pydantic-core` or `pydantic-core==2.50.4`, or change `recipes/pydantic-core/recipe.toml`"
    );
}

#[test]
fn unknown_names_are_gathered() {
    let mut index = Memory::default();
    index.wheel("a", "1", &["zzz>=1"]);
    assert_eq!(
        refuse(&["nunpy", "qqqqqq"], &index),
        "2 packages do not exist
  `nunpy` (wanted by the command line): similar recipes: `numpy`
  `qqqqqq` (wanted by the command line): no recipe has a similar name
hint: neither `recipes/` nor pip's index has such a project; `eryx-build recipes` lists the recipes"
    );
    assert!(refuse(&["a"], &index).contains("`zzz` (wanted by `a` 1)"));
    let both = refuse(&["nunpy", "numpy==1"], &index);
    assert!(both.starts_with("some packages cannot be chosen\n  no version of `numpy`"), "{both}");
    assert!(both.contains("there is no package `nunpy`"), "{both}");
}

#[test]
fn native_packages_need_a_recipe() {
    let mut index = Memory::default();
    index.tagged("native", "1.0", "cp314-cp314-manylinux_2_17_x86_64", &[]);
    index.file("native", "native-1.1.tar.gz");
    assert_eq!(
        refuse(&["native"], &index),
        "`native` has no recipe and no pure-Python (`none-any`) wheel for Python 3.14
  wanted by the command line
  these versions have only other wheels or source distributions: 1.1, 1.0
hint: a package that must be compiled needs a recipe: `eryx-build recipes` lists what can be bundled
hint: CONTRIBUTING.md says how to add a recipe"
    );
}

#[test]
fn offline_still_offers_similar_names() {
    assert_eq!(
        refuse(&["nunpy"], &Offline),
        "cannot choose a version of `nunpy` (wanted by the command line): `nunpy` was asked for offline
hint: recipes with a similar name: `numpy`"
    );
}

#[test]
fn malformed_requests_are_gathered() {
    let error = parse_requests(&["a b", "ok", "x @ https://x.example/y"]).unwrap_err().to_string();
    assert_eq!(
        error,
        "expected package names with optional versions
  `a b`: expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `b`
  `x @ https://x.example/y`: an address is not supported, only a name with versions
hint: write `numpy`, `numpy==2.5.5`, `'jinja2>=3'` or `'pkg[extra]'`"
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn tools_come_with_what_they_require_on_the_build_machine() {
    let mut index = Memory::default();
    index.wheel(
        "meson-python",
        "0.18.0",
        &["meson>=1; platform_machine == 'x86_64'", "tomli; python_version < '3.11'", "ninja"],
    );
    index.wheel("meson", "1.9.1", &[]);
    index.wheel("ninja", "1.13", &[]);
    index.tagged("ninja", "1.13", "py3-none-manylinux_2_12_x86_64.manylinux2010_x86_64", &[]);
    index.tagged("ninja", "1.13", "py3-none-macosx_10_9_universal2", &[]);
    let mut lock = Lock::default();
    let requires = parse_requests(&["meson-python==0.18.0"]).unwrap();
    let wheels = tool_wheels(&requires, &mut lock, &index).unwrap();
    let files: Vec<&str> = wheels.iter().map(|wheel| wheel.file.as_str()).collect();
    assert_eq!(
        files,
        [
            "meson-1.9.1-py3-none-any.whl",
            "meson_python-0.18.0-py3-none-any.whl",
            "ninja-1.13-py3-none-manylinux_2_12_x86_64.manylinux2010_x86_64.whl"
        ]
    );
    assert_eq!(tool_wheels(&requires, &mut lock.clone(), &Offline), Ok(wheels));
    // A platform wheel in the lock is none for the guest.
    let guest = run(&["ninja"], &Book::usual(), &mut lock, &index).unwrap();
    assert_eq!(chosen(&guest), ["ninja 1.13 wheel"]);
    let Some(Chosen::Wheel { pin, .. }) = guest.packages.first() else { panic!("no wheel") };
    assert_eq!(pin.file, "ninja-1.13-py3-none-any.whl");
}

#[test]
fn tools_must_be_exact() {
    let requires = parse_requests(&["a", "b>=1", "c==1"]).unwrap();
    assert_eq!(
        tool_wheels(&requires, &mut Lock::default(), &Offline).unwrap_err().to_string(),
        "expected build requirements with one exact version\n  `a`\n  `b>=1`\nhint: write `name==version`"
    );
}

fn full_lock() -> Lock {
    let mut index = Memory::default();
    index.wheel("a", "1", &["b (>=1,<3) ; (python_version>'3' and extra=='x') or os_name == \"nt\"", "b"]);
    index.wheel("b", "1.10", &[]).size = None;
    let mut lock = Lock::default();
    run(&["a"], &Book::usual(), &mut lock, &index).unwrap();
    lock
}

#[test]
fn the_lock_reads_what_it_writes() {
    let lock = full_lock();
    let text = lock.render().unwrap();
    assert_eq!(
        text,
        format!(
            "# generated by eryx-build; do not edit
version = 1

[[wheel]]
name = \"a\"
version = \"1\"
file = \"a-1-py3-none-any.whl\"
sha256 = \"{}\"
size = 20
license = \"MIT\"
requires = [
    \"b>=1,<3 ; (python_full_version >= '3.1' and extra == 'x') or os_name == 'nt'\",
    \"b\",
]

[[wheel]]
name = \"b\"
version = \"1.10\"
file = \"b-1.10-py3-none-any.whl\"
sha256 = \"{}\"
license = \"MIT\"
",
            Digest::of(b"a-1-py3-none-any.whl"),
            Digest::of(b"b-1.10-py3-none-any.whl")
        )
    );
    let read = Lock::parse(&text).unwrap();
    assert_eq!(read, lock);
    assert_eq!(read.render().unwrap(), text);
}

#[test]
fn the_lock_is_written_only_when_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("eryx.lock");
    assert_eq!(Lock::load(&path), Ok(Lock::default()));
    assert_eq!(Lock::default().save(&path), Ok(false));
    assert!(!path.exists());
    let lock = full_lock();
    assert_eq!(lock.save(&path), Ok(true));
    assert_eq!(lock.save(&path), Ok(false));
    assert_eq!(Lock::load(&path), Ok(lock));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
}

#[test]
fn a_bad_lock_is_refused() {
    let refuse = |text: &str| Lock::parse(text).unwrap_err().to_string();
    assert_eq!(refuse("version = 2\nnew = 1\n"), "expected `version = 1` but found 2");
    let unknown = refuse("version = 1\nnew = 1\n");
    assert!(unknown.contains("unknown field `new`") && unknown.contains("line 2"), "{unknown}");
    let text = full_lock().render().unwrap();
    let unknown = refuse(&text.replace("size =", "sise ="));
    assert!(unknown.contains("unknown field `sise`"), "{unknown}");
    let (head, tail) = text.split_once("[[wheel]]").unwrap();
    let doubled = format!("{head}[[wheel]]{tail}\n[[wheel]]{tail}");
    let twice = refuse(&doubled);
    assert!(twice.contains("`a-1-py3-none-any.whl` is listed twice"), "{twice}");
    let moved = refuse(&text.replace("a-1-py3", "../a-1-py3"));
    assert!(moved.contains("`../a-1-py3-none-any.whl` is not a wheel of `a` 1"), "{moved}");
}
