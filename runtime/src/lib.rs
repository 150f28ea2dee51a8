//! The interpreter interface of wit-dylib 0.263, and nothing else: each function unpacks its arguments and
//! calls the module that does the work. `exports.txt` lists these functions for the link.
//!
//! The bindings own the protocol: they pass a `cx` that [`wit_dylib_export_start`] made (or that an import
//! was called with), indices into the world that they announced, and blocks from [`cabi_realloc`].

#![cfg_attr(target_family = "wasm", no_std)]
#![allow(clippy::missing_safety_doc, reason = "the one safety condition of all exports stands above")]

extern crate alloc;

pub mod abi;
pub mod builtins;
pub mod call;
pub mod command;
pub mod convert;
pub mod error;
pub mod interpreter;
pub mod memory;
pub mod preinit;
pub mod python;
pub mod seal;
pub mod stop;
pub mod waitable;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use abi::{RawWorld, Type};
use call::{Call, Value};

/// What an asynchronous export returns when it has ended.
const EXIT: u32 = 0;

/// The call that the bindings pass.
///
/// # Safety
/// `cx` must be a call that is alive and that nobody else has a reference to.
unsafe fn call<'a>(cx: *mut Call) -> &'a mut Call {
    // SAFETY: as the caller says.
    unsafe { &mut *cx }
}

/// Takes a block over from the bindings.
///
/// # Safety
/// The block must come from [`cabi_realloc`] with that size and an alignment of one.
unsafe fn adopt(pointer: *mut u8, size: usize) -> Vec<u8> {
    if size == 0 {
        return Vec::new();
    }
    #[cfg(target_family = "wasm")]
    // SAFETY: our allocator and `cabi_realloc` are one, and the block is full.
    return unsafe { Vec::from_raw_parts(pointer, size, size) };
    #[cfg(not(target_family = "wasm"))]
    // SAFETY: the block has that size and is given up.
    unsafe {
        let copy = core::slice::from_raw_parts(pointer, size).to_vec();
        memory::free(pointer, size, 1);
        copy
    }
}

/// Takes the world over; called by the bindings' constructor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_initialize(world: *const RawWorld) {
    // SAFETY: the bindings pass a structure that is valid for ever.
    interpreter::initialize(unsafe { &*world });
}

/// Changes the size of a block, as the canonical ABI asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_size: usize,
    align: usize,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: the canonical ABI passes blocks that came from here.
    let new = unsafe { memory::reallocate(old, old_size, align, new_size) };
    if new.is_null() {
        memory::fatal("no memory is left");
    }
    new
}

/// Frees a block, now or when the call ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_dealloc_bytes(
    cx: *mut Call,
    pointer: *mut u8,
    size: usize,
    align: usize,
    defer: u32,
) {
    // SAFETY: the bindings pass a live call, and give up a block that came from `cabi_realloc`.
    unsafe {
        if defer != 0 {
            call(cx).free_later(pointer, size, align);
        } else {
            memory::free(pointer, size, align);
        }
    }
}

/// Prepares the memory for being saved; the build tool calls it in the fused module, and no embedder sees it.
#[unsafe(no_mangle)]
pub extern "C" fn __eryx_preinitialise() {
    if let Err(error) = preinit::run() {
        memory::fatal(error);
    }
}

/// Begins a call of an export.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_export_start(_which: usize) -> *mut Call {
    Box::into_raw(Box::default())
}

/// Runs a synchronous export.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_export_call(cx: *mut Call, which: usize) {
    // SAFETY: the bindings pass a live call.
    interpreter::call_export(unsafe { call(cx) }, which);
}

/// Runs an asynchronous export to its end: we block inside it, on the embedder's fibre.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_export_async_call(cx: *mut Call, which: usize) -> u32 {
    // SAFETY: the bindings give up the call.
    unsafe { interpreter::call_async_export(cx, which) };
    EXIT
}

/// Goes on with an asynchronous export; ours end in their first call, so there is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_export_async_callback(
    _event: u32,
    _waitable: u32,
    _code: u32,
    _which: usize,
) -> u32 {
    EXIT
}

/// Ends a call of a synchronous export.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_export_finish(cx: *mut Call, _which: usize) {
    // SAFETY: the bindings give up the call, which came from a box.
    drop(unsafe { Box::from_raw(cx) });
}

