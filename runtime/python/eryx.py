"""What Python code in the sandbox can ask of its embedder.

    result = await eryx.invoke("name", a=1)

Every callback of the embedder is also a global async function; one with dots in its name is an attribute.
"""

import _eryx
from _eryx_callbacks import CallbackError, invoke, list_callbacks

__all__ = ["CallbackError", "Stopped", "invoke", "list_callbacks", "trace"]

#: Raised in code whose time is over, or that is cancelled; no subclass of Exception.
Stopped = _eryx.stopped_class()


def trace(enabled=True, *, variables=False):
    """Reports calls, lines, returns and exceptions of the session's code to the embedder.

    With `variables`, each event carries short representations of the local variables.
    The environment variable ERYX_TRACE=1 has the same effect from the start.
    """
    import _eryx_trace

    _eryx_trace.switch(bool(enabled), bool(variables))
