//! Being stopped from outside: by a bit that CPython's evaluation loop looks at anyway, so that it costs nothing.
//!
//! CPython raises an exception in a thread (`PyThreadState_SetAsyncExc`) when it finds a bit set in a word of the
//! thread's state. We keep the exception armed while code of the session runs, without the bit; an embedder that asked
//! for it is told where the word is, and sets the bit from a thread of its own.
//!
//! The world has no function for it, so it is told by `report-trace` with line 0: the context is a string whose bytes are
//! the word itself, which lets the embedder's engine vouch for the place. A second event with line 0 tells it before
//! each time the exception is raised, so that it can trap what has been asked too often; the embedder may change the bytes
//! of that event's context to have KeyboardInterrupt raised in its place. A third one tells the status of a guest that ends
//! itself: WASI 0.2 has no other than success and failure.

use alloc::string::String;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::abi::Entry;
use crate::call::{Call, Value};
use crate::error::{Error, Result};
use crate::ffi::component;
use crate::ffi::python::*;
use crate::interpreter::{has_import, world};
use crate::python::Object;

const REPORT: &str = "report-trace";
const WORD_TOLD: &str = r#"{"event":"eval-breaker"}"#;
const ABOUT_TO_STOP: &str = r#"{"event":"stopping"}"#;
const EXITS: &str = r#"{"event":"exit"}"#;

/// The context of [`ABOUT_TO_STOP`]; another value is the embedder's answer.
static ANSWER: AtomicU32 = AtomicU32::new(STOP);
const STOP: u32 = u32::from_le_bytes(*b"stop");

/// `offsetof(PyThreadState, eval_breaker)` in CPython 3.14: after three pointers. [`offer`] makes sure of it.
const BREAKER_OFFSET: usize = 3 * size_of::<usize>();
/// `_PY_ASYNC_EXCEPTION_BIT`.
const ASYNC_EXCEPTION: usize = 1 << 3;

/// Whether the embedder asks for the word.
static REQUESTED: AtomicBool = AtomicBool::new(false);
/// The word's address once it was told, else 0.
static WORD: AtomicUsize = AtomicUsize::new(0);
/// The address of the exception's class once it was made, else 0.
static CLASS: AtomicUsize = AtomicUsize::new(0);

/// Takes note that the embedder asks for the word.
pub fn request() {
    if has_import(REPORT) {
        REQUESTED.store(true, Ordering::Relaxed);
        component::vfs_on_exit(tell_exit);
    }
}

extern "C" fn tell_exit(status: i32) {
    // The guest ends, whether or not anybody hears of it.
    let _ = report(EXITS, |call| call.push(Value::String(alloc::format!("{status}"))));
}

/// Tells the embedder the word if it asked for it. Called before each call of an export; Python runs.
///
/// # Errors
/// What Python raised when the exception's class was made.
pub fn offer() -> Result<()> {
    if !REQUESTED.load(Ordering::Relaxed) || WORD.load(Ordering::Relaxed) != 0 {
        return Ok(());
    }
    class()?;
    // SAFETY: the state is at least that large, as CPython's headers say.
    let word = unsafe { AtomicUsize::from_ptr(PyThreadState_Get().byte_add(BREAKER_OFFSET).cast()) };
    let before = word.load(Ordering::Relaxed);
    // Disarming sets the bit, too, which shows whether the word is the one.
    set_exception(ptr::null_mut());
    let found = word.load(Ordering::Relaxed) == before | ASYNC_EXCEPTION;
    word.store(before, Ordering::Relaxed);
    // The upper bytes count what `sys.monitoring` was asked; they must be UTF-8, or we wait for the next call.
    if found && before.to_le_bytes().is_ascii() {
        report(WORD_TOLD, |call| call.push_lent(word.as_ptr().cast(), size_of::<usize>()))?;
        WORD.store(word.as_ptr() as usize, Ordering::Relaxed);
    }
    Ok(())
}