/// Destroys a resource of ours; no world of ours exports any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_resource_dtor(_ty: usize, _handle: usize) {}

/// Lifts a `u8`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_u8(cx: *mut Call, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Unsigned(value.into()));
}

/// Lifts a `u16`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_u16(cx: *mut Call, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Unsigned(value.into()));
}

/// Lifts a `u32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_u32(cx: *mut Call, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Unsigned(value.into()));
}

/// Lifts a `u64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_u64(cx: *mut Call, value: u64) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Unsigned(value));
}

/// Lifts an `s8`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_s8(cx: *mut Call, value: i32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Signed(value.into()));
}

/// Lifts an `s16`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_s16(cx: *mut Call, value: i32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Signed(value.into()));
}

/// Lifts an `s32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_s32(cx: *mut Call, value: i32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Signed(value.into()));
}

/// Lifts an `s64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_s64(cx: *mut Call, value: i64) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Signed(value));
}

/// Lifts a `bool`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_bool(cx: *mut Call, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Bool(value != 0));
}

/// Lifts a `char`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_char(cx: *mut Call, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Char(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)));
}

/// Lifts an `f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_f32(cx: *mut Call, value: f32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Float(value.into()));
}

/// Lifts an `f64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_f64(cx: *mut Call, value: f64) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Float(value));
}

/// Lifts a `string`, which becomes ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_string(cx: *mut Call, ptr: *mut u8, len: usize) {
    // SAFETY: the bindings pass a live call, and places and blocks that are valid.
    let text = match String::from_utf8(unsafe { adopt(ptr, len) }) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    // SAFETY: as above.
    unsafe { call(cx) }.push(Value::String(text));
}

/// Lifts a record from its fields.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_record(cx: *mut Call, ty: usize) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push_record(interpreter::world().record_len(ty));
}

/// Lifts a tuple from its fields.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_tuple(cx: *mut Call, ty: usize) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push_record(interpreter::world().tuple_len(ty));
}

/// Lifts the number of a value of kind `flags`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_flags(cx: *mut Call, _ty: usize, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Number(value));
}

/// Lifts the number of a value of kind `enum`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_enum(cx: *mut Call, _ty: usize, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Number(value));
}

/// Lifts the number of a value of kind `borrow`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_borrow(cx: *mut Call, _ty: usize, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Number(value));
}

/// Lifts the number of a value of kind `own`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_own(cx: *mut Call, _ty: usize, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Number(value));
}

/// Lifts the number of a value of kind `future`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_future(cx: *mut Call, _ty: usize, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Number(value));
}

/// Lifts the number of a value of kind `stream`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_stream(cx: *mut Call, _ty: usize, value: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::Number(value));
}

/// Lifts an option.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_option(cx: *mut Call, _ty: usize, case: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push_variant(case, case == 1);
}

/// Lifts a result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_result(cx: *mut Call, ty: usize, case: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push_variant(case, interpreter::world().result_has_payload(ty, case));
}

/// Lifts a variant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_variant(cx: *mut Call, ty: usize, case: u32) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push_variant(case, interpreter::world().variant_has_payload(ty, case));
}

/// Lifts a list: takes its bytes over and returns 1, or begins an empty list and returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_list(cx: *mut Call, ty: usize, ptr: *mut u8, len: usize) -> u32 {
    // SAFETY: the bindings pass a live call, and places and blocks that are valid.
    let call = unsafe { call(cx) };
    if interpreter::world().list(ty) == Some(Type::Bytes) {
        // SAFETY: the block becomes ours, because we return 1.
        call.push(Value::Bytes(unsafe { adopt(ptr, len) }));
        return 1;
    }
    call.push(Value::List(Vec::with_capacity(len)));
    0
}

/// Adds the top value to the list below it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_list_append(cx: *mut Call, _ty: usize) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.append();
}

/// Begins an empty map, which we keep as a list of pairs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_push_map(cx: *mut Call, _ty: usize, len: usize) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.push(Value::List(Vec::with_capacity(len)));
}

