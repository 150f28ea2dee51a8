//! `lock`.

use std::collections::BTreeSet;

use clap::Args;

use super::BundleArgs;
use super::build::Session;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::name::PackageName;
use crate::recipe::Catalog;
use crate::resolve::Upgrade;

/// The arguments of `lock`.
#[derive(Debug, Args)]
pub(super) struct LockArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Let these packages move to newer versions, or without names all but build tools. With nothing else to resolve,
    /// they are what is resolved.
    #[arg(long, value_name = "NAME", num_args = 0..)]
    upgrade: Option<Vec<String>>,
}

pub(super) fn lock(arguments: &LockArgs) -> Result<u8> {
    let session = Session::open(&arguments.bundle)?;
    let changes = session.with_lock(&arguments.bundle, |lock| {
        let old = lock.clone();
        resolve(&session, arguments, lock)?;
        Ok(old.changes(lock))
    })?;
    for change in &changes {
        println!("{change}");
    }
    if changes.is_empty() {
        println!("the lock file stays as it is");
    }
    Ok(0)
}

fn resolve(session: &Session, arguments: &LockArgs, lock: &mut Lock) -> Result<()> {
    let catalog = Catalog::load(&session.layout.recipes())?;
    let bundle = &arguments.bundle;
    let plan = |packages: &[String], upgrade: &Upgrade, lock: &mut Lock| {
        session.plan_with(bundle, &catalog, packages, upgrade, lock).map(drop)
    };
    match &arguments.upgrade {
        None => plan(&bundle.packages, &Upgrade::Nothing, lock),
        Some(names) if names.is_empty() && bundle.packages.is_empty() => {
            // The packages of several components need not go together.
            for root in roots(lock, &catalog) {
                plan(&[root.to_string()], &Upgrade::Everything, lock)?;
            }
            Ok(())
        }
        Some(names) if names.is_empty() => plan(&bundle.packages, &Upgrade::Everything, lock),
        Some(names) => {
            let moving: BTreeSet<_> =
                names.iter().map(|name| PackageName::new(name)).collect::<Result<_>>()?;
            let built: Vec<_> = moving.iter().filter(|name| catalog.get(name).is_some()).collect();
            if !built.is_empty() {
                return Err(Error::new("some packages have the version of their recipe")
                    .details(built.iter().map(|name| format!("`{name}`"))));
            }
            let packages = if bundle.packages.is_empty() { names } else { &bundle.packages };
            plan(packages, &Upgrade::Names(moving.clone()), lock)?;
            let unused = moving.iter().filter(|name| lock.of((*name).clone()).next().is_none());
            let unused: Vec<_> = unused.map(|name| format!("`{name}`")).collect();
            if unused.is_empty() {
                return Ok(());
            }
            Err(Error::new("some packages are not among those that are resolved").details(unused))
        }
    }
}

/// The packages of components in a lock that no other one requires.
fn roots(lock: &Lock, catalog: &Catalog) -> Vec<PackageName> {
    let required: BTreeSet<String> = lock
        .wheels()
        .flat_map(|wheel| wheel.requires.iter())
        .map(|requirement| requirement.name.to_string())
        .collect();
    let tools: BTreeSet<&PackageName> =
        catalog.iter().flat_map(|recipe| &recipe.requires_build).map(|pin| &pin.name).collect();
    let wheels = lock.wheels().filter(|wheel| !wheel.local && wheel.file.ends_with("-none-any.whl"));
    let mut roots: Vec<_> = wheels.map(|wheel| wheel.name.clone()).collect();
    roots.retain(|name| !required.contains(name.as_str()) && !tools.contains(name));
    roots.dedup();
    roots
}
