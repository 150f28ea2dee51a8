//! Prelinks: makes one core module out of shared libraries.
//!
//! What the dynamic linker would do at each start is done once, here. [`parse`] reads every library into its
//! index spaces; [`layout`] gives each a place in the one memory and the one table; [`resolve`] finds what every
//! import means, so that the bases of memory and table and the addresses of symbols become constants and calls
//! between libraries direct; [`relocate`] fills addresses into the data; [`fold`] finds functions that are alike;
//! [`emit`] writes the module, each of those once, and without the functions that nothing can reach. Libraries keep
//! scopes of their own: only what one exports is seen by others, so private symbols of one name stay apart.
//!
//! It works on linked wasm, not on object files, so libraries that others have built prelink as well. The
//! conventions are those of the tool-conventions repository's `DynamicLinking.md`.

mod dl;
mod emit;
mod fold;
mod layout;
mod parse;
mod relocate;
mod resolve;
mod rewrite;
mod scan;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use parse::Parsed;
use resolve::{Callee, Resolved};
use rewrite::Code;
use scan::Scan;
use types::Types;

use crate::error::{Error, Result};
use crate::link::{Library, Role};
use crate::wasm;
use crate::wasm::hints::{self, Hints};

/// What to leave in the module beyond what it needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Names of functions, for traces of traps; functions that are alike have one.
    pub debug_names: bool,
    /// The functions that run most, and how many of the smallest ones go before each. They are put at the beginning of the
    /// code, so that where their compiled code lies does not depend on what else there is.
    pub hot: &'static [(&'static str, usize)],
}

/// A fused module, and what fusing did.
#[derive(Debug)]
pub struct Fused {
    /// The core module. It exports `memory`, `cabi_realloc`, `_initialize` (which runs the constructors) and
    /// what the bindings and the caller asked for.
    pub module: Vec<u8>,
    /// Where its functions are from, those that it imports first: the place of the library among those that were given, and
    /// the function's number there. None for those that no library has.
    pub origins: Vec<Option<(usize, u32)>>,
    /// How many functions of libraries it has.
    pub functions: usize,
    /// How many more the libraries had, which nothing can reach.
    pub dropped: usize,
    /// How large the code of those was, in bytes.
    pub dropped_bytes: usize,
    /// How many more can be reached, but are like another one that stands for them.
    pub folded: usize,
    /// How large the code of those was, in bytes.
    pub folded_bytes: usize,
}

/// Fuses libraries, in order of symbol priority. The functions that the last one exports, and those of the
/// names in `exports` that any exports, are exported again. `stack` is the size of the stack in bytes.
///
/// # Errors
/// When a library is malformed, uses passive segments, or needs a symbol that nobody defines.
pub fn fuse(libraries: &[&Library], exports: &[&str], stack: u32, options: Options) -> Result<Fused> {
    let hints: Vec<Hints> = libraries
        .iter()
        .map(|library| hints::read(&library.module).map_err(|error| parse::malformed(&library.name, &error)))
        .collect::<Result<_>>()?;
    let libraries: Vec<Parsed<'_>> = libraries
        .iter()
        .map(|library| Parsed::read(&library.name, library.role == Role::Extension, &library.module))
        .collect::<Result<_>>()?;
    let scans: Vec<Scan> = libraries.iter().map(scan::scan).collect::<Result<_>>()?;
    // The tables of `dlopen` are as large whatever the addresses in them are.
    let dl_size = dl::tables(&dl::openables(&libraries, |_, _| 0), 0).bytes.len();
    let layout = layout::layout(&libraries, stack, u32::try_from(dl_size).unwrap_or(u32::MAX))?;
    let resolved = resolve::resolve(&libraries, &scans, &layout, stack)?;
    let dl = dl::tables(&resolved.openable, layout.dl);
    let data = libraries
        .iter()
        .zip(&layout.bases)
        .zip(&resolved.globals)
        .map(|((library, base), globals)| relocate::data(library, *base, globals))
        .collect::<Result<Vec<_>>>()?;

    let exports = exported(&libraries, &resolved, exports);
    let initialize = initialize(&libraries, &resolved, &data);
    let mut roots: Vec<Callee> = exports.iter().map(|(_, callee)| *callee).collect();
    roots.extend(&initialize);
    roots.extend(resolved.slots.values());
    let reachable = reachable(&resolved, &scans, roots)?;
    let referenced = scans
        .iter()
        .zip(&resolved.functions)
        .flat_map(|(scan, functions)| {
            scan.referenced.iter().filter_map(|index| functions.get(*index as usize))
        })
        .filter(|callee| reachable.contains(callee))
        .copied()
        .collect();

    let mut types = Types::default();
    let maps: Vec<Vec<u32>> = libraries.iter().map(|library| types.add(library)).collect::<Result<_>>()?;
    let code = Code { libraries: &libraries, resolved: &resolved, types: &maps };
    let folded = fold::fold(&code, &scans, &reachable)?;
    let order = order(&libraries, &resolved, &reachable, &folded, options.hot);
    let module = emit::Parts {
        code,
        layout: &layout,
        data: &data,
        dl: &dl,
        stack,
        exports: &exports,
        initialize: &initialize,
        order: &order,
        folded: &folded,
        referenced: &referenced,
        debug_names: options.debug_names,
    }
    .emit(types)?;
    let origins: Vec<Option<(usize, u32)>> = order
        .iter()
        .map(|callee| match *callee {
            Callee::Body { library, function } => Some((library as usize, function)),
            _ => None,
        })
        .collect();
    let hints = (0..).zip(&origins).filter_map(|(number, origin)| {
        let (library, function) = (*origin)?;
        Some((number, hints.get(library)?.get(&function)?.clone()))
    });
    let module = hints::attach(&module, &hints.collect())?;
    wasm::validate("fused module", &module)?;
    let mut fused = Fused {
        module,
        functions: origins.iter().flatten().count(),
        origins,
        dropped: 0,
        dropped_bytes: 0,
        folded: 0,
        folded_bytes: 0,
    };
    for (library, parsed) in (0..).zip(&libraries) {
        for (function, defined) in (0..).zip(&parsed.functions) {
            let parse::Function::Defined { body, .. } = defined else { continue };
            let callee = Callee::Body { library, function };
            if !reachable.contains(&callee) {
                fused.dropped += 1;
                fused.dropped_bytes += body.as_bytes().len();
            } else if folded.contains_key(&callee) {
                fused.folded += 1;
                fused.folded_bytes += body.as_bytes().len();
            }
        }
    }
    Ok(fused)
}

