//! The Python module `_eryx`: what the runtime's Python files ask of the component.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use pyo3_ffi::{
    METH_VARARGS, PyErr_NoMemory, PyErr_SetString, PyExc_RuntimeError, PyList_Append, PyList_New, PyLong_FromUnsignedLong,
    PyMethodDef, PyMethodDefPointer, PyModuleDef, PyModuleDef_HEAD_INIT, PyModule_Create, PyObject,
    PyTuple_New, PyTuple_SetItem, PyUnicode_DecodeUTF8, Py_DECREF, Py_None, Py_NewRef, Py_ssize_t,
};

use crate::stack::{Call, Value};
use crate::subtask::{self, Started};
use crate::world;

unsafe extern "C" {
    fn PyArg_ParseTuple(arguments: *mut PyObject, format: *const c_char, ...) -> c_int;
    fn PyBool_FromLong(value: std::ffi::c_long) -> *mut PyObject;
}

/// The runtime's Python files, compiled in.
const SOURCES: &[(&str, &str)] = &[
    ("_eryx_callbacks", include_str!("../python/_eryx_callbacks.py")),
    ("_eryx_errors", include_str!("../python/_eryx_errors.py")),
    ("_eryx_importer", include_str!("../python/_eryx_importer.py")),
    ("_eryx_loop", include_str!("../python/_eryx_loop.py")),
    ("_eryx_output", include_str!("../python/_eryx_output.py")),
    ("_eryx_session", include_str!("../python/_eryx_session.py")),
    ("_eryx_snapshot", include_str!("../python/_eryx_snapshot.py")),
    ("_eryx_trace", include_str!("../python/_eryx_trace.py")),
    ("_eryx_values", include_str!("../python/_eryx_values.py")),
    ("eryx", include_str!("../python/eryx.py")),
];

/// The source of one of the runtime's Python modules.
pub fn source_of(name: &str) -> Option<&'static str> {
    SOURCES.iter().find(|(other, _)| *other == name).map(|(_, source)| *source)
}

/// A Python string; bytes that are no UTF-8 become replacement characters.
pub fn to_text(bytes: &[u8]) -> *mut PyObject {
    // SAFETY: pointer and length are of one slice; the handler's name is a constant.
    unsafe { PyUnicode_DecodeUTF8(bytes.as_ptr().cast(), bytes.len() as Py_ssize_t, c"replace".as_ptr()) }
}

fn fail(message: &CStr) -> *mut PyObject {
    // SAFETY: called with Python running; the message is NUL-terminated.
    unsafe { PyErr_SetString(PyExc_RuntimeError, message.as_ptr()) };
    ptr::null_mut()
}

fn none() -> *mut PyObject {
    // SAFETY: called with Python running.
    unsafe { Py_NewRef(Py_None()) }
}

/// A tuple of new references; frees them when it cannot be made.
fn tuple(items: &[*mut PyObject]) -> *mut PyObject {
    // SAFETY: every item is a new reference or null after a failure, and is given away or freed exactly once.
    unsafe {
        let made = PyTuple_New(items.len() as Py_ssize_t);
        if made.is_null() || items.iter().any(|item| item.is_null()) {
            items.iter().filter(|item| !item.is_null()).for_each(|item| Py_DECREF(*item));
            if !made.is_null() {
                Py_DECREF(made);
            }
            return ptr::null_mut();
        }
        for (index, item) in items.iter().enumerate() {
            PyTuple_SetItem(made, index as Py_ssize_t, *item);
        }
        made
    }
}

/// `result<string, string>` as `(succeeded, text)`.
fn outcome(value: &Value) -> *mut PyObject {
    let (succeeded, bytes) = match value {
        Value::Case(case, payload) => (*case == 0, payload.as_ref().map_or(&[][..], |payload| payload.bytes())),
        other => (true, other.bytes()),
    };
    // SAFETY: called with Python running.
    tuple(&[unsafe { PyBool_FromLong(succeeded.into()) }, to_text(bytes)])
}

