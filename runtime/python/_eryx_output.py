"""Standard streams that write through to WASI and keep a copy of what the session printed."""

import io
import os
import sys

import _eryx


class Tee(io.RawIOBase):
    """A raw stream over a file descriptor; while `copy` is a bytearray, writes are added to it.

    In a world that has an import for output, it goes there in the place of WASI's stream.
    """

    def __init__(self, fd, mode="wb"):
        self._fd = fd
        self._reports = _eryx.has_import("report-output")
        self.mode = mode
        self.copy = None

    def writable(self):
        return True

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
            if self._reports:
                _eryx.report_output(self._fd - 1, bytes(view))
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


def install():
    """Puts our streams into `sys`, unless the session has put usable ones of its own there."""
    global _stdout, _stderr
    if _stdout is None or _stdout.closed or _stdout.buffer.closed:
        _stdout = sys.__stdout__ = _Stream(Tee(1), "<stdout>", "surrogateescape")
    if _stderr is None or _stderr.closed or _stderr.buffer.closed:
        _stderr = sys.__stderr__ = _Stream(Tee(2), "<stderr>", "backslashreplace")
    # The session may even have deleted the names.
    if not _usable(getattr(sys, "stdout", None)):
        sys.stdout = _stdout
    if not _usable(getattr(sys, "stderr", None)):
        sys.stderr = _stderr


def adopt():
    """Replaces the streams that Python made at its start."""
    sys.stdout = sys.stderr = None
    install()


def begin(keep_errors=False):
    """Starts to keep what is written to standard output, and to standard error if that is asked for."""
    install()
    _stdout.tee.copy = bytearray()
    if keep_errors:
        _stderr.tee.copy = bytearray()


def end():
    """Flushes the streams and returns what standard output and standard error got since `begin`."""
    flush()
    printed = bytes(_stdout.tee.copy or b""), bytes(_stderr.tee.copy or b"")
    _stdout.tee.copy = _stderr.tee.copy = None
    return printed


def flush():
    """Flushes every standard stream; a stream that cannot be flushed is left alone."""
    out, err = getattr(sys, "stdout", None), getattr(sys, "stderr", None)
    streams = (_stdout, _stderr) if out is _stdout and err is _stderr else (out, _stdout, err, _stderr)
    for stream in streams:
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def _usable(stream):
    return stream is not None and not getattr(stream, "closed", False)
