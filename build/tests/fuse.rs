//! Prelinking: a fused module answers as the dynamic link of the same libraries does.

mod linking;

use std::collections::BTreeMap;

use eryx_build::fuse::{Fused, Options};
use eryx_build::link::{self, Library, Linkage, Role};
use linking::{WIT, WORLD, answer, extension, libc, library, runtime, runtime_that, shared};
use wasmparser::{KnownCustom, Name, Parser, Payload};

fn linkage(libraries: Vec<Library>) -> Linkage {
    let all = [vec![libc()], libraries].concat();
    Linkage::new(all, WIT, WORLD).unwrap()
}

fn fuse(linkage: &Linkage) -> Fused {
    linkage.fuse(&[], Options::default()).unwrap()
}

/// Both forms of a component must give this answer.
fn both_answer(expected: u32, libraries: Vec<Library>) {
    let linkage = linkage(libraries);
    assert_eq!(answer(&linkage.dynamic().unwrap()), expected, "linked at the start");
    assert_eq!(answer(&link::component(&fuse(&linkage).module).unwrap()), expected, "prelinked");
}

#[test]
fn the_smallest_component_runs() {
    both_answer(42, vec![runtime()]);
}

#[test]
fn addresses_of_data_lead_to_another_library() {
    // A library without data lies before the one with data, whose symbols do not begin at its base.
    let data = shared("libdata.so", "", r#"(import "env" "memory" (memory 1)) (func (export "unused"))"#);
    let table = library(
        "libtable.so",
        Role::Shared,
        r#"(module (@dylink.0 (mem-info (memory 24 3)))
             (import "env" "memory" (memory 1))
             (import "env" "__memory_base" (global $base i32))
             (global (export "number") i32 (i32.const 8))
             (global (export "pointer") i32 (i32.const 16))
             (func (export "__wasm_apply_data_relocs")
               (i32.store offset=16 (global.get $base) (i32.add (global.get $base) (i32.const 8))))
             (data (global.get $base) "\00\00\00\00\00\00\00\00\07\00\00\00\00\00\00\00"))"#,
    );
    let runtime = runtime_that(
        "(mem-info) (needed \"libtable.so\" \"libdata.so\")",
        r#"(import "env" "memory" (memory 1))
           (import "GOT.mem" "number" (global $number (mut i32)))
           (import "GOT.mem" "pointer" (global $pointer (mut i32)))"#,
        // The number itself, and ten times what the pointer in the data leads to.
        "(i32.add (i32.load (global.get $number))
                  (i32.mul (i32.const 10) (i32.load (i32.load (global.get $pointer)))))",
    );
    both_answer(77, vec![data, table, runtime]);
}

#[test]
fn addresses_of_functions_lead_to_another_library() {
    let functions = library(
        "libfunctions.so",
        Role::Shared,
        r#"(module (@dylink.0 (mem-info (table 2 0)))
             (import "env" "__indirect_function_table" (table 0 funcref))
             (import "env" "__table_base" (global $base i32))
             (func $private (result i32) i32.const 30)
             (func $public (export "public") (result i32) i32.const 4)
             (func (export "address_of_private") (result i32) (global.get $base))
             (elem (global.get $base) func $private $public))"#,
    );
    let runtime = runtime_that(
        "(mem-info)",
        r#"(import "env" "__indirect_function_table" (table 0 funcref))
           (import "env" "address_of_private" (func $address (result i32)))
           (import "GOT.func" "public" (global $public (mut i32)))
           (type $number (func (result i32)))"#,
        "(i32.add (call_indirect (type $number) (call $address))
                  (call_indirect (type $number) (global.get $public)))",
    );
    both_answer(34, vec![functions, runtime]);
}

#[test]
fn private_functions_of_one_name_stay_apart() {
    let library = |name: &str, export: &str, value: u32| {
        shared(
            name,
            "",
            &format!(
                r#"(func $helper (result i32) i32.const {value})
                   (func (export "{export}") (result i32) call $helper)"#
            ),
        )
    };
    let runtime = runtime_that(
        "(mem-info)",
        r#"(import "env" "one" (func $one (result i32))) (import "env" "two" (func $two (result i32)))"#,
        "(i32.add (call $one) (call $two))",
    );
    both_answer(21, vec![library("libone.so", "one", 1), library("libtwo.so", "two", 20), runtime]);
}

