//! Resolving and the lock file, against an index in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use eryx_build::digest::Digest;
use eryx_build::error::{Error, Result};
use eryx_build::file_name::FileName;
use eryx_build::index::{CoreMetadata, Index, Project, ProjectFile};
use eryx_build::lock::{Lock, LockedWheel, Moves};
use eryx_build::name::PackageName;
use eryx_build::resolve::{
    Chosen, Closure, Recipes, Request, Requirement, Upgrade, Version, parse_constraints, parse_requests,
    resolve,
};

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
            sha256: Some(Digest::of(file.as_bytes())),
            size: Some(file.len() as u64),
            ..ProjectFile::new(
                name(project),
                FileName::new(file).unwrap(),
                format!("https://files.example/{file}"),
            )
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

    /// Adds wheels written as `name version: requirement, requirement`.
    fn wheels(lines: &[&str]) -> Self {
        let mut index = Self::default();
        for line in lines {
            let (head, requires) = line.split_once(':').unwrap_or((line, ""));
            let (project, version) = head.split_once(' ').unwrap();
            let requires: Vec<_> =
                requires.split("& ").map(str::trim).filter(|one| !one.is_empty()).collect();
            index.wheel(project, version, &requires);
        }
        index
    }

    /// Adds lines to the metadata of a wheel.
    fn more(&mut self, file: &str, lines: &str) {
        let text = self.metadata.get_mut(file).unwrap();
        *text = text.replacen("\n\n", &format!("\n{lines}\n\n"), 1);
    }
}

impl Index for Memory {
    fn project(&self, name: &PackageName) -> Result<Option<Arc<Project>>> {
        *self.asked.borrow_mut() += 1;
        Ok(self.projects.get(name).cloned().map(Arc::new))
    }

    fn metadata(&self, file: &ProjectFile) -> Result<CoreMetadata> {
        *self.asked.borrow_mut() += 1;
        Ok(match self.metadata.get(file.file.as_str()) {
            Some(text) => CoreMetadata::Text(text.clone()),
            None => CoreMetadata::Malformed(format!("`{}` is not a wheel", file.file)),
        })
    }
}

struct Offline;

impl Index for Offline {
    fn project(&self, name: &PackageName) -> Result<Option<Arc<Project>>> {
        Err(Error::new(format!("`{name}` was asked for offline")))
    }
    fn offline(&self) -> bool {
        true
    }
    fn metadata(&self, file: &ProjectFile) -> Result<CoreMetadata> {
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
                &[
                    "pydantic-core==2.50.4",
                    "typing-extensions>=4.14",
                    "tzdata; sys_platform == 'win32'",
                    "email-validator>=2; extra == 'email'",
                ],
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
    fn no_package(&self, name: &PackageName) -> Option<&'static str> {
        (name.as_str() == "zlib").then_some("a C library")
    }
}

fn run(requests: &[&str], recipes: &Book, lock: &mut Lock, index: &dyn Index) -> Result<Closure> {
    resolve(&Request::new(&parse_requests(requests)?), recipes, lock, index)
}

