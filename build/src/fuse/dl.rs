//! `dlopen`, `dlsym`, `dlclose` and `dlerror` for libraries that are already there.
//!
//! A handle is the address of a library's entry in a sorted table; an entry is three words: the address of its
//! path, the address of its symbols, their number. A symbol is two words: the address of its name, and its
//! table slot. Names end with a NUL byte. As with the linker's own libdl, a library is found by the very path
//! that it was linked under.

use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, ValType};
use wasmparser::ExternalKind;

use super::parse::Parsed;

/// A library that can be opened: its path and its symbols with their table slots.
pub(super) struct Openable<'a> {
    pub path: &'a str,
    pub symbols: Vec<(&'a str, u32)>,
}

/// The libraries that can be opened, sorted by path; `slot_of` gives the table slot of an exported function, by the
/// library's place and the function's number there.
pub(super) fn openables<'a>(
    libraries: &[Parsed<'a>],
    mut slot_of: impl FnMut(usize, u32) -> u32,
) -> Vec<Openable<'a>> {
    let mut found = Vec::new();
    for (place, library) in libraries.iter().enumerate().filter(|(_, library)| library.openable) {
        let functions = library.exports.iter().filter(|(name, kind, _)| {
            *kind == ExternalKind::Func
                && !crate::wasm::PER_LIBRARY.contains(name)
                && crate::wasm::is_kept(name)
        });
        let symbols = functions.map(|&(name, _, index)| (name, slot_of(place, index))).collect();
        found.push(Openable { path: library.name, symbols });
    }
    found.sort_by_key(|library| library.path);
    found
}

const NOT_FOUND: &str = "no such library is linked into this component";
const NO_SYMBOL: &str = "the library has no such symbol";

/// The functions, in the order of [`functions`], with the number of their parameters.
pub(super) const FUNCTIONS: [(&str, usize); 4] =
    [("dlopen", 2), ("dlsym", 2), ("dlclose", 1), ("dlerror", 0)];

/// The data of the tables, and where in it things are.
pub(super) struct Tables {
    /// All of it; to be placed at the address that [`tables`] was given.
    pub bytes: Vec<u8>,
    entries: u32,
    count: u32,
    /// The address of the word that holds the pending error message, or zero.
    error: u32,
    not_found: u32,
    no_symbol: u32,
}

/// Makes the tables for libraries that are sorted by path, to lie at `base`.
pub(super) fn tables(libraries: &[Openable<'_>], base: u32) -> Tables {
    let mut bytes = vec![0; 4];
    let text = |bytes: &mut Vec<u8>, text: &str| {
        let address = base + bytes.len() as u32;
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        address
    };
    let not_found = text(&mut bytes, NOT_FOUND);
    let no_symbol = text(&mut bytes, NO_SYMBOL);
    let mut entries = Vec::new();
    for library in libraries {
        let path = text(&mut bytes, library.path);
        let symbols: Vec<_> =
            library.symbols.iter().map(|(name, slot)| (text(&mut bytes, name), *slot)).collect();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let address = base + bytes.len() as u32;
        for (name, slot) in &symbols {
            bytes.extend_from_slice(&name.to_le_bytes());
            bytes.extend_from_slice(&slot.to_le_bytes());
        }
        entries.push([path, address, symbols.len() as u32]);
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let table = base + bytes.len() as u32;
    for word in entries.iter().flatten() {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    Tables { bytes, entries: table, count: entries.len() as u32, error: base, not_found, no_symbol }
}

fn word(offset: u32) -> MemArg {
    MemArg { offset: offset.into(), align: 2, target: Default::default(), ordering: None }
}

fn byte() -> MemArg {
    MemArg { offset: 0, align: 0, target: Default::default(), ordering: None }
}

/// The bodies of [`FUNCTIONS`].
pub(super) fn functions(tables: &Tables) -> [Function; 4] {
    let mut open = Function::new([(5, ValType::I32)]);
    {
        // Locals: 0 the path, 1 flags, 2 the entry, 3 the end, then what `same_text` uses.
        let mut code = open.instructions();
        let end = tables.entries + tables.count * 12;
        code.i32_const(tables.entries as i32).local_set(2).i32_const(end as i32).local_set(3);
        // Without a path the program itself is meant, which is no library of ours.
        code.local_get(0).if_(BlockType::Empty);
        search(&mut code, tables.error, 12, (0, 2, 3), 4, |code| {
            code.local_get(2);
        });
        code.end();
        fail(&mut code, tables.error, tables.not_found);
    }
    let mut symbol = Function::new([(5, ValType::I32)]);
    {
        // Locals: 0 the handle, 1 the name, 2 the symbol, 3 the end, then what `same_text` uses.
        let mut code = symbol.instructions();
        code.local_get(0).if_(BlockType::Empty);
        code.local_get(0).i32_load(word(4)).local_tee(2);
        code.local_get(0).i32_load(word(8)).i32_const(3).i32_shl().i32_add().local_set(3);
        search(&mut code, tables.error, 8, (1, 2, 3), 4, |code| {
            code.local_get(2).i32_load(word(4));
        });
        code.end();
        fail(&mut code, tables.error, tables.no_symbol);
    }
    let mut close = Function::new([]);
    close.instructions().i32_const(0).end();
    let mut error = Function::new([(1, ValType::I32)]);
    error
        .instructions()
        .i32_const(tables.error as i32)
        .i32_load(word(0))
        .local_set(0)
        .i32_const(tables.error as i32)
        .i32_const(0)
        .i32_store(word(0))
        .local_get(0)
        .end();
    [open, symbol, close, error]
}

/// Goes through records of `size` bytes from local `at` to local `end`, whose first word is the address of a
/// text. At the first whose text equals that of local `wanted`, returns what `found` leaves.
fn search(
    code: &mut InstructionSink<'_>,
    error: u32,
    size: i32,
    (wanted, at, end): (u32, u32, u32),
    scratch: u32,
    found: impl Fn(&mut InstructionSink<'_>),
) {
    code.block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(at).local_get(end).i32_ge_u().br_if(1);
    code.block(BlockType::Empty);
    same_text(code, wanted, at, scratch);
    code.i32_const(error as i32).i32_const(0).i32_store(word(0));
    found(code);
    code.return_().end();
    code.local_get(at).i32_const(size).i32_add().local_set(at).br(0);
    code.end().end();
}

/// Leaves the innermost block when the text at local `wanted` differs from that of the record at local `at`;
/// uses the three locals from `scratch` on.
fn same_text(code: &mut InstructionSink<'_>, wanted: u32, at: u32, scratch: u32) {
    let (one, other, read) = (scratch, scratch + 1, scratch + 2);
    code.local_get(wanted).local_set(one).local_get(at).i32_load(word(0)).local_set(other);
    code.loop_(BlockType::Empty);
    code.local_get(one).i32_load8_u(byte()).local_tee(read);
    code.local_get(other).i32_load8_u(byte()).i32_ne().br_if(1);
    code.local_get(one).i32_const(1).i32_add().local_set(one);
    code.local_get(other).i32_const(1).i32_add().local_set(other);
    code.local_get(read).br_if(0);
    code.end();
}

/// Notes a message for `dlerror` and returns null.
fn fail(code: &mut InstructionSink<'_>, error: u32, message: u32) {
    code.i32_const(error as i32).i32_const(message as i32).i32_store(word(0)).i32_const(0).end();
}
