"""The session: one `__main__` namespace in which every call of `execute` runs.

The functions named like the world's exports are called by the runtime; a pair `(succeeded, value)`
becomes a WIT `result`.
"""

import builtins
import linecache
import os
import sys
from collections import deque

import _eryx
import _eryx_callbacks
import _eryx_end
import _eryx_errors
import _eryx_fresh
import _eryx_output

_ALLOW_TOP_LEVEL_AWAIT = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_COROUTINE = 0x80  # inspect.CO_COROUTINE
_HOME = "/home/sandbox"
# The embedder of eryx 0.14 puts this line before the code: the bytes after it belong to its libraries.
_PREAMBLE = "#eryx-preamble:"
#: The name of the file that those are in.
PREAMBLE = "<preamble>"
# Sources are kept for tracebacks. A session may make a very great number of calls, so only the
# newest are kept.
_MOST_SOURCES = 8 << 20
# Code that comes again is not compiled again, which is most of what a short call costs. Long code is
# seldom sent twice, and takes longer to run than to compile.
_MOST_CODES = 128
_LONGEST_CODE = 4096


class Session:
    """All that belongs to the code of the embedder, as against Python and its modules."""

    def __init__(self):
        self.calls = 0
        self.sources = {}
        #: Compiled code by source, the one used last at the end.
        self._codes = {}
        self._sizes = deque()
        self._total = 0
        # Made when the memory is saved: the interpreter looks for each new name among all that it knows, which are all
        # over the memory.
        self._first_name = sys.intern(file_name(1))
        self.callbacks = _eryx_callbacks.Registry()
        #: The fields of the record that the world's `execute` returns; without any it is a string.
        self.output_fields = _eryx.result_fields("execute")
        self.snapshot_fields = _eryx.result_fields("snapshot-state")
        #: The global that the embedder gets as JSON, in worlds that return it.
        self.result_name = "result"
        self.has_options = _eryx.has_import("get-execution-options")
        self.module = None
        self.adopt(new_module())

    @property
    def namespace(self):
        return self.module.__dict__

    def has_globals(self):
        """Tells whether there are globals of the session's own code."""
        fixed = new_module().__dict__
        return any(name not in fixed and not self.callbacks.owns(name, value) for name, value in self.namespace.items())

    def adopt(self, module):
        """Makes a module the session's `__main__`."""
        old, self.module = self.module, module
        sys.modules["__main__"] = module
        self.callbacks.inject(module.__dict__)
        # A module that was saved with the memory is never freed; what it holds has to be.
        if old is not None and old is not module and sys._is_immortal(old):
            old.__dict__.clear()

    def remember(self, name, source):
        """Keeps a source for tracebacks and `inspect`."""
        self.sources[name] = source
        self._sizes.append((name, len(source)))
        self._total += len(source)
        while self._total > _MOST_SOURCES and len(self._sizes) > 1:
            old, size = self._sizes.popleft()
            self._total -= size
            self._codes.pop(self.sources.pop(old, None), None)
            linecache.cache.pop(old, None)
        # A time of None tells linecache that there is no file to compare with.
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)

    def forget_code(self):
        """Compiles everything anew from now on: file names may mean other sources."""
        self._codes.clear()

    def run(self, source):
        """Compiles and runs code; what it raises goes to the caller."""
        preamble, source = _split(source) if self.has_options else ("", source)
        code = self._codes.pop(source, None) or self._compile(source)
        if len(source) <= _LONGEST_CODE:
            self._codes[source] = code
            if len(self._codes) > _MOST_CODES:
                del self._codes[next(iter(self._codes))]
        namespace = self.module.__dict__
        self.callbacks.refresh(namespace)
        if preamble:
            self.remember(PREAMBLE, preamble)
            _evaluate(compile(preamble, PREAMBLE, "exec", _ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True), namespace)
        _evaluate(code, namespace)

    def _compile(self, source):
        self.calls += 1
        name = self._first_name if self.calls == 1 else file_name(self.calls)
        # What a file may begin with, code may begin with too.
        text = source.removeprefix("\ufeff")
        self.remember(name, text)
        return compile(text, name, "exec", _ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def file_name(number):
    """The name of the file that a call's code is in."""
    return f"{_eryx_errors.SESSION_PREFIX}{number}>"


def _evaluate(code, namespace):
    # Not `exec`: the code may be a coroutine, which `eval` hands back.
    is_coroutine = code.co_flags & _COROUTINE
    # In a world with options all code runs in the session's loop, which matters to code that knows of loops.
    if not is_coroutine and not (_session.has_options and "asyncio" in code.co_names):
        eval(code, namespace)
        return
    import asyncio  # noqa: F401 (its import installs our loop)

    import _eryx_loop

    if is_coroutine:
        _eryx_loop.run(eval(code, namespace))
    else:
        with _eryx_loop.running():
            eval(code, namespace)


def _split(source):
    """The code of the embedder's libraries, and the user's, whose lines count from 1."""
    header, _, rest = source.partition("\n")
    size = header.removeprefix(_PREAMBLE)
    if size == header or not size.isdecimal():
        return "", source
    if size == "0":
        return "", rest
    encoded, end = rest.encode(), int(size)
    try:
        return encoded[:end].decode(), encoded[end:].decode()
    except UnicodeDecodeError:
        return "", source


def new_module():
    """An empty `__main__`."""
    module = type(sys)("__main__")
    module.__dict__["__builtins__"] = builtins
    return module


def start():
    """Prepares the process: streams, home, tracing. Called once."""
    global _session
    _eryx_output.adopt()
    _session = Session()
    _follow_environment()


def _follow_environment():
    """Does what the environment's variables ask for."""
    os.environ.setdefault("HOME", _HOME)
    try:
        os.chdir(os.environ["HOME"])
    except OSError:
        pass  # without a home, the root stays the working directory
    if _session.has_options:
        _adopt_folders()
    elif os.environ.get("ERYX_TRACE") == "1":
        import _eryx_trace

        _eryx_trace.switch(True, False)


def _adopt_folders():
    """Lets code import what the embedder lends it, but for the library, which is here already."""
    folders = os.environ.get("PYTHONPATH", "").split(":")
    library = os.environ.get("PYTHONHOME", "")
    # After the library and before what the component holds.
    sys.path[1:1] = [folder for folder in folders if folder not in ("", library)]


def awake(has_environment):
    """Makes an instance that starts from a saved memory one of its own: called before its first call."""
    _eryx_fresh.refresh()
    if has_environment:
        os.reload_environ()
        _follow_environment()


def execute(source):
    """Runs code; returns `(True, what it printed, in UTF-8)` or `(False, the traceback)`."""
    session = _session
    _eryx_output.begin()
    failure = None
    try:
        if session.has_options:
            _follow_options()
        # The embedder may stop whatever is the session's own code; streams and `__str__` may be that, too.
        _eryx.stoppable(session.run, source)
    except BaseException as error:
        if isinstance(error, MemoryError):
            _eryx.release_reserve()
        # An embedder that gets the output in parts expects of `sys.exit()` that it ends the code well.
        if not (session.output_fields and _eryx_errors.exits_well(error)):
            failure = _eryx.stoppable(_describe, error, bool(session.output_fields))
        else:
            _eryx_output.flush()
    if _eryx.has_writers():
        _eryx.stoppable(_eryx_end.write_files)
    stdout, stderr = (b"", b"") if _eryx_output.is_silent() else _eryx.stoppable(_eryx_output.end)
    if not session.output_fields:
        return (True, _cut(stdout)) if failure is None else (False, _cut(failure))
    json_text, error = _take_result()
    if failure is not None:
        return False, failure
    output = {"stdout": stdout, "stderr": stderr, "result-json": json_text, "result-error": error}
    return True, tuple(output[name] for name in session.output_fields)


def _cut(text):
    """Cuts an answer that is longer than the embedder takes, and says so at its end.

    What was printed beyond that has raised an OSError already.
    """
    limit = _eryx.answer_limit() if text else None
    if limit is None:
        return text
    encoded = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
    if len(encoded) <= limit:
        return text
    while limit and encoded[limit] & 0xC0 == 0x80:
        limit -= 1  # in the middle of a character
    return encoded[:limit] + b"\n[cut here: the limit of output was reached]\n"


def _describe(error, names_exit):
    # Before the traceback, as python3 does.
    _eryx_output.flush()
    if names_exit and isinstance(error, SystemExit):
        # Standard error is not where an embedder of such a world looks.
        return f"SystemExit: {error.code}"
    return _eryx_errors.describe(error)


def _follow_options():
    """Traces or not, as the embedder wants it for this execution."""
    wanted = _eryx.python_tracing()
    if wanted or "_eryx_trace" in sys.modules:
        import _eryx_trace

        _eryx_trace.switch(wanted, wanted)


def _take_result():
    """The result variable as JSON, and why that failed; both empty if there is no such variable.

    The variable is gone afterwards, so that code which sets none is not credited with an older one.
    """
    name = _session.result_name
    if name not in _session.namespace:
        return "", ""
    import json

    try:
        return json.dumps(_session.namespace.pop(name), allow_nan=False), ""
    except Exception as error:
        return "", f"`{name}` is not JSON-serializable: {type(error).__qualname__}: {error}"


def set_result_variable(name):
    """Chooses the global that `execute` returns as JSON."""
    _session.result_name = name


def flush():
    """Writes out what the streams hold."""
    _eryx_output.flush()


def snapshot_state():
    """Returns `(True, bytes)` or `(False, what cannot be saved)`.

    In a world whose snapshots tell what was left out, that is left out in the place of failing.
    """
    import _eryx_snapshot

    fields = _session.snapshot_fields
    if not fields:
        return _eryx.stoppable(_eryx_snapshot.attempt, _eryx_snapshot.save, _session)
    succeeded, value = _eryx.stoppable(_eryx_snapshot.attempt, _eryx_snapshot.save_what_can_be, _session)
    if not succeeded:
        return False, value
    snapshot = dict(zip(("data", "skipped-globals"), value))
    return True, tuple(snapshot[name] for name in fields)


def restore_state(data):
    """Replaces the session by a saved one; on an error it stays as it was."""
    import _eryx_snapshot

    return _eryx.stoppable(_eryx_snapshot.attempt, _eryx_snapshot.restore, _session, data)


def clear_state():
    """Ends the session's program as python3 ends one, and begins an empty one; imported modules stay imported."""
    try:
        _eryx.stoppable(_eryx_end.end, _session, new_module())
    except BaseException:
        pass  # the embedder has stopped it, and knows


_session = None
