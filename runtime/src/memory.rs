//! Memory from the C library, and the end of a process that cannot go on.
//!
//! Rust, the bindings and the C library share one heap: what the bindings allocate with `cabi_realloc`
//! becomes a `Vec` without a copy.

use core::ffi::c_void;
use core::fmt::{self, Write};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::ffi::c;

/// The alignment that `malloc` guarantees.
const MALLOC_ALIGN: usize = 2 * core::mem::size_of::<usize>();

/// How much is kept for telling that there is no more, in bytes. It is not written to, so until it is needed
/// it takes no memory of the embedder's.
const RESERVE_SIZE: usize = 512 << 10;

static RESERVE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Sets a reserve aside, unless there is one or no memory for it.
pub fn hold_reserve() {
    if RESERVE.load(Ordering::Relaxed).is_null() {
        RESERVE.store(c::malloc(RESERVE_SIZE), Ordering::Relaxed);
    }
}

/// Gives the reserve to whoever needs memory next; tells whether there was one.
pub fn release_reserve() -> bool {
    let reserve = RESERVE.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: the block came from `malloc` or is null, and nobody else has it any more.
    unsafe { c::free(reserve) };
    !reserve.is_null()
}

/// Calls an allocation again with the reserve, if it fails without.
fn with_reserve(allocation: impl Fn() -> *mut u8) -> *mut u8 {
    let pointer = allocation();
    if pointer.is_null() && release_reserve() { allocation() } else { pointer }
}

/// Allocates `size` bytes; null if there are none left. No bytes need no memory: the result is then a
/// pointer that is aligned and not null, as for an empty `Vec`.
#[must_use]
pub fn allocate(size: usize, align: usize) -> *mut u8 {
    if size == 0 {
        return core::ptr::without_provenance_mut(align);
    }
    if align <= MALLOC_ALIGN {
        return with_reserve(|| c::malloc(size).cast());
    }
    with_reserve(|| {
        let mut pointer = ptr::null_mut();
        // SAFETY: `pointer` is a valid place for the result, and `align` a power of two above a pointer's size.
        match unsafe { c::posix_memalign(&raw mut pointer, align, size) } {
            0 => pointer.cast(),
            _ => ptr::null_mut(),
        }
    })
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
        return with_reserve(|| unsafe { c::realloc(pointer.cast(), new_size) }.cast());
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
        unsafe { c::free(pointer.cast()) };
    }
}

/// Says on standard error why the guest cannot go on, and ends it with a trap.
pub fn fatal(message: impl fmt::Display) -> ! {
    // Without an allocation: there may be no memory. Nothing could be done about a failure.
    let _ = writeln!(StandardError, "eryx runtime: {message}");
    c::abort()
}

struct StandardError;

impl Write for StandardError {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the pointer is valid for the length.
        let written = unsafe { c::write(2, text.as_ptr().cast(), text.len()) };
        if written < 0 { Err(fmt::Error) } else { Ok(()) }
    }
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
        super::fatal(info)
    }
}
