//! `eryx-build run`: what Python programs can do, and how they end.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::{component, text};

/// Runs a program with options; `-c` code and the like stand in `more`.
pub(super) fn run(more: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    command.arg("run").arg(component()).args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that ends early closes its end: that is not what is tested.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
pub(super) fn expect(more: &[&str], status: i32, stdout: &str, stderr: &str) {
    let output = run(more, "");
    assert_eq!(text(&output.stderr), stderr, "standard error");
    assert_eq!(text(&output.stdout), stdout, "standard output");
    assert_eq!(output.status.code(), Some(status));
}

/// Runs code that checks itself with `assert`.
#[track_caller]
fn holds(code: &str) {
    expect(&["-c", &format!("{code}\nprint('done')")], 0, "done\n", "");
}

#[test]
fn numpy_linear_algebra() {
    holds(
        "import numpy as np
a = np.array([[4.0, 1, 2], [1, 3, 0], [2, 0, 5]])
b = np.array([1.0, 2, 3])
x = np.linalg.solve(a, b)
assert np.allclose(a @ x, b) and np.isclose(np.linalg.det(a), 43)
q, r = np.linalg.qr(a)
assert np.allclose(q @ r, a) and np.allclose(q.T @ q, np.eye(3))
u, s, v = np.linalg.svd(a)
assert np.allclose((u * s) @ v, a)
w, z = np.linalg.eigh(a)
assert np.allclose(z @ np.diag(w) @ z.T, a)
assert np.allclose(np.linalg.cholesky(a) @ np.linalg.cholesky(a).T, a)
w = np.linalg.eigvals(np.array([[0.0, -1], [1, 0]]))
assert sorted(w.imag.round(12)) == [-1, 1]
try:
    np.linalg.inv(np.ones((2, 2)))
except np.linalg.LinAlgError as error:
    assert str(error) == 'Singular matrix'
else:
    assert False",
    );
}

#[test]
fn numpy_fft() {
    holds(
        "import numpy as np
t = np.arange(128) / 128
wave = 3 * np.sin(2 * np.pi * 7 * t) + np.cos(2 * np.pi * 20 * t)
power = np.abs(np.fft.rfft(wave)) / 64
assert power.argmax() == 7 and np.isclose(power[7], 3) and np.isclose(power[20], 1)
for n in (1, 2, 3, 60, 97, 128):
    x = np.random.default_rng(n).standard_normal(n) + 1j
    assert np.allclose(np.fft.ifft(np.fft.fft(x)), x), n
image = np.random.default_rng(1).random((6, 10))
assert np.allclose(np.fft.irfft2(np.fft.rfft2(image), image.shape), image)
for bad in ([], [[]]):
    try:
        np.fft.fft(bad)
    except ValueError:
        continue
    assert False, 'C++ threw nothing'",
    );
}

#[test]
fn numpy_random() {
    holds(
        "import numpy as np
rng = np.random.default_rng(12345)
assert rng.integers(0, 100, 5).tolist() == [69, 22, 78, 31, 20]
assert np.random.Generator(np.random.PCG64(0)).random() == 0.6369616873214543
assert np.random.RandomState(42).randint(0, 100, 3).tolist() == [51, 92, 14]
for bits in (np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64DXSM):
    one, two = np.random.Generator(bits(3)), np.random.Generator(bits(3))
    assert (one.normal(size=50) == two.normal(size=50)).all(), bits
sample = rng.gamma(2.0, size=20_000)
assert abs(sample.mean() - 2) < 0.1
assert sorted(rng.permutation(10).tolist()) == list(range(10))
assert np.random.default_rng().random() != np.random.default_rng().random()",
    );
}

#[test]
fn numpy_sorting() {
    holds(
        "import numpy as np
rng = np.random.default_rng(5)
for dtype in ('i1', 'u2', 'i4', 'i8', 'f2', 'f4', 'f8', 'c16', 'U5', 'M8[s]'):
    a = rng.integers(0, 120, 3000).astype('i8').astype(dtype)
    for kind in ('quicksort', 'stable', 'heapsort'):
        b = np.sort(a, kind=kind)
        assert (b[:-1] <= b[1:]).all(), (dtype, kind)
        assert (a[np.argsort(a, kind=kind)] == b).all(), (dtype, kind)
a = rng.random(1001)
assert np.partition(a, 500)[500] == np.median(a) == np.sort(a)[500]
values, counts = np.unique(np.array([3, 1, 3, 2, 3]), return_counts=True)
assert values.tolist() == [1, 2, 3] and counts.tolist() == [1, 1, 3]
assert np.searchsorted([1, 3, 5], [0, 3, 9]).tolist() == [0, 1, 3]
assert np.lexsort(([3, 1, 2], [1, 1, 0])).tolist() == [2, 1, 0]
assert np.isnan(np.sort([np.nan, 2.0, 1.0])[-1])",
    );
}

#[test]
fn numpy_strings() {
    holds(
        "import numpy as np
s = np.strings
words = np.array(['Wasm', ' numpy ', 'été'])
assert s.upper(words).tolist() == ['WASM', ' NUMPY ', 'ÉTÉ']
assert s.strip(words).tolist() == ['Wasm', 'numpy', 'été']
assert s.replace(words, 'm', 'M').tolist() == ['WasM', ' nuMpy ', 'été']
assert s.add(words, '!').tolist()[0] == 'Wasm!' and s.str_len(words).tolist() == [4, 7, 3]
assert s.find(words, 'm').tolist() == [3, 3, -1]
assert s.startswith(words, 'W').tolist() == [True, False, False]
long = np.array(['a', 'bb' * 100], dtype=np.dtypes.StringDType())
assert s.str_len(long).tolist() == [1, 200] and (long == ['a', 'x']).tolist() == [True, False]
assert np.array([b'ab', b'c'], dtype='S4').tobytes() == b'ab\\0\\0c\\0\\0\\0'
assert np.char.multiply(['ab'], 2).tolist() == ['abab']",
    );
}

#[test]
fn numpy_files() {
    holds(
        "import numpy as np, os
os.makedirs('/tmp/n')
a = np.arange(24.0).reshape(2, 3, 4)
np.save('/tmp/n/a.npy', a)
assert (np.load('/tmp/n/a.npy') == a).all()
np.savez_compressed('/tmp/n/b.npz', a=a, names=np.array(['x', 'é']))
with np.load('/tmp/n/b.npz') as b:
    assert sorted(b) == ['a', 'names'] and (b['a'] == a).all() and b['names'][1] == 'é'
np.savetxt('/tmp/n/c.csv', a[0], delimiter=',', header='h')
assert (np.loadtxt('/tmp/n/c.csv', delimiter=',') == a[0]).all()
a.tofile('/tmp/n/d'), np.array([object(), 1], dtype=object)
assert (np.fromfile('/tmp/n/d') == a.ravel()).all()
assert sorted(os.listdir('/tmp/n')) == ['a.npy', 'b.npz', 'c.csv', 'd']",
    );
}

#[test]
fn pydantic_validation() {
    holds(
        "from datetime import date
from decimal import Decimal
from typing import Annotated, Literal
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, computed_field, field_validator
class Item(BaseModel):
    name: str
    price: Annotated[Decimal, Field(gt=0, max_digits=6)]
    tags: set[str] = set()
class Order(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    id: int
    day: date
    kind: Literal['in', 'out'] = 'in'
    items: list[Item]
    note: str | None = None
    @field_validator('note')
    @classmethod
    def no_shouting(cls, value):
        return value and value.lower()
    @computed_field
    @property
    def total(self) -> Decimal:
        return sum((item.price for item in self.items), Decimal(0))
order = Order(id='7', day='2026-02-03', items=[{'name': 'a', 'price': '1.50', 'tags': ['x', 'x']}], note=' HI ')
assert order.id == 7 and order.day == date(2026, 2, 3) and order.note == 'hi'
assert order.items[0].tags == {'x'} and order.total == Decimal('1.50')
assert order.model_copy(update={'id': 8}).id == 8 and Order.model_validate(order.model_dump()) == order
assert TypeAdapter(dict[str, list[int]]).validate_python({'a': ['1', 2]}) == {'a': [1, 2]}",
    );
}

#[test]
fn pydantic_json() {
    holds(
        "from datetime import datetime, timezone
from uuid import UUID
from pydantic import BaseModel, Field
class Event(BaseModel):
    at: datetime
    id: UUID
    values: list[float] = Field(alias='v')
    more: dict[str, int | str] = {}
text = '{\"at\":\"2026-01-02T03:04:05Z\",\"id\":\"12345678-1234-5678-1234-567812345678\",\"v\":[1,2.5],\"more\":{\"a\":1,\"b\":\"é\"}}'
event = Event.model_validate_json(text)
assert event.at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc) and event.values == [1.0, 2.5]
assert event.more == {'a': 1, 'b': 'é'}
back = event.model_dump_json(by_alias=True)
assert Event.model_validate_json(back) == event and '\"é\"' in back
schema = Event.model_json_schema()
assert schema['required'] == ['at', 'id', 'v'] and schema['properties']['id']['format'] == 'uuid'",
    );
}

#[test]
fn pydantic_errors() {
    holds(
        "from pydantic import BaseModel, Field, ValidationError
class User(BaseModel):
    name: str = Field(min_length=2, pattern='^[a-z]+$')
    age: int = Field(ge=0)
    mails: list[str]
try:
    User(name='A', age=-1, mails=['x', 3])
except ValidationError as error:
    found = [(e['loc'], e['type']) for e in error.errors()]
    assert found == [(('name',), 'string_too_short'), (('age',), 'greater_than_equal'), (('mails', 1), 'string_type')]
    assert str(error).startswith('3 validation errors for User\\nname\\n')
else:
    assert False
try:
    User.model_validate_json('{\"name\": ')
except ValidationError as error:
    assert error.errors()[0]['type'] == 'json_invalid'
else:
    assert False
try:
    User(name='é' * 3, age=1, mails=[])
except ValidationError as error:
    assert error.errors()[0]['type'] == 'string_pattern_mismatch'
else:
    assert False",
    );
}

#[test]
fn text_and_numbers() {
    holds(
        "import csv, dataclasses, datetime, decimal, io, json, re, statistics
assert json.loads(json.dumps({'a': [1, 2.5, None, 'é']}, indent=1)) == {'a': [1, 2.5, None, 'é']}
assert re.sub(r'(?P<a>\\w+) (?P<b>\\w+)', r'\\g<b> \\g<a>', 'hello world') == 'world hello'
assert str(datetime.datetime(2024, 2, 28) + datetime.timedelta(days=1)) == '2024-02-29 00:00:00'
with decimal.localcontext(prec=30):
    assert str(decimal.Decimal(1) / 7) == '0.142857142857142857142857142857'
out = io.StringIO()
csv.writer(out).writerows([['a', 'b,c'], [1, 'd\"']])
assert out.getvalue() == 'a,\"b,c\"\\r\\n1,\"d\"\"\"\\r\\n'
@dataclasses.dataclass(order=True, slots=True)
class P:
    x: int
    y: list = dataclasses.field(default_factory=list)
assert P(1) < P(2) and dataclasses.asdict(P(1)) == {'x': 1, 'y': []}
assert statistics.quantiles([1, 2, 3, 4, 5]) == [1.5, 3, 4.5] and statistics.stdev([1, 2, 3]) == 1",
    );
}

#[test]
fn time_zones_are_inside() {
    holds(
        "from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones
summer = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo('Europe/Berlin'))
assert summer.utcoffset().total_seconds() == 7200 and summer.tzname() == 'CEST'
assert summer.astimezone(ZoneInfo('America/New_York')).hour == 6
assert len(available_timezones()) > 400",
    );
}

