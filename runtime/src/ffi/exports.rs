//! The interpreter interface of wit-dylib 0.263: each function unpacks its arguments and calls the module that does the
//! work. `exports.txt` lists these functions for the link.
//!
//! The bindings own the protocol: they pass a `cx` that [`wit_dylib_export_start`] made (or that an import
//! was called with), indices into the world that they announced, and blocks from [`cabi_realloc`].

#![allow(clippy::missing_safety_doc, reason = "the one safety condition of all exports stands above")]

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::abi::Type;
use crate::call::{Call, Value};
use crate::ffi::bindings::RawWorld;
use crate::{interpreter, memory, preinit};

/// What an asynchronous export returns when it has ended.
const EXIT: u32 = 0;

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

/// Defines exported functions that work on a live call.
macro_rules! of_a_call {
    ($($(#[$doc:meta])* fn $name:ident($cx:ident $(, $argument:ident: $ty:ty)*) $(-> $result:ty)? $body:block)*) => {
        $($(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($cx: *mut Call $(, $argument: $ty)*) $(-> $result)? {
            // SAFETY: the bindings pass a call that is alive and that nobody else has a reference to.
            let $cx = unsafe { &mut *$cx };
            $body
        })*
    };
}

of_a_call! {
    /// Frees a block, now or when the call ends.
    fn wit_dylib_dealloc_bytes(cx, pointer: *mut u8, size: usize, align: usize, defer: u32) {
        if defer != 0 {
            cx.free_later(pointer, size, align);
        } else {
            // SAFETY: the bindings give up a block that came from `cabi_realloc`.
            unsafe { memory::free(pointer, size, align) };
        }
    }

    /// Runs a synchronous export.
    fn wit_dylib_export_call(cx, which: usize) { interpreter::call_export(cx, which); }

    /// Lifts a `u8`.
    fn wit_dylib_push_u8(cx, value: u32) { cx.push(Value::Unsigned(value.into())); }

    /// Lifts a `u16`.
    fn wit_dylib_push_u16(cx, value: u32) { cx.push(Value::Unsigned(value.into())); }

    /// Lifts a `u32`.
    fn wit_dylib_push_u32(cx, value: u32) { cx.push(Value::Unsigned(value.into())); }

    /// Lifts a `u64`.
    fn wit_dylib_push_u64(cx, value: u64) { cx.push(Value::Unsigned(value)); }

    /// Lifts an `s8`.
    fn wit_dylib_push_s8(cx, value: i32) { cx.push(Value::Signed(value.into())); }

    /// Lifts an `s16`.
    fn wit_dylib_push_s16(cx, value: i32) { cx.push(Value::Signed(value.into())); }

    /// Lifts an `s32`.
    fn wit_dylib_push_s32(cx, value: i32) { cx.push(Value::Signed(value.into())); }

    /// Lifts an `s64`.
    fn wit_dylib_push_s64(cx, value: i64) { cx.push(Value::Signed(value)); }

    /// Lifts a `bool`.
    fn wit_dylib_push_bool(cx, value: u32) { cx.push(Value::Bool(value != 0)); }

    /// Lifts a `char`.
    fn wit_dylib_push_char(cx, value: u32) {
        cx.push(Value::Char(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)));
    }

    /// Lifts an `f32`.
    fn wit_dylib_push_f32(cx, value: f32) { cx.push(Value::Float(value.into())); }

    /// Lifts an `f64`.
    fn wit_dylib_push_f64(cx, value: f64) { cx.push(Value::Float(value)); }

    /// Lifts a `string`, which becomes ours.
    fn wit_dylib_push_string(cx, ptr: *mut u8, len: usize) {
        // SAFETY: the block becomes ours.
        let text = match String::from_utf8(unsafe { adopt(ptr, len) }) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        cx.push(Value::String(text));
    }

    /// Lifts a record from its fields.
    fn wit_dylib_push_record(cx, ty: usize) { cx.push_record(interpreter::world().record_len(ty)); }

    /// Lifts a tuple from its fields.
    fn wit_dylib_push_tuple(cx, ty: usize) { cx.push_record(interpreter::world().tuple_len(ty)); }

    /// Lifts the number of a value of kind `flags`.
    fn wit_dylib_push_flags(cx, _ty: usize, value: u32) { cx.push(Value::Number(value)); }

    /// Lifts the number of a value of kind `enum`.
    fn wit_dylib_push_enum(cx, _ty: usize, value: u32) { cx.push(Value::Number(value)); }

    /// Lifts the number of a value of kind `borrow`.
    fn wit_dylib_push_borrow(cx, _ty: usize, value: u32) { cx.push(Value::Number(value)); }

    /// Lifts the number of a value of kind `own`.
    fn wit_dylib_push_own(cx, _ty: usize, value: u32) { cx.push(Value::Number(value)); }

    /// Lifts the number of a value of kind `future`.
    fn wit_dylib_push_future(cx, _ty: usize, value: u32) { cx.push(Value::Number(value)); }

    /// Lifts the number of a value of kind `stream`.
    fn wit_dylib_push_stream(cx, _ty: usize, value: u32) { cx.push(Value::Number(value)); }

    /// Lifts an option.
    fn wit_dylib_push_option(cx, _ty: usize, case: u32) { cx.push_variant(case, case == 1); }

    /// Lifts a result.
    fn wit_dylib_push_result(cx, ty: usize, case: u32) {
        cx.push_variant(case, interpreter::world().result_has_payload(ty, case));
    }

    /// Lifts a variant.
    fn wit_dylib_push_variant(cx, ty: usize, case: u32) {
        cx.push_variant(case, interpreter::world().variant_has_payload(ty, case));
    }

    /// Lifts a list: takes its bytes over and returns 1, or begins an empty list and returns 0.
    fn wit_dylib_push_list(cx, ty: usize, ptr: *mut u8, len: usize) -> u32 {
        if interpreter::world().list(ty) == Some(Type::Bytes) {
            // SAFETY: the block becomes ours, because we return 1.
            cx.push(Value::Bytes(unsafe { adopt(ptr, len) }));
            return 1;
        }
        cx.push(Value::List(Vec::with_capacity(len)));
        0
    }

    /// Adds the top value to the list below it.
    fn wit_dylib_list_append(cx, _ty: usize) { cx.append(); }

    /// Begins an empty map, which we keep as a list of pairs.
    fn wit_dylib_push_map(cx, _ty: usize, len: usize) { cx.push(Value::List(Vec::with_capacity(len))); }

    /// Adds the top key and value to the map below them.
    fn wit_dylib_map_append(cx, _ty: usize) {
        cx.push_record(2);
        cx.append();
    }

    /// Lowers a `u8`.
    fn wit_dylib_pop_u8(cx) -> u32 { cx.pop_unsigned() as u32 }

    /// Lowers a `u16`.
    fn wit_dylib_pop_u16(cx) -> u32 { cx.pop_unsigned() as u32 }

    /// Lowers a `u32`.
    fn wit_dylib_pop_u32(cx) -> u32 { cx.pop_unsigned() as u32 }

    /// Lowers a `u64`.
    fn wit_dylib_pop_u64(cx) -> u64 { cx.pop_unsigned() }

    /// Lowers an `s8`.
    fn wit_dylib_pop_s8(cx) -> i32 { cx.pop_signed() as i32 }

    /// Lowers an `s16`.
    fn wit_dylib_pop_s16(cx) -> i32 { cx.pop_signed() as i32 }

    /// Lowers an `s32`.
    fn wit_dylib_pop_s32(cx) -> i32 { cx.pop_signed() as i32 }

    /// Lowers an `s64`.
    fn wit_dylib_pop_s64(cx) -> i64 { cx.pop_signed() }

    /// Lowers a `bool`.
    fn wit_dylib_pop_bool(cx) -> u32 { u32::from(cx.pop() == Value::Bool(true)) }

    /// Lowers a `char`.
    fn wit_dylib_pop_char(cx) -> u32 { cx.pop_char().into() }

    /// Lowers an `f32`.
    fn wit_dylib_pop_f32(cx) -> f32 { cx.pop_float() as f32 }

    /// Lowers an `f64`.
    fn wit_dylib_pop_f64(cx) -> f64 { cx.pop_float() }

    /// Lowers the number of a value of kind `flags`.
    fn wit_dylib_pop_flags(cx, _ty: usize) -> u32 { cx.pop_number() }

    /// Lowers the number of a value of kind `enum`.
    fn wit_dylib_pop_enum(cx, _ty: usize) -> u32 { cx.pop_number() }

    /// Lowers the number of a value of kind `borrow`.
    fn wit_dylib_pop_borrow(cx, _ty: usize) -> u32 { cx.pop_number() }

    /// Lowers the number of a value of kind `own`.
    fn wit_dylib_pop_own(cx, _ty: usize) -> u32 { cx.pop_number() }

    /// Lowers the number of a value of kind `future`.
    fn wit_dylib_pop_future(cx, _ty: usize) -> u32 { cx.pop_number() }

    /// Lowers the number of a value of kind `stream`.
    fn wit_dylib_pop_stream(cx, _ty: usize) -> u32 { cx.pop_number() }

    /// Takes a record apart.
    fn wit_dylib_pop_record(cx, _ty: usize) { cx.pop_record(); }

    /// Takes a tuple apart.
    fn wit_dylib_pop_tuple(cx, _ty: usize) { cx.pop_record(); }

    /// Takes an option apart and returns its case.
    fn wit_dylib_pop_option(cx, _ty: usize) -> u32 { cx.pop_variant() }

    /// Takes a result apart and returns its case.
    fn wit_dylib_pop_result(cx, _ty: usize) -> u32 { cx.pop_variant() }

    /// Takes a variant apart and returns its case.
    fn wit_dylib_pop_variant(cx, _ty: usize) -> u32 { cx.pop_variant() }

    /// Lowers a `string`, which stays in place as long as the call; returns its length.
    fn wit_dylib_pop_string(cx, ptr: *mut *const u8) -> usize {
        let (place, len) = cx.pop_string();
        // SAFETY: the bindings pass a place that is valid.
        unsafe { ptr.write(place) };
        len
    }

    /// Lowers a list: its bytes at once, or null and an iterator; returns its length.
    fn wit_dylib_pop_list(cx, _ty: usize, ptr: *mut *const u8) -> usize {
        let (place, len) = cx.pop_list();
        // SAFETY: the bindings pass a place that is valid.
        unsafe { ptr.write(place) };
        len
    }

    /// Puts a list's next element on top.
    fn wit_dylib_pop_list_iter_next(cx, _ty: usize) { cx.next_element(); }

    /// Ends the lowering of a list.
    fn wit_dylib_pop_list_iter(cx, _ty: usize) { cx.end_list(); }

    /// Begins the lowering of a map; returns its length.
    fn wit_dylib_pop_map(cx, _ty: usize) -> usize { cx.pop_list().1 }

    /// Puts a map's next key, and the value below it, on top.
    fn wit_dylib_pop_map_iter_next(cx, _ty: usize) {
        cx.next_element();
        cx.pop_record();
    }

    /// Ends the lowering of a map.
    fn wit_dylib_pop_map_iter(cx, _ty: usize) { cx.end_list(); }
}
