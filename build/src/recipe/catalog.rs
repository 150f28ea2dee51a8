//! All recipes together.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use pep508_rs::VersionOrUrl;

use super::check::check;
use super::place::{Document, Problem, nearest};
use super::source::gathered;
use super::{Kind, Recipe};
use crate::error::{Context, Result};
use crate::name::PackageName;

/// All recipes by name; every host requirement is one of them, and no recipe needs itself.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    recipes: BTreeMap<PackageName, Recipe>,
}

impl Catalog {
    /// Reads every `<folder>/<name>/recipe.toml`.
    ///
    /// # Errors
    /// All that is wrong with all recipes, each with its place; or the folder cannot be read.
    pub fn load(folder: &Path) -> Result<Self> {
        let what = || format!("cannot read `{}`", folder.display());
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(folder).context(what)? {
            let path = entry.context(what)?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
        folders.sort();
        let mut problems = Vec::new();
        let mut read = BTreeMap::new();
        // Recipes that are there, faulty or not: a requirement of a faulty one is not a second problem.
        let mut names = Vec::new();
        for folder in folders {
            names.extend(folder.file_name().and_then(|name| name.to_str()).map(str::to_owned));
            let path = folder.join("recipe.toml");
            let shown = path.display().to_string();
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    if let Some((recipe, document)) = check(&shown, &text, &folder, &mut problems) {
                        read.insert(recipe.name.clone(), (recipe, document));
                    }
                }
                Err(error) => {
                    let message = format!("cannot be read: {}", error.to_string().to_lowercase());
                    problems.push(Document::new(shown, "").problem_at(0, message));
                }
            }
        }
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        for (recipe, document) in read.values() {
            check_host(recipe, document, &names, &read, &mut problems);
            check_run(recipe, document, &read, &mut problems);
        }
        check_interpreter(&read, &mut problems);
        check_cycles(&read, &mut problems);
        if !problems.is_empty() {
            return Err(gathered(&folder.display().to_string(), problems));
        }
        Ok(Self { recipes: read.into_iter().map(|(name, (recipe, _))| (name, recipe)).collect() })
    }

    /// The recipe of that name.
    #[must_use]
    pub fn get(&self, name: &PackageName) -> Option<&Recipe> {
        self.recipes.get(name)
    }

    /// All recipes by name.
    pub fn iter(&self) -> impl Iterator<Item = &Recipe> {
        self.recipes.values()
    }

    /// The recipe of the interpreter, if there is one.
    #[must_use]
    pub fn interpreter(&self) -> Option<&Recipe> {
        self.iter().find(|recipe| recipe.kind == Kind::Interpreter)
    }

    /// The name of a recipe that `name` may have been meant for.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&PackageName> {
        let near = nearest(name, self.recipes.keys().map(PackageName::as_str))?;
        self.recipes.keys().find(|name| name.as_str() == near)
    }
}

type Read = BTreeMap<PackageName, (Recipe, Document)>;

fn check_host(
    recipe: &Recipe,
    document: &Document,
    names: &[&str],
    read: &Read,
    problems: &mut Vec<Problem>,
) {
    for (index, host) in recipe.requires_host.iter().enumerate() {
        let place = format!("requires.host[{index}]");
        if !names.contains(&host.as_str()) {
            let problem = document.problem(&place, format!("there is no recipe `{host}`"));
            problems.push(match nearest(host.as_str(), names.iter().copied()) {
                Some(near) => problem.advise(format!("did you mean `{near}`?")),
                None => problem,
            });
        } else if let Some((found, _)) = read.get(host)
            && found.kind == Kind::Pure
        {
            problems.push(
                document.problem(&place, format!("`{host}` is pure: there is nothing to link against")),
            );
        }
    }
}

/// A requirement on a package that has a recipe must let that recipe's version in.
fn check_run(recipe: &Recipe, document: &Document, read: &Read, problems: &mut Vec<Problem>) {
    for (index, requirement) in recipe.requires_run.iter().enumerate() {
        let Ok(name) = PackageName::from_str(requirement.name.as_ref()) else { continue };
        let (Some((found, _)), Some(VersionOrUrl::VersionSpecifier(wanted))) =
            (read.get(&name), &requirement.version_or_url)
        else {
            continue;
        };
        if !wanted.contains(&found.version) {
            let message = format!("expected `{name}` {wanted} but its recipe has version {}", found.version);
            problems.push(document.problem(&format!("requires.run[{index}]"), message));
        }
    }
}

