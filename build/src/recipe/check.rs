//! From a recipe as written to a checked one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::{Requirement, VersionOrUrl};
use serde::Deserialize;
use url::Url;

use super::file::{BackendName, BuildTable, RecipeFile};
use super::place::{Document, Problem, ticked};
use super::schema::{TABLES, Walk};
use super::source::{check_source, parse_toml};
use super::{Backend, Build, Cargo, Kind, License, Patch, Pinned, Provides, Recipe, Source, license};
use crate::digest::Digest;
use crate::fetch::Origin;
use crate::file_name::{FileName, RelativePath};
use crate::name::PackageName;

/// Checks the text of one recipe; `folder` is where its patches are. Gives the recipe if nothing is wrong.
pub(super) fn check(
    file: &str,
    text: &str,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<(Recipe, Document)> {
    let mut document = Document::new(file, text);
    let mut root = parse_toml(&document, text, problems)?;
    let top = TABLES.first()?;
    let mut walk = Walk { document: &mut document, problems: Vec::new() };
    walk.table("", top, root.get_mut());
    let mut found = walk.problems;
    let written = RecipeFile::deserialize(toml::de::Deserializer::from(root));
    let recipe = match written {
        Ok(written) => Checker { document: &document, problems: &mut found, folder }.recipe(&written),
        // What could not be made into values was told by the walk.
        Err(error) if found.is_empty() => {
            found.push(document.problem_at(error.span().map_or(0, |span| span.start), error.message()));
            None
        }
        Err(_) => None,
    };
    let clean = found.is_empty();
    problems.extend(found);
    recipe.filter(|_| clean).map(|recipe| (recipe, document))
}

/// Checks that a path stays below where it starts.
pub(super) fn relative(path: &str) -> Result<(), String> {
    RelativePath::new(path).map(drop).map_err(|error| error.message().to_owned())
}

struct Checker<'c> {
    document: &'c Document,
    problems: &'c mut Vec<Problem>,
    folder: &'c Path,
}

