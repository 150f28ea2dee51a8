//! Where everything lies in the one memory and the one table.
//!
//! Memory: the stack from address 0 up, the tables of `dlopen`, the data of libraries that hold nothing else, the data
//! of the others in the order of the link, the heap. So what is large and hardly looked at, such as an image of files,
//! does not lie between what code works on: when a pool resets a slot, its cost grows with how far that is spread.
//!
//! Table: slot 0 is the null pointer, then the libraries' own slots, then one slot for each function whose address is
//! taken by name.

use super::parse::{Function, Parsed};
use crate::error::{Error, Result};

/// A page of linear memory, in bytes.
pub(super) const PAGE: u32 = 64 << 10;

/// Where one library lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    /// The address of its data.
    pub memory: u32,
    /// The first of its table slots.
    pub table: u32,
}

/// Where everything lies.
pub(super) struct Layout {
    /// The address of the tables of `dlopen`, aligned to 16.
    pub dl: u32,
    /// Each library's place.
    pub bases: Vec<Base>,
    /// The end of all data, where the heap begins; aligned to 16.
    pub heap_base: u32,
    /// The end of the memory that exists at the start; aligned to a page.
    pub heap_end: u32,
    /// The first table slot that no library has.
    pub free_slot: u32,
}

/// Lays out the libraries after a stack of `stack` bytes and `dl_size` bytes for `dlopen`.
///
/// # Errors
/// When they do not fit into 4 GiB.
pub(super) fn layout(libraries: &[Parsed<'_>], stack: u32, dl_size: u32) -> Result<Layout> {
    let too_large = || Error::new("cannot prelink: the libraries do not fit into a memory of 4 GiB");
    let mut memory = u64::from(stack) + u64::from(dl_size);
    let mut table = 1_u64;
    let mut bases = vec![Base { memory: 0, table: 0 }; libraries.len()];
    let mut order: Vec<(&Parsed<'_>, &mut Base)> = libraries.iter().zip(&mut bases).collect();
    order.sort_by_key(|(library, _)| {
        library.functions.iter().any(|function| matches!(function, Function::Defined { .. }))
    });
    for (library, base) in order {
        let info = &library.memory;
        memory = align(memory, info.memory_alignment);
        table = align(table, info.table_alignment);
        *base = Base {
            memory: u32::try_from(memory).map_err(|_| too_large())?,
            table: u32::try_from(table).map_err(|_| too_large())?,
        };
        memory += u64::from(info.memory_size);
        table += u64::from(info.table_size);
    }
    let heap_base = u32::try_from(align(memory, 4)).map_err(|_| too_large())?;
    let heap_end = heap_base.checked_next_multiple_of(PAGE).ok_or_else(too_large)?;
    let free_slot = u32::try_from(table).map_err(|_| too_large())?;
    Ok(Layout { dl: stack, bases, heap_base, heap_end, free_slot })
}

/// Rounds up to a power of two, given by its logarithm.
fn align(offset: u64, logarithm: u32) -> u64 {
    offset.next_multiple_of(1_u64.checked_shl(logarithm.min(32)).unwrap_or(1))
}
