"""The component that is built with componentize-py: it runs the code that it is given.

Only what is imported while it is built can be imported later, so the modules that benchmarks need are named here.
"""

import argparse
import array  # noqa: F401
import bisect  # noqa: F401
import collections  # noqa: F401
import contextlib
import copy  # noqa: F401
import dataclasses  # noqa: F401
import datetime  # noqa: F401
import enum  # noqa: F401
import io
import json  # noqa: F401
import locale  # noqa: F401
import math  # noqa: F401
import pickle  # noqa: F401
import random  # noqa: F401
import re  # noqa: F401
import sys  # noqa: F401
import time  # noqa: F401
import types  # noqa: F401
import typing  # noqa: F401

import wit_world

# It imports more when it is used.
argparse.ArgumentParser().parse_args([])


class WitWorld(wit_world.WitWorld):
    def run(self, code: str) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {"__name__": "__main__"})
        return printed.getvalue()
