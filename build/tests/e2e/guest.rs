//! The runtime's `execute`: results, tracebacks, waiting, callbacks and tracing.

use std::future::Future;
use std::sync::{Arc, Mutex};

use eryx_embed::{Callback, Error, Limits, Output, Session, SessionOptions, TraceEvent};

use super::{image, ok, raises, session};

fn with_callbacks(callbacks: Vec<Callback>) -> Session {
    let options = SessionOptions::default().callbacks(callbacks);
    image().session(options).unwrap_or_else(|failure| panic!("{failure}"))
}

/// A callback that gives its arguments back.
fn echo() -> Callback {
    Callback::new("echo", "Gives back what it gets.", "{}", |arguments| async move { Ok(arguments) })
}

#[test]
fn the_result_is_what_was_printed() {
    let options = SessionOptions::default().stdout(Output::Capture).stderr(Output::Capture);
    let mut session = image().session(options).unwrap();
    assert_eq!(ok(&mut session, "print('one'); print('zwölf', end='')"), "one\nzwölf");
    assert_eq!(ok(&mut session, "import sys; print('quiet', file=sys.stderr)"), "");
    assert_eq!(ok(&mut session, "1 + 1"), "", "a value alone prints nothing");
    assert_eq!(ok(&mut session, ""), "");
    assert_eq!(session.stdout(), "one\nzwölf".as_bytes());
    assert_eq!(session.stderr(), b"quiet\n");
}

#[test]
fn globals_stay() {
    let mut session = session();
    ok(&mut session, "import math\nx = [1]\ndef f(): return len(x)");
    ok(&mut session, "x.append(2)");
    assert_eq!(ok(&mut session, "print(f(), math.floor(2.5), __name__)"), "2 2 __main__\n");
    assert!(raises(&mut session, "y").ends_with("NameError: name 'y' is not defined\n"));
    assert_eq!(ok(&mut session, "print(x)"), "[1, 2]\n", "an error loses nothing");
}

#[test]
fn a_traceback_shows_lines_and_sources_of_all_calls() {
    let mut session = session();
    ok(&mut session, "def outer(x):\n    y = x\n    return inner(y)\n\ndef inner(x):\n    return {}[x]\n");
    let expected = "\
Traceback (most recent call last):
  File \"<execute-2>\", line 2, in <module>
    outer('k')
    ~~~~~^^^^^
  File \"<execute-1>\", line 3, in outer
    return inner(y)
  File \"<execute-1>\", line 6, in inner
    return {}[x]
           ~~^^^
KeyError: 'k'
";
    assert_eq!(raises(&mut session, "\nouter('k')"), expected);
}

#[test]
fn a_traceback_shows_causes_and_groups() {
    let mut session = session();
    let text = raises(
        &mut session,
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('two') from e",
    );
    assert!(
        text.contains("ZeroDivisionError: division by zero\n\nThe above exception was the direct cause"),
        "{text}"
    );
    assert!(text.ends_with("ValueError: two\n"), "{text}");
    let text = raises(&mut session, "raise ExceptionGroup('both', [ValueError(1), TypeError(2)])");
    assert!(text.contains("ExceptionGroup: both (2 sub-exceptions)"), "{text}");
}

#[test]
fn a_syntax_error_shows_the_place() {
    let mut session = session();
    let expected =
        "  File \"<execute-1>\", line 2\n    x = (1,\n        ^\nSyntaxError: '(' was never closed\n";
    assert_eq!(raises(&mut session, "pass\nx = (1,\n"), expected);
    let text = raises(&mut session, "if True:\nx = 1");
    assert!(
        text.contains("line 2") && text.contains("IndentationError: expected an indented block"),
        "{text}"
    );
    assert_eq!(ok(&mut session, "print('alive')"), "alive\n");
}

#[test]
fn an_exit_is_told_with_its_status() {
    let mut session = session();
    assert_eq!(raises(&mut session, "import sys; sys.exit(3)"), "SystemExit: 3");
    assert_eq!(raises(&mut session, "raise SystemExit"), "SystemExit: 0");
    assert_eq!(raises(&mut session, "sys.exit('message')"), "SystemExit: 1");
    assert_eq!(ok(&mut session, "print('alive')"), "alive\n");
}

