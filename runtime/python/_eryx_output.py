"""Standard streams that write through to WASI and keep a copy of what the session printed."""

import io
import os
import sys


class Tee(io.RawIOBase):
    """A raw stream over a file descriptor; while `copy` is a bytearray, writes are added to it."""

    def __init__(self, fd, mode="wb"):
        self._fd = fd
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
    if not _usable(sys.stdout):
        sys.stdout = _stdout
    if not _usable(sys.stderr):
        sys.stderr = _stderr


def adopt():
    """Replaces the streams that Python made at its start."""
    sys.stdout = sys.stderr = None
    install()


def begin():
    """Starts to keep what is written to standard output."""
    install()
    _stdout.tee.copy = bytearray()


def end():
    """Flushes the streams and returns what standard output got since `begin`."""
    flush()
    copy, _stdout.tee.copy = _stdout.tee.copy, None
    return bytes(copy or b"").decode("utf-8", "replace")


def flush():
    """Flushes every standard stream; a stream that cannot be flushed is left alone."""
    for stream in (sys.stdout, _stdout, sys.stderr, _stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def _usable(stream):
    return stream is not None and not getattr(stream, "closed", False)
