"""Tests of the session's Python parts; run by the build machine's Python with `unittest`."""

import contextlib
import os
import shutil
import sys
import tempfile
import unittest

from fake_eryx import EMBEDDER

import _eryx_callbacks
import _eryx_output
import _eryx_session


class SessionCase(unittest.TestCase):
    """A fresh session for each test; what it prints does not reach the terminal."""

    def setUp(self):
        EMBEDDER.callbacks = [
            ("echo", "Says it again.", '{"type":"object","properties":{"a":{"type":"integer"},"delay":{"type":"number"}},"required":["a"]}'),
            ("http.get", "", "{}"),
        ]
        EMBEDDER.cancelled.clear()
        self._streams = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
        self._main = sys.modules["__main__"]
        self._saved = os.dup(1), os.dup(2)
        sink = os.open(os.devnull, os.O_WRONLY)
        self._read, write = os.pipe()
        os.dup2(sink, 1)
        os.dup2(write, 2)
        os.close(sink)
        os.close(write)
        os.environ["HOME"] = os.getcwd()
        _eryx_session.start()

    def tearDown(self):
        _eryx_output.flush()
        for number, copy in enumerate(self._saved, 1):
            os.dup2(copy, number)
            os.close(copy)
        os.close(self._read)
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = self._streams
        sys.modules["__main__"] = self._main

    def stderr(self):
        _eryx_output.flush()
        return os.read(self._read, 1 << 16).decode()

    def run_code(self, source):
        succeeded, printed = _eryx_session.execute(source)
        self.assertTrue(succeeded, printed)
        return printed.decode("utf-8", "replace")

    def fail_code(self, source):
        succeeded, text = _eryx_session.execute(source)
        self.assertFalse(succeeded, text)
        return text


class Execute(SessionCase):
    def test_output_is_returned_and_globals_persist(self):
        self.assertEqual(self.run_code("x = 41\nprint('a')"), "a\n")
        self.assertEqual(self.run_code("print(x + 1, end='')"), "42")
        self.assertEqual(self.run_code("print(__name__)"), "__main__\n")

    def test_bytes_and_redirection(self):
        self.assertEqual(self.run_code("import sys; sys.stdout.buffer.write(b'\\xff!')"), "\ufffd!")
        code = "import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()) as f: print('x')\nprint(len(f.getvalue()))"
        self.assertEqual(self.run_code(code), "2\n")

    def test_a_closed_stdout_is_replaced(self):
        self.run_code("import sys; sys.stdout.close()")
        self.assertEqual(self.run_code("print(1)"), "1\n")

    def test_streams_that_are_detached_deleted_or_redirected(self):
        for code in (
            "import sys; sys.stdout.detach()",
            "import sys; sys.stderr.detach()",
            "import sys; sys.stdout.buffer.close()",
            "import sys; del sys.stdout, sys.stderr",
            "import sys; sys.stdout = sys.stderr = None",
            "import io, sys; sys.stdout = io.StringIO(); sys.stdout.close()",
        ):
            with self.subTest(code):
                self.run_code(code)
                self.assertEqual(self.run_code("print(1); import sys; print(2, file=sys.stderr)"), "1\n")
                self.assertEqual(self.stderr(), "2\n")
        self.run_code("import io, sys; kept = sys.stdout; sys.stdout = mine = io.StringIO()")
        self.assertEqual(self.run_code("print(1)"), "")
        self.assertEqual(self.run_code("sys.stdout = kept; print(mine.getvalue())"), "1\n\n")

    def test_code_that_comes_again_is_not_compiled_again(self):
        session = _eryx_session._session
        for _ in range(3):
            self.assertEqual(self.run_code("def f(): return 1 / 0\nprint('made')"), "made\n")
        self.assertEqual(session.calls, 1)
        for _ in range(2):
            self.assertIn('File "<execute-2>", line 1, in <module>\n    f()', self.fail_code("f()"))
        for n in range(1000):
            self.run_code(f"x = {n}")
        self.assertLessEqual(len(session._codes), 128)
        self.run_code("f = None\n" + "# long\n" * 1000)
        self.assertFalse(any("# long" in source for source in session._codes))
        # A syntax error stays one.
        for _ in range(2):
            self.assertIn("SyntaxError", self.fail_code("x = ("))
        # After a restore, names of files may mean other code.
        succeeded, data = _eryx_session.snapshot_state()
        self.assertTrue(succeeded, data)
        self.assertEqual(_eryx_session.restore_state(data), (True, None))
        self.assertEqual(session._codes, {})

    def test_traceback_shows_lines_of_earlier_calls(self):
        self.run_code("def f():\n    return 1 / 0")
        self.assertEqual(
            self.fail_code("f()"),
            'Traceback (most recent call last):\n  File "<execute-2>", line 1, in <module>\n    f()\n    ~^^\n'
            '  File "<execute-1>", line 2, in f\n    return 1 / 0\n           ~~^~~\n'
            "ZeroDivisionError: division by zero\n",
        )

    def test_syntax_errors(self):
        self.assertEqual(
            self.fail_code("x = (1"),
            '  File "<execute-1>", line 1\n    x = (1\n        ^\nSyntaxError: \'(\' was never closed\n',
        )
        self.assertIn("    return 1\n", self.fail_code("pass\nreturn 1"))
        self.assertIn("SyntaxError", self.fail_code("x = '\0'"))

    def test_chains_notes_and_groups(self):
        text = self.fail_code(
            "try:\n    1 / 0\nexcept Exception as e:\n    e.add_note('a note')\n    raise ExceptionGroup('g', [ValueError('v')]) from e"
        )
        self.assertIn("a note\n\nThe above exception was the direct cause", text)
        self.assertIn("ValueError: v", text)
        self.assertNotIn("<eryx", text)
        self.assertNotIn("_eryx_session", text.replace("<execute-1>", ""))

    def test_exit_statuses(self):
        cases = {"": 0, "None": 0, "3": 3, "True": 1, "256": 0, "-1": 255, "10**30": 255, "'bye'": 1}
        for argument, status in cases.items():
            with self.subTest(argument):
                self.assertEqual(self.fail_code(f"import sys; sys.exit({argument})"), f"SystemExit: {status}")
        self.assertEqual(self.stderr(), "bye\n")
        self.assertEqual(self.fail_code("import sys, asyncio\nawait asyncio.sleep(0)\nsys.exit(7)"), "SystemExit: 7")

    def test_other_base_exceptions(self):
        self.assertTrue(self.fail_code("raise KeyboardInterrupt").endswith("\nKeyboardInterrupt\n"))
        self.assertTrue(self.fail_code("def f(): f()\nf()").endswith("RecursionError: maximum recursion depth exceeded\n"))
        text = self.fail_code("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E")
        self.assertIn("E", text)

    def test_clear(self):
        self.run_code("x = 1")
        _eryx_session.clear_state()
        self.assertEqual(self.run_code("print('x' in globals(), callable(invoke), callable(echo))"), "False True True\n")

    def test_pickle_and_inspect_of_session_classes(self):
        self.run_code("class A:\n    def f(self):\n        return 1\n")
        self.assertEqual(
            self.run_code("import pickle, inspect\nprint(type(pickle.loads(pickle.dumps(A()))) is A)\nprint(inspect.getsource(A.f))"),
            "True\n    def f(self):\n        return 1\n\n",
        )


