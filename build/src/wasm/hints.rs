//! Which branches hardly ever go one way: the custom section `metadata.code.branch_hint`.
//!
//! An engine that reads it puts code that hardly ever runs out of the way of the rest. Specification: the branch hinting
//! proposal of WebAssembly, which names a branch by its offset in its function; here it is known by its ordinal, which
//! stays the same when the function is written anew.

use std::collections::BTreeMap;

use wasm_encoder::{BranchHint, BranchHints, RawSection, Section as _};
use wasmparser::{FunctionBody, KnownCustom, Operator, Parser, Payload, TypeRef};

use super::{malformed, place};
use crate::error::Result;

/// The name of the section.
const SECTION: &str = "metadata.code.branch_hint";

/// By the number of a function: the branches that are known, sorted. A branch is an `if` or a `br_if`, counted from 0 in
/// each function, with whether it is likely that its condition holds.
pub type Hints = BTreeMap<u32, Vec<(u32, bool)>>;

/// Reads the hints of a module; what is no branch has none.
///
/// # Errors
/// When the bytes are no core module.
pub fn read(module: &[u8]) -> wasmparser::Result<Hints> {
    let mut told = BTreeMap::new();
    let take = |payload: &Payload<'_>| {
        if let Payload::CustomSection(section) = payload
            && let KnownCustom::BranchHints(functions) = section.as_known()
        {
            for function in functions {
                let function = function?;
                let hints = function.hints.into_iter().collect::<wasmparser::Result<Vec<_>>>()?;
                told.insert(function.func, hints);
            }
        }
        Ok(())
    };
    for_each_function(module, take, |_, _| Ok(()))?;
    let mut hints = Hints::new();
    if told.is_empty() {
        return Ok(hints);
    }
    let find = |number, body: &FunctionBody<'_>| {
        if let Some(told) = told.get(&number) {
            let offsets = branches(body)?;
            let ordinal = |offset| offsets.binary_search(&offset).ok().map(|ordinal| ordinal as u32);
            let known = told.iter().filter_map(|hint| Some((ordinal(hint.func_offset)?, hint.taken)));
            hints.insert(number, known.collect());
        }
        Ok(())
    };
    for_each_function(module, |_| Ok(()), find)?;
    Ok(hints)
}

/// Puts hints into a module, in the place of those that it has.
///
/// # Errors
/// When the bytes are no core module.
pub fn attach(module: &[u8], hints: &Hints) -> Result<Vec<u8>> {
    let mut section = BranchHints::new();
    let mut add = |number, body: &FunctionBody<'_>| {
        if let Some(known) = hints.get(&number).filter(|known| !known.is_empty()) {
            let offsets = branches(body)?;
            let hint = |(ordinal, taken): &(u32, bool)| {
                let branch_func_offset = *offsets.get(*ordinal as usize)?;
                Some(BranchHint { branch_func_offset, branch_hint_value: u32::from(*taken) })
            };
            section.function_hints(number, known.iter().filter_map(hint).collect::<Vec<_>>());
        }
        Ok(())
    };
    for_each_function(module, |_| Ok(()), &mut add).map_err(malformed)?;
    let mut out = module.get(..8).ok_or_else(|| malformed("it is too short"))?.to_vec();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(malformed)?;
        if matches!(&payload, Payload::CustomSection(section) if section.name() == SECTION) {
            continue;
        }
        if matches!(payload, Payload::CodeSectionStart { .. }) && !section.is_empty() {
            section.append_to(&mut out);
        }
        if let Some((id, range)) = payload.as_section() {
            let data = module.get(place(range)).ok_or_else(|| malformed("a section is cut off"))?;
            RawSection { id, data }.append_to(&mut out);
        }
    }
    Ok(out)
}

/// Hands over all that is not code, and the functions that have some, with their numbers.
pub(super) fn for_each_function<'a>(
    module: &'a [u8],
    mut other: impl FnMut(&Payload<'a>) -> wasmparser::Result<()>,
    mut function: impl FnMut(u32, &FunctionBody<'a>) -> wasmparser::Result<()>,
) -> wasmparser::Result<()> {
    let mut number = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    number += u32::from(matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
                }
            }
            Payload::CodeSectionEntry(body) => {
                function(number, &body)?;
                number += 1;
            }
            payload => other(&payload)?,
        }
    }
    Ok(())
}

/// Where the branches of a function are, in bytes from its beginning.
fn branches(body: &FunctionBody<'_>) -> wasmparser::Result<Vec<u32>> {
    let begin = body.range().start;
    let mut offsets = Vec::new();
    for operator in body.get_operators_reader()?.into_iter_with_offsets() {
        let (operator, offset) = operator?;
        if matches!(operator, Operator::If { .. } | Operator::BrIf { .. }) {
            offsets.push(u32::try_from(offset - begin).unwrap_or(u32::MAX));
        }
    }
    Ok(offsets)
}
