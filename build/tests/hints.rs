//! Hints of branches: found by counting, and kept by every stage that writes functions anew.

mod linking;

use eryx_build::fuse::Options;
use eryx_build::link::{self, Linkage};
use eryx_build::wasm::count::{COUNTS, counted, rare};
use eryx_build::wasm::hints::{Hints, attach, read};
use eryx_build::wasm::place;
use linking::{WIT, WORLD, answer, libc, runtime_that};
use wasmparser::{Parser, Payload};
use wasmtime::{Engine, Instance, Module, Store};

/// What a module has counted when `run` was called so often with each number.
fn counts(module: &[u8], calls: &[(u32, i32)]) -> Vec<u8> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, counted(module).unwrap()).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
    for (times, number) in calls {
        for _ in 0..*times {
            run.call(&mut store, *number).unwrap();
        }
    }
    instance.get_memory(&mut store, COUNTS).unwrap().data(&store).to_vec()
}

fn branching() -> Vec<u8> {
    wat::parse_str(
        r#"(module (memory 1)
             (func (param i32) (result i32) (if (result i32) (local.get 0) (then i32.const 1) (else i32.const 2)))
             (func (export "run") (param i32) (result i32)
               (block $end
                 (block $usual
                   (br_if $usual (local.get 0))
                   (br_if $end (i32.const 1))
                   (if (local.get 0) (then nop)))
                 (br_if $end (i32.eqz (local.get 0))))
               (loop $again
                 (br_if $again (i32.const 0)))
               (block $never
                 (br_if $never (i32.const 0))
                 (if (local.get 0) (then nop) (else nop))
                 (return (i32.const 0)))
               unreachable))"#,
    )
    .unwrap()
}

#[test]
fn branches_that_hardly_ever_go_one_way_are_found() {
    let module = branching();
    let found = rare(&module, &counts(&module, &[(1000, 1), (1, 0)])).unwrap();
    let expected = [
        // It leaves the inner block but for once; behind it, one more leaves the outer one at once.
        (0, true),
        (1, true),
        // What never ran goes where the code goes that it is in.
        (2, false),
        // Not 3: it hardly ever goes to where everything goes in the end. Not 4: a loop is never out of the way.
        // It never leaves the last block, behind which nothing ran.
        (5, false),
        // Without its condition, the `else` ran once.
        (6, true),
    ];
    assert_eq!(found, Hints::from([(1, expected.to_vec())]), "and the first function never ran");
}

#[test]
fn branches_that_go_both_ways_are_none_of_them() {
    let module = branching();
    let found = rare(&module, &counts(&module, &[(50, 1), (50, 0)])).unwrap();
    let ordinals: Vec<u32> = found[&1].iter().map(|(ordinal, _)| *ordinal).collect();
    assert_eq!(ordinals, [1, 2, 5], "those whose conditions are constant");
}

#[test]
fn too_few_counts_are_an_error() {
    let error = rare(&branching(), &[0; 16]).unwrap_err().to_string();
    assert_eq!(error, "expected a count for each part of the code but found fewer");
}

#[test]
fn hints_are_read_as_they_were_attached() {
    let module = branching();
    let hints = Hints::from([(0, vec![(0, true)]), (1, vec![(0, false), (5, true)])]);
    let hinted = attach(&module, &hints).unwrap();
    wasmparser::validate(&hinted).unwrap();
    assert_eq!(read(&hinted).unwrap(), hints);
    // They take the place of earlier ones, and what there is not has none.
    let fewer = Hints::from([(0, vec![(0, false), (9, true)]), (7, vec![(0, true)])]);
    assert_eq!(read(&attach(&hinted, &fewer).unwrap()).unwrap(), Hints::from([(0, vec![(0, false)])]));
    assert_eq!(attach(&hinted, &Hints::new()).unwrap(), module);
}

#[test]
fn a_prelinked_component_keeps_the_hints_of_its_libraries() {
    // It calls WASI, so that an adapter is merged into it, and adds constants, which takes fewer bytes when they are known.
    let runtime = runtime_that(
        "(mem-info (memory 16 3))",
        r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
           (import "env" "memory" (memory 1))
           (import "env" "__memory_base" (global $base i32))
           (func $hinted (result i32)
             (i32.store (i32.add (global.get $base) (i32.const 8)) (i32.const 40))
             (@metadata.code.branch_hint "\00") (if (call $yield) (then unreachable))
             (if (i32.eqz (global.get $base)) (then unreachable))
             (block $done
               (@metadata.code.branch_hint "\01")
               (br_if $done (i32.load (i32.add (global.get $base) (i32.const 8))))
               unreachable)
             (i32.add (i32.load offset=8 (global.get $base)) (i32.const 2)))"#,
        "call $hinted",
    );
    let hints = [vec![(0, false), (2, true)]];
    assert_eq!(read(&runtime.module).unwrap().into_values().collect::<Vec<_>>(), hints);
    let linkage = Linkage::new(vec![libc(), runtime], WIT, WORLD).unwrap();
    let component = link::component(&linkage.fuse(&[], Options::default()).unwrap().module).unwrap();
    assert_eq!(answer(&component), 42);
    let module = Parser::new(0).parse_all(&component).find_map(|payload| match payload.unwrap() {
        Payload::ModuleSection { unchecked_range, .. } => Some(place(unchecked_range)),
        _ => None,
    });
    let found = read(&component[module.unwrap()]).unwrap();
    assert_eq!(found.into_values().collect::<Vec<_>>(), hints);
}
