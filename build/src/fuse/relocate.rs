//! The data of a library with its addresses filled in.
//!
//! A library has a function, `__wasm_apply_data_relocs`, that writes the addresses its data holds. It is a
//! straight line of constant arithmetic and stores, so it is done here, once; one that is anything else is
//! left to be called when an instance starts.

use wasmparser::{DataKind, FunctionBody, Operator};

use super::layout::Base;
use super::parse::{Function, Parsed, malformed};
use super::resolve::{Value, evaluate, step};
use crate::error::{Error, Result};

/// The function that fills in addresses.
pub(super) const APPLY: &str = "__wasm_apply_data_relocs";

/// A library's data as it is in memory at the start.
pub(super) struct Data {
    /// The data up to the last byte that is set; the rest of the library's memory is zero.
    pub bytes: Vec<u8>,
    /// A function that must still be called.
    pub apply: Option<u32>,
}

/// Lays out a library's data segments and fills addresses in.
///
/// # Errors
/// When a segment is passive or lies outside the library's memory.
pub(super) fn data(library: &Parsed<'_>, base: Base, globals: &[Value]) -> Result<Data> {
    // What a library says that it needs may be much more than what it sets.
    let mut bytes = Vec::new();
    let size = library.memory.memory_size as usize;
    for segment in &library.data {
        let DataKind::Active { offset_expr, .. } = &segment.kind else {
            return Err(Error::new(format!(
                "cannot prelink `{}`: it has a passive data segment",
                library.name
            )));
        };
        let offset = evaluate(offset_expr, globals).map(|address| (address as u32).wrapping_sub(base.memory));
        let target = offset
            .and_then(|offset| room(&mut bytes, offset as usize, segment.data.len(), size))
            .ok_or_else(|| {
                Error::new(format!(
                    "cannot prelink `{}`: a data segment lies outside its memory",
                    library.name
                ))
            })?;
        target.copy_from_slice(segment.data);
    }
    let mut apply = library.exported_function(APPLY);
    if let Some(index) = apply
        && let Some(Function::Defined { body, .. }) = library.functions.get(index as usize)
    {
        let stores = stores(body, globals).map_err(|error| malformed(library.name, &error))?;
        if let Some(stores) = stores
            && let Some(done) = applied(&bytes, base, size, &stores)
        {
            bytes = done;
            apply = None;
        }
    }
    Ok(Data { bytes, apply })
}

/// The data with the addresses of a function's stores in it; `None` when one lies outside the library's memory.
fn applied(bytes: &[u8], base: Base, size: usize, stores: &[(u32, i32)]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    for (address, value) in stores {
        let offset = address.wrapping_sub(base.memory) as usize;
        room(&mut bytes, offset, 4, size)?.copy_from_slice(&value.to_le_bytes());
    }
    Some(bytes)
}

/// A part of a library's memory of `size` bytes, which is extended by zeros as far as that; `None` outside of it.
fn room(bytes: &mut Vec<u8>, offset: usize, length: usize, size: usize) -> Option<&mut [u8]> {
    let end = offset.checked_add(length).filter(|end| *end <= size)?;
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes.get_mut(offset..end)
}

/// The addresses and values that a function stores; `None` if it does anything else.
fn stores(body: &FunctionBody<'_>, globals: &[Value]) -> wasmparser::Result<Option<Vec<(u32, i32)>>> {
    let mut stack = Vec::new();
    let mut stores = Vec::new();
    for operator in body.get_operators_reader()? {
        let done = match operator? {
            Operator::End => return Ok(stack.is_empty().then_some(stores)),
            Operator::I32Store { memarg } => match (stack.pop(), stack.pop()) {
                (Some(value), Some(address)) => {
                    stores.push(((address as u32).wrapping_add(memarg.offset as u32), value));
                    Some(())
                }
                _ => None,
            },
            operator => step(&operator, globals, &mut stack),
        };
        if done.is_none() {
            return Ok(None);
        }
    }
    Ok(None)
}
