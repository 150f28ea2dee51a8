//! Snapshots: what comes back, and what hostile data does.

use eryx_embed::Error;

use super::{BARE, NUMPY, Variant, for_each_variant, ok};

for_each_variant! {
    code_and_identity_come_back
    references_to_modules_stay_references
    hostile_data_changes_nothing
    what_cannot_be_saved_is_named_and_harmless
}

/// Saves what the first code makes and runs the second, which checks itself, in another instance.
#[track_caller]
pub(super) fn moves(variant: &Variant, made: &str, checked: &str) {
    let mut one = variant.start();
    ok(&mut one, made);
    let data = one.snapshot_state().unwrap_or_else(|error| panic!("{error}"));
    let mut other = variant.start();
    other.restore_state(&data).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ok(&mut other, &format!("{checked}\nprint('good')")), "good\n");
}

fn code_and_identity_come_back(variant: &Variant) {
    moves(
        variant,
        "import dataclasses, enum, functools, collections
default = []
def add(x, into=default, *, seen={}):
    into.append(x)
    seen[x] = 1
    return into
add(1)
class Base:
    registry = {}
    def __init_subclass__(cls, **options):
        super().__init_subclass__()
        Base.registry[cls.__name__] = cls
class A(Base):
    class Inner:
        pass
    x = property(lambda self: self._x, lambda self, value: setattr(self, '_x', value))
    @staticmethod
    def s():
        return __class__ if False else A
    def who(self):
        return __class__
class B(A):
    pass
def make(n):
    def get():
        return n
    def put(value):
        nonlocal n
        n = value
    return get, put
get, put = make(1)
@enum.unique
class Flag(enum.Flag):
    ONE = 1
    TWO = 2
    BOTH = 3
@dataclasses.dataclass(order=True)
class D:
    x: int
    y: list = dataclasses.field(default_factory=list)
d = D(1)
shared = [d, d, (d,)]
recursive = lambda n: 1 if n < 2 else n * recursive(n - 1)
compose = functools.reduce(lambda f, g: lambda x: g(f(x)), [lambda x: x + 1, lambda x: x * 2])
T = collections.namedtuple('T', 'a b')
t = T(1, [d])
method = B().who
big = {str(i): i for i in range(1000)}
cycle = {}
cycle['me'] = [cycle]
key = {frozenset([1]): 2, (1, 'a'): 3}
class Meta(type):
    def __call__(cls, *a):
        made = super().__call__(*a)
        made.called = True
        return made
class M(metaclass=Meta):
    pass
m = M()
",
        "assert add(2) is default is add.__defaults__[0] == [1, 2] and add.__kwdefaults__['seen'] == {1: 1, 2: 1}
assert Base.registry == {'A': A, 'B': B} and B.__mro__ == (B, A, Base, object) and A.__subclasses__() == [B]
assert method() is A and A.s() is A and A.Inner.__qualname__ == 'A.Inner'
a = A(); a.x = 4; assert a._x == 4
put(5); assert get() == 5
assert Flag.ONE | Flag.TWO is Flag.BOTH and Flag(1) is Flag.ONE
assert shared[0] is shared[1] is shared[2][0] is d is t.b[0] and D(1) == d < D(2)
assert recursive(5) == 120 and compose(3) == 8 and T._fields == ('a', 'b')
assert len(big) == 1000 and cycle['me'][0] is cycle and key[frozenset([1])] == 2 and key[1, 'a'] == 3
assert m.called and type(m) is M and type(M) is Meta and M().called
class C(B): pass
assert Base.registry['C'] is C",
    );
}

fn references_to_modules_stay_references(variant: &Variant) {
    moves(
        variant,
        "import json, os.path as p, math\nfrom collections import OrderedDict as O\nf = json.dumps\nsin = math.sin",
        "import json as j, collections, math as mm\nassert json is j and f is j.dumps and O is collections.OrderedDict\nassert p.join('a', 'b') == 'a/b' and sin is mm.sin",
    );
}

fn hostile_data_changes_nothing(variant: &Variant) {
    let mut session = variant.start();
    ok(&mut session, "x = ['kept']\ndef f(): return x\nclass A: pass\na = A()");
    let data = session.snapshot_state().unwrap();
    // Every way to cut it, at places all over it.
    for length in (0..data.len()).step_by(data.len() / 60 + 1) {
        assert!(matches!(session.restore_state(&data[..length]), Err(Error::Refused(_))), "{length}");
    }
    // Every single-bit error in the header, and many in the body.
    let places = (0..80.min(data.len())).chain((80..data.len()).step_by(data.len() / 60 + 1));
    for place in places {
        let mut damaged = data.clone();
        damaged[place] ^= 1 << (place % 8);
        assert!(matches!(session.restore_state(&damaged), Err(Error::Refused(_))), "{place}");
    }
    // Bodies with a right checksum are made in Python: what a hostile embedder could do as well.
    let code = r#"
import _eryx_snapshot, pickle
def forged(body):
    return _eryx_snapshot._pack(body)
class Evil:
    def __reduce__(self):
        return eval, ("1/0",)
bodies = [
    b'', b'.', b'N.', pickle.dumps(1), pickle.dumps((1, 2)) * 3, pickle.dumps(({}, 0)), b'(' * 200000,
    b'\x80\x05' + b']' * 100000 + b'a' * 99999 + b'.', pickle.dumps(Evil()), b'cos\nno_such_name\n.',
    pickle.dumps(({}, 0)) + pickle.dumps({}) + pickle.dumps([]) + pickle.dumps(7) + pickle.dumps([]),
    b'\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.', b'\x80\x05j\xff\xff\xff\xff.', b'\x80\x05h\x00.',
]
import _eryx_session
for body in bodies:
    succeeded, told = _eryx_session.restore_state(forged(body))
    if succeeded or not isinstance(told, str):
        print('accepted', body[:40])
print('end')
"#;
    assert_eq!(ok(&mut session, code), "end\n");
    assert_eq!(ok(&mut session, "print(x, f() is x, isinstance(a, A))"), "['kept'] True True\n");
    // A snapshot of another variant or format is told as such.
    let mut other = data.clone();
    other[8] = 99;
    let error = session.restore_state(&other).unwrap_err().to_string();
    assert_eq!(error, "cannot restore: expected snapshot format 1 but found 99");
    let mut other = data;
    other[10] ^= 0xff;
    let error = session.restore_state(&other).unwrap_err().to_string();
    assert_eq!(error, "cannot restore: the snapshot was made by another version of Python");
}

