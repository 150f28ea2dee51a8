//! Pre-initialising: what is printed meanwhile, by a small module that stands for Python.

use eryx_build::command::Log;
use eryx_build::preinit::{LIMIT, Prepared, Request, preinitialise};
use std::time::Duration;

use tempfile::TempDir;

/// A module that prints a line to standard output, one to standard error and one to standard output again, before it
/// does this.
fn module(then: &str) -> Vec<u8> {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "one\0atwo\0asix\0a")
        (func $print (param $fd i32) (param $at i32)
          (i32.store (i32.const 100) (local.get $at))
          (i32.store (i32.const 104) (i32.const 4))
          (drop (call $write (local.get $fd) (i32.const 100) (i32.const 1) (i32.const 108))))
        (func (export "_initialize"))
        (func (export "__eryx_preinitialise") (local $left i32)
          (call $print (i32.const 1) (i32.const 0))
          (call $print (i32.const 2) (i32.const 4))
          (call $print (i32.const 1) (i32.const 8))
          THEN))"#;
    wat::parse_str(text.replace("THEN", then)).unwrap()
}

fn log() -> (TempDir, Log) {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::create(&folder.path().join("component.log")).unwrap();
    (folder, log)
}

#[test]
fn what_is_printed_is_told_and_logged() {
    let (_folder, log) = log();
    let Prepared { module, printed } = preinitialise(&module(""), &Request::default(), LIMIT, &log).unwrap();
    assert_eq!(printed, "one\ntwo\nsix\n");
    assert_eq!(std::fs::read_to_string(log.path()).unwrap(), "$ pre-initialise\none\ntwo\nsix\n");
    wasmparser::validate(&module).unwrap();
}

#[test]
fn a_failure_tells_what_was_printed_before() {
    let (_folder, log) = log();
    let error = preinitialise(&module("unreachable"), &Request::default(), LIMIT, &log).unwrap_err();
    let expected = format!(
        "cannot pre-initialise
  one
  two
  six
  full log: `{}`
hint: `--import` and `--setup` choose what runs before the memory is saved; `--no-preinit` leaves it out",
        log.path().display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_never_ends_is_named() {
    let request = Request { imports: vec!["a".into(), "b.c".into()], setup: Some("x = 1".into()) };
    // Reads so many bytes of the request, one at a time, then goes on for ever.
    let stuck = |bytes: usize| {
        module(&format!(
            "(local.set $left (i32.const {bytes}))
             (i32.store (i32.const 100) (i32.const 200)) (i32.store (i32.const 104) (i32.const 1))
             (block $read (loop $next
               (br_if $read (i32.eqz (local.get $left)))
               (drop (call $read (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 108)))
               (local.set $left (i32.sub (local.get $left) (i32.const 1)))
               (br $next)))
             (loop $ever (br $ever))"
        ))
    };
    let part = |json: &str| format!("{} {json}", json.len()).len();
    let (first, second) = (part(r#"{"import":"a"}"#), part(r#"{"import":"b.c"}"#));
    for (read, doing) in [
        (0, "Python's start"),
        (1, "importing `a`"),
        (first, "importing `a`"),
        (first + 1, "importing `b.c`"),
        (first + second, "importing `b.c`"),
        (first + second + 1, "the set-up"),
        (1000, "the set-up"),
    ] {
        let (_folder, log) = log();
        let error = preinitialise(&stuck(read), &request, Duration::from_millis(300), &log).unwrap_err();
        let expected = format!(
            "cannot pre-initialise: {doing} took longer than 300 ms
  one
  two
  six
hint: `--import` and `--setup` choose what runs before the memory is saved; `--no-preinit` leaves it out"
        );
        assert_eq!(error.to_string(), expected);
    }
}
