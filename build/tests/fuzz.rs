//! Hostile input from outside: bytes for `restore-state`, text for `execute`. Whatever it is, the guest answers with
//! a value or an error text; it never traps, and a refused snapshot leaves the state as it was. And random programs do
//! in a prelinked component what they do in one whose libraries are bound at the start.
//!
//! The guest is wasm, so nothing here sees which of its code was reached; inputs are mutations of good ones, from a
//! random stream that `ERYX_FUZZ_SEED` chooses. `ERYX_FUZZ_ROUNDS` says how many (400 for each target if not given):
//! `ERYX_FUZZ_SEED=$RANDOM ERYX_FUZZ_ROUNDS=100000 just test --test fuzz` looks on. What went wrong is kept in
//! `target/fuzz/`.
#![cfg(feature = "e2e")]

mod bundled;
#[path = "fuzz/programs.rs"]
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use bundled::{bundle, checkout};
use eryx_build::layout::Layout;
use eryx_embed::{Embedder, Error, Image, Limits, Output, Session, SessionOptions};

/// Sessions whose snapshots are mutated.
const STATES: &[&str] = &[
    "a = [1, 2.5, 'text', None, True, b'bytes', {'k': (1, 2)}, {3, 4}]; a.append(a)",
    "import math, json as j\ndef f(x, *, y=[1]): return math.sqrt(x) + len(y)\ng = lambda: f(4)\nh = f.__code__",
    "import dataclasses, enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\n@dataclasses.dataclass\nclass D:\n    x: int = 0\n    \
     e: E = E.A\nclass S(D): pass\nd = [D(1), S(2, E.B)]",
    "def outer(n):\n    def inner(m): return m if m == 0 else inner(m - 1) + n\n    return inner\nclosure = outer(3)",
    "import numpy as np\nx = np.arange(24.0).reshape(2, 3, 4)\ny = x[0]\nz = np.array(['a', None], dtype=object)",
    "import pydantic, datetime, decimal\nclass M(pydantic.BaseModel):\n    n: int\n    t: datetime.date\n\
     m = M(n=1, t='2026-01-02')\nd = decimal.Decimal('1.5')",
];

/// Pieces of programs; none loops for ever or ends the process.
const PIECES: &[&str] = &[
    "x = 1\n",
    "def f(a, b=2, *c, **d):\n    return a\n",
    "f(1)",
    "print(x)\n",
    "await ",
    "async def g():\n    yield 1\n",
    "lambda: 0",
    "class C:\n    x = property(lambda self: 1 / 0)\n",
    "C().x\n",
    "try:\n    1 / 0\nexcept* ValueError:\n    pass\n",
    "f'{x!r:>{10}}'",
    "'''",
    "\"",
    "\\",
    "\n    ",
    "\t",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ":",
    ":=",
    "@",
    "0x",
    "1_000",
    "1e999",
    "0",
    "é",
    "\u{0}",
    "\u{feff}",
    "\u{10ffff}",
    "\r",
    "match x:\n    case {'a': [*_]}:\n        pass\n",
    "del x\n",
    "global x\n",
    "import json, re\n",
    "re.compile('(a*)*$').match('aaaa')\n",
    "json.loads('[' * 9000)\n",
    "[",
    "raise SystemExit('bye')\n",
    "raise KeyboardInterrupt\n",
    "x = x, x\n",
    "type X[T] = list[T]\n",
    "with open('/tmp/f', 'w') as f: f.write('x')\n",
    "import sys; sys.stdout.write(1)\n",
    "sys.stdout = None\n",
    "print('\\ud800')\n",
    "__builtins__ = {}\n",
    "del __builtins__\n",
    "eval('x')",
    "exec('y = 1')\n",
    "globals().clear()\n",
    "sys.setrecursionlimit(60)\n",
    "import asyncio\n",
    "await asyncio.sleep(0)\n",
    "asyncio.run(asyncio.sleep(0))\n",
    "sys.modules.clear()\n",
    "import _eryx_session\n",
];

/// What the component holds.
const PACKAGES: [&str; 2] = ["numpy", "pydantic"];

/// The random stream of one target: xorshift64*.
struct Random(u64);

impl Random {
    fn new(target: u64) -> Self {
        Self(number("ERYX_FUZZ_SEED", 0x9e37_79b9_7f4a_7c15) ^ target)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 1).unwrap() % end
    }

    /// A range of places in something of this length.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = (length - start).min(64);
        start..start + self.below(most + 1)
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

fn rounds() -> u64 {
    number("ERYX_FUZZ_ROUNDS", 400)
}

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let component =
            std::env::var_os("ERYX_E2E_COMPONENT").map_or_else(|| bundle(PACKAGES), PathBuf::from);
        load(&component)
    })
}

fn load(component: &Path) -> Image {
    Embedder::new(Some(&Layout::cache_folder().unwrap())).unwrap().load(component).unwrap()
}

fn session() -> Session {
    session_of(image())
}

