"""A whole program, run as `python3` runs one: its name and arguments, its errors, its end."""

import json
import linecache
import os
import sys

import _eryx
import _eryx_end
import _eryx_errors
import _eryx_output
import _eryx_session

#: The status of a program that an interrupt ends, as a shell tells it.
_INTERRUPTED = 130


def run(request):
    """Runs what the JSON text says, and answers in JSON: `status`, and `cause`, what the embedder may know more of.

    `kind` is `code`, `file`, `module` or `prompt`; `source` the code, as text whose characters are its bytes; `name` that
    of the file or module; `path` what comes first on `sys.path`, by default the working directory; `argv` the arguments,
    the program's name first; `folder` the working directory; `options` those of python3 that count here.
    """
    request = json.loads(request)
    session = _eryx_session._session
    if not session.has_globals():
        # The module that was saved with the memory is never freed, and finalisers would not find their globals.
        session.adopt(_eryx_session.new_module())
    status, cause = 0, None
    try:
        _follow(request)
        _start(request, session.namespace)
    except SystemExit as error:
        status = _eryx_errors.exit_status(error)
        if request["kind"] == "module" and status == 1:
            cause = _missing(request["name"])
    except _eryx.stopped_class():
        _finish(session)
        raise
    except BaseException as error:
        if isinstance(error, MemoryError):
            _eryx.release_reserve()
        status, cause = _report(error), _cause(error)
        # Its traceback holds the program's frames.
        del error
    if request["options"].get("inspect"):
        status = _prompt(session.namespace)
    _finish(session)
    _eryx_output.answer(json.dumps({"status": status, "cause": cause}))


def _follow(request):
    """Does what the options say, before the program begins."""
    options = request["options"]
    _eryx_output.stream(unbuffered=options.get("unbuffered", False))
    if folder := request.get("folder"):
        os.chdir(folder)
    sys.argv = request["argv"]
    sys.orig_argv = ["python3", *request["argv"]]
    sys.path.insert(0, os.getcwd() if request["path"] is None else request["path"])
    if level := options.get("optimize"):
        _eryx.configure("optimization_level", level)
    for option in options.get("x", ()):
        name, equals, value = option.partition("=")
        sys._xoptions[name] = value if equals else True
        if name == "int_max_str_digits":
            sys.set_int_max_str_digits(int(value))
    if filters := options.get("warnings"):
        import warnings

        sys.warnoptions += filters
        warnings._processoptions(filters)


def _start(request, namespace):
    kind, name = request["kind"], request["name"]
    if kind == "prompt":
        raise SystemExit(_prompt(namespace))
    if kind == "module":
        import runpy

        _eryx.stoppable(runpy._run_module_as_main, name)
        return
    source = request["source"].encode("latin-1")
    namespace["__doc__"] = namespace["__package__"] = namespace["__spec__"] = namespace["__loader__"] = None
    if kind == "file":
        import importlib.machinery

        namespace["__file__"] = name
        namespace["__cached__"] = None
        namespace["__loader__"] = importlib.machinery.SourceFileLoader("__main__", name)
    _eryx.stoppable(_execute, source, name, namespace)


def _execute(source, name, namespace):
    _remember(source, name)
    code = compile(source, name, "exec", _eryx_session._ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    _eryx_session._session.callbacks.refresh(namespace)
    _eryx_session._evaluate(code, namespace)


def _remember(source, name):
    """Keeps the source for tracebacks and `inspect`: the file itself need not be lent."""
    import importlib.util

    try:
        lines = importlib.util.decode_source(source).splitlines(keepends=True)
    except (SyntaxError, UnicodeDecodeError):
        return  # the compiler tells what is wrong
    linecache.cache[name] = (len(source), None, lines, name)


def _report(error):
    """Shows an exception that ended the program; returns the status."""
    status = _INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    error.__traceback__ = _eryx_errors.own_traceback(error.__traceback__)
    sys.last_exc = sys.last_value = error
    sys.last_type, sys.last_traceback = type(error), error.__traceback__
    _eryx_output.flush()
    try:
        hook = sys.excepthook
    except AttributeError:
        print("sys.excepthook is missing", file=sys.stderr)
        hook = sys.__excepthook__
    try:
        _eryx.stoppable(hook, type(error), error, error.__traceback__)
    except SystemExit as second:
        return _eryx_errors.exit_status(second)
    except _eryx.stopped_class():
        raise
    except BaseException as second:
        second.__traceback__ = _eryx_errors.own_traceback(second.__traceback__)
        second.__context__ = None
        print("Error in sys.excepthook:", file=sys.stderr)
        sys.__excepthook__(type(second), second, second.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, error.__traceback__)
    return status


def _cause(error):
    """What the code ran into, if it is of the sandbox's: the embedder may have a file and know how to lend it."""
    if isinstance(error, ModuleNotFoundError) and isinstance(error.name, str):
        return {"module": error.name}
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        return {"file": os.path.join(os.getcwd(), error.filename)}
    return {"memory": True} if isinstance(error, MemoryError) else None


def _missing(module):
    """The cause when `runpy` has not found a module."""
    import importlib.util

    return None if importlib.util.find_spec(module.partition(".")[0]) else {"module": module}


def _prompt(namespace):
    """Reads and runs code from a terminal until its end; returns the status."""
    import code

    namespace.pop("__file__", None)
    console = code.InteractiveConsole(namespace, filename="<stdin>", local_exit=False)
    banner = f"Python {sys.version} on {sys.platform}\nType \"help\", \"copyright\", \"credits\" or \"license\" for more information."
    try:
        _eryx.stoppable(console.interact, banner, "")
    except SystemExit as error:
        return _eryx_errors.exit_status(error)
    return 0


def _finish(session):
    try:
        _eryx.stoppable(_eryx_end.end, session, _eryx_session.new_module())
    except SystemExit:
        pass
