//! Python's objects, configuration and functions in safe form: an owned reference on top of the C API.

use alloc::ffi::CString;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::ptr;

use crate::error::{Error, Result};
use crate::ffi::python::*;

/// An owned reference to a Python object.
#[derive(Debug)]
pub struct Object(*mut RawObject);

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and given up here.
        unsafe { Py_DecRef(self.0) };
    }
}

impl Clone for Object {
    fn clone(&self) -> Self {
        // SAFETY: the object lives as long as our reference.
        unsafe { Self::borrowed(self.0) }
    }
}

impl Object {
    /// Takes a new reference that the C API returned; null means that an exception is set.
    ///
    /// # Safety
    /// A pointer that is not null must be a reference of the caller's.
    pub unsafe fn owned(raw: *mut RawObject) -> Result<Self> {
        if raw.is_null() { Err(take_exception()) } else { Ok(Self(raw)) }
    }

    /// Makes a reference to an object that somebody else keeps alive.
    ///
    /// # Safety
    /// The pointer must lead to an object.
    #[must_use]
    pub unsafe fn borrowed(raw: *mut RawObject) -> Self {
        // SAFETY: as the caller says.
        unsafe { Py_IncRef(raw) };
        Self(raw)
    }

    /// Gives the reference to the C API.
    #[must_use]
    pub fn into_raw(self) -> *mut RawObject {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }

    /// The object, for the C API; it lives at least as long as this reference.
    #[must_use]
    pub fn as_raw(&self) -> *mut RawObject {
        self.0
    }

    /// `None`.
    #[must_use]
    pub fn none() -> Self {
        // SAFETY: constants always exist, and the function returns a new reference.
        Self(unsafe { Py_GetConstant(CONSTANT_NONE) })
    }

    /// `True` or `False`.
    pub fn bool(value: bool) -> Result<Self> {
        // SAFETY: the function takes any number.
        unsafe { Self::owned(PyBool_FromLong(c_long::from(value))) }
    }

    /// A `str`; bytes that are no UTF-8 become replacement characters.
    pub fn str(text: &[u8]) -> Result<Self> {
        // SAFETY: the pointer is valid for the length.
        unsafe {
            Self::owned(PyUnicode_DecodeUTF8(text.as_ptr().cast(), text.len() as isize, c"replace".as_ptr()))
        }
    }

