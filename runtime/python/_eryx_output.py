"""Standard streams that write through to WASI and keep a copy of what the session printed."""

import io
import os
import sys

import _eryx


# The usual size: what is behind it in memory shall not be far away.
_BUFFER = 8192


#: The descriptors of which a copy is kept of what is written, and the copies since `begin`.
_kept = (1,)
_copies = {}


class Tee(io.RawIOBase):
    """A raw stream over a file descriptor, which keeps a copy of what is written.

    In a world that has an import for output, it goes there in the place of WASI's stream, once there is an embedder.
    """

    def __init__(self, fd, mode="wb"):
        self._fd = fd
        self._reports = _eryx.has_import("report-output")
        self.mode = mode

    def writable(self):
        return True

    def close(self):
        global _sound
        _sound = False
        super().close()

    def fileno(self):
        if self._reports:
            # Nothing that is written to the descriptor would reach the embedder.
            raise io.UnsupportedOperation("fileno")
        return self._fd

    def isatty(self):
        return not (self.closed or self._reports) and os.isatty(self._fd)

    def write(self, data):
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with memoryview(data).cast("B") as view:
            # The copy is taken first: when the embedder has closed its end, the caller sees the
            # error, and the result still holds what was printed.
            if self._fd in _kept:
                _copies.setdefault(self._fd, bytearray()).extend(view)
            if self._reports and _eryx.report_output(self._fd - 1, bytes(view)):
                return len(view)
            done = 0
            while done < len(view):
                done += os.write(self._fd, view[done:])
            return done


class _Stream(io.TextIOWrapper):
    """Text over a tee, flushed at every line end."""

    def __init__(self, tee, name, errors):
        super().__init__(io.BufferedWriter(tee, _BUFFER), encoding="utf-8", errors=errors, line_buffering=True)
        self.mode = "w"
        tee.name = name


_stdout = None
_stderr = None
#: False once one of our streams may have been closed or detached; the next `begin` then looks.
_sound = True


def install():
    """Puts our streams into `sys`, unless the session has put usable ones of its own there."""
    global _stdout, _stderr, _sound
    if not _intact(_stdout):
        _stdout = sys.__stdout__ = _Stream(Tee(1), "<stdout>", "surrogateescape")
    if not _intact(_stderr):
        _stderr = sys.__stderr__ = _Stream(Tee(2), "<stderr>", "backslashreplace")
    _sound = True
    # The session may even have deleted the names.
    if not _usable(getattr(sys, "stdout", None)):
        sys.stdout = _stdout
    if not _usable(getattr(sys, "stderr", None)):
        sys.stderr = _stderr


def adopt():
    """Replaces the streams that Python made at its start."""
    global _kept
    _kept = (1, 2) if "stderr" in _eryx.result_fields("execute") else (1,)
    # They end only when ours are there: what calls write to shall lie side by side, not in the places of those.
    old = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = None
    install()
    del old


def stream(unbuffered):
    """From now on output only goes out: nothing is kept, and what is no terminal gets it in blocks, as natively."""
    global _kept
    _kept = ()
    _stdout.reconfigure(line_buffering=_stdout.isatty(), write_through=unbuffered)


def answer(text):
    """Has the call return this in the place of what was printed."""
    _copies[1] = text.encode()


def begin():
    """Starts to keep what is written."""
    if not _sound or _replaced():
        install()
    if _copies:
        _copies.clear()


def is_silent():
    """Tells whether `end` has nothing to flush and nothing to return.

    A short call that prints nothing has no other use for the streams, and looking at them would be a tenth of its time.
    """
    return not (_copies or _eryx.streams_touched() or _replaced())


def end():
    """Flushes the streams and returns what standard output and standard error got since `begin`, if that is kept."""
    flush()
    return _copies.pop(1, b""), _copies.pop(2, b"")


def flush():
    """Flushes every standard stream; a stream that cannot be flushed is left alone."""
    global _sound
    if not _replaced():
        try:
            _stdout.flush()
            _stderr.flush()
            _eryx.streams_flushed()
            return
        except (OSError, ValueError):
            pass
    for stream in getattr(sys, "stdout", None), _stdout, getattr(sys, "stderr", None), _stderr:
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            _sound = False


def _replaced():
    try:
        return sys.stdout is not _stdout or sys.stderr is not _stderr
    except AttributeError:
        return True


def _intact(stream):
    """Tells whether a stream of ours can still be written to: it may be closed, or lack its buffer, or that its stream."""
    try:
        buffer = getattr(stream, "buffer", None)
        return buffer is not None and not buffer.closed
    except ValueError:
        return False


def _usable(stream):
    try:
        return stream is not None and not getattr(stream, "closed", False)
    except Exception:
        # Ours says so when it has been detached, and the session's own may raise anything.
        return False