fn tool_wheels(requires: &[Requirement], lock: &mut Lock, index: &dyn Index) -> Result<Vec<LockedWheel>> {
    eryx_build::lock::tool_wheels(requires, &Upgrade::Nothing, lock, index)
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

/// What is chosen, or the error, for each case: wheels, requests, packages.
#[track_caller]
fn table(cases: &[(&[&str], &[&str], &str)]) {
    for (wheels, requests, expected) in cases {
        let index = Memory::wheels(wheels);
        let found = match run(requests, &Book::usual(), &mut Lock::default(), &index) {
            Ok(closure) => chosen(&closure).join(", ").replace(" wheel", "").replace(" recipe", ""),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, *expected, "{requests:?} of {wheels:?}");
    }
}

fn notes(requests: &[&str], index: &Memory) -> Vec<String> {
    run(requests, &Book::usual(), &mut Lock::default(), index).unwrap().notes
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
    // A specifier of Python that does not parse excludes nothing.
    index.wheel("c", "1", &[]).requires_python = Some(">=3.6.*".to_owned());
    assert_eq!(choose(&["c"], &index), ["c 1 wheel"]);
}

#[test]
fn the_search_is_complete() {
    table(&[
        (&["a 2: b>=2", "a 1: b<2", "b 2: c<2", "b 1", "c 2", "c 1"], &["a", "c>=2"], "a 1, b 1, c 2"),
        (&["a 2: c<2", "a 1: c", "b 1: c>=2", "c 1", "c 2"], &["a", "b"], "a 1, b 1, c 2"),
        (&["c 1", "c 2", "z 1: c<2"], &["c", "z"], "c 1, z 1"),
        (&["a 1: b", "b 1: a"], &["a"], "a 1, b 1"),
        (&["a 2: b==1", "a 1", "b 1: a<2"], &["a"], "a 1"),
        // A diamond whose tip fits only with an older side.
        (
            &["l 2: t>=2", "l 1: t", "r 2: t<2", "r 1: t<3", "t 3", "t 2", "t 1"],
            &["l>=2", "r"],
            "l 2, r 1, t 2",
        ),
        // What the newest requires does not exist.
        (&["a 2: nowhere", "a 1"], &["a"], "a 1"),
        (&["a 2: b>=5", "a 1", "b 1"], &["a"], "a 1"),
        // A package that requires another version of itself.
        (&["a 2: a<2", "a 1"], &["a"], "a 1"),
    ]);
}

#[test]
fn seventy_versions_back_are_not_too_many() {
    let mut index = Memory::default();
    for version in 1..=70 {
        let text = version.to_string();
        index.wheel("a", &text, &[&format!("b=={version}")]);
        index.wheel("b", &text, &[if version == 1 { "c>=2" } else { "c<2" }]);
    }
    index.wheel("c", "1", &[]);
    index.wheel("c", "2", &[]);
    assert_eq!(choose(&["a", "c>=2"], &index), ["a 1 wheel", "b 1 wheel", "c 2 wheel"]);
    let asked = *index.asked.borrow();
    assert!(asked <= 3 + 70 + 70 + 2, "{asked} requests");
    // Without a solution the search ends, too, and the error is short.
    let error = refuse(&["a>=2", "c>=2"], &index);
    assert!(error.lines().count() <= 10, "{error}");
    assert!(error.starts_with("no set of versions meets all requirements\n"), "{error}");
}

#[test]
fn a_search_that_is_too_long_says_so() {
    let mut index = Memory::default();
    for version in 1..=1600 {
        index.wheel("a", &version.to_string(), &["nowhere"]);
    }
    assert_eq!(
        refuse(&["a"], &index),
        "the search for versions gave up after the metadata of 1500 wheels
  `a`: 1500 versions
  `nowhere` (for `a` 1600): there is no such package; no recipe has a similar name
hint: name versions (`name>=version`) of these packages"
    );
}

#[test]
fn nothing_is_read_that_is_not_tried() {
    let mut index = Memory::default();
    for version in 1..=100 {
        index.wheel("a", &version.to_string(), &["b"]);
        index.wheel("b", &version.to_string(), &[]);
    }
    assert_eq!(choose(&["a"], &index), ["a 100 wheel", "b 100 wheel"]);
    assert_eq!(*index.asked.borrow(), 4, "two projects, and the metadata of two wheels");
}

#[test]
fn pre_releases_are_for_who_names_one_or_has_nothing_else() {
    table(&[
        (&["a 1", "a 2rc1"], &["a"], "a 1"),
        (&["a 1", "a 2rc1"], &["a>=1"], "a 1"),
        (&["a 1", "a 2rc1"], &["a>=2rc1"], "a 2rc1"),
        (&["a 1", "a 2rc1"], &["a>1.dev0"], "a 2rc1"),
        (&["a 1", "a 2rc1"], &["a!=1.5rc1"], "a 1"),
        (&["a 1", "a 2rc1"], &["a<=2"], "a 1"),
        // No final release satisfies the specifier.
        (&["a 1", "a 2rc1"], &["a>1"], "a 2rc1"),
        (&["a 1rc1"], &["a"], "a 1rc1"),
        (&["x 1: a>1", "a 1", "a 2rc1", "a 2rc2"], &["x"], "a 2rc2, x 1"),
        // One that names it lets it in for all, in whatever order they come.
        (&["a 1", "a 2rc1", "x 1: a>=2rc1"], &["a", "x"], "a 2rc1, x 1"),
        // Only both together leave no final release.
        (&["a 1", "a 3", "a 2rc1", "x 1: a>1", "y 1: a<3"], &["x", "y"], "a 2rc1, x 1, y 1"),
        // An older release of another package comes before a pre-release.
        (&["a 1", "a 2rc1", "b 2: c<2", "b 1", "a 3: c>=2", "c 1", "c 2"], &["a>=3", "b"], "a 3, b 1, c 2"),
    ]);
    let index = Memory::wheels(&["a 1rc1"]);
    assert_eq!(notes(&["a"], &index), ["`a` 1rc1 is a pre-release: nothing else can be used"]);
}

#[test]
fn withdrawn_releases_are_for_who_pins_one() {
    let mut index = Memory::wheels(&["a 1", "x 1: a==2", "y 1: a", "z 1: a>=2", "w 2: b", "w 1"]);
    index.wheel("a", "2", &[]).yanked = true;
    index.wheel("b", "1", &[]).yanked = true;
    assert_eq!(choose(&["a"], &index), ["a 1 wheel"]);
    assert_eq!(choose(&["a==2"], &index), ["a 2 wheel"]);
    assert_eq!(choose(&["a===2"], &index), ["a 2 wheel"]);
    assert_eq!(choose(&["y", "x"], &index), ["a 2 wheel", "x 1 wheel", "y 1 wheel"]);
    assert_eq!(choose(&["w"], &index), ["w 1 wheel"]);
    for request in ["a==2.*", "a>1", "z", "b"] {
        assert!(refuse(&[request], &index).contains(" was withdrawn"), "{request}");
    }
    assert_eq!(notes(&["a==2"], &index), ["`a` 2 was withdrawn from the index, but is pinned"]);
    // Of a release that was withdrawn in part, the rest is used.
    index.wheel("c", "1", &[]).yanked = true;
    index.tagged("c", "1", "py2.py3-none-any", &[]);
    assert_eq!(choose(&["c"], &index), ["c 1 wheel"]);
}

#[test]
fn metadata_decides_for_its_own_version_only() {
    let mut index = Memory::wheels(&["a 1", "a 2", "b 1", "b 2", "c 1", "c 2", "d 1", "d 2", "e 1", "e 2"]);
    index.more("a-2-py3-none-any.whl", "Requires-Python: <3.14");
    index.more("b-2-py3-none-any.whl", "Requires-Dist: z (>=1.0.*)");
    index.metadata.insert("c-2-py3-none-any.whl".to_owned(), "Name: z\nVersion: 2\n\n".to_owned());
    index.metadata.insert("d-2-py3-none-any.whl".to_owned(), "Name: d\nVersion: 3\n\n".to_owned());
    index.metadata.remove("e-2-py3-none-any.whl");
    let found = choose(&["a", "b", "c", "d", "e"], &index);
    assert_eq!(found, ["a 1 wheel", "b 1 wheel", "c 1 wheel", "d 1 wheel", "e 1 wheel"]);
    let said = notes(&["a", "c"], &index);
    assert_eq!(
        said,
        [
            "`a` 1 is chosen, not the newest 2, which cannot be used: it is for Python `<3.14`",
            "`c` 1 is chosen, not the newest 2, which cannot be used: the metadata of `c-2-py3-none-any.whl` is that of `z` 2"
        ]
    );
    let error = refuse(&["b==2"], &index);
    assert!(error.contains("`b` 2 cannot be used: the metadata has malformed requirements"), "{error}");
    // Another wheel of the same version may be better.
    index.tagged("e", "2", "py2.py3-none-any", &[]);
    assert_eq!(choose(&["e"], &index), ["e 2 wheel"]);
    // A specifier of Python that does not parse excludes nothing.
    index.wheel("f", "1", &[]);
    index.more("f-1-py3-none-any.whl", "Requires-Python: >=3.6.*");
    assert_eq!(choose(&["f"], &index), ["f 1 wheel"]);
}

#[test]
fn addresses_matter_only_where_they_are_required() {
    let url = "b @ https://x.example/b.whl";
    let index = Memory::wheels(&[
        &format!("a 2: {url} ; extra == 'x' & {url} ; sys_platform == 'win32'"),
        &format!("c 2: {url}"),
        "c 1",
        &format!("d 1: {url}"),
    ]);
    assert_eq!(choose(&["a", "c"], &index), ["a 2 wheel", "c 1 wheel"]);
    let error = refuse(&["d"], &index);
    assert!(error.contains("`d` 1 cannot be used: it requires `b` from an address"), "{error}");
    assert!(refuse(&["a[x]"], &index).contains("`a[x]` 2 cannot be used: it requires `b` from an address"));
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
fn extras_are_followed_wherever_they_come_from() {
    let extra = "a 1: b>=2; extra == 'One_Two' & c; extra == 'one-two'";
    table(&[
        // However they are spelt.
        (&[extra, "b 1", "b 2", "c 1"], &["a[one.two]"], "a 1, b 2, c 1"),
        (&[extra, "b 1", "b 2", "c 1", "x 1: a[ONE-TWO]"], &["x"], "a 1, b 2, c 1, x 1"),
        (
            &[extra, "b 1", "b 2", "c 1", "x 1: a[one-two]; extra == 'deep'"],
            &["x[deep]"],
            "a 1, b 2, c 1, x 1",
        ),
        // An extra late in the walk constrains what was chosen early.
        (
            &[extra, "b 1", "b 2", "c 1", "x 1: a[one-two]", "b 3: a<1"],
            &["b", "a", "x"],
            "a 1, b 2, c 1, x 1",
        ),
        // The extra of an older version is what fits.
        (&["a 2: b>=2; extra == 'x'", "a 1: b<2; extra == 'x'", "b 1", "b 2"], &["a[x]", "b<2"], "a 1, b 1"),
        // Two extras at once.
        (&["a 1: b; extra == 'x' & c; extra == 'y'", "b 1", "c 1"], &["a[x,y]"], "a 1, b 1, c 1"),
        (&["a 1: b; extra == 'x' & c; extra == 'y'", "b 1", "c 1"], &["a[x]", "a[y]"], "a 1, b 1, c 1"),
        // Of a package with a recipe.
        (
            &["email-validator 2", "email-validator 1", "typing-extensions 4.15"],
            &["pydantic[email]"],
            "email-validator 2, pydantic 2.13.0, pydantic-core 2.50.4, typing-extensions 4.15",
        ),
        (
            &["x 1: pydantic[email]", "email-validator 2", "typing-extensions 4.15"],
            &["x"],
            "email-validator 2, pydantic 2.13.0, pydantic-core 2.50.4, typing-extensions 4.15, x 1",
        ),
        // Unknown ones are errors of who asks.
        (
            &["typing-extensions 4.15"],
            &["pydantic[nosuch]", "numpy[fast]"],
            "unknown extras\n  `pydantic` 2.13.0 has no extra `nosuch`: it has `email`\n  `numpy` 2.5.5 has no extra `fast`: it has none",
        ),
    ]);
    // An extra without requirements is known by the metadata, in the lock, too; others only warn.
    let mut index = Memory::wheels(&["a 1", "x 1: a[nosuch]"]);
    index.more("a-1-py3-none-any.whl", "Provides-Extra: empty");
    let mut lock = Lock::default();
    run(&["a[empty]"], &Book::usual(), &mut lock, &index).unwrap();
    let lock = Lock::parse(&lock.render().unwrap()).unwrap();
    run(&["a[empty]"], &Book::usual(), &mut lock.clone(), &Offline).unwrap();
    assert_eq!(notes(&["x"], &index), ["`x` requires the extra `nosuch` of `a`, which 1 does not have"]);
}

#[test]
fn markers_of_requests_are_those_of_the_guest() {
    let index = Memory::wheels(&["a 1", "b 1"]);
    let requests = ["a; sys_platform == 'win32'", "b; sys_platform == 'wasi'"];
    let closure = run(&requests, &Book::usual(), &mut Lock::default(), &index).unwrap();
    assert_eq!(
        (closure.named.as_slice(), chosen(&closure).as_slice()),
        (&[name("b")][..], &["b 1 wheel".to_owned()][..])
    );
    assert_eq!(
        closure.notes,
        ["`a ; sys_platform == 'win32'` is left out: its marker does not hold in a component"]
    );
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
        "no set of versions meets all requirements
  the command line requires `a`, `b`
  `a` 1 requires `c<2`
  `b` 1 requires `c>=2`
  usable releases of `c`: 2.1, 1; 3 has only source distributions"
    );
    assert_eq!(
        refuse(&["c>=4"], &index),
        "`c` cannot be had
  `c` (for the command line): `>=4` is required, the newest usable release is 2.1
hint: an older release would do: `c==2.1`"
    );
    assert_eq!(
        refuse(&["c>=3"], &index),
        "`c` cannot be had
  `c` (for the command line): `>=3` is required, but 3 has only source distributions; the newest usable release is 2.1
hint: an older release would do: `c==2.1`
hint: what must be compiled needs a recipe: `eryx-build recipes` lists them, CONTRIBUTING.md says how to add one"
    );
}

#[test]
fn a_recipe_that_does_not_fit_is_told_with_both_versions() {
    let recipes =
        Book::new(&[("pydantic", "2.13.0", &["pydantic-core==2.50.3"]), ("pydantic-core", "2.50.4", &[])]);
    let error = run(&["pydantic"], &recipes, &mut Lock::default(), &Offline).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`pydantic-core` cannot be had
  `pydantic-core` (for `pydantic` 2.13.0): `==2.50.3` is required, its recipe has 2.50.4
hint: require `pydantic-core` or `pydantic-core==2.50.4`, or change `recipes/pydantic-core/recipe.toml`"
    );
}