    /// `bytes`.
    pub fn bytes(bytes: &[u8]) -> Result<Self> {
        // SAFETY: the pointer is valid for the length.
        unsafe { Self::owned(PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as isize)) }
    }

    /// An `int`.
    pub fn unsigned(value: u64) -> Result<Self> {
        // SAFETY: the function takes any number.
        unsafe { Self::owned(PyLong_FromUnsignedLongLong(value)) }
    }

    /// An `int`.
    pub fn signed(value: i64) -> Result<Self> {
        // SAFETY: the function takes any number.
        unsafe { Self::owned(PyLong_FromLongLong(value)) }
    }

    /// A `float`.
    pub fn float(value: f64) -> Result<Self> {
        // SAFETY: the function takes any number.
        unsafe { Self::owned(PyFloat_FromDouble(value)) }
    }

    /// A `list`.
    pub fn list(items: Vec<Self>) -> Result<Self> {
        // SAFETY: a list of that length is new; every place is filled once, with a reference we give up.
        unsafe {
            let list = Self::owned(PyList_New(items.len() as isize))?;
            for (index, item) in items.into_iter().enumerate() {
                PyList_SetItem(list.0, index as isize, item.into_raw());
            }
            Ok(list)
        }
    }

    /// A `tuple`.
    pub fn tuple(items: Vec<Self>) -> Result<Self> {
        // SAFETY: a tuple of that length is new; every place is filled once, with a reference we give up.
        unsafe {
            let tuple = Self::owned(PyTuple_New(items.len() as isize))?;
            for (index, item) in items.into_iter().enumerate() {
                PyTuple_SetItem(tuple.0, index as isize, item.into_raw());
            }
            Ok(tuple)
        }
    }

    /// Imports a module.
    pub fn import(name: &CStr) -> Result<Self> {
        // SAFETY: the name is a C string.
        unsafe { Self::owned(PyImport_ImportModule(name.as_ptr())) }
    }

    /// The attribute of that name.
    pub fn attribute(&self, name: &CStr) -> Result<Self> {
        // SAFETY: the object lives, and the name is a C string.
        unsafe { Self::owned(PyObject_GetAttrString(self.0, name.as_ptr())) }
    }

    /// Calls the attribute of that name with arguments.
    pub fn call_method(&self, name: &CStr, arguments: &[Self]) -> Result<Self> {
        self.attribute(name)?.call(arguments)
    }

    /// Calls the object with arguments.
    pub fn call(&self, arguments: &[Self]) -> Result<Self> {
        let places: Vec<*mut RawObject> = arguments.iter().map(|argument| argument.0).collect();
        // SAFETY: the object and the arguments live, and there are as many as is said.
        unsafe { Self::owned(PyObject_Vectorcall(self.0, places.as_ptr(), places.len(), ptr::null_mut())) }
    }

    /// The text of a `str`, surrogates escaped, or of bytes, of which those that are no UTF-8 become
    /// replacement characters.
    pub fn to_text(&self) -> Result<String> {
        // SAFETY: the object lives, and the class always exists.
        let is_text = checked(unsafe { PyObject_IsInstance(self.0, &raw mut PyUnicode_Type) })?;
        if is_text == 0 {
            return Ok(match String::from_utf8(self.to_bytes()?) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            });
        }
        let mut size = 0;
        // SAFETY: the object lives, and the place is valid.
        let text = unsafe { PyUnicode_AsUTF8AndSize(self.0, &raw mut size) };
        if !text.is_null() {
            // SAFETY: the object keeps that many bytes there as long as it lives.
            let bytes = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), size as usize) }.to_vec();
            return String::from_utf8(bytes).map_err(|_| Error::new("python made text that is no UTF-8"));
        }
        // SAFETY: the object lives, and both names are C strings.
        let bytes = unsafe {
            PyErr_Clear();
            Self::owned(PyUnicode_AsEncodedString(self.0, c"utf-8".as_ptr(), c"backslashreplace".as_ptr()))?
        };
        String::from_utf8(bytes.to_bytes()?).map_err(|_| Error::new("python made text that is no UTF-8"))
    }

    /// The content of `bytes`, or of anything like them.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        const SIMPLE: c_int = 0;
        let mut view = core::mem::MaybeUninit::<RawBuffer>::zeroed();
        // SAFETY: the object lives, and the place is valid.
        if unsafe { PyObject_GetBuffer(self.0, view.as_mut_ptr(), SIMPLE) } != 0 {
            return Err(take_exception());
        }
        // SAFETY: the view has been filled in, and what it shows stays there until it is released; a view of
        // no bytes may have no place.
        unsafe {
            let RawBuffer { place, size, .. } = *view.assume_init_ref();
            let bytes = if size > 0 {
                core::slice::from_raw_parts(place.cast::<u8>(), size as usize).to_vec()
            } else {
                Vec::new()
            };
            PyBuffer_Release(view.as_mut_ptr());
            Ok(bytes)
        }
    }

    /// The value of an `int`.
    pub fn to_unsigned(&self) -> Result<u64> {
        // SAFETY: the object lives.
        checked(unsafe { PyLong_AsUnsignedLongLong(self.0) })
    }

    /// The value of an `int`.
    pub fn to_signed(&self) -> Result<i64> {
        // SAFETY: the object lives.
        checked(unsafe { PyLong_AsLongLong(self.0) })
    }

    /// The value of a number.
    pub fn to_float(&self) -> Result<f64> {
        // SAFETY: the object lives.
        checked(unsafe { PyFloat_AsDouble(self.0) })
    }

    /// The truth of a value.
    pub fn to_bool(&self) -> Result<bool> {
        // SAFETY: the object lives.
        checked(unsafe { PyObject_IsTrue(self.0) }).map(|truth| truth != 0)
    }

    /// The items of a sequence.
    pub fn items(&self) -> Result<Vec<Self>> {
        // SAFETY: the object lives.
        let count = checked(unsafe { PySequence_Size(self.0) })?;
        // SAFETY: the object lives, and the function returns a new reference.
        (0..count).map(|index| unsafe { Self::owned(PySequence_GetItem(self.0, index)) }).collect()
    }

    /// Tells whether this is `None`.
    #[must_use]
    pub fn is_none(&self) -> bool {
        Self::none().0 == self.0
    }
}