class Asyncio(SessionCase):
    def test_top_level_await_and_gather(self):
        code = "import asyncio\nprint(await asyncio.gather(*(echo(a=i, delay=0.01) for i in range(3))))"
        self.assertEqual(self.run_code(code), "[{'a': 0, 'delay': 0.01}, {'a': 1, 'delay': 0.01}, {'a': 2, 'delay': 0.01}]\n")
        self.assertEqual(self.run_code("print(await invoke('echo', '{\"a\": 1}'), await http_get.__call__() if 0 else '')"), '{"a": 1} \n')

    def test_timers_and_calls_together(self):
        code = (
            "import asyncio\nlog = []\nasync def timer():\n    await asyncio.sleep(0.03); log.append('timer')\n"
            "async def call():\n    await echo(a=1, delay=0.01); log.append('call')\n"
            "async with asyncio.TaskGroup() as g:\n    g.create_task(timer()); g.create_task(call())\nprint(log)"
        )
        self.assertEqual(self.run_code(code), "['call', 'timer']\n")

    def test_timeout_cancels_the_call(self):
        code = "import asyncio\ntry:\n    await asyncio.wait_for(echo(a=1, delay=60), 0.01)\nexcept TimeoutError:\n    print('late')"
        self.assertEqual(self.run_code(code), "late\n")
        self.assertEqual(len(EMBEDDER.cancelled), 1)

    def test_calls_do_not_meet_in_a_number_used_again(self):
        # All return in one batch. The first task to go on starts a call, which gets the number of another's.
        code = (
            "import asyncio, time\n"
            "async def twice(i):\n    await echo(a=i, delay=0.01)\n    return (await echo(a=i, delay=0.01))['a']\n"
            "async def late():\n    await asyncio.sleep(0.001)\n    time.sleep(0.03)\n"
            "print(await asyncio.gather(twice(1), twice(2), twice(3), late()))"
        )
        self.assertEqual(self.run_code(code), "[1, 2, 3, None]\n")
        self.assertEqual(EMBEDDER.cancelled, [])

    def test_errors_of_callbacks(self):
        text = self.fail_code("await invoke('nobody', {})")
        self.assertEqual(
            text,
            'Traceback (most recent call last):\n  File "<execute-1>", line 1, in <module>\n'
            "    await invoke('nobody', {})\neryx.CallbackError: no callback `nobody`\n",
        )
        self.run_code("import eryx\ntry:\n    await invoke('nobody')\nexcept eryx.CallbackError as e: assert str(e) == 'no callback `nobody`'")
        self.assertIn("missing 1 required positional argument: 'a'", self.fail_code("await echo()"))
        self.assertIn("unexpected keyword argument 'c'", self.fail_code("await echo(a=1, c=1)"))

    def test_signature(self):
        code = "import inspect\nprint(inspect.signature(echo), echo.__name__, echo.__doc__, inspect.iscoroutinefunction(echo))"
        self.assertEqual(self.run_code(code), "(a: int, delay: float = <not given>) echo Says it again. True\n")

    def test_asyncio_run_and_nesting(self):
        code = "import asyncio\nasync def f():\n    return await echo(a=2)\nprint(asyncio.run(f()))"
        self.assertEqual(self.run_code(code), "{'a': 2}\n")
        self.assertEqual(self.run_code("import asyncio\nawait asyncio.sleep(0)\nprint(asyncio.run(asyncio.sleep(0, 1)))"), "1\n")

    def test_queue_timeout_and_threads(self):
        code = (
            "import asyncio\nq = asyncio.Queue()\nasyncio.get_running_loop().call_later(0.005, q.put_nowait, 5)\n"
            "async with asyncio.timeout(5):\n    print(await q.get())\nprint(await asyncio.to_thread(sum, [1, 2]))"
        )
        self.assertEqual(self.run_code(code), "5\n3\n")

    def test_deadlock_is_an_error(self):
        self.assertTrue(self.fail_code("import asyncio\nawait asyncio.Future()").startswith("RuntimeError: deadlock:"))
        self.assertEqual(self.run_code("await asyncio.sleep(0)\nprint(1)"), "1\n")

    def test_tasks_left_behind_are_cancelled(self):
        self.run_code("import asyncio\nt = asyncio.create_task(asyncio.sleep(60), name='left')\nawait asyncio.sleep(0)")
        self.assertIn("task 'left' was cancelled", self.stderr())
        self.assertEqual(self.run_code("print(t.cancelled())"), "True\n")

    def test_traceback_of_a_task_has_no_foreign_frames(self):
        text = self.fail_code("import asyncio\nawait asyncio.sleep(0)\n1 / 0")
        self.assertEqual(
            text,
            'Traceback (most recent call last):\n  File "<execute-1>", line 3, in <module>\n    1 / 0\n    ~~^~~\n'
            "ZeroDivisionError: division by zero\n",
        )

    def test_callbacks_follow_the_list(self):
        self.run_code("print(echo, http.get)")
        EMBEDDER.callbacks = EMBEDDER.callbacks[1:]
        self.assertIn("NameError", self.fail_code("echo"))
        self.run_code("http = 5")
        EMBEDDER.callbacks = []
        self.assertEqual(self.run_code("print(http)"), "5\n")

    def test_dots_in_names_are_attributes(self):
        names = ["echo", "echo.twice", "db.a.b", "db.a", "db.a.c-d", "print.x", "class.x", "db..x", "db.a.c_d"]
        EMBEDDER.callbacks = [(name, "", "{}") for name in names]
        code = "print([f.__eryx_callback__ for f in (echo, echo.twice, db.a, db.a.b, db.a.c_d)], db, print)"
        expected = "['echo', 'echo.twice', 'db.a', 'db.a.b', 'db.a.c_d'] <callbacks db.*> <built-in function print>\n"
        self.assertEqual(self.run_code(code), expected)
        self.assertIn("'Namespace' object has no attribute 'x'", self.fail_code("db.x"))
        self.assertIn("CallbackError: no callback `db.a.b`", self.fail_code("await db.a.b()"))
        self.run_code("kept = db\ndel db")
        succeeded, data = _eryx_session.snapshot_state()
        self.assertTrue(succeeded, data)
        self.assertEqual(_eryx_session.restore_state(data), (True, None))
        self.assertEqual(self.run_code("print(kept, kept.a.b.__eryx_callback__)"), "<callbacks db.*> db.a.b\n")

    def test_arguments_by_position_are_in_the_schema_s_order(self):
        schema = '{"properties": {"b": {"type": "integer"}, "a": {"default": 7}, "c": {}}, "required": ["b", "c"]}'
        EMBEDDER.callbacks = [("echo", "", schema)]
        self.assertEqual(self.run_code("print(await echo(1, 2, 3), await echo(1, c=2))"), "{'a': 2, 'b': 1, 'c': 3} {'a': 7, 'b': 1, 'c': 2}\n")
        EMBEDDER.callbacks.append(("a.do-it", "", '{"properties": {"x": {}, "y": {}}, "required": ["y"]}'))
        for call, message in (
            ("a.do_it()", "a.do_it() missing 1 required positional argument: 'y'"),
            ("a.do_it(1, 2, 3)", "a.do_it() takes from 0 to 2 positional arguments but 3 were given"),
            ("echo(1, b=2)", "echo() got multiple values for argument 'b'"),
            ("echo(1, 2, 3, 4)", "echo() takes from 1 to 3 positional arguments but 4 were given"),
            ("echo()", "echo() missing 1 required positional argument: 'b'"),
            ("echo(1)", "echo() missing 1 required positional argument: 'c'"),
            ("echo(1, 2, 3, d=4)", "echo() got an unexpected keyword argument 'd'"),
        ):
            self.assertIn(f"TypeError: {message}\n", self.fail_code(f"await {call}"))

    def test_invoke_takes_keywords_and_gives_a_value(self):
        self.assertEqual(self.run_code("print(await invoke('echo', b=[1], a=2), await invoke('echo'))"), "{'a': 2, 'b': [1]} {}\n")
        self.assertEqual(self.run_code("print(await invoke('echo', {'b': 1}), await invoke('echo', '{}'))"), '{"b": 1} {}\n')
        self.assertIn("TypeError: invoke() takes keyword arguments or", self.fail_code("await invoke('echo', {}, a=1)"))

    def test_arguments_have_one_text(self):
        sent = []
        start, _eryx_callbacks._eryx.start_invoke = _eryx_callbacks._eryx.start_invoke, lambda name, text: sent.append(text) or (True, "1")
        self.addCleanup(setattr, _eryx_callbacks._eryx, "start_invoke", start)
        self.run_code("await invoke('echo', b={10: 1, 9: [2, None]}, a='\xe9')\nawait invoke('echo', {'y': 1, 'x': 1.5})\nawait invoke('echo', m={'1': 0, 2: 0, None: 0})")
        self.assertEqual(sent, ['{"a":"\\u00e9","b":{"9":[2,null],"10":1}}', '{"x":1.5,"y":1}', '{"m":{"1":0,"2":0,"null":0}}'])
        for value in "float('nan')", "float('inf')", "[{'x': -float('inf')}]", "{1: float('nan'), 'a': 1}":
            self.assertIn("ValueError: Out of range float values are not JSON compliant", self.fail_code(f"await echo(a=1, delay={value})" if value.startswith("float") else f"await invoke('echo', x={value})"))
        self.assertIn("TypeError: Object of type set is not JSON serializable", self.fail_code("await invoke('echo', x={1})"))

    def test_the_list_of_callbacks(self):
        schema = {"type": "object", "properties": {"a": {"type": "integer"}, "delay": {"type": "number"}}, "required": ["a"]}
        listed = [
            {"name": "echo", "description": "Says it again.", "parameters_schema": schema},
            {"name": "http.get", "description": "", "parameters_schema": {}},
        ]
        self.assertEqual(self.run_code("print(list_callbacks())"), f"{listed}\n")
        EMBEDDER.callbacks = [("bad", "", "[" * 100_000), ("worse", "", "7")]
        self.assertEqual(self.run_code("print([one['parameters_schema'] for one in list_callbacks()])"), "[{}, {}]\n")

    def test_a_bad_callback_is_refused_alone(self):
        deep = '{"properties": {"a": ' + '{"items": ' * 100_000 + "{}" + "}" * 100_002
        for schema in (
            '{"properties": {"a": {}}, "required": [[]]}', '{"properties": {"a": {}}, "required": [{}, 1]}', deep,
            '{"properties": {"a": {"default": [[]]}}, "required": ["a", {}]}',
        ):  # fmt: skip
            EMBEDDER.callbacks = [("bad", "", schema), ("echo", "", "{}")]
            self.assertEqual(self.run_code("print(await echo(b=1))"), "{'b': 1}\n")
            error = self.fail_code("await bad(a=1)")
            self.assertIn("CallbackError: the callback 'bad' cannot be called: its schema is malformed (", error)
        # What is no schema of an object says nothing about the arguments.
        for schema in ("", "no JSON", "[]", "7", '{"properties": 1}', '{"properties": [], "required": 5}', '{"type": []}'):
            EMBEDDER.callbacks = [("echo", "", schema)]
            self.assertEqual(self.run_code("print(await echo(b=1))"), "{'b': 1}\n", schema)

    def test_a_callback_takes_no_name_of_python_s(self):
        wide = "\uff45\uff43\uff48\uff4f"
        names = ["print", "__import__", "__builtins__", "__name__", "invoke", "len", wide, "class", "a b", "a\0", "\n", "", "1"]
        EMBEDDER.callbacks = [(name, "", "{}") for name in names] + [("h\xe9", "", "{}"), ("echo", "", "{}")]
        self.assertEqual(self.run_code("print(len([1]), __name__, invoke.__module__)"), "1 __main__ eryx\n")
        self.assertEqual(self.run_code("print(await echo(b=1), h\xe9.__eryx_callback__)"), "{'b': 1} h\xe9\n")
        # As a name of a parameter, they are given by `**`.
        schema = '{"properties": {"a": {}, "\uff41": {}, "__b": {}, "class": {}}}'
        EMBEDDER.callbacks = [("echo", "", schema)]
        self.assertEqual(self.run_code("print(await echo(a=1, **{'\uff41': 2, 'class': 3}))"), "{'a': 1, 'class': 3, '\uff41': 2}\n")

    def test_answers_are_as_long_as_the_embedder_takes_them(self):
        cut = b"\n[cut here: the limit of output was reached]\n"
        self.addCleanup(setattr, EMBEDDER, "answer_limit", None)
        EMBEDDER.answer_limit = 10
        self.assertEqual(_eryx_session.execute("print('x' * 9)"), (True, b"x" * 9 + b"\n"))
        self.assertEqual(_eryx_session.execute("print('x' * 30)"), (True, b"x" * 10 + cut))
        # Not in the middle of a character.
        self.assertEqual(_eryx_session.execute("print('\xe9' * 30)"), (True, "\xe9".encode() * 5 + cut))
        self.assertEqual(_eryx_session.execute("print('-' + '\xe9' * 30)"), (True, b"-" + "\xe9".encode() * 4 + cut))
        succeeded, text = _eryx_session.execute("raise ValueError('x' * 1000)")
        self.assertEqual((succeeded, text), (False, b"Traceback " + cut))