#[test]
fn unknown_names_are_gathered() {
    let mut index = Memory::default();
    index.wheel("a", "1", &["zzz>=1"]);
    assert_eq!(
        refuse(&["nunpy", "qqqqqq"], &index),
        "2 packages cannot be had
  `nunpy` (for the command line): there is no such package; similar recipes: `numpy`
  `qqqqqq` (for the command line): there is no such package; no recipe has a similar name
hint: neither `recipes/` nor pip's index has such a project; `eryx-build recipes` lists the recipes"
    );
    assert!(refuse(&["a"], &index).contains("`zzz` (for `a` 1)"));
    let both = refuse(&["nunpy", "numpy==1"], &index);
    assert!(
        both.contains("`numpy` (for the command line): `==1` is required, its recipe has 2.5.5"),
        "{both}"
    );
    assert!(both.contains("`nunpy` (for the command line): there is no such package"), "{both}");
}

#[test]
fn native_packages_need_a_recipe() {
    let mut index = Memory::default();
    index.tagged("native", "1.0", "cp314-cp314-manylinux_2_17_x86_64", &[]);
    index.file("native", "native-1.1.tar.gz");
    assert_eq!(
        refuse(&["native"], &index),
        "`native` cannot be had
  `native` (for the command line): no recipe and no usable release: 1.1 has only source distributions
hint: what must be compiled needs a recipe: `eryx-build recipes` lists them, CONTRIBUTING.md says how to add one"
    );
}