#[test]
fn a_weak_function_that_is_not_there_has_a_null_address() {
    let runtime = runtime_that(
        "(mem-info) (import-info \"env\" \"maybe\" binding-weak) (import-info \"GOT.func\" \"maybe\" binding-weak)",
        r#"(import "env" "maybe" (func $maybe)) (import "GOT.func" "maybe" (global $address (mut i32)))"#,
        "(if (result i32) (global.get $address) (then (call $maybe) (i32.const 1)) (else (i32.const 5)))",
    );
    both_answer(5, vec![runtime]);
}

/// Opens `path`, looks `symbol` up and calls it; 90 when there is no such library, 80 when there is no such
/// symbol, and one more when `dlerror` has nothing to say.
fn opens(path: &str, symbol: &str) -> Library {
    runtime_that(
        "(mem-info (memory 64 0))",
        &format!(
            r#"(import "env" "memory" (memory 1))
               (import "env" "__indirect_function_table" (table 0 funcref))
               (import "env" "__memory_base" (global $base i32))
               (import "env" "dlopen" (func $dlopen (param i32 i32) (result i32)))
               (import "env" "dlsym" (func $dlsym (param i32 i32) (result i32)))
               (import "env" "dlerror" (func $dlerror (result i32)))
               (type $init (func (result i32)))
               (func $open (result i32)
                 (local $handle i32) (local $symbol i32)
                 (local.set $handle (call $dlopen (global.get $base) (i32.const 2)))
                 (if (i32.eqz (local.get $handle))
                   (then (return (i32.add (i32.const 90) (i32.eqz (call $dlerror))))))
                 (local.set $symbol
                   (call $dlsym (local.get $handle) (i32.add (global.get $base) (i32.const 32))))
                 (if (i32.eqz (local.get $symbol))
                   (then (return (i32.add (i32.const 80) (i32.eqz (call $dlerror))))))
                 (call_indirect (type $init) (local.get $symbol)))
               (data (global.get $base) "{path}\00")
               (data (i32.add (global.get $base) (i32.const 32)) "{symbol}\00")"#
        ),
        "call $open",
    )
}

#[test]
fn libraries_are_opened_by_their_path() {
    let extensions = || {
        ["a", "spam", "z"].map(|name| {
            let value = name.len();
            extension(
                &format!("/lib/{name}.so"),
                &format!("(func (export \"PyInit_{name}\") (result i32) i32.const {value})"),
            )
        })
    };
    for (path, symbol, expected) in [
        ("/lib/spam.so", "PyInit_spam", 4),
        ("/lib/a.so", "PyInit_a", 1),
        ("/lib/z.so", "PyInit_z", 1),
        ("/lib/z.so", "PyInit_spam", 80),
        ("/lib/spa.so", "PyInit_spam", 90),
        ("/lib/spam.so2", "PyInit_spam", 90),
        ("", "PyInit_spam", 90),
    ] {
        let mut libraries = vec![opens(path, symbol)];
        libraries.extend(extensions());
        both_answer(expected, libraries);
    }
}

/// As natively with `RTLD_LOCAL`: each extension module finds its own function, variable and address.
#[test]
fn extension_modules_with_symbols_of_one_name_do_not_meet() {
    let module = |name: &str, value: u32| {
        let text = format!(
            r#"(module (@dylink.0 (mem-info (memory 4 2)))
               (import "env" "memory" (memory 1))
               (import "env" "__indirect_function_table" (table 0 funcref))
               (import "env" "__memory_base" (global $base i32))
               (import "env" "helper" (func $helper (result i32)))
               (import "GOT.mem" "number" (global $number (mut i32)))
               (import "GOT.func" "helper" (global $address (mut i32)))
               (type $call (func (result i32)))
               (global (export "number") i32 (i32.const 0))
               (func (export "helper") (result i32) i32.const {value})
               (func (export "PyInit_{name}") (result i32)
                 (i32.add (call $helper)
                   (i32.add (i32.load (global.get $number)) (call_indirect (type $call) (global.get $address)))))
               (data (global.get $base) "\{value:02}\00\00\00"))"#
        );
        library(&format!("/lib/{name}.so"), Role::Extension, &text)
    };
    for (name, expected) in [("one", 3), ("two", 30)] {
        let path = format!("/lib/{name}.so");
        let opener = opens(&path, &format!("PyInit_{name}"));
        // The byte in the data is written in hexadecimal: 10 there is 16.
        let expected = if expected == 30 { 36 } else { expected };
        both_answer(expected, vec![opener, module("one", 1), module("two", 10)]);
    }
}