/// The slice behind a pointer and a length that Python parsed.
///
/// # Safety
/// The pair must be Python's, and its object alive for as long as the slice is used.
unsafe fn slice<'a>(ptr: *const c_char, len: Py_ssize_t) -> &'a [u8] {
    if ptr.is_null() || len <= 0 {
        return &[];
    }
    // SAFETY: by our contract.
    unsafe { std::slice::from_raw_parts(ptr.cast(), len as usize) }
}

/// Two strings among a function's arguments.
///
/// # Safety
/// `arguments` must be the tuple of a call that goes on as long as the slices are used.
unsafe fn two_texts<'a>(arguments: *mut PyObject) -> Option<(&'a [u8], &'a [u8])> {
    let (mut one, mut one_len, mut two, mut two_len) = (ptr::null(), 0, ptr::null(), 0);
    // SAFETY: the format asks for two strings with lengths, and gets pointers to four places.
    let parsed = unsafe {
        PyArg_ParseTuple(
            arguments,
            c"s#s#".as_ptr(),
            &raw mut one as *mut *const c_char,
            &raw mut one_len as *mut Py_ssize_t,
            &raw mut two as *mut *const c_char,
            &raw mut two_len as *mut Py_ssize_t,
        )
    };
    // SAFETY: both pairs are Python's, and the arguments keep them alive.
    (parsed != 0).then(|| unsafe { (slice(one, one_len), slice(two, two_len)) })
}

/// A number among a function's arguments.
///
/// # Safety
/// `arguments` must be the tuple of a call.
unsafe fn number(arguments: *mut PyObject) -> Option<u32> {
    let mut value: std::ffi::c_uint = 0;
    // SAFETY: the format asks for one unsigned integer and gets a pointer to its place.
    let parsed = unsafe { PyArg_ParseTuple(arguments, c"I".as_ptr(), &raw mut value) };
    (parsed != 0).then_some(value)
}

unsafe extern "C" fn source(_: *mut PyObject, arguments: *mut PyObject) -> *mut PyObject {
    let (mut name, mut len) = (ptr::null(), 0);
    // SAFETY: the format asks for a string with its length, and gets pointers to two places.
    let parsed = unsafe {
        PyArg_ParseTuple(
            arguments,
            c"s#".as_ptr(),
            &raw mut name as *mut *const c_char,
            &raw mut len as *mut Py_ssize_t,
        )
    };
    if parsed == 0 {
        return ptr::null_mut();
    }
    // SAFETY: the pair is Python's, and the arguments keep it alive.
    let name = unsafe { slice(name, len) };
    match std::str::from_utf8(name).ok().and_then(source_of) {
        Some(source) => to_text(source.as_bytes()),
        None => none(),
    }
}

unsafe extern "C" fn start_invoke(_: *mut PyObject, arguments: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls us with the tuple of the call.
    let Some((name, json)) = (unsafe { two_texts(arguments) }) else { return ptr::null_mut() };
    let Some(import) = world::get().import("invoke") else {
        return fail(c"this world has no callbacks");
    };
    match subtask::start(import, vec![Value::Bytes(name.to_vec()), Value::Bytes(json.to_vec())]) {
        Started::Done(value) => outcome(&value),
        // SAFETY: called with Python running.
        Started::Subtask(subtask) => unsafe { PyLong_FromUnsignedLong(subtask as _) },
    }
}

fn event(found: Option<(u32, Value)>) -> *mut PyObject {
    match found {
        None => none(),
        Some((subtask, value)) => {
            // SAFETY: called with Python running.
            tuple(&[unsafe { PyLong_FromUnsignedLong(subtask as _) }, outcome(&value)])
        }
    }
}

unsafe extern "C" fn wait(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    match subtask::wait() {
        None => fail(c"no callback is pending"),
        found => event(found),
    }
}

unsafe extern "C" fn poll(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    event(subtask::poll())
}

unsafe extern "C" fn cancel(_: *mut PyObject, arguments: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls us with the tuple of the call.
    let Some(subtask) = (unsafe { number(arguments) }) else { return ptr::null_mut() };
    subtask::cancel(subtask);
    none()
}

