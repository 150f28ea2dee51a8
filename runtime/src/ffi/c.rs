//! The C library, and what WASI gives beside it.

#![allow(missing_docs, reason = "the originals' documentation applies")]

use core::ffi::{CStr, c_char, c_int, c_void};

unsafe extern "C" {
    pub safe fn malloc(size: usize) -> *mut c_void;
    pub fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
    pub fn free(pointer: *mut c_void);
    pub fn posix_memalign(pointer: *mut *mut c_void, align: usize, size: usize) -> c_int;
    pub fn write(descriptor: c_int, bytes: *const c_void, count: usize) -> isize;
    pub safe fn abort() -> !;
    fn getenv(name: *const c_char) -> *const c_char;
    fn unsetenv(name: *const c_char) -> c_int;
}

/// Removes a variable from the environment, if it is there, after its value was read.
pub fn take_variable(name: &CStr, read: impl FnOnce(&CStr)) {
    // SAFETY: the name is a C string; the value is one, and is read before the environment changes.
    unsafe {
        let value = getenv(name.as_ptr());
        if !value.is_null() {
            read(CStr::from_ptr(value));
            unsetenv(name.as_ptr());
        }
    }
}

#[cfg(target_family = "wasm")]
pub use guest::{args_get, args_sizes_get, environment_is_empty, forget_environment, reread_environment};

#[cfg(target_family = "wasm")]
mod guest {
    use core::ffi::c_char;

    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
        safe fn __wasilibc_deinitialize_environ();
        safe fn __wasilibc_ensure_environ();
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        pub fn args_sizes_get(count: *mut usize, size: *mut usize) -> u32;
        pub fn args_get(places: *mut *mut c_char, text: *mut c_char) -> u32;
    }

    /// Has the C library read the environment anew.
    pub fn reread_environment() {
        forget_environment();
        __wasilibc_ensure_environ();
    }

    /// Has the C library give up what it read of the environment.
    pub fn forget_environment() {
        __wasilibc_deinitialize_environ();
    }

    /// Whether the environment that was read has no variable.
    pub fn environment_is_empty() -> bool {
        // SAFETY: once it was read, the C library keeps it as an array that ends with a null pointer.
        unsafe { environ.is_null() || (*environ).is_null() }
    }
}

#[cfg(not(target_family = "wasm"))]
pub use elsewhere::{args_get, args_sizes_get, environment_is_empty, forget_environment, reread_environment};

/// On the build machine, where the library is only linted and tested, there are no arguments, and no memory is saved.
#[cfg(not(target_family = "wasm"))]
mod elsewhere {
    use core::ffi::c_char;

    /// # Safety
    /// None is needed.
    pub unsafe fn args_sizes_get(_count: *mut usize, _size: *mut usize) -> u32 {
        0
    }

    /// # Safety
    /// None is needed.
    pub unsafe fn args_get(_places: *mut *mut c_char, _text: *mut c_char) -> u32 {
        0
    }

    pub fn reread_environment() {}

    pub fn forget_environment() {}

    pub fn environment_is_empty() -> bool {
        true
    }
}