#[test]
fn constructors_run_in_the_order_of_the_link_after_addresses_are_filled_in() {
    let library = |name: &str, digit: u32| {
        shared(
            name,
            "",
            &format!(
                r#"(import "env" "append" (func $append (param i32)))
                   (func (export "__wasm_call_ctors") (call $append (i32.const {digit})))"#
            ),
        )
    };
    let log = library_with_log();
    let runtime = runtime_that(
        "(mem-info) (needed \"libone.so\" \"libtwo.so\")",
        r#"(import "env" "read" (func $read (result i32)))"#,
        "call $read",
    );
    // The log begins as what the data said, which its start sets; then the two digits.
    both_answer(912, vec![log, library("libone.so", 1), library("libtwo.so", 2), runtime]);
}

fn library_with_log() -> Library {
    shared(
        "liblog.so",
        "",
        r#"(global $log (mut i32) (i32.const 0))
           (func $begin (global.set $log (i32.const 9)))
           (func (export "append") (param i32)
             (global.set $log (i32.add (i32.mul (global.get $log) (i32.const 10)) (local.get 0))))
           (func (export "read") (result i32) (global.get $log))
           (start $begin)"#,
    )
}

#[test]
fn an_exception_is_caught_in_another_library() {
    let tags = shared("libtags.so", "", r#"(tag (export "oops") (param i32))"#);
    let thrower = shared(
        "libthrower.so",
        "(needed \"libtags.so\")",
        r#"(import "env" "oops" (tag $oops (param i32))) (func (export "fail") (throw $oops (i32.const 66)))"#,
    );
    let runtime = runtime_that(
        "(mem-info) (needed \"libtags.so\" \"libthrower.so\")",
        r#"(import "env" "oops" (tag $oops (param i32))) (import "env" "fail" (func $fail))"#,
        "(block $caught (result i32) (try_table (catch $oops $caught) (call $fail)) (i32.const 0))",
    );
    both_answer(66, vec![tags, thrower, runtime]);
}

#[test]
fn what_nothing_can_reach_is_dropped() {
    // An empty body is two bytes, a call two more.
    let many = shared("libmany.so", "", r#"(func (export "dead")) (func $dead2 (export "deader") call 0)"#);
    let fused = fuse(&linkage(vec![many, runtime()]));
    let without = fuse(&linkage(vec![runtime()]));
    assert_eq!(fused.functions, without.functions);
    assert_eq!(fused.dropped, without.dropped + 2);
    assert_eq!(fused.dropped_bytes, without.dropped_bytes + 2 + 4);
}

#[test]
fn of_functions_that_are_alike_one_is_left_at_the_addresses_of_all() {
    // `$a` and `$b` are alike since `$one` and `$another` are; of `$void` and `$taking` only the code is.
    let many = library(
        "libmany.so",
        Role::Shared,
        r#"(module (@dylink.0 (mem-info (table 5 0)))
           (import "env" "__indirect_function_table" (table 0 funcref))
           (import "env" "__table_base" (global $table i32))
           (type $word (func (result i32)))
           (func $one (result i32) (i32.const 3))
           (func $another (result i32) (i32.const 3))
           (func $a (result i32) (i32.mul (call $one) (i32.const 5)))
           (func $b (result i32) (i32.mul (call $another) (i32.const 5)))
           (func $other (result i32) (i32.mul (call $one) (i32.const 7)))
           (func $void nop nop nop) (func $taking (param i32) nop nop nop)
           (elem (global.get $table) func $a $b $other $void $taking)
           (func (export "a") (result i32) (call_indirect (type $word) (global.get $table)))
           (func (export "b") (result i32) (call_indirect (type $word) (i32.add (global.get $table) (i32.const 1))))
           (func (export "other") (result i32)
             (call_indirect (type $word) (i32.add (global.get $table) (i32.const 2)))))"#,
    );
    let runtime = runtime_that(
        "(mem-info) (needed \"libmany.so\")",
        r#"(import "env" "a" (func $a (result i32))) (import "env" "b" (func $b (result i32)))
           (import "env" "other" (func $other (result i32)))"#,
        "(i32.add (i32.add (call $a) (call $b)) (call $other))",
    );
    let fused = fuse(&linkage(vec![many.clone(), runtime.clone()]));
    assert_eq!(answer(&link::component(&fused.module).unwrap()), 15 + 15 + 21);
    // The body of `$another` has four bytes, and that of `$b` seven.
    let without = fuse(&linkage(vec![self::runtime()]));
    assert_eq!(fused.folded - without.folded, 2);
    assert_eq!(fused.folded_bytes - without.folded_bytes, 4 + 7);
    both_answer(51, vec![many, runtime]);
}

#[test]
fn the_same_libraries_give_the_same_bytes_and_no_imports_of_each_other() {
    let fused = fuse(&linkage(vec![runtime()])).module;
    assert_eq!(fused, fuse(&linkage(vec![runtime()])).module);
    for payload in Parser::new(0).parse_all(&fused) {
        if let Payload::ImportSection(section) = payload.unwrap() {
            for import in section.into_imports() {
                let import = import.unwrap();
                assert!(!matches!(import.module, "env" | "GOT.mem" | "GOT.func"), "{}", import.name);
            }
        }
    }
}

#[test]
fn names_are_kept_on_request() {
    let linkage = linkage(vec![runtime_that(
        "(mem-info)",
        "(func $a_name_of_ours (result i32) i32.const 1)",
        "call 0",
    )]);
    let has_name = |options: Options| {
        let module = linkage.fuse(&[], options).unwrap().module;
        module.windows(14).any(|window| window == b"a_name_of_ours")
    };
    assert!(has_name(Options { debug_names: true, ..Options::default() }));
    assert!(!has_name(Options::default()));
}

#[test]
fn what_runs_most_comes_first_behind_the_smallest_function_of_its_library() {
    let functions = shared(
        "libbusy.so",
        "",
        r#"(func $large (export "large") (result i32) (i32.add (i32.const 1) (i32.const 2)))
           (func $small (export "small"))
           (func $busy (export "busy") (result i32) (i32.add (call $large) (i32.const 4)))"#,
    );
    let runtime = runtime_that(
        "(mem-info) (needed \"libbusy.so\")",
        r#"(import "env" "large" (func $large (result i32))) (import "env" "small" (func $small))
           (import "env" "busy" (func $busy (result i32)))"#,
        "(call $small) (i32.add (call $large) (call $busy))",
    );
    let linkage = linkage(vec![functions, runtime]);
    let options = Options { debug_names: true, hot: &[("busy", 1)] };
    let module = linkage.fuse(&[], options).unwrap().module;
    assert_eq!(answer(&link::component(&module).unwrap()), 10);

    let mut imported = 0;
    let mut names = BTreeMap::new();
    for payload in Parser::new(0).parse_all(&module) {
        match payload.unwrap() {
            Payload::ImportSection(section) => imported = section.into_imports().count() as u32,
            Payload::CustomSection(section) => {
                let KnownCustom::Name(section) = section.as_known() else { continue };
                for part in section {
                    if let Name::Function(map) = part.unwrap() {
                        names
                            .extend(map.into_iter().map(|one| one.map(|one| (one.name, one.index)).unwrap()));
                    }
                }
            }
            _ => {}
        }
    }
    assert_eq!((names["small"], names["busy"]), (imported, imported + 1));
    assert!(names["large"] > names["busy"]);
}

#[test]
fn passive_segments_are_refused() {
    let passive = library(
        "libpassive.so",
        Role::Shared,
        r#"(module (@dylink.0 (mem-info (memory 4 0)))
             (import "env" "memory" (memory 1))
             (func (export "init") (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 4)) (data.drop 0))
             (data "abcd"))"#,
    );
    let error = linkage(vec![passive, runtime()]).fuse(&[], Options::default()).unwrap_err();
    let expected = "cannot prelink `libpassive.so`
  it has the instruction `data.drop`
  it has the instruction `memory.init`
hint: link it without passive segments (no `-pthread`, no `--shared-memory`), or bundle with `--no-prelink`";
    assert_eq!(error.to_string(), expected);
}