unsafe extern "C" fn yield_now(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    subtask::yield_now();
    none()
}

/// Calls a synchronous import; a world without it gives `None`.
fn call_import(name: &str, arguments: Vec<Value>, has_result: bool) -> Option<Value> {
    let import = world::get().import(name)?;
    let function = import.call?;
    let mut call = Box::<Call>::default();
    arguments.into_iter().rev().for_each(|argument| call.push(argument));
    // SAFETY: the function is the bindings'; the call lives until it returns.
    unsafe { function(ptr::from_mut(&mut *call).cast()) };
    has_result.then(|| call.pop())
}

unsafe extern "C" fn list_callbacks(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called with Python running; every new reference is given away or freed.
    unsafe {
        let list = PyList_New(0);
        if list.is_null() {
            return PyErr_NoMemory();
        }
        if let Some(Value::List(items)) = call_import("list-callbacks", Vec::new(), true) {
            for item in items {
                let Value::Record(fields) = item else { continue };
                let texts: Vec<_> = fields.iter().map(|field| to_text(field.bytes())).collect();
                let item = tuple(&texts);
                if item.is_null() || PyList_Append(list, item) != 0 {
                    Py_DECREF(list);
                    return ptr::null_mut();
                }
                Py_DECREF(item);
            }
        }
        list
    }
}

unsafe extern "C" fn report_trace(_: *mut PyObject, arguments: *mut PyObject) -> *mut PyObject {
    let mut line: std::ffi::c_uint = 0;
    let (mut event, mut event_len, mut context, mut context_len) = (ptr::null(), 0, ptr::null(), 0);
    // SAFETY: the format asks for a number and two strings with lengths, and gets pointers to five places.
    let parsed = unsafe {
        PyArg_ParseTuple(
            arguments,
            c"Is#s#".as_ptr(),
            &raw mut line,
            &raw mut event as *mut *const c_char,
            &raw mut event_len as *mut Py_ssize_t,
            &raw mut context as *mut *const c_char,
            &raw mut context_len as *mut Py_ssize_t,
        )
    };
    if parsed == 0 {
        return ptr::null_mut();
    }
    // SAFETY: both pairs are Python's, and the arguments keep them alive.
    let (event, context) = unsafe { (slice(event, event_len), slice(context, context_len)) };
    let values =
        vec![Value::Word(line.into()), Value::Bytes(event.to_vec()), Value::Bytes(context.to_vec())];
    call_import("report-trace", values, false);
    none()
}

/// A table that Python keeps for ever.
struct Static<T>(std::cell::UnsafeCell<T>);

// SAFETY: there is one thread, and only Python touches what is inside.
unsafe impl<T> Sync for Static<T> {}

const fn method(
    name: &'static CStr,
    function: unsafe extern "C" fn(*mut PyObject, *mut PyObject) -> *mut PyObject,
) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunction: function },
        ml_flags: METH_VARARGS,
        ml_doc: ptr::null(),
    }
}

static METHODS: Static<[PyMethodDef; 9]> = Static(std::cell::UnsafeCell::new([
    method(c"source", source),
    method(c"start_invoke", start_invoke),
    method(c"wait", wait),
    method(c"poll", poll),
    method(c"cancel", cancel),
    method(c"yield_now", yield_now),
    method(c"list_callbacks", list_callbacks),
    method(c"report_trace", report_trace),
    PyMethodDef::zeroed(),
]));

static MODULE: Static<PyModuleDef> = Static(std::cell::UnsafeCell::new(PyModuleDef {
    m_base: PyModuleDef_HEAD_INIT,
    m_name: c"_eryx".as_ptr(),
    m_doc: ptr::null(),
    m_size: -1,
    m_methods: METHODS.0.get().cast(),
    m_slots: ptr::null_mut(),
    m_traverse: None,
    m_clear: None,
    m_free: None,
}));

/// Makes the module; Python calls it at the first import.
pub extern "C" fn initialise() -> *mut PyObject {
    // SAFETY: called by Python, once; the definition lives for ever.
    unsafe { PyModule_Create(MODULE.0.get()) }
}