#[test]
fn compression() {
    holds(
        "import bz2, gzip, lzma, zipfile, zlib
from compression import zstd
data = b'the quick brown fox ' * 2000
for codec in (bz2, gzip, lzma, zlib, zstd):
    packed = codec.compress(data)
    assert len(packed) < 1000 and codec.decompress(packed) == data, codec
    try:
        codec.decompress(b'nonsense' + packed)
    except Exception as error:
        assert not isinstance(error, (MemoryError, SystemError)), error
    else:
        assert False, codec
for codec in (bz2, gzip, lzma, zstd):
    with codec.open('/tmp/x', 'wb') as f:
        f.write(data)
    with codec.open('/tmp/x', 'rt') as f:
        assert f.readline().startswith('the quick'), codec
for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_ZSTANDARD):
    with zipfile.ZipFile('/tmp/y.zip', 'w', method) as z:
        z.writestr('a/b', data)
    with zipfile.ZipFile('/tmp/y.zip') as z:
        assert z.testzip() is None and z.read('a/b') == data, method",
    );
}

#[test]
fn hashes() {
    holds(
        "import hashlib, hmac
assert hashlib.sha256(b'abc').hexdigest() == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
assert hashlib.md5(b'abc').hexdigest() == '900150983cd24fb0d6963f7d28e17f72'
assert hashlib.sha3_256(b'').hexdigest().startswith('a7ffc6f8bf1ed766')
assert hashlib.blake2b(b'abc').hexdigest().startswith('ba80a53f981c4d0d')
assert hmac.new(b'key', b'abc', 'sha1').hexdigest() == '4fd0b215276ef12f2b3e4c8ecac2811498b656fc'
assert set(hashlib.algorithms_guaranteed) <= set(hashlib.algorithms_available)",
    );
}

