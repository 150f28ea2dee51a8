//! Python: starting it, and calling the session's function for an export.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use pyo3_ffi::{
    PyBytes_AsString, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_Size, PyDict_New, PyDict_SetItemString,
    PyErr_Occurred, PyErr_Print, PyEval_GetBuiltins, PyImport_ImportModule, PyObject, PyObject_CallMethod,
    PyObject_CallObject, PyObject_GetAttrString, PyObject_IsTrue, PyTuple_Check, PyTuple_GetItem, PyTuple_New,
    PyTuple_SetItem, PyUnicode_AsEncodedString, PyUnicode_Check, Py_DECREF, Py_ssize_t, Py_file_input,
};

use crate::native::{self, source_of, to_text};
use crate::stack::{Call, Value};
use crate::world::{self, ExportFunc};

/// PEP 741: configuration without structures whose layout changes between versions.
#[repr(C)]
struct InitConfig {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn PyInitConfig_Create() -> *mut InitConfig;
    fn PyInitConfig_Free(config: *mut InitConfig);
    fn PyInitConfig_GetError(config: *mut InitConfig, message: *mut *const c_char) -> c_int;
    fn PyInitConfig_SetInt(config: *mut InitConfig, name: *const c_char, value: i64) -> c_int;
    fn PyInitConfig_SetStr(config: *mut InitConfig, name: *const c_char, value: *const c_char) -> c_int;
    fn PyInitConfig_SetStrList(
        config: *mut InitConfig,
        name: *const c_char,
        length: usize,
        items: *const *const c_char,
    ) -> c_int;
    fn PyInitConfig_AddModule(
        config: *mut InitConfig,
        name: *const c_char,
        init: extern "C" fn() -> *mut PyObject,
    ) -> c_int;
    fn Py_InitializeFromInitConfig(config: *mut InitConfig) -> c_int;
    fn PyRun_String(
        source: *const c_char,
        start: c_int,
        globals: *mut PyObject,
        locals: *mut PyObject,
    ) -> *mut PyObject;
}

const PREFIX: &CStr = c"/usr";
const STDLIB: &CStr = c"/usr/lib/python3.14";
const SITE_PACKAGES: &CStr = c"/usr/lib/python3.14/site-packages";

thread_local! {
    static STARTED: Cell<bool> = const { Cell::new(false) };
}

/// Starts Python and the session, once. A constructor cannot do it: those of other libraries may not have run.
fn start() {
    if STARTED.replace(true) {
        return;
    }
    // SAFETY: Python is not running yet; all texts are NUL-terminated and live until the call returns.
    unsafe {
        let config = PyInitConfig_Create();
        assert!(!config.is_null(), "out of memory");
        let integers = [
            (c"isolated", 1),
            (c"use_environment", 0),
            (c"utf8_mode", 1),
            (c"install_signal_handlers", 0),
            (c"write_bytecode", 0),
            (c"site_import", 1),
            (c"user_site_directory", 0),
            (c"configure_c_stdio", 0),
            (c"parse_argv", 0),
        ];
        let mut failed = 0;
        for (name, value) in integers {
            failed |= PyInitConfig_SetInt(config, name.as_ptr(), value);
        }
        for name in [c"home", c"prefix", c"exec_prefix", c"base_prefix", c"base_exec_prefix"] {
            failed |= PyInitConfig_SetStr(config, name.as_ptr(), PREFIX.as_ptr());
        }
        failed |= PyInitConfig_SetStr(config, c"stdlib_dir".as_ptr(), STDLIB.as_ptr());
        failed |= PyInitConfig_SetStr(config, c"executable".as_ptr(), c"".as_ptr());
        let paths = [STDLIB.as_ptr(), SITE_PACKAGES.as_ptr()];
        failed |= PyInitConfig_SetInt(config, c"module_search_paths_set".as_ptr(), 1);
        failed |= PyInitConfig_SetStrList(config, c"module_search_paths".as_ptr(), paths.len(), paths.as_ptr());
        let argv = [c"".as_ptr()];
        failed |= PyInitConfig_SetStrList(config, c"argv".as_ptr(), 1, argv.as_ptr());
        failed |= PyInitConfig_AddModule(config, c"_eryx".as_ptr(), native::initialise);
        if failed != 0 || Py_InitializeFromInitConfig(config) != 0 {
            let mut message = c"unknown error".as_ptr();
            PyInitConfig_GetError(config, &mut message);
            fatal(&format!("cannot start Python: {}", CStr::from_ptr(message).to_string_lossy()));
        }
        PyInitConfig_Free(config);

        let source = source_of("_eryx_importer").unwrap_or_default();
        let source = CString::new(source).unwrap_or_default();
        let globals = PyDict_New();
        let ok = !globals.is_null()
            && PyDict_SetItemString(globals, c"__builtins__".as_ptr(), builtins()) == 0
            && PyDict_SetItemString(globals, c"__name__".as_ptr(), to_text(b"_eryx_importer")) == 0
            && !PyRun_String(source.as_ptr(), Py_file_input, globals, globals).is_null();
        let session = if ok { PyImport_ImportModule(c"_eryx_session".as_ptr()) } else { ptr::null_mut() };
        if session.is_null() || PyObject_CallMethod(session, c"start".as_ptr(), ptr::null()).is_null() {
            PyErr_Print();
            fatal("cannot start the session");
        }
    }
}