/// Tells an error from a value that merely looks like one.
fn checked<T>(value: T) -> Result<T> {
    // SAFETY: the function takes nothing.
    if unsafe { PyErr_Occurred() }.is_null() { Ok(value) } else { Err(take_exception()) }
}

/// Takes the exception that is set, as text; one without a text, such as most of MemoryError, by its name.
fn take_exception() -> Error {
    // SAFETY: the function returns a new reference or null, and `PyObject_Str` takes any object.
    let (exception, text) = unsafe {
        let exception = PyErr_GetRaisedException();
        if exception.is_null() {
            return Error::new("python failed without an exception");
        }
        let text = PyObject_Str(exception);
        if text.is_null() {
            PyErr_Clear();
        }
        (Object(exception), text)
    };
    if text.is_null() {
        return Error::new("python raised an exception that cannot be shown");
    }
    // No further exception comes from here: every `str` can be encoded with escapes.
    match Object(text).to_text() {
        Ok(text) if text.is_empty() => {
            let name = exception.attribute(c"__class__").and_then(|class| class.attribute(c"__name__"));
            name.and_then(|name| name.to_text()).map_or_else(|error| error, Error::new)
        }
        Ok(text) => Error::new(text),
        Err(error) => error,
    }
}

/// Runs the body of a function that Python called.
///
/// # Safety
/// `arguments` must be `count` objects that live during the call, as Python passes them.
pub unsafe fn answer(
    arguments: *const *mut RawObject,
    count: isize,
    body: impl FnOnce(&[Object]) -> Result<Object>,
) -> *mut RawObject {
    let raw = if count > 0 {
        // SAFETY: as the caller says.
        unsafe { core::slice::from_raw_parts(arguments, count as usize) }
    } else {
        &[]
    };
    // SAFETY: the objects live during the call.
    let objects: Vec<Object> = raw.iter().map(|object| unsafe { Object::borrowed(*object) }).collect();
    match body(&objects) {
        Ok(object) => object.into_raw(),
        Err(error) => raise(&error),
    }
}

/// Sets a RuntimeError for a function that Python called, and returns what stands for it.
pub fn raise(error: &Error) -> *mut RawObject {
    let message: Vec<u8> =
        alloc::format!("{error}").bytes().filter(|byte| *byte != 0).chain(core::iter::once(0)).collect();
    // SAFETY: the exception's class always exists, and the message ends in its only zero byte.
    unsafe { PyErr_SetString(PyExc_RuntimeError, message.as_ptr().cast()) };
    ptr::null_mut()
}

/// Adds functions to the module of a name, which is made if there is none.
pub fn add_functions(module: &CStr, methods: &'static [Method]) -> Result<()> {
    // SAFETY: the name is a C string; the table is constant and ends in its end entry.
    unsafe {
        let module = Object::owned(PyImport_AddModuleRef(module.as_ptr()))?;
        if PyModule_AddFunctions(module.0, methods.as_ptr()) == 0 { Ok(()) } else { Err(take_exception()) }
    }
}

/// Lets recursion in C use `usable` bytes of the stack below the caller before Python raises RecursionError.
///
/// # Errors
/// What Python raised.
pub fn limit_stack(usable: usize) -> Result<()> {
    let here = 0_u8;
    let size = usable + 2 * STACK_MARGIN;
    let start = (&raw const here).cast_mut().wrapping_sub(size).cast();
    // SAFETY: Python runs in this thread, and only compares addresses with the two limits.
    if unsafe { PyUnstable_ThreadState_SetStackProtection(PyThreadState_Get(), start, size) } == 0 {
        Ok(())
    } else {
        Err(take_exception())
    }
}

/// Whether a stream of Python's was written to, or detached, since [`forget_streams`].
#[must_use]
pub fn streams_touched() -> bool {
    // SAFETY: there is one thread.
    unsafe { _PyIO_Touched != 0 }
}

/// Takes note that what was written has been flushed.
pub fn forget_streams() {
    // SAFETY: as above.
    unsafe { _PyIO_Touched = 0 }
}

/// Sets the salt for the hashes of XML parsers that are made from now on. The secret of Python's own hashes
/// cannot be changed: dicts and sets that there are rely on it.
pub fn salt_xml(salt: &[u8]) {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(salt).for_each(|(byte, new)| *byte = *new);
    // SAFETY: there is one thread, and Python reads the salt only when it makes a parser.
    unsafe { _Py_HashSecret.xml = bytes };
}

