//! The description of the world that the bindings hand over (`wit_t` in wit-dylib's `wit_dylib.h`, version 3).

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The version of the description that this file reads.
const VERSION: u32 = 3;

/// A type: the kind in the low eight bits, an index into the table of that kind above.
pub type Type = u32;

/// The kind of types that are absent, such as the result of a function without one.
const EMPTY: u32 = 0xff;
const KIND_U8: u32 = 0;
const KIND_ALIAS: u32 = 28;

type SyncFn = unsafe extern "C" fn(*mut c_void);
type AsyncFn = unsafe extern "C" fn(*mut c_void, *mut c_void) -> u32;
type LiftFn = unsafe extern "C" fn(*mut c_void, *mut c_void);

/// An imported function.
#[repr(C)]
pub struct ImportFunc {
    interface: *const c_char,
    name: *const c_char,
    /// Calls it; only for functions imported synchronously.
    pub call: Option<SyncFn>,
    /// Starts it; only for functions imported asynchronously.
    pub start: Option<AsyncFn>,
    /// Reads its result once it has returned.
    pub lift: Option<LiftFn>,
    nparams: usize,
    params: *const Type,
    /// The type of its result.
    pub result: Type,
    /// The size in bytes of the memory in which arguments and result pass.
    pub area_size: usize,
    /// The alignment of that memory.
    pub area_align: usize,
}

/// An exported function.
#[repr(C)]
pub struct ExportFunc {
    interface: *const c_char,
    name: *const c_char,
    /// Delivers the result of an asynchronous export.
    pub task_return: Option<SyncFn>,
    /// The number of its parameters.
    pub nparams: usize,
    params: *const Type,
    /// The type of its result.
    pub result: Type,
}

#[repr(C)]
struct Field {
    name: *const c_char,
    ty: Type,
}

#[repr(C)]
struct Record {
    interface: *const c_char,
    name: *const c_char,
    nfields: usize,
    fields: *const Field,
}

#[repr(C)]
struct ResultType {
    interface: *const c_char,
    name: *const c_char,
    ok: Type,
    err: Type,
}

#[repr(C)]
struct Named {
    interface: *const c_char,
    name: *const c_char,
    ty: Type,
}

#[repr(C)]
struct Table<T> {
    count: usize,
    items: *const T,
}

impl<T: 'static> Table<T> {
    fn get(&self, index: usize) -> Option<&'static T> {
        if index >= self.count || self.items.is_null() {
            return None;
        }
        // SAFETY: the bindings describe `count` items that live as long as the component.
        Some(unsafe { &*self.items.add(index) })
    }

    fn iter(&self) -> impl Iterator<Item = &'static T> {
        (0..self.count).filter_map(|index| self.get(index))
    }
}

/// The whole description; tables that are not read here stand as pairs of words.
#[repr(C)]
pub struct World {
    version: u32,
    imports: Table<ImportFunc>,
    exports: Table<ExportFunc>,
    resources: [usize; 2],
    records: Table<Record>,
    flags: [usize; 2],
    tuples: [usize; 2],
    variants: [usize; 2],
    enums: [usize; 2],
    options: [usize; 2],
    results: Table<ResultType>,
    lists: Table<Named>,
    maps: [usize; 2],
    fixed_length_lists: [usize; 2],
    futures: [usize; 2],
    streams: [usize; 2],
    aliases: Table<Named>,
}

static WORLD: AtomicPtr<World> = AtomicPtr::new(ptr::null_mut());

/// Takes the description from the bindings.
pub fn adopt(world: *const World) {
    WORLD.store(world.cast_mut(), Ordering::Relaxed);
    assert_eq!(get().version, VERSION, "the bindings and the runtime are of different versions of wit-dylib");
}

/// The description.
pub fn get() -> &'static World {
    let world = WORLD.load(Ordering::Relaxed);
    assert!(!world.is_null(), "the runtime is called before the bindings have initialised it");
    // SAFETY: `adopt` was given a pointer to memory that lives as long as the component.
    unsafe { &*world }
}

fn text(name: *const c_char) -> &'static str {
    if name.is_null() {
        return "";
    }
    // SAFETY: names in the description are NUL-terminated and live as long as the component.
    unsafe { CStr::from_ptr(name) }.to_str().unwrap_or_default()
}

impl ExportFunc {
    /// The name as the WIT has it, such as `clear-state`.
    pub fn name(&self) -> &'static str {
        text(self.name)
    }
}

impl World {
    /// An export by the bindings' index.
    pub fn export(&self, which: usize) -> &'static ExportFunc {
        self.exports.get(which).expect("the bindings call an export that they do not describe")
    }

    /// An import of the world itself by name; worlds without it give `None`.
    pub fn import(&self, name: &str) -> Option<&'static ImportFunc> {
        self.imports.iter().find(|import| text(import.name) == name && import.interface.is_null())
    }

    /// Resolves aliases.
    fn resolved(&self, mut ty: Type) -> Type {
        while ty & 0xff == KIND_ALIAS {
            match self.aliases.get((ty >> 8) as usize) {
                Some(alias) => ty = alias.ty,
                None => break,
            }
        }
        ty
    }

    /// Whether the first parameter of an export is a list of bytes.
    pub fn takes_bytes(&self, export: &ExportFunc) -> bool {
        const KIND_LIST: u32 = 23;
        if export.nparams == 0 {
            return false;
        }
        // SAFETY: the bindings describe `nparams` parameters.
        let ty = self.resolved(unsafe { *export.params });
        ty & 0xff == KIND_LIST && self.is_bytes(ty >> 8)
    }

    /// The number of fields of a record type, given by its index.
    pub fn fields(&self, ty: Type) -> usize {
        self.records.get(ty as usize).map_or(0, |record| record.nfields)
    }

    /// Whether a case of a result type, given by its index, has a payload.
    pub fn has_payload(&self, ty: Type, error: bool) -> bool {
        let payload = self.results.get(ty as usize).map(|result| if error { result.err } else { result.ok });
        payload.is_some_and(|ty| ty != EMPTY)
    }

    /// Whether a list type, given by its index, is one of bytes.
    pub fn is_bytes(&self, ty: Type) -> bool {
        self.lists.get(ty as usize).is_some_and(|list| self.resolved(list.ty) & 0xff == KIND_U8)
    }
}