/// # Safety
/// Python must be running.
unsafe fn builtins() -> *mut PyObject {
    // SAFETY: by our contract; without a frame, Python gives the main interpreter's.
    unsafe {
        let found = PyEval_GetBuiltins();
        if found.is_null() { PyImport_ImportModule(c"builtins".as_ptr()) } else { found }
    }
}

/// Ends the instance: there is nobody to whom the failure could be returned.
fn fatal(message: &str) -> ! {
    eprintln!("eryx: {message}");
    std::process::abort()
}

/// Calls the session's function of the export's name with the arguments on the stack, and leaves its result
/// there.
pub fn call(export: &'static ExportFunc, call: &mut Call) {
    start();
    let mut arguments: Vec<Value> = (0..export.nparams).map(|_| call.pop()).collect();
    arguments.reverse();
    let name = export.name().replace('-', "_");
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: Python is running; every new reference is given away or freed.
    unsafe {
        let session = PyImport_ImportModule(c"_eryx_session".as_ptr());
        let function =
            if session.is_null() { ptr::null_mut() } else { PyObject_GetAttrString(session, name.as_ptr()) };
        if function.is_null() {
            PyErr_Print();
            fatal(&format!("the world asks for the export `{}`, which this runtime lacks", export.name()));
        }
        let tuple = PyTuple_New(arguments.len() as Py_ssize_t);
        for (index, argument) in arguments.iter().enumerate() {
            PyTuple_SetItem(tuple, index as Py_ssize_t, to_python(export, argument));
        }
        drop(arguments);
        let result = PyObject_CallObject(function, tuple);
        Py_DECREF(tuple);
        Py_DECREF(function);
        Py_DECREF(session);
        if result.is_null() || !PyErr_Occurred().is_null() {
            // The session's functions catch everything: this is out of memory, or a mistake of ours.
            PyErr_Print();
            fatal(&format!("the session failed in `{}`", export.name()));
        }
        if let Some(value) = to_value(result) {
            call.push(value);
        }
        Py_DECREF(result);
    }
}

/// A string or bytes, as the export's parameter wants it.
///
/// # Safety
/// Python must be running.
unsafe fn to_python(export: &ExportFunc, argument: &Value) -> *mut PyObject {
    let bytes = argument.bytes();
    if world::get().takes_bytes(export) {
        // SAFETY: pointer and length are of one slice.
        unsafe { PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as Py_ssize_t) }
    } else {
        to_text(bytes)
    }
}

/// `None`, `(succeeded, value)`, a string or bytes as what the canonical ABI lowers.
///
/// # Safety
/// Python must be running and `object` be alive.
unsafe fn to_value(object: *mut PyObject) -> Option<Value> {
    // SAFETY: by our contract; borrowed references live as long as `object`.
    unsafe {
        if PyTuple_Check(object) != 0 {
            let succeeded = PyObject_IsTrue(PyTuple_GetItem(object, 0)) == 1;
            let payload = to_value(PyTuple_GetItem(object, 1)).map(Box::new);
            return Some(Value::Case(u32::from(!succeeded), payload));
        }
        if PyBytes_Check(object) != 0 {
            return Some(Value::Bytes(copied(object)));
        }
        if PyUnicode_Check(object) != 0 {
            // Lone surrogates cannot cross; what stands for them can.
            let encoded = PyUnicode_AsEncodedString(object, c"utf-8".as_ptr(), c"backslashreplace".as_ptr());
            if encoded.is_null() {
                fatal("out of memory");
            }
            let bytes = copied(encoded);
            Py_DECREF(encoded);
            return Some(Value::Bytes(bytes));
        }
        None
    }
}

/// # Safety
/// Python must be running and `bytes` be a `bytes` object.
unsafe fn copied(bytes: *mut PyObject) -> Vec<u8> {
    // SAFETY: by our contract.
    unsafe {
        std::slice::from_raw_parts(PyBytes_AsString(bytes).cast(), PyBytes_Size(bytes) as usize).to_vec()
    }
}
