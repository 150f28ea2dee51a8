"""Standard streams that write through to WASI and keep a copy of what the session printed."""

import io
import os
import sys

import _eryx


class Tee(io.RawIOBase):
    """A raw stream over a file descriptor; while `copy` is a bytearray, writes are added to it.

    In a world that has an import for output, it goes there in the place of WASI's stream, once there is an embedder.
    """

    def __init__(self, fd, mode="wb"):
        self._fd = fd
        self._reports = _eryx.has_import("report-output")
        self.mode = mode
        self.copy = None

    def writable(self):
        return True

    def close(self):
        global _sound
        _sound = False
        super().close()

    def fileno(self):
        return self._fd

    def isatty(self):
        return not self.closed and os.isatty(self._fd)

    def write(self, data):
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with memoryview(data).cast("B") as view:
            # The copy is taken first: when the embedder has closed its end, the caller sees the
            # error, and the result still holds what was printed.
            if self.copy is not None:
                self.copy += view
            if self._reports and _eryx.report_output(self._fd - 1, bytes(view)):
                return len(view)
            done = 0
            while done < len(view):
                done += os.write(self._fd, view[done:])
            return done


class _Stream(io.TextIOWrapper):
    """Text over a tee, flushed at every line end."""

    def __init__(self, tee, name, errors):
        super().__init__(io.BufferedWriter(tee), encoding="utf-8", errors=errors, line_buffering=True)
        self.tee = tee
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
    # They end only when ours are there: what calls write to shall lie side by side, not in the places of those.
    old = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = None
    install()
    del old


def begin(keep_errors=False):
    """Starts to keep what is written to standard output, and to standard error if that is asked for."""
    if not _sound or _replaced():
        install()
    _stdout.tee.copy = bytearray()
    if keep_errors:
        _stderr.tee.copy = bytearray()


def end():
    """Flushes the streams and returns what standard output and standard error got since `begin`."""
    flush()
    out, err = _stdout.tee, _stderr.tee
    printed = out.copy or b"", err.copy or b""
    out.copy = err.copy = None
    return printed


def flush():
    """Flushes every standard stream; a stream that cannot be flushed is left alone."""
    global _sound
    if not _replaced():
        try:
            _stdout.flush()
            _stderr.flush()
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
    """Tells whether a stream of ours can still be written to: it may be closed, or lack its buffer."""
    buffer = getattr(stream, "buffer", None)
    return buffer is not None and not buffer.closed


def _usable(stream):
    try:
        return stream is not None and not getattr(stream, "closed", False)
    except Exception:
        # Ours says so when it has been detached, and the session's own may raise anything.
        return False
