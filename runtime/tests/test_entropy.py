"""Tests of who is found to draw random bytes while a memory is prepared."""

import os
import posix
import sys
import types
import unittest

import fake_eryx  # noqa: F401

import _eryx_entropy


class Entropy(unittest.TestCase):
    def setUp(self):
        _eryx_entropy.watch()
        self.addCleanup(_eryx_entropy.stop)

    def module(self, name, source):
        module = sys.modules[name] = types.ModuleType(name)
        self.addCleanup(sys.modules.pop, name, None)
        exec(compile(source, name, "exec"), module.__dict__)
        return module

    def drawn(self, source):
        self.module("drawing", source)
        return _eryx_entropy.stop()

    def test_whoever_draws_is_named(self):
        for source in (
            "import os\nx = os.urandom(3)",
            "import secrets\nx = secrets.token_hex()",
            "import uuid\nx = uuid.uuid4()",
            "import random\nx = random.SystemRandom().random()",
            "from os import urandom\nx = urandom(1)",
        ):
            self.assertEqual(self.drawn(source), ["`drawing`, line 2"], source)
            _eryx_entropy.watch()

    def test_what_is_made_anew_may_draw(self):
        for source in (
            "import random\nx = random.Random()\nrandom.seed()",
            "import tempfile\nx = tempfile._RandomNameSequence().rng",
            "import uuid\nx = uuid._random_getnode()",
            "import sys\nsys.modules.pop('multiprocessing.process', None)\nimport multiprocessing.process",
            "x = 1",
        ):
            self.assertEqual(self.drawn(source), [], source)
            _eryx_entropy.watch()

    def test_nothing_of_it_stays(self):
        module = self.module("drawing", "from os import urandom\nx = urandom(1)")
        self.assertEqual(_eryx_entropy.stop(), ["`drawing`, line 2"])
        self.assertEqual(_eryx_entropy.stop(), [])
        import random

        for function in os.urandom, posix.urandom, random._urandom, module.urandom:
            self.assertIsInstance(function, types.BuiltinFunctionType)


if __name__ == "__main__":
    unittest.main()
