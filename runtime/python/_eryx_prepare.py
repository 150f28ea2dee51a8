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
import os
import sys
import traceback
import types
from collections import deque

import _eryx
import _eryx_errors
import _eryx_fresh
import _eryx_loop  # noqa: F401
import _eryx_session
import _eryx_snapshot  # noqa: F401

# How often code runs before the interpreter has done to it all that it does: a few dozen times.
_WARM_UP = 100


def prepare():
    """Does what the JSON on standard input asks for.

    `imports` are names of modules to import, `setup` is code that is run as `execute` would run it. Modules
    of ours that calls need have been imported with this one.
    """
    request = b""
    while chunk := os.read(0, 1 << 16):
        request += chunk
    request = json.loads(request)
    failures = []
    for name in request["imports"]:
        try:
            importlib.import_module(name)
        except BaseException:
            failures.append(f"importing `{name}` failed\n{traceback.format_exc()}")
    if not failures and request["setup"]:
        try:
            _eryx_session._session.run(request["setup"])
        except BaseException as error:
            failures.append(f"the set-up failed\n{_eryx_errors.describe(error)}")
    if failures:
        _eryx_session.flush()
        raise RuntimeError("\n".join(failures))
    gc.collect()
    _gather()
    _warm_up()
    settle()


def settle():
    """Leaves in the memory nothing that belongs to one instance."""
    _eryx_session.flush()
    _eryx_fresh.prepare()
    gc.collect()
    # What is there now stays: the collector need not look at it again, and so does not write to it.
    gc.freeze()


def _gather():
    """Makes anew what calls write to: so it lies side by side."""
    # What is replaced is kept until all is done: else the next one would take its place.
    old = [_eryx_session._session]
    end = _eryx.end_of_heap()
    _eryx.fill_holes(end)
    for name in [name for name in sys.modules if name.startswith("_eryx_") and name != __name__]:
        module = sys.modules[name].__dict__
        for value in list(module.values()):
            for function in _functions(value, name):
                # The interpreter counts in the code how often it ran.
                old.append(function.__code__)
                function.__code__ = function.__code__.replace()
        _renew(module, end)
    session = _eryx_session._session = _copy(old[0])
    session.callbacks = _copy(session.callbacks)
    _renew(session.module.__dict__, end)
    _renew(linecache.cache, end)


def _copy(instance):
    """A copy of an instance, and of the containers that its attributes are."""
    new = copy.copy(instance)
    for name, value in list(vars(new).items()):
        if type(value) in (dict, deque):
            setattr(new, name, copy.copy(value))
    return new


def _functions(value, module):
    """The Python functions of a module's global, which may be a class."""
    if isinstance(value, type):
        if value.__module__ == module:
            for member in list(vars(value).values()):
                yield from _functions(member, module)
    elif isinstance(value, (staticmethod, classmethod)):
        yield from _functions(value.__func__, module)
    elif isinstance(value, property):
        for function in value.fget, value.fset, value.fdel:
            yield from _functions(function, module)
    elif isinstance(value, types.FunctionType) and value.__module__ == module:
        yield value


def _renew(namespace, end):
    """Moves what a dictionary holds behind an address; the dictionary stays the same."""
    content = dict(namespace)
    namespace.clear()
    _eryx.fill_holes(end)
    namespace.update(content)


def _warm_up():
    """Runs what every instance runs, until the interpreter has adapted its code: it writes into code that is new to it."""
    kept = _eryx_session._session
    _eryx_session._session = _eryx_session.Session()
    for _ in range(_WARM_UP):
        _eryx_fresh.refresh()
        _eryx_session.execute("None")
    _eryx_session.execute("raise Exception")
    _eryx_session._session = kept
    kept.adopt(kept.module)
