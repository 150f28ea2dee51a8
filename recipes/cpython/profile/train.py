"""What the interpreter is trained on: the tests that CPython's own profile-guided build runs, without a few.

Whether they pass is of no interest here (some need processes or threads); what they make the interpreter do is. In those
left out a few loops of C run over much data, so long that beside them nothing else would count, and the training would
take some minutes more.
"""

import sys
import unittest

from test import support
from test.libregrtest.pgo import PGO_TESTS

LEFT_OUT = [
    "test_bz2",
    "test_decimal",
    "test_fstring",
    "test_hashlib",
    "test_int",
    "test_long",
    "test_lzma",
    "test_math",
    "test_sqlite3",
]

support.PGO = True
ran = 0
for name in PGO_TESTS:
    if name in LEFT_OUT:
        continue
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName(f"test.{name}")
    except unittest.SkipTest:
        continue
    result = unittest.TestResult()
    suite.run(result)
    ran += result.testsRun
    print(name, result, file=sys.stderr)
print(f"{ran} tests", file=sys.stderr)
if ran < 5000:
    sys.exit("expected some 10,000 tests; the profile would say little")
