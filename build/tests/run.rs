//! The verb `run`, with a small guest that stands for Python (`embed/tests/fixtures/fake_guest.wat`).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use eryx_build::run::{Code, ExitStatus, RunOptions, run};
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

#[test]
fn run_has_the_status_of_python() {
    let setup = setup();
    let status = |code: &str, timeout, max_memory| {
        run(&RunOptions {
            component: setup.component.clone(),
            cache: Some(setup.dir.path().join("cache")),
            code: Code::Text(code.to_owned()),
            timeout,
            max_memory,
            ..RunOptions::default()
        })
        .unwrap()
    };
    let short = Some(Duration::from_millis(50));
    assert_eq!(status("o", None, None), ExitStatus::SUCCESS);
    assert_eq!(status("e Traceback", None, None), ExitStatus::RAISED);
    assert_eq!(status("e SystemExit: 259", None, None), ExitStatus(3));
    assert_eq!(status("t", None, None), ExitStatus::TRAPPED);
    assert_eq!(status("r", None, None), ExitStatus::STACK);
    assert_eq!(status("l", short, None), ExitStatus::TIME_LIMIT);
    assert_eq!(status("m", None, Some(8 << 20)), ExitStatus::MEMORY_LIMIT);
    assert_eq!(status("M", None, Some(8 << 20)), ExitStatus::RAISED);
}

#[test]
fn run_refuses_what_it_cannot_read_or_grant() {
    let setup = setup();
    let mut options = RunOptions {
        component: setup.component.clone(),
        code: Code::File(setup.dir.path().join("none.py")),
        ..RunOptions::default()
    };
    let error = run(&options).unwrap_err();
    assert!(error.message().starts_with("cannot read `") && error.message().contains("none.py"), "{error}");
    options.code = Code::Text("o".to_owned());
    options.grants = vec!["/nonexistent::/data".parse::<Grant>().unwrap()];
    let error = run(&options).unwrap_err();
    assert_eq!(error.to_string(), "1 directory cannot be granted\n  `/nonexistent`: does not exist");
}
