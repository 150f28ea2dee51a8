//! The part of Python's C API that the runtime uses.
//!
//! Everything here belongs to the stable ABI of CPython 3.14, but for the hash secret and what seals the memory; the documentation of the originals
//! applies. The safe form of most of it is `python.rs`.

#![allow(missing_docs, reason = "the originals' documentation applies")]

use core::ffi::{CStr, c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_ulonglong, c_void};
use core::ptr;

/// `PyObject`.
#[repr(C)]
pub struct RawObject {
    _opaque: [u8; 0],
}

/// A function that Python calls with its arguments as an array.
pub type FastFunction = unsafe extern "C" fn(*mut RawObject, *const *mut RawObject, isize) -> *mut RawObject;

/// `PyMethodDef`.
#[repr(C)]
pub struct Method {
    name: *const c_char,
    function: Option<FastFunction>,
    flags: c_int,
    doc: *const c_char,
}

// SAFETY: the pointers lead to constants.
unsafe impl Sync for Method {}

impl Method {
    /// The entry that ends a table.
    pub const END: Self = Self { name: ptr::null(), function: None, flags: 0, doc: ptr::null() };

    /// A function that takes its arguments as an array.
    #[must_use]
    pub const fn new(name: &'static CStr, doc: &'static CStr, function: FastFunction) -> Self {
        const METH_FASTCALL: c_int = 0x80;
        Self { name: name.as_ptr(), function: Some(function), flags: METH_FASTCALL, doc: doc.as_ptr() }
    }
}

/// `Py_buffer`.
#[repr(C)]
pub struct RawBuffer {
    pub place: *mut c_void,
    pub object: *mut RawObject,
    pub size: isize,
    pub item_size: isize,
    pub read_only: c_int,
    pub dimensions: c_int,
    pub format: *mut c_char,
    pub shape: *mut isize,
    pub strides: *mut isize,
    pub sub_offsets: *mut isize,
    pub internal: *mut c_void,
}

/// `_Py_HashSecret_t`: the secret of Python's own hashes, then the salt that its XML parsers get.
#[repr(C)]
pub struct HashSecret {
    pub python: [u8; 16],
    pub xml: [u8; 8],
}

/// `Py_TPFLAGS_IMMUTABLETYPE`.
pub const TYPE_IS_IMMUTABLE: c_uint = 1 << 8;
/// `Py_tp_doc`.
pub const SLOT_DOC: c_int = 56;
/// `Py_tp_new`.
pub const SLOT_NEW: c_int = 65;
/// `Py_tp_str`.
pub const SLOT_STR: c_int = 70;

/// `Py_tp_traverse`.
pub const SLOT_TRAVERSE: c_int = 71;
/// `Py_TPFLAGS_DICT_SUBCLASS`.
pub const TYPE_IS_DICT: c_ulong = 1 << 29;
/// `_Py_IMMORTAL_INITIAL_REFCNT` where pointers have 32 bits: the count of an object that lives for ever.
pub const IMMORTAL: isize = 5 << 28;

/// `visitproc`, and `gcvisitobjects_t`.
pub type Visit = unsafe extern "C" fn(*mut RawObject, *mut c_void) -> c_int;
/// `traverseproc`.
pub type Traverse = unsafe extern "C" fn(*mut RawObject, Visit, *mut c_void) -> c_int;

/// `newfunc`.
pub type NewFunction = unsafe extern "C" fn(*mut RawObject, *mut RawObject, *mut RawObject) -> *mut RawObject;

/// `PyType_Slot`.
#[repr(C)]
pub struct Slot {
    pub slot: c_int,
    pub function: *mut c_void,
}

/// `PyType_Spec`.
#[repr(C)]
pub struct Spec {
    pub name: *const c_char,
    pub basic_size: c_int,
    pub item_size: c_int,
    pub flags: c_uint,
    pub slots: *mut Slot,
}

/// `Py_CONSTANT_NONE`.
pub const CONSTANT_NONE: u32 = 0;
/// `_PyOS_STACK_MARGIN_BYTES`, as our patch sets it: two of them lie between the end of a stack and the limit.
pub const STACK_MARGIN: usize = 16 << 10;
/// `Py_file_input`.
pub const FILE_INPUT: c_int = 257;

