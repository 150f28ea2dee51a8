//! Python behind the world's exports: its start, and the way from an export to the session.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{OnceCell, RefCell};
use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::abi::{Entry, Type, TypeId, World};
use crate::builtins;
use crate::call::{Call, Value};
use crate::command;
use crate::convert;
use crate::error::{Error, Result};
use crate::ffi::bindings::RawWorld;
use crate::ffi::{c, component};
use crate::memory;
use crate::preinit;
use crate::python::{self, Begun, Config, Object};
use crate::seal;
use crate::stack;
use crate::stop;
use crate::waitable::{Started, Waitables};

/// What does the work of an export.
#[derive(Clone, Copy)]
enum Action {
    /// A function of `_eryx_session`.
    Session(&'static CStr),
    /// Python's own command line.
    CommandLine,
    /// The end of pre-initialisation.
    FinalizePreinit,
}

/// Makes the table of the exports that we have, and a custom section that lists their names: the build
/// tool refuses a world that asks for another one.
macro_rules! exports {
    ($($name:literal => $action:expr,)*) => {
        const EXPORTS: &[(&str, Action)] = &[$(($name, $action)),*];
        const EXPORT_NAMES: &str = concat!($($name, "\n"),*);
    };
}

exports! {
    "execute" => Action::Session(c"execute"),
    "snapshot-state" => Action::Session(c"snapshot_state"),
    "restore-state" => Action::Session(c"restore_state"),
    "clear-state" => Action::Session(c"clear_state"),
    "set-result-variable" => Action::Session(c"set_result_variable"),
    "finalize-preinit" => Action::FinalizePreinit,
    "wasi:cli/run#run" => Action::CommandLine,
}

#[cfg(target_family = "wasm")]
#[used]
#[unsafe(link_section = "eryx.exports")]
static SECTION: [u8; EXPORT_NAMES.len()] = {
    let mut bytes = [0; EXPORT_NAMES.len()];
    bytes.copy_from_slice(EXPORT_NAMES.as_bytes());
    bytes
};

/// Where Python is installed in the component.
pub const PREFIX: &CStr = c"/usr";
/// The environment variable by which an embedder tells what it gives and what it wants, words with spaces between them;
/// Python code does not see it. One variable, since each takes time in every instance.
const EMBEDDER: &CStr = c"ERYX_EMBEDDER";
const STDLIB: &CStr = c"/usr/lib/python3.14";
const SITE_PACKAGES: &CStr = c"/usr/lib/python3.14/site-packages";

/// Everything the runtime remembers.
struct State {
    world: World,
    waitables: Waitables,
    /// The session, or why Python could not be started; nothing before the first call.
    session: OnceCell<Result<Session>>,
    /// The embedder's callbacks as it listed them last, and what Python was given for them.
    listed: RefCell<Option<(Value, Object)>>,
}

/// The functions of the session's module, found once: a call has no names to look for.
pub struct Session(Vec<(&'static CStr, Object)>);

impl Session {
    /// The function of the module that makes an instance one of its own.
    pub const AWAKE: &'static CStr = c"awake";

    fn new(module: &Object) -> Result<Self> {
        let names = EXPORTS.iter().filter_map(|(_, action)| match action {
            Action::Session(name) => Some(*name),
            Action::CommandLine | Action::FinalizePreinit => None,
        });
        names
            .chain([Self::AWAKE])
            .map(|name| Ok((name, module.attribute(name)?)))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Calls one of the functions.
    ///
    /// # Errors
    /// What it raises, and names of others.
    pub fn call(&self, name: &CStr, arguments: &[Object]) -> Result<Object> {
        let function = self.0.iter().find(|(known, _)| *known == name);
        function.ok_or_else(|| Error::new("the session has no such function"))?.1.call(arguments)
    }
}

struct Global(OnceCell<State>);

// SAFETY: a component of this world has one thread.
unsafe impl Sync for Global {}

static STATE: Global = Global(OnceCell::new());

/// The state: only ever shared. Cells in it are borrowed for single statements, since the bindings and Python call back.
fn state() -> &'static State {
    match STATE.0.get() {
        Some(state) => state,
        None => memory::fatal("it was called before its bindings were initialised"),
    }
}

/// The world; it never changes.
pub fn world() -> &'static World {
    &state().world
}

/// The calls under way.
pub fn waitables() -> &'static Waitables {
    &state().waitables
}

/// The longest answer that the embedder takes, in bytes.
static ANSWER: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The longest answer that the embedder takes, in bytes, if it has said so.
pub fn answer_limit() -> Option<usize> {
    Some(ANSWER.load(Ordering::Relaxed)).filter(|limit| *limit != usize::MAX)
}

/// Takes the world from the bindings' constructor. Python is not started yet: the constructors of
/// other libraries may not have run.
pub fn initialize(raw: &RawWorld) {
    // SAFETY: the bindings hand over a structure that is valid for ever.
    let world = match unsafe { World::read(raw) } {
        Ok(world) => world,
        Err(error) => memory::fatal(alloc::format!("{error}")),
    };
    let unknown: Vec<_> = world
        .exports
        .iter()
        .map(|export| export.name.as_str())
        .filter(|name| action_of(name).is_none())
        .collect();
    if !unknown.is_empty() {
        memory::fatal(alloc::format!(
            "the world asks for `{}`; this runtime exports `{}`",
            unknown.join("`, `"),
            EXPORT_NAMES.trim_end().replace('\n', "`, `")
        ));
    }
    let state = State {
        world,
        waitables: Waitables::default(),
        session: OnceCell::new(),
        listed: RefCell::new(None),
    };
    if STATE.0.set(state).is_err() {
        memory::fatal("its bindings were initialised twice");
    }
}

/// Starts Python unless that was done before, and returns the session. Pre-initialisation
/// calls it (through any export) so that instances begin with a running Python.
///
/// # Errors
/// Why Python could not be started; the same on every later call.
pub fn start() -> Result<&'static Session> {
    let start = || start_python().map_err(|error| error.context("python could not be started"));
    state().session.get_or_init(start).as_ref().map_err(Clone::clone)
}

