//! Time limits and cancellation. Nothing here but the last test compiles code that looks at a counter.

use std::time::{Duration, Instant};

use eryx_embed::{Callback, Error, Limits, Session, SessionOptions};

use super::{image, ok};

fn start(limits: Limits) -> Session {
    let never = Callback::new("never", "", "{}", |_| std::future::pending());
    let options = SessionOptions::default().callbacks(vec![never]).limits(limits);
    image().session(options).unwrap_or_else(|failure| panic!("{failure}"))
}

/// A session that was started without a limit, as the start may take long, and has one for its calls.
fn limited(milliseconds: u64) -> Session {
    let mut session = start(Limits::default());
    session.set_timeout(Some(Duration::from_millis(milliseconds)));
    session
}

#[test]
fn python_code_gets_an_exception_and_the_session_lives_on() {
    let mut session = limited(100);
    ok(&mut session, "kept = 1");
    for code in [
        "while True: pass",
        "def f():\n    return 1\nwhile True: f()",
        "[x for x in iter(int, 1)]",
        "import itertools\nfor x in itertools.count(): pass",
        "while True: print('x', end='')",
        "import time\ntime.sleep(600)",
        "import asyncio\nawait asyncio.sleep(600)",
        "await never()",
        "import asyncio\nawait asyncio.gather(never(), asyncio.sleep(600))",
        "import asyncio\nasync def spin():\n    while True: await asyncio.sleep(0)\nawait spin()",
        "class C:\n    def __str__(self):\n        while True: pass\nraise ValueError(C())",
    ] {
        let begun = Instant::now();
        let failure = session.execute(code).unwrap_err();
        assert!(matches!(failure.cause(), Error::TimeLimit { .. }), "{code}\n{failure}");
        let text = failure.to_string();
        assert!(text.starts_with("the time limit of 100 ms was reached\n"), "{code}\n{text}");
        assert!(session.is_usable(), "{code}\n{text}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{code}\n{text}");
        assert_eq!(ok(&mut session, "print(kept)"), "1\n", "{code}");
    }
}

#[test]
fn the_traceback_tells_where_it_was() {
    let mut session = limited(100);
    let failure = session.execute("def f():\n    while True:\n        pass\n\nf()").unwrap_err();
    let expected = "the time limit of 100 ms was reached\n  Traceback (most recent call last):\n    \
        File \"<execute-1>\", line 5, in <module>\n      f()\n      ~^^\n    \
        File \"<execute-1>\", line ";
    let text = failure.to_string();
    assert!(text.starts_with(expected), "{text}");
    assert!(text.ends_with("eryx.Stopped: the embedder stopped this execution"), "{text}");
}

#[test]
fn code_may_clean_up() {
    let mut session = limited(100);
    let code = "import eryx
log = []
try:
    try:
        while True: pass
    finally:
        log.append('finally')
except Exception:
    log.append('never')
except eryx.Stopped as error:
    log.append(str(error))
print(log)";
    // What it does then is done, but a call that is over its time has no answer.
    let failure = session.execute(code).unwrap_err();
    assert!(matches!(failure, Error::TimeLimit { .. }), "{failure}");
    let printed = "['finally', 'the embedder stopped this execution']\n";
    assert_eq!(ok(&mut session, "print(log)"), printed);
    assert_eq!(ok(&mut session, "import os, eryx\nprint('ERYX_EMBEDDER' in os.environ)"), "False\n");
    // It is nobody's own to raise with effect, or to change.
    let code = "import eryx
try:
    raise eryx.Stopped
except BaseException as error:
    print(repr(error), isinstance(error, Exception))
try:
    eryx.Stopped.__init__ = None
except TypeError:
    print('immutable')";
    assert_eq!(ok(&mut session, code), "Stopped() False\nimmutable\n");
}