impl Checker<'_> {
    fn wrong(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(self.document.problem(path, message));
    }

    fn recipe(&mut self, file: &RecipeFile) -> Option<Recipe> {
        let package = &file.package;
        let name = self.name(&package.name);
        let version = Version::from_str(&package.version)
            .map_err(|_| self.wrong("package.version", format!("invalid version `{}`", package.version)))
            .ok();
        self.license(file);
        self.imports(package.kind, &package.imports);
        let sources = self.sources(file, name.as_ref(), version.as_ref());
        let patches = self.patches(file);
        self.kind_of_backend(package.kind, file.build.backend);
        let build = self.build(&file.build);
        let requires_build = self.requires_build(file);
        let requires_host = self.requires_host(file);
        let requires_run = self.requires_run(file);
        self.provides(file);
        if file.check.smoke.is_some() && package.kind == Kind::Library {
            self.wrong("check.smoke", "a library cannot be run: `smoke` has no use here");
        }
        Some(Recipe {
            name: name?,
            version: version?,
            kind: package.kind,
            imports: package.imports.clone(),
            license: License { spdx: package.license.spdx.clone(), files: package.license.files.clone() },
            sources,
            patches,
            build: build?,
            requires_build,
            requires_host,
            requires_run,
            provides: Provides {
                archives: file.provides.archives.clone(),
                include: file.provides.include.clone(),
            },
            smoke: file.check.smoke.clone(),
            folder: self.folder.to_owned(),
        })
    }

    fn name(&mut self, text: &str) -> Option<PackageName> {
        let name = match PackageName::new(text) {
            Ok(name) => name,
            Err(error) => {
                self.wrong("package.name", error.message());
                return None;
            }
        };
        if name.as_str() != text {
            self.wrong("package.name", format!("expected the normalised name `{name}` but found `{text}`"));
        }
        match self.folder.file_name().and_then(|folder| folder.to_str()) {
            Some(folder) if folder == text => {}
            folder => {
                let folder = folder.unwrap_or("?");
                self.wrong(
                    "package.name",
                    format!("expected the folder's name `{folder}` but found `{text}`"),
                );
            }
        }
        Some(name)
    }

    fn license(&mut self, file: &RecipeFile) {
        let license = &file.package.license;
        self.problems.extend(license::problem(self.document, "package.license.spdx", &license.spdx));
        if license.files.is_empty() {
            self.wrong("package.license.files", "expected at least one licence text");
        }
        self.paths("package.license.files", &license.files);
    }

    fn imports(&mut self, kind: Kind, imports: &[String]) {
        match kind {
            Kind::Extension | Kind::Pure if imports.is_empty() => {
                self.wrong(
                    "package.imports",
                    "`[package]` lacks the key `imports`, which a Python package needs",
                );
            }
            Kind::Library if !imports.is_empty() => {
                self.wrong("package.imports", "a library cannot be imported: `imports` has no use here");
            }
            _ => {}
        }
        for (index, module) in imports.iter().enumerate() {
            if !is_dotted(module) {
                self.wrong(&format!("package.imports[{index}]"), format!("invalid module name `{module}`"));
            }
        }
    }

    fn sources(
        &mut self,
        file: &RecipeFile,
        name: Option<&PackageName>,
        version: Option<&Version>,
    ) -> Vec<Source> {
        if file.source.is_empty() {
            self.wrong("source", "expected at least one source");
        }
        let mut sources = Vec::new();
        for (index, table) in file.source.iter().enumerate() {
            let path = format!("source[{index}]");
            if index > 0 && table.into.is_none() {
                self.wrong(
                    &path,
                    "`[[source]]` lacks the key `into`, which every source but the first needs",
                );
            }
            let source = check_source(self.document, &path, table, self.problems);
            if let (0, Some(source), Some(name), Some(version)) = (index, &source, name, version) {
                self.main_source(file, source, name, version);
            }
            sources.extend(source);
        }
        sources
    }

    /// A file of the package index says in its name what it is: hold that against the recipe.
    fn main_source(&mut self, file: &RecipeFile, source: &Source, name: &PackageName, version: &Version) {
        let wheel = source.file.ends_with(".whl");
        let unpacked = file.build.backend == BackendName::Wheel;
        if unpacked && !source.file.ends_with("-none-any.whl") {
            let message =
                format!("expected a wheel that ends in `-none-any.whl` but found `{}`", source.file);
            self.wrong("source[0].pypi", message);
        } else if wheel && !unpacked {
            self.wrong("build.backend", "expected the back end `wheel`, since the source is a wheel");
        }
        let Some(Origin::Pypi { project, file }) = source.origins.first() else { return };
        if PackageName::new(project).as_ref() != Ok(name) {
            self.wrong("source[0].pypi", format!("expected a file of `{name}` but found `{file}`"));
        }
        let rest = file.get(project.len() + 1..).unwrap_or_default();
        let stated = if wheel { rest.split('-').next() } else { rest.strip_suffix(".tar.gz") };
        if stated.and_then(|text| Version::from_str(text).ok()).as_ref() != Some(version) {
            self.wrong("source[0].pypi", format!("expected version {version} but found `{file}`"));
        }
    }

    fn patches(&mut self, file: &RecipeFile) -> Vec<Patch> {
        let mut patches = Vec::new();
        let mut listed = BTreeSet::new();
        for (index, table) in file.patch.iter().enumerate() {
            let place = format!("patch[{index}].file");
            let named = FileName::new(table.file.as_str()).ok().filter(|name| name.ends_with(".patch"));
            let Some(file_name) = named else {
                let message = format!(
                    "expected a file name that ends in `.patch` but found `{}`",
                    table.file.escape_debug()
                );
                self.wrong(&place, message);
                continue;
            };
            if !listed.insert(table.file.clone()) {
                self.wrong(&place, format!("`{}` is listed twice", table.file));
            }
            for (key, value) in
                [("reason", &table.reason), ("upstream", &table.upstream), ("drop", &table.drop)]
            {
                if value.trim().is_empty() {
                    self.wrong(&format!("patch[{index}].{key}"), format!("expected a sentence for `{key}`"));
                }
            }
            let path = self.folder.join(&file_name);
            match Digest::of_file(&path) {
                Ok((digest, _)) => patches.push(Patch {
                    file: file_name,
                    path,
                    digest,
                    reason: table.reason.clone(),
                    upstream: table.upstream.clone(),
                    drop: table.drop.clone(),
                }),
                Err(_) if !path.exists() => {
                    self.wrong(&place, format!("there is no file `{}` here", table.file))
                }
                Err(error) => self.wrong(&place, error.message()),
            }
        }
        let beside = std::fs::read_dir(self.folder).into_iter().flatten().flatten();
        let mut names = beside.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>();
        names.sort();
        for name in names {
            if name.ends_with(".patch") && !listed.contains(&name) {
                self.wrong("patch", format!("the file `{name}` is listed in no `[[patch]]`"));
            }
        }
        patches
    }

    fn kind_of_backend(&mut self, kind: Kind, backend: BackendName) {
        use BackendName as B;
        let fits = match backend {
            B::Wheel => kind == Kind::Pure,
            B::Cpython => kind == Kind::Interpreter,
            B::Setuptools | B::MesonPython | B::CargoPyo3 => kind == Kind::Extension,
            B::Cmake | B::Autotools | B::Make => kind == Kind::Library,
        };
        if !fits {
            let message =
                format!("the back end `{}` cannot make what `[package] kind` says", backend.as_str());
            self.wrong("build.backend", message);
        }
    }

    fn build(&mut self, build: &BuildTable) -> Option<Build> {
        self.keys_of_backend(build);
        let backend = self.backend(build)?;
        if let Some(dir) = &build.dir {
            self.paths("build.dir", std::slice::from_ref(dir));
        }
        for name in build.env.keys() {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty()
                || !name.bytes().all(word)
                || name.starts_with(|first: char| first.is_ascii_digit())
            {
                self.wrong(&format!("build.env.{name}"), format!("invalid name of a variable `{name}`"));
            }
        }
        Some(Build {
            backend,
            dir: build.dir.clone().unwrap_or_default(),
            options: build.options.clone(),
            cflags: build.cflags.clone(),
            cxxflags: build.cxxflags.clone(),
            ldflags: build.ldflags.clone(),
            env: build.env.clone(),
            exceptions: build.exceptions,
            setjmp: build.setjmp,
        })
    }

    /// Tells of keys that the chosen back end does not read.
    fn keys_of_backend(&mut self, build: &BuildTable) {
        use BackendName as B;
        let backend = build.backend;
        let cross = matches!(backend, B::MesonPython | B::Cmake | B::Autotools | B::Cpython);
        let make = matches!(backend, B::Autotools | B::Make);
        let cargo = backend == B::CargoPyo3;
        let compiled = backend != B::Wheel;
        let cpython = backend == B::Cpython;
        // An archive is not linked, and CPython has no C++ code and brings its own flags.
        let linked = matches!(backend, B::Setuptools | B::MesonPython | B::CargoPyo3 | B::Cpython);
        let keys = [
            ("dir", build.dir.is_some(), compiled && !cargo && !cpython),
            ("options", !build.options.is_empty(), compiled && !cargo),
            ("cflags", !build.cflags.is_empty(), compiled),
            ("cxxflags", !build.cxxflags.is_empty(), compiled && !cpython),
            ("ldflags", !build.ldflags.is_empty(), linked),
            ("env", !build.env.is_empty(), compiled),
            ("exceptions", build.exceptions, compiled && !cpython),
            ("setjmp", build.setjmp, compiled && !cpython),
            ("targets", !build.targets.is_empty(), make),
            ("install", !build.install.is_empty(), make),
            ("manifest", build.manifest.is_some(), cargo),
            ("lib", build.lib.is_some(), cargo),
            ("module", build.module.is_some(), cargo),
            ("features", !build.features.is_empty(), cargo),
            ("python-source", build.python_source.is_some(), cargo),
            ("cross", !build.cross.is_empty(), cross),
        ];
        let valid = ticked(keys.iter().filter(|(_, _, valid)| *valid).map(|(key, ..)| *key));
        for (key, _, _) in keys.iter().filter(|(_, given, valid)| *given && !valid) {
            let message = format!("the back end `{}` does not read `{key}`", backend.as_str());
            let problem = self.document.problem(&format!("build.{key}"), message);
            self.problems.push(match valid.as_str() {
                "" => problem.advise("it reads no other key"),
                valid => problem.advise(format!("it reads {valid}")),
            });
        }
    }

    fn backend(&mut self, build: &BuildTable) -> Option<Backend> {
        let cross = build.cross.clone();
        Some(match build.backend {
            BackendName::Setuptools => Backend::Setuptools,
            BackendName::MesonPython => Backend::MesonPython { cross },
            BackendName::CargoPyo3 => Backend::CargoPyo3(self.cargo(build)?),
            BackendName::Cmake => Backend::Cmake { cross },
            BackendName::Autotools => {
                Backend::Autotools { cross, targets: build.targets.clone(), install: self.install(build) }
            }
            BackendName::Make => {
                if build.install.is_empty() {
                    self.wrong("build.install", "`[build]` lacks the key `install`, which `make` needs");
                }
                Backend::Make { targets: build.targets.clone(), install: self.install(build) }
            }
            BackendName::Wheel => Backend::Wheel,
            BackendName::Cpython => Backend::Cpython { cross },
        })
    }

    fn install(&mut self, build: &BuildTable) -> BTreeMap<String, String> {
        for (to, from) in &build.install {
            self.paths(&format!("build.install.{to}"), &[to.clone(), from.clone()]);
        }
        build.install.clone()
    }

    fn cargo(&mut self, build: &BuildTable) -> Option<Cargo> {
        for (key, value) in [("lib", &build.lib), ("module", &build.module)] {
            if value.is_none() {
                self.wrong(
                    "build.backend",
                    format!("`[build]` lacks the key `{key}`, which `cargo-pyo3` needs"),
                );
            }
        }
        if let Some(module) = build.module.as_deref().filter(|module| !is_dotted(module)) {
            self.wrong("build.module", format!("invalid module name `{module}`"));
        }
        let manifest = build.manifest.clone().unwrap_or_else(|| "Cargo.toml".to_owned());
        self.paths("build.manifest", std::slice::from_ref(&manifest));
        if let Some(folder) = &build.python_source {
            self.paths("build.python-source", std::slice::from_ref(folder));
        }
        Some(Cargo {
            manifest,
            lib: build.lib.clone()?,
            module: build.module.clone()?,
            features: build.features.clone(),
            python_source: build.python_source.clone(),
        })
    }

    fn requires_build(&mut self, file: &RecipeFile) -> Vec<Pinned> {
        let mut pins = BTreeMap::new();
        for (index, text) in file.requires.build.iter().enumerate() {
            let place = format!("requires.build[{index}]");
            let pin = text.split_once("==").and_then(|(name, version)| {
                Some((PackageName::new(name.trim()).ok()?, Version::from_str(version.trim()).ok()?))
            });
            match pin {
                Some((name, version)) => {
                    if pins.insert(name.clone(), version).is_some() {
                        self.wrong(&place, format!("`{name}` is required twice"));
                    }
                }
                None => self.wrong(&place, format!("expected `name==version` but found `{text}`")),
            }
        }
        pins.into_iter().map(|(name, version)| Pinned { name, version }).collect()
    }

    fn requires_host(&mut self, file: &RecipeFile) -> Vec<PackageName> {
        if file.build.backend == BackendName::Wheel && !file.requires.host.is_empty() {
            self.wrong("requires.host", "nothing is compiled here: `host` has no use");
        }
        let mut names = Vec::new();
        for (index, text) in file.requires.host.iter().enumerate() {
            let place = format!("requires.host[{index}]");
            match PackageName::new(text) {
                Ok(name) if names.contains(&name) => {
                    self.wrong(&place, format!("`{name}` is required twice"))
                }
                Ok(name) => names.push(name),
                Err(error) => self.wrong(&place, error.message()),
            }
        }
        names
    }

    fn requires_run(&mut self, file: &RecipeFile) -> Vec<Requirement<Url>> {
        let python = matches!(file.package.kind, Kind::Extension | Kind::Pure);
        if !python && !file.requires.run.is_empty() {
            self.wrong("requires.run", "only a Python package can require others to run");
        }
        let mut requirements = Vec::new();
        for (index, text) in file.requires.run.iter().enumerate() {
            let place = format!("requires.run[{index}]");
            match Requirement::from_str(text) {
                Ok(Requirement { version_or_url: Some(VersionOrUrl::Url(_)), .. }) => {
                    self.wrong(
                        &place,
                        format!("expected a name and versions but found an address in `{text}`"),
                    );
                }
                Ok(requirement) => requirements.push(requirement),
                Err(_) => {
                    self.wrong(&place, format!("expected a requirement as in PEP 508 but found `{text}`"))
                }
            }
        }
        requirements
    }

    fn provides(&mut self, file: &RecipeFile) {
        let provides = &file.provides;
        let nothing = provides.archives.is_empty() && provides.include.is_empty();
        match file.package.kind {
            Kind::Library if nothing => {
                self.wrong("provides", "the recipe lacks `[provides]`, without which a library has no use");
            }
            Kind::Pure | Kind::Interpreter if !nothing => {
                self.wrong("provides", "only libraries and extensions can have `[provides]`");
            }
            _ => {}
        }
        self.paths("provides.archives", &provides.archives);
        self.paths("provides.include", &provides.include);
    }

    /// Checks paths; `place` is the key that holds them.
    fn paths(&mut self, place: &str, paths: &[String]) {
        for (index, path) in paths.iter().enumerate() {
            if let Err(message) = relative(path) {
                self.wrong(&format!("{place}[{index}]"), message);
            }
        }
    }
}

fn is_dotted(module: &str) -> bool {
    module.split('.').all(|part| {
        !part.is_empty()
            && !part.starts_with(|first: char| first.is_ascii_digit())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}
