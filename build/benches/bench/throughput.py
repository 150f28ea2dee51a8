"""Runs one of pyperformance's benchmarks and tells what its functions took: a stand-in for `pyperf`.

It is the same text for every Python that is measured, in a sandbox or not, so it must run without processes, threads
and files. `run` is all there is to call.
"""

import argparse
import json
import sys
import time
import types

# A sample is long against what the clock costs and short against what else the machine does, so that of several
# samples one is likely to be undisturbed.
SAMPLE = 0.02
SAMPLES = 12
# Seconds after which two samples are enough, and one.
ENOUGH = 0.3
MUCH = 1.0


def cpu_clock(path):
    """A clock of the processor time of a thread whose `schedstat` in Linux's `/proc` is at `path`."""
    file = open(path, "rb", buffering=0)

    def seconds():
        # The kernel counts when a thread gives way, and in steps of milliseconds while it runs.
        time.sleep(2e-4)
        file.seek(0)
        return int(file.read(64).split()[0]) / 1e9

    return seconds


def _best(sample):
    """The least seconds for one loop; `sample(loops)` gives the seconds that so many take."""
    loops, spent, taken, best = 1, 0.0, 0, float("inf")
    while True:
        seconds = sample(loops)
        spent += seconds
        if seconds < SAMPLE:
            # The first loops also fill caches: what they take tells how many are needed, and no more.
            loops *= 2 if seconds <= 0 else max(2, min(100, int(SAMPLE / seconds) + 1))
            continue
        best = min(best, seconds / loops)
        taken += 1
        if taken >= SAMPLES or spent >= (ENOUGH if taken > 1 else MUCH):
            return best


class Runner:
    """What benchmarks use of pyperf's class of this name."""

    results = {}

    def __init__(self, add_cmdline_args=None, **_options):
        self.argparser = argparse.ArgumentParser()
        self.metadata = {}
        self.args = None

    def parse_args(self, args=None):
        if self.args is None:
            self.args = self.argparser.parse_args(args)
        return self.args

    def bench_time_func(self, name, function, *args, inner_loops=1, **_options):
        self.parse_args()
        self.results[name] = _best(lambda loops: function(loops, *args)) / inner_loops

    def bench_func(self, name, function, *args, inner_loops=1, **options):
        def sample(loops):
            repeat = range(loops)
            start = time.perf_counter()
            for _ in repeat:
                function(*args)
            return time.perf_counter() - start

        self.bench_time_func(name, sample, inner_loops=inner_loops or 1, **options)

    def bench_async_func(self, name, function, *args, inner_loops=1, **options):
        import asyncio

        async def repeated(loops):
            repeat = range(loops)
            start = time.perf_counter()
            for _ in repeat:
                await function(*args)
            return time.perf_counter() - start

        def sample(loops):
            return asyncio.run(repeated(loops))

        self.bench_time_func(name, sample, inner_loops=inner_loops or 1, **options)


def run(file, arguments, source=None, schedstat=None):
    """Runs the script `file` (or its text `source`) with `arguments`, and prints the seconds by names as JSON.

    They are of processor time if `schedstat` tells the path of such a file, else of a clock on the wall.
    """
    if schedstat is not None:
        time.perf_counter = cpu_clock(schedstat)
    if source is None:
        with open(file, encoding="utf-8") as text:
            source = text.read()
    pyperf = types.ModuleType("pyperf")
    pyperf.Runner = Runner
    pyperf.perf_counter = time.perf_counter
    pyperf.python_implementation = lambda: sys.implementation.name
    sys.modules["pyperf"] = pyperf
    # A benchmark chooses between pickle in C and in Python while it imports it, which a sandbox may have done before.
    if "--pure-python" in arguments:
        sys.modules.pop("pickle", None)
    main = types.ModuleType("__main__")
    main.__file__ = file
    former, sys.modules["__main__"] = sys.modules["__main__"], main
    sys.argv = [file, *arguments]
    sys.path.insert(0, file.rpartition("/")[0])
    try:
        exec(compile(source, file, "exec"), main.__dict__)
    finally:
        sys.modules["__main__"] = former
    print("\nseconds: " + json.dumps(Runner.results))