#[test]
fn sqlite() {
    holds(
        "import sqlite3
with sqlite3.connect('/tmp/t.db') as base:
    base.execute('create table t(a integer primary key, b text, c real)')
    base.executemany('insert into t(b, c) values (?, ?)', [(f'row {i}', i / 2) for i in range(500)])
assert base.execute('select count(*), sum(c), max(b) from t').fetchone() == (500, 62375.0, 'row 99')
base.create_function('twice', 1, lambda x: 2 * x)
assert base.execute('select twice(21)').fetchone() == (42,)
try:
    base.execute('insert into t(a) values (1)')
except sqlite3.IntegrityError as error:
    assert 'UNIQUE' in str(error)
else:
    assert False
base.rollback()
base.close()
assert sqlite3.connect('/tmp/t.db').execute('select count(*) from t').fetchone() == (500,)
assert sqlite3.connect(':memory:').execute(\"select json_extract('{\\\"a\\\": 5}', '$.a')\").fetchone() == (5,)",
    );
}

#[test]
fn files_of_its_own() {
    holds(
        "import importlib.resources, os, pathlib, shutil, sys, tempfile, json
assert pathlib.Path(json.__file__).read_text().startswith('r\"\"\"JSON')
assert importlib.resources.files('email').joinpath('charset.py').is_file()
with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    (root / 'a/b').mkdir(parents=True)
    (root / 'a/b/c.txt').write_text('hé', encoding='utf-8')
    (root / 'a/b/c.txt').rename(root / 'd.txt')
    assert [p.name for p in sorted(root.rglob('*'))] == ['a', 'b', 'd.txt']
    assert (root / 'd.txt').stat().st_size == 3
    shutil.copytree(root / 'a', root / 'e')
assert not root.exists()
with tempfile.TemporaryFile() as f:
    f.write(b'x' * 100_000), f.seek(99_999)
    assert f.read() == b'x'
with tempfile.NamedTemporaryFile('w+', dir='/tmp') as f:
    assert f.name.startswith('/tmp/') and os.path.exists(f.name)
copy = os.dup(1)
os.write(copy, b''), os.close(copy)
home = pathlib.Path.home()
(home / 'note').write_text('1')
assert (home / 'note').read_text() == '1'
try:
    open(json.__file__, 'r+')
except OSError:
    pass
else:
    assert False, 'the standard library can be written'",
    );
}

#[test]
fn unittest_runs() {
    holds(
        "import io, unittest
class T(unittest.TestCase):
    def test_good(self):
        with self.assertRaises(ZeroDivisionError):
            1 / 0
    def test_bad(self):
        self.assertEqual([1, 2], [1, 3])
class A(unittest.IsolatedAsyncioTestCase):
    async def test_async(self):
        import asyncio
        await asyncio.sleep(0)
suite = unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromTestCase, (T, A)))
result = unittest.TextTestRunner(io.StringIO()).run(suite)
assert result.testsRun == 3 and len(result.failures) == 1 and not result.errors, result.errors
assert 'Lists differ: [1, 2] != [1, 3]' in result.failures[0][1]",
    );
}

