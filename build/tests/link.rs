//! The link: what it refuses, to the letter, and the smallest component that it makes.

mod linking;

use eryx_build::error::Result;
use eryx_build::link::{Library, Linkage, Role};
use linking::{WIT, WORLD, answer, extension, libc, library, runtime, shared};
use wasmparser::{Validator, WasmFeatures};

const HINT: &str =
    "hint: a missing function usually means a missing `requires.host` library or a feature to switch off";

fn link(libraries: &[Library], wit: &str, world: &str) -> Result<Vec<u8>> {
    Linkage::new(libraries.to_vec(), wit, world)?.dynamic()
}

fn refused(libraries: &[Library]) -> String {
    link(libraries, WIT, WORLD).unwrap_err().to_string()
}

/// The problems of the given libraries beside a sound C library and runtime.
fn problems(more: Vec<Library>) -> String {
    let mut libraries = vec![libc(), runtime()];
    libraries.extend(more);
    refused(&libraries)
}

#[test]
fn the_smallest_component_runs() {
    let module = "(import \"env\" \"malloc\" (func (param i32) (result i32)))
                  (func (export \"PyInit_spam\") (result i32) i32.const 0)";
    let libraries = [libc(), runtime(), extension("/lib/spam.so", module)];
    let component = link(&libraries, WIT, WORLD).unwrap();
    assert_eq!(component, link(&libraries, WIT, WORLD).unwrap(), "the same bytes for the same libraries");

    let features = WasmFeatures::default() | WasmFeatures::COMPONENT_MODEL;
    Validator::new_with_features(features).validate_all(&component).unwrap();

    assert_eq!(answer(&component), 42);
}

#[test]
fn a_module_that_is_no_shared_library_is_refused() {
    let plain = library("libplain.so", Role::Shared, "(module (func (export \"f\")))");
    let found = problems(vec![plain]);
    let expected =
        "cannot link: 1 symbol problem\n  `libplain.so` is no shared library: it has no `dylink.0` section";
    assert_eq!(found, format!("{expected}\n{HINT}"));
}

#[test]
fn bytes_that_are_no_module_are_refused() {
    let garbage = Library { name: "libbad.so".to_owned(), module: b"\x7fELF".to_vec(), role: Role::Shared };
    let found = problems(vec![garbage]);
    let expected =
        "these libraries cannot be linked\n  `libbad.so`: it is compiled for another machine (ELF)\nhint: ";
    assert!(found.starts_with(expected), "{found}");
}

#[test]
fn an_unresolved_symbol_is_named_with_its_type_and_who_needs_it() {
    let needy = shared("libneedy.so", "", r#"(import "env" "sin" (func (param f64) (result f64)))"#);
    let found = problems(vec![needy]);
    let expected = "cannot link: 1 symbol problem\n  `libneedy.so` needs `sin` (function (func (param f64) (result f64)))";
    assert_eq!(found, format!("{expected}\n{HINT}"));
}

#[test]
fn an_unresolved_address_of_data_is_refused() {
    let needy = shared("libneedy.so", "", r#"(import "GOT.mem" "environ" (global (mut i32)))"#);
    let found = problems(vec![needy]);
    assert_eq!(
        found,
        format!("cannot link: 1 symbol problem\n  `libneedy.so` needs `environ` (data)\n{HINT}")
    );
}

#[test]
fn a_weak_symbol_may_be_missing() {
    let needy = shared(
        "libneedy.so",
        "(import-info \"env\" \"maybe\" binding-weak)",
        r#"(import "env" "maybe" (func))"#,
    );
    link(&[libc(), runtime(), needy], WIT, WORLD).unwrap();
}

#[test]
fn a_symbol_of_two_libraries_is_refused() {
    let one = shared("libone.so", "", r#"(func (export "crc32") (param i32) (result i32) unreachable)"#);
    let other = shared("libother.so", "", r#"(func (export "crc32") (result i32) unreachable)"#);
    let expected = "cannot link: 1 symbol problem\n  `crc32` is exported by `libone.so` \
                    (function (func (param i32) (result i32))) and `libother.so` (function (func (result i32)))";
    assert_eq!(problems(vec![one, other]), format!("{expected}\n{HINT}"));
}

#[test]
fn a_function_called_with_another_type_is_refused() {
    let one = shared("libone.so", "", r#"(func (export "crc32") (param i32) (result i32) unreachable)"#);
    let other = shared("libother.so", "", r#"(import "env" "crc32" (func (param i64) (result i32)))"#);
    let expected = "cannot link: 1 symbol problem\n  `libother.so` needs `crc32` as \
                    function (func (param i64) (result i32)) but `libone.so` exports it as \
                    function (func (param i32) (result i32))";
    assert_eq!(problems(vec![one, other]), format!("{expected}\n{HINT}"));
}

#[test]
fn a_function_used_as_data_is_refused() {
    let one = shared("libone.so", "", r#"(func (export "table"))"#);
    let other = shared("libother.so", "", r#"(import "GOT.mem" "table" (global (mut i32)))"#);
    let expected = "cannot link: 1 symbol problem\n  `libother.so` needs `table` as data but \
                    `libone.so` exports it as function (func)";
    assert_eq!(problems(vec![one, other]), format!("{expected}\n{HINT}"));
}

#[test]
fn what_extensions_export_besides_their_init_function_no_other_library_sees() {
    let module = |name: &str| {
        let fields = format!(
            r#"(func (export "PyInit_{name}") (result i32) i32.const 0) (func (export "helper"))
               (func (export "__wasm_call_ctors"))"#
        );
        extension(&format!("/lib/{name}.so"), &fields)
    };
    link(&[libc(), runtime(), module("spam"), module("ham")], WIT, WORLD).unwrap();
    let needy = shared("libneedy.so", "", r#"(import "env" "helper" (func))"#);
    let expected = "cannot link: 1 symbol problem\n  `libneedy.so` needs `helper` (function (func))";
    assert_eq!(problems(vec![module("spam"), needy]), format!("{expected}\n{HINT}"));
}

/// Whatever a wheel may hold instead of a library.
#[test]
fn files_that_are_no_valid_module_are_refused_together() {
    let made = |name: &str, module: &[u8]| Library {
        name: name.to_owned(),
        module: module.to_vec(),
        role: Role::Extension,
    };
    // An export of a function that there is not, which only validation finds.
    let mut invalid =
        wat::parse_str(r#"(module (@dylink.0 (mem-info)) (func) (export "PyInit_x" (func 0)))"#).unwrap();
    let at = invalid.windows(8).position(|bytes| bytes == b"PyInit_x").unwrap() + 9;
    invalid[at] = 77;
    let libraries = [
        libc(),
        runtime(),
        made("/lib/elf.so", b"\x7fELF\x02\x01\x01"),
        made("/lib/text.so", b"INPUT(libx.so.1)"),
        made("/lib/empty.so", b""),
        made("/lib/short.so", b"\0asm"),
        made("/lib/index.so", &invalid),
    ];
    let error = link(&libraries, WIT, WORLD).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[0], "these libraries cannot be linked");
    assert_eq!(lines[1], "  `/lib/elf.so`: it is compiled for another machine (ELF)");
    assert_eq!(lines[2], "  `/lib/text.so`: it is no WebAssembly module");
    assert_eq!(lines[3], "  `/lib/empty.so`: it is no WebAssembly module");
    assert!(lines[4].starts_with("  `/lib/short.so`: the library is not valid: "), "{error}");
    assert!(
        lines[5].starts_with("  `/lib/index.so`: the library is not valid: unknown function 77"),
        "{error}"
    );
    assert!(lines[6].starts_with("hint: "), "{error}");
}

#[test]
fn a_library_that_is_needed_and_not_there_is_named() {
    let needy = shared("libneedy.so", "(needed \"libc.so\" \"libblas.so\")", "");
    let expected = "cannot link: 1 symbol problem\n  `libneedy.so` needs library `libblas.so`, which is \
                    not part of the link";
    assert_eq!(problems(vec![needy]), format!("{expected}\n{HINT}"));
}

#[test]
fn all_problems_are_told_together() {
    let one = shared("libone.so", "", r#"(import "env" "gone" (func)) (func (export "f"))"#);
    let other = shared("libother.so", "(needed \"libnone.so\")", r#"(func (export "f"))"#);
    let module =
        extension("/lib/spam.so", r#"(func (export "PyInit_spam") unreachable) (func (export "g"))"#);
    let plain = library("libplain.so", Role::Shared, "(module)");
    let expected = "\
cannot link: 4 symbol problems
  `f` is exported by `libone.so` (function (func)) and `libother.so` (function (func))
  `libone.so` needs `gone` (function (func))
  `libother.so` needs library `libnone.so`, which is not part of the link
  `libplain.so` is no shared library: it has no `dylink.0` section
";
    assert_eq!(problems(vec![one, other, module, plain]), format!("{expected}{HINT}"));
}

#[test]
fn a_link_without_a_runtime_names_every_function_that_the_bindings_want() {
    let found = refused(&[libc()]);
    assert!(
        found.contains("\n  `bindings.so` needs library `liberyx_runtime.so`, which is not part of the link")
    );
    assert!(
        found.contains("\n  `bindings.so` needs `wit_dylib_export_call` (function (func (param i32 i32)))")
    );
}

#[test]
fn a_world_with_exports_that_the_runtime_lacks_is_refused() {
    let wit = "package test:link;
        interface more { ask: func(); tell: func(); }
        world questions { export answer: func() -> u32; export why: func(); export more; }";
    let expected = "world `questions` asks for exports that the runtime lacks
  the runtime has no export `why`
  the runtime has no export `test:link/more#ask`
  the runtime has no export `test:link/more#tell`
hint: it has `answer`";
    assert_eq!(link(&[libc(), runtime()], wit, "questions").unwrap_err().to_string(), expected);
}

#[test]
fn a_file_without_a_world_is_refused() {
    let error = link(&[libc(), runtime()], "package test:link;", "none").unwrap_err();
    assert!(error.message().starts_with("cannot link: "), "{error}");
}

#[test]
fn the_runtime_declares_what_is_foreign_in_one_folder() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/src");
    let mut looked_at = 0;
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = std::fs::read_to_string(&path).unwrap();
            for foreign in ["extern \"C\" {", "no_mangle", "repr(C)", "#[link("] {
                assert!(!text.contains(foreign), "`{foreign}` in {}: it belongs to `ffi/`", path.display());
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 10);
}
