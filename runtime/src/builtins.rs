//! The module `_eryx`: what the runtime's Python parts can ask of this library.

use crate::call::Value;
use crate::convert;
use crate::error::{Error, Result};
use crate::ffi::component;
use crate::ffi::python::{Method, export_to_python};
use crate::interpreter::{self, call_import, import_result, waitables, world};
use crate::memory;
use crate::preinit;
use crate::python::{self, Object};
use crate::seal;
use crate::stop;
use crate::waitable::{Started, Subtask};

/// The module that makes the others importable; it runs first.
pub const IMPORTER: &str = include_str!("../python/_eryx_importer.py");

const INVOKE: &str = "invoke";

/// The runtime's Python modules.
const SOURCES: &[(&str, &str)] = &[
    ("eryx", include_str!("../python/eryx.py")),
    ("_eryx_callbacks", include_str!("../python/_eryx_callbacks.py")),
    ("_eryx_end", include_str!("../python/_eryx_end.py")),
    ("_eryx_entropy", include_str!("../python/_eryx_entropy.py")),
    ("_eryx_errors", include_str!("../python/_eryx_errors.py")),
    ("_eryx_fresh", include_str!("../python/_eryx_fresh.py")),
    ("_eryx_loop", include_str!("../python/_eryx_loop.py")),
    ("_eryx_output", include_str!("../python/_eryx_output.py")),
    ("_eryx_prepare", include_str!("../python/_eryx_prepare.py")),
    ("_eryx_program", include_str!("../python/_eryx_program.py")),
    ("_eryx_schema", include_str!("../python/_eryx_schema.py")),
    ("_eryx_session", include_str!("../python/_eryx_session.py")),
    ("_eryx_snapshot", include_str!("../python/_eryx_snapshot.py")),
    ("_eryx_trace", include_str!("../python/_eryx_trace.py")),
    ("_eryx_values", include_str!("../python/_eryx_values.py")),
    ("_socket", include_str!("../python/_socket.py")),
    ("_ssl", include_str!("../python/_ssl.py")),
];

static METHODS: &[Method] = &[
    Method::new(c"source", c"The source of a module of the runtime, or None.", source),
    Method::new(c"call", c"Calls an import that returns at once: its name, and its arguments.", call),
    Method::new(
        c"list_callbacks",
        c"The embedder's callbacks: (name, description, schema); the same list if they are the same.",
        list_callbacks,
    ),
    Method::new(c"report_trace", c"Reports a trace event: line, event, context.", report_trace),
    Method::new(c"start_invoke", c"Calls a callback: (succeeded, text), or a subtask.", start_invoke),
    Method::new(c"start_sleep", c"Sleeps for nanoseconds: a result, or a subtask.", start_sleep),
    Method::new(
        c"report_output",
        c"Reports output: the stream's number and bytes; False if nobody is there to take it.",
        report_output,
    ),
    Method::new(
        c"streams_touched",
        c"Whether a stream was written to since `streams_flushed`.",
        streams_touched,
    ),
    Method::new(c"streams_flushed", c"Tells that all streams that matter are flushed.", streams_flushed),
    Method::new(c"has_writers", c"Whether files are open for writing.", has_writers),
    Method::new(c"python_tracing", c"Whether the embedder wants this execution traced.", python_tracing),
    Method::new(c"has_import", c"Whether the world has an import of that name.", has_import),
    Method::new(c"result_fields", c"The names of the fields that an export returns.", result_fields),
    Method::new(
        c"answer_limit",
        c"The most bytes of an answer that the embedder takes, or None.",
        answer_limit,
    ),
    Method::new(c"release_reserve", c"Makes memory free that is kept for errors.", release_reserve),
    Method::new(c"wait", c"Blocks until a call returns: (subtask, (succeeded, text)).", wait),
    Method::new(c"poll", c"A call that has returned, as `wait`, or None.", poll),
    Method::new(c"cancel", c"Cancels the call of a subtask.", cancel),
    Method::new(c"yield_now", c"Lets the embedder run.", yield_now),
    Method::new(c"configure", c"Sets an option of the running interpreter, see `PyConfig_Set`.", configure),
    Method::new(c"salt_xml", c"Sets the salt that XML parsers get for their hashes.", salt_xml),
    Method::new(c"begin_anew", c"Has what comes lie side by side, behind an address: that.", begin_anew),
    Method::new(c"fill_holes", c"Takes what is free below an address.", fill_holes),
    Method::new(c"stoppable", c"Calls a function which the embedder may stop.", stop::stoppable),
    Method::new(c"stopped_class", c"The class of the exception that stops it.", stopped_class),
    Method::END,
];

/// Makes the module.
///
/// # Errors
/// What Python raised.
pub fn install() -> Result<()> {
    python::add_functions(c"_eryx", METHODS)
}

export_to_python! {
    source => read_source;
    call => call_by_name;
    list_callbacks => read_callbacks;
    report_trace => send_trace;
    start_invoke => begin_invoke;
    start_sleep => begin_sleep;
    report_output => send_output;
    streams_touched => look_at_streams;
    streams_flushed => forget_streams;
    has_writers => look_for_writers;
    python_tracing => wants_tracing;
    has_import => look_for_import;
    result_fields => read_result_fields;
    answer_limit => read_answer_limit;
    release_reserve => free_reserve;
    wait => await_call;
    poll => look_for_call;
    cancel => cancel_call;
    yield_now => let_others_run;
    configure => set_option;
    salt_xml => set_salt;
    begin_anew => begin_heap_anew;
    fill_holes => fill_heap;
    stopped_class => find_stopped_class;
}

