//! Finds functions that are alike, so that one is enough.
//!
//! There are many: what a macro or a template makes for `int` and for `long`, what is linked into each of several
//! libraries. Engines keep a record of each function whose address is taken in each instance, so fewer of them make
//! instances smaller and faster to begin, besides less code to compile. Addresses stay as they are: functions that are
//! alike keep a slot of the table each, and only what is in it is the same.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::resolve::Callee;
use super::rewrite::Code;
use super::scan::Scan;
use crate::error::Result;

/// For each function of `reachable` that is like another: that other one.
///
/// # Errors
/// When code cannot be read.
pub(super) fn fold(
    code: &Code<'_, '_>,
    scans: &[Scan],
    reachable: &BTreeSet<Callee>,
) -> Result<BTreeMap<Callee, Callee>> {
    let mut numbers: HashMap<Callee, u32> = reachable.iter().copied().zip(0..).collect();
    let mut known: HashMap<(u32, Vec<u8>), Callee> = HashMap::new();
    let mut folded: BTreeMap<Callee, Callee> = BTreeMap::new();
    let mut pending: Vec<Callee> = reachable.iter().copied().collect();
    // Functions that call functions which are alike may be alike themselves, so it goes on from those.
    while !pending.is_empty() {
        let mut changed = BTreeSet::new();
        for callee in pending {
            let Callee::Body { library, function } = callee else { continue };
            let (ty, body) = code.function(library as usize, function, &numbers)?;
            match known.entry((ty, body.into_raw_body())) {
                Entry::Vacant(entry) => {
                    entry.insert(callee);
                }
                Entry::Occupied(entry) => {
                    let other = last(&folded, *entry.get());
                    if other != callee {
                        folded.insert(callee, other);
                        changed.insert(callee);
                    }
                }
            }
        }
        for callee in &changed {
            if let Some(number) = numbers.get(&last(&folded, *callee)).copied() {
                numbers.insert(*callee, number);
            }
        }
        let uses = |callee: &Callee| {
            let Callee::Body { library, function } = *callee else { return false };
            let functions = &code.resolved.functions[library as usize];
            let mut used = scans[library as usize].uses[function as usize].iter();
            used.any(|index| functions.get(*index as usize).is_some_and(|used| changed.contains(used)))
        };
        pending =
            reachable.iter().filter(|callee| !folded.contains_key(callee) && uses(callee)).copied().collect();
    }
    Ok(folded.keys().map(|callee| (*callee, last(&folded, *callee))).collect())
}

/// What stands for a function in the end.
fn last(folded: &BTreeMap<Callee, Callee>, mut callee: Callee) -> Callee {
    while let Some(other) = folded.get(&callee) {
        callee = *other;
    }
    callee
}