fn what_cannot_be_saved_is_named_and_harmless(variant: &Variant) {
    let mut session = variant.start();
    ok(
        &mut session,
        "import threading\nlock = threading.Lock()\nok = 1\nclass Bad:\n    def __reduce__(self):\n        raise OSError('no')\nbad = Bad()\ngen = (i for i in [])\nasync def c(): pass\nco = c()",
    );
    let error = session.snapshot_state().unwrap_err().to_string();
    for name in ["`lock` (lock)", "`bad` (Bad: OSError: no)", "`gen` (generator)", "`co` (coroutine)"] {
        assert!(error.contains(name), "{error}");
    }
    assert!(!error.contains("`ok`") && !error.contains("`Bad`"), "{error}");
    ok(&mut session, "co.close()\ndel lock, bad, gen, co\nx = []\nfor _ in range(100_000):\n    x = [x]");
    let error = session.snapshot_state().unwrap_err().to_string();
    assert_eq!(error, "cannot snapshot: `x` (nested too deeply)");
    assert_eq!(ok(&mut session, "print(ok)"), "1\n");
}

#[test]
fn a_snapshot_of_another_variant_is_refused_and_told_apart() {
    let (mut bare, mut numpy) = (BARE.start(), NUMPY.start());
    ok(&mut bare, "x = 'kept'");
    ok(&mut numpy, "x = 'kept'");
    let (small, large) = (bare.snapshot_state().unwrap(), numpy.snapshot_state().unwrap());
    let error = bare.restore_state(&large).unwrap_err().to_string();
    assert!(error.starts_with("cannot restore: the snapshot was made by another variant: "), "{error}");
    assert!(error.contains("this one lacks `numpy-") && !error.contains("besides"), "{error}");
    let error = numpy.restore_state(&small).unwrap_err().to_string();
    assert!(error.contains("this one has `numpy-") && error.contains("` besides"), "{error}");
    for session in [&mut bare, &mut numpy] {
        assert_eq!(ok(session, "print(x)"), "kept\n");
    }
}

#[test]
fn numpy_s_arrays_take_their_own_size_and_streams_go_on() {
    let mut one = NUMPY.start();
    ok(
        &mut one,
        "import numpy as np
big = np.arange(2_000_000, dtype=np.float64)
view = big[10:20]
fortran = np.asfortranarray(np.arange(6).reshape(2, 3))
strided = np.arange(100)[::7]
record = np.array([(1, 2.5, 'x')], dtype=[('a', 'i4'), ('b', 'f8'), ('c', 'U3')])
empty, scalar, zero = np.empty((0, 3)), np.float32(1.5), np.array(7)
objects = np.array([{'a': 1}, None, 'x'], dtype=object)
objects[1] = objects[0]
words, times = np.array(['a', 'bc']), np.array(['2026-01-02'], dtype='M8[D]')
masked = np.ma.array([1, 2, 3], mask=[0, 1, 0])
rng, legacy = np.random.default_rng(5), np.random.RandomState(5)
rng.random(3), legacy.random(3)
ufunc, dtype = np.add, np.dtype('>i2')
class Sub(np.ndarray):
    pass
sub = np.arange(3).view(Sub)",
    );
    let data = one.snapshot_state().unwrap();
    assert!(data.len() < 16_000_000 + 20_000, "{} bytes for an array of 16,000,000", data.len());
    let mut other = NUMPY.start();
    other.restore_state(&data).unwrap_or_else(|error| panic!("{error}"));
    let code = "import numpy as np
assert (big == np.arange(2_000_000)).all() and (view == big[10:20]).all() and big.flags.writeable
assert fortran.flags.f_contiguous and fortran[1, 2] == 5 and (strided == np.arange(0, 100, 7)).all()
assert record['c'][0] == 'x' and record.dtype.names == ('a', 'b', 'c')
assert empty.shape == (0, 3) and type(scalar) is np.float32 and zero.shape == () and zero == 7
assert objects[0] is objects[1] and objects[2] == 'x' and list(words) == ['a', 'bc']
assert str(times[0]) == '2026-01-02' and masked.sum() == 4 and masked.mask[1]
assert ufunc is np.add and dtype.str == '>i2' and type(sub) is Sub
big[0] = 9
print(rng.random(), legacy.random(), np.random.default_rng(5).random(4)[3] == rng.bit_generator.random_raw())";
    let restored = ok(&mut other, code);
    assert_eq!(restored, ok(&mut one, code), "a stream goes on where it was saved");
}
