//! A slot of a pool carries nothing over, however the instance before ended.

use std::time::Duration;

use eryx_embed::{Callback, Error, Image, Limits, Session, SessionOptions};

use super::{ok, pooled};

/// Leaves traces wherever Python code can.
const LEAVE: &str = "
import builtins, os, random, sys, tempfile, time, pathlib
left = 'left behind'
builtins.left = left
sys.left = left
sys.modules['left'] = sys
os.environ['LEFT'] = left
pathlib.Path('/tmp/left').write_text(left * 1000)
pathlib.Path('left').write_text(left)
try:
    pathlib.Path(os.__file__).write_text('raise SystemExit')
except OSError:
    pass
os.chdir('/tmp')
tempfile.tempdir = '/tmp'
random.seed(1)
sys.setrecursionlimit(500)
sys.path.insert(0, '/tmp')
str_hash = hash('left')
memory = [bytes([i % 251]) * 4096 + left.encode() for i in range(2000)]
print(left, flush=True)
";

/// Names every trace that it finds.
const LOOK: &str = "
import builtins, os, random, sys, tempfile, gc
found = []
def look(name, there):
    if there: found.append(name)
look('globals', 'left' in globals() or 'memory' in globals())
look('builtins', hasattr(builtins, 'left'))
look('sys', hasattr(sys, 'left') or sys.getrecursionlimit() == 500 or '/tmp' in sys.path)
look('modules', 'left' in sys.modules)
look('environ', 'LEFT' in os.environ or os.getenv('LEFT'))
look('files', os.path.exists('/tmp/left') or os.path.exists('left'))
look('directory', os.getcwd() == '/tmp')
look('objects', any(type(o) is list and len(o) == 2000 for o in gc.get_objects()))
print(found)
";

fn start(image: &Image, limits: Limits) -> Session {
    let never = Callback::new("never", "", "{}", |_| std::future::pending());
    let options = SessionOptions::default().callbacks(vec![never]).limits(limits);
    image.session(options).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn the_next_instance_finds_nothing() {
    let image = pooled(1);
    let limits = Limits::default().max_memory(Some(192 << 20));
    let deep = "x = ()\nfor _ in range(100_000):\n    x = (x,)\nhash(x)";
    let stubborn = "while True:\n    try:\n        while True: pass\n    except BaseException: pass";
    let hungry = "y = []\nwhile True: y.append(bytes(1 << 20) + b'left')";
    let mut randoms = std::collections::BTreeSet::new();
    for (end, expected) in [
        ("pass", "answer"),
        ("raise ValueError(left)", "answer"),
        // What recurses too deeply may be an error in Python, too; a busy machine may be slower than the limit.
        (deep, "answer, stack, time"),
        ("import os\nos.abort()", "trap, exit 134"),
        ("import os\nos._exit(3)", "exit 3"),
        (hungry, "answer, time"),
        ("while True: pass", "time"),
        (stubborn, "time"),
        ("await never()", "time"),
        ("CANCEL", "cancelled"),
    ] {
        let mut session = start(&image, limits);
        ok(&mut session, LEAVE);
        let outcome = if end == "CANCEL" {
            let canceller = session.canceller();
            let other = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                canceller.cancel().unwrap();
            });
            let outcome = session.execute("while True: pass");
            other.join().unwrap();
            outcome
        } else {
            session.set_timeout(Some(Duration::from_millis(300)));
            session.execute(end)
        };
        let found = match &outcome {
            Ok(_) | Err(Error::Raised(_)) => "answer".to_owned(),
            Err(Error::TimeLimit { .. }) => "time".to_owned(),
            Err(Error::Cancelled { .. }) => "cancelled".to_owned(),
            Err(Error::Stack { .. }) => "stack".to_owned(),
            Err(Error::Exit(status)) => format!("exit {status}"),
            Err(Error::Trap { .. }) => "trap".to_owned(),
            other => panic!("{end}: {other:?}"),
        };
        assert!(expected.split(", ").any(|one| one == found), "{end}: {outcome:?}");
        drop(session);
        let mut session = start(&image, limits);
        assert_eq!(ok(&mut session, LOOK), "[]\n", "after {end}");
        let random = "import random, uuid, os\nprint(random.random(), uuid.uuid4(), os.urandom(8))";
        assert!(randoms.insert(ok(&mut session, random)), "after {end}");
        assert!(session.memory_used() < 128 << 20, "after {end}");
    }
}
