//! Trying every bundled package in the component.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use eryx_embed::Session;

/// What a bundled package promises.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name, for messages.
    pub name: String,
    /// The modules that must be importable, such as `numpy.linalg`.
    #[serde(default)]
    pub imports: Vec<String>,
    /// Python code that must end without an error.
    #[serde(default)]
    pub smoke: Option<String>,
}

/// How a package fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageReport {
    /// Its name.
    pub name: String,
    /// What failed, with tracebacks; empty when all is well.
    pub problems: Vec<String>,
}

/// How code failed.
pub(super) enum Failed {
    /// It raised; the traceback.
    Raised(String),
    /// The instance ended.
    Ended(Error),
}

/// What runs Python code; in production a [`Session`].
pub(super) trait Interpreter {
    fn execute(&mut self, code: &str) -> Result<(), Failed>;
    fn clear(&mut self) -> Result<(), Error>;
}

impl Interpreter for Session {
    fn execute(&mut self, code: &str) -> Result<(), Failed> {
        Session::execute(self, code).map(drop).map_err(|error| match error {
            eryx_embed::Error::Raised(traceback) => Failed::Raised(traceback),
            error => Failed::Ended(error.into()),
        })
    }

    fn clear(&mut self) -> Result<(), Error> {
        Ok(self.clear_state()?)
    }
}

/// Tries all packages one after the other. They share an instance, since starting one takes longer
/// than most imports, and its globals are forgotten in between; a trap costs it, and `start` makes
/// the next.
pub(super) fn try_all<I: Interpreter>(
    first: I,
    start: impl Fn() -> Result<I, Error>,
    packages: &[Package],
) -> Vec<PackageReport> {
    let mut interpreter = Some(first);
    let mut reports = Vec::new();
    for package in packages {
        let mut problems = Vec::new();
        for (label, code) in attempts(package, &mut problems) {
            let mut current = match interpreter.take().map_or_else(&start, Ok) {
                Ok(current) => current,
                Err(error) => {
                    problems.push(format!("{label}: {error}"));
                    continue;
                }
            };
            match current.execute(&code) {
                Ok(()) => interpreter = Some(current),
                Err(Failed::Raised(traceback)) => {
                    problems.push(format!("{label} failed\n{}", traceback.trim_end()));
                    interpreter = Some(current);
                }
                Err(Failed::Ended(error)) => problems.push(format!("{label}: {error}")),
            }
        }
        if let Some(current) = &mut interpreter
            && let Err(error) = current.clear()
        {
            problems.push(format!("clearing the session afterwards: {error}"));
            interpreter = None;
        }
        reports.push(PackageReport { name: package.name.clone(), problems });
    }
    reports
}

/// The pieces of code to run for a package, each with what it is called in messages.
fn attempts(package: &Package, problems: &mut Vec<String>) -> Vec<(String, String)> {
    let mut attempts = Vec::new();
    for module in &package.imports {
        // What is no module name would be other code.
        if module.split('.').all(is_identifier) {
            attempts.push((format!("`import {module}`"), format!("import {module}\n")));
        } else {
            problems.push(format!("expected a module name but found `{module}`"));
        }
    }
    if let Some(smoke) = &package.smoke {
        attempts.push(("the smoke test".to_owned(), smoke.clone()));
    }
    attempts
}

fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first == '_' || first.is_alphabetic())
        && chars.all(|c| c == '_' || c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails on `import bad`, traps on `trap`, and answers everything else.
    struct Fake;

    impl Interpreter for Fake {
        fn execute(&mut self, code: &str) -> Result<(), Failed> {
            match code.trim_end() {
                "import bad" => Err(Failed::Raised("Traceback\nImportError: bad\n".to_owned())),
                "trap" => Err(Failed::Ended(Error::new("the guest trapped: x"))),
                _ => Ok(()),
            }
        }

        fn clear(&mut self) -> Result<(), Error> {
            Ok(())
        }
    }

    fn package(name: &str, imports: &[&str], smoke: Option<&str>) -> Package {
        Package {
            name: name.to_owned(),
            imports: imports.iter().map(|&module| module.to_owned()).collect(),
            smoke: smoke.map(str::to_owned),
        }
    }

    #[test]
    fn every_failure_is_told_and_a_trap_does_not_end_it() {
        let packages = [
            package("a", &["bad", "good", "x; y"], None),
            package("b", &["good"], Some("trap")),
            package("c", &["good.one"], Some("pass")),
        ];
        let starts = std::cell::Cell::new(0);
        let start = || {
            starts.set(starts.get() + 1);
            Ok(Fake)
        };
        let reports = try_all(Fake, start, &packages);
        assert_eq!(starts.get(), 1);
        let problems: Vec<_> = reports.iter().map(|report| report.problems.clone()).collect();
        assert_eq!(
            problems,
            [
                vec![
                    "expected a module name but found `x; y`".to_owned(),
                    "`import bad` failed\nTraceback\nImportError: bad".to_owned(),
                ],
                vec!["the smoke test: the guest trapped: x".to_owned()],
                vec![],
            ]
        );
    }

    #[test]
    fn an_instance_that_cannot_be_made_again_is_told() {
        let packages = [package("a", &[], Some("trap")), package("b", &["good"], None)];
        let reports = try_all(Fake, || Err(Error::new("no more")), &packages);
        assert_eq!(reports[1].problems, ["`import good`: no more"]);
    }
}
