//! Builds CPython and native packages into prelinked WebAssembly components.
//!
//! `ARCHITECTURE.md` has the bird's eye view; each module's first lines say what it owns.

pub mod action;
pub mod archive;
pub mod backing;
pub mod check;
pub mod cli;
pub mod command;
pub mod diff;
pub mod execute;
pub mod fetch;
pub mod file_name;
pub mod files;
pub mod fixed;
pub mod fuse;
pub mod image;
pub mod index;
pub mod install;
pub mod invocation;
pub mod jobs;
pub mod layout;
pub mod link;
pub mod local;
pub mod lock;
pub mod manifest;
pub mod merge;
pub mod name;
pub mod oci;
pub mod ownership;
pub mod plan;
pub mod preinit;
pub mod preview1;
pub mod provenance;
pub mod publish;
pub mod rebuild;
pub mod recipe;
pub mod report;
pub mod resolve;
pub mod run;
pub mod steps;
pub mod store;
pub mod wasm;
pub mod why;

pub use eryx_embed::{digest, error};
