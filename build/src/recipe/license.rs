//! SPDX licence expressions (annex D of the SPDX specification), with a closed list of licences.
//!
//! The list is closed on purpose: a licence that no recipe had before is looked at by a person once.

use super::place::{Document, Problem, nearest};

/// The licences and exceptions that recipes may name.
const KNOWN: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "GPL-2.0-only",
    "HPND",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "PSF-2.0",
    "Python-2.0",
    "TCL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "blessing",
    "bzip2-1.0.6",
    "curl",
    "libpng-2.0",
];

/// What is wrong with the expression that stands at `path`.
pub(super) fn problem(document: &Document, path: &str, expression: &str) -> Option<Problem> {
    let (message, advice) = check(expression).err()?;
    let problem = document.problem(path, message);
    Some(match advice {
        Some(advice) => problem.advise(advice),
        None => problem,
    })
}

/// Whether a text is an expression of licences that we know.
#[must_use]
pub fn is_spdx(text: &str) -> bool {
    check(text).is_ok()
}

/// Checks an expression; the error is a sentence and perhaps a line of advice.
fn check(expression: &str) -> Result<(), (String, Option<String>)> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let mut depth = 0_usize;
    // Whether a licence, rather than an operator, must come next.
    let mut operand = true;
    while let Some(word) = words.next() {
        match (word, operand) {
            ("(", true) => depth += 1,
            (")", false) if depth > 0 => depth -= 1,
            ("AND" | "OR", false) => operand = true,
            ("AND" | "OR" | "WITH" | "(" | ")", _) => {
                return Err((format!("expected {} but found `{word}`", wanted(operand)), None));
            }
            (name, true) => {
                let mut name = name.to_owned();
                if words.peek() == Some(&"WITH") {
                    words.next();
                    name = format!("{name} WITH {}", words.next().unwrap_or_default());
                }
                if !KNOWN.contains(&name.as_str()) {
                    return Err((format!("unknown licence `{name}`"), advice(&name)));
                }
                operand = false;
            }
            (word, false) => return Err((format!("expected {} but found `{word}`", wanted(operand)), None)),
        }
    }
    if operand || depth > 0 {
        return Err((
            format!("expected {} but the expression ends", if operand { wanted(true) } else { "`)`" }),
            None,
        ));
    }
    Ok(())
}

/// Licences that may be meant: those of the family that the name is of, else one with a similar name.
fn advice(name: &str) -> Option<String> {
    let family = |known: &&&str| {
        let rest = known.get(..name.len()).filter(|begin| begin.eq_ignore_ascii_case(name));
        rest.is_some_and(|_| {
            known.get(name.len()..).is_some_and(|rest| rest.starts_with('-') || rest.is_empty())
        })
    };
    let family: Vec<_> = KNOWN.iter().filter(family).map(|known| format!("`{known}`")).collect();
    match family.as_slice() {
        [] => nearest(name, KNOWN.iter().copied()).map(|near| format!("did you mean `{near}`?")),
        [one] => Some(format!("did you mean {one}?")),
        more => Some(format!("did you mean one of {}?", more.join(", "))),
    }
}

fn wanted(operand: bool) -> &'static str {
    if operand { "a licence" } else { "`AND` or `OR`" }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn expressions_are_checked() {
        for good in ["MIT", "MIT OR Apache-2.0", "(0BSD AND MIT) OR Zlib", "Apache-2.0 WITH LLVM-exception"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "MIT OR", "MIT MIT", "(MIT", "MIT)", "OR MIT", "MIT WITH LLVM-exception", "mit", "()"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
        let (_, advice) = check("BSD-3-Clauze").unwrap_err();
        assert_eq!(advice.as_deref(), Some("did you mean `BSD-3-Clause`?"));
        for (name, expected) in [
            ("BSD", "did you mean one of `BSD-2-Clause`, `BSD-3-Clause`?"),
            ("Apache", "did you mean one of `Apache-2.0`, `Apache-2.0 WITH LLVM-exception`?"),
            ("mit", "did you mean one of `MIT`, `MIT-0`?"),
            ("PSF", "did you mean `PSF-2.0`?"),
            ("GPL", "did you mean `GPL-2.0-only`?"),
        ] {
            assert_eq!(check(name).unwrap_err().1.as_deref(), Some(expected), "{name}");
        }
    }
}
