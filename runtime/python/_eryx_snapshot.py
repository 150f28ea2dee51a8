"""Saves the session's globals as bytes, and restores them.

The format: a header (`_HEADER`), then a body of pickles that share one memo, in this order: the
sources and the call counter; the session's functions and classes by name; all other globals by
name; after each of the latter two, the contents of closure cells, in batches, until an empty batch.

What the session defined is saved by value, whatever can be imported by reference. Cells are filled
last, because a cell may lead back to the function that is being saved. Functions and classes come
before data, because data (the elements of a set, say) may call their methods while it is restored.
"""

import functools
import io
import os
import pickle
import struct
import sys
from _sha2 import sha256
from importlib.util import MAGIC_NUMBER

import _eryx_values
from _eryx_errors import SESSION_PREFIX
from _eryx_session import PREAMBLE, new_module

_MAGIC = b"ERYXSNAP"
_FORMAT = 1
# magic, format, CPython's bytecode magic (functions are saved as bytecode), length of the variant (the
# packages that are installed), length of the body, sha256 of what follows the header.
_HEADER = struct.Struct("<8sH4sHQ32s")

#: Globals that the interpreter or the runtime makes anew.
_NEVER_SAVED = {
    "__annotate__", "__annotations__", "__builtins__", "__conditional_annotations__", "__doc__",
    "__loader__", "__name__", "__package__", "__spec__",
}  # fmt: skip


class SnapshotError(Exception):
    """A snapshot that cannot be made, or data that is no snapshot of ours."""


def attempt(function, *arguments):
    """Calls a function; returns `(True, result)` or `(False, message)`."""
    try:
        return True, function(*arguments)
    except SnapshotError as error:
        return False, str(error)
    except BaseException as error:
        # `__reduce__`, `__setstate__` and the like are the session's own code: anything may come.
        try:
            return False, f"{function.__name__} failed: {type(error).__qualname__}: {error}"
        except BaseException:
            return False, f"{function.__name__} failed: {type(error).__qualname__}"


def save(session):
    """Returns the snapshot of a session.

    Raises SnapshotError that names every global that cannot be saved.
    """
    values = _saved_globals(session)
    try:
        body = _dump(session, values)
    except BaseException:
        problems = _problems(session, values)
        if not problems:
            raise
        told = ", ".join(f"`{name}` ({reason})" for name, reason in problems.items())
        raise SnapshotError(f"cannot snapshot: {told}") from None
    return _pack(body)


def save_what_can_be(session):
    """Returns the snapshot of a session, and the names of the globals that it had to leave out."""
    values = _saved_globals(session)
    skipped = []
    try:
        body = _dump(session, values)
    except BaseException:
        skipped = sorted(_problems(session, values))
        if not skipped:
            raise
        body = _dump(session, {name: value for name, value in values.items() if name not in skipped})
    return _pack(body), skipped


def _saved_globals(session):
    return {
        name: value
        for name, value in session.namespace.items()
        if name not in _NEVER_SAVED and not session.callbacks.owns(name, value)
    }


def _pack(body):
    variant = _variant()
    digest = sha256(variant + body).digest()
    header = _HEADER.pack(_MAGIC, _FORMAT, MAGIC_NUMBER, len(variant), len(body), digest)
    return header + variant + body


def restore(session, data):
    """Replaces the session's globals; raises and leaves them alone if the data does not fit."""
    body = _check(data)
    try:
        module, (sources, calls) = _loaded(body, _load)
    except SnapshotError:
        raise
    except BaseException as error:
        raise SnapshotError(f"cannot restore: {type(error).__qualname__}: {error}") from error
    session.adopt(module)
    session.forget_code()
    for name, source in sources.items():
        session.remember(name, source)
    # A file name must not come twice, or a traceback would show the wrong line.
    session.calls = max(session.calls, calls)


def _check(data):
    """Returns the body of a snapshot that is whole and fits this Python."""
    if len(data) < _HEADER.size or data[: len(_MAGIC)] != _MAGIC:
        raise SnapshotError("cannot restore: this is no snapshot")
    _, version, bytecode, variant_size, body_size, digest = _HEADER.unpack_from(data)
    if version != _FORMAT:
        raise SnapshotError(f"cannot restore: expected snapshot format {_FORMAT} but found {version}")
    if bytecode != MAGIC_NUMBER:
        raise SnapshotError("cannot restore: the snapshot was made by another version of Python")
    payload = data[_HEADER.size :]
    if len(payload) != variant_size + body_size:
        raise SnapshotError(
            f"cannot restore: expected {variant_size + body_size} bytes after the header but found {len(payload)}"
        )
    if sha256(payload).digest() != digest:
        raise SnapshotError("cannot restore: the snapshot is damaged: its checksum does not match")
    if payload[:variant_size] != _variant():
        told = _difference(payload[:variant_size])
        raise SnapshotError(f"cannot restore: the snapshot was made by another variant: {told}")
    return payload[variant_size:]


