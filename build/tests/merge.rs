//! Merging: a component whose adapter is a part of its module answers as one that keeps them apart does.

mod linking;

use eryx_build::fuse::Options;
use eryx_build::link::{self, Library, Linkage};
use eryx_build::merge::merge;
use linking::{WIT, WORLD, answer, libc, runtime, runtime_that, shared};
use wasmparser::{KnownCustom, Name, Parser, Payload};

fn linkage(libraries: Vec<Library>) -> Linkage {
    Linkage::new([vec![libc()], libraries].concat(), WIT, WORLD).unwrap()
}

fn component(libraries: Vec<Library>, options: Options) -> Vec<u8> {
    link::component(&linkage(libraries).fuse(&[], options).unwrap().module).unwrap()
}

/// A runtime that asks for the time, for how large the environment is, and yields: what WASI answers with a memory, with
/// memory that it allocates, and without either.
fn asking() -> Library {
    runtime_that(
        "(mem-info (memory 16 3))",
        r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
           (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
           (import "env" "memory" (memory 1))
           (import "env" "__memory_base" (global $base i32))
           (func $ask (result i32)
             (if (call $time (i32.const 0) (i64.const 1) (global.get $base)) (then unreachable))
             (if (call $sizes (i32.add (global.get $base) (i32.const 8)) (i32.add (global.get $base) (i32.const 12)))
               (then unreachable))
             (if (call $yield) (then unreachable))
             ;; Seconds since the epoch; the variables, of which there is one; their bytes.
             (i32.add
               (i32.wrap_i64 (i64.div_u (i64.load (global.get $base)) (i64.const 1_000_000_000)))
               (i32.add
                 (i32.mul (i32.load offset=8 (global.get $base)) (i32.const 1000))
                 (i32.load offset=12 (global.get $base)))))"#,
        "call $ask",
    )
}

/// 1980-01-01, one variable, and the length of `NAME=value` with its end.
const ASKED: u32 = 315_532_800 + 1000 + 11;

/// How many core modules a component has.
fn modules(component: &[u8]) -> usize {
    Parser::new(0)
        .parse_all(component)
        .filter(|payload| matches!(payload, Ok(Payload::ModuleSection { .. })))
        .count()
}

#[test]
fn what_wasi_answers_comes_through_the_merged_adapter() {
    let apart = linkage(vec![asking()]).dynamic().unwrap();
    let merged = component(vec![asking()], Options::default());
    assert_eq!((answer(&apart), answer(&merged)), (ASKED, ASKED));
    // The module with the adapter, and what fills its table.
    assert_eq!(modules(&merged), 2);
    assert_eq!(merged, component(vec![asking()], Options::default()));
}

#[test]
fn constructors_can_call_the_embedder() {
    let early = shared(
        "libearly.so",
        "",
        r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
           (import "env" "memory" (memory 1))
           (import "env" "malloc" (func $malloc (param i32) (result i32)))
           (global $second (mut i32) (i32.const 0))
           (func (export "__wasm_call_ctors") (local $place i32)
             (local.set $place (call $malloc (i32.const 8)))
             (if (call $time (i32.const 0) (i64.const 1) (local.get $place)) (then unreachable))
             (global.set $second
               (i32.wrap_i64 (i64.div_u (i64.load (local.get $place)) (i64.const 1_000_000_000)))))
           (func (export "second") (result i32) (global.get $second))"#,
    );
    let runtime = runtime_that(
        "(mem-info) (needed \"libearly.so\")",
        r#"(import "env" "second" (func $second (result i32)))"#,
        "call $second",
    );
    let libraries = vec![early, runtime];
    assert_eq!(answer(&linkage(libraries.clone()).dynamic().unwrap()), 315_532_800);
    assert_eq!(answer(&component(libraries, Options::default())), 315_532_800);
}

#[test]
fn a_component_that_calls_nobody_stays_as_it_is() {
    let small = component(vec![runtime()], Options::default());
    assert_eq!(answer(&small), 42);
    assert_eq!(merge(&small).unwrap(), small);
}

#[test]
fn functions_keep_their_own_names() {
    let names = |options: Options| {
        let merged = component(vec![asking()], options);
        let mut names = Vec::new();
        for payload in Parser::new(0).parse_all(&merged) {
            if let Payload::CustomSection(section) = payload.unwrap()
                && let KnownCustom::Name(subsections) = section.as_known()
            {
                for subsection in subsections {
                    if let Name::Function(map) = subsection.unwrap() {
                        names.extend(
                            map.into_iter()
                                .map(|naming| naming.unwrap())
                                .map(|n| (n.index, n.name.to_owned())),
                        );
                    }
                }
            }
        }
        names
    };
    let kept = names(Options { debug_names: true, ..Options::default() });
    let has = |wanted: &str| kept.iter().filter(|(_, name)| name == wanted).count();
    // One of ours, and one of the adapter's.
    assert_eq!((has("ask"), has("environ_sizes_get")), (1, 1));
    assert!(kept.is_sorted_by(|(one, _), (other, _)| one < other));
    assert_eq!(names(Options::default()), []);
}

#[test]
fn other_components_are_refused() {
    let merged = component(vec![asking()], Options::default());
    assert_eq!(
        merge(&merged).unwrap_err().message(),
        "cannot merge the modules of a component: expected shims, what fills them in, and one module with a memory"
    );
    assert!(
        merge(b"\0asm\x0d\0\x01\0nonsense").unwrap_err().message().starts_with("cannot merge the modules")
    );
}
