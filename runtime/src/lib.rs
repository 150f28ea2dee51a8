//! Runs Python behind a WIT world: the interpreter that wit-dylib's bindings call. README.md has the overview.

#![cfg_attr(target_family = "wasm", no_std)]

extern crate alloc;

pub mod abi;
pub mod builtins;
pub mod call;
pub mod command;
pub mod convert;
pub mod error;
pub mod ffi;
pub mod interpreter;
pub mod memory;
pub mod preinit;
pub mod python;
pub mod seal;
pub mod stack;
pub mod stop;
pub mod waitable;