#[test]
fn packages_have_metadata() {
    holds(
        "import importlib.metadata as m
assert m.version('tzdata').startswith('20') and m.metadata('tzdata')['Name'] == 'tzdata'",
    );
    holds(
        "import importlib.metadata as m, numpy, pydantic
assert m.version('numpy') == numpy.__version__ and m.version('pydantic') == pydantic.VERSION
names = {d.name.lower().replace('_', '-') for d in m.distributions()}
assert names >= {'numpy', 'pydantic', 'pydantic-core', 'typing-extensions', 'annotated-types', 'typing-inspection'}
assert any(str(f).endswith('numpy/__init__.py') for f in m.files('numpy'))",
    );
}

#[test]
fn code_that_ends_has_status_0() {
    expect(&["-c", "import sys; print('out'); print('err', file=sys.stderr)"], 0, "out\n", "err\n");
    expect(&["-c", "import sys; sys.exit()"], 0, "", "");
}

#[test]
fn code_that_raises_has_status_1_and_a_traceback() {
    let code = "print('before')\ndef f():\n    return 1 / 0\nf()\n";
    let output = run(&["-c", code], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "before\n");
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("Traceback (most recent call last):\n"), "{stderr}");
    for part in [", line 4, in <module>\n    f()\n", ", line 3, in f\n    return 1 / 0\n"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(stderr.ends_with("\nZeroDivisionError: division by zero\n"), "{stderr}");
}

