//! The stub of a shared library: all that others link against, and none of what is behind it.

use eryx_build::wasm::{Symbols, stub};
use wasmparser::{Validator, WasmFeatures};

fn library(fields: &str) -> Vec<u8> {
    let dylink = r#"(@dylink.0 (mem-info (memory 64 4)) (needed "libc.so" "libvfs.so")
                     (export-info "spam" binding-weak))"#;
    wat::parse_str(format!("(module {dylink} {fields})")).unwrap()
}

const FIRST: &str = r#"
    (import "env" "malloc" (func $malloc (param i32) (result i32)))
    (import "env" "memory" (memory 1))
    (import "env" "__memory_base" (global i32))
    (global (export "Py_None") i32 (i32.const 16))
    (global (export "Py_True") i32 (i32.const 24))
    (func (export "spam") (param i32 f64) (result i32) (call $malloc (local.get 0)))
    (func (export "eggs") (result i64) i64.const 1)
    (data (global.get 0) "some data")"#;

/// The same symbols in another order, with other code, addresses and data behind them.
const SECOND: &str = r#"
    (import "env" "memory" (memory 1))
    (import "env" "__memory_base" (global i32))
    (func $inner (result i64) i64.const 7)
    (func (export "eggs") (result i64) (call $inner))
    (global (export "Py_True") i32 (i32.const 8))
    (global (export "Py_None") i32 (i32.const 0))
    (func (export "spam") (param i32 f64) (result i32) i32.const 0)
    (data (global.get 0) "other data, and more of it")"#;

#[test]
fn equal_symbols_give_equal_stubs() {
    let first = stub(&library(FIRST)).unwrap();
    assert_eq!(first, stub(&library(SECOND)).unwrap());
    assert_eq!(first, stub(&first).unwrap(), "a stub is its own stub");
    let other = SECOND.replace("(result i64) i64.const 7", "(result i32) i32.const 7");
    let other = other.replace("\"eggs\") (result i64)", "\"eggs\") (result i32)");
    assert_ne!(first, stub(&library(&other)).unwrap());
}

#[test]
fn a_stub_has_all_symbols_and_is_valid() {
    let module = library(FIRST);
    let stub = stub(&module).unwrap();
    let (whole, symbols) = (Symbols::read(&module).unwrap(), Symbols::read(&stub).unwrap());
    assert_eq!(symbols.exports, whole.exports);
    assert_eq!(symbols.needed, whole.needed);
    assert!(symbols.dylink && symbols.imports.is_empty() && symbols.foreign.is_empty());
    Validator::new_with_features(WasmFeatures::WASM2).validate_all(&stub).unwrap();
    assert!(export_flags(&stub).contains("\"spam\" binding-weak"), "{}", export_flags(&stub));
}

/// The flags of exports as text.
fn export_flags(module: &[u8]) -> String {
    use wasmparser::{Dylink0Subsection, KnownCustom, Parser, Payload, SymbolFlags};
    let mut text = String::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload.unwrap()
            && let KnownCustom::Dylink0(subsections) = section.as_known()
        {
            for subsection in subsections {
                if let Dylink0Subsection::ExportInfo(infos) = subsection.unwrap() {
                    for info in infos {
                        let weak = info.flags.contains(SymbolFlags::BINDING_WEAK);
                        text.push_str(&format!("{:?}{}", info.name, if weak { " binding-weak" } else { "" }));
                    }
                }
            }
        }
    }
    text
}

#[test]
fn what_is_no_library_has_no_stub() {
    let plain = wat::parse_str("(module (func (export \"f\")))").unwrap();
    let message = stub(&plain).unwrap_err().to_string();
    assert_eq!(message, "malformed WebAssembly module: it has no `dylink.0` section");
    let tag =
        library("(tag (export \"__cpp_exception\") (param i32)) (func (export \"f\") (param externref))");
    let expected = "cannot make a library of the symbols alone
  `__cpp_exception`: tag
  `f`: function (func (param externref))";
    assert_eq!(stub(&tag).unwrap_err().to_string(), expected);
}