fn start_python() -> Result<Session> {
    let mut config = Config::isolated();
    config
        .int(c"utf8_mode", 1)
        .int(c"use_environment", 0)
        .int(c"user_site_directory", 0)
        .int(c"safe_path", 1)
        .int(c"install_signal_handlers", 0)
        .int(c"parse_argv", 0)
        .int(c"pathconfig_warnings", 0)
        // Bytecode is made by the build; the file system of the guest ends with the instance.
        .int(c"write_bytecode", 0)
        .text(c"home", PREFIX)
        .text(c"prefix", PREFIX)
        .text(c"exec_prefix", PREFIX)
        .text(c"base_prefix", PREFIX)
        .text(c"base_exec_prefix", PREFIX)
        .text(c"stdlib_dir", STDLIB)
        .text(c"executable", c"")
        .text(c"base_executable", c"")
        .list(c"argv", &[c""])
        .list(c"module_search_paths", &[STDLIB, SITE_PACKAGES]);
    if preinit::is_preparing() {
        // The secret is in every hash of a string that is saved, so it cannot be changed afterwards.
        config.int(c"use_hash_seed", 1).int(c"hash_seed", 0);
    }
    look_at_environment();
    if config.start()? != Begun::Python {
        return Err(Error::new("it ended at once"));
    }
    if preinit::is_preparing() {
        // What is read in every call shall lie side by side, too: our modules, without what they import.
        for module in [c"collections", c"io", c"linecache", c"os", c"time"] {
            Object::import(module)?;
        }
        seal::begin_anew();
    }
    install()?;
    let session = Object::import(c"_eryx_session")?;
    if preinit::is_preparing() {
        // The streams are written to in every call: they shall lie side by side.
        seal::begin_anew();
    }
    session.call_method(c"start", &[])?;
    Session::new(&session)
}

/// Takes from the environment what is meant for the runtime. Called when it has been read, and before Python reads it.
pub fn look_at_environment() {
    c::take_variable(EMBEDDER, |value| {
        for word in value.to_str().unwrap_or_default().split(' ') {
            match word.split_once('=') {
                Some(("stack", size)) => stack::set(size.parse().ok()),
                Some(("tmp", size)) => {
                    if let Ok(size) = size.parse() {
                        component::vfs_quota(size);
                    }
                }
                Some(("output", size)) => {
                    ANSWER.store(size.parse().unwrap_or(usize::MAX), Ordering::Relaxed);
                }
                None if word == "eval-breaker" => stop::request(),
                _ => {}
            }
        }
    });
}

/// Adds to a Python that has just started what the runtime adds: the limit of recursion, and its modules.
///
/// # Errors
/// What Python raised.
pub fn install() -> Result<()> {
    stack::limit()?;
    builtins::install()?;
    python::run_module(c"_eryx_importer", c"<eryx _eryx_importer>", builtins::IMPORTER)
}

/// Runs a synchronous export: takes its arguments from the call and leaves its result there.
pub fn call_export(call: &mut Call, which: usize) {
    let arguments = call.take_all();
    let Some(export) = world().exports.get(which) else {
        memory::fatal("the bindings called an export that they did not announce")
    };
    match run_export(which, arguments) {
        Ok(Some(value)) => call.push(value),
        Ok(None) => {}
        // What cannot be told as the function's own error ends the instance.
        Err(error) => match export.result.map(|ty| world().resolve(ty)) {
            Some(Type::Result(_, Some(err))) if world().resolve(err) == Type::String => {
                call.push(Value::Variant(1, Some(Box::new(Value::String(alloc::format!("{error}"))))));
            }
            _ => memory::fatal(alloc::format!("`{}` failed: {error}", export.name)),
        },
    }
}