unsafe extern "C" {
    pub static mut PyExc_BaseException: *mut RawObject;
    pub static mut PyExc_KeyboardInterrupt: *mut RawObject;
    pub static mut PyExc_RuntimeError: *mut RawObject;
    pub static mut PyUnicode_Type: RawObject;
    pub static mut _Py_HashSecret: HashSecret;
    /// Of `0010-output-told.patch`.
    pub static mut _PyIO_Touched: c_int;

    pub fn PyInitConfig_Create() -> *mut c_void;
    pub fn PyInitConfig_Free(config: *mut c_void);
    pub fn PyInitConfig_GetError(config: *mut c_void, message: *mut *const c_char) -> c_int;
    pub fn PyInitConfig_SetInt(config: *mut c_void, name: *const c_char, value: i64) -> c_int;
    pub fn PyInitConfig_SetStr(config: *mut c_void, name: *const c_char, value: *const c_char) -> c_int;
    pub fn PyInitConfig_SetStrList(
        config: *mut c_void,
        name: *const c_char,
        length: usize,
        items: *const *const c_char,
    ) -> c_int;
    pub fn Py_InitializeFromInitConfig(config: *mut c_void) -> c_int;
    pub fn PyInitConfig_GetExitCode(config: *mut c_void, code: *mut c_int) -> c_int;
    pub fn Py_RunMain() -> c_int;

    pub fn PyThreadState_Get() -> *mut c_void;
    pub fn PyUnstable_ThreadState_SetStackProtection(
        thread: *mut c_void,
        start: *mut c_void,
        size: usize,
    ) -> c_int;

    pub fn Py_IncRef(object: *mut RawObject);
    pub fn Py_DecRef(object: *mut RawObject);
    pub fn Py_GetConstant(constant: u32) -> *mut RawObject;
    pub fn Py_CompileString(source: *const c_char, file: *const c_char, start: c_int) -> *mut RawObject;
    pub fn PyImport_ExecCodeModule(name: *const c_char, code: *mut RawObject) -> *mut RawObject;
    pub fn PyImport_ImportModule(name: *const c_char) -> *mut RawObject;
    pub fn PyImport_AddModuleRef(name: *const c_char) -> *mut RawObject;
    pub fn PyModule_AddFunctions(module: *mut RawObject, methods: *const Method) -> c_int;

    pub fn PyErr_GetRaisedException() -> *mut RawObject;
    pub fn PyErr_SetString(kind: *mut RawObject, message: *const c_char);
    pub fn PyErr_Clear();

    pub fn PyObject_GetAttrString(object: *mut RawObject, name: *const c_char) -> *mut RawObject;
    pub fn PyObject_Str(object: *mut RawObject) -> *mut RawObject;
    pub fn PyObject_IsTrue(object: *mut RawObject) -> c_int;

    pub fn PyUnicode_DecodeUTF8(text: *const c_char, size: isize, errors: *const c_char) -> *mut RawObject;
    pub fn PyUnicode_AsEncodedString(
        text: *mut RawObject,
        encoding: *const c_char,
        errors: *const c_char,
    ) -> *mut RawObject;
    pub fn PyBytes_FromStringAndSize(bytes: *const c_char, size: isize) -> *mut RawObject;
    pub fn PyObject_GetBuffer(object: *mut RawObject, view: *mut RawBuffer, flags: c_int) -> c_int;
    pub fn PyBuffer_Release(view: *mut RawBuffer);
    pub fn PyObject_IsInstance(object: *mut RawObject, class: *mut RawObject) -> c_int;
    pub fn PyUnicode_AsUTF8AndSize(text: *mut RawObject, size: *mut isize) -> *const c_char;
    pub fn PyLong_FromLongLong(value: c_longlong) -> *mut RawObject;
    pub fn PyLong_FromUnsignedLongLong(value: c_ulonglong) -> *mut RawObject;
    pub fn PyLong_AsLongLong(object: *mut RawObject) -> c_longlong;
    pub fn PyLong_AsUnsignedLongLong(object: *mut RawObject) -> c_ulonglong;
    pub fn PyBool_FromLong(value: c_long) -> *mut RawObject;
    pub fn PyFloat_FromDouble(value: f64) -> *mut RawObject;
    pub fn PyFloat_AsDouble(object: *mut RawObject) -> f64;
    pub fn PyList_New(size: isize) -> *mut RawObject;
    pub fn PyList_SetItem(list: *mut RawObject, index: isize, item: *mut RawObject) -> c_int;
    pub fn PyTuple_New(size: isize) -> *mut RawObject;
    pub fn PyTuple_SetItem(tuple: *mut RawObject, index: isize, item: *mut RawObject) -> c_int;
    pub fn PySequence_Size(object: *mut RawObject) -> isize;
    pub fn PySequence_GetItem(object: *mut RawObject, index: isize) -> *mut RawObject;
    pub fn PyErr_Occurred() -> *mut RawObject;

    pub fn PyThread_get_thread_ident() -> c_ulong;
    pub fn PyThreadState_SetAsyncExc(thread: c_ulong, exception: *mut RawObject) -> c_int;
    pub fn PyType_FromSpecWithBases(spec: *mut Spec, bases: *mut RawObject) -> *mut RawObject;
    pub fn PyType_GetSlot(class: *mut RawObject, slot: c_int) -> *mut c_void;
    pub fn PyConfig_Set(name: *const c_char, value: *mut RawObject) -> c_int;
    pub fn PyObject_CallNoArgs(callable: *mut RawObject) -> *mut RawObject;
    pub fn PyObject_Vectorcall(
        function: *mut RawObject,
        arguments: *const *mut RawObject,
        count: usize,
        names: *mut RawObject,
    ) -> *mut RawObject;

    pub static mut PyCode_Type: RawObject;
    pub safe fn PyObject_Malloc(size: usize) -> *mut c_void;
    pub fn PyObject_Free(pointer: *mut c_void);
    pub fn PyGC_Collect() -> isize;
    pub fn PyUnstable_GC_VisitObjects(callback: Visit, argument: *mut c_void);
    pub fn PyUnstable_IsImmortal(object: *mut RawObject) -> c_int;
    pub fn PyObject_IS_GC(object: *mut RawObject) -> c_int;
    pub fn PyType_GetFlags(class: *mut RawObject) -> c_ulong;
    pub fn Py_TYPE(object: *mut RawObject) -> *mut RawObject;
    pub fn PyDict_Next(
        dict: *mut RawObject,
        position: *mut isize,
        key: *mut *mut RawObject,
        value: *mut *mut RawObject,
    ) -> c_int;
}

/// Defines functions with Python's calling convention around Rust ones, which get the arguments as a slice.
macro_rules! export_to_python {
    ($($name:ident => $body:path;)*) => {
        $(unsafe extern "C" fn $name(
            _: *mut $crate::ffi::python::RawObject,
            arguments: *const *mut $crate::ffi::python::RawObject,
            count: isize,
        ) -> *mut $crate::ffi::python::RawObject {
            // SAFETY: Python passes as many objects as it says.
            unsafe { $crate::python::answer(arguments, count, $body) }
        })*
    };
}
pub(crate) use export_to_python;