/// The functions to export: all of the last library, the others by name.
fn exported<'a>(
    libraries: &[Parsed<'a>],
    resolved: &Resolved<'a>,
    wanted: &[&str],
) -> Vec<(&'a str, Callee)> {
    let mut found: Vec<(&str, Callee)> = Vec::new();
    for (place, library) in libraries.iter().enumerate() {
        let last = place + 1 == libraries.len();
        for &(name, kind, index) in &library.exports {
            if kind == wasmparser::ExternalKind::Func
                && !crate::wasm::PER_LIBRARY.contains(&name)
                && (last || wanted.contains(&name))
                && !found.iter().any(|(other, _)| *other == name)
                && let Some(callee) = resolved.functions[place].get(index as usize)
            {
                found.push((name, *callee));
            }
        }
    }
    found
}

/// What runs at the start, in the order of the dynamic link: what clears memory, addresses that could not be
/// filled in before, constructors.
fn initialize(libraries: &[Parsed<'_>], resolved: &Resolved<'_>, data: &[relocate::Data]) -> Vec<Callee> {
    let mut calls = Vec::new();
    let mut call = |place: usize, index: Option<u32>| {
        let callee = index.and_then(|index| resolved.functions[place].get(index as usize));
        calls.extend(callee);
    };
    for (place, library) in libraries.iter().enumerate() {
        call(place, library.start);
    }
    for (place, data) in data.iter().enumerate() {
        call(place, data.apply);
    }
    for (place, library) in libraries.iter().enumerate() {
        for constructor in ["__wasm_call_ctors", emit::INITIALIZE] {
            call(place, library.exported_function(constructor));
        }
    }
    calls
}

/// The functions as they are numbered, without those that another one stands for: imports first, as in any module, then
/// what runs most, then the rest.
///
/// Before each of what runs most come as many of the smallest functions of its library as are asked for. Engines begin
/// functions at multiples of 32 bytes or less, so each of those moves what follows by 32 bytes: so much decides in how many
/// lines of the processor's cache the few instructions lie that go on to the next one of an interpreter.
fn order(
    libraries: &[Parsed<'_>],
    resolved: &Resolved<'_>,
    reachable: &BTreeSet<Callee>,
    folded: &BTreeMap<Callee, Callee>,
    hot: &[(&str, usize)],
) -> Vec<Callee> {
    let mut rest: BTreeSet<Callee> =
        reachable.iter().filter(|callee| !folded.contains_key(callee)).copied().collect();
    let foreign: Vec<Callee> = rest.extract_if(.., |callee| matches!(callee, Callee::Foreign(_))).collect();
    let busy: Vec<(Callee, usize)> = hot
        .iter()
        .filter_map(|(name, before)| {
            let callee = named(libraries, resolved, name)?;
            rest.remove(&callee).then_some((callee, *before))
        })
        .collect();
    let mut order = foreign;
    for (callee, before) in busy {
        let mut small: Vec<(usize, Callee)> = rest
            .iter()
            .filter_map(|other| match (*other, callee) {
                (Callee::Body { library, function }, Callee::Body { library: own, .. }) if library == own => {
                    let defined = libraries[library as usize].functions.get(function as usize)?;
                    let parse::Function::Defined { body, .. } = defined else { return None };
                    Some((body.as_bytes().len(), *other))
                }
                _ => None,
            })
            .collect();
        small.sort_unstable();
        for (_, other) in small.into_iter().take(before) {
            rest.remove(&other);
            order.push(other);
        }
        order.push(callee);
    }
    order.extend(rest);
    order
}

/// The function of a name in the first library that exports it, or has one of its own of that name.
fn named(libraries: &[Parsed<'_>], resolved: &Resolved<'_>, name: &str) -> Option<Callee> {
    libraries.iter().zip(&resolved.functions).find_map(|(library, functions)| {
        let private = || library.names.iter().filter(|(_, own)| **own == name).map(|(index, _)| *index).min();
        let index = library.exported_function(name).or_else(private)?;
        functions.get(index as usize).copied()
    })
}

/// All functions that can run, found from those that are called from outside.
fn reachable(resolved: &Resolved<'_>, scans: &[Scan], roots: Vec<Callee>) -> Result<BTreeSet<Callee>> {
    let mut reachable = BTreeSet::new();
    let mut pending = roots;
    while let Some(callee) = pending.pop() {
        if !reachable.insert(callee) {
            continue;
        }
        if let Callee::Body { library, function } = callee {
            let library = library as usize;
            for index in &scans[library].uses[function as usize] {
                let used = resolved.functions[library].get(*index as usize);
                pending.push(*used.ok_or_else(|| Error::new("code calls a function that does not exist"))?);
            }
        }
    }
    Ok(reachable)
}