fn session_of(image: &Image) -> Session {
    let limits = Limits::default()
        .timeout(Some(Duration::from_secs(20)))
        .stop_native_code(true)
        .max_memory(Some(1 << 30));
    let options = SessionOptions::default().limits(limits).stdout(Output::Capture).stderr(Output::Capture);
    image.session(options).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Keeps an input that broke a promise, and says which.
fn broken(target: &str, input: &[u8], how: &str) -> ! {
    let folder = checkout().join("target/fuzz");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{target}-{}", &eryx_build::digest::Digest::of(input).short()));
    fs::write(&path, input).unwrap();
    panic!("{how}\nthe input is kept in `{}`", path.display())
}

fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let place = random.range(bytes.len());
        match random.below(7) {
            0 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            1 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] = u8::try_from(random.below(256)).unwrap();
            }
            2 => drop(bytes.drain(place)),
            3 => {
                let copy = bytes[place.clone()].to_vec();
                bytes.splice(place.start..place.start, copy);
            }
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.range(other.len());
                bytes.splice(place, other[from].iter().copied());
            }
            5 => {
                let wide = [0_u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX][random.below(5)];
                bytes.splice(place, wide.to_le_bytes());
            }
            _ => bytes.truncate(place.end),
        }
    }
    bytes
}

#[test]
fn a_snapshot_from_anywhere_is_restored_or_refused() {
    let mut random = Random::new(1);
    let mut guest = session();
    let mut seeds = vec![Vec::new(), b"\x80\x05N.".to_vec()];
    for state in STATES {
        guest.clear_state().unwrap();
        // A component without packages has fewer states.
        if guest.execute(state).is_ok() {
            seeds.push(guest.snapshot_state().unwrap());
        }
    }
    assert!(seeds.len() >= 6, "{}", seeds.len());
    let mut refused = 0;
    let kept = "kept = ['a state']";
    guest.clear_state().unwrap();
    guest.execute(kept).unwrap();
    for _ in 0..rounds() {
        let input = mutated(&mut random, &seeds);
        match guest.restore_state(&input) {
            Err(Error::Refused(told)) => {
                refused += 1;
                if told.is_empty() {
                    broken("restore", &input, "it was refused without a word");
                }
                match guest.execute("print(kept)") {
                    Ok(printed) if printed == "['a state']\n" => {}
                    other => broken("restore", &input, &format!("the state is not what it was: {other:?}")),
                }
            }
            Ok(()) => {
                if guest.clear_state().is_err() || guest.execute(kept).is_err() {
                    broken("restore", &input, "the session cannot be used any more");
                }
            }
            Err(failure) => broken("restore", &input, &format!("{failure}")),
        }
    }
    assert!(refused > 0, "no mutation was refused");
}

#[test]
fn code_of_any_shape_runs_or_raises() {
    let mut random = Random::new(2);
    let mut guest = session();
    let mut raised = 0;
    for _ in 0..rounds() {
        let mut code = String::new();
        for _ in 0..=random.below(7) {
            code.push_str(PIECES[random.below(PIECES.len())]);
        }
        if random.below(4) == 0 && !code.is_empty() {
            let cut = random.below(code.len());
            code.truncate((0..=cut).rev().find(|at| code.is_char_boundary(*at)).unwrap_or(0));
        }
        match guest.execute(&code) {
            Ok(_) => {}
            Err(Error::Raised(traceback)) => {
                raised += 1;
                if traceback.is_empty() {
                    broken("execute", code.as_bytes(), "it raised without a word");
                }
            }
            Err(failure) if survivable(&failure) => guest = session(),
            Err(failure) => broken("execute", code.as_bytes(), &format!("{failure}")),
        }
        // Code may spoil its own interpreter (`sys.modules.clear()`), so each tenth input gets a new one.
        if random.below(10) == 0 {
            guest = session();
        }
    }
    assert!(raised > 0, "nothing raised");
}

#[test]
fn prelinking_changes_no_result() {
    let mut random = Random::new(3);
    let unlinked = load(&bundle(["--no-prelink"].iter().chain(&PACKAGES)));
    let start = || [session(), session_of(&unlinked)];
    let mut guests = start();
    let (mut printed, mut raised) = (0, 0);
    for _ in 0..rounds() {
        let code = programs::program(&mut random);
        match guests.each_mut().map(|guest| guest.execute(&code)) {
            [first, second] if first != second && is_answer(&first) && is_answer(&second) => {
                let how = format!("prelinked it gives\n{first:?}\nand otherwise\n{second:?}");
                broken("prelink", code.as_bytes(), &how)
            }
            [Ok(_), _] => printed += 1,
            [Err(Error::Raised(_)), _] => raised += 1,
            // They may come to the limits of time and memory at different places.
            [Err(failure), _] if survivable(&failure) => {
                guests = start();
                continue;
            }
            [Err(failure), _] => broken("prelink", code.as_bytes(), &format!("{failure}")),
        }
        for guest in &mut guests {
            guest.clear_state().unwrap();
        }
    }
    assert!(printed > raised && raised > 0, "{printed} programs printed, {raised} raised");
}

/// Limits that the embedder set are no fault of the guest's.
fn survivable(failure: &Error) -> bool {
    matches!(failure.cause(), Error::TimeLimit { .. } | Error::MemoryLimit { .. })
}

/// What the code itself has decided.
fn is_answer(outcome: &Result<String, Error>) -> bool {
    matches!(outcome, Ok(_) | Err(Error::Raised(_)))
}
