//! The functions that the bindings import from the interpreter (`intrinsics!` in wit-dylib's `bindgen.rs`).
//!
//! Each is a few lines around [`Call`]. In all of them `cx` is a call made by [`wit_dylib_export_start`] or by
//! one of our own calls of an import, not yet freed: that is the contract behind every `SAFETY` here.

use std::ffi::c_void;
use std::ptr;

use crate::interpreter;
use crate::stack::{Call, Foreign, Value};
use crate::world::{self, World};

unsafe extern "C" {
    fn realloc(ptr: *mut c_void, size: usize) -> *mut c_void;
    fn aligned_alloc(align: usize, size: usize) -> *mut c_void;
    fn free(ptr: *mut c_void);
}

type Cx = *mut c_void;

/// What a callback returns to say that the task is done (component model, async ABI).
const EXIT: u32 = 0;

/// The alignment that `malloc` gives on this target.
const MALLOC_ALIGN: usize = 16;

#[unsafe(no_mangle)]
extern "C" fn cabi_realloc(old: *mut c_void, old_size: usize, align: usize, size: usize) -> *mut c_void {
    if size == 0 {
        return ptr::without_provenance_mut(align);
    }
    let old = if old_size == 0 { ptr::null_mut() } else { old };
    // SAFETY: a non-empty `old` came from this function.
    let new = unsafe {
        if align > MALLOC_ALIGN && old.is_null() { aligned_alloc(align, size) } else { realloc(old, size) }
    };
    if new.is_null() {
        // The canonical ABI has no way to say so; the embedder sees the trap and what was written before it.
        eprintln!("out of memory: {size} bytes for a value that crosses the component's border");
        std::process::abort();
    }
    new
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_initialize(world: *const World) {
    world::adopt(world);
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_dealloc_bytes(cx: Cx, ptr: *mut u8, size: usize, _align: usize, defer: u32) {
    if size == 0 {
        return;
    }
    if defer != 0 {
        // SAFETY: see the head of this file.
        unsafe { Call::at(cx) }.defer(ptr);
    } else {
        // SAFETY: memory from `cabi_realloc`, handed over once.
        unsafe { free(ptr.cast()) };
    }
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_export_start(_which: usize) -> Cx {
    Box::into_raw(Box::<Call>::default()).cast()
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_export_call(cx: Cx, which: usize) {
    // SAFETY: see the head of this file.
    interpreter::call(world::get().export(which), unsafe { Call::at(cx) });
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_export_async_call(cx: Cx, which: usize) -> u32 {
    // SAFETY: the bindings hand the call over to us.
    let mut call = unsafe { Box::from_raw(cx.cast::<Call>()) };
    let export = world::get().export(which);
    // Waiting for the embedder blocks inside: the task is done when this returns.
    interpreter::call(export, &mut call);
    if let Some(task_return) = export.task_return {
        // SAFETY: the function is the bindings', the pointer valid for the time of the call.
        unsafe { task_return(ptr::from_mut(&mut *call).cast()) };
    }
    EXIT
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_export_async_callback(_event: u32, _waitable: u32, _state: u32, _which: usize) -> u32 {
    // No export ever returns anything but EXIT, so no event can be delivered.
    EXIT
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_export_finish(cx: Cx, _which: usize) {
    // SAFETY: the bindings are done with the call.
    drop(unsafe { Box::from_raw(cx.cast::<Call>()) });
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_resource_dtor(_ty: usize, _handle: usize) {}

macro_rules! words {
    ($($pop:ident $push:ident $ty:ty;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $pop(cx: Cx) -> $ty {
            // SAFETY: see the head of this file.
            match unsafe { Call::at(cx) }.pop() {
                Value::Word(word) => word as $ty,
                _ => 0 as $ty,
            }
        }

        #[unsafe(no_mangle)]
        extern "C" fn $push(cx: Cx, value: $ty) {
            // SAFETY: see the head of this file.
            unsafe { Call::at(cx) }.push(Value::Word(value as u64));
        }
    )*};
}

words! {
    wit_dylib_pop_bool wit_dylib_push_bool u32;
    wit_dylib_pop_char wit_dylib_push_char u32;
    wit_dylib_pop_u8 wit_dylib_push_u8 u32;
    wit_dylib_pop_s8 wit_dylib_push_s8 i32;
    wit_dylib_pop_u16 wit_dylib_push_u16 u32;
    wit_dylib_pop_s16 wit_dylib_push_s16 i32;
    wit_dylib_pop_u32 wit_dylib_push_u32 u32;
    wit_dylib_pop_s32 wit_dylib_push_s32 i32;
    wit_dylib_pop_u64 wit_dylib_push_u64 u64;
    wit_dylib_pop_s64 wit_dylib_push_s64 i64;
}

macro_rules! floats {
    ($($pop:ident $push:ident $ty:ty, $bits:ty;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $pop(cx: Cx) -> $ty {
            // SAFETY: see the head of this file.
            match unsafe { Call::at(cx) }.pop() {
                Value::Word(word) => <$ty>::from_bits(word as $bits),
                _ => 0.0,
            }
        }

        #[unsafe(no_mangle)]
        extern "C" fn $push(cx: Cx, value: $ty) {
            // SAFETY: see the head of this file.
            unsafe { Call::at(cx) }.push(Value::Word(u64::from(value.to_bits())));
        }
    )*};
}

floats! {
    wit_dylib_pop_f32 wit_dylib_push_f32 f32, u32;
    wit_dylib_pop_f64 wit_dylib_push_f64 f64, u64;
}

macro_rules! typed_words {
    ($($pop:ident $push:ident;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $pop(cx: Cx, _ty: u32) -> u32 {
            wit_dylib_pop_u32(cx)
        }

        #[unsafe(no_mangle)]
        extern "C" fn $push(cx: Cx, _ty: u32, value: u32) {
            wit_dylib_push_u32(cx, value);
        }
    )*};
}

typed_words! {
    wit_dylib_pop_flags wit_dylib_push_flags;
    wit_dylib_pop_enum wit_dylib_push_enum;
    wit_dylib_pop_borrow wit_dylib_push_borrow;
    wit_dylib_pop_own wit_dylib_push_own;
    wit_dylib_pop_future wit_dylib_push_future;
    wit_dylib_pop_stream wit_dylib_push_stream;
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_string(cx: Cx, place: *mut *const u8) -> usize {
    // SAFETY: see the head of this file; `place` is the bindings' own.
    unsafe {
        let (ptr, len) = Call::at(cx).pop_kept();
        place.write(ptr);
        len
    }
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_push_string(cx: Cx, ptr: *mut u8, len: usize) {
    // SAFETY: see the head of this file; the string is from `cabi_realloc` and ours from now on.
    unsafe { Call::at(cx).push(Value::Foreign(Foreign::new(ptr, len))) };
}

/// Pops a record and pushes its fields so that the first ends on top.
fn open_record(cx: Cx) {
    // SAFETY: see the head of this file.
    let call = unsafe { Call::at(cx) };
    if let Value::Record(fields) = call.pop() {
        fields.into_iter().rev().for_each(|field| call.push(field));
    }
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_record(cx: Cx, _ty: u32) {
    open_record(cx);
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_tuple(cx: Cx, _ty: u32) {
    open_record(cx);
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_push_record(cx: Cx, ty: u32) {
    // SAFETY: see the head of this file.
    let call = unsafe { Call::at(cx) };
    let fields = call.pop_many(world::get().fields(ty));
    call.push(Value::Record(fields));
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_push_tuple(_cx: Cx, _ty: u32) {
    unsupported("tuple");
}

/// Pops a case, pushes its payload if it has one, and returns its number.
fn open_case(cx: Cx) -> u32 {
    // SAFETY: see the head of this file.
    let call = unsafe { Call::at(cx) };
    match call.pop() {
        Value::Case(case, payload) => {
            if let Some(payload) = payload {
                call.push(*payload);
            }
            case
        }
        _ => 0,
    }
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_variant(cx: Cx, _ty: u32) -> u32 {
    open_case(cx)
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_option(cx: Cx, _ty: u32) -> u32 {
    open_case(cx)
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_result(cx: Cx, _ty: u32) -> u32 {
    open_case(cx)
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_push_result(cx: Cx, ty: u32, case: u32) {
    // SAFETY: see the head of this file.
    let call = unsafe { Call::at(cx) };
    let payload = world::get().has_payload(ty, case != 0).then(|| Box::new(call.pop()));
    call.push(Value::Case(case, payload));
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_push_option(cx: Cx, _ty: u32, case: u32) {
    // SAFETY: see the head of this file.
    let call = unsafe { Call::at(cx) };
    let payload = (case != 0).then(|| Box::new(call.pop()));
    call.push(Value::Case(case, payload));
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_push_variant(_cx: Cx, _ty: u32, _case: u32) {
    unsupported("variant");
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_list(cx: Cx, ty: u32, place: *mut *const u8) -> usize {
    // SAFETY: see the head of this file; `place` is the bindings' own.
    unsafe {
        let call = Call::at(cx);
        if world::get().is_bytes(ty) {
            let (ptr, len) = call.pop_kept();
            place.write(ptr);
            return len;
        }
        place.write(ptr::null());
        call.walk()
    }
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_list_iter_next(cx: Cx, _ty: u32) {
    // SAFETY: see the head of this file.
    unsafe { Call::at(cx) }.step();
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_list_iter(cx: Cx, _ty: u32) {
    // SAFETY: see the head of this file.
    unsafe { Call::at(cx) }.end_walk();
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_push_list(cx: Cx, ty: u32, ptr: *mut u8, len: usize) -> u32 {
    // SAFETY: see the head of this file; a list that we keep is ours from now on.
    unsafe {
        let call = Call::at(cx);
        if world::get().is_bytes(ty) {
            call.push(Value::Foreign(Foreign::new(ptr, len)));
            return 1;
        }
        call.push(Value::List(Vec::new()));
        0
    }
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_list_append(cx: Cx, _ty: u32) {
    // SAFETY: see the head of this file.
    unsafe { Call::at(cx) }.append();
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_map(_cx: Cx, _ty: u32) -> usize {
    unsupported("map")
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_map_iter_next(_cx: Cx, _ty: u32) {
    unsupported("map")
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_pop_map_iter(_cx: Cx, _ty: u32) {
    unsupported("map")
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_push_map(_cx: Cx, _ty: u32, _len: usize) {
    unsupported("map")
}

#[unsafe(no_mangle)]
extern "C" fn wit_dylib_map_append(_cx: Cx, _ty: u32) {
    unsupported("map")
}

/// No world of ours has such a type in what crosses; one that does fails here with its name.
fn unsupported(kind: &str) -> ! {
    panic!("the runtime cannot pass a value of kind `{kind}`")
}
