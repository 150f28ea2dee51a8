//! The verb `run`, with a small guest that stands for Python (`embed/tests/fixtures/fake_guest.wat`).

use std::fs;
use std::path::PathBuf;

use eryx_build::run::{Program, PythonArguments, RunOptions, run};
use eryx_embed::Grant;
use tempfile::TempDir;

struct Setup {
    dir: TempDir,
    component: PathBuf,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let component = dir.path().join("fake.wasm");
    let text = include_str!("../../embed/tests/fixtures/fake_guest.wat");
    fs::write(&component, wat::parse_str(text).unwrap()).unwrap();
    Setup { dir, component }
}

fn program(program: Program) -> PythonArguments {
    PythonArguments { program, ..PythonArguments::default() }
}

#[test]
fn run_refuses_what_it_cannot_read_or_grant() {
    let setup = setup();
    let mut options = RunOptions {
        component: setup.component.clone(),
        python: program(Program::File(setup.dir.path().join("none.py"))),
        ..RunOptions::default()
    };
    let error = run(&options).unwrap_err();
    assert!(error.message().starts_with("cannot read `") && error.message().contains("none.py"), "{error}");
    options.python = program(Program::Code("o".to_owned()));
    options.grants = vec!["/nonexistent::/data".parse::<Grant>().unwrap()];
    let error = run(&options).unwrap_err();
    assert_eq!(error.to_string(), "1 directory cannot be granted\n  `/nonexistent`: does not exist");
}
