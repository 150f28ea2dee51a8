"""An asyncio event loop over the component model's waitable sets.

Where another loop asks the system which sockets are ready, this one asks which calls of the embedder
have returned. There are no threads: `run_in_executor` and `asyncio.to_thread` run the function at
once, in the loop's own thread.

A loop can be run while another one is running: the code of the session runs in a loop once it awaits
anything, and calls that use `asyncio.run` work there as they do elsewhere. The outer loop stands still
meanwhile.
"""

import _thread
import contextlib
import functools
import sys
import time
import warnings
from asyncio import base_events, events, runners, tasks

import _eryx

# In a world without an import for it, timers and calls cannot be waited for at once: the component model's
# sets of waitables do not hold what WASI 0.2 waits for. So while both are pending we sleep a little, then
# look. A nap is a tenth of what was waited so far, which bounds how late an answer is seen, within what
# embedders' timers can do and what a look may cost.
_SHORTEST_NAP = 0.001
_LONGEST_NAP = 0.020

#: The calls under way: subtask -> the future that gets `(succeeded, text)`.
_calls = {}


async def call(name, arguments):
    """Calls the embedder; returns `(succeeded, text)`. Cancelling it cancels the embedder's work."""
    loop = events.get_running_loop()
    if not isinstance(loop, Loop):
        raise RuntimeError(f"callbacks need the sandbox's event loop, not {type(loop).__name__}")
    # Tracing is imported only once it has been asked for.
    tracing = sys.modules.get("_eryx_trace")
    if tracing is not None:
        tracing.report_callback("callback_start", name)
    started = _eryx.start_invoke(name, arguments)
    if isinstance(started, tuple):
        outcome = started
    else:
        outcome = await _returned(started, loop)
    if tracing is not None:
        tracing.report_callback("callback_end", name)
    return outcome


async def _returned(subtask, loop):
    future = _calls[subtask] = loop.create_future()
    try:
        return await future
    finally:
        # Still there: we were cancelled, or the coroutine was thrown away. The number alone would not show it: once the
        # call's event was taken, it may be that of another call.
        if _calls.get(subtask) is future:
            del _calls[subtask]
            _eryx.cancel(subtask)


class Selector:
    """What `BaseEventLoop` takes for a selector: its "files" are calls of the embedder."""

    def __init__(self):
        self._can_wait = _eryx.has_import("sleep")

    def select(self, timeout):
        """Waits until a call returns or `timeout` seconds have passed; None waits for ever."""
        if timeout is None:
            if not _calls:
                raise RuntimeError("deadlock: no timer and no callback is pending, so no task can ever go on")
            return [_eryx.wait()]
        if timeout <= 0:
            return self._ready() if _calls else []
        if self._can_wait:
            return self._wait_until(timeout)
        if not _calls:
            time.sleep(timeout)
            return []
        return self._nap_for(timeout)

    def close(self):
        """There is nothing to close."""

    @staticmethod
    def _wait_until(timeout):
        sleep = _eryx.start_sleep(int(timeout * 1e9) + 1)
        if sleep is None:
            return []
        event = _eryx.wait()
        if event[0] == sleep:
            return []
        _eryx.cancel(sleep)
        return [event]

    def _nap_for(self, timeout):
        start = time.monotonic()
        while True:
            ready = self._ready()
            waited = time.monotonic() - start
            if ready or waited >= timeout:
                return ready
            nap = min(max(waited / 10, _SHORTEST_NAP), _LONGEST_NAP)
            time.sleep(min(nap, timeout - waited))

    @staticmethod
    def _ready():
        # Looking alone does not let the embedder run; yielding does.
        _eryx.yield_now()
        ready = []
        while (event := _eryx.poll()) is not None:
            ready.append(event)
        return ready


@contextlib.contextmanager
def _outer_loop_suspended():
    """Makes asyncio think that no loop is running."""
    loop = events._get_running_loop()
    if loop is None:
        yield
        return
    task = tasks._swap_current_task(loop, None)
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(loop)
        tasks._swap_current_task(loop, task)


