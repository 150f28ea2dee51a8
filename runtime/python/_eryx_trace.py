"""Reports what the session's code does, line by line, to the embedder."""

import json
import sys

import _eryx
from _eryx_errors import SESSION_PREFIX

_MONITOR = sys.monitoring
_EVENTS = _MONITOR.events
_MOST_VARIABLES = 20
_LONGEST_VALUE = 80

_tool = None
_with_variables = False


def switch(enabled, variables):
    """Starts or ends tracing."""
    global _with_variables
    _with_variables = variables
    if enabled and _tool is None:
        _start()
    elif not enabled and _tool is not None:
        _stop()


def _start():
    global _tool
    free = [tool for tool in (4, 3, 2) if _MONITOR.get_tool(tool) is None]
    if not free:
        raise RuntimeError("tracing is not possible: other tools monitor the code already")
    _tool = free[0]
    _MONITOR.use_tool_id(_tool, "eryx")
    for event, handler in _HANDLERS.items():
        _MONITOR.register_callback(_tool, event, handler)
    _MONITOR.set_events(_tool, sum(_HANDLERS))
    _MONITOR.restart_events()


def _stop():
    global _tool
    _MONITOR.set_events(_tool, 0)
    _MONITOR.free_tool_id(_tool)
    _tool = None


def _report(kind, code, line, **details):
    event = {"type": kind, "function": code.co_qualname, "file": code.co_filename, **details}
    _eryx.report_trace(line or 0, json.dumps(event), json.dumps(_variables()))


def _on_call(code, offset):
    if not code.co_filename.startswith(SESSION_PREFIX):
        return _MONITOR.DISABLE
    # The code of a module has no line that calls it.
    _report("call", code, 0 if code.co_name == "<module>" else code.co_firstlineno)


def _on_line(code, line):
    if not code.co_filename.startswith(SESSION_PREFIX):
        return _MONITOR.DISABLE
    _report("line", code, line)


def _on_return(code, offset, value):
    if not code.co_filename.startswith(SESSION_PREFIX):
        return _MONITOR.DISABLE
    _report("return", code, sys._getframe(1).f_lineno)


def _on_raise(code, offset, error):
    # This event cannot be switched off for other code.
    if code.co_filename.startswith(SESSION_PREFIX):
        name = type(error).__qualname__
        message = _shortened(lambda: f"{name}: {error}")
        _report("exception", code, sys._getframe(1).f_lineno, exception=name, message=message)


def report_callback(kind, name):
    """Reports that a call of the embedder starts or has ended, if tracing is on; it belongs to no line."""
    if _tool is not None:
        _eryx.report_trace(0, json.dumps({"type": kind, "name": name}), "{}")


# As with `sys.settrace`, code that waits returns, and is called again.
_HANDLERS = {
    _EVENTS.PY_START: _on_call,
    _EVENTS.PY_RESUME: _on_call,
    _EVENTS.PY_YIELD: _on_return,
    _EVENTS.LINE: _on_line,
    _EVENTS.PY_RETURN: _on_return,
    _EVENTS.RAISE: _on_raise,
}


def _variables():
    """Short representations of the traced frame's variables: bounded in number and in length."""
    if not _with_variables:
        return {}
    summary = {}
    # This function, `_report`, the handler, then the traced frame.
    for name, value in sys._getframe(3).f_locals.items():
        if name.startswith("__"):
            continue
        if len(summary) == _MOST_VARIABLES:
            break
        summary[name] = _shortened(lambda: repr(value))
    return summary


def _shortened(describe):
    """A text of bounded length, made by code of the user's which may fail."""
    try:
        text = describe()
    except Exception as error:
        text = f"<repr failed: {type(error).__qualname__}>"
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
