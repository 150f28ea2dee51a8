"""What the embedder is told about an exception that ended the code."""

import linecache
import sys

#: File names of the session's own code, one for each call of `execute`.
SESSION_PREFIX = "<execute-"
_OWN_PREFIX = "<eryx "
_PROGRAM = "<eryx _eryx_program>"
# Some frames of ours stand between the session's code and the exception only because the code ran
# as a task; natively they would not be there.
_LOOP_PARTS = ("/asyncio/base_events.py", "/asyncio/runners.py")


def describe(error):
    """Returns the text for an exception: a traceback, or `SystemExit: <status>`."""
    if isinstance(error, SystemExit):
        return f"SystemExit: {exit_status(error)}"
    try:
        return _traceback(error)
    except BaseException as second:
        # `__str__`, `__notes__` and the like are the session's own code, and memory may be full still.
        name = type(error).__qualname__
        return f"<the traceback cannot be shown: {type(second).__qualname__}>\n{name}\n"


def exits_well(error):
    """Whether an exception is what `sys.exit()` raises without an error's status or message."""
    return isinstance(error, SystemExit) and error.code in (None, 0)


def exit_status(error):
    """The exit status that python3 would end with; a message goes to standard error."""
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        # python3 turns what does not fit a C long into -1, and a process has eight bits of status.
        return int(code) & 0xFF if -(2**63) <= code < 2**63 else 0xFF
    try:
        print(code, file=sys.stderr, flush=True)
    except Exception:
        pass
    return 1


def _traceback(error):
    import traceback

    if isinstance(error, SyntaxError):
        _complete(error)
    report = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    _strip(report)
    return "".join(report.format())


def _complete(error):
    """Gives a syntax error of the session its source line, which some lack without a file."""
    if error.text is None and str(error.filename).startswith(SESSION_PREFIX) and error.lineno:
        error.text = linecache.getline(error.filename, error.lineno) or None


def _strip(report):
    """Drops our frames from a report and from everything it is chained to."""
    seen, left = set(), [report]
    # Not by recursion: a chain may be longer than Python calls may be deep.
    while left:
        report = left.pop()
        if report is None or id(report) in seen:
            continue
        seen.add(id(report))
        report.stack[:] = _stripped(report.stack)
        left += (report.__cause__, report.__context__, *(report.exceptions or ()))


def _stripped(frames):
    # What runs a whole program stands for the call; the program comes below it.
    last = max((i for i, f in enumerate(frames) if f.filename == _PROGRAM), default=-1)
    frames = frames[last + 1 :]
    # Without any frame of the session (a deadlock, say) what is left is all ours.
    first = next((i for i, f in enumerate(frames) if f.filename.startswith(SESSION_PREFIX)), len(frames))
    if all(_is_driver(f) for f in frames[:first]):
        frames = frames[first:]
    return [f for f in frames if not f.filename.startswith(_OWN_PREFIX)]


def _is_driver(frame):
    return _is_driver_file(frame.filename)


def _is_driver_file(filename):
    return filename.startswith(_OWN_PREFIX) or filename.endswith(_LOOP_PARTS)


def own_traceback(traceback):
    """The part of a traceback that is the program's; the call that runs the program is none of it."""
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if not (_is_driver_file(filename) or filename.startswith(SESSION_PREFIX)):
            return traceback
        traceback = traceback.tb_next
    return None
