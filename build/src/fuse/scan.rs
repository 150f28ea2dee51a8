//! Looks through the code of a library: what each function calls, and which globals are ever set.

use std::collections::BTreeSet;

use wasmparser::Operator;

use super::parse::{Function, Parsed, malformed};
use crate::error::{Error, Result};

/// What was found in the code of one library.
#[derive(Default)]
pub(super) struct Scan {
    /// For each function of the index space: the functions that it calls or takes a reference of.
    pub uses: Vec<Vec<u32>>,
    /// Functions of which code takes a reference.
    pub referenced: BTreeSet<u32>,
    /// Globals that some function sets.
    pub set: BTreeSet<u32>,
}

/// Looks through all functions.
///
/// # Errors
/// When code cannot be read, or has an instruction that needs what a fused module does not keep: passive
/// segments.
pub(super) fn scan(library: &Parsed<'_>) -> Result<Scan> {
    let mut scan = Scan::default();
    let mut refused = BTreeSet::new();
    for function in &library.functions {
        let mut uses = Vec::new();
        if let Function::Defined { body, .. } = function {
            let told = |error| malformed(library.name, &error);
            let mut reader = body.get_operators_reader().map_err(told)?;
            while !reader.eof() {
                match reader.read().map_err(told)? {
                    Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                        uses.push(function_index);
                    }
                    Operator::RefFunc { function_index } => {
                        uses.push(function_index);
                        scan.referenced.insert(function_index);
                    }
                    Operator::GlobalSet { global_index } => {
                        scan.set.insert(global_index);
                    }
                    Operator::MemoryInit { .. } => {
                        refused.insert("memory.init");
                    }
                    Operator::DataDrop { .. } => {
                        refused.insert("data.drop");
                    }
                    Operator::TableInit { .. } => {
                        refused.insert("table.init");
                    }
                    Operator::ElemDrop { .. } => {
                        refused.insert("elem.drop");
                    }
                    _ => {}
                }
            }
            uses.sort_unstable();
            uses.dedup();
        }
        scan.uses.push(uses);
    }
    if refused.is_empty() {
        return Ok(scan);
    }
    let found = refused.iter().map(|name| format!("it has the instruction `{name}`"));
    Err(Error::new(format!("cannot prelink `{}`", library.name))
        .details(found)
        .hint("link it without passive segments (no `-pthread`, no `--shared-memory`), or bundle with `--no-prelink`"))
}
