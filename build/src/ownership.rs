//! Whose modules a package brings: one that carries another project's package is pointed out.
//!
//! Nothing keeps a wheel from holding another module `numpy`, and importing it runs the wheel's code.

use std::collections::BTreeMap;

use crate::lock::Lock;
use crate::manifest::Manifest;
use crate::name::PackageName;
use crate::recipe::Catalog;

/// The projects that are known, by the modules that are theirs: what recipes import, and modules that are called as a
/// project is that has a recipe or is locked.
#[must_use]
pub fn owners(catalog: &Catalog, lock: &Lock) -> BTreeMap<String, PackageName> {
    let mut owners = BTreeMap::new();
    let recipes: Vec<_> = catalog.iter().filter(|recipe| recipe.is_package()).collect();
    for recipe in &recipes {
        for module in &recipe.imports {
            let first = module.split('.').next().unwrap_or(module);
            owners.insert(first.to_owned(), recipe.name.clone());
        }
    }
    let names = recipes.iter().map(|recipe| &recipe.name).chain(lock.wheels().map(|wheel| &wheel.name));
    for name in names {
        owners.entry(name.file_stem()).or_insert_with(|| name.clone());
    }
    owners
}

/// A line for each module of a component that a package brings and another project owns.
#[must_use]
pub fn borrowed(manifest: &Manifest, owners: &BTreeMap<String, PackageName>) -> Vec<String> {
    let mut found = Vec::new();
    for (package, modules) in &manifest.modules {
        for module in modules {
            match owners.get(module) {
                Some(owner) if owner.as_str() != package => found.push(format!(
                    "package `{package}` brings the module `{module}`, which is that of the project `{owner}`"
                )),
                _ => {}
            }
        }
    }
    found
}