#[test]
fn all_that_cannot_be_had_is_reported_at_once_with_what_would_do() {
    let mut index = Memory::wheels(&[
        "schema 4.18.0: rust>=0.7",
        "schema 4.25.1: rust & attrs",
        "schema 4.17.3: attrs",
        "attrs 1",
    ]);
    index.wheel("client", "2.1", &["fast", "other"]);
    index.wheel("client", "1.39", &[]);
    index.wheel("client", "1.40", &["fast"]);
    index.wheel("other", "1", &["slow"]);
    for native in ["rust", "fast", "slow"] {
        index.tagged(native, "1.0", "cp314-cp314-manylinux_2_17_x86_64", &[]);
    }
    assert_eq!(
        refuse(&["schema>=4.18", "client>=2", "attrs"], &index),
        "3 packages cannot be had
  `fast` (for `client` 2.1): no recipe and no usable release: 1.0 has no pure-Python (`none-any`) wheel for Python 3.14
  `rust` (for `schema` 4.25.1): no recipe and no usable release: 1.0 has no pure-Python (`none-any`) wheel for Python 3.14
  `slow` (for `other` 1): no recipe and no usable release: 1.0 has no pure-Python (`none-any`) wheel for Python 3.14
hint: an older release would do: `schema<4.18.0` (4.17.3), `client<1.40` (1.39)
hint: what must be compiled needs a recipe: `eryx-build recipes` lists them, CONTRIBUTING.md says how to add one"
    );
    // Where nobody insists, the older releases are taken, and that is said.
    assert_eq!(
        choose(&["schema", "client"], &index),
        ["attrs 1 wheel", "client 1.39 wheel", "schema 4.17.3 wheel"]
    );
    assert_eq!(
        notes(&["schema", "client"], &index),
        [
            "`client` 1.39 is chosen, not the newest 2.1, which requires `fast`, which has no recipe and no usable release; `slow`, which has no recipe and no usable release",
            "`schema` 4.17.3 is chosen, not the newest 4.25.1, which requires `rust`, which has no recipe and no usable release"
        ]
    );
    // Twenty of them are as short.
    let names: Vec<String> = (0..20).map(|number| format!("missing-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(refuse(&names, &index).lines().count() <= 10);
}

#[test]
fn a_newest_release_that_is_passed_over_is_reported() {
    let mut index = Memory::wheels(&["a 1", "b 2: c<2", "b 1", "c 1", "c 2"]);
    index.file("a", "a-2.tar.gz");
    assert_eq!(
        notes(&["a"], &index),
        ["`a` 1 is chosen, not the newest 2, which has only source distributions"]
    );
    assert_eq!(notes(&["a<2"], &index), [""; 0], "who wants the old one knows");
    assert_eq!(
        notes(&["b", "c>=2"], &index),
        ["`b` 1 is chosen, not the newest 2, which requires `c<2`, while 2 is chosen"]
    );
    // What the lock keeps is no news.
    let mut lock = Lock::default();
    run(&["a"], &Book::usual(), &mut lock, &index).unwrap();
    assert_eq!(run(&["a"], &Book::usual(), &mut lock, &index).unwrap().notes, [""; 0]);
}

#[test]
fn what_is_no_package_is_refused() {
    assert_eq!(
        refuse(&["zlib", "python", "a"], &Memory::wheels(&["a 1", "zlib 1"])),
        "expected names of Python packages
  `zlib` is a C library
  `python` is the interpreter, which is in every component
hint: name no package at all for the bare interpreter; C libraries come with what is linked to them"
    );
}

#[test]
fn offline_all_that_is_missing_is_named() {
    assert_eq!(
        refuse(&["nunpy", "b"], &Offline),
        "cannot look up 2 packages on pip's index: offline
  `b`
  `nunpy`: similar recipes: `numpy`
hint: run the same command without `--offline` once; what it finds is kept in the lock file"
    );
    // What the lock has is enough, though a newer entry of it leads out of it.
    let mut lock = Lock::default();
    let index = Memory::wheels(&["a 1: b<2", "b 1"]);
    run(&["a"], &Book::usual(), &mut lock, &index).unwrap();
    let index = Memory::wheels(&["a 2"]);
    run(&["a>=2"], &Book::usual(), &mut lock, &index).unwrap();
    let closure = run(&["a<2"], &Book::usual(), &mut lock, &Offline).unwrap();
    assert_eq!(chosen(&closure), ["a 1 wheel", "b 1 wheel"]);
}

#[test]
fn upgrades_move_what_is_named_and_nothing_else() {
    let mut lock = Lock::default();
    run(&["a"], &Book::usual(), &mut lock, &Memory::wheels(&["a 1: b", "b 1"])).unwrap();
    let index = Memory::wheels(&["a 1: b", "a 2: b", "b 1", "b 2"]);
    let requests = parse_requests(&["a"]).unwrap();
    for (upgrade, expected) in [
        (Upgrade::Nothing, ["a 1 wheel", "b 1 wheel"]),
        (Upgrade::Names([name("b")].into()), ["a 1 wheel", "b 2 wheel"]),
        (Upgrade::Names([name("a")].into()), ["a 2 wheel", "b 1 wheel"]),
        (Upgrade::Everything, ["a 2 wheel", "b 2 wheel"]),
    ] {
        let mut lock = lock.clone();
        let request = Request { upgrade: &upgrade, ..Request::new(&requests) };
        let closure = resolve(&request, &Book::usual(), &mut lock, &index).unwrap();
        assert_eq!(chosen(&closure), expected, "{upgrade:?}");
        let mut moves = Moves::new(upgrade.clone());
        closure.wheels().for_each(|(name, file)| moves.note(name, file));
        lock.drop_superseded(&moves);
        let locked: Vec<_> =
            lock.wheels().map(|wheel| format!("{} {} wheel", wheel.name, wheel.version)).collect();
        assert_eq!(locked, expected, "{upgrade:?}");
    }
}

#[test]
fn constraints_hold_for_what_is_needed_and_add_nothing() {
    let index = Memory::wheels(&["a 1: b", "a 2: b", "b 1", "b 2", "b 3rc1", "c 1"]);
    let requests = parse_requests(&["a"]).unwrap();
    for (constraints, expected) in [
        ("", ["a 2 wheel", "b 2 wheel"]),
        ("b<2 # why\n\nc\n", ["a 2 wheel", "b 1 wheel"]),
        ("A<2\nb==1", ["a 1 wheel", "b 1 wheel"]),
        ("b>=3rc1", ["a 2 wheel", "b 3rc1 wheel"]),
        ("b<2; sys_platform == 'win32'", ["a 2 wheel", "b 2 wheel"]),
    ] {
        let constraints = parse_constraints(constraints).unwrap();
        let request = Request { constraints: &constraints, ..Request::new(&requests) };
        let closure = resolve(&request, &Book::usual(), &mut Lock::default(), &index).unwrap();
        assert_eq!((chosen(&closure).as_slice(), closure.notes.len()), (&expected.map(str::to_owned)[..], 0));
    }
    let constraints = parse_constraints("b>5").unwrap();
    let request = Request { constraints: &constraints, ..Request::new(&requests) };
    let error = resolve(&request, &Book::usual(), &mut Lock::default(), &index).unwrap_err().to_string();
    assert!(error.contains("`b` (for `a` 2): `>5` is required, the newest usable release is 2"), "{error}");
    assert_eq!(
        parse_constraints("a>=1\n-r x\nb[c]\nd @ https://x.example/d").unwrap_err().to_string(),
        "expected a package with versions on each line
  line 2: expected package name starting with an alphanumeric character, found `-`
  line 3: a constraint has no extras
  line 4: an address is not supported, only a name with versions"
    );
}

#[test]
fn changes_of_a_lock_are_listed() {
    let (mut one, mut other) = (Lock::default(), Lock::default());
    run(&["a", "b"], &Book::usual(), &mut one, &Memory::wheels(&["a 1", "b 1"])).unwrap();
    run(&["a", "b"], &Book::usual(), &mut other, &Memory::wheels(&["a 2", "b 1: c", "c 1"])).unwrap();
    assert_eq!(
        one.changes(&other),
        [
            "`a-1-py3-none-any.whl` goes away",
            "`a-2-py3-none-any.whl` is new",
            "`b-1-py3-none-any.whl` changes",
            "`c-1-py3-none-any.whl` is new"
        ]
    );
    assert_eq!(one.changes(&one), [""; 0]);
}

#[test]
fn a_given_wheel_is_the_only_version() {
    let index = Memory::wheels(&["a 2: b", "a 1", "b 1", "x 1: a"]);
    let mut lock = Lock::default();
    run(&["a==1"], &Book::usual(), &mut lock, &index).unwrap();
    let mut given = lock.wheels().next().unwrap().clone();
    given.local = true;
    given.requires = parse_requests(&["b"]).unwrap();
    let requests = parse_requests(&["a", "x"]).unwrap();
    let local = [given];
    let request = Request { local: &local, ..Request::new(&requests) };
    let closure = resolve(&request, &Book::usual(), &mut lock, &index).unwrap();
    assert_eq!(chosen(&closure), ["a 1 wheel", "b 1 wheel", "x 1 wheel"]);
    let newer = parse_requests(&["a>=2"]).unwrap();
    let request = Request { local: &local, ..Request::new(&newer) };
    let error = resolve(&request, &Book::usual(), &mut lock, &index).unwrap_err().to_string();
    assert!(error.contains("`>=2` is required, the given wheel has 1"), "{error}");
    // By its name alone it is not chosen again.
    assert_eq!(chosen(&run(&["a"], &Book::usual(), &mut lock, &index).unwrap()), ["a 2 wheel", "b 1 wheel"]);
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
    index.wheel(
        "a",
        "1",
        &[
            "b (>=1,<3) ; (python_version>'3' and extra=='x') or os_name == \"nt\"",
            "b",
            // A variable of the environment stays what it is.
            "c @ https://x.example/${HOME} ; extra == 'c'",
        ],
    );
    index.more("a-1-py3-none-any.whl", "Provides-Extra: empty\nProvides-Extra: x");
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
extras = [\"empty\"]
requires = [
    \"b>=1,<3 ; (python_full_version >= '3.1' and extra == 'x') or os_name == 'nt'\",
    \"b\",
    \"c @ https://x.example/$%7BHOME%7D ; extra == 'c'\",
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
    assert!(moved.contains("found `../a-1-py3-none-any.whl`: it has a separator"), "{moved}");
}
