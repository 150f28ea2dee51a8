"""A stand-in for the runtime's builtin module, so that the Python parts run on the build machine.

Its "embedder" answers calls of `echo` after the delay in the arguments, and knows no other.
"""

import json
import sys
import time
import types
from pathlib import Path

_PYTHON = Path(__file__).resolve().parent.parent / "python"


class Embedder:
    """Answers calls after a delay, on a clock that only waiting moves on."""

    def __init__(self):
        self.callbacks = []
        self._listed = None
        self.events = []
        self.cancelled = []
        self.salts = []
        self.answer_limit = None
        self.has_writers = False
        self._due = {}
        #: The numbers of calls whose event was taken.
        self._free = []

    def start_invoke(self, name, arguments):
        values = json.loads(arguments)
        if name != "echo":
            return False, f"no callback `{name}`"
        if "delay" not in values:
            return True, json.dumps(values)
        # The number that became free last, as engines have it.
        subtask = self._free.pop() if self._free else len(self._due) + 1
        self._due[subtask] = time.monotonic() + values["delay"], (True, json.dumps(values))
        return subtask

    def list_callbacks(self):
        if self._listed != self.callbacks:
            self._listed = list(self.callbacks)
        return self._listed

    def wait(self):
        subtask = min(self._due, key=lambda key: self._due[key][0])
        due, outcome = self._due[subtask]
        self._end(subtask)
        time.sleep(max(0, due - time.monotonic()))
        return subtask, outcome

    def poll(self):
        for subtask, (due, outcome) in self._due.items():
            if due <= time.monotonic():
                self._end(subtask)
                return subtask, outcome
        return None

    def cancel(self, subtask):
        self._end(subtask)
        self.cancelled.append(subtask)

    def _end(self, subtask):
        del self._due[subtask]
        self._free.append(subtask)


def install():
    """Puts the module into `sys.modules` and returns its embedder."""
    embedder = Embedder()
    module = types.ModuleType("_eryx")
    for name in ("start_invoke", "list_callbacks", "wait", "poll", "cancel"):
        setattr(module, name, getattr(embedder, name))
    module.yield_now = lambda: None
    # It is no frame natively; here it has the name of ours, which tracebacks leave out.
    stoppable = "def stoppable(function, *arguments):\n    return function(*arguments)\n"
    exec(compile(stoppable, "<eryx fake>", "exec"), module.__dict__)
    module.stopped_class = lambda: type("Stopped", (BaseException,), {"__module__": "eryx"})
    module.report_trace = lambda *event: embedder.events.append(event)
    module.has_writers = lambda: embedder.has_writers
    module.has_import = lambda name: False
    module.release_reserve = lambda: None
    module.answer_limit = lambda: embedder.answer_limit
    module.streams_touched = lambda: True
    module.streams_flushed = lambda: None
    module.salt_xml = embedder.salts.append
    module.result_fields = lambda export: ()
    module.source = _source
    sys.modules["_eryx"] = module
    exec(compile(_source("_eryx_importer"), "<eryx _eryx_importer>", "exec"), {"__name__": "_eryx_importer"})
    return embedder


def _source(name):
    if name == "_socket":
        return None  # the build machine's own modules need its own
    path = _PYTHON / f"{name}.py"
    return path.read_text() if path.exists() else None


EMBEDDER = install()