#[test]
fn code_that_goes_on_catching_is_abandoned() {
    let mut session = limited(100);
    let begun = Instant::now();
    let code = "while True:\n    try:\n        while True: pass\n    except BaseException: pass";
    let failure = session.execute(code).unwrap_err();
    assert!(matches!(failure.cause(), Error::TimeLimit { .. }), "{failure}");
    assert_eq!(failure.to_string(), "the time limit of 100 ms was reached");
    assert!(!session.is_usable());
    assert!(begun.elapsed() > Duration::from_millis(600));
}

#[test]
fn a_stop_that_python_ignores_is_a_stop() {
    let mut session = limited(100);
    for code in [
        "class C:\n    def __del__(self):\n        while True: pass\nc = C()\ndel c",
        "try:\n    while True: pass\nexcept BaseException: pass",
        "import weakref\nclass C: pass\nc = C()\ndef loop(_):\n    while True: pass\nr = weakref.ref(c, loop)\ndel c",
        "class C:\n    def __eq__(self, other):\n        while True: pass\n    __hash__ = None\ntry: [C()].index(1)\nexcept BaseException: pass",
        "import sys\ndef f(*a):\n    try:\n        while True: pass\n    except BaseException: pass\nsys.excepthook = f\nf()",
        "import asyncio\nasync def f():\n    try: await asyncio.sleep(600)\n    except BaseException: pass\nawait f()",
    ] {
        let failure = session.execute(code).unwrap_err();
        assert!(matches!(failure, Error::TimeLimit { .. }), "{code}\n{failure}");
        assert!(session.is_usable(), "{code}");
        assert_eq!(ok(&mut session, "print(1)"), "1\n", "{code}");
    }
}

#[test]
fn cancelling_before_a_call_stops_that_call_alone() {
    let mut session = start(Limits::default());
    let canceller = session.canceller();
    for _ in 0..6 {
        canceller.cancel().unwrap();
        assert!(matches!(session.execute("left = 1"), Err(Error::Cancelled { .. })));
        assert_eq!(ok(&mut session, "print('left' in globals())"), "False\n");
    }
    // At any time of a call: it ends as cancelled, or it had ended before.
    for microseconds in (0..2000).step_by(100) {
        let canceller = session.canceller();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(microseconds));
            canceller.cancel().unwrap();
        });
        let first = session.execute("for i in range(1000): pass");
        other.join().unwrap();
        match first {
            Err(Error::Cancelled { .. }) => {}
            Ok(_) => assert!(matches!(session.execute("1"), Err(Error::Cancelled { .. })), "{microseconds}"),
            Err(failure) => panic!("{microseconds}: {failure}"),
        }
        if !session.is_usable() {
            session = start(Limits::default());
        }
        assert_eq!(ok(&mut session, "print(1)"), "1\n", "{microseconds}");
    }
}

#[test]
fn a_call_is_cancelled_from_another_thread() {
    let mut session = start(Limits::default());
    ok(&mut session, "kept = 1");
    let canceller = session.canceller();
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        canceller.cancel().unwrap();
    });
    let failure = session.execute("while True: pass").unwrap_err();
    assert!(matches!(failure.cause(), Error::Cancelled { .. }), "{failure}");
    other.join().unwrap();
    assert_eq!(ok(&mut session, "print(kept)"), "1\n");
}

#[test]
fn saving_and_restoring_is_stopped_too() {
    let mut session = limited(200);
    let code = "class C:\n    def __reduce__(self):\n        while True: pass\nc = C()";
    ok(&mut session, code);
    assert!(matches!(session.snapshot_state(), Err(Error::TimeLimit { .. })));
    ok(&mut session, "del c, C");
    session.snapshot_state().unwrap();
}

#[test]
fn native_code_is_stopped_where_that_is_asked_for() {
    for code in [
        "sum(iter(int, 1))",
        "10 ** 10 ** 9",
        "x = [1] * 10**6\nwhile True:\n    try: x.sort()\n    except BaseException: pass",
    ] {
        let mut session = start(Limits::default().stop_native_code(true));
        session.set_timeout(Some(Duration::from_millis(100)));
        let failure = session.execute(code).unwrap_err();
        assert!(matches!(failure.cause(), Error::TimeLimit { .. }), "{code}");
    }
}
