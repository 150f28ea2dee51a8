//! Faults that were found by using and attacking the tool, components, the embedder and the service, each with the test
//! that keeps it mended.
//!
//! `faults/table.txt` has a line for each: its name (A: in the guest, B: the build, D: the world `eryx-0.14`, E: attacks,
//! R: reading the code, H: what held), a file of tests, and a test in it. In a table of cases (`.toml`), it is the name of
//! one with underscores for its blanks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn table() -> BTreeMap<String, Vec<(String, String)>> {
    let text = fs::read_to_string(root().join("build/tests/faults/table.txt")).unwrap();
    let mut table = BTreeMap::<_, Vec<_>>::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [fault, file, test] = words[..] else { panic!("expected three words but found `{line}`") };
        table.entry(fault.to_owned()).or_default().push((file.to_owned(), test.to_owned()));
    }
    table
}

/// Nobody found an E8. Not mended: A2 and A17, numpy's default integer and floating-point errors; D5, a module for that
/// crate's own libraries, and D10, the name of the user's file.
const WITHOUT_TEST: [&str; 5] = ["A2", "A17", "D5", "D10", "E8"];

#[test]
fn every_fault_has_a_test() {
    let table = table();
    let numbered = |letter: char, last: u32| (1..=last).map(move |number| format!("{letter}{number}"));
    let all = [('A', 21), ('B', 19), ('D', 13), ('E', 15), ('R', 7)];
    let all = all.into_iter().flat_map(|(letter, last)| numbered(letter, last));
    let missing: Vec<String> =
        all.filter(|fault| !table.contains_key(fault) && !WITHOUT_TEST.contains(&fault.as_str())).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_test_of_the_table_is_there() {
    let mut missing = Vec::new();
    for (fault, tests) in table() {
        for (file, test) in tests {
            let text = fs::read_to_string(root().join(&file)).unwrap_or_default();
            let rust = text.find(&format!("fn {test}()")).is_some_and(|at| {
                let before = text[..at].trim_end().trim_end_matches("async").trim_end();
                before.ends_with("#[test]") || before.ends_with(']')
            });
            let python = text.contains(&format!("def {test}(self)"));
            let c = file.ends_with(".c") && text.contains(&format!("{test}(void)"));
            let case =
                file.ends_with(".toml") && text.contains(&format!("name = \"{}\"", test.replace('_', " ")));
            if !rust && !python && !c && !case {
                missing.push(format!("{fault}: {file} {test}"));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

/// Scripts are read byte for byte, so a checkout must have them as they are committed.
#[test]
fn a_checkout_has_line_feeds() {
    let attributes = fs::read_to_string(root().join(".gitattributes")).unwrap();
    assert!(attributes.lines().any(|line| line == "* text=auto eol=lf"), "{attributes}");
    for file in ["justfile", ".ci/setup", ".ci/run", ".ci/container", ".ci/debian", ".ci/workflows"] {
        assert!(!fs::read(root().join(file)).unwrap().contains(&b'\r'), "`{file}`");
    }
}
