//! Random programs that end, and print the same whenever they run: no addresses, no hashes of strings.

use std::fmt::Write as _;

use super::Random;

/// Expressions without others in them; `{i}` is the variable of the innermost loop.
const LEAVES: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "{i}",
    "0",
    "1",
    "-7",
    "255",
    "10**20",
    "2.5",
    "-0.0",
    "1e300",
    "float('nan')",
    "3+4j",
    "True",
    "None",
    "''",
    "'text'",
    "'\u{e4}\\u20ac'",
    "b'by\\xfftes'",
    "()",
    "[]",
    "{}",
    "[3, 1, 2]",
    "(1, 'x')",
    "{'k': 1}",
    "{1, 2}",
    "range(5)",
    "slice(1, None)",
    "Exception('e')",
    "int",
    "dict",
    "print",
];

/// Expressions of two others.
const BRANCHES: &[&str] = &[
    "({0} + {1})",
    "({0} - {1})",
    "({0} * {1})",
    "({0} // {1})",
    "({0} % {1})",
    "({0} / {1})",
    "({0} < {1})",
    "({0} == {1})",
    "({0} and {1})",
    "({0} or not {1})",
    "({0} & {1})",
    "({0} << 3)",
    "[{0}, {1}]",
    "({0}, {1})",
    "{{'p': {0}, 'q': {1}}}",
    "({0} if {1} else a)",
    "{0}[{1}]",
    "{0}[1:]",
    "len({0})",
    "repr({0})",
    "str({0})[:{1}]",
    "sorted({0}, key=str)",
    "list(map(str, {0}))",
    "sum({0}, {1})",
    "max({0}, {1}, key=repr)",
    "f'{{{0}!r:>12}}|{{{1}}}'",
    "'%s %r' % ({0}, {1})",
    "str({0}).encode()",
    "[x for x in {0} if x != {1}]",
    "{{str(x): {1} for x in {0}}}",
    "(lambda x, y={1}: (x, y))({0})",
    "json.dumps({0}, default=str)",
    "json.loads(json.dumps({0}))",
    "pickle.loads(pickle.dumps({0}))",
    "copy.deepcopy({0})",
    "re.findall('[a-z0-9]', str({0}))",
    "re.sub('(.)', r'\\1\\1', repr({0}))",
    "struct.pack('<qd', {0}, {1})",
    "zlib.crc32(repr({0}).encode())",
    "hashlib.sha256(repr({0}).encode()).hexdigest()",
    "decimal.Decimal(str({0})) / 3",
    "fractions.Fraction({0})",
    "math.sqrt({0})",
    "math.fsum([{0}, {1}])",
    "cmath.exp({0})",
    "round({0}, 2)",
    "divmod({0}, {1})",
    "pow({0}, {1}, 97)",
    "int(str({0}), 16)",
    "complex({0}, {1})",
    "collections.Counter(str({0})).most_common(2)",
    "textwrap.fill(repr({0}), 9)",
    "list(itertools.islice(itertools.cycle({0}), 4))",
    "functools.reduce(lambda x, y: (y, x), {0}, {1})",
    "unicodedata.normalize('NFD', str({0}))",
    "datetime.timedelta(seconds={0}) * 2",
    "bisect.bisect([1, 2, 3], {0})",
    "base64.b85encode(repr({0}).encode())",
    "zlib.decompress(zlib.compress(repr({0}).encode(), 9))",
    "np.array({0}).tolist()",
    "np.arange(6.0).reshape(2, 3) @ np.full((3, 2), {0})",
    "np.sin(np.array([{0}, {1}], float))",
    "np.linalg.solve([[2.0, 1], [1, 3]], [{0}, {1}])",
    "np.sort(np.array([{0}, {1}, 0]))",
    "np.fft.fft([{0}, {1}, 1, 2])",
    "np.random.default_rng(5).normal({0}, 1, 3)",
    "Model(n={0}, t={1})",
    "Model(n=1, t=str({0})).model_dump_json()",
    "next(generate({0}))",
    "list(generate({0}))",
    "Point({0}, {1})",
];

/// Statements; `{0}` and `{1}` are expressions, `{v}` a variable, `{body}` more statements.
const STATEMENTS: &[&str] = &[
    "{v} = {0}",
    "{v} = {0}",
    "{v} = {0}",
    "{v} += {0}",
    "print({0})",
    "print(type({0}).__name__, {1})",
    "for {i} in range(3):{body}",
    "for {i} in list({0})[:3]:{body}",
    "if {0}:{body}",
    "try:{body}\nexcept Exception as e:\n print(type(e).__name__, e)",
    "try:{body}\nfinally:\n print('finally')",
    "with contextlib.suppress(TypeError, ValueError):{body}",
    "def f({v}, *rest):{body}\n return {v}, rest\n{v} = f({0}, {1})",
    "match {0}:\n case [x, *_] | (x, *_):\n  print('list', x)\n case {{'k': x}}:\n  print('dict', x)\n case _:\n  print('other')",
    "assert {0}, {1}",
    "del {v}; {v} = 0",
    "a, *b = {0}, {1}",
    "global g; g = {0}",
];

/// What programs use.
const PRELUDE: &str = "
import base64, bisect, cmath, collections, contextlib, copy, dataclasses, datetime, decimal, fractions, functools
import hashlib, itertools, json, math, pickle, re, struct, textwrap, unicodedata, zlib
import numpy as np, pydantic
class Model(pydantic.BaseModel):
    n: int
    t: str = ''
@dataclasses.dataclass(order=True)
class Point:
    x: object
    y: object = None
def generate(value):
    for item in value:
        yield item, (yield)
a, b, c, d, i = 1, 'b', [1, 2], {'k': 2.0}, 0
";

/// A program; most print something, some raise.
pub fn program(random: &mut Random) -> String {
    let mut code = PRELUDE.to_owned();
    for _ in 0..=random.below(4) {
        code.push_str("try:\n");
        block(random, &mut code, 1, 2);
        code.push_str("except Exception as e:\n print(type(e).__name__, e)\n");
    }
    code.push_str("print(a, b, c, d)\n");
    code
}

fn block(random: &mut Random, code: &mut String, indent: usize, depth: usize) {
    for _ in 0..=random.below(3) {
        let chosen = STATEMENTS[random.below(STATEMENTS.len())];
        // Inside of others, only plain statements at the end.
        let statement = if depth == 0 && chosen.contains("{body}") { STATEMENTS[0] } else { chosen };
        let mut body = String::new();
        if statement.contains("{body}") {
            block(random, &mut body, indent + 1, depth - 1);
        }
        let variable = ["a", "b", "c", "d"][random.below(4)];
        let text = statement
            .replace("{0}", &expression(random, 2))
            .replace("{1}", &expression(random, 1))
            .replace("{v}", variable)
            .replace("{i}", "i")
            .replace("{{", "{")
            .replace("}}", "}");
        for line in text.lines() {
            let (head, has_body) = line.strip_suffix("{body}").map_or((line, false), |head| (head, true));
            let _ = writeln!(code, "{:indent$}{head}", "");
            if has_body {
                code.push_str(&body);
            }
        }
    }
}

fn expression(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.below(3) == 0 {
        return LEAVES[random.below(LEAVES.len())].to_owned();
    }
    let branch = BRANCHES[random.below(BRANCHES.len())];
    branch.replace("{0}", &expression(random, depth - 1)).replace("{1}", &expression(random, depth - 1))
}