/// Adds the top key and value to the map below them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_map_append(cx: *mut Call, _ty: usize) {
    // SAFETY: the bindings pass a live call.
    let call = unsafe { call(cx) };
    call.push_record(2);
    call.append();
}

/// Lowers a `u8`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_u8(cx: *mut Call) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_unsigned() as u32
}

/// Lowers a `u16`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_u16(cx: *mut Call) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_unsigned() as u32
}

/// Lowers a `u32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_u32(cx: *mut Call) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_unsigned() as u32
}

/// Lowers a `u64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_u64(cx: *mut Call) -> u64 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_unsigned()
}

/// Lowers an `s8`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_s8(cx: *mut Call) -> i32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_signed() as i32
}

/// Lowers an `s16`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_s16(cx: *mut Call) -> i32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_signed() as i32
}

/// Lowers an `s32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_s32(cx: *mut Call) -> i32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_signed() as i32
}

/// Lowers an `s64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_s64(cx: *mut Call) -> i64 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_signed()
}

/// Lowers a `bool`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_bool(cx: *mut Call) -> u32 {
    // SAFETY: the bindings pass a live call.
    u32::from(unsafe { call(cx) }.pop() == Value::Bool(true))
}

/// Lowers a `char`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_char(cx: *mut Call) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_char().into()
}

/// Lowers an `f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_f32(cx: *mut Call) -> f32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_float() as f32
}

/// Lowers an `f64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_f64(cx: *mut Call) -> f64 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_float()
}

/// Lowers the number of a value of kind `flags`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_flags(cx: *mut Call, _ty: usize) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_number()
}

/// Lowers the number of a value of kind `enum`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_enum(cx: *mut Call, _ty: usize) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_number()
}

/// Lowers the number of a value of kind `borrow`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_borrow(cx: *mut Call, _ty: usize) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_number()
}

/// Lowers the number of a value of kind `own`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_own(cx: *mut Call, _ty: usize) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_number()
}

/// Lowers the number of a value of kind `future`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_future(cx: *mut Call, _ty: usize) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_number()
}

/// Lowers the number of a value of kind `stream`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_stream(cx: *mut Call, _ty: usize) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_number()
}

/// Takes a record apart.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_record(cx: *mut Call, _ty: usize) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_record();
}

/// Takes a tuple apart.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_tuple(cx: *mut Call, _ty: usize) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_record();
}

/// Takes an option apart and returns its case.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_option(cx: *mut Call, _ty: usize) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_variant()
}

/// Takes a result apart and returns its case.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_result(cx: *mut Call, _ty: usize) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_variant()
}

/// Takes a variant apart and returns its case.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_variant(cx: *mut Call, _ty: usize) -> u32 {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_variant()
}

/// Lowers a `string`, which stays in place as long as the call; returns its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_string(cx: *mut Call, ptr: *mut *const u8) -> usize {
    // SAFETY: the bindings pass a live call, and places and blocks that are valid.
    let (place, len) = unsafe { call(cx) }.pop_string();
    // SAFETY: as above.
    unsafe { ptr.write(place) };
    len
}

/// Lowers a list: its bytes at once, or null and an iterator; returns its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_list(cx: *mut Call, _ty: usize, ptr: *mut *const u8) -> usize {
    // SAFETY: the bindings pass a live call, and places and blocks that are valid.
    let (place, len) = unsafe { call(cx) }.pop_list();
    // SAFETY: as above.
    unsafe { ptr.write(place) };
    len
}

/// Puts a list's next element on top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_list_iter_next(cx: *mut Call, _ty: usize) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.next_element();
}

/// Ends the lowering of a list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_list_iter(cx: *mut Call, _ty: usize) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.end_list();
}

/// Begins the lowering of a map; returns its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_map(cx: *mut Call, _ty: usize) -> usize {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.pop_list().1
}

/// Puts a map's next key, and the value below it, on top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_map_iter_next(cx: *mut Call, _ty: usize) {
    // SAFETY: the bindings pass a live call.
    let call = unsafe { call(cx) };
    call.next_element();
    call.pop_record();
}

/// Ends the lowering of a map.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wit_dylib_pop_map_iter(cx: *mut Call, _ty: usize) {
    // SAFETY: the bindings pass a live call.
    unsafe { call(cx) }.end_list();
}
