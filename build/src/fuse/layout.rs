//! Where everything lies in the one memory and the one table.
//!
//! Memory: the stack from address 0 up, libraries that hold nothing but data, the tables of `dlopen`, the data of the
//! others in the order of the link, the heap. So what is large and hardly looked at, such as an image of files, does not
//! lie between what code works on: when a pool resets a slot, its cost grows with how far that is spread. Table: slot 0 is the null pointer, then the libraries' own slots, then one slot for each
//! function whose address is taken by name.

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
    let mut table = 1_u64;
    let mut bases = Vec::with_capacity(libraries.len());
    for library in libraries {
        table = align(table, library.memory.table_alignment);
        bases.push(Base { memory: 0, table: u32::try_from(table).map_err(|_| too_large())? });
        table += u64::from(library.memory.table_size);
    }
    let mut memory = u64::from(stack);
    let mut place = |only_data: bool, memory: &mut u64| -> Result<()> {
        for (library, base) in libraries.iter().zip(&mut bases) {
            let defines = |function: &Function<'_>| matches!(function, Function::Defined { .. });
            if library.functions.iter().any(defines) != only_data {
                *memory = align(*memory, library.memory.memory_alignment);
                base.memory = u32::try_from(*memory).map_err(|_| too_large())?;
                *memory += u64::from(library.memory.memory_size);
            }
        }
        Ok(())
    };
    place(true, &mut memory)?;
    memory = align(memory, 4);
    let dl = u32::try_from(memory).map_err(|_| too_large())?;
    memory += u64::from(dl_size);
    place(false, &mut memory)?;
    let heap_base = u32::try_from(align(memory, 4)).map_err(|_| too_large())?;
    let heap_end = heap_base.checked_next_multiple_of(PAGE).ok_or_else(too_large)?;
    let free_slot = u32::try_from(table).map_err(|_| too_large())?;
    Ok(Layout { dl, bases, heap_base, heap_end, free_slot })
}

/// Rounds up to a power of two, given by its logarithm.
fn align(offset: u64, logarithm: u32) -> u64 {
    offset.next_multiple_of(1_u64.checked_shl(logarithm.min(32)).unwrap_or(1))
}