fn read_source(arguments: &[Object]) -> Result<Object> {
    let name = only(arguments)?.to_text()?;
    match SOURCES.iter().find(|(module, _)| *module == name) {
        Some((_, source)) => Object::str(source.as_bytes()),
        None => Ok(Object::none()),
    }
}

fn call_by_name(arguments: &[Object]) -> Result<Object> {
    let [name, arguments @ ..] = arguments else { return Err(Error::new("expected the name of an import")) };
    let name = name.to_text()?;
    at_once(&name, call_import(&name, arguments)?)
}

fn read_callbacks(arguments: &[Object]) -> Result<Object> {
    const NAME: &str = "list-callbacks";
    interpreter::listed(returned(NAME, call_import(NAME, arguments)?)?, import_result(NAME))
}

fn send_trace(arguments: &[Object]) -> Result<Object> {
    const NAME: &str = "report-trace";
    at_once(NAME, call_import(NAME, arguments)?)
}

fn begin_invoke(arguments: &[Object]) -> Result<Object> {
    match call_import(INVOKE, arguments)? {
        Started::Returned(value) => convert::to_python(world(), import_result(INVOKE), value),
        Started::Pending(subtask) => Object::unsigned(subtask.into()),
    }
}

fn begin_sleep(arguments: &[Object]) -> Result<Object> {
    match call_import("sleep", arguments)? {
        Started::Returned(_) => Ok(Object::none()),
        Started::Pending(subtask) => Object::unsigned(subtask.into()),
    }
}

fn send_output(arguments: &[Object]) -> Result<Object> {
    const NAME: &str = "report-output";
    at_once(NAME, call_import(NAME, arguments)?)?;
    Object::bool(!preinit::is_preparing())
}

fn look_at_streams(_: &[Object]) -> Result<Object> {
    Object::bool(python::streams_touched())
}

fn forget_streams(_: &[Object]) -> Result<Object> {
    python::forget_streams();
    Ok(Object::none())
}

fn look_for_writers(_: &[Object]) -> Result<Object> {
    Object::bool(component::vfs_has_writers())
}

/// The first of the execution options; the second is a hint that needs nothing of us.
fn wants_tracing(_: &[Object]) -> Result<Object> {
    const NAME: &str = "get-execution-options";
    let options = at_once(NAME, call_import(NAME, &[])?)?;
    let items = options.items()?;
    Object::bool(items.first().is_some_and(|tracing| tracing.to_bool().unwrap_or(false)))
}

fn look_for_import(arguments: &[Object]) -> Result<Object> {
    Object::bool(interpreter::has_import(&only(arguments)?.to_text()?))
}

fn read_result_fields(arguments: &[Object]) -> Result<Object> {
    let names = interpreter::result_fields(&only(arguments)?.to_text()?);
    Object::tuple(names.into_iter().map(|name| Object::str(name.as_bytes())).collect::<Result<_>>()?)
}

fn read_answer_limit(_: &[Object]) -> Result<Object> {
    interpreter::answer_limit().map_or_else(|| Ok(Object::none()), |limit| Object::unsigned(limit as u64))
}

fn free_reserve(_: &[Object]) -> Result<Object> {
    memory::release_reserve();
    Ok(Object::none())
}

fn await_call(_: &[Object]) -> Result<Object> {
    match waitables().wait() {
        Some(returned) => outcome(returned),
        None => Err(Error::new("no call is under way")),
    }
}

fn look_for_call(_: &[Object]) -> Result<Object> {
    waitables().poll().map_or_else(|| Ok(Object::none()), outcome)
}

fn cancel_call(arguments: &[Object]) -> Result<Object> {
    let subtask = only(arguments)?.to_unsigned()?;
    waitables().cancel(Subtask::try_from(subtask).map_err(|_| Error::new("no such subtask"))?);
    Ok(Object::none())
}

fn let_others_run(_: &[Object]) -> Result<Object> {
    component::thread_yield();
    Ok(Object::none())
}

fn set_option(arguments: &[Object]) -> Result<Object> {
    let [name, value] = arguments else {
        return Err(Error::new("expected the name of an option and its value"));
    };
    python::configure(&name.to_text()?, value)?;
    Ok(Object::none())
}

fn set_salt(arguments: &[Object]) -> Result<Object> {
    python::salt_xml(&only(arguments)?.to_bytes()?);
    Ok(Object::none())
}

fn begin_heap_anew(_: &[Object]) -> Result<Object> {
    Object::unsigned(seal::begin_anew() as u64)
}

fn fill_heap(arguments: &[Object]) -> Result<Object> {
    let end = usize::try_from(only(arguments)?.to_unsigned()?);
    seal::fill_holes(end.map_err(|_| Error::new("expected an address"))?);
    Ok(Object::none())
}

fn find_stopped_class(_: &[Object]) -> Result<Object> {
    stop::class()
}

fn outcome((subtask, value): (Subtask, Value)) -> Result<Object> {
    let value = convert::to_python(world(), import_result(INVOKE), value)?;
    Object::tuple([Object::unsigned(subtask.into())?, value].into())
}

fn at_once(name: &str, started: Started) -> Result<Object> {
    convert::to_python(world(), import_result(name), returned(name, started)?)
}

fn returned(name: &str, started: Started) -> Result<Value> {
    match started {
        Started::Returned(value) => Ok(value),
        Started::Pending(_) => Err(Error::new(alloc::format!("`{name}` is asynchronous in this world"))),
    }
}

fn only(arguments: &[Object]) -> Result<&Object> {
    match arguments {
        [argument] => Ok(argument),
        _ => Err(Error::new(alloc::format!("expected 1 argument but found {}", arguments.len()))),
    }
}
