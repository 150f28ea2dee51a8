//! `lock`.

use std::collections::BTreeSet;

use clap::Args;

use super::BundleArgs;
use super::build::Session;
use super::output::line;
use crate::error::{Error, Result};
use crate::lock::{Lock, Moves};
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
        line(change)?;
    }
    if changes.is_empty() {
        line("the lock file stays as it is")?;
    }
    Ok(0)
}

fn resolve(session: &Session, arguments: &LockArgs, lock: &mut Lock) -> Result<()> {
    let catalog = Catalog::load(&session.layout.recipes())?;
    let bundle = &arguments.bundle;
    let mut moves = Moves::new(match &arguments.upgrade {
        None => Upgrade::Nothing,
        Some(names) if names.is_empty() => Upgrade::Everything,
        Some(names) => Upgrade::Names(moving(names, &catalog)?),
    });
    let mut plan = |packages: &[String], moves: &mut Moves| {
        session.plan_with(bundle, &catalog, packages, moves, lock).map(drop)
    };
    match &arguments.upgrade {
        Some(names) if bundle.packages.is_empty() && !names.is_empty() => plan(names, &mut moves)?,
        Some(_) if bundle.packages.is_empty() => {
            // The packages of several components need not go together: each is resolved with what it requires.
            let (mut done, all) = (BTreeSet::new(), roots(&Lock::load(&session.layout.lock())?, &catalog));
            for root in all {
                if !moves.moved.contains(&root) && done.insert(root.clone()) {
                    plan(&[root.to_string()], &mut moves)?;
                }
            }
        }
        _ => plan(&bundle.packages, &mut moves)?,
    }
    lock.drop_superseded(&moves);
    let Upgrade::Names(names) = &moves.upgrade else { return Ok(()) };
    let unused: Vec<_> = names.difference(&moves.moved).map(|name| format!("`{name}`")).collect();
    if unused.is_empty() {
        return Ok(());
    }
    Err(Error::new("some packages are not among those that are resolved").details(unused))
}

/// The names of packages that may move, none of which has a recipe.
fn moving(names: &[String], catalog: &Catalog) -> Result<BTreeSet<PackageName>> {
    let names: BTreeSet<_> = names.iter().map(|name| PackageName::new(name)).collect::<Result<_>>()?;
    let built = names.iter().filter(|name| catalog.get(name).is_some());
    let built: Vec<_> = built.map(|name| format!("`{name}`")).collect();
    if built.is_empty() {
        return Ok(names);
    }
    Err(Error::new("some packages have the version of their recipe").details(built))
}

/// The packages of components in a lock, those first that no other one requires: what they require moves with them.
fn roots(lock: &Lock, catalog: &Catalog) -> Vec<PackageName> {
    let required: BTreeSet<String> = lock
        .wheels()
        .flat_map(|wheel| wheel.requires.iter())
        .map(|requirement| requirement.name.to_string())
        .collect();
    let tools: BTreeSet<&PackageName> =
        catalog.iter().flat_map(|recipe| &recipe.requires_build).map(|pin| &pin.name).collect();
    let wheels = lock.wheels().filter(|wheel| !wheel.local && wheel.file.ends_with("-none-any.whl"));
    let mut all: Vec<_> = wheels.map(|wheel| wheel.name.clone()).collect();
    all.retain(|name| !tools.contains(name));
    all.sort_by_key(|name| (required.contains(name.as_str()), name.clone()));
    all.dedup();
    all
}
