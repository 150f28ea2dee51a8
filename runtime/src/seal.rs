//! Sealing: what makes a saved memory one that instances read and hardly write.
//!
//! Instances of an image share its pages until they write to them, and each page that is written costs a fault, a
//! copy, and its part in the reset of a pool's slot, which is only cheap for a few runs of pages. Python writes
//! everywhere: to the count of references of whatever it touches, and to whatever hole of the heap is free. So
//! before the memory is saved, every object in it becomes immortal (PEP 683), and the holes are filled: what an
//! instance allocates then lies side by side behind the image.

use alloc::vec::Vec;
use core::ffi::{c_int, c_ulong, c_void};
use core::ptr;

use crate::python::{Object, RawObject};

/// `_Py_IMMORTAL_INITIAL_REFCNT` where pointers have 32 bits: the count of an object that lives for ever.
#[cfg(target_pointer_width = "32")]
const IMMORTAL: isize = 5 << 28;
/// `Py_tp_traverse`.
const SLOT_TRAVERSE: c_int = 71;
/// `Py_TPFLAGS_DICT_SUBCLASS`.
const IS_DICT: c_ulong = 1 << 29;

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

type Visit = unsafe extern "C" fn(*mut RawObject, *mut c_void) -> c_int;
type Traverse = unsafe extern "C" fn(*mut RawObject, Visit, *mut c_void) -> c_int;

unsafe extern "C" {
    static mut PyCode_Type: RawObject;

    fn malloc(size: usize) -> *mut c_void;
    fn free(pointer: *mut c_void);
    fn PyObject_Malloc(size: usize) -> *mut c_void;
    fn PyObject_Free(pointer: *mut c_void);
    fn PyUnstable_GC_VisitObjects(callback: Visit, argument: *mut c_void);
    fn PyUnstable_IsImmortal(object: *mut RawObject) -> c_int;
    fn PyGC_Collect() -> isize;
    fn PyObject_IS_GC(object: *mut RawObject) -> c_int;
    fn PyType_GetFlags(class: *mut RawObject) -> c_ulong;
    fn PyType_GetSlot(class: *mut RawObject, slot: c_int) -> *mut c_void;
    fn Py_TYPE(object: *mut RawObject) -> *mut RawObject;
    fn PyDict_Next(
        dict: *mut RawObject,
        position: *mut isize,
        key: *mut *mut RawObject,
        value: *mut *mut RawObject,
    ) -> c_int;
}

/// Seals the memory; Python runs, and nothing is called before the memory is saved.
pub fn seal() {
    immortalise();
    // The collector itself has nothing to do, but gives up what types keep for their next objects.
    // SAFETY: Python runs, and no collection is under way.
    unsafe { PyGC_Collect() };
    fill_holes(end_of_heap());
}

/// Makes every object immortal that is there.
fn immortalise() {
    let mut found: Vec<*mut RawObject> = Vec::new();
    let argument: *mut c_void = (&raw mut found).cast();
    // SAFETY: the callback gets what it expects, and no Python code runs meanwhile.
    unsafe { PyUnstable_GC_VisitObjects(add_container, argument) };
    while let Some(object) = found.pop() {
        let argument: *mut c_void = (&raw mut found).cast();
        // SAFETY: nothing is freed meanwhile, so the object lives, and so does what it refers to.
        unsafe { visit_referents(object, argument) };
    }
}

/// `gcvisitobjects_t`: takes an object that the collector knows, and goes on.
unsafe extern "C" fn add_container(object: *mut RawObject, found: *mut c_void) -> c_int {
    // SAFETY: as for the other one.
    unsafe { add(object, found) };
    1
}

/// `visitproc`: takes an object that has not been taken yet.
unsafe extern "C" fn add(object: *mut RawObject, found: *mut c_void) -> c_int {
    // SAFETY: the collector passes objects, and the argument is the list that we gave it. The count is an object's
    // first word.
    unsafe {
        if !object.is_null() && PyUnstable_IsImmortal(object) == 0 {
            #[cfg(target_pointer_width = "32")]
            object.cast::<isize>().write(IMMORTAL);
            (*found.cast::<Vec<*mut RawObject>>()).push(object);
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
        if PyType_GetFlags(class) & IS_DICT != 0 {
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
    for name in
        [c"co_consts", c"co_names", c"co_name", c"co_qualname", c"co_filename", c"co_linetable", c"co_exceptiontable"]
    {
        if let Ok(part) = code.attribute(name) {
            // SAFETY: the code object keeps it alive.
            unsafe { add(part.as_raw(), found) };
        }
    }
}

/// The end of the heap, an address; what is allocated from now on lies behind it if [`fill_holes`] is told so.
#[must_use]
pub fn end_of_heap() -> usize {
    // SAFETY: `malloc` takes any size, and what it gives is given back.
    unsafe {
        // No hole is as large as this, so it lies at the end.
        let room = malloc(ROOM);
        free(room);
        room as usize
    }
}

/// Takes all that is free below `end`, in both allocators, so that what is allocated next lies behind it.
pub fn fill_holes(end: usize) {
    // SAFETY: `malloc` takes any size; what it gives is only written to within that size, and given back or kept.
    unsafe {
        let mut size = LARGEST_HOLE;
        while size >= SMALLEST_HOLE {
            fill(size, end, |size| malloc(size), |block| free(block));
            size /= 2;
        }
        for size in (SMALL_STEP..=LARGEST_SMALL).step_by(SMALL_STEP) {
            fill(size, end, |size| PyObject_Malloc(size), |block| PyObject_Free(block));
        }
    }
}

/// Takes blocks of a size until one lies at `end` or behind it. What is taken is cleared, so that the image is small.
///
/// # Safety
/// `allocate` must give null or a block of that size, which `free` takes back.
unsafe fn fill(
    size: usize,
    end: usize,
    allocate: impl Fn(usize) -> *mut c_void,
    free: impl Fn(*mut c_void),
) {
    loop {
        let block = allocate(size);
        if block.is_null() {
            return;
        }
        if block as usize >= end {
            free(block);
            return;
        }
        // SAFETY: the block is ours and that large.
        unsafe { block.cast::<u8>().write_bytes(0, size) };
    }
}
