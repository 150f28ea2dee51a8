//! Snapshots: what is saved, what another instance makes of it, and what is refused.

use eryx_embed::Session;

use super::{ok, raises, session};

/// The session's state, given to an instance that has never seen it.
#[track_caller]
fn moved(session: &mut Session) -> Session {
    let data = session.snapshot_state().unwrap_or_else(|error| panic!("{error}"));
    let mut other = super::session();
    other.restore_state(&data).unwrap_or_else(|error| panic!("{error}"));
    other
}

#[test]
fn data_moves() {
    let mut one = session();
    ok(
        &mut one,
        "import datetime, decimal, re
x = {'a': [1, 2.5, None, 'é', b'\\0'], ('t', 1): {1, 2}}
shared = [x, x]
loop = []
loop.append(loop)
when, how_much = datetime.date(2026, 1, 2), decimal.Decimal('1.50')
pattern = re.compile('a+')",
    );
    let mut other = moved(&mut one);
    let code = "print(x['a'], x['t', 1], shared[0] is shared[1] is x, loop[0] is loop)
print(when, how_much, pattern.findall('aab'), re.escape('.'))";
    let expected = "[1, 2.5, None, 'é', b'\\x00'] {1, 2} True True\n2026-01-02 1.50 ['aa'] \\.\n";
    assert_eq!(ok(&mut other, code), expected);
    ok(&mut other, "x['a'].append('there')");
    assert_eq!(ok(&mut one, "print(len(x['a']))"), "5\n", "the two share nothing");
}

#[test]
fn functions_move() {
    let mut one = session();
    ok(
        &mut one,
        "import functools, math
factor = 3
def scaled(x, *, by=2):
    'Scales.'
    return x * by * factor
def counter():
    n = 0
    def step():
        nonlocal n
        n += 1
        return n
    return step
step = counter()
step()
half = lambda x: math.floor(x / 2)
@functools.cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
twice = functools.partial(scaled, by=4)
async def later(x):
    import asyncio
    await asyncio.sleep(0)
    return x",
    );
    let mut other = moved(&mut one);
    let code = "factor = 5\nprint(scaled(1), scaled.__doc__, step(), step(), half(5), fib(30), twice(1), await later(8))";
    assert_eq!(ok(&mut other, code), "10 Scales. 2 3 2 832040 20 8\n");
    let text = raises(&mut other, "scaled(None)");
    assert!(text.contains("line 5, in scaled\n    return x * by * factor\n"), "sources move too: {text}");
}

#[test]
fn classes_and_their_instances_move() {
    let mut one = session();
    ok(
        &mut one,
        "import abc, dataclasses, enum, typing
class Base:
    count = 0
    def __init__(self, name):
        self.name = name
        type(self).count += 1
    @property
    def loud(self):
        return self.name.upper()
class Child(Base):
    def __init__(self, name):
        super().__init__(name + '!')
    @classmethod
    def make(cls):
        return cls('made')
class Colour(enum.Enum):
    RED = 1
@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0
class Pair(typing.NamedTuple):
    a: int
    b: str = 'b'
class Slots:
    __slots__ = ('x',)
child, point, pair, red = Child('kid'), Point(1), Pair(2), Colour.RED
slots = Slots()
slots.x = 4
children = {Child: [child]}",
    );
    let mut other = moved(&mut one);
    let code = "print(child.loud, Child.make().name, Child.count, isinstance(child, Base), children[Child][0] is child)
print(point, dataclasses.replace(point, y=5), pair, red is Colour.RED, slots.x, point == Point(1))";
    let expected = "KID! made! 2 True True\nPoint(x=1, y=0) Point(x=1, y=5) Pair(a=2, b='b') True 4 True\n";
    assert_eq!(ok(&mut other, code), expected);
}

#[test]
fn numpy_arrays_move() {
    let mut one = session();
    ok(
        &mut one,
        "import numpy as np
a = np.arange(12.0).reshape(3, 4)
view = a[1]
names = np.array(['x', 'é'])
records = np.zeros(2, dtype=[('n', 'i4'), ('s', 'U3')])
rng = np.random.default_rng(1)
rng.random()
def total(): return float(np.sum(a))",
    );
    let expected = ok(&mut one, "import copy\nprint(copy.deepcopy(rng).random())");
    let mut other = moved(&mut one);
    assert_eq!(ok(&mut other, "print(rng.random())"), expected);
    let code =
        "print(a.sum(), total(), view.tolist(), names.tolist(), records.dtype.names, a.flags.writeable)";
    assert_eq!(ok(&mut other, code), "66.0 66.0 [4.0, 5.0, 6.0, 7.0] ['x', 'é'] ('n', 's') True\n");
}

