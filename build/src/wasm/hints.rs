//! Which branches hardly ever go one way: the custom section `metadata.code.branch_hint`.
//!
//! An engine that reads it puts code that hardly ever runs out of the way of the rest. Specification: the branch hinting
//! proposal of WebAssembly, which names a branch by its offset in its function; here it is known by its ordinal, which
//! stays the same when the function is written anew.

use std::collections::BTreeMap;

use wasm_encoder::{BranchHint, BranchHints, Section as _};
use wasmparser::{BinaryReader, BranchHintSectionReader, FunctionBody, Operator, Parser, Payload, TypeRef};

use super::{carry_over, custom_section, malformed};
use crate::error::Result;

/// The name of the section.
pub const SECTION: &str = "metadata.code.branch_hint";

/// By the number of a function: the branches that are known, sorted. A branch is an `if` or a `br_if`, counted from 0 in
/// each function, with whether it is likely that its condition holds.
pub type Hints = BTreeMap<u32, Vec<(u32, bool)>>;

/// Reads the hints of a module; what is no branch has none.
///
/// # Errors
/// When the bytes are no core module.
pub fn read(module: &[u8]) -> wasmparser::Result<Hints> {
    let told = match custom_section(module, SECTION)? {
        Some(data) => BranchHintSectionReader::new(BinaryReader::new(data, 0)),
        None => return Ok(Hints::new()),
    };
    // Engines do not look further at such a section either.
    let Ok(told) = told else { return Ok(Hints::new()) };
    let told: BTreeMap<u32, _> = told
        .into_iter()
        .map(|function| function.map(|function| (function.func, function.hints)))
        .collect::<wasmparser::Result<_>>()?;
    let mut hints = Hints::new();
    for_each_function(module, |number, body| {
        if let Some(told) = told.get(&number) {
            let offsets = branches(body)?;
            let mut known = Vec::new();
            for hint in told.clone() {
                let hint = hint?;
                known.extend(
                    offsets.binary_search(&hint.func_offset).map(|ordinal| (ordinal as u32, hint.taken)),
                );
            }
            hints.insert(number, known);
        }
        Ok(())
    })?;
    Ok(hints)
}

/// Puts hints into a module, in the place of those that it has.
///
/// # Errors
/// When the bytes are no core module.
pub fn attach(module: &[u8], hints: &Hints) -> Result<Vec<u8>> {
    let mut section = BranchHints::new();
    for_each_function(module, |number, body| {
        if let Some(known) = hints.get(&number).filter(|known| !known.is_empty()) {
            let offsets = branches(body)?;
            let hint = |(ordinal, taken): &(u32, bool)| {
                let branch_func_offset = *offsets.get(*ordinal as usize)?;
                Some(BranchHint { branch_func_offset, branch_hint_value: u32::from(*taken) })
            };
            section.function_hints(number, known.iter().filter_map(hint).collect::<Vec<_>>());
        }
        Ok(())
    })
    .map_err(malformed)?;
    carry_over(
        module,
        |name| name == SECTION,
        |payload, out| {
            if matches!(payload, Payload::CodeSectionStart { .. }) && !section.is_empty() {
                section.append_to(out);
            }
        },
    )
}

/// Hands over the functions that have code, with their numbers.
pub(super) fn for_each_function<'a>(
    module: &'a [u8],
    mut take: impl FnMut(u32, &FunctionBody<'a>) -> wasmparser::Result<()>,
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
                take(number, &body)?;
                number += 1;
            }
            _ => {}
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