#[test]
fn top_level_code_may_await() {
    let mut session = session();
    let code = "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x * 2\ny = await f(21)\nprint(y)";
    assert_eq!(ok(&mut session, code), "42\n");
    let code = "async def g():\n    for i in range(3):\n        yield i\nprint([i async for i in g()], y)";
    assert_eq!(ok(&mut session, code), "[0, 1, 2] 42\n");
    let text = raises(&mut session, "async def h():\n    raise KeyError('k')\nawait h()");
    let expected = "\
Traceback (most recent call last):
  File \"<execute-3>\", line 3, in <module>
    await h()
  File \"<execute-3>\", line 2, in h
    raise KeyError('k')
KeyError: 'k'
";
    assert_eq!(text, expected);
}

#[test]
fn asyncio_has_timers_tasks_and_timeouts() {
    let mut session = session();
    let code = "import asyncio, time
order = []
async def nap(name, seconds):
    await asyncio.sleep(seconds)
    order.append(name)
    return name
print(await asyncio.gather(nap('slow', 0.06), nap('quick', 0.02), nap('now', 0)), order)
try:
    await asyncio.wait_for(nap('never', 3600), 0.01)
except TimeoutError:
    print('timeout')
try:
    async with asyncio.timeout(0.01):
        await asyncio.Event().wait()
except TimeoutError:
    print('timeout')
async with asyncio.TaskGroup() as group:
    tasks = [group.create_task(nap(i, 0)) for i in range(3)]
print([task.result() for task in tasks])
before = time.monotonic()
await asyncio.sleep(0.05)
print(time.monotonic() - before >= 0.05)
queue = asyncio.Queue()
async def feed():
    for i in range(3):
        await queue.put(i)
task = asyncio.create_task(feed())
print([await queue.get() for _ in range(3)])
print(await asyncio.to_thread(lambda: 'no thread needed'))";
    let expected = "\
['slow', 'quick', 'now'] ['now', 'quick', 'slow']
timeout
timeout
[0, 1, 2]
True
[0, 1, 2]
no thread needed
";
    assert_eq!(ok(&mut session, code), expected);
    let code =
        "async def main():\n    await asyncio.sleep(0.001)\n    return 'run'\nprint(asyncio.run(main()))";
    assert_eq!(ok(&mut session, code), "run\n");
}

#[test]
fn waiting_for_what_never_comes_is_an_error() {
    let mut session = session();
    let text = raises(&mut session, "import asyncio\nawait asyncio.Event().wait()");
    assert!(text.contains("RuntimeError: deadlock: "), "{text}");
    assert_eq!(ok(&mut session, "await asyncio.sleep(0)\nprint('alive')"), "alive\n");
}