#[test]
fn code_that_exits_has_the_status_that_it_says() {
    expect(&["-c", "import sys; sys.exit(3)"], 3, "", "");
    expect(&["-c", "import sys; sys.exit('no such thing')"], 1, "", "no such thing\n");
    expect(&["-c", "print('x'); raise SystemExit(256 + 5)"], 5, "x\n", "");
    expect(&["-c", "print('lost'); import os; os._exit(5)"], 5, "", "");
    expect(&["-c", "import sys; sys.exit([1])"], 1, "", "[1]\n");
}

#[test]
fn code_comes_from_standard_input_or_a_file() {
    let output = run(&["-"], "import sys\nprint(6 * 7, sys.stdin.read() == '')\n");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("42 True\n", Some(0)));
    let output = run(&[], "print('no argument')\n");
    assert_eq!(text(&output.stdout), "no argument\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("program.py");
    fs::write(&file, "print('file', input())\n").unwrap();
    let output = run(&[file.to_str().unwrap()], "one line\n");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("file one line\n", Some(0)));
}

#[test]
fn a_granted_directory_is_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.txt"), "from outside").unwrap();
    let grant = format!("{}::/data", folder.path().display());
    let code = "import os
print(os.listdir('/data'), open('/data/in.txt').read())
os.mkdir('/data/sub')
open('/data/sub/out.txt', 'w').write('from inside')
os.rename('/data/in.txt', '/data/moved.txt')";
    expect(&["--dir", &grant, "-c", code], 0, "['in.txt'] from outside\n", "");
    assert_eq!(fs::read_to_string(folder.path().join("sub/out.txt")).unwrap(), "from inside");
    assert_eq!(fs::read_to_string(folder.path().join("moved.txt")).unwrap(), "from outside");
}

#[test]
fn a_directory_granted_for_reading_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.txt"), "from outside").unwrap();
    let grant = format!("{}::/data:ro", folder.path().display());
    let code = "import os
print(open('/data/in.txt').read())
for attempt in (lambda: open('/data/new', 'w'), lambda: open('/data/in.txt', 'a'),
                lambda: os.remove('/data/in.txt'), lambda: os.mkdir('/data/d')):
    try:
        attempt()
    except OSError:
        print('refused')
try:
    open('/data/../etc/passwd')
except OSError:
    print('not granted')";
    let stdout = format!("from outside\n{}not granted\n", "refused\n".repeat(4));
    expect(&["--dir", &grant, "-c", code], 0, &stdout, "");
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["in.txt"]);
}

#[test]
fn code_that_runs_too_long_is_stopped() {
    let output = run(&["--timeout", "20", "-c", "print('on', flush=True)\nwhile True: pass"], "");
    assert_eq!(text(&output.stdout), "on\n");
    // Python code is stopped by an exception, so it is told where it was.
    let expected = "error: the time limit of 20 s was reached
  Traceback (most recent call last):
    File \"<string>\", line 2, in <module>
      while True: pass
                  ^^^^
  eryx.Stopped: the embedder stopped this execution
";
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(124));
}

#[test]
fn code_that_wants_too_much_memory_gets_a_memory_error() {
    let output = run(&["--max-memory", "256M", "-c", "x = bytearray(1 << 30)"], "");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("\nMemoryError\nerror: the memory limit of 256 MiB was reached\n"), "{stderr}");
    let code = "try:\n    x = bytearray(1 << 30)\nexcept MemoryError:\n    print('goes on')";
    expect(&["--max-memory", "256M", "-c", code], 0, "goes on\n", "");
}
