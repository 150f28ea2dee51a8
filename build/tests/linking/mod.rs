//! Shared libraries written as text, with the `dylink.0` section that a linker would write, and a way to run
//! what is made of them.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::fmt::Write as _;

use eryx_build::fixed;
use eryx_build::link::{Library, RUNTIME, Role};
use eryx_build::wasm::{SymbolType, Symbols};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};
use wit_parser::Resolve;

pub const WIT: &str = "package test:link; world answers { export answer: func() -> u32; }";
pub const WORLD: &str = "answers";

pub fn library(name: &str, role: Role, text: &str) -> Library {
    Library { name: name.to_owned(), module: wat::parse_str(text).unwrap(), role }
}

/// A shared library with the given `dylink.0` subsections and fields.
pub fn shared(name: &str, dylink: &str, fields: &str) -> Library {
    library(name, Role::Shared, &format!("(module (@dylink.0 (mem-info) {dylink}) {fields})"))
}

pub fn extension(name: &str, fields: &str) -> Library {
    library(name, Role::Extension, &format!("(module (@dylink.0 (mem-info)) {fields})"))
}

/// A C library as far as the linker and its libdl want one: an allocator that gives out nothing twice, and
/// what `dlopen` compares names with.
pub fn libc() -> Library {
    shared(
        "libc.so",
        "",
        r#"(import "env" "memory" (memory 1))
           (import "GOT.mem" "__heap_base" (global $base (mut i32)))
           (global $used (mut i32) (i32.const 0))
           (func $take (param $size i32) (result i32)
             (local $old i32)
             (local.set $old (i32.add (global.get $base) (global.get $used)))
             (global.set $used
               (i32.and (i32.add (i32.add (global.get $used) (local.get $size)) (i32.const 15)) (i32.const -16)))
             (block $fits (loop $grow
               (br_if $fits (i32.le_u (i32.add (global.get $base) (global.get $used))
                                      (i32.mul (memory.size) (i32.const 65536))))
               (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
               (br $grow)))
             (local.get $old))
           (func (export "malloc") (param i32) (result i32) (call $take (local.get 0)))
           (func (export "memcmp") (param $one i32) (param $other i32) (param $size i32) (result i32)
             (local $differs i32)
             (block $done (loop $next
               (br_if $done (i32.eqz (local.get $size)))
               (local.set $differs
                 (i32.sub (i32.load8_u (local.get $one)) (i32.load8_u (local.get $other))))
               (br_if $done (local.get $differs))
               (local.set $one (i32.add (local.get $one) (i32.const 1)))
               (local.set $other (i32.add (local.get $other) (i32.const 1)))
               (local.set $size (i32.sub (local.get $size) (i32.const 1)))
               (br $next)))
             (local.get $differs))
           (func (export "strlen") (param $text i32) (result i32)
             (local $size i32)
             (block $done (loop $next
               (br_if $done (i32.eqz (i32.load8_u (i32.add (local.get $text) (local.get $size)))))
               (local.set $size (i32.add (local.get $size) (i32.const 1)))
               (br $next)))
             (local.get $size))
           (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $take (local.get 3)))"#,
    )
}

/// A runtime that answers 42 to the one call of the world.
pub fn runtime() -> Library {
    runtime_that("(mem-info)", "", "i32.const 42")
}

/// A runtime whose every function is there: it answers what `body` leaves to the one call of the world, and
/// traps on everything that this world does not need.
pub fn runtime_that(dylink: &str, fields: &str, body: &str) -> Library {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("world.wit", WIT).unwrap();
    let world = resolve.select_world(&[package], Some(WORLD)).unwrap();
    let mut options =
        wit_dylib::DylibOpts { interpreter: Some(RUNTIME.to_owned()), ..wit_dylib::DylibOpts::default() };
    let bindings = wit_dylib::create(&resolve, world, Some(&mut options)).unwrap();
    let mut fields = fields.to_owned();
    for import in Symbols::read(&bindings).unwrap().imports {
        let SymbolType::Function(signature) = &import.ty else { continue };
        let body = match import.name.as_str() {
            "cabi_realloc" => continue,
            "wit_dylib_initialize" | "wit_dylib_export_call" | "wit_dylib_export_finish" => "",
            "wit_dylib_export_start" => "i32.const 0",
            "wit_dylib_pop_u32" => body,
            _ => "unreachable",
        };
        let signature = signature.to_string();
        let signature = signature.trim_start_matches("(func").trim_end_matches(')');
        // The last parenthesis closed `(param …)` or `(result …)` too.
        let close = if signature.trim().is_empty() { "" } else { ")" };
        writeln!(fields, "(func (export \"{}\"){signature}{close} {body})", import.name).unwrap();
    }
    let text = format!("(module (@dylink.0 {dylink}) (@custom \"eryx.exports\" \"answer\\n\") {fields})");
    library(RUNTIME, Role::Shared, &text)
}

/// Runs a component of the world once, with fixed clocks and the environment variable `NAME`, which is `value`.
pub fn answer(component: &[u8]) -> u32 {
    let mut config = Config::new();
    config.wasm_component_model(true).wasm_exceptions(true);
    let engine = Engine::new(&config).unwrap();
    let component = Component::from_binary(&engine, component).unwrap();
    let mut store = Store::new(&engine, fixed::wasi().env("NAME", "value").build_p1());
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
    let instance = linker.instantiate(&mut store, &component).unwrap();
    let answer = instance.get_typed_func::<(), (u32,)>(&mut store, "answer").unwrap();
    answer.call(&mut store, ()).unwrap().0
}
