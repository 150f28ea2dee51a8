"""The end of a program, as python3 ends one: hooks, globals, files, streams."""

import atexit
import gc
import sys

import _eryx
import _eryx_output

#: Hooks that modules set when they are imported, and not again: a session's modules stay imported.
_SET_AT_IMPORT = (("logging", "shutdown"), ("multiprocessing.util", "_exit_function"))


def end(session, module):
    """Ends the session's program: runs its hooks, drops what it holds and writes out its files; `module` is the new main."""
    try:
        _run_hooks()
        _eryx_output.flush()
        # A file in a cycle may be closed before its buffers, which then have nowhere to go.
        write_files()
        _forget_errors()
        if loop := sys.modules.get("_eryx_loop"):
            loop.forget_session_loop()
    finally:
        session.adopt(module)
    # Not name by name: finalisers find all globals, as they do at python3's end.
    gc.collect()
    write_files()
    _eryx_output.flush()


def write_files():
    """Writes out what open files hold in their buffers: an embedder may look at the files after any call."""
    if not _eryx.has_writers():
        return
    import _io

    # Text first, it goes to a binary one.
    kinds = _io.TextIOWrapper, _io.BufferedWriter, _io.BufferedRandom
    objects = gc.get_objects()
    for kind in kinds:
        for file in objects:
            if issubclass(type(file), kind) and _is_of_a_file(file, kinds):
                try:
                    # Through its own class, not the session's: no code of the session runs here.
                    kind.flush(file)
                except Exception as error:
                    _tell(error, f"writing out {file!r}")


def _is_of_a_file(file, kinds):
    """Whether a stream leads to a file of its own, without code of the session on the way."""
    import _io

    text, *binary = kinds
    try:
        if issubclass(type(file), text):
            file = text.buffer.__get__(file)
        kind = next((kind for kind in binary if issubclass(type(file), kind)), None)
        if kind is None:
            return False
        raw = kind.raw.__get__(file)
        return type(raw) is _io.FileIO and not raw.closed and raw.fileno() > 2
    except (AttributeError, ValueError):
        # It has no buffer, or none any more.
        return False


def _tell(error, doing):
    """As python3 tells of an error that nobody can catch."""
    try:
        import traceback

        print(f"Exception ignored while {doing}:", file=sys.stderr)
        traceback.print_exception(error)
    except Exception:
        pass  # there is no stream, or it is the session's own


def _run_hooks():
    threading = sys.modules.get("threading")
    if threading is not None:
        for hook in reversed(threading._threading_atexits):
            try:
                hook()
            except Exception as error:
                _tell(error, f"ending threads by {hook!r}")
    atexit._run_exitfuncs()
    # The session may go on with another program, for which they count again.
    if futures := sys.modules.get("concurrent.futures.thread"):
        futures._shutdown = False
    if weakref := sys.modules.get("weakref"):
        weakref.finalize._shutdown = False
        weakref.finalize._registered_with_atexit = False
    for name, hook in _SET_AT_IMPORT:
        if module := sys.modules.get(name):
            atexit.register(getattr(module, hook))


def _forget_errors():
    """Drops the errors that are kept for debuggers: they hold frames, and these whatever was in them."""
    for name in "last_exc", "last_type", "last_value", "last_traceback":
        if hasattr(sys, name):
            delattr(sys, name)