@functools.cache
def _variant():
    """The installed packages with their versions: what is saved by reference means the same only among equals."""
    try:
        names = os.listdir(os.path.join(os.path.dirname(os.__file__), "site-packages"))
    except OSError:
        names = []
    packages = sorted(name.removesuffix(".dist-info") for name in names if name.endswith(".dist-info"))
    return " ".join(packages).encode()[:0xFFFF]


def _difference(variant):
    there, here = (set(names.decode("utf-8", "replace").split()) for names in (variant, _variant()))
    told = [f"this one lacks `{name}`" for name in sorted(there - here)]
    told += [f"this one has `{name}` besides" for name in sorted(here - there)]
    return ", ".join(told)


def _loaded(body, load):
    """Returns a new module that `load` has filled from a body, and what it returned."""
    module = new_module()
    previous = sys.modules.get("__main__")
    # Classes are looked up through their module while they are rebuilt.
    sys.modules["__main__"] = module
    try:
        return module, load(body, module)
    finally:
        sys.modules["__main__"] = previous


def _dump(session, values):
    code, data = {}, {}
    for name, value in values.items():
        (code if _eryx_values.is_definition(value) else data)[name] = value
    buffer = io.BytesIO()
    pickler = _eryx_values.Pickler(buffer, session.namespace)
    with _eryx_values.hidden_main():
        pickler.dump((dict(session.sources), session.calls))
        _dump_part(pickler, code)
        _dump_part(pickler, data)
    body = buffer.getvalue()
    if code or pickler.met_instances:
        # Whether these can be rebuilt is known only once they have been: a metaclass decides, or what a class makes of
        # its arguments.
        _loaded(body, _load)
    return body


def _dump_part(pickler, values):
    pickler.dump(values)
    while True:
        batch = pickler.take_cells()
        pickler.dump(batch)
        if not batch:
            return


def _load(body, module):
    """Fills a module; returns the sources and the call counter. What is of another shape than we save is refused."""
    unpickler = _eryx_values.Unpickler(io.BytesIO(body), module)
    head = unpickler.load()
    if not (type(head) is tuple and len(head) == 2 and _are_sources(head[0]) and _is_count(head[1])):
        raise SnapshotError("cannot restore: the snapshot is malformed: its sources or its counter")
    for _ in range(2):
        values = _load_part(unpickler)
        if type(values) is not dict or not all(type(name) is str for name in values) or _NEVER_SAVED & values.keys():
            raise SnapshotError("cannot restore: the snapshot is malformed: its globals")
        module.__dict__.update(values)
    return head


def _are_sources(value):
    # Under another name a source would stand for a file of somebody else in tracebacks.
    return type(value) is dict and all(
        type(name) is str and type(source) is str and (name.startswith(SESSION_PREFIX) or name == PREAMBLE)
        for name, source in value.items()
    )


def _is_count(value):
    # As many calls as nobody can have made.
    return type(value) is int and 0 <= value < 2**53


def _load_one(body, module):
    unpickler = _eryx_values.Unpickler(io.BytesIO(body), module)
    unpickler.load()
    _load_part(unpickler)


def _load_part(unpickler):
    values = unpickler.load()
    while batch := unpickler.load():
        for cell, content in batch:
            cell.cell_contents = content
    return values


def _problems(session, values):
    """Tries every global on its own; returns what is wrong with each that fails."""
    problems = {}
    for name, value in values.items():
        pickler, saved = None, False
        try:
            buffer = io.BytesIO()
            pickler = _eryx_values.Pickler(buffer, session.namespace)
            with _eryx_values.hidden_main():
                pickler.dump(None)
                _dump_part(pickler, {name: value})
            saved = True
            _loaded(buffer.getvalue(), _load_one)
        except (SystemExit, KeyboardInterrupt):
            raise  # the code wants an end, not that its value is left out
        except BaseException as error:
            if saved and not isinstance(error, RecursionError):
                told = f"{type(error).__qualname__}: {error}"
                problems[name] = f"{_eryx_values.kind_of(value)} that cannot be restored: {told}"
            else:
                problems[name] = _reason(pickler, value, error)
    return problems


def _reason(pickler, value, error):
    if isinstance(error, RecursionError):
        return "nested too deeply"
    culprit = pickler.last if pickler is not None and pickler.last is not None else value
    kind = _eryx_values.kind_of(culprit)
    if isinstance(error, (TypeError, pickle.PicklingError)) and not isinstance(culprit, type):
        return kind
    return f"{kind}: {type(error).__qualname__}: {error}"