/// The class of the exception, `eryx.Stopped`; a reference that lives for ever.
pub fn class() -> Result<Object> {
    let known = CLASS.load(Ordering::Relaxed) as *mut RawObject;
    if !known.is_null() {
        // SAFETY: the class is never given up.
        return Ok(unsafe { Object::borrowed(known) });
    }
    let doc = c"The embedder stops this execution: its time is over, or it was cancelled.";
    let mut slots = [
        Slot { slot: SLOT_NEW, function: new_exception as NewFunction as *mut c_void },
        Slot { slot: SLOT_STR, function: text as unsafe extern "C" fn(_) -> _ as *mut c_void },
        Slot { slot: SLOT_DOC, function: doc.as_ptr().cast_mut().cast() },
        Slot { slot: 0, function: ptr::null_mut() },
    ];
    let mut spec = Spec {
        name: c"eryx.Stopped".as_ptr(),
        basic_size: 0,
        item_size: 0,
        flags: TYPE_IS_IMMUTABLE,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification lives during the call, and Python copies what it keeps but for the documentation and
    // the name, which are constants. The base is a class that always exists.
    let class = unsafe { Object::owned(PyType_FromSpecWithBases(&raw mut spec, PyExc_BaseException)) }?;
    CLASS.store(class.clone().into_raw() as usize, Ordering::Relaxed);
    Ok(class)
}

/// `_eryx.stoppable(function, *arguments)`: calls a function which the embedder may stop meanwhile.
///
/// # Safety
/// `arguments` must be `count` objects, as Python passes them.
pub unsafe extern "C" fn stoppable(
    _: *mut RawObject,
    arguments: *const *mut RawObject,
    count: isize,
) -> *mut RawObject {
    let Some(count) = usize::try_from(count).ok().and_then(|count| count.checked_sub(1)) else {
        return crate::python::raise(&Error::new("expected a function"));
    };
    arm();
    // SAFETY: there is at least one argument, which is called with the others.
    let result = unsafe { PyObject_Vectorcall(*arguments, arguments.add(1), count, ptr::null_mut()) };
    disarm();
    result
}

fn arm() {
    if WORD.load(Ordering::Relaxed) != 0 {
        set_exception(CLASS.load(Ordering::Relaxed) as *mut RawObject);
        clear_bit();
    }
}

fn disarm() {
    if WORD.load(Ordering::Relaxed) != 0 {
        set_exception(ptr::null_mut());
        clear_bit();
    }
}

fn set_exception(class: *mut RawObject) {
    // SAFETY: Python runs in this thread; the class is one or null.
    unsafe { PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), class) };
}

/// Takes the bit back that arming sets.
fn clear_bit() {
    let word = WORD.load(Ordering::Relaxed) as *mut usize;
    // SAFETY: the word was told, so it is there; the embedder changes it only atomically, and sets the bit again if we
    // undo what it wants.
    unsafe { AtomicUsize::from_ptr(word) }.fetch_and(!ASYNC_EXCEPTION, Ordering::Relaxed);
}

/// `eryx.Stopped.__new__`: CPython calls it when it raises the exception that is armed.
unsafe extern "C" fn new_exception(
    class: *mut RawObject,
    arguments: *mut RawObject,
    keywords: *mut RawObject,
) -> *mut RawObject {
    if WORD.load(Ordering::Relaxed) != 0 {
        // What is armed is disarmed when it is raised, unless CPython is patched: code that catches it gets it again.
        arm();
        ANSWER.store(STOP, Ordering::Relaxed);
        let answer = |call: &mut Call| call.push_lent(ANSWER.as_ptr().cast(), size_of::<u32>());
        if let Err(error) = report(ABOUT_TO_STOP, answer) {
            return crate::python::raise(&error);
        }
        if ANSWER.load(Ordering::Relaxed) != STOP {
            // SAFETY: the class always exists, and is called without arguments.
            return unsafe { PyObject_CallNoArgs(PyExc_KeyboardInterrupt) };
        }
    }
    // SAFETY: every class has this slot, and it takes what we were given.
    unsafe {
        let new = PyType_GetSlot(PyExc_BaseException, SLOT_NEW);
        let new: NewFunction = core::mem::transmute(new);
        new(class, arguments, keywords)
    }
}

unsafe extern "C" fn text(_: *mut RawObject) -> *mut RawObject {
    match Object::str(b"the embedder stopped this execution") {
        Ok(text) => text.into_raw(),
        Err(error) => crate::python::raise(&error),
    }
}

/// Reports an event of ours; not by way of Python objects, since the context may be lent.
fn report(event: &str, push_context: impl FnOnce(&mut Call)) -> Result<()> {
    let import = world().imports.iter().find(|import| import.name == REPORT);
    let Some(Entry::Sync(function)) = import.map(|import| import.entry) else {
        return Err(Error::new(alloc::format!("this component has no import `{REPORT}`")));
    };
    let mut call = Call::default();
    // The first argument has to end on top.
    push_context(&mut call);
    call.push(Value::String(String::from(event)));
    call.push(Value::Unsigned(0));
    // SAFETY: the call lives, and holds the arguments as the bindings expect them.
    unsafe { function(&raw mut call) };
    Ok(())
}