#[test]
fn pydantic_models_move() {
    let mut one = session();
    ok(
        &mut one,
        "from pydantic import BaseModel, Field, ValidationError, field_validator
class Inner(BaseModel):
    n: int = Field(ge=0)
class Outer(BaseModel):
    inner: Inner
    names: list[str] = []
    @field_validator('names')
    @classmethod
    def sort(cls, names):
        return sorted(names)
o = Outer(inner={'n': 3}, names=['b', 'a'])",
    );
    let mut other = moved(&mut one);
    let code = "print(repr(o), Outer(inner=Inner(n='4'), names=['z', 'y']).names, isinstance(o, Outer))
try:
    Outer(inner={'n': -1})
except ValidationError as error:
    print(error.errors()[0]['loc'])";
    let expected = "Outer(inner=Inner(n=3), names=['a', 'b']) ['y', 'z'] True\n('inner', 'n')\n";
    assert_eq!(ok(&mut other, code), expected);
}

#[test]
fn what_cannot_be_saved_is_named() {
    let mut session = session();
    ok(
        &mut session,
        "good = 1\nfile = open('/tmp/f', 'w')\ndef g():\n    yield 1\ngen = g()\nbox = {'deep': [gen]}",
    );
    let error = session.snapshot_state().unwrap_err().to_string();
    assert!(error.starts_with("cannot snapshot: "), "{error}");
    for part in ["`file` (open file)", "`gen` (generator)", "`box` (generator)"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("`good`") && !error.contains("`g`"), "{error}");
    ok(&mut session, "del file, gen, box");
    assert_eq!(ok(&mut moved(&mut session), "print(good, list(g()))"), "1 [1]\n");
}

#[test]
fn data_that_is_no_snapshot_is_refused() {
    let mut session = session();
    ok(&mut session, "x = 'kept'");
    let data = session.snapshot_state().unwrap();
    let mut flipped = data.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut longer = data.clone();
    longer.push(0);
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "cannot restore: this is no snapshot"),
        (
            "garbage",
            b"not a snapshot at all, but long enough to hold a header, is it not",
            "cannot restore: this is no snapshot",
        ),
        ("cut in the header", &data[..20], "cannot restore: this is no snapshot"),
        ("cut in the body", &data[..data.len() - 1], "cannot restore: expected "),
        ("one byte more", &longer, "cannot restore: expected "),
        ("one bit flipped", &flipped, "cannot restore: the snapshot is damaged: its checksum does not match"),
    ];
    for (name, bytes, expected) in cases {
        let error = session.restore_state(bytes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{name}: {error}");
        assert_eq!(ok(&mut session, "print(x)"), "kept\n", "{name}");
    }
    session.restore_state(&data).unwrap();
    assert_eq!(ok(&mut session, "print(x)"), "kept\n");
}

#[test]
fn restoring_replaces_everything() {
    let mut session = session();
    ok(&mut session, "x = 1");
    let data = session.snapshot_state().unwrap();
    ok(&mut session, "x = 2\ny = 3");
    session.restore_state(&data).unwrap();
    assert_eq!(ok(&mut session, "print(x, 'y' in globals(), 'invoke' in globals())"), "1 False True\n");
}

#[test]
fn clearing_forgets_globals() {
    let mut session = session();
    ok(&mut session, "import json\nx = 1\ndef f(): pass");
    session.clear_state().unwrap();
    assert_eq!(ok(&mut session, "print([n for n in ('x', 'f', 'json') if n in globals()])"), "[]\n");
    assert_eq!(ok(&mut session, "import json\nprint(json.dumps(1), __name__)"), "1 __main__\n");
    // What was only in the globals ends, whether the memory was saved with them or not.
    for _ in 0..2 {
        let code =
            "import builtins, weakref\nclass Ends: pass\nheld = Ends()\nbuiltins.held = weakref.ref(held)";
        ok(&mut session, code);
        session.clear_state().unwrap();
        assert_eq!(ok(&mut session, "import gc\ngc.collect()\nprint(held())"), "None\n");
    }
}

#[test]
fn an_empty_session_moves() {
    assert_eq!(ok(&mut moved(&mut session()), "print('alive')"), "alive\n");
}