/// Runs an asynchronous export to its end and returns its result to the caller.
///
/// # Safety
/// `call` must have come from a box, and is given up.
pub unsafe fn call_async_export(call: *mut Call, which: usize) {
    // SAFETY: as the caller says; the reference ends with the statement.
    call_export(unsafe { &mut *call }, which);
    match world().exports.get(which).and_then(|export| export.task_return) {
        // SAFETY: the bindings take the result from the call, which lives until after it.
        Some(task_return) => unsafe { task_return(call) },
        None => memory::fatal("the bindings called a synchronous export as an asynchronous one"),
    }
    // SAFETY: the call came from a box, and nobody else has it.
    drop(unsafe { Box::from_raw(call) });
}

fn action_of(export: &str) -> Option<Action> {
    EXPORTS.iter().find(|(name, _)| *name == export).map(|(_, action)| *action)
}

fn run_export(which: usize, arguments: Vec<Value>) -> Result<Option<Value>> {
    let export = world().exports.get(which).ok_or_else(|| Error::new("no such export"))?;
    let function = match action_of(&export.name).ok_or_else(|| Error::new("no such export"))? {
        Action::Session(function) => function,
        Action::CommandLine => {
            return command::run().map(|success| Some(Value::Variant((!success).into(), None)));
        }
        Action::FinalizePreinit => return preinit::finalize().map(|()| None),
    };
    let session = start()?;
    preinit::awake(session)?;
    stop::offer()?;
    memory::hold_reserve();
    let arguments: Vec<Object> =
        arguments.into_iter().map(|value| convert::to_python(world(), None, value)).collect::<Result<_>>()?;
    let result = session.call(function, &arguments)?;
    export.result.map(|ty| convert::from_python(world(), ty, &result)).transpose()
}

/// Calls the import of a name with Python objects. While a memory is prepared there is no embedder yet, and nothing is
/// what it answers.
///
/// # Errors
/// A world without that import; objects that do not fit its parameters; no embedder, where nothing is no answer.
pub fn call_import(name: &str, arguments: &[Object]) -> Result<Started> {
    let import = world()
        .imports
        .iter()
        .find(|import| import.name == name)
        .ok_or_else(|| Error::new(alloc::format!("this component has no import `{name}`")))?;
    if import.params.len() != arguments.len() {
        return Err(Error::new(alloc::format!(
            "`{name}` takes {} arguments but got {}",
            import.params.len(),
            arguments.len()
        )));
    }
    if preinit::is_preparing() {
        let answer = nothing(import.result).ok_or_else(|| {
            Error::new(alloc::format!(
                "`{name}` cannot be called before the memory is saved: nobody is there"
            ))
        })?;
        return Ok(Started::Returned(answer));
    }
    let mut call = Call::default();
    // The first argument has to end on top.
    for (ty, argument) in import.params.iter().zip(arguments).rev() {
        call.push(convert::from_python(world(), *ty, argument)?);
    }
    match import.entry {
        Entry::Async { start, lift, size, align } => Ok(waitables().start(call, start, lift, (size, align))),
        Entry::Sync(function) => {
            // SAFETY: the call lives, and holds the arguments as the bindings expect them.
            unsafe { function(&raw mut call) };
            Ok(Started::Returned(call.take_result()))
        }
    }
}

/// The value of a type that says nothing: no, or an empty list, or a record of such. Not every type has one.
fn nothing(ty: Option<TypeId>) -> Option<Value> {
    Some(match ty.map(|ty| world().resolve(ty)) {
        None => Value::Record(Vec::new()),
        Some(Type::Bool) => Value::Bool(false),
        Some(Type::List(_)) => Value::List(Vec::new()),
        Some(Type::Record(id)) => {
            let fields = world().fields(id).into_iter().map(|ty| nothing(Some(ty)));
            Value::Record(fields.collect::<Option<_>>()?)
        }
        Some(_) => return None,
    })
}

/// The Python object for the list of callbacks: the same one as long as the embedder lists the same.
///
/// # Errors
/// A list that has no Python counterpart.
pub fn listed(list: Value, ty: Option<TypeId>) -> Result<Object> {
    let known = state()
        .listed
        .borrow()
        .as_ref()
        .filter(|(known, _)| *known == list)
        .map(|(_, object)| object.clone());
    if let Some(object) = known {
        return Ok(object);
    }
    let object = convert::to_python(world(), ty, list.clone())?;
    let old = state().listed.replace(Some((list, object.clone())));
    // Only now: it may be the end of objects that Python code hears of.
    drop(old);
    Ok(object)
}

/// Tells whether the world has an import of that name.
#[must_use]
pub fn has_import(name: &str) -> bool {
    world().imports.iter().any(|import| import.name == name)
}

/// The names of the fields of the record that an export returns when it succeeds; none if it returns
/// something else.
#[must_use]
pub fn result_fields(export: &str) -> Vec<&'static str> {
    let result = world().exports.iter().find(|found| found.name == export).and_then(|found| found.result);
    match result.map(|ty| world().resolve(ty)) {
        Some(Type::Result(Some(ok), _)) => match world().resolve(ok) {
            Type::Record(id) => world().field_names(id),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The type of an import's result.
#[must_use]
pub fn import_result(name: &str) -> Option<TypeId> {
    world().imports.iter().find(|import| import.name == name)?.result
}