#[test]
fn invoke_gives_text_and_keyword_functions_give_values() {
    let schema = r#"{"type": "object", "required": ["a"], "properties":
        {"a": {"type": "integer"}, "b": {"type": "string", "default": "two"}}}"#;
    let add = Callback::new("do-add", "Adds.", schema, |arguments| async move { Ok(arguments) });
    let mut session = with_callbacks(vec![echo(), add]);
    assert_eq!(ok(&mut session, r#"print(await invoke("echo", '{"a": 1}'))"#), "{\"a\": 1}\n");
    assert_eq!(ok(&mut session, "print(await echo(x=[1, 'é'], y=None))"), "{'x': [1, 'é'], 'y': None}\n");
    assert_eq!(ok(&mut session, "print(await do_add(a=1))"), "{'a': 1, 'b': 'two'}\n");
    assert_eq!(ok(&mut session, "print(do_add.__doc__)"), "Adds.\n");
    let text = raises(&mut session, "await do_add(b='x')");
    assert!(text.contains("TypeError: do_add() missing 1 required positional argument: 'a'"), "{text}");
    assert_eq!(ok(&mut session, "print(await do_add(1, 'x'))"), "{'a': 1, 'b': 'x'}\n");
    let code =
        "import eryx\nprint(sorted((one['name'], one['description']) for one in eryx.list_callbacks()))";
    assert_eq!(ok(&mut session, code), "[('do-add', 'Adds.'), ('echo', 'Gives back what it gets.')]\n");
}

#[test]
fn a_callback_that_fails_raises() {
    let fail = Callback::new("fail", "", "{}", |_| async { Err::<String, _>("no such row".to_owned()) });
    let mut session = with_callbacks(vec![fail]);
    let code = "import eryx\ntry:\n    await fail()\nexcept eryx.CallbackError as error:\n    print('caught', error)";
    assert_eq!(ok(&mut session, code), "caught no such row\n");
    assert!(raises(&mut session, "await fail()").ends_with("eryx.CallbackError: no such row\n"));
    let text = raises(&mut session, "await invoke('other', '{}')");
    assert!(text.ends_with("eryx.CallbackError: there is no callback named `other`\n"), "{text}");
}

/// Callbacks `a`, `b`, `c` that can only answer in the order c, b, a.
fn in_reverse() -> Vec<Callback> {
    let mut gates = Vec::new();
    let mut wait: Option<tokio::sync::oneshot::Receiver<()>> = None;
    for name in ["c", "b", "a"] {
        let (open, next) = tokio::sync::oneshot::channel();
        gates.push((name, wait.take(), open));
        wait = Some(next);
    }
    let make = |(name, wait, open): (&'static str, Option<tokio::sync::oneshot::Receiver<()>>, _)| {
        let parts = Mutex::new(Some((wait, open)));
        Callback::new(name, "", "{}", move |_| {
            let parts: Option<(_, tokio::sync::oneshot::Sender<()>)> = parts.lock().unwrap().take();
            async move {
                let (wait, open) = parts.ok_or("called twice")?;
                if let Some(wait) = wait {
                    wait.await.map_err(|error| error.to_string())?;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                // The one called first has nobody who waits for it.
                let _ = open.send(());
                Ok(format!("\"{name}\""))
            }
        })
    };
    gates.into_iter().map(make).collect()
}

#[test]
fn calls_are_in_flight_together_and_may_end_in_reverse() {
    let mut session = with_callbacks(in_reverse());
    let code = "import asyncio
order = []
async def call(f):
    order.append(await f())
    return order[-1]
print(await asyncio.gather(call(a), call(b), call(c)), order)";
    assert_eq!(ok(&mut session, code), "['a', 'b', 'c'] ['c', 'b', 'a']\n");
}

#[test]
fn a_call_can_be_cancelled() {
    fn never() -> impl Future<Output = Result<String, String>> + Send {
        std::future::pending()
    }
    let mut session = with_callbacks(vec![echo(), Callback::new("never", "", "{}", |_| never())]);
    let code = "import asyncio
try:
    await asyncio.wait_for(never(), 0.02)
except TimeoutError:
    print('gave up')
done, left = await asyncio.wait([asyncio.create_task(never()), asyncio.create_task(echo(x=1))],
                                return_when=asyncio.FIRST_COMPLETED)
print(len(done), len(left), done.pop().result())
for task in left:
    task.cancel()
print(await echo(y=2))";
    assert_eq!(ok(&mut session, code), "gave up\n1 1 {'x': 1}\n{'y': 2}\n");
    assert_eq!(ok(&mut session, "print(await echo(z=3))"), "{'z': 3}\n");
}

#[test]
fn many_calls_at_once() {
    let mut session = with_callbacks(vec![echo()]);
    let code =
        "import asyncio\nprint(sum(r['i'] for r in await asyncio.gather(*(echo(i=i) for i in range(300)))))";
    assert_eq!(ok(&mut session, code), "44850\n");
}

#[test]
fn tracing_reports_lines_calls_and_exceptions() {
    let seen = Arc::new(Mutex::new(Vec::<TraceEvent>::new()));
    let sink = Arc::clone(&seen);
    let options = SessionOptions::default().on_trace(move |event| sink.lock().unwrap().push(event));
    let mut session = image().session(options).unwrap();
    ok(&mut session, "def f(x):\n    y = x + 1\n    return y\n");
    assert_eq!(seen.lock().unwrap().len(), 0, "nothing is reported unasked");
    ok(&mut session, "import eryx; eryx.trace(True, variables=True)");
    seen.lock().unwrap().clear();
    ok(&mut session, "f(1)\n\ntry:\n    [][0]\nexcept IndexError:\n    pass\neryx.trace(False)\n");
    let events = std::mem::take(&mut *seen.lock().unwrap());
    let told: Vec<(u32, String, String, serde_json::Value)> = events
        .iter()
        .map(|event| {
            let value: serde_json::Value = serde_json::from_str(&event.event).unwrap();
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            (event.line, text("type"), text("function"), serde_json::from_str(&event.context).unwrap())
        })
        .collect();
    let has = |line, kind: &str, function: &str| {
        told.iter().any(|event| (event.0, event.1.as_str(), event.2.as_str()) == (line, kind, function))
    };
    for (line, kind, function) in [
        (1, "line", "<module>"),
        (1, "call", "f"),
        (2, "line", "f"),
        (3, "return", "f"),
        (4, "exception", "<module>"),
        (7, "line", "<module>"),
    ] {
        assert!(has(line, kind, function), "no {kind} of {function} at {line}: {told:#?}");
    }
    let in_f = told.iter().find(|event| event.1 == "line" && event.2 == "f" && event.0 == 3).unwrap();
    assert_eq!(in_f.3["y"], "2", "{told:#?}");
    ok(&mut session, "f(2)");
    assert_eq!(seen.lock().unwrap().len(), 0, "it was switched off");
}

#[test]
fn deep_recursion_raises() {
    let mut session = session();
    let code = "def f(n):\n    return f(n + 1)\nf(0)";
    assert!(raises(&mut session, code).contains("\nRecursionError: maximum recursion depth exceeded"));
    // The same through native code, which uses the machine's stack.
    let code = "class A:\n    def __repr__(self):\n        return repr([self])\nrepr(A())";
    assert!(raises(&mut session, code).contains("\nRecursionError: "));
    let code = "import json\nx = []\nfor _ in range(100_000):\n    x = [x]\njson.dumps(x)";
    assert!(raises(&mut session, code).contains("\nRecursionError: "));
    let code = "x = None\nimport ast\nast.parse('(' * 50_000)";
    let text = raises(&mut session, code);
    assert!(
        text.contains("SyntaxError") || text.contains("MemoryError") || text.contains("RecursionError"),
        "{text}"
    );
    assert_eq!(ok(&mut session, "print('alive')"), "alive\n");
}

#[test]
fn sessions_do_not_see_each_other() {
    let (mut one, mut other) = (session(), session());
    ok(&mut one, "x = 1\nopen('/tmp/mine', 'w').write('1')\nimport json\njson.mark = 1");
    let code = "import json, os\nprint('x' in globals(), os.path.exists('/tmp/mine'), hasattr(json, 'mark'))";
    assert_eq!(ok(&mut other, code), "False False False\n");
}

#[test]
fn the_embedder_s_world_is_not_seen() {
    let mut session = session();
    let code = "import os\nprint(sorted(os.environ.keys() & {'PATH', 'USER', 'CARGO', 'ERYX_CACHE'}))";
    assert_eq!(ok(&mut session, code), "[]\n");
    for path in ["/etc/passwd", "/proc/self/maps", "../../etc/passwd"] {
        let text = raises(&mut session, &format!("open({path:?})"));
        assert!(text.contains("FileNotFoundError") || text.contains("PermissionError"), "{text}");
    }
}

#[test]
fn memory_that_is_refused_is_a_memory_error() {
    let limits = Limits::default().max_memory(Some(256 << 20));
    let mut session = image().session(SessionOptions::default().limits(limits)).unwrap();
    assert!(raises(&mut session, "x = bytearray(1 << 30)").ends_with("MemoryError\n"));
    assert_eq!(ok(&mut session, "print('alive')"), "alive\n");
    assert!(session.memory_used() <= 256 << 20);
}

#[test]
fn an_exit_without_clean_up_ends_the_session() {
    let mut session = session();
    let failure = session.execute("import os; os._exit(4)").unwrap_err();
    // `wasi:cli/exit` of WASI 0.2 says only whether it was a failure; the guest tells its status before.
    assert_eq!(failure, Error::Exit(4));
    assert_eq!(session.execute("1"), Err(Error::Ended));
}
