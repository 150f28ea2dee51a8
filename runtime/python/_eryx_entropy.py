"""Finds out who draws random bytes while a memory is prepared: all instances would share them.

What is made anew in each instance may draw (see `_eryx_fresh`): random streams, and modules that are known. Whatever else
does is named.
"""

import os
import posix
import sys
import types

#: Modules whose draws are made anew in each instance.
_RENEWED = ("multiprocessing.process", "numpy.random")
#: Modules that draw, when they are imported, for what is made anew.
_RENEWED_AT_IMPORT = ("random", "tempfile", "uuid")
#: Functions that do.
_SEEDING = {("random", "seed"), ("random", "__init__"), ("uuid", "_random_getnode"), ("uuid", "getnode")}
#: Modules by whose functions others draw.
_WAYS = ("os", "random", "secrets", "tempfile", "uuid", "importlib")

#: Who drew, and on which line.
_drawn = {}


def watch():
    """Takes note from now on of who draws."""
    for name in "urandom", "getrandom":
        if function := getattr(posix, name, None):
            _replace_everywhere(function, _noted(function))


def stop():
    """Takes no note any more; returns who drew, in words."""
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            if type(value) is types.FunctionType and hasattr(value, "__eryx_real__"):
                _replace_everywhere(value, value.__eryx_real__)
    told = [f"`{name}`, line {line}" for name, line in _drawn.items()]
    _drawn.clear()
    return told


def _replace_everywhere(old, new):
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        for name in [name for name, value in names.items() if value is old]:
            names[name] = new


def _noted(function):
    def noted(*arguments, **options):
        _note(sys._getframe(1))
        return function(*arguments, **options)

    noted.__eryx_real__ = function
    return noted


def _note(frame):
    # Its module in C seeds generators without a frame of its own; the first draw is that of its import.
    if numpy := sys.modules.get("numpy.random.bit_generator"):
        randbits = getattr(numpy, "randbits", None)
        if randbits is not None and not hasattr(randbits, "__eryx_real__"):
            numpy.randbits = _unnoted(randbits)
    while frame is not None:
        module, function = frame.f_globals.get("__name__") or "?", frame.f_code.co_name
        at_import = function == "<module>"
        if _is_of(module, _RENEWED) or (module, function) in _SEEDING or (at_import and module in _RENEWED_AT_IMPORT):
            return
        if at_import or not _is_of(module, _WAYS):
            if not module.startswith("_eryx"):
                _drawn.setdefault(module, frame.f_lineno)
            return
        frame = frame.f_back


def _unnoted(function):
    """Marks the draws of a function as those of what is made anew, by a frame of ours."""

    def randbits(*arguments):
        return function(*arguments)

    randbits.__eryx_real__ = function
    return randbits


def _is_of(module, names):
    return any(module == name or module.startswith(f"{name}.") for name in names)
