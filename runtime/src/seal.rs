//! Sealing: what makes a saved memory one that instances read and hardly write.
//!
//! Instances of an image share its pages until they write to them, and each page that is written costs a fault, a
//! copy, and its part in the reset of a pool's slot, which is only cheap for a few runs of pages. Python writes
//! everywhere: to the count of references of whatever it touches, and to whatever hole of the heap is free. So
//! before the memory is saved, every object in it becomes immortal (PEP 683), and the holes are filled: what an
//! instance allocates then lies side by side behind the image.

use alloc::vec::Vec;
use core::ffi::{c_int, c_void};
use core::ptr;

use crate::ffi::c::{free, malloc};
use crate::ffi::python::{
    IMMORTAL, Py_TYPE, PyCode_Type, PyDict_Next, PyGC_Collect, PyObject_Free, PyObject_IS_GC,
    PyObject_Malloc, PyType_GetFlags, PyType_GetSlot, PyUnstable_GC_VisitObjects, PyUnstable_IsImmortal,
    RawObject, SLOT_TRAVERSE, TYPE_IS_DICT, Traverse,
};
use crate::python::Object;

/// What is left free behind the image, in bytes: a short call needs no more, and memory that grows costs calls of the
/// embedder's system. It is not written to, so it takes no memory until it is used.
const ROOM: usize = 2 << 20;
/// The largest block that `pymalloc` makes; larger ones come from the C library.
const LARGEST_SMALL: usize = 512;
/// What its sizes are multiples of.
const SMALL_STEP: usize = 8;
/// The largest hole of the heap that is looked for, in bytes.
const LARGEST_HOLE: usize = 1 << 20;
/// Smaller requests take a block of this size, too.
const SMALLEST_HOLE: usize = 8;

/// The objects whose referents have not been visited yet.
type Found = Vec<*mut RawObject>;

/// Seals the memory; Python runs, and nothing is called before the memory is saved.
pub fn seal() {
    immortalise();
    begin_anew();
}

/// Has what is allocated from now on lie side by side, behind the address that it returns.
pub fn begin_anew() -> usize {
    // Types keep memory for their next objects, which a collection gives up.
    // SAFETY: Python runs, and no collection is under way.
    unsafe { PyGC_Collect() };
    let end = end_of_heap();
    fill_holes(end);
    end
}

/// Makes every object immortal that is there.
fn immortalise() {
    let mut found = Found::new();
    // SAFETY: the callback gets the list, as it expects, and no Python code runs meanwhile.
    unsafe { PyUnstable_GC_VisitObjects(add_container, (&raw mut found).cast()) };
    while let Some(object) = found.pop() {
        // SAFETY: nothing is freed meanwhile, so the object lives, and so does what it refers to.
        unsafe { visit_referents(object, (&raw mut found).cast()) };
    }
}

/// `gcvisitobjects_t`: takes an object that the collector knows, and goes on.
unsafe extern "C" fn add_container(object: *mut RawObject, found: *mut c_void) -> c_int {
    // SAFETY: as there.
    unsafe { add(object, found) };
    1
}

/// `visitproc`: takes an object that has not been taken yet.
unsafe extern "C" fn add(object: *mut RawObject, found: *mut c_void) -> c_int {
    // SAFETY: the collector passes objects, whose first word is their count, and the list that we gave it.
    unsafe {
        if !object.is_null() && PyUnstable_IsImmortal(object) == 0 {
            object.cast::<isize>().write(IMMORTAL);
            (*found.cast::<Found>()).push(object);
        }
    }
    0
}

/// Takes what an object refers to.
///
/// # Safety
/// The object must be alive, and `found` the list.
unsafe fn visit_referents(object: *mut RawObject, found: *mut c_void) {
    // SAFETY: as the caller says; the slot of a class that the collector knows is such a function.
    unsafe {
        let class = Py_TYPE(object);
        if class == &raw mut PyCode_Type {
            visit_code(object, found);
            return;
        }
        if PyType_GetFlags(class) & TYPE_IS_DICT != 0 {
            // The collector does not look at keys that are strings.
            let (mut position, mut key, mut value) = (0, ptr::null_mut(), ptr::null_mut());
            while PyDict_Next(object, &raw mut position, &raw mut key, &raw mut value) != 0 {
                add(key, found);
                add(value, found);
            }
        }
        if PyObject_IS_GC(object) != 0 {
            let traverse = PyType_GetSlot(class, SLOT_TRAVERSE);
            if !traverse.is_null() {
                let traverse: Traverse = core::mem::transmute(traverse);
                traverse(object, add, found);
            }
        }
    }
}

/// Takes what a code object refers to; the collector does not know of it.
///
/// # Safety
/// As [`visit_referents`].
unsafe fn visit_code(code: *mut RawObject, found: *mut c_void) {
    // SAFETY: as the caller says.
    let code = unsafe { Object::borrowed(code) };
    for name in [
        c"co_consts",
        c"co_names",
        c"co_name",
        c"co_qualname",
        c"co_filename",
        c"co_linetable",
        c"co_exceptiontable",
    ] {
        if let Ok(part) = code.attribute(name) {
            // SAFETY: the code object keeps it alive.
            unsafe { add(part.as_raw(), found) };
        }
    }
}

/// The end of the heap, an address.
fn end_of_heap() -> usize {
    // No hole is as large as this, so it lies at the end.
    let room = malloc(ROOM);
    // SAFETY: the block is ours, and given up.
    unsafe { free(room) };
    room as usize
}

/// Takes all that is free below `end`, in both allocators, so that what is allocated next lies behind it.
pub fn fill_holes(end: usize) {
    let mut size = LARGEST_HOLE;
    while size >= SMALLEST_HOLE {
        // SAFETY: the two functions belong together.
        unsafe { fill(size, end, malloc, free) };
        size /= 2;
    }
    for size in (SMALL_STEP..=LARGEST_SMALL).step_by(SMALL_STEP) {
        // SAFETY: as above.
        unsafe { fill(size, end, PyObject_Malloc, PyObject_Free) };
    }
}

/// Takes blocks of a size until one lies at `end` or behind it. What is taken is cleared, so that the image is small.
///
/// # Safety
/// `allocate` must give null or a block of that size, which `free` takes back.
unsafe fn fill(
    size: usize,
    end: usize,
    allocate: extern "C" fn(usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
) {
    loop {
        let block = allocate(size);
        if block.is_null() {
            return;
        }
        // SAFETY: the block is ours, that large, and either given back or kept for ever.
        unsafe {
            if block as usize >= end {
                free(block);
                return;
            }
            block.cast::<u8>().write_bytes(0, size);
        }
    }
}