fn check_interpreter(read: &Read, problems: &mut Vec<Problem>) {
    let mut interpreters = read.values().filter(|(recipe, _)| recipe.kind == Kind::Interpreter);
    let first = interpreters.next();
    for (recipe, document) in interpreters {
        let other = first.map_or("", |(first, _)| first.name.as_str());
        let message = format!("`{}` is a second interpreter beside `{other}`", recipe.name);
        problems.push(document.problem("package.kind", message));
    }
}

/// Tells each cycle once, from its first name in alphabetical order.
fn check_cycles(read: &Read, problems: &mut Vec<Problem>) {
    for (start, (_, document)) in read {
        let mut trail = vec![start];
        if let Some(cycle) = walk(read, start, &mut trail, &mut Vec::new()) {
            let shown = cycle.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" -> ");
            problems
                .push(document.problem("requires.host", format!("recipes require each other: `{shown}`")));
        }
    }
}

/// Looks for a way back to `start` through names that come after it.
fn walk<'r>(
    read: &'r Read,
    start: &PackageName,
    trail: &mut Vec<&'r PackageName>,
    seen: &mut Vec<&'r PackageName>,
) -> Option<Vec<&'r PackageName>> {
    let (recipe, _) = read.get(*trail.last()?)?;
    for next in &recipe.requires_host {
        if next == start {
            trail.push(next);
            return Some(trail.clone());
        }
        if next > start && !seen.contains(&next) {
            seen.push(next);
            trail.push(next);
            if let Some(cycle) = walk(read, start, trail, seen) {
                return Some(cycle);
            }
            trail.pop();
        }
    }
    None
}

impl Catalog {
    /// The packages that give something else when these recipes change: they themselves, and what is compiled
    /// against them or needs them, however far away. Names of no recipe are passed over: a change may remove one.
    #[must_use]
    pub fn affected_by(&self, changed: &[PackageName]) -> Vec<PackageName> {
        let mut affected: std::collections::BTreeSet<PackageName> = changed.iter().cloned().collect();
        loop {
            let before = affected.len();
            // Every package is compiled against the interpreter without naming it.
            let all = self.iter().any(|one| one.kind == Kind::Interpreter && affected.contains(&one.name));
            for recipe in self.iter() {
                let needs = |name: &PackageName| affected.contains(name);
                let runs = |name: &str| PackageName::new(name).is_ok_and(|name| needs(&name));
                if (all && recipe.is_package())
                    || recipe.requires_host.iter().any(needs)
                    || recipe.requires_run.iter().any(|one| runs(one.name.as_ref()))
                {
                    affected.insert(recipe.name.clone());
                }
            }
            if affected.len() == before {
                break;
            }
        }
        let packages = self.iter().filter(|recipe| recipe.is_package() && affected.contains(&recipe.name));
        packages.map(|recipe| recipe.name.clone()).collect()
    }
}

impl crate::resolve::Recipes for Catalog {
    fn version(&self, name: &PackageName) -> Option<pep440_rs::Version> {
        self.get(name).filter(|recipe| recipe.is_package()).map(|recipe| recipe.version.clone())
    }

    fn requires(&self, name: &PackageName) -> Vec<crate::resolve::Requirement> {
        self.get(name).map(|recipe| recipe.requires_run.clone()).unwrap_or_default()
    }

    fn no_package(&self, name: &PackageName) -> Option<&'static str> {
        match self.get(name)?.kind {
            Kind::Library => Some("a C library"),
            Kind::Interpreter => Some("the interpreter, which is in every component"),
            Kind::Extension | Kind::Pure => None,
        }
    }

    fn names(&self) -> Vec<PackageName> {
        self.iter().filter(|recipe| recipe.is_package()).map(|recipe| recipe.name.clone()).collect()
    }
}
