//! Pre-initialising: what is printed meanwhile, by a small module that stands for Python.

use eryx_build::command::Log;
use eryx_build::preinit::{Prepared, Request, preinitialise};
use tempfile::TempDir;

/// A module that prints a line to standard output, one to standard error and one to standard output again, before it
/// does this.
fn module(then: &str) -> Vec<u8> {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "one\0atwo\0asix\0a")
        (func $print (param $fd i32) (param $at i32)
          (i32.store (i32.const 100) (local.get $at))
          (i32.store (i32.const 104) (i32.const 4))
          (drop (call $write (local.get $fd) (i32.const 100) (i32.const 1) (i32.const 108))))
        (func (export "_initialize"))
        (func (export "__eryx_preinitialise")
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
    let Prepared { module, printed } = preinitialise(&module(""), &Request::default(), &log).unwrap();
    assert_eq!(printed, "one\ntwo\nsix\n");
    assert_eq!(std::fs::read_to_string(log.path()).unwrap(), "$ pre-initialise\none\ntwo\nsix\n");
    wasmparser::validate(&module).unwrap();
}

#[test]
fn a_failure_tells_what_was_printed_before() {
    let (_folder, log) = log();
    let error = preinitialise(&module("unreachable"), &Request::default(), &log).unwrap_err();
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