/// Sets an option of the running interpreter, see `PyConfig_Set`.
///
/// # Errors
/// What Python raised: the option is not there, cannot be changed, or takes another type.
pub fn configure(name: &str, value: &Object) -> Result<()> {
    let name = CString::new(name).map_err(|_| Error::new("the name of an option has a zero byte"))?;
    // SAFETY: the name is a C string, and the value is an object.
    let status = unsafe { PyConfig_Set(name.as_ptr(), value.as_raw()) };
    if status == 0 { Ok(()) } else { Err(take_exception()) }
}

/// Runs a source text as the module of a name.
pub fn run_module(name: &CStr, file: &CStr, source: &str) -> Result<()> {
    let source: Vec<u8> = source.bytes().chain(core::iter::once(0)).collect();
    // SAFETY: all three are C strings, and the code lives during the call.
    unsafe {
        let code = Object::owned(Py_CompileString(source.as_ptr().cast(), file.as_ptr(), FILE_INPUT))?;
        Object::owned(PyImport_ExecCodeModule(name.as_ptr(), code.0)).map(drop)
    }
}

/// Runs Python's command line, which was part of its configuration, and ends Python; returns the exit status.
#[must_use]
pub fn run_main() -> i32 {
    // SAFETY: Python has been started, and no object of ours is used after it.
    unsafe { Py_RunMain() }
}

/// What came of starting Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It runs.
    Python,
    /// There was nothing to run, as the command line asked for the version or was wrong; the exit status.
    Ended(i32),
}

/// Python's configuration before it starts. The first failure is kept and told by [`Config::start`].
pub struct Config {
    raw: *mut c_void,
    failed: bool,
}

impl Config {
    /// A configuration that takes nothing from the environment.
    #[must_use]
    pub fn isolated() -> Self {
        // SAFETY: the function takes nothing; null is handled wherever the pointer is used.
        let raw = unsafe { PyInitConfig_Create() };
        Self { raw, failed: raw.is_null() }
    }

    /// Sets a number.
    pub fn int(&mut self, name: &CStr, value: i64) -> &mut Self {
        if !self.failed {
            // SAFETY: the configuration lives, and the name is a C string.
            self.failed = unsafe { PyInitConfig_SetInt(self.raw, name.as_ptr(), value) } != 0;
        }
        self
    }

    /// Sets a text.
    pub fn text(&mut self, name: &CStr, value: &CStr) -> &mut Self {
        if !self.failed {
            // SAFETY: the configuration lives, and both are C strings.
            self.failed = unsafe { PyInitConfig_SetStr(self.raw, name.as_ptr(), value.as_ptr()) } != 0;
        }
        self
    }

    /// Sets a list of texts.
    pub fn list<T: AsRef<CStr>>(&mut self, name: &CStr, values: &[T]) -> &mut Self {
        let items: Vec<*const c_char> = values.iter().map(|value| value.as_ref().as_ptr()).collect();
        if !self.failed {
            // SAFETY: the configuration lives, and so do the C strings and the array of them.
            self.failed =
                unsafe { PyInitConfig_SetStrList(self.raw, name.as_ptr(), items.len(), items.as_ptr()) } != 0;
        }
        self
    }

    /// Starts Python.
    ///
    /// # Errors
    /// What Python says of a setting or of its start.
    pub fn start(self) -> Result<Begun> {
        if self.raw.is_null() {
            return Err(Error::new("no memory is left for its configuration"));
        }
        // SAFETY: the configuration lives.
        if !self.failed && unsafe { Py_InitializeFromInitConfig(self.raw) } == 0 {
            return Ok(Begun::Python);
        }
        let mut code = 0;
        // SAFETY: the configuration lives, and the place is valid.
        if unsafe { PyInitConfig_GetExitCode(self.raw, &raw mut code) } == 1 {
            return Ok(Begun::Ended(code));
        }
        let mut message = ptr::null();
        // SAFETY: the configuration lives; the message does as long as the configuration.
        unsafe {
            if PyInitConfig_GetError(self.raw, &raw mut message) == 1 && !message.is_null() {
                return Err(Error::new(CStr::from_ptr(message).to_string_lossy()));
            }
        }
        Err(Error::new("no reason was given"))
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: the configuration is ours; the function takes null as well.
        unsafe { PyInitConfig_Free(self.raw) };
    }
}
