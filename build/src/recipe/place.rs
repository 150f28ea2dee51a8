//! Places in a TOML text, and problems that are told with them.

use std::collections::BTreeMap;
use std::ops::Range;

/// Something wrong with a file that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    /// The file as the user named it.
    file: String,
    /// Line and column, both from 1; the column counts characters.
    at: (usize, usize),
    /// One sentence, lower case, without a full stop.
    message: String,
    /// Lines of advice.
    advice: Vec<String>,
}

impl Problem {
    /// Adds a line of advice.
    pub(super) fn advise(mut self, line: impl Into<String>) -> Self {
        self.advice.push(line.into());
        self
    }

    /// The lines that a person reads: `file:line:column: message`, then the advice, indented.
    pub(super) fn lines(&self) -> Vec<String> {
        let (line, column) = self.at;
        let mut lines = vec![format!("{}:{line}:{column}: {}", self.file, self.message)];
        lines.extend(self.advice.iter().map(|advice| format!("  {advice}")));
        lines
    }
}

/// The text of a file, and where each key and value of it stands.
///
/// A path is written as `build.env.NAME` or `source[1].sha256`. The place of a table's entry is its key's, the
/// place of a list's element its value's.
#[derive(Debug)]
pub(super) struct Document {
    file: String,
    text: String,
    places: BTreeMap<String, usize>,
}

impl Document {
    pub(super) fn new(file: impl Into<String>, text: impl Into<String>) -> Self {
        Self { file: file.into(), text: text.into(), places: BTreeMap::new() }
    }

    /// Notes where something stands.
    pub(super) fn note(&mut self, path: &str, span: &Range<usize>) {
        self.places.insert(path.to_owned(), span.start);
    }

    /// Whether something stands at this path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// A problem at a byte offset.
    pub(super) fn problem_at(&self, offset: usize, message: impl Into<String>) -> Problem {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        Problem { file: self.file.clone(), at: (line, column), message: message.into(), advice: Vec::new() }
    }

    /// A problem at a path, or where the nearest thing around it stands if it is not there itself.
    pub(super) fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let mut path = path;
        loop {
            if let Some(offset) = self.places.get(path) {
                return self.problem_at(*offset, message);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return self.problem_at(0, message),
            }
        }
    }
}

/// The member of `valid` nearest to `found`, if it is near enough to be a slip or is `found` with an end.
pub(super) fn nearest<'a>(found: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| {
        if found.len() >= 3 && candidate.starts_with(found) {
            return Some(1);
        }
        let distance = strsim::damerau_levenshtein(found, candidate);
        (distance <= 1.max(found.len().max(candidate.len()) / 3)).then_some(distance)
    };
    let near = valid.into_iter().filter_map(|candidate| Some((distance(candidate)?, candidate)));
    near.min().map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c`: each in backticks.
pub(super) fn ticked<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
