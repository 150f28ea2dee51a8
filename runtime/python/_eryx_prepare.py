"""Makes a memory that many instances can start from. Runs before the memory is saved, and in no instance.

Pages that an instance writes to are its own, those that it only reads are everybody's. What every call writes to is
therefore brought together (see also `runtime/src/seal.rs`).
"""

import asyncio  # noqa: F401 (its import installs our loop)
import copy
import gc
import importlib
import json
import linecache
import opcode
import os
import sys
import traceback
import types
from collections import deque

import _eryx
import _eryx_entropy
import _eryx_errors
import _eryx_fresh
import _eryx_loop  # noqa: F401
import _eryx_output
import _eryx_session
import _eryx_snapshot  # noqa: F401

# How often code runs before the interpreter has done to it all that it does: a few dozen times.
_WARM_UP = 100
_names = []
# An object of so many bytes is too large for Python's own allocator; and an instruction without effect.
_LARGE = 520
_NOTHING = bytes([opcode.opmap["NOP"], 0])


def prepare():
    """Does what the parts on standard input ask for: each is its size in bytes, a blank, and a JSON object with one key.

    `import` names a module to import, `setup` is code that is run as `execute` would run it. Each part is read when its
    turn comes, so that the build tool knows what goes on. Modules of ours that calls need have been imported with this
    one.
    """
    failures = []
    _eryx_entropy.watch()
    while part := _read_part():
        [(kind, value)] = json.loads(part).items()
        try:
            if kind == "import":
                importlib.import_module(value)
            elif not failures:
                _eryx_session._session.run(value)
        except BaseException as error:
            if kind == "import":
                failures.append(f"importing `{value}` failed\n{traceback.format_exc()}")
            else:
                failures.append(f"the set-up failed\n{_eryx_errors.describe(error)}")
    drawn = _eryx_entropy.stop()
    if drawn and not failures:
        failures.append("random bytes were drawn that all instances would share\n" + "\n".join(drawn))
    if failures:
        _eryx_session.flush()
        raise RuntimeError("\n".join(failures))
    _gather()
    settle()


def _read_part():
    """Reads the next part, and nothing of what comes after it; empty at the end."""
    size = b""
    while (byte := os.read(0, 1)) not in (b"", b" "):
        size += byte
    part = b""
    while chunk := os.read(0, int(size or 0) - len(part)):
        part += chunk
    return part


def settle():
    """Leaves in the memory nothing that belongs to one instance."""
    _eryx_session.flush()
    _eryx_fresh.prepare()
    _warm_up()
    gc.collect()
    # What is there now stays: the collector need not look at it again, and so does not write to it.
    gc.freeze()


def _gather():
    """Makes anew what calls write to: so it lies side by side."""
    _eryx_fresh.find_duties()
    functions = _functions_run()
    # What is replaced is kept until all is done: else the next one would take its place.
    old = [_eryx_session._session]
    end = _eryx.begin_anew()
    for function in functions:
        # The interpreter counts in the code how often it ran.
        code = function.__code__
        old.append(code)
        # Python has a place of its own for small objects of each size; larger ones come one after another.
        padding = max(0, _LARGE - sys.getsizeof(code)) // len(_NOTHING)
        function.__code__ = code.replace(co_code=code.co_code + padding * _NOTHING)
    session = _eryx_session._session = _copy(old[0])
    session.callbacks = _copy(session.callbacks)
    for namespace in session.module.__dict__, linecache.cache, _eryx_output.__dict__:
        _renew(namespace, end)


def _functions_run():
    """The functions that run in every instance."""
    codes = set()
    monitoring, start = sys.monitoring, sys.monitoring.events.PY_START
    # The set-up may use some.
    tool = next((number for number in range(6) if monitoring.get_tool(number) is None), None)
    if tool is None:
        return []
    monitoring.use_tool_id(tool, __name__)
    monitoring.register_callback(tool, start, lambda code, _: codes.add(code))
    monitoring.set_events(tool, start)
    _run_as_instances_do(1)
    monitoring.set_events(tool, 0)
    monitoring.free_tool_id(tool)
    # In an order that is the same each time.
    functions = [value for value in gc.get_objects() if type(value) is types.FunctionType and value.__code__ in codes]
    return sorted(functions, key=lambda function: (function.__module__ or "", function.__qualname__))


def _copy(instance):
    """A copy of an instance, and of the containers that its attributes are."""
    new = copy.copy(instance)
    for name, value in list(vars(new).items()):
        if type(value) in (dict, deque):
            setattr(new, name, copy.copy(value))
    return new


def _renew(namespace, end):
    """Moves what a dictionary holds behind an address; the dictionary stays the same."""
    content = dict(namespace)
    namespace.clear()
    _eryx.fill_holes(end)
    namespace.update(content)


def _warm_up():
    """Has the interpreter adapt its code to what every instance runs: it writes into code that is new to it."""
    # What a traceback needs is imported then.
    _eryx_errors.describe(Exception())
    _run_as_instances_do(_WARM_UP)
    # The interpreter keeps one of each name; an instance need not add the first ones.
    _names.extend(sys.intern(_eryx_session.file_name(number)) for number in range(1, 10))


def _run_as_instances_do(times):
    kept, generators = _eryx_session._session, list(_eryx_fresh._generators)
    for _ in range(times):
        # A session compiles only code that is new to it.
        _eryx_session._session = _eryx_session.Session()
        _eryx_fresh._generators[:] = generators
        _eryx_session.awake(False)
        _eryx_session.execute("None")
    _eryx_fresh._generators[:] = generators
    _eryx_session._session = kept
    kept.adopt(kept.module)
