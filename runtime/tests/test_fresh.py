"""Tests of what makes an instance that starts from a saved memory one of its own."""

import subprocess
import sys
import time
import unittest

from fake_eryx import EMBEDDER

import _eryx_fresh


class Fresh(unittest.TestCase):
    """Both halves run in one process: what is random differs after each `refresh` of one state.

    The machine's Python is not patched: no stream can be marked, and `refresh` seeds them all.
    """

    def setUp(self):
        self.addCleanup(EMBEDDER.salts.clear)

    def test_nothing_is_imported_for_it(self):
        code = (
            "import sys, fake_eryx, _eryx_fresh\n"
            "left_out = {'random', 'logging', 'tempfile', 'uuid', '_eryx_loop', 'asyncio'}\n"
            "assert not left_out & set(sys.modules), left_out & set(sys.modules)\n"
            "before = {*sys.modules, 'gc'}\n"
            "_eryx_fresh.prepare()\n"
            "_eryx_fresh.refresh()\n"
            "assert set(sys.modules) <= before, set(sys.modules) - before"
        )
        subprocess.run([sys.executable, "-B", "-c", code], check=True)

    def test_the_streams_of_module_random(self):
        import random

        random.seed(1)
        state = random.getstate()
        seen = set()
        for _ in range(5):
            random.setstate(state)
            _eryx_fresh.prepare()
            _eryx_fresh.refresh()
            seen.add(random.random())
        self.assertEqual(len(seen), 5)
        random.seed(1)
        random.gauss()
        _eryx_fresh.prepare()
        _eryx_fresh.refresh()
        self.assertIsNone(random._inst.gauss_next)

    def test_xml_parsers_have_a_salt_of_their_own(self):
        saved = sys.modules.pop("pyexpat", None)
        if saved is not None:
            self.addCleanup(sys.modules.__setitem__, "pyexpat", saved)
        _eryx_fresh.prepare()
        _eryx_fresh.refresh()
        self.assertEqual(EMBEDDER.salts, [], "there can be no parser yet")
        import pyexpat  # noqa: F401

        self.assertEqual(len(EMBEDDER.salts), 1)
        # As in an instance of a memory that was saved with the module in it.
        _eryx_fresh.prepare()
        _eryx_fresh.refresh()
        self.assertEqual([len(salt) for salt in EMBEDDER.salts], [8, 8])
        self.assertEqual(len({*EMBEDDER.salts}), 2)

    def test_streams_of_the_session_s_own(self):
        import random

        class Odd(random.Random):
            def seed(self, *arguments):
                if arguments != (0,):
                    raise ValueError

        own, odd, system = random.Random(5), Odd(0), random.SystemRandom()
        expected = random.Random(5).random()
        _eryx_fresh.prepare()
        self.assertIn(own, _eryx_fresh._generators)
        self.assertIn(random._inst, _eryx_fresh._generators)
        _eryx_fresh.refresh()
        self.assertNotEqual(own.random(), expected)
        self.assertEqual(_eryx_fresh._generators, [], "they must not be kept alive")
        self.assertTrue(0 <= odd.random() < 1 and 0 <= system.random() < 1)

    def test_names_and_identifiers(self):
        import random
        import tempfile
        import uuid

        tempfile.gettempdir()
        before = tempfile._get_candidate_names()
        uuid.getnode(), uuid.uuid1(), uuid.uuid6(), uuid.uuid7()
        _eryx_fresh.prepare()
        self.assertIsNot(tempfile._get_candidate_names(), before)
        self.assertIsNone(tempfile.tempdir)
        self.assertIsNone(uuid._node)
        self.assertIsNone(uuid._last_timestamp_v7)
        self.assertNotEqual(uuid.uuid7(), uuid.uuid7())
        tempfile.tempdir = "/somewhere/else"
        self.addCleanup(setattr, tempfile, "tempdir", None)
        _eryx_fresh.prepare()
        self.assertEqual(tempfile.tempdir, "/somewhere/else")

    def test_times_loops_and_folders(self):
        import asyncio  # noqa: F401 (its import installs our loop)
        import logging

        import _eryx_loop

        sys.path_importer_cache["/not/there/yet"] = None
        _eryx_loop.run(self._nothing())
        loop = _eryx_loop._session_loop
        _eryx_fresh.prepare()
        self.assertTrue(loop.is_closed())
        self.assertNotIn("/not/there/yet", sys.path_importer_cache)
        _eryx_loop.run(self._nothing())
        self.assertIsNot(_eryx_loop._session_loop, loop)
        now = time.time_ns()
        self.addCleanup(setattr, logging, "_startTime", now)
        first, second = (logging.makeLogRecord({}) for _ in range(2))
        self.assertEqual(first.relativeCreated, 0)
        self.assertGreaterEqual(logging._startTime, now)
        self.assertAlmostEqual(second.relativeCreated, (second.created - first.created) * 1e3, delta=0.01)

    async def _nothing(self):
        pass
