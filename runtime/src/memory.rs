//! Memory from the C library, and the end of a process that cannot go on.
//!
//! Rust, the bindings and the C library share one heap: what the bindings allocate with `cabi_realloc`
//! becomes a `Vec` without a copy.

use core::ffi::{c_int, c_void};

/// The alignment that `malloc` guarantees.
const MALLOC_ALIGN: usize = 2 * core::mem::size_of::<usize>();

unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    #[link_name = "realloc"]
    fn c_realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
    #[link_name = "free"]
    fn c_free(pointer: *mut c_void);
    fn posix_memalign(pointer: *mut *mut c_void, align: usize, size: usize) -> c_int;
    fn write(descriptor: c_int, bytes: *const c_void, count: usize) -> isize;
    fn abort() -> !;
}

/// Allocates `size` bytes; null if there are none left. No bytes need no memory: the result is then a
/// pointer that is aligned and not null, as for an empty `Vec`.
#[must_use]
pub fn allocate(size: usize, align: usize) -> *mut u8 {
    if size == 0 {
        return core::ptr::without_provenance_mut(align);
    }
    if align <= MALLOC_ALIGN {
        // SAFETY: `malloc` takes any size.
        return unsafe { malloc(size) }.cast();
    }
    let mut pointer = core::ptr::null_mut();
    // SAFETY: `pointer` is a valid place for the result, and `align` a power of two above a pointer's size.
    match unsafe { posix_memalign(&raw mut pointer, align, size) } {
        0 => pointer.cast(),
        _ => core::ptr::null_mut(),
    }
}

/// Changes the size of a block, which may move it; null, and the block as it was, if there is no memory.
///
/// # Safety
/// The block must come from this module with that size and alignment.
pub unsafe fn reallocate(pointer: *mut u8, old_size: usize, align: usize, new_size: usize) -> *mut u8 {
    if old_size == 0 {
        return allocate(new_size, align);
    }
    if new_size == 0 {
        // SAFETY: as the caller says.
        unsafe { free(pointer, old_size, align) };
        return core::ptr::without_provenance_mut(align);
    }
    if align <= MALLOC_ALIGN {
        // SAFETY: the block is not empty, so it came from `malloc`.
        return unsafe { c_realloc(pointer.cast(), new_size) }.cast();
    }
    let new = allocate(new_size, align);
    if !new.is_null() {
        // SAFETY: both blocks have at least the smaller of the sizes, and are not the same.
        unsafe {
            core::ptr::copy_nonoverlapping(pointer, new, old_size.min(new_size));
            free(pointer, old_size, align);
        }
    }
    new
}

/// Frees a block.
///
/// # Safety
/// The block must come from this module with that size and alignment, and not be used again.
pub unsafe fn free(pointer: *mut u8, size: usize, _align: usize) {
    if size != 0 {
        // SAFETY: a block that is not empty came from the C library.
        unsafe { c_free(pointer.cast()) };
    }
}

/// Says on standard error why the guest cannot go on, and ends it with a trap.
pub fn fatal(message: &str) -> ! {
    for part in ["eryx runtime: ", message, "\n"] {
        // SAFETY: the pointer is valid for the length. Nothing could be done about a failure.
        unsafe { write(2, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: `abort` takes nothing and does not return.
    unsafe { abort() }
}

#[cfg(target_family = "wasm")]
mod global {
    use core::alloc::{GlobalAlloc, Layout};

    struct Heap;

    #[global_allocator]
    static HEAP: Heap = Heap;

    // SAFETY: blocks come from the C library, which keeps what `GlobalAlloc` asks for.
    unsafe impl GlobalAlloc for Heap {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            super::allocate(layout.size(), layout.align())
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            // SAFETY: the caller gives a block of ours, with its layout.
            unsafe { super::free(pointer, layout.size(), layout.align()) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            // SAFETY: the caller gives a block of ours, with its layout.
            unsafe { super::reallocate(pointer, layout.size(), layout.align(), new_size) }
        }
    }

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        super::fatal(&alloc::format!("{info}"))
    }
}