def _nestable(function):
    """Makes a function that starts a loop callable while another loop is running."""

    @functools.wraps(function)
    def nested(*arguments, **options):
        with _outer_loop_suspended():
            return function(*arguments, **options)

    return nested


class Loop(base_events.BaseEventLoop):
    """The sandbox's event loop."""

    def __init__(self):
        super().__init__()
        self._selector = Selector()

    def run_forever(self):
        """Runs until `stop` is called; another loop may be running, but not this one."""
        if events._get_running_loop() is None:
            return super().run_forever()
        if self.is_running():
            self._check_running()
        with _outer_loop_suspended():
            return super().run_forever()

    def run_until_complete(self, future):
        """Runs until a future is done; another loop may be running, but not this one."""
        if events._get_running_loop() is None:
            return super().run_until_complete(future)
        if self.is_running():
            self._check_running()
        with _outer_loop_suspended():
            return super().run_until_complete(future)

    def run_in_executor(self, executor, func, *args):
        """Runs the function at once, unless the executor is one that needs no threads."""
        self._check_closed()
        if executor is not None and not _needs_threads(executor):
            return super().run_in_executor(executor, func, *args)
        future = self.create_future()
        try:
            result = func(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except StopIteration as error:
            future.set_exception(RuntimeError(f"the function raised {error!r}"))
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future

    def _process_events(self, event_list):
        for subtask, outcome in event_list:
            future = _calls.pop(subtask, None)
            if future is not None and not future.done():
                future.set_result(outcome)

    def _write_to_self(self):
        # Wakes a loop that another thread has to wake; there is no other thread.
        pass


class _Policy(events._BaseDefaultEventLoopPolicy):
    _loop_factory = Loop


def install():
    """Makes `Loop` the loop of `asyncio.run`, of runners and of new loops."""
    import asyncio

    events._set_event_loop_policy(_Policy())
    asyncio.EventLoop = Loop
    asyncio.run = runners.run = _nestable(runners.run)
    runners.Runner.run = _nestable(runners.Runner.run)
    runners.Runner.close = _nestable(runners.Runner.close)


def _needs_threads(executor):
    import sys

    module = sys.modules.get("concurrent.futures.thread")
    return module is not None and isinstance(executor, module.ThreadPoolExecutor)


_session_loop = None


def _the_loop():
    global _session_loop
    if _session_loop is None or _session_loop.is_closed():
        _session_loop = Loop()
    events.set_event_loop(_session_loop)
    return _session_loop


@contextlib.contextmanager
def running():
    """Makes asyncio think that the session's loop runs; ends what is left of its tasks afterwards."""
    loop = _the_loop()
    events._set_running_loop(loop)
    loop._thread_id = _thread.get_ident()
    try:
        yield
    finally:
        loop._thread_id = None
        events._set_running_loop(None)
        _end_tasks(loop, None)


def run(coroutine):
    """Runs the session's top-level coroutine on the session's loop, then ends what it left behind."""
    loop = _the_loop()
    task = loop.create_task(coroutine, name="execute")
    try:
        return loop.run_until_complete(task)
    finally:
        _end_tasks(loop, task)


def forget_session_loop():
    """Gives up the session's loop, which must not be running; the next call that awaits gets another."""
    global _session_loop
    if _session_loop is not None:
        _session_loop.close()
        _session_loop = None
        events.set_event_loop(None)


def _end_tasks(loop, main):
    left = [task for task in tasks.all_tasks(loop) if not task.done()]
    for task in left:
        # A task that waits for one that waits for another, and so on, may be too many for one call; each
        # of them gets its own.
        with contextlib.suppress(RecursionError):
            task.cancel()
        if task is not main:
            warnings.warn(f"task {task.get_name()!r} was cancelled: the code ended before it", RuntimeWarning, 4)
    if left:
        loop.run_until_complete(tasks.gather(*left, return_exceptions=True))
        for task in left:
            if task is not main and not task.cancelled() and task.exception() is not None:
                loop.call_exception_handler(
                    {"message": "a cancelled task raised", "exception": task.exception(), "task": task}
                )
    if len(loop._asyncgens):
        loop.run_until_complete(loop.shutdown_asyncgens())