class End(SessionCase):
    def setUp(self):
        super().setUp()
        EMBEDDER.has_writers = True
        self.addCleanup(setattr, EMBEDDER, "has_writers", False)
        # No object that the end of the session's program would end, too.
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def content(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def test_files_are_written_out_after_each_call(self):
        self.run_code(f"f = open({self.path('a')!r}, 'w')\nf.write('one')\nb = open({self.path('b')!r}, 'w+b'); b.write(b'two')")
        self.assertEqual((self.content("a"), self.content("b")), ("one", "two"))
        self.fail_code("f.write(' more'); 1 / 0")
        self.assertEqual(self.content("a"), "one more")
        # Files of the session's own kinds, and what is no file or is closed, are no trouble.
        self.run_code(
            "import io\nclass Own(io.TextIOWrapper):\n    def flush(self): raise KeyError\n"
            f"o = Own(open({self.path('c')!r}, 'wb')); o.write('x')\n"
            "p = io.TextIOWrapper(io.BytesIO()); p.write('x'); q = io.TextIOWrapper(io.BytesIO()); q.detach()\nf.close()"
        )
        self.assertEqual(self.content("c"), "x")
        self.run_code("print(p.buffer.getvalue())")

    def test_a_file_that_cannot_be_written_is_told(self):
        self.run_code("f = open('/dev/full', 'w'); f.write('x')")
        self.assertIn("Exception ignored while writing out <_io.BufferedWriter name='/dev/full'>:", self.stderr())
        self.run_code("del f")

    def test_clearing_ends_the_program(self):
        self.run_code(
            "import atexit, threading, weakref\nlog = []\n"
            f"def write(*words): open({self.path('log')!r}, 'a').write(' '.join(words) + ';')\n"
            "class A:\n    def __del__(self, write=write): write('del', self.name)\n"
            "a = A(); a.name = 'a'; b = A(); b.name = 'b'; b.me = b; _c = A(); _c.name = 'c'\n"
            "class W: pass\nw = W(); weakref.finalize(w, write, 'final')\n"
            "atexit.register(write, 'first'); atexit.register(write, 'second'); atexit.register(lambda: 1 / 0)"
        )
        _eryx_session.clear_state()
        self.assertEqual(self.content("log"), "second;first;final;del a;del b;del c;")
        self.assertIn("ZeroDivisionError", self.stderr())
        self.assertIn("NameError", self.fail_code("log"))
        # Another program ends as well.
        self.run_code(
            f"import weakref\nclass W: pass\nw = W()\nweakref.finalize(w, lambda: open({self.path('again')!r}, 'w').write('again'))"
        )
        _eryx_session.clear_state()
        self.assertEqual(self.content("again"), "again")


class Trace(SessionCase):
    def test_events(self):
        import json

        EMBEDDER.events.clear()
        self.run_code("import eryx\ndef f(x):\n    return x\neryx.trace(variables=True)\nf('v')\neryx.trace(False)\nf(1)")
        events = [(line, json.loads(event)["type"], json.loads(context)) for line, event, context in EMBEDDER.events]
        self.assertIn((2, "call", {"x": "'v'"}), events)
        self.assertIn((3, "line", {"x": "'v'"}), events)
        self.assertIn((3, "return", {"x": "'v'"}), events)
        self.assertNotIn(7, [line for line, *_ in events])


class Snapshot(SessionCase):
    def roundtrip(self):
        succeeded, data = _eryx_session.snapshot_state()
        self.assertTrue(succeeded, data)
        _eryx_session.clear_state()
        self.assertEqual(_eryx_session.restore_state(data), (True, None))
        return data

    def check(self, definitions, expression, expected):
        self.run_code(definitions)
        self.assertEqual(self.run_code(f"print({expression})"), expected + "\n")
        self.roundtrip()
        self.assertEqual(self.run_code(f"print({expression})"), expected + "\n")

    def test_values(self):
        cases = [
            ("x = [1, 'a', {2: (3, b'4')}]; y = x", "x, y is x", "[1, 'a', {2: (3, b'4')}] True"),
            ("import math, os.path as p\nf = math.sqrt", "math.pi > 3, f(4), p.join('a', 'b')", "True 2.0 a/b"),
            ("k = 2\ndef f(x, *, y=3): return x * k + y", "f(1), f(1, y=1), f.__name__", "5 3 f"),
            ("f = lambda n: 1 if n < 2 else n * f(n - 1)", "f(5)", "120"),
            ("def outer():\n    n = 0\n    def get(): return n\n    def add():\n        nonlocal n\n        n += 1\n    return get, add\nget, add = outer()\nadd()", "(add(), get())[1] % 2 >= 0 and get.__closure__[0] is add.__closure__[0]", "True"),
            ("def outer():\n    def rec(n): return n and rec(n - 1)\n    return rec\nr = outer()", "r(3)", "0"),
            ("class A:\n    c = []\n    def __init__(self, x): self.x = x\n    @property\n    def d(self): return self.x * 2\n    @classmethod\n    def m(cls): return cls.__name__\n    @staticmethod\n    def s(): return 7\nclass B(A):\n    def __init__(self, x): super().__init__(x + 1)\nb = B(1)", "b.d, B.m(), b.s(), type(b) is B, isinstance(b, A)", "4 B 7 True True"),
            ("class S:\n    __slots__ = ('a', '__b')\n    def __init__(self): self.a = 1; self.__b = 2\n    def both(self): return self.a + self.__b\ns = S()", "s.both(), hasattr(s, '__dict__')", "3 False"),
            ("from dataclasses import dataclass, field, fields, replace\n@dataclass(order=True)\nclass D:\n    a: int\n    b: list = field(default_factory=list)\nd = D(1)", "d, [f.name for f in fields(D)], replace(d, a=2), D(1) < D(2), D(4).b", "D(a=1, b=[]) ['a', 'b'] D(a=2, b=[]) True []"),
            ("from dataclasses import dataclass\n@dataclass(slots=True, frozen=True)\nclass F:\n    a: int = 5\nf = {F(): 1}", "f[F()], F.__annotations__", "1 {'a': <class 'int'>}"),
            ("from enum import Enum, Flag, IntEnum, auto\nclass C(Enum):\n    R = 1\n    G = 'g'\n    ALIAS = 1\n    def up(self): return self.name.lower()\nclass P(Flag):\n    X = auto()\n    Y = auto()\nclass W(Enum):\n    E = (1, 2)\n    def __init__(self, a, b): self.s = a + b\nv = [C.R, P.X | P.Y, C.G, W.E]", "v, C.ALIAS is v[0], C('g').up(), v[1] == P.X | P.Y, v[3].s, list(C)", "[<C.R: 1>, <P.X|Y: 3>, <C.G: 'g'>, <W.E: (1, 2)>] True g True 3 [<C.R: 1>, <C.G: 'g'>]"),
            ("from collections import namedtuple\nfrom typing import NamedTuple\nP = namedtuple('P', 'x y', defaults=[3])\nclass Q(NamedTuple):\n    a: int\n    b: str = 'z'\np, q = P(1), Q(2)", "p, q, p._replace(x=2), Q.__annotations__, type(p) is P", "P(x=1, y=3) Q(a=2, b='z') P(x=2, y=3) {'a': <class 'int'>, 'b': <class 'str'>} True"),
            ("from abc import ABC, abstractmethod\nclass A(ABC):\n    @abstractmethod\n    def f(self): ...\nclass B(A):\n    def f(self): return 1", "B().f(), A.__abstractmethods__, isinstance(B(), A)", "1 frozenset({'f'}) True"),
            ("class K:\n    def __hash__(self): return super().__hash__() and 1\n    def __eq__(self, o): return True\ns = {K()}", "len(s), K() in s", "1 True"),
            ("registry = []\nclass Base:\n    def __init_subclass__(cls, /, tag, **kw):\n        super().__init_subclass__(**kw)\n        cls.tag = tag\n        registry.append(cls)\nclass Sub(Base, tag='t'): pass", "len(registry), registry[0] is Sub, Sub.tag", "1 True t"),
            ("class Meta(type):\n    def __call__(cls, *a): return super().__call__(*a)\n    def hi(cls): return cls.__name__\n    def __new__(m, n, b, d, need): return super().__new__(m, n, b, d)\nclass M(metaclass=Meta, need=1): pass", "M.hi(), type(M) is Meta", "M True"),
            ("class Box[T]:\n    def get(self) -> T: ...\nx = Box[int]", "x, Box.__type_params__", "__main__.Box[int] (T,)"),
            ("from typing import TypeVar, NewType, Generic\nT = TypeVar('T', bound=int)\nN = NewType('N', int)\nclass G(Generic[T]): pass\ntype L = list[int]", "T.__bound__, N(3), G[int], L.__value__, G.__parameters__[0] is T", "<class 'int'> 3 __main__.G[int] list[int] True"),
            ("import functools\n@functools.lru_cache(maxsize=8)\ndef f(x): return x + 1\ng = functools.partial(f, 1)\nclass A:\n    @functools.cached_property\n    def p(self): return 5\n    @functools.wraps(g)\n    def w(self): return 6", "f(1), g(), A().p, A().w()", "2 2 5 6"),
            ("async def co(): return 3\nimport asyncio", "asyncio.run(co())", "3"),
            ("class Node: pass\nn = Node(); n.me = n; n.cls = Node", "n.me is n and n.cls is Node", "True"),
            ("class Outer:\n    class Inner:\n        v = 1\n    x: Inner\n    def make(self): return Outer.Inner()\no = Outer.Inner()", "Outer.__annotations__['x'] is Outer.Inner, type(o) is Outer.Inner", "True True"),
            ("alias = echo\nimport types\nt = types.FunctionType\nimport __main__ as m", "alias.__name__, t.__name__, m.__name__, m.__dict__ is globals()", "echo function __main__ True"),
            ("import contextlib\n@contextlib.contextmanager\ndef cm(): yield 4", "cm().__enter__()", "4"),
            ("import re, datetime, decimal, uuid\nv = [re.compile('a+'), datetime.date(2020, 1, 2), decimal.Decimal('1.5')]", "v", "[re.compile('a+'), datetime.date(2020, 1, 2), Decimal('1.5')]"),
        ]
        for definitions, expression, expected in cases:
            with self.subTest(definitions):
                _eryx_session.clear_state()
                self.check(definitions, expression, expected)

    def test_tracebacks_survive(self):
        self.run_code("def f():\n    return 1 / 0")
        data = self.roundtrip()
        _eryx_session._session.calls = 0
        _eryx_session._session.sources.clear()
        self.assertEqual(_eryx_session.restore_state(data), (True, None))
        text = self.fail_code("f()")
        self.assertIn("return 1 / 0", text)
        self.assertIn("<execute-2>", text)

    def test_what_cannot_be_saved_is_named(self):
        self.run_code("import os\ngen = (i for i in [])\nf = open(os.devnull)\nok = 1\nimport threading\nd = {'lock': threading.Lock()}")
        self.assertEqual(
            _eryx_session.snapshot_state(),
            (False, "cannot snapshot: `gen` (generator), `f` (open file), `d` (lock)"),
        )
        self.run_code("del gen, f, d\nl = []\nfor _ in range(100000): l = [l]")
        self.assertEqual(_eryx_session.snapshot_state(), (False, "cannot snapshot: `l` (nested too deeply)"))

    def test_a_class_that_cannot_be_rebuilt_is_named(self):
        self.run_code(
            "import enum\nclass Meta(enum.EnumMeta):\n    def __new__(m, n, b, d, *, need, **k): return super().__new__(m, n, b, d, **k)\n"
            "class X(enum.Enum, metaclass=Meta, need=1):\n    A = 1"
        )
        succeeded, message = _eryx_session.snapshot_state()
        self.assertFalse(succeeded)
        self.assertTrue(message.startswith("cannot snapshot: `X` ("), message)

    def test_what_cannot_be_restored_is_found_when_saving(self):
        self.run_code(
            "class K(Exception):\n    def __init__(self, *, need): super().__init__('k'); self.need = need\n"
            "class N:\n    def __new__(cls, a): return super().__new__(cls)\n    def __getstate__(self): return {}\n"
            "class S:\n    def __setstate__(self, state): raise ValueError('no')\n    def __getstate__(self): return {'a': 1}\n"
            "class R:\n    def __reduce__(self): return (R.make, ())\n    @staticmethod\n    def make(): raise KeyError('r')\n"
            "good = [1]; k = K(need=1); n = {'a': [N(1)]}; s = S(); r = (R(),)"
        )
        succeeded, text = _eryx_session.snapshot_state()
        self.assertFalse(succeeded, text)
        for part in (
            "`k` (K that cannot be restored: TypeError: K.__init__()",
            "`n` (dict that cannot be restored: TypeError: N.__new__() missing 1 required positional argument: 'a')",
            "`s` (S that cannot be restored: ValueError: no)",
            "`r` (tuple that cannot be restored: KeyError: 'r')",
        ):  # fmt: skip
            self.assertIn(part, text)
        self.assertNotIn("`good`", text)
        self.assertEqual(self.run_code("print(good)"), "[1]\n")
        self.run_code("del k, n, s, r; import datetime, decimal\ngood = [good, N(1), datetime.date(2024, 1, 2), decimal.Decimal('1.5')] and good")
        succeeded, data = _eryx_session.snapshot_state()
        self.assertTrue(succeeded, data)

    def test_hostile_data_leaves_the_state(self):
        import pickle

        self.run_code("x = 1")
        _, data = _eryx_session.snapshot_state()
        self.run_code("x = 2")
        for bad in (b"", b"ERYXSNAP", data[:-1], data + b"x", data[:70] + b"\0" + data[71:], pickle.dumps({}), b"E" * 1000):
            succeeded, message = _eryx_session.restore_state(bad)
            self.assertFalse(succeeded)
            self.assertTrue(message.startswith("cannot restore: "), message)
        other = data[:8] + b"\x09\x00" + data[10:]
        self.assertEqual(_eryx_session.restore_state(other), (False, "cannot restore: expected snapshot format 1 but found 9"))
        self.assertEqual(self.run_code("print(x)"), "2\n")

    def test_forged_data_leaves_the_state(self):
        import pickle

        import _eryx_snapshot

        def forged(*parts):
            return _eryx_snapshot._pack(b"".join(pickle.dumps(part, 5) for part in parts))

        self.run_code("x = 1")
        for head in (
            ({}, 10**5000), ({}, -1), ({}, 2**53), ({}, True), ({}, "1"), ({}, 1.0), ({}, None), ([], 1), (None, 1), ({1: ""}, 1),
            ({"<execute-1>": 5}, 1), ({"<execute-1>": b""}, 1), ({"/usr/lib/os.py": ""}, 1), ({"": ""}, 1), ({},), ({}, 1, 2), [{}, 1], 7,
        ):  # fmt: skip
            succeeded, message = _eryx_session.restore_state(forged(head, {}, [], {"x": 2}, []))
            self.assertEqual((succeeded, message[:40]), (False, "cannot restore: the snapshot is malforme"), head)
            self.assertEqual(self.run_code("print(x)"), "1\n", head)
        for values in (7, [], [("x", 2)], "", {1: 2}, {b"x": 2}, {"__builtins__": {}}, {"__name__": "y"}, None):
            for parts in ((values, [], {}, []), ({}, [], values, [])):
                succeeded, message = _eryx_session.restore_state(forged(({}, 1), *parts))
                self.assertFalse(succeeded, values)
                self.assertEqual(self.run_code("print(x)"), "1\n", values)
        self.assertEqual(_eryx_session.restore_state(forged(({"<execute-9>": "x"}, 9), {}, [], {"x": 2}, [])), (True, None))
        self.assertEqual(self.run_code("print(x)"), "2\n")

    def test_a_failing_restore_leaves_the_state(self):
        # Its module may be another one by then.
        self.run_code("class A:\n    def __setstate__(self, s):\n        import string\n        if hasattr(string, '_other'): raise ValueError('no')\n    def __getstate__(self): return {'a': 1}\na = A()\nx = 5")
        succeeded, data = _eryx_session.snapshot_state()
        self.assertTrue(succeeded)
        self.run_code("x = 6; import string; string._other = 1")
        self.addCleanup(self.run_code, "import string; del string._other")
        self.assertEqual(_eryx_session.restore_state(data), (False, "cannot restore: ValueError: no"))
        self.assertEqual(self.run_code("print(x, type(a) is A)"), "6 True\n")


if __name__ == "__main__":
    unittest.main()
