//! What wit-dylib's bindings hand over: the description of the world as C structures.
//!
//! The structures are those of `wit_dylib.h` of wit-dylib 0.263, version 3, whose documentation applies; `abi.rs` reads
//! them.

#![allow(missing_docs, reason = "the originals' documentation applies")]

use core::ffi::{c_char, c_void};

use crate::call::Call;

/// The version of the structures that this runtime understands.
pub const VERSION: u32 = 3;

/// Calls a synchronous import: takes the arguments from the call's stack and leaves the result there.
pub type ImportFn = unsafe extern "C" fn(*mut Call);
/// Starts an asynchronous import; returns its state and, in the bits above the lowest four, its subtask.
pub type AsyncImportFn = unsafe extern "C" fn(*mut Call, *mut c_void) -> u32;
/// Leaves the result of an asynchronous import that has returned on the call's stack.
pub type AsyncLiftFn = unsafe extern "C" fn(*mut Call, *mut c_void);
/// Takes the result of an asynchronous export from the call's stack and returns it to the caller.
pub type TaskReturnFn = unsafe extern "C" fn(*mut Call);

/// `wit_t`.
#[repr(C)]
pub struct RawWorld {
    pub version: u32,
    pub import_funcs: RawList<RawImport>,
    pub export_funcs: RawList<RawExport>,
    pub resources: RawList<c_void>,
    pub records: RawList<RawRecord>,
    pub flags: RawList<c_void>,
    pub tuples: RawList<RawTuple>,
    pub variants: RawList<RawVariant>,
    pub enums: RawList<c_void>,
    pub options: RawList<RawElement>,
    pub results: RawList<RawResult>,
    pub lists: RawList<RawElement>,
    pub maps: RawList<c_void>,
    pub fixed_length_lists: RawList<c_void>,
    pub futures: RawList<c_void>,
    pub streams: RawList<c_void>,
    pub aliases: RawList<RawElement>,
}

#[repr(C)]
pub struct RawList<T> {
    pub count: usize,
    pub items: *const T,
}

#[repr(C)]
pub struct RawImport {
    pub interface: *const c_char,
    pub name: *const c_char,
    pub sync: Option<ImportFn>,
    pub start: Option<AsyncImportFn>,
    pub lift: Option<AsyncLiftFn>,
    pub params: RawList<u32>,
    pub result: u32,
    pub area_size: usize,
    pub area_align: usize,
}

#[repr(C)]
pub struct RawExport {
    pub interface: *const c_char,
    pub name: *const c_char,
    pub task_return: Option<TaskReturnFn>,
    pub params: RawList<u32>,
    pub result: u32,
}

#[repr(C)]
pub struct RawRecord {
    pub interface: *const c_char,
    pub name: *const c_char,
    pub fields: RawList<RawField>,
}

#[repr(C)]
pub struct RawField {
    pub name: *const c_char,
    pub ty: u32,
}

#[repr(C)]
pub struct RawTuple {
    pub interface: *const c_char,
    pub name: *const c_char,
    pub types: RawList<u32>,
}

#[repr(C)]
pub struct RawVariant {
    pub interface: *const c_char,
    pub name: *const c_char,
    pub cases: RawList<RawField>,
}

/// `wit_option_t`, `wit_list_t` and `wit_alias_t`, which have one layout.
#[repr(C)]
pub struct RawElement {
    pub interface: *const c_char,
    pub name: *const c_char,
    pub ty: u32,
}

#[repr(C)]
pub struct RawResult {
    pub interface: *const c_char,
    pub name: *const c_char,
    pub ok: u32,
    pub err: u32,
}
